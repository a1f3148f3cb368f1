//! The checker: a syntax tree, options and a target enter; a program with every type known leaves, or diagnostics.
//!
//! The types of maps and variables follow from all their uses, in any order. So the bodies are checked several times:
//! each pass starts with the types that the one before has found, and widens them where a use needs it; types only ever
//! widen, so this ends. Diagnostics of all passes but the last are dropped.

use std::collections::HashMap;
use std::rc::Rc;

use crate::ast::{self, Span};
use crate::c::Preamble;
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir;
use crate::options::Options;
use crate::resolve::{ArgField, ArgsFrom, Instance, Resolver, merge};
use crate::ty::{CompositeDef, Ty};
use crate::types::{Types, name};
use skep_bpf::schema::ValueType;
use skep_bpf::target::Target;

mod binary;
mod cast;
mod coerce;
mod config;
mod expr;
mod field;
mod format;
mod function;
mod map;
mod mapkind;
mod mode;
mod named;
mod packet;
#[cfg(test)]
mod properties;
mod quiet;
mod reach;
mod session;
mod settings;
mod stmt;
#[cfg(test)]
mod tests;
mod typed;
mod unary;
mod vars;
pub(crate) mod walk;

pub(crate) use coerce::retype;
pub(crate) use config::{Settings, stack_mode};
pub(crate) use field::argument;
pub(crate) use settings::record as settings_record;
pub(crate) use typed::{Typed, place_of};

/// Most passes over the bodies. Each widens some type, and a type widens a few times at most.
const MAX_PASSES: usize = 64;

/// Checks a script. `None` if there is an error in `diags`, which then holds every error of the script.
pub fn check(
    script: &ast::Script,
    options: &Options,
    target: &dyn Target,
    diags: &mut Diagnostics,
) -> Option<hir::Program> {
    let settings = config::settings(script, options, target, diags);
    let script = crate::expand::expand(script, diags)?;
    let preamble = crate::c::preamble(&script, &settings.options, target, diags);
    let script = &*crate::c::expand(script, &preamble, diags);
    let types = Types::new(target, settings.config.max_strlen).with_preamble(&preamble);
    types.want(walk::type_names(script));
    let mut resolver = Resolver::new(target, &settings.options, &types);
    resolver.missing = settings.config.missing_probes;
    resolver.limits = settings.limits;
    resolver.raw_syscalls = settings.raw_syscalls;
    resolver.xdp_mode = settings.xdp_mode;
    resolver.xdp_first = settings.xdp_first;
    let script = &*mode::select(script, options, diags)?;
    let mut groups: Vec<_> = script
        .probes
        .iter()
        .map(|probe| {
            let uses = walk::uses(probe);
            (uses, resolver.probe(probe, uses, diags))
        })
        .collect();
    let notes = resolver.choose(&mut groups);
    let bodies: Vec<(usize, Instance)> = groups
        .into_iter()
        .enumerate()
        .flat_map(|(i, (uses, list))| merge(list, uses).into_iter().map(move |instance| (i, instance)))
        .collect();
    if bodies.is_empty() && !diags.has_errors() {
        diags.push(Diagnostic::error("no-probe", ast::Span::default(), "No probes to attach"));
    }
    let mut checker = Checker::new(&resolver, &settings, &preamble);
    checker.incomplete = diags.has_errors();
    script.probes.iter().for_each(|probe| reach::body(&probe.body, diags));
    let mut program = checker.solve(script, &bodies);
    for d in std::mem::take(&mut checker.diags.list) {
        diags.push(d);
    }
    if diags.has_errors() {
        return None;
    }
    program.config = settings.config.clone();
    program.files.clone_from(&script.files);
    session::join(&mut program, &resolver);
    program.notes.splice(0..0, notes);
    Some(program)
}

/// State of the passes.
pub(crate) struct Checker<'a> {
    pub(crate) resolver: &'a Resolver<'a>,
    pub(crate) types: &'a Types<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) preamble: &'a Preamble,
    /// Of this pass.
    pub(crate) diags: Diagnostics,
    /// Maps of the script, over all passes.
    pub(crate) maps: map::Maps,
    /// Variables: types over all passes, scopes of the body at hand.
    pub(crate) vars: vars::Vars,
    /// The probe at hand.
    pub(crate) instance: Option<&'a Instance>,
    /// Whether this pass widened a type.
    pub(crate) changed: bool,
    /// Whether types are as wide as they get: what is unknown now is an error.
    pub(crate) settled: bool,
    /// Layouts of the structs and unions that are stored or printed.
    pub(crate) layouts: Vec<(CompositeDef, ValueType)>,
    /// Whether parts of the script are missing for earlier errors, so that not all uses of a map are known.
    incomplete: bool,
    /// Loops around.
    pub(crate) loops: u32,
    /// Blocks around that are values.
    pub(crate) within_value: u32,
    /// `sizeof` and the like around: nothing is evaluated.
    pub(crate) unevaluated: u32,
    /// Expressions around.
    pub(crate) depth: u32,
    /// Blocks around that stand for expressions, from the outside in: what macros become.
    pub(crate) around: Vec<Span>,
    args: HashMap<ArgsFrom, Rc<Vec<ArgField>>>,
    /// Functions of the script.
    functions: Vec<function::Signature>,
    /// The function whose body is being checked.
    within: Option<function::Within>,
    /// Options that the program asks for.
    options: named::Options,
}

impl<'a> Checker<'a> {
    fn new(resolver: &'a Resolver<'a>, settings: &'a Settings, preamble: &'a Preamble) -> Checker<'a> {
        Checker {
            resolver,
            types: resolver.types,
            settings,
            preamble,
            diags: Diagnostics::default(),
            maps: map::Maps::default(),
            vars: vars::Vars::default(),
            instance: None,
            changed: false,
            settled: false,
            layouts: Vec::new(),
            incomplete: false,
            loops: 0,
            within_value: 0,
            unevaluated: 0,
            depth: 0,
            around: Vec::new(),
            args: HashMap::new(),
            functions: Vec::new(),
            within: None,
            options: named::Options::new(),
        }
    }

    /// Passes until no type widens, then the one that counts.
    fn solve(&mut self, script: &ast::Script, bodies: &'a [(usize, Instance)]) -> hir::Program {
        for _ in 0..MAX_PASSES {
            self.pass(script, bodies);
            if !self.changed && !self.maps.initialise_counters() {
                break;
            }
        }
        self.settled = true;
        self.pass(script, bodies)
    }

    fn pass(&mut self, script: &ast::Script, bodies: &'a [(usize, Instance)]) -> hir::Program {
        self.changed = false;
        self.diags = Diagnostics::default();
        let mut program = hir::Program::default();
        self.declare_maps(script);
        self.declare_functions(&script.functions);
        program.functions = self.function_bodies(&script.functions, bodies.len());
        for (number, (index, instance)) in bodies.iter().enumerate() {
            if let Some(probe) = script.probes.get(*index) {
                let probe = self.probe(probe, number, instance);
                program.probes.push(probe);
            }
        }
        if self.settled {
            self.check_options();
            self.finish_maps(&mut program);
            program.layouts = std::mem::take(&mut self.layouts);
        }
        program
    }

    fn probe(&mut self, probe: &ast::Probe, number: usize, instance: &'a Instance) -> hir::Probe {
        self.instance = Some(instance);
        self.types.enter(instance.binary.as_deref());
        self.vars.enter_body(number);
        let predicate = probe.predicate.as_ref().and_then(|p| self.condition(p));
        let body = self.block(&probe.body);
        let vars = self.finish_vars();
        let name = match instance.attach.as_slice() {
            [_] => instance.name.clone(),
            _ => probe.attach.iter().map(|a| a.text.as_str()).collect::<Vec<_>>().join(","),
        };
        hir::Probe {
            symbol: symbol(&instance.name, number),
            name,
            prog_type: instance.prog_type,
            attach_type: instance.attach_type,
            attach_btf: instance.attach_btf.clone(),
            attach: instance.attach.clone(),
            packet: instance.packet,
            sleepable: false,
            check_pid: instance.check_pid(),
            guard: instance.guard.clone(),
            session: hir::Session::Alone,
            predicate,
            body,
            vars,
            span: probe.span,
        }
    }

    /// Reports an error at `span`.
    pub(crate) fn error(&mut self, code: &'static str, span: ast::Span, message: impl Into<String>) {
        self.diags.push(Diagnostic::error(code, span, message));
    }

    /// Reports a warning at `span`.
    pub(crate) fn warn(&mut self, code: &'static str, span: ast::Span, message: impl Into<String>) {
        self.diags.push(Diagnostic::warning(code, span, message));
    }

    /// Reports a type that does not fit: what was found where, and what was expected.
    pub(crate) fn mismatch(&mut self, span: ast::Span, found: &Ty, expected: &str) {
        let found = name::display(found);
        self.diags.push(
            Diagnostic::error("type-mismatch", span, format!("expected {expected}, found `{found}`"))
                .at(format!("this is `{found}`")),
        );
    }

    /// The fields of `args` of the probe at hand; read once.
    pub(crate) fn probe_args(&mut self, span: ast::Span) -> Option<Rc<Vec<ArgField>>> {
        let instance = self.instance?;
        if let Some(known) = self.args.get(&instance.args) {
            return Some(known.clone());
        }
        match self.resolver.named_args(instance, span) {
            Ok(fields) => {
                let fields = Rc::new(fields);
                self.args.insert(instance.args.clone(), fields.clone());
                Some(fields)
            }
            Err(fault) => {
                self.diags.push(*fault);
                None
            }
        }
    }
}

/// A C identifier for a program: from its probe's name, unique by its number.
fn symbol(probe: &str, number: usize) -> String {
    let clean: String =
        probe.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    format!("{clean}_{}", number + 1)
}
