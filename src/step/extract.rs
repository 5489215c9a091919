//! `extract`: one file out of unpacked archives, by a pattern that must match exactly one.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use imagegen::archive::filter::Pattern;
use imagegen::archive::{ReadOptions, holes, tar};
use imagegen::tree::{Inode, Kind as NodeKind, Metadata, Source, Tree};

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::task::Task;

/// The name of the output.
pub const OUTPUT: &str = "file";
/// The name of the input, where it is one file already.
pub const INPUT: &str = "file";
/// The largest such file.
const COPY_MAX_BYTES: u64 = 256 << 20;
/// How many matches an error lists.
const SHOWN_MAX: usize = 8;
/// How much longer than its data a file's holes may be: whoever takes the file reads them all.
const HOLES_FREE_BYTES: u64 = 1 << 30;

/// The step. Its inputs are unpacked archives, of which later ones win.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extract {
    /// Path inside, with `*` and `?`.
    pub pattern: String,
    /// How errors call the archives: a package or a file.
    pub title: String,
}

/// The step for a file that is nobody's but a local one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy;

impl Kind for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, _description: &mut Description) {}

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        output::write(&workspace.folder.join(OUTPUT), &workspace.input(INPUT)?.read(COPY_MAX_BYTES)?)
    }
}

impl Kind for Extract {
    fn name(&self) -> &'static str {
        "extract"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("file", &self.pattern);
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let mut archives = Vec::new();
        for input in workspace.inputs {
            archives.push(input.file()?);
        }
        let inode = find(&archives, &self.pattern, &self.title)?;
        let NodeKind::File(source) = &inode.kind else { unreachable!("find returns regular files") };
        let (data, hole) = holes::measure(&**source);
        if hole > data.saturating_add(HOLES_FREE_BYTES) {
            let message = format!(
                "{}: what matches `{}` says that it has {} bytes, but only {data} are there: the rest is holes",
                self.title,
                self.pattern,
                source.size_bytes()
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        let path = workspace.folder.join(OUTPUT);
        workspace.task.total(data);
        write_source(&**source, &path, workspace.task)
    }
}

/// Finds the one regular file that a pattern matches in unpacked archives laid over each other.
///
/// Links are followed within the archives; several names of one file are one match.
pub fn find(archives: &[&Path], pattern: &str, title: &str) -> Result<Inode> {
    let mut tree = Tree::new(Metadata::default());
    for path in archives {
        tar::read_into(&mut tree, &Arc::new(output::open(path)?), &ReadOptions::default())
            .map_err(|error| Error::new(ErrorKind::Input, format!("{title}: {error}")))?;
    }
    let compiled = Pattern::new(pattern);
    let (mut matches, mut near) = (BTreeMap::new(), None);
    tree.walk(|path, _| {
        let parent = path.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &path[..slash]);
        // What lies below a match is no match of its own.
        let matched = !path.is_empty() && compiled.covers(path) && (parent.is_empty() || !compiled.covers(parent));
        let file = tree.lookup(path, true).filter(|&id| matches!(tree.inode(id).kind, NodeKind::File(_)));
        let Some(id) = file else { return };
        if matched {
            matches.entry(id).or_insert_with(|| String::from_utf8_lossy(path).into_owned());
        } else {
            let distance = strsim::levenshtein(&String::from_utf8_lossy(path), pattern.trim_matches('/'));
            if near.as_ref().is_none_or(|&(nearest, _)| distance < nearest) {
                near = Some((distance, String::from_utf8_lossy(path).into_owned()));
            }
        }
    });
    match matches.len() {
        1 => Ok(tree.inode(*matches.keys().next().expect("there is one")).clone()),
        0 => {
            let error = Error::new(ErrorKind::Input, format!("{title} holds no file that matches `{pattern}`"));
            Err(match near {
                Some((_, name)) => error.hint(format!("the nearest is `{name}`")),
                None => error,
            })
        }
        count => {
            let mut names: Vec<&str> = matches.values().map(String::as_str).take(SHOWN_MAX).collect();
            names.sort_unstable();
            let more = if count > SHOWN_MAX { ", ..." } else { "" };
            let message = format!("{title} holds {count} files that match `{pattern}`: {}{more}", names.join(", "));
            Err(Error::new(ErrorKind::Input, message).hint("exactly one must match"))
        }
    }
}

/// Writes the content behind a source to a new file, its holes as holes.
fn write_source(source: &dyn Source, path: &Path, task: &dyn Task) -> Result<()> {
    let file = output::create(path)?;
    let mut buffer = vec![0; output::CHUNK_BYTES];
    for extent in source.extents() {
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        while at < end {
            task.cancel().check()?;
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            source
                .read_at(at, &mut buffer[..length])
                .map_err(|error| Error::io("cannot read out of an unpacked archive", error))?;
            file.write_all_at(&buffer[..length], at).map_err(|error| output::write_error(path, error))?;
            task.advance(length as u64);
            at += length as u64;
        }
    }
    file.set_len(source.size_bytes()).map_err(|error| output::write_error(path, error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use imagegen::tree::Timestamp;

    use super::*;
    use crate::step::{Content, Digest, Given, NoPackages};
    use crate::task::Silent;

    fn archive(folder: &Path, name: &str, files: &[(&str, &str)], links: &[(&str, &str)]) -> PathBuf {
        let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
        for (path, text) in files {
            let kind = NodeKind::File(Arc::new(text.as_bytes().to_vec()));
            tree.insert(path.as_bytes(), kind, Metadata::root(0o755, Timestamp::default())).unwrap();
        }
        for (path, target) in links {
            let kind = NodeKind::Symlink(target.as_bytes().into());
            tree.insert(path.as_bytes(), kind, Metadata::default()).unwrap();
        }
        let path = folder.join(name);
        let mut file = output::create(&path).unwrap();
        tar::write(&tree, &mut file, &tar::WriteOptions::default()).unwrap();
        path
    }

    fn extract(pattern: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let first = archive(
            folder.path(),
            "1",
            &[("boot/vmlinuz-6.1", "old"), ("boot/config-6.1", "c"), ("usr/lib/a/deep", "d")],
            &[("vmlinuz", "boot/vmlinuz-6.1"), ("gone", "nowhere")],
        );
        let second = archive(folder.path(), "2", &[("boot/vmlinuz-6.1", "new")], &[]);
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let inputs =
            [first, second].map(|path| Given { name: path.display().to_string(), content: Content::Files(vec![path]) });
        let task = Silent::default();
        let workspace =
            Workspace { folder: &out, key: Digest([0; 32]), inputs: &inputs, task: &task, packages: &NoPackages };
        Extract { pattern: pattern.into(), title: "linux-image".into() }.make(&workspace)?;
        Ok(std::fs::read_to_string(out.join(OUTPUT)).unwrap())
    }

    #[test]
    fn one_match_is_taken_from_the_last_archive() {
        assert_eq!(extract("boot/vmlinuz-*").unwrap(), "new");
        assert_eq!(extract("/boot/vmlinuz-6.1").unwrap(), "new");
        assert_eq!(extract("vmlinuz").unwrap(), "new", "links are followed");
        assert_eq!(extract("**/vmlinuz*").unwrap(), "new", "a link and what it leads to are one file");
        assert_eq!(extract("usr/*/a/deep").unwrap(), "d");
    }

    /// A file of 512 bytes, a hole, and a last byte.
    struct Sparse(u64);

    impl Source for Sparse {
        fn size_bytes(&self) -> u64 {
            self.0
        }

        fn extents(&self) -> Vec<imagegen::tree::Extent> {
            [(0, 512), (self.0 - 1, 1)].map(|(offset, length)| imagegen::tree::Extent { offset, length }).to_vec()
        }

        fn read_at(&self, _offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            buffer.fill(b'x');
            Ok(())
        }
    }

    #[test]
    fn holes_stay_holes_and_are_bounded() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let make = |size: u64| {
            let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
            let kind = NodeKind::File(Arc::new(Sparse(size)));
            tree.insert(b"disk", kind, Metadata::root(0o644, Timestamp::default())).unwrap();
            let path = folder.path().join(format!("{size}.tar"));
            let mut file = output::create(&path).unwrap();
            tar::write(&tree, &mut file, &tar::WriteOptions::default()).unwrap();
            assert!(file.metadata().unwrap().len() < 20_000, "the archive holds no zeros");
            let out = folder.path().join(size.to_string());
            std::fs::create_dir(&out).unwrap();
            let inputs = [Given { name: "disk".into(), content: Content::Files(vec![path]) }];
            let task = Silent::default();
            let workspace =
                Workspace { folder: &out, key: Digest([0; 32]), inputs: &inputs, task: &task, packages: &NoPackages };
            let result = Extract { pattern: "disk".into(), title: "disks.tar".into() }.make(&workspace);
            result.map(|()| std::fs::metadata(out.join(OUTPUT)).unwrap())
        };
        let made = make(1 << 30).unwrap();
        assert_eq!(made.len(), 1 << 30);
        assert!(made.blocks() * 512 < 1 << 20, "{} blocks", made.blocks());
        let error = make(1 << 50).unwrap_err();
        assert_eq!(
            error.to_string(),
            "disks.tar: what matches `disk` says that it has 1125899906842624 bytes, but only 513 are there: the rest is holes"
        );
    }

    #[test]
    fn no_match_and_several_are_errors() {
        let error = extract("boot/vmlinux-*").unwrap_err();
        assert_eq!(error.to_string(), "linux-image holds no file that matches `boot/vmlinux-*`");
        assert_eq!(error.hints, ["the nearest is `boot/vmlinuz-6.1`"]);
        let error = extract("boot/*").unwrap_err();
        let text = "linux-image holds 2 files that match `boot/*`: boot/config-6.1, boot/vmlinuz-6.1";
        assert_eq!(error.to_string(), text);
        assert!(extract("boot").is_err(), "a folder is no file");
        assert!(extract("gone").is_err(), "nor is a link to nowhere");
    }
}
