//! Archives: read into a [`crate::tree::Tree`], or written from one.
