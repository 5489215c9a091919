//! Values as the companions show and read them: strings, and numbers of one, two or four bytes.

/// The forms of numbers, and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    String,
    /// Decimal; read, also with `0x` or an octal `0`.
    Integer,
    /// Decimal, without sign.
    Unsigned,
    /// Hexadecimal without `0x`.
    Hexadecimal,
}

/// What `-t` says: a form, and the size of an element in bytes where it says one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// How it looks.
    pub form: Form,
    /// 1, 2 or 4.
    pub size_bytes: Option<usize>,
}

/// For the help of `-t`.
pub const TYPES: &str = "s, i, u or x: text, integer, unsigned, hexadecimal; before it hh or b, h, l: 1, 2, 4 bytes";

impl Type {
    /// Reads the argument of `-t`.
    pub fn parse(text: &str) -> Result<Type, String> {
        let (size_bytes, form) = match text {
            text if text.starts_with("hh") => (Some(1), &text[2..]),
            text if text.starts_with("ll") => (Some(4), &text[2..]),
            text if text.starts_with('b') => (Some(1), &text[1..]),
            text if text.starts_with('h') => (Some(2), &text[1..]),
            text if text.starts_with('l') => (Some(4), &text[1..]),
            text => (None, text),
        };
        let form = match form {
            "s" => Form::String,
            "i" => Form::Integer,
            "u" => Form::Unsigned,
            "x" => Form::Hexadecimal,
            _ => return Err(format!("{text:?} is no type: {TYPES}")),
        };
        Ok(Type { form, size_bytes })
    }
}

/// Says whether a value looks like text: printable strings, none empty, each with its NUL.
pub fn is_text(value: &[u8]) -> bool {
    let printable = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| (b' '..=b'~').contains(byte));
    value.strip_suffix(&[0]).is_some_and(|rest| rest.split(|&byte| byte == 0).all(printable))
}

/// Writes a value on one line, elements apart by blanks; without a type as it looks.
pub fn show(value: &[u8], kind: Option<Type>) -> Result<Vec<u8>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    if kind.map_or(is_text(value), |kind| kind.form == Form::String) {
        let text = value.strip_suffix(&[0]).ok_or("this is no text: it does not end with a NUL; use -t bx")?;
        return Ok(text.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect());
    }
    let usual = if value.len().is_multiple_of(4) { 4 } else { 1 };
    let size = kind.and_then(|kind| kind.size_bytes).unwrap_or(usual);
    if !value.len().is_multiple_of(size) {
        return Err(format!("its {} bytes are no whole number of elements of {size} bytes", value.len()));
    }
    let elements = value.chunks_exact(size).map(|element| {
        let number = element.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        match kind.map_or(Form::Integer, |kind| kind.form) {
            Form::Hexadecimal => format!("{number:x}"),
            Form::Unsigned => number.to_string(),
            _ => (number as i32).to_string(),
        }
    });
    Ok(elements.collect::<Vec<_>>().join(" ").into_bytes())
}

/// Reads words into a value; without a type they are decimal numbers of four bytes. Says in `notes` what was read.
pub fn read(words: &[String], kind: Option<Type>, notes: &mut String) -> Result<Vec<u8>, String> {
    let size = kind.and_then(|kind| kind.size_bytes).unwrap_or(4);
    let mut value = Vec::new();
    notes.push_str("Decoding value:\n");
    for word in words {
        if kind.is_some_and(|kind| kind.form == Form::String) {
            value.extend_from_slice(word.as_bytes());
            value.push(0);
            notes.push_str(&format!("\tstring: '{word}'\n"));
            continue;
        }
        let number = number(word, kind.map(|kind| kind.form))?;
        let (least, most) = (-(1i64 << (8 * size - 1)), (1i64 << (8 * size)) - 1);
        if !(least..=most).contains(&number) {
            return Err(format!("{word} does not fit into {size} bytes"));
        }
        value.extend_from_slice(&number.to_be_bytes()[8 - size..]);
        let what = ["byte", "short", "int"][size / 2];
        notes.push_str(&format!("\t{what}: {}\n", number as i32));
    }
    notes.push_str(&format!("Value size {}\n", value.len()));
    Ok(value)
}

fn number(word: &str, form: Option<Form>) -> Result<i64, String> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match (form, hexadecimal) {
        (Some(Form::Hexadecimal), digits_after) => (16, digits_after.unwrap_or(digits)),
        (Some(Form::Integer), Some(digits)) => (16, digits),
        (Some(Form::Integer), None) if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        (_, Some(_)) => return Err(format!("{word} is no decimal number; with -t x numbers are hexadecimal")),
        (_, None) => (10, digits),
    };
    let digits = if digits.starts_with(['+', '-']) { "" } else { digits };
    let number = i64::from_str_radix(digits, radix).map_err(|_| format!("{word:?} is no number of base {radix}"))?;
    Ok(if negative { -number } else { number })
}
