//! The machine of host tests: the same names over plain memory, so that what stands above `arch` runs in tests, on several CPUs too.
//!
//! There is one machine; a thread says which CPU it is. What the real machine would do to its tables is recorded, for tests to judge.

pub mod board;
mod events;
pub mod rules;

use core::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, OnceLock};

pub use events::{Event, Place, take_record};

use super::{Context, Exit};

/// Where memory begins.
pub const MEMORY: u64 = 0x4000_0000;
/// How much there is.
pub const MEMORY_SIZE: u64 = 64 << 20;

/// Mutual exclusion, as on the machine.
#[derive(Debug, Default)]
pub struct Lock<T: ?Sized>(Mutex<T>);

/// The right to a locked value.
pub type Guard<'a, T> = MutexGuard<'a, T>;

impl<T> Lock<T> {
    /// Returns a lock that nobody holds.
    pub const fn new(value: T) -> Lock<T> {
        Lock(Mutex::new(value))
    }
}

impl<T: ?Sized> Lock<T> {
    /// Waits for the lock. A test that failed while it held one spoils nothing for the others.
    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A value that is set once.
#[derive(Debug, Default)]
pub struct Once<T>(OnceLock<T>);

impl<T> Once<T> {
    /// Returns one that is not set.
    pub const fn new() -> Once<T> {
        Once(OnceLock::new())
    }

    /// Sets it. Panics if it is set already.
    pub fn set(&self, value: T) -> &T {
        assert!(self.0.set(value).is_ok(), "set twice");
        self.0.get().expect("just set")
    }

    /// Returns it, if it is set.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }
}

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static COPIES: Cell<u64> = const { Cell::new(u64::MAX) };
    static TRANSLATION: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
    static TABLES: RefCell<Option<LookUp>> = const { RefCell::new(None) };
    static HESITATES: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    static INTERRUPTS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// What [`stop`] unwinds with, without a panic's report: a machine that is switched off has not failed.
#[derive(Debug)]
pub struct Stopped;

/// Lets this thread's guests translate so many pointers; none leads anywhere after that. Returns how many were left.
pub fn limit_copies(count: u64) -> u64 {
    COPIES.replace(count)
}

/// Lets every `nth` question whether an interrupt waits be answered with yes, on this thread; 0: none.
pub fn interrupt_every(nth: u64) {
    INTERRUPTS.set((nth, nth));
}

/// Whether an interrupt waits for this CPU.
pub fn is_interrupt_pending() -> bool {
    let (nth, left) = INTERRUPTS.get();
    INTERRUPTS.set((nth, if left <= 1 { nth } else { left - 1 }));
    left == 1
}

/// Returns the number of the CPU that this thread is.
pub fn cpu() -> usize {
    CPU.get()
}

/// Makes this thread another CPU.
pub fn become_cpu(number: usize) {
    CPU.set(number);
}

/// Returns memory's first byte. Words, so that tables are aligned; a page more, so that pages are.
fn memory() -> usize {
    static START: OnceLock<usize> = OnceLock::new();
    *START.get_or_init(|| {
        let words = alloc::vec![0u64; (MEMORY_SIZE as usize + 4096) / 8];
        let start = alloc::boxed::Box::leak(words.into_boxed_slice()).as_mut_ptr().expose_provenance();
        start.next_multiple_of(4096)
    })
}

/// Lets others go first before every `nth` touch of memory, on this thread; 0: never. What others rarely do in between on hardware, they
/// do often then.
pub fn hesitate_every(nth: u32) {
    HESITATES.set((nth, nth));
}

fn hesitate() {
    let (nth, left) = HESITATES.get();
    HESITATES.set((nth, if left <= 1 { nth } else { left - 1 }));
    if left == 1 {
        std::thread::yield_now();
    }
}

/// Returns where physical memory can be touched.
pub fn pointer(physical: u64) -> *mut u8 {
    hesitate();
    assert!((MEMORY..MEMORY + MEMORY_SIZE).contains(&physical), "physical address {physical:#x} is out of reach");
    core::ptr::with_exposed_provenance_mut(memory() + (physical - MEMORY) as usize)
}

/// Returns the physical address of something that [`pointer()`] gave.
pub fn physical(pointer: *const u8) -> u64 {
    (pointer.addr() - memory()) as u64 + MEMORY
}

/// Finds the physical address for a guest's, to be written or not.
type LookUp = alloc::boxed::Box<dyn Fn(u64, bool) -> Option<u64>>;

/// Lets this thread's guests be translated so, until it ends: as the CPU does it, which knows of no lock.
pub fn translate_by(look_up: impl Fn(u64, bool) -> Option<u64> + 'static) {
    TABLES.set(Some(alloc::boxed::Box::new(look_up)));
}

/// A guest's virtual addresses are its physical ones, and these the machine's; the first page is mapped nowhere, the last read-only.
pub fn translate(address: u64, write: bool) -> Option<u64> {
    COPIES.set(COPIES.get().checked_sub(1)?);
    if let Some(found) = TABLES.with_borrow(|tables| tables.as_ref().map(|look_up| look_up(address, write))) {
        return found;
    }
    let last = MEMORY + MEMORY_SIZE - 4096;
    let readable = (MEMORY..MEMORY + MEMORY_SIZE).contains(&address);
    (readable && !(write && address >= last)).then_some(address)
}

/// Returns SCTLR_EL1, TCR_EL1, TTBR0_EL1 and TTBR1_EL1 of the loaded vCPU: its MMU is off, unless a test says otherwise. Where no pointer
/// leads anywhere any more it is on, and has no tables.
pub fn translation_registers() -> [u64; 4] {
    if COPIES.get() == 0 { [1, 1 << 23 | 1 << 7, 0, 0] } else { TRANSLATION.get() }
}

/// Sets those registers, for this thread's guests.
pub fn set_translation_registers(registers: [u64; 4]) {
    TRANSLATION.set(registers);
}

/// Sleeps: nothing will come, unless this is a CPU of a board.
pub fn wait_for_interrupt() {
    if !board::wait_for_interrupt() {
        std::thread::yield_now();
    }
}

/// Lets others go first.
pub fn relax() {
    board::relax();
    std::thread::yield_now();
}

/// Ends: unwinds with [`Stopped`].
pub fn stop() -> ! {
    std::panic::resume_unwind(alloc::boxed::Box::new(Stopped))
}

/// Data caches, which memory here has none of: what is done to them is recorded.
pub mod cache {
    use super::Event;
    use super::events::{record, step};
    use crate::arch::sequences::cache_sequences;

    cache_sequences!(step);

    fn clean_lines(address: u64, size: u64) {
        record(Event::Clean(address, size));
    }

    fn clean_and_invalidate_lines(address: u64, size: u64) {
        record(Event::Clean(address, size));
    }
}

/// Virtual addresses.
pub mod layout {
    /// Where the image would be.
    pub const IMAGE: u64 = 0x3f80_0000_0000;

    /// Where the image would lie, and its size.
    pub fn image_physical() -> (u64, u64) {
        (super::MEMORY, 0)
    }
}

/// Registers of devices: whatever a test of this thread has put there.
pub mod mmio {
    use alloc::boxed::Box;
    use core::cell::RefCell;

    /// Answers an access: offset, bytes, and the value if it is a write; returns what is read.
    type Device = Box<dyn FnMut(u64, usize, Option<u32>) -> u32>;

    std::thread_local! {
        static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
    }

    /// Puts a device there.
    pub fn put_device(device: impl FnMut(u64, usize, Option<u32>) -> u32 + 'static) {
        DEVICE.set(Some(Box::new(device)));
    }

    fn access(offset: u64, size: usize, value: Option<u32>) -> u32 {
        DEVICE.with_borrow_mut(|device| device.as_mut().map_or(0, |device| device(offset, size, value)))
    }

    /// The registers of one device.
    #[derive(Debug, Clone, Copy)]
    pub struct Region;

    impl Region {
        /// Maps nothing.
        pub fn map(_physical: u64, _size: u64) -> Region {
            Region
        }
        /// Reads 32 bits.
        pub fn read32(&self, offset: u64) -> u32 {
            access(offset, 4, None)
        }
        /// Writes 32 bits.
        pub fn write32(&self, offset: u64, value: u32) {
            access(offset, 4, Some(value));
        }
        /// Reads a byte.
        pub fn read8(&self, offset: u64) -> u8 {
            access(offset, 1, None) as u8
        }
        /// Writes a byte.
        pub fn write8(&self, offset: u64, value: u8) {
            access(offset, 1, Some(value.into()));
        }
    }
}

/// The other CPUs.
pub mod smp {
    /// How a CPU is started.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Way {
        /// PSCI, by HVC or SMC.
        Psci {
            /// Whether by HVC.
            hvc: bool,
        },
        /// By writing the entry to this address.
        SpinTable(u64),
    }

    /// MPIDR's affinity fields.
    pub const AFFINITY: u64 = 0xff_00ff_ffff;

    /// Returns how many CPUs run.
    pub fn count() -> usize {
        4
    }

    /// There is none.
    pub fn has_firmware() {}

    /// What a CPU without faults needs.
    pub fn start_speculation() -> crate::arch::speculation::Needs {
        crate::arch::speculation::Needs([crate::arch::speculation::Need::None; 3])
    }

    /// Whether two CPUs are of the same make.
    pub fn alike(_one: usize, _other: usize) -> bool {
        true
    }

    /// The machine is switched off.
    pub fn system_off() {}

    /// The machine starts anew.
    pub fn system_reset() {}
}

/// Guests' translation: what is done to it is recorded.
pub mod stage2 {
    use core::cell::Cell;

    use super::Event;
    use super::events::{note_root, note_table, place, record, step};
    use super::rules::is_table;
    use crate::arch::sequences::stage2_sequences;

    std::thread_local! {
        static VTTBR: Cell<u64> = const { Cell::new(0) };
    }

    /// Returns how many bits a guest physical address has.
    pub fn address_bits() -> u32 {
        40
    }

    /// Sets up this CPU for guests.
    pub fn start(_bits: u32, _level: u32) {
        set_guest(0);
        forget_guests();
    }

    /// Notes that a guest has 2^`order` new tables, in which its walks begin, at `level`.
    pub fn began(vttbr: u64, level: u32, order: u32) {
        note_root(vttbr, level, order);
    }

    /// Notes that a descriptor was written.
    pub fn wrote(address: u64, before: u64, after: u64) {
        if is_table(after) {
            note_table(after & 0xffff_ffff_f000, address);
        }
        record(Event::Descriptor(place(address), before, after));
    }

    fn guest() -> u64 {
        VTTBR.get()
    }

    /// Makes this CPU a guest's.
    pub fn set_guest(vttbr: u64) {
        record(Event::Vttbr(VTTBR.replace(vttbr), vttbr));
    }

    stage2_sequences!(step);
}

/// The hypervisor's own tables, in a test's hand.
#[cfg(test)]
mod stage1;

/// Timers: time stands still unless a test lets it pass, but for the CPUs of a board.
pub mod timer {
    use super::board;
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

    static NOW: AtomicU64 = AtomicU64::new(1000);

    std::thread_local! {
        static PASSED: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
    }

    /// Lets time pass, for this thread.
    pub fn pass(counts: u64) {
        PASSED.set(PASSED.get() + counts);
    }

    /// Returns the physical count.
    pub fn now() -> u64 {
        board::now().unwrap_or_else(|| NOW.load(SeqCst) + PASSED.get())
    }

    /// Returns the same.
    pub fn glance() -> u64 {
        now()
    }

    /// Returns counts per second.
    pub fn frequency() -> u64 {
        62_500_000
    }

    /// Asks for an interrupt.
    pub fn set_deadline(deadline: Option<u64>) {
        board::set_deadline(deadline);
    }

    /// Prepares this CPU.
    pub fn start() {}

    /// Whether the guest's virtual timer asserts its line.
    pub fn virtual_line() -> bool {
        board::virtual_line()
    }
}

/// The physical interrupt controller: silent, but for what tests of a thread do with its own.
pub mod gic {
    use core::cell::RefCell;

    use super::{become_cpu, board};
    use crate::arch::{Gate, ListRegister, Maintenance};

    /// The SGI that makes a CPU look at what is new for it.
    pub const KICK: u32 = 0;

    /// A physical interrupt. It is active for each CPU on its own, which is what asks most of who ends it.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Physical {
        /// It may interrupt.
        pub enabled: bool,
        /// Pending by an edge.
        pub latched: bool,
        /// What its device says.
        pub line: bool,
        /// It is an edge.
        pub edge: bool,
        /// The CPUs for which it is active.
        pub active: u64,
        /// The CPU that gets it.
        pub cpu: usize,
    }

    impl Physical {
        /// Whether it is pending.
        pub fn is_pending(&self) -> bool {
            self.latched || self.line && !self.edge
        }
    }

    std::thread_local! {
        static SIGNALS_AGAIN: core::cell::Cell<bool> = const { core::cell::Cell::new(true) };
        static LISTS: RefCell<[Option<ListRegister>; 4]> = const { RefCell::new([None; 4]) };
        static ENDS: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
        static GATE: core::cell::Cell<(Gate, bool)> = const { core::cell::Cell::new((Gate::OPEN, false)) };
        static PHYSICAL: RefCell<[Physical; 1024]> = const {
            RefCell::new([Physical { enabled: false, latched: false, line: false, edge: false, active: 0, cpu: 0 }; 1024])
        };
    }

    /// Lets a test see and change an interrupt.
    pub fn with_physical<R>(interrupt: u32, act: impl FnOnce(&mut Physical) -> R) -> R {
        PHYSICAL.with_borrow_mut(|all| act(&mut all[interrupt as usize]))
    }

    /// Lets the CPU where an interrupt goes take it, if it fires there; `take`, on that CPU, says whether it stays active.
    pub fn deliver(interrupt: u32, take: impl FnOnce(usize) -> bool) {
        let taken = with_physical(interrupt, |physical| {
            let cpu = physical.cpu;
            let fires = physical.enabled && physical.is_pending() && physical.active >> cpu & 1 == 0;
            fires.then(|| {
                (physical.latched, physical.active) = (false, physical.active | 1 << cpu);
                cpu
            })
        });
        if let Some(cpu) = taken {
            become_cpu(cpu);
            if !take(cpu) {
                with_physical(interrupt, |physical| physical.active &= !(1 << cpu));
            }
        }
    }

    /// Forgets what a test of this thread did.
    pub fn reset() {
        PHYSICAL.set([Physical::default(); 1024]);
    }

    /// An interrupt that the CPU which calls has taken.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Taken(u32);

    impl Taken {
        /// Returns its number.
        pub fn interrupt(self) -> u32 {
            self.0
        }
    }

    /// Prepares the interface of the CPU that calls.
    ///
    /// # Errors
    /// None.
    pub fn start_cpu(_private: &[u32], _timer: u32) -> Result<(), &'static str> {
        Ok(())
    }

    /// Returns how many interrupts there are.
    pub fn interrupts() -> u32 {
        256
    }
    /// Returns the bits of identifiers.
    pub fn identifier_bits() -> u32 {
        16
    }
    /// Returns how many list registers there are.
    pub fn list_registers() -> usize {
        4
    }
    /// Takes an interrupt.
    pub fn acknowledge() -> Option<Taken> {
        board::acknowledge().map(Taken)
    }
    /// Drops a priority.
    pub fn drop_priority(_taken: Taken) {}
    /// Deactivates.
    pub fn deactivate(taken: Taken) {
        with_physical(taken.0, |physical| physical.active = 0);
    }
    /// Enables or disables an SPI.
    pub fn enable(interrupt: u32, enabled: bool) {
        with_physical(interrupt, |physical| physical.enabled = enabled);
    }
    /// Makes active or not, for every CPU.
    pub fn set_active(interrupt: u32, active: bool) {
        with_physical(interrupt, |physical| physical.active = if active { u64::MAX } else { 0 });
    }
    /// Makes pending or not.
    pub fn set_pending(interrupt: u32, pending: bool) {
        with_physical(interrupt, |physical| physical.latched = pending);
    }
    /// Whether it is enabled.
    pub fn is_enabled(interrupt: u32) -> bool {
        with_physical(interrupt, |physical| physical.enabled)
    }
    /// Whether it is active for any CPU.
    pub fn is_active(interrupt: u32) -> bool {
        with_physical(interrupt, |physical| physical.active != 0)
    }
    /// Whether it is pending.
    pub fn is_pending(interrupt: u32) -> bool {
        with_physical(interrupt, |physical| physical.is_pending())
    }
    /// Whether a level fell.
    pub fn is_withdrawn(interrupt: u32) -> bool {
        !is_pending(interrupt)
    }
    /// Says whether an SPI is an edge.
    pub fn set_edge(interrupt: u32, edge: bool) {
        with_physical(interrupt, |physical| physical.edge = edge);
    }
    /// Sends an SPI to a CPU.
    pub fn route(interrupt: u32, cpu: usize) {
        with_physical(interrupt, |physical| physical.cpu = cpu);
    }
    /// Whether the CPU that calls ends what `taker` took.
    pub fn ends_here(taker: usize) -> bool {
        taker == super::cpu()
    }
    /// Whether a private level that was ended is signalled again while it lasts.
    pub fn signals_again() -> bool {
        SIGNALS_AGAIN.get()
    }
    /// Says so.
    pub fn set_signals_again(on: bool) {
        SIGNALS_AGAIN.set(on);
    }
    /// Kicks another CPU.
    pub fn kick(cpu: usize) {
        board::kick(cpu);
    }
    /// Fills a list register.
    pub fn write_list(index: usize, content: Option<ListRegister>) {
        with_lists(|lists| lists[index] = content);
    }
    /// Reads whether a list register says pending, and active.
    pub fn read_list(index: usize) -> (bool, bool) {
        with_lists(|lists| lists[index].map_or((false, false), |list| (list.pending, list.active)))
    }
    /// Lets a guest see and change the list registers of its CPU, which is a thread.
    pub(super) fn with_lists<R>(act: impl FnOnce(&mut [Option<ListRegister>; 4]) -> R) -> R {
        LISTS.with_borrow_mut(act)
    }
    /// This thread's guest takes an interrupt; returns whether it could.
    pub fn take_virtual(intid: u16) -> bool {
        with_lists(|lists| {
            let list = lists.iter_mut().flatten().find(|list| list.intid == intid && list.pending);
            list.map(|list| (list.pending, list.active) = (false, true)).is_some()
        })
    }
    /// It ends one; what is in no list register is counted.
    pub fn end_virtual(intid: u16) {
        with_lists(|lists| match lists.iter_mut().flatten().find(|list| list.intid == intid && list.active) {
            Some(list) => list.active = false,
            None => ENDS.set(ENDS.get() + 1),
        });
    }
    /// Returns what of the loaded vCPU's interface lets interrupts through.
    pub fn gate() -> Gate {
        GATE.get().0
    }
    /// Whether its priority drop and deactivation are apart.
    pub fn is_end_split() -> bool {
        GATE.get().1
    }
    /// Makes this thread's interface so.
    pub fn set_gate(gate: Gate, split: bool) {
        GATE.set((gate, split));
    }
    /// Asks for maintenance interrupts: only those of ends come here.
    pub fn set_maintenance(_wanted: Maintenance) {
        board::silence();
    }
    /// Asks for nothing.
    pub fn silence() {
        board::silence();
    }
    /// Returns how many the guest ended that were in no list register.
    pub fn take_ends() -> u32 {
        ENDS.take()
    }
}

/// A vCPU's registers: those that code above looks at.
pub mod vcpu {
    use super::{Context, Exit, board};
    use crate::arch::debug::Debug;

    /// EL1 with its own stack pointer, everything masked.
    pub const PSTATE_RESET: u64 = 0x3c5;

    /// System registers that are looked at.
    #[derive(Debug, Clone, Default)]
    pub struct Registers {
        /// Virtual timer's control.
        pub cntv_ctl: u64,
        /// Virtual timer's compare value.
        pub cntv_cval: u64,
    }

    /// What is kept of a vCPU while it is not on a CPU.
    #[derive(Debug, Clone)]
    pub struct Saved {
        /// System registers.
        pub registers: Registers,
        /// Breakpoints and the like.
        pub debug: Debug,
        /// MPIDR_EL1 as the guest reads it.
        pub mpidr: u64,
        /// Tables and identifier of the guest.
        pub vttbr: u64,
        /// Physical count at which the virtual count is 0.
        pub time_offset: u64,
        /// Whether an SError waits for it.
        pub system_error: bool,
    }

    impl Saved {
        /// Returns a vCPU as it is at reset.
        pub fn new(mpidr: u64, vttbr: u64, time_offset: u64) -> Saved {
            let registers = Registers::default();
            Saved { registers, debug: Debug::default(), mpidr, vttbr, time_offset, system_error: false }
        }
        /// Loads the virtual timer, and whether an SError waits.
        pub fn load(&self) {
            SYSTEM_ERROR.set(self.system_error);
            board::load(self.mpidr, (self.registers.cntv_ctl, self.registers.cntv_cval, self.time_offset));
        }
        /// Loads nothing.
        pub fn load_debug(&self) {}
        /// Saves them.
        pub fn save(&mut self) {
            self.system_error = SYSTEM_ERROR.take();
            if let Some(timer) = board::save() {
                (self.registers.cntv_ctl, self.registers.cntv_cval) = timer;
            }
        }
    }

    /// What a guest does until it comes back.
    type Guest = alloc::boxed::Box<dyn FnMut(&mut Context) -> Exit>;

    std::thread_local! {
        static SHORT: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
        static SYSTEM_ERROR: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
        static GUEST: core::cell::RefCell<Option<Guest>> = const { core::cell::RefCell::new(None) };
    }

    /// Says what this thread's guest does each time that it is entered.
    pub fn put_guest(guest: impl FnMut(&mut Context) -> Exit + 'static) {
        GUEST.set(Some(alloc::boxed::Box::new(guest)));
    }

    /// A guest that never starts, unless a test or a board says what it does.
    pub fn enter(context: &mut Context) -> Exit {
        let own = |context: &mut Context| GUEST.with_borrow_mut(|guest| guest.as_mut().map(|guest| guest(context)));
        board::enter(context).or_else(|| own(context)).unwrap_or(Exit::Interrupt)
    }

    /// Says whether the instruction at which this thread's guest was left has two bytes.
    pub fn set_short(short: bool) {
        SHORT.set(short);
    }

    /// Returns that.
    pub fn was_short() -> bool {
        SHORT.get()
    }

    /// Makes an SError pending for the loaded vCPU, which never takes it.
    pub fn pend_system_error() {
        SYSTEM_ERROR.set(true);
    }

    /// Whether one waits for it.
    pub fn is_system_error_pending() -> bool {
        SYSTEM_ERROR.get()
    }

    /// Notes the syndrome where tests find it: in x0's place of the program counter.
    pub fn inject(context: &mut Context, syndrome: u64, _far: Option<u64>) {
        context.pc = syndrome;
    }

    /// Returns nothing of interest.
    pub fn dump() -> [u64; 6] {
        [0; 6]
    }

    /// Returns the identification of a CPU that has everything.
    pub fn identification() -> [[u64; 8]; 8] {
        [[u64::MAX; 8]; 8]
    }
}

/// Starts memory, once, for all tests: half of it free.
pub fn start_memory() {
    use crate::memory::frames;
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let table = frames::table_size(MEMORY_SIZE).next_multiple_of(4096);
        frames::start(&[(MEMORY, MEMORY + MEMORY_SIZE)], MEMORY);
        frames::add(MEMORY + table, MEMORY + MEMORY_SIZE);
    });
}
