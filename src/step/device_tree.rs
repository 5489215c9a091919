//! `device-tree`: a source or blob, with overlays on top, becomes the machine's blob.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dts::boards::Boards;
use dts::{LoadError, Loader, Options};

use super::{Content, Description, Given, Kind, Workspace, includes, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the output.
pub const OUTPUT: &str = "machine.dtb";
/// The name of the input that is the source, unless a carried board is.
pub const SOURCE: &str = "source";
/// The largest blob: what Linux and Xen map (Documentation/arm64/booting.rst).
const BLOB_MAX_BYTES: u64 = 2 << 20;

/// The step. Inputs: [`SOURCE`], the overlays, and every carried file, as `board NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceTree {
    /// The carried board that is the source, if no input is: `qemu-virt`.
    pub board: Option<&'static str>,
    /// Macros: what describes the machine, and what the recipe adds.
    pub defines: BTreeMap<String, String>,
    /// Names of the inputs that are overlays, in order.
    pub overlays: Vec<String>,
}

impl Kind for DeviceTree {
    fn name(&self) -> &'static str {
        "device-tree"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("board", self.board.unwrap_or("none"));
        for (name, value) in &self.defines {
            description.parameter(format!("define {name}"), value);
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        output::write(&workspace.folder.join(OUTPUT), &self.blob(workspace)?)
    }
}

impl DeviceTree {
    /// Returns the machine's blob.
    pub fn blob(&self, workspace: &Workspace<'_>) -> Result<Vec<u8>> {
        let mut blob = match self.board {
            Some(board) => self.compile(&Boards, &format!("{board}.dts"), workspace)?,
            None => self.blob_of(workspace.input(SOURCE)?, workspace)?,
        };
        let mut overlays = Vec::new();
        for name in &self.overlays {
            overlays.push((name, self.blob_of(workspace.input(name)?, workspace)?));
        }
        for (name, overlay) in overlays {
            workspace.task.cancel().check()?;
            blob = fdt::overlay::apply_blobs(&blob, [overlay.as_slice()])
                .map_err(|error| Error::new(ErrorKind::Input, format!("{name}: {error}")))?;
        }
        if blob.len() as u64 > BLOB_MAX_BYTES {
            let message = format!("the device tree has {} bytes, more than the {BLOB_MAX_BYTES} allowed", blob.len());
            return Err(Error::new(ErrorKind::Input, message));
        }
        Ok(blob)
    }

    /// Returns the blob that an input is, or becomes.
    fn blob_of(&self, given: &Given, workspace: &Workspace<'_>) -> Result<Vec<u8>> {
        let files = match &given.content {
            Content::Sources(files) => files.clone(),
            _ => vec![(given.name.replace(' ', "-"), given.file()?.to_owned())],
        };
        let first = files.first().map(|(name, path)| (name.clone(), path.clone()));
        let (name, path) = first.ok_or_else(|| Error::new(ErrorKind::Internal, "a source without a file"))?;
        let bytes = output::read_limited(&path, includes::FILE_MAX_BYTES)?;
        if bytes.starts_with(&includes::BLOB_MAGIC) {
            fdt::Fdt::new(&bytes)
                .map_err(|error| Error::new(ErrorKind::Input, format!("{}: {error}", path.display())))?;
            return Ok(bytes);
        }
        let files = Files(files.into_iter().collect());
        self.compile(&dts::Either(&files, &Boards), &name, workspace)
    }

    fn compile(&self, loader: &dyn Loader, path: &str, workspace: &Workspace<'_>) -> Result<Vec<u8>> {
        let options = Options {
            defines: self.defines.clone().into_iter().collect(),
            // The source's own folder, and the carried files by their bare names.
            include_dirs: vec![String::new()],
            // Overlays find what they change by its label.
            symbols: !self.overlays.is_empty(),
            ..Options::default()
        };
        let compiled = dts::compile(loader, path, &options).map_err(|diagnostics| {
            let message = format!("{path} does not compile\n{}", diagnostics.render(false).trim_end());
            Error::new(ErrorKind::Input, message)
        })?;
        for line in compiled.warnings.render(false).lines() {
            workspace.task.note(line);
        }
        Ok(compiled.dtb)
    }
}

/// The files of a local source, by the names under which it asks for them.
struct Files(BTreeMap<String, PathBuf>);

impl Loader for Files {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        let path = self.0.get(&includes::normal(path)).ok_or(LoadError::NotFound)?;
        output::read_limited(path, includes::FILE_MAX_BYTES).map_err(|error| LoadError::Failed(error.to_string()))
    }
}

/// Returns every file that the carried boards are made of.
pub fn carried() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut todo: Vec<String> = dts::boards::NAMES.iter().rev().map(|name| format!("{name}.dts")).collect();
    while let Some(name) = todo.pop() {
        let known = files.iter().any(|(known, _)| *known == name);
        if let (false, Ok(bytes)) = (known, Boards.load(&name)) {
            todo.extend(includes::mentioned(&bytes));
            files.push((name, bytes));
        }
    }
    files.sort();
    files
}
