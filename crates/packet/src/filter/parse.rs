//! Tokens to the tree: an expression enters, its tree leaves, or the first mistake.
//!
//! The grammar is libpcap's (grammar.y, 1.10). `and` and `or` have the same precedence and group to the left; `not` binds
//! tighter. A name or number behind `and` or `or` takes the qualifiers of what stands before. What always holds: every
//! node's children have lower numbers, and depth is bounded by [`MAX_DEPTH`].

use super::ast::{Expr, ExprId, Quals, Shift, Tree};
use super::lex::{self, Kind, Token};
use super::words::{AddrKind, Dir, Proto, Word};
use skep_lang::ast::Span;
use skep_lang::diag::Diagnostic;

mod arith;
mod id;

/// How deep brackets and `not` nest.
pub const MAX_DEPTH: u32 = 400;

/// What an operand of `and` and `or` turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// A primitive with its own meaning.
    Term,
    /// A number, maybe in brackets.
    Number,
    /// A name or address without qualifiers of its own, or the opposite of an operand without.
    Bare,
    /// Several of those in brackets.
    Group,
}

/// An operand, and the qualifiers that what follows takes from it.
struct Operand {
    expr: ExprId,
    form: Form,
    quals: Option<Quals>,
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    end: Span,
    depth: u32,
    pub(super) tree: Tree,
}

/// Parses an expression; `None` is the empty one, which every packet matches.
pub fn parse(text: &str, strict: bool) -> Result<(Tree, Option<ExprId>), Box<Diagnostic>> {
    let tokens = lex::lex(text, strict)?;
    let end = Span::new(text.trim_end().len(), text.trim_end().len());
    let mut parser = Parser { tokens, pos: 0, end, depth: 0, tree: Tree::default() };
    if parser.tokens.is_empty() {
        return Ok((parser.tree, None));
    }
    let root = parser.expr(None)?;
    if parser.pos < parser.tokens.len() {
        return Err(parser.unexpected("`and`, `or` or the end"));
    }
    Ok((parser.tree, Some(root.expr)))
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl Parser {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.pos).map(|t| &t.kind)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.pos + ahead).map(|t| &t.kind)
    }

    fn word(&self) -> Option<Word> {
        match self.peek() {
            Some(Kind::Word(word)) => Some(*word),
            _ => None,
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Kind::Sign(found)) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.pos += usize::from(found);
        found
    }

    fn start(&self) -> u32 {
        self.tokens.get(self.pos).map_or(self.end.start, |t| t.span.start)
    }

    /// From `start` to the end of the last token that was taken.
    fn since(&self, start: u32) -> Span {
        let end =
            self.pos.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(start, |t| t.span.end);
        Span { start, end: end.max(start) }
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let Some(token) = self.tokens.get(self.pos) else {
            let message = format!("syntax error in filter expression: {expected} expected, found the end");
            return Diagnostic::error("filter-syntax", self.end, message).into();
        };
        let message = "syntax error in filter expression".to_owned();
        let foreign = match token.kind {
            Kind::Word(Word::Foreign(what)) => {
                format!("; this word is for {what}, which is no link type here")
            }
            _ => String::new(),
        };
        Diagnostic::error("filter-syntax", token.span, message)
            .at(format!("{expected} expected{foreign}"))
            .into()
    }

    fn add(&mut self, expr: Expr, start: u32) -> ExprId {
        let span = self.since(start);
        self.tree.exprs.push((expr, span));
        ExprId(self.tree.exprs.len() as u32 - 1)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            let message = format!("the expression nests deeper than {MAX_DEPTH} levels");
            return Err(Diagnostic::error("filter-depth", self.since(self.start()), message).into());
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// `term (and|or operand)*`; `quals` are those of what stands before.
    fn expr(&mut self, quals: Option<Quals>) -> Parsed<Operand> {
        let start = self.start();
        let first = self.operand(quals)?;
        if first.form != Form::Term {
            return Err(self.bare(&first));
        }
        self.chain(start, first, Form::Term)
    }

    fn bare(&self, operand: &Operand) -> Box<Diagnostic> {
        let span = self.tree.expr(operand.expr).1;
        Diagnostic::error("filter-syntax", span, "syntax error in filter expression")
            .at("this has no qualifier")
            .hint("say what it is: `host`, `net`, `port`, `portrange`, `proto` or a direction before it")
            .into()
    }

    /// The rest of a chain. In brackets that begin with a bare operand, all must be bare (`form`).
    fn chain(&mut self, start: u32, first: Operand, form: Form) -> Parsed<Operand> {
        let mut left = first;
        loop {
            let or = match self.word() {
                Some(Word::And) => false,
                Some(Word::Or) => true,
                _ => return Ok(left),
            };
            self.pos += 1;
            let right = self.operand(left.quals)?;
            if form != Form::Term && right.form == Form::Term {
                let span = self.tree.expr(right.expr).1;
                return Err(Diagnostic::error("filter-syntax", span, "syntax error in filter expression")
                    .at("brackets that begin with a bare name or number hold only such")
                    .into());
            }
            let expr = match or {
                true => Expr::Or(left.expr, right.expr),
                false => Expr::And(left.expr, right.expr),
            };
            let expr = self.add(expr, start);
            left = Operand { expr, form: Form::Group, quals: right.quals };
        }
    }

    /// What `and` and `or` join.
    fn operand(&mut self, quals: Option<Quals>) -> Parsed<Operand> {
        self.deeper(|p| p.operand_here(quals))
    }

    fn operand_here(&mut self, quals: Option<Quals>) -> Parsed<Operand> {
        let start = self.start();
        if self.is_sign("!") || self.word() == Some(Word::Not) {
            self.pos += 1;
            let inner = self.operand(quals)?;
            let expr = self.add(Expr::Not(inner.expr), start);
            let form = if inner.form == Form::Term { Form::Term } else { Form::Bare };
            return Ok(Operand { expr, form, quals: inner.quals });
        }
        if let Some(relation) = self.relation()? {
            return Ok(Operand { expr: relation, form: Form::Term, quals: None });
        }
        match self.peek() {
            Some(Kind::Sign("(")) => self.brackets(quals, start),
            Some(Kind::Word(_)) => self.term(start),
            Some(_) => {
                let form =
                    if matches!(self.peek(), Some(Kind::Number(_))) { Form::Number } else { Form::Bare };
                let id = self.bare_id(quals, start)?;
                Ok(Operand { expr: id, form, quals })
            }
            None => Err(self.unexpected("a primitive")),
        }
    }

    /// `( expr )` or `( bare and bare … )`, the bracket not yet taken.
    fn brackets(&mut self, quals: Option<Quals>, start: u32) -> Parsed<Operand> {
        self.pos += 1;
        let inside = self.start();
        let first = self.operand(quals)?;
        let form = first.form;
        let joined = matches!(self.word(), Some(Word::And | Word::Or));
        if form == Form::Group {
            return Err(self.bare(&first));
        }
        let inner = self.chain(inside, first, form)?;
        if !self.take_sign(")") {
            return Err(self.unexpected("`)`"));
        }
        // What follows an expression in brackets takes the qualifiers of what stands before them.
        Ok(match form {
            Form::Term => Operand { expr: inner.expr, form: Form::Term, quals },
            Form::Number if !joined => Operand { form: Form::Number, ..inner },
            _ => {
                let expr = self.add_same(inner.expr, start);
                Operand { expr, form: Form::Group, quals: inner.quals }
            }
        })
    }

    /// Widens a node's place to its brackets.
    fn add_same(&mut self, expr: ExprId, start: u32) -> ExprId {
        let span = self.since(start);
        self.tree.exprs[expr.0 as usize].1 = span;
        expr
    }

    /// A name, number or address that takes the qualifiers of what stands before.
    fn bare_id(&mut self, quals: Option<Quals>, start: u32) -> Parsed<ExprId> {
        let id = self.id()?;
        let Some(quals) = quals else {
            let span = self.since(start);
            return Err(Diagnostic::error("filter-syntax", span, "syntax error in filter expression")
                .at("nothing says what this is")
                .hint("say what it is: `host`, `net`, `port`, `portrange`, `proto` or a direction before it")
                .into());
        };
        Ok(self.add(Expr::Id(quals, id), start))
    }

    /// What qualifiers qualify: an operand without qualifiers of its own.
    fn qualified(&mut self, quals: Quals) -> Parsed<ExprId> {
        self.deeper(|p| {
            let start = p.start();
            if p.is_sign("!") || p.word() == Some(Word::Not) {
                p.pos += 1;
                let inner = p.qualified(quals)?;
                return Ok(p.add(Expr::Not(inner), start));
            }
            if !p.is_sign("(") {
                return p.bare_id(Some(quals), start);
            }
            let group = p.brackets(Some(quals), start)?;
            match group.form {
                Form::Term => {
                    let span = p.tree.expr(group.expr).1;
                    Err(Diagnostic::error("filter-syntax", span, "syntax error in filter expression")
                        .at("names, numbers or addresses expected")
                        .into())
                }
                _ => Ok(group.expr),
            }
        })
    }

    fn number(&mut self, expected: &str) -> Parsed<u32> {
        match self.peek() {
            Some(Kind::Number(value)) => {
                let value = *value;
                self.pos += 1;
                Ok(value)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A number in any number of brackets, if one follows.
    fn optional_number(&mut self) -> Parsed<Option<u32>> {
        let open = (0..).take_while(|n| matches!(self.peek_at(*n), Some(Kind::Sign("(")))).count();
        if open == 0 && !matches!(self.peek(), Some(Kind::Number(_))) {
            return Ok(None);
        }
        self.pos += open;
        let value = self.number("a number")?;
        for _ in 0..open {
            if !self.take_sign(")") {
                return Err(self.unexpected("`)`"));
            }
        }
        Ok(Some(value))
    }

    /// A primitive that begins with a keyword.
    fn term(&mut self, start: u32) -> Parsed<Operand> {
        let Some(word) = self.word() else { return Err(self.unexpected("a primitive")) };
        let proto = match word {
            Word::Proto(proto) => {
                self.pos += 1;
                Some(proto)
            }
            _ => None,
        };
        let expr = match self.word() {
            Some(Word::Src | Word::Dst | Word::Wlan(_) | Word::Kind(_)) => return self.head(proto, start),
            Some(Word::Broadcast) => {
                self.pos += 1;
                Expr::Broadcast(proto)
            }
            Some(Word::Multicast) => {
                self.pos += 1;
                Expr::Multicast(proto)
            }
            Some(Word::Foreign(_)) => return Err(self.unexpected("another primitive")),
            _ => match proto {
                Some(proto) => Expr::Proto(proto),
                None => self.other(word)?,
            },
        };
        let expr = self.add(expr, start);
        Ok(Operand { expr, form: Form::Term, quals: None })
    }

    /// Qualifiers and what they qualify.
    fn head(&mut self, proto: Option<Proto>, start: u32) -> Parsed<Operand> {
        let dir = self.dir()?;
        let kind = match self.word() {
            Some(Word::Kind(kind)) => {
                let directed = !matches!(kind, AddrKind::Proto | AddrKind::ProtoChain | AddrKind::Gateway);
                if dir.is_some() && !directed {
                    return Err(
                        self.unexpected("`host`, `net`, `port`, `portrange` or what the direction is of")
                    );
                }
                self.pos += 1;
                Some(kind)
            }
            _ => None,
        };
        let quals = Quals { proto, dir, kind };
        let expr = self.qualified(quals)?;
        let expr = self.add_same(expr, start);
        Ok(Operand { expr, form: Form::Term, quals: Some(quals) })
    }

    fn dir(&mut self) -> Parsed<Option<Dir>> {
        let (dir, other) = match self.word() {
            Some(Word::Src) => (Dir::Src, Word::Dst),
            Some(Word::Dst) => (Dir::Dst, Word::Src),
            Some(Word::Wlan(word)) => {
                self.pos += 1;
                return Ok(Some(Dir::Wlan(word)));
            }
            _ => return Ok(None),
        };
        self.pos += 1;
        let joined = match self.word() {
            Some(Word::Or) => Dir::Either,
            Some(Word::And) => Dir::Both,
            _ => return Ok(Some(dir)),
        };
        self.pos += 1;
        if self.word() != Some(other) {
            return Err(self.unexpected("the other direction"));
        }
        self.pos += 1;
        Ok(Some(joined))
    }

    /// Primitives that take no protocol.
    fn other(&mut self, word: Word) -> Parsed<Expr> {
        let start = self.start();
        self.pos += 1;
        Ok(match word {
            Word::Less => Expr::Less(self.number("a length in bytes")?),
            Word::Greater => Expr::Greater(self.number("a length in bytes")?),
            Word::Byte => self.byte()?,
            Word::Inbound => Expr::Direction(false),
            Word::Outbound => Expr::Direction(true),
            Word::Ifindex => Expr::Ifindex(self.number("the number of an interface")?),
            Word::Vlan => Expr::Shift(Shift::Vlan, self.optional_number()?),
            Word::Mpls => Expr::Shift(Shift::Mpls, self.optional_number()?),
            Word::Pppoes => Expr::Shift(Shift::Pppoes, self.optional_number()?),
            Word::Geneve => Expr::Shift(Shift::Geneve, self.optional_number()?),
            Word::Vxlan => Expr::Shift(Shift::Vxlan, self.optional_number()?),
            Word::Pppoed => Expr::Pppoed,
            Word::Llc => Expr::Llc(self.llc_type()),
            Word::Rnr => {
                let span = self.since(start);
                return Err(Diagnostic::error(
                    "filter-link",
                    span,
                    "'rnr' and 'rulenum' are supported only on PF logs",
                )
                .into());
            }
            _ => {
                self.pos -= 1;
                return Err(self.unexpected("a primitive"));
            }
        })
    }

    fn llc_type(&mut self) -> Option<String> {
        let name = match self.peek() {
            Some(Kind::Name(name)) => name.clone(),
            Some(Kind::Word(Word::Rnr)) => "rnr".to_owned(),
            _ => return None,
        };
        self.pos += 1;
        Some(name)
    }

    fn byte(&mut self) -> Parsed<Expr> {
        use super::ast::ByteOp;
        let index = self.number("the byte's place")?;
        let signs =
            [("&", ByteOp::And), ("|", ByteOp::Or), ("<", ByteOp::Lt), (">", ByteOp::Gt), ("=", ByteOp::Eq)];
        let Some((_, op)) = signs.into_iter().find(|(sign, _)| self.is_sign(sign)) else {
            return Err(self.unexpected("one of `&`, `|`, `<`, `>`, `=`"));
        };
        self.pos += 1;
        Ok(Expr::Byte(index, op, self.number("a number")?))
    }
}

#[cfg(test)]
mod tests;
