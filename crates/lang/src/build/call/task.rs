//! Who and where: the current task, CPU, function, symbols.

use super::super::func::Fx;
use super::super::{BuildError, Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_bpf::object::Attach;
use skep_bpf::target::{Arch, TargetExt};
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{BinOp, Block, Cc, IntTy, Op, PtrKind, Type, Value};

impl Fx<'_, '_> {
    /// tgid << 32 | pid, in the initial namespace.
    fn pid_tgid(&mut self) -> Value {
        self.f.helper(helper::GET_CURRENT_PID_TGID, &[], Type::U64)
    }

    fn high_half(&mut self, word: Value) -> Value {
        let half = self.f.u64(32);
        let high = self.f.bin(BinOp::Lshr, Type::U64, word, half);
        self.f.cast(high, Type::U32)
    }

    /// Process id in the initial namespace, u32.
    pub(in super::super) fn initial_tgid(&mut self) -> Value {
        let both = self.pid_tgid();
        self.high_half(both)
    }

    /// Process id in skep's namespace, u32; 0 where the task has none there, or on to `none` if that is given.
    pub(in super::super) fn process_id(&mut self, none: Option<Block>) -> Result<Value> {
        match self.cx.program.config.pid_ns {
            None => Ok(self.initial_tgid()),
            Some(ns) => self.in_namespace(ns, 4, none),
        }
    }

    /// Reads `struct bpf_pidns_info { u32 pid, tgid; }`, which is zeroed where the task is not in the namespace.
    fn in_namespace(&mut self, (dev, ino): (u64, u64), field: i32, none: Option<Block>) -> Result<Value> {
        let info = self.scratch(8, "pidns");
        let (dev, ino, size) = (self.f.u64(dev), self.f.u64(ino), self.f.u64(8));
        let result = self.call(helper::GET_NS_CURRENT_PID_TGID, &[dev, ino, info, size]);
        if let Some(none) = none {
            let there = self.f.block(&[]);
            let zero = self.f.iconst(Type::I64, 0);
            self.f.branch(Cc::Eq, result, zero, there, none);
            self.f.switch_to(there);
        }
        Ok(self.f.load(Type::U32, info, field))
    }
}

pub(super) fn pid(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    fx.process_id(None)
}

pub(super) fn tid(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    match fx.cx.program.config.pid_ns {
        None => Ok(low_half(fx)),
        Some(ns) => fx.in_namespace(ns, 0, None),
    }
}

fn low_half(fx: &mut Fx<'_, '_>) -> Value {
    let both = fx.pid_tgid();
    fx.f.extend(both, IntTy::U32)
}

pub(super) fn pid_init(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.initial_tgid())
}

pub(super) fn tid_init(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(low_half(fx))
}

fn uid_gid(fx: &mut Fx<'_, '_>) -> Value {
    fx.f.helper(helper::GET_CURRENT_UID_GID, &[], Type::U64)
}

pub(super) fn uid(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    let both = uid_gid(fx);
    Ok(fx.f.extend(both, IntTy::U32))
}

pub(super) fn gid(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    let both = uid_gid(fx);
    Ok(fx.high_half(both))
}

pub(super) fn cpu(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::GET_SMP_PROCESSOR_ID, &[], Type::U64))
}

pub(super) fn numaid(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::GET_NUMA_NODE_ID, &[], Type::U64))
}

pub(super) fn rand(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    let word = fx.f.helper(helper::GET_PRANDOM_U32, &[], Type::U64);
    Ok(fx.f.extend(word, IntTy::U32))
}

pub(super) fn cgroup(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::GET_CURRENT_CGROUP_ID, &[], Type::U64))
}

/// Whether user mode was interrupted: the privilege level in the code segment (x86), the mode in pstate (arm64).
pub(super) fn usermode(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr) -> Result<Value> {
    if !fx.ctx_is_regs() {
        return Ok(fx.f.iconst(Type::U64, 0));
    }
    let (offset, mask, user) = match fx.cx.arch {
        Arch::X86_64 => (136, 3, 3),
        Arch::Aarch64 => (264, 0xf, 0),
    };
    fx.at(e.span);
    let ctx = fx.ctx()?;
    let word = fx.f.load(Type::U64, ctx, offset);
    let mask = fx.f.u64(mask);
    let level = fx.f.bin(BinOp::And, Type::U64, word, mask);
    let user = fx.f.u64(user);
    Ok(fx.f.cmp(Cc::Eq, level, user))
}

pub(super) fn curtask(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr) -> Result<Value> {
    match &e.ty {
        Ty::Ptr { space: Space::Btf, .. } => fx.current_task(),
        _ => Ok(fx.f.helper(helper::GET_CURRENT_TASK, &[], Type::Ptr(PtrKind::Kernel))),
    }
}

pub(super) fn context(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    fx.ctx()
}

/// First kernel that tells a program on a function's return where the function begins (bpf_get_func_ip).
const FUNC_IP_SINCE: KernelVersion = KernelVersion::new(5, 15);

/// Whether the program runs where a function returns: the registers then say where it returns to.
fn at_return(fx: &Fx<'_, '_>) -> bool {
    let first = fx.body.probe.and_then(|probe| probe.attach.first());
    matches!(
        first.map(|point| &point.at),
        Some(
            Attach::Uprobe { ret: true, .. }
                | Attach::UprobeMulti { ret: true, .. }
                | Attach::Kprobe { ret: true, .. }
                | Attach::KprobeMulti { ret: true, .. }
        )
    )
}

fn function_address(fx: &mut Fx<'_, '_>) -> Result<Value> {
    let ctx = fx.ctx()?;
    let asked = at_return(fx) && fx.cx.target.kernel_version()? >= FUNC_IP_SINCE;
    if fx.ctx_is_regs() && !asked {
        let ip = match fx.cx.arch {
            Arch::X86_64 => 128,
            Arch::Aarch64 => 256,
        };
        return Ok(fx.f.load(Type::U64, ctx, ip));
    }
    Ok(fx.f.helper(helper::GET_FUNC_IP, &[ctx], Type::U64))
}

pub(super) fn func(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    function_address(fx)
}

pub(super) fn user_func(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr, to: Value, off: i32) -> Result<()> {
    let address = function_address(fx)?;
    put_user_symbol(fx, address, to, off)
}

/// Where a symbol of the probe's binary lies in the process, given its address in the binary and that of the probe.
pub(super) fn uaddr(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let (ExprKind::Int(symbol), ExprKind::Int(probed)) = (&arg(args, 0)?.kind, &arg(args, 1)?.kind) else {
        return internal("uaddr of unknown addresses");
    };
    let here = function_address(fx)?;
    let here = fx.number(here);
    let address = fx.f.add_imm(here, symbol.wrapping_sub(*probed));
    Ok(fx.f.cast(address, Type::Ptr(PtrKind::User)))
}

pub(super) fn ksym(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let address = fx.value(arg(args, 0)?)?;
    Ok(fx.number(address))
}

pub(super) fn usym(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr, to: Value, off: i32) -> Result<()> {
    let address = fx.value(arg(args, 0)?)?;
    put_user_symbol(fx, address, to, off)
}

/// u64 address, u32 process as skep sees it, u32 zero.
fn put_user_symbol(fx: &mut Fx<'_, '_>, address: Value, to: Value, off: i32) -> Result<()> {
    fx.f.store(8, to, off, address);
    let pid = fx.process_id(None)?;
    fx.f.store(8, to, off + 8, pid);
    Ok(())
}

/// Address of a per-CPU variable: on a CPU (null if there is no such CPU), or on this one.
pub(super) fn percpu_kaddr(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let ExprKind::Str(name) = &arg(args, 0)?.kind else { return internal("percpu_kaddr of no name") };
    let Ok(name) = String::from_utf8(name.clone()) else {
        return Err(BuildError::Unsupported { what: "this symbol".to_owned(), since: None, span: e.span });
    };
    let kind = Type::Ptr(PtrKind::Btf { type_id: 0, nullable: false });
    let symbol = fx.f.push_value(Op::KernelSymbol(name), kind);
    let address = match args.get(1) {
        Some(cpu) => {
            let cpu = fx.value(cpu)?;
            let nullable = Type::Ptr(PtrKind::Btf { type_id: 0, nullable: true });
            let found = fx.f.helper(helper::PER_CPU_PTR, &[symbol, cpu], nullable);
            let zero = fx.f.u64(0);
            let ty = Type::U64;
            return fx.either((Cc::Eq, found, zero), ty, &mut |fx| Ok(fx.f.u64(0)), &mut |fx| {
                let there = fx.f.cast(found, kind);
                Ok(fx.number(there))
            });
        }
        None => fx.f.helper(helper::THIS_CPU_PTR, &[symbol], kind),
    };
    Ok(fx.number(address))
}
