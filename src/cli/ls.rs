//! `xenbuild ls`.

use std::ffi::OsString;
use std::process::ExitCode;

use imagegen::volume::show;

use super::look::{ADDRESSES, Words};
use super::progress::show_bytes;
use super::{Global, MessageFormat};
use crate::error::Result;
use crate::look::list::{Block, Options, list};
use crate::look::open::{Disk, Held};
use crate::look::show::{facts_json, long, partition_json, row_json, table_facts};
use crate::look::{Place, address};

/// Lists files in an image, or the partitions of a disk
///
/// Times are UTC, owners are numbers, names are sorted by their bytes. A link is followed, unless -l or -d is given.
#[derive(clap::Args)]
#[command(disable_help_flag = true, after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
pub struct Args {
    /// What to list, as IMAGE, IMAGE:PARTITION, IMAGE:PATH or IMAGE:PARTITION:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<OsString>,
    /// Mode, links, owner, group, size, time; `+` behind the mode says that there are extended attributes
    #[arg(short)]
    long: bool,
    /// Folders below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// A folder itself, and not what is in it
    #[arg(short, long)]
    directory: bool,
    /// With -l: sizes as people read them
    #[arg(short = 'h', long)]
    human_readable: bool,
    /// Takes no effect: all names are listed
    #[arg(short = 'a', long = "all", hide_short_help = true)]
    _all: bool,
    /// Takes no effect: names stand one per line
    #[arg(short = '1', hide_short_help = true)]
    _one: bool,
    /// Print help
    #[arg(long = "help", action = clap::ArgAction::HelpLong)]
    _help: Option<bool>,
    /// With extended attributes and flags, below each file; implies -l
    #[arg(short, long)]
    xattrs: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let json = args.json || global.message_format == MessageFormat::Json;
    let values = args.xattrs || json;
    let options = Options { recursive: args.recursive, itself: args.directory, values };
    let detailed = args.long || args.xattrs;
    let mut words = Words::new(global);
    for (number, text) in args.addresses.iter().enumerate() {
        match address::resolve(text, !detailed && !args.directory, &mut |damage| words.warn(damage))? {
            Place::Disk(disk) => disk_lines(&disk, json, &mut words)?,
            Place::Data { name, source } => {
                let size = source.size_bytes();
                if json {
                    let row = serde_json::json!({ "image": name, "type": "data", "size-bytes": size });
                    super::print(format_args!("{row}\n"))?;
                    continue;
                }
                super::print(format_args!("{}: {size} bytes of no known kind\n", super::harmless(&name)))?;
            }
            Place::File(place) => {
                let (mut first, titles) = (true, args.recursive || args.addresses.len() > 1);
                let mut visit = |block: Block| {
                    let text = if json {
                        block.rows.iter().map(|row| format!("{}\n", row_json(row))).collect()
                    } else {
                        let title = block.folder.as_ref().filter(|_| titles);
                        let title = title.map(|path| format!("{}:{}:\n", place.image, show(path))).unwrap_or_default();
                        let gap = if titles && !(first && number == 0) { "\n" } else { "" };
                        format!("{gap}{title}{}", rows(&block, detailed, &args))
                    };
                    first = false;
                    super::print(format_args!("{}", super::harmless(&text)))
                };
                list(&place, options, &mut visit, &mut |text| words.complain(&text))?;
            }
        }
    }
    Ok(words.verdict())
}

fn rows(block: &Block, detailed: bool, args: &Args) -> String {
    if detailed {
        let size: fn(u64) -> String = if args.human_readable { show_bytes } else { |bytes| bytes.to_string() };
        return long(&block.rows, args.xattrs, size);
    }
    block.rows.iter().map(|row| show(&row.name) + "\n").collect()
}

/// Shows a disk's table, and what its partitions hold.
fn disk_lines(disk: &Disk, json: bool, words: &mut Words) -> Result<()> {
    let table = &disk.table;
    let mut volumes = Vec::new();
    for partition in &table.partitions {
        // What it holds, its label, and whether that could be read.
        let (holds, label) = match disk.held(partition) {
            Held::Volume(volume) => (volume.format().into(), volume.label()),
            Held::Archive(format) => (format.into(), String::new()),
            Held::Packed(packed) => (packed.to_string(), String::new()),
            Held::Damaged(error) => {
                words.fail(&error);
                ("damaged".to_string(), String::new())
            }
            Held::Nothing => (String::new(), String::new()),
        };
        volumes.push((partition, holds, label));
    }
    if json {
        let mut text = format!("{}\n", facts_json(table_facts(table)));
        for (partition, holds, label) in volumes {
            let format = Some(&*holds).filter(|holds| !holds.is_empty());
            text += &format!("{}\n", partition_json(partition, format, &label));
        }
        return super::print(format_args!("{text}"));
    }
    let rows: Vec<[String; 5]> = volumes
        .iter()
        .map(|(partition, holds, label)| {
            let range = &partition.range;
            let purpose = partition.purpose().map_or_else(
                || match (partition.kind.guid, partition.kind.code) {
                    (Some(guid), _) => guid.to_string(),
                    (None, code) => format!("type {:02x}", code.unwrap_or(0)),
                },
                String::from,
            );
            let holds = match (&**holds, &**label) {
                ("", _) => "-".into(),
                (holds, "") => holds.to_string(),
                (holds, label) => format!("{holds} {label:?}"),
            };
            let name = if partition.name.is_empty() { String::new() } else { format!(" {:?}", partition.name) };
            let size = show_bytes(range.end - range.start);
            let number = partition.number.to_string();
            [number, range.start.to_string(), size, holds, format!("{purpose}{name}")]
        })
        .collect();
    let head = ["#", "start", "size", "holds", "type and name"].map(String::from);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [number, start, size, holds] = [0, 1, 2, 3].map(width);
    let mut text = format!("{}: {}, sectors of {} bytes\n", disk.name, table.scheme, table.sector_bytes);
    for row in [&head].into_iter().chain(&rows) {
        let [a, b, c, d, e] = row;
        text += &format!("{a:>number$}  {b:>start$}  {c:>size$}  {d:holds$}  {e}\n");
    }
    super::print(format_args!("{}", super::harmless(&text)))
}
