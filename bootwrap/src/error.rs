//! What can go wrong while wrapping, in words for the person who wrote the recipe.

use std::fmt;
use std::io;

/// Why no artifact could be made.
#[derive(Debug)]
pub enum Error {
    /// A kernel or hypervisor is not what its place needs. The first field says which.
    Kernel(String, crate::kernel::KernelError),
    /// The device tree cannot be read or extended.
    DeviceTree(fdt::Error),
    /// The device tree lacks something, or holds something unusable.
    Board(String),
    /// Things do not fit into memory.
    Layout(crate::layout::LayoutError),
    /// The stub is not one of ours, or of another version.
    Stub(String),
    /// A key is none that a FIT can be signed with.
    Key(String),
    /// A payload gave fewer bytes than it has, or the output took none.
    Io(String, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Kernel(name, error) => write!(f, "{name}: {error}"),
            Error::DeviceTree(error) => write!(f, "device tree: {error}"),
            Error::Board(text) => write!(f, "device tree: {text}"),
            Error::Layout(error) => error.fmt(f),
            Error::Stub(text) => write!(f, "EL3 stub: {text}"),
            Error::Key(text) => write!(f, "the key: {text}"),
            Error::Io(name, error) => write!(f, "{name}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Kernel(_, error) => Some(error),
            Error::DeviceTree(error) => Some(error),
            Error::Layout(error) => Some(error),
            Error::Io(_, error) => Some(error),
            Error::Board(_) | Error::Stub(_) | Error::Key(_) => None,
        }
    }
}

impl From<fdt::Error> for Error {
    fn from(error: fdt::Error) -> Self {
        Error::DeviceTree(error)
    }
}

impl From<crate::layout::LayoutError> for Error {
    fn from(error: crate::layout::LayoutError) -> Self {
        Error::Layout(error)
    }
}
