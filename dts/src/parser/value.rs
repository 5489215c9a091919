//! Property values: strings, cells, bytes, references, included files.

use super::{Abort, Parsed, Parser, sign};
use crate::data::{Data, MarkerKind, Type};
use crate::diagnostic::{Diagnostic, Kind};
use crate::lexer::{Keyword, Token};
use crate::loader::LoadError;
use crate::session::Limit;

impl Parser<'_, '_> {
    /// Parses what stands between `=` and `;`.
    pub(super) fn value(&mut self) -> Parsed<Data> {
        let mut data = Data::default();
        loop {
            self.value_labels(&mut data)?;
            self.part(self.span)?;
            self.piece(&mut data)?;
            self.value_labels(&mut data)?;
            if !self.accept(&sign(b',')) {
                return Ok(data);
            }
        }
    }

    fn value_labels(&mut self, data: &mut Data) -> Parsed<()> {
        for label in self.labels()? {
            data.mark(MarkerKind::Label(label.name), label.span);
        }
        Ok(())
    }

    fn piece(&mut self, data: &mut Data) -> Parsed<()> {
        let span = self.span;
        match &mut self.token {
            Token::String(text) => {
                let text = std::mem::take(text);
                self.grow(text.len(), span)?;
                data.mark(MarkerKind::Type(Type::String), span);
                data.bytes.extend(text);
                self.advance();
            }
            Token::LabelReference(target) | Token::PathReference(target) => {
                let target = *target;
                self.part(span)?;
                data.mark(MarkerKind::Type(Type::String), span);
                data.mark(MarkerKind::Path(target), span);
                self.advance();
            }
            Token::Sign([b'[', 0]) => {
                self.advance();
                self.bytes(data)?;
            }
            Token::Sign([b'<', 0]) => {
                self.advance();
                self.cells(data, 32)?;
            }
            Token::Keyword(Keyword::Bits) => {
                self.advance();
                let at = self.span;
                let mut bits = self.integer()?;
                if !matches!(bits, 8 | 16 | 32 | 64) {
                    self.report(at.to(self.last), "Array elements must be 8, 16, 32 or 64-bits");
                    bits = 32;
                }
                self.expect(b'<')?;
                self.cells(data, bits as u32)?;
            }
            Token::Keyword(Keyword::Incbin) => {
                self.advance();
                self.incbin(data)?;
            }
            _ => return Err(self.expected("a value")),
        }
        Ok(())
    }

    fn bytes(&mut self, data: &mut Data) -> Parsed<()> {
        data.mark(MarkerKind::Type(Type::U8), self.last);
        loop {
            match self.token {
                Token::Byte(byte) => {
                    self.grow(1, self.span)?;
                    data.bytes.push(byte);
                }
                Token::Label(name) => {
                    self.part(self.span)?;
                    data.mark(MarkerKind::Label(name), self.span);
                }
                Token::Sign([b']', 0]) => {
                    self.advance();
                    return Ok(());
                }
                _ => return Err(self.expected("a byte of two hexadecimal digits or `]`")),
            }
            self.advance();
        }
    }

    /// Parses the elements after `<`, through `>`.
    fn cells(&mut self, data: &mut Data, bits: u32) -> Parsed<()> {
        let kind = match bits {
            8 => Type::U8,
            16 => Type::U16,
            64 => Type::U64,
            _ => Type::U32,
        };
        data.mark(MarkerKind::Type(kind), self.last);
        loop {
            let span = self.span;
            match self.token {
                Token::Label(name) => {
                    self.part(span)?;
                    data.mark(MarkerKind::Label(name), span);
                    self.advance();
                }
                Token::LabelReference(target) | Token::PathReference(target) => {
                    self.part(span)?;
                    self.grow(bits as usize / 8, span)?;
                    if bits == 32 {
                        data.mark(MarkerKind::Phandle(target), span);
                    } else {
                        self.report(span, "References are only allowed in arrays with 32-bit elements.");
                    }
                    data.push(u64::MAX, bits);
                    self.advance();
                }
                Token::Sign([b'>', 0]) => {
                    self.advance();
                    return Ok(());
                }
                Token::Number(_) | Token::Sign([b'(', 0]) => {
                    let value = self.integer()?;
                    self.warn_if_truncated(value, bits, span.to(self.last));
                    self.grow(bits as usize / 8, span)?;
                    data.push(value, bits);
                }
                _ => return Err(self.expected("a number, `(`, a reference or `>`")),
            }
        }
    }

    /// Counts bytes that the value at `span` is about to take.
    fn grow(&mut self, bytes: usize, span: crate::Span) -> Parsed<()> {
        if self.lexer.session.take(Limit::Values, bytes, span) { Ok(()) } else { Err(Abort) }
    }

    /// Bits above the element must be all zero, or all one as in a negative number.
    fn warn_if_truncated(&mut self, value: u64, bits: u32, span: crate::Span) {
        let mask = u64::MAX >> (64 - bits);
        if value > mask && value | mask != u64::MAX {
            let digits = bits as usize / 4;
            let message = format!("Value {value:#018x} truncated to 0x{:0digits$x}", value & mask);
            self.lexer.session.report(Diagnostic::warning(Kind::Syntax, span, message));
        }
    }

    /// Parses `("file")` or `("file", offset, length)` and appends what the file holds there.
    fn incbin(&mut self, data: &mut Data) -> Parsed<()> {
        let start = self.expect(b'(')?;
        let Token::String(name) = &mut self.token else { return Err(self.expected("a file name")) };
        let mut name = std::mem::take(name);
        let name_span = self.span;
        self.advance();
        let (mut offset, mut length) = (0, None);
        if self.accept(&sign(b',')) {
            offset = self.integer()?;
            self.expect(b',')?;
            length = Some(self.integer()?);
        }
        let end = self.expect(b')')?;
        name.pop();
        let name = String::from_utf8_lossy(&name).into_owned();
        let from = self.lexer.file_of(start);
        let text = match self.lexer.session.search(&name, Some(&from)) {
            Ok(text) => text,
            Err(error) => {
                let reason = if error == LoadError::NotFound { "no such file".into() } else { error.to_string() };
                self.report(name_span, format!("Couldn't open \"{name}\": {reason}"));
                return Err(Abort);
            }
        };
        data.mark(MarkerKind::Type(Type::Blob), start.to(end));
        let bytes = self.lexer.session.sources.bytes(text);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let length = length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX));
        match bytes.get(offset..) {
            Some(rest) => {
                let part = &rest[..length.min(rest.len())];
                self.grow(part.len(), start.to(end))?;
                data.bytes.extend_from_slice(part);
            }
            None => self.report(name_span, format!("Couldn't seek to offset {offset} in \"{name}\"")),
        }
        Ok(())
    }
}
