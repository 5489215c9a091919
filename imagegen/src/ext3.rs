//! The ext3 writer: plans a whole file system by arithmetic, then emits it front to back.
