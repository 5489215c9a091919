//! `fetch`: a package of the lock, from wherever packages come from. What comes of it is known by the lock.
//! `download`: the same for a file at an address. `commit`: the files of a commit, by git.
//! `lock`: packages that no lock names yet, so that a plan can be shown without one.

use super::{Description, Digest, Kind, Output, Workspace};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::fetch::{LockedPackage, Request, Wanted};

/// The name of the output.
pub const OUTPUT: &str = "package.deb";

/// The name of a download's output.
pub const DOWNLOAD: &str = "file";

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    package: LockedPackage,
    sha256: Digest,
}

impl Fetch {
    /// Makes the step for a package.
    pub fn new(package: &LockedPackage) -> Result<Self> {
        let LockedPackage { name, version, sha256, .. } = package;
        let bad = || Error::new(ErrorKind::Input, format!("the lock's hash of {name} {version} is none: {sha256}"));
        Ok(Fetch { package: package.clone(), sha256: Digest::from_hex(sha256).ok_or_else(bad)? })
    }

    /// Returns the package, and its hash.
    pub fn package(&self) -> (&LockedPackage, Digest) {
        (&self.package, self.sha256)
    }
}

impl Kind for Fetch {
    fn name(&self) -> &'static str {
        "fetch"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        // Where it comes from is no part of what it is.
        description.parameter("sha256", self.sha256);
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        workspace.packages.get(&self.package, &workspace.folder.join(OUTPUT), workspace.task)
    }

    fn known_output(&self) -> Option<Output> {
        Some(Output { name: OUTPUT.to_owned(), size_bytes: self.package.size, sha256: self.sha256 })
    }
}

/// A file at an address. What comes of it is known by the lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// Its hash.
    pub sha256: Digest,
    /// Its size.
    pub size: u64,
}

impl Kind for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("sha256", self.sha256);
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let Download { url, sha256, size } = self;
        let wanted = Wanted { name: url.clone(), size: *size, sha256: sha256.to_string() };
        workspace.packages.get_url(url, &wanted, &workspace.folder.join(DOWNLOAD), workspace.task)
    }

    fn known_output(&self) -> Option<Output> {
        Some(Output { name: DOWNLOAD.to_owned(), size_bytes: self.size, sha256: self.sha256 })
    }
}

/// The files of a commit, as a tar archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The repository.
    pub place: String,
    /// The commit's id, which is also the hash of all that it holds.
    pub commit: String,
}

impl Kind for Commit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("commit", &self.commit);
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let host = workspace.packages.host().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no host"))?;
        host.commit(&self.place, &self.commit, &workspace.folder.join(super::unpack::OUTPUT), workspace.task)
    }
}

/// Packages that no lock names yet. A plan with such a step can be shown, not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unlocked {
    /// What is asked for.
    pub request: Request,
    /// A source tree that is asked for, instead.
    pub source: Option<String>,
}

impl Kind for Unlocked {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        if let Some(source) = &self.source {
            return description.parameter("source", source);
        }
        description.parameter("packages", self.request.names.join(", "));
        if !self.request.without.is_empty() {
            description.parameter("without", self.request.without.join(", "));
        }
    }

    fn make(&self, _workspace: &Workspace<'_>) -> Result<()> {
        let names = self.request.names.join(", ");
        Err(Error::new(ErrorKind::Internal, format!("these packages were never locked: {names}")))
    }
}
