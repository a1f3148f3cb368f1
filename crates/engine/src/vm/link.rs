//! From an object to programs that run: maps are created, every open reference gets its address, instructions are decoded.
//!
//! Always: what leaves refers only to maps, functions and kernel functions that are there; jumps stay within their function.

use skep_bpf::btf::{Btf, BtfError, TypeId};
use skep_bpf::core::CoreError;
use skep_bpf::core::link::{POISON, relocate};
use skep_bpf::insn::{Insn, pseudo};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{self, Ksym, KsymKind, Object, RelocKind};

use super::VmError;
use super::charge::charges;
use super::fault::SourceLine;
use super::memory::{MapId, code_address};
use super::op::{DecodeError, Op, decode, target};
use super::program::{Kfunc, Notes, Probe, Program};
use super::state::State;
use crate::helpers::kfuncs;

/// A program or an object that cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// An instruction that is none.
    #[error("program `{program}`, {error}")]
    Decode {
        /// The program.
        program: String,
        /// What is wrong.
        error: DecodeError,
    },
    /// A kernel function that the machine does not have.
    #[error(
        "program `{program}`, instruction {insn}: the machine does not have the kernel function `{name}`"
    )]
    Kfunc {
        /// The program.
        program: String,
        /// The instruction.
        insn: u32,
        /// The function.
        name: String,
    },
    /// A variable of the kernel that the machine does not have.
    #[error(
        "program `{program}`, instruction {insn}: the machine does not have the kernel variable `{name}`"
    )]
    Symbol {
        /// The program.
        program: String,
        /// The instruction.
        insn: u32,
        /// The variable.
        name: String,
    },
    /// A reference that does not fit.
    #[error("program `{program}`, instruction {insn}: {what}")]
    Reference {
        /// The program.
        program: String,
        /// The instruction.
        insn: u32,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Types that are needed and cannot be read.
    #[error("types of the object: {0}")]
    Types(#[from] BtfError),
    /// A field that the kernel whose types were given does not have, where the program relies on it.
    #[error("program `{program}`, instruction {insn}: {error}")]
    Core {
        /// The program.
        program: String,
        /// The instruction.
        insn: u32,
        /// Why.
        error: CoreError,
    },
    /// A map or memory.
    #[error(transparent)]
    Vm(#[from] VmError),
}

/// Creates the maps of an object and links its programs. `types` are those of the kernel that the object is to run as on; without
/// them it keeps the values that it was compiled with.
pub(super) fn object(
    object: &Object,
    types: Option<&Btf>,
    state: &mut State,
) -> Result<(Vec<Program>, Vec<MapId>), LinkError> {
    let mut maps = Vec::with_capacity(object.maps.len());
    for spec in &object.maps {
        maps.push(state.maps.create(spec, &mut state.memory, state.env.cpus)?);
    }
    let local = match object.btf.is_empty() {
        true => None,
        false => Some(Btf::parse(object.btf.clone(), None)?),
    };
    let mut programs = Vec::with_capacity(object.programs.len());
    for program in &object.programs {
        let mut insns = program.insns.clone();
        if let (Some(types), Some(local), Some(_)) = (types, &local, &object.origin) {
            // Where a field is missing the instruction has become a call of no helper, and faults when it is reached.
            relocate(program, &mut insns, local, types);
        }
        let names = |map: usize| object.maps.get(map).map(|spec| spec.name.clone());
        let mut draft = Draft::new(&program.name, insns)?;
        draft.relocate(&program.relocs, &maps, &names, state)?;
        let mut linked = draft.finish(program.prog_type, program.attach_type, &maps, state)?;
        linked.gpl = is_gpl(&object.license);
        if let Some(local) = &local {
            describe(&mut linked, program, local);
        }
        programs.push(linked);
    }
    Ok((programs, maps))
}

/// Links bare instructions. Their maps are numbers in `maps`.
pub(super) fn raw(
    name: &str,
    prog_type: ProgType,
    insns: &[Insn],
    maps: &[MapId],
    state: &mut State,
) -> Result<Program, LinkError> {
    Draft::new(name, insns.to_vec())?.finish(prog_type, AttachType::None, maps, state)
}

/// The licenses that the kernel takes as compatible (include/linux/license.h, Linux 6.18).
fn is_gpl(license: &str) -> bool {
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"]
        .contains(&license)
}

/// A program on its way.
struct Draft {
    name: String,
    insns: Vec<Insn>,
    ops: Vec<Op>,
    kfuncs: Vec<Kfunc>,
    names: Vec<(u32, String)>,
    /// Slots whose reference has been filled in.
    done: Vec<bool>,
}

impl Draft {
    fn new(name: &str, insns: Vec<Insn>) -> Result<Draft, LinkError> {
        let ops = decode(&insns).map_err(|error| LinkError::Decode { program: name.to_owned(), error })?;
        let done = vec![false; ops.len()];
        Ok(Draft { name: name.to_owned(), insns, ops, kfuncs: Vec::new(), names: Vec::new(), done })
    }

    fn refuse(&self, insn: usize, what: impl Into<String>) -> LinkError {
        LinkError::Reference { program: self.name.clone(), insn: insn as u32, what: what.into() }
    }

    /// Fills in what an object's relocations name.
    fn relocate(
        &mut self,
        relocs: &[object::Reloc],
        maps: &[MapId],
        names: &dyn Fn(usize) -> Option<String>,
        state: &mut State,
    ) -> Result<(), LinkError> {
        for reloc in relocs {
            let at = reloc.insn as usize;
            match &reloc.kind {
                RelocKind::Map(map) | RelocKind::MapValue(map) => {
                    let id = maps.get(*map).copied();
                    let id = id.ok_or_else(|| self.refuse(at, format!("there is no map {map}")))?;
                    let whole = matches!(reloc.kind, RelocKind::Map(_));
                    self.map(at, id, whole, state)?;
                    self.names.extend(names(*map).map(|name| (reloc.insn, name)));
                }
                RelocKind::Kfunc(name) => self.kfunc(at, name)?,
                RelocKind::KernelSymbol(name) => self.symbol(at, name, state)?,
                RelocKind::Ksym(ksym) => self.ksym(at, ksym, state)?,
                RelocKind::Core(_) => {}
            }
        }
        Ok(())
    }

    /// Puts the address of a map, or of its first value, into a 64-bit immediate.
    fn map(&mut self, at: usize, id: MapId, whole: bool, state: &State) -> Result<(), LinkError> {
        let offset = self.insns.get(at + 1).map_or(0, |second| second.imm as u32);
        let address = match whole {
            true => state.maps.handle(id).map(|handle| handle.get()),
            false => {
                let values = state.maps.get(id).and_then(|map| map.values());
                values.map(|first| first.get() + u64::from(offset))
            }
        };
        let what = "an instruction addresses the values of a map that is no array";
        let address = address.ok_or_else(|| self.refuse(at, what))?;
        self.fill(at, address)
    }

    /// Puts a value into the 64-bit immediate at `at`.
    fn fill(&mut self, at: usize, address: u64) -> Result<(), LinkError> {
        match (self.ops.get_mut(at), self.done.get_mut(at)) {
            (Some(Op::Const { value, .. }), Some(done)) => {
                (*value, *done) = (address, true);
                Ok(())
            }
            _ => Err(self.refuse(at, "a reference to a map or variable belongs to a 64-bit immediate")),
        }
    }

    /// A symbol that may be missing: its address is then 0, and a call of it faults when it is reached.
    fn ksym(&mut self, at: usize, ksym: &Ksym, state: &State) -> Result<(), LinkError> {
        let found = match ksym.kind {
            KsymKind::Call => self.kfunc(at, &ksym.name),
            KsymKind::Address | KsymKind::Typed => self.symbol(at, &ksym.name, state),
        };
        match (found, ksym.kind, self.ops.get_mut(at)) {
            (Err(LinkError::Kfunc { .. }), KsymKind::Call, Some(op)) if ksym.weak => {
                *op = Op::Call { helper: POISON as u32 };
                Ok(())
            }
            (Err(LinkError::Symbol { .. }), _, _) if ksym.weak => self.fill(at, 0),
            (found, ..) => found,
        }
    }

    fn kfunc(&mut self, at: usize, name: &str) -> Result<(), LinkError> {
        let insn = at as u32;
        let function = kfuncs::by_name(name).ok_or_else(|| LinkError::Kfunc {
            program: self.name.clone(),
            insn,
            name: name.to_owned(),
        })?;
        let number = self.kfuncs.len() as u32;
        match (self.ops.get_mut(at), self.done.get_mut(at)) {
            (Some(Op::Kfunc { index }), Some(done)) => (*index, *done) = (number, true),
            _ => return Err(self.refuse(at, format!("a reference to `{name}()` belongs to a call"))),
        }
        self.kfuncs.push(Kfunc { name: name.to_owned(), function });
        self.names.push((insn, name.to_owned()));
        Ok(())
    }

    fn symbol(&mut self, at: usize, name: &str, state: &State) -> Result<(), LinkError> {
        let address = state.env.kernel_symbol(name).ok_or_else(|| LinkError::Symbol {
            program: self.name.clone(),
            insn: at as u32,
            name: name.to_owned(),
        })?;
        self.names.push((at as u32, name.to_owned()));
        self.fill(at, address)
    }

    /// Resolves what instructions say themselves, and checks that functions are whole.
    fn finish(
        mut self,
        prog_type: ProgType,
        attach_type: AttachType,
        maps: &[MapId],
        state: &State,
    ) -> Result<Program, LinkError> {
        let mut functions = vec![0];
        for at in 0..self.ops.len() {
            match self.ops[at] {
                Op::CallLocal { to } => functions.push(to),
                Op::Const { value, .. } => functions.extend(self.immediate(at, value, maps, state)?),
                Op::Kfunc { index } if !self.done[at] => {
                    return Err(self.refuse(
                        at,
                        format!("a call of a kernel function by its BTF id ({index}); a name is needed"),
                    ));
                }
                _ => {}
            }
        }
        functions.sort_unstable();
        functions.dedup();
        self.stay_within(&functions)?;
        let charge = charges(&self.ops, &functions);
        self.names.sort();
        Ok(Program {
            name: self.name,
            prog_type,
            attach_type,
            gpl: true,
            insns: self.insns,
            ops: self.ops,
            charge,
            functions,
            kfuncs: self.kfuncs,
            probe: probe(prog_type),
            notes: Notes { names: self.names, ..Notes::default() },
        })
    }

    /// A 64-bit immediate that nothing has filled in: a number, a function of the program, or a map by its number. What leaves is
    /// the first instruction of a function.
    fn immediate(
        &mut self,
        at: usize,
        value: u64,
        maps: &[MapId],
        state: &State,
    ) -> Result<Option<u32>, LinkError> {
        let insn = self.insns[at];
        if self.done[at] || insn.src == 0 {
            return Ok(None);
        }
        let by_number = |draft: &Draft| {
            let id = usize::try_from(insn.imm).ok().and_then(|index| maps.get(index)).copied();
            id.ok_or_else(|| draft.refuse(at, format!("there is no map {}", insn.imm)))
        };
        match insn.src {
            pseudo::FUNC => {
                let start = value as u32;
                if !matches!(self.ops.get(start as usize), Some(op) if *op != Op::Second) {
                    return Err(self.refuse(at, "the address of a function outside of the program"));
                }
                self.fill(at, code_address(start))?;
                Ok(Some(start))
            }
            pseudo::MAP_FD | pseudo::MAP_IDX => {
                let id = by_number(self)?;
                self.map(at, id, true, state).map(|()| None)
            }
            pseudo::MAP_VALUE | pseudo::MAP_IDX_VALUE => {
                let id = by_number(self)?;
                self.map(at, id, false, state).map(|()| None)
            }
            _ => Err(self.refuse(at, "a kernel variable by its BTF id; a name is needed")),
        }
    }

    /// Jumps lead to instructions of the same function, and no function runs into the next
    /// (`check_subprogs`, kernel/bpf/verifier.c, Linux 6.18).
    fn stay_within(&self, functions: &[u32]) -> Result<(), LinkError> {
        let of = |insn: u32| functions.partition_point(|start| *start <= insn);
        for (at, op) in (0u32..).zip(&self.ops) {
            let jump = target(*op).filter(|_| !matches!(op, Op::CallLocal { .. }));
            if let Some(to) = jump.filter(|to| of(*to) != of(at)) {
                return Err(self.refuse(at as usize, format!("a jump into another function, to {to}")));
            }
        }
        for start in functions.iter().filter(|start| **start > 0) {
            let last = *start as usize - 1;
            if !matches!(self.ops.get(last), Some(Op::Exit | Op::Jump { .. })) {
                let what =
                    format!("the function goes on into the one at {start}; it ends with `exit` or `goto`");
                return Err(self.refuse(last, what));
            }
        }
        Ok(())
    }
}

/// Kinds of programs whose loads may read memory of the kernel.
fn probe(prog_type: ProgType) -> Probe {
    use ProgType::*;
    match prog_type {
        Tracing | Lsm | StructOps | Ext => Probe::KernelOrNull,
        Kprobe | Tracepoint | PerfEvent | RawTracepoint | RawTracepointWritable | Syscall | Netfilter => {
            Probe::Kernel
        }
        // `bpf_cast_to_kern_ctx` and `bpf_rdonly_cast` give pointers to these as well.
        SchedCls | SchedAct | Xdp => Probe::Kernel,
        _ => Probe::Never,
    }
}

/// Takes over functions' names and source lines.
fn describe(linked: &mut Program, program: &object::Program, types: &Btf) {
    let functions = program.funcs.iter();
    linked.notes.functions = functions
        .filter_map(|f| match types.get(TypeId(f.type_id))? {
            skep_bpf::btf::Type::Func { name, .. } => Some((f.insn, name.to_owned())),
            _ => None,
        })
        .collect();
    let lines = program.lines.iter().map(|l| {
        let (file, text) = (types.string(l.file).to_owned(), types.string(l.text).to_owned());
        (l.insn, SourceLine { file, line: l.line, column: l.column, text })
    });
    linked.notes.lines = lines.collect();
    linked.notes.functions.sort();
    linked.notes.lines.sort_by_key(|(insn, _)| *insn);
}
