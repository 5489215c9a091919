//! Strangers look at FAT images: fsck.fat, mtools, blkid and the host kernel's loop mount.
//!
//! What is missing on this machine (a tool, root, a loop device, a driver) is announced on stderr and its part skipped.

mod golden;
mod limits;
#[path = "../support/mount.rs"]
mod mount;
mod oracle;
mod random;
mod trees;
#[path = "../support/volume.rs"]
mod volume;
