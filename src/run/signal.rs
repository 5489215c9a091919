//! Ctrl-C and SIGTERM set a flag that every loop looks at; a second one ends the process at once.

use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Kind, Result};
use crate::task::Cancel;

static FLAG: OnceLock<Arc<Cancel>> = OnceLock::new();

/// Returns the process's flag, and from now on sets it when a signal comes.
pub fn cancel() -> Result<Arc<Cancel>> {
    if let Some(flag) = FLAG.get() {
        return Ok(flag.clone());
    }
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Error::io("cannot listen to signals", error))?;
    let flag = FLAG.get_or_init(Arc::default).clone();
    let set = flag.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if set.is_set() {
                    // What is half made lies in temporary folders, which the next start removes.
                    std::process::exit(i32::from(Kind::Interrupted.exit_code()));
                }
                set.set();
            }
        })
        .map_err(|error| Error::io("cannot listen to signals", error))?;
    Ok(flag)
}
