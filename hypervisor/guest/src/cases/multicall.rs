//! `multicall`: several calls in one.

use xen_abi::xen::MulticallEntry;
use xen_abi::{Field, Hypercall};

use super::pointers::{hostile, nowhere, read_only, short};
use crate::calls::{call, case, case_and, get, put, result};
use crate::machine;

const CALL: Hypercall = Hypercall::Multicall;
const LIST: usize = 6;
const NO_RESULT: u64 = 0x5a5a;

/// Makes calls, two arguments each, from a list at `at`, and says what came of each.
fn several(what: &str, at: u64, calls: &[(u64, u64, u64)]) {
    for (index, &(op, a, b)) in calls.iter().enumerate() {
        let entry = MulticallEntry { op, result: NO_RESULT, args: [a, b, 0, 0, 0, 0] };
        put(at + (index * MulticallEntry::SIZE) as u64, entry);
    }
    let answer = call(CALL, &[at, calls.len() as u64]);
    let results = [0, 1, 2].map(|index: usize| {
        if index >= calls.len() {
            return "-".into();
        }
        match get::<MulticallEntry>(at + (index * MulticallEntry::SIZE) as u64).result {
            NO_RESULT => "none".into(),
            value => result(value as i64),
        }
    });
    let [a, b, c] = results;
    case_and(format_args!("multicall, {what}"), answer, format_args!("{a} {b} {c}"));
}

/// Runs the cases.
pub fn run() {
    let at = machine::page(LIST);
    several("nothing", at, &[]);
    several("three questions", at, &[(17, 0, 0), (17, 7, 0), (12, 2, 0)]);
    several("unknown calls", at, &[(0, 0, 0), (99, 0, 0), (u64::MAX, 0, 0)]);
    several("an error between", at, &[(17, 0, 0), (17, 6, 0), (17, 0, 0)]);
    several("a multicall inside", at, &[(17, 0, 0), (13, at + 256, 0), (17, 0, 0)]);
    several("a multicall of its own list", at, &[(13, at, 1), (17, 0, 0)]);
    several("yields", at, &[(29, 0, 0), (29, 99, 0), (29, 3, 0)]);
    several("numbers beyond 32 bits", at, &[(1 << 32 | 17, 0, 0), (17, 1 << 32, 0)]);
    several("a list across pages", at + 4096 - 96, &[(17, 0, 0), (17, 0, 0), (17, 7, 0)]);
    several("a list that is unaligned", at + 3, &[(17, 0, 0), (17, 7, 0)]);
    let end = short(64);
    put(end, MulticallEntry { op: 17, result: NO_RESULT, args: [0; 6] });
    case("multicall, a list that ends", call(CALL, &[end, 2]));
    case_and("its first call", 0, get::<MulticallEntry>(end).result);
    let (pointer, place) = read_only();
    put(place, MulticallEntry { op: 17, result: NO_RESULT, args: [0; 6] });
    case("multicall, a list that cannot be written", call(CALL, &[pointer, 1]));
    case("multicall, -1 calls from nowhere", call(CALL, &[nowhere(), 0xffff_ffff]));
    case("multicall, 2^32 calls from nowhere", call(CALL, &[nowhere(), 1 << 32]));
    hostile("multicall", CALL, [0, 1, 0, 0, 0], 0, MulticallEntry { op: 17, result: 0, args: [0; 6] });
}
