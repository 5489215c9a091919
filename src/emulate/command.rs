//! A command line as a value: composed by pure functions, shown to people, started by [`super::process`].

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// A program and its arguments, grouped as people read them: an option with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine {
    /// The program: a name to look for in `PATH`, or a path.
    pub program: PathBuf,
    /// The arguments, an option and its value together.
    pub groups: Vec<Vec<OsString>>,
}

impl CommandLine {
    /// Begins a command line without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        CommandLine { program: program.into(), groups: Vec::new() }
    }

    /// Adds an option and its value, or whatever else belongs on one line.
    pub fn add<I: IntoIterator<Item = S>, S: Into<OsString>>(&mut self, group: I) -> &mut Self {
        self.groups.push(group.into_iter().map(Into::into).collect());
        self
    }

    /// Returns all arguments in order.
    pub fn args(&self) -> impl Iterator<Item = &OsStr> {
        self.groups.iter().flatten().map(OsString::as_os_str)
    }

    /// Returns the program as a path if it can be started: as it stands where it has a slash, else from `PATH`.
    pub fn find_program(&self) -> Option<PathBuf> {
        find_program(&self.program, std::env::var_os("PATH").as_deref())
    }
}

/// Looks a program up as a shell would.
pub fn find_program(program: &Path, search: Option<&OsStr>) -> Option<PathBuf> {
    let can_run = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return can_run(program).then(|| program.to_owned());
    }
    std::env::split_paths(search?).map(|folder| folder.join(program)).find(|path| can_run(path))
}

/// One option per line, quoted for a POSIX shell and continued with backslashes: it can be pasted.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(self.program.as_os_str()))?;
        for group in &self.groups {
            f.write_str(" \\\n ")?;
            for arg in group {
                f.write_char(' ')?;
                f.write_str(&quote(arg))?;
            }
        }
        Ok(())
    }
}

/// Quotes a word for a POSIX shell where it needs it. Bytes that are not UTF-8 are shown as U+FFFD.
pub fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_a_shell_would_touch() {
        let quoted = |word: &str| quote(OsStr::new(word));
        assert_eq!(quoted("virt,gic-version=3"), "virt,gic-version=3");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("cluster*.cpu*=x"), "'cluster*.cpu*=x'");
    }

    #[test]
    fn finds_a_program_in_the_search_path_only_if_it_can_run() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "#!/bin/sh\n").unwrap();
        let search = Some(folder.path().as_os_str());
        assert_eq!(find_program(Path::new("tool"), search), None, "not executable");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder.path().join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(Path::new("tool"), search), Some(folder.path().join("tool")));
        assert_eq!(find_program(Path::new("other"), search), None);
        assert_eq!(find_program(&folder.path().join("tool"), None), Some(folder.path().join("tool")));
    }
}
