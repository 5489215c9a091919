//! Reads ext2, ext3 and ext4: those written here, and what mke2fs, the kernel and others make.
//!
//! Checksums are not compared, and a journal is not replayed: who looks into a damaged image wants to see what is left,
//! and e2fsck says what is wrong with it.

mod content;
mod directory;
mod inode;
mod map;
mod superblock;
mod xattr;

use std::sync::Arc;

use crate::tree::{Metadata, Source};
use crate::volume::{Kind, Names, Node, NodeId, Result, Volume, VolumeError, corrupt, read_error, read_exact};
use content::{Content, Placed};
use inode::{FLAG_ENCRYPT, FLAG_INLINE, Raw};
use superblock::Superblock;

use super::inode::{FLAG_EXTENTS, ROOT_INO};

/// The longest target of a symbolic link: a block's.
const TARGET_BYTES_MAX: u64 = 65_536;

/// An ext file system, opened.
#[derive(Clone)]
pub struct Ext {
    inner: Arc<Inner>,
}

/// What the content of its files needs, too.
struct Inner {
    device: Arc<dyn Source>,
    superblock: Superblock,
}

impl Ext {
    /// Says whether there is an ext superblock.
    pub fn is_here(device: &dyn Source) -> bool {
        let mut magic = [0; 2];
        device.size_bytes() >= 2048 && device.read_at(1024 + 56, &mut magic).is_ok() && magic == [0x53, 0xef]
    }

    /// Opens a file system.
    ///
    /// # Errors
    /// It has no superblock that can be believed, or needs what is not understood here.
    pub fn open(device: Arc<dyn Source>) -> Result<Self> {
        let superblock = Superblock::read(&*device)?;
        Ok(Ext { inner: Arc::new(Inner { device, superblock }) })
    }
}

impl Inner {
    /// Reads a block.
    fn block(&self, number: u64, place: impl Fn() -> String) -> Result<Vec<u8>> {
        let block_bytes = self.superblock.block_bytes;
        self.check_blocks(number, 1, &place)?;
        let mut block = vec![0; block_bytes as usize];
        read_exact(&*self.device, number * block_bytes, &mut block, place)?;
        Ok(block)
    }

    /// Checks that blocks are in the file system, behind its superblock.
    fn check_blocks(&self, first: u64, count: u64, place: impl Fn() -> String) -> Result<()> {
        let Superblock { blocks, first_data_block, .. } = self.superblock;
        if first <= first_data_block || first.checked_add(count).is_none_or(|end| end > blocks) {
            return corrupt(
                place(),
                format!("uses block {first}, which is not one of the {blocks} there are for files"),
            );
        }
        Ok(())
    }

    /// Reads an inode.
    fn inode(&self, number: u64) -> Result<Raw> {
        let superblock = &self.superblock;
        let place = || format!("inode {number}");
        if number == 0 || number > u64::from(superblock.inodes) {
            return corrupt(place(), format!("is not one of the {} there are", superblock.inodes));
        }
        let group = (number - 1) / u64::from(superblock.inodes_per_group);
        let index = (number - 1) % u64::from(superblock.inodes_per_group);
        let table = self.inode_table(group)?;
        let inode_bytes = u64::from(superblock.inode_bytes);
        let blocks = (u64::from(superblock.inodes_per_group) * inode_bytes).div_ceil(superblock.block_bytes);
        self.check_blocks(table, blocks, || format!("the inode table of group {group}"))?;
        let mut bytes = vec![0; inode_bytes as usize];
        read_exact(&*self.device, table * superblock.block_bytes + index * inode_bytes, &mut bytes, place)?;
        Ok(Raw { number: number as u32, bytes })
    }

    /// Returns where a group's inodes are.
    fn inode_table(&self, group: u64) -> Result<u64> {
        let superblock = &self.superblock;
        let at = superblock.descriptor_at(group);
        let mut bytes = vec![0; superblock.descriptor_bytes as usize];
        read_exact(&*self.device, at, &mut bytes, || format!("the descriptor of group {group}"))?;
        Ok(superblock::wide(&bytes, 8, 40))
    }

    /// Returns what an inode holds.
    fn content(self: &Arc<Self>, raw: &Raw) -> Result<Arc<dyn Source>> {
        let size = raw.size_bytes(self.superblock.has_large_directories());
        if raw.flags() & FLAG_ENCRYPT != 0 {
            return Ok(Arc::new(content::Unreadable { size, reason: "the file is encrypted" }));
        }
        if raw.flags() & FLAG_INLINE != 0 {
            return Ok(Arc::new(xattr::inline_data(self, raw)?));
        }
        Ok(Arc::new(Content::new(self.clone(), Placed::of(raw), size)))
    }

    /// Returns what an inode is.
    fn kind(self: &Arc<Self>, raw: &Raw) -> Result<Kind> {
        let place = || format!("inode {}", raw.number);
        let (major, minor) = raw.device();
        Ok(match raw.mode() & 0o170000 {
            0o010000 => Kind::Fifo,
            0o020000 => Kind::CharacterDevice { major, minor },
            0o040000 => Kind::Directory,
            0o060000 => Kind::BlockDevice { major, minor },
            0o100000 => Kind::File(self.content(raw)?),
            0o120000 => Kind::Symlink(self.target(raw)?),
            0o140000 => Kind::Socket,
            _ if raw.bytes.iter().all(|&byte| byte == 0) => return corrupt(place(), "was never used"),
            mode => return corrupt(place(), format!("has the type {mode:o}, which no file has")),
        })
    }

    /// Returns the target of a symbolic link: short ones stand in the inode.
    fn target(self: &Arc<Self>, raw: &Raw) -> Result<Box<[u8]>> {
        let place = || format!("inode {}", raw.number);
        let size = raw.size_bytes(false);
        let attribute_units = if raw.attribute_block() == 0 { 0 } else { self.superblock.cluster_bytes / 512 };
        let inside = raw.units(&self.superblock) <= attribute_units && raw.flags() & FLAG_INLINE == 0;
        Ok(if inside {
            match raw.block().get(..size as usize) {
                Some(target) => target.into(),
                None => return corrupt(place(), format!("is a symbolic link of {size} bytes without a block")),
            }
        } else {
            if size > TARGET_BYTES_MAX.min(self.superblock.block_bytes.max(4096)) {
                return corrupt(place(), format!("is a symbolic link of {size} bytes"));
            }
            if raw.flags() & FLAG_ENCRYPT != 0 {
                return Err(VolumeError::Unsupported(format!("{}: is an encrypted symbolic link", place()).into()));
            }
            let mut target = vec![0; size as usize];
            self.content(raw)?.read_at(0, &mut target).map_err(read_error)?;
            target.into_boxed_slice()
        })
    }
}

impl Volume for Ext {
    fn format(&self) -> &'static str {
        self.inner.superblock.version()
    }

    fn label(&self) -> String {
        self.inner.superblock.label.clone()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        self.inner.superblock.facts()
    }

    fn unit(&self) -> (u64, &'static str) {
        (self.inner.superblock.block_bytes, "block")
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT_INO.into())
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let raw = self.inner.inode(id.0)?;
        let kind = self.inner.kind(&raw)?;
        let metadata = Metadata {
            uid: raw.uid(),
            gid: raw.gid(),
            mode: raw.mode() & 0o7777,
            mtime: raw.mtime(),
            xattrs: xattr::of(&self.inner, &raw)?,
        };
        let allocated_bytes = raw.units(&self.inner.superblock).saturating_mul(512);
        let size_bytes = match kind {
            Kind::File(_) | Kind::Symlink(_) | Kind::Directory => {
                raw.size_bytes(self.inner.superblock.has_large_directories())
            }
            _ => 0,
        };
        Ok(Node { kind, metadata, size_bytes, allocated_bytes, links: raw.links().into(), flags: raw.flag_letters() })
    }

    fn entries(&self, directory: NodeId) -> Result<Names> {
        let raw = self.inner.inode(directory.0)?;
        if !raw.is_directory() {
            return corrupt(format!("inode {}", raw.number), "is no folder");
        }
        directory::entries(&self.inner, &raw)
    }
}

/// Says whether blocks are described by extents.
fn has_extents(flags: u32) -> bool {
    flags & FLAG_EXTENTS != 0
}
