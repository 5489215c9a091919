//! The companions beside dtc's own: what they print and the blobs they leave, byte for byte but for padding; and what they refuse.

use std::path::Path;
use std::process::{Command, Output};

/// Every kind of value, reservations, a name that others end with, aliases and symbols.
const SOURCE: &str = r#"/dts-v1/;
/memreserve/ 0x1000 0x20;
/memreserve/ 0 0x123456789;
/ {
    #address-cells = <1>; model = "m", "n"; empty; bytes = [01 02 ff]; newline = "a\nb"; half = /bits/ 16 <0xfffe 1>;
    nothing = ""; blank = " "; address-cells = <0x41424300>; "" ; long = <0xffffffff 2>, "text";
    aliases { serial0 = &uart; };
    uart: bus@10 { reg = <0x10>; x = <0xffffffff 2>; inner { deep; }; inner@1 { p = "q"; }; };
    k { };
    __symbols__ { uart = "/bus@10"; };
};
"#;

fn run(program: &str, arguments: &[&str], folder: &Path) -> Option<Output> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    if output.is_err() {
        eprintln!("{program} is not installed: this comparison is skipped");
    }
    output.ok()
}

fn ours(companion: &str, arguments: &[&str], folder: &Path) -> Output {
    run(env!("CARGO_BIN_EXE_dts"), &[&[companion], arguments].concat(), folder).expect("it was just built")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes `a.dtb` of [`SOURCE`] in a folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let loader = dts::MemoryLoader::new().with("a.dts", SOURCE.replace("\"\" ;", ""));
    let blob = dts::compile(&loader, "a.dts", &dts::Options::default()).unwrap().dtb;
    std::fs::write(folder.path().join("a.dtb"), blob).unwrap();
    folder
}

/// Returns a blob with zeros behind each value up to the next token, where libfdt leaves whatever lay there before its edit.
fn without_padding(mut blob: Vec<u8>) -> Vec<u8> {
    let word = |blob: &[u8], at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    let mut at = word(&blob, 8);
    loop {
        let token = word(&blob, at);
        at += 4;
        match token {
            1 => at += (blob[at..].iter().position(|&byte| byte == 0).unwrap() + 1).next_multiple_of(4),
            3 => {
                let end = at + 8 + word(&blob, at);
                at = end.next_multiple_of(4);
                blob[end..at].fill(0);
            }
            9 => return blob,
            _ => {}
        }
    }
}

#[test]
fn fdtget_prints_the_same() {
    let folder = folder();
    let compare = |arguments: &[&str]| {
        let Some(theirs) = run("fdtget", arguments, folder.path()) else { return };
        let ours = ours("fdtget", arguments, folder.path());
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((text(&ours), ours.status.code()), (text(&theirs), theirs.status.code()), "{arguments:?}");
        assert_eq!(ours.stderr.is_empty(), theirs.status.success(), "{arguments:?}: {}", stderr(&ours));
    };
    let wanted = [
        "#address-cells",
        "model",
        "empty",
        "bytes",
        "newline",
        "half",
        "nothing",
        "blank",
        "address-cells",
        "long",
        "none",
    ];
    for kind in ["", "i", "u", "x", "s", "hhi", "bx", "bu", "hi", "hu", "hx", "li", "lx", "hs"] {
        let option = if kind.is_empty() { vec![] } else { vec!["-t", kind] };
        for name in wanted {
            compare(&[&option[..], &["a.dtb", "/", name]].concat());
        }
        compare(&[&option[..], &["a.dtb", "/bus@10", "x", "serial0", "reg", "/bus/inner@1", "p"]].concat());
    }
    for arguments in [
        &["-p", "a.dtb", "/", "/k", "/bus"][..],
        &["-l", "a.dtb", "/", "/k", "/bus"],
        &["-lp", "a.dtb", "/bus"],
        &["--list", "a.dtb", "/none"],
        &["-d", "D", "a.dtb", "/", "none", "/none", "x", "/", "model"],
        &["a.dtb", "/", "model", "/none", "x", "/", "bytes"],
        &["-tx", "--default=-", "a.dtb", "//bus@10/", "reg"],
        &["a.dtb"],
        &["a.dtb", "/"],
        &[],
        &["-Z", "a.dtb"],
        &["-t", "q", "a.dtb", "/", "model"],
        &["-t", "xx", "a.dtb", "/", "model"],
        &["missing", "/", "model"],
    ] {
        compare(arguments);
    }
}

#[test]
fn fdtdump_prints_the_same() {
    let folder = folder();
    let blob = std::fs::read(folder.path().join("a.dtb")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("within", &[&[0xd0; 104][..], &blob, &blob, b"tail"].concat());
    // A NOP in place of `empty`, and blobs of every version.
    let mut nops = blob.clone();
    let structure = u32::from_be_bytes(blob[8..12].try_into().unwrap()) as usize;
    let empty = blob[structure..].chunks(4).position(|word| word == [0, 0, 0, 3]).unwrap();
    let length = u32::from_be_bytes(blob[structure + 4 * empty + 4..][..4].try_into().unwrap()) as usize;
    for word in 0..3 + length.div_ceil(4) {
        nops[structure + 4 * (empty + word)..][..4].copy_from_slice(&[0, 0, 0, 4]);
    }
    write("nops.dtb", &nops);
    let mut files = vec!["a.dtb".to_owned(), "nops.dtb".to_owned()];
    for version in [1, 2, 3, 16] {
        let name = format!("v{version}.dtb");
        let dts = Command::new(env!("CARGO_BIN_EXE_dts"))
            .args(["-q", "-I", "dtb", "-O", "dtb", "-V", &version.to_string(), "-o", &name, "a.dtb"])
            .current_dir(folder.path())
            .status();
        assert!(dts.unwrap().success());
        files.push(name);
    }
    let mut cases: Vec<Vec<&str>> = Vec::new();
    for file in &files {
        cases.extend([vec![file.as_str()], vec!["-d", file], vec!["-sd", file]]);
    }
    cases.extend([vec!["-s", "within"], vec!["--scan", "--debug", "within"]]);
    for arguments in cases {
        let Some(theirs) = run("fdtdump", &arguments, folder.path()) else { return };
        let ours = ours("fdtdump", &arguments, folder.path());
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text(&ours), text(&theirs), "{arguments:?}");
        assert!(ours.status.success() && theirs.status.success(), "{arguments:?}: {}", stderr(&ours));
    }
}

#[test]
fn fdtput_leaves_the_same_bytes() {
    let folder = folder();
    let long = "/very/".to_owned() + &"n".repeat(200);
    let many: Vec<String> = (0..500).map(|index| index.to_string()).collect();
    let many: Vec<&str> = ["p.dtb", "/k", "many"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let cases: &[&[&str]] = &[
        &["p.dtb", "/", "model"],
        &["p.dtb", "/", "new"],
        &["-t", "s", "p.dtb", "/", "model", "other text", "and more"],
        &["-t", "s", "p.dtb", "/bus@10/inner", "compatible", ""],
        &["-t", "x", "p.dtb", "/k", "cells", "0x12", "ff", "-1"],
        &["-t", "bx", "p.dtb", "/k", "cells", "12", "ff", "0"],
        &["-t", "i", "p.dtb", "/k", "reg", "0x10", "010", "10"],
        &["-tu", "p.dtb", "/bus@10", "x", "4294967295"],
        &["-t", "lx", "p.dtb", "/bus", "mod", "1"],
        &["p.dtb", "serial0", "odel", "5", "6"],
        &["-p", "p.dtb", "//a/b", "c", "1"],
        &["-p", "-t", "s", "p.dtb", &long, "c", "1"],
        &["-c", "p.dtb", "/k/one", "/k/two", "/k/two/three", "/first"],
        &["-cp", "p.dtb", "/k/one/two/three", "/bus/x"],
        &["-r", "p.dtb", "/k", "/bus"],
        &["-d", "p.dtb", "/", "model", "bytes"],
        &["-d", "p.dtb", "/"],
        &["-c", "p.dtb"],
        &many,
        // What is refused leaves the blob alone, and the nodes that were there before the first mistake too.
        &["-c", "p.dtb", "/k"],
        &["-c", "p.dtb", "/bus"],
        &["-c", "p.dtb", "/k/new", "k2"],
        &["-c", "p.dtb", "/none/x"],
        &["p.dtb", "/none", "x", "1"],
        &["-r", "p.dtb", "/k", "/none"],
        &["-d", "p.dtb", "/", "model", "none"],
        &["p.dtb", "/"],
        &["p.dtb"],
        &["missing.dtb", "/", "x", "1"],
    ];
    let path = |name: &str| folder.path().join(name);
    for arguments in cases {
        std::fs::copy(path("a.dtb"), path("p.dtb")).unwrap();
        let ours = ours("fdtput", arguments, folder.path());
        let our_blob = std::fs::read(path("p.dtb")).unwrap();
        std::fs::copy(path("a.dtb"), path("p.dtb")).unwrap();
        let Some(theirs) = run("fdtput", arguments, folder.path()) else { return };
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}: {}", stderr(&ours));
        let their_blob = std::fs::read(path("p.dtb")).unwrap();
        assert!(our_blob == without_padding(their_blob), "{arguments:?}: other bytes");
        assert_eq!(ours.stderr.is_empty(), ours.status.success(), "{arguments:?}: {}", stderr(&ours));
    }
    // Further edits of the same blob, whose strings block keeps what was.
    let steps: [&[&str]; 5] = [
        &["-d", "p.dtb", "/", "model"],
        &["-p", "p.dtb", "/n/m", "odel", "1"],
        &["-r", "p.dtb", "/n"],
        &["-p", "p.dtb", "/n/m", "cell", "1"],
        &["-t", "s", "p.dtb", "/n", "reg", "a much longer value than there was"],
    ];
    std::fs::copy(path("a.dtb"), path("p.dtb")).unwrap();
    for step in steps {
        assert!(run("fdtput", step, folder.path()).unwrap().status.success());
    }
    let theirs = std::fs::read(path("p.dtb")).unwrap();
    std::fs::copy(path("a.dtb"), path("p.dtb")).unwrap();
    for step in steps {
        assert!(ours("fdtput", step, folder.path()).status.success());
    }
    assert!(std::fs::read(path("p.dtb")).unwrap() == without_padding(theirs));
    let verbose = |output: Output| (stderr(&output), output.status.code());
    for arguments in [["-v", "-ti", "p.dtb", "/", "v", "12"], ["-v", "-ts", "p.dtb", "/", "v", "12"]] {
        let theirs = verbose(run("fdtput", &arguments, folder.path()).unwrap());
        assert_eq!(verbose(ours("fdtput", &arguments, folder.path())), theirs);
    }
}

#[test]
fn fdtoverlay_makes_the_same_bytes() {
    let folder = folder();
    let plugin = |name: &str, text: &str| {
        let loader = dts::MemoryLoader::new().with("o.dts", format!("/dts-v1/; /plugin/; {text}"));
        let blob =
            dts::compile(&loader, "o.dts", &dts::Options { symbols: true, ..dts::Options::default() }).unwrap().dtb;
        std::fs::write(folder.path().join(name), blob).unwrap();
    };
    plugin("one.dtbo", "&{/k} { a = <1>; l: n { b = <&l>; }; };");
    plugin("two.dtbo", "&{/k/n} { c; }; &{/} { odel = \"x\"; model = \"changed\"; };");
    plugin("bad.dtbo", "&nowhere { a; };");
    let path = |name: &str| folder.path().join(name);
    for (arguments, good) in [
        (&["-i", "a.dtb", "-o", "out.dtb", "one.dtbo"][..], true),
        (&["-i", "a.dtb", "-o", "out.dtb", "one.dtbo", "two.dtbo"], true),
        (&["--input=a.dtb", "--output", "out.dtb", "two.dtbo"], false),
        (&["-i", "a.dtb", "-o", "out.dtb", "bad.dtbo"], false),
        (&["-i", "a.dtb", "-o", "out.dtb", "missing"], false),
        (&["-i", "a.dtb", "-o", "out.dtb"], false),
        (&["-i", "a.dtb", "one.dtbo"], false),
    ] {
        let made = |output: Output| {
            let blob = std::fs::read(path("out.dtb")).ok();
            let _ = std::fs::remove_file(path("out.dtb"));
            (output.status.code(), blob)
        };
        let ours = ours("fdtoverlay", arguments, folder.path());
        assert_eq!(ours.status.success(), good, "{arguments:?}: {}", stderr(&ours));
        let ours = made(ours);
        let Some(theirs) = run("fdtoverlay", arguments, folder.path()) else { return };
        let (code, blob) = made(theirs);
        assert!(ours == (code, blob.map(without_padding)), "{arguments:?}");
    }
}

#[test]
fn errors_name_the_file_and_the_reason() {
    let folder = folder();
    let blob = std::fs::read(folder.path().join("a.dtb")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("short.dtb", &blob[..blob.len() - 1]);
    write("text", b"not a tree, but long enough for a header of one");
    let mut token = blob.clone();
    let structure = u32::from_be_bytes(blob[8..12].try_into().unwrap()) as usize;
    token[structure + 11] = 7;
    write("token.dtb", &token);
    write("old.dtb", &{
        let tree = fdt::Tree::parse(&blob).unwrap();
        tree.emit(&fdt::EmitOptions { version: fdt::Version::V16, ..fdt::EmitOptions::default() }).unwrap()
    });
    for (companion, arguments, says) in [
        ("fdtget", &["short.dtb", "/", "x"][..], "fdtget: short.dtb: "),
        ("fdtget", &["text", "/", "x"], "fdtget: text: not a flattened device tree"),
        ("fdtget", &["a.dtb", "/nowhere", "x"], "fdtget: a.dtb: /nowhere x: there is no such node\n"),
        (
            "fdtget",
            &["-tx", "-t", "hx", "a.dtb", "/", "bytes"],
            "fdtget: a.dtb: / bytes: its 3 bytes are no whole number",
        ),
        ("fdtget", &["-ts", "a.dtb", "/", "bytes"], "this is no text"),
        ("fdtget", &["-t", "y", "a.dtb", "/", "x"], "\"y\" is no type: s, i, u or x"),
        ("fdtget", &["--prop=1", "a.dtb"], "option --properties takes no argument"),
        ("fdtput", &["a.dtb", "/", "x", "0x10"], "0x10 is no decimal number; with -t x"),
        ("fdtput", &["-ti", "a.dtb", "/", "x", "ten"], "\"ten\" is no number of base 10"),
        ("fdtput", &["-tbi", "a.dtb", "/", "x", "256"], "256 does not fit into 1 bytes"),
        ("fdtput", &["a.dtb", "/new", "x", "1"], "there is no node /new; with -p it is created"),
        ("fdtput", &["-r", "a.dtb", "/"], "the root cannot be removed"),
        ("fdtput", &["old.dtb", "/", "x"], "old.dtb: has version 16; only 17 can be edited"),
        ("fdtdump", &["token.dtb"], "fdtdump: token.dtb: unknown token 0x00000007 at byte "),
        ("fdtdump", &["-s", "text"], "fdtdump: text: no blob is in it"),
        ("fdtdump", &["short.dtb"], "fdtdump: short.dtb: "),
        ("fdtdump", &[], "one file is dumped"),
        ("fdtoverlay", &["-i", "a.dtb", "-o", "o", "text"], "fdtoverlay: text: not a flattened device tree"),
    ] {
        let output = ours(companion, arguments, folder.path());
        assert_eq!(output.status.code(), Some(1), "{companion} {arguments:?}");
        assert!(stderr(&output).contains(says), "{companion} {arguments:?}: {}", stderr(&output));
    }
    assert!(std::fs::read(folder.path().join("a.dtb")).unwrap() == blob, "what is refused changes nothing");
    // Numbers of two bytes are two bytes, which dtc 1.6.1's own leaves half unwritten.
    assert!(ours("fdtput", &["-thx", "a.dtb", "/", "half", "1234", "5"], folder.path()).status.success());
    assert_eq!(ours("fdtget", &["-tx", "a.dtb", "/", "half"], folder.path()).stdout, b"12340005\n");
}

/// Damaged blobs: always an answer or an error.
#[test]
fn damage_is_no_panic() {
    let folder = folder();
    let blob = std::fs::read(folder.path().join("a.dtb")).unwrap();
    for at in (0..blob.len()).step_by(5) {
        let mut bytes = blob.clone();
        bytes[at] ^= 0xff;
        std::fs::write(folder.path().join("d.dtb"), bytes).unwrap();
        for (companion, arguments) in [
            ("fdtdump", &["-d", "d.dtb"][..]),
            ("fdtdump", &["-s", "d.dtb"]),
            ("fdtget", &["-p", "d.dtb", "/", "/bus"]),
            ("fdtput", &["-p", "d.dtb", "/bus/x/y", "z", "1"]),
        ] {
            let output = ours(companion, arguments, folder.path());
            assert!(matches!(output.status.code(), Some(0 | 1)), "byte {at}: {companion}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_link_of_their_name_is_enough() {
    let folder = folder();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dts"), folder.path().join("fdtget")).unwrap();
    let output = run("./fdtget", &["a.dtb", "/", "model"], folder.path()).expect("a link");
    assert_eq!(output.stdout, b"m n\n");
    let help = ours("fdtput", &["--help"], folder.path());
    assert!(help.status.success() && help.stdout.starts_with(b"Usage: fdtput [options] BLOB NODE PROPERTY"));
}
