//! Whole programs of a filter: what a packet socket, an XDP or a TC hook runs.

use super::emit::{self, Place};
use super::{Filter, Source};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Object;
use skep_compiler::ir::{FuncBuilder, FuncId, FuncKind, IntTy, Module, ProgramDecl, PtrKind, Type};
use skep_compiler::layers::{Context, Mode, Reader};

/// What a program returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdicts {
    /// For packets that match.
    pub matched: i32,
    /// For all others.
    pub other: i32,
}

impl Filter {
    /// The type of the program that the filter's source runs.
    pub fn program_type(&self) -> ProgType {
        match self.options.source {
            Source::File { .. } | Source::Socket => ProgType::SocketFilter,
            Source::Xdp => ProgType::Xdp,
            Source::Tc { .. } => ProgType::SchedCls,
        }
    }

    /// How the program reads packets. `beyond`: also those of several buffers.
    pub fn mode(&self, beyond: bool) -> Mode {
        match self.program_type() {
            ProgType::Xdp => Mode::Direct { context: Context::Xdp, beyond },
            ProgType::SchedCls => Mode::Direct { context: Context::Skb, beyond },
            _ => Mode::Load { context: Context::Skb },
        }
    }

    /// Emits the filter into a function that is being built, at the builder's place, which ends there.
    pub fn emit(&self, f: &mut FuncBuilder, place: &Place<'_>) {
        emit::emit(&self.graph, &self.preds, self.rules(), f, place);
    }

    /// A module with one program that returns a verdict.
    pub fn module(&self, name: &str, mode: Mode, verdicts: Verdicts) -> Module {
        let mut f = FuncBuilder::new(name, FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
        let ctx = f.param(0);
        let reader = Reader::new(&mut f, mode, ctx);
        let (matched, other) = (f.block(&[]), f.block(&[]));
        let program = self.program_type();
        self.emit(&mut f, &Place { reader: &reader, program, len: None, matched, other });
        for (block, verdict) in [(matched, verdicts.matched), (other, verdicts.other)] {
            f.switch_to(block);
            let verdict = f.iconst(Type::I32, verdict.into());
            f.ret(verdict);
        }
        whole(f, name, program)
    }

    /// A program for the offline machine, which gives it packets one after the other. It has the context of XDP, with the bytes
    /// that the packet begins with, no more than are told here, and the packet's own length in place of the interface; it returns 1
    /// for packets that match. `None`: what it reads may lie farther away than a packet's headers.
    pub fn in_memory(&self) -> Option<(Module, u32)> {
        /// Places in struct xdp_md (include/uapi/linux/bpf.h).
        const INTERFACE: i32 = 12;
        /// Most bytes of a packet that are worth to be copied.
        const FAR: u64 = 1024;
        let reach = emit::reach(&self.graph, &self.preds).filter(|reach| *reach <= FAR)?;
        let mut f = FuncBuilder::new("filter", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
        let ctx = f.param(0);
        let reader = Reader::new(&mut f, Mode::Direct { context: Context::Xdp, beyond: false }, ctx);
        let len = f.load(Type::U32, ctx, INTERFACE);
        let len = Some(f.extend(len, IntTy::U64));
        let (matched, other) = (f.block(&[]), f.block(&[]));
        let program = ProgType::Xdp;
        self.emit(&mut f, &Place { reader: &reader, program, len, matched, other });
        for (block, verdict) in [(matched, 1), (other, 0)] {
            f.switch_to(block);
            let verdict = f.iconst(Type::I32, verdict);
            f.ret(verdict);
        }
        Some((whole(f, "filter", program), reach as u32))
    }
}

/// A module of one program.
fn whole(f: FuncBuilder, name: &str, program: ProgType) -> Module {
    Module {
        funcs: vec![f.finish()],
        programs: vec![ProgramDecl {
            main: FuncId(0),
            name: name.to_owned(),
            symbol: name.to_owned(),
            prog_type: program,
            attach_type: AttachType::None,
            attach_btf: None,
            attach: Vec::new(),
            sleepable: false,
        }],
        object: Object { license: "Dual MIT/GPL".to_owned(), ..Object::default() },
        ..Module::default()
    }
}
