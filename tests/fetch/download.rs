//! Downloads: whole, verified, resumed, repeated, redirected, through proxies, and stopped at once.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xenbuild::error::{Kind, Result};
use xenbuild::fetch::http::Proxies;
use xenbuild::fetch::{Archive, Environment, LockedPackage, Wanted};
use xenbuild::task::{Cancel, Silent, Task};

use crate::archive::{Debian, deb, packages, sha256, write};
use crate::server::{Fault, Server};

const FILE: &str = "pool/a_1_arm64.deb";

struct Bench {
    debian: Debian,
    server: Server,
    out: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let debian = Debian::new(&["Package: a\nVersion: 1\nArchitecture: arm64"]);
        let server = Server::start(debian.folder());
        Bench { debian, server, out: TempDir::new().unwrap() }
    }

    fn destination(&self) -> PathBuf {
        self.out.path().join("store/a.deb")
    }

    fn part(&self) -> PathBuf {
        self.out.path().join("store/a.deb.part")
    }

    fn run(&self) -> Result<()> {
        self.run_in(&self.server.url(), &self.debian.environment(), &Silent::default())
    }

    fn run_in(&self, mirror: &str, environment: &Environment, task: &dyn Task) -> Result<()> {
        let archive = Archive::open_in(&packages(mirror), Path::new("/"), false, environment)?;
        archive.download(&package(), &self.destination(), task)
    }

    fn check(&self) {
        assert_eq!(std::fs::read(self.destination()).unwrap(), deb("a", "1"));
        assert!(!self.part().exists());
    }
}

fn package() -> LockedPackage {
    let content = deb("a", "1");
    LockedPackage {
        name: "a".into(),
        version: "1".into(),
        architecture: "arm64".into(),
        suite: "bookworm".into(),
        filename: FILE.into(),
        size: content.len() as u64,
        sha256: sha256(&content),
    }
}

/// Remembers what it is told.
#[derive(Default)]
struct Watched {
    total: AtomicU64,
    done: AtomicU64,
    notes: Mutex<Vec<String>>,
    cancel: Cancel,
}

impl Task for Watched {
    fn total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn note(&self, line: &str) {
        self.notes.lock().unwrap().push(line.into());
    }
    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

#[test]
fn a_package_comes_from_the_web_or_a_folder() {
    let bench = Bench::new();
    let watched = Watched::default();
    bench.run_in(&bench.server.url(), &bench.debian.environment(), &watched).unwrap();
    bench.check();
    assert_eq!((watched.total.into_inner(), watched.done.into_inner()), (100_000, 100_000));
    // What is there is not asked for again.
    bench.run().unwrap();
    assert_eq!(bench.server.requests(FILE).len(), 1);

    let bench = Bench::new();
    bench
        .run_in(&format!("file://{}", bench.debian.folder().display()), &bench.debian.environment(), &Silent::default())
        .unwrap();
    bench.check();
    assert_eq!(bench.server.requests("").len(), 0);
}

#[test]
fn a_body_cut_short_is_resumed() {
    let bench = Bench::new();
    bench.server.fault(FILE, Fault::Cut(40_000));
    bench.server.fault(FILE, Fault::Cut(30_000));
    let watched = Watched::default();
    bench.run_in(&bench.server.url(), &bench.debian.environment(), &watched).unwrap();
    bench.check();
    let ranges: Vec<_> =
        bench.server.requests(FILE).iter().map(|request| request.header("range").map(String::from)).collect();
    assert_eq!(ranges, [None, Some("bytes=40000-".into()), Some("bytes=70000-".into())]);
    assert_eq!(watched.done.into_inner(), 100_000);
    assert_eq!(watched.notes.into_inner().unwrap().len(), 2);
}

#[test]
fn another_run_goes_on_where_one_was_killed() {
    let bench = Bench::new();
    write(&bench.part(), &deb("a", "1")[..60_000]);
    bench.run().unwrap();
    bench.check();
    assert_eq!(bench.server.requests(FILE)[0].header("range"), Some("bytes=60000-"));
}

#[test]
fn parts_are_found_again_wherever_the_package_is_to_go() {
    let bench = Bench::new();
    let parts = bench.out.path().join("partial");
    let archive = || {
        let packages = packages(&bench.server.url());
        let archive = Archive::open_in(&packages, Path::new("/"), false, &bench.debian.environment()).unwrap();
        archive.keeping_parts_in(parts.clone())
    };
    let destination = |name: &str| bench.out.path().join(name).join("package.deb");
    // Cut off, and then nothing more: given up.
    bench.server.fault(FILE, Fault::Cut(40_000));
    (0..3).for_each(|_| bench.server.fault(FILE, Fault::Cut(0)));
    archive().download(&package(), &destination("tmp-1"), &Silent::default()).unwrap_err();
    assert_eq!(std::fs::metadata(parts.join(package().sha256)).unwrap().len(), 40_000);
    let before = bench.server.requests(FILE).len();
    std::fs::remove_dir_all(bench.out.path().join("tmp-1")).unwrap();
    archive().download(&package(), &destination("tmp-2"), &Silent::default()).unwrap();
    assert_eq!(std::fs::read(destination("tmp-2")).unwrap(), deb("a", "1"));
    assert_eq!(bench.server.requests(FILE)[before].header("range"), Some("bytes=40000-"));
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 0);
}

#[test]
fn a_part_of_something_else_is_started_over() {
    for (part, faults) in [
        (vec![0; 60_000], vec![]),
        (vec![0; 100_000], vec![]),
        (vec![0; 200_000], vec![]),
        (deb("a", "1")[..60_000].to_vec(), vec![Fault::NoRange]),
        (deb("a", "1")[..60_000].to_vec(), vec![Fault::WrongRange]),
        (deb("a", "1")[..60_000].to_vec(), vec![Fault::Status(416)]),
    ] {
        let bench = Bench::new();
        write(&bench.part(), &part);
        faults.iter().for_each(|fault| bench.server.fault(FILE, fault.clone()));
        bench.run().unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        bench.check();
    }
}

#[test]
fn errors_that_may_pass_are_waited_for() {
    let bench = Bench::new();
    bench.server.fault(FILE, Fault::Status(503));
    bench.server.fault(FILE, Fault::Cut(0));
    bench.run().unwrap();
    bench.check();

    let bench = Bench::new();
    (0..3).for_each(|_| bench.server.fault(FILE, Fault::Status(502)));
    let error = bench.run().unwrap_err();
    assert_eq!(error.kind, Kind::Network);
    assert!(error.message.contains("the server answers 502") && error.message.contains("(3 attempts)"), "{error}");
    assert_eq!(bench.server.requests(FILE).len(), 3);

    let bench = Bench::new();
    bench.server.fault(FILE, Fault::Status(403));
    assert!(bench.run().unwrap_err().message.contains("the server answers 403"));
    assert_eq!(bench.server.requests(FILE).len(), 1);
}

#[test]
fn progress_resets_the_count_of_attempts() {
    let bench = Bench::new();
    (0..9).for_each(|_| bench.server.fault(FILE, Fault::Cut(10_000)));
    bench.run().unwrap();
    bench.check();
}

#[test]
fn wrong_content_never_arrives() {
    let bench = Bench::new();
    let mut other = deb("a", "1");
    other[50_000] ^= 1;
    bench.server.fault(FILE, Fault::Content(other.clone()));
    let error = bench.run().unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    let (expected, got) = (sha256(&deb("a", "1")), sha256(&other));
    assert!(
        error
            .message
            .contains(&format!("a 1: its SHA-256 is not what it should be\n  expected {expected}\n       got {got}")),
        "{error}"
    );
    assert!(!bench.destination().exists() && !bench.part().exists());

    for length in [99_999, 100_001] {
        bench.server.fault(FILE, Fault::Content(vec![0; length]));
        let error = bench.run().unwrap_err();
        assert!(error.message.contains(&format!("has {length} bytes, but the archive's index says 100000")), "{error}");
        assert!(!bench.destination().exists());
    }
    // The same from a folder.
    let folder = TempDir::new().unwrap();
    write(&folder.path().join(FILE), &other);
    let error =
        bench.run_in(folder.path().to_str().unwrap(), &bench.debian.environment(), &Silent::default()).unwrap_err();
    assert!(error.message.contains("SHA-256 is not what it should be"), "{error}");
    assert!(!bench.destination().exists() && !bench.part().exists());
}

#[test]
fn a_version_that_is_gone_is_told() {
    let bench = Bench::new();
    std::fs::remove_file(bench.debian.folder().join(FILE)).unwrap();
    for mirror in [bench.server.url(), bench.debian.folder().display().to_string()] {
        let error = bench.run_in(&mirror, &bench.debian.environment(), &Silent::default()).unwrap_err();
        assert!(error.message.contains("a 1 is no longer on the mirror"), "{error}");
        assert!(error.hints[0].contains("xenbuild lock --update"), "{:?}", error.hints);
        assert_eq!(error.kind, Kind::Network);
    }
    assert_eq!(bench.server.requests(FILE).len(), 1);
}

#[test]
fn redirects_are_followed_but_not_forever() {
    let bench = Bench::new();
    write(&bench.debian.folder().join("moved/a.deb"), &deb("a", "1"));
    bench.server.fault(FILE, Fault::Redirect("/moved/a.deb".into()));
    bench.run().unwrap();
    bench.check();
    let bench = Bench::new();
    (0..9).for_each(|_| bench.server.fault(FILE, Fault::Redirect(format!("{}/{FILE}", bench.server.url()))));
    assert!(bench.run().unwrap_err().message.contains("more than 5 redirects"));
    let bench = Bench::new();
    bench.server.fault(FILE, Fault::Redirect("file:///etc/passwd".into()));
    assert!(bench.run().unwrap_err().message.contains("the server redirects, but `file:"));
}

#[test]
fn hostile_names_stay_outside() {
    let bench = Bench::new();
    for filename in ["../../etc/passwd", "/etc/passwd", "pool/../../x", "pool//x", ""] {
        let archive =
            Archive::open_in(&packages(&bench.server.url()), Path::new("/"), false, &bench.debian.environment())
                .unwrap();
        let package = LockedPackage { filename: filename.into(), ..package() };
        let error = archive.download(&package, &bench.destination(), &Silent::default()).unwrap_err();
        assert!(error.message.contains("names a file outside of it"), "{error}");
    }
    assert_eq!(bench.server.requests("").len(), 0);
}

#[test]
fn a_proxy_is_asked_for_the_whole_address() {
    let bench = Bench::new();
    let proxy = bench.server.url().replace("http://", "http://user:pass%20word@");
    let through = |variables: &[(&str, &str)]| {
        let proxies = Proxies::from_variables(|name| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_string())
        });
        Environment { proxies, ..bench.debian.environment() }
    };
    // The name cannot be resolved, so this works only if the proxy is left to do that.
    let environment = through(&[("http_proxy", &proxy)]);
    bench.run_in("http://mirror.invalid:8080", &environment, &Silent::default()).unwrap();
    bench.check();
    let request = &bench.server.requests(FILE)[0];
    assert_eq!(request.line, format!("GET http://mirror.invalid:8080/{FILE} HTTP/1.1"));
    assert_eq!(request.header("host"), Some("mirror.invalid:8080"));
    assert_eq!(request.header("proxy-authorization"), Some("basic dxnlcjpwyxnzihdvcmq="));
    // A kept connection carries further requests in the same form.
    let archive = Archive::open_in(&packages("http://mirror.invalid"), Path::new("/"), false, &environment).unwrap();
    archive.indices(bench.out.path(), &Silent::default()).unwrap();
    assert_eq!(bench.server.requests("GET http://mirror.invalid/dists/").len(), 2);
    // Exempted hosts are asked directly.
    std::fs::remove_file(bench.destination()).unwrap();
    let environment = through(&[("http_proxy", "http://127.0.0.1:1"), ("no_proxy", "127.0.0.1")]);
    bench.run_in(&bench.server.url(), &environment, &Silent::default()).unwrap();
    bench.check();
}

#[test]
fn a_stalled_download_can_be_stopped_at_once() {
    let bench = Bench::new();
    bench.server.fault(FILE, Fault::Stall(10_000));
    let watched = Watched::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            watched.cancel.set();
        });
        let error = bench.run_in(&bench.server.url(), &bench.debian.environment(), &watched).unwrap_err();
        assert_eq!(error.kind, Kind::Interrupted, "{error}");
    });
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // What came is kept for the next time.
    assert_eq!(std::fs::metadata(bench.part()).unwrap().len(), 10_000);
    bench.run().unwrap();
    bench.check();
}

#[test]
fn several_at_once_load_a_file_once() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bench.run().unwrap());
        }
    });
    bench.check();
    assert_eq!(bench.server.requests(FILE).len(), 1);
}

#[test]
fn offline_takes_nothing_from_the_network() {
    let bench = Bench::new();
    let archive =
        Archive::open_in(&packages(&bench.server.url()), Path::new("/"), true, &bench.debian.environment()).unwrap();
    let error = archive.download(&package(), &bench.destination(), &Silent::default()).unwrap_err();
    assert!(error.message.contains("offline, and a 1 is not in the cache"), "{error}");
    assert_eq!(bench.server.requests("").len(), 0);
    // A folder is no network.
    let folder = bench.debian.folder().to_str().unwrap();
    let archive = Archive::open_in(&packages(folder), Path::new("/"), true, &bench.debian.environment()).unwrap();
    archive.download(&package(), &bench.destination(), &Silent::default()).unwrap();
    bench.check();
}

#[test]
fn what_lies_at_an_address_is_verified_as_well() {
    let bench = Bench::new();
    let archive = Archive::open_in(&packages(&bench.server.url()), Path::new("/"), false, &bench.debian.environment());
    let (archive, content) = (archive.unwrap(), deb("a", "1"));
    let url = format!("{}/{FILE}", bench.server.url());
    assert_eq!(archive.size_of(&url, &Silent::default()).unwrap(), content.len() as u64);
    let wanted = |sha256: String| Wanted { name: url.clone(), size: content.len() as u64, sha256 };
    let get = |wanted: &Wanted| archive.download_url(&url, wanted, &bench.destination(), &Silent::default());
    let error = get(&wanted("0".repeat(64))).unwrap_err();
    assert!(error.to_string().contains("its SHA-256 is not what it should be"), "{error}");
    assert!(!bench.destination().exists());
    get(&wanted(sha256(&content))).unwrap();
    bench.check();
}
