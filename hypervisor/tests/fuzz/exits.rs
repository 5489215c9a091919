//! Bytes as what a domain's guests do: why each comes back, with which registers, while interrupts arrive and time passes. All of it goes
//! through what the hypervisor does with a vCPU in one turn.
//!
//! ```text
//!   step    0 register   number and value
//!           1 state      program counter and PSTATE
//!           2 exit       kind and operands
//!           3 takes      the guest takes an interrupt
//!           4 ends       the guest ends an interrupt
//!           5 interrupt  vCPU and number: an edge, or a level that rises or falls
//!           6 time       passes
//!           7 sleeps     and another vCPU has the next turn
//!   value   ..=0xdf      the number itself; what follows has an operand: an address in a page of one's own, sizes of numbers, ...
//! ```
//!
//! What an exit may change is little: the register that was read, the program counter, the answer of a call.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hypervisor::arch::{Context, Exit, become_cpu, gic, limit_copies, take_record, timer, vcpu::put_guest};
use hypervisor::domain::Domain;
use hypervisor::hypercall::IMMEDIATE;
use hypervisor::run::{self, Then};

use crate::calls::{World, in_world};
use crate::holds;
use crate::input::Input;
use crate::verdict::{Reached, Seeded, Verdict};

/// Steps of one input.
const STEPS: usize = 300;
/// Turns of one input.
const TURNS: usize = 100;
/// Pointers that the calls of one turn may follow.
const COPIES: u64 = 500;
/// An exception that the fake machine has given the guest: an instruction that does not exist.
const UNDEFINED: u64 = 1 << 25;
/// PSCI's CPU_OFF.
const CPU_OFF: u64 = 0x8400_0002;
/// System registers that trap, and neighbours that do not exist: Op0, Op1, CRn, CRm, Op2.
const REGISTERS: [(u64, u64, u64, u64, u64); 16] = [
    (3, 0, 0, 4, 0),
    (3, 0, 0, 7, 7),
    (3, 0, 1, 0, 1),
    (3, 0, 12, 11, 1),
    (3, 0, 12, 11, 5),
    (3, 0, 12, 11, 6),
    (3, 0, 12, 11, 7),
    (3, 3, 14, 2, 0),
    (3, 3, 14, 2, 1),
    (3, 3, 14, 2, 2),
    (1, 0, 7, 6, 2),
    (2, 0, 0, 2, 2),
    (2, 0, 0, 1, 4),
    (2, 0, 0, 3, 7),
    (2, 0, 1, 0, 4),
    (3, 3, 9, 12, 0),
];
/// Where devices are: distributor, both redistributors, UART, and the pages behind.
const DEVICES: [u64; 6] = [0x800_0000, 0x80a_0000, 0x80b_0000, 0x80c_0000, 0x900_0000, 0x810_0000];

/// What the guests do.
struct Script {
    bytes: Vec<u8>,
    at: usize,
    steps: usize,
    over: bool,
    first: u64,
    /// Who does it, and who is to do it after that.
    vcpu: usize,
    next: usize,
    domain: Option<Arc<Domain>>,
    /// The exit that is being answered, and what the registers were.
    exit: Option<(Context, Exit)>,
    broken: Option<String>,
    seeded: Seeded,
    reached: Reached,
}

/// Runs an input.
pub fn run(bytes: &[u8], seeded: Seeded) -> Verdict {
    in_world(Seeded::Nothing, |world, reached| {
        let script = Script {
            bytes: bytes.to_vec(),
            at: 0,
            steps: 0,
            over: false,
            first: world.first_page() * 4096,
            vcpu: 0,
            next: 0,
            domain: Some(world.domain().clone()),
            exit: None,
            broken: None,
            seeded,
            reached: Reached::default(),
        };
        let script = Rc::new(RefCell::new(script));
        let guest = script.clone();
        put_guest(move |context| guest.borrow_mut().goes_on(context));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turns(world, &script)));
        // Nothing of it stays in the thread.
        put_guest(|_| Exit::Interrupt);
        (0..gic::list_registers()).for_each(|index| gic::write_list(index, None));
        gic::take_ends();
        gic::reset();
        let mut script = script.try_borrow_mut().map_err(|_| "the guest does not come back")?;
        script.domain = None;
        reached.0.extend(script.reached.0.drain());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets one vCPU after the other run, until the input is at its end.
fn turns(world: &mut World, script: &RefCell<Script>) -> Result<(), String> {
    for _ in 0..TURNS {
        let vcpu = script.borrow().next;
        script.borrow_mut().vcpu = vcpu;
        world.choose(vcpu);
        let entity = world.entity();
        become_cpu(0);
        limit_copies(COPIES);
        let then = run::rehearse(&entity);
        take_record();
        let mut context = entity.vcpu().state.lock().context.clone();
        let mut script = script.borrow_mut();
        script.judge(&mut context, Some(then));
        if let Some(broken) = script.broken.take() {
            return Err(broken);
        }
        let over = script.over;
        drop(script);
        world.then(&entity, then);
        if over {
            break;
        }
    }
    Ok(())
}

impl Script {
    /// What the guest does until it comes back.
    fn goes_on(&mut self, context: &mut Context) -> Exit {
        self.judge(context, None);
        let exit = loop {
            self.steps += 1;
            if self.broken.is_some() || self.steps > STEPS {
                break None;
            }
            match self.step(context) {
                None => break None,
                Some(None) => {}
                Some(Some(exit)) => break Some(exit),
            }
        };
        let Some(exit) = exit else {
            self.over = true;
            context.x[0] = CPU_OFF;
            return Exit::Hvc(0);
        };
        self.exit = Some((context.clone(), exit));
        exit
    }

    /// Reads with the input's own types.
    fn input<R>(&mut self, read: impl FnOnce(&mut Input<'_>) -> Option<R>) -> Option<R> {
        let mut input = Input(&self.bytes[self.at..]);
        let result = read(&mut input);
        self.at = self.bytes.len() - input.0.len();
        result
    }

    fn take(&mut self, count: usize) -> Option<u64> {
        self.input(|input| input.take(count))
    }

    fn below(&mut self, count: usize) -> Option<usize> {
        self.input(|input| input.below(count))
    }

    fn value(&mut self) -> Option<u64> {
        Some(match self.take(1)? {
            0xe0 => self.first + self.take(2)?,
            0xe1 => self.first / 4096 + self.take(1)? % 16,
            0xe5 => self.take(2)?,
            0xe6 => self.take(4)?,
            0xe7 => self.take(8)?,
            0xe8 => 1 << (self.take(1)? % 64),
            0xe9 => !self.take(1)?,
            0xec => 0x8400_0000 + self.take(1)?,
            0xed => 0xc400_0000 + self.take(1)?,
            immediate => immediate,
        })
    }

    /// Does one step; `None` at the end of the input.
    fn step(&mut self, context: &mut Context) -> Option<Option<Exit>> {
        match self.below(8)? {
            0 => {
                let register = self.below(31)?;
                context.x[register] = self.value()?;
            }
            1 => {
                context.pc = self.value()?;
                context.pstate = self.take(4)?;
            }
            2 => return Some(Some(self.exit(context)?)),
            3 => {
                let number = self.take(1)? as u16;
                if gic::take_virtual(number) {
                    self.reached.note("interrupts that guests took", number.into());
                }
            }
            4 => gic::end_virtual(self.take(1)? as u16),
            5 => {
                let (vcpu, number, how) = (self.below(2)?, self.below(64)? as u32, self.below(3)?);
                let domain = self.domain.as_ref().expect("a domain");
                match how {
                    0 => domain.inject(vcpu, number),
                    _ => domain.set_line(vcpu, number, how == 1),
                }
            }
            6 => timer::pass(self.take(3)?),
            _ => {
                self.next = self.below(2)?;
                return Some(Some(Exit::Wait { event: false, condition: None }));
            }
        }
        Some(None)
    }

    /// Returns why the guest comes back.
    fn exit(&mut self, context: &mut Context) -> Option<Exit> {
        let decode = |class: u64, iss: u64, far, hpfar| Exit::decode(class << 26 | iss & 0x1ff_ffff, far, hpfar);
        Some(match self.below(10)? {
            0 => {
                let (op0, op1, crn, crm, op2) = REGISTERS[self.below(REGISTERS.len())?];
                let (register, read) = (self.take(1)? & 31, self.take(1)? & 1);
                let name = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1;
                decode(0x18, name | register << 5 | read, 0, 0)
            }
            1 => decode(0x18, self.take(4)?, 0, 0),
            // A load or a store, of which the CPU tells everything.
            2 | 3 => {
                let (device, offset) = (self.below(DEVICES.len())?, self.take(2)?);
                let address = DEVICES[device] + offset;
                let operands = self.take(2)?;
                let (size, register, signed) = (operands & 3, operands >> 2 & 31, operands >> 7 & 1);
                let (wide, write) = (operands >> 8 & 1, operands >> 9 & 1);
                let iss = 1 << 24 | size << 22 | signed << 21 | register << 16 | wide << 15 | write << 6 | 0b000111;
                decode(0x24, iss, 0xffff_8000_0000_0000 | address & 0xfff, address >> 12 << 4)
            }
            4 => {
                let class = if self.below(2)? == 0 { 0x20 } else { 0x24 };
                decode(class, self.take(4)?, self.value()?, self.value()?)
            }
            5 => decode(1, self.take(4)?, 0, 0),
            6 => {
                for register in 0..4 {
                    context.x[register] = self.value()?;
                }
                if self.below(2)? == 0 { Exit::Hvc(0) } else { Exit::Smc(0) }
            }
            7 => {
                for register in [16, 0, 1, 2] {
                    context.x[register] = self.value()?;
                }
                Exit::Hvc(IMMEDIATE)
            }
            8 => decode(0x16 + self.below(2)? as u64, self.take(2)?, 0, 0),
            _ => match self.below(3)? {
                0 => Exit::Interrupt,
                1 => Exit::SystemError,
                _ => Exit::Other(self.value()?),
            },
        })
    }

    /// Judges what became of the last exit: in the same turn, or at its end.
    fn judge(&mut self, after: &mut Context, then: Option<Then>) {
        let Some((before, exit)) = self.exit.take() else { return };
        let skipped = skipped(&before);
        if let Exit::Abort(abort) = exit
            && let Some(access) = abort.access.filter(|access| access.signed && access.wide && access.size == 2)
            && self.seeded == Seeded::Fault
            && !abort.write
            && after.pc == skipped
        {
            // The seeded fault: what is loaded spills into the next register.
            after.x[usize::from(access.register + 1) % 31] ^= 1;
        }
        self.note(&exit, after.pc == skipped, then);
        if let Err(rule) = check(&before, &exit, after, skipped) {
            self.broken.get_or_insert(format!("{exit:x?} of vCPU {}: {rule}", self.vcpu));
        }
    }

    fn note(&mut self, exit: &Exit, goes_on: bool, then: Option<Then>) {
        let kind = match exit {
            Exit::Interrupt => 0,
            Exit::SystemError => 1,
            Exit::Hvc(0) => 2,
            Exit::Hvc(IMMEDIATE) => 3,
            Exit::Hvc(_) => 4,
            Exit::Smc(0) => 5,
            Exit::Smc(_) => 6,
            Exit::Wait { event, .. } => 7 + u64::from(*event),
            Exit::SystemRegister(access) => {
                let name = u64::from(access.syndrome & !(31 << 5));
                self.reached.note("system registers", name << 1 | u64::from(goes_on));
                9
            }
            Exit::Abort(abort) => {
                if goes_on && let Some(access) = abort.access {
                    let how = u64::from(access.size) << 1 | u64::from(abort.write);
                    self.reached.note("registers of devices", (abort.address & 0x1fff_fffc) << 5 | how);
                }
                10
            }
            Exit::Other(_) => 11,
        };
        let then = then.map_or(7, |then| then as u64);
        self.reached.note("what becomes of an exit", kind << 8 | then << 1 | u64::from(goes_on));
    }
}

/// Returns the program counter behind the instruction.
fn skipped(context: &Context) -> u64 {
    let mut context = context.clone();
    context.skip();
    context.pc
}

/// What an exit may change.
fn check(before: &Context, exit: &Exit, after: &Context, skipped: u64) -> Result<(), String> {
    let same_but = |free: &dyn Fn(usize) -> bool| (0..31).find(|&n| !free(n) && after.x[n] != before.x[n]);
    let (changed, counters): (_, [u64; 3]) = match *exit {
        Exit::Interrupt | Exit::SystemError => (same_but(&|_| false), [before.pc; 3]),
        Exit::Wait { .. } => (same_but(&|_| false), [skipped; 3]),
        Exit::SystemRegister(access) => {
            (same_but(&|n| access.read && n == usize::from(access.register)), [skipped, UNDEFINED, UNDEFINED])
        }
        Exit::Abort(abort) => {
            let register = abort.access.filter(|_| !abort.write && !abort.walk).map(|access| access.register.into());
            if let Some(access) = abort.access.filter(|access| !abort.write && access.register < 31)
                && after.pc == skipped
                && !(access.signed && access.wide)
            {
                let bits = if access.signed { 32 } else { u32::from(access.size) * 8 };
                let value = after.x[usize::from(access.register)];
                holds!(bits == 64 || value >> bits == 0, "{value:#x} was loaded");
            }
            let changed = same_but(&|n| register == Some(n));
            // Or an abort of its own, from EL0 or EL1, of an instruction or of data.
            let is_abort = matches!(after.pc >> 26, 0x20 | 0x21 | 0x24 | 0x25);
            (changed, [skipped, before.pc, if is_abort { after.pc } else { skipped }])
        }
        Exit::Hvc(IMMEDIATE) => (same_but(&|n| n < 3), [before.pc, before.pc, before.pc.wrapping_sub(4)]),
        Exit::Hvc(0) => (same_but(&|n| n < 4), [before.pc; 3]),
        Exit::Smc(0) => (same_but(&|n| n < 4), [skipped; 3]),
        Exit::Hvc(_) | Exit::Smc(_) | Exit::Other(_) => (same_but(&|_| false), [UNDEFINED; 3]),
    };
    holds!(changed.is_none(), "register {changed:?} was changed");
    holds!(counters.contains(&after.pc), "it goes on at {:#x}, and was at {:#x}", after.pc, before.pc);
    Ok(())
}
