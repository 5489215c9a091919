//! What is wrong with a recipe, and how it is shown: file, line, column, the line itself with a caret.
//! The only place that knows annotate-snippets.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin as Header, Renderer, Snippet, normalize_untrusted_str};

use super::raw::Place;
use super::{Origin, SourceText};
use crate::error::{Error, Kind};

/// How many findings are shown; more would only scroll the first ones away.
const SHOWN_MAX: usize = 50;
/// The longest part of a line that is shown, in bytes.
const LINE_MAX: usize = 400;

/// Whether a JSON Schema can see that something is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Unknown keys, types, patterns, ranges, missing keys, keys that exclude each other, in the file itself.
    Shape,
    /// Everything else: references, variables, relations between values, other files.
    Meaning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whether the schema sees it too.
    pub class: Class,
    /// The file, by its index among the sources.
    pub file: Option<usize>,
    /// Byte range in the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right, or where else to look.
    pub helps: Vec<String>,
    /// Lines to show below, as they are.
    pub below: String,
}

impl Finding {
    /// Makes a finding that the schema has, too.
    pub fn shape(place: &Place, message: impl Into<String>) -> Self {
        Finding {
            class: Class::Shape,
            file: place.file,
            span: place.span.clone(),
            message: message.into(),
            helps: Vec::new(),
            below: String::new(),
        }
    }

    /// Makes a finding that only the reader has.
    pub fn meaning(place: &Place, message: impl Into<String>) -> Self {
        Finding { class: Class::Meaning, ..Finding::shape(place, message) }
    }

    /// Makes a finding about a resolved value; where a default is to blame, it is named.
    pub fn at(origin: &Origin, message: impl Into<String>) -> Self {
        let message = match origin.file {
            Some(_) => message.into(),
            None => format!("`{}`, which has its default: {}", origin.key, message.into()),
        };
        let span = origin.span.clone();
        Finding { file: origin.file, span, ..Finding::nowhere(message) }
    }

    /// Makes a finding about no place in particular.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Finding {
            class: Class::Meaning,
            file: None,
            span: 0..0,
            message: message.into(),
            helps: Vec::new(),
            below: String::new(),
        }
    }

    /// Adds what would help.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Adds what would help, if anything.
    pub fn help_if(mut self, help: Option<String>) -> Self {
        self.helps.extend(help);
        self
    }

    /// Adds "did you mean", or else what there is.
    pub fn suggest<'a>(self, wanted: &str, there_are: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = there_are.into_iter().collect();
        match (nearest(wanted, names.iter().copied()), names.len()) {
            (Some(name), _) => self.help(format!("did you mean `{name}`?")),
            (None, 0) => self.help("there are none"),
            (None, 1..=24) => self.help(format!("there is: {}", list(&names))),
            (None, _) => self,
        }
    }
}

/// Joins names: "`a`, `b`".
pub fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Returns the name that was probably meant.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > 64 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let wanted_plain = plain(wanted);
    names
        .into_iter()
        .filter(|name| name.len() <= 64)
        .map(|name| (strsim::damerau_levenshtein(&wanted_plain, &plain(name)), name))
        .filter(|(distance, name)| {
            *distance <= wanted.len().max(name.len()).div_ceil(3).min(3) && *distance < name.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Everything that is wrong with a recipe, and the files it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The files.
    pub sources: Vec<SourceText>,
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Makes a report of findings, in the order in which a reader meets them.
    pub fn new(sources: &[SourceText], mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (finding.file.unwrap_or(usize::MAX), finding.span.start));
        Report { sources: sources.to_vec(), findings }
    }

    /// Returns the error to show: rendered, without the first "error: ", which the command line prints.
    pub fn into_error(self) -> Error {
        Error::new(Kind::Recipe, self.render())
    }

    fn render(&self) -> String {
        let mut shown: Vec<String> =
            self.findings.iter().take(SHOWN_MAX).map(|finding| render(&self.sources, finding)).collect();
        match self.findings.len() {
            0 | 1 => {}
            count if count <= SHOWN_MAX => shown.push(format!("error: {count} errors in the recipe")),
            count => shown.push(format!("error: {count} errors in the recipe; the first {SHOWN_MAX} are shown")),
        }
        let text = shown.join("\n\n");
        text.strip_prefix("error: ").unwrap_or(&text).to_string()
    }
}

fn render(sources: &[SourceText], finding: &Finding) -> String {
    let mut group = Group::with_title(Level::ERROR.primary_title(normalize_untrusted_str(&finding.message)));
    if let Some(source) = finding.file.and_then(|file| sources.get(file)) {
        let path = normalize_untrusted_str(&source.path.display().to_string());
        let line = line_of(&source.text, &finding.span);
        group = match line.text.len() {
            0..=LINE_MAX => group.element(
                Snippet::source(line.text)
                    .path(path)
                    .line_start(line.number)
                    .annotation(AnnotationKind::Primary.span(line.span)),
            ),
            _ => group.element(Header::path(path).line(line.number).char_column(line.column)),
        };
    }
    for help in &finding.helps {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    let mut text = Renderer::plain().render(&[group]);
    if !finding.below.is_empty() {
        text.push('\n');
        finding.below.lines().for_each(|line| text += &format!("\n{}", normalize_untrusted_str(line)));
    }
    text
}

/// The line a span begins in.
struct Line<'a> {
    /// Its text, without the line break.
    text: &'a str,
    /// Its number, from 1.
    number: usize,
    /// The column, from 1, in characters.
    column: usize,
    /// The span in it, cut off at its end.
    span: Range<usize>,
}

fn line_of<'a>(text: &'a str, span: &Range<usize>) -> Line<'a> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[begin..end].trim_end_matches('\r');
    let from = (start - begin).min(line.len());
    let mut to = (span.end.max(start) - begin).clamp(from, line.len());
    while !line.is_char_boundary(to) {
        to += 1;
    }
    Line {
        text: line,
        number: text[..begin].matches('\n').count() + 1,
        column: line[..from].chars().count() + 1,
        span: from..to,
    }
}

/// Returns line and column, from 1, of a byte in a text.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let line = line_of(text, &(offset..offset));
    (line.number, line.column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_else() {
        let keys = ["kernel", "initramfs", "root", "memory", "vcpus", "exception-level"];
        assert_eq!(nearest("kernal", keys), Some("kernel"));
        assert_eq!(nearest("exception_level", keys), Some("exception-level"));
        assert_eq!(nearest("Memory", keys), Some("memory"));
        assert_eq!(nearest("cpus", keys), Some("vcpus"));
        assert_eq!(nearest("bridge", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn line_of_stays_inside_the_text() {
        let text = "a = 1\r\nbé = 2\n";
        let line = line_of(text, &(7..100));
        assert_eq!((line.text, line.number, line.column, line.span), ("bé = 2", 2, 1, 0..7));
        let line = line_of(text, &(9..9));
        assert_eq!((line.number, line.column, line.span), (2, 2, 1..3), "not a part of a character");
        let line = line_of(text, &(500..600));
        assert_eq!((line.text, line.number, line.span), ("", 3, 0..0));
    }
}
