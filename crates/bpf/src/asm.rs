//! Assembler: the text of [`crate::disasm`] enters, instructions leave. One statement to a line; `;` and `//` start a
//! comment, `12:` in front of a statement is ignored, `name:` is a label. Jumps go to a label or to `pc+N` (or `+N`).
//! Text is bounded; an error says its line and what was expected there.

use std::collections::HashMap;

use crate::helpers;
use crate::insn::{Insn, class, jmp, pseudo};

mod cursor;
mod statement;

use cursor::Cursor;

/// Most bytes of text.
const MAX_TEXT: usize = 16 << 20;

/// A text that is no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("assembly, line {line}: {what}")]
pub struct AsmError {
    /// Line, 1-based.
    pub line: usize,
    /// What was expected or found.
    pub what: String,
}

/// Gives the number for a name in brackets: a map's file descriptor or index, a kernel function's or variable's BTF id.
pub type Symbols<'a> = &'a dyn Fn(&str) -> Option<i32>;

/// Assembles a text without names in brackets.
pub fn parse(text: &str) -> Result<Vec<Insn>, AsmError> {
    parse_with(text, &|_| None)
}

/// Assembles a text; `symbols` gives the numbers of names in brackets.
pub fn parse_with(text: &str, symbols: Symbols<'_>) -> Result<Vec<Insn>, AsmError> {
    if text.len() > MAX_TEXT {
        return Err(AsmError { line: 0, what: format!("{} bytes are too many", text.len()) });
    }
    parse_lines((1..).zip(text.lines()), symbols, &mut |_, text| Err(format!("`{text}` is no instruction")))
}

/// What takes lines that begin with a dot: the index of the next instruction, and the line.
pub type Directives<'a> = &'a mut dyn FnMut(usize, &str) -> Result<(), String>;

/// Assembles lines with their numbers; a line that begins with a dot, but for `.raw`, goes to `directives`.
pub fn parse_lines<'t>(
    lines: impl Iterator<Item = (usize, &'t str)>,
    symbols: Symbols<'_>,
    directives: Directives<'_>,
) -> Result<Vec<Insn>, AsmError> {
    let mut a = Assembler { symbols, insns: Vec::new(), labels: HashMap::new(), open: Vec::new() };
    for (line, text) in lines {
        let trimmed = text.trim();
        let taken = match trimmed.starts_with('.') && !trimmed.starts_with(".raw") {
            true => directives(a.insns.len(), trimmed),
            false => a.line(text, line),
        };
        taken.map_err(|what| AsmError { line, what })?;
    }
    a.close()
}

/// Where a jump goes.
enum Place {
    /// Instructions from the next one.
    Distance(i64),
    /// A label's name.
    Label(String),
}

/// A jump to a label that may come later.
struct Open {
    insn: usize,
    label: String,
    line: usize,
}

struct Assembler<'a> {
    symbols: Symbols<'a>,
    insns: Vec<Insn>,
    labels: HashMap<String, usize>,
    open: Vec<Open>,
}

impl Assembler<'_> {
    fn line(&mut self, text: &str, line: usize) -> Result<(), String> {
        let text = text.split("//").next().unwrap_or("");
        let mut text = text.split(';').next().unwrap_or("").trim();
        while let Some((label, rest)) = text.split_once(':') {
            let label = label.trim();
            if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                break;
            }
            if !label.starts_with(|c: char| c.is_ascii_digit())
                && self.labels.insert(label.to_owned(), self.insns.len()).is_some()
            {
                return Err(format!("label `{label}` is there twice"));
            }
            text = rest.trim();
        }
        if text.is_empty() {
            return Ok(());
        }
        let mut c = Cursor::new(text);
        self.statement(&mut c, line)?;
        c.end()
    }

    fn statement(&mut self, c: &mut Cursor<'_>, line: usize) -> Result<(), String> {
        if c.eat(".raw") {
            self.insns.push(Insn::from_bytes(c.bytes()?));
            return Ok(());
        }
        if c.word("exit") {
            self.insns.push(Insn::exit());
            return Ok(());
        }
        const JUMPS: [(&str, u8); 3] = [
            ("goto", class::JMP | jmp::JA),
            ("gotol", class::JMP32 | jmp::JA),
            ("may_goto", class::JMP | jmp::JCOND),
        ];
        for (word, code) in JUMPS {
            if c.word(word) {
                let place = c.place()?;
                return self.jump(Insn { code, ..Insn::default() }, place, line);
            }
        }
        if c.word("call") {
            return self.call(c, line);
        }
        if c.word("if") {
            let (insn, place) = c.condition()?;
            return self.jump(insn, place, line);
        }
        if let Some((dst, kind)) = c.wide_load() {
            return self.wide(c, dst, kind, line);
        }
        self.insns.extend(c.simple()?);
        Ok(())
    }

    /// Adds a jump or call; the distance goes into `imm` or `off`, by kind.
    fn jump(&mut self, insn: Insn, place: Place, line: usize) -> Result<(), String> {
        let at = self.insns.len();
        self.insns.push(insn);
        match place {
            Place::Distance(distance) => self.reach(at, distance),
            Place::Label(label) => {
                self.open.push(Open { insn: at, label, line });
                Ok(())
            }
        }
    }

    fn reach(&mut self, at: usize, distance: i64) -> Result<(), String> {
        let insn = &mut self.insns[at];
        let in_imm =
            insn.is_ld_imm64() || insn.code == class::JMP | jmp::CALL || insn.code == class::JMP32 | jmp::JA;
        let fits = if in_imm {
            i32::try_from(distance).map(|d| insn.imm = d).is_ok()
        } else {
            i16::try_from(distance).map(|d| insn.off = d).is_ok()
        };
        fits.then_some(()).ok_or_else(|| format!("a distance of {distance} is too far"))
    }

    fn call(&mut self, c: &mut Cursor<'_>, line: usize) -> Result<(), String> {
        let code = class::JMP | jmp::CALL;
        if c.eat("kfunc") {
            let imm = self.bracketed(c, "")?;
            self.insns.push(Insn { code, src: pseudo::KFUNC_CALL, imm, ..Insn::default() });
            return Ok(());
        }
        if let Some(name) = c.helper_name() {
            let id = match c.eat("#") {
                true => c.unsigned()?,
                false => helpers::by_name(name).ok_or_else(|| format!("no helper is called `{name}`"))?.id,
            };
            self.insns.push(Insn { code, imm: id as i32, ..Insn::default() });
            return Ok(());
        }
        let place = c.place()?;
        self.jump(Insn { code, src: pseudo::CALL, ..Insn::default() }, place, line)
    }

    /// `[5]`, `[fd:5]` or `[name]`.
    fn bracketed(&self, c: &mut Cursor<'_>, prefix: &str) -> Result<i32, String> {
        let text = c.brackets()?;
        let number = text.strip_prefix(prefix).and_then(|t| t.parse().ok());
        number.or_else(|| (self.symbols)(text)).ok_or_else(|| format!("`{text}` is not known"))
    }

    /// `map[…]`, `map[…][0]+N`, `btf_id[…]` and `subprog[…]` behind `rN =`.
    fn wide(&mut self, c: &mut Cursor<'_>, dst: u8, kind: &str, line: usize) -> Result<(), String> {
        let load = |src, imm, next| {
            let [mut first, mut second] = Insn::ld_imm64(crate::insn::Reg(dst), src, 0);
            (first.imm, second.imm) = (imm, next);
            [first, second]
        };
        match kind {
            "subprog" => {
                let text = c.brackets()?;
                let mut inner = Cursor::new(text);
                let place = inner.place()?;
                inner.end()?;
                let [first, second] = load(pseudo::FUNC, 0, 0);
                self.jump(first, place, line)?;
                self.insns.push(second);
            }
            "btf_id" => {
                let id = self.bracketed(c, "")?;
                self.insns.extend(load(pseudo::BTF_ID, id, 0));
            }
            _ => {
                let by_index = c.peek("[idx:");
                let map = self.bracketed(c, if by_index { "idx:" } else { "fd:" })?;
                let (whole, value) = match by_index {
                    true => (pseudo::MAP_IDX, pseudo::MAP_IDX_VALUE),
                    false => (pseudo::MAP_FD, pseudo::MAP_VALUE),
                };
                let insns = match c.eat("[0]") {
                    true => load(value, map, c.immediate()?),
                    false => load(whole, map, 0),
                };
                self.insns.extend(insns);
            }
        }
        Ok(())
    }

    /// Fills in the labels.
    fn close(mut self) -> Result<Vec<Insn>, AsmError> {
        for Open { insn, label, line } in std::mem::take(&mut self.open) {
            let Some(&to) = self.labels.get(&label) else {
                return Err(AsmError { line, what: format!("there is no label `{label}`") });
            };
            self.reach(insn, to as i64 - insn as i64 - 1).map_err(|what| AsmError { line, what })?;
        }
        Ok(self.insns)
    }
}

#[cfg(test)]
mod tests;
