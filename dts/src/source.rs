//! Where text came from: files, preprocessed text mapped back to them, line markers.

use std::sync::{Arc, OnceLock};

/// A piece of one text: byte offsets `start..end` into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Which text of [`Sources`].
    pub text: u32,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the span from the start of `self` to the end of `other`; `self` alone if they are of two texts.
    pub fn to(self, other: Span) -> Span {
        if self.text == other.text { Span { end: other.end.max(self.start), ..self } } else { self }
    }
}

/// A run of preprocessed bytes and the piece of a file they came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Offset in the preprocessed text where the run begins.
    pub out: u32,
    /// The source: the bytes themselves, or the macro use that became them.
    pub source: Span,
    /// For a macro use, the span of the macro's name where it is defined.
    pub definition: Option<Span>,
}

/// `# 12 "file"` seen at some offset: the line after it is line 12 of `file`.
#[derive(Debug, Clone)]
pub(crate) struct LineMarker {
    pub offset: u32,
    pub line: u32,
    pub file: Option<Arc<str>>,
}

/// One text: a file, or what the preprocessor made of one.
#[derive(Debug, Clone)]
pub struct Text {
    pub(crate) name: Arc<str>,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) runs: Option<Vec<Run>>,
    pub(crate) markers: Vec<LineMarker>,
    line_starts: OnceLock<Vec<u32>>,
    has_directive: OnceLock<bool>,
}

impl Text {
    fn line_starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let newlines = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
        })
    }

    /// Says whether there is a preprocessing directive; looks once, however often the text is included.
    pub(crate) fn has_directive(&self) -> bool {
        *self.has_directive.get_or_init(|| crate::preprocess::scan::has_directive(&self.bytes))
    }

    /// Returns line and column of an offset, both counted from 1.
    fn line_column(&self, offset: u32) -> (u32, u32) {
        let starts = self.line_starts();
        let line = starts.partition_point(|&start| start <= offset);
        (line as u32, offset - starts[line - 1] + 1)
    }
}

/// A span in terms a reader knows: file, lines and columns, all counted from 1; the end is exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's name as it was asked for, or as a line marker gave it.
    pub file: Arc<str>,
    /// Line of the first byte.
    pub line: u32,
    /// Column of the first byte.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column of the end.
    pub end_column: u32,
}

/// Every text of one compilation.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    texts: Vec<Text>,
}

impl Sources {
    /// Adds a file; returns its number.
    pub(crate) fn add(&mut self, name: &str, bytes: Arc<[u8]>) -> u32 {
        self.add_mapped(name.into(), bytes, None)
    }

    /// Adds preprocessed text with its way back.
    pub(crate) fn add_mapped(&mut self, name: Arc<str>, bytes: Arc<[u8]>, runs: Option<Vec<Run>>) -> u32 {
        self.texts.push(Text {
            name,
            bytes,
            runs,
            markers: Vec::new(),
            line_starts: OnceLock::new(),
            has_directive: OnceLock::new(),
        });
        self.texts.len() as u32 - 1
    }

    pub(crate) fn text(&self, text: u32) -> &Text {
        &self.texts[text as usize]
    }

    pub(crate) fn text_mut(&mut self, text: u32) -> &mut Text {
        &mut self.texts[text as usize]
    }

    /// Returns the bytes of the text a span lies in.
    pub(crate) fn bytes(&self, text: u32) -> Arc<[u8]> {
        self.text(text).bytes.clone()
    }

    /// Follows a span of preprocessed text back to the file it came from; a macro's product leads to its use.
    pub fn origin(&self, span: Span) -> Span {
        let Some(runs) = &self.text(span.text).runs else { return span };
        let run_of = |offset: u32| {
            let index = runs.partition_point(|run| run.out <= offset).checked_sub(1)?;
            Some(runs[index])
        };
        let place = |offset: u32, run: Run| match run.definition {
            Some(_) => run.source,
            None => {
                let start = (run.source.start + (offset - run.out)).min(run.source.end);
                Span { start, end: (start + 1).min(run.source.end), ..run.source }
            }
        };
        let Some(first) = run_of(span.start) else { return Span::default() };
        let start = place(span.start, first);
        if span.end <= span.start {
            return Span { end: start.start, ..start };
        }
        match run_of(span.end - 1) {
            Some(last) => start.to(place(span.end - 1, last)),
            None => start,
        }
    }

    /// Returns the definition of the macro whose use made the start of `span`.
    pub fn macro_definition(&self, span: Span) -> Option<Span> {
        let runs = self.text(span.text).runs.as_ref()?;
        let index = runs.partition_point(|run| run.out <= span.start).checked_sub(1)?;
        runs[index].definition
    }

    /// Returns file, lines and columns of a span.
    pub fn location(&self, span: Span) -> Location {
        let span = self.origin(span);
        let text = self.text(span.text);
        let (mut line, column) = text.line_column(span.start);
        let (mut end_line, end_column) = text.line_column(span.end.max(span.start));
        let mut file = text.name.clone();
        if let Some(marker) = text.markers.iter().rev().find(|marker| marker.offset <= span.start) {
            let (marker_line, _) = text.line_column(marker.offset);
            let moved = |line: u32| (line + marker.line).saturating_sub(marker_line + 1);
            (line, end_line) = (moved(line), moved(end_line));
            let named = text.markers.iter().filter(|marker| marker.offset <= span.start);
            file = named.rev().find_map(|marker| marker.file.clone()).unwrap_or(file);
        }
        Location { file, line, column, end_line, end_column }
    }

    /// Returns preprocessed text with `# line "file"` wherever its lines do not simply follow each other.
    pub(crate) fn with_line_markers(&self, text: u32) -> Vec<u8> {
        let bytes = &self.text(text).bytes;
        let mut out = Vec::with_capacity(bytes.len());
        let (mut expected, mut start) = (None, 0u32);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let at = self.location(Span { text, start, end: start + 1 });
            if expected.as_ref() != Some(&(at.file.clone(), at.line)) {
                let file = at.file.replace('\\', "\\\\").replace('"', "\\\"");
                out.extend_from_slice(format!("# {} \"{file}\"\n", at.line).as_bytes());
            }
            out.extend_from_slice(line);
            expected = Some((at.file, at.line + 1));
            start += line.len() as u32;
        }
        out
    }
}
