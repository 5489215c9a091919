//! The hypervisor's own tables, made by the code that makes them on the machine, recorded and walked.

use alloc::vec::Vec;
use proptest::prelude::*;

use super::events::{record, step};
use super::{Event, Place, rules, take_record};
use crate::arch::mapping::{self, TABLE_OR_PAGE, Tables, VALID};
use crate::arch::sequences::{stage1_sequences, use_tables};

stage1_sequences!(step);

const ROOT: u64 = 0x1000_0000;
const ATTRIBUTES: u64 = 1 << 10 | VALID;

struct Own(Vec<[u64; 512]>);

impl Tables for Own {
    fn read(&self, table: usize, index: usize) -> u64 {
        self.0[table][index]
    }

    fn write(&mut self, table: usize, index: usize, value: u64) {
        let address = ROOT + (table * 512 + index) as u64 * 8;
        record(Event::Descriptor(Place { address, ..Place::default() }, self.0[table][index], value));
        self.0[table][index] = value;
    }

    fn add(&mut self) -> usize {
        self.0.push([0; 512]);
        self.0.len() - 1
    }

    fn physical(&self) -> u64 {
        ROOT
    }

    fn order(&self) {
        order();
    }

    fn publish(&self) {
        publish();
    }
}

impl Own {
    /// Walks as the MMU does.
    fn walk(&self, address: u64) -> Option<u64> {
        let mut table = 0;
        for level in 0..4 {
            let span = 1u64 << (39 - 9 * level);
            let entry = self.0[table][(address / span % 512) as usize];
            let next = entry & 0xffff_ffff_f000;
            match entry & 3 {
                3 if level < 3 => table = ((next - ROOT) / 4096) as usize,
                3 => return Some(next + address % span),
                1 if (1..3).contains(&level) => return Some(next + address % span),
                _ => return None,
            }
        }
        None
    }
}

fn go_over() {
    macro_rules! run {
        ($($line:tt),*) => { $(step!($line);)* };
    }
    use_tables!(run);
}

fn judge(record: &[Event]) -> Result<(), rules::Broken> {
    rules::judge(record, |_| false)
}

#[test]
fn every_step_is_needed() {
    take_record();
    let mut own = Own([[0; 512]].into());
    mapping::map(&mut own, 0x40_0000_1000, 0x8000_1000, 0x3000, ATTRIBUTES);
    let mapped = take_record();
    go_over();
    let gone_over = take_record();
    for record in [mapped, gone_over] {
        assert_eq!(judge(&record), Ok(()));
        for index in (0..record.len()).filter(|&index| !matches!(record[index], Event::Descriptor(..))) {
            // The registers are what is asked for.
            let is_needed = match record[index] {
                Event::Ttbr0 | Event::Sctlr => false,
                Event::Isb => index + 1 == record.len() || record[index - 1] == Event::Ttbr0,
                _ => true,
            };
            let without = [&record[..index], &record[index + 1..]].concat();
            assert_eq!(judge(&without).is_err(), is_needed, "{:?} at {index} of {record:?}", record[index]);
        }
    }
}

#[test]
#[should_panic = "is mapped already"]
fn what_is_mapped_stays() {
    let mut own = Own([[0; 512]].into());
    mapping::map(&mut own, 0x20_0000, 0x20_0000, 0x20_0000, ATTRIBUTES);
    mapping::map(&mut own, 0x20_1000, 0x1000, 0x1000, ATTRIBUTES);
}

proptest! {
    /// Pieces of all sizes, at the same distance from what they mean or at another one.
    #[test]
    fn what_is_mapped_is_found(
        pieces in proptest::collection::vec((0u64..2000, 1u64..2000, 0u64..3000), 1..6),
        probe in 0u64..4000,
    ) {
        take_record();
        let mut own = Own([[0; 512]].into());
        let mut at = 0;
        let mut naive = Vec::new();
        for (gap, count, target) in pieces {
            let (start, physical) = ((at + gap) * 4096, target * 4096);
            mapping::map(&mut own, start, physical, count * 4096, ATTRIBUTES);
            prop_assert_eq!(judge(&take_record()), Ok(()));
            naive.push((start, count * 4096, physical));
            at += gap + count;
        }
        let edges = naive.iter().flat_map(|&(start, size, _)| [start, start + size / 2, start + size - 1, start + size]);
        for address in edges.chain([probe * 4096 + 7]) {
            let expected = naive
                .iter()
                .find(|&&(start, size, _)| (start..start + size).contains(&address))
                .map(|&(start, _, physical)| physical + address - start);
            prop_assert_eq!(own.walk(address), expected);
        }
        prop_assert!(own.0[0].iter().all(|entry| entry & (VALID | TABLE_OR_PAGE) != VALID), "there are no blocks of 512 GiB");
    }
}
