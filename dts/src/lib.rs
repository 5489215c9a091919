//! A device-tree compiler with dtc's language and dtc's bytes.
//!
//! ```text
//!   source --preprocess--> text --lexer, parser--> parts --lower--> tree --resolve--> tree --check, emit--> dtb, dts
//! ```
//!
//! [`compile`] does all of it. The library reads no file: a [`Loader`] does. Every message is collected as data in
//! [`Diagnostics`], which renders them with their source lines.
//!
//! What is accepted is what dtc 1.8 accepts, and the bytes are those dtc writes; beyond it there is a built-in C
//! preprocessor in the dialect Linux uses for its device trees.

#![forbid(unsafe_code)]

mod ast;
pub mod boards;
mod check;
mod data;
mod decompile;
mod diagnostic;
pub mod emit;
mod intern;
mod lexer;
mod live;
mod loader;
mod lower;
mod parser;
mod precedence;
mod preprocess;
mod resolve;
mod session;
mod source;

pub use ast::{Label, Reservation};
pub use check::{Checks, Level};
pub use data::{Data, Marker, MarkerKind, Type};
pub use diagnostic::{Diagnostic, Diagnostics, Kind, Severity};
pub use intern::{Name, Names};
pub use live::{LiveLabel, LiveNode, LiveProperty, LiveTree, NodeId};
pub use loader::{Either, LoadError, Loader, MemoryLoader};
pub use source::{Location, Sources, Span};

use session::Session;

/// When to run the C preprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preprocess {
    /// Never, as dtc.
    Off,
    /// Where the source has directives, or macros are defined by the caller.
    #[default]
    Auto,
}

/// Which property carries a phandle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PhandleFormat {
    /// `linux,phandle`.
    Legacy,
    /// `phandle`.
    #[default]
    Epapr,
    /// Both.
    Both,
}

/// What to do with a source.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Macros as with `-D`: name (perhaps with parameters) and value.
    pub defines: Vec<(String, String)>,
    /// Folders for `#include`, `/include/` and `/incbin/`, after the including file's own.
    pub include_dirs: Vec<String>,
    /// When to preprocess.
    pub preprocess: Preprocess,
    /// Add `__symbols__` (`-@`).
    pub symbols: bool,
    /// Add labels to `aliases` (`-A`).
    pub auto_aliases: bool,
    /// Add `__fixups__` and `__local_fixups__` (`-L`); plugins always do.
    pub local_fixups: bool,
    /// Sort reservations, nodes and properties.
    pub sort: bool,
    /// Which property carries a phandle.
    pub phandle_format: PhandleFormat,
    /// Boot CPU's id for the header, instead of the first CPU's `reg`.
    pub boot_cpu: Option<u32>,
    /// Which checks to run.
    pub checks: Checks,
    /// The output will be source again: leave out the fixups, which compiling it adds.
    pub for_source: bool,
    /// The blob's layout.
    pub layout: fdt::EmitOptions,
}

/// What came of a source.
#[derive(Debug, Clone)]
pub struct Output {
    /// The flattened tree.
    pub dtb: Vec<u8>,
    /// Messages that are no errors.
    pub warnings: Diagnostics,
    /// Every file read, in order, the source first.
    pub dependencies: Vec<String>,
}

/// A source read and resolved, before anything is written.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The tree.
    pub tree: LiveTree,
    /// All messages, errors included.
    pub diagnostics: Diagnostics,
    /// Every file read, in order, the source first.
    pub dependencies: Vec<String>,
}

/// Compiles the source at `path` to a flattened tree.
///
/// # Errors
/// All messages, if any is an error: what is wrong with the source, each with its place.
pub fn compile(loader: &dyn Loader, path: &str, options: &Options) -> Result<Output, Diagnostics> {
    let Compiled { tree, mut diagnostics, dependencies } = analyze(loader, path, options);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    match emit::dtb(&tree, &options.layout) {
        Ok(dtb) => Ok(Output { dtb, warnings: diagnostics, dependencies }),
        Err(error) => {
            let span = Span::default();
            diagnostics.items.push(Diagnostic::error(Kind::Syntax, span, error.to_string()));
            Err(diagnostics)
        }
    }
}

/// Reads, merges, resolves and checks the source at `path`. The tree is as good as the errors among the messages allow.
pub fn analyze(loader: &dyn Loader, path: &str, options: &Options) -> Compiled {
    let mut session = Session::new(loader, &options.include_dirs);
    let mut tree = LiveTree::new(Names::default());
    if let Some(file) = read(&mut session, path, options) {
        tree = lower::lower(&mut session, file);
        if !session.has_errors() {
            finish(&mut tree, options, &mut |diagnostic| session.report(diagnostic));
        }
    }
    let Session { sources, diagnostics, dependencies, .. } = session;
    Compiled { tree, diagnostics: Diagnostics { items: diagnostics, sources }, dependencies }
}

/// Checks a tree that is flat already, and does to it what the options ask for.
pub fn analyze_flat(flat: &fdt::Tree, options: &Options) -> Compiled {
    let mut tree = LiveTree::from_flat(flat);
    let mut items = Vec::new();
    finish(&mut tree, options, &mut |diagnostic| items.push(diagnostic));
    let diagnostics = Diagnostics { items, sources: Sources::default() };
    Compiled { tree, diagnostics, dependencies: Vec::new() }
}

/// Resolves, checks, and adds what was asked for.
fn finish(tree: &mut LiveTree, options: &Options, report: &mut dyn FnMut(Diagnostic)) {
    if let Some(boot_cpu) = options.boot_cpu {
        tree.boot_cpu = boot_cpu;
    }
    // What the resolver has to say has the level of the check it does the work of.
    let failed = std::cell::RefCell::new(Vec::new());
    let mut leveled = |mut diagnostic: Diagnostic| {
        if let Kind::Check(name) = diagnostic.kind {
            failed.borrow_mut().push(name);
            match options.checks.level(name) {
                Level::Off => return,
                Level::Warning => diagnostic.severity = Severity::Warning,
                Level::Error => diagnostic.severity = Severity::Error,
            }
        }
        report(diagnostic);
    };
    let next = resolve::resolve(tree, options, &mut leveled);
    check::run(tree, &options.checks, failed.take(), &mut leveled);
    resolve::generate(tree, options, next, &mut leveled);
}

/// Preprocesses the source at `path`; returns the text, with line markers, and the messages.
pub fn preprocess(loader: &dyn Loader, path: &str, options: &Options) -> (Vec<u8>, Diagnostics) {
    let mut session = Session::new(loader, &options.include_dirs);
    let mut out = Vec::new();
    if let Some(text) = open(&mut session, path) {
        let mut preprocessor = preprocessor(&mut session, options);
        let made = preprocessor.run(&mut session, text);
        out = session.sources.with_line_markers(made);
    }
    (out, Diagnostics { items: session.diagnostics, sources: session.sources })
}

/// Reads the source itself; reports that it cannot be.
fn open(session: &mut Session<'_>, path: &str) -> Option<u32> {
    match session.open(path) {
        Ok(text) => Some(text),
        Err(error) => {
            let text = session.sources.add(path, [].into());
            let span = Span { text, start: 0, end: 0 };
            session.report(Diagnostic::error(Kind::Syntax, span, format!("Couldn't open \"{path}\": {error}")));
            None
        }
    }
}

/// Returns a preprocessor that knows the predefined macros and the caller's.
fn preprocessor(session: &mut Session<'_>, options: &Options) -> preprocess::Preprocessor {
    let mut preprocessor = preprocess::Preprocessor::default();
    for name in ["__DTS__", "__ASSEMBLER__"] {
        preprocessor.define(session, name, "1");
    }
    for (name, value) in &options.defines {
        preprocessor.define(session, name, value);
    }
    preprocessor
}

/// Preprocesses and parses a source; `None` if it cannot be read.
fn read(session: &mut Session<'_>, path: &str, options: &Options) -> Option<ast::File> {
    let mut text = open(session, path)?;
    let automatic = options.preprocess == Preprocess::Auto;
    let mut preprocessor = match automatic {
        true => preprocessor(session, options),
        false => preprocess::Preprocessor::default(),
    };
    if automatic && (!options.defines.is_empty() || session.sources.text(text).has_directive()) {
        text = preprocessor.run(session, text);
    }
    let lexer = lexer::Lexer::new(session, &mut preprocessor, automatic, text);
    Some(parser::Parser::new(lexer).file())
}
