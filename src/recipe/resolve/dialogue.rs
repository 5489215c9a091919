//! `[test]`.

use super::super::{Test, TestAction, TestStep};
use super::Cursor;

pub(super) fn test(table: &Cursor<'_>) -> Test {
    Test {
        timeout: table.duration("timeout"),
        prompt: table.get("prompt").and_then(|prompt| regex(&prompt)).unwrap_or_default(),
        fail: table.elements("fail").iter().filter_map(|fail| Some(fail.located(regex(fail)?))).collect(),
        steps: table.elements("steps").iter().filter_map(step).collect(),
    }
}

fn step(table: &Cursor<'_>) -> Option<TestStep> {
    let action = if let Some(run) = table.get("run") {
        TestAction::Run {
            command: run.node.text()?.to_string(),
            expect: expect(table),
            status: table.number("status").value as u8,
        }
    } else if table.get("power-off").is_some() {
        TestAction::PowerOff
    } else if let Some(send) = table.get("send") {
        TestAction::Send(send.node.text()?.to_string())
    } else {
        let mut expect = expect(table);
        if expect.len() > 1 {
            table.finding("a list to expect belongs beside `run`; here, write one step for each");
        }
        TestAction::Expect(expect.pop()?)
    };
    Some(TestStep { action, within: table.duration("within"), origin: step_origin(table) })
}

/// One regular expression, or several.
fn expect(table: &Cursor<'_>) -> Vec<String> {
    match table.get("expect") {
        Some(one) if one.node.text().is_some() => regex(&one).into_iter().collect(),
        Some(_) => table.elements("expect").iter().filter_map(regex).collect(),
        None => Vec::new(),
    }
}

/// Returns a regular expression that compiles.
fn regex(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.node.text()?;
    match regex::Regex::new(text) {
        Ok(_) => Some(text.to_string()),
        Err(error) => {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default();
            cursor.finding(format!("not a regular expression: {}", last.trim_start_matches("error: ")));
            None
        }
    }
}

/// A step is best shown by the key that says what it does.
fn step_origin(table: &Cursor<'_>) -> super::Origin {
    ["run", "power-off", "send", "expect"]
        .iter()
        .find_map(|key| table.get(key))
        .map_or(table.origin(), |key| key.origin())
}
