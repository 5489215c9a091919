//! The recipe language, shown on recipes: good ones with what they mean, bad ones with what the user reads.
//!
//! `tests/data/recipe/{good,bad}/NAME.toml` with `NAME.expected`; `BLESS=1` rewrites what is expected.
//! A first line `# variant: NAME` or `# set: NAME=VALUE` stands for the option.

use std::fs;
use std::path::{Path, PathBuf};

use xenbuild::recipe::{self, Recipe, reference, schema, show};

fn recipes(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new("tests/data/recipe").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Compares with a file; `BLESS=1` writes it instead. Returns what differs.
fn golden(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        fs::write(path, found).unwrap();
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != found).then(|| format!("{}: expected\n{expected}\nfound\n{found}", path.display()))
}

fn settle(differences: Vec<String>) {
    assert!(differences.is_empty(), "{}\nBLESS=1 writes what was found", differences.join("\n----\n"));
}

/// What the first lines of a recipe say about how to read it.
fn options(path: &Path) -> (Option<String>, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let option = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {name}: ")).map(String::from));
    let set =
        option("set").and_then(|set| set.split_once('=').map(|(name, value)| (name.to_string(), value.to_string())));
    (option("variant"), set.into_iter().collect())
}

/// The folder we run in must not be in what is expected.
fn without_folder(text: &str) -> String {
    text.replace(std::env::current_dir().unwrap().to_str().unwrap(), "FOLDER")
}

#[test]
fn good_recipes_mean_what_is_expected() {
    let mut differences = Vec::new();
    for path in recipes("good") {
        let variants: Vec<Option<&str>> = match path.file_stem().unwrap().to_str().unwrap() {
            "everything" => vec![None, Some("small")],
            "models" => vec![None, Some("fvp"), Some("virt")],
            "tutorial" => vec![None, Some("gicv2"), Some("el3")],
            "inherits" => vec![None, Some("gicv2")],
            _ => vec![None],
        };
        for variant in variants {
            let reading = recipe::read(&path, variant, &[]).unwrap_or_else(|report| panic!("{}", report.into_error()));
            let expected = path.with_file_name(format!("{}.expected", reading.recipe.name));
            differences.extend(golden(&expected, &without_folder(&show::toml(&reading, true))));
        }
    }
    settle(differences);
}

#[test]
fn bad_recipes_get_the_expected_errors() {
    let mut differences = Vec::new();
    for path in recipes("bad") {
        let (variant, set) = options(&path);
        let error = match recipe::load(&path, variant.as_deref(), &set) {
            Ok(_) => panic!("{} is not bad", path.display()),
            Err(error) => error,
        };
        assert_eq!(error.kind.exit_code(), 3);
        assert!(!error.message.chars().any(|c| c.is_control() && c != '\n'), "{}", path.display());
        differences.extend(golden(&path.with_extension("expected"), &format!("error: {error}\n")));
    }
    settle(differences);
}

/// Removes all places, which differ between a recipe and its listing.
fn without_origins(recipe: &Recipe) -> String {
    let text = format!("{:#?}", Recipe { sources: vec![], name: String::new(), ..recipe.clone() });
    let mut lines = text.lines();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("origin: Origin {") {
            let end = format!("{}}},", &line[..line.len() - line.trim_start().len()]);
            lines.by_ref().find(|line| *line == end);
        } else {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn the_listing_of_a_recipe_is_a_recipe_that_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (path, variant) in recipes("good").iter().flat_map(|path| [(path, None), (path, Some("small"))]) {
        let Ok(reading) = recipe::read(path, variant, &[]) else { continue };
        for origins in [false, true] {
            let copy = folder.path().join("copy.toml");
            fs::write(&copy, show::toml(&reading, origins)).unwrap();
            let again = recipe::read(&copy, None, &[]).unwrap_or_else(|report| panic!("{}", report.into_error()));
            assert_eq!(without_origins(&reading.recipe), without_origins(&again.recipe));
            assert_eq!(show::json(&reading, false)["machine"], show::json(&again, false)["machine"]);
        }
    }
}

#[test]
fn values_know_where_they_were_written() {
    let path = Path::new("tests/data/recipe/good/inherits.toml");
    let recipe = recipe::load(path, Some("gicv2"), &[]).unwrap();
    assert_eq!((recipe.name.as_str(), recipe.machine.gic), ("inherits@gicv2", 2));
    let memory = &recipe.machine.memory_bytes;
    assert_eq!((memory.value, memory.origin.key.as_str()), (1 << 30, "machine.memory"));
    let error = recipe.error_at(&memory.origin, "too little");
    assert_eq!(
        error.message,
        "too little\n --> tests/data/recipe/good/../base/machine.toml:7:10\n  |\n7 | memory = \"1GiB\"\n  |          ^^^^^^"
    );
    let error = recipe.error_at(&recipe.dom0.memory_bytes.origin, "too little");
    assert_eq!(error.message, "`dom0.memory`, which has its default: too little");
}

#[test]
fn variables_are_set_from_outside() {
    let path = Path::new("tests/data/recipe/good/everything.toml");
    let set = [("count".to_string(), "8".to_string()), ("prefix".to_string(), "{{x}}".to_string())];
    let recipe = recipe::load(path, None, &set).unwrap();
    assert_eq!(recipe.machine.cpus.value, 8);
    let recipe::Format::Ext { label, .. } = &recipe.filesystems["root"].format else { panic!("ext3") };
    assert_eq!(label, "{{x}}-8", "what is set from outside is taken as it is");
}

#[test]
fn huge_and_special_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.toml");
    fs::write(&path, "version = 1\n".repeat(400_000)).unwrap();
    let message = recipe::load(&path, None, &[]).unwrap_err().message;
    assert!(message.ends_with("it is larger than 4 MiB"), "{message}");
    let message = recipe::load(Path::new("/dev/zero"), None, &[]).unwrap_err().message;
    assert!(message.contains("it is not a regular file"), "{message}");
    let message = recipe::load(&folder.path().join("absent.toml"), None, &[]).unwrap_err().message;
    assert!(message.contains("cannot read"), "{message}");
}

/// Four megabytes of the worst we could think of, in a few seconds even unoptimised.
#[test]
fn large_recipes_are_read_in_reasonable_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    let mut nested = String::from("version = 1\n");
    for index in 0..4_000 {
        nested += &format!("[filesystem.f{index}.files]\n\"/x\" = {{ filesystem = \"f{}\" }}\n", index + 1);
    }
    let cases = [
        (
            "unknown keys",
            format!("version = 1\n{}", (0..50_000).map(|index| format!("k{index} = 1\n")).collect::<String>()),
        ),
        ("one long line", format!("version = 1\nepoch = [{}]\n", "1,".repeat(300_000))),
        ("open brackets", "[".repeat(1_000_000)),
        ("a deep key", format!("{} = 1\n", vec!["a"; 1_000_000].join("."))),
        ("nested file systems", nested),
        ("a long name", format!("version = 1\n{} = 1\n", "a".repeat(3_000_000))),
    ];
    for (what, text) in cases {
        fs::write(&path, text).unwrap();
        let start = std::time::Instant::now();
        let message = recipe::load(&path, None, &[]).unwrap_err().message;
        assert!(message.len() < 100_000, "{what}: {} bytes of errors", message.len());
        eprintln!("{what}: {:?}", start.elapsed());
        assert!(start.elapsed().as_secs() < 20, "{what} took {:?}", start.elapsed());
    }
}

#[test]
fn recipes_that_inherit_too_much_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..100 {
        let text = format!("version = 1\ninherit = [\"r{}.toml\", \"r{}.toml\"]\n", index + 1, index + 2);
        fs::write(folder.path().join(format!("r{index}.toml")), text).unwrap();
    }
    let message = recipe::load(&folder.path().join("r0.toml"), None, &[]).unwrap_err().message;
    assert!(message.contains("16 recipes deep"), "{message}");
}

#[test]
fn the_published_schema_is_true() {
    settle(golden(Path::new("docs/recipe.schema.json"), &format!("{:#}\n", schema::schema())).into_iter().collect());
}

#[test]
fn the_documentation_lists_every_key() {
    let path = Path::new("docs/recipe.md");
    let document = fs::read_to_string(path).unwrap();
    let updated = reference::update(&document).expect("docs/recipe.md has a place for the tables of keys");
    settle(golden(path, &updated).into_iter().collect());
}

/// Every piece of TOML in the documentation is a recipe, or becomes one with the first piece beneath it.
#[test]
fn the_examples_of_the_documentation_are_right() {
    let document = fs::read_to_string("docs/recipe.md").unwrap();
    let examples: Vec<&str> =
        document.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(text, _)| text).collect();
    assert!(examples.len() > 5);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("base.toml"), examples[0]).unwrap();
    for (index, example) in examples.iter().enumerate() {
        let path = folder.path().join(format!("example-{index}.toml"));
        let inherits = example.contains("version = 1");
        let head = if inherits { "" } else { "version = 1\ninherit = \"base.toml\"\n" };
        fs::write(&path, format!("{head}{example}")).unwrap();
        if let Err(error) = recipe::load(&path, None, &[]) {
            panic!("example {index}:\n{example}\n{error}");
        }
    }
}

fn xenbuild(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = assert_cmd::Command::cargo_bin("xenbuild").unwrap().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_commands_print_what_the_library_says() {
    let good = "tests/data/recipe/good/tutorial.toml";
    let reading = recipe::read(Path::new(good), Some("gicv2"), &[("xen".to_string(), "4.20".to_string())]).unwrap();
    let options = ["--variant", "gicv2", "--set", "xen=4.20"];
    let show = |more: &[&str]| xenbuild(&[&["show", good], &options[..], more].concat());
    assert_eq!(show(&[]), (Some(0), show::toml(&reading, false), String::new()));
    assert_eq!(show(&["--resolved"]).1, show::toml(&reading, true));
    assert!(show(&["--resolved"]).1.contains("xen = \"4.20\"  # --set\n"));
    assert!(show(&["--resolved"]).1.contains("gic = 2  # tests/data/recipe/good/tutorial.toml:101, variant\n"));
    let json: serde_json::Value = serde_json::from_str(&show(&["--format=json", "--resolved"]).1).unwrap();
    assert_eq!(json["machine"]["memory"]["value"], "2GiB");
    assert_eq!(json["machine"]["memory"]["origin"], "tests/data/recipe/good/tutorial.toml:16");
    assert_eq!(json["hypervisor"]["package"]["value"], "xen-hypervisor-4.20-arm64");

    let printed: serde_json::Value = serde_json::from_str(&xenbuild(&["schema"]).1).unwrap();
    assert_eq!(printed, schema::schema());

    let (code, out, err) = xenbuild(&["show", "tests/data/recipe/bad/wrong-enum.toml"]);
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert_eq!(err, fs::read_to_string("tests/data/recipe/bad/wrong-enum.expected").unwrap());
    assert_eq!(xenbuild(&["show", good, "--set", "xen"]).0, Some(2));
}

#[test]
fn check_looks_at_every_local_input() {
    /// Of an arm64 Image that is all header and zeros, 4 KiB.
    const IMAGE: &str = "970d864a3ceef048710aff348d20b1df976b91f34b2c53b167d1cb0357033fe5";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("local.toml");
    let text = format!(
        r#"version = 1
packages = {{ suites = ["bookworm"], keyring = "keyring.gpg", mirror = "file:/nowhere/at/all" }}
machine = {{ type = "qemu-virt" }}
hypervisor = {{ path = "xen", sha256 = "{IMAGE}" }}
kernel.linux = {{ path = "Image", modules = {{ path = "modules" }} }}
dom0 = {{ kernel = "linux", root = "root" }}
[filesystem.root]
include = [{{ tarball = "tree.tar", sha256 = "{EMPTY}" }}]
files."/a" = {{ path = "modules" }}
files."/b" = {{ tarball = "b.tar", file = "b" }}
"#
    );
    fs::write(&recipe, &text).unwrap();
    fs::write(folder.path().join("xen"), "not empty").unwrap();
    fs::write(folder.path().join("tree.tar"), "").unwrap();
    let check = || xenbuild(&["check", recipe.to_str().unwrap()]);

    let (code, out, err) = check();
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    let place = |line: usize, column: usize| format!("{}:{line}:{column}\n", recipe.display());
    for (message, line, column) in [
        ("keyring.gpg: No such file", 2, 47),
        ("cannot read /nowhere/at/all: No such file", 2, 71),
        ("xen hashes to ", 4, 39),
        ("Image: No such file", 5, 25),
        ("modules: No such file", 5, 53),
        ("modules: No such file", 9, 23),
        ("b.tar: No such file", 10, 26),
    ] {
        assert!(err.contains(&place(line, column)), "nothing at {line}:{column} in {err}");
        assert!(err.contains(message), "{message} in {err}");
    }
    assert!(err.ends_with("error: 7 errors in the recipe\n"), "{err}");

    for name in ["Image", "b.tar", "xen", "keyring.gpg"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.path().join("modules")).unwrap();
    // Linux: Documentation/arm64/booting.rst.
    let mut image = [0; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    fs::write(folder.path().join("Image"), image).unwrap();
    fs::write(folder.path().join("xen"), image).unwrap();
    fs::write(&recipe, text.replace("/nowhere/at/all", folder.path().to_str().unwrap())).unwrap();
    let (code, _, err) = check();
    assert_eq!(code, Some(4));
    assert!(err.contains("modules is not a regular file"), "{err}");
    assert!(!err.contains("errors in the recipe"), "{err}");

    fs::write(
        &recipe,
        text.replace("/nowhere/at/all", folder.path().to_str().unwrap())
            .replace("path = \"modules\" }\n", "path = \"xen\" }\n"),
    )
    .unwrap();
    let (code, out, err) = check();
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("local: 1 kernel, 1 file system, 0 guests, 0 test steps: no errors\n"), "{out}");
}
