//! The arithmetic of `#if`: 64-bit, C's precedence, unknown names are 0.

use super::expand::PpToken;
use super::scan::Kind;
use crate::precedence::LEVELS;

/// Parentheses and unary operators may nest this deep.
const DEPTH_LIMIT: usize = 200;

/// Replaces `defined X` and `defined(X)` by 1 or 0, before macros are expanded.
pub(super) fn replace_defined(tokens: &mut Vec<PpToken>, is_defined: impl Fn(&[u8]) -> bool) {
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = &tokens[..];
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        if token.is(b"defined") {
            let (name, length) = match after {
                [open, name, close, ..] if open.is(b"(") && close.is(b")") => (name, 3),
                [name, ..] => (name, 1),
                [] => break,
            };
            let value: &[u8] = if is_defined(name.bytes()) { b"1" } else { b"0" };
            out.push(PpToken::new(Kind::Number, value, true));
            rest = &after[length..];
        } else {
            out.push(token.clone());
        }
    }
    *tokens = out;
}

/// Evaluates an expanded expression; the error says what is wrong with it.
pub(super) fn evaluate(tokens: &[PpToken]) -> Result<bool, String> {
    let mut parser = Parser { tokens, depth: 0 };
    let value = parser.conditional(true)?;
    match parser.tokens.first() {
        None => Ok(value.bits != 0),
        Some(token) => Err(format!("{} does not belong in this condition", String::from_utf8_lossy(token.bytes()))),
    }
}

#[derive(Clone, Copy)]
struct Value {
    bits: u64,
    unsigned: bool,
}

impl Value {
    fn truth(value: bool) -> Value {
        Value { bits: value.into(), unsigned: false }
    }
}

struct Parser<'t> {
    tokens: &'t [PpToken],
    depth: usize,
}

impl Parser<'_> {
    /// Takes one of the operators.
    fn operator(&mut self, wanted: &[&'static str]) -> Option<&'static str> {
        let (first, rest) = self.tokens.split_first()?;
        let found = *wanted.iter().find(|name| first.kind == Kind::Other && first.is(name.as_bytes()))?;
        self.tokens = rest;
        Some(found)
    }

    /// `needed` is false where the value cannot matter, so that division by zero there is no error.
    fn conditional(&mut self, needed: bool) -> Result<Value, String> {
        let test = self.binary(0, needed)?;
        if self.operator(&["?"]).is_none() {
            return Ok(test);
        }
        self.nest()?;
        let yes = self.conditional(needed && test.bits != 0)?;
        if self.operator(&[":"]).is_none() {
            return Err("`?` has no `:`".into());
        }
        let no = self.conditional(needed && test.bits == 0)?;
        self.depth -= 1;
        Ok(Value { unsigned: yes.unsigned | no.unsigned, ..if test.bits != 0 { yes } else { no } })
    }

    fn nest(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT { Err("this condition nests too deeply".into()) } else { Ok(()) }
    }

    fn binary(&mut self, level: usize, needed: bool) -> Result<Value, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary(needed) };
        let mut left = self.binary(level + 1, needed)?;
        while let Some(operator) = self.operator(operators) {
            let right_needed = needed
                && match operator {
                    "||" => left.bits == 0,
                    "&&" => left.bits != 0,
                    _ => true,
                };
            let right = self.binary(level + 1, right_needed)?;
            left = apply(operator, left, right, right_needed)?;
        }
        Ok(left)
    }

    fn unary(&mut self, needed: bool) -> Result<Value, String> {
        if let Some(operator) = self.operator(&["!", "~", "-", "+"]) {
            self.nest()?;
            let value = self.unary(needed)?;
            self.depth -= 1;
            return Ok(match operator {
                "!" => Value::truth(value.bits == 0),
                "~" => Value { bits: !value.bits, ..value },
                "-" => Value { bits: value.bits.wrapping_neg(), ..value },
                _ => value,
            });
        }
        if self.operator(&["("]).is_some() {
            self.nest()?;
            let value = self.conditional(needed)?;
            self.depth -= 1;
            return match self.operator(&[")"]) {
                Some(_) => Ok(value),
                None => Err("a `(` is never closed".into()),
            };
        }
        let Some((token, rest)) = self.tokens.split_first() else { return Err("a value is missing here".into()) };
        self.tokens = rest;
        match token.kind {
            // What is left of names is no macro. A call of an unknown one is an error below, at its parenthesis.
            Kind::Identifier => Ok(Value { bits: 0, unsigned: false }),
            Kind::Number => number(token.bytes()),
            Kind::Literal if token.bytes().len() == 3 && token.bytes()[0] == b'\'' => {
                Ok(Value { bits: token.bytes()[1].into(), unsigned: false })
            }
            _ => Err(format!("{} is no value", String::from_utf8_lossy(token.bytes()))),
        }
    }
}

fn number(text: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let digits = text.trim_end_matches(['u', 'l']);
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(rest) => (16, rest),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    let bits = u64::from_str_radix(digits, radix).map_err(|_| format!("{text} is not an integer"))?;
    let unsigned = text.ends_with(['u', 'l']) && text.contains('u') || bits > i64::MAX as u64;
    Ok(Value { bits, unsigned })
}

fn apply(operator: &str, left: Value, right: Value, needed: bool) -> Result<Value, String> {
    let unsigned = left.unsigned | right.unsigned;
    let (a, b) = (left.bits, right.bits);
    let (x, y) = (a as i64, b as i64);
    let less = if unsigned { a < b } else { x < y };
    let value = |bits: u64| Value { bits, unsigned };
    let shift = b.min(64) as u32;
    Ok(match operator {
        "||" => Value::truth(a != 0 || b != 0),
        "&&" => Value::truth(a != 0 && b != 0),
        "|" => value(a | b),
        "^" => value(a ^ b),
        "&" => value(a & b),
        "==" => Value::truth(a == b),
        "!=" => Value::truth(a != b),
        "<" => Value::truth(less),
        ">=" => Value::truth(!less),
        "<=" => Value::truth(less || a == b),
        ">" => Value::truth(!less && a != b),
        "<<" => Value { bits: a.checked_shl(shift).unwrap_or(0), ..left },
        ">>" if left.unsigned => Value { bits: a.checked_shr(shift).unwrap_or(0), ..left },
        ">>" => Value { bits: (x >> shift.min(63)) as u64, ..left },
        "+" => value(a.wrapping_add(b)),
        "-" => value(a.wrapping_sub(b)),
        "*" => value(a.wrapping_mul(b)),
        _ if b == 0 && needed => return Err("division by zero in this condition".into()),
        _ if b == 0 => value(0),
        "/" if unsigned => value(a / b),
        "/" => value(x.wrapping_div(y) as u64),
        _ if unsigned => value(a % b),
        _ => value(x.wrapping_rem(y) as u64),
    })
}
