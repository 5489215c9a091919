//! The cache: damage, size, limit, garbage, and cleaning up.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bench::Bench;

fn entries(bench: &Bench) -> usize {
    let json = bench.run(&["cache", "--message-format=json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["entries"].as_u64().unwrap() as usize
}

#[test]
fn a_damaged_artifact_is_made_again() {
    let bench = Bench::new();
    bench.build();
    let before = bench.artifacts();
    let path = bench.path("out/r/machine.dtb");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let told = bench.run(&["explain", "r.toml", "device-tree"]).unwrap();
    assert!(told.contains("its output in the cache is damaged: machine.dtb: its content changed"), "{told}");
    assert_eq!(bench.build(), ["device-tree"]);
    assert_eq!(bench.artifacts(), before);
    assert_eq!(bench.build(), Vec::<String>::new());
}

#[test]
fn the_index_may_go_and_only_costs_time() {
    let bench = Bench::new();
    bench.build();
    for text in [None, Some("nonsense")] {
        match text {
            None => fs::remove_file(bench.path("out/cache/index")).unwrap(),
            Some(text) => fs::write(bench.path("out/cache/index"), text).unwrap(),
        }
        assert_eq!(bench.build(), Vec::<String>::new());
    }
}

#[test]
fn stopped_downloads_are_swept_when_they_are_old_and_when_room_is_short() {
    let bench = Bench::new();
    bench.build();
    let part = |name: &str| bench.path("out/cache/partial").join(name.repeat(64));
    let make = |name: &str, days: u64| {
        bench.write(part(name).to_str().unwrap(), vec![1; 1 << 20]);
        let used = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600);
        fs::File::options().write(true).open(part(name)).unwrap().set_modified(used).unwrap();
    };
    make("a", 8);
    make("b", 6);
    let told = bench.run(&["cache", "--gc", "--dry-run"]).unwrap();
    assert!(told.starts_with("would remove 0 entries, 1.0 MiB\n"), "{told}");
    assert!(part("a").exists());
    bench.run(&["cache", "--gc"]).unwrap();
    assert!(!part("a").exists() && part("b").exists());
    let told = bench.run(&["cache", "--gc", "--limit", "0"]).unwrap();
    assert!(told.starts_with("removed 0 entries, 1.0 MiB\n"), "{told}");
    assert!(!part("b").exists());
    assert_eq!(bench.build(), Vec::<String>::new());
}

#[test]
fn garbage_is_collected_by_hand_and_by_limit() {
    let bench = Bench::new();
    bench.build();
    bench.edit("dom0\\n", "other\\n");
    bench.build();
    assert_eq!(entries(&bench), 12);
    let told = bench.run(&["cache", "--gc"]).unwrap();
    assert!(told.starts_with("removed 0 entries"), "below the limit nothing goes: {told}");
    let told = bench.run(&["cache", "--gc", "--limit", "0", "--dry-run"]).unwrap();
    assert!(told.starts_with("would remove 1 entries"), "{told}");
    assert_eq!(entries(&bench), 12);
    let told = bench.run(&["cache", "--gc", "--limit", "0"]).unwrap();
    assert!(told.starts_with("removed 1 entries"), "{told}");
    assert_eq!(entries(&bench), 11, "what is in use stays");
    assert_eq!(bench.build(), Vec::<String>::new());
    // A limit that stays, and is kept to at the end of a build.
    assert!(bench.run(&["cache", "--limit", "1KiB"]).unwrap().contains(" of 1.0 KiB;"));
    bench.edit("other\\n", "third\\n");
    let output = bench.command(&["image", "r.toml"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("removed 1 unused entries from the cache"), "{told}");
    assert!(told.contains("larger than the cache's limit"), "{told}");
    assert_eq!(entries(&bench), 11);
    assert!(bench.run(&["cache", "--limit", "default"]).unwrap().contains(" of 20.0 GiB;"));
    let (code, told) = bench.run(&["cache", "--limit", "much"]).unwrap_err();
    assert_eq!(code, 2);
    assert!(told.contains("--limit much: this is no size"), "{told}");
}

#[test]
fn cleaning_takes_what_was_made_and_nothing_else() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["clean"]).unwrap(), "out: there is nothing\n");
    bench.build();
    bench.write("out/mine/file", "not xenbuild's");
    assert_eq!(bench.run(&["clean", "--dry-run"]).unwrap(), "would remove out/r\n");
    assert!(bench.path("out/r/xen").exists());
    let (code, told) = bench.run(&["clean", "other.toml"]).unwrap_err();
    assert_eq!(code, 2);
    assert!(told.contains("nothing was built from other"), "{told}");
    assert_eq!(bench.run(&["clean", "r.toml"]).unwrap(), "removed out/r\n");
    assert!(!bench.path("out/r").exists() && bench.path("out/mine/file").exists());
    assert_eq!(bench.build(), Vec::<String>::new(), "all of it is still in the cache");
    assert!(bench.path("out/r/xen").exists());
    assert_eq!(bench.run(&["clean", "--cache"]).unwrap(), "removed out/r\nremoved out/cache\n");
    assert!(!bench.path("out/cache").exists() && bench.path("out/mine/file").exists());
    assert_eq!(bench.build().len(), 11);
}

#[test]
fn cleaning_leaves_what_guests_and_users_wrote() {
    let bench = Bench::new();
    bench.build();
    bench.write("out/r/overlay/rootfs.img.qcow2", "a guest's");
    bench.write("out/r/overlay/rootfs.img.qcow2.base", "{}");
    bench.write("out/r/notes", "the user's");
    bench.write("out/r/serial.log", "a run's");
    bench.write("out/r/.new-xen", "of a killed build");
    let left = |verb: &str| {
        format!(
            "{verb} what xenbuild made in out/r\n  out/r/overlay stays: guests wrote it; --overlays removes it, too\n  \
             out/r stays: not xenbuild's in it: 1\n"
        )
    };
    assert_eq!(bench.run(&["clean", "--dry-run"]).unwrap(), left("would remove"));
    assert!(bench.path("out/r/xen").exists());
    assert_eq!(bench.run(&["clean"]).unwrap(), left("removed"));
    let names = |folder: &str| {
        let entries = std::fs::read_dir(bench.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("out/r"), ["notes", "overlay"]);
    assert_eq!(names("out/r/overlay").len(), 2);
    std::fs::remove_file(bench.path("out/r/notes")).unwrap();
    assert_eq!(bench.run(&["clean", "--overlays", "r.toml"]).unwrap(), "removed out/r\n");
    assert!(!bench.path("out/r").exists());
}
