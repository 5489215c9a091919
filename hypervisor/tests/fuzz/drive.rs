//! Runs a target over its corpus and over what becomes of it by chance: the same on any machine, as far as time allows.
//!
//! An input that reaches what none before it reached joins the corpus of the run, so that chance goes on from there.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::verdict::{Reached, Seeded, Verdict};

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8], Seeded) -> Verdict,
    /// Inputs are not made longer than this.
    pub longest: usize,
}

/// One input may not take longer than this: a loop that a few bytes make long is a fault.
const PATIENCE: Duration = Duration::from_secs(5);

/// An input that breaks a rule, and the rule.
#[derive(Debug)]
pub struct Broken {
    /// How many inputs were tried before.
    pub after: usize,
    /// The input.
    pub input: Vec<u8>,
    /// The rule, or the panic.
    pub rule: String,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Inputs of the corpus.
    pub seeds: usize,
    /// Inputs tried.
    pub tried: usize,
    /// What was reached, by whichever input.
    pub reached: Reached,
    /// What the corpus reached alone.
    pub by_corpus: usize,
    /// Inputs that reached something new.
    pub found: Vec<Vec<u8>>,
    /// The first that broke a rule.
    pub broken: Option<Broken>,
}

impl Outcome {
    /// Complains about a broken rule, with the input.
    pub fn must_hold(&self, name: &str) {
        if let Some(broken) = &self.broken {
            let hex: String = broken.input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{name}: input {} broke a rule: {}\n{hex}", broken.after, broken.rule);
        }
    }
}

/// Numbers by chance, always the same ones (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// Returns bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

impl Target {
    fn folder(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(self.name)
    }

    /// Returns the committed inputs, in the order of their names.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let folder = self.folder();
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Writes an input into the corpus.
    pub fn keep(&self, name: &str, input: &[u8]) {
        fs::create_dir_all(self.folder()).unwrap();
        fs::write(self.folder().join(name), input).unwrap();
    }

    /// Tries one input. A panic is a rule broken, as is impatience.
    pub fn try_one(&self, input: &[u8], seeded: Seeded) -> Verdict {
        let start = Instant::now();
        let verdict = catch_unwind(AssertUnwindSafe(|| (self.run)(input, seeded)));
        let verdict = verdict.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("of another kind")))
        });
        let took = start.elapsed();
        if took > PATIENCE { Err(format!("it took {took:?}")) } else { verdict }
    }

    /// Adds inputs that chance finds, at most so many: those first that reach most of what is not reached yet.
    pub fn grow(&self, most: usize, time: Duration) {
        let outcome = self.drive(self.corpus(), Seeded::Nothing, usize::MAX >> 1, time);
        say(self.name, &outcome);
        outcome.must_hold(self.name);
        let reach = |input: &Vec<u8>| self.try_one(input, Seeded::Nothing).unwrap_or_default().0;
        let mut known: HashSet<_> = self.corpus().iter().flat_map(reach).collect();
        let mut found: Vec<_> = outcome.found.iter().map(|input| (reach(input), input)).collect();
        for index in 0..most {
            let new = |reached: &HashSet<_>| reached.difference(&known).count();
            let Some(best) = (0..found.len()).max_by_key(|&index| new(&found[index].0)) else { break };
            let (reached, input) = found.swap_remove(best);
            if new(&reached) == 0 {
                break;
            }
            self.keep(&format!("found-{index:03}"), input);
            known.extend(reached);
        }
    }

    /// Tries the corpus, and `count` more inputs or as many as there is time for. Stops at the first that breaks a rule.
    pub fn drive(&self, mut corpus: Vec<Vec<u8>>, seeded: Seeded, count: usize, time: Duration) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome { seeds: corpus.len(), ..Outcome::default() };
        let mut chance = Chance(0x5eed ^ self.name.len() as u64);
        let seeds = corpus.len();
        assert!(seeds > 0, "{}: no corpus", self.name);
        let mut seen: HashSet<(&'static str, u64)> = HashSet::new();
        for index in 0..seeds.saturating_add(count) {
            if index >= seeds && start.elapsed() > time {
                break;
            }
            let input = match corpus.get(index).filter(|_| index < seeds) {
                Some(seed) => seed.clone(),
                None => self.mutate(&corpus, &mut chance),
            };
            outcome.tried += 1;
            match self.try_one(&input, seeded) {
                Ok(reached) => {
                    let before = seen.len();
                    seen.extend(reached.0);
                    if seen.len() > before {
                        outcome.found.push(input.clone());
                        if index >= seeds {
                            corpus.push(input);
                        }
                    }
                }
                Err(rule) => {
                    outcome.broken = Some(Broken { after: index, input, rule });
                    break;
                }
            }
            if index + 1 == seeds {
                outcome.by_corpus = seen.len();
            }
        }
        outcome.reached = Reached(seen);
        outcome
    }

    /// Returns one of the inputs, changed in a few places.
    fn mutate(&self, corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
        let mut input = corpus.get(chance.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..1 << chance.below(4) {
            change(&mut input, corpus, chance);
        }
        input.truncate(self.longest);
        input
    }
}

/// Numbers at which things change.
const EDGES: [u64; 16] = [
    0,
    1,
    7,
    8,
    0x1f,
    0x20,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Changes one place.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len());
    let size = 1u32 << chance.below(4);
    match chance.below(9) {
        0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
        1 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = chance.next() as u8),
        // A number of some size, in either order of bytes.
        2 | 3 => {
            let edge = EDGES[chance.below(EDGES.len())];
            let bytes =
                if chance.below(2) == 0 { edge.to_le_bytes() } else { edge.rotate_right(8 * size).to_be_bytes() };
            let at = if chance.below(2) == 0 { at } else { at & !3 };
            input.iter_mut().skip(at).zip(&bytes[..size as usize]).for_each(|(to, from)| *to = *from);
        }
        4 => input
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte = byte.wrapping_add(chance.below(33) as u8).wrapping_sub(16)),
        // Pieces go, come twice, or come from another input.
        5 => drop(input.drain(at..(at + 1 + chance.below(24)).min(input.len()))),
        6 => {
            let piece: Vec<u8> = input.iter().skip(at).take(1 + chance.below(48)).copied().collect();
            let to = chance.below(input.len() + 1).min(input.len());
            input.splice(to..to, piece);
        }
        7 => {
            let other = &corpus[chance.below(corpus.len())];
            let from = chance.below(other.len());
            let piece: Vec<u8> = other.iter().skip(from).take(1 + chance.below(96)).copied().collect();
            let end = if chance.below(2) == 0 { at } else { (at + piece.len()).min(input.len()) };
            input.splice(at.min(input.len())..end, piece);
        }
        _ => input.extend((0..1 + chance.below(16)).map(|_| chance.next() as u8)),
    }
}

/// Says what a run reached, where a test's output does not hide it.
pub fn say(name: &str, outcome: &Outcome) {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for (kind, _) in &outcome.reached.0 {
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.sort_unstable();
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let all = outcome.reached.0.len();
    let line = format!(
        "fuzz {name}: {} inputs and {} mutations reached {all} outcomes ({} by the corpus): {}\n",
        outcome.seeds,
        outcome.tried.saturating_sub(outcome.seeds),
        outcome.by_corpus,
        list.join(", "),
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}
