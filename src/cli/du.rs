//! `xenbuild du`.

use std::ffi::OsString;
use std::num::NonZero;
use std::process::ExitCode;

use serde_json::Map;

use super::look::{ADDRESSES, Words};
use super::progress::show_bytes;
use super::{Global, MessageFormat};
use crate::error::Result;
use crate::look::show::put_bytes;
use crate::look::usage::{Used, usage};

/// Says how much room folders of an image take
///
/// What counts are the bytes that files take of their file system, with its indirect blocks, without inodes. A file with
/// several names counts once.
#[derive(clap::Args)]
#[command(disable_help_flag = true, after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
pub struct Args {
    /// What to count, as IMAGE, IMAGE:PATH or IMAGE:PARTITION:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<OsString>,
    /// Files too, not only folders
    #[arg(short, long)]
    all: bool,
    /// The total alone
    #[arg(short, long, conflicts_with = "all")]
    summarize: bool,
    /// The length of the content, as a number of bytes
    #[arg(short, long)]
    bytes: bool,
    /// Numbers of pieces of this many bytes: 1 for bytes, 1024 for KiB
    #[arg(short = 'B', long, value_name = "BYTES", conflicts_with = "bytes")]
    block_size: Option<NonZero<u64>>,
    /// Takes no effect: sizes are as people read them, unless -b or -B is given
    #[arg(short = 'h', long = "human-readable", hide_short_help = true)]
    _human_readable: bool,
    /// Print help
    #[arg(long = "help", action = clap::ArgAction::HelpLong)]
    _help: Option<bool>,
    /// The length of the content, and not the room it takes
    #[arg(long)]
    apparent_size: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let json = args.json || global.message_format == MessageFormat::Json;
    let mut words = Words::new(global);
    for text in &args.addresses {
        let place = super::look::file(text, false, &mut words)?;
        let mut visit = |used: &Used| {
            let wanted = used.depth == 0 || !args.summarize && (used.is_directory || args.all);
            if !wanted {
                return Ok(());
            }
            if json {
                let mut object = Map::new();
                put_bytes(&mut object, "path", &path_of(&place.path, &used.path));
                object.insert("allocated-bytes".into(), used.allocated_bytes.into());
                object.insert("content-bytes".into(), used.content_bytes.into());
                return super::print(format_args!("{}\n", serde_json::Value::Object(object)));
            }
            let bytes = if args.apparent_size || args.bytes { used.content_bytes } else { used.allocated_bytes };
            let block_size = if args.bytes { Some(NonZero::<u64>::MIN) } else { args.block_size };
            let bytes = block_size.map_or_else(|| show_bytes(bytes), |size| bytes.div_ceil(size.get()).to_string());
            let path = imagegen::volume::show(&path_of(&place.path, &used.path));
            super::print(format_args!("{bytes:>10}  {}\n", super::harmless(&path)))
        };
        usage(&place, &mut visit, &mut |text| words.complain(&text))?;
    }
    Ok(words.verdict())
}

/// Returns the path in the volume of something below a place.
fn path_of(place: &[u8], below: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if place.ends_with(b"/") || below.is_empty() { b"" } else { b"/" };
    [place, slash, below].concat()
}
