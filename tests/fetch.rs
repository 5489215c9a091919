//! Fetching packages: signatures, indices, downloads and locks, against an archive that is made on the spot.

#[path = "support/archive.rs"]
mod archive;
#[path = "fetch/command.rs"]
mod command;
#[path = "fetch/download.rs"]
mod download;
#[path = "fetch/indices.rs"]
mod indices;
#[path = "support/key.rs"]
mod key;
#[path = "fetch/lock.rs"]
mod lock;
#[path = "fetch/random.rs"]
mod random;
#[path = "support/server.rs"]
mod server;
#[path = "fetch/signature.rs"]
mod signature;
