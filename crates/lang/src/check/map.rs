//! Maps: their declarations, keys and values over all uses; and every expression and statement on a map.

use std::collections::HashMap;

use super::{Checker, Typed};
use crate::ast::{self, Span};
use crate::diag::Diagnostic;
use crate::hir::{self, Expr, ExprKind, MapNo, Stmt, StmtKind};
use crate::suggest;
use crate::ty::Ty;
use crate::types::infer::{self, Flex, Inferred, castable};
use crate::types::name;
use skep_bpf::kinds::MapType;
use skep_bpf::schema::Agg;

/// What is known of a map.
#[derive(Clone, Debug)]
struct Info {
    name: String,
    first: Span,
    /// Whether it has keys; the first use decides.
    keyed: Option<(bool, Span)>,
    key: Option<Inferred>,
    value: Option<Inferred>,
    /// Only ever incremented so far.
    counter: bool,
    kind: Option<MapType>,
    entries: Option<u32>,
    /// Its types are those of its declaration.
    fixed: bool,
}

/// Maps over all passes.
#[derive(Default)]
pub(crate) struct Maps {
    list: Vec<Info>,
    by_name: HashMap<String, usize>,
}

impl Maps {
    fn number(&mut self, name: &str, span: Span) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let at = self.list.len();
        self.by_name.insert(name.to_owned(), at);
        self.list.push(Info {
            name: name.to_owned(),
            first: span,
            keyed: None,
            key: None,
            value: None,
            counter: false,
            kind: None,
            entries: None,
            fixed: false,
        });
        at
    }

    /// Maps that are only incremented start from the smallest integer. Whether there were any.
    pub(crate) fn initialise_counters(&mut self) -> bool {
        let mut any = false;
        for info in self.list.iter_mut().filter(|i| i.counter && i.value.is_none()) {
            info.value = Some(Ty::Int { bits: 8, signed: true }.into());
            any = true;
        }
        any
    }
}

/// A map with the key of one use.
pub(crate) struct Place {
    pub(crate) map: MapNo,
    pub(crate) key: Vec<Expr>,
}

impl Checker<'_> {
    /// What a declaration says of a map.
    pub(super) fn note_declaration(&mut self, map: MapNo, kind: Option<MapType>, entries: Option<u32>) {
        if let Some(info) = self.maps.list.get_mut(map.0 as usize) {
            (info.kind, info.entries) = (kind.or(info.kind), entries.or(info.entries));
        }
    }

    /// Gives a map the types that its declaration names; uses are converted to them.
    pub(super) fn fix_types(&mut self, map: MapNo, key: Ty, value: Ty, span: Span) {
        if let Some(info) = self.maps.list.get_mut(map.0 as usize) {
            (info.key, info.value) = (Some(key.into()), Some(value.into()));
            (info.keyed, info.fixed) = (Some((true, span)), true);
        }
    }

    /// The kind that a map was declared with.
    pub(crate) fn map_kind(&self, map: MapNo) -> Option<MapType> {
        self.maps.list.get(map.0 as usize)?.kind
    }

    /// The map as a whole (print, clear, for …).
    pub(crate) fn whole_map(&mut self, name: &str, span: Span) -> MapNo {
        let at = self.maps.number(name, span);
        MapNo(at as u32)
    }

    /// A use with or without a key decides whether the map has keys, and must agree with the others.
    pub(crate) fn keyed(&mut self, map: MapNo, keyed: bool, span: Span) -> Option<()> {
        let info = self.maps.list.get_mut(map.0 as usize)?;
        match info.keyed {
            None => {
                info.keyed = Some((keyed, span));
                self.changed = true;
                Some(())
            }
            Some((known, _)) if known == keyed => Some(()),
            Some((_, first)) => {
                let (name, with, before) = if keyed {
                    (info.name.clone(), "with a key here", "without one here")
                } else {
                    (info.name.clone(), "without a key here", "with a key here")
                };
                self.diags.push(
                    Diagnostic::error(
                        "map-key",
                        span,
                        format!("`{name}` is used both with and without a key"),
                    )
                    .at(with)
                    .label(first, before),
                );
                None
            }
        }
    }

    /// A place in a map: the key checked against the map's.
    pub(crate) fn map_place(&mut self, name: &str, span: Span, key: Option<&[ast::Expr]>) -> Option<Place> {
        let map = self.whole_map(name, span);
        self.keyed(map, key.is_some(), span)?;
        let Some(key) = key else { return Some(Place { map, key: Vec::new() }) };
        let mut parts = Vec::new();
        for e in key {
            parts.push(self.key_part(e));
        }
        let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
        let whole = match <[Typed; 1]>::try_from(parts) {
            Ok([one]) => one,
            Err(parts) => tuple(parts, span),
        };
        let key = self.key_of(map, whole, span)?;
        Some(Place { map, key })
    }

    fn key_part(&mut self, e: &ast::Expr) -> Option<Typed> {
        let value = self.value(e)?;
        let value = self.readable(value)?;
        match value.ty() {
            Ty::Ptr { space: crate::ty::Space::Ctx, .. } => {
                self.error("map-key", e.span, "the context cannot be part of a map's key");
                None
            }
            _ => Some(value),
        }
    }

    /// A key value against the map's key type: widened, converted and taken apart.
    pub(crate) fn key_of(&mut self, map: MapNo, whole: Typed, span: Span) -> Option<Vec<Expr>> {
        let info = self.maps.list.get(map.0 as usize)?.clone();
        let new = whole.inferred();
        let wide = match &info.key {
            None => new.clone(),
            Some(declared) if info.fixed => declared.clone(),
            Some(current) => match infer::promote(current, &new) {
                Some(wide) => wide,
                None => {
                    self.key_mismatch(&info, &new.ty, &current.ty, span);
                    return None;
                }
            },
        };
        if info.key.as_ref() != Some(&wide) {
            self.changed = true;
            self.maps.list[map.0 as usize].key = Some(wide.clone());
        }
        let Some(key) = self.coerce(whole, &wide.ty) else {
            self.key_mismatch(&info, &new.ty, &wide.ty, span);
            return None;
        };
        match &wide.ty {
            Ty::Tuple(types) if types.len() > 1 => {
                let (before, parts) =
                    self.parts(Typed { flex: Flex::No, literal: false, space: None, expr: key })?;
                let mut parts: Vec<Expr> = parts.into_iter().map(|p| p.expr).collect();
                if let Some(first) = parts.first_mut() {
                    let value = std::mem::replace(first, Expr { kind: ExprKind::Int(0), ty: Ty::None, span });
                    *first = super::coerce::behind(before, value);
                }
                Some(parts)
            }
            _ => Some(vec![key]),
        }
    }

    fn key_mismatch(&mut self, info: &Info, found: &Ty, ty: &Ty, span: Span) {
        let shown = |ty: &Ty| name::display(ty).replace(", ", ",");
        let message = format!(
            "Argument mismatch for {}: trying to access with arguments: '{}' when map expects arguments: '{}'",
            info.name,
            shown(found),
            shown(ty)
        );
        self.diags.push(Diagnostic::error("map-key", span, message).label(info.first, "first used here"));
    }

    /// `@m` or `@m[k]` as a value.
    pub(crate) fn read_map(&mut self, name: &str, span: Span, key: Option<&[ast::Expr]>) -> Option<Typed> {
        let place = self.map_place(name, span, key)?;
        self.may_be_read(place.map, span)?;
        let ty = self.map_value(place.map, span)?;
        let kind = ExprKind::MapGet { map: place.map, key: place.key };
        Some(Typed { flex: ty.flex, ..Typed::new(kind, ty.ty, span) })
    }

    /// The type of the map's values; an error once it ought to be known.
    pub(crate) fn map_value(&mut self, map: MapNo, span: Span) -> Option<Inferred> {
        let info = self.maps.list.get(map.0 as usize)?;
        if info.value.is_none() && self.settled {
            let name = info.name.clone();
            self.undefined(&name, span);
        }
        self.maps.list.get(map.0 as usize)?.value.clone()
    }

    fn undefined(&mut self, name: &str, span: Span) {
        if self.incomplete {
            return;
        }
        let others: Vec<String> =
            self.maps.list.iter().filter(|i| i.value.is_some()).map(|i| i.name.clone()).collect();
        let d = Diagnostic::error("unknown-map", span, format!("nothing is ever stored in `{name}`"));
        self.diags.push(match suggest::nearest(name, others.iter().map(String::as_str)) {
            Some(near) => d.hint(format!("did you mean `{near}`?")),
            None => d,
        });
    }

    /// The key type of a map, as far as it is known.
    pub(crate) fn map_key(&self, map: MapNo) -> Option<Inferred> {
        self.maps.list.get(map.0 as usize)?.key.clone()
    }

    /// Whether the map has keys, as far as it is known.
    pub(crate) fn map_is_keyed(&self, map: MapNo) -> Option<bool> {
        self.maps.list.get(map.0 as usize)?.keyed.map(|(keyed, _)| keyed)
    }

    /// A value that is stored widens the map's value type, which is the result.
    fn widen_value(&mut self, map: MapNo, new: &Inferred, span: Span) -> Option<Ty> {
        let info = self.maps.list.get(map.0 as usize)?.clone();
        let wide = match &info.value {
            None => Some(new.clone()),
            Some(declared) if info.fixed => Some(declared.clone()),
            // An aggregation is only ever stored by its function.
            Some(current) if castable(&current.ty).is_some() && !matches!(new.ty, Ty::Agg(_)) => None,
            Some(current) => infer::promote(current, new),
        };
        let Some(wide) = wide else {
            let current = info.value.map_or(Ty::None, |v| v.ty);
            let message = format!(
                "`{}` holds values of type `{}`, not `{}`",
                info.name,
                name::display(&current),
                name::display(&new.ty)
            );
            self.diags
                .push(Diagnostic::error("type-mismatch", span, message).label(info.first, "first used here"));
            return None;
        };
        if info.value.as_ref() != Some(&wide) {
            self.changed = true;
            self.maps.list[map.0 as usize].value = Some(wide.clone());
        }
        Some(wide.ty)
    }

    /// `@m[k] = value`
    pub(crate) fn store_map(&mut self, place: Place, value: Typed, span: Span) -> Option<Stmt> {
        self.may_be_written(place.map, span)?;
        if let Ty::Agg(agg) = value.ty() {
            let known = self.maps.list.get(place.map.0 as usize).and_then(|i| i.value.clone());
            let into_int =
                castable(value.ty()).is_some() && known.is_some_and(|k| infer::as_int(&k.ty).is_some());
            if !into_int {
                let message =
                    format!("a `{}` cannot be assigned from one map to another", name::aggregation(agg));
                let d = Diagnostic::error("type-mismatch", value.span(), message);
                self.diags.push(match castable(value.ty()) {
                    Some(_) => d.hint("cast it to store its value: `(int64)@map`"),
                    None => d.hint("call the aggregating function for this map as well"),
                });
                return None;
            }
        }
        let value = self.readable(value)?;
        let new = value.inferred();
        let ty = self.widen_value(place.map, &new, value.span())?;
        match self.coerce(value, &ty) {
            Some(value) => {
                let kind = StmtKind::AssignMap { map: place.map, key: place.key, value };
                Some(Stmt { kind, span })
            }
            None => {
                self.mismatch(span, &new.ty, &format!("`{}`", name::display(&ty)));
                None
            }
        }
    }

    /// `@m[k] = count()` and so on.
    pub(crate) fn aggregate(
        &mut self,
        place: Place,
        agg: Agg,
        arg: Option<Expr>,
        weight: Option<Expr>,
        span: Span,
    ) -> Option<Stmt> {
        let map = place.map;
        self.may_be_written(map, span)?;
        self.may_be_aggregated(map, &agg, span)?;
        let shown = name::aggregation(&agg);
        let ty = self.widen_value(map, &Ty::Agg(agg).into(), span)?;
        // A number takes in what an aggregation is read as, but cannot be aggregated into.
        if !matches!(ty, Ty::Agg(_)) {
            let found = name::display(&ty);
            let info = &self.maps.list[map.0 as usize];
            let message = format!("`{}` holds values of type `{found}`, not `{shown}`", info.name);
            let d = Diagnostic::error("type-mismatch", span, message).label(info.first, "first used here");
            self.diags.push(d);
            return None;
        }
        let arg = match (arg, &ty) {
            (Some(arg), Ty::Agg(agg)) => {
                Some(super::coerce::retype(arg, &Ty::Int { bits: 64, signed: sign_of(agg) }))
            }
            (arg, _) => arg,
        };
        Some(Stmt { kind: StmtKind::Aggregate { map, key: place.key, arg, weight }, span })
    }

    /// `++` and `--` on a map.
    pub(crate) fn increment_map(&mut self, place: Place, by: i64, pre: bool, span: Span) -> Option<Typed> {
        self.may_be_written(place.map, span)?;
        let Some(current) = self.maps.list.get(place.map.0 as usize)?.value.clone() else {
            self.maps.list[place.map.0 as usize].counter = true;
            return None;
        };
        let (ty, by) = match &current.ty {
            Ty::Ptr { to, .. } => (current.ty.clone(), by.saturating_mul(self.element_size(to))),
            other => match infer::as_int(other) {
                Some((_, signed)) => {
                    let new = Ty::Int { bits: 64, signed: signed || by < 0 };
                    (self.widen_value(place.map, &new.into(), span)?, by)
                }
                None => {
                    let other = other.clone();
                    self.mismatch(span, &other, "an integer or pointer to increment");
                    return None;
                }
            },
        };
        let kind = ExprKind::IncMap { map: place.map, key: place.key, by, pre };
        Some(Typed::new(kind, ty, span))
    }

    /// All maps, checked, for the program.
    pub(super) fn finish_maps(&mut self, program: &mut hir::Program) {
        let list = self.maps.list.clone();
        for info in list {
            if info.value.is_none() && !self.diags.has_errors() {
                if info.entries.is_some() || info.kind.is_some() {
                    let message = format!("Unused map: {}", info.name);
                    self.warn("unused", info.first, message);
                } else {
                    self.undefined(&info.name, info.first);
                }
            }
            let value = info.value.map_or(Ty::None, |v| v.ty);
            let key = match info.key.map(|k| k.ty) {
                None => Vec::new(),
                Some(Ty::Tuple(types)) if types.len() > 1 => types,
                Some(one) => vec![one],
            };
            self.note_layout(&value);
            key.iter().for_each(|ty| self.note_layout(ty));
            let aggregation = matches!(value, Ty::Agg(_));
            program.maps.push(hir::Map {
                name: info.name,
                key,
                kind: kind_of(info.kind, aggregation),
                value,
                max_entries: info.entries.unwrap_or(self.settings.config.max_map_keys),
            });
        }
    }

    /// Notes the layouts of all structs and unions in a type that is stored or printed.
    pub(crate) fn note_layout(&mut self, ty: &Ty) {
        match ty {
            Ty::Composite(c) if self.layouts.iter().all(|(def, _)| *def != c.def) => {
                self.layouts.push((c.def, self.types.composite_layout(c)));
            }
            Ty::Array { elem, .. } => self.note_layout(elem),
            Ty::Tuple(types) => types.iter().for_each(|t| self.note_layout(t)),
            Ty::Record(fields) => fields.iter().for_each(|(_, t)| self.note_layout(t)),
            _ => {}
        }
    }
}

/// The kind of map to create: aggregations are per CPU.
fn kind_of(declared: Option<MapType>, aggregation: bool) -> MapType {
    match (declared, aggregation) {
        (Some(MapType::LruHash | MapType::LruPercpuHash), true) => MapType::LruPercpuHash,
        (Some(MapType::Array | MapType::PercpuArray), true) => MapType::PercpuArray,
        (_, true) => MapType::PercpuHash,
        (Some(kind), false) => kind,
        (None, false) => MapType::Hash,
    }
}

/// Whether an aggregation's argument has a sign; histograms' have.
fn sign_of(agg: &Agg) -> bool {
    match agg {
        Agg::Sum { signed }
        | Agg::Min { signed }
        | Agg::Max { signed }
        | Agg::Avg { signed }
        | Agg::Stats { signed }
        | Agg::TSeries { signed, .. } => *signed,
        Agg::Count | Agg::Hist { .. } | Agg::LHist { .. } => true,
    }
}

/// A tuple of values.
pub(crate) fn tuple(parts: Vec<Typed>, span: Span) -> Typed {
    let flex = infer::whole_flex(parts.iter().map(|p| p.flex.clone()).collect());
    let types = parts.iter().map(|p| p.ty().clone()).collect();
    let literal = parts.iter().all(|p| p.literal);
    let kind = ExprKind::Tuple(parts.into_iter().map(|p| p.expr).collect());
    Typed { flex, literal, ..Typed::new(kind, Ty::Tuple(types), span) }
}

impl Checker<'_> {
    /// A compound assignment reads the map first: one that is written nowhere else starts at zero.
    pub(crate) fn maps_start_at_zero(&mut self, place: &Place) {
        if let Some(info) = self.maps.list.get_mut(place.map.0 as usize) {
            info.counter = true;
        }
    }
}
