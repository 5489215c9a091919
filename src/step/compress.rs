//! `compress`: an image becomes smaller, with all CPUs; the bytes do not depend on how many these are.

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use imagegen::archive::holes;
use imagegen::compress::{self, CompressError, Format};

use super::output::{self, watched};
use super::{Description, Kind, Workspace};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the input.
pub const INPUT: &str = "image";
/// The name of the output.
pub const OUTPUT: &str = "compressed";
/// The tools' own default.
const LEVEL: u32 = 6;

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compress {
    /// How.
    pub format: Format,
}

impl Kind for Compress {
    fn name(&self) -> &'static str {
        "compress"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("format", self.format.extension());
        if self.format != Format::Zstd {
            description.parameter("level", LEVEL);
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let from = workspace.file(INPUT)?;
        let cancel = workspace.task.cancel();
        let file = Arc::new(output::open(from)?);
        let found = holes::sparse(file, &mut || cancel.check().map_err(std::io::Error::other));
        cancel.check()?;
        let unreadable = |error| Error::io(format!("cannot read {}", from.display()), error);
        let source = found.map_err(unreadable)?;
        let path = workspace.folder.join(OUTPUT);
        let mut out = BufWriter::with_capacity(output::CHUNK_BYTES, output::create(&path)?);
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let total = imagegen::tree::Source::size_bytes(&source);
        let done = watched(workspace, total, |progress| {
            compress::compress(&source, self.format, LEVEL, threads, &mut out, progress)
        });
        done.map_err(|error| match error {
            CompressError::Source(error) => unreadable(error),
            CompressError::Output(error) => output::write_error(&path, error),
            CompressError::Cancelled => Error::new(ErrorKind::Interrupted, "interrupted"),
        })?;
        out.flush().map_err(|error| output::write_error(&path, error))
    }
}
