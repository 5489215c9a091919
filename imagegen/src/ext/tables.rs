//! The tables of a group as they are written: superblock, descriptors, bitmaps, and the inodes.

use super::blocks::Map;
use super::error::WriteError;
use super::group;
use super::inode::{FIRST_INO, FLAG_INDEX, INODE_SIZE, JOURNAL_INO, RESIZE_INO, ROOT_INO, Record, encode_device};
use super::layout::{Slot, has_superblock};
use super::number::{index, number};
use super::plan::{Place, Plan};
use super::size::journal_slots;
use super::superblock::{SUPERBLOCK_AT, SUPERBLOCK_SIZE, Superblock};
use super::write::Writer;
use super::xattr;
use crate::tree::{Inode, InodeId, Kind, Timestamp};

impl Plan<'_> {
    pub(super) fn descriptors(&self) -> Vec<u8> {
        let geometry = &self.layout.geometry;
        let mut directories = vec![0; geometry.groups as usize];
        for (node, _) in self.places.iter().enumerate().filter(|(_, place)| place.is_directory()) {
            directories[((number(node) - 1) / geometry.inodes_per_group) as usize] += 1;
        }
        group::descriptors(geometry, |group| group::Usage {
            directories: directories[group as usize],
            ..self.group_usage(group)
        })
    }

    fn group_usage(&self, group: u32) -> group::Usage {
        let geometry = &self.layout.geometry;
        let inodes = self.numbers.last().saturating_sub(group * geometry.inodes_per_group);
        group::Usage {
            blocks: geometry.tables(group) + self.layout.used_in(group, self.used_slots),
            inodes: inodes.min(geometry.inodes_per_group),
            directories: 0,
        }
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
    /// Writes one group's tables.
    pub(super) fn tables(&mut self, group: u32) -> Result<(), WriteError> {
        let geometry = &self.plan.layout.geometry;
        let size = u64::from(self.block_size);
        let mut at = u64::from(geometry.group_start(group)) * size;
        if has_superblock(group) {
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
            at += u64::from(geometry.head(group)) * size;
        }
        let usage = self.plan.group_usage(group);
        let bitmaps = [(usage.blocks, geometry.group_blocks(group)), (usage.inodes, geometry.inodes_per_group)];
        for (used, count) in bitmaps {
            group::write_bitmap(self.room(at, size as usize)?, used, count);
            at += size;
        }
        let first = group * geometry.inodes_per_group + 1;
        for ino in first..first + usage.inodes {
            self.inode(ino, at + u64::from(ino - first) * INODE_SIZE as u64)?;
        }
        Ok(())
    }

    fn superblock(&self) -> Superblock<'_> {
        let (plan, geometry) = (self.plan, &self.plan.layout.geometry);
        Superblock {
            geometry,
            reserved_blocks: plan.reserved_blocks,
            free_blocks: geometry.slots() - plan.used_slots,
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
        match ino {
            ROOT_INO | FIRST_INO.. => self.node(index(ino), position),
            RESIZE_INO => {
                let mut record = Record::new(0o100600, plan.epoch());
                record.size_bytes = group::resize_inode_bytes(geometry);
                record.sectors = group::resize_inode_blocks(geometry) * (size / 512);
                record.block[13 * 4..14 * 4].copy_from_slice(&plan.layout.block(Slot(0)).to_le_bytes());
                self.record(&record, position)
            }
            JOURNAL_INO => {
                let mut record = Record::new(0o100600, plan.epoch());
                record.size_bytes = u64::from(plan.journal_blocks) * u64::from(size);
                record.sectors = journal_slots(size, plan.journal_blocks) as u32 * (size / 512);
                record.block = self.journal_pointers;
                self.record(&record, position)
            }
            _ => Ok(()),
        }
    }

    fn node(&mut self, node: usize, position: u64) -> Result<(), WriteError> {
        let plan = self.plan;
        let (place, links) = (plan.places[node], plan.numbers.nodes[node].links);
        let inode = plan.numbers.nodes[node].id.map(|id| (id, plan.tree.inode(id)));
        let attributes = match inode {
            Some((id, inode)) => {
                xattr::encode(&inode.metadata.xattrs, self.block_size).map_err(|_| plan.changed(id))?.inline
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
        record.links = links as u16;
        record.sectors = (place.blocks + u32::from(place.shared > 0)) * (self.block_size / 512);
        if let Some(number) = place.shared.checked_sub(1) {
            record.attribute_block = plan.layout.block(Slot(plan.first_shared.0 + number));
        }
        if place.is_directory() {
            let map = Map::dense(self.block_size, u64::from(place.directory_blocks));
            record.size_bytes = u64::from(place.directory_blocks) * u64::from(self.block_size);
            record.flags = if place.hashed { FLAG_INDEX } else { 0 };
            plan.pointers(&map, Slot(place.first), &mut record.block);
        } else if let Some((id, inode)) = inode {
            self.content_record(id, &inode.kind, place, &mut record)?;
        }
        self.record(&record, position)
    }

    /// Fills in size and pointers of anything but a directory.
    fn content_record(&self, id: InodeId, kind: &Kind, place: Place, record: &mut Record) -> Result<(), WriteError> {
        let plan = self.plan;
        match kind {
            Kind::File(source) => {
                record.size_bytes = source.size_bytes();
                let map = plan.map(id, &**source, place.blocks)?;
                plan.pointers(&map, Slot(place.first), &mut record.block);
            }
            Kind::Symlink(target) => {
                record.size_bytes = target.len() as u64;
                if place.blocks == 0 {
                    record.block[..target.len()].copy_from_slice(target);
                } else {
                    plan.pointers(&Map::dense(self.block_size, 1), Slot(place.first), &mut record.block);
                }
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                record.block = encode_device(*major, *minor).ok_or_else(|| plan.changed(id))?;
            }
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, position: u64) -> Result<(), WriteError> {
        let out = self.room(position, INODE_SIZE)?;
        out.fill(0);
        record.encode(out);
        Ok(())
    }
}
