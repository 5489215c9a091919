//! What is refused, in the words that people read.

use imagegen::disk::{Gap, Options, Partition, Plan, Scheme, Size};

use crate::oracle::{content, guid, options, partition, sized};

fn refused(options: &Options, partitions: &[Partition], gaps: &[Gap]) -> String {
    Plan::new(options, partitions, gaps).unwrap_err().to_string()
}

fn gap(name: &str, offset: u64, bytes: usize) -> Gap {
    Gap { name: name.into(), offset, content: content(bytes, 1) }
}

#[test]
fn overlaps_show_the_whole_table() {
    let partitions = [
        Partition { offset: Some(1 << 20), ..partition("boot", "fat", 3 << 20) },
        Partition { offset: Some(3 << 20), ..partition("root", "linux", 5 << 20) },
    ];
    assert_eq!(
        refused(&sized(Scheme::Gpt, 6), &partitions, &[gap("u-boot", 8192, 700_000)]),
        "u-boot overlaps GPT entries; partition 2 (root) overlaps partition 1 (boot); \
         partition 2 (root) ends 2 MiB behind the end of the disk (6 MiB); backup GPT overlaps partition 2 (root)\n\
         \u{20} start     end        size  what\n\
         \u{20}   440     512    72 bytes  protective MBR\n\
         \u{20}   512    1024   512 bytes  GPT header\n\
         \u{20}  1024   17408      16 KiB  GPT entries\n\
         \u{20}  8192  708192   683.5 KiB  u-boot\n\
         1048576 4194304       3 MiB  partition 1 (boot)\n\
         3145728 8388608       5 MiB  partition 2 (root)\n\
         6274560 6291456    16.5 KiB  backup GPT"
    );
}

#[test]
fn contents_that_do_not_fit() {
    let small = [Partition { size: Size::Bytes(1 << 20), ..partition("root", "linux", 3_000_000) }];
    let text = refused(&sized(Scheme::Mbr, 10), &small, &[]);
    let first = text.lines().next().unwrap();
    assert_eq!(first, "root needs 1.8 MiB more, because its content has 2.8 MiB and the partition 1 MiB");
    let rest = [Partition { size: Size::Rest, ..partition("root", "linux", 3_000_000) }];
    let text = refused(&sized(Scheme::Mbr, 2), &rest, &[]);
    assert!(text.starts_with("root needs 1.8 MiB more than the rest of the disk"), "{text}");
    let text = refused(&options(Scheme::Mbr), &rest, &[]);
    assert!(text.starts_with("root is to take the rest of the disk, whose size is not given"), "{text}");
    let both = [rest[0].clone(), Partition { size: Size::Rest, ..partition("data", "linux", 1) }];
    let text = refused(&sized(Scheme::Gpt, 20), &both, &[]);
    assert!(text.starts_with("root and data cannot both take the rest of the disk"), "{text}");
}

#[test]
fn wishes_that_cannot_be() {
    let one = || partition("p", "linux", 512);
    let five: Vec<Partition> = (0..5).map(|_| Partition { logical: Some(false), ..one() }).collect();
    let mixed = [true, false, true].map(|logical| Partition { logical: Some(logical), ..one() });
    let gpt = options(Scheme::Gpt);
    let mbr = options(Scheme::Mbr);
    let hybrid = options(Scheme::Hybrid);
    for (options, partitions, message) in [
        (&mbr, five, "an MBR has four primary partitions, or three and any number of logical ones: 5 are primary here"),
        (&mbr, mixed.to_vec(), "logical partitions must follow each other: they lie in one extended partition"),
        (&mbr, vec![Partition { attributes: 1, ..one() }], "p cannot have attributes: an MBR has no place for them"),
        (
            &mbr,
            vec![partition("p", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 1)],
            "p needs a type that an MBR has: a name, or two hex digits",
        ),
        (&mbr, vec![partition("p", "0f", 1)], "p cannot have type 0f, which the table has for itself"),
        (&mbr, vec![Partition { hybrid: true, ..one() }], "p cannot be in the MBR too: the table is a MBR"),
        (&gpt, vec![partition("p", "0c", 1)], "p needs a type that is a name or a GUID: this is the code of an MBR"),
        (&gpt, vec![Partition { active: true, ..one() }], "p cannot be active: no MBR lists it"),
        (&gpt, vec![Partition { logical: Some(true), ..one() }], "p cannot be logical: the table is a GPT"),
        (&gpt, vec![partition("p", "linux", 0)], "p has neither a size nor content"),
        (&gpt, vec![Partition { size: Size::Bytes(1000), ..one() }], "p cannot have 1000 bytes: sectors are 512 bytes"),
        (&gpt, vec![Partition { offset: Some(1000), ..one() }], "p cannot begin there: sectors are 512 bytes"),
        (&gpt, vec![Partition { label: Some("x".repeat(37)), ..one() }], "p has a name of more than 36 characters"),
        (
            &gpt,
            (0..129).map(|number| Partition { guid: guid(number), ..one() }).collect(),
            "a GPT has at most 128 partitions, not 129",
        ),
        (&gpt, vec![one(), Partition { name: "q".into(), ..one() }], "p and q have the same GUID"),
        (&hybrid, vec![one()], "a hybrid MBR lists one to 3 partitions, not 0"),
    ] {
        assert_eq!(refused(options, &partitions, &[]), message);
    }
    let odd =
        Options { alignment_bytes: 1000, size_bytes: Some(1001), entries_offset: Some(5), ..options(Scheme::Gpt) };
    assert_eq!(
        refused(&odd, &[], &[gap("spl", 700, 1)]),
        "an alignment of 1000 bytes is not whole sectors of 512; the disk's size is not whole sectors of 512; \
         the GPT's entries cannot lie at 5: whole sectors, from 1024 on; spl cannot lie at 700: sectors are 512 bytes"
    );
}

#[test]
fn numbers_without_end_are_no_panic() {
    for scheme in [Scheme::Gpt, Scheme::Mbr, Scheme::Hybrid] {
        for number in [u64::MAX / 512 * 512, (u64::MAX / 1024) * 512, 1 << 62] {
            let hybrid = scheme == Scheme::Hybrid;
            let one = || Partition { hybrid, ..partition("p", "linux", 512) };
            let lists = [
                vec![Partition { offset: Some(number), ..one() }],
                vec![Partition { size: Size::Bytes(number), ..one() }, one()],
                vec![Partition { logical: Some(scheme == Scheme::Mbr), size: Size::Bytes(number), ..one() }; 2],
                vec![Partition { size: Size::Rest, ..one() }, Partition { size: Size::Bytes(number), ..one() }],
            ];
            for partitions in &lists {
                let sized = Options { size_bytes: Some(number), ..options(scheme) };
                let _ = Plan::new(&sized, partitions, &[]);
                let _ = Plan::new(&options(scheme), partitions, &[]);
                let _ = Plan::new(&options(scheme), &[one()], &[gap("far", number, 512)]);
            }
        }
    }
    let far = [Partition { offset: Some(u64::MAX / 512 * 512), ..partition("p", "linux", 512) }];
    assert!(refused(&options(Scheme::Gpt), &far, &[]).contains("larger than any can be"));
    let early = Options { entries_offset: Some(1 << 20), ..options(Scheme::Gpt) };
    let text = refused(&early, &[Partition { offset: Some(65_536), ..partition("p", "linux", 512) }], &[]);
    assert!(text.starts_with("p begins before the GPT's entries"), "{text}");
}
