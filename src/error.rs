//! What goes wrong for a user: a kind, which decides the exit code; what happened; and hints that help.

use std::error::Error as StdError;
use std::fmt;

use crate::recipe::Origin;

/// Whose fault it is, and so which exit code it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The command line, or an environment variable.
    Usage,
    /// The recipe or something it names: its message is already rendered, with file, line and caret.
    Recipe,
    /// An input that is not what it should be: a hash, a signature, an archive, a kernel.
    Input,
    /// The network or a mirror.
    Network,
    /// The machine we run on: a full disk, a permission, a missing program.
    Host,
    /// A recipe's test, run on the booted system, did not pass.
    Test,
    /// A device that may not be overwritten: it is in use, or does not fit.
    Refused,
    /// A device that failed while it was written: an error, or it has gone.
    Device,
    /// A device that does not keep what is written: it reads back differently.
    Compare,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// A mistake of ours.
    Internal,
}

impl Kind {
    /// Returns the process's exit code: listed in the README and in `--help`. `diff` ends with 1, too, where it finds
    /// something, as everybody's does.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Test => 1,
            Kind::Usage => 2,
            Kind::Recipe => 3,
            Kind::Input => 4,
            Kind::Network => 5,
            Kind::Host => 6,
            Kind::Refused => 7,
            Kind::Device => 8,
            Kind::Compare => 9,
            Kind::Internal => 70,
            Kind::Interrupted => 130,
        }
    }
}

/// A failure, as the user will read it.
#[derive(Debug)]
pub struct Error {
    /// Whose fault it is.
    pub kind: Kind,
    /// What happened, outermost first: the step or file, then the reason.
    pub message: String,
    /// What the reader can do about it, one line each.
    pub hints: Vec<String>,
    /// Where the recipe asks for it, until somebody who has the recipe shows that.
    pub place: Option<Box<Origin>>,
    /// What lies beneath.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of most functions in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hints: Vec::new(), place: None, source: None }
    }

    /// Adds a line that says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the error beneath; it is printed after the message.
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says which place in the recipe is to be shown. Of the message, the first line goes there, the rest below.
    pub fn at(mut self, origin: &Origin) -> Self {
        self.place = Some(Box::new(origin.clone()));
        self
    }

    /// Puts what was being done in front of the message: a step, a file.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Makes the error of an I/O operation: `what` names the operation and the file.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let hint = match source.kind() {
            std::io::ErrorKind::StorageFull => Some("the disk is full: make room, and run the command again"),
            std::io::ErrorKind::QuotaExceeded => {
                Some("the disk quota is used up: make room, and run the command again")
            }
            _ => None,
        };
        let mut error = Error::new(Kind::Host, what).caused_by(source);
        error.hints.extend(hint.map(String::from));
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = self.source.as_ref().map(|source| &**source as &dyn StdError);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {}
