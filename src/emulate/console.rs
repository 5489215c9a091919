//! The expect engine: waits for patterns on a machine's console, types into it, and always watches for what must not come.
//! Knows nothing of recipes and steps.

use std::ops::Range;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};

use super::plain::Filter;
use super::process::{Emulator, Ending};
use crate::error::Error;
use crate::task::Cancel;

/// How much of the console's text is kept; matches cannot reach further back.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// How far back a `fail` pattern may begin before the text that completes it.
const FAIL_REACH_BYTES: usize = 8 << 10;
/// How long one look at the machine waits, at most: how soon Ctrl-C is heard.
const TURN: Duration = Duration::from_millis(100);
/// How many bytes are typed before their echo is waited for. Upstream Xen keeps 128 received bytes for Dom0 and drops the rest
/// (xen/drivers/char/console.c, SERIAL_RX_SIZE), and a PL011 has 16.
pub const TYPED_AT_ONCE_BYTES: usize = 32;
/// How long that echo is waited for: a password has none.
const ECHO: Duration = Duration::from_millis(500);

/// Compiles a pattern of a test: `^` and `$` match at every line's begin and end.
///
/// # Errors
/// regex's own message, which shows where the pattern is wrong.
pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).multi_line(true).build()
}

/// Compiles the pattern of a prompt: `$` matches only at the end of all that has come.
///
/// # Errors
/// As [`pattern`].
pub fn prompt_pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).build()
}

/// Why a wait ended without its match.
#[derive(Debug)]
pub enum Stop {
    /// Its own time was over.
    TimedOut,
    /// The time for everything was over.
    OutOfTime,
    /// A `fail` pattern matched: its index, and the line where it begins.
    Failed {
        /// Index among the patterns.
        index: usize,
        /// The text it matched.
        text: String,
    },
    /// The machine ended.
    Ended(Ending),
    /// The console or the user ended it: nothing to do with the test.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Is told of every chunk.
type Listener<'a> = Box<dyn FnMut(&[u8]) + 'a>;

/// A machine's console, as text.
pub struct Console<'a> {
    emulator: Emulator,
    cancel: &'a Cancel,
    fail: Vec<Regex>,
    deadline: Instant,
    filter: Filter,
    /// All text that is kept; `base` bytes before it are gone.
    text: Vec<u8>,
    base: usize,
    /// Up to here, counted from the first byte ever, text has been matched.
    consumed: usize,
    /// Up to here `fail` patterns have been looked for.
    checked: usize,
    /// When something last came.
    heard: Instant,
    ending: Option<Ending>,
    on_output: Listener<'a>,
}

impl<'a> Console<'a> {
    /// Takes over a machine. `fail` patterns stop every wait; `timeout` is for everything, from now.
    pub fn new(emulator: Emulator, fail: Vec<Regex>, timeout: Duration, cancel: &'a Cancel) -> Self {
        let now = Instant::now();
        Console {
            emulator,
            cancel,
            fail,
            deadline: now + timeout,
            filter: Filter::default(),
            text: Vec::new(),
            base: 0,
            consumed: 0,
            checked: 0,
            heard: now,
            ending: None,
            on_output: Box::new(|_| {}),
        }
    }

    /// Calls `watch` with every chunk that comes, as it comes.
    pub fn on_output(&mut self, watch: impl FnMut(&[u8]) + 'a) {
        self.on_output = Box::new(watch);
    }

    /// Returns the machine.
    pub fn emulator(&mut self) -> &mut Emulator {
        &mut self.emulator
    }

    /// Returns the text since the last match.
    pub fn unmatched(&self) -> &[u8] {
        &self.text[self.consumed - self.base..]
    }

    /// Returns where the last match ended, to go back to with [`Console::text_since`].
    pub fn position(&self) -> usize {
        self.consumed
    }

    /// Returns the text since `position`, as far as it is still kept.
    pub fn text_since(&self, position: usize) -> &[u8] {
        &self.text[position.saturating_sub(self.base).min(self.text.len())..]
    }

    /// Returns the last `count` lines of the console.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.text);
        let lines: Vec<_> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_string()).collect()
    }

    /// Says how long nothing has come.
    pub fn quiet(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Waits until `regex` matches in what came since the last match; text up to the match's end is then done with.
    ///
    /// Returns the text that matched.
    pub fn expect(&mut self, regex: &Regex, within: Duration) -> Result<Vec<u8>, Stop> {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = self.look(regex, until)? {
                return Ok(found);
            }
        }
    }

    /// Looks for `regex` in what came since the last match; where it is not there, waits for a little more to come.
    ///
    /// What is here when time runs out still counts: a busy host may have kept us from reading it.
    pub fn look(&mut self, regex: &Regex, until: Instant) -> Result<Option<Vec<u8>>, Stop> {
        if let Some(found) = self.find(regex) {
            return Ok(Some(found));
        }
        match self.step(until) {
            Ok(()) => Ok(None),
            Err(stop @ (Stop::TimedOut | Stop::OutOfTime)) => self.find(regex).map(Some).ok_or(stop),
            Err(stop) => Err(stop),
        }
    }

    /// Looks for `regex` in what came since the last match, without waiting.
    pub fn find(&mut self, regex: &Regex) -> Option<Vec<u8>> {
        let found = regex.find(self.unmatched())?;
        let (end, found) = (found.end(), found.as_bytes().to_vec());
        self.consumed += end;
        Some(found)
    }

    /// Declares all that has come matched.
    pub fn skip(&mut self) {
        self.consumed = self.base + self.text.len();
    }

    /// Waits for the machine's end.
    pub fn expect_end(&mut self, within: Duration) -> Result<Ending, Stop> {
        let until = Instant::now() + within;
        loop {
            match self.step(until) {
                Ok(()) => {}
                Err(Stop::Ended(ending)) => return Ok(ending),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Takes in what the machine says now or soon, and looks for `fail` patterns; fails at `until`.
    pub fn step(&mut self, until: Instant) -> Result<(), Stop> {
        self.cancel.check()?;
        if let Some(ending) = &self.ending {
            return Err(Stop::Ended(ending.clone()));
        }
        let now = Instant::now();
        let wait = TURN.min(until.min(self.deadline).saturating_duration_since(now));
        let turn = self.emulator.turn(None, wait)?;
        if turn.ended {
            // What reads the console's last words has had its chance: this step began with none left.
            self.check_fail()?;
            self.ending = Some(self.emulator.finish(Duration::ZERO)?);
            return Ok(());
        }
        // Also a machine that never falls silent runs out of time.
        if !turn.serial.is_empty() {
            self.take(&turn.serial);
            self.check_fail()?;
        }
        if now >= self.deadline {
            return Err(Stop::OutOfTime);
        }
        if now >= until {
            return Err(Stop::TimedOut);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.heard = Instant::now();
        (self.on_output)(bytes);
        let floor = self.consumed - self.base;
        let lowest = self.filter.push(bytes, &mut self.text, floor);
        // What backspaces have taken back, and other text has taken the place of, is looked at as new.
        self.checked = self.checked.min(self.base + lowest);
        if self.text.len() > TEXT_MAX_BYTES {
            let cut = self.text.len() - TEXT_MAX_BYTES / 2;
            self.text.drain(..cut);
            self.base += cut;
            self.consumed = self.consumed.max(self.base);
        }
    }

    fn check_fail(&mut self) -> Result<(), Stop> {
        // From the begin of a line, so that `^` means what it says.
        let from = self.checked.saturating_sub(self.base).saturating_sub(FAIL_REACH_BYTES);
        // Backspaces may have taken back what was checked.
        let from = from.min(self.text.len());
        let from = self.text[..from].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let checked = self.checked.saturating_sub(self.base);
        self.checked = self.base + self.text.len();
        for (index, fail) in self.fail.iter().enumerate() {
            // What ends before `checked` has been seen and, since it did not stop anything, was not there then.
            if let Some(found) = fail.find_iter(&self.text[from..]).find(|found| from + found.end() > checked) {
                let text = String::from_utf8_lossy(found.as_bytes()).into_owned();
                return Err(Stop::Failed { index, text });
            }
        }
        Ok(())
    }

    /// Types text, not faster than the machine takes it, and takes its echo out of what is matched later.
    ///
    /// The echo is taken line by line, as it stands; a line that is not echoed within half a second is taken for a
    /// password.
    pub fn type_text(&mut self, text: &str, until: Instant) -> Result<(), Stop> {
        for line in text.split_inclusive('\n') {
            let begin = self.text.len() + self.base;
            for chunk in chunks(line, TYPED_AT_ONCE_BYTES) {
                let before = self.text.len() + self.base;
                self.emulator.type_bytes(chunk.as_bytes());
                let echo_until = (Instant::now() + ECHO).min(until);
                while self.emulator.untyped() > 0 || self.text.len() + self.base < before + visible(chunk) {
                    match self.step(if self.emulator.untyped() > 0 { until } else { echo_until }) {
                        Ok(()) => {}
                        Err(Stop::TimedOut) if self.emulator.untyped() == 0 => break,
                        // Text may be what powers the machine off: the next step will see that it has.
                        Err(Stop::Ended(_)) => return Ok(()),
                        Err(stop) => return Err(stop),
                    }
                }
            }
            self.take_echo_out(begin, line.trim_end_matches(['\n', '\r']));
        }
        Ok(())
    }

    /// Takes the first `line` at or after position `begin` out of the text.
    fn take_echo_out(&mut self, begin: usize, line: &str) {
        if line.is_empty() {
            return;
        }
        let from = begin.max(self.consumed).saturating_sub(self.base).min(self.text.len());
        if let Some(echo) = find_echo(&self.text[from..], line.as_bytes()) {
            self.text.drain(from + echo.start..from + echo.end);
            self.checked = self.checked.min(self.base + self.text.len());
        }
    }
}

/// Finds the echo of a typed line: a line editor breaks it where its terminal's last column is.
fn find_echo(text: &[u8], line: &[u8]) -> Option<Range<usize>> {
    (0..text.len()).filter(|&start| text[start] == line[0]).find_map(|start| {
        let mut at = start;
        for &wanted in line {
            while wanted != b'\n' && text.get(at) == Some(&b'\n') {
                at += 1;
            }
            if text.get(at) != Some(&wanted) {
                return None;
            }
            at += 1;
        }
        Some(start..at)
    })
}

/// Counts the bytes of a chunk that an echo shows.
fn visible(chunk: &str) -> usize {
    chunk.bytes().filter(|byte| *byte >= 0x20 || *byte == b'\n').count()
}

/// Cuts text into pieces of at most `size` bytes (or one character).
fn chunks(mut text: &str, size: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut end = text.len().min(size);
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let (chunk, rest) = text.split_at(end);
        text = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn watching(fail: &str, folder: &Path, cancel: &Cancel, test: impl FnOnce(&mut Console<'_>)) {
        use super::super::command::CommandLine;
        use super::super::log::SerialLog;
        use super::super::process::{Start, Wire};

        let mut command = CommandLine::new("/bin/sleep");
        command.add(["60"]);
        let start = Start { wire: Wire::Stdio, qmp: false, guardian: None };
        let log = SerialLog::create(folder, "test").unwrap();
        let emulator = Emulator::start(&command, &start, log).unwrap();
        let fail = vec![pattern(fail).unwrap()];
        test(&mut Console::new(emulator, fail, Duration::from_secs(60), cancel));
    }

    #[test]
    fn backspaces_may_take_back_what_was_checked() {
        let (folder, cancel) = (tempfile::tempdir().unwrap(), Cancel::default());
        watching("^panic", folder.path(), &cancel, |console| {
            for bytes in [[b'x'; 16 << 10], [0x08; 16 << 10]] {
                console.take(&bytes);
                console.check_fail().unwrap();
            }
            assert!(console.text.is_empty());
            console.take(b"panic");
            assert!(matches!(console.check_fail(), Err(Stop::Failed { index: 0, .. })));
        });
    }

    #[test]
    fn what_is_put_in_the_place_of_checked_text_is_checked() {
        let (folder, cancel) = (tempfile::tempdir().unwrap(), Cancel::default());
        watching("^panic", folder.path(), &cancel, |console| {
            console.take(b"passed and more");
            console.check_fail().unwrap();
            // As long as it was in the end, in one piece.
            console.take(&[&[0x08; 15][..], b"panic"].concat());
            assert!(matches!(console.check_fail(), Err(Stop::Failed { index: 0, .. })));
        });
    }

    #[test]
    fn text_is_cut_at_characters() {
        assert_eq!(chunks("abcdefg", 3).collect::<Vec<_>>(), ["abc", "def", "g"]);
        assert_eq!(chunks("ä→x", 1).collect::<Vec<_>>(), ["ä", "→", "x"]);
        assert_eq!(chunks("", 3).count(), 0);
    }

    #[test]
    fn an_echo_is_found_where_it_is_wrapped_too() {
        assert_eq!(find_echo(b"# echo a\nbc\nabc\n", b"echo abc"), Some(2..11));
        assert_eq!(find_echo(b"Password: \n", b"secret"), None);
        assert_eq!(find_echo(b"", b"x"), None);
    }

    #[test]
    fn lines_anchor_patterns_but_only_the_end_anchors_a_prompt() {
        assert!(pattern("^Domain-0").unwrap().is_match(b"Name\nDomain-0  0"));
        assert!(!prompt_pattern("# $").unwrap().is_match(b"# \n"));
        assert!(prompt_pattern("# $").unwrap().is_match(b"x\n~ # "));
        assert!(pattern("(").is_err());
    }
}
