//! Debian packages: control files, versions, indices and the dependency resolver; pure.
