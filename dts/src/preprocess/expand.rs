//! Macros: their bodies, their arguments, and rescanning until nothing expands.
//!
//! A macro is disabled while the tokens it produced are being read, and a token of a disabled macro's name never
//! expands again, as cpp has it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::scan::{Kind, is_identifier_start, token};
use super::{File, Preprocessor};
use crate::session::Session;
use crate::source::Span;

/// In all, expansion may not read or make more tokens than this.
const TOKEN_LIMIT: usize = 8_000_000;

/// So many bytes of a token that `##` or `#` makes count as a token: those can grow where the number of tokens does not.
const BYTES_PER_TOKEN: usize = 4;

/// Arguments are expanded by recursion, which ends here.
const NESTING_LIMIT: usize = 100;

/// A token of a macro's body, an argument or an expansion; owns a share of its text.
#[derive(Debug, Clone)]
pub(crate) struct PpToken {
    pub kind: Kind,
    text: Arc<[u8]>,
    start: u32,
    end: u32,
    /// A blank came before it.
    pub space: bool,
    /// It names a macro that was disabled when it was read.
    pub painted: bool,
}

impl PpToken {
    pub fn new(kind: Kind, text: &[u8], space: bool) -> PpToken {
        PpToken { kind, text: Arc::from(text), start: 0, end: text.len() as u32, space, painted: false }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.text[self.start as usize..self.end as usize]
    }

    pub fn is(&self, text: &[u8]) -> bool {
        self.bytes() == text
    }
}

/// A `#define`. Its body is cut into tokens when first used.
#[derive(Debug)]
pub(crate) struct Macro {
    /// Where its name is defined.
    pub name: Span,
    /// The names of its parameters; `None` for an object-like macro.
    pub parameters: Option<Vec<Box<[u8]>>>,
    /// The last parameter takes all further arguments.
    pub variadic: bool,
    pub text: Arc<[u8]>,
    /// The body: `text[start..end]`.
    pub start: usize,
    pub end: usize,
    pub tokens: OnceCell<Vec<PpToken>>,
}

impl Macro {
    /// How much is to be cut into tokens yet.
    fn uncut(&self) -> usize {
        if self.tokens.get().is_some() { 0 } else { self.end - self.start }
    }
}

/// Cuts `text[start..end]` into tokens without blanks.
pub(crate) fn tokens_of(text: &Arc<[u8]>, start: usize, end: usize) -> Vec<PpToken> {
    let (mut tokens, mut at, mut space) = (Vec::new(), start, false);
    while at < end {
        let found = token(&text[..end], at);
        at = found.end;
        match found.kind {
            Kind::End => break,
            Kind::Space | Kind::Splice | Kind::Newline => space = true,
            kind => {
                let (start, end) = (found.start as u32, found.end as u32);
                tokens.push(PpToken { kind, text: text.clone(), start, end, space, painted: false });
                space = false;
            }
        }
    }
    tokens
}

/// Tokens waiting to be read, and the macro they came from.
struct Context {
    tokens: std::vec::IntoIter<PpToken>,
    from: Option<Rc<Macro>>,
}

/// What is being read: expansions, innermost last, and below them perhaps the file itself.
pub(crate) struct Stream<'f> {
    contexts: Vec<Context>,
    file: Option<&'f mut File>,
}

impl<'f> Stream<'f> {
    pub fn of_file(file: &'f mut File) -> Stream<'f> {
        Stream { contexts: Vec::new(), file: Some(file) }
    }

    pub fn of_tokens(tokens: Vec<PpToken>) -> Stream<'f> {
        Stream { contexts: vec![Context { tokens: tokens.into_iter(), from: None }], file: None }
    }

    pub fn file_position(&self) -> Option<usize> {
        self.file.as_ref().map(|file| file.pos)
    }

    fn disabled(&self, found: &Rc<Macro>) -> bool {
        self.contexts.iter().any(|context| context.from.as_ref().is_some_and(|from| Rc::ptr_eq(from, found)))
    }

    /// Takes the next token of the expansions; with `beyond`, of the file too once those are used up.
    fn next(&mut self, beyond: bool) -> Option<PpToken> {
        while let Some(context) = self.contexts.last_mut() {
            if let Some(token) = context.tokens.next() {
                return Some(token);
            }
            self.contexts.pop();
        }
        let file = self.file.as_mut().filter(|_| beyond)?;
        let mut space = false;
        loop {
            let found = token(&file.bytes, file.pos);
            file.pos = found.end;
            match found.kind {
                Kind::End => return None,
                Kind::Space | Kind::Splice | Kind::Newline => space = true,
                kind => {
                    let (text, start, end) = (file.bytes.clone(), found.start as u32, found.end as u32);
                    return Some(PpToken { kind, text, start, end, space, painted: false });
                }
            }
        }
    }

    /// Takes `(` if it comes next, and nothing otherwise.
    fn open_parenthesis(&mut self) -> bool {
        let position = self.file_position();
        match self.next(true) {
            Some(token) if token.is(b"(") => true,
            token => {
                let from_file = self.contexts.is_empty() && self.file_position() != position;
                if let (true, Some(file), Some(position)) = (from_file, self.file.as_mut(), position) {
                    file.pos = position;
                } else if let Some(token) = token {
                    self.contexts.push(Context { tokens: vec![token].into_iter(), from: None });
                }
                false
            }
        }
    }
}

impl Preprocessor {
    /// Expands one use of `found`, whose name at `name` was just read. Returns `None`, having read no further, if it
    /// is function-like and no arguments follow.
    pub(super) fn expand_use(
        &mut self,
        session: &mut Session<'_>,
        stream: &mut Stream<'_>,
        name: Span,
        found: Rc<Macro>,
    ) -> Option<Vec<PpToken>> {
        let mut out = Vec::new();
        if !self.enter(session, stream, name, found, false, 0)? {
            return Some(out);
        }
        self.rescan(session, stream, name, &mut out, 0);
        Some(out)
    }

    /// Counts tokens; says whether there may be more, and reports once that there may not.
    pub(super) fn spend(&mut self, session: &mut Session<'_>, at: Span, tokens: usize) -> bool {
        let before = self.spent;
        self.spent = before.saturating_add(tokens);
        if before <= TOKEN_LIMIT && self.spent > TOKEN_LIMIT {
            self.error(session, at, "expanding this macro never comes to an end");
        }
        self.spent <= TOKEN_LIMIT
    }

    /// Returns a macro's tokens; nothing where cutting it into them would go beyond the limit.
    fn body<'m>(&mut self, session: &mut Session<'_>, at: Span, found: &'m Macro) -> Option<&'m [PpToken]> {
        // As many tokens as bytes, at worst.
        let affordable = self.spend(session, at, found.uncut());
        affordable.then(|| &**found.tokens.get_or_init(|| tokens_of(&found.text, found.start, found.end)))
    }

    /// Says whether two definitions mean the same, blanks aside.
    pub(super) fn same(&mut self, session: &mut Session<'_>, old: &Macro, new: &Macro) -> bool {
        let Some(theirs) = self.body(session, new.name, old) else { return true };
        let Some(mine) = self.body(session, new.name, new) else { return true };
        old.parameters == new.parameters
            && mine.len() == theirs.len()
            && mine.iter().zip(theirs).all(|(a, b)| a.is(b.bytes()))
    }

    /// Expands a list of tokens on its own.
    pub(super) fn expand_list(&mut self, session: &mut Session<'_>, list: Vec<PpToken>, at: Span) -> Vec<PpToken> {
        let mut out = Vec::new();
        self.rescan(session, &mut Stream::of_tokens(list), at, &mut out, 0);
        out
    }

    /// Reads the stream's expansions to their end, expanding what can be.
    fn rescan(
        &mut self,
        session: &mut Session<'_>,
        stream: &mut Stream<'_>,
        at: Span,
        out: &mut Vec<PpToken>,
        nesting: usize,
    ) {
        while let Some(mut token) = stream.next(false) {
            if !self.spend(session, at, 1) {
                return;
            }
            if token.kind == Kind::Identifier
                && !token.painted
                && let Some(found) = self.macros.get(token.bytes())
            {
                let found = found.clone();
                // The context that held the last token of its macro still counts, as that token is being read.
                if stream.disabled(&found) {
                    token.painted = true;
                } else if self.enter(session, stream, at, found, token.space, nesting).is_some() {
                    continue;
                }
            }
            out.push(token);
        }
    }

    /// Puts the body of `found` on the stream, after reading its arguments. `None` if it needs some and there are
    /// none; `Some(false)` if they are wrong, which is then reported.
    fn enter(
        &mut self,
        session: &mut Session<'_>,
        stream: &mut Stream<'_>,
        at: Span,
        found: Rc<Macro>,
        space: bool,
        nesting: usize,
    ) -> Option<bool> {
        let mut tokens = match &found.parameters {
            None => match self.paste_all(session, at, &found) {
                Some(tokens) => tokens,
                None => return Some(false),
            },
            Some(parameters) => {
                if !stream.open_parenthesis() {
                    return None;
                }
                let Some(arguments) = self.arguments(session, stream, at, &found, parameters) else {
                    return Some(false);
                };
                if nesting > NESTING_LIMIT {
                    self.error(session, at, "macro arguments nest too deeply");
                    return Some(false);
                }
                self.substitute(session, at, &found, parameters, arguments, nesting)
            }
        };
        if let Some(first) = tokens.first_mut() {
            first.space = space;
        }
        // With all of an outer macro's tokens read, its context would only make the stack grow.
        stream.contexts.push(Context { tokens: tokens.into_iter(), from: Some(found) });
        Some(true)
    }

    /// Reads arguments up to the closing parenthesis, cut at outer commas.
    fn arguments(
        &mut self,
        session: &mut Session<'_>,
        stream: &mut Stream<'_>,
        at: Span,
        found: &Macro,
        parameters: &[Box<[u8]>],
    ) -> Option<Vec<Vec<PpToken>>> {
        let (mut arguments, mut depth) = (vec![Vec::new()], 0usize);
        loop {
            let Some(mut token) = stream.next(true) else {
                self.error(session, at, "the arguments of this macro never end");
                return None;
            };
            if token.kind == Kind::Identifier
                && let Some(found) = self.macros.get(token.bytes())
            {
                token.painted |= stream.disabled(found);
            }
            match token.bytes() {
                b"(" => depth += 1,
                b")" if depth == 0 => break,
                b")" => depth -= 1,
                b"," if depth == 0 && !(found.variadic && arguments.len() == parameters.len()) => {
                    arguments.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = arguments.last_mut() {
                last.push(token);
            }
        }
        if parameters.is_empty() && arguments.len() == 1 && arguments[0].is_empty() {
            arguments.clear();
        }
        if found.variadic && arguments.len() + 1 == parameters.len() {
            arguments.push(Vec::new());
        }
        if arguments.len() != parameters.len() {
            let message = format!("this macro takes {} arguments, not {}", parameters.len(), arguments.len());
            self.error(session, at, message);
            return None;
        }
        Some(arguments)
    }

    /// Returns the body with arguments in place of parameters.
    fn substitute(
        &mut self,
        session: &mut Session<'_>,
        at: Span,
        found: &Macro,
        parameters: &[Box<[u8]>],
        arguments: Vec<Vec<PpToken>>,
        nesting: usize,
    ) -> Vec<PpToken> {
        let Some(body) = self.body(session, at, found) else { return Vec::new() };
        let position = |token: &PpToken| parameters.iter().position(|name| token.is(name));
        let mut expanded: Vec<Option<Vec<PpToken>>> = vec![None; arguments.len()];
        let mut out: Vec<PpToken> = Vec::new();
        let mut index = 0;
        let mut pasting = false;
        while let Some(token) = body.get(index) {
            index += 1;
            if token.kind == Kind::Paste && !out.is_empty() | pasting {
                pasting = true;
                continue;
            }
            let next_pastes = body.get(index).is_some_and(|next| next.kind == Kind::Paste);
            let mut piece = Vec::new();
            if token.is(b"#")
                && let Some(argument) = body.get(index).and_then(position)
            {
                index += 1;
                piece.push(stringify(&arguments[argument], token.space));
            } else if let Some(argument) = position(token) {
                let is_rest = found.variadic && argument + 1 == parameters.len();
                // GNU: `, ## __VA_ARGS__` drops the comma when there are no further arguments.
                if pasting && is_rest && out.last().is_some_and(|last| last.is(b",")) {
                    if arguments[argument].is_empty() {
                        out.pop();
                    }
                    pasting = false;
                }
                if pasting || next_pastes {
                    piece.extend_from_slice(&arguments[argument]);
                } else {
                    if expanded[argument].is_none() {
                        let mut list = Vec::new();
                        let mut stream = Stream::of_tokens(arguments[argument].clone());
                        self.rescan(session, &mut stream, at, &mut list, nesting + 1);
                        expanded[argument] = Some(list);
                    }
                    piece.extend(expanded[argument].iter().flatten().cloned());
                }
                if let Some(first) = piece.first_mut() {
                    first.space = token.space;
                }
            } else {
                piece.push(token.clone());
            }
            let mut made_bytes = 0;
            if token.is(b"#") {
                made_bytes = piece.iter().map(|token| token.bytes().len()).sum();
            }
            if pasting && !piece.is_empty() {
                let right = piece.remove(0);
                match out.pop() {
                    Some(left) => out.push(paste(&left, &right)),
                    None => out.push(right),
                }
                made_bytes += out.last().map_or(0, |made| made.bytes().len());
            }
            // An empty argument leaves the left side for the next `##`, or begins one.
            pasting = false;
            let piece_length = piece.len() + 1 + made_bytes / BYTES_PER_TOKEN;
            out.append(&mut piece);
            if !self.spend(session, at, piece_length) {
                return Vec::new();
            }
        }
        out
    }

    /// Returns the body of an object-like macro with its `##` done; nothing where that goes beyond the limit.
    fn paste_all(&mut self, session: &mut Session<'_>, at: Span, found: &Macro) -> Option<Vec<PpToken>> {
        let body = self.body(session, at, found)?;
        let mut out: Vec<PpToken> = Vec::with_capacity(body.len());
        let mut pasting = false;
        for token in body {
            if token.kind == Kind::Paste && !out.is_empty() {
                pasting = true;
            } else if pasting && let Some(left) = out.pop() {
                let made = paste(&left, token);
                if !self.spend(session, at, made.bytes().len() / BYTES_PER_TOKEN) {
                    return None;
                }
                out.push(made);
                pasting = false;
            } else {
                out.push(token.clone());
            }
        }
        Some(out)
    }
}

fn paste(left: &PpToken, right: &PpToken) -> PpToken {
    let text = [left.bytes(), right.bytes()].concat();
    let kind = match text.first() {
        Some(&first) if is_identifier_start(first) => Kind::Identifier,
        Some(first) if first.is_ascii_digit() => Kind::Number,
        Some(b'"') => Kind::Literal,
        _ => Kind::Other,
    };
    PpToken::new(kind, &text, left.space)
}

fn stringify(argument: &[PpToken], space: bool) -> PpToken {
    let mut text = vec![b'"'];
    for (index, token) in argument.iter().enumerate() {
        if token.space && index > 0 {
            text.push(b' ');
        }
        for &byte in token.bytes() {
            if token.kind == Kind::Literal && matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
    }
    text.push(b'"');
    PpToken::new(Kind::Literal, &text, space)
}
