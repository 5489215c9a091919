//! The hypervisor's command line, in upstream's words.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::Release;

use crate::console::input::{CTRL_A, Focus, Switch};

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory for Dom0.
    pub dom0_memory: u64,
    /// vCPUs of Dom0, if said.
    pub dom0_vcpus: Option<usize>,
    /// Whether each of them stays on a CPU of its own.
    pub dom0_vcpus_pin: bool,
    /// What is logged.
    pub level: Threshold,
    /// The same of what guests cause.
    pub guest_level: Threshold,
    /// Who gets what is typed at first, and the character that changes that.
    pub input: Switch,
    /// Stop instead of starting anew.
    pub no_reboot: bool,
    /// Which Xen the guests see.
    pub version: Release,
    /// What was not understood.
    pub unknown: Vec<String>,
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is odd.
    Warning,
    /// News.
    Info,
    /// Details.
    Debug,
}

/// Which levels are logged: those up to the first always, those up to the second unless there are too many; 0 is no level at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// The last level that is always logged.
    pub always: u8,
    /// The last one that is logged within a limit.
    pub limited: u8,
}

impl Threshold {
    /// Returns one that logs a level, and what is more urgent, always.
    pub const fn always(level: Level) -> Threshold {
        Threshold { always: level as u8, limited: level as u8 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dom0_memory: 512 << 20,
            dom0_vcpus: None,
            dom0_vcpus_pin: false,
            level: Threshold::always(Level::Info),
            guest_level: Threshold { always: 0, limited: Level::Warning as u8 },
            input: Switch::new(Some(CTRL_A), Focus::Dom0),
            no_reboot: false,
            version: Release::default(),
            unknown: Vec::new(),
        }
    }
}

impl Options {
    /// Reads a command line. Later words win.
    pub fn parse(text: &str) -> Options {
        let mut options = Options::default();
        for word in text.split_ascii_whitespace() {
            if options.word(word).is_none() {
                options.unknown.push(word.to_string());
            }
        }
        options
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("dom0_mem", Some(value)) => {
                // As upstream has it on Arm, it is one size; what follows, as on x86, is not understood.
                let (first, rest) = value.split_once(',').map_or((value, None), |(first, rest)| (first, Some(rest)));
                self.dom0_memory = size(first).filter(|&size| size > 0)?;
                rest.map_or(Some(()), |_| None)?;
            }
            ("dom0_max_vcpus", Some(value)) => self.dom0_vcpus = Some(value.split('-').next_back()?.parse().ok()?),
            ("dom0_vcpus_pin", value) => self.dom0_vcpus_pin = flag(value)?,
            // Looked for long before.
            ("dtuart", Some(_)) => {}
            ("loglvl", Some(value)) => self.level = threshold(value)?,
            ("guest_loglvl", Some(value)) => self.guest_level = threshold(value)?,
            ("conswitch", Some(value)) => self.input = switch(value)?,
            ("noreboot", value) => self.no_reboot = flag(value)?,
            ("xen-abi", Some(name)) => self.version = Release::from_name(name)?,
            // The console is the device tree's UART, and always synchronous; memory is scrubbed when it changes hands.
            ("console", Some("dtuart")) => {}
            ("sync_console" | "bootscrub", value) => {
                flag(value)?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Returns the console's UART, by alias or path. Needs no heap.
pub fn dtuart(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("dtuart=")).next_back()
}

fn flag(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "yes" | "on" | "true" | "enable" | "idle") => Some(true),
        Some("0" | "no" | "off" | "false" | "disable") => Some(false),
        _ => None,
    }
}

/// `always`, or `always/limited`.
fn threshold(value: &str) -> Option<Threshold> {
    let (always, limited) = value.split_once('/').unwrap_or((value, value));
    let (always, limited) = (level(always)?, level(limited)?);
    Some(Threshold { always, limited: limited.max(always) })
}

fn level(name: &str) -> Option<u8> {
    match name {
        "none" => Some(0),
        "error" => Some(Level::Error as u8),
        "warning" => Some(Level::Warning as u8),
        "info" => Some(Level::Info as u8),
        "debug" | "all" => Some(Level::Debug as u8),
        _ => None,
    }
}

/// A letter, of which its control character changes who gets the input, or anything else for none; and `x` if Dom0 is not the first.
fn switch(value: &str) -> Option<Switch> {
    let (&letter, rest) = value.as_bytes().split_first()?;
    let focus = match rest {
        [] => Focus::Dom0,
        b"x" => Focus::Keys,
        _ => return None,
    };
    Some(Switch::new(letter.is_ascii_lowercase().then_some(letter & 0x1f), focus))
}

/// Reads a size: a number and one of B, K, M, G, T; without any it is KiB.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "B" | "b" => 1,
        "" | "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        "T" | "t" => 1u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_line_is_understood() {
        let line = "console=dtuart dtuart=/pl011@9000000 dom0_mem=1024M dom0_max_vcpus=2 dom0_vcpus_pin bootscrub=0";
        let options = Options::parse(line);
        assert_eq!(options.dom0_memory, 1 << 30);
        assert_eq!((options.dom0_vcpus, options.dom0_vcpus_pin), (Some(2), true));
        assert_eq!(dtuart(line), Some("/pl011@9000000"));
        assert!(options.unknown.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let options = Options::parse("dom0_mem=lots sched=credit2 loglvl=all noreboot xen-abi=4.20 dom0_mem=2G,max:3G");
        assert_eq!(options.unknown, ["dom0_mem=lots", "sched=credit2", "dom0_mem=2G,max:3G"]);
        assert_eq!(options.dom0_memory, 2 << 30);
        assert_eq!((options.level.limited, options.no_reboot), (Level::Debug as u8, true));
        assert_eq!(options.version, Release::V4_20);
        for release in Release::ALL {
            assert_eq!(Options::parse(&alloc::format!("xen-abi={}", release.name())).version, release);
        }
        assert_eq!(Options::parse("xen-abi=4.18 xen-abi").unknown, ["xen-abi=4.18", "xen-abi"]);
        assert_eq!(Options::parse("").version, Release::V4_17);
        assert_eq!(Options::parse("dom0_mem=min:1G dom0_mem=0").unknown.len(), 2);
        assert_eq!(Options::parse("dom0_mem=99999999999999999999T").unknown.len(), 1);
        assert_eq!(Options::parse("dom0_mem=99999999999T").unknown.len(), 1);
    }

    #[test]
    fn levels_are_always_or_within_limits() {
        let of = |line: &str| {
            let options = Options::parse(line);
            assert!(options.unknown.is_empty(), "{line}");
            [options.level.always, options.level.limited, options.guest_level.always, options.guest_level.limited]
        };
        assert_eq!(of(""), [3, 3, 0, 2]);
        assert_eq!(of("loglvl=error/warning guest_loglvl=all"), [1, 2, 4, 4]);
        // The limit is never below what is always said.
        assert_eq!(of("loglvl=debug/none guest_loglvl=none"), [4, 4, 0, 0]);
        assert_eq!(Options::parse("loglvl=loud guest_loglvl=info/ loglvl").unknown.len(), 3);
    }

    #[test]
    fn the_input_is_dom0s_unless_somebody_says_otherwise() {
        let of = |line: &str| {
            let input = Options::parse(line).input;
            (input.character(), input.focus())
        };
        assert_eq!(of(""), (Some(1), Focus::Dom0));
        assert_eq!(of("conswitch=b"), (Some(2), Focus::Dom0));
        assert_eq!(of("conswitch=ax"), (Some(1), Focus::Keys));
        assert_eq!(of("conswitch=-"), (None, Focus::Dom0));
        assert_eq!(Options::parse("conswitch= conswitch=ab").unknown.len(), 2);
    }
}
