//! `vcpu_op`: where a vCPU keeps what it shares with the hypervisor.

use core::sync::atomic::Ordering::*;

use xen_abi::vcpu::{RegisterRunstateMemoryArea, RegisterVcpuInfo, VcpuOp};

use super::{Answer, Errno};
use crate::domain::vcpu::{INFO_SIZE, Status};
use crate::memory::Gfn;
use crate::memory::shared::SharedPage;
use crate::run::Caller;

/// Does `command` for vCPU `vcpu`.
pub fn call(caller: &mut Caller<'_>, command: u64, vcpu: u64, address: u64) -> Answer {
    let index = vcpu as u32 as usize;
    if index >= caller.domain().vcpus.len() {
        return Err(Errno::ENOENT);
    }
    match VcpuOp::from_number(u64::from(command as u32)) {
        Some(VcpuOp::RegisterVcpuInfo) => register_info(caller, index, address),
        Some(VcpuOp::RegisterRunstateMemoryArea) => {
            let area: RegisterRunstateMemoryArea = caller.get(address)?;
            crate::domain::runstate::register(caller, index, area.addr);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn register_info(caller: &mut Caller<'_>, index: usize, address: u64) -> Answer {
    let argument: RegisterVcpuInfo = caller.get(address)?;
    let (gfn, offset) = (Gfn(argument.mfn), argument.offset);
    if u64::from(offset) > 4096 - INFO_SIZE || offset % 8 != 0 {
        return Err(Errno::ENXIO);
    }
    let domain = caller.domain().clone();
    let vcpu = &domain.vcpus[index];
    if vcpu.has_info() || index != caller.entity.index && vcpu.status() != Status::Off {
        return Err(Errno::EINVAL);
    }
    let page = {
        let p2m = domain.p2m.lock();
        let (mfn, kind) = p2m.get(gfn).ok_or(Errno::EINVAL)?;
        if kind != crate::memory::p2m::Kind::Memory {
            return Err(Errno::EINVAL);
        }
        SharedPage::pin(mfn, domain.id).map_err(|_| Errno::EINVAL)?
    };
    if !vcpu.set_info(&domain, page, offset as usize) {
        return Err(Errno::EINVAL);
    }
    // Whatever was pending meanwhile is looked for anew.
    vcpu.with_info(&domain, |info| {
        info.pending_selector.store(u64::MAX, SeqCst);
        info.upcall_pending.store(0, SeqCst);
    });
    crate::run::sync(caller.entity, caller.state);
    domain.upcall(index);
    Ok(0)
}
