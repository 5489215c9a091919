//! `unpack`: a package or a compressed tarball becomes one plain tar file.
//!
//! File systems then copy out of that file by extents, and a change of one inline file decompresses nothing again.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use imagegen::archive::{ReadOptions, deb, tar};
use imagegen::decompress;
use imagegen::tree::{Metadata, Tree};

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the input.
pub const INPUT: &str = "archive";
/// The name of the output.
pub const OUTPUT: &str = "data.tar";

/// What kind of archive it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A Debian package.
    Deb,
    /// A tar archive: plain, gz, xz, zst or bz2, told by its content.
    Tarball,
}

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpack {
    /// What kind of archive it is.
    pub form: Form,
    /// How errors call it: the package or the file.
    pub title: String,
}

impl Kind for Unpack {
    fn name(&self) -> &'static str {
        "unpack"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter(
            "form",
            match self.form {
                Form::Deb => "deb",
                Form::Tarball => "tarball",
            },
        );
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let file = Arc::new(output::open(workspace.file(INPUT)?)?);
        let bad = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Input, format!("{}: {error}", self.title));
        let mut reader = match self.form {
            Form::Deb => deb::open(&file).and_then(|deb| deb.data()).map_err(|error| bad(&error))?,
            Form::Tarball => {
                let file: &File = &file;
                let file = file.try_clone().map_err(|error| bad(&error))?;
                decompress::reader(Box::new(BufReader::with_capacity(256 << 10, file))).map_err(|error| bad(&error))?
            }
        };
        let path = workspace.folder.join(OUTPUT);
        let mut out = output::create(&path)?;
        output::copy(&mut reader, &mut out, workspace.task, (&self.title, &path))?;
        // Better here, with the archive's name, than in each file system that is made of it.
        let mut tree = Tree::new(Metadata::default());
        tar::read_into(&mut tree, &Arc::new(out), &ReadOptions::default()).map_err(|error| bad(&error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::step::{Content, Digest, Given, NoPackages};
    use crate::task::Silent;

    fn unpack(form: Form, bytes: &[u8]) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("in");
        std::fs::write(&archive, bytes).unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let step = Unpack { form, title: "thing.tar.gz".into() };
        let inputs = [Given { name: INPUT.into(), content: Content::Files(vec![archive]) }];
        let task = Silent::default();
        let workspace =
            Workspace { folder: &out, key: Digest([0; 32]), inputs: &inputs, task: &task, packages: &NoPackages };
        step.make(&workspace)?;
        Ok(std::fs::read(Path::new(&out).join(OUTPUT)).unwrap())
    }

    /// A tar archive of one file, by the writer whose reader is tested elsewhere.
    fn archive() -> Vec<u8> {
        use imagegen::tree::{Kind, Timestamp};
        let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
        let file = Kind::File(Arc::new(b"hello".to_vec()));
        tree.insert(b"a/b", file, Metadata::root(0o644, Timestamp::default())).unwrap();
        let mut bytes = Vec::new();
        tar::write(&tree, &mut bytes, &tar::WriteOptions::default()).unwrap();
        bytes
    }

    #[test]
    fn a_compressed_tarball_becomes_the_plain_one() {
        use std::io::Write;
        let plain = archive();
        let mut gzip = decompress::gzip_writer(Vec::new(), 6);
        gzip.write_all(&plain).unwrap();
        assert_eq!(unpack(Form::Tarball, &gzip.finish().unwrap()).unwrap(), plain);
        assert_eq!(unpack(Form::Tarball, &plain).unwrap(), plain);
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let error = unpack(Form::Tarball, b"not an archive at all, but long enough for a header".repeat(20).as_slice());
        let error = error.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input);
        assert!(error.to_string().starts_with("thing.tar.gz: "), "{error}");
        let error = unpack(Form::Deb, b"!<arch>\n").unwrap_err();
        assert!(error.to_string().starts_with("thing.tar.gz: "), "{error}");
    }
}
