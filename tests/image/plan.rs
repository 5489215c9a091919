//! The plan of a recipe: golden texts, and the table.
//!
//! `tests/data/plan/NAME.toml` with `NAME.expected`; `BLESS=1` rewrites what is expected. Plans touch no file but the
//! recipe, so what the recipes name need not exist.

use std::fs;
use std::path::Path;

use xenbuild::fetch::lock::{LockedPackage, Selection};
use xenbuild::fetch::{Lock, requests};
use xenbuild::plan::Plan;
use xenbuild::recipe;

use crate::bench::Bench;

/// Locks every package that a recipe asks for by name, at a version and hash made up from the name.
fn made_up_lock(recipe: &recipe::Recipe) -> Lock {
    let mut lock = Lock::default();
    for request in requests(recipe) {
        let mut packages = Vec::new();
        for name in &request.names {
            let (name, version) = name.split_once('=').unwrap_or((name, "1.0-1"));
            packages.push((name.to_owned(), version.to_owned()));
            let package = LockedPackage {
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: "arm64".into(),
                suite: "bookworm".into(),
                filename: format!("pool/{name}.deb"),
                size: name.len() as u64,
                sha256: format!("{:064x}", name.len()),
            };
            if lock.package(name, version).is_none() {
                lock.packages.push(package);
            }
        }
        lock.selections.push(Selection { request, packages });
    }
    lock
}

#[test]
fn plans_are_as_they_were() {
    let mut different = Vec::new();
    let mut paths: Vec<_> = fs::read_dir("tests/data/plan").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(paths.len() >= 3);
    for path in paths {
        let recipe = recipe::load(&path, None, &[]).unwrap();
        let lock = made_up_lock(&recipe);
        let text = match Plan::of(&recipe, Some(&lock)) {
            Ok(plan) => {
                assert_eq!(plan, Plan::of(&recipe, Some(&lock)).unwrap());
                plan.to_string()
            }
            Err(error) => format!("error: {error}\n"),
        };
        let unlocked = Plan::of(&recipe, None);
        if let Ok(plan) = &unlocked {
            let locks = plan.steps().filter(|(_, step)| step.step.kind().name() == "lock").count();
            assert_eq!(locks > 0, !lock.packages.is_empty());
        }
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
            fs::write(&expected, &text).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            different.push(format!("{}: found\n{text}", Path::new(&expected).display()));
        }
    }
    assert!(different.is_empty(), "{}\nBLESS=1 writes what was found", different.join("\n----\n"));
}

#[test]
fn the_table_says_what_would_be_done() {
    let bench = Bench::new();
    let table = bench.run(&["plan", "r.toml"]).unwrap();
    assert!(!bench.path("out").exists(), "a plan makes nothing");
    let row = |table: &str, step: &str| {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(step)).unwrap().to_owned();
        row.split_whitespace().skip(1).map(String::from).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row(&table, "hypervisor"), "would run it was never built");
    assert_eq!(row(&table, "boot"), "waits for hypervisor");
    bench.build();
    bench.edit("dom0\\n", "other\\n");
    let table = bench.run(&["plan", "r.toml"]).unwrap();
    assert_eq!(row(&table, "hypervisor"), "cached");
    assert_eq!(row(&table, "filesystem.rootfs"), "would run parameter file /etc/hostname");
    assert!(table.ends_with("1 would run, 0 wait for what others make, 10 are there or not needed\n"), "{table}");
    assert_eq!(bench.run(&["image", "--dry-run", "r.toml"]).unwrap(), table);
    let json = bench.run(&["plan", "r.toml", "--format=json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 11);
    let rootfs = rows.iter().find(|row| row["step"] == "filesystem.rootfs").unwrap();
    assert_eq!((&rootfs["state"], &rootfs["kind"]), (&"would run".into(), &"filesystem".into()));
    assert!(bench.run(&["plan", "--full", "r.toml"]).unwrap().starts_with("plan of r: 11 steps, 9 artifacts\n"));
}
