//! Liveness: where each virtual register holds a value that is still needed.
//!
//! Machine instructions enter; numbered positions, live ranges and uses leave. Every block has a number for its start,
//! one for each instruction, and one for its end. Number `n` has two positions: `2n`, where operands are read, and
//! `2n + 1`, where results are written and late operands read. A range is half open. Moves go before the instruction
//! at an even position. The work is proportional to the code plus the blocks that values are live through.

use super::mir::{MFunc, MOp, MTerm, Role, Source, VReg};

/// Half-open range of positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub start: u32,
    pub end: u32,
}

/// A use of a virtual register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Use {
    pub pos: u32,
    /// Whether it must be in a register there.
    pub reg: bool,
}

/// What is preferred for a virtual register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hint {
    Fixed(u8),
    Same(VReg),
}

/// Positions of a block: `start` (even) to `end` (exclusive).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

/// What is known of a function's virtual registers.
pub(crate) struct Live {
    pub spans: Vec<Span>,
    /// By virtual register, ascending.
    pub ranges: Vec<Vec<Range>>,
    /// By virtual register, ascending.
    pub uses: Vec<Vec<Use>>,
    pub hints: Vec<Vec<Hint>>,
    /// By virtual register: the register that what is computed from it is wanted in.
    pub wanted: Vec<Option<u8>>,
    /// Results and the operands that are best in their registers, in order.
    chain: Vec<(VReg, VReg)>,
    /// Where it is written; for parameters of blocks the block's start.
    pub def: Vec<u32>,
    /// By block: the virtual registers that are live at its start, without its parameters.
    pub live_in: Vec<Vec<VReg>>,
    /// By register, ascending: where it cannot hold a value.
    pub blocked: [Vec<Range>; 10],
    /// By block: its predecessors, one for each edge.
    pub preds: Vec<Vec<usize>>,
}

impl Live {
    /// Analyses `func`.
    pub(crate) fn new(func: &MFunc) -> Live {
        let n = func.vregs as usize;
        let mut live = Live {
            spans: Vec::new(),
            ranges: vec![Vec::new(); n],
            uses: vec![Vec::new(); n],
            hints: vec![Vec::new(); n],
            wanted: vec![None; n],
            chain: Vec::new(),
            def: vec![u32::MAX; n],
            live_in: vec![Vec::new(); func.blocks.len()],
            blocked: Default::default(),
            preds: vec![Vec::new(); func.blocks.len()],
        };
        let mut def_block = vec![0usize; n];
        live.number(func, &mut def_block);
        for (i, block) in func.blocks.iter().enumerate() {
            block.term.edges().for_each(|e| live.preds[e.to].push(i));
        }
        live.hint_edges(func);
        live.want();
        live.spread(&def_block);
        live
    }

    fn number(&mut self, func: &MFunc, def_block: &mut [usize]) {
        let mut n = 0u32;
        for (b, block) in func.blocks.iter().enumerate() {
            let start = 2 * n;
            for &param in &block.params {
                self.def[param.index()] = start;
                def_block[param.index()] = b;
            }
            n += 1;
            for inst in &block.insts {
                self.operation(&inst.op, 2 * n);
                if let Some(dst) = inst.op.dst() {
                    def_block[dst.index()] = b;
                }
                n += 1;
            }
            self.end(&block.term, 2 * n);
            n += 1;
            self.spans.push(Span { start, end: 2 * n });
        }
    }

    fn read(&mut self, v: VReg, pos: u32, reg: bool) {
        let uses = &mut self.uses[v.index()];
        match uses.last_mut() {
            Some(last) if last.pos == pos => last.reg |= reg,
            _ => uses.push(Use { pos, reg }),
        }
    }

    fn operation(&mut self, op: &MOp, at: u32) {
        // Early operands come before late ones, so that a register's uses stay in order.
        op.visit(&mut |v, role| match role {
            Role::Early => self.read(v, at, true),
            Role::Any => self.read(v, at, false),
            Role::Late | Role::Def => {}
        });
        op.visit(&mut |v, role| match role {
            Role::Late => self.read(v, at + 1, true),
            Role::Def => {
                self.def[v.index()] = at + 1;
                self.read(v, at + 1, true);
            }
            Role::Early | Role::Any => {}
        });
        if let (Some(dst), Some(src)) = (op.dst(), op.same_as_dst()) {
            self.chain.push((dst, src));
            self.hints[dst.index()].push(Hint::Same(src));
            self.hints[src.index()].push(Hint::Same(dst));
        }
        match op {
            MOp::Param { dst, index } => {
                self.hints[dst.index()].push(Hint::Fixed(index + 1));
                self.block(index + 1, 0, at + 1);
            }
            MOp::Result { dst } => {
                self.hints[dst.index()].push(Hint::Fixed(0));
                self.block(0, at - 1, at + 1);
            }
            MOp::Call { args, .. } => {
                for (i, arg) in args.iter().enumerate() {
                    if let Source::Reg(v) = arg.from {
                        self.hints[v.index()].push(Hint::Fixed(i as u8 + 1));
                    }
                }
                (0..6).for_each(|r| self.block(r, at + 1, at + 2));
            }
            _ => {}
        }
    }

    fn block(&mut self, reg: u8, start: u32, end: u32) {
        let blocked = &mut self.blocked[reg as usize];
        match blocked.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => blocked.push(Range { start, end }),
        }
    }

    fn end(&mut self, term: &MTerm, at: u32) {
        term.visit(&mut |v, role| self.read(v, at, role != Role::Any));
        if let MTerm::Return(Source::Reg(v)) = term {
            self.hints[v.index()].push(Hint::Fixed(0));
        }
        for edge in term.edges() {
            for arg in &edge.args {
                if let Source::Reg(v) = arg {
                    self.read(*v, at + 1, false);
                }
            }
        }
    }

    fn hint_edges(&mut self, func: &MFunc) {
        for edge in func.blocks.iter().flat_map(|b| b.term.edges()) {
            for (param, arg) in func.blocks[edge.to].params.iter().zip(&edge.args) {
                if let Source::Reg(v) = arg {
                    self.hints[param.index()].push(Hint::Same(*v));
                    self.hints[v.index()].push(Hint::Same(*param));
                }
            }
        }
    }

    /// Carries the registers that values are wanted in back to what they are computed from.
    fn want(&mut self) {
        for (v, hints) in self.hints.iter().enumerate() {
            self.wanted[v] = hints.iter().find_map(|h| match h {
                Hint::Fixed(reg) => Some(*reg),
                Hint::Same(_) => None,
            });
        }
        for (dst, src) in std::mem::take(&mut self.chain).into_iter().rev() {
            if self.wanted[src.index()].is_none() {
                self.wanted[src.index()] = self.wanted[dst.index()];
            }
        }
    }

    /// Walks from each use back to the definition and makes the ranges.
    fn spread(&mut self, def_block: &[usize]) {
        let mut seen_in = vec![u32::MAX; self.spans.len()];
        let mut seen_out = vec![u32::MAX; self.spans.len()];
        let mut work: Vec<usize> = Vec::new();
        for (v, &home) in def_block.iter().enumerate() {
            if self.def[v] == u32::MAX {
                continue;
            }
            let mark = v as u32;
            let mut through: Vec<usize> = vec![home];
            for i in 0..self.uses[v].len() {
                let b = self.block_at(self.uses[v][i].pos);
                if b != home && seen_in[b] != mark {
                    seen_in[b] = mark;
                    work.push(b);
                }
                while let Some(b) = work.pop() {
                    through.push(b);
                    self.live_in[b].push(VReg(mark));
                    for &p in &self.preds[b] {
                        seen_out[p] = mark;
                        if p != home && seen_in[p] != mark {
                            seen_in[p] = mark;
                            work.push(p);
                        }
                    }
                }
            }
            through.sort_unstable();
            self.make_ranges(v, home, &through, |b| seen_out[b] == mark);
        }
    }

    fn make_ranges(&mut self, v: usize, home: usize, blocks: &[usize], live_out: impl Fn(usize) -> bool) {
        for &b in blocks {
            let span = self.spans[b];
            let start = if b == home { self.def[v] } else { span.start };
            let end = match live_out(b) {
                true => span.end,
                false => {
                    let after = self.uses[v].partition_point(|u| u.pos < span.end);
                    let last = after.checked_sub(1).map(|i| self.uses[v][i].pos + 1);
                    last.filter(|e| *e > start).unwrap_or(start)
                }
            };
            if end == start {
                continue;
            }
            match self.ranges[v].last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => self.ranges[v].push(Range { start, end }),
            }
        }
    }

    /// The block of a position.
    pub(crate) fn block_at(&self, pos: u32) -> usize {
        self.spans.partition_point(|s| s.end <= pos)
    }
}
