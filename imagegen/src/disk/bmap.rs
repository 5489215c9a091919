//! Block maps (`.bmap`): which blocks of an image mean something, with their SHA-256. Written in version 2.0, as
//! `bmaptool copy` takes them; read in 1.4 and 2.0.

mod read;
mod write;

pub use read::{Bmap, BmapError, Mapped, SIZE_MAX, is_bmap, read};
pub use write::{BLOCK_BYTES, of};
