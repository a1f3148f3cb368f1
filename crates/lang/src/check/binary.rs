//! Binary operators: two typed operands enter, the typed result leaves. Operators on two literals are done here.

use super::coerce::retype;
use super::{Checker, Typed, place_of};
use crate::ast::{BinOp, Span};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use crate::types::infer::{self, Flex, as_int, castable};
use crate::types::name;

/// Whether an operator compares.
pub(crate) fn compares(op: BinOp) -> bool {
    matches!(op, BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge)
}

fn text(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Mod => "%",
        BinOp::And => "&",
        BinOp::Or => "|",
        BinOp::Xor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
        BinOp::LogAnd => "&&",
        BinOp::LogOr => "||",
        BinOp::Eq => "==",
        BinOp::Ne => "!=",
        BinOp::Lt => "<",
        BinOp::Le => "<=",
        BinOp::Gt => ">",
        BinOp::Ge => ">=",
    }
}

/// Integers, enums, booleans and aggregations that read as integers.
fn is_numeric(ty: &Ty) -> bool {
    as_int(ty).is_some() || *ty == Ty::Bool || castable(ty).is_some()
}

/// The bytes of an address (`pton`) as an address.
pub(super) fn as_inet(value: Typed) -> Typed {
    let bytes = match value.ty() {
        Ty::Array { elem, count: count @ (4 | 16) } if as_int(elem).is_some_and(|(bits, _)| bits == 8) => {
            *count
        }
        _ => return value,
    };
    let span = value.span();
    let family = Typed::constant(if bytes == 4 { 2 } else { 10 }, Ty::U64, span).expr;
    Typed::new(ExprKind::Call { name: "ntop", args: vec![family, value.expr] }, Ty::Inet, span)
}

/// Most bytes of a struct that is compared: each word is a branch.
const MAX_COMPARED: u32 = 512;

impl Checker<'_> {
    /// `a op b`
    pub(crate) fn binary(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        if let Some(folded) = self.fold(op, &a, &b, span) {
            return folded;
        }
        if matches!(op, BinOp::LogAnd | BinOp::LogOr) {
            return self.logical(op, a, b, span);
        }
        let (left, right) = (a.ty().clone(), b.ty().clone());
        if matches!(left, Ty::Ptr { .. }) || matches!(right, Ty::Ptr { .. }) {
            return self.pointers(op, a, b, span);
        }
        if is_numeric(&left) && is_numeric(&right) {
            let (a, b) = (self.readable(a)?, self.readable(b)?);
            return if compares(op) { self.compare(op, a, b, span) } else { self.arithmetic(op, a, b, span) };
        }
        if matches!(op, BinOp::Eq | BinOp::Ne) {
            return self.equality(op, a, b, span);
        }
        self.unsuitable(op, &left, &right, (a.span(), b.span()), span);
        None
    }

    fn unsuitable(&mut self, op: BinOp, a: &Ty, b: &Ty, at: (Span, Span), span: Span) {
        let (a, b) = (name::display(a), name::display(b));
        let message = format!("`{}` cannot be applied to `{a}` and `{b}`", text(op));
        self.diags.push(Diagnostic::error("type-mismatch", span, message).label(at.0, a).label(at.1, b));
    }

    fn logical(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        let what = format!("a side of `{}`", text(op));
        let (a, b) = (self.truth(a, &what), self.truth(b, &what));
        let kind = ExprKind::Logical { and: op == BinOp::LogAnd, a: Box::new(a?), b: Box::new(b?) };
        Some(Typed::new(kind, Ty::Bool, span))
    }

    fn compare(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        let ty = match (a.ty(), b.ty()) {
            (Ty::Bool, Ty::Bool) => Ty::Bool,
            (Ty::Bool, other) | (other, Ty::Bool) => other.clone(),
            _ => infer::promote(&a.inferred(), &b.inferred()).map_or(Ty::I64, |p| p.ty),
        };
        // Both operands fit the promoted type or were warned of where they are assigned; a comparison converts silently.
        let (a, b) = (retype(a.expr, &ty), retype(b.expr, &ty));
        Some(compare_node(op, a, b, span))
    }

    fn arithmetic(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        if (a.ty(), b.ty()) == (&Ty::Bool, &Ty::Bool) && !matches!(op, BinOp::And | BinOp::Or | BinOp::Xor) {
            self.unsuitable(op, &Ty::Bool, &Ty::Bool, (a.span(), b.span()), span);
            return None;
        }
        let both_bool = *a.ty() == Ty::Bool && *b.ty() == Ty::Bool;
        let signed = result_is_signed(op, &a, &b);
        let ty = Ty::Int { bits: 64, signed };
        let space = a.space.or(b.space);
        if matches!(op, BinOp::Div | BinOp::Mod) && b.literal_int() == Some(0) {
            self.error("division-by-zero", span, "division by zero");
            return None;
        }
        let (a, b) = (retype(a.expr, &ty), retype(b.expr, &ty));
        let kind = ExprKind::Binary { op, a: Box::new(a), b: Box::new(b) };
        let value = Typed { space, ..Typed::new(kind, ty, span) };
        Some(if both_bool { Typed { expr: retype(value.expr.clone(), &Ty::Bool), ..value } } else { value })
    }

    fn pointers(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        let (left, right) = (a.ty().clone(), b.ty().clone());
        let at = (a.span(), b.span());
        if compares(op) {
            let scalar = |ty: &Ty| matches!(ty, Ty::Ptr { .. } | Ty::Bool) || as_int(ty).is_some();
            if scalar(&left) && scalar(&right) {
                if let (Ty::Ptr { to: x, .. }, Ty::Ptr { to: y, .. }) = (&left, &right)
                    && x != y
                    && **x != Ty::None
                    && **y != Ty::None
                {
                    let message = format!(
                        "pointers to different types are compared: `{}` and `{}`",
                        name::display(&left),
                        name::display(&right)
                    );
                    self.warn("pointer-types", span, message);
                }
                let (a, b) = (retype(a.expr, &Ty::U64), retype(b.expr, &Ty::U64));
                return Some(compare_node(op, a, b, span));
            }
        }
        match (op, &left, &right) {
            (BinOp::Add | BinOp::Sub, Ty::Ptr { to, .. }, other) if as_int(other).is_some() => {
                Some(self.offset(op, a, b, to, span))
            }
            (BinOp::Add, other, Ty::Ptr { to, .. }) if as_int(other).is_some() => {
                Some(self.offset(op, b, a, to, span))
            }
            _ => {
                self.unsuitable(op, &left, &right, at, span);
                None
            }
        }
    }

    /// Bytes that a pointer to `to` moves by one.
    pub(crate) fn element_size(&self, to: &Ty) -> i64 {
        i64::from(self.types.size_of(to).unwrap_or(1).max(1))
    }

    fn offset(&mut self, op: BinOp, pointer: Typed, count: Typed, to: &Ty, span: Span) -> Typed {
        let size = self.element_size(to);
        let pointee = pointer.ty().clone();
        // An address that was calculated is no longer known to the verifier.
        let ty = match pointee {
            Ty::Ptr { to, space: Space::Btf | Space::Bpf } => Ty::Ptr { to, space: Space::Kernel },
            other => other,
        };
        let count = retype(count.expr, &Ty::I64);
        let bytes = match &count.kind {
            ExprKind::Int(n) => Expr { kind: ExprKind::Int(n.wrapping_mul(size)), ..count },
            _ if size == 1 => count,
            _ => int_node(BinOp::Mul, count, Expr { kind: ExprKind::Int(size), ty: Ty::I64, span }, span),
        };
        let base = retype(pointer.expr, &Ty::I64);
        Typed {
            expr: retype(int_node(op, base, bytes, span), &ty),
            ..Typed::new(ExprKind::Int(0), Ty::None, span)
        }
    }

    fn equality(&mut self, op: BinOp, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        let (a, b) = match (a.ty(), b.ty()) {
            (Ty::Inet, _) => (a, as_inet(b)),
            (_, Ty::Inet) => (as_inet(a), b),
            _ => (a, b),
        };
        let (left, right) = (a.ty().clone(), b.ty().clone());
        let at = (a.span(), b.span());
        let (a, b) = match (&left, &right) {
            (Ty::Str { .. }, Ty::Str { .. }) | (Ty::Buf { .. }, Ty::Buf { .. }) => (a.expr, b.expr),
            (Ty::Array { elem, .. }, Ty::Array { .. }) if left == right && as_int(elem).is_some() => {
                (a.expr, b.expr)
            }
            (Ty::Tuple(_), Ty::Tuple(_)) | (Ty::Record(_), Ty::Record(_)) => {
                let Some(ty) = infer::promote(&a.inferred(), &b.inferred()) else {
                    self.unsuitable(op, &left, &right, at, span);
                    return None;
                };
                (self.coerce(a, &ty.ty)?, self.coerce(b, &ty.ty)?)
            }
            (x, y) if x == y && self.can_be_equal(x) => {
                if x.is_scalar() {
                    return Some(compare_node(op, retype(a.expr, &Ty::U64), retype(b.expr, &Ty::U64), span));
                }
                (a.expr, b.expr)
            }
            _ => {
                self.unsuitable(op, &left, &right, at, span);
                return None;
            }
        };
        let negate = op == BinOp::Ne;
        let kind = ExprKind::BytesEq { a: Box::new(a), b: Box::new(b), negate, limit: None };
        Some(Typed::new(kind, Ty::Bool, span))
    }

    /// Whether values of a type are equal if their bytes are.
    fn can_be_equal(&self, ty: &Ty) -> bool {
        match ty {
            Ty::Agg(_) | Ty::None => false,
            Ty::Composite(c) => (1..=MAX_COMPARED).contains(&c.size),
            _ => true,
        }
    }

    /// An operator on literals, done now. `None` if it is none; `Some(None)` if it is wrong.
    fn fold(&mut self, op: BinOp, a: &Typed, b: &Typed, span: Span) -> Option<Option<Typed>> {
        if let (Some(x), Some(y)) = (a.literal_int(), b.literal_int()) {
            return Some(
                match fold_int(op, x, y) {
                    Folded::Int(v) => Typed::int(v, span),
                    Folded::Bool(v) => Some(Typed::boolean(v, span)),
                    Folded::Bad => None,
                }
                .or_else(|| {
                    self.error("overflow", span, "the result does not fit into 64 bits, or is undefined");
                    None
                }),
            );
        }
        if let (Some(x), Some(y)) = (a.literal_str(), b.literal_str()) {
            let result = match op {
                BinOp::Add => return Some(Some(Typed::string([x, y].concat(), span))),
                BinOp::Eq => x == y,
                BinOp::Ne => x != y,
                BinOp::Lt => x < y,
                BinOp::Le => x <= y,
                BinOp::Gt => x > y,
                BinOp::Ge => x >= y,
                _ => return None,
            };
            return Some(Some(Typed::boolean(result, span)));
        }
        if let (Some(x), Some(n), BinOp::Add) = (a.literal_str(), b.literal_int(), op) {
            let rest = usize::try_from(n).ok().and_then(|n| x.get(n..)).unwrap_or(b"").to_vec();
            if rest.is_empty() {
                self.warn("empty-string", span, "this string is always empty");
            }
            return Some(Some(Typed::string(rest, span)));
        }
        if matches!(op, BinOp::LogAnd | BinOp::LogOr)
            && let (Some(x), Some(y)) = (a.literal_truth(), b.literal_truth())
        {
            let value = if op == BinOp::LogAnd { x && y } else { x || y };
            return Some(Some(Typed::boolean(value, span)));
        }
        None
    }

    /// Where the bytes of a value lie that is compared or copied.
    pub(crate) fn place(&self, value: &Typed) -> Space {
        place_of(&value.expr)
    }
}

/// A comparison.
pub(crate) fn compare_node(op: BinOp, a: Expr, b: Expr, span: Span) -> Typed {
    Typed::new(ExprKind::Compare { op, a: Box::new(a), b: Box::new(b) }, Ty::Bool, span)
}

/// An operation on 64-bit signed integers.
fn int_node(op: BinOp, a: Expr, b: Expr, span: Span) -> Expr {
    Expr { kind: ExprKind::Binary { op, a: Box::new(a), b: Box::new(b) }, ty: Ty::I64, span }
}

/// Results are 64 bits wide, signed if a side is; subtraction always is. A flexible side takes the other's sign.
fn result_is_signed(op: BinOp, a: &Typed, b: &Typed) -> bool {
    let sign = |t: &Typed| as_int(t.ty()).is_some_and(|(_, signed)| signed);
    let signed = match (&a.flex, &b.flex) {
        (Flex::Yes, Flex::No) => sign(b),
        (Flex::No, Flex::Yes) => sign(a),
        _ => sign(a) || sign(b),
    };
    signed || op == BinOp::Sub
}

enum Folded {
    Int(i128),
    Bool(bool),
    Bad,
}

/// Two literals: exact, within 64 bits signed or unsigned.
fn fold_int(op: BinOp, a: i128, b: i128) -> Folded {
    let shift = |b: i128| u32::try_from(b).ok().filter(|b| *b < 64);
    let value = match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => match a.checked_mul(b) {
            Some(v) => v,
            None => return Folded::Bad,
        },
        BinOp::Div | BinOp::Mod if b == 0 => return Folded::Bad,
        BinOp::Div => a / b,
        BinOp::Mod => a % b,
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        // As on 64 bits: what is shifted out is lost.
        BinOp::Shl => match shift(b) {
            Some(n) if a < 0 => i128::from((a as i64) << n),
            Some(n) => i128::from((a as u64) << n),
            None => return Folded::Bad,
        },
        BinOp::Shr => match shift(b) {
            Some(n) => a >> n,
            None => return Folded::Bad,
        },
        BinOp::Eq => return Folded::Bool(a == b),
        BinOp::Ne => return Folded::Bool(a != b),
        BinOp::Lt => return Folded::Bool(a < b),
        BinOp::Le => return Folded::Bool(a <= b),
        BinOp::Gt => return Folded::Bool(a > b),
        BinOp::Ge => return Folded::Bool(a >= b),
        BinOp::LogAnd => return Folded::Bool(a != 0 && b != 0),
        BinOp::LogOr => return Folded::Bool(a != 0 || b != 0),
    };
    Folded::Int(value)
}
