//! Dialogues with machines that are scripts: real shells on a real pseudo-terminal, and machines that misbehave.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xenbuild::emulate::dialogue::{Dialogue, Nobody};
use xenbuild::emulate::log::SerialLog;
use xenbuild::emulate::process::{Emulator, Start, Wire};
use xenbuild::error::{Error, Kind};
use xenbuild::recipe::TestAction;
use xenbuild::task::Cancel;

use crate::fixture::{expect, play, power_off, recipe, run, script, send, start, step};

/// A machine that boots into a shell on a pseudo-terminal, which `script` of util-linux makes.
fn shell(shell: &str) -> String {
    format!(
        "echo 'Xen version 4.17'; echo booting...\n\
         exec script -qfec \"stty cols 80; env PS1='# ' PS2='> ' {shell}\" /dev/null\n"
    )
}

fn failed(machine: &str, fail: &[&str], steps: Vec<xenbuild::recipe::TestStep>, timeout_ms: u64) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let error = play(folder.path(), machine, &recipe(fail, steps, timeout_ms)).unwrap_err();
    assert_eq!(error.kind, Kind::Test, "{error}");
    assert!(error.hints.last().unwrap().contains("serial.log"), "{error:?}");
    error
}

#[test]
fn real_shells_run_what_is_typed() {
    let long = "0123456789abcdef".repeat(120);
    for name in ["bash --norc --noprofile -i", "dash -i"] {
        let folder = tempfile::tempdir().unwrap();
        let steps = vec![
            expect("Xen version"),
            run("echo one; echo two", &["^one$", "^two$", r"\Aone\ntwo\n\z"], 0),
            run("false # with a comment", &[], 1),
            run("(exit 42)", &[], 42),
            run("printf 'no end'", &[r"\Ano end\z"], 0),
            run("echo \"it's\" '$HOME' !!", &[r"^it's \$HOME !!$"], 0),
            run("cat <<E\na\tb\nE", &["^a\tb$"], 0),
            run(&format!("echo {long}"), &[&format!("^{long}$")], 0),
            run("sleep 0.1 &", &[], 0),
            run("echo '# '", &["^# $"], 0),
            run("printf '\\033[1;31mred\\033[0m\\n'", &["^red$"], 0),
            run("nosuchcommand", &["not found"], 127),
            send("exit\n"),
            power_off(),
        ];
        let count = steps.len();
        let report = play(folder.path(), &shell(name), &recipe(&[], steps, 60_000))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.steps.len(), count);
        let log = std::fs::read_to_string(folder.path().join("serial.log")).unwrap();
        assert!(log.contains("] Xen version 4.17\n"), "{log}");
    }
}

#[test]
fn a_command_that_the_shell_cannot_parse_is_told_apart() {
    let error = failed(&shell("dash -i"), &[], vec![run("echo )", &[], 0)], 30_000);
    assert!(error.message.contains("without having run it"), "{error}");
}

#[test]
fn a_wrong_status_and_a_wrong_output_show_what_came() {
    let steps = || vec![expect("booting"), run("echo some output; (exit 3)", &[], 0)];
    let error = failed(&shell("dash -i"), &[], steps(), 30_000);
    assert!(error.message.starts_with("test step 2 of 2: run `echo some output"), "{error}");
    assert!(error.message.contains("--> recipes/fixture.toml:3:3"), "{error}");
    assert!(error.message.contains("ended with status 3, not 0; it printed:\n"), "{error}");
    assert!(error.message.ends_with("\n  | some output"), "{error}");

    let error = failed(&shell("dash -i"), &[], vec![run("echo Domain-1", &["^Domain-0"], 0)], 30_000);
    assert!(
        error.message.contains("nothing that it printed matches `^Domain-0`:")
            && error.message.ends_with("\n  | Domain-1"),
        "{error}"
    );
}

#[test]
fn a_step_that_never_comes_ends_at_its_own_limit() {
    let begun = Instant::now();
    let steps = vec![step(TestAction::Expect("never".into()), 300)];
    let error = failed("echo a; echo b; sleep 60", &[], steps, 30_000);
    assert!(error.message.contains("expect `never`: not within 0.3s"), "{error}");
    assert!(error.message.ends_with("the console's last lines:\n  | a\n  | b"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_busy_host_may_be_given_more_time() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[], vec![step(TestAction::Expect("late".into()), 200), power_off()], 500);
    let machine = script(folder.path(), "sleep 0.8; echo late");
    let dialogue = Dialogue::compile(&recipe).unwrap().with_patience(60);
    dialogue.play(start(&machine, folder.path(), false), &Cancel::default(), &Nobody).passed().unwrap();
    let hurried = Dialogue::compile(&recipe).unwrap().with_patience(0);
    let error = hurried.play(start(&machine, folder.path(), false), &Cancel::default(), &Nobody).passed().unwrap_err();
    assert!(error.message.contains("not within 0.2s"), "{error}");
}

#[test]
fn the_whole_test_has_a_limit_too() {
    let steps = vec![expect("a"), expect("never")];
    let error = failed("echo a; while sleep 0.05; do echo tick; done", &[], steps, 500);
    assert!(error.message.contains("step 2 of 2") && error.message.contains("0.5s for all of it"), "{error}");
}

#[test]
fn a_machine_that_never_falls_silent_runs_out_of_time_too() {
    let begun = Instant::now();
    let error = failed("exec yes", &[], vec![step(TestAction::Expect("never".into()), 400)], 30_000);
    assert!(error.message.contains("not within 0.4s"), "{error}");
    let error = failed("exec yes", &[], vec![run("never", &[], 0)], 400);
    assert!(error.message.contains("0.4s for all of it"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_must_not_come_fails_wherever_it_comes() {
    let panic = r"\(XEN\) \*+ *\n?.*Panic on CPU";
    // In text that a step has matched already, cut in two, over two lines.
    let machine = "printf 'Xen version\\r\\n(XEN) *****\\r\\n(XEN) Pan'; read -r go; echo 'ic on CPU 0:'; sleep 60";
    let steps = vec![expect("Xen version"), send("go\n"), expect("=== UP")];
    let error = failed(machine, &["Kernel panic", panic], steps, 30_000);
    assert!(!error.message.contains("step 1 of 3"), "{error}");
    assert!(error.message.contains("must not") && error.message.contains("Panic on CPU"), "{error}");
    // Also in what comes with the match itself, and in the last words before the end.
    let error =
        failed("echo Kernel panic; echo up; sleep 60", &["Kernel panic"], vec![expect("up"), expect("x")], 9_000);
    assert!(error.message.contains("Kernel panic"), "{error}");
    let error = failed("echo ok; echo Kernel panic", &["Kernel panic"], vec![power_off()], 9_000);
    assert!(error.message.contains("must not"), "{error}");
}

#[test]
fn a_machine_that_ends_early_says_how() {
    let error = failed("echo hello; echo 'qemu: no such device' >&2; exit 3", &[], vec![expect("never")], 30_000);
    assert!(error.message.contains("exit status 3"), "{error}");
    assert!(error.message.contains("qemu: no such device"), "{error}");
    assert!(error.message.contains("| hello"), "{error}");
    let error = failed("kill -9 $$", &[], vec![power_off()], 30_000);
    assert!(error.message.contains("killed by signal 9"), "{error}");
}

#[test]
fn a_reset_is_no_power_off() {
    for (reason, passes) in [("guest-shutdown", true), ("guest-reset", false)] {
        let folder = tempfile::tempdir().unwrap();
        let machine = format!(
            "for arg; do case $arg in socket,*fd=*) fd=${{arg##*=}};; esac; done\n\
             read -r hello <&$fd; echo \"$hello\"\n\
             printf '{{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \"{reason}\"}}}}\\r\\n' >&$fd\n"
        );
        let recipe = recipe(&[], vec![expect("qmp_capabilities"), power_off()], 10_000);
        let emulator = start(&script(folder.path(), &machine), folder.path(), true);
        let result = Dialogue::compile(&recipe).unwrap().play(emulator, &Cancel::default(), &Nobody).passed();
        match result {
            Ok(_) => assert!(passes, "{reason}"),
            Err(error) => assert!(!passes && error.message.contains("was reset by its guest"), "{error}"),
        }
    }
}

#[test]
fn a_marker_that_a_kernel_message_breaks_is_asked_for_again() {
    // This machine echoes by the line and breaks the first end marker.
    let machine = r##"
        printf '# '; IFS= read -r line; printf '%s\r\n' "$line"
        word=${line#*\"<\"}; word=${word%%\"*}
        printf '<%s>\r\nDomain-0\r\n<%s:[   12.3] usb 1-1: new device\r\n0>\r\n# ' "$word" "$word"
        IFS= read -r line; printf '%s\r\n' "$line"; xb=0; eval "$line"; printf '# '
        sleep 60"##;
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[], vec![run("xl list", &[r"\ADomain-0$"], 0)], 20_000);
    play(folder.path(), machine, &recipe).unwrap();
}

#[test]
fn a_prompt_under_a_kernel_message_is_asked_for_again() {
    // This shell is at its prompt, which is buried, and shows another only after an empty line.
    let buried = "printf '# [   9.1] random: crng init done\\n'; read -r line; [ -z \"$line\" ] || exit 1";
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[], vec![run("echo yes", &["^yes$"], 0)], 20_000);
    play(folder.path(), &format!("{buried}\n{}", shell("dash -i")), &recipe).unwrap();
}

#[test]
fn the_echo_of_what_is_sent_is_not_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let steps = vec![
        expect("# $"),
        send("sleep 0.7; echo hello\n"),
        expect("hello"),
        send("echo password: ; read x\n"),
        expect("^password:$"),
    ];
    let report = play(folder.path(), &shell("bash --norc --noprofile -i"), &recipe(&[], steps, 20_000)).unwrap();
    assert!(report.steps[2].took > Duration::from_millis(400), "{report:?}");
}

#[test]
fn a_flood_is_survived_and_what_comes_after_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "yes 'an endless line of noise' | head -c 20000000; echo; echo needle; exit 0";
    play(folder.path(), machine, &recipe(&["Kernel panic"], vec![expect("^needle$"), power_off()], 60_000)).unwrap();
}

#[test]
fn patterns_are_checked_before_anything_boots() {
    let compile = |fail: &[&str], steps| Dialogue::compile(&recipe(fail, steps, 1000)).map(drop).unwrap_err();
    let error = compile(&[], vec![expect("fine"), expect("(unclosed")]);
    assert_eq!(error.kind, Kind::Recipe);
    assert!(error.message.contains("recipes/fixture.toml:3:3") && error.message.contains("unclosed"), "{error}");
    let error = compile(&["Kernel panic"], vec![send("dmesg | grep 'Kernel panic'\n")]);
    assert!(error.message.contains("its echo would end the test"), "{error}");
    assert!(compile(&["["], vec![]).message.contains('['));
    assert!(compile(&[], vec![run("", &[], 0)]).message.contains("a command is needed"));
}

pub fn is_running(pid: i32) -> bool {
    // A zombie that init has not looked at yet has ended.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

pub fn wait_for_pid(path: &Path) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(pid) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            return pid;
        }
        assert!(Instant::now() < deadline, "no {}", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn wait_for_end(pid: i32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} outlived us");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_leaves_no_child_not_even_a_deaf_one() {
    for trap in ["", "trap '' TERM; "] {
        let folder = tempfile::tempdir().unwrap();
        let machine = format!(
            "{trap}echo $$ > {0}/pid.new; mv {0}/pid.new {0}/pid; sleep 60 & wait; wait",
            folder.path().display()
        );
        let cancel = Cancel::default();
        let recipe = recipe(&[], vec![expect("never")], 60_000);
        let emulator = start(&script(folder.path(), &machine), folder.path(), false);
        let pid = std::thread::scope(|scope| {
            let pid = scope.spawn(|| {
                let pid = wait_for_pid(&folder.path().join("pid"));
                cancel.set();
                pid
            });
            let error = Dialogue::compile(&recipe).unwrap().play(emulator, &cancel, &Nobody).passed().unwrap_err();
            assert_eq!(error.kind, Kind::Interrupted);
            pid.join().unwrap()
        });
        assert!(!is_running(pid));
    }
}

#[test]
fn what_an_emulator_leaves_behind_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let deaf = format!("trap '' TERM HUP; echo $BASHPID > {0}.new; mv {0}.new {0}; exec sleep 60", pid.display());
    let machine = format!("({deaf}) > /dev/null 2>&1 & until [ -e {} ]; do sleep 0.01; done; echo up", pid.display());
    play(folder.path(), &machine, &recipe(&[], vec![expect("up"), power_off()], 20_000)).unwrap();
    wait_for_end(wait_for_pid(&pid));
}

#[test]
fn a_killed_parent_takes_the_emulator_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    // The parent starts the emulator as we do, by way of `__child`; then it is killed and cannot do anything more.
    let text =
        format!("\"$0\" __child $$ bash -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 60' & wait", pid.display());
    let mut parent =
        Command::new("bash").args(["-c", &text, env!("CARGO_BIN_EXE_xenbuild")]).stdin(Stdio::null()).spawn().unwrap();
    let child = wait_for_pid(&pid);
    assert!(is_running(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for_end(child);
}

#[test]
fn a_child_whose_parent_is_gone_does_not_start() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xenbuild")).args(["__child", "1", "echo", "-n", "started"]).output().unwrap();
    // Process 1 is not our parent, unless the tests run as its children.
    if rustix::process::getpid().is_init() {
        eprintln!("skipped: the tests run as process 1");
        return;
    }
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_model_is_talked_to_over_the_port_that_it_announces() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let done = folder.path().join("done");
    let machine = format!(
        "echo 'terminal_0: Listening for serial connection on port {port}'; echo 'a warning' >&2\n\
         until [ -e {} ]; do sleep 0.05; done; echo 'Info: simulation stopped'\n",
        done.display()
    );
    let recipe = recipe(&[], vec![expect("login: $"), send("root\n"), expect("^welcome root"), power_off()], 20_000);
    let log = SerialLog::create(folder.path(), "model").unwrap();
    let start = Start { wire: Wire::Announced, qmp: false, guardian: None };
    let emulator = Emulator::start(&script(folder.path(), &machine), &start, log).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut serial, _) = listener.accept().unwrap();
            serial.write_all(b"\xff\xfb\x01\xff\xfb\x03Xen\r\nlogin: ").unwrap();
            let mut name = [0; 5];
            serial.read_exact(&mut name).unwrap();
            serial.write_all(b"root\r\nwelcome root\xff\xff\r\n").unwrap();
            std::fs::write(&done, "").unwrap();
        });
        Dialogue::compile(&recipe).unwrap().play(emulator, &Cancel::default(), &Nobody).passed().unwrap();
    });
    let log = std::fs::read(folder.path().join("serial.log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("] Xen\n[") && log.contains("] welcome root\u{fffd}\n"), "{log}");
}
