//! The command `dts`: files in, files out, an exit code; everything else is the library.

mod command;
mod companion;

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use command::{Command, Format, Messages, Request};
use dts::{Compiled, Diagnostics, Kind, LoadError, Loader, Severity, emit};

/// What fdtget and others of the family parse from the first line.
const COMPATIBLE_VERSION: &str = "1.8.1";

/// A folder given as input may nest this deep.
const FOLDER_DEPTH: usize = fdt::MAX_DEPTH;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    // A companion is called by its own name, through a link, or as the first argument.
    let own_name = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let outcome = companion::run(own_name, &arguments, &Files)
        .or_else(|| companion::run(arguments.first()?, &arguments[1..], &Files));
    if let Some(outcome) = outcome {
        return finish(outcome);
    }
    let request = match command::parse(arguments) {
        Ok(request) => request,
        Err(message) => return fatal(&message),
    };
    match request {
        Request::Help => {
            print!("{}", command::help(&companion::names().collect::<Vec<_>>().join(", ")));
            ExitCode::SUCCESS
        }
        Request::Version => {
            print!("{}", version());
            ExitCode::SUCCESS
        }
        Request::Run(command) => run(&command).unwrap_or_else(|message| fatal(&message)),
    }
}

fn version() -> String {
    format!("Version: DTC {COMPATIBLE_VERSION} (dts {})\n", env!("CARGO_PKG_VERSION"))
}

/// Prints and writes what a companion returned.
fn finish(outcome: companion::Outcome) -> ExitCode {
    eprint!("{}", outcome.notes);
    let printed = write(None, &outcome.output);
    let written = outcome.file.map_or(Ok(()), |(name, bytes)| write(Some(&name), &bytes));
    let error = printed.err().or(outcome.error).or(written.err());
    error.map_or(ExitCode::SUCCESS, |error| {
        eprintln!("{error}");
        ExitCode::from(1)
    })
}

fn fatal(message: &str) -> ExitCode {
    eprintln!("FATAL ERROR: {message}");
    ExitCode::from(1)
}

/// Files of this machine; `-` is standard input.
struct Files;

impl Loader for Files {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        let result = if path == "-" { read_standard_input() } else { std::fs::read(path) };
        result.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => LoadError::NotFound,
            _ => LoadError::Failed(error.to_string()),
        })
    }
}

fn read_standard_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn run(command: &Command) -> Result<ExitCode, String> {
    let input = command.input.as_deref().unwrap_or("-");
    let input_format = match command.input_format {
        Some(format) => format,
        None => guess_input(input)?,
    };
    let output_format = match (command.output_format, command.output.as_deref()) {
        (Some(format), _) => format,
        (None, Some(name)) if by_extension(name).is_some() => by_extension(name).unwrap_or(Format::Dtb),
        (None, _) if input_format == Format::Dts => Format::Dtb,
        (None, _) => Format::Dts,
    };
    if command.only_preprocess {
        return preprocess(command, input);
    }
    let mut options = command.options.clone();
    options.for_source = output_format == Format::Dts;
    let compiled = match input_format {
        Format::Dts => dts::analyze(&Files, input, &options),
        Format::Dtb => {
            let bytes = Files.load(input).map_err(|error| format!("Couldn't open \"{input}\": {error}"))?;
            let tree = fdt::Tree::parse(&bytes).map_err(|error| format!("{input}: {error}"))?;
            dts::analyze_flat(&tree, &options)
        }
        Format::Fs => dts::analyze_flat(&read_folder(input)?, &options),
        _ => return Err("Unknown input format".into()),
    };
    if output_format == Format::Yaml && input_format != Format::Dts {
        return Err("YAML output format requires dts input format".into());
    }
    if let Some(code) = report(command, &compiled.diagnostics) {
        return Ok(code);
    }
    write_dependencies(command, &compiled)?;
    let bytes = match output_format {
        Format::Dtb => emit::dtb(&compiled.tree, &options.layout).map_err(|error| error.to_string())?,
        Format::Dts => emit::dts(&compiled.tree, &compiled.diagnostics.sources, command.annotate).into_bytes(),
        Format::Yaml => emit::yaml(&compiled.tree).into_bytes(),
        Format::Asm => emit::asm(&compiled.tree, options.layout.free_reservations).into_bytes(),
        Format::Null => return Ok(ExitCode::SUCCESS),
        Format::Fs => return Err("Unknown output format \"fs\"".into()),
    };
    if output_format == Format::Dtb && options.layout.size > 0 && bytes.len() > options.layout.size as usize {
        eprintln!("Warning: blob size {} >= minimum size {}", bytes.len(), options.layout.size);
    }
    write(command.output.as_deref(), &bytes)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints messages; returns the exit code if there is to be no output.
fn report(command: &Command, diagnostics: &Diagnostics) -> Option<ExitCode> {
    let mut shown = diagnostics.clone();
    shown.items.retain(|item| match item.severity {
        Severity::Warning => command.quiet < 1,
        Severity::Error => command.quiet < 2 || !matches!(item.kind, Kind::Check(_)) && command.quiet < 3,
    });
    let text = match command.messages {
        Messages::Dtc => shown.render_like_dtc(match command.output.as_deref() {
            None | Some("-") => "<stdout>",
            Some(name) => name,
        }),
        Messages::Rich => shown.render(std::io::stderr().is_terminal()),
    };
    eprint!("{text}");
    let errors = || diagnostics.items.iter().filter(|item| item.severity == Severity::Error);
    if errors().any(|item| !matches!(item.kind, Kind::Check(_))) {
        if command.quiet < 3 {
            eprintln!("FATAL ERROR: Unable to parse input tree");
        }
        return Some(ExitCode::from(1));
    }
    if errors().next().is_some() {
        if !command.force {
            eprintln!("ERROR: Input tree has errors, aborting (use -f to force output)");
            return Some(ExitCode::from(2));
        }
        if command.quiet < 3 {
            eprintln!("Warning: Input tree has errors, output forced");
        }
    }
    None
}

fn by_extension(name: &str) -> Option<Format> {
    Some(match Path::new(name).extension()?.to_str()? {
        "dts" => Format::Dts,
        "dtb" | "dtbo" => Format::Dtb,
        "yaml" => Format::Yaml,
        _ => return None,
    })
}

/// A folder, then the magic number, then the name, then source.
fn guess_input(name: &str) -> Result<Format, String> {
    if name == "-" {
        return Ok(Format::Dts);
    }
    if Path::new(name).is_dir() {
        return Ok(Format::Fs);
    }
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(name).map_err(|error| format!("Couldn't open \"{name}\": {error}"))?;
    if file.read_exact(&mut magic).is_ok() && u32::from_be_bytes(magic) == fdt::MAGIC {
        return Ok(Format::Dtb);
    }
    Ok(by_extension(name).unwrap_or(Format::Dts))
}

/// Reads a folder whose folders are nodes and whose files are properties, in the order of their names.
fn read_folder(root: &str) -> Result<fdt::Tree, String> {
    let mut tree = fdt::Tree::new();
    let mut waiting = vec![(Path::new(root).to_path_buf(), tree.root(), 0)];
    while let Some((folder, node, depth)) = waiting.pop() {
        let bad = |error: std::io::Error| format!("{}: {error}", folder.display());
        if depth > FOLDER_DEPTH {
            return Err(format!("{}: folders nest too deeply", folder.display()));
        }
        let mut entries = std::fs::read_dir(&folder).map_err(bad)?.collect::<Result<Vec<_>, _>>().map_err(bad)?;
        entries.sort_by_key(|entry| entry.file_name());
        let mut folders = Vec::new();
        for entry in entries {
            let name = entry.file_name().into_string().map_err(|name| format!("{name:?} is no name"))?;
            let kind = entry.file_type().map_err(bad)?;
            if kind.is_dir() {
                let child = tree.add_child(node, &name).map_err(|error| error.to_string())?;
                folders.push((entry.path(), child, depth + 1));
            } else if kind.is_file() {
                tree.set(node, &name, std::fs::read(entry.path()).map_err(bad)?);
            }
        }
        waiting.extend(folders.into_iter().rev());
    }
    Ok(tree)
}

fn preprocess(command: &Command, input: &str) -> Result<ExitCode, String> {
    let (text, diagnostics) = dts::preprocess(&Files, input, &command.options);
    if let Some(code) = report(command, &diagnostics) {
        return Ok(code);
    }
    write(command.output.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `output: file file...` with blanks escaped, as make reads it.
fn write_dependencies(command: &Command, compiled: &Compiled) -> Result<(), String> {
    let Some(file) = &command.dependencies else { return Ok(()) };
    let escape = |name: &str| name.replace('\\', "\\\\").replace(' ', "\\ ");
    let mut text = escape(command.output.as_deref().unwrap_or("-")) + ":";
    for name in compiled.dependencies.iter().filter(|name| *name != "-") {
        text += " ";
        text += &escape(name);
    }
    text += "\n";
    write(Some(file), text.as_bytes())
}

fn write(name: Option<&str>, bytes: &[u8]) -> Result<(), String> {
    match name {
        None | Some("-") => std::io::stdout().write_all(bytes).map_err(|error| format!("standard output: {error}")),
        Some(name) => std::fs::write(name, bytes).map_err(|error| format!("Couldn't open output file {name}: {error}")),
    }
}
