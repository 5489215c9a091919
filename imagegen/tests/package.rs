//! The resolver on small worlds, its messages word for word; dpkg and apt as judges of versions and of real suites.

#[path = "support/tools.rs"]
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use imagegen::package::index::Index;
use imagegen::package::resolve::{Options, Request, resolve};
use imagegen::package::version::Version;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// Writes a world of packages, one a line: `name version | Field: value | ...`.
fn packages(world: &str) -> String {
    let mut text = String::new();
    for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(" | ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        writeln!(text, "Package: {name}\nVersion: {version}").unwrap();
        // A part that starts no field goes on with the alternatives of the one before.
        let mut fields: Vec<String> = Vec::new();
        for part in parts {
            match fields.last_mut() {
                Some(field) if !part.starts_with(char::is_uppercase) => write!(field, " | {part}").unwrap(),
                _ => fields.push(part.to_owned()),
            }
        }
        if !fields.iter().any(|field| field.starts_with("Architecture")) {
            writeln!(text, "Architecture: arm64").unwrap();
        }
        fields.iter().for_each(|field| writeln!(text, "{field}").unwrap());
        text.push('\n');
    }
    text
}

fn index(suites: &[(&str, &str)]) -> Index {
    let mut index = Index::new();
    for (suite, world) in suites {
        index.add(suite, packages(world).as_bytes()).unwrap();
    }
    index
}

fn options() -> Options {
    Options { architecture: "arm64".into(), ..Options::default() }
}

fn solve(suites: &[(&str, &str)], requests: &str, options: &Options) -> String {
    let index = index(suites);
    let requests: Vec<Request> = requests.split(' ').map(|request| Request::parse(request).unwrap()).collect();
    match resolve(&index, &requests, options) {
        Ok(ids) => {
            let name = |id| format!("{}={}", index.package(id).name(), index.package(id).version());
            ids.into_iter().map(name).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("ERROR {error}"),
    }
}

fn main(world: &str, requests: &str) -> String {
    solve(&[("main", world)], requests, &options())
}

#[test]
fn what_is_needed_comes_first() {
    let world = "
        a 1 | Depends: c, b
        b 1 | Depends: d (>= 1)
        c 1 | Pre-Depends: d
        d 2
        e 1";
    assert_eq!(main(world, "a"), "d=2 b=1 c=1 a=1");
    assert_eq!(main(world, "e a"), main(world, "a e"));
    assert_eq!(main(world, "a a d"), "d=2 b=1 c=1 a=1");
}

#[test]
fn circles_are_broken_by_pre_depends_and_then_by_name() {
    assert_eq!(main("a 1 | Depends: b\nb 1 | Depends: c\nc 1 | Depends: a", "c"), "a=1 b=1 c=1");
    assert_eq!(main("a 1 | Pre-Depends: c\nb 1 | Depends: a\nc 1 | Depends: b", "a"), "b=1 c=1 a=1");
    assert_eq!(main("a 1 | Pre-Depends: a", "a"), "a=1");
}

#[test]
fn the_first_alternative_that_can_be_had_is_taken_unless_one_is_there() {
    let world = "
        a 1 | Depends: x | y
        b 1 | Depends: y
        c 1 | Depends: gone | y
        d 1 | Depends: x (>= 2) | z
        x 1
        y 1
        z 1";
    assert_eq!(main(world, "a"), "x=1 a=1");
    assert_eq!(main(world, "a b"), "y=1 a=1 b=1");
    assert_eq!(main(world, "c"), "y=1 c=1");
    assert_eq!(main(world, "d"), "z=1 d=1");
}

#[test]
fn virtual_packages_and_versioned_provides() {
    let world = "
        a 1 | Depends: mail
        b 1 | Depends: mail (>= 2)
        c 1 | Depends: mail:any, a:native
        zmail 9 | Provides: mail | Priority: important
        postmail 3 | Provides: mail (= 3)
        exim 1 | Provides: mail (= 1)";
    assert_eq!(main(world, "a"), "zmail=9 a=1");
    assert_eq!(main(world, "b"), "postmail=3 b=1");
    assert_eq!(main(world, "a b"), "postmail=3 a=1 b=1");
    assert_eq!(main(world, "mail"), "ERROR `mail` is virtual: ask for one of zmail, exim, postmail");
    assert_eq!(main(world, "mail exim"), "exim=1");
    assert_eq!(main("m 1 | Provides: mail", "mail"), "m=1");
    assert_eq!(main(world, "c"), "zmail=9 a=1 c=1");
    assert_eq!(
        main("a 1 | Depends: b:amd64\nb 1", "a").lines().next(),
        Some("ERROR `a` needs `b:amd64`, but main has 1")
    );
}

#[test]
fn a_choice_that_leads_nowhere_is_taken_back() {
    let world = "
        a 1 | Depends: x | y, k | l
        x 1 | Depends: deep
        deep 1 | Depends: deeper | deepest
        deeper 1 | Depends: nothing
        deepest 1 | Depends: nothing
        y 1
        k 1
        l 1";
    assert_eq!(main(world, "a"), "k=1 y=1 a=1");
    // `k` is preferred but does not go with `y`, which is needed.
    let world = "
        a 1 | Depends: k | l, x | y
        k 1 | Conflicts: y
        l 1
        x 1 | Depends: nothing
        y 1";
    assert_eq!(main(world, "a"), "l=1 y=1 a=1");
}

#[test]
fn a_hopeless_search_ends() {
    // Forty choices that have nothing to do with the one thing that is missing.
    let mut world = String::from("z 1 | Depends: p | q\np 1 | Depends: nothing\nq 1 | Depends: nothing\n");
    let mut wanted = String::from("z");
    for number in 0..40 {
        writeln!(world, "c{number} 1 | Depends: l{number} | r{number}\nl{number} 1\nr{number} 1").unwrap();
        write!(wanted, " c{number}").unwrap();
    }
    let expected = "ERROR `p` needs `nothing`, but there is no package `nothing`\n  `p` is wanted by `z` as `p | q`\n  `z` is asked for";
    assert_eq!(main(&world, &wanted), expected);
}

#[test]
fn the_highest_version_wins_unless_asked_or_locked_otherwise() {
    let suites = [
        ("bookworm", "a 1.0 | Depends: b\nb 1"),
        ("bookworm-security", "a 1.0+deb12u1 | Depends: b\nb 1"),
        ("bookworm-updates", "a 1.0~rc1 | Depends: b"),
    ];
    assert_eq!(solve(&suites, "a", &options()), "b=1 a=1.0+deb12u1");
    assert_eq!(solve(&suites, "a=1.0", &options()), "b=1 a=1.0");
    assert_eq!(solve(&suites, "a/bookworm-updates", &options()), "b=1 a=1.0~rc1");
    let lock = |version: &str| Options { locked: BTreeMap::from([("a".into(), version.into())]), ..options() };
    assert_eq!(solve(&suites, "a", &lock("1.0")), "b=1 a=1.0");
    let gone = "ERROR `a` is locked at 0.9, which is gone: bookworm has 1.0, bookworm-security has 1.0+deb12u1, \
                bookworm-updates has 1.0~rc1";
    assert_eq!(solve(&suites, "a", &lock("0.9")), gone);
    // The first suite that has it, where several have the same.
    let index = index(&suites);
    let b = resolve(&index, &[Request::parse("b").unwrap()], &options()).unwrap();
    assert_eq!(index.package(b[0]).origin(), "bookworm");
}

#[test]
fn excluded_packages_count_as_there() {
    let world = "
        a 1 | Depends: init | other, lib (>= 5), mail
        init 1
        other 1
        lib 1
        exim 1 | Provides: mail
        postfix 1 | Provides: mail";
    let exclude =
        |names: &[&str]| Options { exclude: names.iter().map(|name| name.to_string()).collect(), ..options() };
    assert_eq!(solve(&[("main", world)], "a", &exclude(&["init", "lib", "postfix"])), "a=1");
    assert_eq!(solve(&[("main", world)], "a", &exclude(&["other", "lib", "mail"])), "a=1");
    assert_eq!(solve(&[("main", world)], "a", &exclude(&["a"])), "ERROR `a` is asked for and excluded");
}

#[test]
fn essential_and_recommended_packages_where_asked() {
    let world = "
        a 1 | Depends: b | Recommends: c, nothing, d | e, g
        b 1
        c 1 | Conflicts: b
        d 1 | Depends: nothing
        e 1
        g 1 | Depends: nothing
        base 1 | Essential: yes | Pre-Depends: libc
        libc 1";
    let with = |essential, recommends| Options { essential, recommends, ..options() };
    assert_eq!(solve(&[("main", world)], "a", &with(true, false)), "b=1 a=1 libc=1 base=1");
    assert_eq!(solve(&[("main", world)], "a", &with(false, true)), "b=1 a=1 e=1");
}

#[test]
fn what_cannot_be_had_is_said_with_who_wanted_it() {
    let world = "
        xen-system 1 | Depends: xen-utils
        xen-utils 4.17 | Depends: libfoo (>= 2) | libbar
        libfoo 1.3
        foreign 1 | Architecture: amd64
        wants-foreign 1 | Depends: foreign
        broken 1 | Depends: a (2)
        virt 1 | Depends: v (>= 1)
        p 1 | Provides: v";
    let cases = [
        (
            "xen-system",
            "`xen-utils` needs `libfoo (>= 2) | libbar`, but of `libfoo` main has 1.3; there is no package \
             `libbar`\n  `xen-utils` is wanted by `xen-system`\n  `xen-system` is asked for",
        ),
        ("xen-sytem", "there is no package `xen-sytem`; did you mean `xen-system`?"),
        ("xen-utils=4.18", "`xen-utils=4.18` is asked for, but main has 4.17"),
        ("xen-utils/sid", "`xen-utils/sid` is asked for, but main has 4.17"),
        (
            "wants-foreign",
            "`wants-foreign` needs `foreign`, but `foreign` is not made for arm64\n  `wants-foreign` is asked for",
        ),
        ("virt", "`virt` needs `v (>= 1)`, but no provider of `v` will do\n  `virt` is asked for"),
        (
            "broken",
            "`broken` 1: Depends: `a (2)`: a version needs one of `<<`, `<=`, `=`, `>=`, `>>` before it\n  `broken` is asked for",
        ),
        ("libfoo=1.3 libfoo=1.4", "`libfoo=1.3` and `libfoo=1.4` are both asked for"),
        ("a,b", "`a,b` is no name of a package"),
    ];
    for (requests, expected) in cases {
        assert_eq!(main(world, requests), format!("ERROR {expected}"));
    }
    for text in ["", "=1", "a=", "a/", "a b", "a=1_"] {
        assert!(Request::parse(text).is_err(), "{text}");
    }
}

#[test]
fn packages_that_cannot_be_together_are_named_with_both_chains() {
    let world = "
        a 1 | Depends: old
        b 1 | Depends: new
        old 1 | Provides: tool
        new 2 | Breaks: old (<< 2) | Conflicts: tool2
        c 1 | Depends: x, self
        x 1 | Provides: tool2
        self 1 | Provides: thing | Conflicts: thing";
    assert_eq!(
        main(world, "a b"),
        "ERROR `new` and `old` cannot be together: `new` conflicts with `old (<< 2)`\n  `new` is wanted by `b`\n  \
         `b` is asked for\n  `old` is wanted by `a`\n  `a` is asked for"
    );
    assert_eq!(
        main(world, "c b"),
        "ERROR `x` and `new` cannot be together: `new` conflicts with `tool2`\n  `x` is wanted by `c`\n  `c` is asked \
         for\n  `new` is wanted by `b`\n  `b` is asked for"
    );
    // Its own Provides is no reason to refuse itself.
    assert_eq!(main(world, "c"), "self=1 x=1 c=1");
    // A versioned conflict does not meet an unversioned Provides.
    assert_eq!(main("n 1 | Conflicts: t (<< 2)\no 1 | Provides: t", "n o"), "n=1 o=1");
}

#[test]
fn versions_compare_as_dpkg_says() {
    if !tools::available("dpkg") {
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy =
        ("([0-2]:)?[0-9][0-9a-b.+~]{0,5}(-[0-9a-b.+~]{1,3})?", "([0-2]:)?[0-9][0-9a-b.+~]{0,5}(-[0-9a-b.+~]{1,3})?");
    let mut pairs = vec![("1.0".to_owned(), "1.0-0".to_owned())];
    for _ in 0..150 {
        pairs.push(strategy.new_tree(&mut runner).unwrap().current());
    }
    let mut script = String::new();
    for (left, right) in &pairs {
        writeln!(script, "dpkg --compare-versions '{left}' lt '{right}' && echo Less || {{ dpkg --compare-versions '{left}' eq '{right}' && echo Equal || echo Greater; }}").unwrap();
    }
    let theirs = tools::shell(&script, std::path::Path::new("/"));
    for ((left, right), expected) in pairs.iter().zip(theirs.lines()) {
        let order = Version::parse(left).unwrap().cmp(&Version::parse(right).unwrap());
        assert_eq!(format!("{order:?}"), expected, "{left} and {right}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_worlds_give_closed_sets_or_errors(
        world in proptest::collection::vec((0usize..12, 1u8..4, proptest::collection::vec((0usize..12, 0u8..7, 1u8..4, 0usize..12), 0..4)), 1..16),
        wanted in proptest::collection::vec(0usize..12, 1..4),
    ) {
        let mut seen = BTreeSet::new();
        let mut text = String::new();
        for (name, version, relations) in world {
            if !seen.insert(name) {
                continue;
            }
            let mut fields = BTreeMap::<&str, Vec<String>>::new();
            for (other, kind, bound, second) in relations {
                let (field, value) = match kind {
                    0 => ("Conflicts", format!("p{other} (<< {bound})")),
                    1 => ("Provides", format!("p{other} (= {bound})")),
                    2 => ("Provides", format!("p{other}")),
                    3 => ("Pre-Depends", format!("p{other} | p{second}")),
                    4 => ("Depends", format!("p{other} (>= {bound}) | p{second}")),
                    5 => ("Depends", format!("p{other}")),
                    _ => ("Recommends", format!("p{other} | p{second} (= {bound})")),
                };
                fields.entry(field).or_default().push(value);
            }
            write!(text, "p{name} {version}").unwrap();
            fields.iter().for_each(|(field, values)| write!(text, " | {field}: {}", values.join(", ")).unwrap());
            text.push('\n');
        }
        let index = index(&[("main", &text)]);
        let requests: Vec<Request> = wanted.iter().map(|name| Request::parse(&format!("p{name}")).unwrap()).collect();
        for recommends in [false, true] {
            let options = Options { recommends, ..options() };
            let Ok(ids) = resolve(&index, &requests, &options) else { continue };
            prop_assert_eq!(&ids, &resolve(&index, &requests, &options).unwrap());
            check_closed(&index, &ids);
        }
    }
}

/// Checks, on its own, that a set has everything it needs and nothing that it refuses.
fn check_closed(index: &Index, ids: &[imagegen::package::index::PackageId]) {
    use imagegen::package::relation::{Relation, parse};
    let satisfied = |relation: &Relation<'_>, by: imagegen::package::index::PackageId| {
        let package = index.package(by);
        let provides = parse(package.provides(), "arm64").unwrap();
        let provided = provides.iter().flat_map(|item| &item.alternatives).any(|provided| {
            provided.name == relation.name && relation.allows(provided.version.map(|(_, version)| version))
        });
        provided || package.name() == relation.name && relation.allows(Some(package.version()))
    };
    for &id in ids {
        let package = index.package(id);
        for list in [package.depends(), package.pre_depends()] {
            for item in parse(list, "arm64").unwrap() {
                let met = item.alternatives.iter().any(|relation| ids.iter().any(|other| satisfied(relation, *other)));
                assert!(met, "{} lacks {item}", package.name());
            }
        }
        for list in [package.conflicts(), package.breaks()] {
            for relation in parse(list, "arm64").unwrap().iter().flat_map(|item| &item.alternatives) {
                let clash = ids.iter().find(|other| **other != id && satisfied(relation, **other));
                assert!(clash.is_none(), "{} refuses {relation}", package.name());
            }
        }
    }
}
