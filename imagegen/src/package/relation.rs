//! Relationships between packages (Policy chapter 7): `a (>= 1) | b [arm64] <!nocheck>, c:any`.

use std::fmt;

use super::version::Version;

/// How a version must compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Says whether `version` stands in this relation to `bound`.
    pub fn holds(self, version: Version<'_>, bound: Version<'_>) -> bool {
        match self {
            Operator::Earlier => version < bound,
            Operator::EarlierOrEqual => version <= bound,
            Operator::Equal => version == bound,
            Operator::LaterOrEqual => version >= bound,
            Operator::Later => version > bound,
        }
    }
}

/// A package by name, perhaps by version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relation<'a> {
    /// The name.
    pub name: &'a str,
    /// What follows a colon: `any`, `native`, or an architecture.
    pub qualifier: Option<&'a str>,
    /// What its version must be.
    pub version: Option<(Operator, Version<'a>)>,
    /// As it was written.
    text: &'a str,
}

impl Relation<'_> {
    /// Says whether this version of the package will do; `None` is a virtual package without a version.
    pub fn allows(&self, version: Option<Version<'_>>) -> bool {
        match (self.version, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((operator, bound)), Some(version)) => operator.holds(version, bound),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// One item of a list: any one of its alternatives will do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnyOf<'a> {
    /// The alternatives, preferred ones first; at least one.
    pub alternatives: Vec<Relation<'a>>,
    /// As it was written.
    text: &'a str,
}

impl<'a> AnyOf<'a> {
    /// Returns the item as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

impl fmt::Display for AnyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Reads a list of relationships as it holds on `architecture` with no build profile active: what does not apply
/// there is left out.
///
/// # Errors
/// What is wrong, with the item.
pub fn parse<'a>(list: &'a str, architecture: &str) -> Result<Vec<AnyOf<'a>>, String> {
    let mut items = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let mut alternatives = Vec::new();
        for alternative in item.split('|') {
            let relation = parse_one(alternative.trim(), architecture);
            alternatives.extend(relation.map_err(|reason| format!("`{item}`: {reason}"))?);
        }
        if !alternatives.is_empty() {
            items.push(AnyOf { alternatives, text: item });
        }
    }
    Ok(items)
}

/// Reads one alternative; nothing if it does not apply.
fn parse_one<'a>(text: &'a str, architecture: &str) -> Result<Option<Relation<'a>>, &'static str> {
    let name_end = text.find(|c: char| c.is_whitespace() || "([<".contains(c)).unwrap_or(text.len());
    let (name, mut rest) = (&text[..name_end], text[name_end..].trim_start());
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    if !is_name(name) || qualifier.is_some_and(|qualifier| !is_name(qualifier)) {
        return Err("a package's name is lower-case letters, digits, `+`, `-` and `.`");
    }
    let mut version = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let (inner, after) = inner.split_once(')').ok_or("a `(` without its `)`")?;
        version = Some(parse_version(inner.trim())?);
        rest = after.trim_start();
    }
    let (mut applies, mut profiles) = (true, None);
    while !rest.is_empty() {
        let (open, close) = match rest.as_bytes()[0] {
            b'[' => ('[', ']'),
            b'<' => ('<', '>'),
            _ => return Err("something follows that is no restriction"),
        };
        let (inner, after) = rest[1..].split_once(close).ok_or("a restriction is not closed")?;
        if open == '[' {
            applies &= architecture_listed(inner, architecture);
        } else {
            // Several `<...>` are alternatives; within one, every term must hold, and no profile is active.
            let holds = inner.split_whitespace().all(|term| term.starts_with('!'));
            profiles = Some(profiles.unwrap_or(false) || holds);
        }
        rest = after.trim_start();
    }
    Ok((applies && profiles.unwrap_or(true)).then_some(Relation { name, qualifier, version, text }))
}

fn parse_version(text: &str) -> Result<(Operator, Version<'_>), &'static str> {
    // `<` and `>` are the old spellings of `<=` and `>=` (Policy 7.1).
    let operators = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let found = operators.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)));
    let (operator, version) = found.ok_or("a version needs one of `<<`, `<=`, `=`, `>=`, `>>` before it")?;
    Ok((operator, Version::parse(version)?))
}

/// Says whether a list such as `linux-any !armhf` holds on an architecture.
fn architecture_listed(list: &str, architecture: &str) -> bool {
    let matches = |pattern: &str| match pattern {
        "any" | "linux-any" => true,
        _ => pattern == architecture || pattern.strip_prefix("any-") == Some(architecture),
    };
    let mut terms = list.split_whitespace().peekable();
    // A list is either of those it holds on, or of those it does not.
    let negative = terms.peek().is_some_and(|term| term.starts_with('!'));
    terms.any(|term| matches(term.trim_start_matches('!'))) != negative
}

/// Says whether a text may be a package's name (Policy 5.6.7, without its length).
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<Vec<&str>> {
        let items = parse(list, "arm64").unwrap();
        items.iter().map(|item| item.alternatives.iter().map(|relation| relation.name).collect()).collect()
    }

    #[test]
    fn lists_alternatives_and_restrictions() {
        assert_eq!(names("a, b (>= 1.0~) | c:any,\n d"), [vec!["a"], vec!["b", "c"], vec!["d"]]);
        assert_eq!(names("a [arm64 amd64], b [!arm64], c [linux-any], d [any-i386], e [!i386]"), [["a"], ["c"], ["e"]]);
        assert_eq!(names("a <!nocheck>, b <stage1>, c <stage1> <!cross>, d <!x !y> [arm64]"), [["a"], ["c"], ["d"]]);
        assert_eq!(names("a [i386] | b"), [["b"]]);
        assert_eq!(names(" , ,"), Vec::<Vec<&str>>::new());
    }

    #[test]
    fn versions_bound_what_will_do() {
        let version = |text| Some(Version::parse(text).unwrap());
        for (list, yes, no) in [
            ("a(>=2)", "2", "1.9"),
            ("a (<< 2)", "2~", "2"),
            ("a (= 1:2-1)", "1:2-1", "2-1"),
            ("a (>> 2)", "2.1", "2"),
            ("a (<= 2)", "2", "2+"),
            ("a (< 2)", "2", "3"),
        ] {
            let items = parse(list, "arm64").unwrap();
            let relation = items[0].alternatives[0];
            assert!(relation.allows(version(yes)) && !relation.allows(version(no)) && !relation.allows(None), "{list}");
            assert_eq!(items[0].to_string(), list);
        }
        assert!(parse("a", "arm64").unwrap()[0].alternatives[0].allows(None));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_item() {
        for (list, expected) in [
            ("x, a (2)", "`a (2)`: a version needs one of `<<`, `<=`, `=`, `>=`, `>>` before it"),
            ("a (>= 2", "`a (>= 2`: a `(` without its `)`"),
            ("a [arm64", "`a [arm64`: a restriction is not closed"),
            ("a b", "`a b`: something follows that is no restriction"),
            ("a |", "`a |`: a package's name is lower-case letters, digits, `+`, `-` and `.`"),
            (
                "${shlibs:Depends}",
                "`${shlibs:Depends}`: a package's name is lower-case letters, digits, `+`, `-` and `.`",
            ),
        ] {
            assert_eq!(parse(list, "arm64").unwrap_err(), expected);
        }
    }
}
