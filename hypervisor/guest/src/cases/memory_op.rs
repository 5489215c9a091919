//! `memory_op`: questions, the balloon, and pages of the hypervisor's and of others.

use xen_abi::memory::*;
use xen_abi::xen::DOMID_SELF;
use xen_abi::{Handle, Hypercall};

use super::DOMAINS;
use super::pointers::{hostile, nowhere, read_only, short};
use crate::Board;
use crate::calls::{call, case, case_and, get, put, result, with};
use crate::machine::{self, DIRECT};

const CALL: Hypercall = Hypercall::MemoryOp;
/// Pages of the guest's that are given away and taken back.
const BALLOON: usize = 20;
/// Where lists stand.
const LIST: usize = 5;

/// Runs the cases.
pub fn run(board: &Board) {
    questions();
    balloon(board);
    spaces(board);
    batches(board);
    claims_and_resources(board);
}

fn questions() {
    case("XENMEM_maximum_ram_page", call(CALL, &[2, 0]));
    for (name, domid) in DOMAINS {
        for (operation, what) in
            [(3, "current_reservation"), (4, "maximum_reservation"), (14, "maximum_gpfn"), (17, "get_pod_target")]
        {
            case(format_args!("XENMEM_{what} of {name}"), with(CALL, &[operation], MemoryDomain { domid }).0);
        }
    }
    hostile("XENMEM_current_reservation", CALL, [3, 0, 0, 0, 0], 1, MemoryDomain { domid: DOMID_SELF });
    case("XENMEM_get_sharing_freed_pages", call(CALL, &[18, nowhere()]));
    case("XENMEM_get_sharing_shared_pages", call(CALL, &[19, nowhere()]));
    case("XENMEM_get_vnumainfo", with(CALL, &[26], VnumaTopologyInfo { domid: DOMID_SELF, ..Default::default() }).0);
}

/// Extents of one page: `frames` are those of the guest's pages, or any number.
fn reserve(operation: u64, frames: &[u64], change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    let list = machine::page(LIST);
    frames.iter().enumerate().for_each(|(index, &frame)| put(list + index as u64 * 8, frame));
    let mut argument = MemoryReservation {
        extent_start: Handle(list),
        nr_extents: frames.len() as u64,
        domid: DOMID_SELF,
        ..Default::default()
    };
    change(&mut argument);
    with(CALL, &[operation], argument).0
}

fn balloon(board: &Board) {
    let own: [u64; 4] = core::array::from_fn(|index| machine::frame(BALLOON + index));
    // Far from everything that is in use.
    let far = board.memory.0 / machine::PAGE + 0x1_8000;
    let (take, give) = (1, 6);
    machine::put(machine::page(BALLOON), b"kept");
    let taken = reserve(take, &own[..1], |_| {});
    let touched = machine::attempt(|| machine::load(machine::page(BALLOON), 1)).is_err();
    case_and("XENMEM_decrease_reservation of a page", taken, format_args!("gone {touched}"));
    case("XENMEM_current_reservation afterwards", with(CALL, &[3], MemoryDomain { domid: DOMID_SELF }).0);
    case("XENMEM_decrease_reservation of it again", reserve(take, &own[..1], |_| {}));
    case("an argument in a page that is gone", call(CALL, &[3, machine::page(BALLOON)]));
    let given = reserve(give, &own[..1], |_| {});
    let mut kept = [0; 4];
    let touched = machine::attempt(|| machine::get(machine::page(BALLOON), &mut kept)).is_ok();
    case_and(
        "XENMEM_populate_physmap of it",
        given,
        format_args!("there {touched}, content kept {}", &kept == b"kept"),
    );
    case("XENMEM_populate_physmap of what is there", reserve(give, &own[..1], |_| {}));
    let mixed = [own[1], 1 << 40, own[2]];
    case("XENMEM_decrease_reservation, the second of three is nothing", reserve(take, &mixed, |_| {}));
    case("XENMEM_populate_physmap, the second of three is nothing", reserve(give, &mixed, |_| {}));
    for (operation, name) in [(0, "increase_reservation"), (take, "decrease_reservation"), (give, "populate_physmap")] {
        let case = |what: &str, value: i64| case(format_args!("XENMEM_{name}, {what}"), value);
        case("no extents", reserve(operation, &[], |_| {}));
        case("a list that is null", reserve(operation, &own[..1], |argument| argument.extent_start = Handle(0)));
        case(
            "a list that is nowhere",
            reserve(operation, &own[..1], |argument| argument.extent_start = Handle(nowhere())),
        );
        case("order 10, unaligned", reserve(operation, &[far | 1], |argument| argument.extent_order = 10));
        case("order 19", reserve(operation, &[far], |argument| argument.extent_order = 19));
        case("order 64", reserve(operation, &[far], |argument| argument.extent_order = 64));
        case("order -1", reserve(operation, &[far], |argument| argument.extent_order = u32::MAX));
        case("frame 0", reserve(operation, &[0], |_| {}));
        case("frame -1", reserve(operation, &[u64::MAX], |_| {}));
        case("frame 2^52", reserve(operation, &[1 << 52], |_| {}));
        case("domain 1", reserve(operation, &own[..1], |argument| argument.domid = 1));
        case("DOMID_XEN", reserve(operation, &own[..1], |argument| argument.domid = 0x7ff2));
        case("domain 0xffff", reserve(operation, &own[..1], |argument| argument.domid = 0xffff));
        case("2^63 extents of nothing", reserve(operation, &[0], |argument| argument.nr_extents = 1 << 63));
    }
    let list = short(8);
    put(list, own[3]);
    let end = |argument: &mut MemoryReservation| (argument.extent_start, argument.nr_extents) = (Handle(list), 2);
    case("XENMEM_decrease_reservation, a list that ends after one of two", reserve(1, &[], end));
    put(list, own[3]);
    case("XENMEM_populate_physmap, a list that ends after one of two", reserve(6, &[], end));
    let (pointer, place) = read_only();
    put(place, own[3]);
    let list = |argument: &mut MemoryReservation| (argument.extent_start, argument.nr_extents) = (Handle(pointer), 1);
    case("XENMEM_decrease_reservation, a list that cannot be written", reserve(1, &[], list));
    case("XENMEM_populate_physmap, a list that cannot be written", reserve(6, &[], list));
    hostile(
        "XENMEM_populate_physmap",
        CALL,
        [6, 0, 0, 0, 0],
        1,
        MemoryReservation { domid: DOMID_SELF, ..Default::default() },
    );
    let exchange = MemoryExchange::default();
    case("XENMEM_exchange", with(CALL, &[11], exchange).0);
}

fn add(space: u32, idx: u64, gpfn: u64) -> i64 {
    with(CALL, &[7], AddToPhysmap { domid: DOMID_SELF, space, idx, gpfn, ..Default::default() }).0
}

fn remove(gpfn: u64) -> i64 {
    with(CALL, &[15], RemoveFromPhysmap { domid: DOMID_SELF, gpfn }).0
}

fn spaces(board: &Board) {
    let (hole, count) = board.grants;
    case("frames for the grant table", count as i64);
    let (shared, other) = (hole + 60, hole + 61);
    case("shared_info", add(0, 0, shared));
    case("shared_info again", add(0, 0, shared));
    case("shared_info elsewhere", add(0, 0, other));
    case("shared_info 1", add(0, 1, other));
    let at = machine::map(100, Some((shared * machine::PAGE, machine::Mapping::Memory)));
    let read = machine::attempt(|| machine::load(at, 8));
    case("shared_info is read", if read.is_ok() { 0 } else { -14 });
    put(at + 2048, MemoryDomain { domid: DOMID_SELF });
    case("an argument in shared_info", if call(CALL, &[3, at + 2048]) > 0 { 1 } else { call(CALL, &[3, at + 2048]) });
    case("shared_info removed", remove(shared));
    case("shared_info removed again", remove(shared));
    case("shared_info elsewhere, now", add(0, 0, other));
    for index in [0, 1, 63, 64, 1 << 31, 1 << 31 | 1, 1 << 32, u64::MAX] {
        case(format_args!("grant table frame {index:#x}"), add(1, index, hole + index % 64 % 8));
    }
    case("grant table frame 0 again", add(1, 0, hole));
    case("grant table frame 0 elsewhere", add(1, 0, hole + 9));
    for space in 2..8 {
        for (what, index) in [("0", 0), ("the guest's own page", machine::frame(BALLOON))] {
            case(format_args!("space {space}, {what}"), add(space, index, hole + 10));
        }
    }
    case("space -1", add(u32::MAX, 0, hole + 10));
    for (what, gpfn) in [("-1", u64::MAX), ("2^36", 1 << 36), ("2^28", 1 << 28), ("2^40", 1 << 40)] {
        case(format_args!("shared_info at frame {what}"), add(0, 0, gpfn));
        case(format_args!("frame {what} removed"), remove(gpfn));
    }
    for (name, domid) in DOMAINS {
        let argument = AddToPhysmap { domid, space: 1, idx: 0, gpfn: hole, ..Default::default() };
        case(format_args!("grant table frame 0 of {name}"), with(CALL, &[7], argument).0);
        let argument = RemoveFromPhysmap { domid, gpfn: hole + 30 };
        case(format_args!("a frame of {name} removed that is not there"), with(CALL, &[15], argument).0);
    }
    case("the interrupt controller removed", remove(board.gic[0].0 / machine::PAGE));
    case("a device removed", remove(board.device / machine::PAGE));
    let alive = machine::attempt(|| machine::load(DIRECT + board.device, 4)).is_ok();
    case("a device is read afterwards", i64::from(alive));
    let own = machine::frame(BALLOON + 8);
    case("an own page removed", remove(own));
    case("an own page removed again", remove(own));
    case("an own page given back", reserve(6, &[own], |_| {}));
    let mine = hole + 20;
    case("a device's page by XENMAPSPACE_dev_mmio", add(5, board.device / machine::PAGE, mine));
    let read = machine::attempt(|| machine::load(DIRECT + mine * machine::PAGE + 0xfe0, 4));
    case("the device is read there", read.map_or(-14, |value| value as i64));
    case("the device there removed", remove(mine));
    case("the interrupt controller by XENMAPSPACE_dev_mmio", add(5, board.gic[0].0 / machine::PAGE, mine + 1));
    let read = machine::attempt(|| machine::load(DIRECT + (mine + 1) * machine::PAGE + 0xfe8, 4));
    case("the interrupt controller is reached there", i64::from(read.is_ok()));
    case("the console's UART by XENMAPSPACE_dev_mmio", add(5, 0x9000, mine + 2));
    let read = machine::attempt(|| machine::load(DIRECT + (mine + 2) * machine::PAGE + 0x18, 4));
    case("the UART is reached there", i64::from(read.is_ok()));
    case("memory by XENMAPSPACE_dev_mmio", add(5, (1 << 30 | 1 << 20) / machine::PAGE, mine + 3));
    let read = machine::attempt(|| machine::load(DIRECT + (mine + 3) * machine::PAGE, 4));
    case("memory is reached there", i64::from(read.is_ok()));
    hostile(
        "XENMEM_add_to_physmap",
        CALL,
        [7, 0, 0, 0, 0],
        1,
        AddToPhysmap { domid: DOMID_SELF, space: 1, gpfn: hole, ..Default::default() },
    );
    hostile(
        "XENMEM_remove_from_physmap",
        CALL,
        [15, 0, 0, 0, 0],
        1,
        RemoveFromPhysmap { domid: DOMID_SELF, gpfn: hole + 30 },
    );
}

/// Adds frames `idxs` of a space at `gpfns`; returns the result and the errors.
fn batch(
    space: u16,
    foreign: u16,
    pairs: &[(u64, u64)],
    change: impl FnOnce(&mut AddToPhysmapBatch),
) -> (i64, [i32; 4]) {
    let (idxs, gpfns, errs) = (machine::page(LIST), machine::page(LIST + 1), machine::page(LIST + 2));
    (0..4).for_each(|index| put(errs + index * 4, 77i32));
    for (index, &(idx, gpfn)) in pairs.iter().enumerate() {
        put(idxs + index as u64 * 8, idx);
        put(gpfns + index as u64 * 8, gpfn);
    }
    let mut argument = AddToPhysmapBatch {
        domid: DOMID_SELF,
        space,
        size: pairs.len() as u16,
        foreign_domid: foreign,
        idxs: Handle(idxs),
        gpfns: Handle(gpfns),
        errs: Handle(errs),
    };
    change(&mut argument);
    (with(CALL, &[23], argument).0, core::array::from_fn(|index| get(errs + index as u64 * 4)))
}

fn batches(board: &Board) {
    let hole = board.grants.0;
    let say = |what: &str, (value, errors): (i64, [i32; 4])| {
        let [a, b, c, d] = errors.map(|error| if error == 77 { "unwritten".into() } else { result(error.into()) });
        case_and(format_args!("XENMEM_add_to_physmap_batch, {what}"), value, format_args!("errors {a} {b} {c} {d}"));
    };
    say("nothing", batch(1, 0, &[], |_| {}));
    say("two grant frames", batch(1, 0, &[(2, hole + 2), (3, hole + 3)], |_| {}));
    say("the second of three is beyond", batch(1, 0, &[(2, hole + 2), (64, hole + 4), (3, hole + 3)], |_| {}));
    say("frame -1", batch(1, 0, &[(2, u64::MAX)], |_| {}));
    say("a foreign domain for the grant table", batch(1, 1, &[(2, hole + 2)], |_| {}));
    say("range", batch(3, 0, &[(2, hole + 2)], |_| {}));
    say("space 2", batch(2, 0, &[(2, hole + 2)], |_| {}));
    say("space 9", batch(9, 0, &[(2, hole + 2)], |_| {}));
    say("devices with a reserved field", batch(5, 1, &[(0, hole + 22)], |_| {}));
    say("shared_info", batch(0, 0, &[(0, hole + 61)], |_| {}));
    for (name, domid) in DOMAINS {
        let own = machine::frame(BALLOON);
        say(&alloc::format!("foreign, {name}"), batch(4, domid, &[(own, hole + 12)], |_| {}));
    }
    say("foreign, DOMID_XEN, no frame", batch(4, 0x7ff2, &[(1 << 40, hole + 12)], |_| {}));
    say("foreign, DOMID_IO, a device", batch(4, 0x7ff1, &[(board.device / machine::PAGE, hole + 12)], |_| {}));
    say("of domain 1", batch(1, 0, &[(2, hole + 2)], |argument| argument.domid = 1));
    let pair = [(2, hole + 2)];
    say("indices nowhere", batch(1, 0, &pair, |argument| argument.idxs = Handle(nowhere())));
    say("frames nowhere", batch(1, 0, &pair, |argument| argument.gpfns = Handle(nowhere())));
    say("errors nowhere", batch(1, 0, &pair, |argument| argument.errs = Handle(nowhere())));
    say("indices null", batch(1, 0, &pair, |argument| argument.idxs = Handle(0)));
    hostile(
        "XENMEM_add_to_physmap_batch",
        CALL,
        [23, 0, 0, 0, 0],
        1,
        AddToPhysmapBatch { domid: DOMID_SELF, space: 1, ..Default::default() },
    );
}

fn claims_and_resources(board: &Board) {
    let claim = |pages: u64, change: fn(&mut MemoryReservation)| {
        let mut argument = MemoryReservation { nr_extents: pages, domid: DOMID_SELF, ..Default::default() };
        change(&mut argument);
        with(CALL, &[24], argument).0
    };
    case("XENMEM_claim_pages, none", claim(0, |_| {}));
    case("XENMEM_claim_pages, one", claim(1, |_| {}));
    case("XENMEM_claim_pages, 2^62", claim(1 << 62, |_| {}));
    case("XENMEM_claim_pages, a list", claim(0, |argument| argument.extent_start = Handle(8)));
    case("XENMEM_claim_pages, an order", claim(0, |argument| argument.extent_order = 1));
    case("XENMEM_claim_pages, flags", claim(0, |argument| argument.mem_flags = 1));
    case("XENMEM_claim_pages of domain 0, none", claim(0, |argument| argument.domid = 0));
    case("XENMEM_claim_pages of domain 0, one", claim(1, |argument| argument.domid = 0));
    case("XENMEM_claim_pages of domain 0, 2^62", claim(1 << 62, |argument| argument.domid = 0));
    case("XENMEM_claim_pages of domain 1", claim(0, |argument| argument.domid = 1));
    case("XENMEM_claim_pages of DOMID_XEN", claim(0, |argument| argument.domid = 0x7ff2));
    hostile(
        "XENMEM_claim_pages",
        CALL,
        [24, 0, 0, 0, 0],
        1,
        MemoryReservation { domid: DOMID_SELF, ..Default::default() },
    );
    let acquire = |change: &dyn Fn(&mut MemAcquireResource)| {
        let list = machine::page(LIST);
        put(list, board.grants.0 + 14);
        let mut argument = MemAcquireResource {
            domid: 0,
            r#type: XENMEM_resource_grant_table,
            nr_frames: 1,
            frame_list: Handle(list),
            ..Default::default()
        };
        change(&mut argument);
        with(CALL, &[28], argument)
    };
    for (name, domid) in DOMAINS {
        case(
            format_args!("XENMEM_acquire_resource of {name}"),
            acquire(&|argument: &mut MemAcquireResource| argument.domid = domid).0,
        );
    }
    case("XENMEM_acquire_resource, padding", acquire(&|argument: &mut MemAcquireResource| argument.pad = 1).0);
    for kind in 0..5 {
        let asked = |argument: &mut MemAcquireResource| (argument.domid, argument.r#type) = (1, kind);
        case(format_args!("XENMEM_acquire_resource of domain 1, type {kind}"), acquire(&asked).0);
    }
    let size = |argument: &mut MemAcquireResource| (argument.nr_frames, argument.frame_list) = (0, Handle(0));
    case("XENMEM_acquire_resource, how large", acquire(&size).0);
    let beyond = |argument: &mut MemAcquireResource| argument.frame = u64::MAX;
    case("XENMEM_acquire_resource, frame -1", acquire(&beyond).0);
    hostile("XENMEM_acquire_resource", CALL, [28, 0, 0, 0, 0], 1, MemAcquireResource::default());
}
