//! The manifest as a value: what is in `manifest.json`. Every name in it is checked while it is read.
//!
//! The shape is also a schema, `docs/manifest.schema.json`; what a schema cannot see, [`Document::check`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::RESERVED;
use crate::plan::Role;
use crate::step::Digest;

/// The version of the format: raised when a reader of the last one would be wrong about a new one.
pub const VERSION: u64 = 1;
/// The largest number that all readers of JSON take for itself (2^53 - 1).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// The form of a file's name: no folder, nothing hidden, nothing that a shell or a terminal acts on.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,254}$";
const NAME_BYTES_MAX: usize = 255;

/// What `manifest.json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// [`VERSION`].
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// The version of xenbuild that wrote it.
    pub xenbuild: String,
    /// What the artifacts were made from.
    pub recipe: Recipe,
    /// The artifacts, by name in byte order.
    pub artifacts: Vec<Artifact>,
    /// What artifacts were made of, by the names that they have in [`Artifact::inputs`].
    pub inputs: BTreeMap<String, Material>,
    /// How the recipe's test went, if it was run on these artifacts.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
}

/// The recipe.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Its name, with the variant's behind an `@`.
    pub name: String,
    /// The variant.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Its files: itself first, then what it inherits.
    pub files: Vec<Reference>,
    /// Its lock file.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub lock: Option<Reference>,
}

/// A local file: its path from the recipe's folder, or its name alone if it is elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reference {
    /// The path.
    pub path: String,
    /// Digest of its content.
    pub sha256: Digest,
}

/// A file that was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Artifact {
    /// Its name in the folder.
    pub name: Name,
    /// What it is for.
    pub role: Role,
    /// Its length, holes included.
    #[serde(deserialize_with = "number")]
    pub bytes: u64,
    /// Digest of its content.
    pub sha256: Digest,
    /// The step that made it.
    pub step: String,
    /// That step's key: the hash of all that decides what it makes.
    pub key: Digest,
    /// What went into it, by name in [`Document::inputs`], in byte order.
    pub inputs: Vec<String>,
}

/// What something was made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Material {
    /// A Debian package.
    Package(Package),
    /// A file of a Debian source package.
    Source(Package),
    /// A file from an address.
    Url {
        /// The address, without user and password; of a local one what [`Material::File`] has.
        url: String,
        /// Its length.
        #[serde(deserialize_with = "number")]
        bytes: u64,
        /// Digest of its content.
        sha256: Digest,
    },
    /// A commit.
    Commit {
        /// The repository, without user and password; of a local one what [`Material::File`] has.
        repository: String,
        /// The commit's id.
        commit: String,
    },
    /// A local file.
    File {
        /// Its path from the recipe's folder, or its name alone if it is elsewhere.
        path: String,
        /// Digest of its content.
        sha256: Digest,
        /// What a device-tree source includes: digests by the names under which it asks for them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        includes: BTreeMap<String, Digest>,
    },
    /// A local folder.
    Folder {
        /// Its path from the recipe's folder, or its name alone if it is elsewhere.
        path: String,
        /// What is in it, by path: `file DIGEST`, `program DIGEST`, `folder`, `link to TARGET`.
        entries: BTreeMap<String, String>,
    },
    /// What xenbuild carries inside.
    Carried {
        /// What it is called.
        name: String,
        /// Digest of its content.
        sha256: Digest,
    },
    /// The cross compiler and its linker.
    Compiler {
        /// The first line that each says of its version, the compiler's with its target.
        programs: Vec<String>,
    },
}

/// A Debian package, or a file of a source package.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; `source` for a file of a source package.
    pub architecture: String,
    /// The suite that it is from.
    pub suite: String,
    /// The file's name in the archive.
    pub file: String,
    /// Its length.
    #[serde(deserialize_with = "number")]
    pub bytes: u64,
    /// Digest of its content.
    pub sha256: Digest,
}

/// How the recipe's test went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Test {
    /// Whether it passed.
    pub passed: bool,
    /// What it left.
    pub files: Vec<Evidence>,
}

/// A file that a test left: not the same twice, for it holds times.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evidence {
    /// Its name in the folder.
    pub name: EvidenceName,
    /// Its length.
    #[serde(deserialize_with = "number")]
    pub bytes: u64,
    /// Digest of its content.
    pub sha256: Digest,
}

/// The name of a test's file: one of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EvidenceName {
    /// [`super::JUNIT`].
    #[serde(rename = "junit.xml")]
    Junit,
    /// [`super::SERIAL_LOG`].
    #[serde(rename = "serial.log")]
    SerialLog,
}

impl EvidenceName {
    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            EvidenceName::Junit => super::JUNIT,
            EvidenceName::SerialLog => super::SERIAL_LOG,
        }
    }
}

/// The name of an artifact: right in the folder, and none of [`RESERVED`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Name(String);

impl Name {
    /// Takes a name that has the form of one.
    pub fn new(text: &str) -> Option<Self> {
        let first = text.bytes().next()?;
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte));
        let plain = first.is_ascii_alphanumeric() && rest && text.len() <= NAME_BYTES_MAX;
        (plain && !RESERVED.contains(&text)).then(|| Name(text.to_owned()))
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Name::new(&text).ok_or_else(|| {
            de::Error::custom(format_args!(
                "{text:?} is no name of an artifact: it would not be a file right in the folder"
            ))
        })
    }
}

impl Document {
    /// Reads a manifest, whole and consistent.
    ///
    /// # Errors
    /// Why it is none, in a line.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        // Of what another version may say, nothing is kept.
        #[derive(Deserialize)]
        struct Any {
            version: serde_json::Number,
        }
        let any: Any = serde_json::from_slice(bytes).map_err(|error| format!("not a manifest: {error}"))?;
        if any.version.as_u64() != Some(VERSION) {
            return Err(format!("its format has version {}; this xenbuild knows {VERSION}", any.version));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| format!("not a manifest: {error}"))?;
        document.check()?;
        Ok(document)
    }

    /// Checks what a schema cannot see: that names are given once, and that what is referred to is there.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for artifact in &self.artifacts {
            if !names.insert(artifact.name.as_str()) {
                return Err(format!("lists {} twice", artifact.name));
            }
            let mut inputs = BTreeSet::new();
            for input in &artifact.inputs {
                if !self.inputs.contains_key(input) {
                    return Err(format!("{} is made of {input:?}, which is not among the inputs", artifact.name));
                }
                if !inputs.insert(input) {
                    return Err(format!("{} is made of {input:?} twice", artifact.name));
                }
            }
        }
        for evidence in self.test.iter().flat_map(|test| &test.files) {
            if !names.insert(evidence.name.as_str()) {
                return Err(format!("lists {} twice", evidence.name.as_str()));
            }
        }
        Ok(())
    }

    /// Returns the text of `manifest.json`: the same for the same document.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text, numbers and maps of text are JSON");
        text.push('\n');
        text
    }

    /// Returns name, length and digest of every file that it vouches for, by name in byte order.
    pub fn files(&self) -> Vec<(&str, u64, Digest)> {
        let artifacts = self.artifacts.iter().map(|artifact| (artifact.name.as_str(), artifact.bytes, artifact.sha256));
        let evidence = self.test.iter().flat_map(|test| &test.files);
        let evidence = evidence.map(|evidence| (evidence.name.as_str(), evidence.bytes, evidence.sha256));
        let mut files: Vec<_> = artifacts.chain(evidence).collect();
        files.sort_unstable();
        files
    }
}

/// Takes no `null` for what may be left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number > NUMBER_MAX {
        return Err(de::Error::custom(format_args!("{number} is more than {NUMBER_MAX}")));
    }
    Ok(number)
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let version = u64::deserialize(deserializer)?;
    if version == VERSION { Ok(version) } else { Err(de::Error::custom(format_args!("version {version}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_right_in_the_folder() {
        for good in ["xen", "r.axf", "tutorial@small.axf", "card.img.bmap", "0", &"a".repeat(255)] {
            assert_eq!(Name::new(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        let long = "a".repeat(256);
        let bad = [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            ".state",
            "-rf",
            "a\0",
            "a\n",
            "a b",
            "ä",
            "manifest.json",
            "SHA256SUMS",
            "junit.xml",
            "serial.log",
            &long,
        ];
        for bad in bad {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
    }
}
