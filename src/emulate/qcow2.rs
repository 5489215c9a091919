//! Writes an empty qcow2 image over a raw backing file: all that `run --persist` needs of the format.
//!
//! QEMU, docs/interop/qcow2.txt. Version 3, clusters of 64 KiB, 16-bit reference counts:
//!
//! ```text
//! cluster 0   header, header extensions, the backing file's name
//!         1   refcount table, one entry
//!         2   refcount block: 1 for each cluster of this file
//!         3.. L1 table, all zero: every read goes to the backing file
//! ```

use std::path::Path;

use crate::error::{Error, Kind, Result};

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// One L1 entry stands for a cluster of L2 entries, each for a cluster of data: 512 MiB.
const L1_ENTRY_COVERS_BYTES: u64 = CLUSTER_BYTES / 8 * CLUSTER_BYTES;
const REFCOUNT_TABLE_CLUSTER: u64 = 1;
const REFCOUNT_BLOCK_CLUSTER: u64 = 2;
const L1_CLUSTER: u64 = 3;
const HEADER_BYTES: u32 = 104;
const BACKING_FORMAT_EXTENSION: u32 = 0xe279_2aca;
/// Longest name of a backing file that the format allows.
const BACKING_NAME_MAX_BYTES: usize = 1023;
/// 4 TiB: an L1 table of one cluster.
const SIZE_MAX_BYTES: u64 = CLUSTER_BYTES / 8 * L1_ENTRY_COVERS_BYTES;

/// Returns the bytes of an empty overlay over the raw image `backing`, which has `size_bytes`.
///
/// The virtual size is rounded up to whole sectors. Fails with [`Kind::Host`] where the path is too long for the format
/// or the image too large.
pub fn empty_overlay(backing: &Path, size_bytes: u64) -> Result<Vec<u8>> {
    let name = backing.as_os_str().as_encoded_bytes();
    if name.len() > BACKING_NAME_MAX_BYTES {
        let message = format!("{}: the path is too long for a qcow2 overlay", backing.display());
        return Err(Error::new(Kind::Host, message));
    }
    if size_bytes > SIZE_MAX_BYTES {
        return Err(Error::new(Kind::Host, format!("{}: larger than 4 TiB", backing.display())));
    }
    let size_bytes = size_bytes.next_multiple_of(512);
    let l1_entries = size_bytes.div_ceil(L1_ENTRY_COVERS_BYTES).max(1);
    let clusters = L1_CLUSTER + 1;
    let name_offset = u64::from(HEADER_BYTES) + 8 + 8 + 8;

    let mut bytes = Vec::with_capacity((clusters * CLUSTER_BYTES) as usize);
    bytes.extend(b"QFI\xfb");
    bytes.extend(3_u32.to_be_bytes());
    bytes.extend(name_offset.to_be_bytes());
    bytes.extend((name.len() as u32).to_be_bytes());
    bytes.extend(CLUSTER_BITS.to_be_bytes());
    bytes.extend(size_bytes.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // crypt_method
    bytes.extend((l1_entries as u32).to_be_bytes());
    bytes.extend((L1_CLUSTER * CLUSTER_BYTES).to_be_bytes());
    bytes.extend((REFCOUNT_TABLE_CLUSTER * CLUSTER_BYTES).to_be_bytes());
    bytes.extend(1_u32.to_be_bytes()); // refcount_table_clusters
    bytes.extend(0_u32.to_be_bytes()); // nb_snapshots
    bytes.extend(0_u64.to_be_bytes()); // snapshots_offset
    bytes.extend([0; 24]); // incompatible, compatible and autoclear features
    bytes.extend(4_u32.to_be_bytes()); // refcount_order: 16 bits
    bytes.extend(HEADER_BYTES.to_be_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES as usize);
    bytes.extend(BACKING_FORMAT_EXTENSION.to_be_bytes());
    bytes.extend(3_u32.to_be_bytes());
    bytes.extend(b"raw\0\0\0\0\0"); // padded to 8 bytes
    bytes.extend([0; 8]); // end of the extensions
    assert_eq!(bytes.len() as u64, name_offset);
    bytes.extend(name);

    bytes.resize((clusters * CLUSTER_BYTES) as usize, 0);
    let mut put = |offset: u64, value: &[u8]| bytes[offset as usize..][..value.len()].copy_from_slice(value);
    put(REFCOUNT_TABLE_CLUSTER * CLUSTER_BYTES, &(REFCOUNT_BLOCK_CLUSTER * CLUSTER_BYTES).to_be_bytes());
    for cluster in 0..clusters {
        put(REFCOUNT_BLOCK_CLUSTER * CLUSTER_BYTES + 2 * cluster, &1_u16.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_was_asked() {
        let bytes = empty_overlay(Path::new("/out/x/rootfs.img"), 600 << 20).unwrap();
        assert_eq!(bytes.len(), 4 << 16);
        assert_eq!(&bytes[24..32], &(600_u64 << 20).to_be_bytes(), "size");
        assert_eq!(&bytes[36..40], &2_u32.to_be_bytes(), "two L1 entries of 512 MiB each");
        let name = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize;
        assert_eq!(&bytes[name..name + 17], b"/out/x/rootfs.img");
    }

    #[test]
    fn an_odd_size_is_rounded_up_to_sectors() {
        let bytes = empty_overlay(Path::new("/x"), 513).unwrap();
        assert_eq!(&bytes[24..32], &1024_u64.to_be_bytes());
    }

    #[test]
    fn what_the_format_cannot_hold_is_an_error() {
        assert!(empty_overlay(Path::new(&"/x".repeat(600)), 512).is_err());
        assert!(empty_overlay(Path::new("/x"), SIZE_MAX_BYTES + 1).is_err());
        assert!(empty_overlay(Path::new("/x"), SIZE_MAX_BYTES).is_ok());
    }
}
