//! A domain whose vCPUs have timers and SGIs, for the CPUs of a board (`arch/fake/board.rs`). There is one line of vCPUs, so one such
//! domain in a program.

use std::sync::Arc;

use hypervisor::arch::board::{MAINTENANCE, TIMER, VIRTUAL_TIMER};
use hypervisor::arch::{Context, Exit, SystemRegister, start_memory, vcpu::Saved};
use hypervisor::device::vgic::registers::{Frame, Place};
use hypervisor::device::vgic::{Version, Vgic};
use hypervisor::domain::vcpu::Vcpu;
use hypervisor::domain::{Domain, Interrupts, Map, Parts};
use hypervisor::memory::Gfn;
use hypervisor::memory::frames::{self, State};
use hypervisor::memory::p2m::{Kind, P2m};
use hypervisor::{run, schedule};

/// The SGI with which vCPUs wake each other.
pub const POKE: u16 = 3;

/// Sends it to a vCPU.
pub fn poke(vcpu: usize, context: &mut Context) -> Exit {
    context.x[0] = u64::from(POKE) << 24 | 1 << vcpu;
    let name = (3, 0, 12, 11, 5); // ICC_SGI1R_EL1
    Exit::SystemRegister(SystemRegister { name, register: 0, read: false, syndrome: 0 })
}

/// Returns a domain whose vCPUs are about to start, spread over `cpus` CPUs.
pub fn start(vcpus: usize, cpus: usize) -> Arc<Domain> {
    let domain = new_domain(vcpus, cpus);
    run::start(run::Own { timer: TIMER, virtual_timer: VIRTUAL_TIMER, maintenance: MAINTENANCE, uart: None });
    for vcpu in 0..vcpus {
        schedule::enlist(&domain, vcpu);
        assert!(schedule::start(&domain, vcpu));
    }
    domain
}

/// The page where vCPUs begin.
pub const CODE: Gfn = Gfn(1);

fn new_domain(vcpus: usize, cpus: usize) -> Arc<Domain> {
    start_memory();
    let mut p2m = P2m::new(40, 1).expect("memory");
    let page = frames::allocate_as(0, 1, State::Domain).expect("memory");
    p2m.set(CODE, page, 1, Kind::Memory).expect("tables");
    let vttbr = p2m.vttbr();
    let affinities: Vec<u64> = (0..vcpus as u64).collect();
    let mut vgic = Vgic::new(Version::V3, 32, &affinities, 16);
    vgic.connect_private(VIRTUAL_TIMER, VIRTUAL_TIMER);
    vgic.write(Place { own: 0, frame: Frame::Distributor, offset: 0, size: 4 }, 0b10); // GICD_CTLR
    for vcpu in 0..vcpus {
        let mut write = |offset, value| {
            vgic.write(Place { own: vcpu, frame: Frame::Redistributor(vcpu), offset, size: 4 }, value);
        };
        write(0x1_0080, u64::from(u32::MAX)); // GICR_IGROUPR0
        write(0x1_0100, 1 << VIRTUAL_TIMER | 1 << POKE); // GICR_ISENABLER0
    }
    let parts = Parts {
        id: 1,
        control: false,
        direct: false,
        p2m,
        vcpus: (0..vcpus)
            .map(|index| Vcpu::new(index, index % cpus, Saved::new(1 << 31 | index as u64, vttbr, 0)))
            .collect(),
        vgic,
        vgic_version: Version::V3,
        map: Map {
            distributor: (0x800_0000, 0x1_0000),
            redistributors: vec![(0x80a_0000, 0x2_0000 * vcpus as u64)],
            uart: None,
        },
        interrupts: Interrupts { virtual_timer: VIRTUAL_TIMER, physical_timer: 30, events: 16 },
        pages: 0,
        ports_max: 1023,
        mappings_max: 1,
    };
    Arc::new(Domain::new(parts).expect("memory"))
}
