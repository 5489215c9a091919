//! `sched_op`: yielding, waiting, watchdogs; shutting down is what the machine's end shows.

use xen_abi::event_channel::{AllocUnbound, EventChannelOp};
use xen_abi::sched::*;
use xen_abi::xen::DOMID_SELF;
use xen_abi::{Handle, Hypercall};

use super::DOMAINS;
use super::pointers::{hostile, nowhere, short};
use crate::calls::{call, case, put, with};
use crate::{interrupts, machine};

const CALL: Hypercall = Hypercall::SchedOp;
const LIST: usize = 5;

fn poll(ports: u64, nr_ports: u32, timeout: u64) -> i64 {
    with(CALL, &[3], Poll { ports: Handle(ports), nr_ports, timeout }).0
}

fn watchdog(id: u32, timeout: u32) -> i64 {
    with(CALL, &[6], Watchdog { id, timeout }).0
}

/// Runs the cases.
pub fn run() {
    case("SCHEDOP_yield", call(CALL, &[0, 0]));
    case("SCHEDOP_yield, a pointer", call(CALL, &[0, nowhere()]));
    // A masked interrupt of the timer ends it; the call lets interrupts in, so there is a handler, which takes it.
    interrupts::arm(1_000_000);
    let before = interrupts::count();
    case("SCHEDOP_block until a timer fires", call(CALL, &[1, 0]));
    machine::enable_interrupts(false);
    case("interrupts taken meanwhile", i64::from(interrupts::count() != before));
    interrupts::disarm();

    let list = machine::page(LIST);
    let ask = AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    let operation = EventChannelOp::AllocUnbound.number().into();
    let port = with(Hypercall::EventChannelOp, &[operation], ask).1.port;
    put(list, port);
    case("SCHEDOP_poll, a time that is past", poll(list, 1, 1));
    case("SCHEDOP_poll, no ports, a time that is past", poll(0, 0, 1));
    let frequency = crate::read_register!("cntfrq_el0");
    let now = || (u128::from(crate::read_register!("cntpct_el0")) * 1_000_000_000 / u128::from(frequency)) as u64;
    let start = now();
    case("SCHEDOP_poll with an upcall pending, two milliseconds", poll(list, 1, start + 2_000_000));
    case("SCHEDOP_poll, which passed", i64::from(now() >= start + 2_000_000));
    put(super::vcpu_op::info(), 0u8);
    let start = now();
    case("SCHEDOP_poll without, two milliseconds", poll(list, 1, start + 2_000_000));
    case("SCHEDOP_poll, which passed too", i64::from(now() >= start + 1_900_000));
    case("SCHEDOP_poll, 129 ports", poll(list, 129, 1));
    case("SCHEDOP_poll, -1 ports", poll(list, u32::MAX, 1));
    case("SCHEDOP_poll, a list that is null", poll(0, 1, 1));
    case("SCHEDOP_poll, a list that is nowhere", poll(nowhere(), 1, 1));
    let end = short(4);
    put(end, port);
    case("SCHEDOP_poll, a list that ends", poll(end, 2, 1));
    for port in [0, 999, 4096, u32::MAX] {
        put(list, port);
        case(format_args!("SCHEDOP_poll of port {port}"), poll(list, 1, 1));
    }
    hostile("SCHEDOP_poll", CALL, [3, 0, 0, 0, 0], 1, Poll { timeout: 1, ..Poll::default() });

    for (name, domain_id) in DOMAINS {
        // Its own number would be its end.
        if domain_id != 0 {
            let argument = RemoteShutdown { domain_id, reason: 0 };
            case(format_args!("SCHEDOP_remote_shutdown of {name}"), with(CALL, &[4], argument).0);
        }
    }
    hostile("SCHEDOP_remote_shutdown", CALL, [4, 0, 0, 0, 0], 1, RemoteShutdown { domain_id: 99, reason: 0 });

    case("SCHEDOP_watchdog 3", watchdog(3, 100));
    case("SCHEDOP_watchdog 1, which is not set", watchdog(1, 100));
    // A new one without time would fire at once, and end it all.
    case("SCHEDOP_watchdog, a first", watchdog(0, 100));
    case("SCHEDOP_watchdog, a second", watchdog(0, 100));
    case("SCHEDOP_watchdog, a third", watchdog(0, 100));
    case("SCHEDOP_watchdog 1 anew", watchdog(1, 200));
    case("SCHEDOP_watchdog 1 off", watchdog(1, 0));
    case("SCHEDOP_watchdog 1 off again", watchdog(1, 0));
    case("SCHEDOP_watchdog, a third now", watchdog(0, 100));
    case("SCHEDOP_watchdog 1 off", watchdog(1, 0));
    case("SCHEDOP_watchdog 2 off", watchdog(2, 0));
    case("SCHEDOP_watchdog -1", watchdog(u32::MAX, 1));
    hostile("SCHEDOP_watchdog", CALL, [6, 0, 0, 0, 0], 1, Watchdog { id: 9, timeout: 1 });

    for pcpu in [-1, 0, 1, i32::MAX, i32::MIN] {
        case(format_args!("SCHEDOP_pin_override {pcpu}"), with(CALL, &[7], PinOverride { pcpu }).0);
    }
    case("SCHEDOP_pin_override -1 at last", with(CALL, &[7], PinOverride { pcpu: -1 }).0);
    hostile("SCHEDOP_pin_override", CALL, [7, 0, 0, 0, 0], 1, PinOverride { pcpu: 99 });
    hostile("SCHEDOP_shutdown_code", CALL, [5, 0, 0, 0, 0], 1, 0u32);
}
