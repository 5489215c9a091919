//! Tests of the engine: plans of probes in a temporary `out/`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering};

use super::event::{Outcome, Recorder};
use super::explain::{Verdict, explain, explain_deep};
use super::survey::Prospect;
use super::*;
use crate::delivery::verify::{What, verify};
use crate::error::Kind;
use crate::plan::{Artifact, Role};
use crate::step::probe::Probe;
use crate::step::{Digest, Input, InputSource, NoPackages, Step, StepId};

/// A temporary folder with an `out/`, and a plan to change between builds.
struct Bench {
    folder: tempfile::TempDir,
    options: Options,
    runs: BTreeMap<&'static str, Arc<AtomicU32>>,
}

/// A step of a test's plan.
struct Row<'a> {
    name: &'static str,
    probe: Probe,
    inputs: Vec<In<'a>>,
}

enum In<'a> {
    Step(&'a str),
    File(&'a str),
    Folder(&'a str),
    Bytes(&'static [u8]),
}

fn row<'a>(name: &'static str, text: &str, inputs: impl Into<Vec<In<'a>>>) -> Row<'a> {
    Row { name, probe: Probe { text: text.into(), ..Probe::default() }, inputs: inputs.into() }
}

fn blame(origin: &Origin, message: String) -> Error {
    Error::new(Kind::Recipe, format!("{}: {message}", origin.key))
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("out"));
        Bench { folder, options, runs: BTreeMap::new() }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The last step's output is the artifact.
    fn plan(&mut self, rows: Vec<Row<'_>>) -> Plan {
        let mut plan = Plan::new("test", self.folder.path());
        for mut row in rows {
            row.probe.runs = self.runs.entry(row.name).or_default().clone();
            let input = |input: In<'_>| match input {
                In::Step(name) => Input::step(name, plan.find(name).unwrap()),
                In::Bytes(bytes) => Input::carried("carried", bytes),
                In::File(name) => {
                    let source = InputSource::File { path: self.folder.path().join(name), sha256: None, mode: false };
                    let origin = Origin { file: None, span: 0..0, key: "some.key".into() };
                    Input { name: format!("file {name}"), source, origin: Some(origin) }
                }
                In::Folder(name) => {
                    let source = InputSource::Folder { path: self.folder.path().join(name), keep: false };
                    Input { name: format!("folder {name}"), source, origin: None }
                }
            };
            let inputs = row.inputs.into_iter().map(input).collect();
            plan.push(row.name, Step::Probe(row.probe), inputs).unwrap();
        }
        let step = StepId(plan.len() as u32 - 1);
        plan.artifacts.push(Artifact { role: Role::Image, name: "result".into(), step, output: "out".into() });
        plan
    }

    /// Builds; returns the steps that ran, in the order in which they began.
    fn build(&mut self, rows: Vec<Row<'_>>) -> Result<Vec<String>> {
        let plan = self.plan(rows);
        self.build_plan(&plan).0
    }

    fn build_plan(&self, plan: &Plan) -> (Result<Vec<String>>, Vec<Event>) {
        let recorder = Recorder::default();
        let options = Options { cancel: Arc::default(), ..self.options.clone() };
        let result = self.build_watched(plan, &options, &recorder);
        let begun = |event: &Event| match event {
            Event::Begin { step, .. } => Some(step.clone()),
            _ => None,
        };
        let events = recorder.events();
        (result.map(|()| events.iter().filter_map(begun).collect()), events)
    }

    fn build_watched(&self, plan: &Plan, options: &Options, watcher: &dyn Watcher) -> Result<()> {
        let about = delivery::Recipe { name: plan.recipe.clone(), ..delivery::Recipe::default() };
        let shop = Workshop::open(&options.out, &options.cancel, watcher)?;
        shop.carry_out(plan, &about, options, &blame, &NoPackages, watcher)
    }

    /// What is wrong with the artifacts, by their own manifest.
    fn verify(&self) -> Vec<(What, String)> {
        let report = verify(&self.options.out.join("test"), &Cancel::default()).unwrap();
        report.findings.into_iter().map(|finding| (finding.what, finding.name)).collect()
    }

    fn result(&self) -> String {
        fs::read_to_string(self.options.out.join("test/result")).unwrap()
    }

    fn runs(&self, name: &str) -> u32 {
        self.runs[name].load(Ordering::Relaxed)
    }

    /// Explains the last step, in depth, as text.
    fn explain(&mut self, rows: Vec<Row<'_>>) -> String {
        let plan = self.plan(rows);
        let (surveyed, history) = survey(&plan, &self.options.out, &blame, &self.options.cancel).unwrap();
        let last = StepId(plan.len() as u32 - 1);
        explain_deep(&plan, &surveyed, &history, last).iter().map(ToString::to_string).collect()
    }

    /// Lists everything under `out/` that a killed or failed build must not leave.
    fn litter(&self) -> Vec<PathBuf> {
        let mut litter = Vec::new();
        let mut todo = vec![self.options.out.clone()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if ["tmp-", ".new-", ".index-"].iter().any(|prefix| name.starts_with(prefix)) {
                    litter.push(entry.path());
                }
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        litter
    }
}

fn chain(leaf: &str) -> Vec<Row<'static>> {
    vec![row("leaf", leaf, []), row("middle", "m", [In::Step("leaf")]), row("top", "t", [In::Step("middle")])]
}

#[test]
fn a_second_build_does_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.build(chain("x")).unwrap(), ["leaf", "middle", "top"]);
    assert_eq!(bench.result(), "tmx");
    let index = fs::metadata(bench.options.out.join("cache/index")).unwrap();
    let state = fs::metadata(bench.options.out.join("test/.state")).unwrap();
    let plan = bench.plan(chain("x"));
    let (ran, events) = bench.build_plan(&plan);
    assert_eq!(ran.unwrap(), Vec::<String>::new());
    assert!(matches!(events.last(), Some(Event::Finished { done: 0, reused: 3, .. })), "{events:?}");
    assert!(matches!(events.first(), Some(Event::Plan { steps: 3, .. })), "{events:?}");
    // Nor does it write: not even the index.
    assert_eq!(index.ino(), fs::metadata(bench.options.out.join("cache/index")).unwrap().ino());
    assert_eq!(state.ino(), fs::metadata(bench.options.out.join("test/.state")).unwrap().ino());
}

#[test]
fn a_change_runs_what_depends_on_it_and_no_more() {
    let mut bench = Bench::new();
    let rows = |left: &str| {
        vec![row("left", left, []), row("right", "r", []), row("both", "b", [In::Step("left"), In::Step("right")])]
    };
    bench.build(rows("l")).unwrap();
    assert_eq!(bench.build(rows("L")).unwrap(), ["left", "both"]);
    assert_eq!(bench.result(), "bLr");
    assert_eq!(bench.build(rows("l")).unwrap(), Vec::<String>::new(), "the earlier output is still there");
    assert_eq!(bench.result(), "blr");
}

#[test]
fn the_same_output_as_before_stops_the_wave() {
    let mut bench = Bench::new();
    let rows = |leaf: &str| {
        let mut rows = chain(leaf);
        rows[1].probe.constant = true;
        rows
    };
    bench.build(rows("x")).unwrap();
    assert_eq!(bench.build(rows("y")).unwrap(), ["leaf", "middle"]);
    assert_eq!(bench.runs("top"), 1);
}

#[test]
fn what_is_known_is_made_only_for_those_who_need_it() {
    let mut bench = Bench::new();
    let rows = |text: &str| {
        let mut rows = chain("x");
        rows[0].probe.known = true;
        rows[2].probe.text = text.into();
        rows
    };
    assert_eq!(bench.build(rows("t")).unwrap(), ["leaf", "middle", "top"]);
    let leaf = bench.plan(rows("t"));
    let manifest = crate::plan::manifest::Manifest::new(leaf.step(StepId(0)).step.kind(), []);
    fs::remove_dir_all(bench.options.out.join("cache").join(manifest.key().to_string())).unwrap();
    assert_eq!(bench.build(rows("u")).unwrap(), ["top"], "nobody needs the leaf");
    assert_eq!(bench.result(), "umx");
}

#[test]
fn an_entry_that_is_not_what_is_known_is_damaged() {
    let mut bench = Bench::new();
    let rows = |top: &str| {
        let mut rows = chain("x");
        rows[0].probe.known = true;
        rows[2].probe.text = top.into();
        rows
    };
    bench.build(rows("t")).unwrap();
    let plan = bench.plan(rows("t"));
    let manifest = crate::plan::manifest::Manifest::new(plan.step(StepId(0)).step.kind(), []);
    let entry = bench.options.out.join("cache").join(manifest.key().to_string());
    // An entry that agrees with itself, made of other bytes.
    for (name, text) in [("out", "y".into()), ("outputs", format!("xenbuild-outputs 1\n{} 1 out\n", Digest::of(b"y")))]
    {
        fs::remove_file(entry.join(name)).unwrap();
        fs::write(entry.join(name), text).unwrap();
    }
    let (surveyed, _) = survey(&plan, &bench.options.out, &blame, &bench.options.cancel).unwrap();
    assert_eq!(surveyed[0].prospect, Prospect::NotNeeded);
    assert_eq!(bench.build(rows("t")).unwrap(), Vec::<String>::new(), "nobody needs the leaf");
    let needed = || {
        let mut needed = rows("t");
        needed[1].probe.text = "n".into();
        needed
    };
    let plan = bench.plan(needed());
    let (surveyed, _) = survey(&plan, &bench.options.out, &blame, &bench.options.cancel).unwrap();
    assert_eq!(surveyed[0].prospect, Prospect::Damaged("out: not what it is known to be".into()));
    let needed = needed();
    assert_eq!(bench.build(needed).unwrap(), ["leaf", "middle", "top"]);
    assert_eq!(bench.result(), "tnx");
}

#[test]
fn damage_is_found_and_mended() {
    let mut bench = Bench::new();
    bench.build(chain("x")).unwrap();
    let result = bench.options.out.join("test/result");
    assert_eq!(fs::metadata(&result).unwrap().permissions().mode() & 0o7777, 0o444);
    let scribble = |text: &str| {
        fs::set_permissions(&result, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&result, text).unwrap();
    };
    scribble("another length");
    let plan = bench.plan(chain("x"));
    let (ran, events) = bench.build_plan(&plan);
    assert_eq!(ran.unwrap(), ["top"]);
    let note = events.iter().find_map(|event| match event {
        Event::Note { text, .. } => Some(text.clone()),
        _ => None,
    });
    assert!(note.unwrap().contains("out: 14 bytes instead of 3"));
    assert_eq!(bench.result(), "tmx");
    scribble("TMX");
    assert_eq!(bench.build(chain("x")).unwrap(), ["top"]);
    assert_eq!(bench.result(), "tmx");
    scribble("tmx");
    assert_eq!(bench.build(chain("x")).unwrap(), Vec::<String>::new(), "rewritten with the same bytes");
    fs::remove_file(&result).unwrap();
    assert_eq!(bench.build(chain("x")).unwrap(), Vec::<String>::new());
    assert_eq!(bench.result(), "tmx");
}

#[test]
fn a_failure_names_its_step_and_leaves_nothing() {
    let mut bench = Bench::new();
    let mut rows = chain("x");
    rows[1].probe.fail = Some("told to".into());
    let plan = bench.plan(rows);
    let (result, events) = bench.build_plan(&plan);
    assert_eq!(result.unwrap_err().to_string(), "step middle: told to");
    let failed = |event: &&Event| matches!(event, Event::End { outcome: Outcome::Failed, .. });
    assert_eq!(events.iter().filter(failed).count(), 1);
    assert_eq!(bench.litter(), Vec::<PathBuf>::new());
    assert_eq!(bench.runs("top"), 0);
    assert_eq!(bench.build(chain("x")).unwrap(), ["middle", "top"], "what went well before is kept");
}

#[test]
fn all_failures_are_reported_and_the_others_stopped() {
    let mut bench = Bench::new();
    bench.options.jobs = NonZeroUsize::new(3).unwrap();
    let mut rows = vec![row("a", "a", []), row("b", "b", []), row("c", "c", [])];
    rows[0].probe.fail = Some("first".into());
    rows[1].probe.hang = true;
    rows[2].probe.hang = true;
    let began = Instant::now();
    let plan = bench.plan(rows);
    let (result, events) = bench.build_plan(&plan);
    assert_eq!(result.unwrap_err().to_string(), "step a: first");
    assert!(began.elapsed().as_secs() < 5, "the others were stopped");
    assert!(!events.iter().any(|event| matches!(event, Event::Finished { .. })));
    assert_eq!(bench.litter(), Vec::<PathBuf>::new());
    let errors = ["one", "two"].map(|text| Error::new(Kind::Input, text).hint(format!("try {text}")));
    let joined = join(errors.into());
    assert_eq!(joined.to_string(), "2 steps failed\n  one\n  two");
    assert_eq!(joined.hints, ["try one", "try two"]);
}

#[test]
fn a_panic_is_a_failure_of_that_step() {
    let mut bench = Bench::new();
    let mut rows = chain("x");
    rows[0].probe.panic = true;
    let error = bench.build(rows).unwrap_err();
    assert_eq!((error.kind, error.to_string().as_str()), (Kind::Internal, "step leaf: told to panic"));
    assert_eq!(bench.litter(), Vec::<PathBuf>::new());
}

#[test]
fn an_interrupt_stops_and_leaves_nothing() {
    let mut bench = Bench::new();
    let mut rows = chain("x");
    rows[1].probe.hang = true;
    let plan = bench.plan(rows);
    let options = bench.options.clone();
    let shop = Workshop::open(&options.out, &options.cancel, &event::Nobody).unwrap();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            options.cancel.set();
        });
        shop.carry_out(&plan, &delivery::Recipe::default(), &options, &blame, &NoPackages, &event::Nobody).unwrap_err()
    });
    assert_eq!(error.kind, Kind::Interrupted);
    assert_eq!(bench.litter(), Vec::<PathBuf>::new());
}

#[test]
fn local_files_and_folders_count_by_content() {
    let mut bench = Bench::new();
    bench.write("notes.txt", "one");
    bench.write("folder/a/b", "b");
    let rows = || vec![row("top", "t", [In::File("notes.txt"), In::Folder("folder"), In::Bytes(b"!")])];
    assert_eq!(bench.build(rows()).unwrap(), ["top"]);
    assert_eq!(bench.result(), "tonefolder!");
    bench.write("notes.txt", "one");
    assert_eq!(bench.build(rows()).unwrap(), Vec::<String>::new(), "only its times changed");
    bench.write("notes.txt", "two");
    assert_eq!(
        bench.explain(rows()),
        format!(
            "top: would run\n  input file notes.txt: {} -> {} (file notes.txt)\n",
            Digest::of(b"one").short(),
            Digest::of(b"two").short()
        )
    );
    assert_eq!(bench.build(rows()).unwrap(), ["top"]);
    bench.write("folder/a/b", "c");
    bench.write("folder/new", "n");
    let told = bench.explain(rows());
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.contains("  input folder folder: a/b: file "), "{told}");
    assert!(told.contains("(file folder/a/b)"), "{told}");
    assert!(told.contains("  input folder folder: new: new, file "), "{told}");
    assert_eq!(bench.build(rows()).unwrap(), ["top"]);
    fs::set_permissions(bench.folder.path().join("folder/new"), fs::Permissions::from_mode(0o755)).unwrap();
    let told = bench.explain(rows());
    assert!(told.contains("input folder folder: new: file ") && told.contains("-> program "), "{told}");
}

#[test]
fn a_missing_file_is_blamed_on_the_key() {
    let mut bench = Bench::new();
    let error = bench.build(vec![row("top", "t", [In::File("nowhere")])]).unwrap_err();
    assert_eq!(error.kind, Kind::Recipe);
    let text = error.to_string();
    assert!(
        text.starts_with("some.key: cannot read ") && text.ends_with("No such file or directory (os error 2)"),
        "{text}"
    );
}

#[test]
fn a_wrong_hash_is_told_with_both() {
    let bench = Bench::new();
    bench.write("a", "a");
    let mut plan = Plan::new("test", bench.folder.path());
    let source =
        InputSource::File { path: bench.folder.path().join("a"), sha256: Some(Digest([0x11; 32])), mode: false };
    let input = Input { name: "a".into(), source, origin: None };
    plan.push("top", Step::Probe(Probe::default()), vec![input]).unwrap();
    let error = bench.build_plan(&plan).0.unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    let wanted = format!("a hashes to {}, not to {}", Digest::of(b"a"), "11".repeat(32));
    assert!(error.to_string().ends_with(&wanted), "{error}");
}

#[test]
fn explain_follows_a_change_to_its_cause() {
    let mut bench = Bench::new();
    assert_eq!(bench.explain(chain("x")).lines().next(), Some("top: would run: it was never built"));
    bench.build(chain("x")).unwrap();
    assert_eq!(bench.explain(chain("x")), "top: up to date\n");
    let told = "top: would run if what it takes turns out different\n  input middle (step middle)\n\
                middle: would run if what it takes turns out different\n  input leaf (step leaf)\n\
                leaf: would run\n  parameter text: x -> y\n";
    assert_eq!(bench.explain(chain("y")), told);
    bench.build(chain("y")).unwrap();
    // Back to what the cache still has: nothing runs, and the difference is told all the same.
    let (x, y) = (Digest::of(b"tmx"), Digest::of(b"tmy"));
    assert_ne!(x, y);
    let told = bench.explain(chain("x"));
    assert!(told.starts_with("top: in the cache: made by an earlier build\n  input middle: "), "{told}");
    assert!(told.ends_with("leaf: in the cache: made by an earlier build\n  parameter text: y -> x\n"), "{told}");
    bench.build(chain("x")).unwrap();
    fs::remove_dir_all(bench.options.out.join("cache")).unwrap();
    let told = bench.explain(chain("x"));
    assert!(told.ends_with("leaf: would run: its output is gone from the cache\n"), "{told}");
}

#[test]
fn a_survey_says_what_a_build_would_do() {
    let mut bench = Bench::new();
    let prospects = |bench: &mut Bench, rows| {
        let plan = bench.plan(rows);
        let (surveyed, history) = survey(&plan, &bench.options.out, &blame, &bench.options.cancel).unwrap();
        let verdicts: Vec<Verdict> =
            plan.steps().map(|(id, _)| explain(&plan, &surveyed, &history, id).verdict).collect();
        (surveyed.into_iter().map(|step| step.prospect).collect::<Vec<_>>(), verdicts)
    };
    let new = prospects(&mut bench, chain("x"));
    assert_eq!(new.0, [Prospect::WouldRun, Prospect::Waits(StepId(0)), Prospect::Waits(StepId(1))]);
    assert_eq!(new.1, [Verdict::WouldRun; 3]);
    assert!(!bench.options.out.exists(), "a survey makes nothing");
    bench.build(chain("x")).unwrap();
    let same = prospects(&mut bench, chain("x"));
    assert_eq!(same, (vec![Prospect::Cached; 3], vec![Verdict::UpToDate; 3]));
    let mut known = chain("x");
    known[0].probe.known = true;
    known[0].probe.text = "z".into();
    assert_eq!(prospects(&mut bench, known).0[..2], [Prospect::WouldRun, Prospect::WouldRun]);
}

#[test]
fn artifacts_that_are_no_longer_made_go_and_nothing_else() {
    let mut bench = Bench::new();
    let mut plan = bench.plan(chain("x"));
    plan.artifacts.push(Artifact { role: Role::Image, name: "second".into(), step: StepId(0), output: "out".into() });
    bench.build_plan(&plan).0.unwrap();
    let folder = bench.options.out.join("test");
    fs::write(folder.join("serial.log"), "mine").unwrap();
    fs::write(folder.join(".new-result"), "of a killed build").unwrap();
    assert!(folder.join("second").exists());
    bench.build(chain("x")).unwrap();
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".state", "SHA256SUMS", "manifest.json", "result", "serial.log"]);
}

/// Dies when the artifact of this number is in place.
struct Dies(AtomicU32);

impl Watcher for Dies {
    fn event(&self, event: Event) {
        if matches!(event, Event::Artifact { .. }) {
            assert_ne!(self.0.fetch_sub(1, Ordering::Relaxed), 1, "told to die");
        }
    }
}

#[test]
fn a_build_that_dies_between_two_artifacts_leaves_no_set_that_verifies() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut bench = Bench::new();
    // Of two builds, all artifacts differ.
    let plan_of = |bench: &mut Bench, text: &str| {
        let mut plan = bench.plan(vec![row("top", text, [])]);
        plan.artifacts = NAMES
            .map(|name| Artifact { role: Role::Image, name: name.into(), step: StepId(0), output: "out".into() })
            .to_vec();
        plan
    };
    let missing = vec![(What::Manifest, delivery::MANIFEST.to_owned())];
    for (round, text) in ["x", "y", "z", "x", "x"].into_iter().enumerate() {
        let plan = plan_of(&mut bench, text);
        // What is the same as before never is taken apart.
        let unchanged = round == 4;
        for dies_at in 1..=3 {
            let watcher = Dies(AtomicU32::new(dies_at));
            let options = Options { cancel: Arc::default(), ..bench.options.clone() };
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                bench.build_watched(&plan, &options, &watcher).unwrap();
            }));
            assert!(died.is_err(), "{text}, {dies_at}");
            let wrong = if unchanged { vec![] } else { missing.clone() };
            assert_eq!(bench.verify(), wrong, "{text}, {dies_at}");
            assert_eq!(History::is_torn(&bench.options.out.join("test")), !unchanged);
        }
        bench.build_plan(&plan).0.unwrap();
        assert_eq!(bench.verify(), []);
        for name in NAMES {
            assert_eq!(fs::read_to_string(bench.options.out.join("test").join(name)).unwrap(), text);
        }
    }
}

#[test]
fn garbage_goes_by_last_use_and_what_is_in_use_stays() {
    let mut bench = Bench::new();
    for text in ["a", "b", "c"] {
        bench.build(vec![row("top", text, [])]).unwrap();
    }
    let out = &bench.options.out;
    let shop = Workshop::open(out, &Cancel::default(), &event::Nobody).unwrap();
    let entries = shop.store.entries().unwrap();
    assert_eq!(entries.len(), 3);
    let keys = |shop: &Workshop| shop.store.entries().unwrap().into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
    // The entry in use is made the least recently used one: it stays all the same.
    let in_use: Vec<Digest> = History::read(&shop.out.join("test")).keys().collect();
    let mut ages: Vec<Digest> = keys(&shop).into_iter().filter(|key| *key != in_use[0]).collect();
    ages.insert(0, in_use[0]);
    for (age, key) in ages.iter().enumerate() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + age as u64);
        let list = shop.store.folder().join(key.to_string()).join("outputs");
        fs::File::open(list).unwrap().set_modified(time).unwrap();
    }
    let each = entries[0].1;
    let usage = collect::usage(&shop.out, &shop.store).unwrap();
    assert_eq!((usage.entries, usage.bytes, usage.in_use_bytes), (3, 3 * each, each));
    let collect = |limit, dry| collect::collect(&shop.out, &shop.store, &shop.index, limit, dry, &Cancel::default());
    assert_eq!(collect(3 * each, false).unwrap().entries, 0);
    assert_eq!(collect(2 * each, true).unwrap().entries, 1);
    assert_eq!(keys(&shop).len(), 3);
    assert_eq!(collect(2 * each, false).unwrap().entries, 1);
    assert!(!keys(&shop).contains(&ages[1]) && keys(&shop).contains(&ages[2]));
    let rest = collect(0, false).unwrap();
    assert_eq!((rest.entries, rest.left_bytes), (1, each));
    assert_eq!(keys(&shop), in_use);
    drop(shop);
    assert_eq!(bench.build(vec![row("top", "c", [])]).unwrap(), Vec::<String>::new());
}

#[test]
fn jobs_and_folders_do_not_show() {
    let keys = |jobs: usize| {
        let mut bench = Bench::new();
        bench.options.jobs = NonZeroUsize::new(jobs).unwrap();
        bench.write("folder/x", "x");
        bench.write("notes", "n");
        let mut rows = chain("x");
        rows.push(row("other", "o", [In::Folder("folder"), In::File("notes"), In::Step("top")]));
        bench.build(rows).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(bench.options.out.join("cache")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, bench.result())
    };
    assert_eq!(keys(1), keys(8));
}

#[test]
fn many_steps_on_many_threads() {
    let mut bench = Bench::new();
    bench.options.jobs = NonZeroUsize::new(8).unwrap();
    let names: Vec<&'static str> = (0..120).map(|i| &*Box::leak(format!("s{i}").into_boxed_str())).collect();
    let rows = |leaf: &str| {
        names
            .iter()
            .enumerate()
            .map(|(i, &name)| {
                let inputs: Vec<In<'_>> =
                    [i / 2, i / 3].into_iter().filter(|&j| j < i).map(|j| In::Step(names[j])).collect();
                let mut row = row(name, if i == 0 { leaf } else { "." }, inputs);
                row.probe.constant = i % 5 == 1;
                row.probe.known = i == 0;
                row
            })
            .collect::<Vec<_>>()
    };
    // Steps that are the same in all but their name run once.
    assert_eq!(bench.build(rows("a")).unwrap().len(), 81);
    assert_eq!(bench.build(rows("a")).unwrap().len(), 0);
    let rest = bench.build(rows("b")).unwrap().len();
    assert!((1..120).contains(&rest), "{rest}");
}
