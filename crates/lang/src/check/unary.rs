//! Unary operators.

use super::coerce::retype;
use super::typed::onward;
use super::{Checker, Typed};
use crate::ast::{self, Span, UnaryOp};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use crate::types::infer::as_int;
use crate::types::name;

impl Checker<'_> {
    pub(super) fn unary(&mut self, op: UnaryOp, e: &ast::Expr, span: Span) -> Option<Typed> {
        match op {
            UnaryOp::PreInc => self.increment(e, 1, true, span),
            UnaryOp::PreDec => self.increment(e, -1, true, span),
            UnaryOp::PostInc => self.increment(e, 1, false, span),
            UnaryOp::PostDec => self.increment(e, -1, false, span),
            UnaryOp::AddrOf => self.address_of(e, span),
            UnaryOp::Deref => {
                let value = self.value(e)?;
                self.deref(value, span)
            }
            UnaryOp::Not => {
                let value = self.value(e)?;
                if let Some(truth) = value.literal_truth() {
                    return Some(Typed::boolean(!truth, span));
                }
                let a = self.truth(value, "the operand of `!`")?;
                Some(Typed::new(ExprKind::Not(Box::new(a)), Ty::Bool, span))
            }
            UnaryOp::Neg | UnaryOp::BitNot => self.negate(op, e, span),
        }
    }

    fn negate(&mut self, op: UnaryOp, e: &ast::Expr, span: Span) -> Option<Typed> {
        let value = self.value(e)?;
        if let Some(literal) = value.literal_int() {
            let folded = match op {
                UnaryOp::Neg => -literal,
                _ if literal < 0 => !literal,
                _ => i128::from(!(literal as u64)),
            };
            return Typed::int(folded, span).or_else(|| {
                self.error("overflow", span, "the result does not fit into 64 bits");
                None
            });
        }
        let value = self.readable(value)?;
        let Some((bits, signed)) = as_int(value.ty()) else {
            let found = value.ty().clone();
            self.mismatch(value.span(), &found, "an integer");
            return None;
        };
        let ty = Ty::Int { bits: 64, signed };
        let a = Box::new(retype(value.expr, &ty));
        let result = Expr { kind: ExprKind::Unary { op, a }, ty: ty.clone(), span };
        // Without a sign the bits above the operand's stay zero: `~(uint8)1` is 254.
        let result = match signed {
            true => result,
            false => retype(retype(result, &Ty::Int { bits, signed }), &ty),
        };
        Some(Typed { expr: result, ..Typed::new(ExprKind::Int(0), Ty::None, span) })
    }

    fn increment(&mut self, e: &ast::Expr, by: i64, pre: bool, span: Span) -> Option<Typed> {
        match &*e.kind {
            ast::ExprKind::Map { name, key } => {
                let place = self.map_place(name, e.span, key.as_deref())?;
                self.increment_map(place, by, pre, span)
            }
            ast::ExprKind::Var(name) => self.increment_var(name, e.span, by, pre, span),
            _ => {
                let word = if by > 0 { "++" } else { "--" };
                let message = format!("`{word}` works on variables and maps only");
                self.error("bad-increment", span, message);
                None
            }
        }
    }

    fn increment_var(&mut self, name: &str, at: Span, by: i64, pre: bool, span: Span) -> Option<Typed> {
        let id = self.existing(name, at)?;
        self.mark_assigned(id);
        let current = self.var_type(id)?;
        let (ty, by) = match &current.ty {
            // An address that is calculated is no longer known to the verifier: it is read like one of the kernel.
            Ty::Ptr { to, space: Space::Bpf } => {
                let by = by.saturating_mul(self.element_size(to));
                let ty = Ty::Ptr { to: to.clone(), space: Space::Kernel };
                let typed = Typed::new(ExprKind::Int(0), ty, span);
                (self.widen_var(id, &typed)?, by)
            }
            Ty::Ptr { to, .. } => (current.ty.clone(), by.saturating_mul(self.element_size(to))),
            other => match as_int(other) {
                Some(_) if self.var_is_fixed(id) => (other.clone(), by),
                Some((_, signed)) => {
                    let new = Ty::Int { bits: 64, signed: signed || by < 0 };
                    let typed = Typed::new(ExprKind::Int(0), new, span);
                    (self.widen_var(id, &typed)?, by)
                }
                None => {
                    let other = other.clone();
                    self.mismatch(at, &other, "an integer or pointer to increment");
                    return None;
                }
            },
        };
        Some(Typed::new(ExprKind::IncVar { var: id, by, pre }, ty, span))
    }

    fn address_of(&mut self, e: &ast::Expr, span: Span) -> Option<Typed> {
        if self.loops > 0 && self.unevaluated == 0 {
            self.error("bad-address", span, "the address of a variable or map cannot be taken in a loop");
            return None;
        }
        let inner = match &*e.kind {
            ast::ExprKind::Var(name) => {
                let id = self.existing(name, e.span)?;
                self.mark_assigned(id);
                self.read_var(name, e.span)?
            }
            ast::ExprKind::Map { .. } => self.value(e)?,
            _ => {
                self.error("bad-address", span, "`&` works on variables and maps only");
                return None;
            }
        };
        if let Ty::Agg(agg) = inner.ty() {
            let message = format!("a `{}` has no address: it lies on several CPUs", name::aggregation(agg));
            self.error("bad-address", span, message);
            return None;
        }
        let ty = Ty::Ptr { to: Box::new(inner.ty().clone()), space: Space::Bpf };
        Some(Typed::new(ExprKind::AddrOf(Box::new(inner.expr)), ty, span))
    }

    /// `*p`
    pub(super) fn deref(&mut self, value: Typed, span: Span) -> Option<Typed> {
        let mut value = self.readable(value)?;
        let (to, space) = match value.ty() {
            Ty::Ptr { to, space } => ((**to).clone(), *space),
            Ty::Int { .. } => {
                let space = value.space.unwrap_or_else(|| self.default_space());
                value.expr = retype(value.expr, &Ty::Ptr { to: Box::new(Ty::U64), space });
                (Ty::U64, space)
            }
            Ty::Composite(_) => return Some(value),
            other => {
                let other = other.clone();
                self.mismatch(value.span(), &other, "a pointer to dereference");
                return None;
            }
        };
        let Some(size) = self.types.size_of(&to) else {
            self.diags.push(
                Diagnostic::error("no-size", span, "a `void *` cannot be dereferenced")
                    .hint("cast it to a pointer to what is there: `*(uint64 *)$p`"),
            );
            return None;
        };
        let index = Box::new(Expr { kind: ExprKind::Int(0), ty: Ty::I64, span });
        let kind = ExprKind::Index { base: Box::new(value.expr), index, size, space };
        let ty = self.read_through(to, space);
        Some(Typed {
            space: (!matches!(space, Space::Bpf)).then(|| onward(space)),
            ..Typed::new(kind, ty, span)
        })
    }

    /// The type of a value that was read from `space`: pointers in it lead where that says.
    pub(crate) fn read_through(&self, ty: Ty, space: Space) -> Ty {
        match ty {
            Ty::Ptr { to, space: Space::Kernel | Space::Btf } if space == Space::User => {
                Ty::Ptr { to, space: Space::User }
            }
            Ty::Ptr { to, space: Space::Btf } if space != Space::Btf => Ty::Ptr { to, space: Space::Kernel },
            other => other,
        }
    }

    /// Where integers point that are used as addresses.
    pub(crate) fn default_space(&self) -> Space {
        self.instance.and_then(|i| i.kind.info().space).unwrap_or(Space::Kernel)
    }
}
