//! The engine from outside: the program builds small recipes that need no network.

#[path = "image/addresses.rs"]
mod addresses;
#[path = "support/archive.rs"]
#[expect(dead_code, reason = "the tests of fetching use more of it")]
mod archive;
#[path = "image/bench.rs"]
mod bench;
#[path = "image/boards.rs"]
mod boards;
#[path = "image/build.rs"]
mod build;
#[path = "image/cache.rs"]
mod cache;
#[path = "image/check.rs"]
mod check;
#[path = "image/compiled.rs"]
mod compiled;
#[path = "image/disks.rs"]
mod disks;
#[path = "image/explain.rs"]
mod explain;
#[path = "image/failure.rs"]
mod failure;
#[path = "image/interrupt.rs"]
mod interrupt;
#[path = "support/key.rs"]
#[expect(dead_code, reason = "the tests of fetching use more of it")]
mod key;
#[path = "image/manifest.rs"]
mod manifest;
#[path = "image/packages.rs"]
mod packages;
#[path = "image/plan.rs"]
mod plan;
#[path = "image/reproducible.rs"]
mod reproducible;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of fetching use more of it")]
mod server;
#[path = "image/source.rs"]
mod source;
#[path = "image/uboot.rs"]
mod uboot;
