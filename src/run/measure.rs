//! Measures inputs: what a manifest says about a local file or folder, or about what an earlier step made.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::index::{Index, Look};
use super::tools;
use crate::error::{Error, Kind, Result};
use crate::plan::manifest::InputLines;
use crate::recipe::Origin;
use crate::step::{Content, Digest, Input, InputSource, Output, includes, output};
use crate::task::Task;

/// The most files that one `folder` may hold: each is a line of the manifest.
const FOLDER_FILES_MAX: usize = 1_000_000;

/// What measuring needs to know.
pub struct Measure<'a> {
    /// Digests of files.
    pub index: &'a Index,
    /// Shows where the recipe asks for a file that is not as it should be.
    pub blame: &'a (dyn Fn(&Origin, String) -> Error + Sync),
    /// Progress, and the flag that says stop.
    pub task: &'a dyn Task,
}

/// How local files and folders looked when they were measured: compared after a step has read them.
pub type Looks = Vec<(PathBuf, Look)>;

impl Measure<'_> {
    /// Returns the manifest's lines for an input; `outputs` are those of the step it comes from.
    pub fn lines(&self, input: &Input, outputs: Option<&[Output]>, looks: &mut Looks) -> Result<InputLines> {
        let whole = |value: String| vec![(String::new(), value)];
        match &input.source {
            InputSource::Step(_) | InputSource::Output(..) => {
                let outputs = outputs.expect("the outputs of a step are known when they are measured");
                let taken: Vec<&Output> = outputs.iter().filter(|output| input.takes(&output.name)).collect();
                Ok(match taken.as_slice() {
                    [output] => whole(output.sha256.to_string()),
                    outputs => {
                        let line = |output: &&Output| (format!(": {}", output.name), output.sha256.to_string());
                        outputs.iter().map(line).collect()
                    }
                })
            }
            InputSource::Compiler => tools::compiler(),
            InputSource::Carried(bytes) => Ok(whole(Digest::of(bytes).to_string())),
            InputSource::File { path, sha256, mode } => {
                let found = self.file(path, input, looks)?;
                self.compare(path, found, *sha256, input)?;
                let program = *mode && fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o100 != 0);
                Ok(whole(format!("{found}{}", if program { " program" } else { "" })))
            }
            InputSource::TreeSource { path, sha256 } => {
                let found = self.file(path, input, looks)?;
                self.compare(path, found, *sha256, input)?;
                let mut lines = Vec::new();
                for (name, path) in includes::all(path).map_err(|error| self.at(input, error))? {
                    let found = self.file(&path, input, looks)?;
                    lines.push((if lines.is_empty() { name } else { format!(": {name}") }, found.to_string()));
                }
                // The source's own name means nothing, what it includes is found by name.
                lines[0].0.clear();
                Ok(lines)
            }
            InputSource::Folder { path, keep } => self.folder(path, *keep, input, looks),
        }
    }

    /// Returns where an input's bytes are; `outputs` are the paths of those of the step it comes from.
    pub fn content(input: &Input, outputs: impl FnOnce() -> Vec<PathBuf>) -> Result<Content> {
        Ok(match &input.source {
            InputSource::Step(_) | InputSource::Output(..) => Content::Files(outputs()),
            InputSource::Compiler => Content::Bytes(tools::cross_prefix().into_bytes().into()),
            InputSource::File { path, .. } => Content::Files(vec![path.clone()]),
            InputSource::TreeSource { path, .. } => Content::Sources(includes::all(path)?),
            InputSource::Folder { path, keep } => Content::Folder { path: path.clone(), keep: *keep },
            InputSource::Carried(bytes) => Content::Bytes(bytes.clone()),
        })
    }

    fn compare(&self, path: &Path, found: Digest, wanted: Option<Digest>, input: &Input) -> Result<()> {
        match wanted {
            Some(wanted) if wanted != found => {
                let message = format!("{} hashes to {found}, not to {wanted}", path.display());
                Err(self.at(input, Error::new(Kind::Input, message)))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, path: &Path, input: &Input, looks: &mut Looks) -> Result<Digest> {
        // Before it is read: what changes while it is measured must show afterwards.
        if let Ok(metadata) = fs::metadata(path) {
            looks.push((path.to_owned(), Look::of(&metadata)));
        }
        self.index.digest(path, self.task).map_err(|error| self.at(input, error))
    }

    /// Lists a folder: one line for each name below it, parents first, siblings in byte order.
    fn folder(&self, root: &Path, keep: bool, input: &Input, looks: &mut Looks) -> Result<InputLines> {
        let metadata = fs::metadata(root)
            .map_err(|error| self.at(input, Error::io(format!("cannot read {}", root.display()), error)))?;
        if !metadata.is_dir() {
            return Err(self.at(input, Error::new(Kind::Input, format!("{} is not a folder", root.display()))));
        }
        let mut lines =
            vec![(String::new(), if keep { folder_value(root, &metadata, keep)? } else { "folder".into() })];
        let mut first_names: BTreeMap<(u64, u64), String> = BTreeMap::new();
        // A folder's look is taken before it is listed: it changes with every name that comes or goes.
        looks.push((root.to_owned(), Look::of(&metadata)));
        let mut todo = list(root)?;
        while let Some(path) = todo.pop() {
            self.task.cancel().check()?;
            if lines.len() > FOLDER_FILES_MAX {
                let message = format!("{} holds more than {FOLDER_FILES_MAX} files", root.display());
                return Err(self.at(input, Error::new(Kind::Input, message)));
            }
            let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
            let metadata = fs::symlink_metadata(&path).map_err(failed)?;
            let name = show(path.strip_prefix(root).unwrap_or(&path));
            let value = match first_names.get(&(metadata.dev(), metadata.ino())) {
                Some(first) if keep && metadata.nlink() > 1 && !metadata.is_dir() => {
                    format!("the same file as {first}")
                }
                _ => {
                    first_names.insert((metadata.dev(), metadata.ino()), name.clone());
                    let mut value = folder_value(&path, &metadata, keep)?;
                    if metadata.is_file() {
                        looks.push((path.clone(), Look::of(&metadata)));
                        let digest = self.index.digest(&path, self.task).map_err(|error| self.at(input, error))?;
                        value.push_str(&format!(" {digest}"));
                    }
                    value
                }
            };
            lines.push((format!(": {name}"), value));
            if metadata.is_dir() {
                looks.push((path.clone(), Look::of(&metadata)));
                todo.extend(list(&path)?);
            }
        }
        Ok(lines)
    }

    /// Shows where the recipe asks for what went wrong.
    fn at(&self, input: &Input, error: Error) -> Error {
        match &input.origin {
            Some(origin) if error.kind != Kind::Interrupted => {
                let mut blamed = (self.blame)(origin, error.to_string());
                // A wrong hash is not the recipe's fault in the way that a misspelt key is.
                blamed.kind = if error.kind == Kind::Input { Kind::Input } else { blamed.kind };
                blamed.hints.extend(error.hints);
                blamed
            }
            _ => error,
        }
    }
}

/// Makes sure that local files and folders still look as they did when they were measured.
pub fn unchanged(looks: &Looks) -> Result<()> {
    for (path, look) in looks {
        let now = fs::metadata(path).map(|metadata| Look::of(&metadata));
        if now.ok() != Some(*look) {
            let message = format!("{} changed while it was being used", path.display());
            return Err(Error::new(Kind::Input, message).hint("run the command again"));
        }
    }
    Ok(())
}

/// Lists a folder, last name first: the order of a stack.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(failed)?;
    names.sort_unstable_by(|a, b| b.as_os_str().as_bytes().cmp(a.as_os_str().as_bytes()));
    Ok(names)
}

/// Says what counts of one thing in a folder, besides the content of files.
fn folder_value(path: &Path, metadata: &Metadata, keep: bool) -> Result<String> {
    let kind = metadata.file_type();
    let mut value = if kind.is_dir() {
        "folder".to_owned()
    } else if kind.is_symlink() {
        let target =
            fs::read_link(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        format!("link to {}", show(&target))
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {:o} {}", metadata.mode() & 0o170000, metadata.rdev())
    } else if kind.is_file() {
        if !keep && metadata.mode() & 0o100 != 0 { "program" } else { "file" }.to_owned()
    } else {
        format!("special {:o}", metadata.mode() & 0o170000)
    };
    if keep {
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        value.push_str(&format!(" {mode:04o} {uid}:{gid} {}.{:09}", metadata.mtime(), metadata.mtime_nsec()));
        for (name, content) in output::xattrs(path)? {
            value.push_str(&format!(" {}={}", name.escape_ascii(), Digest::of(&content)));
        }
    }
    Ok(value)
}

/// Writes a path as text, differently for different paths.
fn show(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace('\\', "\\\\"),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Silent;

    fn looks(source: InputSource) -> Looks {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::load(&folder.path().join("index"));
        let blame = |_: &Origin, message: String| Error::new(Kind::Recipe, message);
        let measure = Measure { index: &index, blame: &blame, task: &Silent::default() };
        let mut looks = Looks::new();
        measure.lines(&Input { name: "x".into(), source, origin: None }, None, &mut looks).unwrap();
        looks
    }

    #[test]
    fn names_that_come_and_go_at_any_depth_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        let measured = || looks(InputSource::Folder { path: root.clone(), keep: false });
        for below in ["new", "a/new", "a/b/new"] {
            let before = measured();
            unchanged(&before).unwrap();
            // Longer than a tick of the clock that stamps files.
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(root.join(below), "").unwrap();
            assert!(unchanged(&before).unwrap_err().to_string().contains("changed while it was being used"), "{below}");
            let before = measured();
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::remove_file(root.join(below)).unwrap();
            assert!(unchanged(&before).is_err(), "{below}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_measured_is_seen() {
        /// Changes a file whenever its reader asks whether to go on.
        struct Meddler(PathBuf, Silent);
        impl Task for Meddler {
            fn total(&self, _bytes: u64) {}
            fn advance(&self, _bytes: u64) {}
            fn note(&self, _line: &str) {}
            fn cancel(&self) -> &crate::task::Cancel {
                fs::write(&self.0, "longer than before").unwrap();
                self.1.cancel()
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        let index = Index::load(&folder.path().join("index"));
        let blame = |_: &Origin, message: String| Error::new(Kind::Recipe, message);
        let measure = Measure { index: &index, blame: &blame, task: &Meddler(path.clone(), Silent::default()) };
        let mut looks = Looks::new();
        let source = InputSource::File { path, sha256: None, mode: false };
        let measured = measure.lines(&Input { name: "x".into(), source, origin: None }, None, &mut looks);
        assert!(measured.is_err() || unchanged(&looks).is_err());
        assert_eq!(looks[0].1.size_bytes, 1, "its look is the one from before");
    }
}
