//! The command line of `dts`: dtc's options, read by hand for they have getopt's habits, and a few of our own.

use dts::emit::Annotate;
use dts::{Level, Options, PhandleFormat, Preprocess};

/// What kind of input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Source text.
    Dts,
    /// A flattened tree.
    Dtb,
    /// A folder as `/proc/device-tree`.
    Fs,
    /// Assembler source.
    Asm,
    /// YAML.
    Yaml,
    /// Nothing at all.
    Null,
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Messages {
    /// With source lines.
    #[default]
    Rich,
    /// One line each, as dtc.
    Dtc,
}

/// The whole command line.
#[derive(Debug, Default)]
pub struct Command {
    pub input: Option<String>,
    pub output: Option<String>,
    pub input_format: Option<Format>,
    pub output_format: Option<Format>,
    pub dependencies: Option<String>,
    pub quiet: u32,
    pub force: bool,
    pub annotate: Annotate,
    pub only_preprocess: bool,
    pub messages: Messages,
    pub options: Options,
}

/// What to do.
#[derive(Debug)]
pub enum Request {
    Run(Box<Command>),
    Help,
    Version,
}

/// Short name (0 for none), long name, what the argument is, what the option does.
type Row = (u8, &'static str, &'static str, &'static str);

const OPTIONS: [Row; 26] = [
    (b'q', "quiet", "", "fewer messages; twice: no errors either"),
    (b'I', "in-format", "FORMAT", "of the input: dts, dtb, fs"),
    (b'O', "out-format", "FORMAT", "of the output: dtb, dts, asm, yaml, null"),
    (b'o', "out", "FILE", "where to write; - for standard output"),
    (b'V', "out-version", "NUMBER", "of the flattened format: 1, 2, 3, 16, 17"),
    (b'd', "out-dependency", "FILE", "write which files were read, for make"),
    (b'R', "reserve", "NUMBER", "free entries in the reservation block"),
    (b'S', "space", "BYTES", "make the blob at least so long"),
    (b'p', "pad", "BYTES", "append so many zero bytes"),
    (b'a', "align", "BYTES", "round the blob's length up to a power of two"),
    (b'b', "boot-cpu", "NUMBER", "physical id of the boot CPU"),
    (b'f', "force", "", "write output despite errors in the tree"),
    (b'i', "include", "FOLDER", "look there for included files too"),
    (b's', "sort", "", "sort nodes, properties and reservations"),
    (b'H', "phandle", "FORMAT", "of phandle properties: legacy, epapr, both"),
    (b'W', "warning", "[no-]NAME", "switch a check on or off"),
    (b'E', "error", "[no-]NAME", "make a check an error, or not"),
    (b'@', "symbols", "", "add __symbols__"),
    (b'A', "auto-alias", "", "add labels to aliases"),
    (b'L', "local-fixups", "", "add __fixups__ and __local_fixups__"),
    (b'T', "annotate", "", "say in comments where things came from; twice: exactly where"),
    (b'h', "help", "", "print this"),
    (b'v', "version", "", "print the version"),
    (b'D', "define", "NAME[=VALUE]", "define a macro"),
    (0, "preprocess", "WHEN", "run the C preprocessor: off, auto, only"),
    (0, "message-format", "FORMAT", "of messages: rich, dtc"),
];

/// Returns the text for `--help`, which names the companions.
pub fn help(companions: &str) -> String {
    let mut text = format!(
        "Usage: dts [options] [input | -]\n       dts COMPANION ...\n\nCompanions, which also go by their own names where a \
         link has one: {companions}\n\nOptions:\n"
    );
    for (short, long, argument, does) in OPTIONS {
        let short = if short == 0 { "    ".to_string() } else { format!("-{}, ", char::from(short)) };
        text += &format!("  {:<34}{does}\n", format!("{short}--{long} {argument}"));
    }
    text
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(&text[1..], 8),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is not a number"))
}

fn number_u32(text: &str) -> Result<u32, String> {
    u32::try_from(number(text)?).map_err(|_| format!("{text} is too large"))
}

fn format(text: &str) -> Result<Format, String> {
    Ok(match text {
        "dts" => Format::Dts,
        "dtb" => Format::Dtb,
        "fs" => Format::Fs,
        "asm" => Format::Asm,
        "yaml" => Format::Yaml,
        "null" => Format::Null,
        _ => return Err(format!("Unknown format \"{text}\"")),
    })
}

/// Reads the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut command = Command::default();
    let mut inputs = Vec::new();
    let mut arguments = arguments.into_iter();
    let mut only_inputs = false;
    while let Some(argument) = arguments.next() {
        if only_inputs || argument == "-" || !argument.starts_with('-') {
            inputs.push(argument);
        } else if argument == "--" {
            only_inputs = true;
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (long, None),
            };
            let row = long_option(name)?;
            let value = match (row.2.is_empty(), value) {
                (true, Some(_)) => return Err(format!("option '--{}' takes no argument", row.1)),
                (true, None) => String::new(),
                (false, Some(value)) => value,
                (false, None) => arguments.next().ok_or(format!("option '--{}' wants an argument", row.1))?,
            };
            if let Some(request) = apply(&mut command, row, &value)? {
                return Ok(request);
            }
        } else if let Some(request) = short_options(&mut command, &argument[1..], &mut arguments)? {
            return Ok(request);
        }
    }
    if inputs.len() > 1 {
        return Err("missing files: only one input is read".into());
    }
    if command.options.layout.padding > 0 && command.options.layout.size > 0 {
        return Err("Can't set both -p and -S".into());
    }
    command.input = inputs.pop();
    Ok(Request::Run(Box::new(command)))
}

/// Finds a long option by its name, or by a beginning that only it has.
fn long_option(name: &str) -> Result<&'static Row, String> {
    let mut fitting = OPTIONS.iter().filter(|row| row.1.starts_with(name));
    let exact = OPTIONS.iter().find(|row| row.1 == name);
    match (exact, fitting.next(), fitting.next()) {
        (Some(row), ..) | (None, Some(row), None) => Ok(row),
        (None, Some(_), Some(_)) => Err(format!("option '--{name}' is ambiguous")),
        (None, None, _) => Err(format!("unknown option '--{name}'")),
    }
}

/// Reads a group of short options; the argument of the last may be its rest or the next word.
fn short_options(
    command: &mut Command,
    group: &str,
    arguments: &mut dyn Iterator<Item = String>,
) -> Result<Option<Request>, String> {
    for (index, letter) in group.char_indices() {
        let row = OPTIONS.iter().find(|row| row.0 != 0 && char::from(row.0) == letter);
        let row = row.ok_or_else(|| format!("unknown option '-{letter}'"))?;
        let rest = &group[index + letter.len_utf8()..];
        if row.2.is_empty() {
            if let Some(request) = apply(command, row, "")? {
                return Ok(Some(request));
            }
            continue;
        }
        let value = match rest {
            "" => arguments.next().ok_or_else(|| format!("option '-{letter}' wants an argument"))?,
            rest => rest.to_string(),
        };
        return apply(command, row, &value);
    }
    Ok(None)
}

fn apply(command: &mut Command, row: &Row, value: &str) -> Result<Option<Request>, String> {
    let options = &mut command.options;
    match row.1 {
        "quiet" => command.quiet += 1,
        "in-format" => command.input_format = Some(format(value)?),
        "out-format" => command.output_format = Some(format(value)?),
        "out" => command.output = Some(value.into()),
        "out-version" => {
            let version = fdt::Version::from_number(number_u32(value)?);
            options.layout.version = version.ok_or_else(|| format!("Unknown device tree blob version {value}"))?;
        }
        "out-dependency" => command.dependencies = Some(value.into()),
        // More would not fit the format's sizes anyway.
        "reserve" => options.layout.free_reservations = number_u32(value)?.min(1 << 24) as usize,
        "space" => options.layout.size = number_u32(value)?,
        "pad" => options.layout.padding = number_u32(value)?,
        "align" => {
            options.layout.align = number_u32(value)?;
            if !options.layout.align.is_power_of_two() {
                return Err(format!("Invalid argument \"{value}\" to -a option"));
            }
        }
        "boot-cpu" => options.boot_cpu = Some(number_u32(value)?),
        "force" => command.force = true,
        "include" => options.include_dirs.push(value.into()),
        "sort" => options.sort = true,
        "phandle" => {
            options.phandle_format = match value {
                "legacy" => PhandleFormat::Legacy,
                "epapr" => PhandleFormat::Epapr,
                "both" => PhandleFormat::Both,
                _ => return Err(format!("Invalid argument \"{value}\" to -H option")),
            }
        }
        "warning" | "error" => {
            let level = if row.1 == "error" { Level::Error } else { Level::Warning };
            if !options.checks.set(value, level) {
                return Err(format!("Unrecognized check name \"{value}\""));
            }
        }
        "symbols" => options.symbols = true,
        "auto-alias" => options.auto_aliases = true,
        "local-fixups" => options.local_fixups = true,
        "annotate" => {
            let more = command.annotate > Annotate::Nothing;
            command.annotate = if more { Annotate::Range } else { Annotate::Line };
        }
        "help" => return Ok(Some(Request::Help)),
        "version" => return Ok(Some(Request::Version)),
        "define" => {
            let (name, value) = value.split_once('=').unwrap_or((value, "1"));
            options.defines.push((name.into(), value.into()));
        }
        "preprocess" => {
            options.preprocess = if value == "off" { Preprocess::Off } else { Preprocess::Auto };
            command.only_preprocess = value == "only";
            if !matches!(value, "off" | "auto" | "only") {
                return Err(format!("--preprocess is off, auto or only, not {value}"));
            }
        }
        "message-format" => {
            command.messages = match value {
                "rich" => Messages::Rich,
                "dtc" => Messages::Dtc,
                _ => return Err(format!("--message-format is rich or dtc, not {value}")),
            }
        }
        _ => return Err(format!("unknown option '--{}'", row.1)),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Command {
        match parse(line.split(' ').map(String::from)).unwrap() {
            Request::Run(command) => *command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_options_join_and_long_ones_shorten() {
        let command = run("-qqIdts -O dtb -ofile -@ --space=0x100 --annot -Wno-reg_format x.dts");
        assert_eq!((command.quiet, command.options.symbols), (2, true));
        assert_eq!((command.input_format, command.output_format), (Some(Format::Dts), Some(Format::Dtb)));
        assert_eq!((command.output.as_deref(), command.input.as_deref()), (Some("file"), Some("x.dts")));
        assert_eq!(command.options.layout.size, 256);
        assert_eq!(command.annotate, Annotate::Line);
        assert_eq!(command.options.checks.level("reg_format"), Level::Off);
        assert_eq!(command.options.checks.level("pci_device_reg"), Level::Off, "it needs reg_format");
        assert_eq!(command.options.checks.level("ranges_format"), Level::Warning);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, says) in [
            ("-Z", "unknown option '-Z'"),
            ("--out", "wants an argument"),
            ("--in=fs --o=x", "ambiguous"),
            ("-S 10 -p 10", "both"),
            ("-W nonsense", "Unrecognized check name"),
            ("-a 3", "Invalid argument"),
            ("-V 4", "Unknown device tree blob version"),
            ("a b", "only one input"),
        ] {
            let error = parse(line.split(' ').map(String::from)).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
        assert!(parse(["-Wno-graph_child_address".to_string()]).is_ok(), "a retired name is accepted");
    }
}
