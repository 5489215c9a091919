//! `grant_table_op`: pages lent between domains; here the guest lends to itself.

use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;
use xen_abi::{Field, Handle, Hypercall, Plain};

use super::DOMAINS;
use super::pointers::{hostile, nowhere};
use crate::Board;
use crate::calls::{call, case, case_and, get, put, status};
use crate::machine::{self, Mapping, PAGE};

const CALL: Hypercall = Hypercall::GrantTableOp;
/// Pages of the guest's that are lent, and where lists stand.
const LENT: usize = 44;
const LIST: usize = 5;
/// Entries: well, read-only, to another domain, none, to no memory.
const WELL: u32 = 10;
const READ_ONLY: u32 = 11;
const OTHERS: u32 = 12;
const NONE: u32 = 13;
const NO_MEMORY: u32 = 14;
const TRANSFER: u32 = 15;
const DEVICE: u32 = 16;
const SUB_PAGE: u32 = 17;
const WELL_2: u32 = 18;

struct Table {
    /// Where the first frame of the table is.
    at: u64,
    /// First of the frames where nothing is.
    hole: u64,
}

fn operate<T: Plain>(operation: GrantTableOp, value: T) -> (i64, T) {
    let at = machine::page(0) + 64;
    put(at, value);
    (call(CALL, &[operation.number().into(), at, 1]), get(at))
}

/// Runs the cases.
pub fn run(board: &Board) {
    versions();
    tables();
    let at = machine::map(120, Some((board.grants.0 * PAGE, Mapping::Memory)));
    let table = Table { at, hole: board.grants.0 + 16 };
    table.fill(board);
    table.maps();
    table.life_of_a_mapping();
    table.unmaps();
    table.copies();
    table.swaps_and_the_rest(board);
    hostile_pointers(&table);
}

fn versions() {
    for version in [0, 1, 2, 3, u32::MAX] {
        let (result, after) = operate(GrantTableOp::SetVersion, SetVersion { version });
        case_and(format_args!("GNTTABOP_set_version {version}"), result, format_args!("version {}", after.version));
    }
    for (name, dom) in DOMAINS {
        let (result, after) = operate(GrantTableOp::GetVersion, GetVersion { dom, pad: 0, version: 77 });
        case_and(format_args!("GNTTABOP_get_version of {name}"), result, format_args!("version {}", after.version));
        let (result, after) = operate(GrantTableOp::QuerySize, QuerySize { dom, ..QuerySize::default() });
        let left = format_args!("{} frames of {}, {}", after.nr_frames, after.max_nr_frames, status(after.status));
        case_and(format_args!("GNTTABOP_query_size of {name}"), result, left);
    }
}

fn tables() {
    let list = machine::page(LIST);
    for (what, dom, nr_frames, frame_list) in [
        ("nothing", DOMID_SELF, 0, list),
        ("two frames", DOMID_SELF, 2, list),
        ("65 frames", DOMID_SELF, 65, list),
        ("-1 frames", DOMID_SELF, u32::MAX, list),
        ("a list that is null", DOMID_SELF, 1, 0),
        ("a list that is nowhere", DOMID_SELF, 1, nowhere()),
        ("domain 1", 1, 1, list),
        ("DOMID_XEN", 0x7ff2, 1, list),
        ("DOMID_INVALID", 0x7ff4, 1, list),
    ] {
        (0..3).for_each(|index| put(list + index * 8, 0x77u64));
        let argument = SetupTable { dom, nr_frames, status: 77, frame_list: Handle(frame_list) };
        let (result, after) = operate(GrantTableOp::SetupTable, argument);
        let written = [0, 1, 2].map(|index: u64| get::<u64>(list + index * 8) != 0x77);
        let left = format_args!("{}, written {written:?}", status(after.status));
        case_and(format_args!("GNTTABOP_setup_table, {what}"), result, left);
    }
    for (what, dom, nr_frames) in [("nothing", DOMID_SELF, 0), ("a frame", DOMID_SELF, 1), ("domain 1", 1, 1)] {
        let argument = GetStatusFrames { nr_frames, dom, status: 77, frame_list: Handle(list) };
        let (result, after) = operate(GrantTableOp::GetStatusFrames, argument);
        case_and(format_args!("GNTTABOP_get_status_frames, {what}"), result, status(after.status));
    }
    for (name, dom) in DOMAINS {
        let (result, after) = operate(GrantTableOp::DumpTable, DumpTable { dom, status: 77 });
        case_and(format_args!("GNTTABOP_dump_table of {name}"), result, status(after.status));
    }
}

impl Table {
    /// Writes an entry.
    fn entry(&self, reference: u32, flags: u16, domid: u16, frame: u64) {
        let at = self.at + u64::from(reference) * EntryV1::SIZE as u64;
        put(at, EntryV1 { flags: 0, domid, frame: frame as u32 });
        put(at, flags);
    }

    fn flags(&self, reference: u32) -> u16 {
        get(self.at + u64::from(reference) * EntryV1::SIZE as u64)
    }

    fn fill(&self, board: &Board) {
        let lent = machine::frame(LENT);
        machine::put(machine::page(LENT), b"lent page");
        machine::put(machine::page(LENT + 1), b"the other");
        self.entry(WELL, GTF_permit_access, 0, lent);
        self.entry(READ_ONLY, GTF_permit_access | GTF_readonly, 0, lent);
        self.entry(OTHERS, GTF_permit_access, 5, lent);
        self.entry(NONE, GTF_invalid, 0, lent);
        self.entry(NO_MEMORY, GTF_permit_access, 0, 0xffff_0000);
        self.entry(TRANSFER, GTF_accept_transfer, 0, lent);
        self.entry(DEVICE, GTF_permit_access, 0, board.device / PAGE);
        self.entry(SUB_PAGE, GTF_permit_access | GTF_sub_page, 0, lent);
        self.entry(WELL_2, GTF_permit_access, 0, machine::frame(LENT + 1));
    }

    fn map(&self, reference: u32, dom: u16, flags: u32, gfn: u64) -> (i64, MapGrantRef) {
        let argument =
            MapGrantRef { host_addr: gfn * PAGE, flags, r#ref: reference, dom, status: 77, handle: 0, dev_bus_addr: 0 };
        operate(GrantTableOp::MapGrantRef, argument)
    }

    fn unmap(&self, gfn: u64, handle: u32) -> (i64, UnmapGrantRef) {
        let argument = UnmapGrantRef { host_addr: gfn * PAGE, dev_bus_addr: 0, handle, status: 77 };
        operate(GrantTableOp::UnmapGrantRef, argument)
    }

    /// Maps, says what came of it, and unmaps.
    fn try_map(&self, what: &str, reference: u32, dom: u16, flags: u32, gfn: u64) {
        let (result, after) = self.map(reference, dom, flags, gfn);
        case_and(format_args!("GNTTABOP_map_grant_ref, {what}"), result, status(after.status));
        if after.status == 0 {
            let (result, after) = self.unmap(gfn, after.handle);
            case_and(format_args!("GNTTABOP_map_grant_ref, {what}, and unmapped"), result, status(after.status));
        }
    }

    fn maps(&self) {
        let at = self.hole;
        let write = GNTMAP_host_map;
        let read = GNTMAP_host_map | GNTMAP_readonly;
        for (what, reference) in [
            ("an entry", WELL),
            ("a read-only entry", READ_ONLY),
            ("another domain's entry", OTHERS),
            ("an invalid entry", NONE),
            ("an entry for no memory", NO_MEMORY),
            ("a transfer's entry", TRANSFER),
            ("a device's entry", DEVICE),
            ("an entry for a part", SUB_PAGE),
            ("entry 32768", 32768),
            ("entry -1", u32::MAX),
        ] {
            self.try_map(&alloc::format!("{what}, to write"), reference, 0, write, at);
            self.try_map(&alloc::format!("{what}, to read"), reference, 0, read, at);
        }
        for flags in 0..64 {
            self.try_map(&alloc::format!("flags {flags:#x}"), WELL, 0, flags, at);
        }
        self.try_map("flags of the guest's own", WELL, 0, write | 1 << 16, at);
        for (name, dom) in DOMAINS {
            self.try_map(name, WELL, dom, write, at);
        }
        self.try_map("at frame 2^40", WELL, 0, write, 1 << 40);
        self.try_map("at frame 2^51", WELL, 0, write, 1 << 51);
        self.try_map("over a page of the guest", WELL, 0, write, machine::frame(LENT + 8));
        case(
            "the page that was mapped over is there",
            i64::from(machine::attempt(|| machine::load(machine::page(LENT + 8), 1)).is_ok()),
        );
        self.try_map("over the table itself", WELL, 0, write, self.hole - 16 + 2);
    }

    fn life_of_a_mapping(&self) {
        let gfn = self.hole + 1;
        let (result, one) = self.map(WELL, 0, GNTMAP_host_map, gfn);
        let bus = one.dev_bus_addr == machine::physical(machine::page(LENT));
        let left = format_args!("{}, bus address {bus}, flags {:#x}", status(one.status), self.flags(WELL));
        case_and("a mapping to write", result, left);
        let view = machine::map(121, Some((gfn * PAGE, Mapping::Memory)));
        let mut text = [0; 9];
        let read = machine::attempt(|| machine::get(view, &mut text));
        case_and("the mapping is read", i64::from(read.is_ok()), format_args!("{}", &text == b"lent page"));
        let written = machine::attempt(|| machine::store(view + 16, 1, 0x42));
        let seen = machine::load(machine::page(LENT) + 16, 1);
        case_and("the mapping is written", i64::from(written.is_ok()), format_args!("{seen:#x}"));
        put(view + 64, xen_abi::memory::MemoryDomain { domid: DOMID_SELF });
        let answer = call(Hypercall::MemoryOp, &[3, view + 64]);
        case("an argument in a mapped grant", answer.min(1));
        let (result, two) = self.map(WELL, 0, GNTMAP_host_map | GNTMAP_readonly, gfn + 1);
        case_and(
            "a second mapping, to read",
            result,
            format_args!("{}, flags {:#x}", status(two.status), self.flags(WELL)),
        );
        let second = machine::map(122, Some(((gfn + 1) * PAGE, Mapping::Memory)));
        // Whoever writes there never comes back on Xen 4.17, which takes a permission fault for one that another CPU mends.
        put(view + 128, 0u64);
        let answer = call(Hypercall::XenVersion, &[6, second + 128]);
        case("an answer into a mapping to read", answer);
        // The granter changes its mind; what is mapped stays.
        self.entry(WELL, GTF_invalid, 0, 0);
        let (result, three) = self.map(WELL, 0, GNTMAP_host_map | GNTMAP_readonly, gfn + 2);
        case_and("a third, after the entry was cleared", result, status(three.status));
        let gone = self.unmap(gfn, one.handle);
        case_and(
            "the first unmapped",
            gone.0,
            format_args!("{}, flags {:#x}", status(gone.1.status), self.flags(WELL)),
        );
        let read = machine::attempt(|| machine::load(view, 1));
        case("the mapping is read afterwards", i64::from(read.is_ok()));
        let gone = self.unmap(gfn, one.handle);
        case_and("the first unmapped again", gone.0, status(gone.1.status));
        let gone = self.unmap(gfn + 1, two.handle);
        case_and(
            "the second unmapped",
            gone.0,
            format_args!("{}, flags {:#x}", status(gone.1.status), self.flags(WELL)),
        );
        if three.status == 0 {
            let gone = self.unmap(gfn + 2, three.handle);
            case_and("the third unmapped", gone.0, status(gone.1.status));
        }
        self.entry(WELL, GTF_permit_access, 0, machine::frame(LENT));
    }

    fn unmaps(&self) {
        let gfn = self.hole + 4;
        for handle in [0, 1, 100, 1 << 20, u32::MAX] {
            let (result, after) = self.unmap(gfn, handle);
            case_and(format_args!("GNTTABOP_unmap_grant_ref of handle {handle:#x}"), result, status(after.status));
        }
        for (what, elsewhere) in [
            ("nothing", gfn + 1),
            ("a page of the guest", machine::frame(LENT + 9)),
            ("the table", self.hole - 16),
            ("a frame beyond", 1 << 40),
            ("frame 0", 0),
        ] {
            let (_, made) = self.map(WELL, 0, GNTMAP_host_map, gfn);
            let (result, after) = self.unmap(elsewhere, made.handle);
            let left = format_args!("{}, flags {:#x}", status(after.status), self.flags(WELL));
            case_and(format_args!("GNTTABOP_unmap_grant_ref from {what}"), result, left);
            let (result, after) = self.unmap(gfn, made.handle);
            case_and(format_args!("GNTTABOP_unmap_grant_ref after one from {what}"), result, status(after.status));
        }
        let mut ends = alloc::vec::Vec::new();
        for new_addr in [0, (gfn + 2) * PAGE, 1] {
            let (_, made) = self.map(WELL, 0, GNTMAP_host_map, gfn);
            let argument = UnmapAndReplace { host_addr: gfn * PAGE, new_addr, handle: made.handle, status: 77 };
            let (result, after) = operate(GrantTableOp::UnmapAndReplace, argument);
            ends.push((result, after.status));
            let (_, again) = self.unmap(gfn, made.handle);
            ends.push((0, again.status));
        }
        for (index, (result, end)) in ends.into_iter().enumerate() {
            case_and(format_args!("GNTTABOP_unmap_and_replace {index}"), result, status(end));
        }
        let argument = UnmapAndReplace { host_addr: 0, new_addr: 0, handle: 9999, status: 77 };
        let (result, after) = operate(GrantTableOp::UnmapAndReplace, argument);
        case_and("GNTTABOP_unmap_and_replace of no handle", result, status(after.status));
        // Several in one call, of which the second fails.
        let at = machine::page(6);
        for index in 0..3 {
            let reference = if index == 1 { NONE } else { WELL };
            let host_addr = (gfn + index) * PAGE;
            let argument =
                MapGrantRef { host_addr, flags: GNTMAP_host_map, r#ref: reference, status: 77, ..Default::default() };
            put(at + index * 32, argument);
        }
        let result = call(CALL, &[0, at, 3]);
        let made = [0, 1, 2].map(|index| get::<MapGrantRef>(at + index * 32));
        let [a, b, c] = made.map(|made| status(made.status));
        case_and("GNTTABOP_map_grant_ref of three", result, format_args!("{a} {b} {c}"));
        for (index, made) in made.iter().enumerate() {
            let host_addr = (gfn + index as u64) * PAGE;
            put(at + index as u64 * 24, UnmapGrantRef { host_addr, dev_bus_addr: 0, handle: made.handle, status: 77 });
        }
        let result = call(CALL, &[1, at, 3]);
        let [a, b, c] = [0, 1, 2].map(|index| status(get::<UnmapGrantRef>(at + index * 24).status));
        // The second's handle is whatever stood there: the first's.
        case_and("GNTTABOP_unmap_grant_ref of three", result, format_args!("{a} {b} {c}"));
    }

    fn copies(&self) {
        let (from, to) = (machine::frame(LENT), machine::frame(LENT + 1));
        let frame = |gmfn: u64, offset: u16| CopyPtr { ref_or_gmfn: gmfn, domid: DOMID_SELF, offset };
        let grant = |reference: u32, offset: u16| CopyPtr { ref_or_gmfn: reference.into(), domid: 0, offset };
        let (s, d) = (GNTCOPY_source_gref, GNTCOPY_dest_gref);
        let cases: [(&str, CopyPtr, CopyPtr, u16, u16); 32] = [
            ("frame to frame", frame(from, 0), frame(to, 0), 16, 0),
            ("grant to frame", grant(WELL, 0), frame(to, 100), 9, s),
            ("frame to grant", frame(from, 0), grant(WELL_2, 200), 9, d),
            ("grant to grant", grant(WELL, 0), grant(WELL_2, 300), 9, s | d),
            ("a grant to itself", grant(WELL, 0), grant(WELL, 300), 9, s | d),
            ("from a read-only grant", grant(READ_ONLY, 0), frame(to, 100), 9, s),
            ("to a read-only grant", frame(from, 0), grant(READ_ONLY, 100), 9, d),
            ("from another domain's grant", grant(OTHERS, 0), frame(to, 100), 9, s),
            ("from an invalid grant", grant(NONE, 0), frame(to, 100), 9, s),
            ("from a transfer", grant(TRANSFER, 0), frame(to, 100), 9, s),
            ("from a device's grant", grant(DEVICE, 0), frame(to, 100), 9, s),
            ("from a grant of no memory", grant(NO_MEMORY, 0), frame(to, 100), 9, s),
            ("from a grant for a part", grant(SUB_PAGE, 0), frame(to, 100), 9, s),
            ("from grant 40000", grant(40000, 0), frame(to, 100), 9, s),
            ("from grant -1", grant(u32::MAX, 0), frame(to, 100), 9, s),
            ("nothing", frame(from, 0), frame(to, 0), 0, 0),
            ("a whole page", frame(from, 0), frame(to, 0), 4096, 0),
            ("a byte more than a page", frame(from, 0), frame(to, 0), 4097, 0),
            ("beyond the source", frame(from, 4090), frame(to, 0), 9, 0),
            ("beyond the destination", frame(from, 0), frame(to, 4090), 9, 0),
            ("source at the end", frame(from, 4096), frame(to, 0), 0, 0),
            ("offset -1", frame(from, 0xffff), frame(to, 0), 1, 0),
            ("length -1", frame(from, 0), frame(to, 0), 0xffff, 0),
            ("frame 0", frame(0, 0), frame(to, 0), 9, 0),
            ("frame -1", frame(u64::MAX, 0), frame(to, 0), 9, 0),
            ("a hole", frame(self.hole + 12, 0), frame(to, 0), 9, 0),
            ("from the table", frame(self.hole - 16, 0), frame(to, 0), 9, 0),
            ("unknown flags", frame(from, 0), frame(to, 0), 9, 0x80),
            ("another domain's frame", CopyPtr { domid: 1, ..frame(from, 0) }, frame(to, 0), 9, 0),
            ("its own number", CopyPtr { domid: 0, ..frame(from, 0) }, frame(to, 0), 9, 0),
            ("a grant of domain 1", CopyPtr { domid: 1, ..grant(WELL, 0) }, frame(to, 0), 9, s),
            ("a grant of DOMID_SELF", CopyPtr { domid: DOMID_SELF, ..grant(WELL, 0) }, frame(to, 0), 9, s),
        ];
        for (what, source, dest, len, flags) in cases {
            let place = machine::page(LENT + 1) + u64::from(dest.offset % 4000);
            machine::put(machine::page(LENT + 1), &[0; 512]);
            let (result, after) = operate(GrantTableOp::Copy, Copy { source, dest, len, flags, status: 77 });
            let mut text = [0; 9];
            machine::get(place, &mut text);
            let left = format_args!(
                "{}, copied {}, flags {:#x}",
                status(after.status),
                &text == b"lent page",
                self.flags(WELL)
            );
            case_and(format_args!("GNTTABOP_copy, {what}"), result, left);
        }
    }

    fn swaps_and_the_rest(&self, board: &Board) {
        let swap = |ref_a: u32, ref_b: u32| {
            let (result, after) = operate(GrantTableOp::SwapGrantRef, SwapGrantRef { ref_a, ref_b, status: 77 });
            (result, status(after.status))
        };
        for (what, a, b) in [
            ("two entries", WELL, NONE),
            ("back", WELL, NONE),
            ("one with itself", WELL, WELL),
            ("entry -1", WELL, u32::MAX),
            ("entry 40000", 40000, WELL),
        ] {
            let (result, end) = swap(a, b);
            let left = format_args!("{end}, flags {:#x} {:#x}", self.flags(WELL), self.flags(NONE));
            case_and(format_args!("GNTTABOP_swap_grant_ref, {what}"), result, left);
        }
        let (_, made) = self.map(WELL, 0, GNTMAP_host_map, self.hole);
        let (result, end) = swap(WELL, NONE);
        case_and("GNTTABOP_swap_grant_ref, one in use", result, end);
        self.unmap(self.hole, made.handle);
        for (what, mfn, domid) in
            [("a page", machine::frame(LENT), 0), ("no page", 1 << 40, 0), ("to domain 1", machine::frame(LENT), 1)]
        {
            let (result, after) = operate(GrantTableOp::Transfer, Transfer { mfn, domid, r#ref: TRANSFER, status: 77 });
            case_and(format_args!("GNTTABOP_transfer, {what}"), result, status(after.status));
        }
        self.flushes(board);
    }

    fn flushes(&self, board: &Board) {
        let own = machine::physical(machine::page(LENT));
        for (what, address_or_ref, offset, length, op) in [
            ("nothing", 0, 0, 0, 0),
            ("no operation", own, 0, 64, 0),
            ("no bytes", own, 0, 0, 1),
            ("clean", own, 0, 64, 1),
            ("invalidate", own, 64, 64, 2),
            ("both", own, 0, 4096, 3),
            ("an address inside a page", own + 64, 0, 64, 1),
            ("a grant", WELL.into(), 0, 64, 1 | 1 << 31),
            ("unknown operation", own, 0, 64, 4),
            ("offset 4096", own, 4096, 0, 1),
            ("length 4097", own, 0, 4097, 1),
            ("beyond the page", own, 4000, 97, 1),
            ("to the page's end", own, 4000, 96, 1),
            ("a device", board.device, 0, 64, 1),
            ("nothing there", 15 << 30, 0, 64, 1),
            ("address -1", u64::MAX, 0, 64, 1),
            ("not the domain's", (1 << 30) + if board.memory.0 > 1 << 30 { 0 } else { board.memory.1 }, 0, 64, 1),
        ] {
            let argument = CacheFlush { address_or_ref, offset, length, op };
            case(format_args!("GNTTABOP_cache_flush, {what}"), operate(GrantTableOp::CacheFlush, argument).0);
        }
    }
}

fn hostile_pointers(table: &Table) {
    let host_addr = table.hole * PAGE;
    let map = MapGrantRef { host_addr, flags: GNTMAP_host_map, r#ref: NONE, ..Default::default() };
    hostile("GNTTABOP_map_grant_ref", CALL, [0, 0, 1, 0, 0], 1, map);
    hostile("GNTTABOP_unmap_grant_ref", CALL, [1, 0, 1, 0, 0], 1, UnmapGrantRef { handle: 99, ..Default::default() });
    hostile("GNTTABOP_setup_table", CALL, [2, 0, 1, 0, 0], 1, SetupTable { dom: DOMID_SELF, ..Default::default() });
    hostile("GNTTABOP_dump_table", CALL, [3, 0, 1, 0, 0], 1, DumpTable { dom: 1, status: 0 });
    hostile("GNTTABOP_transfer", CALL, [4, 0, 1, 0, 0], 1, Transfer { mfn: 1 << 40, ..Default::default() });
    hostile("GNTTABOP_copy", CALL, [5, 0, 1, 0, 0], 1, Copy::default());
    hostile("GNTTABOP_query_size", CALL, [6, 0, 1, 0, 0], 1, QuerySize { dom: DOMID_SELF, ..Default::default() });
    hostile(
        "GNTTABOP_unmap_and_replace",
        CALL,
        [7, 0, 1, 0, 0],
        1,
        UnmapAndReplace { handle: 99, ..Default::default() },
    );
    hostile("GNTTABOP_set_version", CALL, [8, 0, 1, 0, 0], 1, SetVersion { version: 1 });
    hostile("GNTTABOP_get_version", CALL, [10, 0, 1, 0, 0], 1, GetVersion { dom: DOMID_SELF, pad: 0, version: 0 });
    hostile("GNTTABOP_swap_grant_ref", CALL, [11, 0, 1, 0, 0], 1, SwapGrantRef { ref_a: NONE, ref_b: NONE, status: 0 });
    hostile("GNTTABOP_cache_flush", CALL, [12, 0, 1, 0, 0], 1, CacheFlush::default());
    // A read-only argument of which the answer cannot be written: what was done stays done, or is undone.
    let (result, made) = table.map(WELL, 0, GNTMAP_host_map, table.hole);
    case_and("a mapping afterwards", result, status(made.status));
    case_and("it unmapped", 0, status(table.unmap(table.hole, made.handle).1.status));
}
