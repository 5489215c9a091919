//! Messages as text: with source lines as rustc shows them, or on one line as dtc does.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Kind, Severity};
use crate::source::{Location, Sources, Span};

/// Only so many lines around a place are handed to the renderer, which looks at all it gets.
const LINES_AROUND: usize = 2;

/// The lines around a span, ready to be shown.
struct Excerpt {
    file: String,
    source: String,
    first_line: usize,
    range: std::ops::Range<usize>,
}

fn excerpt(sources: &Sources, span: Span) -> Excerpt {
    let location = sources.location(span);
    let origin = sources.origin(span);
    let bytes = &sources.text(origin.text).bytes;
    let (start, end) = (origin.start as usize, origin.end as usize);
    // Of a long span the first line says enough.
    let line_end = bytes[start..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| start + length);
    let end = end.clamp(start, line_end.max(start));
    let mut from = start;
    for _ in 0..=LINES_AROUND {
        from = bytes[..from].iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    }
    let from = if from == 0 { 0 } else { from + 1 };
    let mut to = end;
    for _ in 0..=LINES_AROUND {
        to = bytes[to..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| to + length + 1);
    }
    let before = String::from_utf8_lossy(&bytes[from..start]);
    let marked = String::from_utf8_lossy(&bytes[start..end]);
    let lines_before = before.matches('\n').count();
    let range = before.len()..before.len() + marked.len();
    let source = format!("{before}{marked}{}", String::from_utf8_lossy(&bytes[end..to.max(end)]));
    let first_line = (location.line as usize).saturating_sub(lines_before).max(1);
    Excerpt { file: location.file.to_string(), source, first_line, range }
}

pub(super) fn snippets(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    // That a check could not run for what another found says nothing new; only dtc's format repeats it.
    let is_news = |item: &&Diagnostic| item.span.is_some() || item.path.is_some();
    for item in diagnostics.items.iter().filter(is_news) {
        let mut places = Vec::new();
        if let Some(span) = item.span {
            places.push((excerpt(&diagnostics.sources, span), None));
            if let Some(definition) = diagnostics.sources.macro_definition(span) {
                places.push((excerpt(&diagnostics.sources, definition), Some("from this macro")));
            }
        }
        for (span, text) in &item.labels {
            places.push((excerpt(&diagnostics.sources, *span), Some(text)));
        }
        let message = match &item.path {
            Some(path) => format!("{path}: {}", item.message),
            None => item.message.clone(),
        };
        let level = if item.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
        let mut title = level.primary_title(&message);
        if let Kind::Check(name) = item.kind {
            title = title.id(name);
        }
        let mut group = Group::with_title(title);
        for (index, (place, text)) in places.iter().enumerate() {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let mut annotation = kind.span(place.range.clone());
            if let Some(text) = text {
                annotation = annotation.label(*text);
            }
            group = group.element(
                Snippet::source(&place.source).line_start(place.first_line).path(&place.file).annotation(annotation),
            );
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

/// Writes `file:line.column-end`, in the three forms dtc uses.
fn position(location: &Location) -> String {
    let Location { file, line, column, end_line, end_column } = location;
    if line != end_line {
        format!("{file}:{line}.{column}-{end_line}.{end_column}")
    } else if column != end_column {
        format!("{file}:{line}.{column}-{end_column}")
    } else {
        format!("{file}:{line}.{column}")
    }
}

pub(super) fn like_dtc(diagnostics: &Diagnostics, output: &str) -> String {
    let mut out = String::new();
    for item in &diagnostics.items {
        let place = diagnostics.location(item).map(|location| position(&location));
        let Diagnostic { severity, kind, message, path, .. } = item;
        let is_error = *severity == Severity::Error;
        let _ = match kind {
            Kind::Check(name) => {
                let level = if is_error { "ERROR" } else { "Warning" };
                let place = place.unwrap_or_else(|| output.to_string());
                let path = path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
                writeln!(out, "{place}: {level} ({name}): {path}{message}")
            }
            kind => {
                let level = match kind {
                    Kind::Lexical if is_error => "Lexical error",
                    _ if is_error => "Error",
                    _ => "WARNING",
                };
                let colon = if is_error { "" } else { ":" };
                writeln!(out, "{level}: {}{colon} {message}", place.unwrap_or_default())
            }
        };
        for (span, _) in item.labels.iter().filter(|_| matches!(kind, Kind::Check(_))) {
            let _ = writeln!(out, "  also defined at {}", position(&diagnostics.sources.location(*span)));
        }
    }
    out
}
