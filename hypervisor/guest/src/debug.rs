//! Self-hosted debugging and performance monitors: what the manual says (DDI 0487), tried. Without a hypervisor the machine's own answer.

use crate::machine::{self, Taken, attempt};
use crate::{read_register, say, write_register};

/// MDSCR_EL1: monitor debug events, at EL1 as well.
const ON: u64 = 1 << 15 | 1 << 13;
/// `DBGBCR<n>_EL1`: on, at EL1, whole words.
const BREAK: u64 = 1 | 1 << 1 | 0xf << 5;
/// `DBGWCR<n>_EL1`: on, at EL1; loads, stores; of eight bytes.
const LOADS: u64 = 1 | 1 << 1 | 1 << 3 | 0xff << 5;
const STORES: u64 = 1 | 1 << 1 | 2 << 3 | 0xff << 5;

/// Runs the cases.
pub fn run() {
    write_register!("oslar_el1", 0);
    write_register!("mdscr_el1", 0);
    machine::let_debug_in();
    registers();
    breakpoints();
    watchpoints();
    monitors();
    write_register!("mdscr_el1", 0);
}

/// Gives each of several CPUs debug registers of its own: the first a breakpoint at the place where all of them come by, the third one
/// there too, which is not to fire, and the others one elsewhere.
pub fn prepare(number: usize) {
    write_register!("oslar_el1", 0);
    write_register!(
        "dbgbvr0_el1",
        machine::debug_place() + if number.is_multiple_of(2) { 0 } else { 0x1000 * number as u64 }
    );
    write_register!("dbgbcr0_el1", BREAK);
    write_register!("mdscr_el1", if number == 2 { 0 } else { ON });
    machine::let_debug_in();
}

/// Comes by that place; returns a bit if the breakpoint did not fire. Where one fires that should not, nobody expects the exception.
pub fn check(number: usize) -> u64 {
    if number != 0 {
        machine::go_to_debug_place();
        return 0;
    }
    u64::from(attempt(machine::go_to_debug_place).is_ok()) << 63
}

/// Lets nothing fire any more.
pub fn quiet() {
    write_register!("mdscr_el1", 0);
}

fn tell(section: &str, what: &str, result: Result<(), Taken>) {
    match result {
        Ok(()) => say!("DDI 0487, {section}: {what} = nothing"),
        Err(taken) => {
            let (class, at) = (taken.syndrome >> 26, taken.at == machine::debug_place());
            say!("DDI 0487, {section}: {what} = an exception, class {class:#x}, at the place {at}");
        }
    }
}

fn registers() {
    let features = read_register!("id_aa64dfr0_el1");
    say!(
        "DDI 0487, D13.2: {} breakpoints, {} watchpoints, version {}",
        (features >> 12 & 15) + 1,
        (features >> 20 & 15) + 1,
        features & 15
    );
    write_register!("dbgbvr0_el1", 0x1234_5670);
    write_register!("dbgwvr0_el1", 0x1234_5678);
    write_register!("dbgbcr0_el1", BREAK & !1);
    write_register!("dbgwcr0_el1", STORES & !1);
    let [a, b] = [read_register!("dbgbvr0_el1"), read_register!("dbgwvr0_el1")];
    let [c, d] = [read_register!("dbgbcr0_el1"), read_register!("dbgwcr0_el1")];
    say!("DDI 0487, D13.3: points hold {a:#x} {c:#x} {b:#x} {d:#x}");
    write_register!("mdscr_el1", ON | 1 << 12);
    say!("DDI 0487, D13.3: MDSCR_EL1 holds {:#x}", read_register!("mdscr_el1"));
    write_register!("mdscr_el1", 0);
    for lock in [1, 0] {
        write_register!("oslar_el1", lock);
        say!("DDI 0487, H6.2: OSLAR_EL1 {lock}, OSLSR_EL1.OSLK = {}", read_register!("oslsr_el1") >> 1 & 1);
    }
}

fn breakpoints() {
    let go = || attempt(machine::go_to_debug_place);
    write_register!("dbgbvr0_el1", machine::debug_place());
    write_register!("dbgbcr0_el1", BREAK);
    tell("D2.8", "a breakpoint while MDE is 0", go());
    write_register!("mdscr_el1", ON);
    tell("D2.8", "a breakpoint", go());
    tell("D2.8", "the same again", go());
    write_register!("oslar_el1", 1);
    tell("D2.3", "a breakpoint while the OS lock is closed", go());
    write_register!("oslar_el1", 0);
    tell("D2.8", "a breakpoint when it is open again", go());
    write_register!("dbgbvr0_el1", machine::debug_place() + 0x1000);
    tell("D2.8", "a breakpoint elsewhere", go());
    write_register!("dbgbvr0_el1", machine::debug_place());
    write_register!("dbgbcr0_el1", BREAK & !1);
    tell("D2.8", "a breakpoint that is off", go());
}

fn watchpoints() {
    let [at, beside] = [machine::page(5), machine::page(5) + 8];
    let load = |address| {
        attempt(|| _ = machine::load(address, 4)).map_err(|taken| (taken.syndrome >> 26, taken.address == at))
    };
    let store = |address| {
        attempt(|| machine::store(address, 4, 0)).map_err(|taken| (taken.syndrome >> 26, taken.address == at))
    };
    write_register!("dbgwvr0_el1", at);
    for (what, control) in [("loads", LOADS), ("stores", STORES), ("nothing", 0)] {
        write_register!("dbgwcr0_el1", control);
        let results = [load(at), store(at), load(beside), store(beside)];
        let [a, b, c, d] = results.map(|result| result.err().unwrap_or((0, false)));
        say!("DDI 0487, D2.9: a watchpoint of {what}: load {a:x?}, store {b:x?}, beside {c:x?} {d:x?}");
    }
}

fn monitors() {
    say!("DDI 0487, D13.2: ID_AA64DFR0_EL1.PMUVer = {}", read_register!("id_aa64dfr0_el1") >> 8 & 15);
    let is_there = |result: Result<u64, Taken>| match result {
        Ok(_) => say!("DDI 0487, D13.4: a register of the monitors = there"),
        Err(taken) => {
            say!("DDI 0487, D13.4: a register of the monitors = an exception, class {:#x}", taken.syndrome >> 26)
        }
    };
    // PMCR_EL0, PMCNTENSET_EL0, PMCCNTR_EL0, PMINTENSET_EL1, PMCCFILTR_EL0.
    is_there(attempt(|| read_register!("s3_3_c9_c12_0")));
    is_there(attempt(|| read_register!("s3_3_c9_c12_1")));
    is_there(attempt(|| read_register!("s3_3_c9_c13_0")));
    is_there(attempt(|| read_register!("s3_0_c9_c14_1")));
    is_there(attempt(|| read_register!("s3_3_c14_c15_7")));
    is_there(attempt(|| {
        write_register!("s3_3_c9_c14_0", 0);
        0
    }));
}
