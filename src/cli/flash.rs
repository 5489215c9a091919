//! `xenbuild flash`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Global, MessageFormat, progress};
use crate::error::{Error, Kind, Result};
use crate::flash::destination::Destination;
use crate::flash::host::Roots;
use crate::flash::image::{Image, MapChoice};
use crate::flash::{self, Candidate};
use crate::run::event::{Event, Watcher};
use crate::run::signal;

/// Writes an image to a card or disk, reads it back, and compares
///
/// Without a device, lists the disks of this machine, and why some of them are refused. A disk is refused that holds the
/// running system, is mounted, swapped to, part of a RAID, of LVM or of the device mapper, read-only or too small. What
/// will be lost is shown, and the device's name is asked for.
///
/// The image may be compressed with gzip, xz, zstd or bzip2. With a block map beside it (IMAGE.bmap, as bmaptool makes),
/// only what that maps is written, and its checksums are verified; without one, the holes of the image are made to read
/// as zeros. The first block is cleared at the start and written at the very end: a card that was not finished does not
/// look as if it were. DEVICE can be an ordinary file, too, with the same guards.
#[derive(clap::Args)]
pub struct Args {
    /// The image: plain or compressed
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The disk to write, such as /dev/sdb; or an existing file
    #[arg(value_name = "DEVICE")]
    device: Option<PathBuf>,
    /// Do not ask: this device is meant, and may be overwritten
    #[arg(long, value_name = "DEVICE")]
    yes: Option<PathBuf>,
    /// Let the last partition end with the device; the file system in it keeps its size
    #[arg(long)]
    grow: bool,
    /// Use this block map [default: IMAGE.bmap, if there is one]
    #[arg(long, value_name = "FILE")]
    bmap: Option<PathBuf>,
    /// Use no block map
    #[arg(long, conflicts_with = "bmap")]
    no_bmap: bool,
    /// Leave on the device what is under the image's holes, instead of zeros
    #[arg(long)]
    leave_holes: bool,
    /// Show what would be written and lost, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let choice = match (args.bmap, args.no_bmap) {
        (Some(path), _) => MapChoice::File(path),
        (None, true) => MapChoice::Ignore,
        (None, false) => MapChoice::Beside,
    };
    let watcher = progress::watcher(global);
    let mut image = Image::open(&args.image, &choice, args.leave_holes)?;
    let roots = Roots::default();
    let Some(device) = args.device.as_ref().or(args.yes.as_ref()) else {
        return list(global, &image, &flash::candidates(&roots, &image.needs()), &*watcher);
    };
    let destination = Destination::find(&roots, device, &image)?;
    if let Some(yes) = args.yes.as_ref().filter(|yes| !destination.is_called(&yes.to_string_lossy())) {
        let message = format!("--yes {} names another device than {}", yes.display(), device.display());
        return Err(Error::new(Kind::Usage, message));
    }
    let mut plan = describe(&image, &destination);
    if args.grow {
        let growth = image.grow(destination.size_bytes())?;
        let (from, to) = (growth.from.end - growth.from.start, growth.to.end - growth.to.start);
        let (from, to) = (progress::show_bytes(from), progress::show_bytes(to));
        plan.push(format!(
            "Partition {} grows from {from} to {to}; the file system in it keeps its size.",
            growth.number
        ));
    }
    let sure = args.yes.is_some();
    if !global.quiet || !sure {
        tell(&*watcher, global, &plan);
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !sure {
        if !std::io::stdin().is_terminal() {
            let message = "nobody can be asked: standard input is not a terminal";
            return Err(Error::new(Kind::Usage, message).hint(format!("--yes {} means it", device.display())));
        }
        if !confirmed(&destination, &mut std::io::stdin().lock(), &mut std::io::stderr())? {
            return Err(Error::new(Kind::Usage, "that was not its name: nothing was written"));
        }
    }
    // Only from here on: until then, Ctrl-C simply ends the program.
    let cancel = signal::cancel()?;
    flash::flash(&image, &destination, &cancel, &*watcher)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what will be written where, and what is lost.
fn describe(image: &Image, destination: &Destination) -> Vec<String> {
    let mut lines = vec![destination.title(), "  All of it will be lost:".into()];
    lines.extend(destination.losses().iter().map(|line| format!("    {line}")));
    let size = image.size().map_or("unknown size".into(), progress::show_bytes);
    let mut what = vec![size, image.contents().summary()];
    if let Some((data, holes)) = image.amounts() {
        what.push(format!("{} to write", progress::show_bytes(data)));
        if holes > 0 {
            what.push(format!("{} of holes to clear", progress::show_bytes(holes)));
        }
    } else {
        what.push(format!("compressed with {}", image.compression()));
    }
    if let Some(map) = image.bmap() {
        what.push(format!("as {} maps", map.display()));
    }
    lines.push(format!("{}: {}", image.path().display(), what.join(", ")));
    lines
}

/// Tells lines on standard error, or as events.
fn tell(watcher: &dyn Watcher, global: &Global, lines: &[String]) {
    for line in lines {
        if global.message_format == MessageFormat::Json {
            watcher.event(Event::Note { step: None, text: line.clone() });
        } else {
            eprintln!("{}", super::harmless(line));
        }
    }
}

/// Asks for the device's name.
fn confirmed(destination: &Destination, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<bool> {
    let failed = |error| Error::io("cannot ask", error);
    let name = destination.name();
    write!(output, "Type its name, {}, to overwrite it: ", super::harmless(name)).map_err(failed)?;
    output.flush().map_err(failed)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(failed)?;
    Ok(destination.is_called(&answer))
}

/// Lists the disks.
fn list(global: &Global, image: &Image, candidates: &[Candidate], watcher: &dyn Watcher) -> Result<ExitCode> {
    if global.message_format == MessageFormat::Json {
        flash::tell_candidates(candidates, watcher);
        return Ok(ExitCode::SUCCESS);
    }
    let shown = candidates.iter().filter(|candidate| global.verbose > 0 || !candidate.is_noise());
    let (offered, refused): (Vec<&Candidate>, Vec<&Candidate>) = shown.partition(|c| c.refusals.is_empty());
    let mut text = String::new();
    if offered.is_empty() {
        text.push_str("No disk here can take the image.\n");
    } else {
        text.push_str(&format!("{} can go to:\n", image.path().display()));
        text.push_str(&table(&offered));
    }
    if !refused.is_empty() {
        text.push_str("\nRefused:\n");
        text.push_str(&table(&refused));
    }
    super::print(format_args!("{}", super::harmless(&text)))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes disks in columns, each with the reasons against it below.
fn table(candidates: &[&Candidate]) -> String {
    let row = |candidate: &&Candidate| {
        let Candidate { disk, contents, .. } = candidate;
        let backing = disk.backing.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let model = if disk.model.is_empty() { backing } else { disk.model.clone() };
        let size = if disk.bytes == 0 { "-".into() } else { progress::show_bytes(disk.bytes) };
        let fixed = if disk.removable || disk.bus == "loop" { "" } else { " (fixed)" };
        [disk.node.display().to_string(), size, format!("{}{fixed}", disk.bus), model, contents.clone()]
    };
    let rows: Vec<[String; 5]> = candidates.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [path, size, bus, model] = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for (row, candidate) in rows.iter().zip(candidates) {
        let line = format!("  {:path$}  {:>size$}  {:bus$}  {:model$}  {}", row[0], row[1], row[2], row[3], row[4]);
        text.push_str(line.trim_end());
        text.push('\n');
        for refusal in &candidate.refusals {
            text.push_str(&format!("      {}\n", refusal.text));
        }
    }
    text
}
