//! Arithmetic and comparisons.
//!
//! Precedence is that of libpcap's grammar: `* /` over `+ -` over `<< >>` over `&` over `|`, to the left. `%` and `^` have
//! none there: what follows them belongs to their right side, and they belong to the right side of what stands before.

use super::{Kind, Parsed, Parser};
use crate::filter::ast::{Arith, ArithId, ArithOp, Expr, ExprId, Relop};
use crate::filter::words::Word;

/// Operators with their precedence.
const OPERATORS: &[(&str, ArithOp, Option<u8>)] = &[
    ("|", ArithOp::Or, Some(1)),
    ("&", ArithOp::And, Some(2)),
    ("<<", ArithOp::Shl, Some(3)),
    (">>", ArithOp::Shr, Some(3)),
    ("+", ArithOp::Add, Some(4)),
    ("-", ArithOp::Sub, Some(4)),
    ("*", ArithOp::Mul, Some(5)),
    ("/", ArithOp::Div, Some(5)),
    ("%", ArithOp::Mod, None),
    ("^", ArithOp::Xor, None),
];

/// Precedence of a leading minus.
const MINUS: u8 = 6;

const RELOPS: &[(&str, Relop)] = &[
    (">", Relop::Gt),
    (">=", Relop::Ge),
    ("=", Relop::Eq),
    ("<=", Relop::Le),
    ("<", Relop::Lt),
    ("!=", Relop::Ne),
];

/// An operator that waits for its right side.
enum Waiting {
    Minus(u32),
    Bin(ArithOp, Option<u8>, ArithId),
}

impl Waiting {
    fn precedence(&self) -> Option<u8> {
        match self {
            Waiting::Minus(_) => Some(MINUS),
            Waiting::Bin(_, precedence, _) => *precedence,
        }
    }
}

impl Parser {
    /// A comparison, if one begins here; nothing is taken if none does.
    pub(super) fn relation(&mut self) -> Parsed<Option<ExprId>> {
        let begins = match self.peek() {
            Some(Kind::Number(_) | Kind::Sign("(" | "-")) | Some(Kind::Word(Word::Len)) => true,
            Some(Kind::Word(Word::Proto(_))) => matches!(self.peek_at(1), Some(Kind::Sign("["))),
            _ => false,
        };
        if !begins {
            return Ok(None);
        }
        // Only these can also begin something else.
        let ambiguous = matches!(self.peek(), Some(Kind::Number(_) | Kind::Sign("(")));
        let (pos, terms, start) = (self.pos, self.tree.terms.len(), self.start());
        let left = match self.arith() {
            Ok(left) => left,
            Err(error) if !ambiguous => return Err(error),
            Err(_) => return self.give_up(pos, terms),
        };
        let found = RELOPS.iter().find(|(sign, _)| self.is_sign(sign));
        let Some((_, relop)) = found else {
            return if ambiguous { self.give_up(pos, terms) } else { Err(self.unexpected("a comparison")) };
        };
        self.pos += 1;
        let right = self.arith()?;
        Ok(Some(self.add(Expr::Relation(*relop, left, right), start)))
    }

    fn give_up(&mut self, pos: usize, terms: usize) -> Parsed<Option<ExprId>> {
        self.pos = pos;
        self.tree.terms.truncate(terms);
        Ok(None)
    }

    fn add_arith(&mut self, arith: Arith, start: u32) -> ArithId {
        let span = self.since(start);
        self.tree.terms.push((arith, span));
        ArithId(self.tree.terms.len() as u32 - 1)
    }

    fn arith(&mut self) -> Parsed<ArithId> {
        self.deeper(Self::arith_here)
    }

    fn arith_here(&mut self) -> Parsed<ArithId> {
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            while self.is_sign("-") {
                waiting.push(Waiting::Minus(self.start()));
                self.pos += 1;
            }
            let mut operand = self.arith_operand()?;
            let found = OPERATORS.iter().find(|(sign, _, _)| self.is_sign(sign));
            while let Some(top) = waiting.last() {
                // Without a precedence on either side the grammar goes on reading.
                let reduce = match (found, top.precedence()) {
                    (None, _) => true,
                    (Some((_, _, Some(next))), Some(top)) => top >= *next,
                    _ => false,
                };
                if !reduce {
                    break;
                }
                operand = match waiting.pop() {
                    Some(Waiting::Minus(start)) => self.add_arith(Arith::Neg(operand), start),
                    Some(Waiting::Bin(op, _, left)) => {
                        let start = self.tree.arith(left).1.start;
                        self.add_arith(Arith::Bin(op, left, operand), start)
                    }
                    None => operand,
                };
            }
            let Some((_, op, precedence)) = found else { return Ok(operand) };
            self.pos += 1;
            waiting.push(Waiting::Bin(*op, *precedence, operand));
        }
    }

    fn arith_operand(&mut self) -> Parsed<ArithId> {
        let start = self.start();
        match self.peek() {
            Some(Kind::Number(value)) => {
                let value = *value;
                self.pos += 1;
                Ok(self.add_arith(Arith::Number(value), start))
            }
            Some(Kind::Word(Word::Len)) => {
                self.pos += 1;
                Ok(self.add_arith(Arith::Len, start))
            }
            Some(Kind::Sign("(")) => {
                self.pos += 1;
                let inner = self.arith()?;
                match self.take_sign(")") {
                    true => Ok(inner),
                    false => Err(self.unexpected("`)`")),
                }
            }
            Some(Kind::Word(Word::Proto(proto))) => {
                let proto = *proto;
                self.pos += 1;
                if !self.take_sign("[") {
                    return Err(self.unexpected("`[`"));
                }
                let index = self.arith()?;
                let bytes = if self.take_sign(":") { self.number("1, 2 or 4")? } else { 1 };
                if !self.take_sign("]") {
                    return Err(self.unexpected("`]`"));
                }
                Ok(self.add_arith(Arith::Load { proto, index, bytes }, start))
            }
            _ => Err(self.unexpected("a number, `len` or a protocol with `[`")),
        }
    }
}
