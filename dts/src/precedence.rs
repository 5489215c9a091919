//! C's binary operators by precedence: of device-tree expressions and of `#if` alike.

/// Binary operators from the loosest to the tightest.
pub(crate) const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];
