//! `event_channel_op`: ports, in two levels and then by FIFO.

use xen_abi::event_channel::*;
use xen_abi::memory::{AddToPhysmap, RemoveFromPhysmap};
use xen_abi::xen::{DOMID_SELF, NR_VIRQS};
use xen_abi::{Hypercall, Plain};

use super::DOMAINS;
use super::pointers::hostile;
use crate::Board;
use crate::calls::{Runs, case, case_and, get, put, with};
use crate::machine::{self, Mapping};

const CALL: Hypercall = Hypercall::EventChannelOp;
/// Pages of the guest's: for shared_info, control block and event words.
const SHARED: usize = 33;
const CONTROL: usize = 34;
const WORDS: usize = 35;

fn operate<T: Plain>(operation: EventChannelOp, value: T) -> (i64, T) {
    with(CALL, &[operation.number().into()], value)
}

fn status(port: u32) -> (i64, Status) {
    operate(EventChannelOp::Status, Status { dom: DOMID_SELF, port, ..Status::default() })
}

fn say_status(what: &str, port: u32) {
    let (result, status) = status(port);
    let Status { status: kind, vcpu, dom_or_irq, remote_port, .. } = status;
    case_and(
        format_args!("EVTCHNOP_status {what}"),
        result,
        format_args!("status {kind} vcpu {vcpu} other {dom_or_irq} port {remote_port}"),
    );
}

fn bind_self(remote_port: u32) -> (i64, BindInterdomain) {
    operate(EventChannelOp::BindInterdomain, BindInterdomain { remote_dom: DOMID_SELF, remote_port, local_port: 0 })
}

fn port_of(operation: EventChannelOp, port: u32) -> i64 {
    operate(operation, Send { port }).0
}

/// Runs the cases.
pub fn run(board: &Board) {
    // Where pending and mask bits are seen.
    let shared = AddToPhysmap { domid: DOMID_SELF, gpfn: machine::frame(SHARED), ..AddToPhysmap::default() };
    let before = RemoveFromPhysmap { domid: DOMID_SELF, gpfn: board.grants.0 + 61 };
    case("shared_info removed from where it was", with(Hypercall::MemoryOp, &[15], before).0);
    case("shared_info over a page of the guest", with(Hypercall::MemoryOp, &[7], shared).0);
    let view = machine::map(110, Some((machine::physical(machine::page(SHARED)), Mapping::Memory)));
    unbound_and_bound(view);
    interrupts();
    many_ports();
    queues();
    hostile_pointers();
    end();
}

fn unbound_and_bound(view: u64) {
    let (result, made) =
        operate(EventChannelOp::AllocUnbound, AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 });
    case_and("EVTCHNOP_alloc_unbound", result, format_args!("port {}", made.port));
    let first = made.port;
    say_status("of an unbound port", first);
    case("EVTCHNOP_send on an unbound port", port_of(EventChannelOp::Send, first));
    let (result, bound) = bind_self(first);
    case_and("EVTCHNOP_bind_interdomain", result, format_args!("port {}", bound.local_port));
    let second = bound.local_port;
    say_status("of the first", first);
    say_status("of the second", second);
    let pending = |port: u32| get::<u64>(view + 48 + u64::from(port) / 64 * 8) >> (port % 64) & 1;
    let say = |what: &str| {
        case_and(what, 0, format_args!("pending {} {}", pending(first), pending(second)));
    };
    say("after binding");
    put(view + 48, 0u64);
    case("EVTCHNOP_send on the first", port_of(EventChannelOp::Send, first));
    say("after a send on the first");
    put(view + 48, 0u64);
    put(view + 560, 1u64 << second);
    case("EVTCHNOP_send to a masked port", port_of(EventChannelOp::Send, first));
    say("after a send to a masked port");
    case("EVTCHNOP_unmask", port_of(EventChannelOp::Unmask, second));
    case_and("after unmasking", 0, format_args!("mask {:#x}", get::<u64>(view + 560)));
    case("EVTCHNOP_bind_interdomain to a bound port", bind_self(first).0);
    case("EVTCHNOP_bind_interdomain to port 0", bind_self(0).0);
    case("EVTCHNOP_bind_interdomain to a free port", bind_self(77).0);
    case("EVTCHNOP_bind_interdomain to port -1", bind_self(u32::MAX).0);
    case("EVTCHNOP_close of the first", port_of(EventChannelOp::Close, first));
    say_status("of the first, closed", first);
    say_status("of the second, whose peer is closed", second);
    case("EVTCHNOP_close of the first again", port_of(EventChannelOp::Close, first));
    case("EVTCHNOP_close of the second", port_of(EventChannelOp::Close, second));
    for (name, domid) in DOMAINS {
        let ask = AllocUnbound { dom: domid, remote_dom: DOMID_SELF, port: 0 };
        let (result, made) = operate(EventChannelOp::AllocUnbound, ask);
        case_and(format_args!("EVTCHNOP_alloc_unbound in {name}"), result, format_args!("port {}", made.port));
        let ask = AllocUnbound { dom: DOMID_SELF, remote_dom: domid, port: 0 };
        let (result, made) = operate(EventChannelOp::AllocUnbound, ask);
        case_and(format_args!("EVTCHNOP_alloc_unbound for {name}"), result, format_args!("port {}", made.port));
        let ask = BindInterdomain { remote_dom: domid, remote_port: 1, local_port: 0 };
        case(format_args!("EVTCHNOP_bind_interdomain to {name}"), operate(EventChannelOp::BindInterdomain, ask).0);
        let ask = Status { dom: domid, port: 1, ..Status::default() };
        case(format_args!("EVTCHNOP_status of {name}"), operate(EventChannelOp::Status, ask).0);
        let ask = Reset { dom: domid };
        if domid != DOMID_SELF && domid != 0 {
            case(format_args!("EVTCHNOP_reset of {name}"), operate(EventChannelOp::Reset, ask).0);
        }
    }
    case("EVTCHNOP_reset", operate(EventChannelOp::Reset, Reset { dom: DOMID_SELF }).0);
    say_status("after a reset", 1);
}

fn interrupts() {
    let mut runs = Runs::new("EVTCHNOP_bind_virq on vCPU 0, virq");
    for virq in 0..NR_VIRQS + 4 {
        runs.add(virq.into(), operate(EventChannelOp::BindVirq, BindVirq { virq, vcpu: 0, port: 0 }).0);
    }
    drop(runs);
    let mut runs = Runs::new("EVTCHNOP_bind_virq on vCPU 1, virq");
    for virq in 0..NR_VIRQS + 4 {
        runs.add(virq.into(), operate(EventChannelOp::BindVirq, BindVirq { virq, vcpu: 1, port: 0 }).0);
    }
    drop(runs);
    case("EVTCHNOP_bind_virq -1", operate(EventChannelOp::BindVirq, BindVirq { virq: u32::MAX, vcpu: 0, port: 0 }).0);
    say_status("of the first virq", 1);
    say_status("of VIRQ_CONSOLE", 3);
    case("EVTCHNOP_send on a virq", port_of(EventChannelOp::Send, 3));
    let vcpu = |port: u32, vcpu: u32| operate(EventChannelOp::BindVcpu, BindVcpu { port, vcpu }).0;
    case("EVTCHNOP_bind_vcpu of a virq of one vCPU", vcpu(1, 0));
    case("EVTCHNOP_bind_vcpu of a global virq", vcpu(3, 0));
    case("EVTCHNOP_bind_vcpu to vCPU 1", vcpu(3, 1));
    case("EVTCHNOP_bind_vcpu of a free port", vcpu(100, 0));
    case("EVTCHNOP_bind_vcpu of port 0", vcpu(0, 0));
    case("EVTCHNOP_bind_vcpu of port -1", vcpu(u32::MAX, 0));
    for index in [0, 1, u32::MAX] {
        let (result, made) = operate(EventChannelOp::BindIpi, BindIpi { vcpu: index, port: 0 });
        case_and(format_args!("EVTCHNOP_bind_ipi {index}"), result, format_args!("port {}", made.port));
        if result == 0 {
            say_status("of an ipi", made.port);
            case("EVTCHNOP_send on an ipi", port_of(EventChannelOp::Send, made.port));
            case("EVTCHNOP_bind_vcpu of an ipi", vcpu(made.port, 0));
        }
    }
    case("EVTCHNOP_bind_pirq", operate(EventChannelOp::BindPirq, BindPirq { pirq: 32, flags: 0, port: 0 }).0);
    for port in [0, 90, 4095, 4096, 131_071, 131_072, u32::MAX] {
        for (operation, name) in [
            (EventChannelOp::Close, "EVTCHNOP_close"),
            (EventChannelOp::Send, "EVTCHNOP_send"),
            (EventChannelOp::Unmask, "EVTCHNOP_unmask"),
        ] {
            case(format_args!("{name} of port {port}"), port_of(operation, port));
        }
        say_status("of a port that is free or beyond", port);
    }
    case("EVTCHNOP_reset", operate(EventChannelOp::Reset, Reset { dom: DOMID_SELF }).0);
}

fn many_ports() {
    let (mut made, mut last) = (0u32, 0);
    let ending = loop {
        let ask = AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
        let (result, after) = operate(EventChannelOp::AllocUnbound, ask);
        if result != 0 || made > 5000 {
            break result;
        }
        (made, last) = (made + 1, after.port);
    };
    case_and("EVTCHNOP_alloc_unbound until it fails", ending, format_args!("{made} ports, the last {last}"));
    case("EVTCHNOP_reset", operate(EventChannelOp::Reset, Reset { dom: DOMID_SELF }).0);
}

fn queues() {
    let control = machine::frame(CONTROL);
    let init = |control_gfn: u64, offset: u32, vcpu: u32| {
        let argument = InitControl { control_gfn, offset, vcpu, link_bits: 0, _pad: [0; 7] };
        let (result, after) = operate(EventChannelOp::InitControl, argument);
        (result, after.link_bits)
    };
    let expand = |array_gfn: u64| operate(EventChannelOp::ExpandArray, ExpandArray { array_gfn }).0;
    let priority = |port: u32, priority: u32| operate(EventChannelOp::SetPriority, SetPriority { port, priority }).0;
    let ask = AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    let (_, made) = operate(EventChannelOp::AllocUnbound, ask);
    let port = made.port;
    case("EVTCHNOP_set_priority in two levels", priority(port, 3));
    case("EVTCHNOP_expand_array in two levels", expand(machine::frame(WORDS)));
    for (what, gfn, offset, vcpu) in [
        ("offset 4", control, 4, 0),
        ("offset 4032", control, 4032, 0),
        ("offset -8", control, 0xffff_fff8, 0),
        ("vCPU 1", control, 0, 1),
        ("vCPU -1", control, 0, u32::MAX),
        ("frame 0", 0, 0, 0),
        ("frame -1", u64::MAX, 0, 0),
    ] {
        case(format_args!("EVTCHNOP_init_control, {what}"), init(gfn, offset, vcpu).0);
    }
    let (result, bits) = init(control, 64, 0);
    case_and("EVTCHNOP_init_control", result, format_args!("link bits {bits}"));
    case("EVTCHNOP_init_control again", init(control, 64, 0).0);
    case("EVTCHNOP_set_priority 0", priority(port, 0));
    case("EVTCHNOP_set_priority 15", priority(port, 15));
    case("EVTCHNOP_set_priority 16", priority(port, 16));
    case("EVTCHNOP_set_priority of port 0", priority(0, 7));
    case("EVTCHNOP_set_priority of a free port", priority(88, 7));
    for (what, gfn) in [("frame 0", 0), ("frame -1", u64::MAX)] {
        case(format_args!("EVTCHNOP_expand_array, {what}"), expand(gfn));
    }
    let words = machine::page(WORDS);
    (0..1024).for_each(|index| put(words + index * 4, 1u32 << 30));
    case("EVTCHNOP_expand_array", expand(machine::frame(WORDS)));
    let (_, bound) = bind_self(port);
    let other = bound.local_port;
    let word = |port: u32| get::<u32>(words + u64::from(port) * 4) >> 28;
    case_and("after binding, masked", 0, format_args!("words {:#x} {:#x}", word(port), word(other)));
    case("EVTCHNOP_unmask", port_of(EventChannelOp::Unmask, other));
    let control = machine::page(CONTROL) + 64;
    let left = format_args!(
        "words {:#x} {:#x}, ready {:#x}, head {}",
        word(port),
        word(other),
        get::<u32>(control),
        get::<u32>(control + 8 + 28)
    );
    case_and("after unmasking", 0, left);
    case("EVTCHNOP_unmask of the first", port_of(EventChannelOp::Unmask, port));
    case("EVTCHNOP_send to the first", port_of(EventChannelOp::Send, other));
    let left = format_args!(
        "words {:#x} {:#x}, ready {:#x}, heads {} {}",
        word(port),
        word(other),
        get::<u32>(control),
        get::<u32>(control + 8 + 28),
        get::<u32>(control + 8 + 60)
    );
    case_and("after a send to priority 15", 0, left);
    let (mut pages, mut ending) = (1, 0);
    while ending == 0 && pages < 200 {
        ending = expand(machine::frame(WORDS + 1));
        pages += i64::from(ending == 0);
    }
    case_and("EVTCHNOP_expand_array until it fails", ending, format_args!("{pages} pages"));
}

fn hostile_pointers() {
    let unbound = AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    hostile("EVTCHNOP_bind_interdomain", CALL, [0, 0, 0, 0, 0], 1, BindInterdomain::default());
    hostile("EVTCHNOP_bind_virq", CALL, [1, 0, 0, 0, 0], 1, BindVirq { virq: 99, vcpu: 0, port: 0 });
    hostile("EVTCHNOP_close", CALL, [3, 0, 0, 0, 0], 1, Close::default());
    hostile("EVTCHNOP_send", CALL, [4, 0, 0, 0, 0], 1, Send { port: 999 });
    hostile("EVTCHNOP_status", CALL, [5, 0, 0, 0, 0], 1, Status { dom: DOMID_SELF, port: 1, ..Status::default() });
    hostile("EVTCHNOP_alloc_unbound", CALL, [6, 0, 0, 0, 0], 1, unbound);
    hostile("EVTCHNOP_bind_ipi", CALL, [7, 0, 0, 0, 0], 1, BindIpi { vcpu: 9, port: 0 });
    hostile("EVTCHNOP_bind_vcpu", CALL, [8, 0, 0, 0, 0], 1, BindVcpu::default());
    hostile("EVTCHNOP_unmask", CALL, [9, 0, 0, 0, 0], 1, Unmask { port: 999 });
    hostile("EVTCHNOP_reset", CALL, [10, 0, 0, 0, 0], 1, Reset { dom: 0x7fef });
    hostile("EVTCHNOP_init_control", CALL, [11, 0, 0, 0, 0], 1, InitControl { offset: 4, ..InitControl::default() });
    hostile("EVTCHNOP_expand_array", CALL, [12, 0, 0, 0, 0], 1, ExpandArray { array_gfn: u64::MAX });
    hostile("EVTCHNOP_set_priority", CALL, [13, 0, 0, 0, 0], 1, SetPriority { port: 1, priority: 99 });
    // Which port a call would have returned, had it been able to.
    let (result, made) = operate(EventChannelOp::AllocUnbound, unbound);
    case_and("EVTCHNOP_alloc_unbound afterwards", result, format_args!("port {}", made.port));
}

fn end() {
    case("EVTCHNOP_reset of FIFO", operate(EventChannelOp::Reset, Reset { dom: DOMID_SELF }).0);
    case(
        "EVTCHNOP_expand_array after it",
        operate(EventChannelOp::ExpandArray, ExpandArray { array_gfn: machine::frame(WORDS) }).0,
    );
    case(
        "EVTCHNOP_set_priority after it",
        operate(EventChannelOp::SetPriority, SetPriority { port: 1, priority: 3 }).0,
    );
}
