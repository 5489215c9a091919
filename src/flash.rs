//! Writes an image to a card or disk, and makes sure that it is there; the only place that opens devices.
//!
//! ```text
//! sysfs, procfs -> host -> refuse -> candidates, destination
//!                                          | target
//! image, .bmap  -> image -> chunk -> write +--> card
//! ```
//!
//! - [`host`]: what the kernel says of its disks; [`contents`]: what their bytes say.
//! - [`refuse`]: which may not be written, and why: a pure decision.
//! - [`destination`]: the device or file the user names.
//! - [`image`]: the image, its holes, its block map; [`chunk`], [`sums`]: the pieces in which it comes.
//! - [`target`]: what is written to, real or faulty; [`mod@write`]: the order of writing, flushing, reading back.
//! - [`event`], [`pace`]: what is told meanwhile.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::error::Result;
use crate::run::event::{Event, Refused, Watcher};
use crate::task::Cancel;

pub mod chunk;
pub mod contents;
pub mod destination;
pub mod event;
pub mod host;
pub mod image;
pub mod pace;
pub mod refuse;
pub mod sums;
pub mod target;
pub mod write;

use contents::Contents;
use destination::Destination;
use event::Phase;
use host::{Disk, Inventory, Roots};
use image::{Image, Needs};
use refuse::{Reason, Refusal};
use target::Target;
use write::{Phases, Report};

/// A disk that could be flashed, or why it could not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The disk.
    pub disk: Disk,
    /// What is on it, in a line.
    pub contents: String,
    /// What speaks against it.
    pub refusals: Vec<Refusal>,
}

impl Candidate {
    /// Says whether this is something that nobody would look for in a list of cards: memory, an empty loop device.
    pub fn is_noise(&self) -> bool {
        let empty = self.disk.bytes == 0 && !self.disk.removable;
        empty || self.refusals.iter().any(|refusal| refusal.reason == Reason::NotADisk)
    }
}

/// Returns all disks of this machine: those that may be flashed, and the others with the reasons.
pub fn candidates(roots: &Roots, needs: &Needs) -> Vec<Candidate> {
    let inventory = Inventory::read(roots);
    let candidate = |disk: &Disk| {
        let found = Contents::of_path(&disk.node, &disk.name, disk.bytes);
        let refusals = refuse::disk(&inventory, disk, found.as_ref().ok(), Some(needs));
        let contents = match found {
            _ if disk.bytes == 0 => "no medium".into(),
            Ok(contents) => contents.summary(),
            Err(error) => match (error.kind(), disk.partitions.len()) {
                (io::ErrorKind::PermissionDenied, 0) => "unknown: reading it needs permission".into(),
                (io::ErrorKind::PermissionDenied, 1) => "1 partition; reading it needs permission".into(),
                (io::ErrorKind::PermissionDenied, count) => {
                    format!("{count} partitions; reading them needs permission")
                }
                _ => format!("cannot be read: {error}"),
            },
        };
        Candidate { disk: disk.clone(), contents, refusals }
    };
    inventory.disks.iter().map(candidate).collect()
}

/// Tells of all disks, as events.
pub fn tell_candidates(candidates: &[Candidate], watcher: &dyn Watcher) {
    for Candidate { disk, contents, refusals } in candidates {
        let refused = |refusal: &Refusal| Refused { reason: refusal.reason.name(), text: refusal.text.clone() };
        watcher.event(Event::Device {
            path: disk.node.display().to_string(),
            model: disk.model.clone(),
            serial: disk.serial.clone(),
            bus: disk.bus.clone(),
            bytes: disk.bytes,
            removable: disk.removable,
            contents: contents.clone(),
            refused: refusals.iter().map(refused).collect(),
        });
    }
}

/// Writes an image to its destination, reads it back, and tells how that goes.
///
/// # Errors
/// Those of [`Destination::open`] and of [`write::run`]. The hints say in what state the destination is.
pub fn flash(image: &Image, destination: &Destination, cancel: &Cancel, watcher: &dyn Watcher) -> Result<Report> {
    let medium = destination.open()?;
    onto(image, &medium, cancel, watcher)
}

/// The same, onto whatever is opened already.
///
/// # Errors
/// Those of [`write::run`].
pub fn onto(image: &Image, target: &dyn Target, cancel: &Cancel, watcher: &dyn Watcher) -> Result<Report> {
    let started = Instant::now();
    let name = image.path().file_name().unwrap_or(Path::new("image").as_os_str()).to_string_lossy().into_owned();
    watcher.event(Event::Plan { recipe: name.clone(), steps: 2 });
    let phase = |step| Phase::new(step, watcher, cancel);
    let (write, compare) = (phase("write"), phase("read back"));
    let written = || {
        write.end(None);
        compare.begin();
    };
    write.begin();
    let result = write::run(image, target, &Phases { write: &write, written: &written, compare: &compare });
    write.end_with(&result);
    compare.end_with(&result);
    let report = result?;
    watcher.event(Event::Flashed {
        image: name,
        device: target.name().into(),
        written_bytes: report.written_bytes,
        cleared_bytes: report.cleared_bytes,
        compared_bytes: report.compared_bytes,
        repeated: report.repeated,
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(report)
}

/// Writes a number of bytes for people.
fn show_bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}
