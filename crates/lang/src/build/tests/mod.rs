//! Every construct gives IR that the compiler's checker accepts, and says what it should where that can be seen. The
//! trees are built by hand, so that nothing but the builder is tested.

mod events;
mod flow;
mod hist;
mod maps;
mod parts;
mod scripts;
mod values;

use super::{BuildError, build};
use crate::ast::{BinOp, Span};
use crate::hir::*;
use crate::ty::{Composite, CompositeDef, Space, Ty};
use skep_bpf::btf::{Btf, BtfBuilder, MemberDef};
use skep_bpf::event::{Action, Stream};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{BtfTarget, Counter, Storage};
use skep_bpf::schema::{Agg, Clock, StackFormat, StackMode};
use skep_bpf::target::{Answer, Arch, Feature, Question, Target, TargetError};
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{Module, Op, check};
use std::sync::Arc;

/// A target with the features of a kernel version.
pub(super) struct Fake(KernelVersion, Arc<Btf>);

impl Target for Fake {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Ok(match question {
            Question::KernelVersion => Answer::Version(self.0),
            Question::Arch => Answer::Arch(Arch::X86_64),
            Question::PossibleCpus => Answer::Number(4),
            Question::Has(feature) => Answer::Yes(feature.since() <= self.0),
            Question::Btf(_) => Answer::Btf(Arc::clone(&self.1)),
            other => return Err(TargetError::Unknown(format!("{other:?}"))),
        })
    }
}

pub(super) fn target(major: u16, minor: u16) -> Fake {
    let mut b = BtfBuilder::new();
    let (u32_id, u64_id) = (b.int("unsigned int", 4, false), b.int("unsigned long", 8, false));
    let member = |name, ty, bytes: u32| MemberDef { name, ty, bit_offset: bytes * 8, bit_size: 0 };
    let info = b.struct_("thread_info", 16, &[member("flags", u64_id, 0), member("status", u32_id, 8)]);
    let char_id = b.int("char", 1, true);
    let comm = b.array(char_id, 16);
    let members = [member("thread_info", info, 0), member("pid", u32_id, 24), member("comm", comm, 40)];
    b.struct_("task_struct", 64, &members);
    b.struct_("pt_regs", 168, &[member("di", u64_id, 112), member("orig_ax", u64_id, 120)]);
    Fake(KernelVersion::new(major, minor), Arc::new(Btf::parse(b.finish(), None).unwrap()))
}

pub(super) fn e(kind: ExprKind, ty: Ty) -> Expr {
    Expr { kind, ty, span: Span::new(3, 4) }
}

pub(super) fn int(value: i64) -> Expr {
    e(ExprKind::Int(value), Ty::I64)
}

pub(super) fn call(name: &'static str, ty: Ty) -> Expr {
    e(ExprKind::Call { name, args: Vec::new() }, ty)
}

pub(super) fn comm() -> Expr {
    call("comm", Ty::Str { size: 16 })
}

pub(super) fn text(s: &str) -> Expr {
    e(ExprKind::Str(s.as_bytes().to_vec()), Ty::Str { size: s.len() as u32 + 1 })
}

pub(super) fn user_str(size: u32) -> Expr {
    let pointer = Ty::Ptr { to: Box::new(Ty::Int { bits: 8, signed: true }), space: Space::User };
    let arg = e(ExprKind::Arg(Arg::Ctx { offset: 24 }), pointer);
    e(ExprKind::Call { name: "str", args: vec![arg] }, Ty::Str { size })
}

pub(super) fn var(n: u32, ty: Ty) -> Expr {
    e(ExprKind::Var(VarId(n)), ty)
}

pub(super) fn get(map: u32, key: Vec<Expr>, ty: Ty) -> Expr {
    e(ExprKind::MapGet { map: MapNo(map), key }, ty)
}

pub(super) fn s(kind: StmtKind) -> Stmt {
    Stmt { kind, span: Span::new(3, 4) }
}

pub(super) fn print(args: Vec<Expr>) -> Stmt {
    s(StmtKind::Emit {
        action: Action::Printf { format: Vec::new(), stream: Stream::Out },
        args,
        uses: Vec::new(),
    })
}

pub(super) fn agg(map: u32, key: Vec<Expr>, arg: Option<Expr>) -> Stmt {
    s(StmtKind::Aggregate { map: MapNo(map), key, arg, weight: None })
}

pub(super) fn map(name: &str, key: Vec<Ty>, value: Ty) -> Map {
    Map { name: name.to_owned(), key, value, kind: MapType::Hash, max_entries: 4096 }
}

pub(super) fn probe(body: Vec<Stmt>) -> Probe {
    Probe {
        session: crate::hir::Session::Alone,
        name: "tracepoint:a:b".to_owned(),
        symbol: "tracepoint_a_b".to_owned(),
        prog_type: ProgType::Tracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        packet: None,
        sleepable: false,
        check_pid: true,
        guard: Guard::None,
        predicate: None,
        body,
        vars: Vec::new(),
        span: Span::new(0, 10),
    }
}

pub(super) fn script(maps: Vec<Map>, vars: &[Ty], body: Vec<Stmt>) -> Program {
    let vars = vars.iter().enumerate().map(|(i, ty)| Var { name: format!("$v{i}"), ty: ty.clone() });
    let probe = Probe { vars: vars.collect(), ..probe(body) };
    Program { probes: vec![probe], maps, ..Program::default() }
}

/// Builds for a kernel and checks the IR.
pub(super) fn built_for(program: &Program, kernel: (u16, u16)) -> Module {
    let target = target(kernel.0, kernel.1);
    let module = build(program, &target, ("t.bt", "one line\nand another\n")).unwrap();
    if let Err(errors) = check(&module) {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", all.join("\n"));
    }
    module
}

pub(super) fn built(program: &Program) -> Module {
    for kernel in [(5, 10), (6, 1)] {
        let target = target(kernel.0, kernel.1);
        match build(program, &target, ("t.bt", "one line\nand another\n")) {
            Ok(module) => assert_eq!(check(&module), Ok(()), "{kernel:?}"),
            Err(BuildError::Unsupported { since: Some(_), .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    built_for(program, (6, 18))
}

pub(super) fn helpers(module: &Module) -> Vec<u32> {
    let ops = module.funcs.iter().flat_map(|f| f.insts.iter().map(|i| &i.op));
    ops.filter_map(|op| if let Op::Helper { id, .. } = op { Some(*id) } else { None }).collect()
}

use skep_bpf::helpers::id;
