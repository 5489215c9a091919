//! What every stage of one compilation shares: sources, names, messages, and the way to more files.

use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Kind, Severity};
use crate::intern::Names;
use crate::loader::{LoadError, Loader, folder_of, join};
use crate::source::{Sources, Span};

/// Files may include files this deep.
pub(crate) const INCLUDE_DEPTH: usize = 200;

/// In all, so many files may be included; two files that include each other twice would else never end.
const INCLUDE_LIMIT: usize = 10_000;

/// Messages beyond this many are not kept, nor are errors beyond this many.
const MESSAGE_LIMIT: usize = 10_000;
const ERROR_LIMIT: usize = 100;

/// The largest text that is read or made, so that offsets and growing expansions stay in bounds.
pub(crate) const TEXT_LIMIT: usize = 1 << 28;

/// What one compilation may take in all, so that no source makes very much more of itself than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes of text that is read: sources, what they include, each time anew, and what macros become.
    Text,
    /// Bytes of property values.
    Values,
    /// Nodes, properties, labels and references: what takes much more memory than text.
    Parts,
}

impl Limit {
    fn most(self) -> usize {
        match self {
            Limit::Text => 2 * TEXT_LIMIT,
            Limit::Values => VALUES_LIMIT,
            Limit::Parts => 2_000_000,
        }
    }

    /// Returns what to say at the place that goes beyond.
    fn message(self) -> &'static str {
        match self {
            Limit::Text => {
                "here the text, with all that is included and expanded, grows beyond 256 MiB at once or 512 MiB in all"
            }
            Limit::Values => VALUES_MESSAGE,
            Limit::Parts => "this is the 2,000,001st node, property, label or reference: too many",
        }
    }
}

/// The longest name of a node or property: paths, of which a tree may repeat very many, are made of them.
pub(crate) const NAME_LIMIT: usize = 1024;
/// The most that all property values may take.
pub(crate) const VALUES_LIMIT: usize = 1 << 28;
/// What to say at the value that goes beyond.
pub(crate) const VALUES_MESSAGE: &str = "with this the property values grow beyond 256 MiB";

pub(crate) struct Session<'a> {
    pub loader: &'a dyn Loader,
    pub include_dirs: &'a [String],
    pub sources: Sources,
    pub names: Names,
    pub diagnostics: Vec<Diagnostic>,
    /// Every file read, in order, once each.
    pub dependencies: Vec<String>,
    opened: HashMap<String, Option<u32>>,
    /// How many includes there were.
    includes: usize,
    /// How many errors there were, kept or not.
    errors: usize,
    /// What was taken of each [`Limit`].
    taken: [usize; 3],
    /// Some limit was reached and reported; what else would be said only follows from breaking off.
    over: bool,
}

impl<'a> Session<'a> {
    pub fn new(loader: &'a dyn Loader, include_dirs: &'a [String]) -> Session<'a> {
        Session {
            loader,
            include_dirs,
            sources: Sources::default(),
            names: Names::default(),
            diagnostics: Vec::new(),
            dependencies: Vec::new(),
            opened: HashMap::new(),
            includes: 0,
            errors: 0,
            taken: [0; 3],
            over: false,
        }
    }

    /// Takes so much of a limit; says whether there was so much, and reports once, at `span`, that there was not.
    pub fn take(&mut self, limit: Limit, amount: usize, span: Span) -> bool {
        let taken = &mut self.taken[limit as usize];
        *taken = taken.saturating_add(amount);
        if *taken > limit.most() && !self.over {
            self.report(Diagnostic::error(Kind::Syntax, span, limit.message()));
            self.over = true;
        }
        !self.over
    }

    pub fn report(&mut self, diagnostic: Diagnostic) {
        if self.over {
            return;
        }
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
            if self.errors > ERROR_LIMIT {
                return;
            }
        }
        if self.diagnostics.len() < MESSAGE_LIMIT {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Takes back the last message if the lexer said it about `span`.
    pub fn withdraw_lexical(&mut self, span: Span) {
        let is_it = |item: &Diagnostic| item.kind == Kind::Lexical && item.span == Some(span);
        if self.diagnostics.last().is_some_and(is_it) {
            self.diagnostics.pop();
            self.errors -= 1;
        }
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Reads a file, once; returns the number of its text.
    pub fn open(&mut self, path: &str) -> Result<u32, LoadError> {
        match self.opened.get(path) {
            Some(Some(text)) => return Ok(*text),
            Some(None) => return Err(LoadError::NotFound),
            None => {}
        }
        match self.loader.load(path) {
            Ok(bytes) if bytes.len() > TEXT_LIMIT => Err(LoadError::Failed("larger than 256 MiB".into())),
            Ok(bytes) => {
                let text = self.sources.add(path, Arc::from(bytes));
                self.opened.insert(path.into(), Some(text));
                self.dependencies.push(path.into());
                Ok(text)
            }
            Err(LoadError::NotFound) => {
                self.opened.insert(path.into(), None);
                Err(LoadError::NotFound)
            }
            Err(error) => Err(error),
        }
    }

    /// Says whether there was so much that it is better to stop.
    pub fn is_exhausted(&self) -> bool {
        self.over || self.includes > INCLUDE_LIMIT
    }

    /// Looks for a file to include, as [`Session::search`] does; refuses when there were too many.
    pub fn search_include(&mut self, name: &str, from: Option<&str>) -> Result<u32, LoadError> {
        self.includes += 1;
        if self.is_exhausted() {
            return Err(LoadError::Failed(format!("more than {INCLUDE_LIMIT} files are included")));
        }
        self.search(name, from)
    }

    /// Looks for `name` in the folder of `from` if given, then in the include folders.
    pub fn search(&mut self, name: &str, from: Option<&str>) -> Result<u32, LoadError> {
        let mut folders: Vec<String> = from.map(|file| folder_of(file).to_string()).into_iter().collect();
        if name.starts_with('/') {
            folders = vec![String::new()];
        } else {
            folders.extend(self.include_dirs.iter().cloned());
        }
        for folder in folders {
            match self.open(&join(&folder, name)) {
                Err(LoadError::NotFound) => {}
                result => return result,
            }
        }
        Err(LoadError::NotFound)
    }
}
