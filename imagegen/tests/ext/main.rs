//! Strangers look at ext2, ext3 and ext4 images: e2fsck, the host kernel's loop mount, resize2fs and an independent reader.
//!
//! What is missing on this machine (a tool, root, a loop device) is announced on stderr and its part skipped.

mod extents;
mod golden;
mod kernel;
mod limits;
#[path = "../support/mount.rs"]
mod mount;
mod oracle;
mod random;
mod sources;
mod trees;
#[path = "../support/volume.rs"]
mod volume;
