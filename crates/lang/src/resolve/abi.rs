//! Where a function of user space finds its arguments at entry: the types of its parameters enter, registers and places
//! on the stack leave. x86-64: System V ABI 1.0, 3.2.3; aarch64: AAPCS64, 6.8.2.

use skep_bpf::btf::{Btf, Type, TypeId};
use skep_bpf::target::Arch;

/// Where an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the integer register of this number.
    Register(usize),
    /// In this register and the next.
    Pair(usize),
    /// So many bytes above the first argument on the stack.
    Stack(u32),
    /// Its address is in the register of this number.
    Behind(usize),
    /// In a register, by its place in `struct pt_regs`, whatever the convention says.
    At(u32),
    /// Nowhere: it always has this value.
    Constant(i64),
    /// In a register that programs cannot read.
    Unreadable,
}

/// Bytes of a register.
const WORD: u32 = 8;
/// The largest value that is passed in registers.
const PAIR: u32 = 2 * WORD;
/// Deepest nesting of structs that is looked at, and most fields.
const MAX_DEPTH: usize = 16;
const MAX_FIELDS: usize = 64;
/// Registers of x86-64 (rdi, rsi, rdx, rcx, r8, r9; xmm0 to xmm7) and of aarch64 (x0 to x7; v0 to v7).
const X86_INTEGER: usize = 6;
const ARM_INTEGER: usize = 8;
const FLOAT_REGISTERS: usize = 8;

/// What the eight bytes of a part of a value hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Nothing,
    Integer,
    Float,
}

/// How a value is passed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Passed {
    /// In registers, by eight bytes each.
    Registers(Vec<Class>),
    /// In memory, with its size.
    Memory(u32),
}

/// The places of a function's arguments, given the types of its parameters and of its result.
pub(super) fn places(arch: Arch, btf: &Btf, ret: TypeId, params: &[TypeId]) -> Vec<Place> {
    let integers = if arch == Arch::X86_64 { X86_INTEGER } else { ARM_INTEGER };
    let mut free = Free { arch, integer: 0, integers, float: 0, stack: 0 };
    // A result in memory: x86-64 passes its place first, aarch64 in a register of its own (x8).
    if arch == Arch::X86_64 && btf.resolve(ret).0 != 0 && matches!(passed(btf, ret), Passed::Memory(_)) {
        free.integer = 1;
    }
    params.iter().map(|ty| free.place(&passed(btf, *ty))).collect()
}

/// What is still free.
struct Free {
    arch: Arch,
    integer: usize,
    integers: usize,
    float: usize,
    stack: u32,
}

impl Free {
    fn place(&mut self, passed: &Passed) -> Place {
        match passed {
            Passed::Registers(classes) => self.registers(classes),
            Passed::Memory(_) if self.arch == Arch::Aarch64 => match self.take(1) {
                Some(register) => Place::Behind(register),
                None => self.on_stack(WORD),
            },
            Passed::Memory(size) => self.on_stack(*size),
        }
    }

    /// The value is in registers as a whole or not at all.
    fn registers(&mut self, classes: &[Class]) -> Place {
        let count = |class| classes.iter().filter(|c| **c == class).count();
        let (integers, floats) = (count(Class::Integer), count(Class::Float));
        if self.float + floats > FLOAT_REGISTERS || self.integer + integers > self.integers {
            if self.arch == Arch::Aarch64 && integers > 0 {
                self.integer = self.integers;
            }
            return self.on_stack(classes.len() as u32 * WORD);
        }
        self.float += floats;
        match (integers, self.take(integers)) {
            (1, Some(first)) if floats == 0 => Place::Register(first),
            (2, Some(first)) => Place::Pair(first),
            _ => Place::Unreadable,
        }
    }

    fn take(&mut self, count: usize) -> Option<usize> {
        let first = self.integer;
        (first + count <= self.integers).then(|| self.integer += count).map(|()| first)
    }

    fn on_stack(&mut self, size: u32) -> Place {
        let at = self.stack;
        self.stack = at.saturating_add(size.max(WORD).next_multiple_of(WORD));
        Place::Stack(at)
    }
}

fn passed(btf: &Btf, ty: TypeId) -> Passed {
    let size = btf.size_of(ty).unwrap_or(WORD);
    // long double of x86-64 goes to memory.
    if size > PAIR || matches!(btf.get_resolved(ty), Some(Type::Float { size: 10..=16, .. })) {
        return Passed::Memory(size);
    }
    let mut classes = vec![Class::Nothing; size.div_ceil(WORD) as usize];
    let mut budget = MAX_FIELDS;
    match classify(btf, ty, 0, &mut classes, &mut budget, MAX_DEPTH) {
        Some(()) => Passed::Registers(classes),
        None => Passed::Memory(size),
    }
}

/// Marks the eight bytes that hold integers; `None` where a field lies unaligned or is too deep.
fn classify(
    btf: &Btf,
    ty: TypeId,
    at: u32,
    classes: &mut [Class],
    budget: &mut usize,
    depth: usize,
) -> Option<()> {
    *budget = budget.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    match btf.get_resolved(ty)? {
        Type::Float { size, .. } => {
            for word in at / WORD..at.checked_add(size)?.div_ceil(WORD) {
                let class = classes.get_mut(word as usize)?;
                *class = if *class == Class::Nothing { Class::Float } else { *class };
            }
            at.is_multiple_of(size.max(1)).then_some(())
        }
        Type::Composite { members, .. } => {
            for m in members {
                let bits = m.bit_size != 0;
                let inner = at.checked_add(m.bit_offset / 8)?;
                if bits {
                    *classes.get_mut((inner / WORD) as usize)? = Class::Integer;
                } else {
                    classify(btf, m.ty, inner, classes, budget, depth)?;
                }
            }
            Some(())
        }
        Type::Array { elem, count } => {
            let size = btf.size_of(elem)?;
            (0..count).try_for_each(|i| classify(btf, elem, at + i * size, classes, budget, depth))
        }
        _ => {
            let size = btf.size_of(ty).unwrap_or(WORD).max(1);
            for word in at / WORD..at.checked_add(size)?.div_ceil(WORD) {
                *classes.get_mut(word as usize)? = Class::Integer;
            }
            at.is_multiple_of(size.min(PAIR)).then_some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_bpf::btf::{BtfBuilder, MemberDef};

    fn member(ty: TypeId, bytes: u32) -> MemberDef<'static> {
        MemberDef { name: "m", ty, bit_offset: bytes * 8, bit_size: 0 }
    }

    #[test]
    fn places_of_every_class() {
        let mut b = BtfBuilder::new();
        let (int, long, double) = (b.int("int", 4, true), b.int("long", 8, true), b.float("double", 8));
        let extended = b.float("long double", 16);
        let pair = b.struct_("pair", 16, &[member(long, 0), member(long, 8)]);
        let small = b.struct_("small", 8, &[member(int, 0), member(int, 4)]);
        let mixed = b.struct_("mixed", 16, &[member(double, 0), member(long, 8)]);
        let large = b.struct_("large", 24, &[member(long, 0), member(long, 8), member(long, 16)]);
        let packed = b.struct_("packed", 12, &[member(int, 0), member(long, 4)]);
        let wide = b.int("__int128", 16, true);
        let btf = Btf::parse(b.finish(), None).unwrap();
        let x86 = |ret: TypeId, params: &[TypeId]| places(Arch::X86_64, &btf, ret, params);
        let arm = |ret: TypeId, params: &[TypeId]| places(Arch::Aarch64, &btf, ret, params);
        use Place::*;
        let none = TypeId(0);
        assert_eq!(
            x86(none, &[int, double, pair, small, int]),
            [Register(0), Unreadable, Pair(1), Register(3), Register(4)]
        );
        assert_eq!(x86(none, &[mixed, int]), [Unreadable, Register(1)]);
        assert_eq!(x86(none, &[large, int, packed]), [Stack(0), Register(0), Stack(24)]);
        assert_eq!(x86(large, &[int]), [Register(1)]);
        assert_eq!(x86(none, &[extended, wide]), [Stack(0), Pair(0)]);
        let seven = [long, long, long, long, long, pair, int, int];
        assert_eq!(x86(none, &seven)[5..], [Stack(0), Register(5), Stack(16)]);
        assert_eq!(arm(large, &[int, large, int]), [Register(0), Behind(1), Register(2)]);
    }
}
