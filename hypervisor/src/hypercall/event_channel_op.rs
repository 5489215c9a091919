//! `event_channel_op`: ports between domains, and from the hypervisor. The rules are `event`'s; here they meet guests' memory.

use alloc::sync::Arc;
use core::mem::offset_of;

use xen_abi::event_channel::*;
use xen_abi::xen::DOMID_SELF;

use super::piece::{Piece, again};
use super::{Answer, Errno};
use crate::device::vgic::Concerned;
use crate::domain::{self, Domain};
use crate::event::{Raised, Received, Sent, User};
use crate::memory::Gfn;
use crate::memory::p2m::Kind;
use crate::memory::shared::SharedPage;
use crate::run::{self, Caller};

/// EVTCHNOP_reset, where Xen left off; it is in no header, but answered.
const RESET_CONTINUED: u32 = 14;

/// Does `command` with the structure at `address`.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> Answer {
    let operation = match command as u32 {
        RESET_CONTINUED => EventChannelOp::Reset,
        number => EventChannelOp::from_number(number.into()).ok_or(Errno::ENOSYS)?,
    };
    // What is raised for this very vCPU goes into its list registers before it goes on.
    run::sync(caller.entity, caller.state);
    let domain = caller.domain().clone();
    let words = domain.event_words();
    let at = |offset: usize| address.wrapping_add(offset as u64);
    match operation {
        EventChannelOp::BindInterdomain => {
            let argument: BindInterdomain = caller.get(address)?;
            let port = bind_interdomain(&domain, argument.remote_dom, argument.remote_port)?;
            caller.put(at(offset_of!(BindInterdomain, local_port)), port)?;
        }
        EventChannelOp::BindVirq => {
            let argument: BindVirq = caller.get(address)?;
            let port = domain.events.lock().bind_virq(argument.virq, argument.vcpu)?;
            caller.put(at(offset_of!(BindVirq, port)), port)?;
        }
        EventChannelOp::BindPirq => return caller.get::<BindPirq>(address).and(Err(Errno::EINVAL)),
        EventChannelOp::Close => close(&domain, caller.get::<Close>(address)?.port)?,
        EventChannelOp::Send => send(&domain, caller.get::<Send>(address)?.port)?,
        EventChannelOp::Status => {
            let argument: Status = caller.get(address)?;
            let found = caller.target(argument.dom)?.events.lock().status(argument.port)?;
            caller.put(address, Status { dom: argument.dom, port: argument.port, ..found })?;
        }
        EventChannelOp::AllocUnbound => {
            let argument: AllocUnbound = caller.get(address)?;
            let of = caller.target(argument.dom)?;
            let remote = if argument.remote_dom == DOMID_SELF { domain.id } else { argument.remote_dom };
            other(&domain, remote).ok_or(Errno::ESRCH)?;
            let port = of.events.lock().alloc_unbound(remote, User::Guest, 0)?;
            caller.put(at(offset_of!(AllocUnbound, port)), port)?;
        }
        EventChannelOp::BindIpi => {
            let port = domain.events.lock().bind_ipi(caller.get::<BindIpi>(address)?.vcpu)?;
            caller.put(at(offset_of!(BindIpi, port)), port)?;
        }
        EventChannelOp::BindVcpu => {
            let argument: BindVcpu = caller.get(address)?;
            domain.events.lock().bind_vcpu(argument.port, argument.vcpu)?;
        }
        EventChannelOp::Unmask => {
            let raised = domain.events.lock().unmask(caller.get::<Unmask>(address)?.port, &words)?;
            deliver(&domain, raised);
        }
        EventChannelOp::Reset => return reset(caller, address),
        EventChannelOp::InitControl => init_control(caller, &domain, address)?,
        EventChannelOp::ExpandArray => expand_array(caller, &domain, address)?,
        EventChannelOp::SetPriority => {
            let argument: SetPriority = caller.get(address)?;
            domain.events.lock().set_priority(argument.port, argument.priority)?;
        }
    }
    Ok(0)
}

/// Tells the vCPU what became of an event.
fn deliver(domain: &Arc<Domain>, raised: Raised) {
    if raised.upcall {
        domain.upcall(raised.vcpu);
    }
    if raised.new {
        domain.wake_pollers();
    }
}

/// Finds the domain at the other end.
fn other(domain: &Arc<Domain>, id: u16) -> Option<Arc<Domain>> {
    if id == domain.id { Some(domain.clone()) } else { domain::find(id) }
}

fn bind_interdomain(domain: &Arc<Domain>, remote: u16, remote_port: u32) -> Result<u32, Errno> {
    let id = if remote == DOMID_SELF { domain.id } else { remote };
    let words = domain.event_words();
    let (port, raised) = if id == domain.id {
        domain.events.lock().bind_interdomain(id, None, id, remote_port, &words)?
    } else {
        let other = domain::find(id).ok_or(Errno::ESRCH)?;
        // Two domains' ports are locked in the order of their numbers.
        let (mut own, mut theirs);
        if domain.id < id {
            own = domain.events.lock();
            theirs = other.events.lock();
        } else {
            theirs = other.events.lock();
            own = domain.events.lock();
        }
        own.bind_interdomain(domain.id, Some(&mut *theirs), id, remote_port, &words)?
    };
    deliver(domain, raised);
    Ok(port)
}

fn close(domain: &Arc<Domain>, port: u32) -> Result<(), Errno> {
    let peer = domain.events.lock().close(port, User::Guest, &domain.event_words())?;
    if let Some((id, remote)) = peer
        && let Some(other) = other(domain, id)
    {
        other.events.lock().disconnect(remote, domain.id, port);
    }
    Ok(())
}

fn send(domain: &Arc<Domain>, port: u32) -> Result<(), Errno> {
    let sent = domain.events.lock().send(port)?;
    match sent {
        Sent::Nowhere => {}
        Sent::Here(port) => raise(domain, port),
        Sent::There(id, remote) => {
            let Some(other) = other(domain, id) else { return Ok(()) };
            let received = other.events.lock().receive(remote, domain.id, port, &other.event_words());
            match received {
                Some(Received::Raised(raised)) => deliver(&other, raised),
                Some(Received::ByHypervisor) | None => {}
            }
        }
    }
    Ok(())
}

/// Closes every port of a domain.
fn reset(caller: &mut Caller<'_>, address: u64) -> Answer {
    let domain = caller.target(caller.get::<Reset>(address)?.dom)?;
    if domain.id != caller.domain().id {
        // Another domain would have to be paused, which only the toolstack's calls do.
        return Err(Errno::EINVAL);
    }
    let (mut from, mut piece) = (0, Piece::default());
    loop {
        let next = domain.events.lock().next_bound(from);
        let Some(port) = next else { break };
        let peer = domain.events.lock().close(port, User::Hypervisor, &domain.event_words());
        if let Ok(Some((id, remote))) = peer
            && let Some(other) = other(&domain, id)
        {
            other.events.lock().disconnect(remote, domain.id, port);
        }
        if piece.is_over(caller) {
            // What is closed is passed over.
            return again(caller, [RESET_CONTINUED.into()]);
        }
        from = port + 1;
    }
    let released = domain.events.lock().finish_reset()?;
    drop(released);
    Ok(0)
}

/// Pins a frame of the domain's own memory.
fn pin(domain: &Domain, gfn: u64) -> Result<SharedPage, Errno> {
    let p2m = domain.p2m.lock();
    match p2m.get(Gfn(gfn)) {
        Some((frame, Kind::Memory)) => SharedPage::pin(frame, domain.id).map_err(|_| Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

fn init_control(caller: &Caller<'_>, domain: &Arc<Domain>, address: u64) -> Result<(), Errno> {
    let argument: InitControl = caller.get(address)?;
    let mut events = domain.events.lock();
    let place = events.control_place(argument.vcpu, argument.offset)?;
    let page = pin(domain, argument.control_gfn)?;
    events.init_control(argument.vcpu, page, place, &domain.event_words())?;
    drop(events);
    caller.put(address.wrapping_add(offset_of!(InitControl, link_bits) as u64), EVTCHN_FIFO_LINK_BITS as u8)
}

fn expand_array(caller: &Caller<'_>, domain: &Arc<Domain>, address: u64) -> Result<(), Errno> {
    let argument: ExpandArray = caller.get(address)?;
    // A set, not a list: what a guest has masked and queued may not need memory.
    let (mut upcalls, mut new) = (Concerned::new(), false);
    {
        let mut events = domain.events.lock();
        events.can_expand()?;
        let page = pin(domain, argument.array_gfn)?;
        events.expand_array(page, |event| {
            upcalls.extend(event.upcall.then_some(event.vcpu));
            new |= event.new;
        })?;
    }
    upcalls.for_each(|vcpu| domain.upcall(vcpu));
    if new {
        domain.wake_pollers();
    }
    Ok(())
}

/// Makes a port of a domain pending.
fn raise(domain: &Arc<Domain>, port: u32) {
    let raised = domain.events.lock().raise(port, &domain.event_words());
    deliver(domain, raised);
}

/// Raises a virtual interrupt, if it is bound.
pub fn raise_virq(domain: &Arc<Domain>, vcpu: usize, virq: u32) {
    let raised = domain.events.lock().raise_virq(virq, vcpu, &domain.event_words());
    raised.into_iter().for_each(|event| deliver(domain, event));
}
