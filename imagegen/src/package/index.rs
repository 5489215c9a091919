//! What packages there are: `Packages` files of one or more suites, kept as one text and spans of it.

use std::collections::HashMap;
use std::io::{self, BufRead};

use super::deb822::{Line, ParseError};
use super::version::Version;

/// A package's place in an [`Index`]: dense, in the order they were added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PackageId(u32);

impl PackageId {
    /// Returns the number.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The fields that are kept, in the order of [`Entry::fields`].
const FIELDS: [&str; 16] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Essential",
    "Priority",
    "Provides",
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Conflicts",
    "Breaks",
    "Filename",
    "Size",
    "SHA256",
    "Source",
];

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    origin: u16,
    fields: [Span; FIELDS.len()],
}

/// Packages by name and by what they provide.
#[derive(Default)]
pub struct Index {
    origins: Vec<String>,
    /// The kept values, one after the other.
    text: String,
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, Vec<PackageId>>,
    /// Who provides a name that is not (only) their own.
    providers: HashMap<Box<str>, Vec<PackageId>>,
}

/// One package of an index: its fields as they were written, empty where there are none.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    index: &'a Index,
    entry: &'a Entry,
}

/// Why a `Packages` file could not be taken in.
#[derive(Debug)]
pub enum IndexError {
    /// It could not be read.
    Io(io::Error),
    /// It is not what it should be.
    Parse(ParseError),
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IndexError::Io(error) => write!(f, "{error}"),
            IndexError::Parse(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for IndexError {}

impl Index {
    /// Returns an index without packages.
    pub fn new() -> Self {
        Index::default()
    }

    /// Adds the packages of one (uncompressed) `Packages` file; `origin` names it in messages and in
    /// [`Package::origin`]: a suite, `bookworm-updates` for example. Returns how many packages it holds.
    ///
    /// # Errors
    /// With the line: what is no control file, or a stanza without a name, architecture or proper version.
    pub fn add(&mut self, origin: &str, mut packages: impl BufRead) -> Result<usize, IndexError> {
        let number = u16::try_from(self.origins.len()).map_err(|_| fail(0, "more than 65,536 package lists"))?;
        self.origins.push(origin.to_owned());
        let before = self.entries.len();
        let mut stanza = Stanza::default();
        let mut line = Vec::new();
        for line_number in 1.. {
            line.clear();
            if packages.read_until(b'\n', &mut line).map_err(IndexError::Io)? == 0 {
                break;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            match Line::read(line).map_err(|reason| fail(line_number, reason))? {
                Line::Comment => {}
                Line::Blank => self.finish(&mut stanza, number)?,
                Line::Continuation(rest) => match stanza.current {
                    // Lists may be folded.
                    Some(field) => self.append(&mut stanza, field, rest, line_number)?,
                    None if stanza.line == 0 => {
                        return Err(fail(line_number, "a continuation line without a field before it"));
                    }
                    None => {}
                },
                Line::Field { name, value } => {
                    if stanza.line == 0 {
                        stanza.line = line_number;
                    }
                    stanza.current = FIELDS.iter().position(|field| field.as_bytes().eq_ignore_ascii_case(name));
                    if let Some(field) = stanza.current {
                        if std::mem::replace(&mut stanza.seen[field], true) {
                            return Err(fail(line_number, format!("`{}` is given twice", FIELDS[field])));
                        }
                        self.append(&mut stanza, field, value, line_number)?;
                    }
                }
            }
        }
        self.finish(&mut stanza, number)?;
        Ok(self.entries.len() - before)
    }

    fn append(&mut self, stanza: &mut Stanza, field: usize, value: &[u8], line: usize) -> Result<(), IndexError> {
        let value = std::str::from_utf8(value).map_err(|_| fail(line, "the text is not UTF-8"))?;
        let start =
            u32::try_from(self.text.len() + value.len() + 1).map_err(|_| fail(line, "more than 4 GiB of text"))?;
        let span = &mut stanza.fields[field];
        if span.length > 0 {
            // A value is still the last in the text when its continuation comes.
            self.text.push(' ');
            span.length += value.len() as u32 + 1;
        } else {
            *span = Span { start: start - value.len() as u32 - 1, length: value.len() as u32 };
        }
        self.text.push_str(value);
        Ok(())
    }

    /// Puts a stanza that is complete into the index.
    fn finish(&mut self, stanza: &mut Stanza, origin: u16) -> Result<(), IndexError> {
        let stanza = std::mem::take(stanza);
        if stanza.line == 0 {
            return Ok(());
        }
        let entry = Entry { origin, fields: stanza.fields };
        let id = PackageId(u32::try_from(self.entries.len()).map_err(|_| fail(stanza.line, "too many packages"))?);
        self.entries.push(entry);
        let package = self.package(id);
        let missing = [
            ("Package", package.name()),
            ("Version", package.version_text()),
            ("Architecture", package.architecture()),
        ];
        if let Some((field, _)) = missing.iter().find(|(_, value)| value.is_empty()) {
            return Err(fail(stanza.line, format!("`{field}` is missing from the stanza that starts here")));
        }
        let (name, version) = (package.name(), package.version_text());
        if let Err(reason) = Version::parse(version) {
            return Err(fail(stanza.line, format!("the version `{version}` of `{name}`: {reason}")));
        }
        let name: Box<str> = name.into();
        let provided: Vec<Box<str>> = provided_names(package.field("Provides")).map(Box::from).collect();
        self.by_name.entry(name).or_default().push(id);
        for name in provided {
            let providers = self.providers.entry(name).or_default();
            if providers.last() != Some(&id) {
                providers.push(id);
            }
        }
        Ok(())
    }

    /// Returns a package.
    pub fn package(&self, id: PackageId) -> Package<'_> {
        Package { index: self, entry: &self.entries[id.index()] }
    }

    /// Returns all packages of this name: every suite, version and architecture.
    pub fn named(&self, name: &str) -> &[PackageId] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns all packages that say they provide this name.
    pub fn providing(&self, name: &str) -> &[PackageId] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns all packages in the order they were added.
    pub fn packages(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.entries.len() as u32).map(PackageId)
    }

    /// Returns every name of a package, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }
}

/// Finds the names in a `Provides` field without judging the rest of it.
fn provided_names(list: &str) -> impl Iterator<Item = &str> {
    let name = |item: &'_ str| item.trim().split([' ', '(', ':']).next().unwrap_or_default().len();
    list.split(',').map(move |item| &item.trim()[..name(item)]).filter(|name| !name.is_empty())
}

impl<'a> Package<'a> {
    /// Returns a field's value by its name in `Packages`, one of those that are kept; empty if there is none.
    fn field(&self, name: &str) -> &'a str {
        let field = FIELDS.iter().position(|field| *field == name);
        let span = field.map_or(Span::default(), |field| self.entry.fields[field]);
        &self.index.text[span.start as usize..][..span.length as usize]
    }

    /// Returns the name.
    pub fn name(&self) -> &'a str {
        self.field("Package")
    }

    /// Returns the version.
    pub fn version(&self) -> Version<'a> {
        Version::parse(self.version_text()).expect("checked when it was added")
    }

    /// Returns the version as it was written.
    pub fn version_text(&self) -> &'a str {
        self.field("Version")
    }

    /// Returns the architecture: `arm64`, `all`.
    pub fn architecture(&self) -> &'a str {
        self.field("Architecture")
    }

    /// Returns `same`, `foreign`, `allowed`, `no`, or nothing.
    pub fn multi_arch(&self) -> &'a str {
        self.field("Multi-Arch")
    }

    /// Says whether every system has the package.
    pub fn essential(&self) -> bool {
        self.field("Essential").eq_ignore_ascii_case("yes")
    }

    /// Returns the rank of the package's priority: 0 is `required`, 5 is unknown.
    pub fn priority_rank(&self) -> usize {
        let ranks = ["required", "important", "standard", "optional", "extra"];
        ranks.iter().position(|rank| *rank == self.field("Priority")).unwrap_or(ranks.len())
    }

    /// Returns `Provides`.
    pub fn provides(&self) -> &'a str {
        self.field("Provides")
    }

    /// Returns `Pre-Depends`.
    pub fn pre_depends(&self) -> &'a str {
        self.field("Pre-Depends")
    }

    /// Returns `Depends`.
    pub fn depends(&self) -> &'a str {
        self.field("Depends")
    }

    /// Returns `Recommends`.
    pub fn recommends(&self) -> &'a str {
        self.field("Recommends")
    }

    /// Returns `Conflicts`.
    pub fn conflicts(&self) -> &'a str {
        self.field("Conflicts")
    }

    /// Returns `Breaks`.
    pub fn breaks(&self) -> &'a str {
        self.field("Breaks")
    }

    /// Returns where the package is, relative to the mirror's root.
    pub fn filename(&self) -> &'a str {
        self.field("Filename")
    }

    /// Returns the length of the `.deb`, if it is given.
    pub fn size_bytes(&self) -> Option<u64> {
        self.field("Size").parse().ok()
    }

    /// Returns the SHA-256 of the `.deb`, in hexadecimal.
    pub fn sha256(&self) -> &'a str {
        self.field("SHA256")
    }

    /// Returns the source package's name, and its version where it is another: `xen`, `glibc (2.36-9)`.
    pub fn source(&self) -> &'a str {
        match self.field("Source") {
            "" => self.name(),
            source => source,
        }
    }

    /// Returns what the list was called that the package came from.
    pub fn origin(&self) -> &'a str {
        &self.index.origins[usize::from(self.entry.origin)]
    }

    /// Returns which list that was: they count from 0 in the order they were added.
    pub fn origin_number(&self) -> usize {
        self.entry.origin.into()
    }
}

/// A stanza being read.
#[derive(Default)]
struct Stanza {
    /// Its first line; 0 before there is one.
    line: usize,
    fields: [Span; FIELDS.len()],
    seen: [bool; FIELDS.len()],
    /// The field that a continuation line belongs to, if it is one that is kept.
    current: Option<usize>,
}

fn fail(line: usize, reason: impl Into<String>) -> IndexError {
    IndexError::Parse(ParseError { line, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_become_packages() {
        let mut index = Index::new();
        let text = b"Package: a\nVersion: 1:2-3\nArchitecture: arm64\nDescription: x\n folded\nDepends: b,\n c\nEssential: yes\n\
            \n\nPackage: b\nVersion: 1\nArchitecture: all\nProvides: mail (= 2), mail, web:any\nSize: 12\nPriority: standard\n";
        assert_eq!(index.add("suite", &text[..]).unwrap(), 2);
        assert_eq!(index.add("other", &b"Package: a\nVersion: 2\nArchitecture: arm64\n"[..]).unwrap(), 1);
        let versions = |name| index.named(name).iter().map(|id| index.package(*id).version_text()).collect::<Vec<_>>();
        assert_eq!(versions("a"), ["1:2-3", "2"]);
        let a = index.package(index.named("a")[0]);
        assert_eq!((a.depends(), a.essential(), a.origin(), a.size_bytes()), ("b, c", true, "suite", None));
        let b = index.package(index.providing("mail")[0]);
        assert_eq!((b.name(), b.size_bytes(), b.priority_rank(), b.source()), ("b", Some(12), 2, "b"));
        assert_eq!(index.providing("mail").len(), 1);
        assert_eq!(index.providing("web"), index.providing("mail"));
        assert_eq!(index.named("none"), []);
        assert_eq!(index.names().count(), 2);
    }

    #[test]
    fn a_bad_stanza_is_named_by_its_line() {
        let cases: [(&[u8], &str); 6] = [
            (b"\nPackage: a\nVersion: 1\n", "line 2: `Architecture` is missing from the stanza that starts here"),
            (
                b"Package: a\nVersion: 1_\nArchitecture: all",
                "line 1: the version `1_` of `a`: a version holds a character that none may have",
            ),
            (b"Package: a\nPackage: b\n", "line 2: `Package` is given twice"),
            (b" x", "line 1: a continuation line without a field before it"),
            (b"Package: \xff\n", "line 1: the text is not UTF-8"),
            (b"<html>\n", "line 1: neither a field (`Name: value`) nor a continuation"),
        ];
        for (text, expected) in cases {
            assert_eq!(Index::new().add("x", text).unwrap_err().to_string(), expected);
        }
    }
}
