//! Event channels against a naive model: random operations of two domains, and random events through queues.

#[path = "support/guest.rs"]
mod guest;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};

use guest::Consumer;
use hypervisor::event::fifo::{BUSY, LINK, LINKED, MASKED, PENDING};
use hypervisor::event::two_level::Shared;
use hypervisor::event::{Bound, Events, Raised, Received, Sent, User, upcall};
use hypervisor::word::Page;
use proptest::prelude::*;
use xen_abi::Errno;
use xen_abi::event_channel::{EVTCHNSTAT_interdomain, EVTCHNSTAT_unbound, EVTCHNSTAT_virq};
use xen_abi::xen::{VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_DOM_EXC};

/// What a domain of four vCPUs shares.
struct Info {
    pending: Vec<AtomicU64>,
    mask: Vec<AtomicU64>,
    select: Vec<AtomicU64>,
}

impl Info {
    fn new() -> Self {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { pending: words(64), mask: words(64), select: words(4) }
    }
}

impl Shared for Info {
    type Word = AtomicU64;

    fn pending(&self) -> &[AtomicU64] {
        &self.pending
    }

    fn mask(&self) -> &[AtomicU64] {
        &self.mask
    }

    fn select(&self, vcpu: usize, bits: u64) -> Option<u64> {
        Some(self.select.get(vcpu)?.fetch_or(bits, SeqCst))
    }
}

/// A page that both sides hold.
#[derive(Clone, Debug)]
struct Shareable(Rc<Vec<AtomicU32>>);

impl Shareable {
    fn new(value: u32) -> Self {
        Self(Rc::new((0..1024).map(|_| AtomicU32::new(value)).collect()))
    }
}

impl Page for Shareable {
    type Word = AtomicU32;

    fn words(&self) -> &[AtomicU32] {
        &self.0
    }
}

type Ports = Events<Shareable>;

fn ports() -> Ports {
    Events::new(4, 1023).unwrap()
}

fn raised(vcpu: usize, upcall: bool, new: bool) -> Raised {
    Raised { vcpu, upcall, new }
}

#[test]
fn a_channel_is_made_used_and_closed() {
    let (mut one, mut two) = (ports(), ports());
    let (page_one, page_two) = (Info::new(), Info::new());
    let waiting = one.alloc_unbound(2, User::Guest, 0).unwrap();
    assert_eq!(waiting, 1);
    assert_eq!(one.status(waiting).unwrap().status, EVTCHNSTAT_unbound);
    assert_eq!(one.send(waiting), Ok(Sent::Nowhere));

    assert_eq!(
        two.bind_interdomain(3, Some(&mut one), 1, waiting, &page_two),
        Err(Errno::EINVAL),
        "it waits for another"
    );
    let (port, first) = two.bind_interdomain(2, Some(&mut one), 1, waiting, &page_two).unwrap();
    assert_eq!((port, first), (1, raised(0, true, true)), "a new port is pending, lest an event be lost");
    assert_eq!(two.bind_interdomain(2, Some(&mut one), 1, waiting, &page_two), Err(Errno::EINVAL), "it waits no more");

    let status = two.status(port).unwrap();
    assert_eq!((status.status, status.dom_or_irq, status.remote_port), (EVTCHNSTAT_interdomain, 1, waiting));
    one.bind_vcpu(waiting, 3).unwrap();
    assert_eq!(two.send(port), Ok(Sent::There(1, waiting)));
    assert_eq!(one.receive(waiting, 2, port, &page_one), Some(Received::Raised(raised(3, true, true))));
    assert_eq!(
        one.receive(waiting, 2, port, &page_one),
        Some(Received::Raised(raised(3, false, false))),
        "it is pending already"
    );
    assert_eq!(one.receive(waiting, 2, port + 1, &page_one), None);
    assert_eq!(page_one.pending[0].load(SeqCst), 1 << waiting);
    assert_eq!(page_one.select[3].load(SeqCst), 1);

    assert_eq!(one.close(waiting, User::Guest, &page_one), Ok(Some((2, port))));
    assert_eq!(page_one.pending[0].load(SeqCst), 0, "a new owner finds nothing");
    two.disconnect(port, 1, waiting);
    assert_eq!(two.get(port), Some((Bound::Unbound(1), 0)));
    assert_eq!(one.close(waiting, User::Guest, &page_one), Err(Errno::EINVAL));
    assert_eq!(one.get(waiting), Some((Bound::Free, 0)), "back at vCPU 0");
}

#[test]
fn a_domain_may_talk_to_itself() {
    let (mut domain, page) = (ports(), Info::new());
    let waiting = domain.alloc_unbound(7, User::Guest, 0).unwrap();
    let (port, _) = domain.bind_interdomain(7, None, 7, waiting, &page).unwrap();
    assert_eq!(domain.send(port), Ok(Sent::There(7, waiting)));
    assert_eq!(domain.close(port, User::Guest, &page), Ok(Some((7, waiting))));
    domain.disconnect(waiting, 7, port);
    assert_eq!(domain.get(waiting).unwrap().0, Bound::Unbound(7));
}

#[test]
fn virtual_interrupts_are_taken_once() {
    let (mut domain, page) = (ports(), Info::new());
    assert_eq!(domain.bind_virq(24, 0), Err(Errno::EINVAL));
    assert_eq!(domain.bind_virq(u32::MAX, 0), Err(Errno::EINVAL));
    assert_eq!(domain.bind_virq(VIRQ_DOM_EXC, 1), Err(Errno::EINVAL), "global ones belong to vCPU 0");
    assert_eq!(domain.bind_virq(VIRQ_DEBUG, 4), Err(Errno::ENOENT));
    assert_eq!(domain.raise_virq(VIRQ_CONSOLE, 0, &page), None);
    let console = domain.bind_virq(VIRQ_CONSOLE, 0).unwrap();
    assert_eq!(domain.bind_virq(VIRQ_CONSOLE, 0), Err(Errno::EEXIST));
    let debug = domain.bind_virq(VIRQ_DEBUG, 2).unwrap();
    assert_eq!(
        domain.status(debug).map(|status| (status.status, status.vcpu, status.dom_or_irq)),
        Ok((EVTCHNSTAT_virq, 2, VIRQ_DEBUG))
    );
    assert_eq!(domain.raise_virq(VIRQ_DEBUG, 1, &page), None);
    assert_eq!(domain.raise_virq(VIRQ_DEBUG, 2, &page), Some(raised(2, true, true)));
    assert_eq!(domain.bind_vcpu(debug, 0), Err(Errno::EINVAL), "it is that vCPU's");
    assert_eq!(domain.bind_vcpu(console, 4), Err(Errno::ENOENT));
    domain.bind_vcpu(console, 1).unwrap();
    assert_eq!(domain.raise_virq(VIRQ_CONSOLE, 3, &page), Some(raised(1, true, true)));
    assert_eq!(domain.send(console), Err(Errno::EINVAL));
    domain.close(console, User::Guest, &page).unwrap();
    assert_eq!(domain.bind_virq(VIRQ_CONSOLE, 0), Ok(console), "the lowest port is given again");
}

#[test]
fn what_is_the_hypervisors_the_guest_cannot_touch() {
    let (mut domain, page) = (ports(), Info::new());
    let port = domain.alloc_unbound(0, User::Hypervisor, 0).unwrap();
    assert_eq!(domain.status(port), Err(Errno::EACCES));
    assert_eq!(domain.send(port), Err(Errno::EINVAL));
    assert_eq!(domain.bind_vcpu(port, 1), Err(Errno::EINVAL));
    assert_eq!(domain.close(port, User::Guest, &page), Err(Errno::EINVAL));
    assert_eq!(domain.close(port, User::Hypervisor, &page), Ok(None));
}

#[test]
fn hostile_ports_are_refused() {
    let (mut domain, page) = (ports(), Info::new());
    for port in [0, 64, 4095, 4096, 131_071, 131_072, u32::MAX] {
        assert_eq!(domain.close(port, User::Guest, &page), Err(Errno::EINVAL), "{port}");
        assert_eq!(domain.send(port), Err(Errno::EINVAL), "{port}");
        assert_eq!(domain.bind_vcpu(port, 0), Err(Errno::EINVAL), "{port}");
        assert_eq!(domain.bind_interdomain(1, None, 1, port, &page), Err(Errno::EINVAL), "{port}");
        if port > 0 {
            assert_eq!(domain.unmask(port, &page), Err(Errno::EINVAL), "{port}");
            assert_eq!(domain.status(port), Err(Errno::EINVAL), "{port}");
            assert_eq!(domain.set_priority(port, 3), Err(Errno::EINVAL), "{port}");
        }
    }
    // Ports come by 64: a free one among them exists.
    assert!(domain.unmask(63, &page).is_ok() && domain.status(63).is_ok());
    assert_eq!(domain.set_priority(63, 3), Err(Errno::ENOSYS));
    assert_eq!(domain.bind_ipi(4), Err(Errno::ENOENT));
    assert_eq!(domain.next_bound(u32::MAX), None);
}

#[test]
fn ports_end_at_the_limit() {
    let mut domain = Ports::new(1, 66).unwrap();
    for port in 1..=66 {
        assert_eq!(domain.bind_ipi(0), Ok(port));
    }
    assert_eq!(domain.bind_ipi(0), Err(Errno::ENOSPC));
    domain.close(5, User::Guest, &Info::new()).unwrap();
    assert_eq!(domain.bind_ipi(0), Ok(5));
    let mut domain = Ports::new(1, u32::MAX).unwrap();
    for port in 1..4096 {
        assert_eq!(domain.bind_ipi(0), Ok(port));
    }
    assert_eq!(domain.bind_ipi(0), Err(Errno::ENOSPC), "two levels have 4096");
    domain.set_dying();
    assert_eq!(domain.bind_ipi(0), Err(Errno::EINVAL));
}

#[test]
fn two_levels_deliver_by_mask_and_selector() {
    let (mut domain, page) = (ports(), Info::new());
    let port = domain.bind_ipi(2).unwrap();
    page.mask[0].store(1 << port, SeqCst);
    assert_eq!(domain.raise(port, &page), raised(2, false, true));
    assert_eq!(domain.is_pending(port, &page), Ok(true));
    assert_eq!(domain.unmask(port, &page), Ok(raised(2, true, false)));
    assert_eq!(domain.unmask(port, &page), Ok(raised(2, false, false)), "it was not masked");
    page.pending[0].store(0, SeqCst);
    assert_eq!(domain.raise(port, &page), raised(2, false, true), "the selector is set still");
    let byte = AtomicU8::new(0);
    assert!(upcall(&byte) && !upcall(&byte));
}

#[test]
fn control_blocks_and_words_are_checked() {
    let (mut domain, page) = (ports(), Info::new());
    assert_eq!(domain.can_expand(), Err(Errno::EOPNOTSUPP));
    assert_eq!(domain.control_place(4, 0), Err(Errno::ENOENT));
    for wrong in [4, 7, 4096 - 64, 4096 - 71, 4096, u32::MAX] {
        assert_eq!(domain.control_place(0, wrong), Err(Errno::EINVAL), "{wrong}");
    }
    assert_eq!(domain.control_place(0, 4096 - 72), Ok(1006));
    domain.init_control(1, Shareable::new(0), 1006, &page).unwrap();
    assert_eq!(domain.init_control(1, Shareable::new(0), 0, &page), Err(Errno::EINVAL), "it has one");
    for _ in 0..128 {
        assert_eq!(domain.can_expand(), Ok(()));
        domain.expand_array(Shareable::new(MASKED), |_| panic!("nothing was remembered")).unwrap();
    }
    assert_eq!(domain.can_expand(), Err(Errno::ENOSPC));
    assert_eq!(domain.expand_array(Shareable::new(0), |_| ()), Err(Errno::ENOSPC));
    let port = domain.bind_ipi(0).unwrap();
    assert_eq!(domain.set_priority(port, 16), Err(Errno::EINVAL));
    assert_eq!(domain.set_priority(port, 15), Ok(()));
    assert_eq!(domain.set_priority(port + 1, 3), Err(Errno::EACCES), "a free port");
    assert_eq!(domain.raise(port, &page), raised(0, false, false), "vCPU 0 has no control block");
}

#[test]
fn what_was_pending_in_two_levels_comes_in_its_queue() {
    let (mut domain, page) = (ports(), Info::new());
    let port = domain.bind_ipi(1).unwrap();
    domain.raise(port, &page);
    let control = Shareable::new(0);
    domain.init_control(1, control.clone(), 0, &page).unwrap();
    let mut delivered = Vec::new();
    domain.expand_array(Shareable::new(0), |raised| delivered.push(raised)).unwrap();
    assert_eq!(delivered, [raised(1, true, true)]);
    assert_eq!((control.0[0].load(SeqCst), control.0[2 + 7].load(SeqCst)), (1 << 7, port));
}

#[test]
fn a_linked_port_is_not_given_again_and_a_reset_returns_to_two_levels() {
    let (mut domain, page) = (ports(), Info::new());
    let (control, array) = (Shareable::new(0), Shareable::new(0));
    domain.init_control(0, control, 0, &page).unwrap();
    domain.expand_array(array.clone(), |_| ()).unwrap();
    let port = domain.bind_ipi(0).unwrap();
    domain.raise(port, &page);
    domain.close(port, User::Guest, &page).unwrap();
    assert_eq!(array.0[port as usize].load(SeqCst), LINKED, "not pending any more, but in its queue");
    assert_eq!(domain.bind_ipi(0), Ok(port + 1), "it is still in a queue");
    array.0[port as usize].store(0, SeqCst);
    assert_eq!(domain.bind_ipi(0), Ok(port), "the guest has taken it off");
    assert!(matches!(domain.finish_reset(), Err(Errno::EAGAIN)));
    while let Some(port) = domain.next_bound(0) {
        domain.close(port, User::Hypervisor, &page).unwrap();
    }
    assert!(domain.finish_reset().unwrap().is_some());
    assert_eq!(domain.can_expand(), Err(Errno::EOPNOTSUPP));
    assert!(domain.finish_reset().unwrap().is_none());
}

/// An operation on one of two domains.
#[derive(Clone, Debug)]
enum Step {
    Unbound(bool, u16),
    Connect(bool, u16, u32),
    Virq(bool, u32, u32),
    Ipi(bool, u32),
    Close(bool, u32),
    Send(bool, u32),
    Move(bool, u32, u32),
    Unmask(bool, u32),
    Mask(bool, u32),
    Serve(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let port = 0..12_u32;
    let which = any::<bool>();
    let step = prop_oneof![
        (which, 0..3_u16).prop_map(|(w, d)| Step::Unbound(w, d)),
        (which, 0..2_u16, port.clone()).prop_map(|(w, d, p)| Step::Connect(w, d, p)),
        (which, 0..6_u32, 0..5_u32).prop_map(|(w, v, c)| Step::Virq(w, v, c)),
        (which, 0..5_u32).prop_map(|(w, c)| Step::Ipi(w, c)),
        (which, port.clone()).prop_map(|(w, p)| Step::Close(w, p)),
        (which, port.clone()).prop_map(|(w, p)| Step::Send(w, p)),
        (which, port.clone(), 0..5_u32).prop_map(|(w, p, c)| Step::Move(w, p, c)),
        (which, port.clone()).prop_map(|(w, p)| Step::Unmask(w, p)),
        (which, port).prop_map(|(w, p)| Step::Mask(w, p)),
        which.prop_map(Step::Serve),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The naive model: each domain a map from port to what it is, whether pending, and masked.
#[derive(Clone, Debug, PartialEq)]
struct Naive {
    bound: Bound,
    vcpu: u32,
}

#[derive(Default)]
struct NaiveDomain {
    ports: BTreeMap<u32, Naive>,
    pending: BTreeMap<u32, bool>,
    masked: BTreeMap<u32, bool>,
}

impl NaiveDomain {
    fn free(&self) -> u32 {
        (1..).find(|port| !self.ports.contains_key(port)).unwrap()
    }

    fn add(&mut self, bound: Bound, vcpu: u32) -> u32 {
        let port = self.free();
        self.ports.insert(port, Naive { bound, vcpu });
        port
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn ports_behave_as_a_naive_model(steps in steps()) {
        let mut domains = [ports(), ports()];
        let info = [Info::new(), Info::new()];
        let mut naive = [NaiveDomain::default(), NaiveDomain::default()];
        for step in steps {
            match step {
                Step::Unbound(which, remote) => {
                    let which = usize::from(which);
                    let port = domains[which].alloc_unbound(remote, User::Guest, 0).unwrap();
                    prop_assert_eq!(port, naive[which].add(Bound::Unbound(remote), 0));
                }
                Step::Connect(which, remote, remote_port) => {
                    let (which, other) = (usize::from(which), usize::from(remote));
                    let waits = naive[other].ports.get(&remote_port).is_some_and(|port| port.bound == Bound::Unbound(which as u16));
                    let done = if which == other {
                        domains[which].bind_interdomain(which as u16, None, remote, remote_port, &info[which])
                    } else {
                        let [one, two] = &mut domains;
                        let (here, there) = if which == 0 { (one, two) } else { (two, one) };
                        here.bind_interdomain(which as u16, Some(there), remote, remote_port, &info[which])
                    };
                    prop_assert_eq!(done.is_ok(), waits);
                    if waits {
                        let port = naive[which].add(Bound::Interdomain(remote, remote_port), 0);
                        naive[other].ports.get_mut(&remote_port).unwrap().bound = Bound::Interdomain(which as u16, port);
                        naive[which].pending.insert(port, true);
                        prop_assert_eq!(done.unwrap().0, port);
                    }
                }
                Step::Virq(which, virq, vcpu) => {
                    let which = usize::from(which);
                    let taken = naive[which].ports.values().any(|port| port.bound == Bound::Virq(virq) && (virq > 1 || port.vcpu == vcpu));
                    let expected = if virq > 1 && vcpu != 0 {
                        Err(Errno::EINVAL)
                    } else if vcpu > 3 {
                        Err(Errno::ENOENT)
                    } else if taken {
                        Err(Errno::EEXIST)
                    } else {
                        Ok(naive[which].add(Bound::Virq(virq), vcpu))
                    };
                    prop_assert_eq!(domains[which].bind_virq(virq, vcpu), expected);
                }
                Step::Ipi(which, vcpu) => {
                    let which = usize::from(which);
                    let expected = if vcpu > 3 { Err(Errno::ENOENT) } else { Ok(naive[which].add(Bound::Ipi, vcpu)) };
                    prop_assert_eq!(domains[which].bind_ipi(vcpu), expected);
                }
                Step::Close(which, port) => {
                    let which = usize::from(which);
                    let expected = match naive[which].ports.remove(&port) {
                        None => Err(Errno::EINVAL),
                        Some(Naive { bound: Bound::Interdomain(domain, remote), .. }) => Ok(Some((domain, remote))),
                        Some(_) => Ok(None),
                    };
                    if expected.is_ok() {
                        naive[which].pending.remove(&port);
                    }
                    let done = domains[which].close(port, User::Guest, &info[which]);
                    prop_assert_eq!(done, expected);
                    if let Ok(Some((domain, remote))) = done {
                        domains[usize::from(domain)].disconnect(remote, which as u16, port);
                        naive[usize::from(domain)].ports.get_mut(&remote).unwrap().bound = Bound::Unbound(which as u16);
                    }
                }
                Step::Send(which, port) => {
                    let which = usize::from(which);
                    let expected = match naive[which].ports.get(&port).map(|port| port.bound) {
                        Some(Bound::Unbound(_)) => Ok(Sent::Nowhere),
                        Some(Bound::Interdomain(domain, remote)) => Ok(Sent::There(domain, remote)),
                        Some(Bound::Ipi) => Ok(Sent::Here(port)),
                        _ => Err(Errno::EINVAL),
                    };
                    let done = domains[which].send(port);
                    prop_assert_eq!(done, expected);
                    let (domain, at, raised) = match done {
                        Ok(Sent::Here(port)) => (which, port, domains[which].raise(port, &info[which])),
                        Ok(Sent::There(domain, remote)) => {
                            let domain = usize::from(domain);
                            match domains[domain].receive(remote, which as u16, port, &info[domain]) {
                                Some(Received::Raised(raised)) => (domain, remote, raised),
                                other => panic!("connected, but {other:?}"),
                            }
                        }
                        _ => continue,
                    };
                    let was = naive[domain].pending.insert(at, true).unwrap_or(false);
                    prop_assert_eq!(raised.new, !was);
                    prop_assert_eq!(raised.vcpu as u32, naive[domain].ports[&at].vcpu);
                }
                Step::Move(which, port, vcpu) => {
                    let which = usize::from(which);
                    let movable = match naive[which].ports.get(&port).map(|port| port.bound) {
                        Some(Bound::Unbound(_) | Bound::Interdomain(..)) => true,
                        Some(Bound::Virq(virq)) => virq > 1,
                        _ => false,
                    };
                    let expected = if vcpu > 3 { Err(Errno::ENOENT) } else if movable { Ok(()) } else { Err(Errno::EINVAL) };
                    prop_assert_eq!(domains[which].bind_vcpu(port, vcpu), expected);
                    if expected.is_ok() {
                        naive[which].ports.get_mut(&port).unwrap().vcpu = vcpu;
                    }
                }
                Step::Unmask(which, port) => {
                    let which = usize::from(which);
                    domains[which].unmask(port, &info[which]).unwrap();
                    naive[which].masked.insert(port, false);
                }
                Step::Mask(which, port) => {
                    let which = usize::from(which);
                    info[which].mask[0].fetch_or(1 << port, SeqCst);
                    naive[which].masked.insert(port, true);
                }
                Step::Serve(which) => {
                    // Every port that is pending and not masked is found by way of some vCPU's selector.
                    let which = usize::from(which);
                    let selected = info[which].select.iter().map(|word| word.swap(0, SeqCst)).fold(0, |all, word| all | word);
                    let due = info[which].pending[0].load(SeqCst) & !info[which].mask[0].load(SeqCst);
                    prop_assert!(due == 0 || selected & 1 != 0, "an event is lost: {:b}", due);
                    for port in (0..64).filter(|port| due >> port & 1 != 0) {
                        info[which].pending[0].fetch_and(!(1 << port), SeqCst);
                        prop_assert_eq!(naive[which].pending.insert(port, false), Some(true));
                        prop_assert!(!naive[which].masked.get(&port).copied().unwrap_or(false));
                    }
                }
            }
            for which in 0..2 {
                for port in 1..64 {
                    let expected = naive[which].ports.get(&port).map_or((Bound::Free, 0), |port| (port.bound, port.vcpu as usize));
                    prop_assert_eq!(domains[which].get(port), Some(expected));
                    let pending = naive[which].pending.get(&port).copied().unwrap_or(false);
                    let polled = if expected.0 == Bound::Free { Err(Errno::EINVAL) } else { Ok(pending) };
                    prop_assert_eq!(domains[which].is_pending(port, &info[which]), polled);
                }
            }
        }
    }

    /// Events through queues: raised, masked, moved between vCPUs and priorities, taken by a guest at any moment. None is lost, none
    /// comes twice, and those of one queue come in their order.
    #[test]
    fn queues_lose_nothing(steps in proptest::collection::vec((0..8_u8, 1..10_u32, 0..4_u32), 1..200)) {
        let mut domain = ports();
        let info = Info::new();
        let controls: Vec<_> = (0..4).map(|_| Shareable::new(0)).collect();
        for (vcpu, control) in controls.iter().enumerate() {
            domain.init_control(vcpu as u32, control.clone(), 0, &info).unwrap();
        }
        let array = Shareable::new(0);
        domain.expand_array(array.clone(), |_| ()).unwrap();
        for _ in 1..10 {
            domain.alloc_unbound(0, User::Guest, 0).unwrap();
        }
        let mut consumers: Vec<_> = (0..4).map(|_| Consumer::default()).collect();
        let mut told = [false; 4];
        let raised_count = Cell::new(0_u32);
        let mut handled = 0;
        let note = |raised: Raised, told: &mut [bool; 4]| {
            raised_count.set(raised_count.get() + u32::from(raised.new));
            told[raised.vcpu] |= raised.upcall;
        };
        let serve = |vcpu: usize, consumers: &mut Vec<Consumer>, handled: &mut u32| {
            consumers[vcpu].serve(&controls[vcpu].0[..18], |port| port as usize, &array.0, |port| {
                array.0[port as usize].fetch_and(!PENDING, SeqCst);
                *handled += 1;
            });
        };
        for (what, port, argument) in steps {
            match what {
                0..=2 => note(domain.raise(port, &info), &mut told),
                3 => { array.0[port as usize].fetch_or(MASKED, SeqCst); }
                4 => note(domain.unmask(port, &info).unwrap(), &mut told),
                5 => domain.bind_vcpu(port, argument).unwrap(),
                6 => domain.set_priority(port, argument * 5).unwrap(),
                _ => {
                    let vcpu = argument as usize;
                    if std::mem::take(&mut told[vcpu]) {
                        serve(vcpu, &mut consumers, &mut handled);
                    }
                }
            }
        }
        for port in 1..10 {
            note(domain.unmask(port, &info).unwrap(), &mut told);
        }
        for (vcpu, told) in told.into_iter().enumerate() {
            if told {
                serve(vcpu, &mut consumers, &mut handled);
            }
        }
        for port in 1..10 {
            let word = array.0[port as usize].load(SeqCst);
            prop_assert_eq!(word & (PENDING | LINKED | BUSY | LINK), 0, "port {} is left behind: {:#x}", port, word);
        }
        prop_assert_eq!(handled, raised_count.get());
    }

    /// A guest that writes anything into its pages harms itself alone.
    #[test]
    fn a_guest_may_write_anything(writes in proptest::collection::vec((0..2_u8, 0..40_usize, any::<u32>(), 1..10_u32), 1..200)) {
        let mut domain = ports();
        let info = Info::new();
        let (control, array) = (Shareable::new(0), Shareable::new(0));
        domain.init_control(0, control.clone(), 0, &info).unwrap();
        domain.expand_array(array.clone(), |_| ()).unwrap();
        for _ in 1..10 {
            domain.alloc_unbound(0, User::Guest, 0).unwrap();
        }
        for (page, word, value, port) in writes {
            [&control, &array][usize::from(page)].0[word].store(value, SeqCst);
            domain.raise(port, &info);
            domain.unmask(port, &info).unwrap();
            domain.close(port, User::Guest, &info).unwrap();
            prop_assert!(domain.alloc_unbound(0, User::Guest, 0).is_ok());
            while domain.get(port).unwrap().0 == Bound::Free {
                array.0[port as usize].store(0, SeqCst);
                domain.alloc_unbound(0, User::Guest, 0).unwrap();
            }
        }
    }
}
