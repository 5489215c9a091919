//! `[disk.NAME]`.

use imagegen::compress;
use imagegen::disk::{Guid, NAMED, PartitionType, Scheme, Size};

use super::super::keys::ATTRIBUTES;
use super::super::report::Finding;
use super::super::{DiskImage, Gap, Partition, PartitionContent};
use super::{Cursor, no_file, size_bytes};

pub(super) fn disk(table: &Cursor<'_>) -> DiskImage {
    DiskImage {
        scheme: match table.text("table").as_str() {
            "mbr" => Scheme::Mbr,
            "hybrid" => Scheme::Hybrid,
            _ => Scheme::Gpt,
        },
        size_bytes: table.size("size"),
        alignment_bytes: table.required_size("alignment").value,
        guid: guid(table),
        signature: u32::from_str_radix(&table.text("signature"), 16).ok(),
        entries_offset: table.size("entries-at").map(|offset| offset.value),
        partitions: table.elements("partition").iter().map(partition).collect(),
        gaps: table.elements("gap").iter().map(gap).collect(),
        compress: match table.text("compress").as_str() {
            "gz" => Some(compress::Format::Gzip),
            "xz" => Some(compress::Format::Xz),
            "zst" => Some(compress::Format::Zstd),
            _ => None,
        },
        bmap: table.boolean("bmap"),
        origin: table.origin(),
    }
}

fn guid(table: &Cursor<'_>) -> Option<Guid> {
    table.text("guid").parse().ok()
}

fn partition(table: &Cursor<'_>) -> Partition {
    let filesystem = table.located_text("filesystem");
    let label = table.located_text("label").map(|label| label.value);
    let usual = || filesystem.as_ref().map_or_else(|| table.text("type"), |name| name.value.clone());
    let attributes = table.texts("attributes");
    let bits = ATTRIBUTES.iter().filter(|(name, _)| attributes.iter().any(|wanted| wanted == name));
    Partition {
        label: label.unwrap_or_else(usual),
        kind: kind(table),
        content: match filesystem.clone() {
            Some(name) => Some(PartitionContent::Filesystem(name)),
            None => table.file_source().map(PartitionContent::File),
        },
        size: size(table),
        offset: table.size("offset").map(|offset| offset.value),
        guid: guid(table),
        attributes: bits.fold(0, |bits, (_, bit)| bits | 1 << bit),
        active: table.boolean("active"),
        logical: table.get("logical").and_then(|logical| logical.node.boolean()),
        hybrid: table.boolean("hybrid"),
        origin: table.origin(),
    }
}

fn kind(table: &Cursor<'_>) -> PartitionType {
    let Some(cursor) = table.get("type") else { return PartitionType::default() };
    let text = cursor.node.text().unwrap_or_default();
    PartitionType::parse(text).unwrap_or_else(|_| {
        let finding = Finding::at(&cursor.origin(), format!("there is no partition type `{text}`"));
        let finding = finding.suggest(text, NAMED.iter().map(|named| named.name));
        cursor.context.findings.borrow_mut().push(finding);
        PartitionType::default()
    })
}

fn size(table: &Cursor<'_>) -> Size {
    let Some(cursor) = table.get("size") else { return Size::Content };
    match cursor.node.text() {
        Some("rest") => Size::Rest,
        Some(text) => match size_bytes(text) {
            Some(bytes) => Size::Bytes(bytes),
            None => {
                cursor.finding("this size is too large");
                Size::Content
            }
        },
        None => Size::Bytes(cursor.node.integer().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()),
    }
}

fn gap(table: &Cursor<'_>) -> Gap {
    Gap { offset: table.required_size("offset").value, file: table.file_source().unwrap_or_else(no_file) }
}
