//! Fields, elements and arguments: `a.b`, `a[i]`, `args.x`, `arg0`.

use super::coerce::retype;
use super::typed::onward;
use super::{Checker, Typed, place_of};
use crate::ast::{self, Name, Span};
use crate::diag::Diagnostic;
use crate::hir::{Access, Arg, Expr, ExprKind};
use crate::resolve::{ArgField, ProbeKind, Source};
use crate::suggest;
use crate::ty::{Composite, Space, Ty};
use crate::types::infer::part_flex;
use crate::types::{FieldInfo, name};

impl Checker<'_> {
    /// `base.name`, `base->name`
    pub(super) fn field(&mut self, base: &ast::Expr, name: &Name, span: Span) -> Option<Typed> {
        if is_args(base) {
            return self.arg_field(name, span);
        }
        let base = self.value(base)?;
        self.field_of(base, name, span)
    }

    /// A field of a value: pointers are followed first.
    pub(crate) fn field_of(&mut self, base: Typed, name: &Name, span: Span) -> Option<Typed> {
        match base.ty().clone() {
            Ty::Record(fields) => match fields.iter().position(|(n, _)| *n == name.text) {
                Some(index) => self.tuple_index(base, index, span),
                None => {
                    let names: Vec<String> = fields.into_iter().map(|(n, _)| n).collect();
                    self.no_field("this record", name, &names);
                    None
                }
            },
            Ty::Tuple(_) if name.text.parse::<usize>().is_ok() => {
                let index = name.text.parse().unwrap_or(0);
                self.tuple_index(base, index, span)
            }
            Ty::Composite(c) => {
                let space = place_of(&base.expr);
                self.member(base, &c, space, name, span)
            }
            Ty::Ptr { to, space } => match *to {
                Ty::Composite(c) => self.member(base, &c, space, name, span),
                Ty::Ptr { .. } => {
                    let inner = self.deref(base, span)?;
                    self.field_of(inner, name, span)
                }
                other => {
                    let message = format!("`{} *` has no fields", name::display(&other));
                    self.diags.push(
                        Diagnostic::error("no-field", name.span, message)
                            .hint("cast it to a pointer to a struct: `((struct NAME *)ptr).field`"),
                    );
                    None
                }
            },
            other => {
                let message = format!("`{}` has no fields", name::display(&other));
                let d = Diagnostic::error("no-field", name.span, message);
                self.diags.push(match other {
                    Ty::Int { .. } => {
                        d.hint("cast it to a pointer to a struct: `((struct NAME *)arg0).field`")
                    }
                    _ => d,
                });
                None
            }
        }
    }

    fn member(&mut self, base: Typed, c: &Composite, space: Space, name: &Name, span: Span) -> Option<Typed> {
        // The verifier knows the types of what an iterator's context points to.
        let typed = space == Space::Ctx && self.instance.is_some_and(|i| i.kind == ProbeKind::Iter);
        let info = self.known_field(c, name, if typed { Space::Btf } else { onward(space) })?;
        if info.percpu {
            let message = format!("`{}` is an offset in each CPU's area, it cannot be followed", name.text);
            self.error("percpu", name.span, message);
            return None;
        }
        if info.ty == Ty::None {
            let message = format!("the type of `{}` cannot be read", name.text);
            self.error("no-field", name.span, message);
            return None;
        }
        let ty = if typed { info.ty } else { self.read_through(info.ty, space) };
        // Contexts are the kernel's interface to programs: their layout is the same everywhere.
        let core = info.access.core.filter(|_| space != Space::Ctx);
        let access = Access { core, ..info.access };
        let kind = ExprKind::Field { base: Box::new(base.expr), access, space };
        Some(Typed { space: into(space), ..Typed::new(kind, ty, span) })
    }

    /// The field, or an error with near names.
    pub(crate) fn known_field(&mut self, c: &Composite, name: &Name, space: Space) -> Option<FieldInfo> {
        if let Some(info) = self.types.field(c, &name.text, space) {
            return Some(info);
        }
        let names = self.types.field_names(c);
        if c.size == 0 && names.is_empty() {
            let message = format!("the kernel's types do not say what is in `{}`", c.name);
            self.error("no-field", name.span, message);
        } else {
            self.no_field(&format!("`{}`", c.name), name, &names);
        }
        None
    }

    fn no_field(&mut self, what: &str, name: &Name, names: &[String]) {
        let message = format!("{what} has no field `{}`", name.text);
        let d = Diagnostic::error("no-field", name.span, message);
        let near = suggest::near(&name.text, names.iter().map(String::as_str), 3);
        self.diags.push(match near.as_slice() {
            [] if names.len() <= 24 && !names.is_empty() => {
                d.hint(format!("its fields are: {}", names.join(", ")))
            }
            [] => d,
            near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
        });
    }

    /// `args.name`
    fn arg_field(&mut self, name: &Name, span: Span) -> Option<Typed> {
        let fields = self.probe_args(span)?;
        let Some(field) = fields.iter().find(|f| f.name == name.text) else {
            let names: Vec<String> = fields.iter().filter(|f| !f.common).map(|f| f.name.clone()).collect();
            let probe = self.instance.map_or(String::new(), |i| i.name.clone());
            self.no_field(&format!("`args` of `{probe}`"), name, &names);
            return None;
        };
        if field.common {
            self.error("common-field", name.span, "the kernel does not let programs read the common fields");
            return None;
        }
        if field.ty == Ty::None {
            let message = format!("`{}` has the type `{}`, which cannot be read", name.text, field.c_type);
            self.error("no-field", name.span, message);
            return None;
        }
        Some(argument(field, span))
    }

    /// `argN`, `sargN`: `None` if the name is neither.
    pub(super) fn numbered(&mut self, name: &str, span: Span) -> Option<Option<Typed>> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let instance = self.instance?;
        if let Some(n) = number("arg") {
            return Some(match self.resolver.numbered_arg(instance, n, span) {
                Ok(field) => Some(argument(&field, span)),
                Err(fault) => {
                    self.diags.push(*fault);
                    None
                }
            });
        }
        let n = number("sarg")?;
        if !instance.args.at_entry() {
            let message = format!("`sarg{n}` is not available in {} probes", instance.kind.name());
            self.error("no-args", span, message);
            return Some(None);
        }
        let user = instance.args.in_user_space();
        let space = if user { Space::User } else { Space::Kernel };
        let kind = ExprKind::Arg(Arg::StackArg { n, user });
        Some(Some(Typed { space: Some(space), ..Typed::new(kind, Ty::U64, span) }))
    }

    /// `retval`
    pub(crate) fn retval(&mut self, span: Span) -> Option<Typed> {
        let instance = self.instance?;
        match self.resolver.retval(instance, span) {
            Ok(field) => Some(argument(&field, span)),
            Err(fault) => {
                self.diags.push(*fault);
                None
            }
        }
    }

    /// Element of a tuple or record.
    pub(super) fn tuple_index(&mut self, base: Typed, index: usize, span: Span) -> Option<Typed> {
        let (ty, count) = match base.ty() {
            Ty::Tuple(types) => (types.get(index).cloned(), types.len()),
            Ty::Record(fields) => (fields.get(index).map(|(_, ty)| ty.clone()), fields.len()),
            other => {
                let other = other.clone();
                self.mismatch(base.span(), &other, "a tuple");
                return None;
            }
        };
        let Some(ty) = ty else {
            let message = format!("there is no element {index} in a tuple of {count}");
            self.error("no-element", span, message);
            return None;
        };
        let flex = part_flex(&base.flex, index);
        if let (true, ExprKind::Tuple(list) | ExprKind::Record(list)) = (base.literal, &base.expr.kind)
            && let Some(element) = list.get(index)
        {
            return Some(Typed { expr: element.clone(), flex, literal: true, space: None });
        }
        let kind = ExprKind::TupleField { base: Box::new(base.expr), index };
        Some(Typed { flex, ..Typed::new(kind, ty, span) })
    }

    /// `base[index]`
    pub(super) fn index(&mut self, base: &ast::Expr, index: &ast::Expr, span: Span) -> Option<Typed> {
        let (base, index) = (self.value(base), self.value(index));
        let (base, index) = (base?, index?);
        match (base.ty().clone(), index.literal_int()) {
            (Ty::Tuple(_), Some(n)) => self.tuple_index(base, usize::try_from(n).unwrap_or(usize::MAX), span),
            (Ty::Array { elem, count }, literal) => {
                self.in_bounds(literal, count, index.span())?;
                let space = place_of(&base.expr);
                self.element_at(base, *elem, index, space, span)
            }
            (Ty::Str { size }, literal) => {
                if let (Some(text), Some(n)) = (base.literal_str(), literal) {
                    let byte = usize::try_from(n).ok().and_then(|n| text.get(n)).copied().unwrap_or(0);
                    return Typed::int(i128::from(byte), span);
                }
                self.in_bounds(literal, size, index.span())?;
                let space = place_of(&base.expr);
                self.element_at(base, Ty::Int { bits: 8, signed: true }, index, space, span)
            }
            (Ty::Ptr { to, space }, _) => {
                if self.types.size_of(&to).is_none() {
                    self.error(
                        "no-size",
                        span,
                        "a `void *` has no elements: cast it to a pointer to what is there",
                    );
                    return None;
                }
                self.element_at(base, *to, index, space, span)
            }
            (Ty::Tuple(_), None) => {
                self.error("no-element", index.span(), "an element of a tuple is chosen by a literal number");
                None
            }
            (other, _) => {
                self.mismatch(base.span(), &other, "an array, a pointer or a tuple to index");
                None
            }
        }
    }

    fn in_bounds(&mut self, index: Option<i128>, count: u32, span: Span) -> Option<()> {
        match index {
            Some(n) if n < 0 || (count > 0 && n >= i128::from(count)) => {
                self.error(
                    "out-of-bounds",
                    span,
                    format!("the index {n} is out of bounds for array of size {count}"),
                );
                None
            }
            _ => Some(()),
        }
    }

    fn element_at(&mut self, base: Typed, elem: Ty, index: Typed, space: Space, span: Span) -> Option<Typed> {
        let constant = index.literal_int().is_some();
        let index = self.integer(index, true, false, "as an index")?;
        let size = self.types.size_of(&elem)?;
        // A plain load needs a constant offset.
        let space = if space == Space::Btf && !constant { Space::Kernel } else { space };
        let kind = ExprKind::Index { base: Box::new(base.expr), index: Box::new(index), size, space };
        let ty = self.read_through(elem, space);
        Some(Typed { space: into(space), ..Typed::new(kind, ty, span) })
    }
}

/// Whether an expression is `args` or `*args`.
fn is_args(e: &ast::Expr) -> bool {
    match &*e.kind {
        ast::ExprKind::Ident(name) => name == "args",
        ast::ExprKind::Unary { op: ast::UnaryOp::Deref, expr } => is_args(expr),
        _ => false,
    }
}

/// Where integers lead that were read from `space`.
fn into(space: Space) -> Option<Space> {
    match space {
        Space::User => Some(Space::User),
        Space::Kernel | Space::Btf => Some(Space::Kernel),
        Space::Ctx | Space::Bpf => None,
    }
}

/// The value of an argument.
pub(crate) fn argument(field: &ArgField, span: Span) -> Typed {
    let space = match field.space {
        Space::User => Some(Space::User),
        _ => Some(Space::Kernel),
    };
    let value = match &field.source {
        Source::Constant(value) => {
            let constant = Expr { kind: ExprKind::Int(*value), ty: field.ty.clone(), span };
            Typed { expr: retype(constant, &field.ty), ..Typed::new(ExprKind::Int(0), Ty::None, span) }
        }
        Source::At(arg) => Typed::new(ExprKind::Arg(arg.clone()), field.ty.clone(), span),
    };
    Typed { space, ..value }
}
