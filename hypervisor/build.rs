//! Hands the linker its script, wherever the crate is built for bare metal.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=hypervisor.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        // Symbols stay, for the panic's raw addresses are symbolised on the host; no build id, which linkers compute differently.
        let script = format!("-T{folder}/hypervisor.ld");
        for argument in [&script, "-no-pie", "--build-id=none", "-zmax-page-size=4096", "-znoexecstack"] {
            println!("cargo:rustc-link-arg-bin=hypervisor={argument}");
        }
    }
}
