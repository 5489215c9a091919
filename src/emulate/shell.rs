//! Runs one command in a shell at the other end of a console, so that its output and its exit status can be told from
//! everything else that a console carries: echoes, prompts, the kernel's messages and the hypervisor's.
//!
//! What is typed, on one line:
//!
//! ```sh
//!  xb=; echo "<"xb1f3">"; eval 'COMMAND'; xb=$?; echo "<"xb1f3:$xb">"
//! ```
//!
//! The quotes keep the echo of the line itself from looking like a marker. `eval` lets a command hold comments, newlines
//! and a final `&`. A message of the kernel may fall into a marker and break it: when the shell is back at its prompt
//! and all is quiet, the last `echo` is typed again. Where `xb` is empty then, the shell could not parse the command.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::console::{Console, Stop};

/// After so much silence a shell is offered an empty line, so that it shows its prompt below whatever covered it.
const NUDGE: Duration = Duration::from_secs(5);
/// After so much silence at a prompt a lost marker is asked for again.
const RETRY: Duration = Duration::from_secs(2);
/// BusyBox' line editor takes lines of 1024 bytes (FEATURE_EDITING_MAX_LEN), a terminal in canonical mode 4095.
const LINE_MAX_BYTES: usize = 700;

/// A command that ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// What it printed, standard output and error together; messages of others may be among it.
    pub output: Vec<u8>,
    /// Its exit status.
    pub status: u8,
}

/// Why a command has no result.
#[derive(Debug)]
pub enum Failed {
    /// The console stopped it.
    Stop(Stop),
    /// The shell is back at its prompt and has not run it.
    NotParsed,
}

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Self {
        Failed::Stop(stop)
    }
}

/// Says why a command cannot be typed, if it cannot.
pub fn check(command: &str) -> Result<(), String> {
    if command.trim().is_empty() {
        return Err("a command is needed here".to_owned());
    }
    match command.chars().find(|&c| c == '\0') {
        Some(_) => Err("a NUL cannot be typed into a shell".to_owned()),
        None => Ok(()),
    }
}

/// Waits for the prompt, runs `command`, and waits for its end.
pub fn run(console: &mut Console<'_>, prompt: &Regex, command: &str, within: Duration) -> Result<Ran, Failed> {
    let until = Instant::now() + within;
    wait_for_prompt(console, prompt, until)?;
    let marker = marker();
    let from = console.position();
    let quoted = quote(command);
    console.type_text(&format!(" xb=; echo \"<\"{marker}\">\"; eval {quoted}; xb=$?; {}\n", report(&marker)), until)?;

    let end = Regex::new(&format!("<{marker}:([0-9]*)>")).map_err(|_| Failed::NotParsed)?;
    let found = loop {
        if let Some(found) = console.look(&end, until)? {
            break found;
        }
        if console.quiet() > RETRY && prompt.is_match(console.unmatched()) {
            console.type_text(&format!(" {}\n", report(&marker)), until)?;
        }
    };
    let status =
        end.captures(&found).and_then(|groups| std::str::from_utf8(groups.get(1)?.as_bytes()).ok()?.parse().ok());
    let status = status.ok_or(Failed::NotParsed)?;
    Ok(Ran { output: between(console, from, &marker, &found), status })
}

fn wait_for_prompt(console: &mut Console<'_>, prompt: &Regex, until: Instant) -> Result<(), Stop> {
    let mut nudged = Instant::now();
    while console.look(prompt, until)?.is_none() {
        if console.quiet() > NUDGE && nudged.elapsed() > NUDGE {
            nudged = Instant::now();
            console.emulator().type_bytes(b"\n");
        }
    }
    Ok(())
}

/// Returns the text between the begin marker, or `from` where that was broken, and the end marker.
fn between(console: &Console<'_>, from: usize, marker: &str, end: &[u8]) -> Vec<u8> {
    let position = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|window| window == what);
    let text = console.text_since(from);
    let text = &text[..position(text, end).unwrap_or(text.len())];
    let begin = format!("<{marker}>");
    let text = position(text, begin.as_bytes()).map_or(text, |at| &text[at + begin.len()..]);
    text.strip_prefix(b"\n").unwrap_or(text).to_vec()
}

/// Returns the command that prints the end marker.
fn report(marker: &str) -> String {
    format!("echo \"<\"{marker}:$xb\">\"")
}

/// Makes a word that the console has not seen.
fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("xb{:x}{:x}", time.subsec_micros() & 0xfff, count)
}

/// Quotes a command for a POSIX shell, on lines that a terminal takes, without keys that a line editor acts on.
fn quote(command: &str) -> String {
    let mut quoted = String::from("'");
    let mut column = 0;
    for c in command.trim_end_matches('\n').chars() {
        let before = quoted.len();
        match c {
            '\'' => quoted.push_str(r"'\''"),
            '\n' => quoted.push(c),
            c if c.is_ascii_control() => quoted.push_str(&format!("'\"$(printf '\\{:03o}')\"'", c as u32)),
            c => quoted.push(c),
        }
        column = if c == '\n' { 0 } else { column + quoted.len() - before };
        if column > LINE_MAX_BYTES {
            quoted.push_str("'\\\n'");
            column = 0;
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a real shell what a quoted command is.
    fn unquoted(command: &str) -> String {
        let script = format!("printf %s {}", quote(command));
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let long = "x".repeat(3000);
        for command in ["xl list", "echo 'it''s' \"$HOME\" `x` \\ # no", "cat <<E\na\tb\nE", "x !! \u{1b}[A ä", &long]
        {
            assert_eq!(unquoted(command), command);
        }
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_takes() {
        let quoted = quote(&"ä'".repeat(2000));
        assert!(quoted.lines().all(|line| line.len() < 1000));
        assert!(!quote("a\tb\u{3}").contains(['\t', '\u{3}']));
    }

    #[test]
    fn what_cannot_be_typed_is_refused() {
        assert!(check("  \n").is_err());
        assert!(check("a\0b").is_err());
        assert!(check("xl list").is_ok());
    }
}
