//! Tests of the wrapper from outside, one module per subject.
mod bootwrap {
    pub mod golden;
    pub mod samples;

    mod axf;
    mod board;
    mod group;
    mod kernel;
    mod layout;
    mod psci;
    mod uboot;
    mod wrap;
}
