//! Hands the linker its script, wherever the crate is built for bare metal.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=guest.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script = format!("-T{folder}/guest.ld");
        for argument in [&script, "-no-pie", "-s", "--build-id=none", "-zmax-page-size=4096", "-znoexecstack"] {
            println!("cargo:rustc-link-arg-bin=test-guest={argument}");
        }
    }
}
