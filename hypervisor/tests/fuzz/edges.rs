//! How many edges a target takes of those that the compiler counts, where `hypervisor/fuzz/instrument` has built it: read from what the
//! process leaves at its end (LLVM's InstrProfilingPlatform and InstrProfData.inc: the raw profile).

use std::env;
use std::fs;
use std::process::{self, Command, Stdio};

/// "\xfflprofr\x81", of 64 bits.
const MAGIC: u64 = 0xff6c_7072_6f66_7281;
/// Versions whose header has the fields below in these places.
const VERSIONS: std::ops::RangeInclusive<u64> = 9..=10;
/// Words of the header that say how much there is: of identifiers, records, padding, and counters.
const FIELDS: [usize; 4] = [2, 3, 4, 5];
/// Bytes of a record, which describes a function.
const RECORD: u64 = 64;

/// Edges that were taken, and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    /// Those taken at least once.
    pub taken: usize,
    /// All.
    pub all: usize,
}

/// Reads a raw profile.
///
/// # Errors
/// What is wrong with it.
pub fn read(profile: &[u8]) -> Result<Edges, String> {
    let word = |offset: u64| {
        let bytes = usize::try_from(offset).ok().and_then(|at| profile.get(at..)?.first_chunk::<8>());
        bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(|| format!("ends before byte {offset}"))
    };
    if word(0)? != MAGIC {
        return Err("is no raw profile".into());
    }
    // The upper byte has flags.
    let version = word(8)? & 0xff_ffff;
    if !VERSIONS.contains(&version) {
        return Err(format!("has version {version}, which is not known"));
    }
    let header = if version == 9 { 14 } else { 16 } * 8;
    let [identifiers, records, padding, counters] = FIELDS.map(|index| word(index as u64 * 8));
    let start = records?
        .checked_mul(RECORD)
        .and_then(|records| records.checked_add(header)?.checked_add(identifiers.ok()?)?.checked_add(padding.ok()?))
        .ok_or("says that it is larger than can be")?;
    let all = counters?;
    let end = all.checked_mul(8).and_then(|size| start.checked_add(size)).ok_or("has more counters than can be")?;
    if end > profile.len() as u64 {
        return Err("ends before its counters do".into());
    }
    let taken = (0..all).filter(|index| word(start + index * 8).is_ok_and(|count| count != 0)).count();
    Ok(Edges { taken, all: all as usize })
}

/// Runs one test of this program by itself, and returns the edges it took; none if the program does not count them.
pub fn of_test(name: &str) -> Option<Edges> {
    let profile = env::temp_dir().join(format!("edges-{}-{name}.profraw", process::id()));
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", name]).env("LLVM_PROFILE_FILE", &profile).stdout(Stdio::null());
    let status = command.status().expect("the test starts");
    let bytes = fs::read(&profile).ok();
    let _ = fs::remove_file(&profile);
    assert!(status.success(), "{name} fails");
    let edges = read(&bytes?);
    Some(edges.unwrap_or_else(|wrong| panic!("{}: {wrong}", profile.display())))
}
