//! Patterns that choose members by name: an exact path, or a glob with `*`, `?` and `**`.

use std::fmt;

/// A pattern over cleaned paths (no leading slash).
///
/// `*` and `?` stay within a name, `**` crosses slashes, `**/` is any number of folders, anything else is itself.
/// A pattern covers what it matches and everything below it, so `usr/share/doc` is the whole folder and `**/*.la`
/// every such file at any depth.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<[u8]>,
    tokens: Vec<Token>,
}

/// A state of the matcher: what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Within,
    /// `**`
    Across,
    /// `**/` at the start of a name: the pattern may go on here.
    Folders,
    /// `**/` within a name, up to its slash.
    InFolder,
}

impl Pattern {
    /// Reads a pattern; leading and trailing slashes and a leading `./` mean nothing. Every text is a pattern.
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        let mut text = text.as_ref();
        while let [b'/', rest @ ..] | [b'.', b'/', rest @ ..] | [rest @ .., b'/'] = text {
            text = rest;
        }
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(&first) = rest.first() {
            let starts_name = matches!(tokens.last(), None | Some(Token::Byte(b'/') | Token::InFolder));
            let length = match rest {
                [b'*', b'*', b'/', ..] if starts_name => {
                    tokens.extend([Token::Folders, Token::InFolder]);
                    3
                }
                [b'*', b'*', ..] => {
                    tokens.push(Token::Across);
                    2
                }
                _ => {
                    tokens.push(match first {
                        b'*' => Token::Within,
                        b'?' => Token::One,
                        byte => Token::Byte(byte),
                    });
                    1
                }
            };
            rest = &rest[length..];
        }
        Pattern { text: text.into(), tokens }
    }

    /// Says whether the pattern matches the path itself or a folder above it. Takes time in proportion to the two
    /// lengths multiplied, for any pattern.
    pub fn covers(&self, path: &[u8]) -> bool {
        let end = self.tokens.len();
        let (mut states, mut next) = (vec![false; end + 1], vec![false; end + 1]);
        states[0] = true;
        self.pass_empty(&mut states);
        for &byte in path {
            if byte == b'/' && states[end] {
                return true;
            }
            next.fill(false);
            for (at, &token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
                let slash = byte == b'/';
                match token {
                    Token::Byte(expected) => next[at + 1] |= expected == byte,
                    Token::One => next[at + 1] |= !slash,
                    Token::Within => next[at] |= !slash,
                    Token::Across => next[at] = true,
                    Token::Folders => next[at + 1] |= !slash,
                    Token::InFolder if slash => next[at - 1] = true,
                    Token::InFolder => next[at] = true,
                }
            }
            self.pass_empty(&mut next);
            std::mem::swap(&mut states, &mut next);
        }
        states[end]
    }

    /// Adds the states reached without a byte: each star may match nothing.
    fn pass_empty(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Within | Token::Across => states[at + 1] |= states[at],
                Token::Folders => states[at + 2] |= states[at],
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text.escape_ascii())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_pattern_covers() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "usr/share/doc",
                &["usr/share/doc", "usr/share/doc/x/y"],
                &["usr/share", "usr/share/docs", "a/usr/share/doc"],
            ),
            ("/usr/lib/", &["usr/lib", "usr/lib/x"], &["usr/lib64"]),
            ("./a", &["a", "a/b"], &["b"]),
            ("*.so", &["a.so", ".so", "a.so/x"], &["lib/a.so", "a.so.1"]),
            ("lib/*/x", &["lib/a/x", "lib//x"], &["lib/a/b/x", "lib/x"]),
            ("**/*.la", &["x.la", "a/x.la", "a/b/x.la", ".la"], &["x.lab", "la"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "a/x/b/c"], &["ab", "a/xb", "x/a/b"]),
            ("a/**/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb"]),
            ("a**z", &["az", "a/b/z", "abz"], &["a", "za"]),
            ("boot/vmlinuz-?.*", &["boot/vmlinuz-6.1", "boot/vmlinuz-6."], &["boot/vmlinuz-", "boot/vmlinuz-61"]),
            ("", &[""], &["a"]),
            ("**", &["", "a", "a/b"], &[]),
            ("**/a/?", &["a/b", "x/a/b", "a/a/a"], &["a", "xa/b"]),
        ];
        for (pattern, covered, missed) in cases {
            let pattern_read = Pattern::new(pattern);
            for path in *covered {
                assert!(pattern_read.covers(path.as_bytes()), "{pattern} should cover {path}");
            }
            for path in *missed {
                assert!(!pattern_read.covers(path.as_bytes()), "{pattern} should not cover {path}");
            }
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_longer_than_it_is() {
        let pattern = Pattern::new("*a".repeat(300));
        assert!(!pattern.covers(&[b'a'; 4000][..299]));
        assert!(!pattern.covers("a".repeat(4000).replace("aaaa", "ab/a").as_bytes()));
    }
}
