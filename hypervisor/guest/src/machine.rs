//! The machine as the guest has it: calls to the hypervisor, memory that hostile pointers lead to, registers, exceptions.
//!
//! ```text
//!   0x20_0000_0000   DIRECT   16 GiB: every address at this plus itself; the first GiB as devices
//!   0x40_0000_0000   WINDOW   2 MiB: the guest itself
//!   0x40_0020_0000   PLAY     2 MiB: pages that tests map as they like
//! ```
//!
//! Nothing else translates: not 0, not the upper half.
#![expect(unsafe_code, reason = "a bare-metal program: entry, system registers, memory by address, exceptions")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

/// Where all of memory is.
pub const DIRECT: u64 = 0x20_0000_0000;
/// Where the guest is.
const WINDOW: u64 = 0x40_0000_0000;
/// Pages for tests.
const PLAY: u64 = WINDOW + (2 << 20);
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// How many pages of memory tests have.
pub const PAGES: usize = 64;

/// CPUs that there can be.
pub const CPUS: usize = 8;
/// Bytes of the stack of each but the first.
const STACK: usize = 16 << 10;

core::arch::global_asm!(
    include_str!("start.S"),
    window = const WINDOW,
    direct = const DIRECT,
    stacks = sym STACKS,
    stack = const STACK,
);

unsafe extern "C" {
    static tables: u8;
    fn secondary();
    fn fill_registers(pattern: u64);
    fn check_registers(pattern: u64) -> u64;
    fn debugged();
}

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; STACK]; CPUS]>);
// SAFETY: each is one CPU's.
unsafe impl Sync for Stacks {}
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; CPUS]));

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[[u8; PAGE as usize]; PAGES]>);
// SAFETY: one CPU, and every access is by address and volatile.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([[0; PAGE as usize]; PAGES]));
static IMAGE: AtomicU64 = AtomicU64::new(0);

/// Reads a system register.
#[macro_export]
macro_rules! read_register {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reads a register that has no effect on memory.
        #[expect(unsafe_code, reason = "a system register")]
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack))
        };
        value
    }};
}

/// Writes a system register.
#[macro_export]
macro_rules! write_register {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: registers of interrupts and timers, which Rust knows nothing of.
        #[expect(unsafe_code, reason = "a system register")]
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack))
        };
    }};
}

/// Called by start.S with the physical addresses of image and device tree.
#[unsafe(no_mangle)]
extern "C" fn guest_main(image: u64, tree: u64) -> ! {
    IMAGE.store(image, SeqCst);
    let header = DIRECT + tree;
    let size = (load(header + 4, 4) as u32).swap_bytes();
    // SAFETY: the loader put the device tree there, of that size; nobody writes it.
    let tree = unsafe { core::slice::from_raw_parts(header as *const u8, size.min(2 << 20) as usize) };
    crate::run(tree)
}

/// Returns the virtual address of a page of memory.
pub fn page(index: usize) -> u64 {
    assert!(index < PAGES, "there are {PAGES} pages");
    MEMORY.0.get() as u64 + index as u64 * PAGE
}

/// Returns the physical address of something in the window.
pub fn physical(address: u64) -> u64 {
    assert!((WINDOW..PLAY).contains(&address), "not in the window");
    address - WINDOW + IMAGE.load(SeqCst)
}

/// Returns the frame number of a page of memory.
pub fn frame(index: usize) -> u64 {
    physical(page(index)) / PAGE
}

/// How a page is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Memory.
    Memory,
    /// Memory, not to be written.
    ReadOnly,
    /// Registers.
    Device,
}

/// Maps a page for tests, or unmaps it, and returns its virtual address.
pub fn map(slot: usize, target: Option<(u64, Mapping)>) -> u64 {
    assert!(slot < 512, "there are 512 slots");
    let address = map_address(slot);
    let entry = target.map_or(0, |(physical, mapping)| {
        physical & !(PAGE - 1)
            | 0x403
            | match mapping {
                Mapping::Memory => 0x300,
                Mapping::ReadOnly => 0x380,
                Mapping::Device => 4 | 3 << 53,
            }
    });
    // SAFETY: the third of the tables that start.S made, which only this function writes; its pages belong to tests.
    unsafe {
        let table = (&raw const tables as u64 + 0x2000) as *mut u64;
        table.add(slot).write_volatile(0);
        asm!("dsb ishst", "tlbi vaae1, {}", "dsb ish", "isb", in(reg) address >> 12);
        table.add(slot).write_volatile(entry);
        asm!("dsb ishst", "isb");
    }
    address
}

/// Returns the virtual address of a slot.
pub fn map_address(slot: usize) -> u64 {
    PLAY + slot as u64 * PAGE
}

/// Loads 1, 2, 4 or 8 bytes.
pub fn load(address: u64, size: usize) -> u64 {
    // SAFETY: addresses are of tests' memory or of devices; a load that nothing answers comes back as an exception that is expected.
    // The instructions are the simple ones that a hypervisor can decode.
    unsafe {
        let value: u64;
        match size {
            1 => asm!("ldrb {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)),
            2 => asm!("ldrh {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)),
            4 => asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)),
            _ => asm!("ldr {0}, [{1}]", out(reg) value, in(reg) address, options(nostack)),
        }
        value
    }
}

/// Stores 1, 2, 4 or 8 bytes.
pub fn store(address: u64, size: usize, value: u64) {
    // SAFETY: as above; Rust's own memory is never given.
    unsafe {
        match size {
            1 => asm!("strb {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            2 => asm!("strh {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            4 => asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            _ => asm!("str {0}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
        }
        asm!("dsb sy", options(nostack));
    }
}

/// Copies bytes to an address.
pub fn put(address: u64, bytes: &[u8]) {
    bytes.iter().zip(address..).for_each(|(&byte, at)| store(at, 1, byte.into()));
}

/// Copies bytes from an address.
pub fn get(address: u64, bytes: &mut [u8]) {
    bytes.iter_mut().zip(address..).for_each(|(byte, at)| *byte = load(at, 1) as u8);
}

/// Returns the address at which the guest's own bytes are, for calls that take them.
pub fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// Makes a hypercall.
#[inline(always)]
pub fn hypercall(number: u64, arguments: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = arguments;
    let result: u64;
    // SAFETY: the hypervisor writes tests' memory only, which is accessed by address.
    unsafe {
        asm!("hvc #0xea1", inout("x0") a => result, inout("x1") b => _, inout("x2") c => _, inout("x3") d => _,
            inout("x4") e => _, inout("x16") number => _, options(nostack));
    }
    result as i64
}

/// Calls the firmware, by HVC or SMC.
#[inline(always)]
pub fn firmware(by_smc: bool, arguments: [u64; 4]) -> [u64; 4] {
    let [mut a, mut b, mut c, mut d] = arguments;
    // SAFETY: the SMC Calling Convention: x0 to x3 come back, x4 to x17 may.
    unsafe {
        if by_smc {
            asm!("smc #0", "nop", inout("x0") a, inout("x1") b, inout("x2") c, inout("x3") d,
                out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack));
        } else {
            asm!("hvc #0", "nop", inout("x0") a, inout("x1") b, inout("x2") c, inout("x3") d,
                out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack));
        }
    }
    [a, b, c, d]
}

/// Executes HVC or SMC with an immediate that means nothing.
pub fn call_nothing(by_smc: bool) {
    // SAFETY: an exception that is expected, or nothing.
    unsafe {
        if by_smc {
            asm!("smc #1", "nop", options(nostack));
        } else {
            asm!("hvc #1", "nop", options(nostack));
        }
    }
}

/// Does nothing, in a way that no loop around it disappears.
#[inline(always)]
pub fn call_nothing_at_all() {
    // SAFETY: nothing is done.
    unsafe { asm!("", options(nostack)) }
}

/// Waits for an interrupt, masked or not.
pub fn wait() {
    // SAFETY: waiting changes no state that Rust knows of.
    unsafe { asm!("dsb sy", "wfi", "isb", options(nostack)) }
}

/// Starts CPU `number`, which goes to [`crate::several::secondary`]; returns what PSCI says.
pub fn start_cpu(number: usize) -> i64 {
    let image = IMAGE.load(SeqCst);
    // The tables' first page holds an entry for each GiB; it lacks the one where the image is (start.S).
    let slot = core::ptr::addr_of!(tables) as u64 + (image >> 30) * 8;
    store(slot, 8, image >> 30 << 30 | 0x701);
    // SAFETY: makes the entry visible.
    unsafe { asm!("dsb ish", "isb", options(nostack)) };
    let entry = physical(secondary as *const () as u64);
    firmware(false, [0xc400_0003, number as u64, entry, number as u64])[0] as i64
}

/// Called by start.S on every other CPU.
#[unsafe(no_mangle)]
extern "C" fn guest_secondary(number: u64) -> ! {
    crate::several::secondary(number as usize)
}

/// Switches this CPU off.
pub fn switch_off() -> ! {
    firmware(false, [0x8400_0002, 0, 0, 0]);
    loop {
        wait();
    }
}

/// Lets this CPU use its vector registers, and puts something of the pattern into them and others that belong to a CPU.
pub fn fill(pattern: u64) {
    write_register!("cpacr_el1", 3 << 20);
    // SAFETY: registers that the compiler does not use.
    unsafe { fill_registers(pattern) }
}

/// Returns the bits that are not as [`fill`] left them.
pub fn check(pattern: u64) -> u64 {
    // SAFETY: as above.
    unsafe { check_registers(pattern) }
}

/// Lets debug exceptions in.
pub fn let_debug_in() {
    // SAFETY: breakpoints and watchpoints are tests' own, and expected.
    unsafe { asm!("msr daifclr, #8", "isb", options(nostack)) }
}

/// Returns where [`go_to_debug_place`] leads.
pub fn debug_place() -> u64 {
    debugged as *const () as u64
}

/// Executes an instruction at which tests set breakpoints; it does nothing.
pub fn go_to_debug_place() {
    // SAFETY: a function that returns.
    unsafe { debugged() }
}

/// Lets interrupts in, or keeps them out.
pub fn enable_interrupts(enable: bool) {
    // SAFETY: their handler touches atomics and devices only.
    unsafe {
        if enable {
            asm!("msr daifclr, #2", "isb", options(nostack));
        } else {
            asm!("msr daifset, #2", "isb", options(nostack));
        }
    }
}

/// Marks the beginning (0) or the end (1) of what is measured: hints that do nothing, which whoever counts instructions looks for.
#[inline(always)]
pub fn mark(end: bool) {
    // SAFETY: hints without a meaning are no operation (DDI 0487, C6.2.121).
    unsafe {
        if end {
            asm!("hint #97", options(nostack));
        } else {
            asm!("hint #96", options(nostack));
        }
    }
}

/// An exception that was expected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
    /// ELR_EL1.
    pub at: u64,
}

impl Taken {
    /// Whether the instruction at which it came is HVC or SMC.
    pub fn at_call(&self) -> bool {
        matches!(load(self.at, 4) & 0xffe0_001f, 0xd400_0002 | 0xd400_0003)
    }
}

static EXPECTED: AtomicBool = AtomicBool::new(false);
static TAKEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Does something that may be refused by an exception, which is then returned.
pub fn attempt<T>(act: impl FnOnce() -> T) -> Result<T, Taken> {
    TAKEN[3].store(0, SeqCst);
    EXPECTED.store(true, SeqCst);
    let result = act();
    EXPECTED.store(false, SeqCst);
    let [syndrome, address, at, count] = [0, 1, 2, 3].map(|index: usize| TAKEN[index].load(SeqCst));
    if count == 0 { Ok(result) } else { Err(Taken { syndrome, address, at }) }
}

/// What start.S saves.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    pc: u64,
    pstate: u64,
}

/// Called by start.S with the kind of vector: 4 synchronous, 5 interrupt, of EL1 itself.
#[unsafe(no_mangle)]
extern "C" fn guest_exception(frame: &mut Frame, kind: u64) {
    if kind == 5 {
        crate::interrupts::taken();
        return;
    }
    let (syndrome, address) = (read_register!("esr_el1"), read_register!("far_el1"));
    if kind == 4 && EXPECTED.load(SeqCst) {
        TAKEN[3].fetch_add(1, SeqCst);
        [syndrome, address, frame.pc].iter().zip(&TAKEN).for_each(|(&value, slot)| slot.store(value, SeqCst));
        frame.pc += 4;
        return;
    }
    EXPECTED.store(false, SeqCst);
    let [x0, x1] = [frame.x[0], frame.x[1]];
    crate::die(format_args!(
        "exception {kind}: esr {syndrome:#x} far {address:#x} pc {:#x} pstate {:#x} x0 {x0:#x} x1 {x1:#x}",
        frame.pc, frame.pstate
    ));
}

/// Switches the machine off.
pub fn power_off() -> ! {
    firmware(false, [0x8400_0008, 0, 0, 0]);
    loop {
        wait();
    }
}

/// Memory for strings and lists: what was given last can be given back, which is nearly all that is.
struct Heap {
    space: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

const HEAP: usize = 256 << 10;
// SAFETY: one CPU, and the interrupt handler allocates nothing.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP_SPACE: Heap = Heap { space: UnsafeCell::new([0; HEAP]), used: AtomicUsize::new(0) };

// SAFETY: pieces are disjoint and inside the space.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.space.get() as usize;
        let start = (base + self.used.load(SeqCst)).next_multiple_of(layout.align());
        let end = start - base + layout.size();
        if end > HEAP {
            return core::ptr::null_mut();
        }
        self.used.store(end, SeqCst);
        start as *mut u8
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let start = piece as usize - self.space.get() as usize;
        if start + layout.size() == self.used.load(SeqCst) {
            self.used.store(start, SeqCst);
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let start = piece as usize - self.space.get() as usize;
        if start + layout.size() == self.used.load(SeqCst) && start + size <= HEAP {
            self.used.store(start + size, SeqCst);
            return piece;
        }
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return core::ptr::null_mut() };
        // SAFETY: the caller's promises are those of these.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                core::ptr::copy_nonoverlapping(piece, to, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            to
        }
    }
}
