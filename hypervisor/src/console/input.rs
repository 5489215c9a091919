//! Who gets what is typed: Dom0, or the debug keys; a character typed three times changes that.

/// Ctrl-A.
pub const CTRL_A: u8 = 1;
/// How often the character is typed.
const TIMES: u8 = 3;

/// Who gets what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Dom0.
    Dom0,
    /// The debug keys.
    Keys,
}

/// What a character means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Perhaps the beginning of a change: it is held back.
    Held,
    /// Whoever has the focus gets so many of the characters that were held back, and then this one.
    Typed(u8, u8),
    /// Somebody else has the focus from now on.
    Switched(Focus),
}

/// What was typed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The character that changes the focus, if one does.
    character: Option<u8>,
    held: u8,
    focus: Focus,
}

impl Switch {
    /// Returns one with which `character` changes the focus.
    pub const fn new(character: Option<u8>, focus: Focus) -> Switch {
        Switch { character, held: 0, focus }
    }

    /// Returns who has the focus.
    pub fn focus(&self) -> Focus {
        self.focus
    }

    /// Returns the character that changes it.
    pub fn character(&self) -> Option<u8> {
        self.character
    }

    /// Takes a character.
    pub fn take(&mut self, byte: u8) -> Meaning {
        if Some(byte) != self.character {
            return Meaning::Typed(core::mem::take(&mut self.held), byte);
        }
        self.held += 1;
        if self.held < TIMES {
            return Meaning::Held;
        }
        self.held = 0;
        self.focus = if self.focus == Focus::Dom0 { Focus::Keys } else { Focus::Dom0 };
        Meaning::Switched(self.focus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Meaning::*;

    #[test]
    fn three_times_changes_the_focus_and_back() {
        let mut switch = Switch::new(Some(CTRL_A), Focus::Dom0);
        let meanings = b"x\x01\x01\x01h\x01\x01\x01y".map(|byte| switch.take(byte));
        let expected = [
            Typed(0, b'x'),
            Held,
            Held,
            Switched(Focus::Keys),
            Typed(0, b'h'),
            Held,
            Held,
            Switched(Focus::Dom0),
            Typed(0, b'y'),
        ];
        assert_eq!(meanings, expected);
    }

    #[test]
    fn fewer_times_are_typed() {
        let mut switch = Switch::new(Some(CTRL_A), Focus::Dom0);
        assert_eq!(b"\x01\x01a\x01b".map(|byte| switch.take(byte)), [Held, Held, Typed(2, b'a'), Held, Typed(1, b'b')]);
        assert_eq!(switch.focus(), Focus::Dom0);
        let mut never = Switch::new(None, Focus::Dom0);
        assert_eq!(b"\x01\x01\x01".map(|byte| never.take(byte)), [Typed(0, 1); 3]);
    }
}
