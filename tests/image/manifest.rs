//! `manifest.json` and `SHA256SUMS`: what they say, that schema and reader judge alike, and what `verify` finds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::Digest as _;
use xenbuild::delivery::{Document, schema};

use crate::bench::{Bench, hash};

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

/// A recipe with a partitioned disk, its block map and a compressed copy.
fn with_disk() -> Bench {
    let bench = Bench::new();
    let disk = "\n[disk.card]\nsize = \"24MiB\"\ncompress = \"gz\"\n[[disk.card.partition]]\ntype = \"root-arm64\"\nfilesystem = \"domu\"\n";
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    bench.write("r.toml", recipe + disk);
    bench.build();
    bench
}

/// Copies a folder of artifacts, as somebody gets it who has nothing else; files may be written to.
fn copy(bench: &Bench, name: &str) -> PathBuf {
    let to = bench.path(name);
    let _ = fs::remove_dir_all(&to);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(bench.path("out/r")).unwrap().map(Result::unwrap) {
        if entry.file_name() != ".state" {
            let file = to.join(entry.file_name());
            fs::copy(entry.path(), &file).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    to
}

/// Runs `verify --json`; returns exit code and findings as `what name`.
fn verify(bench: &Bench, folder: &Path) -> (i32, Vec<String>) {
    let output = bench.command(&["verify", "--json"]).arg(folder).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let code = output.status.code().unwrap();
    assert_eq!(report["verified"], code == 0, "{report}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    (code, findings.iter().map(|found| format!("{} {}", text(&found["what"]), text(&found["name"]))).collect())
}

#[test]
fn the_manifest_names_every_file_and_what_it_was_made_of() {
    let bench = with_disk();
    let folder = bench.path("out/r");
    let manifest = manifest(&folder);
    assert_eq!(manifest["recipe"]["name"], "r");
    assert_eq!(
        manifest["recipe"]["files"],
        json!([{ "path": "r.toml", "sha256": hash(&bench.path("r.toml")) }]),
        "{manifest:#}"
    );
    let artifacts = manifest["artifacts"].as_array().unwrap();
    let mut names: Vec<String> = artifacts.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    let listed: Vec<String> = bench.artifacts().into_iter().map(|(name, _)| name).collect();
    names.extend(["SHA256SUMS".to_owned(), "manifest.json".to_owned()]);
    names.sort();
    assert_eq!(names, listed);
    for artifact in artifacts {
        let path = folder.join(artifact["name"].as_str().unwrap());
        assert_eq!(artifact["sha256"], hash(&path));
        assert_eq!(artifact["bytes"], fs::metadata(&path).unwrap().len());
        // The key is that of the cache: of the step that `plan` shows.
        assert!(bench.path("out/cache").join(artifact["key"].as_str().unwrap()).is_dir(), "{artifact}");
    }
    let of = |name: &str| artifacts.iter().find(|artifact| artifact["name"] == name).unwrap();
    assert_eq!((&of("card.img.bmap")["role"], &of("card.img.gz")["role"]), (&json!("bmap"), &json!("compressed")));
    assert_eq!(of("r.axf")["step"], "boot");
    // Through all steps, down to what came from outside, and nothing besides.
    let inputs = |name: &str| of(name)["inputs"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let rootfs: Vec<&str> = inputs("rootfs.img");
    assert_eq!(rootfs, ["file files.tar.gz", "file kernel.tar.gz", "file notes.txt", "folder overlay"]);
    let xen: Vec<&str> = inputs("xen");
    assert_eq!(xen, ["file xen"]);
    assert_eq!(
        manifest["inputs"]["file notes.txt"],
        json!({
            "kind": "file", "path": "notes.txt", "sha256": hash(&bench.path("notes.txt")),
        })
    );
    let overlay = &manifest["inputs"]["folder overlay"]["entries"];
    assert_eq!(overlay["etc/motd"], format!("file {}", hash(&bench.path("overlay/etc/motd"))));
    assert_eq!(
        manifest["inputs"]["file board/extra.dts"]["includes"],
        json!({ "extra.h": hash(&bench.path("board/extra.h")) })
    );
    let tree: Vec<&str> = inputs("machine.dtb");
    assert!(tree.contains(&"carried board qemu-virt.dts") && tree.contains(&"file board/extra.dts"), "{tree:?}");
    let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(!text.contains(bench.folder.path().to_str().unwrap()), "{text}");
}

#[test]
fn sha256sum_itself_agrees() {
    let bench = with_disk();
    let check = |folder: &Path| {
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(folder).output()
    };
    match check(&bench.path("out/r")) {
        Err(error) => eprintln!("SKIPPED: sha256sum: {error}"),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(told.lines().count(), bench.artifacts().len() - 1, "{told}");
            let copy = copy(&bench, "copy");
            fs::write(copy.join("xen"), "none").unwrap();
            assert!(!check(&copy).unwrap().status.success());
        }
    }
}

#[test]
fn a_manifest_is_renewed_when_something_changes_and_only_then() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    bench.build();
    let inode = || fs::metadata(bench.path("out/r/manifest.json")).unwrap().ino();
    let (before, first) = (inode(), bench.artifacts());
    bench.build();
    assert_eq!(inode(), before, "nothing was written");
    // What makes no difference to any step is another recipe all the same.
    bench.edit("everything from local files", "other words");
    bench.build();
    assert_eq!(manifest(&bench.path("out/r"))["recipe"]["files"][0]["sha256"], hash(&bench.path("r.toml")));
    bench.edit("other words", "everything from local files");
    bench.build();
    assert_eq!(bench.artifacts(), first);
    // What was taken away, or written over, is put back.
    for name in ["manifest.json", "SHA256SUMS"] {
        fs::remove_file(bench.path("out/r").join(name)).unwrap();
        bench.build();
        assert_eq!(bench.artifacts(), first, "{name}");
        let path = bench.path("out/r").join(name);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{}").unwrap();
        bench.build();
        assert_eq!(bench.artifacts(), first, "{name}");
    }
}

#[test]
fn a_copy_verifies_and_each_damage_is_named() {
    let bench = with_disk();
    assert_eq!(verify(&bench, &bench.path("out/r")), (0, vec![]));
    let folder = copy(&bench, "copy");
    assert_eq!(verify(&bench, &folder), (0, vec![]));
    let told = bench.run(&["verify", "copy"]).unwrap();
    assert!(told.starts_with("r: 12 files, ") && told.ends_with(": all as they were made\n"), "{told}");
    assert_eq!(bench.run(&["verify", "-q", "copy"]).unwrap(), "");
    // What nobody vouches for may be anything, but is counted.
    fs::create_dir(folder.join("overlay")).unwrap();
    fs::write(folder.join("serial.log"), "anything").unwrap();
    let told = bench.run(&["verify", "copy"]).unwrap();
    assert!(told.ends_with(": all as they were made; 2 passed over (-v)\n"), "{told}");
    let told = bench.run(&["verify", "-v", "copy"]).unwrap();
    assert!(told.starts_with("overlay: passed over\nserial.log: passed over\n"), "{told}");
    assert!(told.ends_with("; 2 passed over\n"), "{told}");
    fs::remove_dir(folder.join("overlay")).unwrap();
    fs::remove_file(folder.join("serial.log")).unwrap();

    // Each: what is done to the copy, and all that is found.
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a [&'a str]);
    let flip = |path: PathBuf, at: usize| {
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let edit = |path: PathBuf, from: &str, to: &str| {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let sum = hash(&bench.path("out/r/xen"));
    let zeros = "0".repeat(64);
    let damages: [Damage<'_>; 16] = [
        ("missing", &|at| fs::remove_file(at.join("xen")).unwrap(), &["missing xen"]),
        ("one bit", &|at| flip(at.join("rootfs.img"), 70_000), &["changed rootfs.img"]),
        ("shorter", &|at| fs::write(at.join("xen"), "x").unwrap(), &["changed xen"]),
        (
            "a link",
            &|at| {
                fs::rename(at.join("xen"), at.join("../elsewhere")).unwrap();
                std::os::unix::fs::symlink("../elsewhere", at.join("xen")).unwrap();
            },
            &["changed xen"],
        ),
        (
            "a folder",
            &|at| {
                fs::remove_file(at.join("xen")).unwrap();
                fs::create_dir(at.join("xen")).unwrap();
            },
            &["changed xen"],
        ),
        (
            "a pipe",
            &|at| {
                fs::remove_file(at.join("xen")).unwrap();
                assert!(Command::new("mkfifo").arg(at.join("xen")).status().unwrap().success());
            },
            &["changed xen"],
        ),
        ("a stranger", &|at| fs::write(at.join("xen\nx"), "x").unwrap(), &["extra xen\nx"]),
        ("stale results", &|at| fs::write(at.join("junit.xml"), "<x/>").unwrap(), &["extra junit.xml"]),
        ("logs of a run", &|at| fs::write(at.join("serial.log"), "x").unwrap(), &[]),
        ("no sums", &|at| fs::remove_file(at.join("SHA256SUMS")).unwrap(), &["missing SHA256SUMS"]),
        ("nonsense", &|at| fs::write(at.join("SHA256SUMS"), "x\n").unwrap(), &["changed SHA256SUMS"]),
        ("another sum", &|at| edit(at.join("SHA256SUMS"), &sum, &zeros), &["not-listed xen"]),
        (
            "not in the sums",
            &|at| edit(at.join("SHA256SUMS"), "  xen\n", "  nex\n"),
            &["not-listed nex", "not-listed xen"],
        ),
        // All that lists it agrees, but the sums are of another manifest.
        (
            "another manifest",
            &|at| edit(at.join("manifest.json"), "\"boot\"", "\"byproduct\""),
            &["changed manifest.json"],
        ),
        ("no manifest", &|at| fs::remove_file(at.join("manifest.json")).unwrap(), &["manifest manifest.json"]),
        (
            "all at once",
            &|at| {
                fs::remove_file(at.join("xen")).unwrap();
                flip(at.join("Image"), 100);
                fs::write(at.join("more"), "x").unwrap();
            },
            &["missing xen", "changed Image", "extra more"],
        ),
    ];
    for (what, damage, findings) in damages {
        let folder = copy(&bench, "copy");
        damage(&folder);
        let code = if findings.is_empty() { 0 } else { 4 };
        assert_eq!(verify(&bench, &folder), (code, findings.iter().map(ToString::to_string).collect()), "{what}");
    }
}

#[test]
fn a_block_map_of_another_image_is_found_although_its_sum_is_right() {
    let bench = with_disk();
    let folder = copy(&bench, "copy");
    let map = fs::read_to_string(folder.join("card.img.bmap")).unwrap();
    // Another checksum for the first range; and the map's own, so that it agrees with itself.
    let at = map.find("chksum=\"").unwrap() + 8;
    let mut other = map.clone();
    other.replace_range(at..at + 64, &"1".repeat(64));
    let own = map.split("<BmapFileChecksum> ").nth(1).unwrap()[..64].to_owned();
    let blank = other.replace(&own, &"0".repeat(64));
    let digest: String = sha2::Sha256::digest(&blank).iter().map(|byte| format!("{byte:02x}")).collect();
    let other = other.replace(&own, &digest);
    fs::write(folder.join("card.img.bmap"), &other).unwrap();
    // The manifest and the sums know that map.
    let (old, new) = (hash(&bench.path("out/r/card.img.bmap")), hash(&folder.join("card.img.bmap")));
    let replace = |name: &str, old: &str, new: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(old));
        fs::write(folder.join(name), text.replace(old, new)).unwrap();
    };
    let before = hash(&folder.join("manifest.json"));
    replace("manifest.json", &old, &new);
    replace("SHA256SUMS", &old, &new);
    replace("SHA256SUMS", &before, &hash(&folder.join("manifest.json")));
    assert_eq!(verify(&bench, &folder), (4, vec!["map card.img.bmap".to_owned()]));
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let bench = Bench::new();
    bench.build();
    bench.write("secret", "x");
    for name in
        ["../secret", "/etc/passwd", "..", ".", "", "a/../../secret", ".state", "x\u{0}", "manifest.json", "\u{1b}[2J"]
    {
        let folder = copy(&bench, "copy");
        let mut value = manifest(&folder);
        value["artifacts"][0]["name"] = json!(name);
        fs::write(folder.join("manifest.json"), value.to_string()).unwrap();
        let output = bench.command(&["verify", "copy"]).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{name:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            told.starts_with("manifest.json: not a manifest: ") && told.contains("is no name of an artifact"),
            "{told}"
        );
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}

#[test]
fn other_folders_are_told_apart() {
    let bench = Bench::new();
    bench.build();
    let says = |folder: &str, code: i32, parts: &[&str]| {
        let output = bench.command(&["verify", folder]).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        parts.iter().for_each(|part| assert!(told.contains(part), "{part} is not in\n{told}"));
    };
    says("out", 4, &["manifest.json: is not there", "hint: did you mean out/r?"]);
    says("nowhere", 2, &["cannot open the folder nowhere"]);
    says("r.toml", 2, &["cannot open the folder r.toml"]);
    let path = bench.path("out/r/manifest.json");
    for (text, why) in [
        (String::new(), "not a manifest"),
        ("[".repeat(100_000), "not a manifest"),
        ("{\"version\": 2, \"more\": 1}".to_owned(), "its format has version 2; this xenbuild knows 1"),
    ] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, text).unwrap();
        says("out/r", 4, &["manifest.json: ", why, "error: out/r is not what its manifest says: 1 thing is wrong"]);
    }
}

#[test]
fn the_published_schema_is_true() {
    let text = format!("{:#}\n", schema::schema());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.schema.json");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{} (BLESS=1 rewrites it)", path.display());
    let bench = Bench::new();
    assert_eq!(bench.run(&["schema", "--of", "manifest"]).unwrap(), text);
}

/// Returns every document that differs from this one in one place.
fn mutants(document: &Value) -> Vec<Value> {
    // No 1.0: for a schema that is an integer. Nobody writes it.
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1u64 << 60),
        json!(""),
        json!("x"),
        json!("../x"),
        json!("A".repeat(64)),
        json!("a".repeat(64)),
        json!([]),
        json!([{}]),
        json!(["x"]),
        json!({}),
        json!({ "x": "y" }),
        json!({ "kind": "file" }),
        json!("junit.xml"),
        json!("image"),
        json!("package"),
    ];
    let mut all = Vec::new();
    let mut ways = vec![String::new()];
    while let Some(way) = ways.pop() {
        let at = document.pointer(&way).unwrap();
        let mut with = |change: &dyn Fn(&mut Value)| {
            let mut copy = document.clone();
            change(copy.pointer_mut(&way).unwrap());
            all.push(copy);
        };
        values.iter().for_each(|value| with(&|at| *at = value.clone()));
        match at {
            Value::Object(map) => {
                with(&|at| at["zzz"] = json!(1));
                with(&|at| at["includes"] = json!({ "a.h": "a".repeat(64) }));
                with(&|at| at["variant"] = json!("v"));
                for key in map.keys() {
                    with(&|at| drop(at.as_object_mut().unwrap().remove(key)));
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    ways.push(format!("{way}/{escaped}"));
                }
            }
            Value::Array(list) => {
                with(&|at| at.as_array_mut().unwrap().push(json!(7)));
                ways.extend((0..list.len()).map(|index| format!("{way}/{index}")));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn schema_and_reader_agree() {
    let schema = schema::schema();
    assert!(jsonschema::meta::is_valid(&schema), "the schema is a schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let bench = with_disk();
    let built = manifest(&bench.path("out/r"));
    assert!(validator.is_valid(&built));
    let a = "a".repeat(64);
    // Every kind of everything, each once.
    let package = |kind: &str| json!({ "kind": kind, "name": "n", "version": "1", "architecture": "all", "suite": "s", "file": "f", "bytes": 1, "sha256": a });
    let all = json!({
        "version": 1,
        "xenbuild": "0.1.0",
        "recipe": {
            "name": "r@v", "variant": "v", "files": [{ "path": "r.toml", "sha256": a }],
            "lock": { "path": "r.lock", "sha256": a },
        },
        "artifacts": [{
            "name": "xen", "role": "image", "bytes": 9007199254740991u64, "sha256": a, "step": "s", "key": a, "inputs": ["i"],
        }],
        "inputs": {
            "i": { "kind": "file", "path": "p", "sha256": a, "includes": { "x.h": a } },
            "a": package("package"),
            "b": package("source"),
            "c": { "kind": "url", "url": "u", "bytes": 0, "sha256": a },
            "d": { "kind": "commit", "repository": "r", "commit": "c" },
            "e": { "kind": "folder", "path": "p", "entries": { "x": "file" } },
            "f": { "kind": "carried", "name": "n", "sha256": a },
            "g": { "kind": "compiler", "programs": ["gcc"] },
        },
        "test": {
            "passed": true,
            "files": [{ "name": "junit.xml", "bytes": 1, "sha256": a }, { "name": "serial.log", "bytes": 0, "sha256": a }],
        },
    });
    let (mut valid, mut invalid) = (0, 0);
    for mutant in std::iter::once(all.clone()).chain(mutants(&all)) {
        let judged = validator.is_valid(&mutant);
        let read = serde_json::from_value::<Document>(mutant.clone());
        assert_eq!(judged, read.is_ok(), "{:?}\n{mutant:#}", read.err().map(|error| error.to_string()));
        *if judged { &mut valid } else { &mut invalid } += 1;
        // What a reader does with it, whatever it is, is no panic.
        let _ = Document::read(mutant.to_string().as_bytes());
    }
    assert!(valid > 50 && invalid > 1000, "{valid} valid and {invalid} invalid");
    eprintln!("{valid} valid and {invalid} invalid mutants, judged alike");
}

#[test]
fn what_a_schema_cannot_see_is_found_by_the_reader() {
    let bench = Bench::new();
    bench.build();
    let good = manifest(&bench.path("out/r"));
    let wrong = |change: &dyn Fn(&mut Value), why: &str| {
        let mut value = good.clone();
        change(&mut value);
        let error = Document::read(value.to_string().as_bytes()).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    };
    wrong(&|value| value["artifacts"][1]["name"] = value["artifacts"][0]["name"].clone(), "lists Image twice");
    wrong(&|value| value["artifacts"][0]["inputs"] = json!(["file none"]), "is not among the inputs");
    wrong(&|value| value["artifacts"][0]["inputs"] = json!(["file xen", "file xen"]), "\"file xen\" twice");
    let evidence = json!({ "name": "junit.xml", "bytes": 1, "sha256": "a".repeat(64) });
    wrong(&|value| value["test"] = json!({ "passed": true, "files": [evidence, evidence] }), "lists junit.xml twice");
    let text = good.to_string().replacen("\"xenbuild\"", "\"xenbuild\":\"x\",\"xenbuild\"", 1);
    assert!(Document::read(text.as_bytes()).unwrap_err().contains("duplicate field"), "a field given twice");
}
