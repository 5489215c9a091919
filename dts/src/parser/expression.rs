//! Integer expressions: 64-bit, unsigned, with C's precedence.

use super::{Parsed, Parser, sign};
use crate::lexer::Token;
use crate::precedence::LEVELS;

/// Parentheses and unary operators may nest this deep.
const DEPTH_LIMIT: usize = 200;

/// Returns how the lexer writes an operator.
fn sign_of(operator: &str) -> [u8; 2] {
    let bytes = operator.as_bytes();
    [bytes[0], *bytes.get(1).unwrap_or(&0)]
}

impl Parser<'_, '_> {
    /// Parses a literal or an expression in parentheses.
    pub(super) fn integer(&mut self) -> Parsed<u64> {
        match self.token {
            Token::Number(value) => {
                self.advance();
                Ok(value)
            }
            Token::Sign([b'(', 0]) => {
                self.advance();
                let value = self.conditional(0)?;
                self.expect(b')')?;
                Ok(value)
            }
            _ => Err(self.expected("a number or `(`")),
        }
    }

    fn conditional(&mut self, depth: usize) -> Parsed<u64> {
        if depth > DEPTH_LIMIT {
            return Err(self.expected("an expression that nests less deeply"));
        }
        let test = self.binary(0, depth)?;
        if !self.accept(&sign(b'?')) {
            return Ok(test);
        }
        let yes = self.conditional(depth + 1)?;
        self.expect(b':')?;
        let no = self.conditional(depth + 1)?;
        Ok(if test != 0 { yes } else { no })
    }

    fn binary(&mut self, level: usize, depth: usize) -> Parsed<u64> {
        let Some(operators) = LEVELS.get(level) else { return self.unary(depth) };
        let start = self.span;
        let mut left = self.binary(level + 1, depth)?;
        while let Token::Sign(found) = self.token
            && operators.iter().any(|operator| sign_of(operator) == found)
        {
            self.advance();
            let right = self.binary(level + 1, depth)?;
            left = match apply(found, left, right) {
                Some(value) => value,
                None => {
                    self.report(start.to(self.last), "Division by zero");
                    0
                }
            };
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Parsed<u64> {
        let Token::Sign([operator @ (b'-' | b'~' | b'!'), 0]) = self.token else {
            return match self.token {
                Token::Sign([b'(', 0]) => {
                    self.advance();
                    let value = self.conditional(depth + 1)?;
                    self.expect(b')')?;
                    Ok(value)
                }
                _ => self.integer(),
            };
        };
        if depth > DEPTH_LIMIT {
            return Err(self.expected("an expression that nests less deeply"));
        }
        self.advance();
        let value = self.unary(depth + 1)?;
        Ok(match operator {
            b'-' => value.wrapping_neg(),
            b'~' => !value,
            _ => u64::from(value == 0),
        })
    }
}

/// Returns `None` for a division by zero.
fn apply(operator: [u8; 2], left: u64, right: u64) -> Option<u64> {
    Some(match &operator {
        b"||" => u64::from(left != 0 || right != 0),
        b"&&" => u64::from(left != 0 && right != 0),
        b"|\0" => left | right,
        b"^\0" => left ^ right,
        b"&\0" => left & right,
        b"==" => u64::from(left == right),
        b"!=" => u64::from(left != right),
        b"<\0" => u64::from(left < right),
        b">\0" => u64::from(left > right),
        b"<=" => u64::from(left <= right),
        b">=" => u64::from(left >= right),
        b"<<" => {
            if right < 64 {
                left << right
            } else {
                0
            }
        }
        b">>" => {
            if right < 64 {
                left >> right
            } else {
                0
            }
        }
        b"+\0" => left.wrapping_add(right),
        b"-\0" => left.wrapping_sub(right),
        b"*\0" => left.wrapping_mul(right),
        b"/\0" => left.checked_div(right)?,
        _ => left.checked_rem(right)?,
    })
}
