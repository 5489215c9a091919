//! The boot sector's parameters, and what follows from them.

use crate::little_endian::{u16_at, u32_at};
use crate::tree::Source;
use crate::volume::{Result, corrupt, read_exact};

use super::super::Width;
use super::super::layout::FIRST_CLUSTER;

/// Bytes of a sector that holds parameters.
const BOOT_BYTES: usize = 512;

/// Sizes and places, in bytes from the start of the file system. None of the arithmetic on them overflows.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub width: Width,
    pub cluster_bytes: u64,
    pub clusters: u64,
    /// Where the allocation table in use is.
    pub table: u64,
    /// Where the root folder of FAT12 and FAT16 is, and how long.
    pub root: u64,
    pub root_bytes: u64,
    data: u64,
    root_cluster: u32,
    raw: [u8; BOOT_BYTES],
}

impl Boot {
    pub fn read(device: &dyn Source) -> Result<Self> {
        let place = || "the boot sector".to_string();
        let mut raw = [0; BOOT_BYTES];
        read_exact(device, 0, &mut raw, place)?;
        if raw[510..] != [0x55, 0xaa] || !matches!(raw[0], 0xeb | 0xe9) {
            return corrupt(place(), "is not there");
        }
        let sector = u64::from(u16_at(&raw, 11));
        let (cluster_sectors, reserved) = (u64::from(raw[13]), u64::from(u16_at(&raw, 14)));
        let (tables, root_entries) = (u64::from(raw[16]), u64::from(u16_at(&raw, 17)));
        let either = |small: u16, large: u32| if small == 0 { u64::from(large) } else { u64::from(small) };
        let (sectors, table_small) = (either(u16_at(&raw, 19), u32_at(&raw, 32)), u16_at(&raw, 22));
        let table_sectors = either(table_small, u32_at(&raw, 36));
        let sane = [512, 1024, 2048, 4096].contains(&sector)
            && cluster_sectors.is_power_of_two()
            && reserved > 0
            && (1..=4).contains(&tables)
            && table_sectors > 0;
        let root_bytes = (root_entries * 32).next_multiple_of(sector.max(1));
        let before = (reserved + tables * table_sectors) * sector + root_bytes;
        if !sane || before >= sectors * sector {
            return corrupt(place(), "holds no parameters of a FAT");
        }
        let cluster_bytes = cluster_sectors * sector;
        let clusters = (sectors * sector - before) / cluster_bytes;
        // As Linux tells them apart, so that mkfs.fat's small FAT32 is one.
        let width = match (table_small, clusters) {
            (0, _) => Width::Fat32,
            (_, 4085..) => Width::Fat16,
            _ => Width::Fat12,
        };
        let in_table = (table_sectors * sector * 8 / u64::from(width.bits())).saturating_sub(2);
        // Without mirroring, one of the tables counts.
        let flags = u16_at(&raw, 40);
        let active = if width == Width::Fat32 && flags & 0x80 != 0 { u64::from(flags & 15) } else { 0 };
        if active >= tables {
            return corrupt(place(), format!("speaks of table {active} of {tables}"));
        }
        let most = match width {
            Width::Fat12 => 4084,
            Width::Fat16 => 65_524,
            Width::Fat32 => 0x0fff_fff5,
        };
        Ok(Boot {
            width,
            cluster_bytes,
            clusters: clusters.min(in_table).min(most),
            table: (reserved + active * table_sectors) * sector,
            root: (reserved + tables * table_sectors) * sector,
            root_bytes,
            data: before,
            root_cluster: u32_at(&raw, 44),
            raw,
        })
    }

    /// Returns the first cluster of FAT32's root folder.
    pub fn root_cluster(&self) -> Option<u32> {
        (self.width == Width::Fat32).then_some(self.root_cluster)
    }

    /// Returns a cluster's first byte. The cluster is one of those that there are.
    pub fn position(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - FIRST_CLUSTER) * self.cluster_bytes
    }

    /// Returns the label of the boot sector; empty if it has none.
    pub fn label(&self) -> String {
        let at = self.extended();
        if self.raw[at + 2] != 0x29 {
            return String::new();
        }
        let label =
            String::from_utf8_lossy(&self.raw[at + 7..at + 18]).trim_end().replace(char::is_control, "\u{fffd}");
        if label == "NO NAME" { String::new() } else { label }
    }

    /// Returns where `BS_DrvNum` and what follows it stand.
    fn extended(&self) -> usize {
        if self.width == Width::Fat32 { 64 } else { 36 }
    }

    /// Returns what is worth comparing of it.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let raw = &self.raw;
        let serial = u32_at(raw, self.extended() + 3);
        let sectors = match u16_at(raw, 19) {
            0 => u32_at(raw, 32),
            small => small.into(),
        };
        vec![
            ("serial", format!("{:04x}-{:04x}", serial >> 16, serial & 0xffff)),
            ("maker", raw[3..11].escape_ascii().to_string()),
            ("sector-bytes", u16_at(raw, 11).to_string()),
            ("cluster-bytes", self.cluster_bytes.to_string()),
            ("sectors", sectors.to_string()),
            ("reserved-sectors", u16_at(raw, 14).to_string()),
            ("tables", raw[16].to_string()),
            ("root-entries", u16_at(raw, 17).to_string()),
            ("media", format!("{:#x}", raw[21])),
            ("hidden-sectors", u32_at(raw, 28).to_string()),
        ]
    }
}
