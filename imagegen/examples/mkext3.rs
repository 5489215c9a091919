//! Makes an ext3 image of a folder, and says what it took: for tests by hand and for comparison with other makers.
//!
//! `mkext3 [--size BYTES] [--block-size 1024|2048|4096] [--free BYTES] [--inodes N] [--label NAME] [--epoch SECONDS]
//! FOLDER IMAGE`

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use imagegen::ext3::{BlockSize, Options, Plan};
use imagegen::tree::{Extent, Kind, Metadata, Source, Timestamp, Tree};
use rustix::fs::SeekFrom;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::new(*b"an example's own", *b"hash seed, fixed", 0);
    let mut paths = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--size" => options.size_bytes = Some(value()?.parse()?),
            "--free" => options.free_bytes = value()?.parse()?,
            "--inodes" => options.inodes = Some(value()?.parse()?),
            "--label" => options.label = value()?,
            "--epoch" => options.epoch = value()?.parse()?,
            "--block-size" => {
                options.block_size = match value()?.as_str() {
                    "1024" => BlockSize::KiB1,
                    "2048" => BlockSize::KiB2,
                    "4096" => BlockSize::KiB4,
                    other => return Err(format!("{other} is no block size").into()),
                }
            }
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let [folder, image] = &paths[..] else { return Err("usage: mkext3 [options] FOLDER IMAGE".into()) };
    let start = Instant::now();
    let tree = load(folder)?;
    let loaded = start.elapsed();
    let plan = Plan::new(&tree, &options)?;
    let planned = start.elapsed();
    let file = File::create(image)?;
    plan.write(&file, 0, &mut |_| ControlFlow::Continue(()))?;
    let times = (loaded, planned - loaded, start.elapsed() - planned);
    println!("{} bytes; load {:.3?} plan {:.3?} write {:.3?}", plan.size_bytes(), times.0, times.1, times.2);
    println!("{:?}", plan.usage());
    Ok(())
}

/// A file of the host, opened for each read: a tree may have more files than a process may open.
struct HostFile {
    path: PathBuf,
    size: u64,
    /// Blocks are fewer than the size says.
    sparse: bool,
}

impl Source for HostFile {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        let dense = if self.size == 0 { Vec::new() } else { vec![Extent { offset: 0, length: self.size }] };
        if !self.sparse {
            return dense;
        }
        let Ok(file) = File::open(&self.path) else { return dense };
        let (mut extents, mut at) = (Vec::new(), 0);
        while let Ok(offset) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
            let Ok(end) = rustix::fs::seek(&file, SeekFrom::Hole(offset)) else { return dense };
            extents.push(Extent { offset, length: end.min(self.size) - offset });
            at = end;
        }
        extents
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(buffer, offset)
    }
}

fn load(root: &Path) -> Result<Tree, Box<dyn Error>> {
    let mut tree = Tree::new(metadata(root, &fs::symlink_metadata(root)?)?);
    let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.as_os_str().as_bytes();
            let stat = fs::symlink_metadata(&path)?;
            if stat.nlink() > 1 && !stat.is_dir() {
                if let Some(first) = links.get(&(stat.dev(), stat.ino())) {
                    tree.link(first, name)?;
                    continue;
                }
                links.insert((stat.dev(), stat.ino()), name.to_vec());
            }
            tree.insert(name, kind(&path, &stat)?, metadata(&path, &stat)?)?;
            if stat.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(tree)
}

fn kind(path: &Path, stat: &fs::Metadata) -> io::Result<Kind> {
    let (major, minor) = (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
    let kind = stat.file_type();
    Ok(if kind.is_dir() {
        Kind::Directory(BTreeMap::new())
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(path)?.as_os_str().as_bytes().into())
    } else if kind.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        let sparse = stat.blocks() * 512 < stat.size();
        Kind::File(Arc::new(HostFile { path: path.to_path_buf(), size: stat.size(), sparse }))
    })
}

fn metadata(path: &Path, stat: &fs::Metadata) -> io::Result<Metadata> {
    let mtime = Timestamp { seconds: stat.mtime(), nanoseconds: stat.mtime_nsec() as u32 };
    let mut xattrs = BTreeMap::new();
    let length = rustix::fs::llistxattr_query(path).unwrap_or(0);
    if length > 0 {
        let mut names = vec![0_u8; length];
        let length = rustix::fs::llistxattr(path, &mut names[..])?;
        for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0_u8; rustix::fs::lgetxattr_query(path, name)?];
            let length = if value.is_empty() { 0 } else { rustix::fs::lgetxattr(path, name, &mut value[..])? };
            value.truncate(length);
            xattrs.insert(name.to_vec(), value);
        }
    }
    Ok(Metadata { uid: stat.uid(), gid: stat.gid(), mode: (stat.mode() & 0o7777) as u16, mtime, xattrs })
}
