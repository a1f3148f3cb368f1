//! Conversions that need no cast: a value and the type of the place that takes it enter, a value of that type leaves.

use super::{Checker, Typed};
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use crate::types::infer::{self, as_int, castable, part_flex};
use crate::types::name;

impl Checker<'_> {
    /// A value as it can be used: aggregations are read as integers. An error for what cannot be a value.
    pub(crate) fn readable(&mut self, value: Typed) -> Option<Typed> {
        let Ty::Agg(agg) = value.ty().clone() else {
            if *value.ty() == Ty::None {
                self.error("no-value", value.span(), "this has no value");
                return None;
            }
            return Some(value);
        };
        let span = value.span();
        let Some(ty) = castable(value.ty()) else {
            let message = format!("a `{}` can only be printed as a whole map", name::aggregation(&agg));
            self.error("no-value", span, message);
            return None;
        };
        match value.expr.kind {
            ExprKind::MapGet { map, key } => {
                let kind = ExprKind::MapAgg { map, key, agg };
                Some(Typed::new(kind, ty, span))
            }
            ExprKind::Block { stmts, value } => {
                let Expr { kind, ty, span } = *value;
                let inner = self.readable(Typed::new(kind, ty, span))?;
                Some(Typed { expr: behind(stmts, inner.expr), ..inner })
            }
            kind => Some(Typed::new(ExprKind::Convert(Box::new(Expr { kind, ..value.expr })), ty, span)),
        }
    }

    /// The value as one of type `to`. `None` if it cannot be without a cast; the caller says so.
    pub(crate) fn coerce(&mut self, value: Typed, to: &Ty) -> Option<Expr> {
        if value.ty() == to {
            return Some(value.expr);
        }
        if castable(value.ty()).is_some() && as_int(to).is_some() {
            let value = self.readable(value)?;
            return self.coerce(value, to);
        }
        match (value.ty().clone(), to) {
            (from, to) if as_int(&from).is_some() && as_int(to).is_some() => self.coerce_int(value, to),
            (Ty::Str { size }, Ty::Str { size: room }) => (size <= *room || *room == 0).then_some(value.expr),
            (Ty::Buf { size }, Ty::Buf { size: room }) => (size <= *room || *room == 0).then_some(value.expr),
            (Ty::Tuple(from), Ty::Tuple(to)) if from.len() == to.len() => self.coerce_tuple(value, to),
            (Ty::Record(from), Ty::Record(to)) => self.coerce_record(value, &from, to),
            (Ty::Ptr { to: from, .. }, Ty::Ptr { to: pointee, .. })
                if *from == **pointee
                    || **pointee == Ty::None
                    || *from == Ty::None
                    || infer::promote(&(*from).clone().into(), &(**pointee).clone().into()).is_some() =>
            {
                Some(retype(value.expr, to))
            }
            (Ty::Timestamp { .. }, Ty::Timestamp { .. }) => Some(value.expr),
            _ => None,
        }
    }

    fn coerce_int(&mut self, value: Typed, to: &Ty) -> Option<Expr> {
        let span = value.span();
        if let Some(literal) = value.literal_int() {
            return literal_fits(literal, to).then(|| Expr { ty: to.clone(), ..value.expr });
        }
        if !infer::fits(&value.inferred(), to) {
            let message = format!(
                "a value of type `{}` becomes `{}` here, which does not hold all of its values",
                name::display(value.ty()),
                name::display(to)
            );
            self.warn("lossy", span, message);
        }
        Some(retype(value.expr, to))
    }

    fn coerce_tuple(&mut self, value: Typed, to: &[Ty]) -> Option<Expr> {
        let span = value.span();
        let (before, parts) = self.parts(value)?;
        let parts =
            parts.into_iter().zip(to).map(|(p, ty)| self.coerce(p, ty)).collect::<Option<Vec<_>>>()?;
        let whole = Expr { kind: ExprKind::Tuple(parts), ty: Ty::Tuple(to.to_vec()), span };
        Some(behind(before, whole))
    }

    fn coerce_record(&mut self, value: Typed, from: &[(String, Ty)], to: &[(String, Ty)]) -> Option<Expr> {
        if from.len() != to.len() {
            return None;
        }
        let span = value.span();
        let (mut before, mut parts) = self.parts(value)?;
        let reordered = from.iter().zip(to).any(|((a, _), (b, _))| a != b);
        if reordered && !parts.iter().all(|p| super::typed::is_stable(&p.expr)) {
            // Fields are evaluated in the order they are written in.
            for part in &mut parts {
                let (stmt, bound) = self.bind(part.expr.clone());
                before.push(stmt);
                part.expr = bound;
                part.literal = false;
            }
        }
        let mut fields = Vec::new();
        for (name, ty) in to {
            let at = from.iter().position(|(n, _)| n == name)?;
            fields.push(self.coerce(parts.get(at)?.clone(), ty)?);
        }
        let whole = Expr { kind: ExprKind::Record(fields), ty: Ty::Record(to.to_vec()), span };
        Some(behind(before, whole))
    }

    /// The elements of a tuple or record, each usable on its own; and what must be done before.
    pub(crate) fn parts(&mut self, value: Typed) -> Option<(Vec<crate::hir::Stmt>, Vec<Typed>)> {
        let types: Vec<Ty> = match value.ty() {
            Ty::Tuple(types) => types.clone(),
            Ty::Record(fields) => fields.iter().map(|(_, ty)| ty.clone()).collect(),
            _ => return None,
        };
        let flex = value.flex.clone();
        let part = |i: usize, expr: Expr| {
            let literal =
                matches!(expr.kind, ExprKind::Int(_) | ExprKind::Str(_)) && is_literal_type(&expr.ty);
            Typed { expr, flex: part_flex(&flex, i), literal, space: None }
        };
        if let ExprKind::Tuple(list) | ExprKind::Record(list) = value.expr.kind {
            return Some((Vec::new(), list.into_iter().enumerate().map(|(i, e)| part(i, e)).collect()));
        }
        let (before, base) = if super::typed::is_stable(&value.expr) {
            (Vec::new(), value.expr)
        } else {
            let (stmt, base) = self.bind(value.expr);
            (vec![stmt], base)
        };
        let parts = types.into_iter().enumerate().map(|(index, ty)| {
            let kind = ExprKind::TupleField { base: Box::new(base.clone()), index };
            Typed { flex: part_flex(&flex, index), ..Typed::new(kind, ty, base.span) }
        });
        Some((before, parts.collect()))
    }

    /// A condition: bool, integer or pointer.
    pub(crate) fn truth(&mut self, value: Typed, what: &str) -> Option<Expr> {
        let value = self.readable(value)?;
        if value.literal_str().is_some() {
            let truth = value.literal_truth().unwrap_or(false);
            return Some(Typed::boolean(truth, value.span()).expr);
        }
        match value.ty() {
            Ty::Bool | Ty::Int { .. } | Ty::Enum { .. } | Ty::Ptr { .. } => Some(value.expr),
            other => {
                let other = other.clone();
                self.mismatch(value.span(), &other, &format!("a boolean, integer or pointer as {what}"));
                None
            }
        }
    }

    /// An integer argument as 64 bits of the given sign; pointers are taken as integers where `pointers`.
    pub(crate) fn integer(&mut self, value: Typed, signed: bool, pointers: bool, what: &str) -> Option<Expr> {
        let value = self.readable(value)?;
        let to = Ty::Int { bits: 64, signed };
        match value.ty() {
            Ty::Int { .. } | Ty::Enum { .. } | Ty::Bool => Some(retype(value.expr, &to)),
            Ty::Ptr { .. } | Ty::KSym if pointers => Some(retype(value.expr, &to)),
            other => {
                let other = other.clone();
                self.mismatch(value.span(), &other, &format!("an integer {what}"));
                None
            }
        }
    }
}

fn is_literal_type(ty: &Ty) -> bool {
    matches!(ty, Ty::Int { .. } | Ty::Str { .. } | Ty::Bool)
}

/// A scalar as another scalar type; constants are converted at once.
pub(crate) fn retype(value: Expr, to: &Ty) -> Expr {
    if value.ty == *to {
        return value;
    }
    if let (ExprKind::Int(v), Some((bits, signed))) = (&value.kind, as_int(to)) {
        return Expr { kind: ExprKind::Int(wrap(*v, bits, signed)), ty: to.clone(), span: value.span };
    }
    let span = value.span;
    Expr { kind: ExprKind::Convert(Box::new(value)), ty: to.clone(), span }
}

/// The value cut to `bits` and extended again.
pub(crate) fn wrap(value: i64, bits: u8, signed: bool) -> i64 {
    let shift = 64 - u32::from(bits.clamp(1, 64));
    if signed { value << shift >> shift } else { ((value as u64) << shift >> shift) as i64 }
}

/// Whether a literal is a value of an integer type.
pub(crate) fn literal_fits(value: i128, ty: &Ty) -> bool {
    let Some((bits, signed)) = as_int(ty) else { return false };
    let bits = u32::from(bits);
    if signed {
        (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&value)
    } else {
        (0..1i128 << bits).contains(&value)
    }
}

/// An expression with statements before it.
pub(crate) fn behind(before: Vec<crate::hir::Stmt>, value: Expr) -> Expr {
    if before.is_empty() {
        return value;
    }
    let (ty, span) = (value.ty.clone(), value.span);
    Expr { kind: ExprKind::Block { stmts: before, value: Box::new(value) }, ty, span }
}
