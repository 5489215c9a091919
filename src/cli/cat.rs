//! `xenbuild cat`.

use std::ffi::OsString;
use std::process::ExitCode;

use imagegen::volume::Kind as NodeKind;

use super::Global;
use super::look::{ADDRESSES, Words};
use crate::error::{Error, Kind, Result};
use crate::look::{copy, fault};

/// Writes files of an image to standard output
#[derive(clap::Args)]
#[command(after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
pub struct Args {
    /// The files, as IMAGE:PATH or IMAGE:PARTITION:PATH
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<OsString>,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let mut words = Words::new(global);
    let mut out = std::io::stdout().lock();
    for text in &args.addresses {
        let place = super::look::file(text, true, &mut words)?;
        let address = place.address();
        let node = place.volume.node(place.id).map_err(|error| fault(&address, error))?;
        let NodeKind::File(content) = node.kind else {
            return Err(Error::new(Kind::Usage, format!("{address} is no file, but a {}", node.kind.name())));
        };
        if !copy::write_to(&address, &*content, &mut out, "standard output")? {
            break;
        }
    }
    Ok(words.verdict())
}
