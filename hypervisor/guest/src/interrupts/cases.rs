//! The cases: each names what the manual says of it.

use super::*;
use crate::{read_register, say, write_register};

/// Shared peripheral interrupts that nothing raises on QEMU's virt machine (hw/arm/virt.c uses the first 80).
const SPI: u32 = 200;
const OTHER: u32 = 201;
const SGI: u32 = 5;
/// A count that is not reached; at the last one there is, QEMU 7.2 loops where the virtual count has an offset.
const FAR: u64 = 1 << 56;

fn set(base: u64, interrupt: u32) {
    store(register(base, interrupt), 4, 1 << (interrupt % 32));
}

fn is(base: u64, interrupt: u32) -> bool {
    load(register(base, interrupt), 4) >> (interrupt % 32) & 1 != 0
}

/// Returns the address of the word that has an interrupt's bit.
fn register(base: u64, interrupt: u32) -> u64 {
    if interrupt < 32 { private(base) } else { distributor() + base + u64::from(interrupt) / 32 * 4 }
}

fn priority(interrupt: u32) -> u64 {
    if interrupt < 32 { private(0x400) + u64::from(interrupt) } else { distributor() + 0x400 + u64::from(interrupt) }
}

const ENABLE: u64 = 0x100;
const DISABLE: u64 = 0x180;
const PEND: u64 = 0x200;
const UNPEND: u64 = 0x280;
const ACTIVATE: u64 = 0x300;
const DEACTIVATE: u64 = 0x380;

/// Everything off, as cases begin.
fn clear(interrupt: u32) {
    [DISABLE, UNPEND, DEACTIVATE].into_iter().for_each(|base| set(base, interrupt));
    store(priority(interrupt), 1, 0xa0);
    if V3.load(SeqCst) {
        let group = register(0x80, interrupt);
        store(group, 4, load(group, 4) | 1 << (interrupt % 32));
    }
}

fn state(interrupt: u32) -> [bool; 3] {
    [ENABLE, PEND, ACTIVATE].map(|base| is(base, interrupt))
}

fn say_state(section: &str, what: &str, interrupt: u32) {
    let [enabled, pending, active] = state(interrupt);
    say!("{section}: {what} of {interrupt} = enabled {enabled}, pending {pending}, active {active}");
}

/// Runs the cases.
pub fn run() {
    identification();
    for interrupt in [SPI, 20, SGI] {
        registers(interrupt);
    }
    life_by_polling();
    order();
    software();
}

fn identification() {
    if V3.load(SeqCst) {
        say!("IHI 0069, 12.9, GICD_CTLR: affinity routing and group 1 on = {:#x}", load(distributor(), 4) & 0x12);
        say!("IHI 0069, 12.9, GICD_PIDR2: architecture = {}", load(distributor() + 0xffe8, 4) >> 4 & 15);
        say!("IHI 0069, 12.11, GICR_PIDR2: architecture = {}", load(redistributor() + 0xffe8, 4) >> 4 & 15);
        say!("IHI 0069, 12.11, GICR_TYPER: this CPU's affinity = {:#x}", load(redistributor() + 8, 8) >> 32);
    } else {
        say!("IHI 0048, 4.3.1, GICD_CTLR: enabled = {}", load(distributor(), 4) & 1);
        say!("IHI 0048, 4.3.18, ICPIDR2: architecture = {}", load(distributor() + 0xfe8, 4) >> 4 & 15);
        say!("IHI 0048, 4.3.12, GICD_ITARGETSR0: this CPU = {:#x}", load(distributor() + 0x800, 4));
    }
}

fn names() -> [&'static str; 5] {
    if V3.load(SeqCst) {
        [
            "IHI 0069, 12.9, ISENABLER",
            "IHI 0069, 12.9, ISPENDR",
            "IHI 0069, 12.9, ISACTIVER",
            "IHI 0069, 12.9, IPRIORITYR",
            "IHI 0069, 12.9, ICFGR",
        ]
    } else {
        [
            "IHI 0048, 4.3.5, ISENABLER",
            "IHI 0048, 4.3.7, ISPENDR",
            "IHI 0048, 4.3.9, ISACTIVER",
            "IHI 0048, 4.3.11, IPRIORITYR",
            "IHI 0048, 4.3.13, ICFGR",
        ]
    }
}

/// What is written is read.
fn registers(interrupt: u32) {
    let [enable, pend, activate, level, configure] = names();
    clear(interrupt);
    say_state(enable, "cleared, state", interrupt);
    set(ENABLE, interrupt);
    say_state(enable, "enabled, state", interrupt);
    set(DISABLE, interrupt);
    say_state(enable, "disabled again, state", interrupt);
    if interrupt >= 16 || V3.load(SeqCst) {
        set(PEND, interrupt);
        say_state(pend, "set pending, state", interrupt);
        set(UNPEND, interrupt);
        say_state(pend, "cleared pending, state", interrupt);
    }
    set(ACTIVATE, interrupt);
    say_state(activate, "activated, state", interrupt);
    set(DEACTIVATE, interrupt);
    say_state(activate, "deactivated, state", interrupt);
    for value in [0x00, 0x50, 0xa0, 0xff] {
        store(priority(interrupt), 1, value);
        say!("{level}: {value:#x} to {interrupt} = {:#x}", load(priority(interrupt), 1) & 0xf0);
    }
    if interrupt >= 32 {
        let configuration = distributor() + 0xc00 + u64::from(interrupt) / 16 * 4;
        let bit = 2 << (interrupt % 16 * 2);
        store(configuration, 4, load(configuration, 4) | bit);
        say!("{configure}: edge, of {interrupt} = {}", load(configuration, 4) & bit != 0);
        store(configuration, 4, load(configuration, 4) & !bit);
        say!("{configure}: level, of {interrupt} = {}", load(configuration, 4) & bit != 0);
        store(configuration, 4, load(configuration, 4) | bit);
    }
    clear(interrupt);
}

/// Inactive, pending, active, active and pending, and back.
fn life_by_polling() {
    let section = if V3.load(SeqCst) { "IHI 0069, 4.1.2" } else { "IHI 0048, 3.2.4" };
    clear(SPI);
    route(SPI);
    set(PEND, SPI);
    say!("{section}: acknowledge of a pending one that is not enabled = {}", acknowledge());
    set(ENABLE, SPI);
    let acknowledged = acknowledge();
    say!("{section}: acknowledge of a pending one = {acknowledged}");
    say_state(section, "acknowledged, state", SPI);
    say!("{section}: acknowledge while it is active = {}", acknowledge());
    set(PEND, SPI);
    say_state(section, "set pending while active, state", SPI);
    say!("{section}: acknowledge while it is active and pending = {}", acknowledge());
    end(acknowledged);
    say_state(section, "ended, state", SPI);
    let acknowledged = acknowledge();
    say!("{section}: acknowledge afterwards = {acknowledged}");
    if acknowledged & 0x3ff < 1020 {
        end(acknowledged);
    }
    say_state(section, "ended again, state", SPI);
    set(ENABLE, SPI);
    set(PEND, SPI);
    set(UNPEND, SPI);
    say!("{section}: acknowledge of one that was withdrawn = {}", acknowledge());
    set(PEND, SPI);
    set(DISABLE, SPI);
    say!("{section}: acknowledge of one that was disabled = {}", acknowledge());
    say_state(section, "disabled, state", SPI);
    set(ACTIVATE, SPI);
    set(ENABLE, SPI);
    say!("{section}: acknowledge of one that was made active = {}", acknowledge());
    set(DEACTIVATE, SPI);
    let acknowledged = acknowledge();
    say!("{section}: acknowledge after it was made inactive = {acknowledged}");
    if acknowledged & 0x3ff < 1020 {
        end(acknowledged);
    }
    clear(SPI);
}

/// Sends a shared interrupt to this CPU.
fn route(interrupt: u32) {
    if V3.load(SeqCst) {
        let affinity = read_register!("mpidr_el1") & 0xff_00ff_ffff;
        store(distributor() + 0x6000 + u64::from(interrupt) * 8, 8, affinity);
    } else {
        store(distributor() + 0x800 + u64::from(interrupt), 1, load(distributor() + 0x800, 1));
    }
}

/// The more urgent first; the mask.
fn order() {
    let section = if V3.load(SeqCst) { "IHI 0069, 4.8" } else { "IHI 0048, 3.3" };
    [SPI, OTHER].into_iter().for_each(|interrupt| {
        clear(interrupt);
        route(interrupt);
    });
    store(priority(SPI), 1, 0xa0);
    store(priority(OTHER), 1, 0x50);
    [SPI, OTHER].into_iter().for_each(|interrupt| {
        set(ENABLE, interrupt);
        set(PEND, interrupt);
    });
    let first = acknowledge();
    say!("{section}: the more urgent of two first = {first}");
    say!("{section}: the other is no preemption = {}", acknowledge());
    end(first);
    let second = acknowledge();
    say!("{section}: then the other = {second}");
    set(PEND, OTHER);
    let preempting = acknowledge();
    say!("{section}: the more urgent preempts = {preempting}");
    [preempting, second].into_iter().filter(|interrupt| interrupt & 0x3ff < 1020).for_each(end);
    set(PEND, SPI);
    mask(0x60);
    say!("{section}: what the mask keeps out = {}", acknowledge());
    mask(0xf0);
    let unmasked = acknowledge();
    say!("{section}: and lets in = {unmasked}");
    if unmasked & 0x3ff < 1020 {
        end(unmasked);
    }
    [SPI, OTHER].into_iter().for_each(clear);
}

fn mask(value: u64) {
    if V3.load(SeqCst) { write_register!("s3_0_c4_c6_0", value) } else { store(interface() + 4, 4, value) }
}

/// Interrupts that software makes, for this CPU.
fn software() {
    let section = if V3.load(SeqCst) { "IHI 0069, 12.2, ICC_SGI1R_EL1" } else { "IHI 0048, 4.3.15, GICD_SGIR" };
    clear(SGI);
    set(ENABLE, SGI);
    let send = |to: u64| {
        if V3.load(SeqCst) {
            // 1: the list with this CPU; 0: an empty list; 2: all others.
            let value = match to {
                1 => 1,
                2 => 1 << 40,
                _ => 0,
            };
            write_register!("s3_0_c12_c11_5", value | u64::from(SGI) << 24);
        } else {
            let value = match to {
                1 => 2 << 24,
                2 => 1 << 24,
                _ => 0,
            };
            store(distributor() + 0xf00, 4, value | u64::from(SGI));
        }
    };
    for (what, to) in [("to nobody", 0), ("to all others", 2), ("to this CPU", 1)] {
        send(to);
        say_state(section, &alloc::format!("sent {what}, state"), SGI);
    }
    send(1);
    let first = acknowledge();
    say!("{section}: acknowledge of one sent twice = {first}");
    say_state(section, "acknowledged, state", SGI);
    send(1);
    say_state(section, "sent while active, state", SGI);
    end(first);
    let second = acknowledge();
    say!("{section}: acknowledge afterwards = {second}");
    if second & 0x3ff < 1020 {
        end(second);
    }
    say!("{section}: acknowledge when none is left = {}", acknowledge());
    let before = count();
    machine::enable_interrupts(true);
    send(1);
    let soon = read_register!("cntvct_el0") + read_register!("cntfrq_el0") / 100;
    while count() == before && read_register!("cntvct_el0") < soon {}
    machine::enable_interrupts(false);
    say!("{section}: taken as an exception = {}, {}", count() - before, last());
    clear(SGI);
}

/// Acknowledges what waits now or within 10 ms. That an interrupt was ended shows on its line some time later: at once in a
/// machine without a hypervisor, and else when that has taken the next physical one.
fn acknowledge_soon() -> u32 {
    let limit = read_register!("cntvct_el0") + read_register!("cntfrq_el0") / 100;
    loop {
        let taken = acknowledge();
        if taken & 0x3ff < 1020 || read_register!("cntvct_el0") > limit {
            return taken;
        }
    }
}

/// Runs the cases of the timers.
pub fn timers() {
    timer();
}

/// The virtual timer: a level.
fn timer() {
    let section = "DDI 0487, D11.2.4";
    let all = || read_register!("cntv_ctl_el0");
    let past = || read_register!("cntvct_el0").wrapping_sub(1000);
    let state = |what: &str| say_state(section, what, VIRTUAL_TIMER);
    clear(VIRTUAL_TIMER);
    write_register!("cntv_ctl_el0", 0);
    write_register!("cntv_cval_el0", past());
    say!("{section}: CNTV_CTL off, past = {:#x}", all());
    write_register!("cntv_ctl_el0", 1);
    say!("{section}: CNTV_CTL on, past = {:#x}", all());
    state("on and past, state");
    write_register!("cntv_ctl_el0", 3);
    say!("{section}: CNTV_CTL masked, past = {:#x}", all());
    state("masked, state");
    write_register!("cntv_ctl_el0", 1);
    state("unmasked, state");
    write_register!("cntv_cval_el0", FAR);
    say!("{section}: CNTV_CTL on, future = {:#x}", all());
    state("withdrawn, state");
    set(ENABLE, VIRTUAL_TIMER);
    say!("{section}: acknowledge of a timer that was withdrawn = {}", acknowledge());
    write_register!("cntv_cval_el0", past());
    let first = acknowledge();
    say!("{section}: acknowledge of a timer that is due = {first}");
    state("acknowledged, state");
    write_register!("cntv_cval_el0", FAR);
    state("withdrawn while active, state");
    end(first);
    state("ended, state");
    say!("{section}: acknowledge afterwards = {}", acknowledge());
    write_register!("cntv_cval_el0", past());
    let first = acknowledge();
    if first & 0x3ff < 1020 {
        end(first);
    }
    let second = acknowledge_soon();
    say!("{section}: a level that stays comes again = {first} {second}");
    write_register!("cntv_ctl_el0", 0);
    if second & 0x3ff < 1020 {
        end(second);
    }
    say!("{section}: and not when it is off = {}", acknowledge());
    write_register!("cntv_tval_el0", 0xffff_fff0);
    let difference = read_register!("cntv_cval_el0").wrapping_sub(read_register!("cntvct_el0")) as i64;
    say!("{section}: a negative CNTV_TVAL is sign-extended = {}", difference < 0 && difference > -1_000_000_000);
    wait_and_fire(section);
    physical(section);
    clear(VIRTUAL_TIMER);
}

fn wait_and_fire(section: &str) {
    let before = count();
    arm(2_000_000);
    let due = read_register!("cntv_cval_el0");
    machine::enable_interrupts(true);
    while count() == before && read_register!("cntvct_el0") < due + read_register!("cntfrq_el0") {
        machine::wait();
    }
    machine::enable_interrupts(false);
    let late = read_register!("cntvct_el0") >= due;
    say!("{section}: it ends a WFI = {}, interrupt {}, not before its time {late}", count() - before, last());
    arm(2_000_000);
    let due = read_register!("cntv_cval_el0");
    let before = count();
    while read_register!("cntvct_el0") < due {
        machine::wait();
    }
    say!("{section}: masked by PSTATE it ends a WFI too = {}", count() - before);
    disarm();
}

/// The physical timer.
fn physical(section: &str) {
    const INTERRUPT: u32 = 30;
    clear(INTERRUPT);
    set(ENABLE, INTERRUPT);
    write_register!("cntp_cval_el0", read_register!("cntpct_el0").wrapping_sub(1000));
    write_register!("cntp_ctl_el0", 1);
    say!("{section}: CNTP_CTL on, past = {:#x}", read_register!("cntp_ctl_el0"));
    say_state(section, "physical, due, state", INTERRUPT);
    write_register!("cntp_cval_el0", FAR);
    say!("{section}: CNTP_CTL on, future = {:#x}", read_register!("cntp_ctl_el0"));
    say_state(section, "physical, withdrawn, state", INTERRUPT);
    write_register!("cntp_cval_el0", read_register!("cntpct_el0").wrapping_sub(1000));
    let first = acknowledge();
    say!("{section}: acknowledge of the physical timer = {first}");
    write_register!("cntp_ctl_el0", 0);
    if first & 0x3ff < 1020 {
        end(first);
    }
    say_state(section, "physical, off and ended, state", INTERRUPT);
    clear(INTERRUPT);
}
