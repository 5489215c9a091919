//! `bmap`: a list of the blocks of an image that mean something, with their hashes, for bmaptool and for `flash`.

use std::io;

use imagegen::disk::bmap;
use imagegen::tree::Extent;

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Result};

/// The name of the input.
pub const INPUT: &str = "image";
/// The name of the output.
pub const OUTPUT: &str = "bmap";

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bmap;

impl Kind for Bmap {
    fn name(&self) -> &'static str {
        "bmap"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, _: &mut Description) {}

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let given = workspace.input(INPUT)?;
        let path = given.file()?;
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let image = output::open(path)?;
        let size_bytes = image.metadata().map_err(failed)?.len();
        let mapped = given.map()?.unwrap_or_else(|| vec![Extent { offset: 0, length: size_bytes }]);
        let task = workspace.task;
        task.total(mapped.iter().map(|extent| extent.length).sum());
        let mut told = 0;
        let text = bmap::of(&image, size_bytes, &mapped, &mut |done| {
            task.advance(done - told);
            told = done;
            task.cancel().check().map_err(io::Error::other)
        });
        task.cancel().check()?;
        output::write(&workspace.folder.join(OUTPUT), text.map_err(failed)?.as_bytes())
    }
}
