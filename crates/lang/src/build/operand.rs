//! Arguments of USDT probes: an operand of the note enters, its value leaves, extended to 64 bits.

use super::Result;
use super::func::Fx;
use crate::hir::{Operand, OperandPlace};
use skep_compiler::ir::{BinOp, IntTy, PtrKind, Type, Value};

impl Fx<'_, '_> {
    /// The value of an operand, in a program whose context is `struct pt_regs`.
    pub(super) fn operand(&mut self, operand: &Operand) -> Result<Value> {
        let int = IntTy { bits: operand.size * 8, signed: operand.signed };
        match operand.place {
            OperandPlace::Constant(value) => {
                let word = self.f.iconst(Type::U64, value);
                Ok(self.extended(word, int))
            }
            OperandPlace::Register { offset, shift } => {
                let mut word = self.register(offset)?;
                if shift > 0 {
                    let bits = self.f.u64(u64::from(shift));
                    word = self.f.bin(BinOp::Lshr, Type::U64, word, bits);
                }
                Ok(self.extended(word, int))
            }
            OperandPlace::Memory { displacement, base, index } => {
                let mut address = self.f.iconst(Type::U64, displacement);
                if let Some(base) = base {
                    let base = self.register(base)?;
                    address = self.f.bin(BinOp::Add, Type::U64, base, address);
                }
                if let Some((index, scale)) = index {
                    let index = self.register(index)?;
                    let scale = self.f.u64(u64::from(scale));
                    let offset = self.f.bin(BinOp::Mul, Type::U64, index, scale);
                    address = self.f.bin(BinOp::Add, Type::U64, address, offset);
                }
                let address = self.f.cast(address, Type::Ptr(PtrKind::User));
                let value = self.probe_read(address, Type::Int(int), true)?;
                Ok(self.number(value))
            }
        }
    }

    fn register(&mut self, offset: u32) -> Result<Value> {
        let ctx = self.ctx()?;
        Ok(self.f.load(Type::U64, ctx, offset as i32))
    }

    fn extended(&mut self, word: Value, int: IntTy) -> Value {
        if int.bits < 64 { self.f.extend(word, int) } else { word }
    }
}
