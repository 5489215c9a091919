//! The rules of event channels: ports, what they are bound to, and how an event gets to a guest.
//!
//! A domain has an [`Events`]. What concerns two domains is done with both at hand; what is to happen beyond these rules (a vCPU to
//! be woken, a page to be released) is returned. Pages that a guest shares are seen as slices of atomics.
//!
//! ```text
//!            alloc_unbound                 bind_interdomain
//!     free ---------------> unbound <-----------------------> interdomain
//!      |  bind_virq, bind_ipi    ^        the other end closes      |
//!      +-------> virq, ipi       +----------------------------------+
//!      ^               |                                            |
//!      +---- close ----+--------------------- close ----------------+
//! ```

pub mod fifo;
pub mod two_level;

use alloc::vec::Vec;

use xen_abi::Errno;
use xen_abi::event_channel::{
    EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN, EVTCHNSTAT_closed,
    EVTCHNSTAT_interdomain, EVTCHNSTAT_ipi, EVTCHNSTAT_unbound, EVTCHNSTAT_virq, Status,
};
use xen_abi::xen::{NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU};

use crate::word::{Page, Word};
use fifo::{Fifo, Queued};
use two_level::Shared;

/// Ports come in this many at a time: a port that nobody has allocated yet exists, or not, by these.
const PORTS_PER_BUCKET: usize = 64;

/// What a port is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Nothing.
    #[default]
    Free,
    /// Nothing ever: port 0.
    Reserved,
    /// Whoever of this domain binds to it.
    Unbound(u16),
    /// A port of a domain.
    Interdomain(u16, u32),
    /// A virtual interrupt.
    Virq(u32),
    /// The domain's own vCPUs.
    Ipi,
}

/// Who uses a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// The guest.
    #[default]
    Guest,
    /// The hypervisor, on the guest's behalf: an emulated UART, say. The guest cannot touch it.
    Hypervisor,
}

#[derive(Clone, Copy, Debug, Default)]
struct Port {
    bound: Bound,
    user: User,
    vcpu: u16,
    queued: Queued,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// The vCPU that the port notifies.
    pub vcpu: usize,
    /// Its upcall is to be raised ([`upcall`]).
    pub upcall: bool,
    /// The port was not pending before: who polls it is to be woken.
    pub new: bool,
}

/// Where an event goes that a guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nowhere: nobody is bound yet.
    Nowhere,
    /// To a port of the sender.
    Here(u32),
    /// To a port of a domain.
    There(u16, u32),
}

/// Where an event arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At the guest.
    Raised(Raised),
    /// At the hypervisor, which is to look after it.
    ByHypervisor,
}

/// A domain's ports. `P` is a page that it gave for FIFO events.
#[derive(Debug)]
pub struct Events<P> {
    ports: Vec<Port>,
    /// No port below is free.
    used: usize,
    /// Ports that are bound, by whom: the guest, the hypervisor.
    bound: [usize; 2],
    /// The highest port the domain may have.
    limit: u32,
    /// The ports of virtual interrupts, for each vCPU; 0 where not bound.
    virqs: Vec<[u32; NR_VIRQS as usize]>,
    fifo: Option<Fifo<P>>,
    dying: bool,
}

/// Says whether a virtual interrupt is one for the domain, not one for each vCPU. Such are bound with vCPU 0.
pub fn is_global(virq: u32) -> bool {
    !matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// Raises a vCPU's `evtchn_upcall_pending`. Returns whether it was clear: then its interrupt is to be made pending.
pub fn upcall(byte: &impl Word<u8>) -> bool {
    byte.swap(1) == 0
}

impl<P: Page> Events<P> {
    /// Returns the ports of a domain with so many vCPUs, which may have ports up to `limit`: none but port 0.
    ///
    /// # Errors
    /// No memory.
    pub fn new(vcpus: usize, limit: u32) -> Result<Self, Errno> {
        let mut virqs = Vec::new();
        virqs.try_reserve_exact(vcpus).map_err(|_| Errno::ENOMEM)?;
        virqs.resize(vcpus, [0; NR_VIRQS as usize]);
        let mut events = Self { ports: Vec::new(), used: 1, bound: [0; 2], limit, virqs, fifo: None, dying: false };
        events.add_bucket()?;
        events.ports[0].bound = Bound::Reserved;
        Ok(events)
    }

    /// Allocates no port from now on. Those that are bound are to be closed by whoever destroys the domain.
    pub fn set_dying(&mut self) {
        self.dying = true;
    }

    /// Returns what a port is bound to and the vCPU it notifies; nothing of a port that does not exist.
    pub fn get(&self, port: u32) -> Option<(Bound, usize)> {
        let known = self.ports.get(port as usize)?;
        Some((known.bound, known.vcpu.into()))
    }

    /// Returns how many ports the ABI in use has.
    fn abi_ports(&self) -> u32 {
        if self.fifo.is_some() { EVTCHN_FIFO_NR_CHANNELS } else { two_level::PORTS }
    }

    fn add_bucket(&mut self) -> Result<(), Errno> {
        self.ports.try_reserve(PORTS_PER_BUCKET).map_err(|_| Errno::ENOMEM)?;
        self.ports.resize(self.ports.len() + PORTS_PER_BUCKET, Port::default());
        Ok(())
    }

    /// Finds the lowest port that is free and, of FIFO events, in no queue any more.
    fn find_free(&mut self) -> Result<u32, Errno> {
        if self.dying {
            return Err(Errno::EINVAL);
        }
        let end = u64::from(self.abi_ports()).min(u64::from(self.limit) + 1) as usize;
        let mut all_used = true;
        for port in self.used..end {
            if port >= self.ports.len() {
                self.add_bucket()?;
            }
            if self.ports[port].bound == Bound::Free {
                if !self.fifo.as_ref().is_some_and(|fifo| fifo.is_busy(port as u32)) {
                    return Ok(port as u32);
                }
                all_used = false;
            } else if all_used {
                self.used = port + 1;
            }
        }
        Err(Errno::ENOSPC)
    }

    fn bind(&mut self, port: u32, bound: Bound, user: User, vcpu: usize) {
        let last = self.ports[port as usize].queued;
        let queued = Queued { remembered: false, priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8, ..last };
        self.ports[port as usize] = Port { bound, user, vcpu: vcpu as u16, queued };
        self.bound[user as usize] += 1;
    }

    fn port(&self, port: u32) -> Result<&Port, Errno> {
        self.ports.get(port as usize).ok_or(Errno::EINVAL)
    }

    fn guests_port(&mut self, port: u32) -> Result<&mut Port, Errno> {
        self.ports.get_mut(port as usize).filter(|known| known.user == User::Guest).ok_or(Errno::EINVAL)
    }

    /// EVTCHNOP_alloc_unbound: makes a port that `remote` may bind to. (It may not exist yet.)
    ///
    /// # Errors
    /// ENOSPC, ENOMEM; EINVAL of a dying domain.
    pub fn alloc_unbound(&mut self, remote: u16, user: User, vcpu: usize) -> Result<u32, Errno> {
        let port = self.find_free()?;
        self.bind(port, Bound::Unbound(remote), user, vcpu);
        Ok(port)
    }

    /// EVTCHNOP_bind_interdomain: connects a new port of domain `id` to one of domain `remote_id` that waits for it. `remote` is
    /// that domain's ports, or nothing if it is the same domain. The new port becomes pending, since events may have been sent
    /// before it was there.
    ///
    /// # Errors
    /// ENOSPC, ENOMEM; EINVAL if the remote port does not wait for this domain.
    pub fn bind_interdomain(
        &mut self,
        id: u16,
        remote: Option<&mut Self>,
        remote_id: u16,
        remote_port: u32,
        shared: &impl Shared,
    ) -> Result<(u32, Raised), Errno> {
        let port = self.find_free()?;
        let other = match remote {
            Some(remote) => remote.ports.get_mut(remote_port as usize),
            None => self.ports.get_mut(remote_port as usize),
        };
        let other = other.filter(|other| other.bound == Bound::Unbound(id)).ok_or(Errno::EINVAL)?;
        other.bound = Bound::Interdomain(id, port);
        self.bind(port, Bound::Interdomain(remote_id, remote_port), User::Guest, 0);
        Ok((port, self.raise(port, shared)))
    }

    /// EVTCHNOP_bind_virq: takes a virtual interrupt.
    ///
    /// # Errors
    /// EINVAL: no such interrupt, or a global one with another vCPU than 0; ENOENT: no such vCPU; EEXIST: taken; ENOSPC, ENOMEM.
    pub fn bind_virq(&mut self, virq: u32, vcpu: u32) -> Result<u32, Errno> {
        if virq >= NR_VIRQS || is_global(virq) && vcpu != 0 {
            return Err(Errno::EINVAL);
        }
        let taken = self.virqs.get(vcpu as usize).ok_or(Errno::ENOENT)?[virq as usize] != 0;
        if taken {
            return Err(Errno::EEXIST);
        }
        let port = self.find_free()?;
        self.bind(port, Bound::Virq(virq), User::Guest, vcpu as usize);
        self.virqs[vcpu as usize][virq as usize] = port;
        Ok(port)
    }

    /// EVTCHNOP_bind_ipi: makes a port for signals to a vCPU.
    ///
    /// # Errors
    /// ENOENT: no such vCPU; ENOSPC, ENOMEM.
    pub fn bind_ipi(&mut self, vcpu: u32) -> Result<u32, Errno> {
        if vcpu as usize >= self.virqs.len() {
            return Err(Errno::ENOENT);
        }
        let port = self.find_free()?;
        self.bind(port, Bound::Ipi, User::Guest, vcpu as usize);
        Ok(port)
    }

    /// EVTCHNOP_close, for `user`: frees a port. If it was connected returns the other end, domain and port: the caller has that
    /// [`Events::disconnect`]ed before anything else happens to either.
    ///
    /// # Errors
    /// EINVAL: no such port, free, or the hypervisor's and not to be closed by a guest.
    pub fn close(&mut self, port: u32, user: User, shared: &impl Shared) -> Result<Option<(u16, u32)>, Errno> {
        let known = *self.port(port)?;
        if known.user == User::Hypervisor && user == User::Guest {
            return Err(Errno::EINVAL);
        }
        let peer = match known.bound {
            Bound::Free | Bound::Reserved => return Err(Errno::EINVAL),
            Bound::Interdomain(domain, remote) => Some((domain, remote)),
            Bound::Virq(virq) => {
                for of_vcpu in &mut self.virqs {
                    if of_vcpu[virq as usize] == port {
                        of_vcpu[virq as usize] = 0;
                    }
                }
                None
            }
            Bound::Unbound(_) | Bound::Ipi => None,
        };
        self.bound[known.user as usize] -= 1;
        // A new owner must find nothing that was meant for this one.
        let known = &mut self.ports[port as usize];
        match &self.fifo {
            Some(fifo) => fifo.clear_pending(port, &mut known.queued),
            None => two_level::clear_pending(shared, port),
        }
        *known = Port { queued: known.queued, ..Port::default() };
        self.used = self.used.min(port as usize);
        Ok(peer)
    }

    /// Tells a port that its other end, a port of domain `closer`, was closed: it waits for that domain again.
    pub fn disconnect(&mut self, port: u32, closer: u16, closed: u32) {
        if let Some(known) = self.ports.get_mut(port as usize)
            && known.bound == Bound::Interdomain(closer, closed)
        {
            known.bound = Bound::Unbound(closer);
        }
    }

    /// EVTCHNOP_send: says where an event of the guest goes; there it is to be [`Events::receive`]d.
    ///
    /// # Errors
    /// EINVAL: no such port, the hypervisor's, or one that cannot be sent on.
    pub fn send(&mut self, port: u32) -> Result<Sent, Errno> {
        match self.guests_port(port)?.bound {
            Bound::Unbound(_) => Ok(Sent::Nowhere),
            Bound::Interdomain(domain, remote) => Ok(Sent::There(domain, remote)),
            Bound::Ipi => Ok(Sent::Here(port)),
            Bound::Free | Bound::Reserved | Bound::Virq(_) => Err(Errno::EINVAL),
        }
    }

    /// Takes an event that was sent from a port of domain `sender`; nothing happens if they are no longer connected.
    pub fn receive(&mut self, port: u32, sender: u16, from: u32, shared: &impl Shared) -> Option<Received> {
        let known = self.ports.get(port as usize)?;
        if known.bound != Bound::Interdomain(sender, from) {
            return None;
        }
        Some(match known.user {
            User::Hypervisor => Received::ByHypervisor,
            User::Guest => Received::Raised(self.raise(port, shared)),
        })
    }

    /// Raises a virtual interrupt; a global one on any vCPU. Nothing happens if the guest has not taken it.
    pub fn raise_virq(&mut self, virq: u32, vcpu: usize, shared: &impl Shared) -> Option<Raised> {
        let vcpu = if is_global(virq) { 0 } else { vcpu };
        let port = *self.virqs.get(vcpu)?.get(virq as usize)?;
        (port != 0).then(|| self.raise(port, shared))
    }

    /// Makes a port of this domain pending, whatever it is bound to.
    pub fn raise(&mut self, port: u32, shared: &impl Shared) -> Raised {
        let Some(known) = self.ports.get_mut(port as usize) else { return Raised::default() };
        let vcpu = usize::from(known.vcpu);
        let (new, upcall) = match &mut self.fifo {
            Some(fifo) => fifo.set_pending(port, vcpu, &mut known.queued),
            None => two_level::set_pending(shared, port, vcpu),
        };
        Raised { vcpu, upcall, new }
    }

    /// EVTCHNOP_status: fills in what a port is.
    ///
    /// # Errors
    /// EINVAL: no such port; EACCES: the hypervisor's.
    pub fn status(&self, port: u32) -> Result<Status, Errno> {
        let known = self.port(port)?;
        let (status, dom_or_irq, remote_port) = match known.bound {
            Bound::Free | Bound::Reserved => (EVTCHNSTAT_closed, 0, 0),
            Bound::Unbound(domain) => (EVTCHNSTAT_unbound, domain.into(), 0),
            Bound::Interdomain(domain, remote) => (EVTCHNSTAT_interdomain, domain.into(), remote),
            Bound::Virq(virq) => (EVTCHNSTAT_virq, virq, 0),
            Bound::Ipi => (EVTCHNSTAT_ipi, 0, 0),
        };
        if known.user == User::Hypervisor {
            return Err(Errno::EACCES);
        }
        Ok(Status { port, status, vcpu: known.vcpu.into(), dom_or_irq, remote_port, ..Status::default() })
    }

    /// EVTCHNOP_bind_vcpu: chooses the vCPU that a port notifies, from its next event on.
    ///
    /// # Errors
    /// ENOENT: no such vCPU; EINVAL: no such port, the hypervisor's, or one whose vCPU is what it is.
    pub fn bind_vcpu(&mut self, port: u32, vcpu: u32) -> Result<(), Errno> {
        if vcpu as usize >= self.virqs.len() {
            return Err(Errno::ENOENT);
        }
        let known = self.guests_port(port)?;
        match known.bound {
            Bound::Unbound(_) | Bound::Interdomain(..) => {}
            Bound::Virq(virq) if is_global(virq) => {}
            _ => return Err(Errno::EINVAL),
        }
        known.vcpu = vcpu as u16;
        Ok(())
    }

    /// EVTCHNOP_unmask: unmasks a port, and delivers an event that waited.
    ///
    /// # Errors
    /// EINVAL: no such port.
    pub fn unmask(&mut self, port: u32, shared: &impl Shared) -> Result<Raised, Errno> {
        let known = self.ports.get_mut(port as usize).ok_or(Errno::EINVAL)?;
        let vcpu = usize::from(known.vcpu);
        let (new, upcall) = match &mut self.fifo {
            Some(fifo) => fifo.unmask(port, vcpu, &mut known.queued),
            None => (false, two_level::unmask(shared, port, vcpu)),
        };
        Ok(Raised { vcpu, upcall, new })
    }

    /// Says whether a port is pending, for SCHEDOP_poll.
    ///
    /// # Errors
    /// EINVAL: no such port, or a free one.
    pub fn is_pending(&self, port: u32, shared: &impl Shared) -> Result<bool, Errno> {
        if matches!(self.port(port)?.bound, Bound::Free | Bound::Reserved) {
            return Err(Errno::EINVAL);
        }
        Ok(match &self.fifo {
            Some(fifo) => fifo.is_pending(port),
            None => two_level::is_pending(shared, port),
        })
    }

    /// Says whether a port is masked, for debug keys.
    pub fn is_masked(&self, port: u32, shared: &impl Shared) -> bool {
        match &self.fifo {
            Some(fifo) => fifo.is_masked(port),
            None => two_level::is_masked(shared, port),
        }
    }

    /// Returns the next port from `from` on that is bound, for a reset, for the end of a domain, and for debug keys.
    pub fn next_bound(&self, from: u32) -> Option<u32> {
        let rest = self.ports.get(from as usize..)?;
        let ahead = rest.iter().position(|port| !matches!(port.bound, Bound::Free | Bound::Reserved))?;
        Some(from + ahead as u32)
    }

    /// The end of EVTCHNOP_reset, once every port was closed as [`User::Hypervisor`]: the domain is back at two levels. Returns the
    /// queues it had, whose pages are to be released.
    ///
    /// # Errors
    /// EAGAIN: a port of the guest has been bound in the meantime.
    pub fn finish_reset(&mut self) -> Result<Option<Fifo<P>>, Errno> {
        if self.bound[User::Guest as usize] > 0 {
            return Err(Errno::EAGAIN);
        }
        for port in &mut self.ports {
            port.queued = Queued::default();
        }
        Ok(self.fifo.take())
    }

    /// EVTCHNOP_init_control, first part: says where in the page a vCPU's control block will be.
    ///
    /// # Errors
    /// ENOENT: no such vCPU; EINVAL: no such place.
    pub fn control_place(&self, vcpu: u32, offset: u32) -> Result<usize, Errno> {
        if vcpu as usize >= self.virqs.len() {
            return Err(Errno::ENOENT);
        }
        fifo::control_place(offset)
    }

    /// EVTCHNOP_init_control, second part: gives a vCPU its control block. The first one changes the domain to FIFO events; what is
    /// pending then is remembered until the ports have words.
    ///
    /// # Errors
    /// EINVAL: the vCPU has one; ENOMEM.
    pub fn init_control(&mut self, vcpu: u32, page: P, place: usize, shared: &impl Shared) -> Result<(), Errno> {
        if let Some(fifo) = &mut self.fifo {
            return fifo.set_control(vcpu as usize, page, place);
        }
        let mut fifo = Fifo::new(self.virqs.len())?;
        fifo.set_control(vcpu as usize, page, place)?;
        for (port, known) in self.ports.iter_mut().enumerate().skip(1) {
            known.queued = Queued { remembered: two_level::is_pending(shared, port as u32), ..Queued::default() };
        }
        self.fifo = Some(fifo);
        Ok(())
    }

    /// EVTCHNOP_expand_array, first part: says whether a page would be taken.
    ///
    /// # Errors
    /// EOPNOTSUPP: events are in two levels; ENOSPC: there are pages for all ports.
    pub fn can_expand(&self) -> Result<(), Errno> {
        let fifo = self.fifo.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        if fifo.has_room() { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// EVTCHNOP_expand_array, second part: adds a page of event words, and delivers what was remembered for its ports: `raised` is
    /// told of each.
    ///
    /// # Errors
    /// As [`Events::can_expand`]; ENOMEM.
    pub fn expand_array(&mut self, page: P, mut raised: impl FnMut(Raised)) -> Result<(), Errno> {
        let fifo = self.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        for port in fifo.expand(page)? {
            let Some(known) = self.ports.get_mut(port as usize) else { break };
            if core::mem::take(&mut known.queued.remembered) {
                let vcpu = usize::from(known.vcpu);
                let (new, upcall) = fifo.set_pending(port, vcpu, &mut known.queued);
                raised(Raised { vcpu, upcall, new });
            }
        }
        Ok(())
    }

    /// EVTCHNOP_set_priority: chooses a port's queue, from its next event on.
    ///
    /// # Errors
    /// EINVAL: no such port, or no such queue; ENOSYS: events are in two levels; EACCES: the port is free.
    pub fn set_priority(&mut self, port: u32, priority: u32) -> Result<(), Errno> {
        let known = self.ports.get_mut(port as usize).ok_or(Errno::EINVAL)?;
        if self.fifo.is_none() {
            return Err(Errno::ENOSYS);
        }
        if matches!(known.bound, Bound::Free | Bound::Reserved) {
            return Err(Errno::EACCES);
        }
        if priority > EVTCHN_FIFO_PRIORITY_MIN {
            return Err(Errno::EINVAL);
        }
        known.queued.priority = priority as u8;
        Ok(())
    }
}
