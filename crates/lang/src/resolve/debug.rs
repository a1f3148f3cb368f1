//! Arguments of functions of binaries, by the debug information: a binary and a function enter; the fields of `args`
//! leave, each with the register or the place on the stack that the calling convention gives it.

use super::abi::{self, Place};
use super::args::{ArgField, Source};
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, regs};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::hir::Arg;
use crate::ty::{Space, Ty};
use crate::types::declared;
use skep_bpf::btf::{NameKind, Type, TypeId};
use skep_bpf::target::{Arch, Symbol, TargetError, TypeRequest};

impl Resolver<'_> {
    /// The instance as one on a function of a binary, whose arguments may have names.
    pub(super) fn on_function(&self, mut instance: Instance, symbol: &Symbol) -> Instance {
        if let (ProbeKind::Uprobe, Some(binary)) = (instance.kind, &instance.binary) {
            self.types.probed(binary, &symbol.name, symbol.address);
            let (binary, function) = (binary.clone(), symbol.name.clone());
            instance.args = ArgsFrom::BinaryFunction { binary, function };
        }
        instance
    }

    /// The arguments of `function`, a symbol of `binary`.
    pub(super) fn binary_args(
        &self,
        binary: &str,
        function: &str,
        span: Span,
    ) -> Result<Vec<ArgField>, Fault> {
        let module = self.types.binary(binary).map_err(|error| no_types(binary, &error, span))?;
        let missing = || {
            let message = format!("the debug information of {binary} does not describe `{function}`");
            let hint = "use `arg0`, `arg1` … and casts";
            Box::new(Diagnostic::error("no-types", span, message).hint(hint))
        };
        let btf = self.types.btf(module).ok_or_else(missing)?;
        let id = btf.find(NameKind::Func, function).ok_or_else(missing)?;
        let Some(Type::Func { proto, .. }) = btf.get(id) else { return Err(missing()) };
        let Some(Type::FuncProto { ret, params }) = btf.get(proto) else { return Err(missing()) };
        // The last of a function with more arguments than it names.
        let named = params.iter().take_while(|(name, ty)| !(name.is_empty() && ty.0 == 0));
        let params: Vec<(&str, TypeId)> = named.copied().collect();
        let types: Vec<TypeId> = params.iter().map(|(_, ty)| *ty).collect();
        let mut places = abi::places(self.arch(), &btf, ret, &types);
        for (text, param) in btf.tags_of(id) {
            let place = usize::try_from(param).ok().and_then(|param| places.get_mut(param));
            if let (Some(place), Some(told)) = (place, self.told(text)) {
                *place = told;
            }
        }
        let fields = params.iter().zip(places).map(|((name, id), place)| {
            let ty = self.types.ty(module, *id, Space::User);
            let (ty, source) = self.located(ty, place);
            ArgField {
                name: (*name).to_owned(),
                c_type: declared(&btf, *id),
                suffix: String::new(),
                ty,
                source,
                space: Space::User,
                common: false,
            }
        });
        Ok(fields.collect())
    }

    /// The place that a declaration tag tells.
    fn told(&self, text: &str) -> Option<Place> {
        if let Some(value) = text.strip_prefix(TypeRequest::CONSTANT) {
            return value.parse().ok().map(Place::Constant);
        }
        let number = text.strip_prefix(TypeRequest::REGISTER)?.parse().ok()?;
        regs::by_dwarf(self.arch(), number).map(Place::At)
    }

    /// The type, none where the value cannot be read, and where the value comes from.
    fn located(&self, ty: Ty, place: Place) -> (Ty, Source) {
        let names = regs::conventions(self.arch()).args;
        let register = |n: usize| names.get(n).copied();
        let scalar = ty.is_scalar();
        if let (Place::Constant(value), true) = (place, scalar) {
            return (ty, Source::Constant(value));
        }
        // The return address of x86-64 lies below the arguments.
        let first = if self.arch() == Arch::X86_64 { 8 } else { 0 };
        let arg = match place {
            Place::At(offset) if scalar => Some(Arg::Reg { offset }),
            Place::At(offset) => Some(Arg::Spread(vec![offset])),
            // Of a number in two registers, the low half.
            Place::Register(n) | Place::Pair(n) if scalar => register(n).map(|offset| Arg::Reg { offset }),
            Place::Register(n) => register(n).map(|offset| Arg::Spread(vec![offset])),
            Place::Pair(n) => match (register(n), register(n + 1)) {
                (Some(low), Some(high)) => Some(Arg::Spread(vec![low, high])),
                _ => None,
            },
            Place::Stack(at) if scalar => Some(Arg::StackArg { n: at / 8, user: true }),
            Place::Stack(at) => Some(Arg::OnStack { offset: first + at }),
            Place::Behind(n) if !scalar => register(n).map(|offset| Arg::Behind { offset }),
            _ => None,
        };
        match arg {
            Some(arg) => (ty, Source::At(arg)),
            None => (Ty::None, Source::Constant(0)),
        }
    }
}

fn no_types(binary: &str, error: &TargetError, span: Span) -> Fault {
    let message = match error {
        TargetError::NotFound(_) => format!("{binary} has no debug information, so `args` is not known"),
        error => format!("cannot read the debug information of {binary}: {error}"),
    };
    let d = Diagnostic::error("no-types", span, message);
    Box::new(d.hint("use `arg0`, `arg1` … and casts, or give its folder with `--debuginfo`"))
}
