//! Putting the blocks' code together, with the jumps between them.

use skep_bpf::insn::{Insn, class, jmp};

use super::ops::jump_insn;
use super::{Body, Parts, Rewriter};
use crate::compile::CompileError;
use crate::lower::code::{Code, Item, Label};
use crate::lower::mir::{MCond, MTerm, Src};

/// Functions with more instructions have rare code in between; fewer fit the reach of jumps.
const LARGE: usize = 28_000;
/// Instructions between two places for rare code.
const STRETCH: usize = 12_000;

/// A part of the layout.
#[derive(Clone, Copy)]
enum Piece {
    Block(usize),
    Stubs(usize),
}

impl Rewriter<'_> {
    /// Where control ends up that goes to block `b`: blocks without code that only jump are passed over.
    fn forward(&self, parts: &[Parts], mut b: usize) -> usize {
        for _ in 0..parts.len() {
            match &self.func.blocks[b].term {
                MTerm::Jump(edge) if parts[b].body.items.is_empty() => b = edge.to,
                _ => break,
            }
        }
        b
    }

    /// The blocks that are needed.
    fn needed(&self, parts: &[Parts]) -> Vec<bool> {
        let mut needed = vec![false; parts.len()];
        let mut work = vec![0usize];
        while let Some(b) = work.pop() {
            if !std::mem::replace(&mut needed[b], true) {
                work.extend(self.func.blocks[b].term.edges().map(|e| self.forward(parts, e.to)));
            }
        }
        needed
    }

    /// The order of the code: blocks as they are numbered, what is out of line at the end. In a large function that
    /// would be out of reach, so it comes after every stretch of code there.
    fn layout(&self, parts: &[Parts]) -> Vec<Piece> {
        let needed = self.needed(parts);
        let size = |b: usize| parts[b].body.items.len() + parts[b].stubs.items.len() + 2;
        let large = (0..parts.len()).filter(|b| needed[*b]).map(size).sum::<usize>() > LARGE;
        let mut placed: Vec<bool> = needed.iter().map(|n| !n).collect();
        let (mut out, mut stubs, mut near) = (Vec::new(), Vec::new(), Vec::new());
        let mut since = 0;
        for b in 0..parts.len() {
            if std::mem::replace(&mut placed[b], true) {
                continue;
            }
            out.push(Piece::Block(b));
            stubs.push(Piece::Stubs(b));
            since += size(b);
            if !large {
                continue;
            }
            near.push(b);
            if since > STRETCH {
                let mut rare = self.rare(parts, &near, &mut placed);
                stubs.extend(rare.iter().map(|b| Piece::Stubs(*b)));
                out.extend(rare.drain(..).map(Piece::Block));
                out.append(&mut stubs);
                near.clear();
                since = 0;
            }
        }
        out.append(&mut stubs);
        out
    }

    /// The rare blocks that the given ones lead to and that have no place yet; they get one.
    fn rare(&self, parts: &[Parts], from: &[usize], placed: &mut [bool]) -> Vec<usize> {
        let mut out = Vec::new();
        let mut work = from.to_vec();
        while let Some(b) = work.pop() {
            for edge in self.func.blocks[b].term.edges() {
                let to = self.forward(parts, edge.to);
                if self.func.blocks[to].cold && !std::mem::replace(&mut placed[to], true) {
                    out.push(to);
                    work.push(to);
                }
            }
        }
        out.sort_unstable();
        out
    }

    pub(super) fn assemble(&mut self, mut parts: Vec<Parts>) -> Result<Code, CompileError> {
        let layout = self.layout(&parts);
        for (i, piece) in layout.iter().enumerate() {
            let Piece::Block(b) = *piece else { continue };
            let mut behind = layout[i + 1..].iter();
            let next = behind.find(|p| !matches!(p, Piece::Stubs(b) if parts[*b].stubs.items.is_empty()));
            let next = match next {
                Some(Piece::Block(b)) => Some(*b),
                _ => None,
            };
            let items = self.terminator(&parts, b, next)?;
            parts[b].body.items.extend(items);
        }
        let mut code = Code { items: Vec::new(), labels: vec![usize::MAX; self.next_label as usize] };
        for piece in layout {
            match piece {
                Piece::Block(b) => {
                    code.labels[b] = code.items.len();
                    append(&mut code, std::mem::take(&mut parts[b].body));
                }
                Piece::Stubs(b) => append(&mut code, std::mem::take(&mut parts[b].stubs)),
            }
        }
        Ok(code)
    }

    fn terminator(
        &mut self,
        parts: &[Parts],
        b: usize,
        next: Option<usize>,
    ) -> Result<Vec<Item>, CompileError> {
        let (block, span) = (&self.func.blocks[b], self.live.spans[b]);
        self.pos = span.end - 2;
        let label = |to: usize| Label(self.forward(parts, to) as u32);
        let is_next = |l: Label| next == Some(l.0 as usize);
        let loc = block.loc;
        let goto = |to: Label| Item::jump(to, loc);
        let mut items = Vec::new();
        match &block.term {
            MTerm::Return(_) => {}
            MTerm::Jump(edge) => {
                let to = label(edge.to);
                items.extend((!is_next(to)).then(|| goto(to)));
            }
            MTerm::MayGoto { body, exit } => {
                let (body, exit) = (label(body.to), label(exit.to));
                let insn = Insn { code: class::JMP | jmp::JCOND, ..Insn::default() };
                items.push(Item { insn, second: None, target: Some(exit), open: None, loc });
                items.extend((!is_next(body)).then(|| goto(body)));
            }
            MTerm::Branch { cond, then, other } => {
                let (then, other) = (label(then.to), label(other.to));
                let a = self.read(cond.a)?;
                let b = match cond.b {
                    Src::Reg(v) => Ok(self.read(v)?),
                    Src::Imm(imm) => Err(imm),
                };
                let jump = |op, target| Item {
                    target: Some(target),
                    insn: jump_insn(op, cond.width, a, b),
                    ..goto(target)
                };
                match MCond::inverse(cond.op) {
                    _ if then == other => items.extend((!is_next(then)).then(|| goto(then))),
                    Some(inverse) if is_next(then) => items.push(jump(inverse, other)),
                    _ => {
                        items.push(jump(cond.op, then));
                        items.extend((!is_next(other)).then(|| goto(other)));
                    }
                }
            }
        }
        Ok(items)
    }
}

fn append(code: &mut Code, body: Body) {
    let at = code.items.len();
    for (i, label) in body.binds {
        if let Some(l) = code.labels.get_mut(label.0 as usize) {
            *l = at + i;
        }
    }
    code.items.extend(body.items);
}
