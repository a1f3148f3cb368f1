//! How the language's types lie in registers and memory.

use super::{Result, internal};
use crate::ty::{Space, Ty};
use skep_compiler::ir::{IntTy, PtrKind, Type};

/// The register type of a scalar.
pub(super) fn ir_type(ty: &Ty) -> Result<Type> {
    Ok(match ty {
        Ty::Bool => Type::BOOL,
        Ty::Int { bits, signed } | Ty::Enum { bits, signed, .. } => {
            Type::Int(IntTy { bits: *bits, signed: *signed })
        }
        Ty::Ptr { space, .. } => Type::Ptr(pointer(*space)),
        Ty::KSym | Ty::Timestamp { .. } | Ty::CgroupPath { .. } => Type::U64,
        Ty::Username | Ty::Signal => Type::U32,
        Ty::StrError => Type::I32,
        Ty::KStack(_) => Type::I64,
        Ty::None => Type::I64,
        other => return internal(format!("{other:?} does not fit a register")),
    })
}

fn pointer(space: Space) -> PtrKind {
    match space {
        Space::Kernel | Space::Btf => PtrKind::Kernel,
        Space::User => PtrKind::User,
        Space::Ctx => PtrKind::Ctx,
        Space::Bpf => PtrKind::Stack,
    }
}

/// The same as an integer: pointers and symbols are unsigned 64-bit numbers.
pub(super) fn int_type(ty: Type) -> IntTy {
    match ty {
        Type::Int(int) => int,
        Type::Ptr(_) => IntTy::U64,
    }
}

/// Bytes that a scalar of register type `ty` takes in memory.
pub(super) fn mem_size(ty: Type) -> u8 {
    int_type(ty).bytes() as u8
}

/// The largest alignment (at most 8) that `offset` and `size` share: what a block copy may assume.
pub(super) fn alignment(offset: i32, size: u32) -> u8 {
    let both = offset.unsigned_abs() | size | 8;
    1u8 << both.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_have_register_types() {
        assert_eq!(ir_type(&Ty::I32), Ok(Type::I32));
        assert_eq!(mem_size(Type::BOOL), 1);
        assert_eq!(mem_size(Type::Ptr(PtrKind::User)), 8);
        assert!(ir_type(&Ty::Str { size: 4 }).is_err());
    }

    #[test]
    fn alignment_is_what_both_share() {
        assert_eq!(alignment(16, 24), 8);
        assert_eq!(alignment(-4, 16), 4);
        assert_eq!(alignment(8, 6), 2);
        assert_eq!(alignment(0, 0), 8);
    }
}
