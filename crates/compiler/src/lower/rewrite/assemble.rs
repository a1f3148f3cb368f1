//! Putting the blocks' code together, with the jumps between them.

use skep_bpf::insn::{Insn, class, jmp};

use super::ops::jump_insn;
use super::{Body, Rewriter};
use crate::compile::CompileError;
use crate::lower::code::{Code, Item, Label};
use crate::lower::mir::{MCond, MTerm, Src};

impl Rewriter<'_> {
    /// Where control ends up that goes to block `b`: blocks without code that only jump are passed over.
    fn forward(&self, bodies: &[Body], mut b: usize) -> usize {
        for _ in 0..bodies.len() {
            match &self.func.blocks[b].term {
                MTerm::Jump(edge) if bodies[b].items.is_empty() => b = edge.to,
                _ => break,
            }
        }
        b
    }

    /// The blocks that are needed, in order.
    fn needed(&self, bodies: &[Body]) -> Vec<bool> {
        let mut needed = vec![false; bodies.len()];
        let mut work = vec![0usize];
        while let Some(b) = work.pop() {
            if !std::mem::replace(&mut needed[b], true) {
                work.extend(self.func.blocks[b].term.edges().map(|e| self.forward(bodies, e.to)));
            }
        }
        needed
    }

    pub(super) fn assemble(&mut self, mut bodies: Vec<Body>) -> Result<Code, CompileError> {
        let needed = self.needed(&bodies);
        let order: Vec<usize> = (0..bodies.len()).filter(|b| needed[*b]).collect();
        for (i, &b) in order.iter().enumerate() {
            let next = order.get(i + 1).copied();
            let items = self.terminator(&bodies, b, next)?;
            bodies[b].items.extend(items);
        }
        let mut code = Code { items: Vec::new(), labels: vec![usize::MAX; self.next_label as usize] };
        for &b in &order {
            code.labels[b] = code.items.len();
            append(&mut code, std::mem::take(&mut bodies[b]));
        }
        append(&mut code, std::mem::take(&mut self.stubs));
        Ok(code)
    }

    fn terminator(
        &mut self,
        bodies: &[Body],
        b: usize,
        next: Option<usize>,
    ) -> Result<Vec<Item>, CompileError> {
        let (block, span) = (&self.func.blocks[b], self.live.spans[b]);
        self.pos = span.end - 2;
        let label = |to: usize| Label(self.forward(bodies, to) as u32);
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
