//! A property's value: its bytes, and marks that remember what the source said.

use crate::intern::Name;
use crate::source::Span;

/// How a stretch of bytes was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `[00 11]` or `/bits/ 8 <...>`.
    U8,
    /// `/bits/ 16 <...>`.
    U16,
    /// `<...>`.
    U32,
    /// `/bits/ 64 <...>`.
    U64,
    /// `"..."` or `&node`.
    String,
    /// `/incbin/`.
    Blob,
}

impl Type {
    /// Returns the size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Type::U8 | Type::String | Type::Blob => 1,
            Type::U16 => 2,
            Type::U32 => 4,
            Type::U64 => 8,
        }
    }
}

/// What a mark stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerKind {
    /// From here on bytes were written like this.
    Type(Type),
    /// `name:` inside the value.
    Label(Name),
    /// `&name` inside `< >`: the cell here becomes a phandle.
    Phandle(Name),
    /// `&name` outside: the node's path is inserted here.
    Path(Name),
}

/// A mark at a byte offset.
#[derive(Debug, Clone, Copy)]
pub struct Marker {
    /// Where in the bytes.
    pub offset: u32,
    /// What it stands for.
    pub kind: MarkerKind,
    /// Where in the source.
    pub span: Span,
}

/// The bytes of a value with its marks, in the source's order.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The marks, by offset; of equal offsets in the source's order.
    pub markers: Vec<Marker>,
}

impl Data {
    /// Adds a mark at the end.
    pub fn mark(&mut self, kind: MarkerKind, span: Span) {
        self.markers.push(Marker { offset: self.bytes.len() as u32, kind, span });
    }

    /// Appends the low `bits` of a number, big endian.
    pub fn push(&mut self, value: u64, bits: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes()[8 - bits as usize / 8..]);
    }

    /// Inserts text at markers, given by ascending index; later markers move behind it.
    pub fn insert(&mut self, texts: &[(usize, String)]) {
        let added: usize = texts.iter().map(|(_, text)| text.len()).sum();
        let old = std::mem::take(&mut self.bytes);
        self.bytes.reserve(old.len() + added);
        let (mut copied, mut texts) = (0, texts.iter().peekable());
        for (index, marker) in self.markers.iter_mut().enumerate() {
            let at = marker.offset as usize;
            let here = texts.next_if(|(wanted, _)| *wanted == index);
            self.bytes.extend_from_slice(&old[copied..at]);
            copied = at;
            marker.offset = self.bytes.len() as u32;
            self.bytes.extend(here.into_iter().flat_map(|(_, text)| text.bytes()));
        }
        self.bytes.extend_from_slice(&old[copied..]);
    }

    /// Overwrites the cell at `offset`.
    pub fn set_cell(&mut self, offset: u32, value: u32) {
        if let Some(cell) = self.bytes.get_mut(offset as usize..offset as usize + 4) {
            cell.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Iterates over the references to phandles: offset, name of the target, place.
    pub fn phandles(&self) -> impl Iterator<Item = (u32, Name, Span)> + '_ {
        self.markers.iter().filter_map(|marker| match marker.kind {
            MarkerKind::Phandle(target) => Some((marker.offset, target, marker.span)),
            _ => None,
        })
    }
}
