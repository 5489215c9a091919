//! The probe: an EL2 payload for QEMU's virt machine that calls every PSCI function, well and badly, on every CPU, looks whether it
//! got the interrupts, and prints a line for each answer. A test on the host compares the lines with the expected ones. After the
//! first round it resets the machine, after the second it switches it off.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "a bare-metal program: entry, system registers, devices")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bootwrap_el3::psci::function::{self, WIDE};

const STACK_BYTES: usize = 4096;
const CPUS_MAX: usize = 8;

core::arch::global_asm!(include_str!("probe.S"), stack = const STACK_BYTES, cpus = const CPUS_MAX);

unsafe extern "C" {
    fn secondary();
}

/// QEMU's virt machine (hw/arm/virt.c).
const UART: u64 = 0x0900_0000;
const GICD: u64 = 0x0800_0000;
const GICC: u64 = 0x0801_0000;
const GICR: u64 = 0x080a_0000;
const GICR_STRIDE: u64 = 0x2_0000;
/// A word of memory that nothing loads into and a reset leaves alone.
const SURVIVOR: u64 = 0x47f0_0000;
const SURVIVED: u32 = 0x5e5e_a110;
const VIRTUAL_TIMER: u32 = 27;

/// Says who may run: the number of a secondary CPU, or zero for the first.
static TURN: AtomicU64 = AtomicU64::new(0);
/// What secondaries do: 1 the cases, 2 the race.
static PHASE: AtomicU64 = AtomicU64::new(1);
/// Answers of the race, one per CPU; 1 is "none yet", which no call returns.
static ANSWERS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(1) }; CPUS_MAX];

#[unsafe(no_mangle)]
extern "C" fn probe_main(x0: u64, x1: u64, x2: u64, x3: u64, own: u64) -> ! {
    if own != 0 {
        run_secondary(x0, x1 | x2 | x3, own)
    }
    let survived = read(SURVIVOR) == SURVIVED;
    if survived {
        write(SURVIVOR, 0);
        print(&["probe: again after reset\n"]);
        call([function::SYSTEM_OFF.into(), 0, 0, 0]);
        print(&["probe: SYSTEM_OFF came back\n"]);
        sleep();
    }
    state(0, x1 | x2 | x3);
    print(&["probe: device tree "]);
    print(&[if read(x0) == 0xedfe_0dd0 { "at x0\n" } else { "missing\n" }]);
    let count = (0..CPUS_MAX as u64).take_while(|&cpu| affinity_info(cpu) != -2).count() as u64;
    number("probe: cpus ", count as i64);
    number("probe: shared interrupts that are ours ", shared_interrupts());
    cases(0, count);
    for cpu in 1..count {
        let entry = secondary as *const () as u64;
        let answer = call([(function::CPU_ON | WIDE).into(), cpu, entry, 0xc0_ffee_0000 | cpu]);
        number("probe: CPU_ON ", answer);
        // Only now may the other CPU print: the UART is one for all.
        TURN.store(cpu, SeqCst);
        wait(|| TURN.load(SeqCst) == 0);
        wait(|| affinity_info(cpu) == 1);
        number("probe: off again: ", cpu as i64);
    }
    if count > 2 {
        race(count);
    }
    write(SURVIVOR, SURVIVED);
    call([function::SYSTEM_RESET.into(), 0, 0, 0]);
    print(&["probe: SYSTEM_RESET came back\n"]);
    sleep()
}

fn run_secondary(context: u64, others: u64, own: u64) -> ! {
    if PHASE.load(SeqCst) == 1 {
        wait(|| TURN.load(SeqCst) == own);
        state(own, others);
        print(&["probe: context "]);
        print(&[if context == 0xc0_ffee_0000 | own { "kept\n" } else { "lost\n" }]);
        cases(own, 0);
        TURN.store(0, SeqCst);
    } else if own != 1 {
        wait(|| TURN.load(SeqCst) == 100);
        ANSWERS[own as usize].store(switch_on(1) as u64, SeqCst);
    }
    call([function::CPU_OFF.into(), 0, 0, 0]);
    print(&["probe: CPU_OFF came back\n"]);
    sleep()
}

/// All CPUs but 1 switch on CPU 1 at once; exactly one may succeed. CPU 1 goes off at once, so it may be done more than once, one
/// success a time.
fn race(count: u64) {
    PHASE.store(2, SeqCst);
    for cpu in 2..count {
        switch_on(cpu);
    }
    wait(|| (2..count).all(|cpu| affinity_info(cpu) == 0));
    TURN.store(100, SeqCst);
    ANSWERS[0].store(switch_on(1) as u64, SeqCst);
    wait(|| (0..count).all(|cpu| cpu == 1 || ANSWERS[cpu as usize].load(SeqCst) != 1));
    let answers = || (0..count).filter(|&cpu| cpu != 1).map(|cpu| ANSWERS[cpu as usize].load(SeqCst) as i64);
    let good = answers().all(|answer| matches!(answer, 0 | -4 | -5)) && answers().any(|answer| answer == 0);
    wait(|| (1..count).all(|cpu| affinity_info(cpu) == 1));
    print(&["probe: race for one CPU ", if good { "good\n" } else { "bad\n" }]);
}

fn switch_on(cpu: u64) -> i64 {
    call([(function::CPU_ON | WIDE).into(), cpu, secondary as *const () as u64, cpu])
}

/// Prints how this CPU was entered.
fn state(own: u64, others: u64) {
    let [level, daif, sctlr, frequency, spsel]: [u64; 5];
    // SAFETY: reads of registers that EL2 may read.
    unsafe {
        asm!("mrs {}, CurrentEL", "mrs {}, daif", "mrs {}, sctlr_el2", "mrs {}, cntfrq_el0", "mrs {}, spsel",
             out(reg) level, out(reg) daif, out(reg) sctlr, out(reg) frequency, out(reg) spsel);
    }
    number("probe: cpu ", own as i64);
    number("probe:   EL", (level >> 2) as i64);
    let good = daif == 0x3c0 && sctlr & 0x1005 == 0 && spsel == 1 && others == 0;
    print(&["probe:   masked, MMU and caches off, own stack, x1 to x3 zero: ", if good { "yes\n" } else { "no\n" }]);
    number("probe:   counter at ", frequency as i64);
}

/// Calls everything and prints the answers. `count` is the number of CPUs, or 0 where it does not matter.
fn cases(own: u64, count: u64) {
    let [wide_on, wide_info] = [function::CPU_ON | WIDE, function::AFFINITY_INFO | WIDE].map(u64::from);
    let entry = secondary as *const () as u64;
    let features = |of: u32| [function::PSCI_FEATURES.into(), of.into(), 0, 0];
    let on = |target: u64, entry: u64| [wide_on, target, entry, 0];
    let table: [(&str, [u64; 4]); 34] = [
        ("PSCI_VERSION", [function::PSCI_VERSION.into(), 0, 0, 0]),
        ("SMCCC_VERSION", [function::SMCCC_VERSION.into(), 0, 0, 0]),
        ("ARCH_FEATURES(SMCCC_VERSION)", [function::SMCCC_ARCH_FEATURES.into(), function::SMCCC_VERSION.into(), 0, 0]),
        ("ARCH_FEATURES(WORKAROUND_1)", [function::SMCCC_ARCH_FEATURES.into(), 0x8000_8000, 0, 0]),
        ("MIGRATE_INFO_TYPE", [function::MIGRATE_INFO_TYPE.into(), 0, 0, 0]),
        ("FEATURES(PSCI_VERSION)", features(function::PSCI_VERSION)),
        ("FEATURES(SMCCC_VERSION)", features(function::SMCCC_VERSION)),
        ("FEATURES(FEATURES)", features(function::PSCI_FEATURES)),
        ("FEATURES(CPU_SUSPEND)", features(function::CPU_SUSPEND)),
        ("FEATURES(CPU_SUSPEND64)", features(function::CPU_SUSPEND | WIDE)),
        ("FEATURES(CPU_OFF)", features(function::CPU_OFF)),
        ("FEATURES(CPU_OFF64)", features(function::CPU_OFF | WIDE)),
        ("FEATURES(CPU_ON64)", features(function::CPU_ON | WIDE)),
        ("FEATURES(AFFINITY_INFO64)", features(function::AFFINITY_INFO | WIDE)),
        ("FEATURES(SYSTEM_OFF)", features(function::SYSTEM_OFF)),
        ("FEATURES(SYSTEM_RESET)", features(function::SYSTEM_RESET)),
        ("FEATURES(MIGRATE)", features(0x8400_0005)),
        ("FEATURES(SYSTEM_RESET2)", features(0x8400_0012)),
        ("MIGRATE", [0x8400_0005, 0, 0, 0]),
        ("SYSTEM_OFF64", [(function::SYSTEM_OFF | WIDE).into(), 0, 0, 0]),
        ("unknown", [0x8400_00ff, 0, 0, 0]),
        ("all ones", [u64::MAX; 4]),
        ("CPU_ON(self)", on(own, entry)),
        ("CPU_ON(0) by 32 bits", [function::CPU_ON.into(), 0xffff_ffff_0000_0000, 0xffff_ffff_0000_0000 | entry, 0]),
        ("CPU_ON(unknown)", on(0x77, entry)),
        ("CPU_ON(bit 31)", on(1 << 31 | own, entry)),
        ("CPU_ON(misaligned)", on(own, entry + 1)),
        ("CPU_ON(into a device)", on(own, UART)),
        ("CPU_ON(into the stub)", on(own, 0x4000_0000)),
        ("CPU_ON(nowhere)", on(own, 0x00ff_ffff_ffff_fffc)),
        ("AFFINITY_INFO(self)", [wide_info, own, 0, 0]),
        ("AFFINITY_INFO(level 1)", [wide_info, own, 1, 0]),
        ("AFFINITY_INFO(unknown)", [wide_info, 0x77, 0, 0]),
        ("CPU_SUSPEND(power down)", [(function::CPU_SUSPEND | WIDE).into(), 1 << 16, entry, 0]),
    ];
    for (name, arguments) in &table {
        print(&["probe:   ", name]);
        number(" ", call(*arguments));
    }
    if count > 1 {
        number("probe:   AFFINITY_INFO(next) ", affinity_info(own + 1));
    }
    number("probe:   CPU_SUSPEND(standby) ", standby(own));
    number("probe:   pending interrupt ", i64::from(pending_interrupt()));
}

/// Makes a call and checks that x4 to x17 come back as they went (SMCCC 1.1).
fn call(arguments: [u64; 4]) -> i64 {
    let mut x0 = arguments[0];
    let changed: u64;
    // SAFETY: SMC changes no register but those named; what it does to the machine is what the probe wants.
    unsafe {
        asm!(
            ".irp n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "mov x\\n, #(0x1100 + \\n)",
            ".endr",
            "smc #0",
            "mov x3, #0",
            ".irp n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "mov x2, #(0x1100 + \\n)",
            "eor x\\n, x\\n, x2",
            "orr x3, x3, x\\n",
            ".endr",
            inout("x0") x0, inout("x1") arguments[1] => _, inout("x2") arguments[2] => _, inout("x3") arguments[3] => changed,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _,
            out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
        );
    }
    if changed != 0 {
        print(&["probe: a call changed x4 to x17\n"]);
    }
    x0 as i64
}

fn affinity_info(cpu: u64) -> i64 {
    call([(function::AFFINITY_INFO | WIDE).into(), cpu, 0, 0])
}

/// Sleeps in CPU_SUSPEND until the virtual timer's interrupt is pending.
fn standby(own: u64) -> i64 {
    let own_interrupts = if gic_version() == 3 {
        write(GICD, read(GICD) | 1 << 1); // GICD_CTLR.EnableGrp1A
        // SAFETY: EL2 may write these; interrupts stay masked in PSTATE.
        unsafe {
            asm!("msr s3_0_c4_c6_0, {0}", "msr s3_0_c12_c12_7, {1}", "isb", in(reg) 0xffu64, in(reg) 1u64); // ICC_PMR, ICC_IGRPEN1
        }
        let redistributor = GICR + GICR_STRIDE * own;
        redistributor + 0x1_0000
    } else {
        write(GICD, 1);
        write(GICC + 4, 0xff);
        write(GICC, 1);
        GICD
    };
    write(own_interrupts + 0x100, 1 << VIRTUAL_TIMER); // ISENABLER0
    // SAFETY: EL2's own timer registers.
    unsafe {
        asm!("msr cntvoff_el2, xzr", "msr cntv_tval_el0, {0}", "msr cntv_ctl_el0, {1}", "isb", in(reg) 100_000u64, in(reg) 1u64);
    }
    call([(function::CPU_SUSPEND | WIDE).into(), 0, 0, 0])
}

fn pending_interrupt() -> u32 {
    if gic_version() == 3 {
        let interrupt: u64;
        // SAFETY: a read without effect: ICC_HPPIR1_EL1.
        unsafe { asm!("mrs {}, s3_0_c12_c12_2", out(reg) interrupt) };
        interrupt as u32
    } else {
        read(GICC + 0x18) // GICC_HPPIR
    }
}

/// Counts the shared interrupts whose enable bit the non-secure world can set: those of Group 1.
fn shared_interrupts() -> i64 {
    let mut count = 0;
    for register in 1..=u64::from(read(GICD + 4) & 0x1f) {
        let enable = GICD + 0x100 + 4 * register;
        write(enable, !0);
        count += i64::from(read(enable).count_ones());
        write(enable + 0x80, !0); // ICENABLER
    }
    count
}

fn gic_version() -> u32 {
    let pfr0: u64;
    // SAFETY: reads an ID register.
    unsafe { asm!("mrs {}, id_aa64pfr0_el1", out(reg) pfr0) };
    if pfr0 >> 24 & 0xf == 0 { 2 } else { 3 }
}

fn wait(condition: impl Fn() -> bool) {
    while !condition() {
        core::hint::spin_loop();
    }
}

fn sleep() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfi") };
    }
}

fn read(address: u64) -> u32 {
    // SAFETY: the callers name devices and memory of the virt machine; the MMU is off.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() }
}

fn write(address: u64, value: u32) {
    // SAFETY: as in `read`.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address as usize).write_volatile(value) }
}

fn print(texts: &[&str]) {
    for byte in texts.iter().flat_map(|text| text.bytes()) {
        write(UART, byte.into());
    }
}

fn number(before: &str, value: i64) {
    print(&[before, if value < 0 { "-" } else { "" }]);
    let mut digits = [0u8; 20];
    let mut left = value.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    for &digit in &digits[at..] {
        write(UART, digit.into());
    }
    print(&["\n"]);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    print(&["probe: panic\n"]);
    sleep()
}
