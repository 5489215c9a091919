//! Strangers look at disks: sfdisk, sgdisk, blkid, partx and bmaptool; what is not installed is announced and skipped.

mod bmap;
mod errors;
mod golden;
mod oracle;
mod tables;
