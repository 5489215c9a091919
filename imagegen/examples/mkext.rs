//! Makes an ext2, ext3 or ext4 image of a folder, and says what it took: for tests by hand and for comparison with other
//! makers.
//!
//! `mkext [--format ext2|ext3|ext4] [--size BYTES] [--block-size 1024|2048|4096] [--free BYTES] [--inodes N]
//! [--label NAME] [--epoch SECONDS] FOLDER IMAGE`

use std::error::Error;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use imagegen::archive::ReadOptions;
use imagegen::archive::folder::{self, Keep};
use imagegen::ext::{BlockSize, Options, Plan, Version};
use imagegen::tree::{Metadata, Tree};

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
            "--format" => {
                options.version = match value()?.as_str() {
                    "ext2" => Version::Ext2,
                    "ext3" => Version::Ext3,
                    "ext4" => Version::Ext4,
                    other => return Err(format!("{other} is no format").into()),
                }
            }
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
    let [source, image] = &paths[..] else { return Err("usage: mkext [options] FOLDER IMAGE".into()) };
    let start = Instant::now();
    let mut tree = Tree::new(Metadata::default());
    // As `xenbuild image` reads a folder, but with everything kept, as other makers do.
    folder::read_into(&mut tree, source, &ReadOptions::default(), Keep::Everything)?;
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
