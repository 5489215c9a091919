//! Fills the tree: layers, modules, guests' files, files, users. Content stays where it is until the tree is written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use imagegen::archive::filter::Pattern;
use imagegen::archive::folder::{self, Keep};
use imagegen::archive::{ReadOptions, holes, tar};
use imagegen::modules::Modules;
use imagegen::tree::{Kind as NodeKind, Metadata, Timestamp, Tree};

use super::{File, FileContent, Filesystem, Layer, users};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::step::{Content, Workspace, extract, module_lists, output};

/// Makes the whole tree.
pub fn tree(spec: &Filesystem, workspace: &Workspace<'_>) -> Result<Tree> {
    let mut filler = Filler { spec, workspace, tree: Tree::new(spec.metadata(0o755)) };
    if spec.merged_usr {
        filler.merge_usr()?;
    }
    let exclude: Vec<Pattern> = spec.exclude.iter().map(Pattern::new).collect();
    for layer in &spec.layers {
        workspace.task.cancel().check()?;
        filler.layer(layer, &exclude)?;
    }
    if let Some(modules) = &spec.modules {
        filler.modules(modules)?;
    }
    filler.files(&spec.guests)?;
    filler.files(&spec.files)?;
    let cancel = workspace.task.cancel();
    module_lists::add(&mut filler.tree, &spec.metadata(0o644), cancel).map_err(|error| error.context(&spec.title))?;
    users::add(&mut filler.tree, spec)?;
    Ok(filler.tree)
}

impl Filesystem {
    /// Returns metadata of root's, of the recipe's time.
    pub(super) fn metadata(&self, mode: u16) -> Metadata {
        Metadata::root(mode, Timestamp { seconds: self.epoch, nanoseconds: 0 })
    }

    /// Makes an error that names the file system.
    pub(super) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Input, format!("{}: {what}", self.title))
    }
}

struct Filler<'a> {
    spec: &'a Filesystem,
    workspace: &'a Workspace<'a>,
    tree: Tree,
}

impl Filler<'_> {
    /// Makes `/bin`, `/sbin` and `/lib` links before any package brings folders of these names.
    fn merge_usr(&mut self) -> Result<()> {
        for name in ["bin", "lib", "sbin"] {
            let folder = format!("usr/{name}");
            self.insert(&folder, NodeKind::Directory(BTreeMap::new()), self.spec.metadata(0o755))?;
            self.insert(name, NodeKind::Symlink(folder.into_bytes().into()), self.spec.metadata(0o777))?;
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, kind: NodeKind, metadata: Metadata) -> Result<()> {
        self.tree.insert(path.as_bytes(), kind, metadata).map(drop).map_err(|error| self.spec.error(error))
    }

    fn layer(&mut self, layer: &Layer, exclude: &[Pattern]) -> Result<()> {
        let options = ReadOptions {
            to: layer.to.trim_matches('/').as_bytes().to_vec(),
            strip: layer.strip as usize,
            include: Vec::new(),
            exclude: exclude.to_vec(),
            owner: layer.owner.map(|owner| (owner.uid, owner.gid)),
        };
        let given = self.workspace.input(&layer.input)?;
        let time = Timestamp { seconds: self.spec.epoch, nanoseconds: 0 };
        read_into(&mut self.tree, &given.content, &options, time)
            .map_err(|error| error.context(format_args!("{}: {}", self.spec.title, layer.input)))
    }

    fn modules(&mut self, modules: &super::Modules) -> Result<()> {
        // A tree of their own: only what is needed goes over.
        let mut source = Tree::new(self.spec.metadata(0o755));
        let time = Timestamp { seconds: self.spec.epoch, nanoseconds: 0 };
        for name in &modules.inputs {
            let given = self.workspace.input(name)?;
            read_into(&mut source, &given.content, &ReadOptions::default(), time)
                .map_err(|error| error.context(format_args!("{}: {name}", self.spec.title)))?;
        }
        let folder = modules_folder(&source).map_err(|reason| self.spec.error(reason))?;
        let mut index = Modules::from_tree(&source, folder.as_bytes()).map_err(|error| self.spec.error(error))?;
        let order =
            index.load_order(modules.names.iter().map(String::as_str)).map_err(|error| self.spec.error(error))?;
        let mut list = String::new();
        for module in order {
            self.workspace.task.cancel().check()?;
            // Uncompressed, since kernels differ in what they decompress; and so without the compression's extension.
            let path = String::from_utf8_lossy(&module.path);
            let end = path.rfind(".ko").map_or(path.len(), |at| at + ".ko".len());
            let path = path[..end].strip_prefix("usr/").unwrap_or(&path[..end]);
            let content = module.uncompressed().map_err(|error| self.spec.error(format_args!("{path}: {error}")))?;
            self.insert(path, NodeKind::File(content), self.spec.metadata(0o644))?;
            list.push_str(&format!("/{path}\n"));
        }
        let kind = NodeKind::File(Arc::new(list.into_bytes()));
        self.insert(&modules.list, kind, self.spec.metadata(0o644))
    }

    fn files(&mut self, files: &BTreeMap<String, File>) -> Result<()> {
        // First what goes, last what needs something that is there: the order of paths decides only between them.
        let absent = |file: &File| file.content == FileContent::Absent;
        let link = |file: &File| matches!(file.content, FileContent::Hardlink(_));
        for (path, _) in files.iter().filter(|(_, file)| absent(file)) {
            self.tree.remove(path.as_bytes());
        }
        for (path, file) in files.iter().filter(|(_, file)| !absent(file) && !link(file)) {
            self.file(path, file)?;
        }
        for (path, file) in files.iter().filter(|(_, file)| link(file)) {
            self.file(path, file)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str, file: &File) -> Result<()> {
        let (kind, usual) = match &file.content {
            FileContent::Text(text) => (NodeKind::File(Arc::new(text.as_bytes().to_vec())), 0o644),
            FileContent::Local(input) => {
                let local = self.workspace.file(input)?;
                let program = fs::metadata(local).is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0);
                (self.content(local)?, if program { 0o755 } else { 0o644 })
            }
            FileContent::Image(input) => (self.content(self.workspace.file(input)?)?, 0o644),
            FileContent::Archived { inputs, pattern, title } => {
                let mut archives = Vec::new();
                for input in inputs {
                    archives.push(self.workspace.file(input)?);
                }
                let found = extract::find(&archives, pattern, title)
                    .map_err(|error| error.context(format_args!("{}: {path}", self.spec.title)))?;
                (found.kind, found.metadata.mode)
            }
            FileContent::Directory => (NodeKind::Directory(BTreeMap::new()), 0o755),
            FileContent::Symlink(target) => (NodeKind::Symlink(target.as_bytes().into()), 0o777),
            FileContent::Hardlink(existing) => {
                let linked = self.tree.link(existing.as_bytes(), path.as_bytes());
                return linked.map(drop).map_err(|error| self.spec.error(error));
            }
            FileContent::CharacterDevice(major, minor) => {
                (NodeKind::CharacterDevice { major: *major, minor: *minor }, 0o600)
            }
            FileContent::BlockDevice(major, minor) => (NodeKind::BlockDevice { major: *major, minor: *minor }, 0o600),
            FileContent::Fifo => (NodeKind::Fifo, 0o644),
            FileContent::Absent => return Ok(()),
        };
        let mut metadata = self.spec.metadata(file.mode.unwrap_or(usual));
        (metadata.uid, metadata.gid) = (file.owner.uid, file.owner.gid);
        self.insert(path, kind, metadata)
    }

    /// Returns a file of the host as content, its blocks of zeros as holes.
    fn content(&self, path: &Path) -> Result<NodeKind> {
        let cancel = self.workspace.task.cancel();
        let file = Arc::new(output::open(path)?);
        let found = holes::sparse(file, &mut || cancel.check().map_err(std::io::Error::other));
        cancel.check()?;
        let content = found.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        Ok(NodeKind::File(Arc::new(content)))
    }
}

/// Finds the one folder of modules of a tree.
fn modules_folder(tree: &Tree) -> Result<String, String> {
    match module_lists::folders(tree).as_slice() {
        [folder] => Ok(folder.clone()),
        [] => Err("the kernel's modules have no folder `lib/modules/VERSION`".to_owned()),
        several => Err(format!("the kernel's modules are of several versions: {}", several.join(", "))),
    }
}

/// Reads what an input is into a tree: unpacked archives, or a folder.
fn read_into(tree: &mut Tree, content: &Content, options: &ReadOptions, time: Timestamp) -> Result<()> {
    let input_error = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Input, error.to_string());
    match content {
        Content::Files(files) => {
            for path in files {
                let file = Arc::new(output::open(path)?);
                tar::read_into(tree, &file, options).map_err(|error| input_error(&error))?;
            }
        }
        Content::Folder { path, keep } => {
            let keep = if *keep { Keep::Everything } else { Keep::Content(time) };
            folder::read_into(tree, path, options, keep).map_err(|error| input_error(&error))?;
        }
        Content::Bytes(_) | Content::Sources(_) => {
            return Err(Error::new(ErrorKind::Internal, "only archives and folders can be layers"));
        }
    }
    Ok(())
}
