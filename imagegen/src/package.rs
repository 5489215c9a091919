//! Debian packages: control files, versions, indices and the dependency resolver; pure.
//!
//! Sources: Debian Policy Manual 4.6.2, chapters 5 (control files) and 7 (relationships between packages).

pub mod deb822;
pub mod index;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod version;
