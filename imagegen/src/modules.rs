//! Kernel modules: what `.modinfo` says of them, and the order in which they must be loaded.
