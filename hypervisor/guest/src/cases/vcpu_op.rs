//! `vcpu_op` and `vm_assist`: what a vCPU shares with the hypervisor.

use xen_abi::Hypercall;
use xen_abi::vcpu::{RegisterRunstateMemoryArea, RegisterVcpuInfo, RunstateInfo};
use xen_abi::xen::VcpuInfo;

use super::pointers::{hostile, nowhere};
use crate::calls::{call, case, case_and, get, put, with};
use crate::machine;

const CALL: Hypercall = Hypercall::VcpuOp;
/// Pages of the guest's: for vcpu_info, and for the run state.
const INFO: usize = 30;
const RUNSTATE: usize = 31;

/// Where `vcpu_info` is, once the cases have run.
pub fn info() -> u64 {
    machine::page(INFO) + 4048
}

/// Runs the cases.
pub fn run() {
    let gfn = machine::frame(INFO);
    let register =
        |vcpu: u64, mfn: u64, offset: u32| with(CALL, &[10, vcpu], RegisterVcpuInfo { mfn, offset, rsvd: 0 }).0;
    case("VCPUOP_register_vcpu_info of vCPU 1", register(1, gfn, 64));
    case("VCPUOP_register_vcpu_info of vCPU -1", register(0xffff_ffff, gfn, 64));
    case("VCPUOP_register_vcpu_info, offset 4", register(0, gfn, 4));
    case("VCPUOP_register_vcpu_info, offset 4056", register(0, gfn, 4056));
    case("VCPUOP_register_vcpu_info, offset -8", register(0, gfn, 0xffff_fff8));
    case("VCPUOP_register_vcpu_info at frame 0", register(0, 0, 64));
    case("VCPUOP_register_vcpu_info at frame -1", register(0, u64::MAX, 64));
    case("VCPUOP_register_vcpu_info at frame 2^40", register(0, 1 << 40, 64));
    hostile("VCPUOP_register_vcpu_info at frame 0", CALL, [10, 0, 0, 0, 0], 2, RegisterVcpuInfo::default());
    let result = register(0, gfn, 4048);
    let left: VcpuInfo = get(info());
    let left = format_args!("pending {}, selector {:#x}", left.evtchn_upcall_pending, left.evtchn_pending_sel);
    case_and("VCPUOP_register_vcpu_info", result, left);
    case("VCPUOP_register_vcpu_info again", register(0, gfn, 64));

    let area = machine::page(RUNSTATE) + 32;
    let watch = |address: u64| with(CALL, &[5, 0], RegisterRunstateMemoryArea { addr: address }).0;
    let result = watch(area);
    let state: RunstateInfo = get(area);
    let sum = state.time.iter().sum::<u64>();
    let left = format_args!("state {}, entry {}, sum {}", state.state, state.state_entry_time != 0, sum != 0);
    case_and("VCPUOP_register_runstate_memory_area", result, left);
    case("VCPUOP_register_runstate_memory_area nowhere", watch(nowhere()));
    case("VCPUOP_register_runstate_memory_area at null", watch(0));
    case("VCPUOP_register_runstate_memory_area unaligned", watch(area + 3));
    case("VCPUOP_register_runstate_memory_area across pages", watch(machine::page(RUNSTATE) - 24));
    case("VCPUOP_register_runstate_memory_area in the upper half", watch(0xffff_8000_0000_0000));
    hostile(
        "VCPUOP_register_runstate_memory_area",
        CALL,
        [5, 0, 0, 0, 0],
        2,
        RegisterRunstateMemoryArea { addr: area },
    );
    assists(area);
}

fn assists(area: u64) {
    let assist = |command: u64, kind: u64| call(Hypercall::VmAssist, &[command, kind]);
    case("VMASST_CMD_enable runstate_update_flag", assist(0, 5));
    put(area, RunstateInfo::default());
    case("SCHEDOP_yield", call(Hypercall::SchedOp, &[0, 0]));
    let state: RunstateInfo = get(area);
    case_and("the run state afterwards", state.state.into(), format_args!("flag {}", state.state_entry_time >> 63));
    case("VMASST_CMD_disable runstate_update_flag", assist(1, 5));
    case("VMASST_CMD_disable again", assist(1, 5));
    case("vm_assist 2", assist(2, 5));
    for kind in [0, 1, 3, 4, 6, 63, 64, 0xffff_ffff, 1 << 32 | 5] {
        case(format_args!("VMASST_CMD_enable {kind:#x}"), assist(0, kind));
    }
}
