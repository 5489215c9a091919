//! What can be wrong with a flattened tree, or with a request to change one.

use alloc::string::String;
use core::fmt;

/// Why a tree could not be read, changed or written. Offsets count bytes from the start of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The blob ends before the part that is named.
    Truncated {
        /// What was being read.
        part: &'static str,
        /// Where that part should have ended.
        need: usize,
        /// How many bytes there are.
        have: usize,
    },
    /// The first word is not 0xd00dfeed.
    BadMagic(u32),
    /// The blob needs a reader for a format newer than 17, or claims an impossible version.
    BadVersion {
        /// `version` of the header.
        version: u32,
        /// `last_comp_version` of the header.
        last_compatible: u32,
    },
    /// A header field contradicts the others.
    BadHeader(&'static str),
    /// The structure block is not well formed at `offset`.
    BadStructure {
        /// Where.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Nodes nest deeper than [`crate::MAX_DEPTH`].
    TooDeep,
    /// No node has this path, alias or label.
    NoNode(String),
    /// A property does not have the shape its meaning demands.
    BadProperty {
        /// The node's path.
        node: String,
        /// The property's name.
        property: String,
        /// What was expected.
        reason: &'static str,
    },
    /// A name holds bytes that no node or property name may hold.
    BadName(String),
    /// The overlay cannot be applied; the text names the node or label.
    BadOverlay(String),
    /// The output would not fit the format's 32-bit sizes.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated { part, need, have } => {
                write!(f, "device tree is cut short: {part} ends at byte {need}, but there are only {have}")
            }
            Error::BadMagic(magic) => {
                write!(f, "not a flattened device tree: starts with {magic:#010x} instead of 0xd00dfeed")
            }
            Error::BadVersion { version, last_compatible } => {
                write!(f, "device tree format version {version} (compatible back to {last_compatible}) is not readable")
            }
            Error::BadHeader(reason) => write!(f, "device tree header: {reason}"),
            Error::BadStructure { offset, reason } => write!(f, "device tree structure at byte {offset:#x}: {reason}"),
            Error::TooDeep => write!(f, "device tree nests deeper than {} nodes", crate::MAX_DEPTH),
            Error::NoNode(path) => write!(f, "device tree has no node {path}"),
            Error::BadProperty { node, property, reason } => {
                write!(f, "device tree property {node}:{property} {reason}")
            }
            Error::BadName(name) => write!(f, "{name:?} cannot name a device tree node or property"),
            Error::BadOverlay(reason) => write!(f, "overlay: {reason}"),
            Error::TooLarge => write!(f, "device tree is too large for its 32-bit format"),
        }
    }
}

impl core::error::Error for Error {}
