//! Expressions: a Pratt loop over binary operators, then prefix, postfix and primary expressions.

use super::stmt::if_expr;
use super::{Parse, Parser};
use crate::ast::{BinOp, Block, Expr, ExprKind, Name, Span, Stmt, UnaryOp};
use crate::lex::Tok;

/// Binary operators with their binding power; all are left-associative.
const BINARY: &[(&str, BinOp, u8)] = &[
    ("||", BinOp::LogOr, 1),
    ("&&", BinOp::LogAnd, 2),
    ("|", BinOp::Or, 3),
    ("^", BinOp::Xor, 4),
    ("&", BinOp::And, 5),
    ("==", BinOp::Eq, 6),
    ("!=", BinOp::Ne, 6),
    ("<", BinOp::Lt, 7),
    ("<=", BinOp::Le, 7),
    (">", BinOp::Gt, 7),
    (">=", BinOp::Ge, 7),
    ("<<", BinOp::Shl, 8),
    (">>", BinOp::Shr, 8),
    ("+", BinOp::Add, 9),
    ("-", BinOp::Sub, 9),
    ("*", BinOp::Mul, 10),
    ("/", BinOp::Div, 10),
    ("%", BinOp::Mod, 10),
];

/// Prefix operators.
const PREFIX: &[(&str, UnaryOp)] = &[
    ("++", UnaryOp::PreInc),
    ("--", UnaryOp::PreDec),
    ("-", UnaryOp::Neg),
    ("!", UnaryOp::Not),
    ("~", UnaryOp::BitNot),
    ("*", UnaryOp::Deref),
    ("&", UnaryOp::AddrOf),
];

fn node(kind: ExprKind, span: Span) -> Expr {
    Expr { kind: Box::new(kind), span }
}

/// Most operators in a row.
const MAX_CHAIN: u32 = 200;

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.nested(Self::ternary)
    }

    fn ternary(&mut self) -> Parse<Expr> {
        let cond = self.binary(0)?;
        if !self.eat("?") {
            return Ok(cond);
        }
        let a = if self.at(":") { cond.clone() } else { self.expr()? };
        self.expect(":")?;
        let b = self.expr()?;
        let span = cond.span.to(b.span);
        Ok(node(ExprKind::Ternary { cond, a, b }, span))
    }

    fn binary(&mut self, min: u8) -> Parse<Expr> {
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some((op, power)) = self.binary_op() {
            if power < min {
                break;
            }
            self.chained(&mut chain)?;
            self.bump();
            let right = self.nested(|p| p.binary(power + 1))?;
            let span = left.span.to(right.span);
            left = node(ExprKind::Binary { op, a: left, b: right }, span);
        }
        Ok(left)
    }

    /// The operator here. A `/` before `{` closes a predicate and is none.
    fn binary_op(&self) -> Option<(BinOp, u8)> {
        let Tok::Op(text) = self.tok else { return None };
        if text == "/" && self.peek_next() == Tok::Op("{") {
            return None;
        }
        BINARY.iter().find(|(t, _, _)| *t == text).map(|(_, op, power)| (*op, *power))
    }

    pub(super) fn unary(&mut self) -> Parse<Expr> {
        let start = self.span;
        let Some((_, op)) = PREFIX.iter().find(|(text, _)| self.at(text)) else {
            let primary = self.primary()?;
            return self.postfix(primary);
        };
        self.bump();
        let expr = self.nested(Self::unary)?;
        let needs_place = matches!(op, UnaryOp::PreInc | UnaryOp::PreDec | UnaryOp::AddrOf);
        if needs_place && !is_place(&expr) {
            return Err(self.error(expr.span, "this operator takes a variable or a map"));
        }
        let span = self.since(start);
        Ok(node(ExprKind::Unary { op: *op, expr }, span))
    }

    /// Counts operators in a row, each of which nests what stands left of it.
    fn chained(&mut self, chain: &mut u32) -> Parse<()> {
        *chain += 1;
        if *chain > MAX_CHAIN {
            let span = self.span;
            return Err(self.error(span, format!("more than {MAX_CHAIN} operators in a row")));
        }
        Ok(())
    }

    fn postfix(&mut self, mut expr: Expr) -> Parse<Expr> {
        let start = expr.span;
        let mut chain = 0;
        loop {
            let kind = if self.at(".") || self.at("->") {
                let arrow = self.at("->");
                self.bump();
                match &self.tok {
                    Tok::Int(n) if !arrow => {
                        let index = u32::try_from(n.value).unwrap_or(u32::MAX);
                        self.bump();
                        ExprKind::TupleIndex { expr, index }
                    }
                    _ => {
                        let name = self.ident("the name of a field")?;
                        ExprKind::Field { expr, name, arrow }
                    }
                }
            } else if self.eat("[") {
                let index = self.expr()?;
                self.expect("]")?;
                ExprKind::Index { expr, index }
            } else if self.at("++") || self.at("--") {
                let op = if self.at("++") { UnaryOp::PostInc } else { UnaryOp::PostDec };
                if !is_place(&expr) {
                    return Err(self.error(expr.span, "this operator takes a variable or a map"));
                }
                self.bump();
                ExprKind::Unary { op, expr }
            } else {
                return Ok(expr);
            };
            self.chained(&mut chain)?;
            expr = node(kind, self.since(start));
        }
    }

    pub(super) fn primary(&mut self) -> Parse<Expr> {
        let start = self.span;
        let kind = match self.tok.clone() {
            Tok::Int(n) => {
                self.bump();
                ExprKind::Int { value: n.value, unsigned: n.unsigned, bits: n.bits }
            }
            Tok::Str(bytes) => {
                self.bump();
                ExprKind::Str(bytes)
            }
            Tok::Var(name) => {
                self.bump();
                ExprKind::Var(name)
            }
            Tok::Map(name) => {
                self.bump();
                let key = if self.eat("[") {
                    let key = self.list("]")?;
                    self.expect("]")?;
                    Some(key)
                } else {
                    None
                };
                ExprKind::Map { name, key }
            }
            Tok::Positional(0) => return Err(self.error(start, "positional parameters begin with `$1`")),
            Tok::Positional(n) => {
                self.bump();
                ExprKind::Positional(n)
            }
            Tok::PositionalCount => {
                self.bump();
                ExprKind::PositionalCount
            }
            Tok::Op("(") => return self.nested(Self::parenthesized),
            Tok::Op("{") => ExprKind::Block(self.block(true)?),
            Tok::Ident(word) => return self.word(&word),
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(node(kind, self.since(start)))
    }

    fn word(&mut self, word: &str) -> Parse<Expr> {
        let start = self.span;
        let kind = match word {
            "true" | "false" => {
                self.bump();
                ExprKind::Bool(word == "true")
            }
            "if" => return self.nested(Self::if_expression),
            "comptime" => {
                self.bump();
                ExprKind::Comptime(self.nested(Self::unary)?)
            }
            "sizeof" => {
                self.bump();
                self.expect("(")?;
                let kind = match self.try_type(")") {
                    Some(ty) => ExprKind::SizeofType(ty),
                    None => ExprKind::SizeofExpr(self.expr()?),
                };
                self.expect(")")?;
                kind
            }
            "typeinfo" if self.peek_next() == Tok::Op("(") => {
                let name = self.ident("a name")?;
                self.expect("(")?;
                let at = self.span;
                let arg = match self.try_type(")") {
                    Some(ty) => node(ExprKind::Type(ty), self.since(at)),
                    None => self.expr()?,
                };
                self.expect(")")?;
                ExprKind::Call { name, args: vec![arg] }
            }
            "offsetof" => {
                self.bump();
                self.offsetof()?
            }
            _ => {
                let name = self.ident("a name")?;
                if self.eat("(") {
                    let args = self.call_args()?;
                    self.expect(")")?;
                    ExprKind::Call { name, args }
                } else {
                    ExprKind::Ident(name.text)
                }
            }
        };
        Ok(node(kind, self.since(start)))
    }

    fn offsetof(&mut self) -> Parse<ExprKind> {
        self.expect("(")?;
        let ty = self.type_expr()?;
        self.expect(",")?;
        let mut path = vec![self.ident("a field")?];
        while self.eat(".") {
            path.push(self.ident("a field")?);
        }
        self.expect(")")?;
        Ok(ExprKind::Offsetof { ty, path })
    }

    fn if_expression(&mut self) -> Parse<Expr> {
        let start = self.span;
        self.bump();
        let cond = self.condition()?;
        let then = self.block(true)?;
        if !self.eat_word("else") {
            return Err(self.unexpected("`else` of this `if` (its value is used)"));
        }
        let other = if self.at_word("if") {
            let inner = self.nested(Self::if_expression)?;
            let span = inner.span;
            Block { stmts: Vec::<Stmt>::new(), value: Some(Box::new(inner)), span }
        } else {
            self.block(true)?
        };
        let span = self.since(start);
        Ok(if_expr(cond, then, other, span))
    }

    /// Behind `(` of a call. An argument may be a type (`struct x`, `typeof(…)`).
    fn call_args(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        while !self.at(")") {
            let start = self.span;
            let type_arg = self.at_word("struct") || self.at_word("union") || self.at_word("typeof");
            args.push(if type_arg {
                let ty = self.type_expr()?;
                node(ExprKind::Type(ty), self.since(start))
            } else {
                self.expr()?
            });
            if !self.eat(",") {
                break;
            }
        }
        Ok(args)
    }

    /// Expressions separated by commas, up to `end`.
    pub(super) fn list(&mut self, end: &'static str) -> Parse<Vec<Expr>> {
        let mut list = Vec::new();
        while !self.at(end) {
            list.push(self.expr()?);
            if !self.eat(",") {
                break;
            }
        }
        Ok(list)
    }

    /// `(…)`: a record, a cast, a tuple or a group.
    fn parenthesized(&mut self) -> Parse<Expr> {
        let start = self.expect("(")?;
        if matches!(self.tok, Tok::Ident(_)) && self.peek_next() == Tok::Op("=") {
            return self.record(start);
        }
        if let Some(cast) = self.cast(start)? {
            return Ok(cast);
        }
        if self.eat(")") {
            return Ok(node(ExprKind::Tuple(Vec::new()), self.since(start)));
        }
        let first = self.expr()?;
        if !self.at(",") {
            self.expect(")")?;
            // Its place is that of the expression inside, as in the reference.
            return Ok(first);
        }
        self.bump();
        let mut parts = vec![first];
        parts.extend(self.list(")")?);
        self.expect(")")?;
        Ok(node(ExprKind::Tuple(parts), self.since(start)))
    }

    fn record(&mut self, start: Span) -> Parse<Expr> {
        let mut fields: Vec<(Name, Expr)> = Vec::new();
        while !self.at(")") {
            let name = self.ident("the name of a field")?;
            self.expect("=")?;
            let value = self.expr()?;
            if fields.iter().any(|(n, _)| n.text == name.text) {
                return Err(self.error(name.span, format!("the record has a field `{}` already", name.text)));
            }
            fields.push((name, value));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(node(ExprKind::Record(fields), self.since(start)))
    }

    /// Behind `(`: a cast, if a type and `)` follow, and then something that starts an operand. A plain name in
    /// parentheses is a cast only if what follows cannot continue an expression.
    fn cast(&mut self, start: Span) -> Parse<Option<Expr>> {
        let (tok, span, last_end) = (self.tok.clone(), self.span, self.last_end);
        let known = self.try_type(")");
        let is_known = known.is_some();
        if let Some(ty) = known.or_else(|| self.name_as_type()) {
            self.bump();
            if self.starts_operand(is_known) {
                let expr = self.nested(Self::unary)?;
                return Ok(Some(node(ExprKind::Cast { ty, expr }, self.since(start))));
            }
            (self.tok, self.span, self.last_end) = (tok, span, last_end);
        }
        Ok(None)
    }

    /// `name` before `)`, as a type.
    fn name_as_type(&mut self) -> Option<crate::ast::TypeExpr> {
        if !matches!(self.tok, Tok::Ident(_)) || self.peek_next() != Tok::Op(")") {
            return None;
        }
        let ty = self.type_expr().ok()?;
        Some(ty)
    }

    /// Whether an operand of a cast starts here. Behind a name that need not be a type, operators that are binary as well
    /// as unary (`-`, `*`, `&`) and calls do not count.
    fn starts_operand(&self, known_type: bool) -> bool {
        match &self.tok {
            Tok::Int(_) | Tok::Str(_) | Tok::Var(_) | Tok::Map(_) => true,
            Tok::Positional(_) | Tok::PositionalCount | Tok::Ident(_) => true,
            Tok::Op("!" | "~") => true,
            Tok::Op(op) => known_type && matches!(*op, "(" | "-" | "*" | "&" | "++" | "--"),
            _ => false,
        }
    }
}

fn is_place(expr: &Expr) -> bool {
    matches!(*expr.kind, ExprKind::Var(_) | ExprKind::Map { .. })
}
