//! Typed expressions under construction: an HIR expression with what inference still has to know of it.

use crate::ast::Span;
use crate::hir::{Arg, Expr, ExprKind};
use crate::ty::{Space, Ty};
use crate::types::infer::{self, Flex, Inferred};

/// A checked expression.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Typed {
    /// The expression.
    pub(crate) expr: Expr,
    /// Parts of its type that may still take either sign.
    pub(crate) flex: Flex,
    /// Whether it is written as a literal, or folded from literals.
    pub(crate) literal: bool,
    /// For integers: where they point, if that is known.
    pub(crate) space: Option<Space>,
}

impl Typed {
    /// An expression that is no literal.
    pub(crate) fn new(kind: ExprKind, ty: Ty, span: Span) -> Typed {
        Typed { expr: Expr { kind, ty, span }, flex: Flex::No, literal: false, space: None }
    }

    /// An integer literal of the smallest type; `None` outside of 64 bits.
    pub(crate) fn int(value: i128, span: Span) -> Option<Typed> {
        if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
            return None;
        }
        let Inferred { ty, flex } = infer::literal(value);
        Some(Typed { flex, literal: true, ..Typed::new(ExprKind::Int(value as i64), ty, span) })
    }

    /// A known value that is not a literal of the source.
    pub(crate) fn constant(value: i64, ty: Ty, span: Span) -> Typed {
        Typed::new(ExprKind::Int(value), ty, span)
    }

    /// A boolean literal.
    pub(crate) fn boolean(value: bool, span: Span) -> Typed {
        Typed { literal: true, ..Typed::new(ExprKind::Int(i64::from(value)), Ty::Bool, span) }
    }

    /// A string literal.
    pub(crate) fn string(bytes: Vec<u8>, span: Span) -> Typed {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(1);
        Typed { literal: true, ..Typed::new(ExprKind::Str(bytes), Ty::Str { size }, span) }
    }

    /// Its type.
    pub(crate) fn ty(&self) -> &Ty {
        &self.expr.ty
    }

    /// Its span.
    pub(crate) fn span(&self) -> Span {
        self.expr.span
    }

    /// Its type with what is flexible of it.
    pub(crate) fn inferred(&self) -> Inferred {
        Inferred { ty: self.expr.ty.clone(), flex: self.flex.clone() }
    }

    /// The value of an integer literal.
    pub(crate) fn literal_int(&self) -> Option<i128> {
        match (&self.expr.kind, &self.expr.ty) {
            (ExprKind::Int(v), Ty::Int { signed: false, bits: 64 }) if self.literal => {
                Some(i128::from(*v as u64))
            }
            (ExprKind::Int(v), Ty::Int { .. }) if self.literal => Some(i128::from(*v)),
            _ => None,
        }
    }

    /// The value of a string literal.
    pub(crate) fn literal_str(&self) -> Option<&[u8]> {
        match &self.expr.kind {
            ExprKind::Str(bytes) if self.literal => Some(bytes),
            _ => None,
        }
    }

    /// The value of a boolean literal.
    pub(crate) fn literal_bool(&self) -> Option<bool> {
        match (&self.expr.kind, &self.expr.ty) {
            (ExprKind::Int(v), Ty::Bool) if self.literal => Some(*v != 0),
            _ => None,
        }
    }

    /// Whether a literal counts as true; `None` if it is none.
    pub(crate) fn literal_truth(&self) -> Option<bool> {
        let text = self.literal_str().map(|s| !s.is_empty());
        text.or_else(|| self.literal_bool()).or_else(|| self.literal_int().map(|v| v != 0))
    }
}

/// Where the bytes of a value that is no scalar lie.
pub(crate) fn place_of(e: &Expr) -> Space {
    match &e.kind {
        ExprKind::Field { space, .. } | ExprKind::Index { space, .. } => *space,
        ExprKind::Arg(Arg::Ctx { .. }) => Space::Ctx,
        ExprKind::Arg(Arg::Spread(_)) => Space::Bpf,
        ExprKind::Arg(Arg::StackArg { user: true, .. } | Arg::OnStack { .. } | Arg::Behind { .. }) => {
            Space::User
        }
        ExprKind::Arg(_) => Space::Kernel,
        _ => Space::Bpf,
    }
}

/// Where pointers lead that are read through `space`.
pub(crate) fn onward(space: Space) -> Space {
    match space {
        Space::User => Space::User,
        Space::Btf => Space::Btf,
        Space::Kernel | Space::Ctx | Space::Bpf => Space::Kernel,
    }
}

/// Whether a call with a value is made for what it does: nobody has to use its value.
pub(crate) fn acts(name: &str) -> bool {
    matches!(name, "signal" | "signal_thread" | "override" | "write_user" | "skboutput")
}

/// Whether evaluating the expression twice gives the same value and does nothing else.
pub(crate) fn is_stable(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Var(_) | ExprKind::Arg(_) => true,
        ExprKind::Call { name, args } => {
            !acts(name)
                && *name != "rand"
                && !name.starts_with("nsecs")
                && *name != "elapsed"
                && args.iter().all(is_stable)
        }
        ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => is_stable(base),
        ExprKind::Convert(a) | ExprKind::Reinterpret(a) | ExprKind::Not(a) | ExprKind::Unary { a, .. } => {
            is_stable(a)
        }
        ExprKind::Binary { a, b, .. } | ExprKind::Compare { a, b, .. } => is_stable(a) && is_stable(b),
        ExprKind::Tuple(list) | ExprKind::Record(list) => list.iter().all(is_stable),
        _ => false,
    }
}
