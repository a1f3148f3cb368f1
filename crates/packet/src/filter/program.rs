//! Whole programs of a filter: what a packet socket, an XDP or a TC hook runs.

use super::emit::{self, Place};
use super::{Filter, Source};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Object;
use skep_compiler::ir::{FuncBuilder, FuncId, FuncKind, Module, ProgramDecl, PtrKind, Type};
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
}

/// A module of one program.
pub(super) fn whole(f: FuncBuilder, name: &str, program: ProgType) -> Module {
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
