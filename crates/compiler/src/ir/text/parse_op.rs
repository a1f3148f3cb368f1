//! Parsing operations and terminators.

use super::lex::Token;
use super::names;
use super::parse::{ParseError, Parser, int_type};
use crate::ir::op::{Cc, Cond, Edge, Offset, Op, Terminator, UnOp};
use crate::ir::types::{Block, FuncId, MapId, Value, Width};
use skep_bpf::helpers;
use skep_bpf::object::CoreReloc;

type Parsed<T> = Result<T, ParseError>;

/// Reads what follows the operation's word; `suffixes` are the parts of the word behind the first dot.
type Read = fn(&mut Parser, &[&str]) -> Parsed<Op>;

/// Operations by the first part of their word, except arithmetic.
const OPS: &[(&str, Read)] = &[
    ("const", |p, _| p.constant()),
    ("core", |p, _| p.core_const()),
    ("neg", |p, _| Ok(Op::Un { op: UnOp::Neg, a: p.value()? })),
    ("bswap", |p, s| Ok(Op::Un { op: UnOp::Bswap(p.size(s)?), a: p.value()? })),
    ("extend", |p, _| p.extend()),
    ("cmp", |p, s| p.cond(s).map(Op::Cmp)),
    ("select", Parser::select),
    ("cast", |p, _| p.value().map(Op::Cast)),
    ("bound", |p, _| p.bound()),
    ("load", |p, _| p.load()),
    ("store", Parser::store),
    ("atomic", Parser::atomic),
    ("ptradd", |p, _| p.pair().map(|(ptr, off)| Op::PtrAdd { ptr, off })),
    ("slotaddr", |p, _| p.slot_id().map(Op::SlotAddr)),
    ("mapref", |p, _| p.id('m').map(|m| Op::MapRef(MapId(m)))),
    ("mapvalue", |p, _| p.map_value()),
    ("funcaddr", |p, _| p.id('f').map(|f| Op::FuncAddr(FuncId(f)))),
    ("ksym", |p, _| p.text().map(Op::KernelSymbol)),
    ("copy", |p, _| p.copy()),
    ("zero", |p, _| p.zero()),
    ("helper", |p, _| p.helper()),
    ("kfunc", |p, _| Ok(Op::Kfunc { name: p.text()?, args: p.list(Parser::value)? })),
    ("call", |p, _| Ok(Op::Call { func: FuncId(p.id('f')?), args: p.list(Parser::value)? })),
];

impl Parser {
    /// An operation.
    pub(super) fn op(&mut self) -> Parsed<Op> {
        let Token::Word(word) = self.peek().clone() else { return self.expected("an operation") };
        let mut parts = word.split('.');
        let head = parts.next().unwrap_or_default();
        let suffixes: Vec<&str> = parts.collect();
        if let Some(op) = names::value(names::BIN, head) {
            let width = self.width(&suffixes)?;
            self.advance();
            let (a, b) = self.pair()?;
            return Ok(Op::Bin { op, width, a, b });
        }
        let Some((_, read)) = OPS.iter().find(|(name, _)| *name == head) else {
            return self.error(format!("`{head}` is no operation"));
        };
        self.advance();
        read(self, &suffixes)
    }

    /// A terminator.
    pub(super) fn terminator(&mut self) -> Parsed<Terminator> {
        let word = self.word("a terminator")?;
        let mut parts = word.split('.');
        let head = parts.next().unwrap_or_default();
        let suffixes: Vec<&str> = parts.collect();
        match head {
            "jump" => self.edge().map(Terminator::Jump),
            "return" => self.value().map(Terminator::Return),
            "may_goto" => {
                let body = self.edge()?;
                self.mark(',')?;
                Ok(Terminator::MayGoto { body, exit: self.edge()? })
            }
            _ => {
                let cond = self.cond(&suffixes)?;
                self.mark(',')?;
                let then = self.edge()?;
                self.mark(',')?;
                Ok(Terminator::Branch { cond, then, other: self.edge()? })
            }
        }
    }

    fn edge(&mut self) -> Parsed<Edge> {
        let block = Block(self.id('b')?);
        let has_args = *self.peek() == Token::Mark('(');
        let args = if has_args { self.list(Parser::value)? } else { Vec::new() };
        Ok(Edge { block, args })
    }

    fn pair(&mut self) -> Parsed<(Value, Value)> {
        let a = self.value()?;
        self.mark(',')?;
        Ok((a, self.value()?))
    }

    fn width(&self, suffixes: &[&str]) -> Parsed<Width> {
        match suffixes {
            [] => Ok(Width::W64),
            ["32"] => Ok(Width::W32),
            _ => self.error("expected no suffix or `.32`"),
        }
    }

    /// A size in bytes as the first suffix.
    fn size(&self, suffixes: &[&str]) -> Parsed<u8> {
        match suffixes.first().and_then(|s| s.parse().ok()) {
            Some(size) => Ok(size),
            None => self.error("expected a size in bytes as suffix"),
        }
    }

    fn cond(&mut self, suffixes: &[&str]) -> Parsed<Cond> {
        let cc: Option<Cc> = suffixes.first().and_then(|s| names::value(names::CC, s));
        let Some(cc) = cc else { return self.error("expected a comparison as suffix, such as `.eq`") };
        let width = self.width(&suffixes[1..])?;
        let (a, b) = self.pair()?;
        Ok(Cond { cc, width, a, b })
    }

    fn constant(&mut self) -> Parsed<Op> {
        if let Token::Number(n) = *self.peek()
            && n > i128::from(i64::MAX)
        {
            return self.number::<u64>().map(|n| Op::Const(n as i64));
        }
        self.number().map(Op::Const)
    }

    fn reloc(&mut self) -> Parsed<CoreReloc> {
        let kind = self.one_of(names::CORE, "what of the field is asked")?;
        self.mark(',')?;
        let root = self.number()?;
        self.mark(',')?;
        let root_name = self.text()?;
        self.mark(',')?;
        let mut path = Vec::new();
        if matches!(self.peek(), Token::Number(_)) {
            path.push(self.number()?);
            while self.eat(':') {
                path.push(self.number()?);
            }
        }
        Ok(CoreReloc { root, root_name, path, kind })
    }

    fn core_const(&mut self) -> Parsed<Op> {
        let value = self.number()?;
        self.mark(',')?;
        Ok(Op::CoreConst { value, reloc: self.reloc()? })
    }

    fn extend(&mut self) -> Parsed<Op> {
        let word = self.word("an integer type")?;
        let Some(ty) = int_type(&word) else { return self.error(format!("`{word}` is no integer type")) };
        Ok(Op::Un { op: UnOp::Extend(ty), a: self.value()? })
    }

    fn select(&mut self, suffixes: &[&str]) -> Parsed<Op> {
        let cond = self.cond(suffixes)?;
        self.mark(',')?;
        let (a, b) = self.pair()?;
        Ok(Op::Select { cond, a, b })
    }

    fn bound(&mut self) -> Parsed<Op> {
        let v = self.value()?;
        self.mark(',')?;
        Ok(Op::Bound { v, max: self.number()? })
    }

    /// `[v1 + 8 + core(…)]`.
    fn address(&mut self) -> Parsed<(Value, Offset)> {
        self.mark('[')?;
        let ptr = self.value()?;
        let mut off = Offset::default();
        while !self.eat(']') {
            if self.eat('-') {
                off.add = self.signed_offset(-1)?;
            } else if self.eat('+') {
                if self.eat_word("core") {
                    self.mark('(')?;
                    let value = self.number()?;
                    self.mark(',')?;
                    off.core = Some((value, self.reloc()?));
                    self.mark(')')?;
                } else {
                    off.add = self.signed_offset(1)?;
                }
            } else {
                return self.expected("`+`, `-` or `]`");
            }
        }
        Ok((ptr, off))
    }

    fn signed_offset(&mut self, sign: i64) -> Parsed<i32> {
        let n: i64 = self.number()?;
        match n.checked_mul(sign).and_then(|n| i32::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => self.error("the offset does not fit 32 bits"),
        }
    }

    /// An address without a field's offset.
    fn plain_address(&mut self) -> Parsed<(Value, i32)> {
        let (ptr, off) = self.address()?;
        match off.core {
            Some(_) => self.error("no field's offset can stand here"),
            None => Ok((ptr, off.add)),
        }
    }

    fn load(&mut self) -> Parsed<Op> {
        let ty = self.ty()?;
        let (ptr, off) = self.address()?;
        Ok(Op::Load { ty, ptr, off })
    }

    fn store(&mut self, suffixes: &[&str]) -> Parsed<Op> {
        let size = self.size(suffixes)?;
        let (ptr, off) = self.address()?;
        self.mark(',')?;
        Ok(Op::Store { size, ptr, off, val: self.value()? })
    }

    fn atomic(&mut self, suffixes: &[&str]) -> Parsed<Op> {
        let op = suffixes.first().and_then(|s| names::value(names::ATOMIC, s));
        let Some(op) = op else {
            return self.error("expected an atomic operation as suffix, such as `.add`");
        };
        let size = self.size(&suffixes[1..])?;
        let fetch = match suffixes[2..] {
            [] => false,
            ["fetch"] => true,
            _ => return self.error("expected no more suffix or `.fetch`"),
        };
        let (ptr, off) = self.plain_address()?;
        self.mark(',')?;
        Ok(Op::Atomic { op, size, ptr, off, val: self.value()?, fetch })
    }

    fn map_value(&mut self) -> Parsed<Op> {
        let map = MapId(self.id('m')?);
        self.mark(',')?;
        Ok(Op::MapValueAddr { map, off: self.number()? })
    }

    fn length(&mut self) -> Parsed<(u32, u8)> {
        self.mark(',')?;
        let len = self.number()?;
        self.keyword("align")?;
        Ok((len, self.number()?))
    }

    fn copy(&mut self) -> Parsed<Op> {
        let (dst, dst_off) = self.plain_address()?;
        self.mark(',')?;
        let (src, src_off) = self.plain_address()?;
        let (len, align) = self.length()?;
        Ok(Op::Copy { dst, dst_off, src, src_off, len, align })
    }

    fn zero(&mut self) -> Parsed<Op> {
        let (dst, off) = self.plain_address()?;
        let (len, align) = self.length()?;
        Ok(Op::Zero { dst, off, len, align })
    }

    fn helper(&mut self) -> Parsed<Op> {
        let id = match self.peek().clone() {
            Token::Word(name) => match helpers::by_name(&name) {
                Some(helper) => {
                    self.advance();
                    helper.id
                }
                None => return self.error(format!("`{name}` is no helper")),
            },
            _ => self.number()?,
        };
        Ok(Op::Helper { id, args: self.list(Parser::value)? })
    }
}
