//! What differs between two images: files and what is said of them, then what is said of the whole, then bytes.
//!
//! Bytes come first in time: what is the same byte for byte is not looked into. What differs is opened, on both sides
//! alike, through disks, file systems, and images that are files in them.

mod bytes;
mod tree;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use imagegen::disk::table::Partition;
use imagegen::tree::Source;
use imagegen::volume::Volume;
use serde_json::{Map, Value, json};

use super::open::{Disk, Thing, host_folder, identify};
use super::show::{partition_facts, table_facts};
use super::{FilePlace, Place, address};
use crate::error::{Error, Kind, Result};
use bytes::{Bytes, ReadError, compare};

/// How many images inside each other are compared.
const DEPTH_MAX: usize = 8;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// Something that differs.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Where: an address within both images; empty for the whole.
    pub address: String,
    /// In what.
    pub what: What,
}

/// In what two things differ.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// Only one has it.
    OnlyIn(Side, &'static str),
    /// Both have it, with different values.
    Value {
        /// What it is called: `mode`, `uuid`, `xattr user.name`.
        name: String,
        /// What the first says; nothing if it does not say.
        a: Option<String>,
        /// What the second says.
        b: Option<String>,
    },
    /// The content of a file.
    Content(Bytes),
    /// The bytes that all of it is made of, and the unit in which it counts: bytes and name.
    Bytes(Bytes, (u64, &'static str)),
}

impl Difference {
    /// Returns it as a line; `names` are those of the two.
    pub fn line(&self, names: [&str; 2]) -> String {
        let at = if self.address.is_empty() { "the whole" } else { &self.address };
        let none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        match &self.what {
            What::OnlyIn(side, kind) => {
                let name = names[(*side == Side::B) as usize];
                format!("only in {name}: {at} ({kind})")
            }
            What::Value { name, a, b } => format!("{at}: {name}: {} -> {}", none(a), none(b)),
            What::Content(bytes) => match bytes.sizes {
                [a, b] if a == b => format!("{at}: content: differs from byte {} on", bytes.first),
                [a, b] => format!("{at}: content: differs from byte {} on; {a} -> {b} bytes", bytes.first),
            },
            What::Bytes(bytes, (unit, unit_name)) => {
                let sizes = match bytes.sizes {
                    [a, b] if a == b => String::new(),
                    [a, b] => format!("; {a} -> {b} bytes"),
                };
                format!(
                    "{at}: bytes: differ first at {} ({unit_name} {}), in {} of {} pieces of 4 KiB{sizes}",
                    bytes.first,
                    bytes.first / unit,
                    bytes.pieces,
                    bytes.all_pieces
                )
            }
        }
    }

    /// Returns it as JSON.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.into(), value);
        put("address", self.address.clone().into());
        match &self.what {
            What::OnlyIn(side, kind) => {
                put("difference", "only-in".into());
                put("only-in", if *side == Side::A { "a" } else { "b" }.into());
                put("type", (*kind).into());
            }
            What::Value { name, a, b } => {
                put("difference", name.clone().into());
                put("a", json!(a));
                put("b", json!(b));
            }
            What::Content(bytes) => {
                put("difference", "content".into());
                put("first-byte", bytes.first.into());
                put("size-bytes", json!(bytes.sizes));
            }
            What::Bytes(bytes, (unit, name)) => {
                put("difference", "bytes".into());
                put("first-byte", bytes.first.into());
                put(&format!("first-{name}"), (bytes.first / unit).into());
                put("pieces", bytes.pieces.into());
                put("all-pieces", bytes.all_pieces.into());
                put("size-bytes", json!(bytes.sizes));
            }
        }
        object.into()
    }
}

/// Hears what differs, and what could not be read.
pub trait Watch {
    /// Takes a difference.
    ///
    /// # Errors
    /// Nobody wants more.
    fn differs(&mut self, difference: Difference) -> Result<()>;
    /// Takes a word about something that cannot be read, and so not be compared.
    fn unreadable(&mut self, text: String);
    /// Takes a word about something that is damaged, and could be read all the same.
    fn damaged(&mut self, text: &str);
}

/// Compares what two addresses name; says whether they are the same.
///
/// A folder of the host is compared by names and content alone: who built there, and when, is nobody's difference.
///
/// # Errors
/// One of them is not there, or cannot be read.
pub fn diff(a: &OsStr, b: &OsStr, watch: &mut dyn Watch) -> Result<bool> {
    let mut differ = Differ { watch, count: 0 };
    let sides = (side(a, differ.watch)?, side(b, differ.watch)?);
    let same = match sides {
        (Input::Files(a), Input::Files(b)) => differ.trees("", &a, &b),
        (Input::Bytes(a), Input::Bytes(b)) => differ.sources("", &a, &b, 0),
        (Input::Bytes(source), Input::Files(files)) => {
            let opened = opened_as_files(a, &source)?;
            differ.trees("", &opened, &files)
        }
        (Input::Files(files), Input::Bytes(source)) => {
            let opened = opened_as_files(b, &source)?;
            differ.trees("", &files, &opened)
        }
    };
    same?;
    Ok(differ.count == 0)
}

/// What an address names, for comparing.
enum Input {
    /// All of an image, or content.
    Bytes(Arc<dyn Source>),
    /// A folder of the host or of an image, or a file that is more than its content.
    Files(FilePlace),
}

fn side(text: &OsStr, watch: &mut dyn Watch) -> Result<Input> {
    let path = Path::new(text);
    if path.is_dir() {
        let volume = host_folder(path)?;
        let (id, image) = (volume.root(), path.display().to_string());
        return Ok(Input::Files(FilePlace { image, volume, source: Arc::new(Vec::new()), path: b"/".to_vec(), id }));
    }
    if path.is_file() {
        return Ok(Input::Bytes(super::open::host_file(path)?));
    }
    Ok(match address::resolve(text, true, &mut |damage| watch.damaged(damage))? {
        Place::Disk(disk) => Input::Bytes(disk.source),
        Place::Data { source, .. } => Input::Bytes(source),
        Place::File(place) if place.id == place.volume.root() => Input::Bytes(place.source),
        Place::File(place) => Input::Files(place),
    })
}

/// Returns an image that is compared with a folder as one.
fn opened_as_files(text: &OsStr, source: &Arc<dyn Source>) -> Result<FilePlace> {
    let name = text.to_string_lossy().into_owned();
    match identify(&name, source)? {
        Thing::Volume(volume, source) => {
            let id = volume.root();
            Ok(FilePlace { image: name, volume, source, path: b"/".to_vec(), id })
        }
        _ => Err(Error::new(Kind::Usage, format!("{name} has no files that could be compared with a folder's"))),
    }
}

struct Differ<'a> {
    watch: &'a mut dyn Watch,
    count: u64,
}

impl Differ<'_> {
    fn report(&mut self, address: &str, what: What) -> Result<()> {
        self.count += 1;
        self.watch.differs(Difference { address: address.into(), what })
    }

    /// Compares named values in the order of the first's, then what only the second has.
    fn facts(&mut self, address: &str, a: Vec<(&'static str, String)>, b: Vec<(&'static str, String)>) -> Result<()> {
        let find = |list: &[(&str, String)], name: &str| {
            list.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        let names = a.iter().chain(b.iter().filter(|(name, _)| find(&a, name).is_none())).map(|(name, _)| *name);
        for name in names.collect::<Vec<_>>() {
            let (a, b) = (find(&a, name), find(&b, name));
            if a != b {
                self.report(address, What::Value { name: name.into(), a, b })?;
            }
        }
        Ok(())
    }

    /// Compares bytes, and looks into them where they differ.
    fn sources(&mut self, address: &str, a: &Arc<dyn Source>, b: &Arc<dyn Source>, depth: usize) -> Result<()> {
        let Some(first) = compared(address, a, b, false)? else { return Ok(()) };
        let name = |side: &str| format!("{side}{}{address}", if address.is_empty() { "" } else { "'s " });
        let opened = [identify(&name("the first"), a), identify(&name("the second"), b)];
        let [a_thing, b_thing] = match (depth < DEPTH_MAX, opened) {
            (true, [Ok(a), Ok(b)]) => [a, b],
            (_, opened) => {
                opened.into_iter().filter_map(Result::err).for_each(|error| self.watch.unreadable(error.to_string()));
                return self.report(address, What::Content(first));
            }
        };
        let (a_inner, b_inner) = (a_thing.source().clone(), b_thing.source().clone());
        let unit = match (a_thing, b_thing) {
            _ if compared(address, &a_inner, &b_inner, false)?.is_none() => {
                // The same, compressed otherwise; compressed on one side only, it is the same image.
                let packed = !Arc::ptr_eq(a, &a_inner) && !Arc::ptr_eq(b, &b_inner);
                let size = |source: &Arc<dyn Source>| Some(format!("{} bytes", source.size_bytes()));
                let what = What::Value { name: "compressed form".into(), a: size(a), b: size(b) };
                return if packed { self.report(address, what) } else { Ok(()) };
            }
            (Thing::Disk(a), Thing::Disk(b)) => {
                a.damages.iter().chain(&b.damages).for_each(|damage| self.watch.damaged(damage));
                self.disks(address, &a, &b, depth)?;
                (a.table.sector_bytes, "sector")
            }
            (Thing::Volume(a, a_source), Thing::Volume(b, b_source)) => {
                let whole = |volume: &Arc<dyn Volume>, source| FilePlace {
                    image: address.into(),
                    id: volume.root(),
                    volume: volume.clone(),
                    source,
                    path: b"/".to_vec(),
                };
                self.trees_at(address, &whole(&a, a_source), &whole(&b, b_source), depth)?;
                self.facts(address, a.facts(), b.facts())?;
                a.unit()
            }
            (a_thing, b_thing) => {
                let (a_kind, b_kind) = (a_thing.format(), b_thing.format());
                if a_kind != b_kind {
                    let (a, b) = (Some(a_kind.into()), Some(b_kind.into()));
                    self.report(address, What::Value { name: "format".into(), a, b })?;
                }
                return self.report(address, What::Content(first));
            }
        };
        let all = compared(address, &a_inner, &b_inner, true)?;
        self.report(address, What::Bytes(all.unwrap_or(first), unit))
    }

    fn disks(&mut self, address: &str, a: &Disk, b: &Disk, depth: usize) -> Result<()> {
        let texts = |facts: Vec<(&'static str, Value)>| {
            let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), String::from);
            facts.into_iter().map(|(name, value)| (name, text(value))).collect::<Vec<_>>()
        };
        self.facts(address, texts(table_facts(&a.table)), texts(table_facts(&b.table)))?;
        let find = |disk: &Disk, number| disk.table.partitions.iter().find(|one| one.number == number).cloned();
        let mut numbers: Vec<u32> =
            [a, b].iter().flat_map(|disk| &disk.table.partitions).map(|one| one.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let address = format!("{address}:{number}");
            let pair: [Option<Partition>; 2] = [find(a, number), find(b, number)];
            match pair {
                [Some(left), Some(right)] => {
                    self.facts(&address, texts(partition_facts(&left)), texts(partition_facts(&right)))?;
                    if !left.is_extended() && !right.is_extended() {
                        self.sources(&address, &a.partition(&left), &b.partition(&right), depth + 1)?;
                    }
                }
                [Some(_), None] => self.report(&address, What::OnlyIn(Side::A, "partition"))?,
                [None, Some(_)] => self.report(&address, What::OnlyIn(Side::B, "partition"))?,
                [None, None] => {}
            }
        }
        Ok(())
    }
}

/// Compares bytes; says which side cannot be read.
fn compared(address: &str, a: &Arc<dyn Source>, b: &Arc<dyn Source>, all: bool) -> Result<Option<Bytes>> {
    let fault = |side: &str, error| super::read_fault(&format!("{side} {address}"), error);
    compare(&**a, &**b, all).map_err(|error| match error {
        ReadError::A(error) => fault("the first's", error),
        ReadError::B(error) => fault("the second's", error),
    })
}
