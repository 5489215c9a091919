//! A disk of a recipe, as the library that lays disks out takes it.

use imagegen::disk::{self, Content, Guid, Options};

use super::DiskImage;

impl DiskImage {
    /// Returns options and partitions; `content` gives what each partition holds, and `identify` makes the identifiers
    /// that the recipe leaves open, by purpose.
    pub fn parts(
        &self,
        mut content: impl FnMut(usize) -> Option<Content>,
        identify: impl Fn(&str) -> [u8; 16],
    ) -> (Options, Vec<disk::Partition>) {
        let signature = || {
            let bytes = identify("signature");
            // A disk without signature has 0.
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(1)
        };
        let options = Options {
            scheme: self.scheme,
            size_bytes: self.size_bytes.as_ref().map(|size| size.value),
            alignment_bytes: self.alignment_bytes,
            guid: self.guid.unwrap_or_else(|| Guid(identify("disk"))),
            signature: self.signature.unwrap_or_else(signature),
            entries_offset: self.entries_offset,
        };
        let partitions = self.partitions.iter().enumerate().map(|(index, one)| disk::Partition {
            name: one.label.clone(),
            kind: one.kind,
            content: content(index),
            offset: one.offset,
            size: one.size,
            label: None,
            guid: one.guid.unwrap_or_else(|| Guid(identify(&format!("partition {}", index + 1)))),
            attributes: one.attributes,
            active: one.active,
            logical: one.logical,
            hybrid: one.hybrid,
        });
        (options, partitions.collect())
    }
}
