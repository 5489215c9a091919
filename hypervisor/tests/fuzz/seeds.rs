//! The first inputs of three corpora: what a guest does that boots, lends, maps and closes, each as steps of `calls`; what one does with
//! interrupts, as steps of `vgic`; and why one comes back, as steps of `exits`.

/// Steps in the making.
#[derive(Default)]
struct Script(Vec<u8>);

/// A value of a step.
#[derive(Clone, Copy)]
enum V {
    /// A number.
    N(u64),
    /// An address in one's own pages.
    At(u16),
    /// One's own page's number.
    Page(u8),
    /// A page of the other domain's.
    Theirs(u8),
    /// Oneself.
    Own,
    /// A frame number where nothing is.
    Hole(u8),
    /// An address where nothing is.
    HoleAt(u8),
}
use V::{At, Hole, HoleAt, N, Own, Page, Theirs};

/// Where structures go, unless a script says otherwise.
const HERE: u16 = 0x2000;

impl Script {
    fn value(&mut self, value: V) {
        match value {
            N(small) if small < 0xe0 => self.0.push(small as u8),
            N(number) if number <= 0xffff => self.with(0xe5, &number.to_le_bytes()[..2]),
            N(number) if number <= 0xffff_ffff => self.with(0xe6, &number.to_le_bytes()[..4]),
            N(number) => self.with(0xe7, &number.to_le_bytes()),
            At(at) => self.with(0xe0, &at.to_le_bytes()),
            Page(page) => self.with(0xe1, &[page]),
            Theirs(page) => self.with(0xe2, &[page]),
            Own => self.0.push(0xe4),
            Hole(which) => self.with(0xea, &[which]),
            HoleAt(which) => self.with(0xeb, &[which]),
        }
    }

    fn with(&mut self, tag: u8, operand: &[u8]) {
        self.0.push(tag);
        self.0.extend(operand);
    }

    fn place(mut self, at: u16) -> Script {
        self.with(0, &at.to_le_bytes());
        self
    }

    /// Puts values of so many bytes each.
    fn put(mut self, fields: &[(u8, V)]) -> Script {
        for &(size, value) in fields {
            self.with(1, &[size.trailing_zeros() as u8]);
            self.value(value);
        }
        self
    }

    fn call(mut self, number: u64, arguments: [V; 3]) -> Script {
        self.0.push(2);
        self.value(N(number));
        arguments.into_iter().for_each(|value| self.value(value));
        self
    }

    /// A structure, and the call that takes it.
    fn with_structure(self, number: u64, operation: u64, fields: &[(u8, V)]) -> Script {
        self.place(HERE).put(fields).call(number, [N(operation), At(HERE), N(1)])
    }

    fn firmware(mut self, function: [u8; 2], arguments: [V; 3]) -> Script {
        self.0.extend([3, function[0], function[1]]);
        arguments.into_iter().for_each(|value| self.value(value));
        self
    }

    fn who(mut self, who: u8) -> Script {
        self.0.extend([4, who]);
        self
    }

    fn event(self, operation: u64, fields: &[(u8, V)]) -> Script {
        self.with_structure(32, operation, fields)
    }

    fn grant(self, operation: u64, fields: &[(u8, V)]) -> Script {
        self.with_structure(20, operation, fields)
    }

    fn memory(self, operation: u64, fields: &[(u8, V)]) -> Script {
        self.place(HERE).put(fields).call(12, [N(operation), At(HERE), N(0)])
    }

    /// Has the grant table's first frame where a page was.
    fn table(self) -> Script {
        self.memory(7, &[(2, Own), (2, N(0)), (4, N(1)), (8, N(0)), (8, Page(15))])
    }

    /// Writes entry `index` of the table: flags, grantee, frame.
    fn entry(mut self, index: u16, flags: u64, grantee: u64, frame: V) -> Script {
        for (at, size, value) in [(4, 2, frame), (2, 1, N(grantee)), (0, 1, N(flags))] {
            let [low, high] = (index * 8 + at).to_le_bytes();
            self.0.extend([6, 0, low, high, size]);
            self.value(value);
        }
        self
    }

    /// Maps a grant.
    fn map(self, at: V, flags: u64, reference: u64, from: u64) -> Script {
        self.grant(0, &[(8, at), (4, N(flags)), (4, N(reference)), (2, N(from)), (2, N(0)), (4, N(0)), (8, N(0))])
    }

    fn unmap(self, at: V, handle: u64) -> Script {
        self.grant(1, &[(8, at), (8, N(0)), (4, N(handle)), (4, N(0))])
    }
}

/// Returns the inputs, with their names.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let new = Script::default;
    let mut all =
        vec![("boot", boot()), ("version", version()), ("ports", ports()), ("fifo", fifo()), ("grants", grants())];
    all.push(("memory", memory()));
    all.push(("mmu", mmu()));
    let poll = new().event(1, &[(4, N(0)), (4, N(0)), (4, N(0))]).place(0x4000).put(&[(4, N(1))]);
    let poll = poll.with_structure(29, 3, &[(8, At(0x4000)), (4, N(1)), (4, N(0)), (8, N(0))]);
    let poll =
        poll.with_structure(29, 3, &[(8, At(0x4000)), (4, N(1)), (4, N(0)), (8, N(1 << 40))]).event(4, &[(4, N(1))]);
    let poll = poll.with_structure(29, 6, &[(4, N(0)), (4, N(9))]).with_structure(29, 6, &[(4, N(1)), (4, N(0))]);
    all.push((
        "schedule",
        poll.call(29, [N(0), N(0), N(0)]).call(29, [N(1), N(0), N(0)]).with_structure(29, 7, &[(4, N(0))]),
    ));
    let cpus = new().firmware([0xec, 0], [N(0); 3]).firmware([0xed, 3], [N(1), At(0x1000), N(5)]).who(1);
    let cpus =
        cpus.firmware([0xed, 4], [N(0), N(0), N(0)]).firmware([0xed, 1], [N(0); 3]).firmware([0xec, 2], [N(0); 3]);
    all.push(("firmware", cpus.who(0).firmware([0xed, 3], [N(1), At(0x1000), N(5)]).firmware([0xec, 8], [N(0); 3])));
    // A domain's watchdog outlives its first vCPU.
    let dogs = new().with_structure(29, 6, &[(4, N(0)), (4, N(9))]).firmware([0xed, 3], [N(1), At(0x1000), N(5)]);
    let dogs = dogs.firmware([0xec, 2], [N(0); 3]).who(1).firmware([0xed, 3], [N(0), At(0x1000), N(5)]);
    all.push(("watchdog", dogs.who(0).with_structure(29, 6, &[(4, N(1)), (4, N(0))])));
    let list = |op, a, b| [(8, N(op)), (8, N(0)), (8, a), (8, b), (8, N(0)), (8, N(0)), (8, N(0)), (8, N(0))];
    let many = new().place(0x5000).put(&list(17, N(0), N(0))).put(&list(32, N(6), At(HERE))).put(&list(13, N(0), N(0)));
    let many = many.place(HERE).put(&[(2, Own), (2, Own), (4, N(0))]).call(13, [At(0x5000), N(3), N(0)]);
    all.push(("multicall", many));
    let end = new().who(2).with_structure(29, 2, &[(4, N(3))]).who(0).with_structure(
        29,
        4,
        &[(2, N(1)), (2, N(0)), (4, N(1))],
    );
    all.push(("shutdown", end.with_structure(29, 2, &[(4, N(0))])));
    all.into_iter().map(|(name, script)| (name, script.0)).collect()
}

/// What Linux does first.
fn boot() -> Script {
    let share = [(2, Own), (2, N(0)), (4, N(0)), (8, N(0)), (8, Hole(1))];
    let info = [(8, Page(1)), (4, N(64)), (4, N(0))];
    let new = Script::default().memory(7, &share).table();
    let new = new.place(HERE).put(&info).call(24, [N(10), N(0), At(HERE)]);
    let new = new.place(HERE).put(&[(8, At(0x6000))]).call(24, [N(5), N(0), At(HERE)]).call(21, [N(0), N(5), N(0)]);
    let new = new.with_structure(34, 1, &[(2, Own), (2, N(0)), (4, N(1)), (8, N(0))]);
    let new = new.place(0x7000).put(&[(8, N(0x6f6c_6c65_6830)), (8, N(0))]).call(18, [N(0), N(8), At(0x7000)]);
    let set = [(4, N(62)), (4, N(0x0700_0000)), (8, N(1000)), (4, N(5)), (4, N(0)), (8, N(77))];
    new.place(HERE).put(&set).call(7, [At(HERE), N(0), N(0)]).call(18, [N(1), N(16), At(0x7000)])
}

fn version() -> Script {
    let ask = |script: Script, operation| script.call(17, [N(operation), At(0x1ff0), N(0)]);
    (0..11).fold(Script::default(), ask).who(2).call(17, [N(9), At(0x1000), N(0)]).call(17, [N(0), N(0), N(0)])
}

fn ports() -> Script {
    // Two domains connect, send, close.
    let new = Script::default().event(6, &[(2, Own), (2, N(1)), (4, N(0))]).event(7, &[(4, N(1)), (4, N(0))]);
    let new = new.event(1, &[(4, N(2)), (4, N(0)), (4, N(0))]).event(4, &[(4, N(2))]).event(8, &[(4, N(1)), (4, N(1))]);
    let new = new.who(2).event(0, &[(2, N(0)), (2, N(0)), (4, N(1)), (4, N(0))]).event(4, &[(4, N(1))]);
    let new = new.event(5, &[(2, Own), (2, N(0)), (4, N(1)), (8, N(0)), (8, N(0))]).event(9, &[(4, N(1))]);
    let new = new.who(0).event(4, &[(4, N(1))]).event(3, &[(4, N(1))]).event(3, &[(4, N(2))]);
    new.event(10, &[(2, Own)]).who(2).event(5, &[(2, Own), (2, N(0)), (4, N(1))]).event(10, &[(2, Own)])
}

fn fifo() -> Script {
    let control =
        |script: Script, page, vcpu| script.event(11, &[(8, Page(page)), (4, N(64)), (4, N(vcpu)), (8, N(0))]);
    let new = Script::default().event(6, &[(2, Own), (2, Own), (4, N(0))]);
    let new = control(control(new, 4, 0), 5, 1).event(12, &[(8, Page(6))]);
    let new = new.event(0, &[(2, Own), (2, N(0)), (4, N(1)), (4, N(0))]).event(13, &[(4, N(1)), (4, N(3))]);
    let new =
        new.event(4, &[(4, N(1))]).event(4, &[(4, N(2))]).event(9, &[(4, N(2))]).event(7, &[(4, N(1)), (4, N(0))]);
    new.event(4, &[(4, N(3))]).event(10, &[(2, Own)]).event(12, &[(8, Page(7))])
}

fn grants() -> Script {
    // Domain 0 lends pages 8 and 9 to domain 1, which maps them, copies, unmaps.
    let new = Script::default().table().entry(9, 1, 1, Page(8)).entry(10, 5, 1, Page(9));
    let new =
        new.who(2).map(HoleAt(3), 2, 9, 0).map(HoleAt(4), 6, 10, 0).map(HoleAt(5), 2, 10, 0).map(HoleAt(6), 6, 9, 0);
    let copy = [(8, N(9)), (2, N(0)), (2, N(16)), (4, N(0)), (8, Page(1)), (2, Own), (2, N(32)), (4, N(0))];
    let tail = [(2, N(100)), (2, N(1)), (4, N(0))];
    let new = new.grant(5, &[&copy[..], &tail[..]].concat()).unmap(HoleAt(3), 0).unmap(HoleAt(4), 1);
    let new = new
        .who(0)
        .grant(6, &[(2, N(1)), (2, N(0)), (8, N(0)), (4, N(0))])
        .grant(11, &[(4, N(9)), (4, N(10)), (4, N(0))]);
    let new = new.grant(2, &[(2, Own), (2, N(0)), (4, N(3)), (8, N(0)), (8, At(0x6000))]).grant(8, &[(4, N(1))]);
    let flush = [(8, At(0x8000)), (2, N(0)), (2, N(64)), (4, N(1))];
    new.grant(10, &[(2, Own), (2, N(0)), (4, N(0))])
        .grant(12, &flush)
        .memory(1, &[(8, At(0x6000)), (8, N(1)), (4, N(0))])
}

fn memory() -> Script {
    let extents = |count, own| [(8, At(0x6000)), (8, N(count)), (4, N(0)), (4, N(0)), (2, own), (2, N(0)), (4, N(0))];
    let new = Script::default().place(0x6000).put(&[(8, Page(13)), (8, Page(14)), (8, Hole(7))]);
    let new =
        new.memory(1, &extents(2, Own)).memory(6, &extents(2, Own)).memory(4, &[(2, Own)]).memory(14, &[(2, N(1))]);
    // Domain 1's memory is not the machine's by number.
    let new = new.who(2).place(0x6000).put(&[(8, Page(13)), (8, Page(14)), (8, Hole(7))]);
    let new = new
        .memory(1, &extents(2, Own))
        .memory(6, &extents(3, Own))
        .memory(15, &[(2, Own), (2, N(0)), (4, N(0)), (8, Hole(7))]);
    // Domain 0 maps a page of domain 1's, and its grant table.
    let new = new.who(0).place(0x6000).put(&[(8, Theirs(2)), (8, Hole(9)), (4, N(0))]);
    let batch = [(2, Own), (2, N(4)), (2, N(1)), (2, N(1)), (8, At(0x6000)), (8, At(0x6008)), (8, At(0x6010))];
    let resource = [(2, N(1)), (2, N(1)), (4, N(0)), (4, N(1)), (4, N(0)), (8, N(0)), (8, At(0x6008))];
    new.memory(23, &batch).memory(28, &resource).memory(2, &[]).memory(9, &[])
}

/// Registers and interrupts in the making.
struct Controller {
    bytes: Vec<u8>,
    v2: bool,
}

impl Controller {
    fn new(v2: bool, vcpus: u8, lists: u8, shared: u8, hardware: u8) -> Controller {
        Controller { bytes: vec![u8::from(v2) | (vcpus - 1) << 1, lists - 1, shared, hardware], v2 }
    }

    fn does(mut self, vcpu: u8, what: u8, operands: &[u8]) -> Controller {
        self.bytes.push(vcpu << 4 | what);
        self.bytes.extend(operands);
        self
    }

    /// Writes a register of the distributor.
    fn shared(self, vcpu: u8, strictly: bool, at: u16, value: u32) -> Controller {
        let [low, high] = at.to_le_bytes();
        // No vCPU has the last redistributor.
        let operands = [&[2 | 7 << 2, low, high][..], &value.to_le_bytes()].concat();
        self.does(vcpu, if strictly { 3 } else { 0 }, &operands)
    }

    /// Writes a register for private interrupts.
    fn private(self, vcpu: u8, strictly: bool, at: u16, value: u32) -> Controller {
        if self.v2 {
            return self.shared(vcpu, strictly, at, value);
        }
        let [low, high] = (at | 0x8000).to_le_bytes();
        let operands = [&[2 | vcpu << 2, low, high][..], &value.to_le_bytes()].concat();
        self.does(vcpu, if strictly { 3 } else { 0 }, &operands)
    }

    /// Everything on, with different priorities and routes.
    fn all_on(mut self, vcpus: u8) -> Controller {
        self = self.shared(0, true, 0, 3).shared(0, true, 0x104, u32::MAX).shared(0, false, 0xc08, 0xaaaa_aaa8);
        for vcpu in 0..vcpus {
            self = self
                .private(vcpu, true, 0x100, u32::MAX)
                .private(vcpu, false, 0x400, 0x4080_20c0)
                .private(vcpu, true, 0x80, 0xffff);
            let spi = 32 + u16::from(vcpu);
            let (at, route) = if self.v2 { (0x800 + (spi & !3), 0x0402_0401) } else { (0x6000 + spi * 8, vcpu.into()) };
            self = self.shared(vcpu, false, at, route);
        }
        self
    }

    /// Every vCPU gets something, takes and ends some of it, and others look.
    fn traffic(mut self, vcpus: u8) -> Controller {
        for round in 0..4u8 {
            for vcpu in 0..vcpus {
                let other = (vcpu + 1) % vcpus;
                self = self.does(vcpu, 6, &[16 + round, 1]).does(vcpu, 6, &[16 + vcpu, round & 1]).does(
                    vcpu,
                    8,
                    &[4 + round, 0],
                );
                self = self.does(vcpu, 14, &[0b111, 0, round, 0, 0, 0]).does(vcpu, 6, &[11, 1]).does(vcpu, 9, &[]);
                let look = if self.v2 { [2 | 7 << 2, 0, 3] } else { [2 | other << 2, 0, 0x83] };
                self = self.does(other, 4, &look).shared(other, true, 0x284, 1 << round).does(vcpu, 11, &[]);
                self = self.shared(other, false, 0x384, u32::MAX).does(other, 9, &[]).does(other, 12, &[round]);
                if self.v2 {
                    self = self.shared(vcpu, true, 0xf00, 0x01ff_0000 | u32::from(round)).shared(
                        other,
                        true,
                        0xf20,
                        0x0101_0101,
                    );
                }
            }
        }
        (0..vcpus).fold(self, |script, vcpu| script.does(vcpu, 13, &[]).does(vcpu, 15, &[]))
    }
}

/// Pointers that the guest's own tables translate: 39 bits, pages of 4 KiB, the tables in pages 4 to 6.
fn mmu() -> Script {
    let new =
        Script::default().place(0x4020).put(&[(8, At(0x5003))]).place(0x5000).put(&[(8, At(0x6003)), (8, At(0x7401))]);
    let mut new = new.place(0x6008).put(&[(8, At(0x7403)), (8, At(0x8483))]);
    new.0.push(7);
    [N(25), At(0x4000), N(0)].into_iter().for_each(|value| new.value(value));
    let at = |address: u64| [N(9), N(0x1_0000_0000 + address), N(0)];
    new.call(17, at(0x1000)).call(17, at(0x1ffc)).call(17, at(0x2ff8)).call(17, at(0x20_0000)).call(17, at(0))
}

/// Returns the first inputs of `vgic`, with their names.
pub fn interrupts() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (v2, lists, shared, hardware) in [(false, 4, 3, 0), (false, 1, 4, 0x55), (true, 2, 5, 0xf0), (true, 4, 3, 0)] {
        for vcpus in [1, 3] {
            let script = Controller::new(v2, vcpus, lists, shared, hardware).all_on(vcpus).traffic(vcpus);
            all.push((format!("v{}-{vcpus}-vcpus-{lists}-lists", if v2 { 2 } else { 3 }), script.bytes));
        }
    }
    all
}

/// Returns the first inputs of `exits`, with their names.
pub fn exits() -> Vec<(&'static str, Vec<u8>)> {
    let start = [1, 0xe7, 0, 0, 1, 0, 0, 0x80, 0xff, 0xff, 0xc5, 3, 0, 0];
    let mut all = vec![("interrupts", start.to_vec()), ("registers", start.to_vec()), ("firmware", start.to_vec())];
    // The distributor on, every PPI enabled on each vCPU, then an edge is taken, ended, and slept for.
    let store = |device: u8, offset: u16, value: u32| {
        let (at, value) = (offset.to_le_bytes(), value.to_le_bytes());
        [[0, 3, 0xe6].as_slice(), &value, &[2, 2, device], &at, &[2 | 3 << 2, 2]].concat()
    };
    let load = |device: u8, offset: u16, operands: u16| {
        [[2, 3, device].as_slice(), &offset.to_le_bytes(), &operands.to_le_bytes()].concat()
    };
    let bytes = &mut all[0].1;
    bytes.extend(store(0, 0, 3));
    bytes.extend(store(2, 0x100, u32::MAX));
    for vcpu in [0, 1] {
        bytes.extend([5, vcpu, 20, 0, 5, vcpu, 30, 1, 2, 9, 0, 3, 20, 4, 20, 7, 1 - vcpu]);
        bytes.extend(load(0, 4, 2 | 5 << 2));
        bytes.extend(load(1 + vcpu, 8, 3 | 6 << 2 | 1 << 8));
    }
    let bytes = &mut all[1].1;
    for which in 0..16 {
        bytes.extend([2, 0, which, 7, 1, 2, 0, which, 8, 0, 6, which, 0, 1]);
    }
    bytes.extend([2, 1, 0x21, 0x43, 0x30, 0, 2, 4, 1, 0x46, 0, 0, 0, 0xe0, 0, 0, 0, 2, 5, 1, 0, 0x1e, 0]);
    bytes.extend(load(4, 0x18, 3 << 2));
    bytes.extend(load(5, 0, 3 << 2));
    let bytes = &mut all[2].1;
    for function in 0..12 {
        bytes.extend([2, 6, 0xec, function, 0, 0, 0, function & 1]);
    }
    // CPU_ON of the other one, a call of every kind, and exits that are a mistake.
    bytes.extend([2, 6, 0xed, 3, 1, 0xe0, 0, 16, 5, 0, 7, 1, 2, 7, 17, 0, 0, 0, 2, 7, 29, 1, 0, 0]);
    bytes.extend([2, 8, 0, 7, 0, 2, 8, 1, 9, 0, 2, 9, 1, 2, 9, 2, 0xe8, 40, 2, 9, 0]);
    all
}
