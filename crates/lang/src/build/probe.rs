//! A program's frame: the guard that makes a cheaper hook give the same events, the process filter, the predicate, the
//! body. Whatever refuses goes to one block that returns 0.

use super::func::{Body, Fx};
use super::module::ModuleCx;
use super::walk::{LoopRules, Plan};
use super::{BuildError, Result, internal, parts, session};
use crate::ast::Span;
use crate::hir::{Guard, Probe, Session};
use skep_bpf::btf::{NameKind, TypeId};
use skep_bpf::helpers::id as helper;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, CoreKind, CoreReloc};
use skep_bpf::target::{Arch, Feature, TargetExt};
use skep_compiler::ir::{
    BinOp, Block, Cc, FuncBuilder, FuncId, FuncKind, IntTy, Offset, ProgramDecl, PtrKind, Type, Value,
};
use std::rc::Rc;

/// Builds one program.
pub(super) fn build_probe<'a>(cx: &mut ModuleCx<'a>, probe: &'a Probe) -> Result<()> {
    let main = match probe.session {
        Session::Within => return Ok(()),
        Session::Alone => build_body(cx, probe, FuncKind::Main)?,
        Session::With(exit) => session::build(cx, probe, exit)?,
    };
    cx.add_program(ProgramDecl {
        main,
        name: probe.name.clone(),
        symbol: probe.symbol.clone(),
        prog_type: probe.prog_type,
        attach_type: probe.attach_type,
        attach_btf: probe.attach_btf.clone(),
        attach: probe.attach.clone(),
        sleepable: probe.sleepable,
    });
    Ok(())
}

/// Builds what one probe does, as a program's main function or one that it calls with the context.
pub(super) fn build_body<'a>(cx: &mut ModuleCx<'a>, probe: &'a Probe, kind: FuncKind) -> Result<FuncId> {
    cx.large = parts::is_large(probe) && cx.target.kernel_version()? >= parts::SINCE;
    let rules = LoopRules { bpf_loop: cx.has(Feature::Loop)? };
    let trial = probe.attach.iter().any(|a| matches!(a.at, Attach::Test | Attach::Bench));
    let parts = match cx.large && kind == FuncKind::Main && !trial && probe.packet.is_none() {
        true => parts::divide(probe, rules),
        false => Vec::new(),
    };
    let plan = Plan::in_parts(parts, probe.predicate.as_ref(), &probe.body, rules);
    let body = Body {
        probe: Some(probe),
        vars: &probe.vars,
        plan: Rc::new(plan),
        rules,
        stem: &probe.symbol,
        ret: None,
    };
    let name = match kind {
        FuncKind::Main => probe.symbol.clone(),
        _ => cx.func_name(&probe.symbol),
    };
    let f = FuncBuilder::new(&name, kind, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    let ctx = f.param(0);
    let mut fx = Fx::new(cx, f, body, Some(ctx), None);
    fx.at(probe.span);
    let refuse = fx.f.block(&[]);
    fx.unless_exited(refuse);
    fx.guard(&probe.guard, refuse)?;
    if probe.check_pid {
        fx.check_pid(refuse)?;
    }
    if let Some(source) = probe.packet {
        fx.enter_packet(source, refuse)?;
    }
    fx.enter(0)?;
    if let Some(predicate) = &probe.predicate {
        fx.at(predicate.span);
        let body = fx.f.block(&[]);
        fx.record_reads(predicate);
        fx.condition(predicate, body, refuse)?;
        fx.stop_recording();
        fx.f.switch_to(body);
    }
    fx.body_in_parts(&probe.body)?;
    fx.f.jump(refuse, &[]);
    fx.f.switch_to(refuse);
    let neutral = fx.neutral();
    let result = fx.f.iconst(Type::I32, neutral);
    fx.f.ret(result);
    let built = fx.f.finish();
    Ok(cx.add_func(built))
}

/// `TS_COMPAT` in `thread_info.status`, x86: the task runs a 32-bit system call (arch/x86/include/asm/thread_info.h).
const TS_COMPAT: u64 = 0x2;
/// `_TIF_32BIT` in `thread_info.flags`, arm64 (arch/arm64/include/asm/thread_info.h).
const TIF_32BIT: u64 = 1 << 22;

impl Fx<'_, '_> {
    /// Whether arguments of the program are pointers that the verifier knows by their BTF type.
    pub(super) fn has_btf_args(&self) -> bool {
        self.body.probe.is_some_and(|p| {
            p.prog_type == ProgType::Tracing && p.attach_type != AttachType::TraceIter
                || p.prog_type == ProgType::Lsm
        })
    }

    /// Whether pointers in the context are ones that the verifier knows by their BTF type.
    pub(super) fn has_typed_ctx(&self) -> bool {
        self.body.probe.is_some_and(|p| matches!(p.prog_type, ProgType::Tracing | ProgType::Lsm))
    }

    /// An interval that has called `exit()` does not run again: a short one might, before the session has read that and detached.
    fn unless_exited(&mut self, refuse: Block) {
        if !self.interval().is_some_and(|probe| super::walk::exits(&probe.body)) {
            return;
        }
        let flag = self.exit_flag();
        let exited = self.f.load(Type::U64, flag, 0);
        let first = self.f.block(&[]);
        self.f.branch_nonzero(exited, refuse, first);
        self.f.switch_to(first);
    }

    /// Notes that an interval has called `exit()`.
    pub(super) fn note_exit(&mut self) {
        if self.interval().is_some() {
            let flag = self.exit_flag();
            let one = self.f.u64(1);
            self.f.store(8, flag, 0, one);
        }
    }

    fn exit_flag(&mut self) -> Value {
        let map = self.cx.exit_map();
        self.f.map_value_addr(map, 0)
    }

    /// The probe, if it is an interval.
    fn interval(&self) -> Option<&Probe> {
        let timer = |probe: &&Probe| {
            probe.attach.iter().any(|point| matches!(point.at, Attach::PerfEvent { one_cpu: true, .. }))
        };
        self.body.probe.filter(timer)
    }

    fn guard(&mut self, guard: &Guard, refuse: Block) -> Result<()> {
        let (number, nr) = match guard {
            Guard::None => return Ok(()),
            Guard::Syscalls { exit, ranges } => {
                let number = self.syscall_number(*exit)?;
                self.within(number, ranges, refuse);
                return self.refuse_compat(refuse);
            }
            Guard::SysEnter { nr } => {
                let ctx = self.ctx()?;
                (self.f.load(Type::U64, ctx, 8), *nr)
            }
            Guard::SysExit { nr } => (self.number_at_exit()?, *nr),
        };
        let wanted = self.f.u64(u64::from(nr));
        let same = self.f.block(&[]);
        self.f.branch(Cc::Eq, number, wanted, same, refuse);
        self.f.switch_to(same);
        self.refuse_compat(refuse)
    }

    /// The number of the system call in a program on the raw tracepoint.
    pub(super) fn syscall_number(&mut self, exit: bool) -> Result<Value> {
        if exit {
            return self.number_at_exit();
        }
        let ctx = self.ctx()?;
        Ok(self.f.load(Type::U64, ctx, 8))
    }

    /// The number of the system call that ends: `orig_ax`, which rt_sigreturn sets to -1 (x86); `syscallno` (arm64).
    fn number_at_exit(&mut self) -> Result<Value> {
        let field = match self.cx.arch {
            Arch::X86_64 => "orig_ax",
            Arch::Aarch64 => "syscallno",
        };
        let (offset, size, _) = self.kernel_field("struct pt_regs", "pt_regs", &[field])?;
        let int = if size == 4 { IntTy::I32 } else { IntTy::U64 };
        let number = self.load_from_regs(0, offset, Type::Int(int))?;
        Ok(self.number(number))
    }

    /// Loads a register from the `struct pt_regs` that argument `arg` points to.
    pub(super) fn load_from_regs(&mut self, arg: u32, offset: u32, ty: Type) -> Result<Value> {
        let ctx = self.ctx()?;
        let at = (arg * 8) as i32;
        if self.has_btf_args() {
            let kind = PtrKind::Btf { type_id: 0, nullable: false };
            let regs = self.f.load(Type::Ptr(kind), ctx, at);
            return Ok(self.f.load(ty, regs, offset as i32));
        }
        let regs = self.f.load(Type::Ptr(PtrKind::Kernel), ctx, at);
        let address = self.f.ptr_add_imm(regs, i64::from(offset));
        self.probe_read(address, ty, false)
    }

    /// Goes on only where the task does not run a system call of the 32-bit table. (x32 numbers carry bit 30, so they
    /// differ from every number that is compared with.)
    fn refuse_compat(&mut self, refuse: Block) -> Result<()> {
        let (field, mask) = match self.cx.arch {
            Arch::X86_64 => ("status", TS_COMPAT),
            Arch::Aarch64 => ("flags", TIF_32BIT),
        };
        let (offset, size, reloc) =
            self.kernel_field("struct task_struct", "task_struct", &["thread_info", field])?;
        let ty = if size == 4 { Type::U32 } else { Type::U64 };
        let off = Offset { add: 0, core: Some((offset, reloc)) };
        let task = self.current_task()?;
        let status = match self.f.type_of(task) {
            Type::Ptr(PtrKind::Btf { .. }) => self.f.load_field(ty, task, off),
            _ => {
                let address = self.offset_address(task, &off);
                self.probe_read(address, ty, false)?
            }
        };
        let mask = self.f.iconst(ty, mask as i64);
        let bits = self.f.bin(BinOp::And, ty, status, mask);
        let zero = self.zero_of(ty);
        let native = self.f.block(&[]);
        self.f.branch(Cc::Eq, bits, zero, native, refuse);
        self.f.switch_to(native);
        Ok(())
    }

    /// The current task: by BTF type where the kernel has the helper (5.11), else a plain address.
    pub(super) fn current_task(&mut self) -> Result<Value> {
        if self.cx.has(Feature::CurrentTaskBtf)? {
            let kind = PtrKind::Btf { type_id: self.task_type()?, nullable: false };
            return Ok(self.f.helper(helper::GET_CURRENT_TASK_BTF, &[], Type::Ptr(kind)));
        }
        Ok(self.f.helper(helper::GET_CURRENT_TASK, &[], Type::Ptr(PtrKind::Kernel)))
    }

    fn task_type(&mut self) -> Result<u32> {
        let btf = self.cx.target.vmlinux()?;
        Ok(btf.find(NameKind::Struct, "task_struct").map_or(0, |id| id.0))
    }

    /// Offset, size and CO-RE form of a field of a kernel struct, by the path of its names.
    pub(super) fn kernel_field(
        &mut self,
        name: &str,
        tag: &str,
        path: &[&str],
    ) -> Result<(u32, u32, CoreReloc)> {
        let missing = |what: &str| BuildError::Unsupported {
            what: format!("reading `{}` of {name} ({what} in the kernel's types)", path.join(".")),
            since: None,
            span: Span::default(),
        };
        let btf = self.cx.target.vmlinux()?;
        let root = btf.find(NameKind::Struct, tag).ok_or_else(|| missing("no such struct"))?;
        let (mut at, mut offset, mut core) = (root, 0u32, vec![0u32]);
        for field in path {
            let found = btf.find_member(at, field).ok_or_else(|| missing("no such field"))?;
            offset += found.byte_offset() as u32;
            core.extend_from_slice(found.path.get(1..).unwrap_or(&[]));
            at = btf.resolve(found.ty);
        }
        let Some(size) = btf.size_of(at) else {
            return internal(format!("{name}.{} has no size", path.join(".")));
        };
        let TypeId(root) = root;
        let reloc =
            CoreReloc { root, root_name: name.to_owned(), path: core, kind: CoreKind::FieldByteOffset };
        Ok((offset, size, reloc))
    }

    /// `-p`: goes on only in that process, as skep's own PID namespace numbers it.
    fn check_pid(&mut self, refuse: Block) -> Result<()> {
        let Some(filter) = self.cx.program.config.pid else { return Ok(()) };
        let pid = self.process_id(Some(refuse))?;
        let wanted = self.f.iconst(Type::U32, i64::from(filter.pid));
        let same = self.f.block(&[]);
        self.f.branch(Cc::Eq, pid, wanted, same, refuse);
        self.f.switch_to(same);
        Ok(())
    }
}
