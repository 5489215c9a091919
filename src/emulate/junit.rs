//! A test's results as JUnit's XML, as CI servers read it: a suite for the recipe, a case for each step.
//!
//! There is no standard: what is written here is what both the schema of Ant's task (all attributes that it asks for) and
//! Jenkins' (no others than it knows) take. The console may say anything, and XML may not: characters that XML 1.0 has no
//! place for (production 2, `Char`) are written as escapes.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::dialogue::{Outcome, Played, Report};
use super::plain::turns_writing;
use crate::error::{Error, Kind};

/// Returns the text: of the recipe's name, when its test began, and how it went.
pub fn text(recipe: &str, began: Timestamp, report: &Report) -> String {
    let width = report.steps.len().to_string().len();
    let cases: Vec<Case<'_>> = begin(report).into_iter().chain(steps(report, width)).collect();
    let count = |what: fn(&Ended<'_>) -> bool| cases.iter().filter(|case| what(&case.ended)).count();
    let failures = count(|ended| matches!(ended, Ended::Failed(error) if error.kind == Kind::Test));
    let errors = count(|ended| matches!(ended, Ended::Failed(error) if error.kind != Kind::Test));
    let skipped = count(|ended| matches!(ended, Ended::Skipped));
    let name = attribute(recipe);
    // Ant's has no place for a zone: it is UTC.
    let time = began.strftime("%Y-%m-%dT%H:%M:%S");
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        text,
        "  <testsuite id=\"0\" package=\"xenbuild\" name=\"{name}\" timestamp=\"{time}\" hostname=\"localhost\" \
         tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{}\">\n    <properties/>",
        cases.len(),
        seconds(report.took),
    );
    for case in &cases {
        let (case_name, took) = (attribute(&case.name), seconds(case.took));
        let _ = write!(text, "    <testcase classname=\"{name}\" name=\"{case_name}\" time=\"{took}\"");
        text.push_str(&match case.ended {
            Ended::Passed => "/>\n".to_owned(),
            Ended::Skipped => ">\n      <skipped/>\n    </testcase>\n".to_owned(),
            Ended::Failed(error) => format!(">\n{}    </testcase>\n", failure(error)),
        });
    }
    let _ = writeln!(text, "    <system-out>{}</system-out>", content(&report.tail.join("\n")));
    text.push_str("    <system-err/>\n  </testsuite>\n</testsuites>\n");
    text
}

struct Case<'a> {
    name: String,
    took: Duration,
    ended: Ended<'a>,
}

enum Ended<'a> {
    Passed,
    Failed(&'a Error),
    Skipped,
}

/// Returns the case that stands for a test that could not begin, if it is one.
fn begin(report: &Report) -> Option<Case<'_>> {
    let begun = report.steps.iter().any(|step| step.outcome != Outcome::Skipped);
    let ended = Ended::Failed(report.failure.as_ref().filter(|_| !begun)?);
    Some(Case { name: "start".to_owned(), took: report.took, ended })
}

fn steps(report: &Report, width: usize) -> impl Iterator<Item = Case<'_>> {
    report.steps.iter().enumerate().map(move |(index, Played { what, took, outcome })| {
        let ended = match (outcome, &report.failure) {
            (Outcome::Failed, Some(error)) => Ended::Failed(error),
            (Outcome::Skipped, _) => Ended::Skipped,
            _ => Ended::Passed,
        };
        // Numbered: two steps may do the same, and many servers sort by name.
        Case { name: format!("{:0width$} {what}", index + 1), took: *took, ended }
    })
}

/// Writes why a step did not pass: a failure if the system is at fault, an error if it could not be tested.
fn failure(error: &Error) -> String {
    let (element, kind) = if error.kind == Kind::Test { ("failure", "test") } else { ("error", "error") };
    let message = error.to_string();
    let first = attribute(message.lines().next().unwrap_or_default());
    let hints: String = error.hints.iter().map(|hint| format!("\nhint: {hint}")).collect();
    let body = content(&format!("{}{hints}", message.trim_end()));
    format!("      <{element} type=\"{kind}\" message=\"{first}\">{body}</{element}>\n")
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Writes text between tags.
fn content(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut safe, letter));
    safe
}

/// Writes text between quotes, where a reader makes blanks of line ends and tabs unless they are written as references.
fn attribute(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' => safe.push_str("&quot;"),
            '\n' => safe.push_str("&#10;"),
            '\t' => safe.push_str("&#9;"),
            other => push(&mut safe, other),
        }
    }
    safe
}

/// Writes one character, or what stands for it.
fn push(safe: &mut String, letter: char) {
    match letter {
        '&' => safe.push_str("&amp;"),
        '<' => safe.push_str("&lt;"),
        '>' => safe.push_str("&gt;"),
        '\n' | '\t' => safe.push(letter),
        // Not XML's, or (C1, and what turns the direction of writing) what acts on whoever shows it.
        '\u{fffe}' | '\u{ffff}' => safe.extend(letter.escape_default()),
        acts if acts.is_control() || turns_writing(acts) => safe.extend(acts.escape_default()),
        other => safe.push(other),
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;

    fn step(what: &str, outcome: Outcome) -> Played {
        Played { what: what.to_owned(), took: Duration::from_millis(1500), outcome }
    }

    fn report(steps: Vec<Played>, failure: Option<Error>, tail: &[&str]) -> Report {
        let tail = tail.iter().map(|line| (*line).to_owned()).collect();
        Report { steps, took: Duration::from_millis(61_234), failure, tail }
    }

    /// Reads what was written as a strict reader does, and checks the shape that servers know.
    fn read(text: &str) -> Document<'_> {
        let options = roxmltree::ParsingOptions { allow_dtd: false, ..roxmltree::ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}: {text}"));
        let elements = |node: Node<'_, '_>| -> Vec<String> {
            node.children().filter(Node::is_element).map(|child| child.tag_name().name().to_owned()).collect()
        };
        let attributes = |node: Node<'_, '_>| -> Vec<String> {
            node.attributes().map(|attribute| attribute.name().to_owned()).collect()
        };
        let root = document.root_element();
        assert_eq!(
            (root.tag_name().name(), attributes(root).len(), elements(root)),
            ("testsuites", 0, vec!["testsuite".into()])
        );
        let suite = root.children().find(Node::is_element).unwrap();
        let wanted = "id package name timestamp hostname tests failures errors skipped time";
        assert_eq!(attributes(suite).join(" "), wanted);
        let cases = elements(suite).len() - 3;
        assert_eq!(elements(suite)[0], "properties");
        assert!(elements(suite)[1..=cases].iter().all(|name| name == "testcase"));
        assert_eq!(elements(suite)[cases + 1..], ["system-out", "system-err"]);
        let number = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(number("tests"), cases);
        let mut names = std::collections::BTreeSet::new();
        for (element, attribute) in [("failure", "failures"), ("error", "errors"), ("skipped", "skipped")] {
            let found = suite.descendants().filter(|node| node.has_tag_name(element)).count();
            assert_eq!(number(attribute), found, "{text}");
        }
        for case in suite.children().filter(|node| node.has_tag_name("testcase")) {
            assert_eq!(attributes(case).join(" "), "classname name time");
            assert!(case.attribute("time").unwrap().parse::<f64>().is_ok());
            assert!(names.insert(case.attribute("name").unwrap()), "two cases of one name");
            assert!(elements(case).len() <= 1);
            for child in case.children().filter(Node::is_element) {
                let wanted = if child.has_tag_name("skipped") { "" } else { "type message" };
                assert_eq!(attributes(child).join(" "), wanted);
            }
        }
        document
    }

    fn find<'a>(document: &'a Document<'_>, element: &str) -> Node<'a, 'a> {
        document.descendants().find(|node| node.has_tag_name(element)).unwrap_or_else(|| panic!("no {element}"))
    }

    #[test]
    fn a_test_that_passed_is_written_to_the_letter() {
        let steps = vec![step("expect `Xen version`", Outcome::Passed), step("power-off", Outcome::Passed)];
        let began = Timestamp::from_second(1_767_225_600).unwrap();
        let text = text("tutorial@small", began, &report(steps, None, &[]));
        let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  \
            <testsuite id=\"0\" package=\"xenbuild\" name=\"tutorial@small\" timestamp=\"2026-01-01T00:00:00\" \
            hostname=\"localhost\" tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"0\" time=\"61.234\">\n    \
            <properties/>\n    \
            <testcase classname=\"tutorial@small\" name=\"1 expect `Xen version`\" time=\"1.500\"/>\n    \
            <testcase classname=\"tutorial@small\" name=\"2 power-off\" time=\"1.500\"/>\n    \
            <system-out></system-out>\n    <system-err/>\n  </testsuite>\n</testsuites>\n";
        assert_eq!(text, wanted);
        read(&text);
    }

    #[test]
    fn a_failure_has_its_message_and_the_consoles_tail() {
        let steps: Vec<Played> = (0..11)
            .map(|index| step("expect `x`", [Outcome::Passed, Outcome::Failed, Outcome::Skipped][usize::min(index, 2)]))
            .collect();
        let error = Error::new(Kind::Test, "test step 2 of 11: not within 5s\n --> r.toml:3:1\n  | <a> & \"b\"]]>");
        let text = text("r", Timestamp::UNIX_EPOCH, &report(steps, Some(error.hint("look at it")), &["one", "<two>"]));
        let document = read(&text);
        let failure = find(&document, "failure");
        assert_eq!(failure.attribute("message"), Some("test step 2 of 11: not within 5s"));
        assert!(failure.text().unwrap().ends_with("\n  | <a> & \"b\"]]>\nhint: look at it"));
        assert_eq!(failure.parent().unwrap().attribute("name"), Some("02 expect `x`"));
        assert_eq!(find(&document, "system-out").text(), Some("one\n<two>"));
        assert_eq!(find(&document, "testsuite").attribute("skipped"), Some("9"));
    }

    #[test]
    fn what_could_not_be_tested_is_an_error_and_no_failure() {
        let error = || Some(Error::new(Kind::Host, "cannot start qemu"));
        let begun = vec![step("a", Outcome::Passed), step("b", Outcome::Failed)];
        let text_of = |steps| text("r", Timestamp::UNIX_EPOCH, &report(steps, error(), &[]));
        assert_eq!(find(&read(&text_of(begun)), "error").attribute("message"), Some("cannot start qemu"));
        // Before its first step, too; and a test without steps.
        for steps in [vec![step("a", Outcome::Skipped)], vec![]] {
            let text = text_of(steps);
            let document = read(&text);
            assert_eq!(find(&document, "error").parent().unwrap().attribute("name"), Some("start"));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_console_says_it_is_xml(
            letters in proptest::collection::vec(proptest::char::any(), 0..60),
            edges in proptest::collection::vec(proptest::sample::select(
                "\0\u{1}\u{8}\t\n\u{b}\r\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{fffe}\u{ffff}\u{10ffff}<>&\"']".chars().collect::<Vec<_>>()
            ), 0..60),
        ) {
            let said: String = letters.into_iter().chain(edges).collect();
            let steps = vec![step(&said, Outcome::Failed)];
            let error = Error::new(Kind::Test, said.clone()).hint(said.clone());
            let text = text(&said, Timestamp::UNIX_EPOCH, &report(steps, Some(error), &[&said]));
            let document = read(&text);
            // What XML can say came through as it was.
            let kept = |text: &str| text.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>();
            let out = find(&document, "system-out").text().unwrap_or_default().to_owned();
            let known = |text: &str| kept(text).chars().filter(|letter| !letter.is_ascii()).collect::<String>();
            proptest::prop_assert_eq!(known(&out), known(&said));
            proptest::prop_assert!(!text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')));
        }
    }
}
