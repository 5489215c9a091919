//! Builds Dom0: its memory out of few large pieces, 1:1; kernel and RAM disk where the loader left them if that can be.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use fdt::Tree;
use xen_abi::event_channel::EVTCHN_FIFO_NR_CHANNELS;
use xen_abi::hvm::params::{
    HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CALLBACK_TYPE_PPI, HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL,
};

use super::gzip::{self, Member};
use super::{Domain, Interrupts, Map, Parts, affinity, devicetree, features, vcpu::Vcpu};
use crate::arch::vcpu::{PSTATE_RESET, Saved, identification};
use crate::arch::{Context, cache, gic, layout, smp, stage2, timer};
use crate::device::vgic::{self, Vgic, registers::STRIDE};
use crate::domain::grants::{FRAMES_MAX, MAPPINGS_MAX};
use crate::machine::{self, GicKind, Machine, Module, ModuleKind};
use crate::memory::p2m::{Kind, P2m, tables_for};
use crate::memory::vmid::VMIDS;
use crate::memory::{Gfn, Mfn, frames};
use crate::{info, schedule, warning};

const MIB: u64 = 1 << 20;
/// Pieces of Dom0's memory are whole blocks.
const BLOCK: u64 = 2 * MIB;
/// Dom0's number.
const DOM0: u16 = 0;
/// HVM_PARAM_CALLBACK_IRQ: a PPI, level, active low.
const CALLBACK_PPI: u64 = HVM_PARAM_CALLBACK_TYPE_PPI << 56 | HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL << 8;
/// Dom0 may have every port there is.
const PORTS_MAX: u32 = EVTCHN_FIFO_NR_CHANNELS - 1;
/// The interrupt of event channels: the first PPI, which no timer and no controller uses.
const EVENTS: u32 = 16;

/// The header of an arm64 Image (Documentation/arm64/booting.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Image {
    text_offset: u64,
    /// With what is not in the file.
    size: u64,
}

impl Image {
    /// Bytes of the header.
    const HEADER: usize = 64;

    /// Reads the header of a file of `length` bytes from what it begins with.
    fn read(start: &[u8], length: u64) -> Result<Image, String> {
        let long = |offset: usize| start.get(offset..offset + 8)?.try_into().ok().map(u64::from_le_bytes);
        if start.get(56..60) != Some(b"ARM\x64") {
            return Err("the kernel is no arm64 Image".into());
        }
        let (text_offset, size) = (long(8).unwrap_or(0), long(16).unwrap_or(0));
        // Before Linux 3.17 the size was zero and the offset 0x80000.
        let (text_offset, size) = if size == 0 { (0x8_0000, length + 16 * MIB) } else { (text_offset, size) };
        Ok(Image { text_offset: text_offset % BLOCK, size: size.max(length) })
    }
}

/// The kernel's file: an Image, packed or not.
#[derive(Debug, Clone, Copy)]
struct Kernel<'a> {
    image: Image,
    /// Where the file is, as start and end.
    file: (u64, u64),
    packed: Option<Member<'a>>,
}

impl<'a> Kernel<'a> {
    /// Reads what the file at `start` is.
    fn read(start: u64, bytes: &'a [u8]) -> Result<Kernel<'a>, String> {
        let file = (start, start + bytes.len() as u64);
        if !gzip::is_packed(bytes) {
            return Ok(Kernel { image: Image::read(bytes, bytes.len() as u64)?, file, packed: None });
        }
        let packed = |fault| format!("the kernel cannot be unpacked: {fault}");
        let member = Member::read(bytes).map_err(packed)?;
        let mut header = [0; Image::HEADER];
        let size = member.begin(&mut header).map_err(packed)?;
        Ok(Kernel { image: Image::read(&header[..size], member.size())?, file, packed: Some(member) })
    }

    /// Puts it where it is to lie, in memory that nobody uses. A guest begins with its caches off, so it is written back.
    fn place(&self, at: u64) -> Result<(), String> {
        let (start, end) = self.file;
        let size = match self.packed {
            None if at == start => return Ok(()),
            None => {
                frames::relocate(start, at, end - start);
                end - start
            }
            Some(member) => {
                assert!(!overlap(self.file, (at, at + member.size())), "the kernel would be unpacked over itself");
                let unpacked = frames::with_bytes(at, member.size(), |bytes| member.unpack(bytes));
                unpacked.map_err(|fault| format!("the kernel cannot be unpacked: {fault}"))?;
                member.size()
            }
        };
        cache::clean(at, size);
        Ok(())
    }
}

/// Builds Dom0 and makes it known; it does not run yet.
///
/// # Errors
/// What is missing, or what there is no room for.
pub fn dom0(machine: &Machine, host: &Tree, memory: &machine::Memory) -> Result<Arc<Domain>, String> {
    let kernel = machine.module(ModuleKind::Kernel).ok_or("no kernel among the modules")?;
    let ramdisk = machine.module(ModuleKind::Ramdisk);
    memory.later.as_slice().iter().for_each(|&(start, end)| frames::add(start, end));
    let boot_end = |frame: Mfn| {
        let piece = memory.boot.as_slice().iter().find(|(low, high)| (*low..*high).contains(&frame.address()));
        piece.map(|&(_, high)| Mfn::of(high))
    };
    let claim = |start: u64, size: u64| frames::claim(Mfn::of(start), Mfn::of(start + size), DOM0, boot_end);
    let banks = take_memory(machine, memory, claim)?;
    let kernel = Kernel::read(kernel.start, frames::view(kernel.start, kernel.size))?;
    let place = Placement::choose(&banks, &kernel, ramdisk)?;

    let vcpus = vcpus(machine);
    let pages = banks.iter().map(|(start, end)| (end - start) / 4096).sum();
    let (image, image_size) = layout::image_physical();
    let grants = (image, (FRAMES_MAX as u64 * 4096).min(image_size & !4095));
    let facts = devicetree::Facts {
        banks: &banks,
        ramdisk: place.ramdisk,
        grants,
        events: EVENTS,
        vcpus,
        redistributors: &redistributors(machine, vcpus),
        version: machine.options.version,
    };
    let blob = devicetree::build(machine, host, &facts)?;
    let blob_at = place.find(&banks, blob.len() as u64, BLOCK).ok_or("no room for the device tree")?;
    place.fill(&kernel, ramdisk)?;
    frames::fill(blob_at, &blob);
    cache::clean(blob_at, blob.len() as u64);

    let p2m = physical_memory(machine, host, &banks)?;
    let domain = Arc::new(new_domain(machine, p2m, vcpus, pages)?);
    {
        let mut first = domain.vcpus[0].state.lock();
        first.context = Context { pc: place.kernel.0, pstate: PSTATE_RESET, ..Context::default() };
        first.context.x[0] = blob_at;
    }
    info!(
        "Domain 0: {} MiB in {} piece(s), {vcpus} vCPU(s), kernel at {:#x}{}, device tree at {blob_at:#x}",
        pages / 256,
        banks.len(),
        place.kernel.0,
        match kernel.packed {
            Some(_) => " (unpacked)",
            None if place.kernel.0 == kernel.file.0 => " (in place)",
            None => "",
        },
    );
    super::add(domain.clone());
    (0..vcpus).for_each(|vcpu| schedule::enlist(&domain, vcpu));
    Ok(domain)
}

/// Returns how many vCPUs Dom0 has: as many as it is to have, as CPUs there are, and as its interrupt controller can serve.
fn vcpus(machine: &Machine) -> usize {
    let wanted = machine.options.dom0_vcpus.unwrap_or(smp::count()).max(1);
    let room = match &machine.gic.kind {
        GicKind::V2 { .. } => vgic::V2_VCPUS_MAX,
        GicKind::V3 { redistributors, .. } => {
            redistributors.iter().map(|(_, size)| size / STRIDE).sum::<u64>() as usize
        }
    };
    let vcpus = wanted.min(room.clamp(1, vgic::VCPUS_MAX));
    if vcpus < wanted {
        warning!("Domain 0: {vcpus} vCPUs instead of {wanted}: its interrupt controller has no room for more");
    }
    vcpus
}

/// Returns the bytes that Dom0 finds its redistributors in, of each of the machine's regions: as many as its vCPUs need.
fn redistributors(machine: &Machine, vcpus: usize) -> Vec<u64> {
    let GicKind::V3 { redistributors, .. } = &machine.gic.kind else { return Vec::new() };
    let mut left = vcpus as u64;
    let share = redistributors.iter().map(|&(_, size)| {
        let here = left.min(size / STRIDE);
        left -= here;
        here * STRIDE
    });
    share.collect()
}

/// What Domain 0 would be given, with nothing taken and nothing moved.
#[cfg(not(target_os = "none"))]
#[derive(Debug)]
pub struct Rehearsal {
    /// Its memory, as start and end of each piece.
    pub banks: Vec<(u64, u64)>,
    /// Where its kernel is to be.
    pub kernel: (u64, u64),
    /// Where its RAM disk is to be.
    pub ramdisk: Option<(u64, u64)>,
    /// What it would be able to reach.
    pub memory: P2m,
}

/// Goes through what [`dom0`] does with memory, for host tests, which have none like the machine's: `claim` says whether a piece (start
/// and size) is free to take, and the kernel has a text offset and a size.
///
/// # Errors
/// As [`dom0`].
#[cfg(not(target_os = "none"))]
pub fn rehearse(
    machine: &Machine,
    host: &Tree,
    memory: &machine::Memory,
    (text_offset, size): (u64, u64),
    claim: impl Fn(u64, u64) -> bool,
) -> Result<Rehearsal, String> {
    let kernel = machine.module(ModuleKind::Kernel).ok_or("no kernel among the modules")?;
    let banks = take_memory(machine, memory, claim)?;
    let file = (kernel.start, kernel.start.saturating_add(kernel.size));
    let kernel = Kernel { image: Image { text_offset, size }, file, packed: None };
    let place = Placement::choose(&banks, &kernel, machine.module(ModuleKind::Ramdisk))?;
    let memory = physical_memory(machine, host, &banks)?;
    Ok(Rehearsal { banks, kernel: place.kernel, ramdisk: place.ramdisk, memory })
}

/// Takes Dom0's memory: one piece around the modules if there is one, else one piece, else the largest there are.
fn take_memory(
    machine: &Machine,
    memory: &machine::Memory,
    claim: impl Fn(u64, u64) -> bool,
) -> Result<Vec<(u64, u64)>, String> {
    let wanted = machine.options.dom0_memory.checked_next_multiple_of(BLOCK).ok_or("dom0_mem is more than can be")?;
    let wanted = wanted.max(64 * MIB);
    let starts = |size: u64| {
        memory.usable.as_slice().iter().flat_map(move |&(low, high)| {
            let first = low.next_multiple_of(BLOCK);
            (0..).map(move |step| first + step * BLOCK).take_while(move |start| fits(*start, size, high))
        })
    };
    let holds_modules = |start: u64, size: u64| {
        machine
            .modules
            .iter()
            .all(|module| start <= module.start && module.start.saturating_add(module.size) <= start + size)
    };
    if let Some(start) = starts(wanted).find(|&start| holds_modules(start, wanted) && claim(start, wanted)) {
        return Ok(alloc::vec![(start, start + wanted)]);
    }
    let (mut banks, mut left, mut size) = (Vec::new(), wanted, wanted);
    while left > 0 {
        size = size.min(left);
        match starts(size).find(|&start| claim(start, size)) {
            Some(start) => {
                banks.push((start, start + size));
                left -= size;
            }
            None if size > BLOCK => size = (size / 2).next_multiple_of(BLOCK),
            None => return Err(format!("{} MiB of memory are missing for dom0_mem", left / MIB)),
        }
    }
    Ok(merged(banks))
}

/// Where kernel and RAM disk are to be, as start and end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placement {
    kernel: (u64, u64),
    ramdisk: Option<(u64, u64)>,
}

fn overlap(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 < other.1 && other.0 < one.1
}

/// Whether `size` bytes from `start` on end by `high`.
fn fits(start: u64, size: u64, high: u64) -> bool {
    start.checked_add(size).is_some_and(|end| end <= high)
}

fn inside(banks: &[(u64, u64)], range: (u64, u64)) -> bool {
    banks.iter().any(|&(start, end)| start <= range.0 && range.1 <= end)
}

/// Finds `size` bytes in the banks that overlap none of `taken`; `offset` past a multiple of `align`.
fn spot(banks: &[(u64, u64)], size: u64, align: u64, offset: u64, taken: &[(u64, u64)]) -> Option<u64> {
    banks.iter().find_map(|&(low, high)| {
        let mut start = low.next_multiple_of(align) + offset;
        // What asks may be a file that lies.
        while let Some(end) = start.checked_add(size).filter(|&end| end <= high) {
            match taken.iter().find(|&&range| overlap(range, (start, end))) {
                None => return Some(start),
                Some(range) => start = range.1.next_multiple_of(align) + offset,
            }
        }
        None
    })
}

impl Placement {
    fn choose(banks: &[(u64, u64)], kernel: &Kernel<'_>, ramdisk: Option<&Module>) -> Result<Placement, String> {
        let (image, file) = (kernel.image, kernel.file);
        if ramdisk.is_some_and(|module| module.start.checked_add(module.size).is_none()) {
            return Err("a module ends beyond all addresses".into());
        }
        let disk_now = ramdisk.map(|module| (module.start, module.start + module.size));
        let disk_stays = disk_now.filter(|&range| inside(banks, range));
        // One that would end beyond all addresses is in no bank.
        let kernel_now = (file.0, file.0.saturating_add(image.size));
        let fits = kernel.packed.is_none() && file.0 % BLOCK == image.text_offset && inside(banks, kernel_now);
        let kernel_at = if fits && !disk_now.is_some_and(|disk| overlap(disk, kernel_now)) {
            kernel_now
        } else {
            // Not over the RAM disk, which is yet to be moved or stays, nor over what it is unpacked from.
            let taken: Vec<(u64, u64)> = disk_now.into_iter().chain(kernel.packed.map(|_| file)).collect();
            let start = spot(banks, image.size, BLOCK, image.text_offset, &taken)
                .ok_or_else(|| format!("no room for the kernel, which says that it takes {} KiB", image.size / 1024))?;
            (start, start + image.size)
        };
        let disk_at = match (disk_stays, disk_now) {
            (Some(range), _) => Some(range),
            (None, None) => None,
            (None, Some((start, end))) => {
                let size = end - start;
                let at = spot(banks, size, BLOCK, 0, &[kernel_at, file]);
                let at = at.ok_or("no room for the RAM disk")?;
                Some((at, at + size))
            }
        };
        Ok(Placement { kernel: kernel_at, ramdisk: disk_at })
    }

    /// Finds room for something more.
    fn find(&self, banks: &[(u64, u64)], size: u64, align: u64) -> Option<u64> {
        let mut taken = alloc::vec![self.kernel];
        taken.extend(self.ramdisk);
        spot(banks, size, align, 0, &taken)
    }

    /// Moves and unpacks what is not in place. A guest begins with its caches off, so what it finds is written back.
    fn fill(&self, kernel: &Kernel<'_>, ramdisk: Option<&Module>) -> Result<(), String> {
        if let (Some(module), Some((at, _))) = (ramdisk, self.ramdisk)
            && at != module.start
        {
            frames::relocate(module.start, at, module.size);
            cache::clean(at, module.size);
        }
        kernel.place(self.kernel.0)?;
        cache::synchronise_code();
        Ok(())
    }
}

/// Makes Dom0's physical memory: its own, and the devices.
fn physical_memory(machine: &Machine, host: &Tree, banks: &[(u64, u64)]) -> Result<P2m, String> {
    let full = |_| String::from("no memory for translation tables");
    let vmid = VMIDS.take().ok_or("no identifier for translations")?;
    let mut p2m = P2m::new(stage2::address_bits(), vmid).map_err(full)?;
    let limit = 1u64 << p2m.bits();
    let in_reach = |&(address, size): &(u64, u64)| {
        let fine = pages(address, size).1 <= limit;
        if !fine {
            warning!("Domain 0: device at {address:#x} is out of reach");
        }
        fine
    };
    let devices = devicetree::devices(host, machine).into_iter().filter(in_reach);
    let devices = merged(devices.map(|(address, size)| pages(address, size)).collect());
    // A page of memory, or of ours, among a device's registers is not Dom0's to have.
    let kept = merged(hidden(machine).chain(frames::banks()).collect());
    for (start, end) in without(&devices, &kept) {
        p2m.set(Gfn::of(start), Mfn::of(start), (end - start) / 4096, Kind::Device).map_err(full)?;
    }
    for &(start, end) in banks {
        if end > limit {
            return Err(format!("Domain 0's memory at {start:#x} is beyond what it can address"));
        }
        p2m.set(Gfn::of(start), Mfn::of(start), (end - start) / 4096, Kind::Memory).map_err(full)?;
    }
    if let GicKind::V2 { interface, guest, .. } = machine.gic.kind {
        // Guests find their own interface where the machine's is.
        let (at, from, pages) = (Gfn::of(interface.0), Mfn::of(guest.0), interface.1.min(guest.1) / 4096);
        if [interface, guest].iter().any(|&(start, size)| !fits(start, size, limit)) {
            return Err("the GIC's CPU interface is beyond what Domain 0 can address".into());
        }
        p2m.set(at, from, pages, Kind::Device).map_err(full)?;
    }
    Ok(p2m)
}

/// Returns the registers that are the hypervisor's.
fn hidden(machine: &Machine) -> impl Iterator<Item = (u64, u64)> {
    let gic = machine.gic.registers();
    // Firmware may have been told to keep our own memory from everybody, in words that give it to Domain 0.
    gic.into_iter()
        .chain([layout::image_physical()])
        .chain(machine.uart.iter().map(|uart| uart.registers))
        .map(|(start, size)| pages(start, size))
}

/// Returns start and end of the pages that hold some of `size` bytes from `address` on; what goes beyond all addresses ends with them.
fn pages(address: u64, size: u64) -> (u64, u64) {
    (address & !4095, address.saturating_add(size).saturating_add(4095) & !4095)
}

/// Returns ranges in order, those that overlap or touch as one.
fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|&(start, end)| start < end);
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = next.0 <= last.1;
        if joins {
            last.1 = last.1.max(next.1);
        }
        joins
    });
    ranges
}

/// Returns what of some ranges is in none of others; both are in order, and apart.
fn without(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut left, mut next) = (Vec::new(), 0);
    for &(start, end) in ranges {
        let mut at = start;
        while others.get(next).is_some_and(|other| other.1 <= at) {
            next += 1;
        }
        for &(low, high) in others[next..].iter().take_while(|other| other.0 < end) {
            if at < low {
                left.push((at, low));
            }
            at = high;
        }
        if at < end {
            left.push((at, end));
        }
    }
    left
}

fn new_domain(machine: &Machine, mut p2m: P2m, vcpus: usize, pages: u64) -> Result<Domain, String> {
    p2m.limit(tables_for(vcpus, pages));
    let interrupts = Interrupts { virtual_timer: machine.timer[2], physical_timer: machine.timer[1], events: EVENTS };
    let (vttbr, bits) = (p2m.vttbr(), p2m.bits());
    let time_offset = timer::now();
    let affinities: Vec<u64> = (0..vcpus).map(affinity).collect();
    let (version, distributor_size, regions) = match &machine.gic.kind {
        GicKind::V2 { .. } => (vgic::Version::V2, vgic::V2_SIZE, &[][..]),
        GicKind::V3 { redistributors, .. } => (vgic::Version::V3, vgic::V3_SIZE, &redistributors[..]),
    };
    let share = regions.iter().zip(redistributors(machine, vcpus)).map(|(&(start, _), size)| (start, size));
    let regions: Vec<(u64, u64)> = share.filter(|&(_, size)| size != 0).collect();
    let shared = gic::interrupts().saturating_sub(32) as usize;
    let mut vgic = Vgic::new(version, shared, &affinities, gic::identifier_bits());
    (0..vcpus).for_each(|vcpu| vgic.put(vcpu, vcpu % smp::count()));
    let ends = regions.iter().scan(0, |end, &(_, size)| {
        *end += (size / STRIDE) as usize;
        Some(*end)
    });
    ends.for_each(|end| vgic.end_region(end - 1));
    let uart = machine.uart.as_ref().and_then(|uart| uart.interrupt);
    (32..gic::interrupts()).filter(|&interrupt| Some(interrupt) != uart).for_each(|interrupt| vgic.connect(interrupt));
    vgic.connect_private(interrupts.virtual_timer, interrupts.virtual_timer);
    let new_vcpu = |index: usize| {
        // Bit 31 is RES1.
        let saved = Saved::new(1 << 31 | affinity(index), vttbr, time_offset);
        let vcpu = Vcpu::new(index, index % smp::count(), saved);
        if machine.options.dom0_vcpus_pin {
            vcpu.pinned.store(index % smp::count(), Relaxed);
        }
        vcpu
    };
    let mut domain = Domain::new(Parts {
        id: DOM0,
        control: true,
        direct: true,
        p2m,
        vcpus: (0..vcpus).map(new_vcpu).collect(),
        vgic,
        vgic_version: version,
        map: Map {
            distributor: (machine.gic.distributor.0, distributor_size),
            redistributors: regions,
            uart: machine.uart.as_ref().map(|uart| (uart.registers.0 & !4095, 4096)),
        },
        interrupts,
        pages,
        ports_max: PORTS_MAX,
        mappings_max: MAPPINGS_MAX,
    })?;
    domain.identification = features::identification(&identification(), bits, version);
    domain.time_offset = time_offset;
    domain.parameters.lock()[HVM_PARAM_CALLBACK_IRQ as usize] = CALLBACK_PPI | u64::from(EVENTS);
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::arch::{Event, MEMORY, MEMORY_SIZE, start_memory, take_record};
    use fdt::Fdt;
    use proptest::prelude::*;
    use std::io::Write;

    fn module(start: u64, size: u64) -> Module {
        Module { kind: ModuleKind::Kernel, start, size, arguments: None }
    }

    /// A kernel that takes `size`, of which `text_offset` past a boundary, in a file of `length` at `start`.
    fn raw(text_offset: u64, size: u64, start: u64, length: u64) -> Kernel<'static> {
        Kernel { image: Image { text_offset, size }, file: (start, start + length), packed: None }
    }

    /// An Image of `length` bytes that takes `size`.
    fn image(length: usize, size: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        bytes[8..16].fill(0);
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_packed_kernel_is_unpacked_to_where_it_is_to_lie() {
        start_memory();
        // Four blocks, in the first of which the file lies.
        let bank = frames::allocate_as(11, DOM0, frames::State::Domain).expect("memory").address();
        let (banks, bytes) = ([(bank, bank + 4 * BLOCK)], image(300_000, BLOCK + 5));
        let packed = pack(&bytes);
        frames::fill(bank + 0x1000, &packed);
        let file = frames::view(bank + 0x1000, packed.len() as u64);
        let kernel = Kernel::read(bank + 0x1000, file).unwrap();
        assert_eq!(kernel.image, Image { text_offset: 0, size: BLOCK + 5 });
        let place = Placement::choose(&banks, &kernel, None).unwrap();
        assert_eq!(place.kernel, (bank + BLOCK, bank + 2 * BLOCK + 5), "not over what it is unpacked from");
        take_record();
        place.fill(&kernel, None).unwrap();
        assert_eq!(take_record()[..2], [Event::Clean(bank + BLOCK, 300_000), Event::DsbSy]);
        assert!(frames::view(bank + BLOCK, 300_000) == bytes);
        // A file that says that it is larger than all memory is refused before anything is written.
        let mut lies = packed.clone();
        let end = lies.len() - 4;
        lies[end..].copy_from_slice(&[0xff; 4]);
        let refused = Placement::choose(&banks, &Kernel::read(bank, &lies).unwrap(), None);
        assert_eq!(refused, Err("no room for the kernel, which says that it takes 4194303 KiB".into()));
        // One that lies less is refused when it is unpacked.
        lies[end..].copy_from_slice(&299_999u32.to_le_bytes());
        let kernel = Kernel::read(bank, &lies).unwrap();
        let complaint = kernel.place(bank + BLOCK).unwrap_err();
        assert!(complaint.starts_with("the kernel cannot be unpacked: more comes out"), "{complaint}");
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let complaint = |bytes: &[u8]| Kernel::read(0x4a00_0000, bytes).unwrap_err();
        assert_eq!(complaint(b"MZ"), "the kernel is no arm64 Image");
        assert_eq!(complaint(&pack(&[7; 100])), "the kernel is no arm64 Image");
        assert_eq!(complaint(&pack(b"")), "the kernel is no arm64 Image");
        assert_eq!(complaint(&[0x1f, 0x8b]), "the kernel cannot be unpacked: its gzip header is broken");
        assert_eq!(complaint(&pack(&image(4096, 0))[..40]), "the kernel cannot be unpacked: it is truncated");
        // A size that nothing has is no reason to place it where it does not fit.
        let packed = pack(&image(4096, u64::MAX));
        let kernel = Kernel::read(0x4a00_0000, &packed).unwrap();
        assert!(Placement::choose(&[(0x4000_0000, 0x8000_0000)], &kernel, None).is_err());
    }

    #[test]
    fn what_can_stay_stays() {
        let banks = [(0x4020_0000, 0x6020_0000)];
        let (kernel, disk) = (raw(0, 40 * MIB, 0x4a00_0000, 32 * MIB), module(0x4d00_0000, 28 * MIB));
        let place = Placement::choose(&banks, &kernel, Some(&disk)).unwrap();
        assert_eq!(place.kernel.0, kernel.file.0);
        assert_eq!(place.ramdisk, Some((disk.start, disk.start + disk.size)));
        assert_eq!(place.find(&banks, 0x1000, BLOCK), Some(0x4020_0000));
    }

    #[test]
    fn a_kernel_whose_end_is_taken_moves() {
        let banks = [(0x4020_0000, 0x6020_0000)];
        let (kernel, disk) = (raw(0, 64 * MIB, 0x4a00_0000, 32 * MIB), module(0x4d00_0000, 28 * MIB));
        let place = Placement::choose(&banks, &kernel, Some(&disk)).unwrap();
        assert!(!overlap(place.kernel, place.ramdisk.unwrap()));
        assert!(inside(&banks, place.kernel));
        assert_eq!(place.kernel.0 % BLOCK, 0);
    }

    #[test]
    fn modules_outside_are_brought_in() {
        let banks = [(0x8000_0000, 0x9000_0000)];
        let kernel = |start| raw(0x8_0000, 40 * MIB, start, MIB);
        let place = Placement::choose(&banks, &kernel(0x4a00_0000), Some(&module(0x4d00_0000, MIB)));
        let place = place.unwrap();
        assert_eq!(place.kernel.0, 0x8008_0000);
        assert!(inside(&banks, place.ramdisk.unwrap()) && !overlap(place.kernel, place.ramdisk.unwrap()));
        // A size that leads around the end of all addresses does not make it fit.
        let endless = raw(0, u64::MAX - 0x4a00_0000 + 0x1000, 0x4a00_0000, MIB);
        assert!(Placement::choose(&banks, &endless, None).is_err());
        assert!(Placement::choose(&banks, &kernel(0x4a00_0000), Some(&module(0x4d00_0000, u64::MAX - MIB))).is_err());
        let tiny = [(0x8000_0000, 0x8000_0000 + 41 * MIB)];
        let none = Placement::choose(&tiny, &kernel(0), Some(&module(0x4d00_0000, MIB)));
        assert!(none.is_err());
    }

    /// Returns the machine that a tree describes with these devices and this place for CPUs' interfaces, and the tree.
    fn host(devices: &[(u64, u64)], interface: (u64, u64)) -> (Machine, Tree) {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "#address-cells", &[2]);
        tree.set_cells(root, "#size-cells", &[2]);
        tree.set_cells(root, "interrupt-parent", &[1]);
        let gic = tree.ensure("/intc@8000000").unwrap();
        tree.set_string(gic, "compatible", "arm,gic-400");
        tree.set_cells(gic, "phandle", &[1]);
        tree.set_cells(gic, "#interrupt-cells", &[3]);
        tree.set_cells(gic, "interrupts", &[1, 9, 4]);
        tree.set_reg(gic, &[(0x800_0000, 0x1000), interface, (0x803_0000, 0x2000), (0x804_0000, 0x2000)]);
        let timer = tree.ensure("/timer").unwrap();
        tree.set_string(timer, "compatible", "arm,armv8-timer");
        tree.set_cells(timer, "interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
        for (index, &device) in devices.iter().enumerate() {
            let node = tree.ensure(&format!("/device@{index:x}")).unwrap();
            tree.set_reg(node, &[device]);
        }
        let blob = tree.emit(&Default::default()).unwrap();
        let fdt = Fdt::new(&blob).unwrap();
        let host = Tree::from_fdt(&fdt);
        (Machine::read(&fdt, &host).unwrap(), host)
    }

    #[test]
    fn huge_devices_are_mapped_at_once_around_what_is_ours() {
        start_memory();
        let (end, memory_end) = (1u64 << stage2::address_bits(), MEMORY + MEMORY_SIZE);
        let whole = [(0, end), (0x1234, end - 0x2000), (0, end)];
        let beyond = [(0, end + 1), (u64::MAX, u64::MAX), (1, u64::MAX - 1), (u64::MAX - 4095, 4096), (end, 4096)];
        let (machine, tree) = host(&[&whole[..], &beyond[..]].concat(), (0x801_0000, 0x2000));
        let bank = (MEMORY, MEMORY + BLOCK);
        let p2m = physical_memory(&machine, &tree, &[bank]).unwrap();
        let at = |address: u64| p2m.get(Gfn::of(address)).map(|(mfn, kind)| (mfn.address(), kind));
        for address in [0, 0x7ff_f000, 0x800_1000, 0x803_2000, bank.0 - 4096, memory_end, end - 4096] {
            assert_eq!(at(address), Some((address, Kind::Device)), "{address:#x}");
        }
        for address in [0x800_0000, 0x803_0000, 0x804_1000, bank.1, memory_end - 4096] {
            assert_eq!(at(address), None, "{address:#x}");
        }
        assert_eq!(at(bank.0), Some((bank.0, Kind::Memory)));
        assert_eq!(at(0x801_1000), Some((0x804_1000, Kind::Device)), "a guest's own interface");
    }

    #[test]
    fn what_lies_beyond_all_addresses_is_refused() {
        start_memory();
        let end = 1 << stage2::address_bits();
        for interface in [(1 << 60, 0x2000), (end - 0x1000, 0x2000)] {
            let (machine, tree) = host(&[], interface);
            assert!(physical_memory(&machine, &tree, &[]).is_err(), "{interface:x?}");
        }
        let (machine, tree) = host(&[], (0x801_0000, 0x2000));
        assert!(physical_memory(&machine, &tree, &[(end, end + BLOCK)]).is_err());
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_pages(ranges in ranges(), others in ranges()) {
            let inside = |list: &[(u64, u64)], at: u64| list.iter().any(|&(start, end)| (start..end).contains(&at));
            let left = without(&merged(ranges.clone()), &merged(others.clone()));
            for at in 0..80 {
                prop_assert_eq!(inside(&left, at), inside(&ranges, at) && !inside(&others, at), "{}", at);
            }
            prop_assert!(left.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0u64..64, 0u64..16).prop_map(|(start, size)| (start, start + size)), 0..12)
    }
}
