//! A page mapped here and there: each place costs the hypervisor a table, until it says that there are enough.

use xen_abi::Hypercall;
use xen_abi::memory::AddToPhysmap;
use xen_abi::xen::DOMID_SELF;

use crate::calls::{case, result, with};
use crate::{Board, machine, say};

/// XENMEM_add_to_physmap, and the devices' registers as its space.
const ADD_TO_PHYSMAP: u64 = 7;
const DEV_MMIO: u32 = 5;
/// Where nothing is, and how far apart tables are; more of them than half a gigabyte holds.
const FIRST: u64 = 1 << 24;
const STEP: u64 = 512;
const MANY: u64 = 200_000;

/// Runs the case.
pub fn run(board: &Board) {
    let idx = board.device / machine::PAGE;
    let add = |count: u64| {
        let argument =
            AddToPhysmap { domid: DOMID_SELF, space: DEV_MMIO, idx, gpfn: FIRST + count * STEP, ..Default::default() };
        with(Hypercall::MemoryOp, &[ADD_TO_PHYSMAP], argument).0
    };
    let refused = (0..MANY).map(|count| (count, add(count))).find(|&(_, answer)| answer != 0);
    let (count, answer) = refused.unwrap_or((MANY, 0));
    say!("a page in {count} places, then {}", result(answer));
    // What is there is there, and all else works.
    case("in the first place again", add(0));
    say!("PSCI_VERSION = {:#x}", machine::firmware(false, [0x8400_0000, 0, 0, 0])[0]);
}
