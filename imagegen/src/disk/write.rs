//! The plan carried out: tables and content, front to back.

use std::fs::File;
use std::ops::ControlFlow;

use super::error::WriteError;
use super::plan::Plan;
use super::{Content, layout};
use crate::sink::{CopyError, Sink};

/// Something to be written at a position.
enum Piece<'a> {
    Table(&'a [u8]),
    Content(&'a str, &'a Content),
}

impl Plan<'_> {
    /// Writes the disk into a file, and leaves the file exactly so long.
    ///
    /// The file becomes one hole first; what contents call holes is left out. `progress` hears how many of
    /// [`Plan::content_bytes`] are done, and may break off.
    ///
    /// # Errors
    /// The content that could not be read or no longer is what it was; the output; [`WriteError::Cancelled`].
    pub fn write(&self, file: &File, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<(), WriteError> {
        file.set_len(0).map_err(WriteError::Output)?;
        let mut sink = Sink::new(file, 0, self.size_bytes()).map_err(WriteError::Output)?;
        let mut done = 0;
        for (position, piece) in self.pieces() {
            match piece {
                Piece::Table(bytes) => sink.put(position, bytes).map_err(WriteError::Output)?,
                Piece::Content(name, content) => {
                    let size = content.source.size_bytes();
                    let copied =
                        sink.whole(&*content.source, size, position, |part| progress(done + part).is_continue());
                    copied.map_err(|error| match error {
                        CopyError::Source(error) => WriteError::Source { name: name.to_owned(), error },
                        CopyError::Output(error) => WriteError::Output(error),
                        CopyError::Changed => WriteError::Changed { name: name.to_owned() },
                        CopyError::Cancelled => WriteError::Cancelled,
                    })?;
                    done += size;
                }
            }
        }
        sink.flush().map_err(WriteError::Output)?;
        match progress(self.content_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WriteError::Cancelled),
        }
    }

    /// Returns all there is to write, ascending.
    fn pieces(&self) -> Vec<(u64, Piece<'_>)> {
        let tables = self.tables.iter().map(|(position, bytes)| (*position, Piece::Table(bytes)));
        let gaps = self.gaps.iter().map(|gap| (gap.offset, Piece::Content(&gap.name, &gap.content)));
        let partitions = self.partitions.iter().zip(&self.layout.places);
        let partitions = partitions.filter_map(|(partition, place): (_, &layout::Place)| {
            Some((place.start, Piece::Content(&partition.name, partition.content.as_ref()?)))
        });
        let mut pieces: Vec<_> = tables.chain(gaps).chain(partitions).collect();
        pieces.sort_by_key(|(position, _)| *position);
        pieces
    }
}
