//! The FAT writer beside `mkfs.fat` and `mcopy`: 10,000 files on a FAT32 of 2 GiB, in turns, best wall time of each.
//!
//! Prints the ratio, theirs to ours: above 1 we are faster. Nothing here fails on a slow machine.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use imagegen::archive::ReadOptions;
use imagegen::archive::folder::{Keep, read_into};
use imagegen::fat::{Options, Plan, Width};
use imagegen::tree::{Metadata, Timestamp, Tree};

const RUNS: usize = 3;
const FILES: usize = 10_000;
const FILE_BYTES: usize = 150_000;
const SIZE_BYTES: u64 = 2 << 30;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return; // `cargo test --benches` only wants to know that it starts.
    }
    let scratch = std::env::temp_dir().join(format!("xenbuild-bench-fat-{}", std::process::id()));
    let tree = scratch.join("tree");
    let mut state = 1_u64;
    for number in 0..FILES {
        let folder = tree.join(format!("folder {}", number / 500));
        fs::create_dir_all(&folder).unwrap();
        let mut content = vec![0; FILE_BYTES];
        for chunk in content.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        fs::write(folder.join(format!("a file with a number {number}.bin")), content).unwrap();
    }
    let image = scratch.join("image");
    let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        ours = ours.min(timed(&image, || make(&tree, &image)));
        let Some(seconds) = others(&tree, &image) else { break };
        theirs = theirs.min(seconds);
    }
    println!("FAT32 of 2 GiB, {FILES} files of {FILE_BYTES} bytes, best of {RUNS}, in {}", scratch.display());
    println!("xenbuild          {ours:8.2} s");
    match theirs.is_finite() {
        true => println!("mkfs.fat + mcopy  {theirs:8.2} s   {:.1} times as long", theirs / ours),
        false => println!("mkfs.fat + mcopy  not installed, or failed"),
    }
    fs::remove_dir_all(&scratch).unwrap();
}

fn timed(image: &Path, work: impl FnOnce()) -> f64 {
    let _ = fs::remove_file(image);
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Makes the image as a build does: folder, plan, bytes.
fn make(folder: &Path, image: &Path) {
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    let mut tree = Tree::new(Metadata::root(0o755, time));
    read_into(&mut tree, folder, &ReadOptions::default(), Keep::Content(time)).unwrap();
    let options = Options { width: Some(Width::Fat32), size_bytes: Some(SIZE_BYTES), ..Options::default() };
    let plan = Plan::new(&tree, &options).unwrap();
    plan.write(&File::create_new(image).unwrap(), 0, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// Has the usual tools make it; `None` if they are not there.
fn others(folder: &Path, image: &Path) -> Option<f64> {
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then_some(())
    };
    let mut done = None;
    let seconds = timed(image, || {
        done = (|| {
            File::create_new(image).ok()?.set_len(SIZE_BYTES).ok()?;
            let path = image.to_str()?;
            run("mkfs.fat", &["-F", "32", path])?;
            let names: Vec<String> =
                fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path().display().to_string()).collect();
            let fixed = ["-s", "-i", path];
            let all: Vec<&str> = fixed.into_iter().chain(names.iter().map(String::as_str)).chain(["::"]).collect();
            run("mcopy", &all)
        })();
    });
    done.map(|()| seconds)
}
