//! Strangers look at our qcow2: qemu-img, where it is installed.

use std::process::Command;

use xenbuild::emulate::qcow2::empty_overlay;

#[test]
fn qemu_img_finds_an_empty_overlay_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.img");
    for size in [512_u64, 64 << 20, (5 << 30) + 512] {
        std::fs::File::create(&base).unwrap().set_len(size).unwrap();
        std::fs::write(folder.path().join("x.qcow2"), empty_overlay(&base, size).unwrap()).unwrap();
        let qemu_img = |args: &[&str]| Command::new("qemu-img").args(args).current_dir(folder.path()).output();
        let Ok(check) = qemu_img(&["check", "-f", "qcow2", "x.qcow2"]) else {
            eprintln!("skipped: no qemu-img (Debian's package qemu-utils)");
            return;
        };
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        assert!(String::from_utf8_lossy(&check.stdout).contains("No errors"));
        let info = qemu_img(&["info", "--output=json", "x.qcow2"]).unwrap().stdout;
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        assert_eq!(info["virtual-size"], size);
        assert_eq!(info["backing-filename"].as_str(), base.to_str());
        assert_eq!(info["backing-filename-format"], "raw");
        assert!(qemu_img(&["compare", "-f", "qcow2", "-F", "raw", "x.qcow2", "base.img"]).unwrap().status.success());
    }
}
