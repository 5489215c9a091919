//! A configuration: what is asked for, laid over what make begins with, and compared with what came out.

use std::collections::BTreeMap;

use super::kconfig::{Kconfig, Type};
use crate::error::{Error, Kind, Result};
use crate::recipe::ConfigValue;

/// One value that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The option, without `CONFIG_`.
    pub name: String,
    /// Its value as `.config` writes it; `None`: not set.
    pub value: Option<String>,
    /// Who asks.
    pub by: String,
}

/// The values of a `.config`, as written.
#[derive(Clone, Default, Debug)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads a `.config`.
    pub fn parse(text: &str) -> Values {
        let pair =
            |line: &str| line.strip_prefix("CONFIG_")?.split_once('=').map(|(a, b)| (a.into(), b.trim_end().into()));
        Values(text.lines().filter_map(pair).collect())
    }

    /// Returns a value; `None` if it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns 2 for `y`, 1 for `m`, else 0; constants stand for themselves.
    pub fn level(&self, name: &str) -> u8 {
        match self.get(name).unwrap_or(name) {
            "y" => 2,
            "m" => 1,
            _ => 0,
        }
    }

    /// Returns what a name in a comparison stands for.
    pub fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(value) => value.trim_matches('"').to_owned(),
            None if name.starts_with(['"', '\'']) => name.trim_matches(['"', '\'']).to_owned(),
            None if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
                && !name.chars().all(|c| c.is_ascii_digit()) =>
            {
                "n".to_owned()
            }
            None => name.to_owned(),
        }
    }
}

/// Reads a fragment.
///
/// # Errors
/// With its name and line: what is neither a value nor a comment.
pub fn fragment(name: &str, text: &str) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let unset = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
        let (option, value) = match (unset, line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='))) {
            (Some(option), _) => (option, None),
            (_, Some((option, "n"))) => (option, None),
            (_, Some((option, value))) => (option, Some(value.to_owned())),
            _ if line.trim().is_empty() || line.trim_start().starts_with('#') => continue,
            _ => return Err(bad(name, number, line)),
        };
        if option.is_empty() || !option.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(bad(name, number, line));
        }
        wanted.push(Wanted { name: option.to_owned(), value, by: format!("the fragment {name}, line {}", number + 1) });
    }
    Ok(wanted)
}

fn bad(name: &str, number: usize, line: &str) -> Error {
    let message = format!("the fragment {name}, line {}: `{line}` is no value of a configuration", number + 1);
    Error::new(Kind::Input, message).hint("expected `CONFIG_NAME=y`, or `# CONFIG_NAME is not set`")
}

/// Writes a value of the recipe as the option's type wants it.
pub fn render(name: &str, value: &ConfigValue, kconfig: &Kconfig) -> Wanted {
    let value = match value {
        ConfigValue::Boolean(true) => Some("y".to_owned()),
        ConfigValue::Boolean(false) => None,
        ConfigValue::Number(number) if kconfig.kind(name) == Some(Type::Hex) => Some(format!("{number:#x}")),
        ConfigValue::Number(number) => Some(number.to_string()),
        ConfigValue::Text(text) => match kconfig.kind(name) {
            Some(Type::Bool | Type::Tristate) if text == "n" => None,
            Some(Type::Bool | Type::Tristate | Type::Int | Type::Hex) => Some(text.clone()),
            Some(Type::Text) | None => Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
        },
    };
    Wanted { name: name.to_owned(), value, by: "the recipe's `config`".to_owned() }
}

/// Lays values over a `.config`.
pub fn merge(base: &str, wanted: &[Wanted]) -> String {
    let named = |line: &str| {
        let rest = line.strip_prefix("# CONFIG_").or(line.strip_prefix("CONFIG_"))?;
        Some(rest[..rest.find(['=', ' '])?].to_owned())
    };
    // Later ones win.
    let last: BTreeMap<&str, &Wanted> = wanted.iter().map(|one| (one.name.as_str(), one)).collect();
    let mut text: String = base
        .lines()
        .filter(|line| named(line).is_none_or(|name| !last.contains_key(name.as_str())))
        .map(|line| format!("{line}\n"))
        .collect();
    for (name, one) in last {
        text.push_str(&match &one.value {
            Some(value) => format!("CONFIG_{name}={value}\n"),
            None => format!("# CONFIG_{name} is not set\n"),
        });
    }
    text
}

/// Makes sure that every value is what was asked for.
///
/// # Errors
/// Names all that are not, and why.
pub fn check(wanted: &[Wanted], values: &Values, kconfig: &Kconfig) -> Result<()> {
    let last: BTreeMap<&str, &Wanted> = wanted.iter().map(|one| (one.name.as_str(), one)).collect();
    let mut lines = Vec::new();
    for (name, one) in last {
        let got = values.get(name);
        if same(one.value.as_deref(), got) {
            continue;
        }
        let show = |value: Option<&str>| value.unwrap_or("n").to_owned();
        let why = kconfig.why(name, one.value.as_deref(), values);
        let (wants, got) = (show(one.value.as_deref()), show(got));
        lines.push(format!("  {name} is {got} instead of {wants}: {why} ({} asks for it)", one.by));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let count = if lines.len() == 1 { "1 value".to_owned() } else { format!("{} values", lines.len()) };
    let message = format!("the configuration does not keep {count} that it was given\n{}", lines.join("\n"));
    Err(Error::new(Kind::Input, message))
}

/// Compares values; hexadecimal numbers by what they are.
fn same(wanted: Option<&str>, got: Option<&str>) -> bool {
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x").or(text.strip_prefix("0X"))?, 16).ok();
    match (wanted, got) {
        (None, None | Some("n")) => true,
        (Some(wanted), Some(got)) => wanted == got || (number(wanted).is_some() && number(wanted) == number(got)),
        // An empty text counts as none.
        (Some("\"\""), None) | (None, Some("\"\"")) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_read_and_laid_over() {
        let wanted =
            fragment("f", "# a comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\nCONFIG_D=n\n\n").unwrap();
        assert_eq!(wanted.len(), 4);
        let merged = merge("CONFIG_AB=y\nCONFIG_B=y\n# CONFIG_A is not set\n", &wanted);
        assert_eq!(merged, "CONFIG_AB=y\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\n# CONFIG_D is not set\n");
        let values = Values::parse(&merged);
        check(&wanted, &values, &Kconfig::default()).unwrap();
        let error = check(&wanted, &Values::parse("CONFIG_C=\"z\"\nCONFIG_D=m\n"), &Kconfig::default()).unwrap_err();
        let told = error.to_string();
        assert!(
            told.starts_with("the configuration does not keep 3 values that it was given\n  A is n instead of y: "),
            "{told}"
        );
        assert!(told.contains("D is m instead of n"), "{told}");
    }

    #[test]
    fn what_is_no_fragment_is_refused_by_its_line() {
        for text in ["CONFIG_A y", "A=y", "CONFIG_=y", "CONFIG_A B=y"] {
            let error = fragment("my.config", &format!("\n{text}\n")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the fragment my.config, line 2: `{text}` is no value of a configuration")
            );
        }
    }

    #[test]
    fn numbers_are_compared_as_such() {
        assert!(same(Some("0xABC"), Some("0xabc")) && !same(Some("0x1"), Some("1")) && same(None, None));
    }
}
