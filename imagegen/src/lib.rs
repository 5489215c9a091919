//! File trees, archives, packages and file-system images, as bytes: no recipe, no terminal, no process, and no I/O
//! beyond the readers, writers and files handed in.

pub mod archive;
pub mod compress;
pub mod decompress;
pub mod disk;
pub mod ext;
pub mod fat;
mod image_error;
mod little_endian;
pub mod modules;
pub mod package;
pub mod patch;
mod sink;
mod suggest;
pub mod tree;
pub mod volume;
