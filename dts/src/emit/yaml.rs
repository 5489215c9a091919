//! The tree as YAML, for schema checkers: the types of the source become tags. Labels are lost.

use std::fmt::Write;

use crate::data::{MarkerKind, Type};
use crate::live::{LiveProperty, LiveTree, NodeId};

/// Flow sequences break before an item that would begin behind this column.
const WIDTH: usize = 80;

/// Returns the tree as one YAML document. Values must still carry their marks, as those from source text do.
pub fn yaml(tree: &LiveTree) -> String {
    let mut printer = Printer { tree, out: String::from("---\n- "), line: 4 };
    printer.node(tree.root(), 1);
    printer.out.push_str("...\n");
    printer.out
}

struct Printer<'t> {
    tree: &'t LiveTree,
    out: String,
    /// Offset where the current line began.
    line: usize,
}

impl Printer<'_> {
    fn column(&self) -> usize {
        self.out.len() - self.line
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.line = self.out.len();
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Prints the entries of a node; the cursor stands where the first belongs.
    fn node(&mut self, id: NodeId, level: usize) {
        let indent = level * 2;
        let mut first = true;
        for property in self.tree.properties(id) {
            if !std::mem::take(&mut first) {
                self.new_line(indent);
            }
            let name = self.tree.text(property.name);
            let _ = write!(self.out, "{}: ", key(name));
            self.value(property, indent + 2);
        }
        for child in self.tree.children(id) {
            if !std::mem::take(&mut first) {
                self.new_line(indent);
            }
            let _ = write!(self.out, "{}:", key(self.tree.name(child)));
            let is_empty = self.tree.properties(child).next().is_none() && self.tree.children(child).next().is_none();
            if is_empty {
                self.out.push_str(" {}");
            } else {
                self.new_line(indent + 2);
                self.node(child, level + 1);
            }
        }
        if first {
            self.out.push_str("{}");
        }
        if level == 1 {
            self.new_line(0);
        }
    }

    fn value(&mut self, property: &LiveProperty, indent: usize) {
        let data = &property.value;
        if data.bytes.is_empty() {
            return self.out.push_str("true");
        }
        self.out.push('[');
        let types: Vec<(usize, Type)> = data
            .markers
            .iter()
            .filter_map(|marker| match marker.kind {
                MarkerKind::Type(kind) => Some((marker.offset as usize, kind)),
                _ => None,
            })
            .collect();
        let mut first = true;
        for (index, &(start, kind)) in types.iter().enumerate() {
            let end = types.get(index + 1).map_or(data.bytes.len(), |next| next.0);
            let bytes = &data.bytes[start..end];
            if kind == Type::String && bytes.is_empty() {
                continue;
            }
            self.separate(std::mem::take(&mut first), indent);
            if kind == Type::String {
                self.string(bytes.strip_suffix(b"\0").unwrap_or(bytes), indent + 2);
                continue;
            }
            self.out.push_str(match kind {
                Type::U8 | Type::Blob => "!u8 [",
                Type::U16 => "!u16 [",
                Type::U64 => "!u64 [",
                _ => "[",
            });
            for (position, element) in bytes.chunks(kind.size()).enumerate() {
                self.separate(position == 0, indent + 2);
                let at = start + position * kind.size();
                if kind == Type::U32 && data.phandles().any(|(offset, ..)| offset as usize == at) {
                    self.out.push_str("!phandle ");
                }
                let value = element.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
                let _ = write!(self.out, "{value:#x}");
            }
            self.out.push(']');
        }
        self.out.push(']');
    }

    /// Goes to the next item of a flow sequence.
    fn separate(&mut self, first: bool, indent: usize) {
        if !first {
            self.out.push(',');
        }
        if self.column() > WIDTH {
            self.new_line(indent);
        } else if !first {
            self.out.push(' ');
        }
    }

    /// Prints a double-quoted scalar, broken at blanks behind the width.
    fn string(&mut self, text: &[u8], indent: usize) {
        self.out.push('"');
        let text = String::from_utf8_lossy(text).into_owned();
        let count = text.chars().count();
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            let short = match c {
                '\0' => '0',
                '\x07' => 'a',
                '\x08' => 'b',
                '\t' => 't',
                '\n' => 'n',
                '\x0b' => 'v',
                '\x0c' => 'f',
                '\r' => 'r',
                '\x1b' => 'e',
                '\\' | '"' => c,
                ' ' => {
                    if !after_space && self.column() > WIDTH && index > 0 && index + 1 < count {
                        self.new_line(indent);
                        if chars.peek().is_some_and(|(_, next)| *next == ' ') {
                            self.out.push('\\');
                        }
                    } else {
                        self.out.push(' ');
                    }
                    after_space = true;
                    continue;
                }
                ' '..='~' => {
                    self.out.push(c);
                    after_space = false;
                    continue;
                }
                _ => {
                    let _ = write!(self.out, "\\x{:02X}", u32::from(c));
                    after_space = false;
                    continue;
                }
            };
            after_space = false;
            self.out.push('\\');
            self.out.push(short);
        }
        self.out.push('"');
    }
}

/// Quotes a name that plain YAML would read as something else.
fn key(name: &str) -> String {
    let special = name.is_empty() || name.starts_with(['#', '-', '?', '*', '@', ',', '.']);
    if special { format!("'{name}'") } else { name.to_string() }
}
