//! Bytes as what vCPUs, devices and software do to a virtual interrupt controller of either version: registers of every offset and
//! size, interrupts, and guests that take and end them out of list registers which work as the hardware's.
//!
//! ```text
//!   first   version, vCPUs; list registers; SPIs; which of them have hardware behind them
//!   step    who, what, operands
//! ```
//!
//! There is no model of the controller here (that is beside it): what must hold is said of registers and list registers alone.

use std::collections::BTreeMap;

use hypervisor::arch::gic::{deliver, reset, with_physical};
use hypervisor::arch::{ListRegister, Maintenance, become_cpu};
use hypervisor::device::vgic::registers::{Frame, Place};
use hypervisor::device::vgic::{Concerned, Concerns, PRIVATE, V2_SIZE, V3_SIZE, Version, Vgic};

use crate::holds;
use crate::input::Input;
use crate::verdict::{Reached, Seeded, Verdict};

/// Steps of one input.
const STEPS: usize = 150;
/// The virtual timer's interrupt, which has hardware behind it.
const TIMER: usize = 27;
/// Registers for interrupts, by kind: name, first offset, bits for each interrupt.
const KINDS: [(&str, u64, u64); 6] = [
    ("group", 0x80, 1),
    ("enable", 0x100, 1),
    ("pending", 0x200, 1),
    ("active", 0x300, 1),
    ("priority", 0x400, 8),
    ("configuration", 0xc00, 2),
];

/// A vCPU's interface to the guest.
#[derive(Default)]
struct Interface {
    lists: Vec<ListRegister>,
    maintenance: Maintenance,
    ends: u32,
    /// What it took, the last one last.
    taken: Vec<u16>,
    timer: bool,
    timer_active: bool,
}

impl Interface {
    /// Whether a maintenance interrupt is asserted.
    fn asks(&self) -> bool {
        let idle = self.lists.iter().all(|list| !list.pending || list.active);
        let ended = |list: &ListRegister| list.notify && list.physical.is_none() && !list.pending && !list.active;
        self.lists.iter().any(ended)
            || self.maintenance.none_pending && idle
            || self.maintenance.not_listed && self.ends != 0
    }
}

struct World {
    vgic: Vgic,
    interfaces: Vec<Interface>,
    count: usize,
    /// Interrupts below this exist.
    end: usize,
    /// SPIs with hardware behind them.
    hardware: Vec<usize>,
    seeded: Seeded,
}

/// What can be seen of every interrupt: kind, vCPU, first number, and the word for it and those that follow.
type Seen = Vec<(&'static str, usize, usize, u64)>;

/// Runs an input.
pub fn run(bytes: &[u8], seeded: Seeded) -> Verdict {
    let mut reached = Reached::default();
    let mut input = Input(bytes);
    let Some(mut world) = World::new(&mut input, seeded) else { return Ok(reached) };
    for _ in 0..STEPS {
        let Some(()) = world.step(&mut input, &mut reached)? else { break };
    }
    world.come_to_rest()?;
    Ok(reached)
}

impl World {
    fn new(input: &mut Input<'_>, seeded: Seeded) -> Option<World> {
        reset();
        let shape = input.u8()?;
        let version = if shape & 1 == 0 { Version::V3 } else { Version::V2 };
        let vcpus = 1 + usize::from(shape >> 1) % 5;
        let count = 1 + input.below(16)?;
        let shared = [0, 1, 31, 32, 33, 64, 96, 988][input.below(8)?];
        let pattern = input.u8()?;
        // Clusters of up to 16; here some are nearly empty.
        let affinities: Vec<u64> = (0..vcpus as u64).map(|vcpu| (vcpu % 3) | (vcpu / 3) << 8).collect();
        let mut vgic = Vgic::new(version, shared, &affinities, 16);
        let hardware: Vec<usize> =
            (PRIVATE..PRIVATE + shared.min(64)).filter(|number| pattern >> (number % 8) & 1 != 0).collect();
        hardware.iter().for_each(|&number| vgic.connect(number as u32));
        vgic.connect_private(TIMER as u32, TIMER as u32);
        (0..vcpus).for_each(|vcpu| vgic.put(vcpu, vcpu));
        let interfaces = (0..vcpus).map(|_| Interface::default()).collect();
        Some(World { vgic, interfaces, count, end: PRIVATE + shared, hardware, seeded })
    }

    fn vcpus(&self) -> usize {
        self.interfaces.len()
    }

    fn is_v2(&self) -> bool {
        self.vgic.version() == Version::V2
    }

    /// Does one step, or returns `None` at the end.
    fn step(&mut self, input: &mut Input<'_>, reached: &mut Reached) -> Result<Option<()>, String> {
        let done = self.try_step(input, reached)?;
        if done.is_some() {
            self.check(reached)?;
        }
        Ok(done)
    }

    fn try_step(&mut self, input: &mut Input<'_>, reached: &mut Reached) -> Result<Option<()>, String> {
        macro_rules! next {
            ($value:expr) => {
                match $value {
                    Some(value) => value,
                    None => return Ok(None),
                }
            };
        }
        let what = next!(input.u8());
        let vcpu = usize::from(what >> 4) % self.vcpus();
        match what & 15 {
            0..=3 => {
                let place = next!(self.place(vcpu, input));
                let value = next!(input.take(place.size as usize));
                self.note_register(place, true, reached);
                if what & 3 == 3 { self.write_strictly(place, value)? } else { self.write(place, value)? }
            }
            4 | 5 => {
                let place = next!(self.place(vcpu, input));
                self.note_register(place, false, reached);
                self.read_strictly(place)?;
            }
            6 | 7 => {
                let (number, on) = (next!(input.u8()), next!(input.u8()) & 1 != 0);
                self.line(vcpu, 16 + usize::from(number) % 80, on)?;
            }
            8 => {
                // Nobody but software makes an SGI pending.
                let number = 16 + next!(input.take(2)) as usize % 1100;
                let concerns = Concerns { bank: None, first: number, count: 1, pending: false };
                self.access(vcpu, Some(concerns), |vgic| ((), vgic.inject(vcpu, number as u32).into_iter().collect()))?;
            }
            9 | 10 => self.acknowledge(vcpu, reached)?,
            11 => self.end(vcpu, usize::MAX, reached)?,
            // A guest may end what it likes, in any order.
            12 => {
                let which = next!(input.u8()).into();
                self.end(vcpu, which, reached)?;
            }
            13 => self.settle_down(vec![vcpu])?,
            14 => {
                let value = next!(input.take(6));
                let value =
                    value & 0xffff | (value >> 16 & 15) << 24 | (value >> 20 & 1) << 40 | (value >> 24 & 0xff) << 16;
                let group1 = what & 16 != 0;
                if !self.is_v2() {
                    let concerns = Concerns { bank: None, first: (value >> 24 & 15) as usize, count: 1, pending: true };
                    self.access(vcpu, Some(concerns), |vgic| ((), vgic.write_sgi(vcpu, group1, value)))?;
                }
            }
            _ => {
                // It is switched off, and on again: then it has nothing of its own any more.
                let others = self.sync(vcpu);
                self.vgic.reset(vcpu);
                let interface = &mut self.interfaces[vcpu];
                (interface.timer, interface.timer_active) = (false, false);
                interface.taken.retain(|&number| usize::from(number) >= PRIVATE);
                self.settle_down(others.into_iter().chain([vcpu]).collect())?;
            }
        }
        Ok(Some(()))
    }

    /// Decodes a register: anywhere, or where there is one.
    fn place(&self, own: usize, input: &mut Input<'_>) -> Option<Place> {
        let how = input.u8()?;
        let (size, frame) = (1 << (how & 3), usize::from(how >> 2 & 7));
        let raw = input.take(2)?;
        let private = !self.is_v2() && frame < self.vcpus();
        let limit = if self.is_v2() { V2_SIZE } else { V3_SIZE };
        let offset = match how >> 5 {
            // Of a redistributor either frame: the second one has the interrupts.
            0 if private => (raw & 0x7fff) + (raw >> 15) * V3_SIZE,
            0 => raw % limit,
            1 => limit - 64 + raw % 64,
            2 if !self.is_v2() => 0x6000 + raw % 0x400,
            2 => 0x800 + raw % 0x800,
            3 => raw % 0x20,
            kind => {
                // Set and clear, of the first few words.
                let (_, first, bits) = KINDS[(usize::from(kind) + raw as usize) % KINDS.len()];
                let clear = if bits == 1 && first != 0x80 { raw >> 8 & 0x80 } else { 0 };
                let second = if private { V3_SIZE } else { 0 };
                first + clear + (raw >> 3 & 0x3f) % (bits * 16) + second
            }
        };
        let frame = if private { Frame::Redistributor(frame) } else { Frame::Distributor };
        Some(Place { own, frame, offset: offset & !(size - 1), size })
    }

    fn note_register(&self, place: Place, write: bool, reached: &mut Reached) {
        let frame = u64::from(place.frame != Frame::Distributor);
        let version = u64::from(self.is_v2());
        reached.note(
            if write { "registers written" } else { "registers read" },
            (place.offset & !3) << 8 | frame << 7 | version << 6 | place.size,
        );
    }

    /// A vCPU leaves its guest, and gives up its list registers.
    fn sync(&mut self, vcpu: usize) -> Concerned {
        become_cpu(vcpu);
        let interface = &mut self.interfaces[vcpu];
        let (lists, ends) = (std::mem::take(&mut interface.lists), std::mem::take(&mut interface.ends));
        let others = self.vgic.sync(vcpu, ends, |index| (lists[index].pending, lists[index].active));
        if let Some(active) = self.vgic.settle(vcpu, TIMER as u32, self.interfaces[vcpu].timer, vcpu) {
            self.interfaces[vcpu].timer_active = active;
        }
        others
    }

    /// A vCPU goes on with its guest.
    fn enter(&mut self, vcpu: usize) -> Result<Concerned, String> {
        let others = self.sync(vcpu);
        holds!(!self.vgic.is_held(vcpu), "vCPU {vcpu} is held for ever");
        let lists = &mut self.interfaces[vcpu].lists;
        let flushed = self.vgic.flush(vcpu, self.count, |_, list| lists.push(list));
        self.interfaces[vcpu].maintenance = flushed.maintenance;
        let interface = &self.interfaces[vcpu];
        holds!(flushed.used == interface.lists.len() && flushed.used <= self.count, "{} list registers", flushed.used);
        holds!(
            flushed.maintenance == Maintenance::default() || !interface.asks(),
            "vCPU {vcpu} is asked for attention for ever: {flushed:?}"
        );
        Ok(others)
    }

    /// Lets happen what interrupts make happen, which comes to an end.
    fn settle_down(&mut self, mut news: Vec<usize>) -> Result<(), String> {
        for _ in 0..2000 {
            for &number in &self.hardware {
                deliver(number as u32, |cpu| {
                    let (stays, concerned) = self.vgic.take(0, number as u32, cpu);
                    news.extend(concerned);
                    stays
                });
            }
            for vcpu in 0..self.vcpus() {
                let interface = &mut self.interfaces[vcpu];
                if interface.timer && !interface.timer_active {
                    become_cpu(vcpu);
                    interface.timer_active = true;
                    news.extend(self.vgic.take(vcpu, TIMER as u32, vcpu).1);
                }
                if self.interfaces[vcpu].asks() {
                    news.push(vcpu);
                }
            }
            let Some(vcpu) = news.pop() else { return Ok(()) };
            news.retain(|&other| other != vcpu);
            news.extend(self.enter(vcpu)?);
        }
        Err("it never settles down".into())
    }

    /// What the hypervisor does around an access (run.rs): those who have something of it in their list registers give it up.
    fn access<R>(
        &mut self,
        own: usize,
        concerns: Option<Concerns>,
        act: impl FnOnce(&mut Vgic) -> (R, Concerned),
    ) -> Result<R, String> {
        let (mut news, mut held) = (vec![own], 0);
        if let Some(concerns) = concerns {
            news.extend(self.sync(own));
            // The seeded fault: nobody else is asked.
            if self.seeded == Seeded::Nothing {
                held = self.vgic.hold(Some(own), concerns);
            }
            for vcpu in (0..self.vcpus()).filter(|vcpu| held >> vcpu & 1 != 0) {
                news.extend(self.sync(vcpu));
                news.push(vcpu);
            }
            holds!(!self.vgic.are_listed(held), "list registers that were given up are in use");
        }
        become_cpu(own);
        let (result, concerned) = act(&mut self.vgic);
        self.vgic.release(held);
        holds!(concerned.clone().all(|vcpu| vcpu < self.vcpus()), "{concerned:?} are concerned");
        news.extend(concerned);
        self.settle_down(news)?;
        Ok(result)
    }

    fn write(&mut self, place: Place, value: u64) -> Result<(), String> {
        let concerns = Vgic::concerns(self.vgic.version(), place, Some(value));
        self.access(place.own, concerns, |vgic| ((), vgic.write(place, value)))
    }

    fn read(&mut self, place: Place) -> Result<u64, String> {
        let concerns = Vgic::concerns(self.vgic.version(), place, None);
        self.access(place.own, concerns, |vgic| (vgic.read(place), Concerned::new()))
    }

    /// A read changes nothing, and narrow ones see parts of wide ones.
    fn read_strictly(&mut self, place: Place) -> Result<(), String> {
        let before = self.see();
        let value = self.read(place)?;
        let again = self.read(place)?;
        holds!(value == again, "{place:x?} reads {value:#x}, then {again:#x}");
        let after = self.see();
        holds!(before == after, "a read of {place:x?} changed {:x?}", difference(&before, &after));
        if place.size < 4 {
            let word = self.read(Place { offset: place.offset & !3, size: 4, ..place })?;
            let part = word >> (place.offset % 4 * 8) & ((1 << (place.size * 8)) - 1);
            holds!(value == part, "{place:x?} reads {value:#x} of {word:#x}");
        }
        Ok(())
    }

    /// A write changes what its register is about, of the interrupts that it is about, and nothing else.
    fn write_strictly(&mut self, place: Place, value: u64) -> Result<(), String> {
        let before = self.see();
        self.write(place, value)?;
        let after = self.see();
        for (kind, vcpu, number, was, is) in difference(&before, &after) {
            holds!(
                self.may_change(place, kind, vcpu, number),
                "{value:#x} in {place:x?} changed {kind} of {number}, vCPU {vcpu}: {was:#x} to {is:#x}"
            );
        }
        self.shows_effect(place, value as u32)
    }

    /// What was written to a register for interrupts shows when it is read.
    fn shows_effect(&mut self, place: Place, value: u32) -> Result<(), String> {
        let second = if matches!(place.frame, Frame::Redistributor(_)) { V3_SIZE } else { 0 };
        let offset = place.offset.checked_sub(second).filter(|_| place.size == 4);
        let Some((offset, bits)) = offset.and_then(|offset| match offset {
            0x080..0x400 => Some((offset, 1)),
            0x400..0x800 => Some((offset, 8)),
            _ => None,
        }) else {
            return Ok(());
        };
        let first = if bits == 1 { offset % 0x80 * 8 } else { offset - 0x400 } as usize;
        // Private interrupts of a GICv3 stand in redistributors, the others do not.
        if !self.is_v2() && (first < PRIVATE) != (second != 0) {
            return Ok(());
        }
        let read = self.read(place)? as u32;
        let there = self.end.saturating_sub(first).min((32 / bits) as usize);
        if bits == 8 {
            let theirs = ((1u64 << (there * 8)) - 1) as u32;
            holds!(read == value & theirs & 0xf8f8_f8f8, "{value:#x} in {place:x?} reads {read:#x}");
            return Ok(());
        }
        // SGIs of a GICv2 are always enabled, and pending by whom.
        let fixed = if self.is_v2() && first == 0 && (0x100..0x300).contains(&offset) { 0xffff } else { 0 };
        let theirs = ((1u64 << there) - 1) as u32 & !fixed;
        let asked = value & theirs;
        let fits = match offset {
            0x080..0x100 => read == asked,
            0x180..0x200 | 0x380..0x400 => read & asked == 0,
            // A level stays what its line is.
            0x280..0x300 => read & asked & self.edges(place, second, first)? == 0,
            _ => read & asked == asked,
        };
        holds!(fits, "{value:#x} in {place:x?} reads {read:#x}");
        Ok(())
    }

    /// Which of 32 interrupts are edges.
    fn edges(&mut self, place: Place, second: u64, first: usize) -> Result<u32, String> {
        let mut edges = 0;
        for half in 0..2 {
            let offset = second + 0xc00 + first as u64 / 4 + half * 4;
            let word = self.read(Place { offset, ..place })?;
            edges |= (0..16).fold(0, |bits, index| bits | (word >> (index * 2 + 1) & 1) << index) << (half * 16);
        }
        Ok(edges as u32)
    }

    fn may_change(&self, place: Place, kind: &str, vcpu: usize, number: usize) -> bool {
        let (offset, bank) = match place.frame {
            Frame::Distributor => (place.offset, if self.is_v2() { Some(place.own) } else { None }),
            Frame::Redistributor(_) if place.offset < V3_SIZE => return false,
            Frame::Redistributor(bank) => (place.offset - V3_SIZE, Some(bank)),
        };
        let sgi = offset == 0xf00 && kind == "pending" && number < 16;
        if self.is_v2() && sgi {
            return true;
        }
        if self.is_v2() && (0xf10..0xf30).contains(&offset) {
            let first = (offset & 15) as usize;
            let inside = (first..first + place.size as usize).contains(&number);
            return kind == "pending" && inside && Some(vcpu) == bank;
        }
        let about = match offset {
            0 => return kind == "control",
            0x080..0x100 => "group",
            0x100..0x200 => "enable",
            0x200..0x300 => "pending",
            0x300..0x400 => "active",
            0x400..0x800 => "priority",
            0xc00..0xd00 => "configuration",
            _ => return false,
        };
        // A level that becomes an edge is not pending any more, and the other way round.
        let kind_fits = kind == about || about == "configuration" && kind == "pending";
        let private = matches!(place.frame, Frame::Redistributor(_));
        let bank_fits = if number < PRIVATE { bank == Some(vcpu) } else { !private };
        let (_, first, bits) = *KINDS.iter().find(|(name, ..)| *name == about).expect("a kind");
        let start = (offset - first) % if bits == 1 && about != "group" { 0x80 } else { 0x400 } * 8 / bits;
        kind_fits && bank_fits && (start..start + place.size * 8 / bits).contains(&(number as u64))
    }

    /// Returns everything that registers show, with all list registers given up.
    fn see(&mut self) -> Seen {
        let vcpus = self.vcpus();
        let mut news: Vec<usize> = (0..vcpus).collect();
        (0..vcpus).for_each(|vcpu| news.extend(self.sync(vcpu)));
        let mut seen = Seen::new();
        let end = self.end.min(128);
        for vcpu in 0..vcpus {
            for (kind, first, bits) in KINDS {
                // Every vCPU has its own private ones; the shared ones are everybody's.
                let numbers = if vcpu == 0 { 0..end } else { 0..PRIVATE };
                for number in numbers.step_by((32 / bits) as usize) {
                    let private = number < PRIVATE;
                    let at = first + number as u64 * bits / 8;
                    let (frame, offset) = match (self.is_v2(), private) {
                        (false, true) => (Frame::Redistributor(vcpu), V3_SIZE + at),
                        _ => (Frame::Distributor, at),
                    };
                    let word = self.vgic.read(Place { own: vcpu, frame, offset, size: 4 });
                    seen.push((kind, vcpu, number, word));
                }
            }
        }
        let control = self.vgic.read(Place { own: 0, frame: Frame::Distributor, offset: 0, size: 4 });
        seen.push(("control", 0, 0, control));
        // Nobody waits for what was only looked at.
        for vcpu in 0..vcpus {
            self.enter(vcpu).ok();
        }
        seen
    }

    /// A device's line, or that of a vCPU's own interrupt.
    fn line(&mut self, vcpu: usize, number: usize, on: bool) -> Result<(), String> {
        if self.hardware.contains(&number) {
            with_physical(number as u32, |physical| {
                physical.latched |= on && !physical.line && physical.edge;
                physical.line = on;
            });
            return self.settle_down((0..self.vcpus()).collect());
        }
        if number == TIMER {
            self.interfaces[vcpu].timer = on;
            return self.settle_down(vec![vcpu]);
        }
        let concerns = Concerns { bank: (number < PRIVATE).then_some(vcpu), first: number, count: 1, pending: false };
        self.access(vcpu, Some(concerns), |vgic| ((), vgic.set_line(vcpu, number as u32, on).into_iter().collect()))
    }

    /// A guest takes the most urgent of what its list registers have pending.
    fn acknowledge(&mut self, vcpu: usize, reached: &mut Reached) -> Result<(), String> {
        let lists = &mut self.interfaces[vcpu].lists;
        let ready = lists.iter_mut().filter(|list| list.pending && !list.active);
        if let Some(list) = ready.min_by_key(|list| (list.priority, list.intid)) {
            (list.pending, list.active) = (false, true);
            let number = list.intid;
            reached.note("kinds of what guests take", u64::from(number / 16) << 1 | u64::from(list.physical.is_some()));
            self.interfaces[vcpu].taken.push(number);
        }
        self.settle_down(Vec::new())
    }

    /// A guest ends one of what it has taken.
    fn end(&mut self, vcpu: usize, which: usize, reached: &mut Reached) -> Result<(), String> {
        let interface = &mut self.interfaces[vcpu];
        let Some(last) = interface.taken.len().checked_sub(1) else { return Ok(()) };
        let number = interface.taken.remove(if which == usize::MAX { last } else { which % (last + 1) });
        match interface.lists.iter_mut().find(|list| list.intid == number && list.active) {
            Some(list) => {
                list.active = false;
                reached.note("ends", u64::from(list.pending) << 1 | u64::from(list.physical.is_some()));
                match list.physical.map(usize::from) {
                    Some(TIMER) => interface.timer_active = false,
                    Some(physical) => with_physical(physical as u32, |physical| physical.active &= !(1 << vcpu)),
                    None => {}
                }
            }
            None => {
                reached.note("ends", 4);
                interface.ends += 1;
            }
        }
        self.settle_down(Vec::new())
    }

    /// What holds of list registers at any time.
    fn check(&self, reached: &mut Reached) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (vcpu, interface) in self.interfaces.iter().enumerate() {
            for list in &interface.lists {
                let number = usize::from(list.intid);
                let bank = if number < PRIVATE { vcpu } else { usize::MAX };
                let other = seen.insert((number, bank), vcpu);
                holds!(other.is_none(), "{number} is in list registers of vCPU {vcpu} and of {other:?}");
                holds!(number < self.end, "{number} does not exist");
                holds!(
                    list.physical.is_none() || !(list.pending && list.active),
                    "{list:?} breaks the hardware's rule"
                );
            }
            let pending = interface.lists.iter().filter(|list| list.pending).count();
            holds!(pending > 0 || !self.waits(vcpu), "vCPU {vcpu} sleeps over something: {:?}", interface.lists);
            let flags =
                u64::from(interface.maintenance.none_pending) << 1 | u64::from(interface.maintenance.not_listed);
            let shape = (interface.lists.len() as u64) << 8 | (pending as u64) << 2 | flags;
            reached.note("shapes of list registers", shape);
        }
        Ok(())
    }

    /// Whether something waits for a vCPU, as it would show if the vCPU left its guest now.
    fn waits(&self, vcpu: usize) -> bool {
        self.vgic.is_pending(vcpu) && {
            let (mut vgic, interface) = (self.vgic.clone(), &self.interfaces[vcpu]);
            become_cpu(vcpu);
            vgic.sync(vcpu, interface.ends, |index| (interface.lists[index].pending, interface.lists[index].active));
            vgic.is_pending(vcpu)
        }
    }

    /// Everything that waits or is active is forgotten; then nothing is left of it anywhere.
    fn come_to_rest(&mut self) -> Result<(), String> {
        for number in self.hardware.clone() {
            with_physical(number as u32, |physical| (physical.line, physical.latched) = (false, false));
        }
        for vcpu in 0..self.vcpus() {
            self.interfaces[vcpu].timer = false;
            for number in 16..PRIVATE {
                self.line(vcpu, number, false)?;
            }
        }
        (PRIVATE..self.end.min(96)).try_for_each(|number| self.line(0, number, false))?;
        for vcpu in 0..self.vcpus() {
            self.write(Place { own: vcpu, frame: Frame::Distributor, offset: 0, size: 4 }, 3)?;
            for word in 0..self.end.div_ceil(32) as u64 {
                // Pending, active, pending once more: what was active may have been pending besides. SGIs of a GICv2 have their own.
                for register in [0x280, 0x380, 0x280] {
                    let (frame, second) = match (self.is_v2(), word) {
                        (false, 0) => (Frame::Redistributor(vcpu), V3_SIZE),
                        _ => (Frame::Distributor, 0),
                    };
                    let place = Place { own: vcpu, frame, offset: second + register + word * 4, size: 4 };
                    self.write(place, 0xffff_ffff)?;
                }
            }
            for word in 0..if self.is_v2() { 4 } else { 0 } {
                let place = Place { own: vcpu, frame: Frame::Distributor, offset: 0xf10 + word * 4, size: 4 };
                self.write(place, 0xffff_ffff)?;
            }
        }
        self.settle_down((0..self.vcpus()).collect())?;
        let left = self.see().into_iter().find(|&(kind, .., word)| ["pending", "active"].contains(&kind) && word != 0);
        holds!(left.is_none(), "{left:x?} after everything was cleared");
        for vcpu in 0..self.vcpus() {
            holds!(!self.vgic.is_listed(vcpu), "vCPU {vcpu} has {:?}", self.interfaces[vcpu].lists);
            holds!(!self.vgic.is_held(vcpu), "vCPU {vcpu} is held");
            holds!(!self.interfaces[vcpu].timer_active, "vCPU {vcpu}: the timer's interrupt stays active");
        }
        for &number in &self.hardware {
            let active = with_physical(number as u32, |physical| physical.active);
            holds!(active == 0, "{number} stays active for the hardware: {active:#x}");
        }
        Ok(())
    }
}

/// Returns what is not the same: kind, vCPU, number, what it was and what it is.
fn difference(before: &Seen, after: &Seen) -> Vec<(&'static str, usize, usize, u64, u64)> {
    let mut found = Vec::new();
    for (&(kind, vcpu, first, was), &(.., is)) in before.iter().zip(after).filter(|(was, is)| was != is) {
        let bits = KINDS.iter().find(|(name, ..)| *name == kind).map_or(32, |&(.., bits)| bits);
        let part = |word: u64, index| word >> (index * bits) & ((1 << bits) - 1);
        let changed = (0..32 / bits).filter(|&index| part(was, index) != part(is, index));
        found.extend(changed.map(|index| (kind, vcpu, first + index as usize, part(was, index), part(is, index))));
    }
    found
}
