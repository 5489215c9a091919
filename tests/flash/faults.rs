//! What becomes of an image on a card that fails: it is written all the same, or the error says what is wrong and the
//! card does not look as if it were whole.

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use xenbuild::error::{Error, Kind, Result};
use xenbuild::flash::image::{Image, MapChoice};
use xenbuild::flash::onto;
use xenbuild::flash::write::Report;
use xenbuild::run::event::{Event, Outcome, Recorder};

use super::cards::{Act, Card, Fault, OLD};
use super::images::{KIB, MIB, Sample, sample, usual};

fn flash(image: &Image, card: &Card) -> Result<Report> {
    onto(image, card, &card.cancel, &Recorder::default())
}

/// Flashes the usual image onto a card of 16 MiB with faults, in every form of the image.
fn with_faults(faults: &[Fault], check: impl Fn(Result<Report>, &Card, &Sample)) {
    for sample in [usual(), usual().with_map(), usual().gzip(), usual().with_map().gzip()] {
        let card = Card::new(16 * MIB, faults);
        check(flash(&sample.open(), &card), &card, &sample);
        let card = Card::new(16 * MIB, faults).that_cannot_clear().with_sectors(4096);
        check(flash(&sample.open(), &card), &card, &sample);
    }
}

/// Checks that content is on the card, whatever lies between.
fn holds(card: &Card, sample: &Sample) {
    let bytes = card.bytes();
    for (offset, length) in &sample.pieces {
        let range = *offset as usize..(offset + length) as usize;
        assert!(bytes[range.clone()] == sample.bytes[range], "at {offset}");
    }
}

/// Checks that an error is of this kind, says this, and that the card shows that it is not whole.
fn fails(result: Result<Report>, card: &Card, kind: Kind, text: &str) -> Error {
    let error = result.expect_err(text);
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(card.has_no_head(), "{error}");
    let state = error.hints.iter().chain([&error.message]).any(|line| line.contains("unusable"));
    assert!(state, "{error}: {:?}", error.hints);
    error
}

#[test]
fn an_image_arrives_whole_and_its_head_last() {
    with_faults(&[], |result, card, sample| {
        let report = result.unwrap();
        assert_eq!(report.repeated, 0);
        holds(card, sample);
        let writes: Vec<(u64, bool)> = (card.acts().iter())
            .filter_map(|act| match act {
                Act::Write { offset, zeros, .. } => Some((*offset, *zeros)),
                _ => None,
            })
            .collect();
        assert_eq!(writes[0], (0, true), "the head is cleared first");
        // A mark is left at its end, and taken away.
        assert!(matches!(writes[1..3], [(_, false), (_, true)]) && writes[1].0 == writes[2].0 && writes[1].0 < MIB);
        assert_eq!(writes.last(), Some(&(0, false)), "and written last");
        assert_eq!(writes.iter().filter(|(offset, _)| *offset == 0).count(), 2);
        // Everything else has been flushed and read back before.
        let acts = card.acts();
        let last = acts.iter().rposition(|act| matches!(act, Act::Write { .. })).unwrap();
        assert!(matches!(acts[last - 1], Act::Read { .. }), "{:?}", acts[last - 1]);
        assert_eq!(acts[last + 1], Act::Flush);
        assert!(matches!(acts[last + 2], Act::Read { offset: 0, .. }));
    });
}

#[test]
fn what_is_not_mapped_is_not_written() {
    let sample = usual().with_map();
    let card = Card::new(16 * MIB, &[]);
    let report = flash(&sample.open(), &card).unwrap();
    assert_eq!((report.written_bytes, report.cleared_bytes), (40 * KIB + 3 * MIB + 4096, 0));
    let bytes = card.bytes();
    assert!(bytes[MIB as usize..2 * MIB as usize].iter().all(|byte| *byte == OLD));
    assert!(bytes[5 * MIB as usize..10 * MIB as usize - 4096].iter().all(|byte| *byte == OLD));
    assert!(bytes[10 * MIB as usize..].iter().all(|byte| *byte == OLD));
}

#[test]
fn holes_read_as_zeros_unless_they_are_left() {
    let sample = usual();
    for (leave, clears) in [(false, true), (false, false), (true, true)] {
        let card = Card::new(16 * MIB, &[]);
        let card = if clears { card } else { card.that_cannot_clear() };
        let image = Image::open(&sample.path, &MapChoice::Beside, leave).unwrap();
        let report = flash(&image, &card).unwrap();
        holds(&card, &sample);
        let same = card.bytes()[..10 * MIB as usize] == sample.bytes[..];
        assert_eq!((same, report.cleared_bytes > 0), (!leave, !leave));
        assert_eq!(report.written_bytes, 40 * KIB + 3 * MIB + 4096);
    }
}

#[test]
fn zeros_that_are_there_already_are_not_written_again() {
    let sample = usual();
    let card = Card::new(16 * MIB, &[]).that_cannot_clear();
    flash(&sample.open(), &card).unwrap();
    let before = card.acts().len();
    flash(&sample.open(), &card).unwrap();
    let zeros = card.acts()[before..].iter().filter(|act| matches!(act, Act::Write { zeros: true, .. })).count();
    assert_eq!(zeros, 2, "only the head is cleared, and a mark in it");
}

#[test]
fn an_old_backup_table_goes() {
    let sample = usual();
    let card = Card::new(16 * MIB, &[]);
    use xenbuild::flash::target::Target;
    let mut aligned = xenbuild::flash::chunk::Buffer::new();
    aligned.bytes_mut()[..8].copy_from_slice(b"EFI PART");
    card.write_at(&aligned.bytes()[..512], 16 * MIB - 512).unwrap();
    flash(&sample.open(), &card).unwrap();
    assert_eq!(card.bytes()[16 * MIB as usize - 512..], [0; 512]);
    assert_eq!(card.bytes()[16 * MIB as usize - 513], OLD);
}

#[test]
fn passing_faults_are_overcome() {
    let cases: [&[Fault]; 6] = [
        &[Fault::Write { at: 3 * MIB, times: 2 }],
        &[Fault::Read { at: 4 * MIB + 5, times: 2 }],
        &[Fault::Corrupt { at: 2 * MIB + 77, times: 1 }],
        &[Fault::Corrupt { at: 2 * MIB + 77, times: 2 }, Fault::Corrupt { at: 10 * MIB - 9, times: 1 }],
        // The head, when it is cleared and when it is written.
        &[Fault::Write { at: 0, times: 1 }, Fault::Corrupt { at: 100, times: 3 }],
        &[Fault::Slow { bytes: 64 << 10 }],
    ];
    for faults in cases {
        with_faults(faults, |result, card, sample| {
            let report = result.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
            let again = faults.iter().any(|fault| matches!(fault, Fault::Corrupt { .. } | Fault::Read { .. }));
            assert_eq!(report.repeated > 0, again, "{faults:?}");
            holds(card, sample);
        });
    }
}

#[test]
fn a_card_that_fails_at_a_block_names_it() {
    let at = 3 * MIB + 5 * 4096 + 17;
    let faults = [Fault::Write { at, times: usize::MAX }];
    with_faults(&faults, |result, card, _| {
        let block = 3 * MIB + 5 * 4096;
        fails(result, card, Kind::Device, &format!("card failed while writing byte {block} (sector "));
    });
}

#[test]
fn a_card_that_does_not_keep_what_is_written_is_found_out() {
    with_faults(&[Fault::Corrupt { at: 4 * MIB, times: usize::MAX }], |result, card, _| {
        fails(result, card, Kind::Compare, "does not keep what is written: byte 4194304 reads back differently");
    });
    with_faults(&[Fault::Read { at: 4 * MIB, times: usize::MAX }], |result, card, _| {
        fails(result, card, Kind::Compare, "byte 4194304 cannot be read back: ");
    });
    // The head itself, which is cleared again.
    with_faults(&[Fault::Corrupt { at: 8000, times: usize::MAX }], |result, card, _| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, Kind::Compare, "{error}");
        assert_eq!(card.bytes()[..4096], [0; 4096]);
    });
}

#[test]
fn a_card_that_shrinks_or_vanishes_is_told() {
    with_faults(&[Fault::Shrink { after: 2, to: 3 * MIB }], |result, card, _| {
        fails(result, card, Kind::Device, "card has shrunk: it had 16.0 MiB");
    });
    with_faults(&[Fault::Vanish { after: 2 }], |result, card, _| {
        fails(result, card, Kind::Device, "card has gone: it vanished while ");
    });
    // While the head is cleared; and while everything is read back.
    with_faults(&[Fault::Vanish { after: 0 }], |result, _, _| {
        assert_eq!(result.unwrap_err().kind, Kind::Device);
    });
    with_faults(&[Fault::Flush], |result, card, _| {
        fails(result, card, Kind::Device, "card failed to keep what was written");
    });
}

#[test]
fn a_card_that_lies_about_its_size_is_found_out() {
    with_faults(&[Fault::Wrap { real: 8 * MIB }], |result, card, _| {
        fails(result, card, Kind::Compare, "card lies about its size: what was written at byte 104");
    });
    with_faults(&[Fault::Short { real: 8 * MIB }], |result, card, _| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, Kind::Device, "{error}");
        assert!(error.to_string().contains("although it says that it has 16777216"), "{error}");
        // Found out before anything was written.
        assert!(error.hints.iter().all(|hint| !hint.contains("unusable")), "{:?}", error.hints);
        assert!(card.bytes().iter().all(|byte| *byte == OLD));
    });
    with_faults(&[Fault::NoRoom { real: 8 * MIB }], |result, card, _| {
        fails(result, card, Kind::Device, "card ends at byte ");
    });
    with_faults(&[Fault::Hollow { real: 8 * MIB }], |result, card, _| {
        fails(result, card, Kind::Compare, "does not keep what is written");
    });
}

#[test]
fn what_wraps_around_is_named() {
    // The piece at 9 MiB lands on the one at 2 MiB, and both are of one length.
    let sample = sample(12 * MIB, &[(0, 4096), (2 * MIB, 64 * KIB), (9 * MIB, 64 * KIB)]).with_map();
    let card = Card::new(16 * MIB, &[Fault::Wrap { real: 7 * MIB }]);
    let text = "card lies about its size: what was written at byte 9437184 is found at byte 2097152";
    fails(flash(&sample.open(), &card), &card, Kind::Compare, text);
}

#[test]
fn an_interruption_before_the_first_write_changes_nothing() {
    let card = Card::new(16 * MIB, &[]);
    card.cancel.set();
    let error = flash(&usual().open(), &card).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Interrupted, "interrupted"));
    assert_eq!(card.acts(), []);
}

#[test]
fn an_interruption_leaves_no_head() {
    for after in [0, 1, 2, 3] {
        with_faults(&[Fault::Cancel { after }], |result, card, _| {
            fails(result, card, Kind::Interrupted, "interrupted: card is unusable as it is");
        });
    }
}

#[test]
fn a_truncated_or_corrupt_image_leaves_no_head() {
    // Compressed, and cut: told before anything is written where the head is cut, else on the way.
    let sample = usual().with_partition(2048, 16384).gzip();
    let whole = std::fs::read(&sample.path).unwrap();
    std::fs::write(&sample.path, &whole[..whole.len() - 20]).unwrap();
    let card = Card::new(16 * MIB, &[]);
    fails(flash(&sample.open(), &card), &card, Kind::Input, "the gzip stream is truncated");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    std::fs::write(&sample.path, &damaged).unwrap();
    let card = Card::new(16 * MIB, &[]);
    fails(flash(&sample.open(), &card), &card, Kind::Input, "the gzip stream is corrupt");
    std::fs::write(&sample.path, &whole[..2]).unwrap();
    assert_eq!(Image::open(&sample.path, &MapChoice::Beside, false).unwrap_err().kind, Kind::Input);
    // A stream that ends well, but before its partition does.
    let short =
        super::images::sample(9 * MIB, &[(0, 40 * KIB), (4 * MIB, 5 * MIB)]).with_partition(2048, 18 * 2048).gzip();
    let card = Card::new(32 * MIB, &[]);
    fails(flash(&short.open(), &card), &card, Kind::Input, "is truncated: it ends after 9437184 bytes");
}

#[test]
fn a_plain_image_that_is_cut_is_told_before() {
    let sample = usual().with_partition(2048, 16384);
    File::options().write(true).open(&sample.path).unwrap().set_len(8 * MIB).unwrap();
    let error = Image::open(&sample.path, &MapChoice::Beside, false).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    assert!(error.message.contains("is truncated: it ends after 8388608 bytes, but speaks of 9437184"), "{error}");
    let sample = usual().with_map();
    File::options().write(true).open(&sample.path).unwrap().set_len(8 * MIB).unwrap();
    let error = Image::open(&sample.path, &MapChoice::Beside, false).unwrap_err();
    assert!(error.message.contains("is for 10485760: it is truncated"), "{error}");
}

#[test]
fn a_map_finds_a_damaged_image() {
    for gzip in [false, true] {
        let sample = usual().with_map();
        File::options().write(true).open(&sample.path).unwrap().write_all_at(b"oops", 3 * MIB).unwrap();
        let bytes = std::fs::read(&sample.path).unwrap();
        let sample = if gzip { Sample { bytes, ..sample }.gzip() } else { sample };
        let card = Card::new(16 * MIB, &[]);
        fails(flash(&sample.open(), &card), &card, Kind::Input, "bytes 2097152 to 5242880 do not match their checksum");
    }
}

#[test]
fn an_image_that_changes_meanwhile_is_told() {
    // The piece has to be written again, and by then is another.
    let sample = usual();
    let image = sample.open();
    let card = Card::new(16 * MIB, &[Fault::Corrupt { at: 3 * MIB, times: 1 }]);
    struct Changes<'a>(&'a Sample);
    impl xenbuild::run::event::Watcher for Changes<'_> {
        fn event(&self, event: Event) {
            if matches!(event, Event::Note { .. }) {
                File::options().write(true).open(&self.0.path).unwrap().write_all_at(b"new", 3 * MIB).unwrap();
            }
        }
    }
    let result = onto(&image, &card, &card.cancel, &Changes(&sample));
    fails(result, &card, Kind::Input, "was changed while it was written");
}

#[test]
fn a_compressed_image_larger_than_the_card_is_told() {
    let sample = sample(10 * MIB, &[(0, 4096), (9 * MIB, MIB)]).gzip();
    let card = Card::new(8 * MIB, &[]);
    fails(flash(&sample.open(), &card), &card, Kind::Refused, "card has 8388608 bytes, and the image is larger");
}

#[test]
fn the_last_partition_grows_whatever_the_image_is() {
    for gzip in [false, true] {
        let sample = usual().with_partition(2048, 18 * 1024);
        let sample = if gzip { sample.gzip() } else { sample };
        let mut image = sample.open();
        let growth = image.grow(16 * MIB).unwrap();
        assert_eq!((growth.from, growth.to), (MIB..10 * MIB, MIB..16 * MIB));
        let card = Card::new(16 * MIB, &[]);
        flash(&image, &card).unwrap();
        let bytes = card.bytes();
        assert_eq!(bytes[458..462], (15u32 * 2048).to_le_bytes());
        assert!(bytes[512..10 * MIB as usize] == sample.bytes[512..]);
    }
    let error = usual().open().grow(16 * MIB).unwrap_err();
    assert!(error.message.contains("nothing can grow"), "{error}");
}

#[test]
fn what_happens_is_told_in_order() {
    let sample = usual().with_map();
    let card = Card::new(16 * MIB, &[]);
    let recorder = Recorder::default();
    onto(&sample.open(), &card, &card.cancel, &recorder).unwrap();
    let events = recorder.events();
    let total = 40 * KIB + 3 * MIB + 4096;
    assert_eq!(events[0], Event::Plan { recipe: "card.img".into(), steps: 2 });
    assert_eq!(events[1], Event::Begin { step: "write".into(), kind: "flash" });
    assert_eq!(events[2], Event::Total { step: "write".into(), bytes: total });
    let ends: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::End { .. })).collect();
    assert!(matches!(ends[..], [Event::End { outcome: Outcome::Done, .. }, Event::End { outcome: Outcome::Done, .. }]));
    assert!(events.contains(&Event::Progress { step: "write".into(), bytes: total }));
    assert!(events.contains(&Event::Progress { step: "read back".into(), bytes: total }));
    match events.last() {
        Some(Event::Flashed { written_bytes, compared_bytes, repeated: 0, .. }) => {
            assert_eq!((*written_bytes, *compared_bytes), (total, total));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the image, and wherever a card fails in passing, the card holds the image in the end.
    #[test]
    fn any_image_arrives(
        pieces in prop::collection::vec((0u64..2000, 1u64..400), 1..6),
        tail in 0u64..8,
        corrupt in prop::option::of(0u64..9 * MIB),
        gzip: bool,
        clears: bool,
        sectors in prop::sample::select(vec![512usize, 4096]),
    ) {
        let mut pieces: Vec<(u64, u64)> = pieces.iter().map(|(at, length)| (at * 4096, length * 4096)).collect();
        pieces.sort();
        pieces.dedup_by_key(|(at, _)| *at);
        let sample = sample(10 * MIB + tail * 512, &pieces);
        let sample = if gzip { sample.gzip() } else { sample };
        let faults: Vec<Fault> = corrupt.iter().map(|at| Fault::Corrupt { at: *at, times: 1 }).collect();
        let card = Card::new(12 * MIB, &faults).with_sectors(sectors);
        let card = if clears { card } else { card.that_cannot_clear() };
        flash(&sample.open(), &card).unwrap();
        let same = card.bytes()[..sample.bytes.len()] == sample.bytes[..];
        prop_assert!(same);
    }
}
