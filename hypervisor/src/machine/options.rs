//! The hypervisor's command line, in upstream's words.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Which of Xen's versions the guests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 4.14
    V4_14,
    /// 4.17
    V4_17,
    /// 4.20
    V4_20,
}

impl Version {
    /// Returns major and minor.
    pub fn numbers(self) -> (u32, u32) {
        match self {
            Version::V4_14 => (4, 14),
            Version::V4_17 => (4, 17),
            Version::V4_20 => (4, 20),
        }
    }
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory for Dom0.
    pub dom0_memory: u64,
    /// vCPUs of Dom0, if said.
    pub dom0_vcpus: Option<usize>,
    /// The console's UART, by alias or path.
    pub dtuart: Option<String>,
    /// The most verbose level that is logged.
    pub level: Level,
    /// The same for what guests cause.
    pub guest_level: Level,
    /// Stop instead of starting anew.
    pub no_reboot: bool,
    /// Which Xen the guests see.
    pub version: Version,
    /// What was not understood.
    pub unknown: Vec<String>,
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warning,
    /// News.
    Info,
    /// Details.
    Debug,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dom0_memory: 512 << 20,
            dom0_vcpus: None,
            dtuart: None,
            level: Level::Info,
            guest_level: Level::Warning,
            no_reboot: false,
            version: Version::V4_17,
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
                // "512M,max:1G": only what it starts with.
                let first = value.split(',').find(|part| !part.contains(':')).or_else(|| value.split(',').next())?;
                self.dom0_memory = size(first.rsplit(':').next()?)?;
            }
            ("dom0_max_vcpus", Some(value)) => self.dom0_vcpus = Some(value.split('-').next_back()?.parse().ok()?),
            ("dtuart", Some(value)) => self.dtuart = Some(value.to_string()),
            ("loglvl", Some(value)) => self.level = level(value)?,
            ("guest_loglvl", Some(value)) => self.guest_level = level(value)?,
            ("noreboot", value) => self.no_reboot = flag(value)?,
            ("xen-abi", Some("4.14")) => self.version = Version::V4_14,
            ("xen-abi", Some("4.17")) => self.version = Version::V4_17,
            ("xen-abi", Some("4.20")) => self.version = Version::V4_20,
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

fn flag(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "yes" | "on" | "true" | "enable" | "idle") => Some(true),
        Some("0" | "no" | "off" | "false" | "disable") => Some(false),
        _ => None,
    }
}

/// `error`, or `lower/upper` of which the upper counts.
fn level(value: &str) -> Option<Level> {
    match value.rsplit('/').next()? {
        "none" | "error" => Some(Level::Error),
        "warning" => Some(Level::Warning),
        "info" => Some(Level::Info),
        "debug" | "all" => Some(Level::Debug),
        _ => None,
    }
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
        let line = "console=dtuart dtuart=/pl011@9000000 dom0_mem=1024M dom0_max_vcpus=2 bootscrub=0";
        let options = Options::parse(line);
        assert_eq!(options.dom0_memory, 1 << 30);
        assert_eq!(options.dom0_vcpus, Some(2));
        assert_eq!(options.dtuart.as_deref(), Some("/pl011@9000000"));
        assert!(options.unknown.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let options = Options::parse("dom0_mem=lots sched=credit2 loglvl=all noreboot xen-abi=4.20 dom0_mem=2G,max:3G");
        assert_eq!(options.unknown, ["dom0_mem=lots", "sched=credit2"]);
        assert_eq!(options.dom0_memory, 2 << 30);
        assert_eq!((options.level, options.no_reboot, options.version), (Level::Debug, true, Version::V4_20));
        assert_eq!(Options::parse("dom0_mem=99999999999999999999T").unknown.len(), 1);
        assert_eq!(Options::parse("dom0_mem=99999999999T").unknown.len(), 1);
    }
}
