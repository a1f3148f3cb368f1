//! Blocks, edges, single definitions, dominance.

use super::Check;
use crate::ir::func::Function;
use crate::ir::types::{Block, Value};
use crate::ir::{Cfg, DomTree};

/// Where a value is defined: block, and position in it (0: parameter, then instructions from 1).
type Place = (Block, u32);

impl Check<'_> {
    /// All numbers name something, and what is defined is defined once. Whether that holds.
    pub(super) fn structure(&mut self) -> bool {
        let func = self.func;
        if func.blocks.is_empty() {
            self.error("there is no entry block");
            return false;
        }
        let entry: Vec<_> = func.blocks[0].params.iter().filter_map(|v| func.values.get(v.index())).collect();
        let same = entry.iter().map(|v| v.ty).eq(func.params.iter().copied());
        self.require(same, || "the entry block's parameters are not the function's".to_owned());
        let mut defined = vec![false; func.values.len()];
        let mut placed = vec![false; func.insts.len()];
        for &number in Cfg::new(func).rpo() {
            self.block = Some(number);
            let block = func.block(number);
            for param in &block.params {
                self.defines(*param, &mut defined);
            }
            for &inst in &block.insts {
                let Some(data) = func.insts.get(inst.index()) else {
                    self.error(format!("{inst} is no instruction"));
                    continue;
                };
                // The operands first: an instruction is only shown once they are known to exist.
                data.op.for_each_operand(|v| self.names(v));
                if let Some(result) = data.result {
                    self.defines(result, &mut defined);
                }
                if std::mem::replace(&mut placed[inst.index()], true) {
                    self.error(format!("{inst} stands in blocks twice"));
                }
            }
            if let Some(term) = &block.term {
                term.for_each_operand(|v| self.names(v));
                for edge in term.edges() {
                    self.edge_shape(edge);
                }
            }
        }
        self.block = None;
        self.errors.is_empty()
    }

    fn names(&mut self, value: Value) {
        let exists = value.index() < self.func.values.len();
        self.require(exists, || format!("{value} is no value"));
    }

    fn defines(&mut self, value: Value, defined: &mut [bool]) {
        match defined.get_mut(value.index()) {
            None => self.names(value),
            Some(done) if *done => self.error(format!("{value} is defined twice")),
            Some(done) => *done = true,
        }
    }

    fn edge_shape(&mut self, edge: &crate::ir::Edge) {
        let Some(target) = self.func.blocks.get(edge.block.index()) else {
            return self.error(format!("the edge leads to {}, which is no block", edge.block));
        };
        let (given, wanted) = (edge.args.len(), target.params.len());
        self.require(edge.block != Function::ENTRY, || "an edge leads to the entry block".to_owned());
        self.require(given == wanted, || {
            format!("the edge to {} has {given} arguments for {wanted} parameters", edge.block)
        });
    }

    /// Reachable blocks have a terminator.
    pub(super) fn reachable_ends(&mut self, cfg: &Cfg) {
        for &block in cfg.rpo() {
            self.block = Some(block);
            let ends = self.func.block(block).term.is_some();
            self.require(ends, || "the block has no terminator".to_owned());
        }
        self.block = None;
    }

    /// Definitions dominate uses. Whether that holds.
    pub(super) fn dominance(&mut self, cfg: &Cfg, dom: &DomTree) -> bool {
        let func = self.func;
        let mut place: Vec<Option<Place>> = vec![None; func.values.len()];
        for &block in cfg.rpo() {
            for param in &func.block(block).params {
                place[param.index()] = Some((block, 0));
            }
            for (i, inst) in func.block(block).insts.iter().enumerate() {
                if let Some(result) = func.inst(*inst).result {
                    place[result.index()] = Some((block, i as u32 + 1));
                }
            }
        }
        for &block in cfg.rpo() {
            self.block = Some(block);
            for (i, inst) in func.block(block).insts.iter().enumerate() {
                self.inst = Some(*inst);
                let here = (block, i as u32 + 1);
                func.inst(*inst).op.for_each_operand(|v| self.reaches(dom, v, place[v.index()], here));
            }
            self.inst = None;
            if let Some(term) = &func.block(block).term {
                term.for_each_operand(|v| self.reaches(dom, v, place[v.index()], (block, u32::MAX)));
            }
        }
        self.block = None;
        self.errors.is_empty()
    }

    fn reaches(&mut self, dom: &DomTree, value: Value, def: Option<Place>, used: Place) {
        match def {
            None => self.error(format!("{value} is used but never defined")),
            Some((block, at)) if block == used.0 => {
                self.require(at < used.1, || format!("{value} is used before its definition"));
            }
            Some((block, _)) => {
                let good = dom.dominates(block, used.0);
                self.require(good, || {
                    format!("{value} is defined in {block}, which does not dominate this use")
                });
            }
        }
    }
}
