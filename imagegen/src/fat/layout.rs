//! Where everything lies: sectors and clusters by arithmetic. Knows no tree.
//!
//! ```text
//! reserved (boot sector, ...) | FAT | FAT | root directory (FAT12/16) | cluster 2 | cluster 3 | ...
//!                                                                      ^ a multiple of the cluster's size
//! ```

use super::Width;

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 512;
/// Bytes of a directory entry.
pub(super) const ENTRY: u64 = 32;
/// The number of FATs.
pub(super) const FATS: u32 = 2;
/// The first cluster's number.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// Entries of a fixed root directory, unless it needs more.
pub(super) const ROOT_ENTRIES: u32 = 512;
/// The most entries a fixed root directory can have: whole sectors in `BPB_RootEntCnt`.
pub(super) const ROOT_ENTRIES_MAX: u32 = 65_520;
/// The most entries of any other directory: 2 MiB of them.
pub(super) const DIRECTORY_ENTRIES_MAX: u32 = 65_536;
/// Sectors are 32-bit numbers.
pub(super) const SECTORS_MAX: u64 = u32::MAX as u64;

impl Width {
    /// Returns the numbers of clusters by which readers tell this FAT from the others.
    pub(super) fn clusters(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Width::Fat12 => 1..=4084,
            Width::Fat16 => 4085..=65_524,
            Width::Fat32 => 65_525..=0x0fff_fff5,
        }
    }

    /// Returns the sectors before the first FAT, at least.
    fn reserved(self) -> u64 {
        if self == Width::Fat32 { 32 } else { 1 }
    }
}

/// Sizes and counts of a file system; all else follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub width: Width,
    /// `BPB_SecPerClus`.
    pub cluster_sectors: u32,
    /// `BPB_RsvdSecCnt`.
    pub reserved_sectors: u32,
    /// `BPB_FATSz16` or `BPB_FATSz32`.
    pub fat_sectors: u32,
    /// `BPB_RootEntCnt`; 0 for FAT32.
    pub root_entries: u32,
    pub clusters: u32,
}

impl Geometry {
    /// Returns the geometry with so many clusters, if there is one.
    pub fn new(width: Width, cluster_sectors: u32, root_entries: u32, clusters: u64) -> Option<Self> {
        if !width.clusters().contains(&clusters) {
            return None;
        }
        let fat_sectors =
            (clusters + u64::from(FIRST_CLUSTER)).checked_mul(u64::from(width.bits()))?.div_ceil(SECTOR * 8);
        let root_sectors = (u64::from(root_entries) * ENTRY).div_ceil(SECTOR);
        let before = u64::from(FATS) * fat_sectors + root_sectors;
        let reserved = (width.reserved() + before).next_multiple_of(u64::from(cluster_sectors)) - before;
        let total = reserved + before + clusters * u64::from(cluster_sectors);
        (total <= SECTORS_MAX).then_some(Geometry {
            width,
            cluster_sectors,
            reserved_sectors: reserved as u32,
            fat_sectors: fat_sectors as u32,
            root_entries,
            clusters: clusters as u32,
        })
    }

    /// Returns the geometry with as many clusters as so many sectors have room for, if there is one.
    pub fn filling(width: Width, cluster_sectors: u32, root_entries: u32, sectors: u64) -> Option<Self> {
        let sectors = sectors.min(SECTORS_MAX);
        let fits = |clusters: u64| {
            Self::new(width, cluster_sectors, root_entries, clusters)
                .filter(|geometry| u64::from(geometry.total_sectors()) <= sectors)
        };
        // The number is monotonic in the room: by halving.
        let (mut low, mut high) = (*width.clusters().start(), *width.clusters().end());
        let mut best = fits(low)?;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match fits(middle) {
                Some(geometry) => (low, best) = (middle, geometry),
                None => high = middle - 1,
            }
        }
        Some(best)
    }

    /// Returns the sector of the root directory of FAT12 and FAT16.
    pub fn root_start(&self) -> u32 {
        self.reserved_sectors + FATS * self.fat_sectors
    }

    /// Returns the sector of the first cluster.
    pub fn data_start(&self) -> u32 {
        self.root_start() + (u64::from(self.root_entries) * ENTRY).div_ceil(SECTOR) as u32
    }

    /// Returns the number of all sectors.
    pub fn total_sectors(&self) -> u32 {
        self.data_start() + self.clusters * self.cluster_sectors
    }

    /// Returns the bytes of a cluster.
    pub fn cluster_bytes(&self) -> u64 {
        u64::from(self.cluster_sectors) * SECTOR
    }

    /// Returns a cluster's first byte.
    pub fn position(&self, cluster: u32) -> u64 {
        u64::from(self.data_start()) * SECTOR + u64::from(cluster - FIRST_CLUSTER) * self.cluster_bytes()
    }
}

/// A row of the table by which sizes are chosen.
pub(super) struct Row {
    pub width: Width,
    pub cluster_sectors: u32,
    /// The largest file system made with it.
    pub sectors_max: u64,
    /// Whether it serves also where nobody asked for this width.
    pub auto: bool,
}

const fn row(width: Width, cluster_sectors: u32, sectors_max: u64, auto: bool) -> Row {
    Row { width, cluster_sectors, sectors_max, auto }
}

/// The first row whose limit suffices is taken. The specification's `DskTableFAT16` and `DskTableFAT32`, with FAT12
/// below them, and beside them what must be asked for by name.
pub(super) const ROWS: &[Row] = &[
    row(Width::Fat12, 1, 4_096, true),
    row(Width::Fat12, 2, 8_400, true),
    row(Width::Fat12, 4, 16_600, false),
    row(Width::Fat12, 8, 33_000, false),
    row(Width::Fat12, 16, 66_000, false),
    row(Width::Fat12, 32, 131_000, false),
    row(Width::Fat12, 64, 262_144, false),
    row(Width::Fat16, 1, 8_400, false),
    row(Width::Fat16, 2, 32_680, true),
    row(Width::Fat16, 4, 262_144, true),
    row(Width::Fat16, 8, 524_288, true),
    row(Width::Fat16, 16, 1_048_576, true),
    row(Width::Fat16, 32, 2_097_152, false),
    row(Width::Fat16, 64, 4_194_304, false),
    row(Width::Fat32, 1, 532_480, true),
    row(Width::Fat32, 8, 16_777_216, true),
    row(Width::Fat32, 16, 33_554_432, true),
    row(Width::Fat32, 32, 67_108_864, true),
    row(Width::Fat32, 64, SECTORS_MAX, true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_begins_at_a_cluster_s_multiple() {
        for row in ROWS {
            for clusters in [*row.width.clusters().start(), 4000, 5000, 60_000, 70_000, 1_000_000] {
                let root = if row.width == Width::Fat32 { 0 } else { 512 };
                let Some(geometry) = Geometry::new(row.width, row.cluster_sectors, root, clusters) else { continue };
                assert_eq!(geometry.data_start() % row.cluster_sectors, 0);
                assert!(u64::from(geometry.fat_sectors) * SECTOR * 8 >= (clusters + 2) * u64::from(row.width.bits()));
                let total = u64::from(geometry.total_sectors());
                let filling = |sectors| Geometry::filling(row.width, row.cluster_sectors, root, sectors);
                assert_eq!(filling(total), Some(geometry));
                assert!(filling(total - 1).is_none_or(|smaller| smaller.clusters < geometry.clusters));
            }
        }
    }

    /// The widths' limits are by number of clusters, which what readers compute from the sectors.
    #[test]
    fn readers_find_the_same_number_of_clusters() {
        for sectors in (100..9_000).chain([262_144, 1_048_576, 4_000_000]) {
            for row in ROWS {
                let root = if row.width == Width::Fat32 { 0 } else { 512 };
                let Some(geometry) = Geometry::filling(row.width, row.cluster_sectors, root, sectors) else { continue };
                let data = geometry.total_sectors() - geometry.data_start();
                assert_eq!(data / geometry.cluster_sectors, geometry.clusters);
                assert!(row.width.clusters().contains(&u64::from(geometry.clusters)));
            }
        }
    }

    #[test]
    fn every_size_has_a_row() {
        for sectors in (64..20_000).chain([100_000, 1_048_577, 532_481, 40_000_000, SECTORS_MAX]) {
            let mut rows = ROWS.iter().filter(|row| row.auto && sectors <= row.sectors_max);
            let found = rows.any(|row| {
                let root = if row.width == Width::Fat32 { 0 } else { ROOT_ENTRIES };
                Geometry::filling(row.width, row.cluster_sectors, root, sectors).is_some()
            });
            assert!(found, "{sectors}");
        }
    }
}
