//! The tables of groups as they are written: superblock, descriptors, bitmaps, and the inodes.

use super::checksum::Sum;
use super::group;
use super::inode::{
    FIRST_INO, FLAG_EXTENTS, FLAG_INDEX, INODE_SIZE, JOURNAL_INO, RESIZE_INO, ROOT_INO, Record, encode_device,
};
use super::layout::{Kind as TableKind, Slot, Table};
use super::number::{index, number};
use super::plan::{Place, Plan};
use super::superblock::{SUPERBLOCK_AT, SUPERBLOCK_SIZE, Superblock};
use super::write::Writer;
use super::xattr;
use crate::image_error::WriteError;
use crate::tree::{Inode, InodeId, Kind, Timestamp};

impl Plan<'_> {
    /// Returns what is in use in each group.
    pub(super) fn usages(&self) -> Vec<group::Usage> {
        let geometry = &self.layout.geometry;
        let mut directories = vec![0; geometry.groups as usize];
        for (node, _) in self.places.iter().enumerate().filter(|(_, place)| place.is_directory()) {
            directories[((number(node) - 1) / geometry.inodes_per_group) as usize] += 1;
        }
        let guests = self.guests();
        let usage = |group: u32| self.group_usage(group, directories[group as usize], guests[group as usize]);
        (0..geometry.groups).map(usage).collect()
    }

    /// Returns all groups' descriptors, padded to whole blocks.
    pub(super) fn descriptors(&self, usages: &[group::Usage]) -> Vec<u8> {
        let geometry = &self.layout.geometry;
        let size = geometry.block_size.bytes() as usize;
        let mut out = vec![0; geometry.descriptor_blocks as usize * size];
        let mut bitmap = vec![0; size];
        let descriptors = out.chunks_exact_mut(geometry.version.descriptor_size() as usize);
        for ((group, usage), out) in (0..).zip(usages).zip(descriptors) {
            let sums = self.bitmap_sums(group, usage, &mut bitmap);
            group::write_descriptor(&self.layout, group, usage, sums, out);
            if let Some(sum) = self.sum() {
                group::write_descriptor_sum(group, sum, out);
            }
        }
        out
    }

    /// Says of each group whether tables of other groups lie in it.
    fn guests(&self) -> Vec<bool> {
        let geometry = &self.layout.geometry;
        let mut guests = vec![false; geometry.groups as usize];
        for table in &self.layout.tables {
            let last = table.block + u64::from(self.layout.table_blocks(table)) - 1;
            let touched = geometry.group_of(table.block)..=geometry.group_of(last);
            touched.filter(|&group| group != table.group).for_each(|group| guests[group as usize] = true);
        }
        guests
    }

    fn group_usage(&self, group: u32, directories: u32, guests: bool) -> group::Usage {
        let geometry = &self.layout.geometry;
        let slots = self.layout.slots_in(group);
        let inodes = self.inodes_in(group);
        group::Usage {
            free_blocks: (slots.end - slots.start.max(self.used_slots).min(slots.end)) as u32,
            inodes,
            directories,
            // The last group's bitmap ends in bits of blocks there are not, and never follows.
            block_uninit: slots.start >= self.used_slots && !guests && group + 1 < geometry.groups,
        }
    }

    /// Returns how many of a group's inodes are in use: its first.
    fn inodes_in(&self, group: u32) -> u32 {
        let per_group = self.layout.geometry.inodes_per_group;
        self.numbers.last().saturating_sub(group * per_group).min(per_group)
    }

    /// Returns the sums of a group's bitmaps of blocks and inodes, if there are sums.
    fn bitmap_sums(&self, group: u32, usage: &group::Usage, bitmap: &mut [u8]) -> [Sum; 2] {
        let geometry = &self.layout.geometry;
        let Some(sum) = self.sum() else { return [Sum(0); 2] };
        group::write_block_bitmap(&self.layout, group, self.used_slots, bitmap);
        let blocks = sum.then(&bitmap[..geometry.blocks_per_group as usize / 8]);
        group::write_bitmap(bitmap, usage.inodes, geometry.inodes_per_group);
        [blocks, sum.then(&bitmap[..geometry.inodes_per_group as usize / 8])]
    }

    /// Returns the flag of inodes whose blocks are described by extents, if they are.
    fn mapping_flag(&self) -> u32 {
        if self.options.version.has_extents() { FLAG_EXTENTS } else { 0 }
    }

    /// Returns a time as it is written.
    fn time(&self, time: Timestamp) -> Timestamp {
        if self.options.clamp_times { time.min(self.epoch()) } else { time }
    }

    fn epoch(&self) -> Timestamp {
        Timestamp { seconds: self.options.epoch, nanoseconds: 0 }
    }
}

impl Writer<'_, '_> {
    /// Writes one table.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), WriteError> {
        let (plan, size) = (self.plan, self.block_size as usize);
        let geometry = &plan.layout.geometry;
        let at = table.block * u64::from(self.block_size);
        let usage = self.usages[table.group as usize];
        match table.kind {
            TableKind::Head => return self.head(table.group, at),
            TableKind::BlockBitmap => {
                group::write_block_bitmap(&plan.layout, table.group, plan.used_slots, self.room(at, size)?);
            }
            TableKind::InodeBitmap => {
                group::write_bitmap(self.room(at, size)?, usage.inodes, geometry.inodes_per_group);
            }
            TableKind::InodeTable => {
                let first = table.group * geometry.inodes_per_group + 1;
                for ino in first..first + usage.inodes {
                    self.inode(ino, at + u64::from(ino - first) * INODE_SIZE as u64)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a group's copy of superblock and descriptors, and, in the first, the room to grow.
    fn head(&mut self, group: u32, at: u64) -> Result<(), WriteError> {
        let geometry = &self.plan.layout.geometry;
        let size = u64::from(self.block_size);
        let mut superblock = [0; SUPERBLOCK_SIZE];
        self.superblock().encode(group, &mut superblock);
        self.put(if group == 0 { SUPERBLOCK_AT } else { at }, &superblock)?;
        let descriptors = std::mem::take(&mut self.descriptors);
        self.put(at + size, &descriptors)?;
        self.descriptors = descriptors;
        for number in 0..if group == 0 { geometry.reserved_descriptor_blocks } else { 0 } {
            let position = at + u64::from(1 + geometry.descriptor_blocks + number) * size;
            group::write_reserved_descriptor(geometry, number, self.room(position, size as usize)?);
        }
        Ok(())
    }

    fn superblock(&self) -> Superblock<'_> {
        let (plan, geometry) = (self.plan, &self.plan.layout.geometry);
        Superblock {
            geometry,
            reserved_blocks: plan.reserved_blocks,
            free_blocks: plan.layout.slots() - plan.used_slots,
            free_inodes: geometry.inodes() - plan.numbers.last(),
            journal_blocks: plan.journal_blocks,
            journal_pointers: &self.journal_pointers,
            label: plan.options.label.as_bytes(),
            uuid: &plan.options.uuid,
            hash_seed: &plan.options.hash_seed,
            time: plan.options.epoch,
        }
    }

    /// Writes one inode; reserved ones without a use stay zero.
    fn inode(&mut self, ino: u32, position: u64) -> Result<(), WriteError> {
        let (plan, size) = (self.plan, self.block_size);
        let geometry = &plan.layout.geometry;
        let sectors = u64::from(size / 512);
        match ino {
            ROOT_INO | FIRST_INO.. => self.node(ino, position),
            RESIZE_INO if geometry.has_resize_inode() => {
                let mut record = Record::new(0o100600, plan.epoch());
                record.size_bytes = group::resize_inode_bytes(geometry);
                record.sectors = u64::from(group::resize_inode_blocks(geometry)) * sectors;
                let block = plan.layout.block(Slot(0)) as u32;
                record.block[13 * 4..14 * 4].copy_from_slice(&block.to_le_bytes());
                self.record(ino, &record, position)
            }
            JOURNAL_INO if plan.journal_blocks > 0 => {
                let mut record = Record::new(0o100600, plan.epoch());
                record.size_bytes = u64::from(plan.journal_blocks) * u64::from(size);
                let map = plan.map_of_blocks(u64::from(plan.journal_blocks));
                record.sectors = map.blocks(&plan.layout, plan.first_of_journal) * sectors;
                record.flags = plan.mapping_flag();
                record.block = self.journal_pointers;
                self.record(ino, &record, position)
            }
            _ => Ok(()),
        }
    }

    fn node(&mut self, ino: u32, position: u64) -> Result<(), WriteError> {
        let (plan, node) = (self.plan, index(ino));
        let place = plan.places[node];
        let inode = plan.numbers.nodes[node].id.map(|id| (id, plan.tree.inode(id)));
        let attributes = match inode {
            Some((id, inode)) => {
                let made = xattr::encode(&inode.metadata.xattrs, plan.options.version, self.block_size);
                made.map_err(|_| plan.changed(id))?.inline
            }
            None => Vec::new(),
        };
        let mut record = match inode {
            Some((_, Inode { kind, metadata })) => {
                let mode = kind.mode_bits() | metadata.mode & 0o7777;
                let (uid, gid) = (metadata.uid, metadata.gid);
                Record { uid, gid, attributes: &attributes, ..Record::new(mode, plan.time(metadata.mtime)) }
            }
            // A lost+found that the tree does not have.
            None => Record::new(0o040700, plan.epoch()),
        };
        record.links = plan.numbers.nodes[node].link_count();
        record.sectors = (place.blocks + u64::from(place.shared > 0)) * u64::from(self.block_size / 512);
        if let Some(number) = place.shared.checked_sub(1) {
            record.attribute_block = plan.layout.block(Slot(plan.first_shared.0 + u64::from(number)));
        }
        if place.is_directory() {
            let map = plan.map_of_blocks(u64::from(place.directory_blocks));
            record.size_bytes = u64::from(place.directory_blocks) * u64::from(self.block_size);
            record.flags = plan.mapping_flag() | if place.hashed { FLAG_INDEX } else { 0 };
            record.block = map.root(&plan.layout, Slot(place.first));
        } else if let Some((id, inode)) = inode {
            self.content_record(id, &inode.kind, &place, &mut record)?;
        }
        self.record(ino, &record, position)
    }

    /// Fills in size and pointers of anything but a directory.
    fn content_record(&self, id: InodeId, kind: &Kind, place: &Place, record: &mut Record) -> Result<(), WriteError> {
        let plan = self.plan;
        match kind {
            Kind::File(source) => {
                record.size_bytes = source.size_bytes();
                record.flags = plan.mapping_flag();
                record.block = plan.map(id, &**source, place)?.root(&plan.layout, Slot(place.first));
            }
            Kind::Symlink(target) => {
                record.size_bytes = target.len() as u64;
                if place.blocks == 0 {
                    record.block[..target.len()].copy_from_slice(target);
                } else {
                    record.flags = plan.mapping_flag();
                    record.block = plan.map_of_blocks(1).root(&plan.layout, Slot(place.first));
                }
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                record.block = encode_device(*major, *minor).ok_or_else(|| plan.changed(id))?;
            }
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
        Ok(())
    }

    fn record(&mut self, ino: u32, record: &Record, position: u64) -> Result<(), WriteError> {
        let sum = self.plan.sum().map(|sum| sum.of_inode(ino));
        let out = self.room(position, INODE_SIZE)?;
        out.fill(0);
        record.encode(sum, out);
        Ok(())
    }
}
