//! Programs that stand for the tracepoints of many system calls: the number enters, the decision and the probe's name
//! leave.

use super::func::Fx;
use super::memory::Mem;
use super::{Result, internal};
use skep_compiler::ir::{BinOp, Block, Cc, Type, Value};

/// Most numbers that names are kept for; far more than any architecture has.
const MOST: u32 = 4096;

impl Fx<'_, '_> {
    /// Goes on where `number` lies in one of the ranges (first and last, ascending), else to `refuse`.
    pub(super) fn within(&mut self, number: Value, ranges: &[(u32, u32)], refuse: Block) {
        let wanted = self.f.block(&[]);
        self.search(number, ranges, wanted, refuse);
        self.f.switch_to(wanted);
    }

    /// Halves the ranges until one is left.
    fn search(&mut self, number: Value, ranges: &[(u32, u32)], wanted: Block, refuse: Block) {
        match ranges {
            [] => self.f.jump(refuse, &[]),
            [(first, last)] => {
                let from_first = self.f.add_imm(number, -i64::from(*first));
                let length = self.f.u64(u64::from(last.saturating_sub(*first)));
                self.f.branch(Cc::Ule, from_first, length, wanted, refuse);
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let start = self.f.u64(high.first().map_or(0, |(first, _)| u64::from(*first)));
                let (below, above) = (self.f.block(&[]), self.f.block(&[]));
                self.f.branch(Cc::Ult, number, start, below, above);
                self.f.switch_to(below);
                self.search(number, low, wanted, refuse);
                self.f.switch_to(above);
                self.search(number, high, wanted, refuse);
            }
        }
    }

    /// Where the name of the probe lies, by the system call's number. The names are in a read-only map, padded to one
    /// length; behind them is room for a number that has none.
    pub(super) fn syscall_name(&mut self, exit: bool, names: &[(u32, String)]) -> Result<Mem> {
        let stride = names.iter().map(|(_, name)| name.len()).max().unwrap_or(0) + 1;
        let last = names.iter().map(|(nr, _)| *nr).max().unwrap_or(0);
        if last >= MOST {
            return internal(format!("a system call has the number {last}"));
        }
        let stride = stride.next_multiple_of(8);
        let mut table = vec![0u8; stride * (last as usize + 2)];
        for (nr, name) in names {
            let at = *nr as usize * stride;
            table[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        let map = self.cx.constant(table);
        let number = self.syscall_number(exit)?;
        let number = self.number(number);
        let number = self.f.bound(number, u64::from(last) + 1);
        let stride = self.f.u64(stride as u64);
        let offset = self.f.bin(BinOp::Mul, Type::U64, number, stride);
        let base = self.f.map_value_addr(map, 0);
        Ok(Mem::own(self.f.ptr_add(base, offset), 0))
    }
}
