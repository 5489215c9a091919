//! The ext3 and ext4 writer beside `mke2fs -d` and `genext2fs`, on the same trees in one run: wall time, CPU time, peak
//! memory.
//!
//! Prints ratios, ours to theirs: below 1 we are better. Nothing here fails on a slow machine. The folder of the arm64
//! Dom0 tree is taken out of the image that `XENBUILD_BENCH_IMAGE` names; without it that row is left out, and says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs of each program on each tree; the best wall time and the least CPU time of them count.
const RUNS: usize = 5;
/// Ours, and what it is measured against; `cat` reads and writes all data once and is the floor.
const ROUNDS: [&[&str]; 2] =
    [&["xenbuild ext3", "mke2fs ext3", "genext2fs", "cat"], &["xenbuild ext4", "mke2fs ext4", "cat"]];
/// A run longer than this is not repeated.
const LONG_SECONDS: f64 = 10.0;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return; // `cargo test --benches` only wants to know that it starts.
    }
    let time = Path::new("/usr/bin/time");
    assert!(time.exists(), "needs GNU time (Debian's package `time`)");
    let folder = scratch();
    println!("ext3 and ext4 writer; {RUNS} runs each, best; in {}", folder.display());
    println!(
        "{:24} {:14} {:>9} {:>9} {:>9}   ours / theirs: wall, CPU, peak memory",
        "tree", "program", "wall s", "CPU s", "MiB"
    );
    for (name, tree) in trees(&folder) {
        for round in ROUNDS {
            compare(name, round, &tree, &folder.join("image"));
        }
        if tree.starts_with(&folder) {
            fs::remove_dir_all(&tree).unwrap();
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Measures programs on one tree, and prints how the first of them compares with the others.
fn compare(name: &str, programs: &[&str], tree: &Path, image: &Path) {
    let mut ours = None;
    for program in programs {
        let Some(cost) = measure(program, tree, image) else {
            println!("{name:24} {program:14} is not installed or failed");
            continue;
        };
        let ratios = match ours {
            None => String::new(),
            Some(Cost { wall, cpu, memory }) => {
                format!("{:.2}, {:.2}, {:.2}", wall / cost.wall, cpu / cost.cpu, memory / cost.memory)
            }
        };
        ours = ours.or(Some(cost));
        println!("{name:24} {program:14} {:9.2} {:9.2} {:9.1}   {ratios}", cost.wall, cost.cpu, cost.memory);
    }
}

/// What one run took: seconds of wall and CPU time, MiB at its peak.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
    memory: f64,
}

impl Cost {
    fn best(runs: &[Cost]) -> Cost {
        let least = |value: fn(&Cost) -> f64| runs.iter().map(value).fold(f64::INFINITY, f64::min).max(0.01);
        Cost { wall: least(|cost| cost.wall), cpu: least(|cost| cost.cpu), memory: least(|cost| cost.memory) }
    }
}

/// Runs one program [`RUNS`] times and returns its best; a program that takes long runs once.
fn measure(program: &str, tree: &Path, image: &Path) -> Option<Cost> {
    let mut runs = vec![run(program, tree, image)?];
    while runs.len() < RUNS && runs[0].wall < LONG_SECONDS {
        runs.push(run(program, tree, image)?);
    }
    Some(Cost::best(&runs))
}

/// Runs one program once: the first word is its name, the second the version it makes.
fn run(program: &str, tree: &Path, image: &Path) -> Option<Cost> {
    let _ = fs::remove_file(image);
    let tree = tree.to_str().unwrap();
    let image = image.to_str().unwrap();
    let blocks = blocks(tree).to_string();
    let ours = ours();
    let (program, version) = program.split_once(' ').unwrap_or((program, ""));
    let arguments: Vec<&str> = match program {
        "xenbuild" => vec![&ours, "--format", version, tree, image],
        "mke2fs" => vec!["mke2fs", "-q", "-F", "-t", version, "-b", "4096", "-d", tree, image, &blocks],
        "genext2fs" => vec!["genext2fs", "-B", "4096", "-b", &blocks, "-N", "100000", "-d", tree, image],
        _ => vec!["sh", "-c", "find \"$0\" -type f -print0 | xargs -0 cat > \"$1\"", tree, image],
    };
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%e %U %S %M", "-q"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let numbers: Vec<f64> = text.lines().last()?.split(' ').map_while(|number| number.parse().ok()).collect();
    let [wall, user, system, kib] = numbers[..] else { return None };
    Some(Cost { wall, cpu: user + system, memory: kib / 1024.0 })
}

/// Returns the path of the example program `mkext`, built beside this one.
fn ours() -> String {
    let this = std::env::current_exe().unwrap();
    let program = this.ancestors().nth(2).unwrap().join("examples/mkext");
    assert!(program.exists(), "build {} first: cargo build --release --example mkext", program.display());
    program.to_str().unwrap().to_owned()
}

/// Returns an image size in blocks of 4 KiB that holds the tree for every program: they have to be told.
fn blocks(tree: &str) -> u64 {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![PathBuf::from(tree)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            files += 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.len().next_multiple_of(4096);
            }
        }
    }
    (bytes + bytes / 50 + files * 600) / 4096 + 40_000
}

/// Makes the trees, one at a time so that only one is on the disk.
fn trees(folder: &Path) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let folder = folder.to_owned();
    let makers: [(&'static str, fn(&Path) -> bool); 3] =
        [("(a) arm64 Dom0", dom0), ("(b) 40,000 names", names), ("(c) 2 GiB", large)];
    makers.into_iter().filter_map(move |(name, make)| {
        let tree = folder.join("tree");
        fs::create_dir(&tree).unwrap();
        if make(&tree) {
            return Some((name, tree));
        }
        println!("{name:24} left out: set XENBUILD_BENCH_IMAGE to an image of it");
        fs::remove_dir(&tree).unwrap();
        None
    })
}

fn dom0(tree: &Path) -> bool {
    let Some(image) = std::env::var_os("XENBUILD_BENCH_IMAGE") else { return false };
    let request = format!("rdump / {}", tree.display());
    Command::new("debugfs").arg("-R").arg(request).arg(image).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn names(tree: &Path) -> bool {
    (0..40_000).for_each(|number| drop(File::create(tree.join(format!("name-{number:05}"))).unwrap()));
    true
}

fn large(tree: &Path) -> bool {
    let mut state = 1_u64;
    for number in 0..8 {
        let mut file = File::create(tree.join(format!("file-{number}"))).unwrap();
        let mut chunk = vec![0_u8; 1 << 20];
        for _ in 0..256 {
            for word in chunk.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&chunk).unwrap();
        }
    }
    true
}

/// Returns an empty folder, on a tmpfs where there is one with room.
fn scratch() -> PathBuf {
    let base = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("xenbuild-bench-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}
