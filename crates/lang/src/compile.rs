//! The front-end as one function: source, options and a target enter; an object leaves, or diagnostics.

use crate::ast::Span;
use crate::build::{self, BuildError};
use crate::check;
use crate::diag::{Diagnostic, Diagnostics};
use crate::options::Options;
use crate::{import, source};
use skep_bpf::object::Object;
use skep_bpf::target::{Feature, Target, TargetExt};
use skep_compiler::compile::{self as backend, CompileError, CompileOptions, Cpu, Features};
use skep_compiler::ir::Loc;

/// A script and the name that messages call it by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// File name, `stdin`, or the like.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What a compilation leaves.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The object.
    pub object: Object,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// Why there is no object.
#[derive(Clone, Debug)]
pub enum CompileFailure {
    /// The user's mistakes, or what this target lacks.
    Diagnostics(Diagnostics),
    /// A bug of the compiler.
    Internal(String),
}

/// Stages that can be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Syntax tree.
    Ast,
    /// Checked program.
    Hir,
    /// IR as built.
    Ir,
    /// IR after the passes.
    Opt,
    /// Instructions.
    Asm,
}

/// Compiles `source` for `target`. `dump` gets the text of each stage that `wants` asks for.
pub fn compile(
    source: &Source,
    options: &Options,
    target: &dyn Target,
    wants: &dyn Fn(Stage) -> bool,
    dump: &mut dyn FnMut(Stage, &str),
) -> Result<Compiled, CompileFailure> {
    let mut diagnostics = Diagnostics::default();
    let script = import::load(&source.name, &source.text, options, target, &mut diagnostics);
    let script = crate::ast::Script { path: source.name.clone(), ..script };
    let whole = source::whole(&script.files, &source.text);
    if wants(Stage::Ast) {
        dump(Stage::Ast, &format!("{script:#?}"));
    }
    if script.probes.is_empty() && !diagnostics.has_errors() {
        let nothing = Diagnostic::error("no-probe", Span::default(), "the program has no probe");
        diagnostics
            .push(nothing.hint("a probe is a place and what to do there: `BEGIN { printf(\"hello\\n\"); }`"));
    }
    if diagnostics.has_errors() {
        return Err(CompileFailure::Diagnostics(diagnostics));
    }
    let program = check::check(&script, options, target, &mut diagnostics);
    let (Some(program), false) = (program, diagnostics.has_errors()) else {
        return Err(CompileFailure::Diagnostics(diagnostics));
    };
    if wants(Stage::Hir) {
        dump(Stage::Hir, &format!("{program:#?}"));
    }
    let module = match build::build(&program, target, (&source.name, &whole)) {
        Ok(module) => module,
        Err(error) => return Err(build_failure(error, diagnostics)),
    };
    if wants(Stage::Ir) {
        dump(Stage::Ir, &module.to_string());
    }
    let mut show = |stage: backend::Stage<'_>| {
        if let backend::Stage::Lowered(module) = stage {
            dump(Stage::Opt, &module.to_string());
        }
    };
    let mut compile_options = CompileOptions {
        features: features(target),
        passes: options.passes,
        record: options.record,
        dump: if wants(Stage::Opt) { Some(&mut show) } else { None },
    };
    let object = match backend::compile(module, &mut compile_options) {
        Ok(object) => object,
        Err(error) => return Err(compile_failure(error, &whole, diagnostics)),
    };
    if wants(Stage::Asm) {
        for program in &object.programs {
            dump(Stage::Asm, &skep_bpf::disasm::program(program, &object));
        }
    }
    Ok(Compiled { object, diagnostics })
}

/// What code generation may use on the target. What it cannot tell is left out.
pub fn features(target: &dyn Target) -> Features {
    let has = |feature| target.has(feature).unwrap_or(false);
    Features {
        cpu: if has(Feature::CpuV4) { Cpu::V4 } else { Cpu::V3 },
        fetch_atomics: has(Feature::FetchAtomics),
        may_goto: has(Feature::MayGoto),
        xdp_load_bytes: has(Feature::XdpFrags),
        arch: target.arch().unwrap_or(skep_bpf::target::Arch::X86_64),
        cpus: target.possible_cpus().ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
    }
}

fn build_failure(error: BuildError, mut diagnostics: Diagnostics) -> CompileFailure {
    let diagnostic = match &error {
        BuildError::Internal(why) => return CompileFailure::Internal(why.clone()),
        BuildError::Limit { message, span } => Diagnostic::error("limit", *span, message.clone()),
        BuildError::Unsupported { span, .. } => Diagnostic::error("unsupported", *span, error.to_string()),
        BuildError::Target(_) => Diagnostic::error("target", Span::default(), error.to_string()),
    };
    diagnostics.push(diagnostic);
    CompileFailure::Diagnostics(diagnostics)
}

fn compile_failure(error: CompileError, text: &str, mut diagnostics: Diagnostics) -> CompileFailure {
    let (what, loc, code) = match error {
        CompileError::Limit { what, loc, .. } => (what, loc, "limit"),
        CompileError::Unsupported { what, loc, .. } => (what, loc, "unsupported"),
        CompileError::Internal { .. } => return CompileFailure::Internal(error.to_string()),
    };
    diagnostics.push(Diagnostic::error(code, span_of(loc, text), what));
    CompileFailure::Diagnostics(diagnostics)
}

/// The rest of the line from `loc` on.
fn span_of(loc: Loc, text: &str) -> Span {
    let line_start: usize =
        text.split_inclusive('\n').take(loc.line.saturating_sub(1) as usize).map(str::len).sum();
    let line = text[line_start..].lines().next().unwrap_or("");
    let skip: usize = line.chars().take(loc.column.saturating_sub(1) as usize).map(char::len_utf8).sum();
    Span::new(line_start + skip, line_start + line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_the_rest_of_its_line() {
        let text = "a\nbé cd\n";
        let span = span_of(Loc { line: 2, column: 4 }, text);
        assert_eq!(&text[span.start as usize..span.end as usize], "cd");
        assert_eq!(span_of(Loc { line: 99, column: 9 }, text), Span::new(text.len(), text.len()));
    }
}
