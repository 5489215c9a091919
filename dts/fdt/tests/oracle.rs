//! Strangers look at our bytes: dtc and fdtoverlay must have written the same ones.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fdt::{EmitOptions, Fdt, Tree, Version, overlay};

/// Runs a tool with `input` on stdin; `None`, and a note on stderr, where it is not installed.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("{program} is not installed: this comparison is skipped");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} failed");
    Some(output.stdout)
}

fn source(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn dtc(arguments: &[&str], name: &str) -> Option<Vec<u8>> {
    run("dtc", &[&["-q", "-q", "-I", "dts", "-O", "dtb"], arguments, &["-"]].concat(), &source(name))
}

#[test]
fn read_and_emit_is_identity() {
    let Some(blob) = dtc(&["-@"], "base.dts") else { return };
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.emit(&EmitOptions::default()).unwrap(), blob);
    assert_eq!(tree.boot_cpu, 2);
    assert_eq!(tree.reservations.len(), 2);
}

#[test]
fn every_version_and_layout_is_dtcs() {
    let Some(plain) = dtc(&[], "base.dts") else { return };
    let tree = Tree::parse(&plain).unwrap();
    for number in ["1", "2", "3", "16", "17"] {
        let version = Version::from_number(number.parse().unwrap()).unwrap();
        let layouts: [(&[&str], EmitOptions); 6] = [
            (&[], EmitOptions::default()),
            (&["-R", "3"], EmitOptions { free_reservations: 3, ..Default::default() }),
            (&["-S", "5000"], EmitOptions { size: 5000, ..Default::default() }),
            (&["-S", "5001", "-a", "64"], EmitOptions { size: 5001, align: 64, ..Default::default() }),
            (&["-p", "100", "-a", "8"], EmitOptions { padding: 100, align: 8, ..Default::default() }),
            (&["-a", "1024"], EmitOptions { align: 1024, ..Default::default() }),
        ];
        for (arguments, options) in layouts {
            let expected = dtc(&[&["-V", number], arguments].concat(), "base.dts").unwrap();
            let ours = tree.emit(&EmitOptions { version, ..options }).unwrap();
            assert!(ours == expected, "version {number} {arguments:?}");
            let again = Tree::parse(&ours).unwrap();
            if !version.is_old() {
                assert_eq!(again, tree, "version {number} is read back");
            } else {
                assert_eq!(again.walk(again.root()).count(), tree.walk(tree.root()).count());
                assert_eq!(again.string(again.find("/soc/i2c").unwrap(), "name"), Some("i2c"));
            }
        }
    }
}

fn in_temporary(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn overlays_merge_to_fdtoverlays_bytes() {
    let Some(base) = dtc(&["-@"], "base.dts") else { return };
    let (first, second) = (dtc(&["-@"], "first.dts").unwrap(), dtc(&["-@"], "second.dts").unwrap());
    let files = [in_temporary("base.dtb", &base), in_temporary("1.dtbo", &first), in_temporary("2.dtbo", &second)];
    let files = files.each_ref().map(|path| path.to_str().unwrap());
    let merged = in_temporary("merged.dtb", b"");
    let output = merged.to_str().unwrap();
    for count in [1, 2] {
        let arguments = [&["-i", files[0], "-o", output], &files[1..=count]].concat();
        if run("fdtoverlay", &arguments, b"").is_none() {
            return;
        }
        let expected = std::fs::read(&merged).unwrap();
        let ours = overlay::apply_blobs(&base, [&first[..], &second[..]].into_iter().take(count)).unwrap();
        assert_eq!(Tree::parse(&ours).unwrap().to_string(), Tree::parse(&expected).unwrap().to_string());
        assert_eq!(ours.len(), expected.len());
    }
}

#[test]
fn overlays_without_their_base_are_refused() {
    let (Some(plain), Some(second)) = (dtc(&["-@"], "base.dts"), dtc(&["-@"], "second.dts")) else { return };
    let error = overlay::apply_blobs(&plain, [&second[..]]).unwrap_err();
    assert_eq!(error.to_string(), "overlay: the base tree has no symbol a");
}

#[test]
fn paths_aliases_and_phandles_are_found() {
    let Some(blob) = dtc(&["-@"], "base.dts") else { return };
    let fdt = Fdt::new(&blob).unwrap();
    let uart = fdt.find("serial0").unwrap();
    assert_eq!(uart.path(), "/soc/serial@1000");
    assert_eq!(fdt.find("/soc/serial"), Some(uart), "a unit address may be left out");
    assert!(fdt.find("/soc/serial@2000").is_none());
    assert_eq!(uart.reg().collect::<Vec<_>>(), [(0x1000, 0x100)]);
    let memory: Vec<_> = fdt.find("/memory").unwrap().reg().collect();
    assert_eq!(memory, [(0x8000_0000, 0x4000_0000), (0x8_0000_0000, 0x1_0000_0000)]);
    let parent = fdt.find_phandle(uart.property("interrupt-parent").unwrap().as_u32().unwrap()).unwrap();
    assert_eq!(parent.path(), "/soc/interrupt-controller@0");
    assert!(!fdt.find("/soc/i2c").unwrap().is_available());
    assert_eq!(fdt.find_compatible("example,family").count(), 1);
    assert_eq!(fdt.aliases().collect::<Vec<_>>(), [("serial0", "/soc/serial@1000")]);
    let reg: Vec<_> = fdt.descendants().flat_map(|(_, node)| node.reg()).collect();
    assert_eq!(reg[..2], [(2, 0), (3, 0)], "walking carries the parent's cells");
    let (tree, path) = (Tree::from_fdt(&fdt), "/soc/serial@1000");
    assert_eq!(tree.find("serial0"), tree.find(path));
    assert_eq!(tree.path(tree.find(path).unwrap()), path);
}
