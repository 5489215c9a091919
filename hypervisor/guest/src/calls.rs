//! Making a hypercall with a structure in memory, and what is said of its result.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;

use xen_abi::grant_table::GrantStatus;
use xen_abi::{Errno, Hypercall, Plain};

use crate::{machine, say};

/// The page where structures stand.
pub const ARGUMENT: usize = 0;

/// Makes a hypercall.
pub fn call(call: Hypercall, arguments: &[u64]) -> i64 {
    let mut all = [0; 5];
    all.iter_mut().zip(arguments).for_each(|(slot, &argument)| *slot = argument);
    machine::hypercall(call.number(), all)
}

/// Makes a hypercall whose last argument points to a structure; returns the result, and what has become of the structure.
pub fn with<T: Plain>(number: Hypercall, arguments: &[u64], value: T) -> (i64, T) {
    let at = machine::page(ARGUMENT) + 64;
    put(at, value);
    let mut all = [0; 5];
    all.iter_mut().zip(arguments.iter().copied().chain([at])).for_each(|(slot, argument)| *slot = argument);
    (machine::hypercall(number.number(), all), get(at))
}

/// Copies a value to an address.
pub fn put<T: Plain>(at: u64, value: T) {
    machine::put(at, value.to_bytes().as_ref());
}

/// Copies a value from an address.
pub fn get<T: Plain>(at: u64) -> T {
    let mut bytes = T::CLEAR;
    machine::get(at, bytes.as_mut());
    T::read(bytes.as_ref())
}

/// Returns an error's name, or the number.
pub fn result(value: i64) -> String {
    match value.checked_neg().and_then(|number| Errno::from_number(number as u64)).filter(|_| value < 0) {
        Some(errno) => format!("-{}", errno.name().trim_start_matches("XEN_")),
        None => value.to_string(),
    }
}

/// Returns a status's name.
pub fn status(value: i16) -> String {
    match GrantStatus::ALL.iter().find(|status| status.number() == value) {
        Some(status) => status.name().trim_start_matches("GNTST_").to_string(),
        None => value.to_string(),
    }
}

/// Says what came of a case.
pub fn case(what: impl Display, value: i64) {
    say!("{what} = {}", result(value));
}

/// Says what came of a case, and what it left.
pub fn case_and(what: impl Display, value: i64, left: impl Display) {
    say!("{what} = {}, {left}", result(value));
}

/// Cases in a row of which many end alike: one line for each run of equal results.
pub struct Runs<'a> {
    what: &'a str,
    open: Option<(u64, u64, i64)>,
}

impl<'a> Runs<'a> {
    /// Begins; `what` comes before the number.
    pub fn new(what: &'a str) -> Self {
        Runs { what, open: None }
    }

    /// Adds a result; numbers grow.
    pub fn add(&mut self, number: u64, value: i64) {
        match &mut self.open {
            Some((_, last, known)) if *known == value => *last = number,
            _ => {
                self.end();
                self.open = Some((number, number, value));
            }
        }
    }

    fn end(&mut self) {
        match self.open.take() {
            Some((first, last, value)) if first == last => say!("{} {first} = {}", self.what, result(value)),
            Some((first, last, value)) => say!("{} {first} to {last} = {}", self.what, result(value)),
            None => {}
        }
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
