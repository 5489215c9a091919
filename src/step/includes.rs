//! Finds the files that a local device-tree source includes, so that they are inputs of the step that compiles it.
//! Knows nothing of conditions: what stands in a branch that is not taken counts too, which costs at most a rebuild.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::output;
use crate::error::{Error, Kind, Result};

/// The most files that one source may include.
const FILES_MAX: usize = 1000;
/// The largest file looked into, in bytes.
pub const FILE_MAX_BYTES: u64 = 64 << 20;
/// What a blob begins with (devicetree specification 5.2).
pub const BLOB_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

/// Returns a source and all it includes, as far as those files exist: the name by which the compiler will ask (relative
/// to the source's folder) and the path. The source itself comes first.
pub fn all(source: &Path) -> Result<Vec<(String, PathBuf)>> {
    let folder = source.parent().unwrap_or(Path::new(""));
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut seen = BTreeSet::from([name.clone()]);
    let mut files = vec![(name, source.to_owned())];
    let mut next = 0;
    while let Some((name, path)) = files.get(next).cloned() {
        next += 1;
        let bytes = output::read_limited(&path, FILE_MAX_BYTES)?;
        if bytes.starts_with(&BLOB_MAGIC) {
            continue;
        }
        for wanted in mentioned(&bytes) {
            // Relative to the file that includes it; then, as `-I` would, to the source's folder.
            let beside = match name.rsplit_once('/') {
                Some((above, _)) if !wanted.starts_with('/') => format!("{above}/{wanted}"),
                _ => wanted.clone(),
            };
            for candidate in [beside, wanted] {
                let candidate = normal(&candidate);
                let path = folder.join(&candidate);
                if path.is_file() && seen.insert(candidate.clone()) {
                    files.push((candidate, path));
                }
            }
            if files.len() > FILES_MAX {
                let message = format!("{} includes more than {FILES_MAX} files", source.display());
                return Err(Error::new(Kind::Input, message));
            }
        }
    }
    Ok(files)
}

/// Takes `.` and `NAME/..` out of a path, so that one file has one name.
pub fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|&last| last != "..") => {
                names.pop();
            }
            ".." if path.starts_with('/') => {}
            name => names.push(name),
        }
    }
    format!("{}{}", if path.starts_with('/') { "/" } else { "" }, names.join("/"))
}

/// Returns every file name that stands after `#include`, `/include/` or `/incbin/`.
pub fn mentioned(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut names = Vec::new();
    for directive in ["include", "/incbin/"] {
        for (at, _) in text.match_indices(directive) {
            let rest = text[at + directive.len()..].trim_start_matches(['/', ' ', '\t', '(']);
            let close = match rest.bytes().next() {
                Some(b'"') => '"',
                Some(b'<') => '>',
                _ => continue,
            };
            if let Some(end) = rest[1..].find([close, '\n'])
                && rest[1 + end..].starts_with(close)
                && end > 0
            {
                names.push(rest[1..1 + end].to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        all(&folder.join("board.dts")).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn includes_are_followed_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("soc")).unwrap();
        write("board.dts", "/dts-v1/;\n#include \"soc/a.dtsi\"\n/include/ \"b.dtsi\"\n#  include <soc/c.h>\n");
        write("soc/a.dtsi", "#include \"c.h\"\n#include \"../board.dts\"\n#include \"missing.h\"\n");
        write("soc/c.h", "#define X 1\n");
        write("b.dtsi", "/ { x = /incbin/ (\"blob\", 0, 1); };");
        write("blob", "\u{d0}");
        let mut names = names(folder.path());
        assert_eq!(names[0], "board.dts");
        names.sort();
        assert_eq!(names, ["b.dtsi", "blob", "board.dts", "soc/a.dtsi", "soc/c.h"]);
    }

    #[test]
    fn one_file_has_one_name() {
        let pairs =
            [("a/../b", "b"), ("./a//b/.", "a/b"), ("../../a/../b", "../../b"), ("/../a/..", "/"), ("/a/../b", "/b")];
        for (path, name) in pairs {
            assert_eq!(normal(path), name);
        }
    }

    #[test]
    fn a_blob_includes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        std::fs::write(folder.path().join("board.dts"), b"\xd0\x0d\xfe\xed #include \"x\"").unwrap();
        assert_eq!(names(folder.path()), ["board.dts"]);
    }

    #[test]
    fn broken_directives_name_nothing() {
        for text in ["#include", "#include \"", "#include \"a", "#include \"a\n\"", "include <>", "/incbin/ ("] {
            assert_eq!(mentioned(text.as_bytes()), Vec::<String>::new(), "{text:?}");
        }
    }
}
