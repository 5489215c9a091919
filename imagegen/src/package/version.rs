//! Debian version numbers and their order (Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;
use std::fmt;

/// A version: `[EPOCH:]UPSTREAM[-REVISION]`. Equal versions may be spelt differently (`1.0` and `1.00`), and are equal
/// here too; [`fmt::Display`] gives the spelling.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    text: &'a str,
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    /// Reads a version.
    ///
    /// # Errors
    /// What breaks the rules: an epoch that is no number, an empty part, a character that no version may have.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().map_err(|_| "a version's epoch is too large")?, rest)
            }
            Some(_) => return Err("a version's epoch is a number"),
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return Err("a version's revision is empty"),
            Some((upstream, revision)) => (upstream, revision),
            None => (rest, ""),
        };
        if upstream.is_empty() {
            return Err("a version is empty");
        }
        // Policy wants a digit first; dpkg takes such versions with a warning, and some are in use.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+~-:".contains(&byte);
        if !upstream.bytes().all(allowed) || !revision.bytes().all(|byte| allowed(byte) && byte != b':') {
            return Err("a version holds a character that none may have");
        }
        Ok(Version { text, epoch, upstream, revision })
    }

    /// Returns the version as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let epochs = self.epoch.cmp(&other.epoch);
        epochs.then_with(|| compare(self.upstream, other.upstream)).then_with(|| compare(self.revision, other.revision))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

/// Compares one part: runs of other characters and runs of digits in turn.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (words, numbers);
        (words, left, right) = compare_words(left, right);
        if words != Ordering::Equal {
            return words;
        }
        (numbers, left, right) = compare_numbers(left, right);
        if numbers != Ordering::Equal {
            return numbers;
        }
    }
    Ordering::Equal
}

type Compared<'a> = (Ordering, &'a [u8], &'a [u8]);

fn compare_words<'a>(left: &'a [u8], right: &'a [u8]) -> Compared<'a> {
    let length = |text: &[u8]| text.iter().take_while(|byte| !byte.is_ascii_digit()).count();
    let (left_length, right_length) = (length(left), length(right));
    for at in 0..left_length.max(right_length) {
        let ranks = rank(left[..left_length].get(at)).cmp(&rank(right[..right_length].get(at)));
        if ranks != Ordering::Equal {
            return (ranks, left, right);
        }
    }
    (Ordering::Equal, &left[left_length..], &right[right_length..])
}

/// Where a character sorts: a tilde before the end, the end before letters, letters before all else.
fn rank(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

fn compare_numbers<'a>(left: &'a [u8], right: &'a [u8]) -> Compared<'a> {
    fn split(text: &[u8]) -> (&[u8], &[u8]) {
        let zeros = text.iter().take_while(|byte| **byte == b'0').count();
        let digits = text[zeros..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        text[zeros..].split_at(digits)
    }
    let ((left_digits, left), (right_digits, right)) = (split(left), split(right));
    // Without leading zeros the longer number is the larger one, however long.
    let order = left_digits.len().cmp(&right_digits.len()).then_with(|| left_digits.cmp(right_digits));
    (order, left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_policy() {
        // Each line ascends.
        let ascending = [
            "~~ ~~a ~ 0 a",
            "1.0~rc1 1.0 1.0a 1.0+b1",
            "1.2.3-1 1.2.3-1.1 1.2.3-2 1.2.3-10",
            "9 10 1:1 1:2 2:0",
            "1.0-1~deb12u1 1.0-1 1.0-1+deb12u1 1.0-1.1",
            "4.17.3+36-g54dacb5c02-1 4.17.5+23-ga4e5191dc0-1",
            "1 1a 1+ 1. 1.1 1.a",
            "99999999999999999999999998 99999999999999999999999999 100000000000000000000000000",
        ];
        for line in ascending {
            let versions: Vec<_> = line.split(' ').map(|text| Version::parse(text).unwrap()).collect();
            for (at, left) in versions.iter().enumerate() {
                for (other, right) in versions.iter().enumerate() {
                    assert_eq!(left.cmp(right), at.cmp(&other), "{left} and {right}");
                }
            }
        }
        for equal in ["1.0 1.00", "0:1 1", "1-0 1", "1.01 1.1", "1.0 1.0-0"] {
            let (left, right) = equal.split_once(' ').unwrap();
            assert_eq!(Version::parse(left).unwrap(), Version::parse(right).unwrap(), "{equal}");
        }
    }

    #[test]
    fn what_is_no_version() {
        for text in ["", "a:1", ":1", "1:", "1-", "-1", "1 2", "1_2", "1-2:3/", "99999999999:1", "ü"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
