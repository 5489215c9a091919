//! JSON on standard output: one object a line, each an [`Event`], written at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::run::event::{Event, Watcher};

/// Writes JSON lines.
#[derive(Default)]
pub struct Json {
    closed: AtomicBool,
}

impl Watcher for Json {
    fn event(&self, event: Event) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut line = serde_json::to_vec(&event).expect("events hold only text and numbers");
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // A reader that went away does not stop the build.
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Outcome, Refused};

    /// The format is a promise: a change here is a change for every reader.
    #[test]
    fn the_format_stays() {
        let text = |event: Event| serde_json::to_string(&event).unwrap();
        let cases = [
            (Event::Plan { recipe: "r".into(), steps: 3 }, r#"{"event":"plan","recipe":"r","steps":3}"#),
            (
                Event::Begin { step: "kernel.debian".into(), kind: "kernel" },
                r#"{"event":"begin","step":"kernel.debian","kind":"kernel"}"#,
            ),
            (Event::Total { step: "a".into(), bytes: 1 }, r#"{"event":"total","step":"a","bytes":1}"#),
            (Event::Progress { step: "a".into(), bytes: 1 }, r#"{"event":"progress","step":"a","bytes":1}"#),
            (Event::Note { step: None, text: "x".into() }, r#"{"event":"note","text":"x"}"#),
            (Event::Note { step: Some("a".into()), text: "x".into() }, r#"{"event":"note","step":"a","text":"x"}"#),
            (
                Event::End { step: "a".into(), outcome: Outcome::Reused, milliseconds: 0, error: None },
                r#"{"event":"end","step":"a","outcome":"reused","milliseconds":0}"#,
            ),
            (
                Event::End { step: "a".into(), outcome: Outcome::Failed, milliseconds: 5, error: Some("why".into()) },
                r#"{"event":"end","step":"a","outcome":"failed","milliseconds":5,"error":"why"}"#,
            ),
            (
                Event::Artifact { path: "out/r/Image".into(), bytes: 9, sha256: "ab".into() },
                r#"{"event":"artifact","path":"out/r/Image","bytes":9,"sha256":"ab"}"#,
            ),
            (
                Event::Device {
                    path: "/dev/sdb".into(),
                    model: "m".into(),
                    serial: "s".into(),
                    bus: "usb".into(),
                    bytes: 8,
                    removable: true,
                    contents: "MBR".into(),
                    refused: vec![Refused { reason: "mounted", text: "t".into() }],
                },
                r#"{"event":"device","path":"/dev/sdb","model":"m","serial":"s","bus":"usb","bytes":8,"removable":true,"contents":"MBR","refused":[{"reason":"mounted","text":"t"}]}"#,
            ),
            (
                Event::Pace { step: "a".into(), bytes: 1, total: Some(9), bytes_per_second: 2, seconds_left: Some(4) },
                r#"{"event":"pace","step":"a","bytes":1,"total":9,"bytes-per-second":2,"seconds-left":4}"#,
            ),
            (
                Event::Pace { step: "a".into(), bytes: 1, total: None, bytes_per_second: 2, seconds_left: None },
                r#"{"event":"pace","step":"a","bytes":1,"bytes-per-second":2}"#,
            ),
            (
                Event::Flashed {
                    image: "i".into(),
                    device: "d".into(),
                    written_bytes: 1,
                    cleared_bytes: 2,
                    compared_bytes: 3,
                    repeated: 0,
                    milliseconds: 4,
                },
                r#"{"event":"flashed","image":"i","device":"d","written-bytes":1,"cleared-bytes":2,"compared-bytes":3,"repeated":0,"milliseconds":4}"#,
            ),
            (
                Event::Finished { done: 1, reused: 2, milliseconds: 3 },
                r#"{"event":"finished","done":1,"reused":2,"milliseconds":3}"#,
            ),
        ];
        for (event, json) in cases {
            assert_eq!(text(event), json);
        }
    }
}
