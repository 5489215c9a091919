//! The stub's rules of PSCI, its lock, and its parameter block, on the host. The stub itself is tested in an emulator.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bootwrap::el3::lock::Lock;
use bootwrap::el3::parameters::{Parameters, Range, SIZE_BYTES};
use bootwrap::el3::psci::{Action, Cpus, Start, error, function};

fn board() -> Parameters {
    let mut board = Parameters { cpu_count: 3, ..Parameters::default() };
    board.cpus[..3].copy_from_slice(&[0, 1, 0x1_0000_0100]);
    board.memory[0] = Range { start: 0x4000_0000, size_bytes: 0x1000 };
    board
}

fn call(cpus: &Cpus, own: usize, arguments: [u64; 4]) -> Action {
    cpus.call(&board(), own, arguments, true)
}

const ON: u64 = (function::CPU_ON | function::WIDE) as u64;
const INFO: u64 = (function::AFFINITY_INFO | function::WIDE) as u64;

fn returns(value: i32) -> Action {
    Action::Return(value.into())
}

#[test]
fn a_cpu_goes_from_off_to_pending_to_on_to_off() {
    let cpus = Cpus::new();
    cpus.booted(0);
    let far = 0x1_0000_0100;
    assert_eq!(call(&cpus, 0, [INFO, far, 0, 0]), returns(1));
    assert_eq!(cpus.started(2), None);
    assert_eq!(call(&cpus, 0, [ON, far, 0x4000_0ffc, u64::MAX]), Action::Wake(0));
    assert_eq!(call(&cpus, 0, [INFO, far, 0, 0]), returns(2));
    assert_eq!(call(&cpus, 1, [ON, far, 0x4000_0000, 0]), returns(error::ON_PENDING));
    assert_eq!(cpus.started(2), Some(Start { entry: 0x4000_0ffc, context: u64::MAX }));
    assert_eq!(cpus.started(2), None);
    assert_eq!(call(&cpus, 0, [INFO, far, 0, 0]), returns(0));
    assert_eq!(call(&cpus, 1, [ON, far, 0x4000_0000, 0]), returns(error::ALREADY_ON));
    assert_eq!(call(&cpus, 2, [function::CPU_OFF.into(), 0, 0, 0]), Action::Off);
    assert_eq!(call(&cpus, 0, [INFO, far, 0, 0]), returns(1));
}

#[test]
fn arguments() {
    let cpus = Cpus::new();
    cpus.booted(0);
    let entry = 0x4000_0000;
    let cases = [
        ([ON, 2, entry, 0], returns(error::INVALID_PARAMETERS)),
        ([ON, 1 << 31 | 1, entry, 0], returns(error::INVALID_PARAMETERS)),
        ([ON, 1 << 63 | 1, entry, 0], returns(error::INVALID_PARAMETERS)),
        ([ON, 1, entry + 2, 0], returns(error::INVALID_ADDRESS)),
        ([ON, 1, 0x4000_1000, 0], returns(error::INVALID_ADDRESS)),
        ([ON, 1, 0x3fff_fffc, 0], returns(error::INVALID_ADDRESS)),
        // 32-bit calls see the lower halves.
        ([function::CPU_ON.into(), 7 << 32 | 1, 7 << 32 | entry, 0], Action::Wake(0)),
        ([7 << 32 | u64::from(function::PSCI_VERSION), 0, 0, 0], returns(0x1_0001)),
        ([INFO, 0, 1, 0], returns(error::INVALID_PARAMETERS)),
        ([INFO, 9, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::CPU_SUSPEND.into(), 0, 0, 0], Action::Standby),
        ([function::CPU_SUSPEND.into(), 0xffff, 0, 0], Action::Standby),
        ([function::CPU_SUSPEND.into(), 1 << 16, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::CPU_SUSPEND.into(), 1 << 30, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::CPU_SUSPEND.into(), 1 << 24, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::CPU_SUSPEND.into(), 1 << 31, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::CPU_SUSPEND.into(), 1 << 17, 0, 0], returns(error::INVALID_PARAMETERS)),
        ([function::SYSTEM_OFF.into(), 0, 0, 0], Action::SystemOff),
        ([function::SYSTEM_RESET.into(), 0, 0, 0], Action::SystemReset),
        ([(function::SYSTEM_RESET | function::WIDE).into(), 0, 0, 0], returns(error::NOT_SUPPORTED)),
        ([0, 0, 0, 0], returns(error::NOT_SUPPORTED)),
    ];
    for (arguments, wanted) in cases {
        assert_eq!(call(&cpus, 0, arguments), wanted, "{arguments:x?}");
    }
}

/// Every number of the standard services' and architecture's ranges: what FEATURES admits is answered, what it denies is not.
#[test]
fn features_and_answers_agree() {
    let board = board();
    for number in
        (0x8000_0000..0x8000_0100u32).chain(0x8400_0000..0x8400_0100).flat_map(|low| [low, low | function::WIDE])
    {
        let cpus = Cpus::new();
        let admitted = call(&cpus, 0, [function::PSCI_FEATURES.into(), number.into(), 0, 0]) == returns(0);
        let asked = [number.into(), number.into(), 0, 0];
        let answered = call(&cpus, 0, asked) != returns(error::NOT_SUPPORTED);
        // ARCH_FEATURES is SMCCC's and not PSCI's to tell of.
        assert_eq!(admitted, answered && number != function::SMCCC_ARCH_FEATURES, "{number:#x}");
        let narrow = cpus.call(&board, 0, asked, false) != returns(error::NOT_SUPPORTED);
        assert!(!(narrow && number & function::WIDE != 0), "{number:#x} from AArch32");
    }
}

/// Many CPUs switch on one: one succeeds each time.
#[test]
fn one_of_many_callers_succeeds() {
    let mut board = Parameters { cpu_count: 5, ..Parameters::default() };
    board.cpus[..5].copy_from_slice(&[0, 1, 2, 3, 4]);
    board.memory[0] = Range { start: 0, size_bytes: 0x1000 };
    for _ in 0..20 {
        let cpus = Cpus::new();
        let wins = AtomicUsize::new(0);
        thread::scope(|scope| {
            for own in 0..4 {
                let (cpus, board, wins) = (&cpus, &board, &wins);
                scope.spawn(move || {
                    if cpus.call(board, own, [ON, 4, 0x100 * own as u64, own as u64], true) == Action::Wake(0) {
                        wins.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), 1);
        // Entry and context are the same caller's.
        let start = cpus.started(4).expect("started");
        assert_eq!(start.entry, 0x100 * start.context);
    }
}

#[test]
fn the_lock_keeps_others_out() {
    let (lock, counter) = (Lock::new(), AtomicU64::new(0));
    thread::scope(|scope| {
        for own in [0, 1, 63] {
            let (lock, counter) = (&lock, &counter);
            scope.spawn(move || {
                for _ in 0..300 {
                    // A read and a write that only a lock makes one.
                    lock.with(own, || counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed));
                }
            });
        }
    });
    assert_eq!(counter.into_inner(), 900);
}

/// The bytes are what the type says, field by field.
#[test]
fn the_block_is_laid_out_as_the_stub_reads_it() {
    let mut board = board();
    board.gic_version = 3;
    board.redistributor_count = 0x11;
    board.power_pins = 0x0102;
    board.release[63] = 0x1122_3344_5566_7788;
    let bytes = board.to_bytes();
    let word = |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four"));
    let double = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight"));
    assert_eq!(&bytes[..8], b"BOOTWRAP");
    assert_eq!(word(offset_of!(Parameters, version)), 1);
    assert_eq!(word(offset_of!(Parameters, size_bytes)) as usize, SIZE_BYTES);
    assert_eq!(word(offset_of!(Parameters, cpu_count)), 3);
    assert_eq!(word(offset_of!(Parameters, gic_version)), 3);
    assert_eq!(word(offset_of!(Parameters, redistributor_count)), 0x11);
    assert_eq!(word(offset_of!(Parameters, power_pins)), 0x0102);
    assert_eq!(double(offset_of!(Parameters, memory)), 0x4000_0000);
    assert_eq!(double(offset_of!(Parameters, memory) + 8), 0x1000);
    assert_eq!(double(offset_of!(Parameters, cpus) + 16), 0x1_0000_0100);
    assert_eq!(double(SIZE_BYTES - 8), 0x1122_3344_5566_7788);
}
