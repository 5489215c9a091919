//! Kconfig, read to explain: what an option is, what it depends on, and why a value did not stick.
//!
//! Source: Linux's Documentation/kbuild/kconfig-language.rst. `make olddefconfig` decides; this only says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config::Values;
use crate::step::output;

/// Limits: what a source tree may make us read.
const FILES_MAX: usize = 20_000;
const FILE_MAX_BYTES: u64 = 4 << 20;
const TOTAL_MAX_BYTES: usize = 256 << 20;
const DEPTH_MAX: usize = 64;

/// What values an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// `y` or not set.
    Bool,
    /// `y`, `m` or not set.
    Tristate,
    /// A text in quotes.
    Text,
    /// A decimal number.
    Int,
    /// A hexadecimal number.
    Hex,
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expression {
    /// An option, a constant or a text in quotes.
    Name(String),
    /// What must be computed by running something: unknown here.
    Unknown(String),
    /// `!`
    Not(Box<Expression>),
    /// `&&`
    And(Vec<Expression>),
    /// `||`
    Or(Vec<Expression>),
    /// `=`, `!=`, `<` and so on.
    Compare(String, &'static str, String),
}

/// One place where an option is defined.
#[derive(Clone, Default, Debug)]
struct Definition {
    /// The user can set it.
    prompt: bool,
    /// All that must hold, also of menus and `if` around it, and of its prompt.
    depends: Vec<Expression>,
    /// `range`.
    ranges: Vec<(String, String)>,
    /// The choice that it is one of.
    choice: Option<usize>,
}

/// An option.
#[derive(Clone, Default, Debug)]
struct Symbol {
    kind: Option<Type>,
    definitions: Vec<Definition>,
}

/// All options of a tree.
#[derive(Default, Debug)]
pub struct Kconfig {
    symbols: BTreeMap<String, Symbol>,
    /// Who selects an option, and under what condition.
    selected: BTreeMap<String, Vec<(String, Vec<Expression>)>>,
    choices: usize,
}

impl Kconfig {
    /// Reads the tree's `Kconfig` and all that it includes. What cannot be read is passed over: it explains nothing then.
    pub fn read(root: &Path, variables: &[(&str, &str)]) -> Kconfig {
        let mut reader =
            Reader { root, variables, kconfig: Kconfig::default(), files: 0, bytes: 0, around: Vec::new() };
        reader.file("Kconfig", 0);
        reader.kconfig
    }

    /// Returns an option's type; `None` if there is no such option, or nothing says.
    pub fn kind(&self, name: &str) -> Option<Type> {
        self.symbols.get(name)?.kind
    }

    /// Returns the option whose name is nearest.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let distance = |other: &str| strsim::damerau_levenshtein(name, other);
        let best = self.symbols.keys().min_by_key(|other| distance(other))?;
        (distance(best) <= 1 + name.len() / 4).then_some(best)
    }

    /// Says why an option did not get a value, by the values that all got in the end.
    pub fn why(&self, name: &str, wanted: Option<&str>, values: &Values) -> String {
        let Some(symbol) = self.symbols.get(name) else {
            return match self.nearest(name) {
                Some(near) => format!("there is no such option; did you mean `{near}`?"),
                None => "there is no such option".to_owned(),
            };
        };
        if wanted.is_none() {
            let by = self.selected_by(name, 1, values);
            return match by.as_slice() {
                [] if symbol.definitions.iter().all(|definition| !definition.prompt) => {
                    "it cannot be set: its value follows from others".to_owned()
                }
                [] => "its tree insists on it".to_owned(),
                by => format!("selected by {}", by.join(", ")),
            };
        }
        let mut reasons: BTreeSet<String> = BTreeSet::new();
        for definition in &symbol.definitions {
            let unmet: Vec<String> = definition.depends.iter().filter_map(|one| one.unmet(values)).collect();
            if !unmet.is_empty() {
                reasons.insert(format!("depends on {}", unmet.join(" and ")));
            } else if let Some(taken) = self.taken(name, definition, values) {
                reasons.insert(format!("`{taken}` is chosen instead of it"));
            } else if let Some((low, high)) = definition.ranges.first() {
                reasons.insert(format!("outside of its range, {low} to {high}"));
            } else if !definition.prompt {
                let selectors = self.selected.get(name).map(Vec::as_slice).unwrap_or_default();
                let mut names: Vec<&str> = selectors.iter().map(|(name, _)| name.as_str()).collect();
                names.dedup();
                names.truncate(6);
                reasons.insert(match names.as_slice() {
                    [] => "it cannot be set: its value follows from others".to_owned(),
                    names => format!("it cannot be set; it comes with {}", names.join(", ")),
                });
            }
        }
        if symbol.kind == Some(Type::Bool) && wanted == Some("m") {
            reasons.insert("it is no module: `y` or nothing".to_owned());
        }
        // What is built in does not leave to a module what it selects.
        if reasons.is_empty() && wanted == Some("m") && values.level(name) == 2 {
            let by = self.selected_by(name, 2, values);
            reasons.extend((!by.is_empty()).then(|| format!("selected by {}", by.join(", "))));
        }
        match reasons.is_empty() {
            true => "its tree decides otherwise".to_owned(),
            false => reasons.into_iter().collect::<Vec<_>>().join("; or "),
        }
    }

    /// Lists the options that are set, to 1 (`m`) or 2 at least, and select this one.
    fn selected_by(&self, name: &str, least: u8, values: &Values) -> Vec<String> {
        let selectors = self.selected.get(name).map(Vec::as_slice).unwrap_or_default();
        let on = |(name, conditions): &&(String, Vec<Expression>)| {
            values.level(name) >= least && conditions.iter().all(|one| one.level(values) != Some(0))
        };
        let mut names: Vec<String> = selectors.iter().filter(on).map(|(name, _)| name.clone()).collect();
        names.dedup();
        names.truncate(6);
        names
    }

    /// Finds what is set of the same choice.
    fn taken<'a>(&'a self, name: &str, definition: &Definition, values: &Values) -> Option<&'a str> {
        let choice = definition.choice?;
        let of_choice = |symbol: &Symbol| symbol.definitions.iter().any(|other| other.choice == Some(choice));
        let taken =
            |(other, symbol): &(&String, &Symbol)| *other != name && of_choice(symbol) && values.level(other) > 0;
        self.symbols.iter().find(taken).map(|(other, _)| other.as_str())
    }
}

impl Expression {
    /// Returns 0, 1 (`m`) or 2; `None` where that is not known here.
    fn level(&self, values: &Values) -> Option<u8> {
        Some(match self {
            Expression::Name(name) => values.level(name),
            Expression::Unknown(_) => return None,
            Expression::Not(inner) => 2 - inner.level(values)?,
            Expression::And(parts) => {
                let levels: Vec<Option<u8>> = parts.iter().map(|part| part.level(values)).collect();
                match levels.contains(&Some(0)) {
                    true => 0,
                    false => levels.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min().unwrap_or(2),
                }
            }
            Expression::Or(parts) => {
                let levels: Vec<Option<u8>> = parts.iter().map(|part| part.level(values)).collect();
                match levels.contains(&Some(2)) {
                    true => 2,
                    false => levels.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max().unwrap_or(0),
                }
            }
            Expression::Compare(left, operator, right) => {
                let (left, right) = (values.text(left), values.text(right));
                let number = |text: &str| text.parse::<i64>().ok();
                let order = match (number(&left), number(&right)) {
                    (Some(left), Some(right)) => left.cmp(&right),
                    _ => left.cmp(&right),
                };
                let holds = match *operator {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    ">" => order.is_gt(),
                    "<=" => order.is_le(),
                    _ => order.is_ge(),
                };
                if holds { 2 } else { 0 }
            }
        })
    }

    /// Shows the parts that do not hold; `None` if all do.
    fn unmet(&self, values: &Values) -> Option<String> {
        match self {
            Expression::And(parts) => {
                let unmet: Vec<String> = parts.iter().filter_map(|part| part.unmet(values)).collect();
                (!unmet.is_empty()).then(|| unmet.join(" and "))
            }
            one if one.level(values) == Some(2) => None,
            Expression::Name(name) => {
                let value = ["n", "m", "y"][usize::from(values.level(name)).min(2)];
                Some(format!("{name} (which is {value})"))
            }
            one if one.level(values).is_none() => Some(format!("{one} (which the compiler may lack)")),
            one => Some(one.to_string()),
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joined = |f: &mut std::fmt::Formatter<'_>, parts: &[Expression], between: &str| {
            for (number, part) in parts.iter().enumerate() {
                match (number, part) {
                    (0, _) => {}
                    _ => write!(f, " {between} ")?,
                }
                match part {
                    Expression::And(_) | Expression::Or(_) => write!(f, "({part})")?,
                    part => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Expression::Name(name) | Expression::Unknown(name) => f.write_str(name),
            Expression::Not(inner) => match **inner {
                Expression::And(_) | Expression::Or(_) => write!(f, "!({inner})"),
                _ => write!(f, "!{inner}"),
            },
            Expression::And(parts) => joined(f, parts, "&&"),
            Expression::Or(parts) => joined(f, parts, "||"),
            Expression::Compare(left, operator, right) => write!(f, "{left} {operator} {right}"),
        }
    }
}

/// What stands around an entry.
enum Around {
    If(Expression),
    Menu(Vec<Expression>),
    Choice(usize, Vec<Expression>),
}

struct Reader<'a> {
    root: &'a Path,
    variables: &'a [(&'a str, &'a str)],
    kconfig: Kconfig,
    files: usize,
    bytes: usize,
    around: Vec<Around>,
}

/// What attributes belong to.
#[derive(Clone, PartialEq)]
enum Entry {
    Nothing,
    Option(String),
    /// A menu or choice: what it depends on holds for all in it.
    Block,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, depth: usize) {
        self.files += 1;
        if depth > DEPTH_MAX || self.files > FILES_MAX || self.bytes > TOTAL_MAX_BYTES {
            return;
        }
        let path = crate::step::includes::normal(path);
        if path.starts_with('/') || path.starts_with("..") {
            return;
        }
        let Ok(bytes) = output::read_limited(&self.root.join(&path), FILE_MAX_BYTES) else { return };
        self.bytes += bytes.len();
        let text = String::from_utf8_lossy(&bytes).replace("\\\n", " ");
        let mut entry = Entry::Nothing;
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let trimmed = line.trim();
            let (word, rest) = trimmed.split_once([' ', '\t']).unwrap_or((trimmed, ""));
            if matches!(word, "help" | "---help---") {
                skip_help(&mut lines, indent(line));
                continue;
            }
            let rest = rest.trim();
            match word {
                "source" | "osource" | "rsource" | "orsource" => {
                    let name = self.expand(unquote(rest));
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let name = if word.contains("rs") { format!("{folder}/{name}") } else { name };
                    self.file(&name, depth + 1);
                    entry = Entry::Nothing;
                }
                _ => self.line(word, rest, &mut entry),
            }
        }
    }

    fn line(&mut self, word: &str, rest: &str, entry: &mut Entry) {
        match word {
            "config" | "menuconfig" => {
                let name = rest.split_whitespace().next().unwrap_or_default().to_owned();
                let definition =
                    Definition { depends: self.conditions(), choice: self.choice(), ..Definition::default() };
                self.kconfig.symbols.entry(name.clone()).or_default().definitions.push(definition);
                *entry = Entry::Option(name);
            }
            "if" => {
                self.around.push(Around::If(expression(rest)));
                *entry = Entry::Nothing;
            }
            "menu" => {
                self.around.push(Around::Menu(Vec::new()));
                *entry = Entry::Block;
            }
            "choice" => {
                self.kconfig.choices += 1;
                self.around.push(Around::Choice(self.kconfig.choices, Vec::new()));
                *entry = Entry::Block;
            }
            "endif" | "endmenu" | "endchoice" => {
                self.around.pop();
                *entry = Entry::Nothing;
            }
            "comment" | "mainmenu" => *entry = Entry::Nothing,
            _ => self.attribute(word, rest, entry),
        }
    }

    fn attribute(&mut self, word: &str, rest: &str, entry: &Entry) {
        let condition = |text: &str| text.split_once(" if ").map(|(_, condition)| expression(condition));
        let kind = match word {
            "bool" | "boolean" | "def_bool" => Some(Type::Bool),
            "tristate" | "def_tristate" => Some(Type::Tristate),
            "string" => Some(Type::Text),
            "int" => Some(Type::Int),
            "hex" => Some(Type::Hex),
            _ => None,
        };
        match entry {
            Entry::Block => {
                let Some(Around::Menu(list) | Around::Choice(_, list)) = self.around.last_mut() else { return };
                let condition = rest.strip_prefix("on ").or(rest.strip_prefix("if "));
                list.extend(condition.filter(|_| matches!(word, "depends" | "visible")).map(expression));
            }
            Entry::Option(name) => {
                let Some(symbol) = self.kconfig.symbols.get_mut(name) else { return };
                let Some(definition) = symbol.definitions.last_mut() else { return };
                symbol.kind = symbol.kind.or(kind);
                let is_prompt = word == "prompt" || (kind.is_some() && !word.starts_with("def_"));
                if is_prompt && rest.starts_with(['"', '\'']) {
                    definition.prompt = true;
                    let after = &rest[1 + rest[1..].find(&rest[..1]).map_or(rest.len() - 1, |end| end + 1)..];
                    if let Some(text) = after.trim().strip_prefix("if ") {
                        definition.depends.push(expression(text));
                    }
                    return;
                }
                match word {
                    "depends" => definition.depends.extend(rest.strip_prefix("on ").map(expression)),
                    "select" => {
                        let target = rest.split_whitespace().next().unwrap_or_default().to_owned();
                        let mut conditions = definition.depends.clone();
                        conditions.extend(condition(rest));
                        self.kconfig.selected.entry(target).or_default().push((name.clone(), conditions));
                    }
                    "range" => {
                        let mut words = rest.split_whitespace();
                        if let (Some(low), Some(high)) = (words.next(), words.next()) {
                            definition.ranges.push((low.to_owned(), high.to_owned()));
                        }
                    }
                    _ => {}
                }
            }
            Entry::Nothing => {}
        }
    }

    /// Collects what menus, choices and `if` around here demand.
    fn conditions(&self) -> Vec<Expression> {
        let mut all = Vec::new();
        for around in &self.around {
            match around {
                Around::If(one) => all.push(one.clone()),
                Around::Menu(list) | Around::Choice(_, list) => all.extend(list.iter().cloned()),
            }
        }
        all
    }

    fn choice(&self) -> Option<usize> {
        self.around.iter().rev().find_map(|around| match around {
            Around::Choice(number, _) => Some(*number),
            _ => None,
        })
    }

    fn expand(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("$({name})"), value).replace(&format!("${name}"), value)
        })
    }
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 8 } else { 1 }).sum()
}

/// Passes over a help text: all that is indented as its first line is.
fn skip_help<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, above: usize) {
    let mut depth = None;
    while let Some(line) = lines.peek() {
        if !line.trim().is_empty() {
            let here = indent(line);
            let depth = *depth.get_or_insert(here);
            if here < depth || here == 0 || (here <= above && depth <= above) {
                return;
            }
        }
        lines.next();
    }
}

fn unquote(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

/// Reads a condition; what it cannot read is unknown.
pub fn expression(text: &str) -> Expression {
    let text = strip_comment(text);
    let mut parser = Parser { tokens: tokens(text), at: 0, depth: 0 };
    let parsed = parser.or();
    match parsed.filter(|_| parser.at == parser.tokens.len()) {
        Some(parsed) => parsed,
        None => Expression::Unknown(text.trim().to_owned()),
    }
}

fn strip_comment(text: &str) -> &str {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return &text[..at],
            _ => {}
        }
    }
    text
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = if let Some(two) = ["&&", "||", "!=", "<=", ">="].iter().find(|two| rest.starts_with(**two)) {
            two.len()
        } else if rest.starts_with(['(', ')', '!', '=', '<', '>']) {
            1
        } else if rest.starts_with(['"', '\'']) {
            rest[1..].find(&rest[..1]).map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("$(") {
            // Up to the parenthesis that closes it.
            let mut open = 0;
            let close = rest.char_indices().find(|(_, letter)| {
                open += i32::from(*letter == '(') - i32::from(*letter == ')');
                *letter == ')' && open == 0
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        } else {
            let word = |c: char| c.is_alphanumeric() || "_-./$".contains(c);
            rest.find(|c| !word(c)).unwrap_or(rest.len()).max(rest.chars().next().map_or(1, char::len_utf8))
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn eat(&mut self, token: &str) -> bool {
        let eaten = self.peek() == Some(token);
        self.at += usize::from(eaten);
        eaten
    }

    fn or(&mut self) -> Option<Expression> {
        let mut parts = vec![self.and()?];
        while self.eat("||") {
            parts.push(self.and()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
    }

    fn and(&mut self) -> Option<Expression> {
        let mut parts = vec![self.one()?];
        while self.eat("&&") {
            parts.push(self.one()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) })
    }

    fn one(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let one = if self.eat("!") {
            Expression::Not(Box::new(self.one()?))
        } else if self.eat("(") {
            let inner = self.or()?;
            self.eat(")").then_some(inner)?
        } else {
            let name = self.name()?;
            match ["=", "!=", "<=", ">=", "<", ">"].into_iter().find(|operator| self.peek() == Some(operator)) {
                Some(operator) => {
                    self.at += 1;
                    Expression::Compare(name, operator, self.name()?)
                }
                None if name.starts_with('$') => Expression::Unknown(name),
                None => Expression::Name(name),
            }
        };
        self.depth -= 1;
        Some(one)
    }

    fn name(&mut self) -> Option<String> {
        let name = self.peek().filter(|name| !["&&", "||", "!", "(", ")"].contains(name))?.to_owned();
        self.at += 1;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = r#"
mainmenu "x"
source "arch/$(SRCARCH)/Kconfig"
config MODULES
	bool "Modules"
menu "Drivers"
	depends on HAS_IO
config BLK
	tristate "Block" if EXPERT
	depends on NET && (USB || !PCI)
	help
	  config FAKE
	  depends on NOTHING

	  More.
config NET
	bool "Net"
	select LOW if USB
endmenu
config LOW
	bool
config CORE
	tristate "Core"
config USER
	tristate "User"
	select CORE
config OTHER
	tristate "Other"
	select CORE
choice
	prompt "Which"
config ONE
	bool "One"
config TWO
	bool "Two"
endchoice
if $(cc-option,-mfoo) && USB = y
config FOO
	int "Foo"
	range 1 9
endif
"#;

    fn read() -> Kconfig {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("arch/arm64")).unwrap();
        std::fs::write(folder.path().join("Kconfig"), ROOT).unwrap();
        std::fs::write(folder.path().join("arch/arm64/Kconfig"), "config HAS_IO\n\tdef_bool y\nsource \"Kconfig\"\n")
            .unwrap();
        Kconfig::read(folder.path(), &[("SRCARCH", "arm64")])
    }

    #[test]
    fn unmet_dependencies_are_named() {
        let kconfig = read();
        let values = Values::parse("CONFIG_HAS_IO=y\nCONFIG_PCI=y\nCONFIG_TWO=y\nCONFIG_EXPERT=y\n");
        let why = |name: &str, wanted| kconfig.why(name, wanted, &values);
        assert_eq!(why("BLK", Some("y")), "depends on NET (which is n) and USB || !PCI");
        assert_eq!(why("BLOK", Some("y")), "there is no such option; did you mean `BLK`?");
        assert_eq!(why("LOW", Some("y")), "it cannot be set; it comes with NET");
        assert_eq!(why("ONE", Some("y")), "`TWO` is chosen instead of it");
        assert_eq!(why("FOO", Some("3")), "depends on $(cc-option,-mfoo) (which the compiler may lack) and USB = y");
        assert_eq!(kconfig.kind("FAKE"), None);
        assert_eq!((kconfig.kind("BLK"), kconfig.kind("FOO")), (Some(Type::Tristate), Some(Type::Int)));
        let values = Values::parse("CONFIG_HAS_IO=y\nCONFIG_NET=y\nCONFIG_USB=y\nCONFIG_LOW=y\n");
        assert_eq!(kconfig.why("LOW", None, &values), "selected by NET");
        assert_eq!(kconfig.why("BLK", Some("y"), &values), "depends on EXPERT (which is n)");
        // A module that something built in selects; what is a module itself would leave it one.
        let text = "CONFIG_HAS_IO=y\nCONFIG_EXPERT=y\nCONFIG_NET=y\nCONFIG_USB=y\nCONFIG_CORE=y\n";
        let values = |users: &str| Values::parse(&format!("{text}{users}"));
        assert_eq!(kconfig.why("CORE", Some("m"), &values("CONFIG_USER=y\nCONFIG_OTHER=m\n")), "selected by USER");
        assert_eq!(kconfig.why("CORE", Some("m"), &values("CONFIG_OTHER=m\n")), "its tree decides otherwise");
    }

    #[test]
    fn what_is_no_condition_is_unknown() {
        for text in ["", "A &&", "(A", "A B", "!", "&& A", &"(".repeat(1000), &"!".repeat(1000)] {
            assert!(matches!(expression(text), Expression::Unknown(_)), "{text}");
        }
        assert_eq!(expression("A && (B || C) # why").to_string(), "A && (B || C)");
    }
}
