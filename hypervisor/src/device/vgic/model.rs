//! The interrupt controller beside a naive model of one, in everything that software and devices can do.
//!
//! The model is the manual's state of each interrupt, without list registers: a guest's acknowledgement takes the most urgent pending
//! interrupt there is. On the other side stand the state machine, list registers as the hardware works them, and a fake physical
//! distributor whose active states belong to CPUs. Every vCPU runs, on a CPU of its own, and leaves its guest when it is told to.

use alloc::collections::BTreeMap;
use alloc::{format, vec};

use proptest::prelude::*;

use super::registers::{Frame, Place};
use super::*;
use crate::arch::gic::{Physical, deliver, reset, set_signals_again, with_physical};
use crate::arch::{Maintenance, become_cpu};

/// SPIs; those from `HARDWARE` on have physical ones behind them.
const SHARED: usize = 12;
const HARDWARE: usize = 38;
const LAST: usize = PRIVATE + SHARED;
/// A PPI that is a level of the hypervisor's own, and the virtual timer's.
const LINE: usize = 30;
const TIMER: usize = 27;
/// Nothing runs.
const IDLE: u16 = 0x100;

/// What somebody does.
#[derive(Debug, Clone)]
enum Act {
    /// A device raises or lowers its line; a rise is what an edge is.
    Device(usize, bool),
    /// The line of a vCPU's own interrupt: the emulated timer's, or the timer's that hardware watches.
    Line(usize, bool, bool),
    /// A vCPU sets or clears bits of 32 interrupts: which register (enable, pending), which word, which bits.
    Bits(usize, u64, bool, u32),
    /// A vCPU makes an interrupt active or not.
    Active(usize, usize, bool),
    /// Priorities of four interrupts.
    Priority(usize, usize, u32),
    /// Groups of 32 interrupts.
    Groups(usize, bool, u32),
    /// Where an SPI goes.
    Target(usize, usize, u8),
    /// Which groups are forwarded.
    Control(usize, u8),
    /// Whether interrupts are edges.
    Configure(usize, usize, u32),
    /// An SGI to some.
    Send(usize, usize, u8),
    /// Senders of SGIs, set or cleared (GICv2).
    Sources(usize, usize, u32, bool),
    /// A vCPU takes an interrupt.
    Acknowledge(usize),
    /// A vCPU ends the one that it took last.
    End(usize),
    /// A vCPU leaves its guest for another reason.
    Exit(usize),
    /// Two vCPUs change places, each going to the other's CPU.
    Move(usize, usize),
    /// A vCPU reads what is pending and active.
    Read(usize, bool),
}

fn act(vcpus: usize) -> impl Strategy<Value = Act> {
    let vcpu = 0..vcpus;
    let number = 0..LAST;
    let spi = PRIVATE..LAST;
    // Few bits, of interrupts that there are.
    let bits = prop_oneof![any::<u32>().prop_map(|bits| bits & 0x4801_0fff), Just(u32::MAX)];
    prop_oneof![
        4 => (spi.clone(), any::<bool>()).prop_map(|(number, on)| Act::Device(number, on)),
        2 => (vcpu.clone(), any::<bool>(), any::<bool>()).prop_map(|(vcpu, timer, on)| Act::Line(vcpu, timer, on)),
        4 => (vcpu.clone(), 0u64..4, any::<bool>(), bits.clone())
            .prop_map(|(vcpu, what, on, bits)| Act::Bits(vcpu, what, on || bits == u32::MAX, bits)),
        1 => (vcpu.clone(), number.clone(), any::<bool>()).prop_map(|(vcpu, number, on)| Act::Active(vcpu, number, on)),
        2 => (vcpu.clone(), 0..LAST / 4, any::<u32>()).prop_map(|(vcpu, word, value)| Act::Priority(vcpu, word, value)),
        1 => (vcpu.clone(), any::<bool>(), bits.clone()).prop_map(|(vcpu, shared, bits)| Act::Groups(vcpu, shared, bits)),
        2 => (vcpu.clone(), spi, any::<u8>()).prop_map(|(vcpu, number, to)| Act::Target(vcpu, number, to)),
        1 => (vcpu.clone(), prop_oneof![0u8..4, Just(3u8), Just(3u8)]).prop_map(|(vcpu, on)| Act::Control(vcpu, on)),
        1 => (vcpu.clone(), 1..LAST / 16 + 1, any::<u32>()).prop_map(|(vcpu, word, value)| Act::Configure(vcpu, word, value)),
        3 => (vcpu.clone(), 0usize..4, any::<u8>()).prop_map(|(vcpu, sgi, to)| Act::Send(vcpu, sgi, to)),
        1 => (vcpu.clone(), 0usize..4, any::<u32>(), any::<bool>())
            .prop_map(|(vcpu, word, bits, on)| Act::Sources(vcpu, word, bits, on)),
        8 => vcpu.clone().prop_map(Act::Acknowledge),
        6 => vcpu.clone().prop_map(Act::End),
        2 => vcpu.clone().prop_map(Act::Exit),
        1 => (vcpu.clone(), vcpu.clone()).prop_map(|(one, other)| Act::Move(one, other)),
        3 => (vcpu, any::<bool>()).prop_map(|(vcpu, shared)| Act::Read(vcpu, shared)),
    ]
}

/// An interrupt as the manual describes it.
#[derive(Debug, Clone, Default)]
struct State {
    enabled: bool,
    latch: bool,
    line: bool,
    edge: bool,
    active: bool,
    group1: bool,
    priority: u8,
    sources: u8,
    /// For SPIs.
    target: Option<usize>,
}

impl State {
    fn is_pending(&self) -> bool {
        self.latch || self.sources != 0 || self.line && !self.edge
    }
}

/// The controller as the manual describes it: interrupts by number and, where they are private, vCPU.
struct Model {
    v2: bool,
    control: u8,
    states: BTreeMap<(usize, usize), State>,
    /// What each vCPU took and has not ended: number, sender, priority.
    running: Vec<Vec<(usize, u8, u16)>>,
}

impl Model {
    fn new(v2: bool, vcpus: usize) -> Model {
        let mut states = BTreeMap::new();
        for vcpu in 0..vcpus {
            for number in 0..PRIVATE {
                let sgi = number < SGIS;
                states.insert((number, vcpu), State { enabled: sgi && v2, edge: sgi, ..State::default() });
            }
        }
        for number in PRIVATE..LAST {
            let target = (!v2 || vcpus == 1).then_some(0);
            states.insert((number, 0), State { target, ..State::default() });
        }
        Model { v2, control: 0, states, running: alloc::vec![Vec::new(); vcpus] }
    }

    fn at(&mut self, vcpu: usize, number: usize) -> &mut State {
        let bank = if number < PRIVATE { vcpu } else { 0 };
        self.states.get_mut(&(number, bank)).expect("an interrupt")
    }

    /// Takes the most urgent interrupt that is more urgent than what runs. Which of two of the same priority, or of an SGI's senders,
    /// comes first is not said: it is `hint` if it can be.
    fn acknowledge(&mut self, vcpu: usize, hint: Option<(usize, u8)>) -> Option<(usize, u8)> {
        let running = self.running[vcpu].last().map_or(IDLE, |&(_, _, priority)| priority);
        let control = self.control;
        let (&(number, bank), state) = self
            .states
            .iter()
            .filter(|((number, bank), state)| {
                let mine = if *number < PRIVATE { *bank == vcpu } else { state.target == Some(vcpu) };
                let forwarded = state.enabled && control >> u8::from(state.group1) & 1 != 0;
                mine && forwarded && state.is_pending() && !state.active && u16::from(state.priority) < running
            })
            .min_by_key(|((number, _), state)| {
                (state.priority, hint.is_none_or(|(hint, _)| hint != *number), *number)
            })?;
        let priority = state.priority.into();
        let source = match hint {
            Some((_, hint)) if state.sources >> hint & 1 != 0 => hint,
            _ => state.sources.trailing_zeros() as u8 & 7,
        };
        let state = self.states.get_mut(&(number, bank)).expect("just found");
        state.active = true;
        state.latch = false;
        state.sources &= !(1 << source);
        self.running[vcpu].push((number, source, priority));
        Some((number, source))
    }

    fn end(&mut self, vcpu: usize) -> Option<usize> {
        let (number, ..) = self.running[vcpu].pop()?;
        self.at(vcpu, number).active = false;
        Some(number)
    }

    fn set_line(&mut self, vcpu: usize, number: usize, line: bool) {
        let state = self.at(vcpu, number);
        state.latch |= line && !state.line && state.edge;
        state.line = line;
    }

    fn word(&self, vcpu: usize, first: usize, bit: impl Fn(&State) -> bool) -> u32 {
        (0..32)
            .filter_map(|index| {
                let number = first + index;
                let state = self.states.get(&(number, if number < PRIVATE { vcpu } else { 0 }))?;
                Some(u32::from(bit(state)) << index)
            })
            .sum()
    }
}

/// A vCPU's interrupt interface, as the hardware works it.
#[derive(Default)]
struct Interface {
    lists: Vec<ListRegister>,
    maintenance: Maintenance,
    ends: u32,
    /// Priorities of what was taken.
    running: Vec<u16>,
    /// The virtual timer's line.
    timer: bool,
}

impl Interface {
    fn acknowledge(&mut self) -> Option<(usize, u8)> {
        let running = self.running.last().copied().unwrap_or(IDLE);
        let list = self
            .lists
            .iter_mut()
            .filter(|list| list.pending && !list.active && u16::from(list.priority) < running)
            .min_by_key(|list| (list.priority, list.intid))?;
        (list.pending, list.active) = (false, true);
        self.running.push(list.priority.into());
        Some((list.intid.into(), list.source))
    }

    fn end(&mut self, cpu: usize, number: usize) {
        self.running.pop();
        match self.lists.iter_mut().find(|list| usize::from(list.intid) == number && list.active) {
            Some(list) => {
                list.active = false;
                match list.physical {
                    Some(physical) if physical >= PRIVATE as u16 => {
                        with_physical(physical.into(), |physical| physical.active &= !(1 << cpu));
                    }
                    Some(physical) => private(cpu, physical.into(), |physical| physical.active = 0),
                    None => {}
                }
            }
            None => self.ends += 1,
        }
    }

    /// Whether a maintenance interrupt is asserted.
    fn asks(&self) -> bool {
        let none_pending = self.lists.iter().all(|list| !list.pending || list.active);
        let ended =
            self.lists.iter().any(|list| list.notify && list.physical.is_none() && !list.pending && !list.active);
        ended || self.maintenance.none_pending && none_pending || self.maintenance.not_listed && self.ends != 0
    }
}

/// The fake distributor has room for private interrupts of each CPU behind all SPIs.
fn private<R>(cpu: usize, number: usize, act: impl FnOnce(&mut Physical) -> R) -> R {
    with_physical((512 + cpu * PRIVATE + number) as u32, act)
}

struct World {
    vgic: Vgic,
    model: Model,
    interfaces: Vec<Interface>,
    count: usize,
    vcpus: usize,
    /// Where each vCPU is.
    cpus: Vec<usize>,
}

impl World {
    fn new(v2: bool, vcpus: usize, count: usize) -> World {
        reset();
        set_signals_again(!v2);
        let affinities: Vec<u64> = (0..vcpus as u64).collect();
        let mut vgic = Vgic::new(if v2 { Version::V2 } else { Version::V3 }, SHARED, &affinities, 10);
        (HARDWARE..LAST).for_each(|number| vgic.connect(number as u32));
        vgic.connect_private(TIMER as u32, TIMER as u32);
        (0..vcpus).for_each(|vcpu| vgic.put(vcpu, vcpu));
        let interfaces = (0..vcpus).map(|_| Interface::default()).collect();
        World { vgic, model: Model::new(v2, vcpus), interfaces, count, vcpus, cpus: (0..vcpus).collect() }
    }

    /// A vCPU leaves its guest, and gives up its list registers.
    fn sync(&mut self, vcpu: usize) -> Concerned {
        become_cpu(self.cpus[vcpu]);
        let interface = &mut self.interfaces[vcpu];
        let (lists, ends) = (core::mem::take(&mut interface.lists), core::mem::take(&mut interface.ends));
        self.vgic.sync(vcpu, ends, |index| (lists[index].pending, lists[index].active))
    }

    fn settle(&mut self, vcpu: usize) {
        let cpu = self.cpus[vcpu];
        become_cpu(cpu);
        if let Some(active) = self.vgic.settle(vcpu, TIMER as u32, self.interfaces[vcpu].timer, cpu) {
            private(cpu, TIMER, |physical| physical.active = active.into());
        }
    }

    /// What `unload` and `load` do, for two that change places.
    fn exchange(&mut self, one: usize, other: usize) {
        let mut news = alloc::vec![one, other];
        for vcpu in [one, other] {
            news.extend(self.sync(vcpu));
            self.vgic.move_private(vcpu, TIMER as u32, None);
            private(self.cpus[vcpu], TIMER, |physical| physical.active = 0);
        }
        self.cpus.swap(one, other);
        for vcpu in [one, other] {
            let cpu = self.cpus[vcpu];
            self.vgic.put(vcpu, cpu);
            let busy = self.vgic.move_private(vcpu, TIMER as u32, Some(cpu));
            private(cpu, TIMER, |physical| physical.active = busy.into());
        }
        self.quiesce(news);
    }

    /// What `turn` does before it enters a guest again.
    fn enter(&mut self, vcpu: usize) -> Concerned {
        let others = self.sync(vcpu);
        assert!(!self.vgic.is_held(vcpu));
        self.settle(vcpu);
        let lists = &mut self.interfaces[vcpu].lists;
        let flushed = self.vgic.flush(vcpu, self.count, |index, list| {
            assert_eq!(index, lists.len());
            lists.push(list);
        });
        self.interfaces[vcpu].maintenance = flushed.maintenance;
        let lists = &self.interfaces[vcpu].lists;
        assert_eq!(flushed.used, lists.len());
        assert!(lists.iter().all(|list| list.physical.is_none() || !(list.pending && list.active)), "hardware's rule");
        assert!(flushed.maintenance == Maintenance::default() || !self.interfaces[vcpu].asks(), "a storm");
        others
    }

    /// Lets everything happen that interrupts make happen.
    fn quiesce(&mut self, concerned: Vec<usize>) {
        let mut news = concerned;
        loop {
            // The physical controller interrupts the CPU where an SPI goes, or a timer's own.
            for number in HARDWARE..LAST {
                deliver(number as u32, |cpu| {
                    let (stays, concerned) = self.vgic.take(0, number as u32, cpu);
                    news.extend(concerned);
                    stays
                });
            }
            for vcpu in 0..self.vcpus {
                let cpu = self.cpus[vcpu];
                if self.interfaces[vcpu].timer && private(cpu, TIMER, |physical| physical.active == 0) {
                    become_cpu(cpu);
                    private(cpu, TIMER, |physical| physical.active = 1);
                    news.extend(self.vgic.take(vcpu, TIMER as u32, cpu).1);
                }
                if self.interfaces[vcpu].asks() {
                    news.push(vcpu);
                }
            }
            let Some(vcpu) = news.pop() else { break };
            news.extend(self.enter(vcpu));
        }
    }

    /// What `with_vgic` does.
    fn access<R>(
        &mut self,
        own: usize,
        concerns: Option<Concerns>,
        act: impl FnOnce(&mut Vgic) -> (R, Concerned),
    ) -> R {
        let mut news = alloc::vec![own];
        let mut held = 0;
        if let Some(concerns) = concerns {
            news.extend(self.sync(own));
            self.settle(own);
            held = self.vgic.hold(Some(own), concerns);
            for vcpu in (0..self.vcpus).filter(|vcpu| held >> vcpu & 1 != 0) {
                news.extend(self.sync(vcpu));
                self.settle(vcpu);
                news.push(vcpu);
            }
            assert!(!self.vgic.are_listed(held));
        }
        become_cpu(self.cpus[own]);
        let (result, concerned) = act(&mut self.vgic);
        self.vgic.release(held);
        news.extend(concerned);
        self.quiesce(news);
        result
    }

    fn place(&self, own: usize, private_to: Option<usize>, offset: u64, size: u64) -> Place {
        match private_to.filter(|_| !self.model.v2) {
            None => Place { own, frame: Frame::Distributor, offset, size },
            Some(vcpu) => Place { own, frame: Frame::Redistributor(vcpu), offset: offset + 0x1_0000, size },
        }
    }

    fn write(&mut self, place: Place, value: u64) {
        let concerns = Vgic::concerns(self.vgic.version(), place, Some(value));
        self.access(place.own, concerns, |vgic| ((), vgic.write(place, value)));
    }

    fn read(&mut self, place: Place) -> u64 {
        let concerns = Vgic::concerns(self.vgic.version(), place, None);
        self.access(place.own, concerns, |vgic| (vgic.read(place), Concerned::new()))
    }

    /// Whether an interrupt was taken by a guest and is yet to be ended by it.
    fn is_running(&self, number: usize) -> bool {
        self.model.running.iter().flatten().any(|&(running, ..)| running == number)
    }

    /// Writes a bit for each of 32 interrupts, private ones of the vCPU itself, or shared ones.
    fn write_word(&mut self, vcpu: usize, register: u64, shared: bool, bits: u32) {
        let place = self.place(vcpu, (!shared).then_some(vcpu), register + u64::from(shared) * 4, 4);
        self.write(place, bits.into());
    }

    fn numbers(shared: bool, bits: u32) -> impl Iterator<Item = usize> {
        let first = if shared { PRIVATE } else { 0 };
        (0..32).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| first + bit).filter(|&number| number < LAST)
    }

    fn act(&mut self, act: &Act) {
        let v2 = self.model.v2;
        match *act {
            Act::Device(number, on) => self.device(number, on),
            Act::Line(vcpu, timer, on) => {
                let number = if timer { TIMER } else { LINE };
                self.model.set_line(vcpu, number, on);
                let mut news = alloc::vec![vcpu];
                if timer {
                    self.interfaces[vcpu].timer = on;
                } else {
                    news.extend(self.sync(vcpu));
                    news.extend(self.vgic.set_line(vcpu, number as u32, on));
                }
                self.quiesce(news);
            }
            Act::Bits(vcpu, what, on, bits) => {
                let (shared, pending) = (what & 1 != 0, what & 2 != 0);
                let register = if pending { 0x200 } else { 0x100 } + if on { 0 } else { 0x80 };
                for number in World::numbers(shared, bits).filter(|&number| !(v2 && number < SGIS)) {
                    let state = self.model.at(vcpu, number);
                    *if pending { &mut state.latch } else { &mut state.enabled } = on;
                }
                self.write_word(vcpu, register, shared, bits);
            }
            Act::Active(vcpu, number, on) if !self.is_running(number) => {
                self.model.at(vcpu, number).active = on;
                self.write_word(vcpu, if on { 0x300 } else { 0x380 }, number >= PRIVATE, 1 << (number % 32));
            }
            Act::Active(..) => {}
            Act::Priority(vcpu, word, value) => {
                // What is active keeps the priority it was taken with here; the manual leaves open when a new one counts.
                if (0..4).any(|index| self.is_running(word * 4 + index)) {
                    return;
                }
                for index in 0..4 {
                    self.model.at(vcpu, word * 4 + index).priority = (value >> (index * 8)) as u8 & 0xf8;
                }
                let place = self.place(vcpu, (word < 8).then_some(vcpu), 0x400 + word as u64 * 4, 4);
                self.write(place, value.into());
            }
            Act::Groups(vcpu, shared, bits) => {
                let first = if shared { PRIVATE } else { 0 };
                for number in (first..first + 32).filter(|&number| number < LAST) {
                    self.model.at(vcpu, number).group1 = bits >> (number - first) & 1 != 0;
                }
                self.write_word(vcpu, 0x80, shared, bits);
            }
            Act::Target(vcpu, number, to) => self.target(vcpu, number, to),
            Act::Control(vcpu, on) => {
                self.model.control = on;
                let place = self.place(vcpu, None, 0, 4);
                self.write(place, on.into());
            }
            Act::Configure(vcpu, word, value) => {
                let mut value = value;
                for number in (word * 16..word * 16 + 16).filter(|&number| number < LAST) {
                    let (state, bit) = (self.model.at(vcpu, number), (number - word * 16) * 2 + 1);
                    // What is pending while it changes is pending or not (IHI 0069, GICD_ICFGR<n>).
                    if state.is_pending() || state.line {
                        value = value & !(1 << bit) | u32::from(state.edge) << bit;
                    }
                    // A physical SPI changes while it is disabled; the timer's is a level.
                    if number != TIMER && (number < HARDWARE || !state.enabled) {
                        state.edge = value >> bit & 1 != 0;
                    }
                }
                let place = self.place(vcpu, (word < 2).then_some(vcpu), 0xc00 + word as u64 * 4, 4);
                self.write(place, value.into());
            }
            Act::Send(vcpu, sgi, to) => self.send(vcpu, sgi, to),
            Act::Sources(vcpu, word, bits, on) if v2 => {
                let everybody = (1 << self.vcpus) - 1;
                for index in 0..4 {
                    let (state, sources) = (self.model.at(vcpu, word * 4 + index), (bits >> (index * 8)) as u8);
                    state.sources = if on { state.sources | sources & everybody } else { state.sources & !sources };
                }
                let place = self.place(vcpu, None, if on { 0xf20 } else { 0xf10 } + word as u64 * 4, 4);
                self.write(place, bits.into());
            }
            Act::Sources(..) => {}
            Act::Acknowledge(vcpu) => {
                let taken = self.interfaces[vcpu].acknowledge();
                assert_eq!(taken, self.model.acknowledge(vcpu, taken), "what vCPU {vcpu} takes");
                self.quiesce(Vec::new());
            }
            Act::End(vcpu) => {
                if let Some(number) = self.model.end(vcpu) {
                    self.interfaces[vcpu].end(self.cpus[vcpu], number);
                    self.quiesce(Vec::new());
                }
            }
            Act::Exit(vcpu) => self.quiesce(alloc::vec![vcpu]),
            Act::Move(one, other) => self.exchange(one, other),
            Act::Read(vcpu, shared) => {
                let first = if shared { PRIVATE } else { 0 };
                for (register, what) in [(0x200, "pending"), (0x300, "active"), (0x80, "group")] {
                    let place = self.place(vcpu, (!shared).then_some(vcpu), register + u64::from(shared) * 4, 4);
                    let read = self.read(place);
                    let expected = self.model.word(vcpu, first, |state| match register {
                        0x200 => state.is_pending(),
                        0x300 => state.active,
                        _ => state.group1,
                    });
                    assert_eq!(
                        format!("{read:#010x}"),
                        format!("{expected:#010x}"),
                        "{what} of {first}.., vCPU {vcpu}"
                    );
                }
            }
        }
    }

    fn device(&mut self, number: usize, on: bool) {
        self.model.set_line(0, number, on);
        let mut news = Vec::new();
        if number < HARDWARE {
            // As the hypervisor's own devices do: nobody has it in a list register meanwhile.
            let concerns = Concerns { bank: None, first: number, count: 1, pending: false };
            self.access(0, Some(concerns), |vgic| ((), vgic.set_line(0, number as u32, on).into_iter().collect()));
            return;
        }
        with_physical(number as u32, |physical| {
            physical.latched |= on && !physical.line && physical.edge;
            physical.line = on;
        });
        // What hardware does about a fallen level that a guest has not taken yet shows when it is next left.
        news.extend(0..self.vcpus);
        self.quiesce(news);
    }

    fn target(&mut self, vcpu: usize, number: usize, to: u8) {
        if self.model.v2 {
            let to = to & ((1 << self.vcpus) - 1);
            if self.vcpus > 1 {
                self.model.at(0, number).target = (to != 0).then(|| to.trailing_zeros() as usize);
            }
            let place = self.place(vcpu, None, 0x800 + number as u64, 1);
            self.write(place, to.into());
        } else {
            let to = usize::from(to) % (self.vcpus + 1);
            self.model.at(0, number).target = (to < self.vcpus).then_some(to);
            let place = self.place(vcpu, None, 0x6000 + number as u64 * 8, 8);
            self.write(place, to as u64);
        }
    }

    fn send(&mut self, vcpu: usize, sgi: usize, to: u8) {
        let v2 = self.model.v2;
        for target in (0..self.vcpus).filter(|target| to >> target & 1 != 0) {
            let state = self.model.at(target, sgi);
            if v2 {
                state.sources |= 1 << vcpu;
            } else if state.group1 {
                state.latch = true;
            }
        }
        if v2 {
            let place = self.place(vcpu, None, 0xf00, 4);
            self.write(place, u64::from(to) << 16 | sgi as u64);
        } else {
            let concerns = Concerns { bank: None, first: sgi, count: 1, pending: true };
            let value = (sgi as u64) << 24 | u64::from(to);
            self.access(vcpu, Some(concerns), |vgic| ((), vgic.write_sgi(vcpu, true, value)));
        }
    }

    /// A guest that goes on taking and ending comes to rest, in the model's order, and then nothing is held of the hardware.
    fn drain(&mut self) {
        for number in PRIVATE..LAST {
            self.device(number, false);
        }
        for vcpu in 0..self.vcpus {
            self.act(&Act::Line(vcpu, true, false));
            self.act(&Act::Line(vcpu, false, false));
            for _ in 0..200 {
                self.act(&Act::Acknowledge(vcpu));
                if self.model.running[vcpu].is_empty() {
                    break;
                }
                self.act(&Act::End(vcpu));
            }
            while !self.model.running[vcpu].is_empty() {
                self.act(&Act::End(vcpu));
            }
            self.act(&Act::Read(vcpu, false));
        }
        self.act(&Act::Read(0, true));
        for number in HARDWARE..LAST {
            // What nobody is to get is looked at when somebody is.
            let (control, state) = (self.model.control, self.model.at(0, number));
            let forwarded = state.enabled && state.target.is_some() && control >> u8::from(state.group1) & 1 != 0;
            let idle = forwarded && !state.active && !state.is_pending();
            let active = with_physical(number as u32, |physical| physical.active);
            assert!(!idle || active == 0, "{number} is active for the hardware alone: {active:#x}");
        }
    }
}

fn start() -> Vec<Act> {
    alloc::vec![
        Act::Control(0, 3),
        Act::Bits(0, 0, true, u32::MAX),
        Act::Bits(0, 1, true, u32::MAX),
        Act::Groups(0, false, u32::MAX),
    ]
}

fn run(v2: bool, vcpus: usize, count: usize, acts: &[Act]) {
    let mut world = World::new(v2, vcpus, count);
    start().iter().chain(acts).for_each(|act| world.act(act));
    world.drain();
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(act(3), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_gicv3_is_as_the_manual_says(count in 1usize..6, acts in acts()) {
        run(false, 3, count, &acts);
    }

    #[test]
    fn a_gicv2_is_as_the_manual_says(count in 1usize..6, acts in acts()) {
        run(true, 3, count, &acts);
    }
}
