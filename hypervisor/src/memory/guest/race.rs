//! The door raced against those who change what it leads to: frames come, go, and belong to others the moment after.
//!
//! A word says whose memory it was written into. Whatever a copy finds on its way, it reads nothing that is another's, it writes nothing
//! into what is another's, and it leaves no reference.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use proptest::prelude::*;

use super::*;
use crate::arch::{Lock, hesitate_every, translate_by};
use crate::domain::{self, Domain, fixture};
use crate::memory::frames::State;

const OWN: u16 = 81;
const OTHER: u16 = 82;
/// Where the frames come and go: where the fake machine has no memory, so that pointers are looked up in the tables.
const WINDOW: u64 = 0x80_0000;

/// Returns a word of a domain's memory: whose, and half of it says what the other half is.
fn word(owner: u16, value: u16) -> u64 {
    u64::from(owner) << 48 | u64::from(value) << 32 | u64::from(!owner) << 16 | u64::from(!value)
}

/// Whether a word was written by its owner, and is not made of two.
fn is_whole(word: u64, owner: u16) -> bool {
    self::word(owner, (word >> 32) as u16) == word
}

#[repr(align(8))]
struct Words([u8; 64]);

impl Words {
    fn of(owner: u16, value: u16) -> Words {
        let mut words = Words([0; 64]);
        words.0.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&word(owner, value).to_le_bytes()));
        words
    }
}

fn stamp(frame: Mfn, owner: u16) {
    let page: Vec<u8> = (0..512).flat_map(|index| word(owner, index).to_le_bytes()).collect();
    frames::fill(frame.address(), &page);
}

/// Numbers that are the same in every run of a case, though what they meet is not.
struct Steps(u64);

impl Steps {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

/// Two vCPUs copy, two others change the tables as the balloon does, and what is free is used by another domain and the hypervisor.
struct Race {
    domain: Arc<Domain>,
    pages: u64,
    /// Another domain's frame, which is mapped now and then.
    foreign: Mfn,
    used: Lock<Vec<Mfn>>,
    over: AtomicBool,
    copies: AtomicU64,
    faults: AtomicU64,
}

impl Race {
    fn copy(&self, mut steps: Steps) {
        hesitate_every(2);
        let (domain, doubts) = (self.domain.clone(), Cell::new(0u32));
        translate_by(move |address, write| {
            let found = domain.p2m.lock().get(Gfn::of(address));
            doubts.set(doubts.get() + 1);
            // Whatever happens now, the CPU keeps what it has found; or it was in the middle of a change, and the tables are asked.
            (0..doubts.get() % 4).for_each(|_| std::thread::yield_now());
            let (frame, kind) = found.filter(|_| !doubts.get().is_multiple_of(5))?;
            (!write || kind != Kind::MemoryReadOnly).then(|| frame.address() + address % PAGE_SIZE)
        });
        while !self.over.load(Relaxed) {
            let address = WINDOW * 4096 + steps.below(self.pages * 512) * 8;
            let count = 8 * (1 + steps.below(8)) as usize;
            let done = if steps.below(2) == 0 {
                write(OWN, address, &Words::of(OWN, steps.below(1 << 16) as u16).0[..count])
            } else {
                let mut words = Words([0; 64]);
                let done = read(OWN, address, &mut words.0[..count]);
                for chunk in words.0[..count].chunks_exact(8).filter(|_| done.is_ok()) {
                    let word = u64::from_le_bytes(chunk.try_into().unwrap());
                    // What is the domain's since a moment ago is clear.
                    assert!(word == 0 || is_whole(word, OWN), "{word:#x} was read at {address:#x}");
                }
                done
            };
            let counter = if done.is_ok() { &self.copies } else { &self.faults };
            counter.fetch_add(1, Relaxed);
            std::thread::yield_now();
        }
    }

    fn remap(&self, mut steps: Steps, times: u64) {
        for _ in 0..times {
            let gfn = Gfn(WINDOW + steps.below(self.pages));
            let kind = steps.below(5);
            let new = (kind < 3).then(|| frames::allocate_as(0, OWN, State::Domain).expect("memory"));
            new.iter().for_each(|&frame| stamp(frame, OWN));
            let mut p2m = self.domain.p2m.lock();
            let old = p2m.get(gfn);
            match new {
                Some(frame) => {
                    self.used.lock().push(frame);
                    p2m.set(gfn, frame, 1, if kind == 2 { Kind::MemoryReadOnly } else { Kind::Memory })
                }
                None if kind == 3 => p2m.set(gfn, self.foreign, 1, Kind::Foreign),
                None => p2m.clear(gfn, 1),
            }
            .expect("memory");
            drop(p2m);
            old.filter(|(_, kind)| kind.is_memory()).into_iter().for_each(|(frame, _)| frames::put(frame));
            std::thread::yield_now();
        }
    }

    /// Takes frames that others gave back, fills them, and looks whether anybody else wrote there.
    fn use_what_is_free(&self) {
        while !self.over.load(Relaxed) {
            let (theirs, ours) =
                (frames::allocate_as(0, OTHER, State::Domain).expect("memory"), frames::allocate(0).expect("memory"));
            for frame in [theirs, ours] {
                stamp(frame, OTHER);
            }
            std::thread::yield_now();
            for frame in [theirs, ours] {
                let is_stamped = (0..512).all(|index| frames::read_entry(frame, index) == word(OTHER, index as u16));
                assert!(is_stamped, "somebody wrote to frame {:#x}", frame.0);
            }
            frames::put(theirs);
            frames::free(ours, 0);
        }
    }

    fn run(&self, seed: u64, times: u64) {
        std::thread::scope(|scope| {
            let steps = |number: u64| Steps(seed.wrapping_mul(2 * number + 1) | 1);
            let remappers = [1, 2].map(|number| scope.spawn(move || self.remap(steps(number), times)));
            for number in [3, 4] {
                scope.spawn(move || self.copy(steps(number)));
            }
            scope.spawn(|| self.use_what_is_free());
            let results = remappers.map(|remapper| remapper.join());
            self.over.store(true, Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn copies_meet_no_one_elses_memory(seed in 1u64.., pages in 1u64..6) {
        // One race at a time: the domain has a number.
        static ALONE: Lock<()> = Lock::new(());
        let _alone = ALONE.lock();
        let (domain, first) = fixture::domain(OWN, false);
        domain::replace(OWN, Some(domain.clone()));
        let foreign = frames::allocate_as(0, OTHER, State::Domain).unwrap();
        stamp(foreign, OTHER);
        let [copies, faults] = [0, 0].map(AtomicU64::new);
        let race =
            Race { domain, pages, foreign, used: Lock::new(Vec::new()), over: AtomicBool::new(false), copies, faults };
        race.run(seed, 400);
        domain::replace(OWN, None);
        let mut p2m = race.domain.p2m.lock();
        let left: Vec<_> = (0..pages).filter_map(|page| p2m.get(Gfn(WINDOW + page))).collect();
        left.into_iter().filter(|(_, kind)| kind.is_memory()).for_each(|(frame, _)| frames::put(frame));
        p2m.clear(Gfn(WINDOW), pages).unwrap();
        drop(p2m);
        let used = race.used.lock();
        prop_assert!(used.iter().all(|&frame| frames::owner_of(frame).is_none_or(|(owner, _)| owner != OWN)));
        prop_assert!(race.copies.load(Relaxed) > 0 && race.faults.load(Relaxed) > 0, "it was no race");
        frames::put(foreign);
        (0..16).for_each(|page| frames::put(Mfn(first / PAGE_SIZE + page)));
    }
}
