//! `xenbuild flash`, which reads back, beside `bmaptool copy` and `dd`, which do not: an image of 4 GiB, a quarter of it
//! data, onto a loop device, in turns, best wall time of each.
//!
//! Prints the ratios, theirs to ours: above 1 we are faster. Nothing here fails on a slow machine.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const RUNS: usize = 3;
const SIZE_BYTES: u64 = 4 << 30;
/// Data and hole in turns, in bytes: as file systems lie that are a quarter full.
const DATA_BYTES: u64 = 4 << 20;
const STRIDE_BYTES: u64 = 16 << 20;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return; // `cargo test --benches` only wants to know that it starts.
    }
    let scratch = std::env::temp_dir().join(format!("xenbuild-bench-flash-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let (image, map, card) = (scratch.join("image"), scratch.join("image.bmap"), scratch.join("card"));
    make(&image);
    // Written once from end to end, so that no run has to find it room.
    zero_fill(&card);
    let device = output("losetup", &["--find", "--show", text(&card)]).map(|name| name.trim().to_owned());
    let device = device.unwrap_or_else(|| {
        println!("no loop device here (root is needed): an ordinary file stands in");
        text(&card).to_owned()
    });
    println!("an image of 4 GiB, 1 GiB of it data, onto {device}; best of {RUNS}, in {}", scratch.display());
    let mapped = output("bmaptool", &["create", "-o", text(&map), text(&image)]).is_some();
    let (image_text, map_text, into) = (text(&image), text(&map), format!("of={device}"));
    let ours = env!("CARGO_BIN_EXE_xenbuild");
    let from = format!("if={image_text}");
    let with_map: [(&str, &str, Vec<&str>); 3] = [
        (
            "xenbuild flash, with map",
            ours,
            vec!["flash", "--quiet", "--yes", &device, "--bmap", map_text, image_text, &device],
        ),
        ("bmaptool copy", "bmaptool", vec!["-q", "copy", "--bmap", map_text, image_text, &device]),
        ("dd", "dd", vec!["bs=4M", "conv=fsync", &from, &into]),
    ];
    let without: [(&str, &str, Vec<&str>); 2] = [
        ("xenbuild flash, no map", ours, vec!["flash", "--quiet", "--yes", &device, "--no-bmap", image_text, &device]),
        ("dd", "dd", vec!["bs=4M", "conv=fsync", &from, &into]),
    ];
    if mapped {
        compare(&with_map);
    } else {
        println!("bmaptool is not installed");
    }
    compare(&without);
    if device.starts_with("/dev/loop") {
        output("losetup", &["--detach", &device]);
    }
    fs::remove_dir_all(&scratch).unwrap();
}

/// Runs programs in turns; prints how the others compare with the first.
fn compare(programs: &[(&str, &str, Vec<&str>)]) {
    let mut best = vec![f64::INFINITY; programs.len()];
    for _ in 0..RUNS {
        for ((name, program, arguments), best) in programs.iter().zip(&mut best) {
            // What others wrote is not ours to wait for.
            output("sync", &[]);
            let _ = fs::write("/proc/sys/vm/drop_caches", "3");
            let start = Instant::now();
            match output(program, arguments) {
                Some(_) => *best = best.min(start.elapsed().as_secs_f64()),
                None => println!("{name}: failed, or is not installed"),
            }
        }
    }
    for ((name, ..), seconds) in programs.iter().zip(&best) {
        println!("{name:26} {seconds:8.2} s   {:.2} times as long", seconds / best[0]);
    }
}

/// Makes the image: pseudo-random data and holes in turns.
fn make(path: &Path) {
    let file = File::create_new(path).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    let mut state = 1_u64;
    let mut data = vec![0; DATA_BYTES as usize];
    for start in (0..SIZE_BYTES).step_by(STRIDE_BYTES as usize) {
        for chunk in data.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all_at(&data, start).unwrap();
    }
    file.sync_all().unwrap();
}

/// Writes zeros everywhere, so that the file has no holes.
fn zero_fill(path: &Path) {
    let file = File::create_new(path).unwrap();
    let zeros = vec![0; DATA_BYTES as usize];
    (0..SIZE_BYTES).step_by(zeros.len()).for_each(|start| file.write_all_at(&zeros, start).unwrap());
    file.sync_all().unwrap();
}

/// Runs a program and returns what it printed; `None` if it is not there or failed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
