//! The lines that begin with `#`: including, defining, choosing.

use std::cell::OnceCell;
use std::rc::Rc;

use super::expand::{Macro, tokens_of};
use super::scan::{Kind, line_end, skip_blank, token};
use super::{Condition, File, Preprocessor, condition};
use crate::loader::LoadError;
use crate::session::{Limit, Session};
use crate::source::Span;

impl Preprocessor {
    /// Handles the line whose `#` is at `hash`; returns false, having done nothing, if it is no directive.
    pub(super) fn directive(&mut self, session: &mut Session<'_>, file: &mut File, hash: usize) -> bool {
        let bytes = file.bytes.clone();
        let name = token(&bytes, skip_blank(&bytes, hash + 1));
        let end = line_end(&bytes, name.end.min(bytes.len()));
        let span = file.span(hash, name.end);
        // `#if-something` and `#define-cells` are property names.
        let is_word = name.kind == Kind::Identifier && bytes.get(name.end).is_none_or(|byte| !b"-,.=".contains(byte));
        if !is_word {
            return false;
        }
        let word = &bytes[name.start..name.end];
        let skipping = file.skipping();
        let line = file.pos;
        file.pos = name.end;
        match word {
            b"if" | b"ifdef" | b"ifndef" => {
                let taking = !skipping
                    && match word {
                        b"if" => self.evaluate(session, file, end),
                        _ => self.is_defined(session, file, end) == (word == b"ifdef"),
                    };
                file.conditions.push(Condition { taking, taken: taking || skipping, else_seen: false, opened: span });
            }
            b"elif" => self.alternative(session, file, end, span, true),
            b"else" => self.alternative(session, file, end, span, false),
            b"endif" => {
                if file.conditions.pop().is_none() {
                    self.error(session, span, "#endif without #if");
                }
            }
            _ if skipping => {}
            b"define" => {
                self.directive_define(session, file);
                return true;
            }
            b"undef" => {
                let name = token(&bytes, skip_blank(&bytes, file.pos));
                self.macros.remove(&bytes[name.start..name.end]);
            }
            b"include" => {
                self.include(session, file, end, span);
                return true;
            }
            b"error" | b"warning" => {
                let text = String::from_utf8_lossy(bytes[name.end..end].trim_ascii()).into_owned();
                let line = file.span(hash, end);
                let text = if text.is_empty() { format!("#{}", String::from_utf8_lossy(word)) } else { text };
                match word {
                    b"error" => self.error(session, line, text),
                    _ => self.warning(session, line, text),
                }
            }
            b"pragma" => {
                let rest = bytes[name.end..end].trim_ascii();
                if rest == b"once" {
                    self.once.push(file.text);
                }
            }
            // `#line 3 "file"` is for the lexer; any other word is text, as in assembler.
            _ => {
                file.pos = line;
                return false;
            }
        }
        file.pos = end + 1;
        true
    }

    fn alternative(&mut self, session: &mut Session<'_>, file: &mut File, end: usize, span: Span, with_test: bool) {
        let Some(condition) = file.conditions.last() else {
            self.error(session, span, "this has no #if before it");
            return;
        };
        if condition.else_seen {
            let opened = condition.opened;
            session.report(
                crate::Diagnostic::error(crate::diagnostic::Kind::Preprocess, span, "this comes after #else")
                    .with_label(opened, "the conditional begins here"),
            );
        }
        let taken = condition.taken;
        let taking = !taken && (!with_test || self.evaluate(session, file, end));
        if let Some(condition) = file.conditions.last_mut() {
            condition.taking = taking;
            condition.taken |= taking;
            condition.else_seen |= !with_test;
        }
    }

    fn is_defined(&mut self, session: &mut Session<'_>, file: &File, end: usize) -> bool {
        let name = token(&file.bytes, skip_blank(&file.bytes, file.pos));
        if name.kind != Kind::Identifier || name.end > end {
            self.error(session, file.span(file.pos, end), "a macro's name is missing");
            return false;
        }
        self.macros.contains_key(&file.bytes[name.start..name.end])
    }

    fn evaluate(&mut self, session: &mut Session<'_>, file: &File, end: usize) -> bool {
        let at = file.span(skip_blank(&file.bytes, file.pos).min(end), end);
        if !self.spend(session, at, end.saturating_sub(file.pos)) {
            return false;
        }
        let mut tokens = tokens_of(&file.bytes, file.pos, end);
        condition::replace_defined(&mut tokens, |name| self.macros.contains_key(name));
        let tokens = self.expand_list(session, tokens, at);
        match condition::evaluate(&tokens) {
            Ok(value) => value,
            Err(reason) => {
                self.error(session, at, reason);
                false
            }
        }
    }

    /// Reads `NAME body` or `NAME(a, b...) body` and the rest of the line.
    pub(super) fn directive_define(&mut self, session: &mut Session<'_>, file: &mut File) {
        let bytes = file.bytes.clone();
        let name = token(&bytes, skip_blank(&bytes, file.pos));
        let end = line_end(&bytes, name.start);
        file.pos = end + 1;
        let span = file.span(name.start, name.end);
        if name.kind != Kind::Identifier || &bytes[name.start..name.end] == b"defined" {
            return self.error(session, span, "this cannot name a macro");
        }
        let (mut parameters, mut variadic, mut start) = (None, false, name.end);
        if bytes.get(name.end) == Some(&b'(') {
            match parameter_list(&bytes[..end], name.end + 1) {
                Ok((list, rest, after)) => (parameters, variadic, start) = (Some(list), rest, after),
                Err(at) => return self.error(session, file.span(at, at), "a parameter, `,` or `)` should stand here"),
            }
        }
        let start = skip_blank(&bytes, start).min(end);
        let new = Macro { name: span, parameters, variadic, text: bytes.clone(), start, end, tokens: OnceCell::new() };
        let key = &bytes[name.start..name.end];
        match self.macros.get(key).cloned() {
            Some(old) if old.name != span && !self.same(session, &old, &new) => {
                let old = old.name;
                let message = format!("macro {} is defined anew", String::from_utf8_lossy(key));
                session.report(
                    crate::Diagnostic::warning(crate::diagnostic::Kind::Preprocess, span, message)
                        .with_label(old, "first defined here"),
                );
            }
            _ => {}
        }
        self.macros.insert(key.into(), Rc::new(new));
    }

    fn include(&mut self, session: &mut Session<'_>, file: &mut File, end: usize, span: Span) {
        let bytes = file.bytes.clone();
        let start = skip_blank(&bytes, file.pos).min(end);
        file.pos = end + 1;
        let mut written = bytes[start..end].trim_ascii().to_vec();
        let at = file.span(start, end);
        if !matches!(written.first(), Some(b'"' | b'<')) {
            if !self.spend(session, at, end - start) {
                return;
            }
            let tokens = self.expand_list(session, tokens_of(&bytes, start, end), at);
            written = tokens.iter().flat_map(|token| token.bytes().to_vec()).collect();
        }
        let close = match written.first() {
            Some(b'"') => b'"',
            Some(b'<') => b'>',
            _ => return self.error(session, at, "#include wants \"file\" or <file>"),
        };
        let Some(length) = written[1..].iter().position(|&byte| byte == close) else {
            return self.error(session, at, "the file name is never closed");
        };
        let name = String::from_utf8_lossy(&written[1..1 + length]).into_owned();
        if self.too_deep() {
            return self.error(session, span, "includes nest too deeply");
        }
        let from = session.sources.text(file.text).name.clone();
        match session.search_include(&name, (close == b'"').then_some(&*from)) {
            Ok(text) if self.once.contains(&text) => {}
            Ok(text) => {
                if session.take(Limit::Text, session.sources.text(text).bytes.len(), at) {
                    self.file(session, text);
                }
            }
            Err(LoadError::NotFound) => {
                let folders = session.include_dirs.join(", ");
                let searched = if folders.is_empty() { String::new() } else { format!(", nor in {folders}") };
                self.error(session, at, format!("{name} is not beside this file{searched}"));
            }
            Err(error) => self.error(session, at, format!("{name}: {error}")),
        }
    }
}

/// Parameters, whether the last takes all the rest, and the offset after the `)`.
type ParameterList = (Vec<Box<[u8]>>, bool, usize);

/// Reads parameters after `(`. The error is the offset of what does not belong.
fn parameter_list(bytes: &[u8], start: usize) -> Result<ParameterList, usize> {
    let mut list: Vec<Box<[u8]>> = Vec::new();
    let mut at = skip_blank(bytes, start);
    if bytes.get(at) == Some(&b')') {
        return Ok((list, false, at + 1));
    }
    loop {
        at = skip_blank(bytes, at);
        let name = token(bytes, at);
        let mut variadic = false;
        if bytes[at.min(bytes.len())..].starts_with(b"...") {
            list.push(Box::from(&b"__VA_ARGS__"[..]));
            (variadic, at) = (true, at + 3);
        } else if name.kind == Kind::Identifier {
            list.push(Box::from(&bytes[name.start..name.end]));
            at = name.end;
            if bytes[at..].starts_with(b"...") {
                (variadic, at) = (true, at + 3);
            }
        } else {
            return Err(at);
        }
        at = skip_blank(bytes, at);
        match bytes.get(at) {
            Some(b')') => return Ok((list, variadic, at + 1)),
            Some(b',') if !variadic => at += 1,
            _ => return Err(at),
        }
    }
}
