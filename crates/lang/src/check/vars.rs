//! Variables: scopes of the body at hand, and types that last over all passes.

use std::collections::HashMap;

use super::{Checker, Typed};
use crate::ast::{Name, Span};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, Stmt, StmtKind, Var, VarId};
use crate::suggest;
use crate::ty::Ty;
use crate::types::infer::{self, Inferred};
use crate::types::name;

/// A variable is the same in every pass by its body and the place that introduces it.
type Key = (usize, Span, String);

/// What is known of a variable's type.
#[derive(Clone, Debug, Default)]
struct Known {
    ty: Option<Inferred>,
    /// Declared with a size: uses do not widen it.
    fixed: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    name: String,
    key: Key,
    introduced: Span,
    assigned: bool,
    /// What introduced it, for messages.
    how: &'static str,
}

/// Variables of all bodies.
#[derive(Default)]
pub(crate) struct Vars {
    types: HashMap<Key, Known>,
    body: usize,
    slots: Vec<Slot>,
    scopes: Vec<HashMap<String, VarId>>,
    hidden: u32,
}

impl Vars {
    /// Begins a body; its variables are numbered from zero.
    pub(crate) fn enter_body(&mut self, body: usize) {
        self.body = body;
        self.slots.clear();
        self.scopes.clear();
        self.scopes.push(HashMap::new());
        self.hidden = 0;
    }

    pub(crate) fn enter_scope(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub(crate) fn leave_scope(&mut self) {
        self.scopes.pop();
    }

    fn find(&self, name: &str) -> Option<VarId> {
        self.scopes.iter().find_map(|scope| scope.get(name)).copied()
    }

    fn slot(&self, id: VarId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)
    }

    fn known(&self, id: VarId) -> Option<&Known> {
        self.types.get(&self.slot(id)?.key)
    }

    fn introduce(&mut self, name: &str, span: Span, how: &'static str) -> VarId {
        let id = VarId(self.slots.len() as u32);
        let key = (self.body, span, name.to_owned());
        self.slots.push(Slot { name: name.to_owned(), key, introduced: span, assigned: false, how });
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), id);
        }
        id
    }
}

impl Checker<'_> {
    /// The variables of the body, each with its type.
    pub(super) fn finish_vars(&mut self) -> Vec<Var> {
        let slots = self.vars.slots.clone();
        let mut out = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            let known = self.vars.known(VarId(i as u32)).and_then(|k| k.ty.clone());
            if self.settled && !slot.assigned && slot.how == "declared" {
                let message = format!("`{}` is never assigned", slot.name);
                self.warn("unused", slot.introduced, message);
            }
            if known.is_none() && self.settled && !self.diags.has_errors() {
                let message = format!("the type of `{}` is not known", slot.name);
                self.error("unknown-type", slot.introduced, message);
            }
            if let Some(known) = &known {
                self.note_layout(&known.ty);
            }
            out.push(Var { name: slot.name.clone(), ty: known.map_or(Ty::None, |k| k.ty) });
        }
        out
    }

    /// A variable that is read.
    pub(super) fn read_var(&mut self, name: &str, span: Span) -> Option<Typed> {
        let id = self.existing(name, span)?;
        let assigned = self.vars.slot(id).is_some_and(|s| s.assigned);
        if !assigned && self.unevaluated == 0 {
            self.warn("unassigned", span, format!("`{name}` is used before it is assigned; it is 0 here"));
        }
        let Inferred { ty, flex } = self.vars.known(id)?.ty.clone()?;
        Some(Typed { flex, ..Typed::new(ExprKind::Var(id), ty, span) })
    }

    /// The variable of that name, or an error.
    pub(super) fn existing(&mut self, name: &str, span: Span) -> Option<VarId> {
        if let Some(id) = self.vars.find(name) {
            return Some(id);
        }
        let names: Vec<String> = self.vars.scopes.iter().flat_map(|s| s.keys().cloned()).collect();
        let d = Diagnostic::error("unknown-variable", span, format!("there is no variable `{name}` here"));
        self.diags.push(match suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => d.hint(format!("did you mean `{near}`?")),
            None => d.hint("a variable exists from its first assignment to the end of that block"),
        });
        None
    }

    /// Marks a variable as having a value (its address is taken).
    pub(super) fn mark_assigned(&mut self, id: VarId) {
        if let Some(slot) = self.vars.slots.get_mut(id.0 as usize) {
            slot.assigned = true;
        }
    }

    /// `let $x: ty`: a new variable. `None` if there is one of that name already.
    pub(super) fn declare_var(&mut self, name: &Name, ty: Option<Ty>, how: &'static str) -> Option<VarId> {
        if let Some(slot) = self.vars.find(&name.text).and_then(|id| self.vars.slot(id)).cloned() {
            let message = format!("there is a variable `{}` already", name.text);
            self.diags.push(
                Diagnostic::error("shadowed", name.span, message)
                    .label(slot.introduced, "introduced here")
                    .hint("a variable cannot hide another: choose another name"),
            );
            return None;
        }
        let id = self.vars.introduce(&name.text, name.span, how);
        if let Some(ty) = ty {
            let fixed = !matches!(ty, Ty::Str { size: 0 } | Ty::Buf { size: 0 });
            let key = self.vars.slot(id)?.key.clone();
            match self.vars.types.get(&key) {
                // The type of something else, which has widened since the last pass.
                Some(known) if fixed && known.fixed && known.ty.as_ref().is_some_and(|k| k.ty != ty) => {
                    self.changed = true;
                    self.vars.types.insert(key, Known { ty: Some(ty.into()), fixed });
                }
                Some(_) => {}
                None => {
                    self.vars.types.insert(key, Known { ty: Some(ty.into()), fixed });
                }
            }
        }
        Some(id)
    }

    /// `$x = value`, which introduces `$x` if it is new.
    pub(super) fn assign_var(&mut self, name: &str, span: Span, value: Option<Typed>) -> Option<Stmt> {
        let id = match self.vars.find(name) {
            Some(id) => id,
            None => self.vars.introduce(name, span, "assigned"),
        };
        self.store_var(id, span, value)
    }

    /// Stores a value in a variable.
    pub(super) fn store_var(&mut self, id: VarId, span: Span, value: Option<Typed>) -> Option<Stmt> {
        self.mark_assigned(id);
        let value = self.readable(value?)?;
        let slot = self.vars.slot(id)?.clone();
        let ty = self.widen_var(id, &value)?;
        let found = value.inferred();
        match self.coerce(value, &ty) {
            Some(value) => Some(Stmt { kind: StmtKind::AssignVar(id, value), span }),
            None => {
                self.var_mismatch(&slot, span, &found.ty, &ty);
                None
            }
        }
    }

    fn var_mismatch(&mut self, slot: &Slot, span: Span, found: &Ty, ty: &Ty) {
        let message = format!(
            "`{}` is `{}`, it cannot take a value of type `{}`",
            slot.name,
            name::display(ty),
            name::display(found)
        );
        self.diags.push(
            Diagnostic::error("type-mismatch", span, message)
                .label(slot.introduced, format!("{} here", slot.how)),
        );
    }

    /// The variable's type after a use with the value; an error if there is none for both.
    pub(super) fn widen_var(&mut self, id: VarId, value: &Typed) -> Option<Ty> {
        let slot = self.vars.slot(id)?.clone();
        let known = self.vars.known(id).cloned().unwrap_or_default();
        let mut new = value.inferred();
        if let Some(whole) = value.expr.whole_string() {
            new.ty = whole;
        }
        let Some(current) = known.ty.clone() else {
            self.changed = true;
            let ty = new.ty.clone();
            self.vars.types.insert(slot.key, Known { ty: Some(new), fixed: false });
            return Some(ty);
        };
        if known.fixed {
            return Some(current.ty);
        }
        let Some(wide) = infer::promote(&current, &new) else {
            self.var_mismatch(&slot, value.span(), &new.ty, &current.ty);
            return None;
        };
        if wide != current {
            self.changed = true;
            self.vars.types.insert(slot.key, Known { ty: Some(wide.clone()), fixed: false });
        }
        Some(wide.ty)
    }

    /// The type of a variable, as far as it is known.
    pub(super) fn var_type(&self, id: VarId) -> Option<Inferred> {
        self.vars.known(id)?.ty.clone()
    }

    /// Whether the variable's declaration fixes its type.
    pub(super) fn var_is_fixed(&self, id: VarId) -> bool {
        self.vars.known(id).is_some_and(|k| k.fixed)
    }

    /// A hidden variable that holds `value` from here on: the statement that stores it, and the variable.
    pub(crate) fn bind(&mut self, value: Expr) -> (Stmt, Expr) {
        self.vars.hidden += 1;
        let (span, ty) = (value.span, value.ty.clone());
        let id = VarId(self.vars.slots.len() as u32);
        let name = format!("${}", self.vars.hidden);
        let key = (self.vars.body, span, name.clone());
        self.vars.slots.push(Slot { name, key: key.clone(), introduced: span, assigned: true, how: "bound" });
        self.vars.types.insert(key, Known { ty: Some(ty.clone().into()), fixed: true });
        let stmt = Stmt { kind: StmtKind::AssignVar(id, value), span };
        (stmt, Expr { kind: ExprKind::Var(id), ty, span })
    }
}
