//! What `du` counts: the bytes that files take of their volume. A file with several names counts once.

use std::collections::HashSet;

use imagegen::volume::Walk;

use super::FilePlace;
use crate::error::Result;

/// A file or folder, with all that is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    /// Its path from where the counting began; empty for that itself.
    pub path: Vec<u8>,
    /// How many folders of the count it lies in.
    pub depth: usize,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// The bytes it takes.
    pub allocated_bytes: u64,
    /// The bytes of content.
    pub content_bytes: u64,
}

/// Counts a place, and hands out each file and, behind what is in it, each folder. What cannot be read is not counted,
/// and a word to `complain`.
///
/// # Errors
/// Those of `visit`.
pub fn usage(
    place: &FilePlace,
    visit: &mut dyn FnMut(&Used) -> Result<()>,
    complain: &mut dyn FnMut(String),
) -> Result<()> {
    let mut open: Vec<Used> = Vec::new();
    let mut counted = HashSet::new();
    for step in Walk::new(&*place.volume, place.id) {
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                complain(format!("{}: {}", place.below(&error.path), error.error));
                continue;
            }
        };
        while open.len() > step.depth {
            close(&mut open, visit)?;
        }
        let is_directory = step.node.kind.is_directory();
        let first = is_directory || step.node.links < 2 || counted.insert(step.id);
        let bytes = |bytes| if first { bytes } else { 0 };
        let used = Used {
            path: step.path,
            depth: step.depth,
            is_directory,
            allocated_bytes: bytes(step.node.allocated_bytes),
            content_bytes: bytes(if is_directory { 0 } else { step.node.size_bytes }),
        };
        open.push(used);
        if !is_directory {
            close(&mut open, visit)?;
        }
    }
    while !open.is_empty() {
        close(&mut open, visit)?;
    }
    Ok(())
}

/// Hands out the innermost one, and adds it to what it is in.
fn close(open: &mut Vec<Used>, visit: &mut dyn FnMut(&Used) -> Result<()>) -> Result<()> {
    let Some(done) = open.pop() else { return Ok(()) };
    visit(&done)?;
    if let Some(parent) = open.last_mut() {
        parent.allocated_bytes = parent.allocated_bytes.saturating_add(done.allocated_bytes);
        parent.content_bytes = parent.content_bytes.saturating_add(done.content_bytes);
    }
    Ok(())
}
