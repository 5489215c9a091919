//! Hands the linker its scripts, wherever the crate is built for bare metal.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    println!("cargo:rerun-if-changed=build.rs");
    // The stub is position independent, so that one serves every memory map.
    for (program, script, kind) in [("bootwrap-el3", "stub.ld", "-pie"), ("bootwrap-el3-probe", "probe.ld", "-no-pie")]
    {
        println!("cargo:rerun-if-changed={script}");
        if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
            // `-s` because nothing reads the symbols; no build id, which linkers compute differently.
            let script = format!("-T{folder}/{script}");
            for argument in [&script, kind, "--no-dynamic-linker", "-s", "--build-id=none", "-zmax-page-size=4096"] {
                println!("cargo:rustc-link-arg-bin={program}={argument}");
            }
        }
    }
}
