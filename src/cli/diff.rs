//! `xenbuild diff`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::look::{ADDRESSES, Words};
use super::{Global, MessageFormat};
use crate::error::Result;
use crate::look::diff::{Difference, Watch, diff};

/// What a command ends with whose two sides differ, as the host's diff does.
const DIFFERENT: u8 = 1;

/// Says what differs between two images, down to the file, its mode, and the block
///
/// A and B are images, addresses in images, or folders such as out/RECIPE. What is the same byte for byte is not looked
/// into; what differs is opened on both sides, through partitions, file systems and images inside them. Of folders of
/// this machine, names and content are compared, but not owners and times.
///
/// Ends with 0 if there is no difference, and with 1 if there is one.
#[derive(clap::Args)]
#[command(after_long_help = ADDRESSES, after_help = "IMAGE[:PARTITION]:PATH is explained by --help.")]
pub struct Args {
    /// One of them: an image, a place in one (IMAGE:PATH, IMAGE:PARTITION:PATH), or a folder
    #[arg(value_name = "A")]
    a: OsString,
    /// The other
    #[arg(value_name = "B")]
    b: OsString,
    /// One JSON object per line and difference
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let names = [args.a.to_string_lossy(), args.b.to_string_lossy()];
    let json = args.json || global.message_format == MessageFormat::Json;
    let mut teller = Teller { names: [&names[0], &names[1]], json, quiet: global.quiet, words: Words::new(global) };
    let same = diff(&args.a, &args.b, &mut teller)?;
    let verdict = teller.words.verdict();
    Ok(if same { verdict } else { ExitCode::from(DIFFERENT) })
}

struct Teller<'a> {
    names: [&'a str; 2],
    json: bool,
    quiet: bool,
    words: Words,
}

impl Watch for Teller<'_> {
    fn differs(&mut self, difference: Difference) -> Result<()> {
        match (self.json, self.quiet) {
            (true, _) => super::print(format_args!("{}\n", difference.json())),
            (false, true) => Ok(()),
            (false, false) => super::print(format_args!("{}\n", super::harmless(&difference.line(self.names)))),
        }
    }

    fn unreadable(&mut self, text: String) {
        self.words.complain(&text);
    }

    fn damaged(&mut self, text: &str) {
        self.words.warn(text);
    }
}
