//! The grammar, by recursive descent; after a mistake it goes on at the next `;` or `}`.

mod expression;
mod value;

use crate::ast::{Body, File, Item, Label, Node, Property, Reference, Reservation};
use crate::data::Data;
use crate::diagnostic::{Diagnostic, Kind};
use crate::intern::Name;
use crate::lexer::{Keyword, Lexer, Token};
use crate::session::Limit;
use crate::source::Span;

/// The mistake was reported; the caller looks for a place to go on.
pub(crate) struct Abort;

type Parsed<T> = Result<T, Abort>;

/// One token ahead of the lexer, whose state no rule of the grammar has to change.
pub(crate) struct Parser<'s, 'a> {
    lexer: Lexer<'s, 'a>,
    token: Token,
    span: Span,
    /// Where the token before ended.
    last: Span,
    depth: usize,
}

const fn sign(byte: u8) -> Token {
    Token::Sign([byte, 0])
}

impl<'s, 'a> Parser<'s, 'a> {
    pub fn new(mut lexer: Lexer<'s, 'a>) -> Parser<'s, 'a> {
        let (token, span) = lexer.next();
        Parser { lexer, token, span, last: span, depth: 0 }
    }

    fn advance(&mut self) -> Token {
        let (token, span) = self.lexer.next();
        self.last = std::mem::replace(&mut self.span, span);
        std::mem::replace(&mut self.token, token)
    }

    fn accept(&mut self, wanted: &Token) -> bool {
        let found = self.token == *wanted;
        if found {
            self.advance();
        }
        found
    }

    fn accept_keyword(&mut self, keyword: Keyword) -> bool {
        self.accept(&Token::Keyword(keyword))
    }

    fn report(&mut self, span: Span, message: impl Into<String>) {
        self.lexer.session.report(Diagnostic::error(Kind::Syntax, span, message));
    }

    /// Reports that something else should stand here.
    fn expected(&mut self, what: &str) -> Abort {
        let found = match &self.token {
            Token::End => "the end of the file".to_string(),
            Token::Sign([byte, 0]) if byte.is_ascii_graphic() => format!("`{}`", char::from(*byte)),
            _ => String::new(),
        };
        let found = if found.is_empty() { found } else { format!(", found {found}") };
        self.report(self.span, format!("syntax error: expected {what}{found}"));
        Abort
    }

    fn expect(&mut self, byte: u8) -> Parsed<Span> {
        let span = self.span;
        if self.accept(&sign(byte)) {
            return Ok(span);
        }
        // A missing `;` is best shown where it should have been.
        if byte == b';' && self.last.text == self.span.text {
            // The next line's name was read as a value; that complaint would only hide the cause.
            self.lexer.session.withdraw_lexical(self.span);
            let here = Span { start: self.last.end, ..self.last };
            self.report(here, "syntax error: expected `;`");
            return Err(Abort);
        }
        Err(self.expected(&format!("`{}`", char::from(byte))))
    }

    /// Skips to behind the next `;`, or to a `}` that closes what was open, or to the end.
    fn recover(&mut self) {
        let mut open = 0usize;
        loop {
            match self.token {
                Token::End => return,
                Token::Sign([b'{', 0]) => open += 1,
                Token::Sign([b'}', 0]) if open == 0 => return,
                Token::Sign([b'}', 0]) => open -= 1,
                Token::Sign([b';', 0]) if open == 0 => {
                    self.advance();
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    /// Parses a whole source.
    pub fn file(mut self) -> File {
        let mut file = File::default();
        if self.header(&mut file).is_err() {
            self.recover();
        }
        if self.reservations(&mut file).is_err() {
            self.recover();
        }
        while self.token != Token::End {
            match self.item(&file) {
                Ok(item) => file.items.push(item),
                Err(Abort) => {
                    self.recover();
                    // A stray `}` would stop every recovery.
                    if self.accept(&sign(b'}')) {
                        self.accept(&sign(b';'));
                    }
                }
            }
        }
        if file.items.is_empty() && !self.lexer.session.has_errors() {
            let what = if file.plugin { "a tree: `/ { };` or `&label { };`" } else { "a tree: `/ { };`" };
            self.expected(what);
        }
        file
    }

    fn header(&mut self, file: &mut File) -> Parsed<()> {
        if self.token != Token::Keyword(Keyword::DtsV1) {
            return Err(self.expected("`/dts-v1/;` at the start of the file"));
        }
        while self.accept_keyword(Keyword::DtsV1) {
            self.expect(b';')?;
            if self.accept_keyword(Keyword::Plugin) {
                self.expect(b';')?;
                file.plugin = true;
            }
        }
        Ok(())
    }

    fn reservations(&mut self, file: &mut File) -> Parsed<()> {
        loop {
            let mut labels = Vec::new();
            self.part(self.span)?;
            let before = self.labels()?;
            if !self.accept_keyword(Keyword::MemReserve) {
                if let Some(label) = before.last() {
                    // The only other thing that a label may precede here is `label: &target { }`.
                    let target = self.reference("`/memreserve/` or a reference")?;
                    let item = self.extend(Some(*label), target)?;
                    file.items.push(item);
                    return Ok(());
                }
                return Ok(());
            }
            labels.extend(before.iter().map(|label| label.name));
            let (address, size) = (self.integer()?, self.integer()?);
            self.expect(b';')?;
            file.reservations.push(Reservation { labels, address, size });
        }
    }

    /// Counts one more node, property, label or reference.
    fn part(&mut self, span: Span) -> Parsed<()> {
        if self.lexer.session.take(Limit::Parts, 1, span) { Ok(()) } else { Err(Abort) }
    }

    fn labels(&mut self) -> Parsed<Vec<Label>> {
        let mut labels = Vec::new();
        while let Token::Label(name) = self.token {
            self.part(self.span)?;
            labels.push(Label { name, span: self.span });
            self.advance();
        }
        Ok(labels)
    }

    fn item(&mut self, file: &File) -> Parsed<Item> {
        if self.accept(&sign(b'/')) {
            return Ok(Item::Root(self.body()?));
        }
        let first = file.items.is_empty();
        if first && !file.plugin {
            return Err(self.expected("`/ {`"));
        }
        if self.accept_keyword(Keyword::DeleteNode) {
            let target = self.reference("the node to delete")?;
            self.expect(b';')?;
            return Ok(Item::Delete(target));
        }
        if self.accept_keyword(Keyword::OmitIfNoRef) {
            let target = self.reference("the node to omit")?;
            self.expect(b';')?;
            return Ok(Item::Omit(target));
        }
        self.part(self.span)?;
        let label = self.labels()?.last().copied();
        let target = self.reference("`/`, `&label`, `/delete-node/` or `/omit-if-no-ref/`")?;
        self.extend(label, target)
    }

    fn extend(&mut self, label: Option<Label>, target: Reference) -> Parsed<Item> {
        let body = self.body()?;
        Ok(Item::Extend { label, target, body })
    }

    fn reference(&mut self, what: &str) -> Parsed<Reference> {
        let span = self.span;
        let reference = match self.token {
            Token::LabelReference(text) => Reference { text, is_path: false, span },
            Token::PathReference(text) => Reference { text, is_path: true, span },
            _ => return Err(self.expected(what)),
        };
        self.advance();
        Ok(reference)
    }

    /// Parses `{ ... };`.
    fn body(&mut self) -> Parsed<Body> {
        let start = self.expect(b'{')?;
        self.depth += 1;
        if self.depth >= fdt::MAX_DEPTH {
            self.report(start, format!("nodes nest deeper than {}", fdt::MAX_DEPTH));
            return Err(Abort);
        }
        let mut body = Body::default();
        while !matches!(self.token, Token::End | Token::Sign([b'}', 0])) {
            if self.entry(&mut body).is_err() {
                self.recover();
            }
        }
        self.depth -= 1;
        if self.token == Token::End {
            self.report(start, "syntax error: this `{` is never closed");
            return Err(Abort);
        }
        self.expect(b'}')?;
        let end = self.expect(b';')?;
        body.span = start.to(end);
        Ok(body)
    }

    /// Parses one property or subnode.
    fn entry(&mut self, body: &mut Body) -> Parsed<()> {
        let start = self.span;
        self.part(start)?;
        let mut labels = self.labels()?;
        if self.accept_keyword(Keyword::DeleteProperty) {
            let name = self.name("the name of the property to delete")?;
            let span = start.to(self.expect(b';')?);
            return self.add_property(body, Property { labels, name, value: Data::default(), deleted: true, span });
        }
        if self.accept_keyword(Keyword::DeleteNode) {
            let name = self.name("the name of the node to delete")?;
            let span = start.to(self.expect(b';')?);
            let body_of_none = Body { span, ..Body::default() };
            body.children.push(Node { labels, name, omit_if_no_ref: false, deleted: true, body: body_of_none });
            return Ok(());
        }
        let mut omit_if_no_ref = false;
        while self.accept_keyword(Keyword::OmitIfNoRef) {
            omit_if_no_ref = true;
            labels.extend(self.labels()?);
        }
        let name = self.name("a property or a node")?;
        if self.token == sign(b'{') {
            let inner = self.body()?;
            body.children.push(Node { labels, name, omit_if_no_ref, deleted: false, body: inner });
            return Ok(());
        }
        if omit_if_no_ref {
            return Err(self.expected("`{`: only nodes can be omitted"));
        }
        let value = match self.token {
            Token::Sign([b';', 0]) => Data::default(),
            Token::Sign([b'=', 0]) => {
                self.advance();
                self.value()?
            }
            _ => return Err(self.expected("`=`, `;` or `{`")),
        };
        let span = start.to(self.expect(b';')?);
        self.add_property(body, Property { labels, name, value, deleted: false, span })
    }

    fn add_property(&mut self, body: &mut Body, property: Property) -> Parsed<()> {
        if !body.children.is_empty() {
            self.report(property.span, "Properties must precede subnodes");
        }
        body.properties.push(property);
        Ok(())
    }

    fn name(&mut self, what: &str) -> Parsed<Name> {
        match self.token {
            Token::Name(name) => {
                self.advance();
                Ok(name)
            }
            _ => Err(self.expected(what)),
        }
    }
}
