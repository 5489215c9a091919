//! `xenbuild du`.

use std::ffi::OsString;
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
#[command(after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
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
    /// Exact numbers of bytes
    #[arg(short, long)]
    bytes: bool,
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
        let place = super::look::file(text, false)?;
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
            let bytes = if args.apparent_size { used.content_bytes } else { used.allocated_bytes };
            let bytes = if args.bytes { bytes.to_string() } else { show_bytes(bytes) };
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
