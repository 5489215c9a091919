//! Our readers on what others make (mke2fs with every feature it has, mkfs.fat and mtools), and on damaged images.
//!
//! What is missing on this machine is announced on stderr and its part skipped.

#[path = "volume/damage.rs"]
mod damage;
#[path = "volume/ext.rs"]
mod ext;
#[path = "volume/fat.rs"]
mod fat;
#[path = "support/volume.rs"]
mod volume;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imagegen::archive::ReadOptions;
use imagegen::archive::folder::{self, Keep};
use imagegen::archive::slice::FileSlice;
use imagegen::tree::{Metadata, Source, Timestamp, Tree};

/// Opens a file as what a volume lies on.
fn device(path: &Path) -> Arc<dyn Source> {
    let file = Arc::new(File::open(path).unwrap());
    let length = file.metadata().unwrap().len();
    Arc::new(FileSlice::new(file, 0, length))
}

/// Runs a tool that must succeed; `None`, announced, if it is not installed; `Err` is what it says where it fails.
fn tool(program: &str, arguments: &[&str]) -> Option<Result<String, String>> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let command = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null())
        .output();
    match command {
        Ok(output) => {
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            Some(if output.status.success() { Ok(text) } else { Err(text) })
        }
        Err(error) => {
            eprintln!("skipped: cannot run {program}: {error}");
            None
        }
    }
}

/// Fills a folder with what file systems have trouble with. FAT takes the part without `all`.
fn fill(folder: &Path, all: bool) {
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("empty", b"");
    write("small", b"a few bytes");
    write("sixty", &[7; 60]);
    write("inline and attribute", &[8; 110]);
    write("block", &[1; 4096]);
    let long: Vec<u8> = (0..3_000_001_u32).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect();
    write("long", &long);
    write("deep/er/and/deeper/file", b"found");
    fs::create_dir_all(folder.join("nothing in it")).unwrap();
    for number in 0..if all { 600 } else { 120 } {
        write(&format!("many/a name that is not short {number:05}"), format!("{number}").as_bytes());
    }
    if !all {
        return;
    }
    let holes = File::create(folder.join("holes")).unwrap();
    for at in [5000, 60_000, 1 << 20, 40 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"between holes", at).unwrap();
    }
    // A hole at the very end, mke2fs 1.47.0 forgets with `inline_data`.
    drop(holes);
    for length in [1, 58, 59, 60, 61, 100, 155, 156, 900] {
        symlink("target/".repeat(200)[..length].trim_end_matches('/'), folder.join(format!("link-{length}"))).unwrap();
    }
    fs::hard_link(folder.join("small"), folder.join("deep/second name")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    for (file, name, value) in
        [("small", "user.note", &b"short"[..]), ("block", "user.long", &[9; 700]), ("deep", "user.folder", b"here too")]
    {
        let set = rustix::fs::setxattr(folder.join(file), name, value, rustix::fs::XattrFlags::empty());
        if let Err(error) = set {
            eprintln!("skipped: no extended attributes here: {error}");
        }
    }
}

/// Reads a folder with everything that is known of it.
fn tree_of(folder: &Path) -> Tree {
    let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
    folder::read_into(&mut tree, folder, &ReadOptions::default(), Keep::Everything).unwrap();
    tree
}
