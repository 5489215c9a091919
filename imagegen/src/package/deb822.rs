//! Debian control files (deb822(5)): stanzas of `Field: value` lines, with the line each field is on.
//!
//! Reads control, Packages, Release and `.sources` files alike; what a field means is for others to say.

use std::fmt;

/// One stanza: fields in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stanza {
    /// The fields; no two of the same name.
    pub fields: Vec<Field>,
}

/// One field of a stanza.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name as written.
    pub name: String,
    /// The value: its first line, then each continuation line after a newline, its first space or tab taken off.
    /// A continuation of a lone `.` is an empty line.
    pub value: String,
    /// The line of the name, counted from 1.
    pub line: usize,
}

impl Stanza {
    /// Returns a field's value; names are the same in upper and lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.field(name).map(|field| field.value.as_str())
    }

    /// Returns a field.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// Why a control file could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

/// What a line of a control file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// Ends a stanza.
    Blank,
    /// `# ...`
    Comment,
    /// Goes on with the field before; the first space or tab is taken off.
    Continuation(&'a [u8]),
    /// Starts a field.
    Field { name: &'a [u8], value: &'a [u8] },
}

impl<'a> Line<'a> {
    /// Tells what a line is; it comes without its newline.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, &'static str> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None => return Ok(Line::Blank),
            Some(b'#') => return Ok(Line::Comment),
            Some(b' ' | b'\t') if line.trim_ascii().is_empty() => return Ok(Line::Blank),
            Some(b' ' | b'\t') => return Ok(Line::Continuation(line[1..].trim_ascii_end())),
            Some(b'-') => return Err("a field's name cannot start with `-`"),
            Some(_) => {}
        }
        let colon =
            line.iter().position(|&byte| byte == b':').ok_or("neither a field (`Name: value`) nor a continuation")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Policy 5.1: printable ASCII without space and colon.
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic()) {
            return Err("a field's name is printable ASCII without spaces");
        }
        Ok(Line::Field { name, value: value.trim_ascii() })
    }
}

/// Reads all stanzas of a control file. Comment lines are passed over; a line of white space ends a stanza.
///
/// # Errors
/// The first line that is no field, a field given twice in a stanza, a text that is not UTF-8.
pub fn parse(bytes: &[u8]) -> Result<Vec<Stanza>, ParseError> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::default();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate().map(|(index, line)| (index + 1, line)) {
        let fail = |reason: String| ParseError { line: number, reason };
        let text =
            |bytes| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| fail("the text is not UTF-8".to_owned()));
        match Line::read(line).map_err(|reason| fail(reason.to_owned()))? {
            Line::Comment => {}
            Line::Blank if stanza.fields.is_empty() => {}
            Line::Blank => stanzas.push(std::mem::take(&mut stanza)),
            Line::Continuation(rest) => {
                let rest = text(if rest == b"." { b"" } else { rest })?;
                let field = stanza.fields.last_mut();
                let field = field.ok_or_else(|| fail("a continuation line without a field before it".to_owned()))?;
                field.value.push('\n');
                field.value.push_str(&rest);
            }
            Line::Field { name, value } => {
                let (name, value) = (text(name)?, text(value)?);
                if let Some(first) = stanza.field(&name) {
                    return Err(fail(format!("`{name}` is given twice: first on line {}", first.line)));
                }
                stanza.fields.push(Field { name, value, line: number });
            }
        }
    }
    if !stanza.fields.is_empty() {
        stanzas.push(stanza);
    }
    Ok(stanzas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_lines() {
        let text = b"# head\n\nPackage: a\nDescription: short\n long one\n .\n\tlast  \nVersion:1\r\n\n \nPackage: b\n";
        let stanzas = parse(text).unwrap();
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("package"), Some("a"));
        assert_eq!(stanzas[0].get("Description"), Some("short\nlong one\n\nlast"));
        assert_eq!(stanzas[0].field("VERSION").map(|field| (field.line, &*field.value)), Some((8, "1")));
        assert_eq!(stanzas[1].field("Package").unwrap().line, 11);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases: [(&[u8], &str); 6] = [
            (b"A: 1\nno colon", "line 2: neither a field (`Name: value`) nor a continuation"),
            (b"\n continued", "line 2: a continuation line without a field before it"),
            (b"A: 1\nb: 2\na: 3", "line 3: `a` is given twice: first on line 1"),
            (b"A: \xff", "line 1: the text is not UTF-8"),
            (b"-A: 1", "line 1: a field's name cannot start with `-`"),
            (b"A B: 1", "line 1: a field's name is printable ASCII without spaces"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        assert_eq!(parse(b"").unwrap(), []);
    }
}
