//! Statements and blocks.

use super::{Parse, Parser};
use crate::ast::{BinOp, Block, Expr, ExprKind, ForIter, Name, Span, Stmt, StmtKind};
use crate::lex::Tok;

/// Operators of compound assignments.
const COMPOUND: &[(&str, BinOp)] = &[
    ("+=", BinOp::Add),
    ("-=", BinOp::Sub),
    ("*=", BinOp::Mul),
    ("/=", BinOp::Div),
    ("%=", BinOp::Mod),
    ("&=", BinOp::And),
    ("|=", BinOp::Or),
    ("^=", BinOp::Xor),
    ("<<=", BinOp::Shl),
    (">>=", BinOp::Shr),
];

impl Parser<'_> {
    /// Statements in braces. With `value`, a last expression without `;` is the block's value.
    pub(super) fn block(&mut self, value: bool) -> Parse<Block> {
        self.nested(|p| p.block_inner(value))
    }

    fn block_inner(&mut self, value: bool) -> Parse<Block> {
        let start = self.expect("{")?;
        let mut block = Block::default();
        while !self.at("}") {
            if self.tok == Tok::End {
                let missing = self.unexpected("`}`");
                if let Some(last) = self.diags.list.last_mut() {
                    last.labels.push((start, "this block is not closed".to_owned()));
                }
                return Err(missing);
            }
            let before = self.span.start;
            match self.stmt() {
                Ok(Some(stmt)) => block.stmts.push(stmt),
                Ok(None) => {}
                Err(_) => {
                    self.recover();
                    if self.span.start == before && !self.at("}") {
                        self.bump();
                    }
                }
            }
        }
        let ends_with_value = value && !self.ended_by_semicolon();
        self.bump();
        if ends_with_value {
            block.value = take_value(&mut block.stmts);
        }
        block.span = self.since(start);
        Ok(block)
    }

    /// Whether the token before the current one is `;`.
    fn ended_by_semicolon(&self) -> bool {
        self.lexer.text()[..self.last_end as usize].ends_with(';')
    }

    fn stmt(&mut self) -> Parse<Option<Stmt>> {
        let start = self.span;
        let kind = match &self.tok {
            Tok::Op(";") => {
                self.bump();
                return Ok(None);
            }
            Tok::Ident(word) => match word.as_str() {
                "if" => self.if_stmt()?,
                "while" => self.while_stmt()?,
                "unroll" => self.unroll()?,
                "for" => self.for_stmt()?,
                "let" => self.let_stmt()?,
                "return" => {
                    self.bump();
                    let value = if self.at(";") || self.at("}") { None } else { Some(self.expr()?) };
                    self.end_of_stmt()?;
                    StmtKind::Return(value)
                }
                "break" | "continue" => {
                    let kind = if self.at_word("break") { StmtKind::Break } else { StmtKind::Continue };
                    self.bump();
                    self.end_of_stmt()?;
                    kind
                }
                "_" if self.peek_next() == Tok::Op("=") => {
                    self.bump();
                    self.bump();
                    let value = self.expr()?;
                    self.end_of_stmt()?;
                    StmtKind::Discard(value)
                }
                _ => self.expr_stmt()?,
            },
            Tok::Op("{") => {
                let block = self.block(true)?;
                match block.value {
                    None => StmtKind::Block(block),
                    Some(_) => {
                        let span = block.span;
                        self.eat(";");
                        StmtKind::Expr(Expr { kind: Box::new(ExprKind::Block(block)), span })
                    }
                }
            }
            _ => self.expr_stmt()?,
        };
        Ok(Some(Stmt { kind, span: self.since(start) }))
    }

    /// `;`, which may be missing before `}`.
    fn end_of_stmt(&mut self) -> Parse<()> {
        if self.eat(";") || self.at("}") { Ok(()) } else { Err(self.unexpected("`;`")) }
    }

    fn expr_stmt(&mut self) -> Parse<StmtKind> {
        let target = self.expr()?;
        if self.eat("=") {
            let value = self.expr()?;
            self.end_of_stmt()?;
            return self.assign(target, None, value);
        }
        let op = COMPOUND.iter().find(|(text, _)| self.at(text)).map(|(_, op)| *op);
        if op.is_some() {
            self.bump();
            let value = self.expr()?;
            self.end_of_stmt()?;
            return self.assign(target, op, value);
        }
        self.end_of_stmt()?;
        Ok(StmtKind::Expr(target))
    }

    fn assign(&mut self, target: Expr, op: Option<BinOp>, value: Expr) -> Parse<StmtKind> {
        match *target.kind {
            ExprKind::Var(_) | ExprKind::Map { .. } => Ok(StmtKind::Assign { target, op, value }),
            ExprKind::Field { .. } if is_of_packet(&target) => Ok(StmtKind::Assign { target, op, value }),
            ExprKind::TupleIndex { .. } | ExprKind::Field { .. } => {
                let message = "a part of a tuple, record or struct cannot be assigned";
                let reported = self.error(target.span, message);
                if let Some(last) = self.diags.list.last_mut() {
                    last.hints.push("make a new value and assign that to the variable or map".to_owned());
                }
                Err(reported)
            }
            _ => Err(self.error(target.span, "only a variable or a map can be assigned")),
        }
    }

    fn let_stmt(&mut self) -> Parse<StmtKind> {
        self.bump();
        let name = self.var()?;
        let ty = if self.eat(":") { Some(self.type_expr()?) } else { None };
        let value = if self.eat("=") { Some(self.expr()?) } else { None };
        self.end_of_stmt()?;
        Ok(StmtKind::Let { name, ty, value })
    }

    fn var(&mut self) -> Parse<Name> {
        let span = self.span;
        let Tok::Var(text) = &self.tok else { return Err(self.unexpected("a variable, such as `$x`")) };
        let text = text.clone();
        self.bump();
        Ok(Name { text, span })
    }

    /// A condition or count; parentheses around it are not needed.
    pub(super) fn condition(&mut self) -> Parse<Expr> {
        self.expr()
    }

    fn if_stmt(&mut self) -> Parse<StmtKind> {
        self.bump();
        let cond = self.condition()?;
        let then = self.block(true)?;
        let other = if self.eat_word("else") {
            Some(if self.at_word("if") {
                let start = self.span;
                let kind = self.nested(Self::if_stmt)?;
                let span = self.since(start);
                Block { stmts: vec![Stmt { kind, span }], value: None, span }
            } else {
                self.block(true)?
            })
        } else {
            None
        };
        Ok(StmtKind::If { cond, then, other })
    }

    fn while_stmt(&mut self) -> Parse<StmtKind> {
        self.bump();
        let cond = self.condition()?;
        let body = self.block(false)?;
        Ok(StmtKind::While { cond, body })
    }

    fn unroll(&mut self) -> Parse<StmtKind> {
        self.bump();
        let count = self.condition()?;
        let body = self.block(false)?;
        Ok(StmtKind::Unroll { count, body })
    }

    fn for_stmt(&mut self) -> Parse<StmtKind> {
        self.bump();
        let parens = self.eat("(");
        let var = self.var()?;
        self.expect(":")?;
        let first = self.range_end()?;
        let iter = if self.eat("..") {
            ForIter::Range(first, self.range_end()?)
        } else if matches!(&*first.kind, ExprKind::Map { key: None, .. }) {
            ForIter::Map(first)
        } else {
            return Err(self.error(first.span, "a `for` walks a map (`@m`) or a range (`0..10`)"));
        };
        if parens {
            self.expect(")")?;
        }
        let body = self.block(false)?;
        Ok(StmtKind::For { var, iter, body })
    }

    /// One end of a range: a whole expression, which `..` and `{` end.
    fn range_end(&mut self) -> Parse<Expr> {
        self.expr()
    }
}

/// Takes the value off the end of a block's statements, if its last statement is an expression, or an `if` both of whose
/// branches have a value.
fn take_value(stmts: &mut Vec<Stmt>) -> Option<Box<Expr>> {
    let has_value = match &stmts.last()?.kind {
        StmtKind::Expr(_) => true,
        StmtKind::If { then, other: Some(other), .. } => then.value.is_some() && block_has_value(other),
        _ => false,
    };
    if !has_value {
        return None;
    }
    let last = stmts.pop()?;
    let span = last.span;
    match last.kind {
        StmtKind::Expr(expr) => Some(Box::new(expr)),
        StmtKind::If { cond, then, other: Some(other) } => Some(Box::new(if_expr(cond, then, other, span))),
        _ => None,
    }
}

fn block_has_value(block: &Block) -> bool {
    match block.stmts.last().map(|s| &s.kind) {
        _ if block.value.is_some() => true,
        Some(StmtKind::If { then, other: Some(other), .. }) => then.value.is_some() && block_has_value(other),
        _ => false,
    }
}

/// `if` as an expression; an `else if` in `other` becomes its block's value.
pub(super) fn if_expr(cond: Expr, then: Block, mut other: Block, span: Span) -> Expr {
    if other.value.is_none() {
        other.value = take_value(&mut other.stmts);
    }
    Expr { kind: Box::new(ExprKind::If { cond, then, other }), span }
}

/// Whether an expression is a field of the packet.
fn is_of_packet(e: &Expr) -> bool {
    match &*e.kind {
        ExprKind::Ident(name) => name == "packet",
        ExprKind::Field { expr, .. } | ExprKind::Index { expr, .. } => is_of_packet(expr),
        _ => false,
    }
}
