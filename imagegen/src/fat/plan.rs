//! The plan: every entry named, every file measured and given its clusters, the image's geometry chosen.

use std::collections::HashMap;

use super::error::{PlanError, Refusal, Shortage};
use super::layout::{
    DIRECTORY_ENTRIES_MAX, FIRST_CLUSTER, Geometry, ROOT_ENTRIES, ROOT_ENTRIES_MAX, ROWS, Row, SECTOR, SECTORS_MAX,
};
use super::name::{self, Name};
use super::table::Run;
use super::{Options, Width, boot};
use crate::tree::{Extent, InodeId, Kind, Source, Tree};

/// Entries of a directory's own: `.` and `..`.
const DOTS: u32 = 2;
/// Files a message about sizes names.
const BIGGEST: usize = 5;

/// A tree laid out as a FAT file system, ready to be written. It borrows the tree, so what is written is what was
/// planned.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) options: Options,
    pub(super) geometry: Geometry,
    pub(super) directories: Vec<Directory<'a>>,
    pub(super) files: Vec<File>,
    /// Clusters in use: the first of all.
    pub(super) used_clusters: u32,
    usage: Usage,
}

/// A directory and what is in it; the root comes first.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    pub id: InodeId,
    /// The directory it is in; the root's own is itself.
    pub parent: usize,
    pub name: &'a str,
    pub entries: Vec<Entry<'a>>,
    /// Entries of 32 bytes, names' slots included.
    pub count: u32,
    pub clusters: Run,
}

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub text: &'a str,
    pub name: Name,
    pub node: Node,
}

/// What a name leads to: an index into the plan's lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    Directory(usize),
    File(usize),
}

/// A file: one for each name.
#[derive(Debug)]
pub(super) struct File {
    pub id: InodeId,
    pub directory: usize,
    pub size: u32,
    pub clusters: Run,
}

/// What an image's bytes are for; the fields ending in `_bytes` add up to its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Content of files, in whole clusters.
    pub file_bytes: u64,
    /// Directories.
    pub directory_bytes: u64,
    /// Boot sectors and allocation tables.
    pub table_bytes: u64,
    /// What is left: asked for, or behind the last whole cluster.
    pub free_bytes: u64,
    /// What an exact size has beyond that because its FAT needs more clusters to be one of its width.
    pub least_bytes: u64,
}

impl<'a> Plan<'a> {
    /// Lays a tree out; reads sizes, but no content.
    ///
    /// # Errors
    /// All that FAT cannot hold, by path; options out of range; a given size that does not suffice, with the reasons.
    pub fn new(tree: &'a Tree, options: &Options) -> Result<Self, PlanError> {
        check(options)?;
        let mut listing = Listing { tree, directories: Vec::new(), files: Vec::new(), refused: Vec::new() };
        listing.all(options);
        if !listing.refused.is_empty() {
            return Err(PlanError::Files(listing.refused));
        }
        let Listing { directories, files, .. } = listing;
        let geometry = choose(&directories, &files, options)?;
        let mut plan = Plan {
            tree,
            options: options.clone(),
            geometry,
            directories,
            files,
            used_clusters: 0,
            usage: Usage::default(),
        };
        plan.place();
        Ok(plan)
    }

    /// Gives everything its clusters, one after the other.
    fn place(&mut self) {
        let cluster = self.geometry.cluster_bytes();
        let mut next = FIRST_CLUSTER;
        let mut take = |bytes: u64| {
            let count = bytes.div_ceil(cluster) as u32;
            let run = Run { first: next, count };
            next += count;
            run
        };
        for (index, directory) in self.directories.iter_mut().enumerate() {
            directory.clusters = take(directory.bytes(index, self.geometry.width));
        }
        for file in &mut self.files {
            file.clusters = take(u64::from(file.size));
        }
        self.used_clusters = next - FIRST_CLUSTER;
        self.usage = self.measure();
    }

    fn measure(&self) -> Usage {
        let directory_clusters: u32 = self.directories.iter().map(|directory| directory.clusters.count).sum();
        let geometry = &self.geometry;
        let cluster = geometry.cluster_bytes();
        let root = u64::from(geometry.data_start() - geometry.root_start()) * SECTOR;
        let mut usage = Usage {
            file_bytes: u64::from(self.used_clusters - directory_clusters) * cluster,
            directory_bytes: root + u64::from(directory_clusters) * cluster,
            table_bytes: u64::from(geometry.root_start()) * SECTOR,
            ..Usage::default()
        };
        let left = self.size_bytes() - usage.file_bytes - usage.directory_bytes - usage.table_bytes;
        usage.free_bytes = match self.options.size_bytes {
            Some(_) => left,
            None => left.min(self.options.free_bytes.next_multiple_of(cluster)),
        };
        usage.least_bytes = left - usage.free_bytes;
        usage
    }

    /// Returns the image's size: the given one, or the exact one.
    pub fn size_bytes(&self) -> u64 {
        self.options.size_bytes.unwrap_or(u64::from(self.geometry.total_sectors()) * SECTOR)
    }

    /// Returns which FAT it is.
    pub fn width(&self) -> Width {
        self.geometry.width
    }

    /// Returns the size of a cluster.
    pub fn cluster_bytes(&self) -> u32 {
        self.geometry.cluster_bytes() as u32
    }

    /// Returns what the image's bytes are for.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Returns the bytes that [`Plan::write`] reports as its progress when it is done.
    pub fn content_bytes(&self) -> u64 {
        u64::from(self.used_clusters) * self.geometry.cluster_bytes()
    }

    /// Returns the ranges of the image that mean something, ascending: what a medium with old content must be given,
    /// zeros included. All else is free.
    pub fn extents(&self) -> Vec<Extent> {
        let tables = u64::from(self.geometry.data_start()) * SECTOR;
        vec![Extent { offset: 0, length: tables + self.content_bytes() }]
    }

    /// Returns the content of a file.
    pub(super) fn source(&self, file: &File) -> Option<&dyn Source> {
        match &self.tree.inode(file.id).kind {
            Kind::File(source) => Some(&**source),
            _ => None,
        }
    }

    /// Returns a file's path, for messages.
    pub(super) fn path(&self, file: &File) -> String {
        let entries = &self.directories[file.directory].entries;
        let is_it = |entry: &&Entry<'_>| match entry.node {
            Node::File(index) => std::ptr::eq(&self.files[index], file),
            Node::Directory(_) => false,
        };
        path_in(&self.directories, file.directory, entries.iter().find(is_it).map_or("", |entry| entry.text))
    }
}

impl Directory<'_> {
    /// Returns the bytes its clusters must hold; the root of FAT12 and FAT16 has a place of its own.
    fn bytes(&self, index: usize, width: Width) -> u64 {
        if index == 0 && width != Width::Fat32 { 0 } else { u64::from(self.count.max(1)) * super::layout::ENTRY }
    }
}

/// A tree's names being listed, folder by folder.
struct Listing<'a> {
    tree: &'a Tree,
    directories: Vec<Directory<'a>>,
    files: Vec<File>,
    refused: Vec<Refusal>,
}

impl<'a> Listing<'a> {
    fn all(&mut self, options: &Options) {
        let label = u32::from(boot::label(options).is_some());
        self.directory(Tree::ROOT, 0, "", label);
        let mut index = 0;
        while index < self.directories.len() {
            self.fill(index, options.width);
            index += 1;
        }
    }

    fn directory(&mut self, id: InodeId, parent: usize, name: &'a str, own_entries: u32) -> Node {
        let clusters = Run { first: 0, count: 0 };
        self.directories.push(Directory { id, parent, name, entries: Vec::new(), count: own_entries, clusters });
        Node::Directory(self.directories.len() - 1)
    }

    /// Lists one directory's names.
    fn fill(&mut self, index: usize, width: Option<Width>) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        let mut names: Vec<(&'a str, InodeId)> = Vec::new();
        for (bytes, id) in self.tree.entries(self.directories[index].id) {
            let text = match name::check(bytes) {
                Ok(text) => text,
                Err(reason) => {
                    self.refuse(index, &String::from_utf8_lossy(bytes), reason);
                    continue;
                }
            };
            match seen.insert(name::folded(text), text) {
                Some(other) => {
                    self.refuse(index, text, format!("differs from `{other}` beside it only in the case of letters"));
                }
                None => names.push((text, id)),
            }
        }
        let texts: Vec<&str> = names.iter().map(|&(text, _)| text).collect();
        let mut entries = Vec::with_capacity(names.len());
        let mut count = u64::from(self.directories[index].count);
        for ((text, id), name) in names.iter().copied().zip(name::assign(&texts)) {
            count += u64::from(name.entries(text));
            if let Some(node) = self.node(index, text, id) {
                entries.push(Entry { text, name, node });
            }
        }
        let fixed = index == 0 && matches!(width, Some(Width::Fat12 | Width::Fat16));
        let most = if fixed { ROOT_ENTRIES_MAX } else { DIRECTORY_ENTRIES_MAX };
        if count > u64::from(most) {
            let needed = format!("{} names need {count} entries, a FAT directory has at most {most}", texts.len());
            let reason = if fixed { format!("{needed} where it is the root of FAT12 or FAT16") } else { needed };
            let path = path_in(&self.directories, index, "");
            self.refused.push(Refusal { path, reason });
        }
        let directory = &mut self.directories[index];
        (directory.entries, directory.count) = (entries, count.min(u64::from(most)) as u32);
    }

    fn node(&mut self, directory: usize, name: &'a str, id: InodeId) -> Option<Node> {
        let reason = match &self.tree.inode(id).kind {
            Kind::Directory(_) => return Some(self.directory(id, directory, name, DOTS)),
            Kind::File(source) => match u32::try_from(source.size_bytes()) {
                Ok(size) => {
                    self.files.push(File { id, directory, size, clusters: Run { first: 0, count: 0 } });
                    return Some(Node::File(self.files.len() - 1));
                }
                Err(_) => {
                    let size = source.size_bytes();
                    format!("{size} bytes are more than the 4 GiB less one byte of a file in FAT")
                }
            },
            Kind::Symlink(_) => "FAT has no symbolic links".into(),
            Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => "FAT has no device nodes".into(),
            Kind::Fifo => "FAT has no named pipes".into(),
            Kind::Socket => "FAT has no sockets".into(),
        };
        self.refuse(directory, name, reason);
        None
    }

    fn refuse(&mut self, directory: usize, name: &str, reason: String) {
        let path = path_in(&self.directories, directory, name);
        self.refused.push(Refusal { path, reason });
    }
}

/// Returns the path of a name in a directory; of the directory itself, if the name is empty.
fn path_in(directories: &[Directory<'_>], mut directory: usize, name: &str) -> String {
    let mut names = vec![name];
    while directory != 0 {
        names.push(directories[directory].name);
        directory = directories[directory].parent;
    }
    names.retain(|name| !name.is_empty());
    names.reverse();
    if names.is_empty() { "/".into() } else { names.join("/") }
}

/// Says why a volume cannot have this label; the empty one is none.
///
/// # Errors
/// The reason.
pub fn check_label(label: &str) -> Result<(), String> {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"*+,./:;<=>?[\\]|".contains(&byte);
    if label.len() > 11 || !label.bytes().all(fits) || label.starts_with(' ') || label.ends_with(' ') {
        return Err(format!("`{label}` is not up to 11 letters, digits, spaces and plain marks"));
    }
    if label.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("`{label}` has lower-case letters, which FAT labels do not have"));
    }
    Ok(())
}

/// Checks what does not depend on the tree.
fn check(options: &Options) -> Result<(), PlanError> {
    let refuse = |name, reason: String| Err(PlanError::Option { name, reason });
    if let Err(reason) = check_label(&options.label) {
        return refuse("label", reason);
    }
    if let Some(bytes) = options.cluster_bytes
        && !(bytes.is_power_of_two() && (512..=32_768).contains(&bytes))
    {
        return refuse("cluster_bytes", format!("{bytes} is no power of two from 512 to 32768"));
    }
    if let Some(bytes) = options.size_bytes
        && bytes / SECTOR > SECTORS_MAX
    {
        return refuse("size_bytes", format!("{bytes} bytes are more than 2^32-1 sectors of {SECTOR}"));
    }
    Ok(())
}

/// What decides sizes: asked for with one cluster size after another.
struct Demand<'p, 'a> {
    directories: &'p [Directory<'a>],
    files: &'p [File],
    free_bytes: u64,
}

impl Demand<'_, '_> {
    fn clusters(&self, width: Width, cluster: u64) -> u64 {
        let directories = self.directories.iter().enumerate();
        let directories: u64 = directories.map(|(index, one)| one.bytes(index, width).div_ceil(cluster)).sum();
        let files: u64 = self.files.iter().map(|file| u64::from(file.size).div_ceil(cluster)).sum();
        directories + files + self.free_bytes.div_ceil(cluster)
    }

    /// Returns the entries of a fixed root directory; `None` if it cannot have so many.
    fn root_entries(&self, width: Width) -> Option<u32> {
        let needed = self.directories[0].count.next_multiple_of((SECTOR / super::layout::ENTRY) as u32);
        match width {
            Width::Fat32 => Some(0),
            _ => (needed <= ROOT_ENTRIES_MAX).then_some(needed.max(ROOT_ENTRIES)),
        }
    }

    /// Returns the smallest geometry with this row that holds everything.
    fn exact(&self, row: &Row) -> Option<Geometry> {
        let clusters =
            self.clusters(row.width, u64::from(row.cluster_sectors) * SECTOR).max(*row.width.clusters().start());
        let geometry = Geometry::new(row.width, row.cluster_sectors, self.root_entries(row.width)?, clusters)?;
        (u64::from(geometry.total_sectors()) <= row.sectors_max).then_some(geometry)
    }

    /// Returns the geometry of a given size, if it holds everything.
    fn given(&self, row: &Row, sectors: u64) -> Option<Geometry> {
        let root_entries = self.root_entries(row.width)?;
        let geometry = Geometry::filling(row.width, row.cluster_sectors, root_entries, sectors)?;
        (self.clusters(row.width, geometry.cluster_bytes()) <= u64::from(geometry.clusters)).then_some(geometry)
    }
}

/// Chooses the geometry.
fn choose(directories: &[Directory<'_>], files: &[File], options: &Options) -> Result<Geometry, PlanError> {
    let demand = Demand { directories, files, free_bytes: options.free_bytes };
    let rows = rows(options);
    let exact = || rows.iter().find_map(|row| demand.exact(row));
    let Some(size_bytes) = options.size_bytes else {
        return exact().ok_or_else(|| too_large(&demand, &rows));
    };
    let sectors = size_bytes / SECTOR;
    let suiting = rows.iter().filter(|row| sectors <= row.sectors_max);
    if let Some(geometry) = suiting.clone().find_map(|row| demand.given(row, sectors)) {
        return Ok(geometry);
    }
    match suiting.clone().find_map(|row| demand.exact(row)).or_else(exact) {
        Some(needed) if u64::from(needed.total_sectors()) * SECTOR > size_bytes => {
            Err(PlanError::TooSmall(Box::new(shortage(&demand, needed, size_bytes))))
        }
        // The tree fits, but into no FAT of this width that is so large: one behind which room is left.
        Some(needed) => {
            let filled = rows.iter().rev().find_map(|row| demand.given(row, sectors));
            Ok(filled.unwrap_or(needed))
        }
        None => Err(too_large(&demand, &rows)),
    }
}

/// Returns the rows that the options leave to choose from.
fn rows(options: &Options) -> Vec<Row> {
    let wanted = |row: &Row| options.width.map_or(row.auto, |width| row.width == width);
    let Some(cluster_bytes) = options.cluster_bytes else {
        let copy = |row: &Row| Row { ..*row };
        return ROWS.iter().filter(|row| wanted(row)).map(copy).collect();
    };
    // A cluster size that was asked for takes the width that its number of clusters makes.
    let widths = [Width::Fat12, Width::Fat16, Width::Fat32];
    let wanted = widths.into_iter().filter(|&width| options.width.is_none_or(|wanted| wanted == width));
    let cluster_sectors = cluster_bytes / SECTOR as u32;
    wanted.map(|width| Row { width, cluster_sectors, sectors_max: SECTORS_MAX, auto: true }).collect()
}

fn too_large(demand: &Demand<'_, '_>, rows: &[Row]) -> PlanError {
    let largest = rows.iter().filter_map(|row| {
        let geometry =
            Geometry::filling(row.width, row.cluster_sectors, demand.root_entries(row.width)?, row.sectors_max)?;
        Some((u64::from(geometry.clusters) * geometry.cluster_bytes(), row))
    });
    match largest.max_by_key(|&(bytes, _)| bytes) {
        Some((largest_bytes, row)) => {
            let cluster = u64::from(row.cluster_sectors) * SECTOR;
            PlanError::TooLarge { needed_bytes: demand.clusters(row.width, cluster) * cluster, largest_bytes }
        }
        None => PlanError::TooLarge { needed_bytes: demand.clusters(Width::Fat32, SECTOR) * SECTOR, largest_bytes: 0 },
    }
}

fn shortage(demand: &Demand<'_, '_>, needed: Geometry, given_bytes: u64) -> Shortage {
    let cluster = needed.cluster_bytes();
    let whole = |bytes: u64| bytes.next_multiple_of(cluster);
    let (directories, files) = (demand.directories, demand.files);
    let own = directories.iter().enumerate().map(|(index, one)| whole(one.bytes(index, needed.width)));
    let mut usage = Usage {
        file_bytes: files.iter().map(|file| whole(u64::from(file.size))).sum(),
        directory_bytes: own.sum::<u64>() + u64::from(needed.data_start() - needed.root_start()) * SECTOR,
        table_bytes: u64::from(needed.root_start()) * SECTOR,
        free_bytes: whole(demand.free_bytes),
        least_bytes: 0,
    };
    let needed_bytes = u64::from(needed.total_sectors()) * SECTOR;
    let Usage { file_bytes, directory_bytes, table_bytes, free_bytes, .. } = usage;
    usage.least_bytes = needed_bytes - file_bytes - directory_bytes - table_bytes - free_bytes;
    let mut order: Vec<usize> = (0..files.len()).filter(|&index| files[index].size > 0).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(files[index].size));
    order.truncate(BIGGEST);
    let names: HashMap<usize, &str> = directories
        .iter()
        .flat_map(|directory| &directory.entries)
        .filter_map(|entry| match entry.node {
            Node::File(index) if order.contains(&index) => Some((index, entry.text)),
            _ => None,
        })
        .collect();
    let name = |index: usize| names.get(&index).copied().unwrap_or_default();
    let biggest = order.iter().map(|&index| {
        let file = &files[index];
        (path_in(directories, file.directory, name(index)), whole(u64::from(file.size)))
    });
    Shortage { given_bytes, needed_bytes, usage, biggest: biggest.collect() }
}
