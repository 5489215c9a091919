//! The tree as source text, in the shape dtc 1.8 gives it.

use std::fmt::Write;

use crate::data::{Data, MarkerKind, Type};
use crate::live::{LiveLabel, LiveProperty, LiveTree, NodeId};
use crate::source::Sources;

/// How much to say about where things came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Annotate {
    /// Nothing.
    #[default]
    Nothing,
    /// File and line.
    Line,
    /// File, lines and columns.
    Range,
}

/// Returns the tree as a source that compiles to it again.
pub fn dts(tree: &LiveTree, sources: &Sources, annotate: Annotate) -> String {
    let mut printer = Printer { tree, sources, annotate, out: String::from("/dts-v1/;\n") };
    if tree.plugin {
        printer.out.push_str("/plugin/;\n");
    }
    printer.out.push('\n');
    for entry in &tree.reservations {
        for &label in &entry.labels {
            let _ = write!(printer.out, "{}: ", tree.text(label));
        }
        let _ = writeln!(printer.out, "/memreserve/\t{:#018x} {:#018x};", entry.address, entry.size);
    }
    printer.node(tree.root(), 0);
    printer.out
}

struct Printer<'t> {
    tree: &'t LiveTree,
    sources: &'t Sources,
    annotate: Annotate,
    out: String,
}

impl Printer<'_> {
    fn indent(&mut self, level: usize) {
        self.out.extend(std::iter::repeat_n('\t', level));
    }

    fn labels(&mut self, labels: &[LiveLabel]) {
        for label in LiveTree::labels(labels) {
            let _ = write!(self.out, "{}: ", self.tree.text(label.name));
        }
    }

    fn places(&mut self, spans: &[crate::Span]) {
        if self.annotate > Annotate::Nothing && !spans.is_empty() {
            let place = |span: &crate::Span| {
                let at = self.sources.location(*span);
                match self.annotate {
                    Annotate::Range => {
                        format!("{}:{}:{}-{}:{}", at.file, at.line, at.column, at.end_line, at.end_column)
                    }
                    _ => format!("{}:{}", at.file.rsplit('/').next().unwrap_or_default(), at.line),
                }
            };
            let places: Vec<_> = spans.iter().map(place).collect();
            let _ = write!(self.out, " /* {} */", places.join(", "));
        }
        self.out.push('\n');
    }

    fn node(&mut self, id: NodeId, level: usize) {
        self.indent(level);
        self.labels(&self.tree.node(id).labels);
        let name = self.tree.name(id);
        self.out.push_str(if name.is_empty() { "/" } else { name });
        self.out.push_str(" {");
        self.places(&self.tree.node(id).spans);
        for property in self.tree.properties(id) {
            self.indent(level + 1);
            self.labels(&property.labels);
            self.out.push_str(self.tree.text(property.name));
            self.value(property);
            self.out.push(';');
            self.places(property.span.as_slice());
        }
        for child in self.tree.children(id) {
            self.out.push('\n');
            self.node(child, level + 1);
        }
        self.indent(level);
        self.out.push_str("};");
        self.places(&self.tree.node(id).spans);
    }

    fn value(&mut self, property: &LiveProperty) {
        let guessed;
        let data = match property.value.markers.iter().any(|marker| matches!(marker.kind, MarkerKind::Type(_))) {
            true => &property.value,
            false => {
                guessed = with_guessed_types(&property.value);
                &guessed
            }
        };
        if data.bytes.is_empty() {
            return;
        }
        self.out.push_str(" =");
        for (index, marker) in data.markers.iter().enumerate() {
            match marker.kind {
                MarkerKind::Type(kind) => self.piece(data, index, kind),
                // Labels before the first type; the others are printed with their piece.
                MarkerKind::Label(name) if !in_piece(data, index) => {
                    let _ = write!(self.out, " {}:", self.tree.text(name));
                }
                _ => {}
            }
        }
    }

    /// Prints the bytes from the type mark at `index` up to the next one.
    fn piece(&mut self, data: &Data, index: usize, kind: Type) {
        let start = data.markers[index].offset as usize;
        let rest = &data.markers[index + 1..];
        let is_type = |marker: &&crate::Marker| matches!(marker.kind, MarkerKind::Type(_));
        let end = rest.iter().find(is_type).map_or(data.bytes.len(), |next| next.offset as usize);
        let inner = rest.iter().take_while(|marker| !is_type(marker)).collect::<Vec<_>>();
        if start == end && !matches!(kind, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
            return;
        }
        let open = match kind {
            Type::U8 | Type::Blob => " [",
            Type::U16 => " /bits/ 16 <",
            Type::U32 => " <",
            Type::U64 => " /bits/ 64 <",
            Type::String => "",
        };
        self.out.push_str(open);
        if kind == Type::String {
            self.strings(&data.bytes[start..end]);
        } else {
            self.numbers(data, start..end, kind, &inner);
            self.out.push(if matches!(kind, Type::U8 | Type::Blob) { ']' } else { '>' });
        }
        // Labels after the last element stand outside of it.
        for marker in &inner {
            if let (MarkerKind::Label(name), true) = (marker.kind, marker.offset as usize == end && start != end) {
                let _ = write!(self.out, " {}:", self.tree.text(name));
            }
        }
        if end < data.bytes.len() {
            self.out.push(',');
        }
    }

    fn strings(&mut self, bytes: &[u8]) {
        for (index, text) in bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|&byte| byte == 0).enumerate() {
            self.out.push_str(if index > 0 { ", \"" } else { " \"" });
            self.out.push_str(&escape(text));
            self.out.push('"');
        }
    }

    fn numbers(&mut self, data: &Data, range: std::ops::Range<usize>, kind: Type, inner: &[&crate::Marker]) {
        let size = kind.size();
        for (index, element) in data.bytes[range.clone()].chunks(size).enumerate() {
            if index > 0 {
                self.out.push(' ');
            }
            let at = range.start + index * size;
            let mut reference = None;
            for marker in inner.iter().filter(|marker| marker.offset as usize == at) {
                match marker.kind {
                    MarkerKind::Label(name) => {
                        let _ = write!(self.out, "{}: ", self.tree.text(name));
                    }
                    MarkerKind::Phandle(target) => reference = Some(self.tree.text(target)),
                    _ => {}
                }
            }
            let value = element.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            let _ = match reference {
                Some(target) if target.contains('/') => write!(self.out, "&{{{target}}}"),
                Some(target) => write!(self.out, "&{target}"),
                None if size == 1 => write!(self.out, "{value:02x}"),
                None => write!(self.out, "0x{value:02x}"),
            };
        }
    }
}

/// Says whether a type mark comes before the mark at `index`.
fn in_piece(data: &Data, index: usize) -> bool {
    data.markers[..index].iter().any(|marker| matches!(marker.kind, MarkerKind::Type(_)))
}

/// Escapes what cannot stand in a string.
pub(super) fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        let short = match byte {
            7 => 'a',
            8 => 'b',
            b'\t' => 't',
            b'\n' => 'n',
            11 => 'v',
            12 => 'f',
            b'\r' => 'r',
            b'\\' => '\\',
            b'"' => '"',
            b' '..=b'~' => {
                out.push(char::from(byte));
                continue;
            }
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
                continue;
            }
        };
        out.push('\\');
        out.push(short);
    }
    out
}

/// Guesses how the bytes of a blob were once written: strings, cells, or bytes.
fn with_guessed_types(data: &Data) -> Data {
    let bytes = &data.bytes;
    let is_text = |byte: &u8| matches!(byte, 0 | 7..=13 | b' '..=b'~');
    let nuls = bytes.iter().filter(|&&byte| byte == 0).count();
    let kind = if bytes.last() == Some(&0) && bytes.iter().all(is_text) && nuls <= bytes.len() - nuls {
        Type::String
    } else if bytes.len().is_multiple_of(4) {
        Type::U32
    } else {
        Type::U8
    };
    let mut guessed = data.clone();
    guessed.markers.insert(0, crate::Marker { offset: 0, kind: MarkerKind::Type(kind), span: crate::Span::default() });
    guessed
}
