//! Plans source trees, and what is compiled of them.

use std::collections::BTreeMap;

use super::{Planner, digest};
use crate::error::{Error, Kind, Result};
use crate::fetch::{LockedPackage, LockedSource, Request};
use crate::plan::Role;
use crate::recipe::{Compiled, FileSource, Fragment, SourceFile, SourceFrom, SourceTree};
use crate::step::compile::{self, Compile, Project, carried_fragment};
use crate::step::extract::Extract;
use crate::step::fetch::{Commit, Download, Fetch, Unlocked};
use crate::step::source::{File, Form, Source};
use crate::step::unpack::{self, Unpack};
use crate::step::{Digest, Input, InputSource, Step, StepId};

impl Planner<'_> {
    /// Plans the compilation of a kernel or hypervisor; returns the step, and the name of its Image among its outputs.
    pub(super) fn compiled(&mut self, name: &str, compiled: &Compiled) -> Result<(StepId, &'static str)> {
        let project = if name == "hypervisor" { Project::Xen } else { Project::Linux };
        if let Some(&id) = self.compiled.get(name) {
            return Ok((id, project.image()));
        }
        let source = self.source(&compiled.source.value)?;
        let mut inputs = vec![
            Input::step(compile::SOURCE, source),
            Input { name: compile::COMPILER.to_owned(), source: InputSource::Compiler, origin: None },
        ];
        let mut fragments: Vec<(String, String)> = Vec::new();
        for (number, fragment) in compiled.fragments.iter().enumerate() {
            let (input, title) = match fragment {
                Fragment::Named(name) => {
                    let unknown = || super::wrong_at(&name.origin, format!("there is no fragment `{}`", name.value));
                    let text = carried_fragment(&name.value).ok_or_else(unknown)?;
                    (Input::carried(format!("fragment {}", name.value), text.as_bytes()), name.value.clone())
                }
                Fragment::File(path) => {
                    let source = InputSource::File { path: path.value.clone(), sha256: None, mode: false };
                    let name = format!("fragment {}", number + 1);
                    (Input { name, source, origin: Some(path.origin.clone()) }, self.plan.show_path(&path.value))
                }
            };
            fragments.push((input.name.clone(), title));
            // One named twice is one input.
            if !inputs.iter().any(|known| known.name == input.name) {
                inputs.push(input);
            }
        }
        let step = Compile {
            project,
            // A variant's name has what make's rules may take for their own.
            folder: format!("{}/{name}", self.plan.recipe.replace('@', "-")),
            title: format!("source.{}", compiled.source.value),
            defconfig: compiled.defconfig.value.clone(),
            fragments,
            config: compiled.config.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
            epoch: self.recipe.epoch,
        };
        let id = self.plan.push(format!("{name}:build"), Step::Compile(Box::new(step)), inputs)?;
        self.compiled.insert(name.to_owned(), id);
        let short = name.strip_prefix("kernel.").unwrap_or("xen");
        for output in project.byproducts() {
            // `xen-syms` says of whom it is.
            let file = if output.starts_with("xen") { (*output).to_owned() } else { format!("{short}.{output}") };
            self.artifact(Role::Byproduct, &file, id, output);
        }
        Ok((id, project.image()))
    }

    /// Plans the modules of a kernel that is compiled.
    pub(super) fn compiled_modules(&mut self, input: &str, kernel: &str) -> Result<Input> {
        let recipe = self.recipe;
        let Some(FileSource::Compiled(compiled)) = recipe.kernels.get(kernel).map(|kernel| &kernel.image) else {
            return Err(Error::new(Kind::Internal, format!("the kernel {kernel} is not compiled")));
        };
        let (id, _) = self.compiled(&format!("kernel.{kernel}"), compiled)?;
        Ok(Input::output(input, id, compile::MODULES))
    }

    /// Plans a source tree.
    fn source(&mut self, name: &str) -> Result<StepId> {
        if let Some(&id) = self.sources.get(name) {
            return Ok(id);
        }
        let Some(tree) = self.recipe.source_trees.get(name) else {
            return Err(Error::new(Kind::Recipe, format!("there is no source called `{name}`")));
        };
        let step = format!("source.{name}");
        let (form, mut inputs) = self.source_archives(&step, tree)?;
        let id = match (&form, inputs.as_slice()) {
            // Nothing on top: the archive as it is.
            (Form::Archive, [Input { source: InputSource::Step(id), .. }])
                if tree.patches.is_empty() && tree.files.is_empty() =>
            {
                *id
            }
            _ => {
                let mut patches = Vec::new();
                for (number, patch) in tree.patches.iter().enumerate() {
                    let source = InputSource::File { path: patch.value.clone(), sha256: None, mode: false };
                    let name = format!("patch {}", number + 1);
                    patches.push((name.clone(), self.plan.show_path(&patch.value)));
                    inputs.push(Input { name, source, origin: Some(patch.origin.clone()) });
                }
                let mut files = BTreeMap::new();
                for (path, file) in &tree.files {
                    let file = match file {
                        SourceFile::Text(text) => File::Text(text.clone()),
                        SourceFile::Path(local) => {
                            let input = format!("file {path}");
                            let source = InputSource::File { path: local.value.clone(), sha256: None, mode: false };
                            inputs.push(Input { name: input.clone(), source, origin: Some(local.origin.clone()) });
                            File::Input(input)
                        }
                    };
                    files.insert(path.clone(), file);
                }
                let source = Source { form, title: step.clone(), patches, files };
                self.plan.push(step, Step::Source(Box::new(source)), inputs)?
            }
        };
        self.sources.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Plans what a source tree is made of, unpacked.
    fn source_archives(&mut self, step: &str, tree: &SourceTree) -> Result<(Form, Vec<Input>)> {
        let locked = self.lock.and_then(|lock| lock.source(self.recipe, &tree.from));
        let one = |form: Form, id: StepId| Ok((form, vec![Input::step("archive", id)]));
        match (&tree.from, locked) {
            (SourceFrom::Tarball { tarball, sha256 }, _) => {
                let id = self.tarball(tarball, sha256, &tarball.origin)?;
                one(Form::Archive, id)
            }
            (SourceFrom::Package { package, file }, _) => {
                let packages = self.request(&Request::same_version(&package.value))?;
                let inputs = packages.into_iter().map(|(name, id)| Input::step(format!("package {name}"), id));
                let title = format!("the package {}", package.value);
                let extract = Step::Extract(Extract { pattern: file.value.clone(), title });
                let file = self.plan.push(format!("{step}:file"), extract, inputs.collect())?;
                let id = self.unpacked(&format!("{step}:archive"), file, &package.value)?;
                one(Form::Archive, id)
            }
            (SourceFrom::Url { url, sha256 }, Some(LockedSource::Url { size, .. })) => {
                let sha256 = digest(&Some(sha256.clone()))?.unwrap_or(Digest([0; 32]));
                let download = Step::Download(Download { url: url.value.clone(), sha256, size: *size });
                let file = self.plan.push(format!("{step}:file"), download, Vec::new())?;
                let id = self.unpacked(&format!("{step}:archive"), file, &url.value)?;
                one(Form::Archive, id)
            }
            (SourceFrom::Git { url, .. }, Some(LockedSource::Git { commit, .. })) => {
                let commit = Step::Commit(Commit { place: url.value.clone(), commit: commit.clone() });
                let id = self.plan.push(format!("{step}:commit"), commit, Vec::new())?;
                one(Form::Commit, id)
            }
            (SourceFrom::Debian { .. }, Some(LockedSource::Debian { files, .. })) => {
                Ok((Form::Debian, self.debian_source(step, files)?))
            }
            (from, _) => {
                let title = match from {
                    SourceFrom::Debian { package } => format!("debian {}", package.value),
                    SourceFrom::Git { url, revision } => {
                        format!("{} of {}", revision.value, self.plan.show_path(url.value.as_ref()))
                    }
                    SourceFrom::Url { url, .. } => url.value.clone(),
                    SourceFrom::Tarball { .. } | SourceFrom::Package { .. } => String::new(),
                };
                let unlocked = Unlocked { request: Request::new([], []), source: Some(title) };
                let id = self.plan.push(format!("lock.{step}"), Step::Unlocked(unlocked), Vec::new())?;
                one(Form::Archive, id)
            }
        }
    }

    fn unpacked(&mut self, name: &str, file: StepId, title: &str) -> Result<StepId> {
        let step = Step::Unpack(Unpack { form: unpack::Form::Tarball, title: title.to_owned() });
        self.plan.push(name, step, vec![Input::step(unpack::INPUT, file)])
    }

    /// Plans the files of a Debian source package, each by its part in it.
    fn debian_source(&mut self, step: &str, files: &[LockedPackage]) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for file in files {
            let name = file.filename.rsplit('/').next().unwrap_or_default();
            let Some(part) = part(name) else { continue };
            let fetch = self.plan.push(format!("{step}:{part}.fetch"), Step::Fetch(Fetch::new(file)?), Vec::new())?;
            let id = match part.as_str() {
                // A diff is no archive.
                "diff" => fetch,
                _ => self.unpacked(&format!("{step}:{part}"), fetch, name)?,
            };
            inputs.push(Input::step(part, id));
        }
        if !inputs.iter().any(|input| input.name == "orig") {
            let names: Vec<&str> = files.iter().filter_map(|file| file.filename.rsplit('/').next()).collect();
            let message = format!("{step}: a source package without a tarball: {}", names.join(", "));
            return Err(Error::new(Kind::Input, message));
        }
        Ok(inputs)
    }
}

/// Says what part of a source package a file is: `orig`, `orig-NAME`, `debian`, `diff`; none for the rest (dpkg-source(1)).
fn part(file: &str) -> Option<String> {
    let stem = [".xz", ".gz", ".bz2", ".lzma"].iter().find_map(|extension| file.strip_suffix(extension))?;
    if stem.ends_with(".diff") {
        return Some("diff".to_owned());
    }
    let stem = stem.strip_suffix(".tar")?;
    if stem.ends_with(".debian") {
        return Some("debian".to_owned());
    }
    match stem.rsplit_once(".orig-") {
        Some((_, component)) if !component.is_empty() => Some(format!("orig-{component}")),
        // A native package has one tarball, which is all of it.
        _ => Some("orig".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_source_package_are_told_by_their_names() {
        let cases = [
            ("xen_4.17.5+72-g01140da4e8.orig.tar.xz", Some("orig")),
            ("x_1.orig-docs.tar.gz", Some("orig-docs")),
            ("xen_4.17.5-1.debian.tar.xz", Some("debian")),
            ("native_1.0.tar.xz", Some("orig")),
            ("old_1-1.diff.gz", Some("diff")),
            ("xen_4.17.5-1.dsc", None),
            ("x_1.orig.tar.xz.asc", None),
        ];
        for (file, expected) in cases {
            assert_eq!(part(file).as_deref(), expected, "{file}");
        }
    }
}
