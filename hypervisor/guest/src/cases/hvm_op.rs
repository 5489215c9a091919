//! `hvm_op`: parameters of a domain.

use xen_abi::Hypercall;
use xen_abi::hvm::hvm_op::HvmParam;
use xen_abi::xen::DOMID_SELF;

use super::DOMAINS;
use super::pointers::{hostile, nowhere, read_only};
use crate::calls::{Runs, call, case, case_and, put, with};

const CALL: Hypercall = Hypercall::HvmOp;

/// Runs the cases.
pub fn run() {
    for (operation, what) in [(0, "HVMOP_set_param of DOMID_SELF, index"), (1, "HVMOP_get_param of DOMID_SELF, index")]
    {
        let mut runs = Runs::new(what);
        for index in 0..48 {
            let argument = HvmParam { domid: DOMID_SELF, index, value: 0, pad: 0 };
            runs.add(index.into(), with(CALL, &[operation], argument).0);
        }
        drop(runs);
        let argument = HvmParam { domid: DOMID_SELF, index: u32::MAX, ..Default::default() };
        case(format_args!("{what} -1"), with(CALL, &[operation], argument).0);
    }
    for index in [0, 1, 2, 17, 18] {
        let (result, after) = with(CALL, &[1], HvmParam { domid: DOMID_SELF, index, value: 0x77, pad: 0 });
        case_and(format_args!("HVMOP_get_param {index}"), result, format_args!("value {:#x}", after.value));
    }
    for (name, domid) in DOMAINS {
        for (operation, what) in [(0, "HVMOP_set_param"), (1, "HVMOP_get_param")] {
            let argument = HvmParam { domid, index: 1, value: 0, pad: 0 };
            case(format_args!("{what} 1 of {name}"), with(CALL, &[operation], argument).0);
        }
    }
    case("HVMOP_guest_request_vm_event", call(CALL, &[24, 0]));
    case("HVMOP_guest_request_vm_event, a pointer", call(CALL, &[24, nowhere()]));
    let argument = HvmParam { domid: DOMID_SELF, index: 0, value: 0, pad: 0 };
    hostile("HVMOP_get_param", CALL, [1, 0, 0, 0, 0], 1, argument);
    let (pointer, place) = read_only();
    put(place, argument);
    case("HVMOP_get_param into what cannot be written", call(CALL, &[1, pointer]));
}
