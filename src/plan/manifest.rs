//! The manifest: a text that lists everything a step's output depends on.
//! Its hash is the step's key, and its lines are what `explain` compares, so the two cannot disagree.
//! Nothing of this host is in it: no absolute path, no clock, no umask, no number of jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use crate::step::{Description, Digest, Kind};

/// First line of every manifest: raised when the rules of the text itself change.
const HEAD: &str = "xenbuild-manifest\t1";

/// A step's manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    lines: Vec<Line>,
}

/// One line: something that can change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// `kind`, `parameter NAME`, or `input NAME`.
    pub name: String,
    /// Its value: for an input, the digest of its content.
    pub value: String,
}

/// Returns what stands behind an input in the name of a line: nothing, or `: ` and a name inside of it; `None` if the
/// line is not about that input.
pub fn suffix<'a>(line: &'a str, input: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("input ")?.strip_prefix(input)?;
    (rest.is_empty() || rest.starts_with(": ")).then_some(rest)
}

/// What an input amounts to: lines of a suffix to the input's name (empty for the input itself) and a value.
pub type InputLines = Vec<(String, String)>;

impl Manifest {
    /// Describes a step and its inputs: the one function behind key and explanation.
    pub fn new<'a>(kind: &dyn Kind, inputs: impl IntoIterator<Item = (&'a str, InputLines)>) -> Self {
        let mut description = Description::default();
        kind.describe(&mut description);
        let mut lines = vec![Line { name: "kind".into(), value: format!("{} {}", kind.name(), kind.version()) }];
        for (name, value) in description.parameters() {
            lines.push(Line { name: format!("parameter {name}"), value: value.clone() });
        }
        for (name, input) in inputs {
            for (suffix, value) in input {
                lines.push(Line { name: format!("input {name}{suffix}"), value });
            }
        }
        Manifest { lines }
    }

    /// Returns its lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the hash of the text.
    pub fn key(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }

    /// Reads a text that [`Manifest`]'s `Display` wrote; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let line = |line: &str| {
            let (name, value) = line.split_once('\t')?;
            Some(Line { name: unescape(name)?, value: unescape(value)? })
        };
        Some(Manifest { lines: lines.map(line).collect::<Option<_>>()? })
    }

    /// Says what is different from an earlier manifest; empty exactly if the keys are equal.
    pub fn changes_since(&self, before: &Manifest) -> Vec<Change> {
        let index = |manifest: &Manifest| -> BTreeMap<String, String> {
            // A name that turned up twice would hide a change: number the later ones.
            let mut map = BTreeMap::new();
            for line in &manifest.lines {
                let mut name = line.name.clone();
                while map.contains_key(&name) {
                    name.push('\'');
                }
                map.insert(name, line.value.clone());
            }
            map
        };
        let (old, new) = (index(before), index(self));
        let mut changes = Vec::new();
        for (name, after) in &new {
            match old.get(name) {
                Some(before) if before == after => {}
                before => {
                    changes.push(Change { name: name.clone(), before: before.cloned(), after: Some(after.clone()) });
                }
            }
        }
        for (name, before) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            changes.push(Change { name: name.clone(), before: Some(before.clone()), after: None });
        }
        if changes.is_empty() && self != before {
            let order = |manifest: &Manifest| manifest.lines.iter().map(|line| &line.name).cloned().collect::<Vec<_>>();
            let first = order(self).iter().zip(order(before)).position(|(a, b)| *a != b).unwrap_or(0);
            changes.push(Change {
                name: "order".into(),
                before: before.lines.get(first).map(|line| line.name.clone()),
                after: self.lines.get(first).map(|line| line.name.clone()),
            });
        }
        changes
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{}\t{}", escape(&line.name), escape(&line.value)))
    }
}

/// A line that differs between two manifests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The line's name; `order` if all lines are there but not in the same order.
    pub name: String,
    /// What it was; `None` if it is new.
    pub before: Option<String>,
    /// What it is; `None` if it is gone.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {} -> {}", self.name, shorten(before), shorten(after)),
            (None, Some(after)) => write!(f, "{}: new, {}", self.name, shorten(after)),
            (Some(before), None) => write!(f, "{}: gone, was {}", self.name, shorten(before)),
            (None, None) => write!(f, "{}", self.name),
        }
    }
}

/// Cuts digests to what people compare, and values to what fits a line.
fn shorten(value: &str) -> String {
    let word = |word: &str| match Digest::from_hex(word.trim_end_matches(',')) {
        Some(digest) => format!("{}{}", digest.short(), if word.ends_with(',') { "," } else { "" }),
        None => word.to_owned(),
    };
    let words: Vec<String> = escape(value).split(' ').map(word).collect();
    let text = words.join(" ");
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}

/// Keeps a name or value on one line and free of the separator.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            control if control.is_ascii_control() => {
                write!(escaped, "\\x{:02x}", control as u32).expect("writing to a string succeeds");
            }
            // `str::lines` and terminals disagree about these; the text must not.
            '\u{85}' | '\u{2028}' | '\u{2029}' => {
                write!(escaped, "\\u{:04x}", character as u32).expect("writing to a string succeeds");
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Undoes [`escape`].
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        let digits = match rest.next()? {
            '\\' => {
                plain.push('\\');
                continue;
            }
            'x' => 2,
            'u' => 4,
            _ => return None,
        };
        let code: String = rest.by_ref().take(digits).collect();
        plain.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::probe::Probe;

    fn manifest(text: &str, inputs: &[(&str, &str)]) -> Manifest {
        let probe = Probe { text: text.into(), ..Probe::default() };
        let inputs = inputs.iter().map(|&(name, value)| (name, vec![(String::new(), value.to_owned())]));
        Manifest::new(&probe, inputs.collect::<Vec<_>>())
    }

    #[test]
    fn a_manifest_is_text_and_its_hash_is_the_key() {
        let manifest = manifest("two\nlines\t\\", &[("file /a b", "123"), ("x", "")]);
        let text = "xenbuild-manifest\t1\nkind\tprobe 1\nparameter text\ttwo\\x0alines\\x09\\\\\n\
                    input file /a b\t123\ninput x\t\n";
        assert_eq!(manifest.to_string(), text);
        assert_eq!(Manifest::parse(text), Some(manifest.clone()));
        assert_eq!(manifest.key(), Digest::of(text.as_bytes()));
    }

    #[test]
    fn texts_that_are_no_manifest_are_refused() {
        for text in ["", "xenbuild-manifest\t2\n", "xenbuild-manifest\t1\nno tab\n", "xenbuild-manifest\t1\na\t\\q\n"] {
            assert_eq!(Manifest::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn changes_name_the_line_and_nothing_else() {
        let before = manifest("t", &[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(before.changes_since(&before), []);
        let tell = |after: &Manifest| after.changes_since(&before).iter().map(Change::to_string).collect::<Vec<_>>();
        assert_eq!(tell(&manifest("t", &[("a", "1"), ("b", "9"), ("c", "3")])), ["input b: 2 -> 9"]);
        assert_eq!(tell(&manifest("t", &[("a", "1"), ("b", "2")])), ["input c: gone, was 3"]);
        assert_eq!(tell(&manifest("u", &[("a", "1"), ("b", "2"), ("c", "3")])), ["parameter text: t -> u"]);
        assert_eq!(tell(&manifest("t", &[("b", "2"), ("a", "1"), ("c", "3")])), ["order: input a -> input b"]);
        assert_eq!(tell(&manifest("t", &[("a", "1"), ("b", "2"), ("c", "3"), ("c", "4")])), ["input c': new, 4"]);
    }

    #[test]
    fn no_change_means_the_same_key_and_the_other_way_round() {
        let all = [
            manifest("t", &[]),
            manifest("t", &[("a", "1")]),
            manifest("t", &[("a", "1"), ("b", "1")]),
            manifest("t", &[("b", "1"), ("a", "1")]),
            manifest("t\tinput a\t1", &[]),
            manifest("t\ninput a\t1", &[]),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a.changes_since(b).is_empty(), i == j);
                assert_eq!(a.key() == b.key(), i == j);
            }
        }
    }
}
