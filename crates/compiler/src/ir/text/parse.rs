//! Parsing the IR: modules, functions, blocks. Text enters, a module leaves; nothing is checked beyond the grammar
//! and the sizes of numbers (the checker does the rest). Numbers of values, blocks, slots, maps and functions are kept;
//! at most [`MAX_ID`] of each.

use super::lex::{Spanned, Token, lex};
use super::names;
use crate::ir::func::{Function, InstData, SlotData, ValueData};
use crate::ir::module::{FuncKind, Module, ProgramDecl};
use crate::ir::types::{Block, FuncId, Inst, IntTy, Loc, MapId, PtrKind, Slot, Type, Value};
use skep_bpf::kinds::AttachType;
use skep_bpf::object::{BtfTarget, MapDetails, MapSpec};
use std::fmt;

/// The greatest number of a value, block, slot, map or function.
const MAX_ID: u32 = 1 << 22;

/// Why a text is no module.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, 1-based.
    pub line: u32,
    /// Column in characters, 1-based.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

/// The module that `text` describes.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser { tokens: lex(text)?, at: 0 };
    parser.module()
}

/// Reads tokens from the first to the last.
pub(super) struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(w) => write!(f, "`{w}`"),
            Token::Number(n) => write!(f, "`{n}`"),
            Token::Text(_) => f.write_str("a string"),
            Token::Mark('>') => f.write_str("`->`"),
            Token::Mark(c) => write!(f, "`{c}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// Tokens.
impl Parser {
    pub(super) fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |t| &t.token)
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len().saturating_sub(1));
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let (line, column) = self.tokens.get(self.at).map_or((0, 0), |t| (t.line, t.column));
        Err(ParseError { line, column, message: message.into() })
    }

    pub(super) fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.error(format!("found {}, expected {what}", self.peek()))
    }

    pub(super) fn eat(&mut self, mark: char) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.expected(&Token::Mark(mark).to_string()) }
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(w) if w == word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    pub(super) fn word(&mut self, what: &str) -> Parsed<String> {
        let Token::Word(word) = self.peek().clone() else { return self.expected(what) };
        self.advance();
        Ok(word)
    }

    pub(super) fn text(&mut self) -> Parsed<String> {
        let Token::Text(text) = self.peek().clone() else { return self.expected("a string in quotes") };
        self.advance();
        Ok(text)
    }

    /// A number that fits `T`.
    pub(super) fn number<T: TryFrom<i128>>(&mut self) -> Parsed<T> {
        let Token::Number(n) = *self.peek() else { return self.expected("a number") };
        let Ok(n) = T::try_from(n) else { return self.error(format!("`{n}` is out of range here")) };
        self.advance();
        Ok(n)
    }

    /// A word of a table.
    pub(super) fn one_of<T: Copy>(&mut self, table: &[(T, &'static str)], what: &str) -> Parsed<T> {
        let found = match self.peek() {
            Token::Word(w) => names::value(table, w),
            _ => None,
        };
        let Some(value) = found else { return self.expected(what) };
        self.advance();
        Ok(value)
    }

    /// A number with a letter in front, such as `v12`.
    pub(super) fn id(&mut self, prefix: char) -> Parsed<u32> {
        let number = match self.peek() {
            Token::Word(w) => w.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok()),
            _ => None,
        };
        match number {
            Some(n) if n <= MAX_ID => {
                self.advance();
                Ok(n)
            }
            Some(n) => self.error(format!("`{prefix}{n}` is more than the greatest, {MAX_ID}")),
            None => self.expected(&format!("`{prefix}` and a number")),
        }
    }

    pub(super) fn value(&mut self) -> Parsed<Value> {
        self.id('v').map(Value)
    }

    /// Items in parentheses with commas between.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Parser) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.mark('(')?;
        let mut out = Vec::new();
        while !self.eat(')') {
            if !out.is_empty() {
                self.mark(',')?;
            }
            out.push(item(self)?);
        }
        Ok(out)
    }

    /// A type.
    pub(super) fn ty(&mut self) -> Parsed<Type> {
        let word = self.word("a type")?;
        if let Some(int) = int_type(&word) {
            return Ok(Type::Int(int));
        }
        let nullable = self.eat('?');
        let kind = match word.as_str() {
            "ctx" => PtrKind::Ctx,
            "stack" => PtrKind::Stack,
            "packet" => PtrKind::Packet,
            "packet_end" => PtrKind::PacketEnd,
            "kernel" => PtrKind::Kernel,
            "user" => PtrKind::User,
            "cbctx" => PtrKind::CallbackCtx,
            "ringbuf" => PtrKind::RingbufMem { nullable },
            "map" => PtrKind::Map(MapId(self.in_parens(|p| p.id('m'))?)),
            "mapvalue" => PtrKind::MapValue { map: MapId(self.in_parens(|p| p.id('m'))?), nullable },
            "btf" => PtrKind::Btf { type_id: self.in_parens(Parser::number)?, nullable },
            "func" => PtrKind::Func(FuncId(self.in_parens(|p| p.id('f'))?)),
            _ => return self.error(format!("`{word}` is no type")),
        };
        if nullable && !Type::Ptr(kind).is_nullable() {
            return self.error(format!("`{word}` is never null"));
        }
        Ok(Type::Ptr(kind))
    }

    fn in_parens<T>(&mut self, inner: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
        self.mark('(')?;
        let value = inner(self)?;
        self.mark(')')?;
        Ok(value)
    }
}

/// `u8`, `i64`, `bool`.
pub(super) fn int_type(word: &str) -> Option<IntTy> {
    if word == "bool" {
        return Some(IntTy::BOOL);
    }
    let signed = word.starts_with('i');
    let bits = word.strip_prefix(['i', 'u'])?.parse().ok()?;
    (1..=64).contains(&bits).then_some(IntTy { bits, signed })
}

/// Modules.
impl Parser {
    fn module(&mut self) -> Parsed<Module> {
        let mut module = Module::default();
        loop {
            if *self.peek() == Token::End {
                return Ok(module);
            } else if self.eat_word("license") {
                module.object.license = self.text()?;
            } else if self.eat_word("map") {
                self.numbered('m', module.object.maps.len())?;
                let map = self.map()?;
                module.object.maps.push(map);
            } else if self.eat_word("program") {
                let program = self.program()?;
                module.programs.push(program);
            } else if self.eat_word("func") {
                if matches!(self.peek(), Token::Word(_)) {
                    self.numbered('f', module.funcs.len())?;
                }
                let func = self.func()?;
                module.funcs.push(func);
            } else {
                return self.expected("`license`, `map`, `program` or `func`");
            }
        }
    }

    /// An id that must be the next one.
    fn numbered(&mut self, prefix: char, next: usize) -> Parsed<()> {
        let at = self.at;
        if self.id(prefix)? as usize != next {
            self.at = at;
            return self.expected(&format!("`{prefix}{next}`, the next number"));
        }
        Ok(())
    }

    fn map(&mut self) -> Parsed<MapSpec> {
        let map_type = self.one_of(names::MAP, "a map type")?;
        let name = self.text()?;
        self.keyword("key")?;
        let key_size = self.number()?;
        self.keyword("value")?;
        let value_size = self.number()?;
        self.keyword("entries")?;
        let max_entries = self.number()?;
        let flags = if self.eat_word("flags") { self.number()? } else { 0 };
        let initial = if self.eat_word("initial") { self.bytes()? } else { Vec::new() };
        let frozen = self.eat_word("frozen");
        let schema = None;
        let details = MapDetails::default();
        Ok(MapSpec {
            name,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            initial,
            frozen,
            schema,
            details,
        })
    }

    /// Hexadecimal digits in quotes.
    fn bytes(&mut self) -> Parsed<Vec<u8>> {
        let text = self.text()?;
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
            _ => self.error("expected pairs of hexadecimal digits"),
        }
    }

    fn program(&mut self) -> Parsed<ProgramDecl> {
        let main = FuncId(self.id('f')?);
        let name = self.text()?;
        self.keyword("symbol")?;
        let symbol = self.text()?;
        self.keyword("type")?;
        let prog_type = self.one_of(names::PROG, "a program type")?;
        let attach_type = match self.eat_word("attach") {
            true => self.one_of(names::ATTACH, "an attach type")?,
            false => AttachType::None,
        };
        let attach_btf = if self.eat_word("btf") { Some(self.btf_target()?) } else { None };
        let sleepable = self.eat_word("sleepable");
        let attach = Vec::new();
        Ok(ProgramDecl { main, name, symbol, prog_type, attach_type, attach_btf, attach, sleepable })
    }

    fn btf_target(&mut self) -> Parsed<BtfTarget> {
        if self.eat_word("raw_tp") {
            Ok(BtfTarget::RawTracepoint(self.text()?))
        } else if self.eat_word("iter") {
            Ok(BtfTarget::Iter(self.text()?))
        } else if self.eat_word("prog") {
            Ok(BtfTarget::Program { id: self.number()?, function: self.text()? })
        } else if self.eat_word("func") {
            let name = self.text()?;
            let module = if self.eat_word("module") { Some(self.text()?) } else { None };
            Ok(BtfTarget::Function { name, module })
        } else {
            self.expected("`raw_tp`, `iter`, `prog` or `func`")
        }
    }
}

/// A function while it is read: values may be named before their type is known.
pub(super) struct Body {
    pub(super) func: Function,
    seen_blocks: Vec<bool>,
}

impl Body {
    fn define(&mut self, value: Value, ty: Type) {
        if self.func.values.len() <= value.index() {
            self.func.values.resize(value.index() + 1, ValueData { ty: Type::U64 });
        }
        self.func.values[value.index()].ty = ty;
    }

    fn ensure_block(&mut self, block: Block) {
        if self.func.blocks.len() <= block.index() {
            self.func.blocks.resize_with(block.index() + 1, Default::default);
            self.seen_blocks.resize(block.index() + 1, false);
        }
    }
}

/// Functions.
impl Parser {
    fn func(&mut self) -> Parsed<Function> {
        let name = self.text()?;
        let global = FuncKind::Global { bytes: 0 };
        let kinds = [
            (FuncKind::Main, "main"),
            (FuncKind::Sub, "sub"),
            (FuncKind::Callback, "callback"),
            (global, "global"),
        ];
        let kind = match self.one_of(&kinds, "`main`, `sub`, `callback` or `global`")? {
            FuncKind::Global { .. } => FuncKind::Global { bytes: self.number()? },
            kind => kind,
        };
        let params = self.list(Parser::ty)?;
        self.mark('>')?;
        let ret = self.ty()?;
        self.mark('{')?;
        let (blocks, insts, values) = (Vec::new(), Vec::new(), Vec::new());
        let mut slots = Vec::new();
        while self.eat_word("slot") {
            self.numbered('s', slots.len())?;
            slots.push(self.slot()?);
        }
        let func = Function { name, params, ret, kind, blocks, insts, values, slots };
        let mut body = Body { func, seen_blocks: Vec::new() };
        while !self.eat('}') {
            self.block(&mut body)?;
        }
        Ok(body.func)
    }

    fn slot(&mut self) -> Parsed<SlotData> {
        let name = self.text()?;
        self.keyword("size")?;
        let size = self.number()?;
        self.keyword("align")?;
        Ok(SlotData { name, size, align: self.number()? })
    }

    fn block(&mut self, body: &mut Body) -> Parsed<()> {
        let at = self.at;
        let block = Block(self.id('b')?);
        body.ensure_block(block);
        if std::mem::replace(&mut body.seen_blocks[block.index()], true) {
            self.at = at;
            return self.error(format!("{block} stands twice"));
        }
        let mut params = Vec::new();
        if *self.peek() == Token::Mark('(') {
            params = self.list(|p| {
                let value = p.value()?;
                p.mark(':')?;
                Ok((value, p.ty()?))
            })?;
        }
        for (value, ty) in &params {
            body.define(*value, *ty);
        }
        let mut insts = Vec::new();
        let cold = self.eat_word("cold");
        self.mark(':')?;
        while !self.at_terminator() {
            insts.push(self.inst(body)?);
        }
        let term = if self.eat_word("unfinished") { None } else { Some(self.terminator()?) };
        let loc = self.loc()?;
        let data = body.func.block_mut(block);
        data.params = params.into_iter().map(|p| p.0).collect();
        (data.insts, data.term, data.loc, data.cold) = (insts, term, loc, cold);
        Ok(())
    }

    fn at_terminator(&self) -> bool {
        let Token::Word(word) = self.peek() else { return false };
        let head = word.split('.').next().unwrap_or_default();
        matches!(head, "jump" | "branch" | "may_goto" | "return" | "unfinished")
    }

    fn inst(&mut self, body: &mut Body) -> Parsed<Inst> {
        let is_value = |w: &str| w.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
        let mut result = None;
        if matches!(self.peek(), Token::Word(w) if is_value(w)) {
            let value = self.value()?;
            self.mark(':')?;
            body.define(value, self.ty()?);
            self.mark('=')?;
            result = Some(value);
        }
        let op = self.op()?;
        let loc = self.loc()?;
        body.func.insts.push(InstData { op, result, loc });
        Ok(Inst(body.func.insts.len() as u32 - 1))
    }

    fn loc(&mut self) -> Parsed<Loc> {
        if !self.eat('@') {
            return Ok(Loc::default());
        }
        let line = self.number()?;
        self.mark(':')?;
        Ok(Loc { line, column: self.number()? })
    }

    /// `s0`.
    pub(super) fn slot_id(&mut self) -> Parsed<Slot> {
        self.id('s').map(Slot)
    }
}
