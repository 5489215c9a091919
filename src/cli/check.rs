//! `xenbuild check`.

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bootwrap::layout::{MemoryMap, Placed, Range};
use serde_json::{Value, json};

use super::{Global, MessageFormat};
use crate::emulate::command::find_program;
use crate::emulate::{model, qemu};
use crate::error::{Error, Kind, Result};
use crate::file;
use crate::recipe::{self, FileSource, Fragment, Located, Recipe, SourceFile, SourceFrom, TreeSource};
use crate::run;
use crate::run::check::Checked;
use crate::run::preview::Preview;
use crate::task::Cancel;

/// Checks all that can be known before the first long step
///
/// Reads the recipe, looks at every local file and folder that it names, compares hashes, reads the headers of local
/// kernels, compiles the device tree, plans all steps, and looks for the programs that compiling it and running it will
/// need. Prints the memory map of the boot artifact, proven, as far as what is in it is there: local, in the cache, or
/// from the last build; with --message-format=json, as an object. Tells all that is wrong at once; makes nothing, and
/// asks no network.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let recipe = recipe::load(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)?;
    let mut wrong = inputs(&recipe);
    let cancel = super::progress::options(global)?.cancel;
    let beyond = run::check::check(&recipe, &wrong, &global.out, &cancel);
    // What has no place in the recipe can wait until the rest is right.
    let Checked { wrong: more, preview, missing } = match beyond {
        Err(error) if wrong.is_empty() || error.kind == Kind::Interrupted => return Err(error),
        beyond => beyond.unwrap_or_default(),
    };
    wrong.extend(more);
    if !wrong.is_empty() {
        return Err(recipe.join(wrong));
    }
    let missing = missing.map(|error| [vec![error.to_string()], error.hints].concat().join("; "));
    for warning in missing.into_iter().chain(programs(&recipe)).filter(|_| !global.quiet) {
        eprintln!("warning: {warning}");
    }
    if global.message_format == MessageFormat::Json {
        if let Some(preview) = &preview {
            super::print(format_args!("{}\n", as_json(preview)))?;
        }
        super::print(format_args!("{}\n", json!({ "event": "checked", "recipe": recipe.name })))?;
    } else if !global.quiet {
        if let Some(preview) = &preview {
            show(preview)?;
        }
        let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        super::print(format_args!(
            "{}: {}, {}, {}, {}: no errors\n",
            recipe.name,
            count(recipe.kernels.len(), "kernel"),
            count(recipe.filesystems.len(), "file system"),
            count(recipe.guests.len(), "guest"),
            count(recipe.test.steps.len(), "test step"),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the memory map as `image` writes it, and what can be said about it.
fn show(preview: &Preview) -> Result<()> {
    let Preview { artifact, map, .. } = preview;
    if let Some(map) = map {
        super::print(format_args!("memory map of {artifact}\n{map}"))?;
        super::print(format_args!(
            "nothing overlaps, what the device tree reserves is left alone, and Xen's and Linux's rules of placement hold\n"
        ))?;
    }
    for gap in preview.gaps() {
        super::print(format_args!("{gap}\n"))?;
    }
    Ok(())
}

/// Returns the same as an event: addresses and lengths are numbers.
fn as_json(preview: &Preview) -> Value {
    let Preview { artifact, map, missing, last, doubt } = preview;
    let range = |range: &Range| json!({ "start": range.start, "bytes": range.size_bytes });
    let placed = |placed: &Placed| {
        let Placed { name, range, file_bytes, fixed } = placed;
        json!({
            "name": name, "start": range.start, "bytes": range.size_bytes, "file-bytes": file_bytes, "fixed": fixed,
        })
    };
    let map = map.as_ref().map(|MemoryMap { banks, reserved, firmware, placed: all }| {
        json!({
            "memory": banks.iter().map(range).collect::<Vec<_>>(),
            "reserved": reserved.iter().map(range).collect::<Vec<_>>(),
            "firmware": firmware.iter().map(range).collect::<Vec<_>>(),
            "placed": all.iter().map(placed).collect::<Vec<_>>(),
        })
    });
    json!({
        "event": "memory-map", "artifact": artifact, "map": map,
        "not-made-yet": missing, "to-be-made-again": last, "doubt": doubt,
    })
}

/// What a local path has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    File,
    Folder,
}

/// Looks at all local paths; returns what is wrong with them, each of the kind that a build would find it to be.
fn inputs(recipe: &Recipe) -> Vec<Error> {
    let mut wrong = Vec::new();
    let mut look = |path: &Located<PathBuf>, wanted: Wanted, sha256: Option<&Located<String>>| {
        let result = input(&path.value, wanted).map_err(|error| error.at(&path.origin));
        wrong.extend(result.err().or_else(|| {
            let wanted = sha256?;
            let shown = path.value.display();
            match file::sha256_of(&path.value, &Cancel::default()) {
                Ok(found) if found.eq_ignore_ascii_case(&wanted.value) => None,
                Ok(found) => {
                    let message = format!("{shown} hashes to {found}, not to {}", wanted.value);
                    Some(Error::new(Kind::Input, message).at(&wanted.origin))
                }
                Err(error) => Some(Error { kind: Kind::Recipe, ..error }.at(&path.origin)),
            }
        }));
    };
    for file in recipe.files() {
        match file {
            FileSource::Path { path, sha256 } => look(path, Wanted::File, sha256.as_ref()),
            FileSource::Tarball { tarball, sha256, .. } => look(tarball, Wanted::File, sha256.as_ref()),
            FileSource::Compiled(compiled) => {
                for fragment in &compiled.fragments {
                    if let Fragment::File(path) = fragment {
                        look(path, Wanted::File, None);
                    }
                }
            }
            FileSource::Package { .. } | FileSource::Integrated => {}
        }
    }
    for tree in recipe.trees() {
        match tree {
            TreeSource::Folder { path, .. } => look(path, Wanted::Folder, None),
            TreeSource::Tarball { tarball, sha256 } => look(tarball, Wanted::File, sha256.as_ref()),
            TreeSource::Package { .. } | TreeSource::Compiled(_) => {}
        }
    }
    for tree in recipe.source_trees.values() {
        if let SourceFrom::Tarball { tarball, sha256 } = &tree.from {
            look(tarball, Wanted::File, sha256.as_ref());
        }
        tree.patches.iter().for_each(|patch| look(patch, Wanted::File, None));
        for file in tree.files.values() {
            if let SourceFile::Path(path) = file {
                look(path, Wanted::File, None);
            }
        }
    }
    if let Some(keyring) = &recipe.packages.keyring {
        look(keyring, Wanted::File, None);
    }
    if let Some(mirror) = &recipe.packages.mirror
        && let Some(path) = mirror.value.strip_prefix("file:")
    {
        let path = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
        look(&Located { value: path, origin: mirror.origin.clone() }, Wanted::Folder, None);
    }
    wrong
}

/// Looks at a local file or folder: what is missing is the recipe's fault, what is something else the input's.
fn input(path: &Path, wanted: Wanted) -> Result<()> {
    let cannot = |error: io::Error| Error::new(Kind::Recipe, format!("cannot read {}: {error}", path.display()));
    let is_no = |what: &str| Err(Error::new(Kind::Input, format!("{} is not a {what}", path.display())));
    let metadata = path.metadata().map_err(cannot)?;
    match wanted {
        Wanted::File if !metadata.is_file() => is_no("regular file"),
        Wanted::Folder if !metadata.is_dir() => is_no("folder"),
        Wanted::File => File::open(path).map(drop).map_err(cannot),
        Wanted::Folder => path.read_dir().map(drop).map_err(cannot),
    }
}

/// Returns what is missing to run and test the result.
fn programs(recipe: &Recipe) -> Option<String> {
    let (program, advice) = match model::program(recipe.machine.kind) {
        Some(program) => (program, "Arm offers it for download; put its folder into PATH, or name it with --model"),
        None => (qemu::PROGRAM, "on Debian it is in the package qemu-system-arm"),
    };
    let named = env::var_os(if program == qemu::PROGRAM { "XENBUILD_QEMU" } else { "XENBUILD_MODEL" });
    let wanted = named.map_or_else(|| PathBuf::from(program), PathBuf::from);
    if find_program(&wanted, env::var_os("PATH").as_deref()).is_some() {
        return None;
    }
    Some(format!("cannot find {}: `run` and `test` will need it; {advice}", wanted.display()))
}
