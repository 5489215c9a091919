//! Locks: written once, obeyed from then on, completed with as little change as can be, renewed on demand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;
use xenbuild::error::Kind;
use xenbuild::fetch::lock::{Options, lock_for, update};
use xenbuild::fetch::{Lock, Request};
use xenbuild::recipe::{self, Recipe};
use xenbuild::task::Silent;

use crate::archive::{Debian, write};
use crate::server::Server;

/// A recipe with one file system of these packages.
struct Bench {
    debian: Debian,
    server: Server,
    folder: TempDir,
}

impl Bench {
    fn new(packages: &[&str]) -> Bench {
        let debian = Debian::new(packages);
        let server = Server::start(debian.folder());
        Bench { debian, server, folder: TempDir::new().unwrap() }
    }

    fn recipe(&self, packages: &str) -> Recipe {
        let text = format!(
            "version = 1\n[packages]\nsuites = [\"bookworm\"]\nmirror = \"{}/\"\n[machine]\ntype = \"qemu-virt\"\n\
             [hypervisor]\npackage = \"xen\"\nfile = \"boot/xen\"\n[kernel.linux]\npackage = \"linux\"\nfile = \"boot/*\"\n\
             [dom0]\nkernel = \"linux\"\n[filesystem.root]\nformat = \"tar\"\npackages = {packages}\n",
            self.server.url()
        );
        let path = self.folder.path().join("machine.toml");
        write(&path, text.as_bytes());
        recipe::load(&path, None, &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("machine.lock")
    }

    fn options(&self) -> Options {
        Options {
            cache_folder: self.folder.path().join("indices"),
            environment: Some(self.debian.environment()),
            ..Options::default()
        }
    }

    fn lock(&self, packages: &str) -> xenbuild::error::Result<Lock> {
        lock_for(&self.recipe(packages), &self.options(), &Silent::default())
    }
}

const ARCHIVE: [&str; 6] = [
    "Package: xen\nVersion: 4.17\nArchitecture: arm64",
    "Package: linux\nVersion: 6.1-1\nArchitecture: arm64\nDepends: linux-6.1 (= 6.1-1), tools",
    "Package: linux-6.1\nVersion: 6.1-1\nArchitecture: arm64\nDepends: tools",
    "Package: tools\nVersion: 1\nArchitecture: all",
    "Package: bash\nVersion: 5\nArchitecture: arm64\nDepends: libc (>= 2)",
    "Package: libc\nVersion: 2\nArchitecture: arm64",
];

fn versions(lock: &Lock) -> BTreeMap<&str, &str> {
    lock.packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect()
}

fn bash() -> Request {
    Request::new(["bash".to_string()], [])
}

#[test]
fn a_lock_is_written_once_and_obeyed_without_the_network() {
    let bench = Bench::new(&ARCHIVE);
    let lock = bench.lock("[\"bash\"]").unwrap();
    let names: Vec<_> = lock.selection(&bash()).unwrap().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["libc", "bash"]);
    let names: Vec<_> =
        lock.same_version_closure("linux").unwrap().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["linux-6.1", "linux"]);
    assert_eq!(lock.same_version_closure("bash"), None);
    let tools = lock.packages.iter().any(|package| package.name == "tools");
    assert!(!tools, "a file's package brings only its own version's packages");
    assert_eq!(Lock::read(&bench.path()).unwrap(), Some(lock.clone()));

    let asked = bench.server.requests("").len();
    assert_eq!(bench.lock("[\"bash\"]").unwrap(), lock);
    assert_eq!(bench.server.requests("").len(), asked);
    let strict = Options { offline: true, locked: true, ..bench.options() };
    assert_eq!(lock_for(&bench.recipe("[\"bash\"]"), &strict, &Silent::default()).unwrap(), lock);
}

#[test]
fn the_same_archive_gives_the_same_file() {
    let bench = Bench::new(&ARCHIVE);
    bench.lock("[\"bash\"]").unwrap();
    let text = std::fs::read_to_string(bench.path()).unwrap();
    std::fs::remove_file(bench.path()).unwrap();
    bench.lock("[\"bash\", \"bash\"]").unwrap();
    assert_eq!(std::fs::read_to_string(bench.path()).unwrap(), text);
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_newer_version_waits_for_an_update() {
    let mut bench = Bench::new(&ARCHIVE);
    let old = bench.lock("[\"bash\"]").unwrap();
    bench.debian.packages.push("Package: bash\nVersion: 5.1\nArchitecture: arm64\nDepends: libc".into());
    bench.debian.publish();
    assert_eq!(bench.lock("[\"bash\"]").unwrap(), old);
    let (new, changes) = update(&bench.recipe("[\"bash\"]"), &bench.options(), &Silent::default()).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["bash: 5 -> 5.1"]);
    assert_eq!(versions(&new)["bash"], "5.1");
    assert_eq!(Lock::read(&bench.path()).unwrap(), Some(old), "an update is written by whoever asked for it");
}

#[test]
fn a_changed_request_keeps_locked_versions_where_it_can() {
    let mut bench = Bench::new(&ARCHIVE);
    bench.lock("[\"bash\"]").unwrap();
    bench.debian.packages.extend([
        "Package: bash\nVersion: 5.1\nArchitecture: arm64\nDepends: libc (>= 2)".into(),
        "Package: libc\nVersion: 3\nArchitecture: arm64".into(),
        "Package: vim\nVersion: 9\nArchitecture: arm64\nDepends: libc".into(),
        "Package: new\nVersion: 1\nArchitecture: arm64\nDepends: libc (>= 3)".into(),
    ]);
    bench.debian.publish();
    let lock = bench.lock("[\"bash\", \"vim\"]").unwrap();
    assert_eq!((versions(&lock)["bash"], versions(&lock)["libc"], versions(&lock)["vim"]), ("5", "2", "9"));
    // This one needs a newer libc, so the old one cannot stay.
    let lock = bench.lock("[\"bash\", \"new\"]").unwrap();
    assert_eq!((versions(&lock)["libc"], versions(&lock)["new"]), ("3", "1"));
    // A version that the recipe names counts more than the locked one.
    let lock = bench.lock("[\"bash=5.1\"]").unwrap();
    assert_eq!(versions(&lock)["bash"], "5.1");
    // One that the mirror no longer lists cannot be kept in a new selection.
    bench.debian.packages.retain(|fields| !fields.starts_with("Package: bash\nVersion: 5.1\n"));
    bench.debian.publish();
    let lock = bench.lock("[\"bash\", \"vim\"]").unwrap();
    assert_eq!(versions(&lock)["bash"], "5");
}

#[test]
fn locked_refuses_to_change_the_file() {
    let bench = Bench::new(&ARCHIVE);
    let locked = Options { locked: true, ..bench.options() };
    let run = |packages| lock_for(&bench.recipe(packages), &locked, &Silent::default()).unwrap_err();
    let error = run("[\"bash\"]");
    assert!(error.message.contains("machine.lock does not do: there is none; --locked forbids"), "{error}");
    assert_eq!(error.kind, Kind::Input);
    bench.lock("[\"bash\"]").unwrap();
    let error = run("[\"bash\", \"tools\"]");
    assert!(error.message.contains("it does not know bash, tools; --locked forbids"), "{error}");
    assert!(error.hints[0].starts_with("xenbuild lock "), "{:?}", error.hints);
    let mut recipe = bench.recipe("[\"bash\"]");
    recipe.packages.suites.push("bookworm-updates".into());
    let error = lock_for(&recipe, &locked, &Silent::default()).unwrap_err();
    assert!(error.message.contains("the recipe's suites have changed"), "{error}");
    let mut recipe = bench.recipe("[\"bash\"]");
    recipe.packages.architecture = "amd64".into();
    let error = lock_for(&recipe, &locked, &Silent::default()).unwrap_err();
    assert!(error.message.contains("it is for arm64, and the recipe for amd64"), "{error}");
}

#[test]
fn what_cannot_be_had_is_shown_where_it_is_asked_for() {
    let mut bench = Bench::new(&ARCHIVE);
    let error = bench.lock("[\"bush\", \"bash=7\", \"libc\"]").unwrap_err();
    assert_eq!(error.kind, Kind::Recipe);
    for part in ["machine.toml:17:13", "there is no package `bush`", "`bash=7` is asked for, but bookworm has 5"] {
        assert!(error.message.contains(part), "{part} in {error}");
    }
    assert!(error.hints.iter().any(|hint| hint.starts_with("looked at bookworm of 20")), "{:?}", error.hints);
    assert!(!bench.path().exists());

    // A virtual package will do among packages, but no file can be taken out of it.
    bench.debian.packages.push("Package: sh\nVersion: 1\nArchitecture: all\nProvides: shell, linux".into());
    bench.debian.packages.retain(|fields| !fields.starts_with("Package: linux\n"));
    bench.debian.publish();
    let error = bench.lock("[\"shell\"]").unwrap_err();
    assert!(error.message.contains("machine.toml:11:11"), "{error}");
    assert!(error.message.contains("`linux` is a virtual package") && !error.message.contains("shell"), "{error}");
}

#[test]
fn packages_that_do_not_go_together_are_told_with_their_reasons() {
    let mut bench = Bench::new(&ARCHIVE);
    bench.debian.packages.push("Package: zsh\nVersion: 5\nArchitecture: arm64\nDepends: libc (>= 9)".into());
    bench.debian.publish();
    let error = bench.lock("[\"bash\", \"zsh\"]").unwrap_err();
    assert!(error.message.contains("the packages bash, zsh cannot be had"), "{error}");
    assert!(error.message.contains("`zsh` needs `libc (>= 9)`, but bookworm has 2"), "{error}");
}

#[test]
fn a_hostile_index_is_refused() {
    let mut bench = Bench::new(&ARCHIVE);
    bench.debian.packages.push("Package: evil\nVersion: 1\nArchitecture: arm64\nFilename: ../../../evil.deb".into());
    bench.debian.publish();
    let error = bench.lock("[\"evil\"]").unwrap_err();
    assert!(error.message.contains("names a file outside of it: \"../../../evil.deb\""), "{error}");
    assert_eq!(error.kind, Kind::Input);
}

#[test]
fn a_recipe_without_packages_needs_no_lock() {
    let bench = Bench::new(&ARCHIVE);
    let path = bench.folder.path().join("bare.toml");
    let text = "version = 1\n[machine]\ntype = \"qemu-virt\"\n[hypervisor]\npath = \"xen\"\n[kernel.linux]\n\
                path = \"Image\"\n[dom0]\nkernel = \"linux\"\n";
    write(&path, text.as_bytes());
    let strict = Options { offline: true, locked: true, ..Options::default() };
    let recipe = recipe::load(&path, None, &[]).unwrap();
    assert_eq!(lock_for(&recipe, &strict, &Silent::default()).unwrap(), Lock::default());
    assert!(!bench.folder.path().join("bare.lock").exists());
}

#[test]
fn sources_are_locked_without_a_word_of_packages() {
    let bench = Bench::new(&[]);
    write(&bench.debian.folder().join("linux.tar"), b"a tarball");
    let recipe = |url: &str| {
        let hash = crate::archive::sha256(b"a tarball");
        let text = format!(
            "version = 1\n[source.linux]\nurl = \"{}/{url}\"\nsha256 = \"{hash}\"\n[machine]\ntype = \"qemu-virt\"\n\
             [hypervisor]\npath = \"xen\"\n[kernel.linux]\nsource = \"linux\"\n[dom0]\nkernel = \"linux\"\n",
            bench.server.url()
        );
        let path = bench.folder.path().join("machine.toml");
        write(&path, text.as_bytes());
        recipe::load(&path, None, &[]).unwrap_or_else(|error| panic!("{error}"))
    };
    let lock = |recipe: &Recipe, options: &Options| lock_for(recipe, options, &Silent::default());
    let first = lock(&recipe("linux.tar"), &bench.options()).unwrap();
    let [xenbuild::fetch::LockedSource::Url { size: 9, .. }] = first.sources.as_slice() else { panic!("{first:?}") };
    assert!(first.suites.is_empty());
    // From now on the lock is enough.
    let asked = bench.server.requests("").len();
    let strict = Options { offline: true, locked: true, ..bench.options() };
    assert_eq!(lock(&recipe("linux.tar"), &strict).unwrap(), first);
    assert_eq!(bench.server.requests("").len(), asked);
    let error = lock(&recipe("other.tar"), &strict).unwrap_err();
    assert!(error.to_string().contains("it does not know") && error.to_string().contains("other.tar"), "{error}");
    let error = lock(&recipe("other.tar"), &bench.options()).unwrap_err();
    assert_eq!((error.kind, error.to_string().ends_with("other.tar is not there")), (Kind::Network, true), "{error}");
    let (_, changes) = update(&recipe("linux.tar"), &bench.options(), &Silent::default()).unwrap();
    assert!(changes.is_empty(), "{changes:?}");
}
