//! Patches: what GNU diff writes and GNU patch applies, with offsets and fuzz, gives the same bytes here.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imagegen::patch::{self, Options, Patch};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn tree(files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
    for (path, text) in files {
        let kind = Kind::File(Arc::new(text.to_vec()));
        tree.insert(path.as_bytes(), kind, Metadata::root(0o644, Timestamp::default())).unwrap();
    }
    tree
}

fn text(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let inode = tree.inode(tree.lookup(path.as_bytes(), true)?);
    let Kind::File(source) = &inode.kind else { return None };
    let mut text = vec![0; source.size_bytes() as usize];
    source.read_at(0, &mut text).unwrap();
    Some(text)
}

fn apply(files: &[(&str, &[u8])], patch: &str, fuzz: usize) -> Result<Tree, String> {
    let mut tree = tree(files);
    let patch = Patch::parse(patch.as_bytes()).map_err(|error| error.to_string())?;
    patch::apply(&mut tree, &patch, &Options { strip: 1, fuzz }).map_err(|error| error.to_string())?;
    Ok(tree)
}

#[test]
fn files_are_changed_made_renamed_and_removed() {
    let patched = apply(
        &[("dir/a", b"one\ntwo\nthree\n"), ("old", b"x\n"), ("gone", b"bye\n"), ("tail", b"end")],
        "--- a/dir/a\n+++ b/dir/a\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
         diff --git a/old b/new\nsimilarity index 100%\nrename from old\nrename to new\n\
         --- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n\
         --- /dev/null\n+++ b/made/here\n@@ -0,0 +1 @@\n+hi\n\
         --- a/tail\n+++ b/tail\n@@ -1 +1,2 @@\n-end\n\\ No newline at end of file\n+end\n+more\n\\ No newline at end of file\n",
        0,
    )
    .unwrap();
    assert_eq!(text(&patched, "dir/a").unwrap(), b"one\nTWO\nthree\n");
    assert_eq!((text(&patched, "old"), text(&patched, "new").unwrap()), (None, b"x\n".to_vec()));
    assert_eq!((text(&patched, "gone"), text(&patched, "made/here").unwrap()), (None, b"hi\n".to_vec()));
    assert_eq!(text(&patched, "tail").unwrap(), b"end\nmore");
}

#[test]
fn what_does_not_apply_is_named_with_file_and_hunk() {
    let file: &[u8] = b"one\ntwo\nthree\n";
    let cases = [
        (
            "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-zwei\n+TWO\n three\n",
            "line 3: a: hunk 1 does not apply: nearest at line 1, where line 2 should be `zwei` and is `two`",
        ),
        ("--- a/b\n+++ b/b\n@@ -1 +1 @@\n-x\n+y\n", "line 1: b: is not there"),
        ("--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n", "line 1: a: is there already, but the patch makes it"),
        (
            "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n",
            "line 1: a: is to be removed, but holds more than the patch says",
        ),
        ("--- a\n+++ a\n@@ -1 +1 @@\n-x\n+y\n", "line 1: a: has fewer than 1 names to cut"),
        ("--- a/../x\n+++ b/../x\n@@ -0,0 +1 @@\n+y\n", "line 1: ../x: ../x: leads out of its folder with `..`"),
    ];
    for (patch, expected) in cases {
        assert_eq!(apply(&[("a", file)], patch, 0).unwrap_err(), expected);
    }
}

/// GNU patch, on the same text: what it makes of it, if it takes the patch.
fn gnu(folder: &Path, before: &[u8], patch: &str, fuzz: usize) -> Option<Vec<u8>> {
    fs::write(folder.join("file"), before).unwrap();
    fs::write(folder.join("patch"), patch).unwrap();
    let fuzz = format!("-F{fuzz}");
    let args = ["-t", "-N", "-p1", "-u", "-V", "never", "-r", "-", "--posix", &fuzz, "-i", "patch", "file"];
    let args = args.iter().filter(|arg| **arg != "--posix");
    let status =
        Command::new("patch").args(args).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.unwrap().success().then(|| fs::read(folder.join("file")).unwrap())
}

#[test]
fn gnu_patch_agrees() {
    let there = |program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there("patch") || !there("diff") {
        eprintln!("note: GNU patch or diff is missing; not compared");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let (mut same, mut refused) = (0, 0);
    for _ in 0..400 {
        // Few different lines, so that context is ambiguous.
        let mut lines: Vec<String> =
            (0..random.gen_range(1..60)).map(|_| format!("{}\n", random.gen_range(0..12))).collect();
        let before = lines.concat();
        let edit = |lines: &mut Vec<String>, random: &mut StdRng| {
            let at = random.gen_range(0..=lines.len());
            match random.gen_range(0..3) {
                0 => lines.insert(at, format!("new {}\n", random.gen_range(0..9))),
                1 if at < lines.len() => drop(lines.remove(at)),
                _ if at < lines.len() => lines[at] = format!("other {}\n", random.gen_range(0..9)),
                _ => {}
            }
        };
        for _ in 0..random.gen_range(1..4) {
            edit(&mut lines, &mut random);
        }
        let after = lines.concat();
        fs::write(folder.path().join("1"), &before).unwrap();
        fs::write(folder.path().join("2"), &after).unwrap();
        let diff = Command::new("diff").args(["-u", "1", "2"]).current_dir(folder.path()).output().unwrap();
        let diff =
            String::from_utf8(diff.stdout).unwrap().replace("--- 1", "--- a/file").replace("+++ 2", "+++ b/file");
        if diff.is_empty() || after.is_empty() {
            continue;
        }
        // The text that the patch is applied to has gone on in the meantime.
        let mut now: Vec<String> = before.split_inclusive('\n').map(String::from).collect();
        for _ in 0..random.gen_range(0..4) {
            edit(&mut now, &mut random);
        }
        let now = now.concat();
        for fuzz in [0, 1, 2] {
            let ours = apply(&[("file", now.as_bytes())], &diff, fuzz).ok().and_then(|tree| text(&tree, "file"));
            let theirs = gnu(folder.path(), now.as_bytes(), &diff, fuzz);
            assert_eq!(
                ours.as_deref().map(String::from_utf8_lossy),
                theirs.as_deref().map(String::from_utf8_lossy),
                "fuzz {fuzz}\n{diff}\non\n{now}"
            );
            if theirs.is_some() { same += 1 } else { refused += 1 }
        }
    }
    assert!(same > 300 && refused > 30, "{same} applied, {refused} refused");
}
