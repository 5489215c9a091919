//! What a terminal would show of a byte stream, as far as matching needs it: escape sequences taken out, line ends made
//! one, backspaces applied. Knows nothing of screens: no cursor addressing, no width.
//!
//! ECMA-48: ESC begins a sequence; `ESC [` runs to a final byte 0x40..0x7e; `ESC ]`, `ESC P`, `ESC X`, `ESC ^` and
//! `ESC _` begin strings that `ESC \` (or, by custom, BEL) ends; others are intermediates 0x20..0x2f and one final byte.

/// Strings longer than this are taken for noise: a stray ESC must not swallow a whole boot.
const STRING_MAX_BYTES: u32 = 512;

/// Says whether a character turns the direction in which those after it are shown, so that a line may read as another:
/// Unicode's Bidi_Control (UAX #9, 2).
pub fn turns_writing(letter: char) -> bool {
    let turns = ['\u{61c}'..='\u{61c}', '\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    turns.iter().any(|range| range.contains(&letter))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Text,
    Escape,
    Intermediate,
    Csi,
    String,
    StringEscape,
}

/// The filter's state between two chunks of input.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    state: State,
    /// A carriage return came, and what follows decides what it means.
    carriage_return: bool,
    length: u32,
}

impl Filter {
    /// Filters `input` and appends to `output`; backspaces may also shorten it, but never across a line end nor below
    /// `floor` bytes. Returns how short it once was: what stood before that, still does.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>, floor: usize) -> usize {
        let mut lowest = output.len();
        for &byte in input {
            self.byte(byte, output, floor);
            lowest = lowest.min(output.len());
        }
        lowest
    }

    fn byte(&mut self, byte: u8, output: &mut Vec<u8>, floor: usize) {
        self.length += 1;
        match self.state {
            State::Text => self.text(byte, output, floor),
            State::Escape => self.enter(match byte {
                b'[' => State::Csi,
                b']' | b'P' | b'X' | b'^' | b'_' => State::String,
                0x20..=0x2f => State::Intermediate,
                0x1b => State::Escape,
                _ => State::Text,
            }),
            State::Intermediate if (0x20..=0x2f).contains(&byte) => {}
            State::Intermediate => self.enter(State::Text),
            State::Csi => match byte {
                0x20..=0x3f if self.length < STRING_MAX_BYTES => {}
                0x40..=0x7e => self.enter(State::Text),
                _ => {
                    self.enter(State::Text);
                    self.text(byte, output, floor);
                }
            },
            State::String => match byte {
                0x07 => self.enter(State::Text),
                0x1b => self.state = State::StringEscape,
                b'\n' => {
                    self.enter(State::Text);
                    self.text(byte, output, floor);
                }
                _ if self.length >= STRING_MAX_BYTES => self.enter(State::Text),
                _ => {}
            },
            State::StringEscape => self.enter(if byte == b'\\' { State::Text } else { State::String }),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.length = 0;
    }

    fn text(&mut self, byte: u8, output: &mut Vec<u8>, floor: usize) {
        if byte == b'\r' {
            self.carriage_return = true;
            return;
        }
        // "\r\n", and the "\r\r\n" of two layers that each add one, is a line end; a lone "\r" begins a line anew,
        // and both what was there and what comes stay visible to a match, on lines of their own.
        if std::mem::take(&mut self.carriage_return)
            && byte != b'\n'
            && output.last().is_some_and(|&last| last != b'\n')
        {
            output.push(b'\n');
        }
        match byte {
            0x1b => self.enter(State::Escape),
            0x08 | 0x7f if output.len() <= floor || output.ends_with(b"\n") => {}
            0x08 | 0x7f => drop(output.pop()),
            b'\n' | b'\t' | 0x20.. => output.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(chunks: &[&[u8]]) -> String {
        let (mut filter, mut output) = (Filter::default(), Vec::new());
        for chunk in chunks {
            filter.push(chunk, &mut output, 0);
        }
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn colours_queries_and_titles_go() {
        assert_eq!(plain(&[b"\x1b[1;32mok\x1b[0m ~ # \x1b[6n"]), "ok ~ # ");
        assert_eq!(plain(&[b"\x1b]0;root@dom0\x07# \x1b(B\x1b[?2004h"]), "# ");
        assert_eq!(plain(&[b"\x1bP+q\x1b\\x\x1b7\x1b8y"]), "xy");
    }

    #[test]
    fn sequences_may_be_cut_anywhere() {
        let bytes = b"a\x1b[31mb\x1b]2;t\x1b\\c\r\nd";
        for cut in 0..bytes.len() {
            assert_eq!(plain(&[&bytes[..cut], &bytes[cut..]]), "abc\nd", "cut at {cut}");
        }
    }

    #[test]
    fn line_ends_become_one() {
        assert_eq!(plain(&[b"a\r\nb\r\r\nc\nd"]), "a\nb\nc\nd");
        assert_eq!(plain(&[b"10%\r20%\r\n"]), "10%\n20%\n");
        assert_eq!(plain(&[b"\r\r# "]), "# ");
    }

    #[test]
    fn backspace_erases_within_the_line() {
        assert_eq!(plain(&[b"abx\x08 \x08c"]), "abc");
        assert_eq!(plain(&[b"a\n\x08\x08b"]), "a\nb");
        let (mut filter, mut output) = (Filter::default(), b"kept".to_vec());
        filter.push(b"\x08\x08x", &mut output, 4);
        assert_eq!(output, b"keptx");
        assert_eq!(filter.push(b"y\x08\x08\x08z\x08zz", &mut output, 0), 3);
        assert_eq!(output, b"kepzz");
    }

    #[test]
    fn a_stray_escape_does_not_swallow_the_rest() {
        assert_eq!(plain(&[b"\x1b]never ended\nXen version"]), "\nXen version");
        let noise = [b"\x1b]".as_slice(), &[b'x'; 600], b"end"].concat();
        assert!(plain(&[&noise]).ends_with("end"));
        assert_eq!(plain(&[b"\x1b[\nXen"]), "\nXen");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_out_the_same_however_they_are_cut(
            bytes in proptest::collection::vec(proptest::sample::select(b"\x1b[]P\\;12mab \x08\r\n\x07\xc3(0".to_vec()), 0..80),
            cut in 0_usize..80,
        ) {
            let filtered = |chunks: &[&[u8]]| {
                let (mut filter, mut output) = (Filter::default(), Vec::new());
                chunks.iter().for_each(|chunk| {
                    filter.push(chunk, &mut output, 0);
                });
                output
            };
            let cut = cut.min(bytes.len());
            let whole = filtered(&[&bytes]);
            proptest::prop_assert_eq!(&whole, &filtered(&[&bytes[..cut], &bytes[cut..]]));
            proptest::prop_assert!(!whole.iter().any(|byte| matches!(byte, 0x1b | b'\r' | 0x08 | 0x07)));
        }
    }
}
