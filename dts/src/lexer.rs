//! Tokens of the device-tree source, with the three states that decide what a character means.
//!
//! | state | entered after | special |
//! |---|---|---|
//! | value | `/dts-v1/`, `/memreserve/`, `/bits/`, a name, `]` | numbers |
//! | name  | `{`, `;`, `/delete-node/`, `/delete-property/`, `/omit-if-no-ref/` | one node or property name |
//! | bytes | `[` | pairs of hexadecimal digits |
//!
//! Labels, strings, references, comments and operators are the same in all of them.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Kind};
use crate::intern::Name;
use crate::loader::LoadError;
use crate::preprocess::Preprocessor;
use crate::session::{INCLUDE_DEPTH, Limit, NAME_LIMIT, Session};
use crate::source::{LineMarker, Span};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    /// `/dts-v1/` and the other words between slashes.
    Keyword(Keyword),
    Label(Name),
    /// `&label`.
    LabelReference(Name),
    /// `&{...}`.
    PathReference(Name),
    Number(u64),
    String(Vec<u8>),
    Byte(u8),
    Name(Name),
    /// An operator or any other character; two-character operators as two bytes.
    Sign([u8; 2]),
}

/// The words between slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    DtsV1,
    Plugin,
    MemReserve,
    Bits,
    DeleteProperty,
    DeleteNode,
    OmitIfNoRef,
    Incbin,
}

/// The longest first where one begins another.
const KEYWORDS: [(&str, Keyword); 8] = [
    ("/dts-v1/", Keyword::DtsV1),
    ("/plugin/", Keyword::Plugin),
    ("/memreserve/", Keyword::MemReserve),
    ("/bits/", Keyword::Bits),
    ("/delete-property/", Keyword::DeleteProperty),
    ("/delete-node/", Keyword::DeleteNode),
    ("/omit-if-no-ref/", Keyword::OmitIfNoRef),
    ("/incbin/", Keyword::Incbin),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before `/dts-v1/`: neither names nor numbers.
    Initial,
    Value,
    Name,
    Bytes,
}

/// A text being read.
struct Input {
    text: u32,
    bytes: Arc<[u8]>,
    pos: usize,
}

/// Cuts texts into tokens; `/include/` puts another text on top.
pub(crate) struct Lexer<'s, 'a> {
    pub session: &'s mut Session<'a>,
    preprocessor: &'s mut Preprocessor,
    /// Preprocess included files that have directives.
    preprocess_includes: bool,
    inputs: Vec<Input>,
    state: State,
}

fn is_label_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Says whether a node or property name may hold this character.
pub(crate) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b",._+*#?@-".contains(&byte)
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl<'s, 'a> Lexer<'s, 'a> {
    pub fn new(
        session: &'s mut Session<'a>,
        preprocessor: &'s mut Preprocessor,
        preprocess_includes: bool,
        text: u32,
    ) -> Lexer<'s, 'a> {
        let bytes = session.sources.bytes(text);
        let inputs = vec![Input { text, bytes, pos: 0 }];
        Lexer { session, preprocessor, preprocess_includes, inputs, state: State::Initial }
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.session.report(Diagnostic::error(Kind::Lexical, span, message));
    }

    /// Returns the next token and where it stands.
    pub fn next(&mut self) -> (Token, Span) {
        loop {
            let Some(input) = self.inputs.last_mut() else { return (Token::End, Span::default()) };
            let (text, bytes) = (input.text, input.bytes.clone());
            let exhausted = self.session.is_exhausted();
            let start = if exhausted { bytes.len() } else { skip_blank(&bytes, input.pos) };
            input.pos = start;
            let span = |end: usize| Span { text, start: start as u32, end: end as u32 };
            if start >= bytes.len() {
                if self.inputs.len() > 1 {
                    self.inputs.pop();
                    continue;
                }
                return (Token::End, span(start));
            }
            let rest = &bytes[start..];
            if rest[0] == b'#' && (start == 0 || bytes[start - 1] == b'\n') && self.line_marker(text, start, rest) {
                continue;
            }
            if rest.starts_with(b"/include/") && self.include(text, start, rest) {
                continue;
            }
            let (token, length) = self.token(rest, &span);
            if let Some(input) = self.inputs.last_mut() {
                input.pos = start + length;
            }
            self.enter_state_after(&token);
            return (token, span(start + length));
        }
    }

    fn enter_state_after(&mut self, token: &Token) {
        self.state = match token {
            Token::Keyword(Keyword::DtsV1 | Keyword::MemReserve | Keyword::Bits) | Token::Name(_) => State::Value,
            Token::Keyword(Keyword::DeleteNode | Keyword::DeleteProperty | Keyword::OmitIfNoRef) => State::Name,
            Token::Sign([b'{' | b';', 0]) => State::Name,
            Token::Sign([b'[', 0]) => State::Bytes,
            Token::Sign([b']', 0]) if self.state == State::Bytes => State::Value,
            _ => self.state,
        };
    }

    /// Decodes the token at the front of `rest`; returns it and its length.
    fn token(&mut self, rest: &[u8], span: &dyn Fn(usize) -> Span) -> (Token, usize) {
        let first = rest[0];
        let start = span(0).start as usize;
        if is_label_start(first) {
            let length = rest.iter().position(|&byte| !is_label(byte)).unwrap_or(rest.len());
            if rest.get(length) == Some(&b':') {
                return (Token::Label(self.intern(&rest[..length])), length + 1);
            }
        }
        match self.state {
            State::Name => {
                let skip = usize::from(first == b'\\');
                let length = rest[skip..].iter().position(|&byte| !is_name(byte)).unwrap_or(rest.len() - skip);
                if length > NAME_LIMIT {
                    self.error(span(start + skip + NAME_LIMIT), format!("this name is longer than {NAME_LIMIT} bytes"));
                }
                if length > 0 {
                    return (Token::Name(self.intern(&rest[skip..skip + length])), skip + length);
                }
            }
            State::Bytes if first.is_ascii_hexdigit() && rest.get(1).is_some_and(u8::is_ascii_hexdigit) => {
                let value = u8::from_str_radix(text_of(&rest[..2]), 16).unwrap_or_default();
                return (Token::Byte(value), 2);
            }
            State::Value if first.is_ascii_digit() => return self.number(rest, start, span),
            State::Value if is_label_start(first) => {
                let length = rest.iter().position(|&byte| !is_label(byte)).unwrap_or(rest.len());
                self.error(span(start + length), format!("Unexpected '{}'", text_of(&rest[..length])));
                return (Token::Number(0), length);
            }
            _ => {}
        }
        match first {
            b'"' => {
                if let Some(length) = closing_quote(rest) {
                    let (value, bad_escape) = unescape(&rest[1..length - 1]);
                    if bad_escape {
                        self.error(span(start + length), "\\x used with no following hex digits");
                    }
                    return (Token::String(value), length);
                }
            }
            b'\'' => {
                if let Some(length) = closing_quote(rest) {
                    return self.character(&rest[1..length - 1], length, span(start + length));
                }
            }
            b'&' => {
                if let Some((token, length)) = self.reference(rest) {
                    return (token, length);
                }
            }
            b'/' => {
                for (word, keyword) in KEYWORDS {
                    let in_value = matches!(self.state, State::Value | State::Initial);
                    if rest.starts_with(word.as_bytes()) && (keyword != Keyword::Incbin || in_value) {
                        return (Token::Keyword(keyword), word.len());
                    }
                }
            }
            _ => {}
        }
        let two: [&[u8; 2]; 8] = [b"<<", b">>", b"<=", b">=", b"==", b"!=", b"&&", b"||"];
        match rest.get(..2).and_then(|pair| two.into_iter().find(|two| two[..] == *pair)) {
            Some(pair) => (Token::Sign(*pair), 2),
            None => (Token::Sign([first, 0]), 1),
        }
    }

    fn intern(&mut self, bytes: &[u8]) -> Name {
        self.session.names.intern(text_of(bytes))
    }

    fn number(&mut self, rest: &[u8], start: usize, span: &dyn Fn(usize) -> Span) -> (Token, usize) {
        let is_hex = rest.len() > 2 && rest[0] == b'0' && rest[1] | 0x20 == b'x' && rest[2].is_ascii_hexdigit();
        let digits_start = if is_hex { 2 } else { 0 };
        let is_digit = |byte: &u8| if is_hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
        let digits_end =
            rest[digits_start..].iter().position(|b| !is_digit(b)).map_or(rest.len(), |n| n + digits_start);
        let suffix: &[u8] = [&b"ULL"[..], b"UL", b"LL", b"U", b"L"]
            .into_iter()
            .find(|suffix| rest[digits_end..].starts_with(suffix))
            .unwrap_or_default();
        let length = digits_end + suffix.len();
        let digits = text_of(&rest[digits_start..digits_end]);
        let radix = match digits {
            _ if is_hex => 16,
            _ if digits.starts_with('0') => 8,
            _ => 10,
        };
        let value = u64::from_str_radix(digits, radix).unwrap_or_else(|error| {
            let text = text_of(&rest[..length]);
            let message = match error.kind() {
                std::num::IntErrorKind::PosOverflow => format!("Integer literal '{text}' out of range"),
                _ => format!("Bad integer literal '{text}'"),
            };
            self.error(span(start + length), message);
            0
        });
        (Token::Number(value), length)
    }

    fn character(&mut self, text: &[u8], length: usize, span: Span) -> (Token, usize) {
        let (value, bad_escape) = unescape(text);
        if bad_escape {
            self.error(span, "\\x used with no following hex digits");
        }
        // Strings carry a NUL at their end.
        let value = &value[..value.len() - 1];
        match value.len() {
            0 => self.error(span, "Empty character literal"),
            1 => {}
            count => self.error(span, format!("Character literal has {count} characters instead of 1")),
        }
        (Token::Number(value.first().copied().unwrap_or(0).into()), length)
    }

    fn reference(&mut self, rest: &[u8]) -> Option<(Token, usize)> {
        let after = rest.get(1).copied()?;
        if after == b'{' {
            let length = rest[2..].iter().position(|&byte| !is_name(byte) && byte != b'/')?;
            let text = &rest[2..2 + length];
            let relative = text.first().is_some_and(|&byte| is_label_start(byte)) && text.contains(&b'/');
            if rest.get(2 + length) != Some(&b'}') || !(text.starts_with(b"/") || relative) {
                return None;
            }
            return Some((Token::PathReference(self.intern(text)), length + 3));
        }
        if !is_label_start(after) {
            return None;
        }
        let length = rest[1..].iter().position(|&byte| !is_label(byte)).unwrap_or(rest.len() - 1);
        Some((Token::LabelReference(self.intern(&rest[1..1 + length])), length + 1))
    }

    /// Handles `# 12 "file" 1` or `#line 12 "file"` at a line's start; says whether it was one.
    fn line_marker(&mut self, text: u32, start: usize, rest: &[u8]) -> bool {
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let line = &rest[1..length];
        let line = line.strip_prefix(b"line").unwrap_or(line);
        let after = line.trim_ascii_start();
        let digits = after.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
        if after.len() == line.len() || digits == 0 {
            return false;
        }
        let Ok(number) = text_of(&after[..digits]).parse::<u32>() else { return false };
        let tail = after[digits..].trim_ascii();
        if !tail.starts_with(b"\"") {
            return false;
        }
        let Some(close) = closing_quote(tail) else { return false };
        let (mut file, _) = unescape(&tail[1..close - 1]);
        file.pop();
        let span = Span { text, start: start as u32, end: (start + length) as u32 };
        if file.contains(&0) {
            self.error(span, "nul in line number directive");
        }
        let origin = self.session.sources.origin(span);
        let markers = &mut self.session.sources.text_mut(origin.text).markers;
        if markers.last().is_none_or(|last| last.offset < origin.start) {
            let file = Some(Arc::from(String::from_utf8_lossy(&file)));
            markers.push(LineMarker { offset: origin.start, line: number, file });
        }
        if let Some(input) = self.inputs.last_mut() {
            input.pos = start + length;
        }
        true
    }

    /// Handles `/include/ "file"`; says whether it was well formed.
    fn include(&mut self, text: u32, start: usize, rest: &[u8]) -> bool {
        let after = &rest[9..];
        let blank = after.len() - after.trim_ascii_start().len();
        if after.get(blank) != Some(&b'"') {
            return false;
        }
        let Some(close) = closing_quote(&after[blank..]) else { return false };
        let name = String::from_utf8_lossy(&after[blank + 1..blank + close - 1]).into_owned();
        let length = 9 + blank + close;
        if let Some(input) = self.inputs.last_mut() {
            input.pos = start + length;
        }
        let span = Span { text, start: start as u32, end: (start + length) as u32 };
        if self.inputs.len() >= INCLUDE_DEPTH {
            self.error(span, "Includes nested too deeply");
            return true;
        }
        let from = self.file_of(span);
        match self.session.search_include(&name, Some(&from)) {
            Ok(mut text) => {
                if self.preprocess_includes && self.session.sources.text(text).has_directive() {
                    text = self.preprocessor.run(self.session, text);
                }
                let bytes = self.session.sources.bytes(text);
                if self.session.take(Limit::Text, bytes.len(), span) {
                    self.inputs.push(Input { text, bytes, pos: 0 });
                }
            }
            Err(LoadError::NotFound) => self.error(span, format!("Couldn't open \"{name}\": no such file")),
            Err(error) => self.error(span, format!("Couldn't open \"{name}\": {error}")),
        }
        true
    }

    /// Returns the path of the file that a span was written in.
    pub fn file_of(&self, span: Span) -> Arc<str> {
        self.session.sources.text(self.session.sources.origin(span).text).name.clone()
    }
}

/// Returns the offset of the next byte that is neither blank nor comment.
fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => at += 1,
            Some(b'/') => match bytes.get(at + 1) {
                Some(b'*') => match bytes[at + 2..].windows(2).position(|pair| pair == b"*/") {
                    Some(length) => at += length + 4,
                    None => return at,
                },
                // A line comment needs its newline.
                Some(b'/') => match bytes[at..].iter().position(|&byte| byte == b'\n') {
                    Some(length) => at += length + 1,
                    None => return at,
                },
                _ => return at,
            },
            _ => return at,
        }
    }
}

/// Returns the length of the literal at the front of `rest`, quotes included.
fn closing_quote(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *rest.get(at)? {
            b'\\' if rest.get(at + 1)? != &b'\n' => at += 2,
            b'\\' => return None,
            byte if byte == rest[0] => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Resolves escapes and appends a NUL; says whether some `\x` had no digits.
fn unescape(text: &[u8]) -> (Vec<u8>, bool) {
    let (mut out, mut bad) = (Vec::with_capacity(text.len() + 1), false);
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        let digits = |bytes: &[u8], most: usize, radix: u32| {
            let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
            let count = bytes.iter().take(most).take_while(|byte| is_digit(byte)).count();
            // Three octal digits may exceed a byte; the low eight bits count.
            let value = u32::from_str_radix(text_of(&bytes[..count]), radix).unwrap_or(0);
            (value as u8, count)
        };
        out.push(match escape {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'0'..=b'7' => {
                let octal = [&[escape], after].concat();
                let (value, count) = digits(&octal, 3, 8);
                rest = &after[count - 1..];
                value
            }
            b'x' => {
                let (value, count) = digits(after, 2, 16);
                bad |= count == 0;
                rest = &after[count..];
                value
            }
            other => other,
        });
    }
    out.push(0);
    (out, bad)
}
