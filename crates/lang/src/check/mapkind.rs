//! Declarations of maps: `let @m = KIND(ENTRIES);` or `let @m = KIND(ENTRIES, KEY, VALUE);` enter; what a kind allows is
//! held here. Where key and value are named, every use is converted to them, so a map that only another program fills has
//! types too.

use super::Checker;
use crate::ast::{self, Span};
use crate::diag::Diagnostic;
use crate::hir::MapNo;
use crate::ty::Ty;
use skep_bpf::kinds::MapType;
use skep_bpf::schema::Agg;

/// What programs do with maps of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// All that a hash allows.
    Free,
    /// Read and written by index; too many entries to print, which are all there at any time.
    Indexed,
    /// Read; filled from outside, because a key that is written has a length too.
    Searched,
    /// Named by a verdict, filled from outside.
    Target,
}

/// Kinds of map by their names in declarations.
const KINDS: &[(&str, MapType, Use)] = &[
    ("hash", MapType::Hash, Use::Free),
    ("lruhash", MapType::LruHash, Use::Free),
    ("percpuhash", MapType::PercpuHash, Use::Free),
    ("percpulruhash", MapType::LruPercpuHash, Use::Free),
    ("array", MapType::Array, Use::Indexed),
    ("percpuarray", MapType::PercpuArray, Use::Indexed),
    ("lpmtrie", MapType::LpmTrie, Use::Searched),
    ("devmap", MapType::Devmap, Use::Target),
    ("devmaphash", MapType::DevmapHash, Use::Target),
    ("cpumap", MapType::Cpumap, Use::Target),
];

/// Longest key of a trie in bytes (LPM_DATA_SIZE_MAX, kernel/bpf/lpm_trie.c).
const TRIE_KEY: u32 = 256;

fn use_of(kind: Option<MapType>) -> Use {
    let row = kind.and_then(|kind| KINDS.iter().find(|row| row.1 == kind));
    row.map_or(Use::Free, |row| row.2)
}

/// The map in whose entries an attach point's program runs.
fn of_map(attach: &str) -> Option<&str> {
    attach.strip_prefix("xdp:").filter(|name| name.starts_with('@'))
}

fn runs_in(probe: &ast::Probe, map: &str) -> bool {
    probe.attach.iter().any(|point| of_map(&point.text) == Some(map))
}

impl Checker<'_> {
    /// All declarations of a script.
    pub(super) fn declare_maps(&mut self, script: &ast::Script) {
        for decl in &script.map_decls {
            let map = self.whole_map(&decl.name.text, decl.name.span);
            let kind = KINDS.iter().find(|(known, ..)| *known == decl.kind.text).map(|row| row.1);
            if kind.is_none() {
                let message = format!("there is no map kind `{}`", decl.kind.text);
                let all = KINDS.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
                self.diags.push(
                    Diagnostic::error("unknown-map-kind", decl.kind.span, message)
                        .hint(format!("map kinds are: {all}")),
                );
            }
            let entries = match decl.args.iter().map(|e| &*e.kind).collect::<Vec<_>>().as_slice() {
                [ast::ExprKind::Int { value, .. }] if (1..=u64::from(u32::MAX)).contains(value) => {
                    Some(*value as u32)
                }
                _ => {
                    let message = format!("`{}` takes one argument: how many entries", decl.kind.text);
                    self.error("bad-map", decl.name.span, message);
                    None
                }
            };
            self.note_declaration(map, kind, entries);
            if let Some(kind) = kind {
                let entries_run = script.probes.iter().any(|probe| runs_in(probe, &decl.name.text));
                self.declare_types(map, kind, (decl, entries_run));
            }
        }
        self.maps_of_programs(script);
    }

    /// Probes `xdp:@MAP` need a map of CPUs.
    fn maps_of_programs(&mut self, script: &ast::Script) {
        let points = script.probes.iter().flat_map(|probe| &probe.attach);
        for (point, map) in points.filter_map(|point| Some((point, of_map(&point.text)?))) {
            let declared = script.map_decls.iter().find(|decl| decl.name.text == map);
            if declared.is_none_or(|decl| decl.kind.text != "cpumap") {
                let message = format!("`{map}` is not declared as a map of CPUs");
                let d = Diagnostic::error("bad-map", point.span, message);
                self.diags.push(d.hint(format!("`let {map} = cpumap(64);` declares one")));
            }
        }
    }

    /// Types of a declared map; `entries_run`: its entries have programs.
    fn declare_types(&mut self, map: MapNo, kind: MapType, (decl, entries_run): (&ast::MapDecl, bool)) {
        let span = decl.kind.span;
        let (key, value) = match (decl.types.as_slice(), use_of(Some(kind))) {
            // The length of the queue, then the program (struct bpf_cpumap_val).
            ([], Use::Target) if entries_run => (Ty::U32, Ty::U64),
            ([], Use::Target) => (Ty::U32, Ty::U32),
            ([], Use::Searched) => {
                let d =
                    Diagnostic::error("bad-map", span, "the types of this map's key and value are not known");
                self.diags.push(d.hint(format!(
                    "name them: `let {} = {}(1000, inet, uint32);`",
                    decl.name.text, decl.kind.text
                )));
                return;
            }
            ([], _) => return,
            ([_, _], Use::Target) => {
                self.error(
                    "bad-map",
                    span,
                    format!("key and value of a `{}` are numbers: `{0}(64)`", decl.kind.text),
                );
                return;
            }
            ([key, value], _) => match (self.type_expr(key), self.type_expr(value)) {
                (Some(key), Some(value)) => (key, value),
                _ => return,
            },
            _ => {
                let message = format!(
                    "`{}` takes entries, and the types of key and value: expected both or none",
                    decl.kind.text
                );
                self.error("bad-map", span, message);
                return;
            }
        };
        for ty in [&key, &value] {
            if matches!(ty, Ty::None | Ty::Agg(_)) || self.types.size_of(ty).is_some_and(|size| size == 0) {
                self.mismatch(span, ty, "a type that has a size");
                return;
            }
        }
        match kind {
            MapType::Array | MapType::PercpuArray if crate::types::infer::as_int(&key).is_none() => {
                self.mismatch(span, &key, "an integer, the index");
                return;
            }
            MapType::LpmTrie => {
                let fits = match &key {
                    Ty::Int { signed, .. } => !signed,
                    Ty::Inet => true,
                    Ty::Array { .. } => self.types.size_of(&key).is_some_and(|size| size <= TRIE_KEY),
                    _ => false,
                };
                if !fits {
                    self.mismatch(
                        span,
                        &key,
                        "an address, an unsigned number or an array of bytes, whose prefixes are looked for",
                    );
                    return;
                }
            }
            _ => {}
        }
        self.note_layout(&key);
        self.note_layout(&value);
        self.fix_types(map, key, value, decl.name.span);
    }

    /// Refuses to print, count or walk a map as a whole whose kind does not allow it.
    pub(crate) fn may_be_walked(&mut self, map: MapNo, span: Span) -> Option<()> {
        let kind = self.map_kind(map);
        if use_of(kind) == Use::Free {
            return Some(());
        }
        let what = kind.and_then(|kind| KINDS.iter().find(|row| row.1 == kind)).map_or("map", |row| row.0);
        let d = Diagnostic::error(
            "bad-map",
            span,
            format!("a `{what}` is not walked, printed or cleared as a whole"),
        );
        self.diags.push(d.hint("`skep maps dump` prints any map"));
        None
    }

    /// Refuses to write a map that is filled from outside.
    pub(crate) fn may_be_written(&mut self, map: MapNo, span: Span) -> Option<()> {
        if matches!(use_of(self.map_kind(map)), Use::Free | Use::Indexed) {
            return Some(());
        }
        let d = Diagnostic::error("bad-map", span, "programs do not write maps of this kind");
        self.diags.push(d.hint("whoever loads the program fills it; `skep maps update` does by hand"));
        None
    }

    /// Refuses to delete from a map whose entries stay.
    pub(crate) fn may_be_deleted(&mut self, map: MapNo, span: Span) -> Option<()> {
        self.may_be_written(map, span)?;
        if use_of(self.map_kind(map)) == Use::Free {
            return Some(());
        }
        self.error("bad-map", span, "entries of an array are always there: give them another value");
        None
    }

    /// Refuses aggregations that take more than one entry in a map whose entries are numbered.
    pub(super) fn may_be_aggregated(&mut self, map: MapNo, agg: &Agg, span: Span) -> Option<()> {
        let many = matches!(agg, Agg::Hist { .. } | Agg::LHist { .. } | Agg::TSeries { .. });
        if !(many && use_of(self.map_kind(map)) == Use::Indexed) {
            return Some(());
        }
        let d = Diagnostic::error(
            "bad-map",
            span,
            "a histogram's buckets are entries of their own, which an array lacks",
        );
        self.diags.push(d.hint("declare the map as `percpuhash`"));
        None
    }

    /// Refuses to read a map that only verdicts name.
    pub(crate) fn may_be_read(&mut self, map: MapNo, span: Span) -> Option<()> {
        if use_of(self.map_kind(map)) != Use::Target {
            return Some(());
        }
        let d = Diagnostic::error("bad-map", span, "maps of this kind are not read");
        self.diags.push(d.hint("a verdict names its entry: `redirect(@ports[1])`, `to_cpu(@cpus[1])`"));
        None
    }
}
