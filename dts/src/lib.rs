//! A device-tree compiler with dtc's language and dtc's bytes.
