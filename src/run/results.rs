//! What a test leaves in a recipe's folder: the results of the last, as long as they are about what lies there.
//!
//! ```text
//! manifest + results --Session::begin--> manifest --the machine runs--> Session::finish --> manifest + new results
//! ```

use std::path::Path;
use std::sync::Arc;

use super::exclusive::Exclusive;
use super::{index, store};
use crate::delivery::{self, Document, Evidence, EvidenceName, Test};
use crate::error::{Error, Result};
use crate::step::{Digest, output};
use crate::task::{Cancel, Silent};

/// A machine that is about to run on a folder's artifacts.
pub struct Session<'a> {
    out: &'a Path,
    folder: &'a Path,
    /// The manifest, without results; none in a folder that has none.
    document: Option<Document>,
}

impl<'a> Session<'a> {
    /// Takes the results of the last run out of the folder: its log is going to be another. `say` is told whom it waits for.
    ///
    /// # Errors
    /// The folder cannot be written to; `cancel` was set while another process had `out`.
    pub fn begin(out: &'a Path, folder: &'a Path, cancel: &Cancel, say: &mut dyn FnMut(String)) -> Result<Self> {
        // A manifest that is none vouches for nothing; the next build writes another.
        let read = || delivery::read(folder).ok().flatten().map(|delivered| delivered.document);
        let mut document = read();
        if document.as_ref().is_some_and(|document| document.test.is_some()) {
            let _exclusive = Exclusive::wait(out, cancel, say)?;
            document = read();
            if let Some(document) = document.as_mut().filter(|document| document.test.is_some()) {
                document.test = None;
                delivery::write(folder, document)?;
            }
        }
        super::publish::remove_file(&folder.join(delivery::JUNIT))?;
        Ok(Session { out, folder, document })
    }

    /// Puts the results of a test into the folder, and enters them and the serial log into its manifest. Returns whether
    /// that could be done: not so if another process has put other artifacts there meanwhile.
    ///
    /// # Errors
    /// The folder cannot be written to; `cancel` was set while another process had `out`.
    pub fn finish(self, passed: bool, junit: &str, cancel: &Arc<Cancel>, say: &mut dyn FnMut(String)) -> Result<bool> {
        let _exclusive = Exclusive::wait(self.out, cancel, say)?;
        let now = delivery::read(self.folder).ok().flatten().map(|delivered| delivered.document);
        if now != self.document {
            return Ok(false);
        }
        store::replace(&self.folder.join(delivery::JUNIT), junit.as_bytes())?;
        if let Some(mut document) = self.document {
            let log = self.folder.join(delivery::SERIAL_LOG);
            let mut file = output::open(&log)?;
            let failed = |error| Error::io(format!("cannot read {}", log.display()), error);
            let bytes = file.metadata().map_err(failed)?.len();
            let sha256 = index::hash_open(&mut file, &log, &Silent(cancel.clone()))?;
            let results = Digest::of(junit.as_bytes());
            let files = vec![
                Evidence { name: EvidenceName::Junit, bytes: junit.len() as u64, sha256: results },
                Evidence { name: EvidenceName::SerialLog, bytes, sha256 },
            ];
            document.test = Some(Test { passed, files });
            delivery::write(self.folder, &document)?;
        }
        store::sync(self.folder)?;
        Ok(true)
    }
}
