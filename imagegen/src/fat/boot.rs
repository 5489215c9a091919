//! The boot sector with its parameter block, and FAT32's FSInfo.

use super::layout::{FATS, FIRST_CLUSTER, Geometry, SECTOR};
use super::{Options, Width};

/// `BPB_FSInfo` and `BPB_BkBootSec`: sectors.
pub(super) const FSINFO: u16 = 1;
pub(super) const BACKUP: u16 = 6;
/// `BPB_Media`: a fixed disk.
pub(super) const MEDIA: u8 = 0xf8;
/// What the boot sector says where there is no label.
const NO_LABEL: &[u8; 11] = b"NO NAME    ";

/// Returns the boot sector.
pub(super) fn sector(geometry: &Geometry, options: &Options) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    let fat32 = geometry.width == Width::Fat32;
    let mut put = |offset: usize, bytes: &[u8]| sector[offset..offset + bytes.len()].copy_from_slice(bytes);
    let small = |number: u32| u16::try_from(number).unwrap_or(0).to_le_bytes();
    // BS_jmpBoot leads to a loop that halts: nothing starts from here.
    let code = if fat32 { 0x5a } else { 0x3e };
    put(0, &[0xeb, code as u8 - 2, 0x90]);
    put(code, &[0xf4, 0xeb, 0xfd]);
    put(3, b"imagegen");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[geometry.cluster_sectors as u8]);
    put(14, &small(geometry.reserved_sectors));
    put(16, &[FATS as u8]);
    put(17, &small(geometry.root_entries));
    let total = geometry.total_sectors();
    if !fat32 && total < 0x1_0000 {
        put(19, &small(total));
    } else {
        put(32, &total.to_le_bytes());
    }
    put(21, &[MEDIA]);
    // BPB_SecPerTrk and BPB_NumHeads: what partition tables use for disks that have neither.
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    let rest = if fat32 {
        put(36, &geometry.fat_sectors.to_le_bytes());
        put(44, &FIRST_CLUSTER.to_le_bytes());
        put(48, &FSINFO.to_le_bytes());
        put(50, &BACKUP.to_le_bytes());
        64
    } else {
        put(22, &small(geometry.fat_sectors));
        36
    };
    // BS_DrvNum, BS_BootSig, BS_VolID, BS_VolLab, BS_FilSysType.
    put(rest, &[0x80, 0, 0x29]);
    put(rest + 3, &options.serial.to_le_bytes());
    put(rest + 7, &label(options).unwrap_or(*NO_LABEL));
    put(rest + 18, format!("FAT{}   ", geometry.width.bits()).as_bytes());
    put(510, &[0x55, 0xaa]);
    sector
}

/// Returns the FSInfo sector.
pub(super) fn fsinfo(free_clusters: u32, next_free: u32) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[0..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&free_clusters.to_le_bytes());
    sector[492..496].copy_from_slice(&next_free.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Returns the label, padded with spaces, if there is one.
pub(super) fn label(options: &Options) -> Option<[u8; 11]> {
    let bytes = options.label.as_bytes();
    let mut label = [b' '; 11];
    label.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (!bytes.is_empty()).then_some(label)
}
