//! The user's git: which commit a name is, and the files of a commit, whose objects are kept in the cache.

use std::path::Path;

use super::{process, store};
use crate::error::{Error, Kind, Result};
use crate::step::Digest;
use crate::step::host::Call;
use crate::step::output;
use crate::task::Task;

/// Where repositories are, below the cache.
pub const FOLDER: &str = "git";
/// What git said last, in a repository: as old as its last use.
pub const LOG: &str = "xenbuild.log";
/// What git says is no longer, unless it is asked for files.
const ANSWER_MAX_BYTES: u64 = 64 << 20;
/// Files come as they were committed: no line ends turned, no keywords filled in, nothing left out.
const ATTRIBUTES: &str = "* -text -eol -ident -filter -export-subst -export-ignore -working-tree-encoding\n";

/// Finds the commit that a repository has for a branch or tag, or for a commit's own name.
pub fn find_commit(place: &str, revision: &str, task: &dyn Task) -> Result<String> {
    let folder = tempfile::tempdir().map_err(|error| Error::io("cannot make a temporary folder", error))?;
    let log = folder.path().join("answer");
    git(folder.path(), &log, &["ls-remote", "--quiet", "--", place], task)
        .map_err(|error| Error::new(Kind::Network, format!("git cannot read {place}: {error}")))?;
    let answer = output::read_limited(&log, ANSWER_MAX_BYTES)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    choose(&answer, revision).ok_or_else(|| {
        let message = format!("{place} has neither a tag nor a branch called `{revision}`");
        Error::new(Kind::Recipe, message).hint("a commit is named by all of its 40 digits")
    })
}

/// Chooses among the lines of `git ls-remote`: tags before branches, and of a tag the commit that it names.
fn choose(answer: &str, revision: &str) -> Option<String> {
    let lines = || answer.lines().filter_map(|line| line.split_once('\t'));
    let named = |name: String| lines().find(|(_, found)| **found == name).map(|(id, _)| id.to_owned());
    named(format!("refs/tags/{revision}^{{}}"))
        .or_else(|| named(format!("refs/tags/{revision}")))
        .or_else(|| named(format!("refs/heads/{revision}")))
        .or_else(|| named(revision.to_owned()))
        .filter(|id| matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Writes a commit's files as a tar archive. Objects are fetched into `cache/git`, unless they are there.
pub fn archive(cache: &Path, place: &str, commit: &str, archive: &Path, offline: bool, task: &dyn Task) -> Result<()> {
    let repository = cache.join(FOLDER).join(Digest::of(place.as_bytes()).short());
    let log = repository.join(LOG);
    if !repository.join("HEAD").exists() {
        store::make_folder(&repository)?;
        git(&repository, &log, &["init", "--quiet", "--bare", "."], task)?;
    }
    let info = repository.join("info");
    store::make_folder(&info)?;
    store::replace(&info.join("attributes"), ATTRIBUTES.as_bytes())?;
    let tree = format!("{commit}^{{tree}}");
    // Fails where the commit, or anything that it holds, is not there.
    let there = || git(&repository, &log, &["rev-list", "--objects", "--no-walk", "--quiet", commit], task).is_ok();
    if !there() {
        if offline && place.contains(':') {
            let message = format!("offline, and the commit {commit} of {place} is not in the cache");
            return Err(Error::new(Kind::Network, message).hint("run once without --offline"));
        }
        task.note(&format!("fetching {commit} of {place}"));
        let one = ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head", "--", place, commit];
        let one = git(&repository, &log, &one, task);
        // Not every server gives a commit by its name alone: then all that its branches and tags lead to.
        if one.is_err() || !there() {
            task.cancel().check()?;
            let refs = ["+refs/heads/*:refs/xenbuild/heads/*", "+refs/tags/*:refs/xenbuild/tags/*"];
            let all = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", place, refs[0], refs[1]];
            git(&repository, &log, &all, task)
                .map_err(|error| Error::new(Kind::Network, format!("git cannot fetch from {place}: {error}")))?;
        }
        if !there() {
            let message = format!("{place} has no commit {commit}, on no branch and no tag");
            return Err(Error::new(Kind::Input, message).hint("`xenbuild lock --update` looks the revision up again"));
        }
    }
    let to = format!("--output={}", archive.display());
    git(&repository, &log, &["archive", "--format=tar", &to, &tree], task)
}

/// Runs git, whatever the user's and the host's configuration say about files.
fn git(folder: &Path, log: &Path, arguments: &[&str], task: &dyn Task) -> Result<()> {
    if log.exists() {
        output::remove_if_there(log)?;
    }
    let fixed = ["-c", "core.attributesFile=/dev/null", "-c", "tar.umask=0022", "-c", "gc.auto=0"];
    let title = format!("git {}", arguments.first().unwrap_or(&""));
    let arguments = fixed.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let mut environment = vec![("GIT_TERMINAL_PROMPT", "0".to_owned())];
    // What the user's git needs to reach a repository.
    for name in
        ["SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "SSL_CERT_FILE"]
    {
        environment.extend(std::env::var(name).ok().map(|value| (name, value)));
    }
    let call = Call { title: &title, program: "git", arguments, environment, folder, programs: None, log };
    process::run(&call, None, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_commit_that_it_names() {
        let id = |digit: char| digit.to_string().repeat(40);
        let answer = format!(
            "{}\tHEAD\n{}\trefs/heads/main\n{}\trefs/heads/v1\n{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n",
            id('1'),
            id('1'),
            id('2'),
            id('3'),
            id('4')
        );
        assert_eq!(choose(&answer, "v1"), Some(id('4')));
        assert_eq!(choose(&answer, "main"), Some(id('1')));
        assert_eq!(choose(&answer, "HEAD"), Some(id('1')));
        assert_eq!(choose(&answer, "v2"), None);
        assert_eq!(choose("x\trefs/heads/main\n", "main"), None);
    }
}
