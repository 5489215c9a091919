//! `xenbuild symbolise`.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use super::print;
use crate::error::{Error, Kind, Result};
use crate::symbols::Symbols;

/// An ELF file is no larger.
const SYMBOLS_MAX_BYTES: u64 = 1 << 30;
/// A line of a log that is longer is taken in parts.
const LINE_MAX_BYTES: u64 = 1 << 16;

/// Puts names behind the hypervisor's addresses in a log
///
/// A hypervisor that dies prints where it was called from. This prints its log again, `out/tutorial/serial.log` for
/// example, with the function behind each address. The names are those of `xen-syms`: beside the log, where the
/// hypervisor was compiled or is xenbuild's own; else those of the hypervisor that this xenbuild carries.
#[derive(clap::Args)]
pub struct Args {
    /// The log, `-` for standard input
    #[arg(value_name = "LOG", default_value = "-")]
    log: PathBuf,
    /// The hypervisor's ELF file [default: xen-syms beside the log, else the hypervisor that is carried]
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let beside = || Some(args.log.with_file_name("xen-syms")).filter(|path| path.is_file());
    let symbols = match args.symbols.clone().or_else(beside) {
        Some(path) => {
            let bytes = crate::step::output::read_limited(&path, SYMBOLS_MAX_BYTES)?;
            Symbols::read(&bytes, &path.display().to_string())?
        }
        None => Symbols::read(crate::carried::HYPERVISOR, "the hypervisor that is carried")?,
    };
    let failed = |error| Error::io(format!("cannot read {}", args.log.display()), error);
    let log: Box<dyn Read> = match args.log.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ if args.log.is_dir() => {
            let message = format!("{} is a folder: name the log in it", args.log.display());
            return Err(Error::new(Kind::Usage, message));
        }
        _ => Box::new(std::fs::File::open(&args.log).map_err(failed)?),
    };
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while log.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line).map_err(failed)? > 0 {
        print(format_args!("{}", symbols.annotate(&String::from_utf8_lossy(&line))))?;
        line.clear();
    }
    Ok(ExitCode::SUCCESS)
}
