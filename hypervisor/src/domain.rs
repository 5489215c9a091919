//! A domain: a guest, its memory, its vCPUs, its devices, and what it may do.

pub mod build;
pub mod devicetree;
pub mod features;
pub mod grants;
pub mod gzip;
pub mod runstate;
pub mod vcpu;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use xen_abi::xen::SharedInfo;

use crate::arch::{CPUS_MAX, Lock, Once, stage2};
use crate::console::limit::Limit;
use crate::event::{self, Events, two_level};
use crate::grant::mapping::Mappings;
use crate::memory::p2m::P2m;
use crate::memory::shared::SharedPage;
use crate::{info, run, schedule};
use features::Identification;
use grants::Grants;
use vcpu::{NOWHERE, Vcpu};

/// HVM parameters, all of them.
const PARAMETERS: usize = xen_abi::hvm::params::HVM_NR_PARAMS as usize;

/// Where a guest finds the devices that are not there.
#[derive(Debug, Clone)]
pub struct Map {
    /// The distributor and its size.
    pub distributor: (u64, u64),
    /// The regions in which redistributors are, one after the other.
    pub redistributors: Vec<(u64, u64)>,
    /// A UART that only writes, and its size.
    pub uart: Option<(u64, u64)>,
}

impl Map {
    /// Returns where among all redistributors something lies, of which `inside` says whether and where it is in a region.
    pub fn in_redistributors(&self, inside: impl Fn(u64, u64) -> Option<u64>) -> Option<u64> {
        let mut before = 0;
        self.redistributors.iter().find_map(|&(start, length)| {
            let found = inside(start, length).map(|offset| before + offset);
            before += length;
            found
        })
    }
}

/// Interrupts that a domain's own devices raise.
#[derive(Debug, Clone, Copy)]
pub struct Interrupts {
    /// The virtual timer, in guest and machine.
    pub virtual_timer: u32,
    /// The physical timer, which is emulated.
    pub physical_timer: u32,
    /// Event channels.
    pub events: u32,
}

/// A domain.
#[derive(Debug)]
pub struct Domain {
    /// Its number.
    pub id: u16,
    /// Its identifier.
    pub handle: Lock<[u8; 16]>,
    /// Whether it may control others and the machine.
    pub control: bool,
    /// Whether its frames are the machine's frames of the same number.
    pub direct: bool,
    /// Its physical memory.
    pub p2m: Lock<P2m>,
    /// Its vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// Its interrupt controller.
    pub vgic: Lock<crate::device::vgic::Vgic>,
    /// Its version.
    pub vgic_version: crate::device::vgic::Version,
    /// Where its devices are.
    pub map: Map,
    /// Their interrupts.
    pub interrupts: Interrupts,
    /// The page it shares with the hypervisor.
    pub shared_info: SharedPage,
    /// Where it has mapped that page.
    pub shared_info_at: Lock<Option<crate::memory::Gfn>>,
    /// HVM parameters.
    pub parameters: Lock<[u64; PARAMETERS]>,
    /// What its CPUs say they are.
    pub identification: Identification,
    /// Frames it owns.
    pub pages: AtomicU64,
    /// Frames it may own.
    pub pages_max: AtomicU64,
    /// Physical count at which its virtual count was 0.
    pub time_offset: u64,
    /// Event channels.
    pub events: Lock<Events<SharedPage>>,
    /// Grants.
    pub grants: Lock<Grants>,
    /// What it has mapped of others' grants.
    pub mappings: Lock<Mappings>,
    /// Not 0 if some vCPU may wait in SCHEDOP_poll ([`Vcpu::polls`]).
    pub polling: AtomicU64,
    /// Ways it wants to be treated (vm_assist).
    pub assists: AtomicU64,
    /// The vCPU that was on each CPU last, or [`vcpu::NOWHERE`].
    pub last: [AtomicUsize; CPUS_MAX],
    /// Why it stopped, if it has: a code of SCHEDOP_shutdown.
    pub shutdown: Lock<Option<u32>>,
    /// How much more it may make the hypervisor say.
    pub log: Lock<Limit>,
}

/// What a new domain is made of; [`Domain`] says what each is.
#[derive(Debug)]
#[expect(missing_docs, reason = "as in Domain")]
pub struct Parts {
    pub id: u16,
    pub control: bool,
    pub direct: bool,
    pub p2m: P2m,
    pub vcpus: Vec<Vcpu>,
    pub vgic: crate::device::vgic::Vgic,
    pub vgic_version: crate::device::vgic::Version,
    pub map: Map,
    pub interrupts: Interrupts,
    pub pages: u64,
    /// The highest number of an event channel.
    pub ports_max: u32,
    /// How many mappings of others' grants it may have.
    pub mappings_max: usize,
}

impl Domain {
    /// Returns a domain that has done nothing yet. Nobody knows it.
    ///
    /// # Errors
    /// What there is no memory for.
    pub fn new(parts: Parts) -> Result<Domain, &'static str> {
        let vcpus = parts.vcpus.len();
        Ok(Domain {
            id: parts.id,
            handle: Lock::new([0; 16]),
            control: parts.control,
            direct: parts.direct,
            p2m: Lock::new(parts.p2m),
            vcpus: parts.vcpus,
            vgic: Lock::new(parts.vgic),
            vgic_version: parts.vgic_version,
            map: parts.map,
            interrupts: parts.interrupts,
            shared_info: SharedPage::lend(parts.id).ok_or("no memory for the shared page")?,
            shared_info_at: Lock::new(None),
            parameters: Lock::new([0; PARAMETERS]),
            identification: [[0; 8]; 8],
            pages: AtomicU64::new(parts.pages),
            pages_max: AtomicU64::new(parts.pages),
            time_offset: 0,
            events: Lock::new(Events::new(vcpus, parts.ports_max).map_err(|_| "no memory for event channels")?),
            grants: Lock::new(Grants::new(grants::FRAMES_MAX)),
            mappings: Lock::new(Mappings::new(parts.mappings_max)),
            polling: AtomicU64::new(0),
            assists: AtomicU64::new(0),
            last: nowhere(),
            shutdown: Lock::new(None),
            log: Lock::new(Limit::new()),
        })
    }
}

/// Every domain there is. Few, found by number.
static DOMAINS: Lock<Vec<Arc<Domain>>> = Lock::new(Vec::new());
static HARDWARE: Once<Arc<Domain>> = Once::new();

/// Makes a domain known.
pub fn add(domain: Arc<Domain>) {
    if domain.control {
        HARDWARE.set(domain.clone());
    }
    DOMAINS.lock().push(domain);
}

/// Makes another domain the one with a number, or none: the domains of host tests come and go, and none has the machine's devices.
#[cfg(not(target_os = "none"))]
pub fn replace(id: u16, domain: Option<Arc<Domain>>) {
    let mut domains = DOMAINS.lock();
    domains.retain(|known| known.id != id);
    domains.extend(domain);
}

/// Returns the domain with a number.
pub fn find(id: u16) -> Option<Arc<Domain>> {
    DOMAINS.lock().iter().find(|domain| domain.id == id).cloned()
}

/// Returns all domains.
pub fn all() -> Vec<Arc<Domain>> {
    DOMAINS.lock().clone()
}

/// Returns the domain that has the devices: Dom0.
pub fn hardware() -> Option<&'static Arc<Domain>> {
    HARDWARE.get()
}

/// Acts on all domains if their list is free: for a machine that dies, whose locks are held for ever.
pub fn for_each_if_free(mut act: impl FnMut(&Domain)) {
    if let Some(domains) = DOMAINS.try_lock() {
        domains.iter().for_each(|domain| act(domain));
    }
}

static NO_REBOOT: Once<bool> = Once::new();

/// Says whether the machine stops where it would start anew.
pub fn start(no_reboot: bool) {
    NO_REBOOT.set(no_reboot);
}

/// Whether the machine stops where it would start anew.
pub fn is_final() -> bool {
    NO_REBOOT.get().copied().unwrap_or(false)
}

impl Domain {
    /// The domain ends, for a reason of SCHEDOP_shutdown; the first that was given counts. With Dom0 the machine does.
    pub fn stop(&self, reason: u32) {
        let code = *self.shutdown.lock().get_or_insert(reason);
        if self.control {
            info!("Domain {}: its vCPUs went to another CPU {} times", self.id, schedule::moves(self));
            run::stop_machine(code, is_final());
        }
    }

    /// A vCPU comes onto a CPU, whose VTTBR_EL2 is the domain's. All vCPUs share an identifier, so what the CPU knows of another one's
    /// translations, which may be others under the same ASID, is forgotten. What a vCPU itself left where it was before is right:
    /// its own invalidations reach all CPUs.
    pub fn enter(&self, vcpu: usize, cpu: usize) {
        let last = self.last[cpu].swap(vcpu, Relaxed);
        if last != vcpu && last != NOWHERE {
            stage2::invalidate_here();
        }
    }

    /// Lets vCPUs look at what is new for them.
    pub fn notify(self: &Arc<Self>, vcpus: impl IntoIterator<Item = usize>) {
        for vcpu in vcpus {
            if vcpu < self.vcpus.len() {
                schedule::notify(self, vcpu);
            }
        }
    }

    /// Makes an interrupt pending.
    pub fn inject(self: &Arc<Self>, vcpu: usize, interrupt: u32) {
        let concerned = self.vgic.lock().inject(vcpu, interrupt);
        self.notify(concerned);
    }

    /// Raises or lowers the line of a private interrupt.
    pub fn set_line(self: &Arc<Self>, vcpu: usize, interrupt: u32, line: bool) {
        let concerned = self.vgic.lock().set_line(vcpu, interrupt, line);
        self.notify(concerned);
    }

    /// Tells a vCPU that an event waits: sets its upcall byte, and raises its interrupt if the byte was clear.
    pub fn upcall(self: &Arc<Self>, vcpu: usize) {
        let Some(known) = self.vcpus.get(vcpu) else { return };
        if known.with_info(self, |info| event::upcall(info.upcall_pending)).unwrap_or(false) {
            self.inject(vcpu, self.interrupts.events);
        }
        // A vCPU that polls or blocks looks again.
        schedule::notify(self, vcpu);
    }

    /// Lets vCPUs that poll look again: a port is pending that was not. They find out themselves whether it is one of theirs.
    pub fn wake_pollers(self: &Arc<Self>) {
        // A vCPU says that it polls before it says that some do, and looks at its ports after both.
        if self.polling.load(SeqCst) != 0 && self.polling.swap(0, SeqCst) != 0 {
            let polls = |index: &usize| self.vcpus[*index].polls.swap(false, SeqCst);
            self.notify((0..self.vcpus.len()).filter(polls));
        }
    }

    /// Returns the words of two-level events.
    pub fn event_words(&self) -> EventWords<'_> {
        EventWords(self)
    }

    /// Returns the vCPU whose MPIDR has these affinity fields.
    pub fn by_affinity(&self, affinity: u64) -> Option<usize> {
        self.vcpus.iter().position(|vcpu| vcpu.affinity() == affinity)
    }
}

/// Returns that no vCPU was anywhere yet.
pub fn nowhere() -> [AtomicUsize; CPUS_MAX] {
    [const { AtomicUsize::new(NOWHERE) }; CPUS_MAX]
}

/// The words of two-level events that a domain shares.
#[derive(Debug, Clone, Copy)]
pub struct EventWords<'a>(&'a Domain);

impl EventWords<'_> {
    fn at(&self, offset: usize) -> &[AtomicU64] {
        &self.0.shared_info.longs()[offset / 8..offset / 8 + 64]
    }
}

impl two_level::Shared for EventWords<'_> {
    type Word = AtomicU64;

    fn pending(&self) -> &[AtomicU64] {
        self.at(offset_of!(SharedInfo, evtchn_pending))
    }

    fn mask(&self) -> &[AtomicU64] {
        self.at(offset_of!(SharedInfo, evtchn_mask))
    }

    fn select(&self, vcpu: usize, bits: u64) -> Option<u64> {
        self.0.vcpus.get(vcpu)?.with_info(self.0, |info| info.pending_selector.fetch_or(bits, SeqCst))
    }
}

/// Gives a device's interrupt, which `cpu` has taken, to Dom0. Returns whether it stays active until Dom0 ends it.
pub fn deliver_physical(interrupt: u32, cpu: usize) -> bool {
    let Some(domain) = hardware() else { return false };
    let (stays, concerned) = domain.vgic.lock().take(0, interrupt, cpu);
    domain.notify(concerned);
    stays
}

/// Returns the affinity fields of a vCPU's MPIDR: 16 to a cluster.
pub fn affinity(vcpu: usize) -> u64 {
    let vcpu = vcpu as u64;
    vcpu & 0xf | vcpu >> 4 << 8
}

/// Domains for tests, over the fake machine.
#[cfg(test)]
pub mod fixture {
    use super::*;
    use crate::arch::{start_memory, vcpu::Saved};
    use crate::device::vgic::{Version, Vgic};
    use crate::memory::Gfn;
    use crate::memory::frames::{self, State};
    use crate::memory::p2m::Kind;

    /// Returns a domain of one vCPU and 16 pages, 1:1, and the address of the first page.
    pub fn domain(id: u16, control: bool) -> (Arc<Domain>, u64) {
        domain_of(id, control, 1)
    }

    /// Returns such a domain of several vCPUs, all of them off.
    pub fn domain_of(id: u16, control: bool, vcpus: usize) -> (Arc<Domain>, u64) {
        start_memory();
        let first = frames::allocate_as(4, id, State::Domain).expect("memory");
        let mut p2m = P2m::new(40, 1).expect("memory");
        p2m.set(Gfn(first.0), first, 16, Kind::Memory).expect("memory");
        let vttbr = p2m.vttbr();
        let parts = Parts {
            id,
            control,
            direct: true,
            p2m,
            vcpus: (0..vcpus).map(|vcpu| Vcpu::new(vcpu, 0, Saved::new(1 << 31 | affinity(vcpu), vttbr, 0))).collect(),
            vgic: Vgic::new(Version::V3, 32, &Vec::from_iter((0..vcpus).map(affinity)), 16),
            vgic_version: Version::V3,
            map: Map {
                distributor: (0x800_0000, 0x1_0000),
                redistributors: alloc::vec![(0x80a_0000, 0x2_0000)],
                uart: None,
            },
            interrupts: Interrupts { virtual_timer: 27, physical_timer: 30, events: 16 },
            pages: 16,
            ports_max: 1023,
            mappings_max: 1,
        };
        start_told();
        (Arc::new(Domain::new(parts).expect("memory")), first.address())
    }

    fn start_told() {
        use crate::hypercall::xen_version::{Told, start};
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| start(Told { version: xen_abi::Release::V4_17, arguments: "dom0_mem=512M".into() }));
    }
}

#[cfg(test)]
mod tests {
    use super::fixture;
    use crate::arch::{Event, take_record};

    #[test]
    fn a_vcpu_finds_nothing_of_another_ones_translations() {
        let (domain, _) = fixture::domain(77, false);
        take_record();
        for (vcpu, cpu, forgets) in [(0, 0, false), (0, 0, false), (1, 0, true), (0, 1, false), (0, 0, true)] {
            domain.enter(vcpu, cpu);
            assert_eq!(take_record().contains(&Event::TlbiVmalle1), forgets, "vCPU {vcpu} on CPU {cpu}");
        }
    }
}
