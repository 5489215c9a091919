//! Finds the programs that compile: which they are, of what version, and which Debian package brings what is missing.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::manifest::InputLines;
use crate::step::Step;
use crate::step::compile::Project;

/// Programs and the Debian packages that bring them.
const PACKAGES: &[(&str, &str)] = &[
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu"),
    ("ld", "binutils"),
];
/// What a compiler says when a header is missing, and the package that has it.
const HEADERS: &[(&str, &str)] = &[
    ("openssl/", "libssl-dev"),
    ("libelf.h", "libelf-dev"),
    ("gelf.h", "libelf-dev"),
    ("gmp.h", "libgmp-dev"),
    ("mpc.h", "libmpc-dev"),
    ("ncurses.h", "libncurses-dev"),
    ("stdio.h: No such file", "libc6-dev"),
];
/// Where programs are that a user's `PATH` may not have.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Returns the `PATH` of programs that are started.
pub fn search_path(first: Option<&Path>) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let folders =
        first.map(PathBuf::from).into_iter().chain(std::env::split_paths(&path)).chain(SYSTEM.map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or(path)
}

/// Finds a program.
pub fn find(program: &str) -> Result<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&search_path(None))
        .map(|folder| folder.join(program))
        .find(is_program)
        .ok_or_else(|| missing(&[program.to_owned()]))
}

/// Makes the error of programs that are not there.
fn missing(programs: &[String]) -> Error {
    let (verb, noun) = if programs.len() == 1 { ("is", "a program") } else { ("are", "programs") };
    let mut packages: Vec<&str> = programs.iter().map(|program| package_of(program)).collect();
    packages.dedup();
    let message = format!("{noun} that the build needs {verb} missing: {}", programs.join(", "));
    Error::new(Kind::Host, message).hint(format!("on Debian: sudo apt-get install {}", packages.join(" ")))
}

fn package_of(program: &str) -> &str {
    PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package)
}

/// Returns how the cross compiler's programs begin: what `CROSS_COMPILE` says, else Debian's, else nothing on arm64.
pub fn cross_prefix() -> String {
    match std::env::var("CROSS_COMPILE") {
        Ok(prefix) => prefix,
        Err(_) if cfg!(target_arch = "aarch64") => String::new(),
        Err(_) => "aarch64-linux-gnu-".to_owned(),
    }
}

/// Says what the cross compiler is: the manifest's lines.
pub fn compiler() -> Result<InputLines> {
    let prefix = cross_prefix();
    let (gcc, ld) = (format!("{prefix}gcc"), format!("{prefix}ld"));
    let target = say(&gcc, "-dumpmachine")?;
    if !target.starts_with("aarch64") {
        let message = format!("{gcc} compiles for {target}, not for arm64");
        return Err(Error::new(Kind::Host, message).hint("CROSS_COMPILE says how the compiler's name begins"));
    }
    Ok(vec![
        (String::new(), format!("{}, for {target}", say(&gcc, "--version")?)),
        (": linker".to_owned(), say(&ld, "--version")?),
    ])
}

/// Returns the first line that a program says.
fn say(program: &str, argument: &str) -> Result<String> {
    let path = find(program)?;
    let output = Command::new(path)
        .arg(argument)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io(format!("cannot start {program}"), error))?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    match output.status.success() && !text.is_empty() {
        true => Ok(text),
        false => Err(Error::new(Kind::Host, format!("{program} {argument} fails"))),
    }
}

/// Makes sure, before anything long begins, that all programs are there that a plan's builds start; names all that are not.
pub fn check(plan: &Plan) -> Result<()> {
    let mut wanted: Vec<String> = Vec::new();
    let prefix = cross_prefix();
    for (_, step) in plan.steps() {
        match &step.step {
            Step::Compile(compile) => {
                let own: &[&str] = match compile.project {
                    Project::Linux => &["make", "gcc", "flex", "bison", "bc", "perl"],
                    Project::Xen => &["make", "gcc", "flex", "bison", "python3"],
                };
                wanted.extend([format!("{prefix}gcc"), format!("{prefix}ld")]);
                wanted.extend(own.iter().map(|program| (*program).to_owned()));
            }
            Step::Commit(_) => wanted.push("git".to_owned()),
            _ => {}
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|program| find(program).is_err());
    if wanted.is_empty() { Ok(()) } else { Err(missing(&wanted)) }
}

/// Returns hints for what a compiler said.
pub fn hint<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut hints = Vec::new();
    for line in lines {
        for (mark, package) in HEADERS.iter().filter(|(mark, _)| line.contains(mark) && line.contains("No such file")) {
            let hint = format!("{} is missing; on Debian: sudo apt-get install {package}", mark.trim_end_matches('/'));
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        if line.contains("No space left on device") && hints.is_empty() {
            hints.push("the disk is full; what was compiled is kept, and the next build goes on from there".to_owned());
        }
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = missing(&["aarch64-linux-gnu-gcc".into(), "flex".into()]);
        assert_eq!(error.to_string(), "programs that the build needs are missing: aarch64-linux-gnu-gcc, flex");
        assert_eq!(error.hints, ["on Debian: sudo apt-get install gcc-aarch64-linux-gnu flex"]);
        assert_eq!(find("no-such-program-x").unwrap_err().kind, Kind::Host);
        assert!(find("sh").is_ok());
    }

    #[test]
    fn a_missing_header_leads_to_its_package() {
        let line = "certs/extract-cert.c:21:10: fatal error: openssl/bio.h: No such file or directory";
        assert_eq!(hint([line, line].into_iter()), ["openssl is missing; on Debian: sudo apt-get install libssl-dev"]);
        assert_eq!(hint(["x.c:1: error: bad"].into_iter()), Vec::<String>::new());
    }
}
