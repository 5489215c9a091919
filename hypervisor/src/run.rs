//! What a CPU does for ever: runs vCPUs, and matches on why each came back.

use core::sync::atomic::{AtomicBool, Ordering::*};

use crate::arch::speculation::Need;
use crate::arch::{self, Abort, Exit, Guard, Maintenance, gic, smp, timer};
use crate::device::vgic::registers::{Frame, Place};
use crate::device::vgic::{self, Concerned, Concerns, Vgic};
use crate::device::{vpsci, vsysreg, vuart};
use crate::domain::runstate;
use crate::domain::vcpu::{NEVER, State, Status};
use crate::exits::{self, Reason, Work};
use crate::machine::options::Level;
use crate::schedule::{self, Entity, protocol};
use crate::{console, domain, guest_log, hypercall, info, keys, warning};

/// The vCPU that is on this CPU, as what answers it sees it.
pub struct Caller<'a> {
    /// Which.
    pub entity: &'a Entity,
    /// Its registers.
    pub state: &'a mut State,
}

impl Caller<'_> {
    /// Counts and remembers why it came back.
    fn note(&self, reason: Reason, detail: u64) {
        self.state.exits.note(reason, detail, self.state.context.pc);
    }
}

/// What becomes of a vCPU after an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Resume,
    /// It sleeps until something is new for it.
    Block,
    /// Others may run first.
    Yield,
    /// Its turn is over.
    Over,
    /// It is switched off.
    Off,
}

/// Interrupts that are EL2's own.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// EL2's timer.
    pub timer: u32,
    /// Guests' virtual timers.
    pub virtual_timer: u32,
    /// List registers ask for attention.
    pub maintenance: u32,
    /// The console.
    pub uart: Option<u32>,
}

static OWN: arch::Once<Own> = arch::Once::new();
/// The machine stops: a CPU that is kicked stays where it is.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Says which interrupts are EL2's own.
pub fn start(own: Own) {
    OWN.set(own);
}

/// Prepares the CPU that calls: interrupts, timer, translation of guests.
///
/// # Errors
/// What its interrupt controller lacks.
pub fn start_cpu(bits: u32) -> Result<(), &'static str> {
    let own = OWN.get().ok_or("interrupts are not known yet")?;
    timer::start();
    let needs = smp::start_speculation();
    match needs.on_exit() {
        Some(workaround) => info!("cpu{}: the branch predictor forgets at every exit ({workaround:#x})", arch::cpu()),
        None if needs.0[0] == Need::Open => {
            info!("cpu{}: the firmware has nothing that makes its branch predictor forget", arch::cpu());
        }
        None => {}
    }
    gic::start_cpu(&[own.timer, own.virtual_timer, own.maintenance], own.timer)?;
    arch::stage2::start(bits, crate::memory::p2m::start_level(bits));
    Ok(())
}

/// Runs vCPUs.
pub fn forever() -> ! {
    let mut loaded: Option<Entity> = None;
    loop {
        let Some(next) = schedule::next() else {
            arch::wait_for_interrupt();
            interrupts(loaded.as_ref());
            continue;
        };
        let mut state = next.vcpu().state.lock();
        if !loaded.as_ref().is_some_and(|entity| entity.is(&next)) {
            // Only this CPU runs what is loaded here, so its lock is free.
            if let Some(old) = loaded.take() {
                unload(&old, &mut old.vcpu().state.lock());
            }
            load(&next, &mut state);
        }
        loaded = None;
        // For the end of the turn.
        schedule::set_timer();
        runstate::change(&next, &mut state, Status::Running);
        let then = turn(&next, &mut state);
        let status = match then {
            Then::Block => Status::Blocked,
            Then::Off => Status::Off,
            Then::Resume | Then::Yield | Then::Over => Status::Runnable,
        };
        runstate::change(&next, &mut state, status);
        if then == Then::Off || !schedule::may_stay(&next) {
            unload(&next, &mut state);
        } else {
            loaded = Some(next.clone());
        }
        drop(state);
        match then {
            Then::Block => schedule::block(&next),
            Then::Off => schedule::stop(&next),
            Then::Resume | Then::Yield | Then::Over => schedule::requeue(&next, then == Then::Yield),
        }
    }
}

fn load(entity: &Entity, state: &mut State) {
    let (domain, cpu) = (&entity.domain, arch::cpu());
    entity.vcpu().on.store(cpu, SeqCst);
    exits::work(Work::Switch);
    state.saved.load();
    domain.enter(entity.index, cpu);
    entity.vcpu().deadlines[0].store(NEVER, Relaxed);
    // What the guest has of its timer's interrupt keeps the physical one quiet.
    let timer = domain.interrupts.virtual_timer;
    let busy = {
        let mut vgic = domain.vgic.lock();
        vgic.put(entity.index, cpu);
        vgic.move_private(entity.index, timer, Some(cpu))
    };
    gic::set_active(timer, busy);
    gic::set_maintenance(Maintenance::default());
}

fn unload(entity: &Entity, state: &mut State) {
    let domain = &entity.domain;
    sync(entity, state);
    state.saved.save();
    let timer = domain.interrupts.virtual_timer;
    let busy = domain.vgic.lock().move_private(entity.index, timer, None);
    gic::set_active(timer, false);
    let (control, compare) = (state.saved.registers.cntv_ctl, state.saved.registers.cntv_cval);
    if control & 0b11 == 0b01 && !busy {
        entity.vcpu().deadlines[0].store(compare.wrapping_add(state.saved.time_offset), Relaxed);
    }
    schedule::set_timer();
    schedule::unloaded(entity);
}

/// Takes the list registers into the interrupt controller's state.
pub fn sync(entity: &Entity, state: &mut State) {
    if state.listed != 0 {
        let ends = gic::take_ends();
        let others = entity.domain.vgic.lock().sync(entity.index, ends, gic::read_list);
        (0..state.listed).for_each(|index| gic::write_list(index, None));
        state.listed = 0;
        // Whatever is still there goes back before the guest runs.
        entity.vcpu().news.store(true, SeqCst);
        entity.domain.notify(others);
    }
}

/// Brings the virtual timer's interrupt in line with the timer, which the guest sets without telling.
fn settle(entity: &Entity, vgic: &mut Vgic) {
    let timer = entity.domain.interrupts.virtual_timer;
    if let Some(active) = vgic.settle(entity.index, timer, timer::virtual_line(), arch::cpu()) {
        gic::set_active(timer, active);
    }
}

/// Puts what is new into the list registers.
fn flush(entity: &Entity, state: &mut State) {
    sync(entity, state);
    // What comes from here on is looked at the next time.
    protocol::look(entity, || ());
    if entity.vcpu().asked.load(Relaxed) {
        keys::registers::show_own(entity, state);
    }
    let mut vgic = entity.domain.vgic.lock();
    // Somebody looks at what was in ours. Whoever that is does not wait for us, for they are empty.
    while vgic.is_held(entity.index) {
        drop(vgic);
        arch::relax();
        vgic = entity.domain.vgic.lock();
    }
    settle(entity, &mut vgic);
    let flushed = vgic.flush(entity.index, gic::list_registers(), |index, list| gic::write_list(index, Some(list)));
    drop(vgic);
    state.listed = flushed.used;
    // Always: a maintenance interrupt that was on its way when its reason went has silenced the interface.
    gic::set_maintenance(flushed.maintenance);
}

/// Lets `act` see the interrupt controller with everything in it that `concerns` an access of the loaded vCPU, and nothing of that in
/// list registers; then lets know whom it concerns.
pub fn with_vgic<R>(
    caller: &mut Caller<'_>,
    concerns: Option<Concerns>,
    act: impl FnOnce(&mut Vgic) -> (R, Concerned),
) -> R {
    let domain = &caller.entity.domain;
    let Some(concerns) = concerns else {
        let (result, concerned) = act(&mut domain.vgic.lock());
        domain.notify(concerned);
        return result;
    };
    sync(caller.entity, caller.state);
    let mut vgic = domain.vgic.lock();
    settle(caller.entity, &mut vgic);
    let held = vgic.hold(Some(caller.entity.index), concerns);
    let holders = || (0..domain.vcpus.len()).filter(|vcpu| held >> vcpu & 1 != 0);
    if held != 0 {
        drop(vgic);
        domain.notify(holders());
        vgic = domain.vgic.lock();
        // They run, each on another CPU, for only then something is in their list registers. Each answers even while it waits here for
        // others: its own are empty then.
        while vgic.are_listed(held) {
            drop(vgic);
            arch::relax();
            vgic = domain.vgic.lock();
        }
    }
    let (result, concerned) = act(&mut vgic);
    vgic.release(held);
    drop(vgic);
    domain.notify(concerned);
    result
}

/// Runs a vCPU until others have their turn.
fn turn(entity: &Entity, state: &mut Guard<'_, State>) -> Then {
    // Its list registers are empty, and what is active has to be in one when the guest ends it: even if nothing is new.
    let vcpu = entity.vcpu();
    vcpu.news.store(true, SeqCst);
    loop {
        if vcpu.news.load(Relaxed) {
            flush(entity, state);
        }
        let exit = arch::vcpu::enter(&mut state.context);
        let mut caller = Caller { entity, state };
        match answer(&mut caller, exit) {
            Then::Resume => {}
            // Nobody else wants the CPU.
            Then::Yield if !schedule::is_contended(entity) => {}
            then => {
                // List registers are in use only while a vCPU runs.
                sync(entity, state);
                return then;
            }
        }
    }
}

/// Runs a vCPU for one turn on the CPU that calls, for host tests, which schedule by themselves; returns what becomes of it.
#[cfg(not(target_os = "none"))]
pub fn rehearse(entity: &Entity) -> Then {
    let mut state = entity.vcpu().state.lock();
    load(entity, &mut state);
    let then = turn(entity, &mut state);
    unload(entity, &mut state);
    then
}

/// Matches on why a vCPU came back.
fn answer(caller: &mut Caller<'_>, exit: Exit) -> Then {
    match exit {
        Exit::Hvc(hypercall::IMMEDIATE) => {
            let State { exits, context, .. } = &*caller.state;
            exits.note_call(context.x[16], context.x[0], context.pc);
            hypercall::call(caller)
        }
        Exit::Hvc(0) => {
            caller.note(Reason::Firmware, caller.state.context.x[0]);
            vpsci::call(caller)
        }
        Exit::Smc(0) => {
            caller.note(Reason::Firmware, caller.state.context.x[0]);
            caller.state.context.skip();
            vpsci::call(caller)
        }
        Exit::Hvc(number) => {
            caller.note(Reason::Unknown, number.into());
            // The program counter is behind the instruction, and the exception is about the instruction.
            caller.state.context.pc = caller.state.context.pc.wrapping_sub(4);
            undefined(caller)
        }
        Exit::Smc(number) => {
            caller.note(Reason::Unknown, number.into());
            undefined(caller)
        }
        Exit::Interrupt => {
            caller.note(Reason::Interrupt, 0);
            interrupts(Some(caller.entity));
            if schedule::is_over() { Then::Over } else { Then::Resume }
        }
        Exit::Wait { event, condition } => {
            caller.note(Reason::Wait, event.into());
            let waits = caller.state.context.passes(condition);
            caller.state.context.skip();
            if !waits {
                return Then::Resume;
            }
            if event {
                return Then::Yield;
            }
            wait(caller)
        }
        Exit::SystemRegister(access) => {
            caller.note(Reason::SystemRegister, access.syndrome.into());
            vsysreg::access(caller, access)
        }
        Exit::Abort(abort) => stage2_abort(caller, abort),
        Exit::SystemError => {
            caller.note(Reason::SystemError, 0);
            guest_log!(caller.entity.domain, Warning, "d{}v{}: SError", caller.entity.domain.id, caller.entity.index);
            // What it wrote or read is lost: it has to know. So it has where the access was ours, on its behalf.
            arch::vcpu::pend_system_error();
            Then::Resume
        }
        Exit::Other(syndrome) => {
            caller.note(Reason::Other, syndrome);
            let (domain, index) = (&caller.entity.domain, caller.entity.index);
            guest_log!(domain, Warning, "d{}v{index}: exception {syndrome:#x}", domain.id);
            undefined(caller)
        }
    }
}

/// WFI: sleeps unless an interrupt is signalled, which PSTATE may mask.
pub fn wait(caller: &mut Caller<'_>) -> Then {
    sync(caller.entity, caller.state);
    let pending = protocol::look(caller.entity, || {
        let mut vgic = caller.entity.domain.vgic.lock();
        settle(caller.entity, &mut vgic);
        vgic.is_signalled(caller.entity.index, gic::gate()) || arch::vcpu::is_system_error_pending()
    });
    if pending {
        caller.entity.vcpu().news.store(true, SeqCst);
        return Then::Resume;
    }
    Then::Block
}

/// Gives the guest the exception of an instruction that does not exist.
pub fn undefined(caller: &mut Caller<'_>) -> Then {
    arch::vcpu::inject(&mut caller.state.context, 1 << 25, None);
    Then::Resume
}

/// An access that the guest's memory does not have: one of our devices, or a mistake.
fn stage2_abort(caller: &mut Caller<'_>, abort: Abort) -> Then {
    let map = &caller.entity.domain.map;
    let address = abort.address;
    if let Some(access) = abort.access.filter(|_| !abort.walk) {
        let size = u64::from(access.size);
        let inside = |start: u64, length: u64| {
            address.checked_sub(start).filter(|&offset| offset & (size - 1) == 0 && offset + size <= length)
        };
        let value = || access.truncate(caller.state.context.get(access.register.into()));
        let written = if abort.write { Some(value()) } else { None };
        let either = |read, write| if abort.write { write } else { read };
        let result = if let Some(offset) = inside(map.distributor.0, map.distributor.1) {
            caller.note(either(Reason::DistributorRead, Reason::DistributorWrite), offset);
            Some(vgic_access(caller, Frame::Distributor, offset, size, written))
        } else if let Some(offset) = map.in_redistributors(inside) {
            caller.note(either(Reason::RedistributorRead, Reason::RedistributorWrite), offset);
            let vcpu = (offset / vgic::registers::STRIDE) as usize;
            Some(vgic_access(caller, Frame::Redistributor(vcpu), offset % vgic::registers::STRIDE, size, written))
        } else {
            map.uart.and_then(|(start, length)| inside(start, length)).map(|offset| {
                caller.note(Reason::Uart, offset);
                vuart::access(offset, written)
            })
        };
        if let Some(read) = result {
            if !abort.write {
                caller.state.context.set(access.register.into(), access.extend(read));
            }
            caller.state.context.skip();
            return Then::Resume;
        }
    }
    caller.note(Reason::Abort, address);
    // Another CPU may have put the page there meanwhile, or be splitting its block.
    let translation = abort.status & 0b111100 == 0b000100;
    let gfn = crate::memory::Gfn::of(address);
    if translation && caller.entity.domain.p2m.lock().get(gfn).is_some() {
        return Then::Resume;
    }
    guest_log!(
        caller.entity.domain,
        Warning,
        "d{}v{}: {} at {:#x} (guest physical {address:#x}), pc {:#x}",
        caller.entity.domain.id,
        caller.entity.index,
        if abort.fetch {
            "fetch"
        } else if abort.write {
            "write"
        } else {
            "read"
        },
        abort.virtual_address,
        caller.state.context.pc,
    );
    external_abort(caller, &abort)
}

/// Gives the guest a synchronous external abort.
fn external_abort(caller: &mut Caller<'_>, abort: &Abort) -> Then {
    let from_el0 = caller.state.context.pstate & 15 == 0;
    let class = match (abort.fetch, from_el0) {
        (true, true) => 0x20,
        (true, false) => 0x21,
        (false, true) => 0x24,
        (false, false) => 0x25,
    };
    let status = if abort.walk { 0b010111 } else { 0b010000 };
    let syndrome = class << 26 | 1 << 25 | u64::from(abort.write) << 6 | status;
    arch::vcpu::inject(&mut caller.state.context, syndrome, Some(abort.virtual_address));
    Then::Resume
}

fn vgic_access(caller: &mut Caller<'_>, frame: Frame, offset: u64, size: u64, write: Option<u64>) -> u64 {
    let place = Place { own: caller.entity.index, frame, offset, size };
    let concerns = Vgic::concerns(caller.entity.domain.vgic_version, place, write);
    if concerns.is_none() && write.is_none() {
        return caller.entity.domain.vgic.lock().read(place);
    }
    with_vgic(caller, concerns, |vgic| match write {
        None => (vgic.read(place), Concerned::new()),
        Some(value) => (0, vgic.write(place, value)),
    })
}

/// Takes every physical interrupt that waits.
fn interrupts(loaded: Option<&Entity>) {
    let Some(own) = OWN.get() else { return };
    while let Some(taken) = gic::acknowledge() {
        gic::drop_priority(taken);
        let interrupt = taken.interrupt();
        match interrupt {
            gic::KICK => {
                exits::work(Work::Kick);
                gic::deactivate(taken);
                if STOPPING.load(SeqCst) {
                    arch::stop();
                }
                // Perhaps a deadline that this CPU watches has changed, or somebody waits for it.
                schedule::set_timer();
            }
            _ if interrupt == own.virtual_timer => {
                exits::work(Work::VirtualTimer);
                match loaded {
                    // The guest's deactivation will be the physical one's.
                    Some(entity) => {
                        let (_, concerned) = entity.domain.vgic.lock().take(entity.index, interrupt, arch::cpu());
                        entity.domain.notify(concerned);
                    }
                    None => gic::deactivate(taken),
                }
            }
            _ if interrupt == own.timer => {
                exits::work(Work::Timer);
                gic::deactivate(taken);
                schedule::fire_timers();
            }
            _ if interrupt == own.maintenance => {
                exits::work(Work::Maintenance);
                // What it is about shows when the list registers are taken in, and lasts until then.
                gic::silence();
                gic::deactivate(taken);
                loaded.into_iter().for_each(|entity| entity.vcpu().news.store(true, SeqCst));
            }
            _ if Some(interrupt) == own.uart => {
                exits::work(Work::Console);
                keys::take_input();
                gic::deactivate(taken);
            }
            _ if interrupt >= 32 => {
                exits::work(Work::Device);
                if !domain::deliver_physical(interrupt, arch::cpu()) {
                    gic::deactivate(taken);
                }
            }
            _ => {
                exits::work(Work::Stray);
                warning!("cpu{}: stray interrupt {interrupt}", arch::cpu());
                gic::deactivate(taken);
            }
        }
    }
}

/// Stops the other CPUs, once they have finished what they do for their guests.
pub fn stop_others() {
    STOPPING.store(true, SeqCst);
    (0..smp::count()).filter(|&cpu| cpu != arch::cpu()).for_each(gic::kick);
}

/// What is left to do when Dom0 stops: the machine stops too, or starts anew.
pub fn stop_machine(reason: u32, no_reboot: bool) -> ! {
    stop_others();
    if console::is_logged(Level::Debug) {
        keys::exits::counters();
    }
    match reason {
        0 => {
            console::line(format_args!("Domain 0 powered off; so does the machine"));
            smp::system_off();
        }
        _ if no_reboot => console::line(format_args!("Domain 0 stopped with reason {reason}; noreboot")),
        _ => {
            console::line(format_args!("Domain 0 stopped with reason {reason}; the machine starts anew"));
            smp::system_reset();
        }
    }
    arch::stop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::vcpu::put_guest;
    use crate::domain::fixture;
    use crate::hypercall::IMMEDIATE;
    use xen_abi::Hypercall;
    use xen_abi::sched::SchedOp;

    const WFI: Exit = Exit::Wait { event: false, condition: Some(14) };
    /// A PPI that is injected.
    const PPI: u32 = 20;
    const ISENABLER: u64 = 0x1_0100;
    const ISACTIVER: u64 = 0x1_0300;

    fn place(frame: Frame, offset: u64) -> Place {
        Place { own: 0, frame, offset, size: 4 }
    }

    /// Returns the vCPU of a domain whose PPI is enabled and pending.
    fn interrupted(id: u16) -> Entity {
        let (domain, _) = fixture::domain(id, false);
        {
            let mut vgic = domain.vgic.lock();
            vgic.write(place(Frame::Distributor, 0), 3);
            vgic.write(place(Frame::Redistributor(0), ISENABLER), 1 << PPI);
        }
        domain.inject(0, PPI);
        Entity { domain, index: 0 }
    }

    fn is_active(entity: &Entity) -> bool {
        entity.domain.vgic.lock().read(place(Frame::Redistributor(0), ISACTIVER)) >> PPI & 1 != 0
    }

    #[test]
    fn what_is_active_while_the_guest_sleeps_is_ended_when_it_was_woken_by_nothing_new() {
        let entity = interrupted(63);
        let mut step = 0;
        put_guest(move |_| {
            step += 1;
            if step == 1 {
                assert!(gic::take_virtual(PPI as u16));
            } else {
                gic::end_virtual(PPI as u16);
            }
            WFI
        });
        let mut state = entity.vcpu().state.lock();
        assert_eq!(turn(&entity, &mut state), Then::Block);
        assert!(is_active(&entity));
        assert!(!entity.vcpu().news.load(SeqCst));
        assert_eq!(turn(&entity, &mut state), Then::Block);
        assert!(!is_active(&entity), "the guest ended it");
    }

    #[test]
    fn an_serror_is_the_guests_own_and_waits_for_it() {
        let (domain, _) = fixture::domain(65, false);
        let (one, other) = (Entity { domain, index: 0 }, interrupted(66));
        let mut step = 0;
        put_guest(move |_| {
            step += 1;
            match step {
                1 => Exit::SystemError,
                // It masks it, and sleeps: that is no sleep.
                2 => WFI,
                _ => Exit::Hvc(0),
            }
        });
        let mut state = one.vcpu().state.lock();
        load(&one, &mut state);
        state.context.x[0] = 0x8400_0002; // CPU_OFF
        let pc = state.context.pc;
        assert_eq!(turn(&one, &mut state), Then::Off);
        assert_eq!(state.context.pc, pc + 4, "behind WFI");
        unload(&one, &mut state);
        let mut others = other.vcpu().state.lock();
        load(&other, &mut others);
        assert!(!arch::vcpu::is_system_error_pending(), "it is not another one's");
        unload(&other, &mut others);
        load(&one, &mut state);
        assert!(arch::vcpu::is_system_error_pending());
        unload(&one, &mut state);
    }

    #[test]
    fn a_guest_sleeps_in_a_multicall_too() {
        const PC: u64 = 0x8000_0000;
        let entity = interrupted(64);
        let list = entity.domain.p2m.lock().last().unwrap().address() - 4096;
        let id = entity.domain.id;
        let mut step = 0;
        put_guest(move |context| {
            step += 1;
            match step {
                1 => {}
                // It is woken, ends what it handled, and goes on with the other calls.
                2 => gic::end_virtual(PPI as u16),
                3 => {}
                _ => return WFI,
            }
            if step > 1 {
                assert_eq!(context.pc, PC, "step {step}");
                context.pc += 4;
                return Exit::Hvc(IMMEDIATE);
            }
            assert!(gic::take_virtual(PPI as u16));
            let calls = [
                (Hypercall::SchedOp.number(), SchedOp::Block.number()),
                (Hypercall::SchedOp.number(), SchedOp::Yield.number()),
                (Hypercall::XenVersion.number(), 0),
            ];
            for (index, (call, argument)) in calls.into_iter().enumerate() {
                let words = [call, u64::MAX, u64::from(argument), 0, 0, 0, 0, 0];
                let bytes: alloc::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                crate::memory::guest::write(id, list + index as u64 * 64, &bytes).unwrap();
            }
            (context.x[16], context.x[0], context.x[1]) = (Hypercall::Multicall.number(), list, 3);
            context.pc = PC + 4;
            Exit::Hvc(IMMEDIATE)
        });
        let mut state = entity.vcpu().state.lock();
        assert_eq!(turn(&entity, &mut state), Then::Block);
        assert_eq!((state.context.x[0], state.context.x[1], state.context.pc), (list + 64, 2, PC), "what is left");
        let results = || {
            [0, 1, 2].map(|index| {
                let mut result = [0; 8];
                crate::memory::guest::read(id, list + index * 64 + 8, &mut result).unwrap();
                u64::from_le_bytes(result)
            })
        };
        assert_eq!(results(), [0, u64::MAX, u64::MAX], "it sleeps before the next");
        // Others may be there to run first, when it yields.
        while state.context.pc == PC {
            assert!(matches!(turn(&entity, &mut state), Then::Yield | Then::Block));
        }
        assert_eq!((state.context.x[0], state.context.pc), (0, PC + 8), "behind WFI");
        assert_eq!(results(), [0, 0, 0x4_0011]);
        assert!(!is_active(&entity), "the guest ended it");
    }
}
