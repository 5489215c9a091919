//! What images of file trees fail for in the same words, whatever the file system.

use std::cmp::Reverse;
use std::fmt;
use std::io;

const MIB: u64 = 1 << 20;

/// Says how much more an image needs than what is `given` and what is `needed` of it: its parts, largest first, and its
/// biggest files; all in bytes.
pub(crate) fn write_shortage(
    f: &mut fmt::Formatter<'_>,
    (given, needed): (u64, u64),
    mut parts: Vec<(u64, String)>,
    biggest: &[(String, u64)],
) -> fmt::Result {
    let more = (needed - given).div_ceil(MIB);
    let (given, needed) = (mib(given), mib(needed));
    write!(f, "needs {more} MiB more, because {needed} are needed where {given} are given: ")?;
    parts.retain(|&(bytes, _)| bytes > 0);
    parts.sort_by_key(|&(bytes, _)| Reverse(bytes));
    for (number, (bytes, what)) in parts.iter().enumerate() {
        write!(f, "{}{} {what}", if number > 0 { ", " } else { "" }, mib(*bytes))?;
    }
    for (number, (path, bytes)) in biggest.iter().enumerate() {
        write!(f, "{}{path} ({})", if number > 0 { ", " } else { "; the biggest files are " }, mib(*bytes))?;
    }
    Ok(())
}

/// Writes a size in MiB with one decimal, rounded up so that nothing shows as nothing.
pub(crate) fn mib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(MIB));
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Why an image was not written to its end.
#[derive(Debug)]
pub enum WriteError {
    /// A file's content could not be read.
    Source {
        /// The file's path in the tree.
        path: String,
        /// What the source said.
        error: io::Error,
    },
    /// A file is no longer what it was when the image was planned.
    Changed {
        /// The file's path in the tree.
        path: String,
    },
    /// The image could not be written.
    Output(io::Error),
    /// The progress function asked to stop.
    Cancelled,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Source { path, error } => write!(f, "cannot read {path}: {error}"),
            WriteError::Changed { path } => write!(f, "{path} changed while its image was made"),
            WriteError::Output(error) => write!(f, "cannot write the image: {error}"),
            WriteError::Cancelled => write!(f, "cancelled"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Source { error, .. } | WriteError::Output(error) => Some(error),
            WriteError::Changed { .. } | WriteError::Cancelled => None,
        }
    }
}
