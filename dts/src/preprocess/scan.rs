//! Cutting text into preprocessing tokens, as cpp does for assembler sources.

/// What a piece of text is to the preprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// End of the text.
    End,
    /// The end of a line.
    Newline,
    /// Blanks and comments that are only blank to what follows.
    Space,
    /// Blanks that must not be copied as they stand: they hold a spliced line end.
    Splice,
    /// `[A-Za-z_$][A-Za-z0-9_$]*`.
    Identifier,
    /// A preprocessing number: digits, letters, dots, and signs after `e` or `p`.
    Number,
    /// A closed string or character literal.
    Literal,
    /// An open one: the rest of the line.
    OpenLiteral,
    /// `##`.
    Paste,
    /// Any other byte, or an operator of two.
    Other,
}

/// A token: a kind and the bytes `start..end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

pub(crate) fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

pub(crate) fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Returns the token at `start`.
pub(crate) fn token(bytes: &[u8], start: usize) -> Token {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let Some(&first) = bytes.get(start) else { return Token { kind: Kind::End, start, end: start } };
    let mut end = start + 1;
    let kind = match first {
        b'\n' => Kind::Newline,
        _ if is_identifier_start(first) => {
            while is_identifier(at(end)) {
                end += 1;
            }
            Kind::Identifier
        }
        b'0'..=b'9' => {
            end = number_end(bytes, start);
            Kind::Number
        }
        b'.' if at(end).is_ascii_digit() => {
            end = number_end(bytes, start);
            Kind::Number
        }
        b'"' | b'\'' => return literal(bytes, start, first),
        b'#' if at(end) == b'#' => {
            end += 1;
            Kind::Paste
        }
        _ => {
            let (kind, blank_end) = blank(bytes, start);
            if blank_end > start {
                end = blank_end;
                kind
            } else {
                const PAIRS: [&[u8; 2]; 8] = [b"<<", b">>", b"<=", b">=", b"==", b"!=", b"&&", b"||"];
                end += usize::from(PAIRS.contains(&&[first, at(end)]));
                Kind::Other
            }
        }
    };
    Token { kind, start, end }
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start + 1;
    while let Some(&byte) = bytes.get(end) {
        let sign = matches!(byte, b'+' | b'-') && matches!(bytes[end - 1], b'e' | b'E' | b'p' | b'P');
        if !is_identifier(byte) && byte != b'.' && !sign {
            break;
        }
        end += 1;
    }
    end
}

fn literal(bytes: &[u8], start: usize, quote: u8) -> Token {
    let mut end = start + 1;
    loop {
        match bytes.get(end) {
            None | Some(b'\n') => return Token { kind: Kind::OpenLiteral, start, end },
            Some(b'\\') if end + 1 < bytes.len() => end += 2,
            Some(&byte) => {
                end += 1;
                if byte == quote {
                    return Token { kind: Kind::Literal, start, end };
                }
            }
        }
    }
}

/// Returns the blanks, comments and spliced line ends at `start`, and where they end; nothing if there are none.
fn blank(bytes: &[u8], start: usize) -> (Kind, usize) {
    let (mut kind, mut end) = (Kind::Space, start);
    loop {
        let rest = &bytes[end..];
        match rest {
            [b' ' | b'\t' | b'\r' | 0x0b | 0x0c, ..] => end += 1,
            [b'\\', b'\n', ..] | [b'\\', b'\r', b'\n', ..] => {
                end += if rest[1] == b'\n' { 2 } else { 3 };
                kind = Kind::Splice;
            }
            [b'/', b'*', ..] => match rest[2..].windows(2).position(|pair| pair == b"*/") {
                Some(length) => end += length + 4,
                None => return (kind, end),
            },
            [b'/', b'/', ..] => {
                let mut length = 2;
                while length < rest.len() && rest[length] != b'\n' {
                    let splice = rest[length] == b'\\' && rest.get(length + 1) == Some(&b'\n');
                    kind = if splice { Kind::Splice } else { kind };
                    length += if splice { 2 } else { 1 };
                }
                end += length;
            }
            _ => return (kind, end),
        }
    }
}

/// Returns the offset after the blanks at `start`; a newline is not blank.
pub(crate) fn skip_blank(bytes: &[u8], start: usize) -> usize {
    blank(bytes, start.min(bytes.len())).1
}

/// Returns the offset of the newline that ends the logical line at `start`, or of the end of the text.
pub(crate) fn line_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let token = token(bytes, at);
        match token.kind {
            Kind::Newline | Kind::End => return token.start,
            _ => at = token.end,
        }
    }
}

/// Says whether a text has any preprocessing directive, so that it is worth preprocessing.
pub(crate) fn has_directive(bytes: &[u8]) -> bool {
    const NAMES: [&str; 9] = ["include", "define", "undef", "if", "ifdef", "ifndef", "error", "warning", "pragma"];
    bytes.split(|&byte| byte == b'\n').any(|line| {
        let Some(rest) = line.trim_ascii_start().strip_prefix(b"#") else { return false };
        let rest = rest.trim_ascii_start();
        let length = rest.iter().position(|&byte| !is_identifier(byte)).unwrap_or(rest.len());
        // `#define-something` is a property name.
        let blank = rest.get(length).is_none_or(|byte| b" \t\r\"</(!\\".contains(byte));
        blank && NAMES.iter().any(|name| name.as_bytes() == &rest[..length])
    })
}
