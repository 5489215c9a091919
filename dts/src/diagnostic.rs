//! What the compiler has to say, as plain data; how it looks is decided in `render`.

mod render;

use std::fmt;

use crate::source::{Location, Sources, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The output is as meant, but something looks wrong.
    Warning,
    /// There is no output.
    Error,
}

/// Which stage speaks; decides the shape of dtc's message line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The preprocessor.
    Preprocess,
    /// A token that is none.
    Lexical,
    /// Grammar, and merging as the grammar's action.
    Syntax,
    /// A check of the finished tree, with its name.
    Check(&'static str),
}

/// One message.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which stage speaks.
    pub kind: Kind,
    /// The message, without position.
    pub message: String,
    /// Where, if anywhere; of several definitions the first.
    pub span: Option<Span>,
    /// Further places, each with what it shows.
    pub labels: Vec<(Span, String)>,
    /// For a check: the path of the node, and of the property behind a colon.
    pub path: Option<String>,
}

impl Diagnostic {
    /// Returns an error at `span`.
    pub fn error(kind: Kind, span: Span, message: impl Into<String>) -> Diagnostic {
        let message = message.into();
        Diagnostic { severity: Severity::Error, kind, message, span: Some(span), labels: Vec::new(), path: None }
    }

    /// Returns a warning at `span`.
    pub fn warning(kind: Kind, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(kind, span, message) }
    }

    /// Adds a further place.
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push((span, text.into()));
        self
    }

    /// Returns the stable name: the check's, or the stage's.
    pub fn code(&self) -> &'static str {
        match self.kind {
            Kind::Preprocess => "preprocess",
            Kind::Lexical => "lexical",
            Kind::Syntax => "syntax",
            Kind::Check(name) => name,
        }
    }
}

/// Messages together with the sources they point into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// The messages, in the order they were found.
    pub items: Vec<Diagnostic>,
    /// The texts.
    pub sources: Sources,
}

impl Diagnostics {
    /// Says whether any message is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// Returns the place of a message.
    pub fn location(&self, item: &Diagnostic) -> Option<Location> {
        item.span.map(|span| self.sources.location(span))
    }

    /// Renders every message with its source lines, with terminal colours if `color`.
    pub fn render(&self, color: bool) -> String {
        render::snippets(self, color)
    }

    /// Renders every message on one line, in dtc's format; `output` names what has no position.
    pub fn render_like_dtc(&self, output: &str) -> String {
        render::like_dtc(self, output)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}
