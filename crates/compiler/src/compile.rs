//! The way through the compiler: a module and what the target can do enter, an object with programs leaves.
//!
//! Optimised first (or not), then lowered function by function, then put together program by program. The same module
//! and options give the same object. What goes wrong here is either a limit of the kernel that the program exceeds,
//! with its place, or a mistake of the compiler.

use skep_bpf::object::Object;
use skep_bpf::target::Arch;

use crate::ir::{Loc, Module, check};
use crate::pipeline::{PassOptions, optimize};

/// Instruction set versions, as compilers number them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cpu {
    /// The first. Compiled for as `V2`: every supported kernel has its jumps.
    V1,
    /// Jumps on less and less-or-equal (4.14).
    V2,
    /// 32-bit jumps (5.1).
    V3,
    /// Long jumps, sign extension, swaps, signed division (6.6).
    V4,
}

/// What the target can do, as far as code depends on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    /// Instruction set.
    pub cpu: Cpu,
    /// Atomic instructions that give the old value, and those other than addition (5.12).
    pub fetch_atomics: bool,
    /// may_goto (6.9).
    pub may_goto: bool,
    /// XDP programs can copy bytes of the packet through a helper (5.18).
    pub xdp_load_bytes: bool,
    /// Architecture.
    pub arch: Arch,
    /// Possible CPUs.
    pub cpus: u32,
}

impl Default for Features {
    /// A current kernel on a small x86-64 machine.
    fn default() -> Features {
        Features {
            cpu: Cpu::V4,
            fetch_atomics: true,
            may_goto: true,
            xdp_load_bytes: true,
            arch: Arch::X86_64,
            cpus: 1,
        }
    }
}

/// How a module is compiled.
#[derive(Default)]
pub struct CompileOptions<'a> {
    /// What the target can do.
    pub features: Features,
    /// Whether the optimising passes run.
    pub passes: bool,
    /// Whether the programs record their runs ([`skep_bpf::record`]).
    pub record: bool,
    /// Called with each stage.
    pub dump: Option<&'a mut dyn FnMut(Stage<'_>)>,
}

/// A stage of a compilation, for dumps.
pub enum Stage<'a> {
    /// The module after a pass, by name.
    Ir(&'a str, &'a Module),
    /// The module as it is selected from: after everything that changes the IR.
    Lowered(&'a Module),
    /// The finished object.
    Insns(&'a Object),
}

/// Why there is no object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompileError {
    /// The program exceeds a limit of the kernel.
    #[error("{what}")]
    Limit {
        /// What is too large, how large it is and may be.
        what: String,
        /// The function that it was found in.
        function: String,
        /// Where.
        loc: Loc,
    },
    /// The target lacks what the program needs.
    #[error("{what}")]
    Unsupported {
        /// What is needed, and the first kernel that has it.
        what: String,
        /// The function that needs it.
        function: String,
        /// Where.
        loc: Loc,
    },
    /// A mistake of the compiler.
    #[error("internal error: function {function}: {what}")]
    Internal {
        /// The function that it was found in.
        function: String,
        /// What does not hold.
        what: String,
    },
}

impl CompileError {
    pub(crate) fn internal(function: &str, what: String) -> CompileError {
        CompileError::Internal { function: function.to_owned(), what }
    }
}

/// Compiles `module`. The object is the module's, with programs, BTF and the compiler's own maps and counters added.
pub fn compile(mut module: Module, options: &mut CompileOptions<'_>) -> Result<Object, CompileError> {
    {
        let dump = &mut options.dump;
        let mut each = |stage: &str, module: &Module| {
            if let Some(dump) = dump {
                dump(Stage::Ir(stage, module));
            }
        };
        let mut passes = PassOptions { enabled: options.passes, dump: Some(&mut each) };
        optimize(&mut module, &mut passes).map_err(|e| CompileError::internal("", e.to_string()))?;
    }
    if options.record {
        crate::record::instrument(&mut module, &options.features)?;
        if cfg!(debug_assertions) {
            check(&module).map_err(|errors| {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                CompileError::internal("", format!("after recording was added: {first}"))
            })?;
        }
    }
    let codes = crate::lower::lower(&mut module, &options.features)?;
    if let Some(dump) = &mut options.dump {
        dump(Stage::Lowered(&module));
    }
    let object = crate::emit::emit(module, &codes)?;
    if let Some(dump) = &mut options.dump {
        dump(Stage::Insns(&object));
    }
    Ok(object)
}
