//! Emission: functions' machine code enters, programs leave.
//!
//! A program is its main function and, behind it in the order they are first referred to, every function that it
//! calls or passes to a helper. Calls and function addresses become offsets within the program; what only the loader
//! knows becomes relocations. BTF and line info are the object's, shared by its programs.

mod debug;

use skep_bpf::insn::Insn;
use skep_bpf::object::{Object, Program, Reloc};

use crate::compile::CompileError;
use crate::ir::{FuncId, Loc, Module, ProgramDecl};
use crate::lower::{FuncCode, Open};

/// Instructions of a program at most (BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h, Linux 5.10 to 6.18).
const MOST_INSNS: u32 = 1_000_000;

/// Makes the object.
pub(crate) fn emit(module: Module, codes: &[FuncCode]) -> Result<Object, CompileError> {
    let mut debug = debug::Debug::new(&module);
    let mut programs = Vec::new();
    for decl in &module.programs {
        programs.push(program(decl, &module, codes, &mut debug)?);
    }
    let mut object = module.object;
    object.programs = programs;
    object.btf = debug.finish();
    Ok(object)
}

/// The functions of a program: the main one, then the others as they are first referred to.
fn reached(main: FuncId, module: &Module, codes: &[FuncCode]) -> Result<Vec<FuncId>, CompileError> {
    let mut order = vec![main];
    let mut seen = vec![false; codes.len()];
    let mut next = 0;
    while let Some(&func) = order.get(next) {
        next += 1;
        let Some(code) = codes.get(func.index()) else {
            let name = module.funcs.first().map_or("", |f| &f.name);
            return Err(CompileError::internal(name, format!("there is no function {func}")));
        };
        seen[func.index()] = true;
        for &callee in &code.refers {
            let known = seen.get_mut(callee.index()).map(|s| std::mem::replace(s, true));
            if known != Some(true) {
                order.push(callee);
            }
        }
    }
    Ok(order)
}

fn program(
    decl: &ProgramDecl,
    module: &Module,
    codes: &[FuncCode],
    debug: &mut debug::Debug,
) -> Result<Program, CompileError> {
    let order = reached(decl.main, module, codes)?;
    let mut starts = vec![None; codes.len()];
    let mut len = 0u32;
    for func in &order {
        starts[func.index()] = Some(len);
        len = len.saturating_add(codes[func.index()].len);
    }
    if len > MOST_INSNS {
        let what = format!("the program has {len} instructions, the kernel allows {MOST_INSNS}");
        let function = module.funcs[decl.main.index()].name.clone();
        return Err(CompileError::Limit { what, function, loc: Loc::default() });
    }
    let mut out = Program {
        name: decl.name.clone(),
        symbol: decl.symbol.clone(),
        prog_type: decl.prog_type,
        attach_type: decl.attach_type,
        attach_btf: decl.attach_btf.clone(),
        attach: decl.attach.clone(),
        sleepable: decl.sleepable,
        insns: Vec::with_capacity(len as usize),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    for func in &order {
        let start = out.insns.len() as u32;
        out.funcs.push(debug.func(*func, module, start, decl.prog_type));
        debug.lines(&codes[func.index()], start, &mut out.lines);
        for (item, _) in &codes[func.index()].items {
            let insn = place(item.insn, item.open.as_ref(), &starts, &mut out);
            out.insns.push(insn);
            out.insns.extend(item.second);
        }
    }
    Ok(out)
}

/// The instruction as the program has it at its end; relocations are noted.
fn place(mut insn: Insn, open: Option<&Open>, starts: &[Option<u32>], out: &mut Program) -> Insn {
    let at = out.insns.len() as u32;
    match open {
        None => {}
        Some(Open::Reloc(kind)) => out.relocs.push(Reloc { insn: at, kind: kind.clone() }),
        Some(Open::Func(func)) => {
            // Both a call and an address count from the next slot.
            let start = starts.get(func.index()).copied().flatten().unwrap_or(at);
            insn.imm = (i64::from(start) - i64::from(at) - 1) as i32;
        }
    }
    insn
}
