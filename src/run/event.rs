//! What a build tells whoever watches it: the total first, then what begins, advances and ends.
//! Where packages must be locked first, a step called `lock` begins and ends before the total is known.
//!
//! These types are also the stable JSON format of `--message-format=json`: one object a line, `event` says which.
//! Readers should pass over events and fields that they do not know.

use std::sync::Mutex;

use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Done,
    /// Its output was there already, or nobody needed it.
    Reused,
    /// It ran and failed.
    Failed,
    /// It was stopped because something else failed, or by a signal.
    Cancelled,
}

/// Why a device is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refused {
    /// Which reason it is.
    pub reason: &'static str,
    /// The same for people.
    pub text: String,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// First of all: what there is to do.
    Plan {
        /// The recipe's name.
        recipe: String,
        /// How many steps there are; each ends in one `end` event, unless the build fails before.
        steps: usize,
    },
    /// A step begins to run.
    Begin {
        /// Its name.
        step: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A running step knows how much it has to do, or more than it thought.
    Total {
        /// The step's name.
        step: String,
        /// All there is to do.
        bytes: u64,
    },
    /// A running step got further.
    Progress {
        /// The step's name.
        step: String,
        /// What is done, all in all.
        bytes: u64,
    },
    /// One line for the user: a retry, a wait, a warning.
    Note {
        /// The step that says it; none for the build as a whole.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// The line.
        text: String,
    },
    /// What a program that a step runs said last: now and then one of its lines.
    Output {
        /// The step's name.
        step: String,
        /// The line.
        text: String,
    },
    /// A step ended.
    End {
        /// Its name.
        step: String,
        /// How.
        outcome: Outcome,
        /// How long it ran.
        milliseconds: u64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A file is in its place in `out/RECIPE/`.
    Artifact {
        /// Its path.
        path: String,
        /// Its length, holes included.
        bytes: u64,
        /// Hex digits of its digest.
        sha256: String,
    },
    /// A disk that an image could be flashed to.
    Device {
        /// Its node.
        path: String,
        /// Vendor and model.
        model: String,
        /// Its serial number.
        serial: String,
        /// How it is attached.
        bus: String,
        /// Its length.
        bytes: u64,
        /// Whether it is made to be taken out.
        removable: bool,
        /// What is on it, in a line.
        contents: String,
        /// Why it is refused; empty if it is not.
        refused: Vec<Refused>,
    },
    /// A step of flashing tells how fast it goes, about once a second.
    Pace {
        /// Its name.
        step: String,
        /// What is done.
        bytes: u64,
        /// All there is to do, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// The pace of the last seconds.
        bytes_per_second: u64,
        /// How long it will take, if that can be said.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds_left: Option<u64>,
    },
    /// Last of a flashing that went well: the image is on the device, and reads back the same.
    Flashed {
        /// The image's name.
        image: String,
        /// The device.
        device: String,
        /// Bytes of content written.
        written_bytes: u64,
        /// Bytes of holes that now read as zeros.
        cleared_bytes: u64,
        /// Bytes read back and compared.
        compared_bytes: u64,
        /// Pieces that had to be written again.
        repeated: usize,
        /// How long it took.
        milliseconds: u64,
    },
    /// Last of a build that went well.
    Finished {
        /// Steps that ran.
        done: usize,
        /// Steps that did not have to.
        reused: usize,
        /// How long it took.
        milliseconds: u64,
    },
}

/// Who is told of events; from many threads, in the order in which things happen to each step.
pub trait Watcher: Sync {
    /// Takes note of an event; must be quick.
    fn event(&self, event: Event);
}

/// Watches nothing.
#[derive(Debug, Default)]
pub struct Nobody;

impl Watcher for Nobody {
    fn event(&self, _event: Event) {}
}

/// Keeps all events, for tests.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// Returns what happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().expect("no watcher panics").clone()
    }
}

impl Watcher for Recorder {
    fn event(&self, event: Event) {
        self.0.lock().expect("no watcher panics").push(event);
    }
}
