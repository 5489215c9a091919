//! The flattened device tree: read, edit, overlay, emit; knows no source text and no file.
