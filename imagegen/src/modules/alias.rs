//! Aliases: patterns by which the kernel asks for modules, `fs-ext4` or `virtio:d00000002v*`.

use std::collections::HashMap;

/// Patterns, and what each of them stands for.
pub(super) struct Aliases<T> {
    exact: HashMap<String, Vec<T>>,
    patterns: Vec<(Box<str>, T)>,
}

impl<T> Default for Aliases<T> {
    fn default() -> Self {
        Aliases { exact: HashMap::new(), patterns: Vec::new() }
    }
}

impl<T: Copy + PartialEq> Aliases<T> {
    pub fn insert(&mut self, pattern: &str, target: T) {
        let pattern = normalize(pattern);
        if pattern.contains(['*', '?', '[']) {
            self.patterns.push((pattern.into(), target));
        } else {
            self.exact.entry(pattern).or_default().push(target);
        }
    }

    /// Returns what a (normalized) name stands for: each once, in the order they were added.
    pub fn matching(&self, name: &str) -> Vec<T> {
        let mut found = Vec::new();
        let exact = self.exact.get(name).into_iter().flatten();
        let patterns = self.patterns.iter().filter(|(pattern, _)| matches(pattern.as_bytes(), name.as_bytes()));
        for target in exact.chain(patterns.map(|(_, target)| target)) {
            if !found.contains(target) {
                found.push(*target);
            }
        }
        found
    }
}

/// Writes `_` for `-`, except between brackets, where it makes a range.
pub(super) fn normalize(name: &str) -> String {
    let mut bracket = false;
    let change = |c: char| {
        bracket = c == '[' || bracket && c != ']';
        if c == '-' && !bracket { '_' } else { c }
    };
    name.chars().map(change).collect()
}

/// Matches as fnmatch(3) does: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. An open bracket without its end is itself.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where the last star is, and where in the name it ends for now: only that one is ever tried again.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let next = match (pattern.get(at), name.get(pos)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((at, pos));
                Some((at + 1, pos))
            }
            (Some(b'['), Some(&byte)) => match set(&pattern[at..], byte) {
                Some((length, true)) => Some((at + length, pos + 1)),
                Some((_, false)) => None,
                None => (byte == b'[').then_some((at + 1, pos + 1)),
            },
            (Some(&expected), Some(&byte)) => (expected == byte || expected == b'?').then_some((at + 1, pos + 1)),
            _ => None,
        };
        (at, pos) = match (next, star) {
            (Some(next), _) => next,
            (None, Some((star_at, end))) if end < name.len() => {
                star = Some((star_at, end + 1));
                (star_at + 1, end + 1)
            }
            _ => return false,
        };
    }
}

/// Reads a bracket expression; returns its length and whether the byte is in it.
fn set(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negative = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = 1 + usize::from(negative);
    // A closing bracket in first place is itself.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|&byte| byte == b']')?;
    let (mut at, mut inside) = (start, false);
    while at < end {
        let (low, high) = match pattern[at..end] {
            [low, b'-', high, ..] => {
                at += 2;
                (low, high)
            }
            _ => (pattern[at], pattern[at]),
        };
        inside |= (low..=high).contains(&byte);
        at += 1;
    }
    Some((end + 1, inside != negative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, name, expected) in [
            ("fs_ext4", "fs_ext4", true),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4", false),
            ("of:N*T*Cvirtio,mmio", "of:NxTyCvirtio,mmio", true),
            ("of:N*T*Cvirtio,mmioC*", "of:NxTyCvirtio,mmio", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("cpu[0-3]x", "cpu2x", true),
            ("cpu[0-3]x", "cpu4x", false),
            ("[!a-c]", "d", true),
            ("[!a-c]", "b", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("*", "", true),
            ("*a*a*b", "aaaaaaaaab", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(!matches("*a".repeat(100).as_bytes(), "a".repeat(99).as_bytes()));
    }

    #[test]
    fn dashes_are_underscores_except_in_ranges() {
        assert_eq!(normalize("crypto-crc32c[a-f]-x"), "crypto_crc32c[a-f]_x");
    }
}
