//! Boots: takes the machine, step by step, builds Dom0, and runs it.
#![expect(unsafe_code, reason = "symbols that the assembly calls, and the device tree as the assembly mapped it")]

use fdt::{Fdt, Tree};
use hypervisor::arch::{CPUS_MAX, gic, layout, smp, stage1, stage2, timer};
use hypervisor::hypercall::xen_version;
use hypervisor::machine::{self, Machine};
use hypervisor::memory::frames;
use hypervisor::{console, domain, info, run, schedule, warning};

/// Where entry.S has mapped the device tree, by its place inside 2 MiB.
const TREE: u64 = layout::IMAGE + (2 << 20);

/// Bytes that the hypervisor allocates from while it boots.
const BOOT_HEAP: u64 = 8 << 20;

/// Called by entry.S on the first CPU, with the physical addresses of the image and of the device tree.
#[unsafe(no_mangle)]
extern "C" fn hypervisor_main(image: u64, tree: u64) -> ! {
    layout::set_image_physical(image);
    smp::start(0);
    let fdt = take_tree(tree);
    // Before anything that may fail, so that it is heard of, and the machine can be restarted.
    if machine::has_firmware(&fdt) {
        smp::has_firmware();
    }
    if let Some((_, kind, registers)) = machine::console(&fdt) {
        console::start(kind, registers);
    }
    let memory = take_memory(&fdt, tree);
    let host = Tree::from_fdt(&fdt);
    let machine = Machine::read(&fdt, &host).expect("this machine is not understood");
    domain::start(machine.options.no_reboot);
    console::set_levels(machine.options.level, machine.options.guest_level);
    machine.timer_frequency.into_iter().for_each(timer::set_frequency);
    say_hello(&machine);
    start_interrupts(&machine);
    start_other_cpus(&machine);
    xen_version::start(xen_version::Told { version: machine.options.version, arguments: machine.arguments.clone() });
    let dom0 = domain::build::dom0(&machine, &host, &memory).expect("Domain 0 cannot be built");
    give_back(&memory);
    let (frames, free) = frames::counts();
    info!("memory: {} KiB, of which {} KiB are free", frames * 4, free * 4);
    schedule::start(&dom0, 0);
    run::forever()
}

/// Goes over to the lasting translation, in which the device tree is mapped, and reads it.
fn take_tree(tree: u64) -> Fdt<'static> {
    let mapped = (TREE + tree % (2 << 20)) as *const u8;
    // SAFETY: entry.S mapped two blocks of 2 MiB from there on as far as the tree's own size says.
    let header = unsafe { core::slice::from_raw_parts(mapped, 8) };
    let size = u64::from(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
    assert!(header[..4] == [0xd0, 0x0d, 0xfe, 0xed] && size <= 2 << 20, "no device tree at {tree:#x}");
    stage1::start((tree & !4095, (tree + size).next_multiple_of(4096)));
    Fdt::new(frames::view(tree, size)).expect("device tree")
}

/// Finds memory, maps it, and starts the frame allocator; returns what there is.
fn take_memory(fdt: &Fdt<'_>, tree: u64) -> machine::Memory {
    let mut memory = machine::memory(fdt, tree).expect("memory is in too many pieces");
    let pieces = memory.usable.as_slice();
    stage1::map_memory(memory.to_map(fdt, tree).expect("memory is in too many pieces").as_slice());

    let mut free = memory.usable.clone();
    let (image, image_size) = layout::image_physical();
    free.remove(image, image + image_size).expect("memory is in too many pieces");
    for &(start, end) in memory.boot.as_slice() {
        free.remove(start, end).expect("memory is in too many pieces");
    }
    let table = frames::table_size(pieces.iter().map(|(start, end)| end - start).sum()).next_multiple_of(4096);
    let at = free.take_top(table, 4096).expect("no memory for the frame table");
    frames::start(pieces, at);
    free.align(4096);
    // What the hypervisor needs for itself comes from one end, so that Dom0's memory is in few pieces.
    let size = BOOT_HEAP.min((free.as_slice().iter().map(|(start, end)| end - start).sum::<u64>() / 8) & !4095);
    let heap = free.take_top(size, 4096).expect("no memory for the heap");
    frames::add(heap, heap + size);
    memory.later = free;
    memory
}

fn say_hello(machine: &Machine) {
    let (image, size) = layout::image_physical();
    info!("xenbuild hypervisor {}", env!("CARGO_PKG_VERSION"));
    info!("image: {size:#x} bytes at {image:#x}, executed at {:#x}", layout::IMAGE);
    machine.options.unknown.iter().for_each(|word| warning!("command line: {word:?} is not understood"));
}

fn start_interrupts(machine: &Machine) {
    gic::start(&machine.gic.place()).expect("interrupt controller");
    info!("GICv{}: {} interrupts, {} list registers", gic::version(), gic::interrupts(), gic::list_registers());
    let uart = machine.uart.as_ref().and_then(|uart| uart.interrupt);
    run::start(run::Own {
        timer: machine.timer[3],
        virtual_timer: machine.timer[2],
        maintenance: machine.gic.maintenance,
        uart,
    });
    run::start_cpu(stage2::address_bits()).expect("interrupt interface of the first CPU");
    if let Some(interrupt) = uart {
        gic::enable(interrupt, true);
        console::listen(machine.options.input);
    }
}

fn start_other_cpus(machine: &Machine) {
    let own = smp::own_affinity();
    // That of the CPU that comes next.
    let mut stack = None;
    for cpu in machine.cpus.iter().filter(|cpu| cpu.affinity != own) {
        let Some(way) = cpu.way else {
            warning!("CPU {:#x}: the device tree does not say how to start it", cpu.affinity);
            continue;
        };
        let number = smp::count();
        if number == CPUS_MAX {
            warning!("CPU {:#x} and those after it are left out: {CPUS_MAX} are all that can be used", cpu.affinity);
            break;
        }
        if stack.is_none() {
            let frames = frames::allocate(layout::STACK_SIZE.ilog2() - 12);
            stack = frames.map(|frames| stage1::map_stack(frames.address()));
        }
        let Some(top) = stack else { break };
        match smp::start_other(number, cpu.affinity, way, top) {
            Ok(()) => stack = None,
            Err(smp::Absent::Refused(complaint)) => {
                warning!("CPU {:#x}: {complaint}", cpu.affinity);
                // It may have come as far as to sleep on that stack.
                stack = None;
            }
            Err(smp::Absent::Silent) => {
                warning!("CPU {:#x}: it does not answer", cpu.affinity);
                // Should it come late, it finds its stack, and its number is nobody else's.
                break;
            }
        }
    }
    info!("{} CPU(s)", smp::count());
}

/// Frees what only the boot needed and Dom0 did not get.
fn give_back(memory: &machine::Memory) {
    for &(start, end) in memory.boot.as_slice() {
        // The first frame of all is never free.
        for frame in (start / 4096).max(1)..end / 4096 {
            let frame = hypervisor::memory::Mfn(frame);
            if frames::is_memory(frame) && frames::owner_of(frame).is_none() {
                frames::free(frame, 0);
            }
        }
    }
}

/// Called by entry.S on every other CPU, with its number.
#[unsafe(no_mangle)]
extern "C" fn hypervisor_secondary(number: u64) -> ! {
    stage1::start_secondary();
    smp::name(number as usize);
    if let Err(complaint) = run::start_cpu(stage2::address_bits()) {
        warning!("CPU {:#x}: {complaint}", smp::own_affinity());
        smp::leave_out();
    }
    smp::start(number as usize);
    run::forever()
}
