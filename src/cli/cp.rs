//! `xenbuild cp`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Global;
use super::look::{ADDRESSES, Words};
use crate::error::{Error, Kind, Result};
use crate::look::copy::{Options, Word, copy};

/// Copies files out of an image
///
/// Permissions and times are kept. What an image's links point to is not followed out of DEST, whatever the image says.
/// Devices and sockets are left out with a warning. What cannot be read or made is said, the rest is copied, and the
/// command fails in the end.
#[derive(clap::Args)]
#[command(after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
pub struct Args {
    /// The files, as IMAGE:PATH or IMAGE:PARTITION:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<OsString>,
    /// Where to: a folder, or the name of a single copy
    #[arg(value_name = "DEST", required = true)]
    destination: PathBuf,
    /// Copy folders, with all that is in them; of an image's root, what is in it
    #[arg(short, visible_short_alias = 'R', long)]
    recursive: bool,
    /// Keep owners, set-id bits and extended attributes too, and make devices: what the host allows
    #[arg(short, long)]
    preserve: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    if args.addresses.len() > 1 && !args.destination.is_dir() {
        let message = format!("{} is no folder, so that it can take one copy only", args.destination.display());
        return Err(Error::new(Kind::Usage, message));
    }
    let options = Options { recursive: args.recursive, preserve: args.preserve };
    let mut words = Words::new(global);
    for text in &args.addresses {
        // As with the host's cp: -r takes links for what they are.
        let place = super::look::file(text, !args.recursive, &mut words)?;
        let mut tell = |word| match word {
            Word::LeftOut(text) => words.warn(&text),
            Word::Failed(error) => words.fail(&error),
        };
        copy(&place, &args.destination, options, &mut tell)?;
    }
    Ok(words.verdict())
}
