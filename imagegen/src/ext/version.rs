//! What tells ext2, ext3 and ext4 apart.

/// Which of the three file systems is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// ext2: no journal.
    Ext2,
    /// ext3: ext2 with a journal.
    #[default]
    Ext3,
    /// ext4: extents, checksums of everything but content, 64-bit block numbers, groups that share their tables' place.
    Ext4,
}

impl Version {
    /// Returns the name `mount -t` knows.
    pub fn name(self) -> &'static str {
        match self {
            Version::Ext2 => "ext2",
            Version::Ext3 => "ext3",
            Version::Ext4 => "ext4",
        }
    }

    /// `has_journal`.
    pub(super) fn has_journal(self) -> bool {
        self != Version::Ext2
    }

    /// `extent`: files' blocks are described by extents, not by indirect blocks.
    pub(super) fn has_extents(self) -> bool {
        self == Version::Ext4
    }

    /// `metadata_csum`: tables, inodes, directories, extents and attributes carry checksums, and groups say what of
    /// their tables was never used.
    pub(super) fn has_checksums(self) -> bool {
        self == Version::Ext4
    }

    /// `dir_nlink`: a directory may have more folders than its link count can say.
    pub(super) fn has_dir_nlink(self) -> bool {
        self == Version::Ext4
    }

    /// `huge_file`: an inode's count of sectors has 48 bits.
    pub(super) fn has_huge_file(self) -> bool {
        self == Version::Ext4
    }

    /// Says whether attributes go into the inode first. ext4's driver reads them there whatever the file system
    /// calls itself; Linux's ext2 driver sees only those in a block.
    pub(super) fn prefers_inline_attributes(self) -> bool {
        self != Version::Ext2
    }

    /// Returns the bytes of a group descriptor (`s_desc_size`): twice as many with `64bit`.
    pub(super) fn descriptor_size(self) -> u32 {
        if self == Version::Ext4 { 64 } else { 32 }
    }

    /// Returns the highest number of blocks: 32 bits of it, or 48 with `64bit`, since extents hold no more.
    pub(super) fn blocks_max(self) -> u64 {
        if self == Version::Ext4 { (1 << 48) - 1 } else { u64::from(u32::MAX) }
    }

    /// Returns how many groups keep their tables together: mke2fs's `flex_bg_size`, or 1 without `flex_bg`.
    pub(super) fn groups_per_flex(self) -> u32 {
        if self == Version::Ext4 { 16 } else { 1 }
    }
}
