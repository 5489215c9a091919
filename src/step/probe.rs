//! A step for tests of the engine: joins its inputs, counts its runs, fails or waits when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Content, Description, Digest, Kind, Output, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// What the probe does when it is run.
#[derive(Clone, Default, Debug)]
pub struct Probe {
    /// A parameter: written in front of what the inputs hold.
    pub text: String,
    /// Writes only the text, whatever the inputs hold.
    pub constant: bool,
    /// Fails with this message.
    pub fail: Option<String>,
    /// Panics.
    pub panic: bool,
    /// Waits until cancelled, at most ten seconds.
    pub hang: bool,
    /// The output is said to be known before it is made.
    pub known: bool,
    /// How often it ran.
    pub runs: Arc<AtomicU32>,
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.constant == other.constant
    }
}

impl Eq for Probe {}

impl Kind for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("text", &self.text);
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.text.clone().into_bytes();
        for input in workspace.inputs {
            match &input.content {
                Content::Files(files) => {
                    for file in files {
                        let content = output::read_limited(file, 1 << 20)?;
                        if !self.constant {
                            bytes.extend(content);
                        }
                    }
                }
                Content::Folder { .. } | Content::Sources(_) => bytes.extend(b"folder"),
                Content::Bytes(content) => bytes.extend(&**content),
            }
        }
        // Half of the output is there when things go wrong.
        output::write(&workspace.folder.join("out"), &bytes)?;
        assert!(!self.panic, "told to panic");
        if let Some(message) = &self.fail {
            return Err(Error::new(ErrorKind::Input, message));
        }
        for _ in 0..1000 {
            if self.hang {
                workspace.task.cancel().check()?;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    fn known_output(&self) -> Option<Output> {
        self.known.then(|| Output {
            name: "out".into(),
            size_bytes: self.text.len() as u64,
            sha256: Digest::of(self.text.as_bytes()),
        })
    }
}
