//! Casts and types as written.

use std::sync::Arc;

use super::coerce::retype;
use super::{Checker, Typed};
use crate::ast::{self, Span, TypeExpr, TypeExprKind};
use crate::diag::Diagnostic;
use crate::hir::{Access, Expr, ExprKind, PacketPart, PacketRead};
use crate::ty::{Space, Ty};
use crate::types::infer::{as_int, castable};
use crate::types::name;
use skep_compiler::layers::FieldKind;

/// Most bytes of a type as written.
const MAX_SIZE: u64 = 1 << 20;
/// Bytes of an `inet`'s family, and of the address behind it.
const INET_FAMILY: u32 = 4;
const INET_BYTES: u32 = 16;

impl Checker<'_> {
    /// The type that a type expression means. Pointers in it point to the kernel.
    pub(crate) fn type_expr(&mut self, t: &TypeExpr) -> Option<Ty> {
        self.type_in(t, Space::Kernel)
    }

    fn type_in(&mut self, t: &TypeExpr, space: Space) -> Option<Ty> {
        match &t.kind {
            TypeExprKind::Name(text) => match self.types.by_name(text, space) {
                Ok(ty) => Some(ty),
                Err(problem) => {
                    let d =
                        Diagnostic::error("unknown-type", t.span, format!("unknown type `{}`", problem.name));
                    self.diags.push(match problem.near {
                        Some(near) => d.hint(format!("did you mean `{near}`?")),
                        None if problem.no_btf => d.hint("the kernel's types (BTF) cannot be read here"),
                        None => d,
                    });
                    None
                }
            },
            TypeExprKind::Ptr(inner) => {
                let to = self.part_in(inner, space, "a type that a pointer can lead to")?;
                Some(Ty::Ptr { to: Box::new(to), space })
            }
            TypeExprKind::Array(inner, count) => {
                let elem = self.type_in(inner, space)?;
                self.array_of(elem, *count, t.span)
            }
            TypeExprKind::Tuple(types) => {
                let part = "a type that a tuple can hold";
                let types: Vec<Option<Ty>> = types.iter().map(|t| self.part_in(t, space, part)).collect();
                Some(Ty::Tuple(types.into_iter().collect::<Option<_>>()?))
            }
            TypeExprKind::Typeof(e) => match &*e.kind {
                ast::ExprKind::Map { name, key: None } => self.type_of_map(name, e.span),
                ast::ExprKind::Type(inner) => self.type_in(inner, space),
                _ => self.type_of(e),
            },
        }
    }

    /// A type within another: aggregations are only in maps.
    fn part_in(&mut self, t: &TypeExpr, space: Space, wanted: &str) -> Option<Ty> {
        let ty = self.type_in(t, space)?;
        if let Ty::Agg(_) = ty {
            self.mismatch(t.span, &ty, wanted);
            return None;
        }
        Some(ty)
    }

    /// `typeof(@m)` is the type of the map's key, if it has one.
    pub(crate) fn type_of_map(&mut self, name: &str, span: Span) -> Option<Ty> {
        let map = self.whole_map(name, span);
        if self.map_is_keyed(map) == Some(true) {
            return self.map_key(map).map(|k| k.ty);
        }
        self.map_value(map, span).map(|v| v.ty)
    }

    fn array_of(&mut self, elem: Ty, count: Option<u64>, span: Span) -> Option<Ty> {
        let size = u64::from(self.types.size_of(&elem).unwrap_or(1).max(1));
        let too_large = match &elem {
            Ty::Str { size: 0 } | Ty::Buf { size: 0 } | Ty::Inet => count.unwrap_or(0) > MAX_SIZE,
            _ => count.unwrap_or(0).saturating_mul(size) > MAX_SIZE,
        };
        if too_large {
            self.error("too-large", span, format!("a type has at most {MAX_SIZE} bytes"));
            return None;
        }
        let n = count.unwrap_or(0) as u32;
        match elem {
            Ty::Str { size: 0 } => Some(Ty::Str { size: n }),
            Ty::Buf { size: 0 } => Some(Ty::Buf { size: n }),
            Ty::Inet => Some(Ty::Inet),
            Ty::None | Ty::Agg(_) => {
                self.mismatch(span, &elem, "a type that an array can hold");
                None
            }
            elem => Some(Ty::Array { elem: Box::new(elem), count: n }),
        }
    }

    /// `(type)expr`
    pub(super) fn cast(&mut self, t: &TypeExpr, e: &ast::Expr, span: Span) -> Option<Typed> {
        let ty = self.type_expr(t);
        let value = self.value(e);
        let (ty, value) = (ty?, value?);
        let value = if castable(value.ty()).is_some() { self.readable(value)? } else { value };
        let from = value.ty().clone();
        match &ty {
            Ty::Int { .. } => self.cast_int(value, &ty, span),
            Ty::Enum { names, .. } => {
                let names = names.clone();
                self.cast_enum(value, &ty, &names, span)
            }
            Ty::Bool => self.cast_bool(value, span),
            Ty::Ptr { to, .. } => {
                let to = to.clone();
                self.cast_ptr(value, *to, span)
            }
            Ty::Array { elem, count } if as_int(elem).is_some() || **elem == Ty::Bool => {
                let elem = elem.clone();
                self.cast_array(value, *elem, *count, span)
            }
            Ty::Str { size } => match from {
                Ty::Str { size: have } if have <= *size || *size == 0 => {
                    let size = if *size == 0 { have } else { *size };
                    Some(Typed::new(value.expr.kind, Ty::Str { size }, span))
                }
                _ => self.no_cast(&from, &ty, span),
            },
            Ty::Username if as_int(&from).is_some() => Some(converted(value, &Ty::Username, span)),
            _ if from == ty => Some(value),
            _ => self.no_cast(&from, &ty, span),
        }
    }

    fn no_cast(&mut self, from: &Ty, to: &Ty, span: Span) -> Option<Typed> {
        let message = format!("`{}` cannot be cast to `{}`", name::display(from), name::display(to));
        let d = Diagnostic::error("bad-cast", span, message);
        self.diags.push(match (from, to) {
            (_, Ty::Composite(c)) => d.hint(format!("cast to a pointer: `({} *)`", c.name)),
            (Ty::Str { .. }, Ty::Int { .. }) => {
                d.hint("to read a number from a string is not possible in the kernel")
            }
            _ => d,
        });
        None
    }

    fn cast_int(&mut self, value: Typed, ty: &Ty, span: Span) -> Option<Typed> {
        let from = value.ty().clone();
        match &from {
            Ty::Int { .. } | Ty::Enum { .. } | Ty::Bool | Ty::Ptr { .. } | Ty::KSym => {
                let space = match &from {
                    Ty::Ptr { space: Space::User, .. } => Some(Space::User),
                    _ => value.space,
                };
                Some(Typed { space, ..converted(value, ty, span) })
            }
            Ty::Array { .. } | Ty::Str { .. } if value.literal_str().is_none() => {
                if self.types.size_of(&from) != self.types.size_of(ty) {
                    return self.no_cast(&from, ty, span);
                }
                Some(Typed::new(ExprKind::Reinterpret(Box::new(value.expr)), ty.clone(), span))
            }
            // An address of IPv4 as a number, read at once.
            Ty::Inet if *ty == Ty::U32 && is_ip4(&value.expr) => {
                Some(Typed::new(value.expr.kind, Ty::U32, span))
            }
            _ => self.no_cast(&from, ty, span),
        }
    }

    fn cast_enum(
        &mut self,
        value: Typed,
        ty: &Ty,
        names: &Arc<Vec<(i64, String)>>,
        span: Span,
    ) -> Option<Typed> {
        if as_int(value.ty()).is_none() {
            let from = value.ty().clone();
            return self.no_cast(&from, ty, span);
        }
        if let Some(literal) = value.literal_int()
            && !names.iter().any(|(v, _)| i128::from(*v) == literal)
        {
            let message = format!("`{}` has no constant with the value {literal}", name::display(ty));
            self.error("bad-cast", span, message);
            return None;
        }
        Some(converted(value, ty, span))
    }

    fn cast_bool(&mut self, value: Typed, span: Span) -> Option<Typed> {
        if let Some(truth) = value.literal_truth() {
            return Some(Typed::boolean(truth, span));
        }
        let from = value.ty().clone();
        match from {
            Ty::Bool => Some(value),
            Ty::Int { .. } | Ty::Enum { .. } | Ty::Ptr { .. } => {
                let value = retype(value.expr, &Ty::U64);
                let zero = Expr { kind: ExprKind::Int(0), ty: Ty::U64, span };
                Some(super::binary::compare_node(ast::BinOp::Ne, value, zero, span))
            }
            _ => self.no_cast(&from, &Ty::Bool, span),
        }
    }

    fn cast_ptr(&mut self, value: Typed, to: Ty, span: Span) -> Option<Typed> {
        let from = value.ty().clone();
        let space = match &from {
            // Another type than the verifier knows is read by copy.
            Ty::Ptr { to: old, space: Space::Btf } if **old != to => Space::Kernel,
            Ty::Ptr { space, .. } => *space,
            Ty::Int { .. } | Ty::Enum { .. } | Ty::KSym => {
                value.space.unwrap_or_else(|| self.default_space())
            }
            Ty::Array { .. } | Ty::Str { .. } | Ty::Composite(_) => {
                let d = Diagnostic::error(
                    "bad-cast",
                    span,
                    format!("`{}` is not a pointer, it cannot be cast to one", name::display(&from)),
                );
                self.diags.push(d);
                return None;
            }
            _ => return self.no_cast(&from, &Ty::Ptr { to: Box::new(to), space: Space::Kernel }, span),
        };
        let ty = Ty::Ptr { to: Box::new(to), space };
        let ty = match ty {
            Ty::Ptr { to, space } => Ty::Ptr { to: Box::new(self.read_through(*to, space)), space },
            other => other,
        };
        // Addresses have no sign: a number that is narrower is not extended by its own.
        let value = match value.ty() {
            Ty::Int { bits, signed: true } if *bits < 64 => {
                let unsigned = Ty::Int { bits: *bits, signed: false };
                Typed { expr: retype(value.expr, &unsigned), ..value }
            }
            _ => value,
        };
        Some(converted(value, &ty, span))
    }

    fn cast_array(&mut self, value: Typed, elem: Ty, count: u32, span: Span) -> Option<Typed> {
        let from = value.ty().clone();
        let unit = self.types.size_of(&elem)?;
        let have = self.types.size_of(&from)?;
        let count = if count == 0 { have / unit } else { count };
        let ty = Ty::Array { elem: Box::new(elem), count };
        let want = unit.saturating_mul(count);
        let fits = match &from {
            Ty::Int { .. } | Ty::Enum { .. } => want == have || (want <= 8 && want > have),
            Ty::Bool | Ty::Str { .. } => want == have,
            Ty::Array { .. } => from == ty,
            _ => false,
        };
        // The bytes of an address lie behind its family.
        if let (Ty::Inet, 1, INET_BYTES) = (&from, unit, want) {
            let access = Access { offset: INET_FAMILY, bits: None, core: None };
            let kind = ExprKind::Field { base: Box::new(value.expr), access, space: Space::Bpf };
            return Some(Typed::new(kind, ty, span));
        }
        if !fits || want == 0 {
            return self.no_cast(&from, &ty, span);
        }
        let value = match as_int(&from) {
            Some((_, signed)) if want > have => {
                // Of 3, 5, 6 or 7 bytes: the low ones of the next larger number.
                let wide = Ty::Int { bits: u8::try_from(want.next_power_of_two() * 8).unwrap_or(64), signed };
                retype(value.expr, &wide)
            }
            _ => value.expr,
        };
        Some(Typed::new(ExprKind::Reinterpret(Box::new(value)), ty, span))
    }
}

/// Whether it is a field of the packet that holds an IPv4 address and nothing else.
fn is_ip4(e: &Expr) -> bool {
    let ExprKind::Packet(PacketRead { what: PacketPart::Field(fields), .. }) = &e.kind else { return false };
    fields.iter().all(|(_, field)| field.kind == FieldKind::Ip4)
}

/// A scalar as another type, no literal any more.
fn converted(value: Typed, ty: &Ty, span: Span) -> Typed {
    let space = value.space;
    let expr = Expr { span, ..retype(value.expr, ty) };
    Typed { expr, flex: crate::types::infer::Flex::No, literal: false, space }
}
