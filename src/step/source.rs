//! `source`: unpacked archives become one source tree: Debian's patches applied, then the recipe's, then its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use imagegen::archive::{ReadOptions, tar};
use imagegen::patch::{self, Patch};
use imagegen::tree::{InodeId, Kind as NodeKind, Metadata, Timestamp, Tree};

use super::{Description, Given, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the output.
pub const OUTPUT: &str = "source.tar";
/// The largest patch, and the largest file put on top, in bytes.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// How much context the recipe's own patches may miss: what `patch` allows by itself.
const OWN_FUZZ: usize = 2;

/// What the archives are to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// The input `archive` holds the tree, all in one folder or not.
    Archive,
    /// The input `archive` is a commit: the tree itself.
    Commit,
    /// The inputs are the parts of a Debian source package: `orig`, `orig-NAME`, `debian`, `diff`.
    Debian,
}

/// A file put into the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum File {
    /// With this text.
    Text(String),
    /// The input of this name.
    Input(String),
}

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// What the archives are.
    pub form: Form,
    /// How errors call what they come from.
    pub title: String,
    /// Inputs that are patches, in order, and how errors call them.
    pub patches: Vec<(String, String)>,
    /// Files on top, by their path in the tree.
    pub files: BTreeMap<String, File>,
}

impl Kind for Source {
    fn name(&self) -> &'static str {
        "source"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        let form = match self.form {
            Form::Archive => "archive",
            Form::Commit => "commit",
            Form::Debian => "debian",
        };
        description.parameter("form", form);
        for (path, file) in &self.files {
            match file {
                File::Text(text) => description.text(format!("file {path}"), text),
                File::Input(_) => description.parameter(format!("file {path}"), "local file"),
            }
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let mut tree = self.unpacked(workspace)?;
        for (input, title) in &self.patches {
            workspace.task.cancel().check()?;
            let bytes = workspace.input(input)?.read(FILE_MAX_BYTES)?;
            apply(&mut tree, &bytes, title, OWN_FUZZ, workspace)?;
        }
        for (path, file) in &self.files {
            let bytes = match file {
                File::Text(text) => text.clone().into_bytes(),
                File::Input(input) => workspace.input(input)?.read(FILE_MAX_BYTES)?,
            };
            let old = tree.lookup(path.as_bytes(), true).map(|id| tree.inode(id).metadata.mode);
            let metadata = Metadata::root(old.unwrap_or(0o644), Timestamp::default());
            tree.insert(path.as_bytes(), NodeKind::File(Arc::new(bytes)), metadata)
                .map_err(|error| Error::new(ErrorKind::Input, format!("{}: {error}", self.title)))?;
        }
        normalize(&mut tree);
        let path = workspace.folder.join(OUTPUT);
        let mut file = std::io::BufWriter::with_capacity(1 << 20, output::create(&path)?);
        tar::write(&tree, &mut file, &tar::WriteOptions::default())
            .map_err(|error| Error::new(ErrorKind::Host, format!("cannot write {}: {error}", path.display())))?;
        std::io::Write::flush(&mut file).map_err(|error| output::write_error(&path, error))
    }
}

impl Source {
    fn unpacked(&self, workspace: &Workspace<'_>) -> Result<Tree> {
        let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
        match self.form {
            Form::Commit => read(&mut tree, workspace.file("archive")?, &[], 0, &self.title)?,
            Form::Archive => read_stripped(&mut tree, workspace.file("archive")?, &[], &self.title)?,
            Form::Debian => self.debian(&mut tree, workspace)?,
        }
        Ok(tree)
    }

    /// Lays the parts of a Debian source package over each other, as `dpkg-source -x` does.
    fn debian(&self, tree: &mut Tree, workspace: &Workspace<'_>) -> Result<()> {
        read_stripped(tree, workspace.file("orig")?, &[], &self.title)?;
        for input in workspace.inputs {
            if let Some(component) = input.name.strip_prefix("orig-") {
                tree.remove(component.as_bytes());
                read_stripped(tree, input.file()?, component.as_bytes(), &self.title)?;
            }
        }
        if let Ok(diff) = workspace.input("diff") {
            return self.old_diff(tree, diff, workspace);
        }
        let Ok(debian) = workspace.input("debian") else { return Ok(()) };
        tree.remove(b"debian");
        read(tree, debian.file()?, &[], 0, &self.title)?;
        let Some(series) = text(tree, b"debian/patches/series")? else { return Ok(()) };
        for line in String::from_utf8_lossy(&series).lines() {
            workspace.task.cancel().check()?;
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            if words.any(|word| word != "-p1") {
                let message = format!("{}: debian/patches/series: `{line}` asks for more than -p1", self.title);
                return Err(Error::new(ErrorKind::Input, message));
            }
            let path = format!("debian/patches/{name}");
            let title = format!("{}: {path}", self.title);
            let missing = || Error::new(ErrorKind::Input, format!("{title}: the series names it, but it is not there"));
            let bytes = text(tree, path.as_bytes())?.ok_or_else(missing)?;
            // Patches that only describe something are left in series.
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            apply(tree, &bytes, &title, 0, workspace)?;
        }
        Ok(())
    }

    /// Applies the `.diff.gz` of the old source format.
    fn old_diff(&self, tree: &mut Tree, diff: &Given, workspace: &Workspace<'_>) -> Result<()> {
        use std::io::Read;
        let title = format!("{}: its diff", self.title);
        let bad = |error: std::io::Error| Error::new(ErrorKind::Input, format!("{title}: {error}"));
        let mut bytes = Vec::new();
        let file = output::open(diff.file()?)?;
        let reader = imagegen::decompress::reader(Box::new(std::io::BufReader::new(file))).map_err(bad)?;
        reader.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(bad)?;
        apply(tree, &bytes, &title, 0, workspace)
    }
}

/// Applies one patch, and tells of hunks that needed fuzz.
fn apply(tree: &mut Tree, bytes: &[u8], title: &str, fuzz: usize, workspace: &Workspace<'_>) -> Result<()> {
    let bad = |error: patch::PatchError| {
        Error::new(ErrorKind::Input, format!("the patch {title} does not apply: {error}"))
            .hint("the tree may be another version than the patch was made for")
    };
    let parsed = Patch::parse(bytes).map_err(bad)?;
    let moved = patch::apply(tree, &parsed, &patch::Options { strip: 1, fuzz }).map_err(bad)?;
    for patch::Moved { file, hunk, fuzz, .. } in moved.iter().filter(|moved| moved.fuzz > 0) {
        workspace.task.note(&format!("{title}: {file}: hunk {hunk} applied with fuzz {fuzz}"));
    }
    Ok(())
}

fn read(tree: &mut Tree, archive: &Path, to: &[u8], strip: usize, title: &str) -> Result<()> {
    let options = ReadOptions { to: to.to_vec(), strip, ..ReadOptions::default() };
    tar::read_into(tree, &Arc::new(output::open(archive)?), &options)
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::Input, format!("{title}: {error}")))
}

/// Reads an archive without the one folder that all of it lies in, if there is one.
pub fn read_stripped(tree: &mut Tree, archive: &Path, to: &[u8], title: &str) -> Result<()> {
    let mut whole = Tree::new(Metadata::default());
    read(&mut whole, archive, &[], 0, title)?;
    let mut top = whole.entries(Tree::ROOT).map(|(_, id)| id);
    let is_folder = |id: InodeId| matches!(whole.inode(id).kind, NodeKind::Directory(_));
    let one_folder = matches!((top.next(), top.next()), (Some(id), None) if is_folder(id));
    drop(top);
    read(tree, archive, to, usize::from(one_folder), title)
}

/// Returns the text of a file in the tree.
fn text(tree: &Tree, path: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(id) = tree.lookup(path, true) else { return Ok(None) };
    let NodeKind::File(source) = &tree.inode(id).kind else { return Ok(None) };
    let name = String::from_utf8_lossy(path);
    if source.size_bytes() > FILE_MAX_BYTES {
        return Err(Error::new(ErrorKind::Input, format!("{name} is larger than {FILE_MAX_BYTES} bytes")));
    }
    let mut bytes = vec![0; source.size_bytes() as usize];
    source.read_at(0, &mut bytes).map_err(|error| Error::io(format!("cannot read {name}"), error))?;
    Ok(Some(bytes))
}

/// Takes away what no compiler looks at: owners, times, and all of the mode but who may execute.
fn normalize(tree: &mut Tree) {
    let mut all = Vec::new();
    tree.walk(|_, id| all.push(id));
    for id in all {
        let inode = tree.inode(id);
        let program = matches!(inode.kind, NodeKind::Directory(_)) || inode.metadata.mode & 0o100 != 0;
        *tree.metadata_mut(id) = Metadata::root(if program { 0o755 } else { 0o644 }, Timestamp::default());
    }
}
