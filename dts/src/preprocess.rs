//! The C preprocessor, in the dialect cpp uses for assembler sources.
//!
//! A `#` line that is no directive is text (`#address-cells = <1>;`), and quotes need not balance. The result is one
//! text whose runs lead back to the files, so that later messages point into what the user wrote.

mod condition;
mod directive;
mod expand;
pub(crate) mod scan;

use std::rc::Rc;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Kind as Stage};
use crate::intern::ShortMap;
use crate::session::{INCLUDE_DEPTH, Limit, Session, TEXT_LIMIT};
use crate::source::{Run, Span};
use expand::{Macro, PpToken, Stream};
use scan::{Kind, is_identifier, token};

/// Macros, and the output so far; lives as long as the compilation, for `/include/` may ask for more.
#[derive(Default)]
pub(crate) struct Preprocessor {
    macros: ShortMap<Box<[u8]>, Rc<Macro>>,
    /// Texts that asked to be included only once.
    once: Vec<u32>,
    out: Vec<u8>,
    runs: Vec<Run>,
    depth: usize,
    /// How many tokens expansion has read or made.
    spent: usize,
    /// Where the output outgrew its limit, after which nothing more is written.
    full: Option<Span>,
}

/// A `#if` that is not yet closed.
struct Condition {
    /// This group is copied.
    taking: bool,
    /// Some group of it was.
    taken: bool,
    else_seen: bool,
    opened: Span,
}

/// One file being preprocessed.
pub(crate) struct File {
    text: u32,
    bytes: Arc<[u8]>,
    pos: usize,
    conditions: Vec<Condition>,
}

impl File {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { text: self.text, start: start as u32, end: end as u32 }
    }

    fn skipping(&self) -> bool {
        self.conditions.last().is_some_and(|condition| !condition.taking)
    }
}

impl Preprocessor {
    /// Defines a macro as `-D name=value` does; `name` may carry parameters.
    pub fn define(&mut self, session: &mut Session<'_>, name: &str, value: &str) {
        let text = format!("{name} {value}\n").replace('\n', " ") + "\n";
        let text = session.sources.add("<command line>", Arc::from(text.into_bytes()));
        let mut file = File { text, bytes: session.sources.bytes(text), pos: 0, conditions: Vec::new() };
        self.directive_define(session, &mut file);
    }

    /// Preprocesses a text; returns the number of the resulting text.
    pub fn run(&mut self, session: &mut Session<'_>, text: u32) -> u32 {
        self.out.reserve(session.sources.text(text).bytes.len());
        self.file(session, text);
        if let Some(at) = self.full.take() {
            // The end of what may be written is the end of the limit for all text, or of this text's own.
            session.take(Limit::Text, usize::MAX, at);
        }
        let out = Arc::from(std::mem::take(&mut self.out));
        let runs = std::mem::take(&mut self.runs);
        let name = session.sources.text(text).name.clone();
        session.sources.add_mapped(name, out, Some(runs))
    }

    fn error(&self, session: &mut Session<'_>, span: Span, message: impl Into<String>) {
        session.report(Diagnostic::error(Stage::Preprocess, span, message));
    }

    fn warning(&self, session: &mut Session<'_>, span: Span, message: impl Into<String>) {
        session.report(Diagnostic::warning(Stage::Preprocess, span, message));
    }

    fn file(&mut self, session: &mut Session<'_>, text: u32) {
        let mut file = File { text, bytes: session.sources.bytes(text), pos: 0, conditions: Vec::new() };
        self.depth += 1;
        while file.pos < file.bytes.len() && self.full.is_none() && !session.is_exhausted() {
            let start = scan::skip_blank(&file.bytes, file.pos);
            if file.bytes.get(start) == Some(&b'#') && self.directive(session, &mut file, start) {
                continue;
            }
            if file.skipping() {
                file.pos = scan::line_end(&file.bytes, file.pos) + 1;
            } else {
                self.text(session, &mut file);
            }
        }
        self.depth -= 1;
        if self.out.last().is_some_and(|&byte| byte != b'\n') {
            self.push(b"\n", file.span(file.bytes.len(), file.bytes.len()), None);
        }
        for condition in &file.conditions {
            self.error(session, condition.opened, "this conditional is never closed by #endif");
        }
    }

    /// Copies text, expanding macros, up to the next line that may be a directive or the end.
    fn text(&mut self, session: &mut Session<'_>, file: &mut File) {
        let bytes = file.bytes.clone();
        let mut copied = file.pos;
        loop {
            let token = token(&bytes, file.pos);
            file.pos = token.end;
            match token.kind {
                Kind::End => break,
                Kind::Newline => {
                    let line = scan::skip_blank(&bytes, file.pos);
                    if bytes.get(line) == Some(&b'#') {
                        break;
                    }
                }
                Kind::Identifier => {
                    let name = file.span(token.start, token.end);
                    if let Some(value) = built_in(session, &bytes[token.start..token.end], name) {
                        self.push(&bytes[copied..token.start], file.span(copied, token.start), None);
                        self.push(value.as_bytes(), name, Some(name));
                        copied = token.end;
                        continue;
                    }
                    let Some(found) = self.macros.get(&bytes[token.start..token.end]) else { continue };
                    let found = found.clone();
                    let before = token.start;
                    self.push(&bytes[copied..before], file.span(copied, before), None);
                    let use_of = file.span(token.start, token.end);
                    if self.expand_in_text(session, file, use_of, found) {
                        copied = file.pos;
                    } else {
                        copied = before;
                    }
                }
                Kind::Splice => {
                    self.push(&bytes[copied..token.start], file.span(copied, token.start), None);
                    self.push(b" ", file.span(token.start, token.end), None);
                    copied = token.end;
                }
                Kind::Other if bytes[token.start..].starts_with(b"/*") => {
                    self.error(session, file.span(token.start, token.start + 2), "this comment is never closed");
                    file.pos = bytes.len();
                    break;
                }
                _ => {}
            }
        }
        self.push(&bytes[copied..file.pos], file.span(copied, file.pos), None);
    }

    /// Expands the macro whose name was just read; says whether it was a use (a function-like macro needs arguments).
    fn expand_in_text(&mut self, session: &mut Session<'_>, file: &mut File, name: Span, found: Rc<Macro>) -> bool {
        let (text, start) = (file.text, name.start);
        let definition = found.name;
        let mut stream = Stream::of_file(file);
        let Some(tokens) = self.expand_use(session, &mut stream, name, found) else { return false };
        let end = stream.file_position().unwrap_or(name.end as usize);
        let source = Span { text, start, end: end as u32 };
        let mut previous: Option<PpToken> = None;
        for token in tokens {
            let value = built_in(session, token.bytes(), source);
            let bytes = value.as_deref().map_or(token.bytes(), str::as_bytes);
            let touches = match &previous {
                Some(previous) => token.space || pastes(previous.bytes(), previous.kind, bytes),
                None => self.out.last().is_some_and(|&last| is_identifier(last) && is_identifier(bytes[0])),
            };
            if touches && !self.out.last().is_some_and(|last| last.is_ascii_whitespace()) {
                self.push(b" ", source, Some(definition));
            }
            self.push(bytes, source, Some(definition));
            previous = Some(token);
        }
        if let (Some(last), Some(&next)) = (previous, file.bytes.get(end))
            && pastes(last.bytes(), last.kind, &[next])
        {
            self.push(b" ", source, Some(definition));
        }
        true
    }

    /// Appends bytes that came from `source`.
    fn push(&mut self, bytes: &[u8], source: Span, definition: Option<Span>) {
        if bytes.is_empty() || self.full.is_some() {
            return;
        }
        if self.out.len() + bytes.len() > TEXT_LIMIT {
            self.full = Some(source);
            return;
        }
        let continues = self.runs.last().is_some_and(|last| {
            last.definition == definition
                && last.source.text == source.text
                && match definition {
                    Some(_) => last.source == source,
                    None => {
                        last.source.end == source.start
                            && last.source.end - last.source.start == self.out.len() as u32 - last.out
                    }
                }
        });
        match self.runs.last_mut() {
            Some(last) if continues => last.source.end = source.end,
            _ => self.runs.push(Run { out: self.out.len() as u32, source, definition }),
        }
        self.out.extend_from_slice(bytes);
    }

    fn too_deep(&self) -> bool {
        self.depth >= INCLUDE_DEPTH
    }
}

/// Returns what `__LINE__` and `__FILE__` are at a place; `None` for any other name.
fn built_in(session: &Session<'_>, name: &[u8], at: Span) -> Option<String> {
    match name {
        b"__LINE__" => Some(session.sources.location(at).line.to_string()),
        b"__FILE__" => Some(format!("\"{}\"", session.sources.location(at).file.replace('\\', "\\\\"))),
        _ => None,
    }
}

/// Says whether two tokens would read as something else without a blank between them.
fn pastes(left: &[u8], left_kind: Kind, right: &[u8]) -> bool {
    let (Some(&last), Some(&first)) = (left.last(), right.first()) else { return false };
    match left_kind {
        Kind::Identifier => is_identifier(first) || first == b'"' || first == b'\'',
        Kind::Number => is_identifier(first) || matches!(first, b'.' | b'+' | b'-'),
        Kind::Other => last == first && b"<>&|=+-#".contains(&first) || b"<>!=".contains(&last) && first == b'=',
        _ => false,
    }
}
