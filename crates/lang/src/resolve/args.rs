//! Arguments of probes: an instance enters; its fields leave, each with its type and the way to it.

use super::tracing::cannot;
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, operand, regs};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::hir::{Arg, Operand, OperandPlace};
use crate::ty::{Space, Ty};
use skep_bpf::btf::{Btf, NameKind, Type, TypeId};
use skep_bpf::target::TargetExt;
use skep_bpf::tracepoint::{DataLoc, TpField, TracepointFormat};

/// Where an argument's value comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// Read at run time.
    At(Arg),
    /// Known.
    Constant(i64),
}

/// One argument.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgField {
    /// Name.
    pub name: String,
    /// C type, for listings.
    pub c_type: String,
    /// What follows the name in a C declaration, e.g. `[16]`.
    pub suffix: String,
    /// Type; `Ty::None` where the language has none.
    pub ty: Ty,
    /// Where its value comes from.
    pub source: Source,
    /// How a value that is no scalar is read, and where integers point.
    pub space: Space,
    /// One of the fields that every tracepoint record begins with, which programs may not read.
    pub common: bool,
}

impl Resolver<'_> {
    /// The fields of `args` in order.
    pub(crate) fn named_args(&self, instance: &Instance, span: Span) -> Result<Vec<ArgField>, Fault> {
        match &instance.args {
            ArgsFrom::Record { category, name } => self.record(category, name, span),
            ArgsFrom::SyscallEnter { name, nr } => {
                let record = self.record("syscalls", name, span)?;
                let regs = regs::conventions(self.arch()).syscall_args;
                Ok(from_registers(record, *nr, |i| {
                    regs.get(i).map(|offset| Arg::RegsOf { arg: 0, offset: *offset })
                }))
            }
            ArgsFrom::SyscallExit { name, nr } => {
                let record = self.record("syscalls", name, span)?;
                Ok(from_registers(record, *nr, |i| (i == 0).then_some(Arg::Raw(1))))
            }
            ArgsFrom::RawSyscallsEnter => self.raw_syscalls("sys_enter", Arg::Raw(1), None, span),
            ArgsFrom::RawSyscallsExit => {
                let regs = regs::conventions(self.arch());
                let id = Arg::RegsOf { arg: 0, offset: regs.syscall_nr };
                self.raw_syscalls("sys_exit", id, Some(Arg::Raw(1)), span)
            }
            ArgsFrom::RawTracepoint { module, name, typed } => {
                let space = if *typed { Space::Btf } else { Space::Kernel };
                self.trace_args(module, name, space, span)
            }
            ArgsFrom::Function { module, name } => Ok(self.function(module, name, span)?.0),
            ArgsFrom::BinaryFunction { binary, function } => self.binary_args(binary, function, span),
            ArgsFrom::None
            | ArgsFrom::EntryRegisters { .. }
            | ArgsFrom::ReturnRegister
            | ArgsFrom::Operands { .. } => {
                let message = format!("{} probes have no `args`", instance.kind.name());
                let d = Diagnostic::error("no-args", span, message);
                Err(Box::new(match instance.args {
                    ArgsFrom::EntryRegisters { .. } | ArgsFrom::Operands { .. } => {
                        d.hint("use `arg0`, `arg1` … and casts")
                    }
                    ArgsFrom::ReturnRegister => d.hint("use `retval`"),
                    _ => d,
                }))
            }
        }
    }

    /// `retval`.
    pub(crate) fn retval(&self, instance: &Instance, span: Span) -> Result<ArgField, Fault> {
        match &instance.args {
            ArgsFrom::ReturnRegister => {
                let user = instance.kind == ProbeKind::Uretprobe;
                let offset = regs::conventions(self.arch()).ret;
                Ok(register(offset, user))
            }
            ArgsFrom::Function { module, name } if instance.kind == ProbeKind::Fexit => {
                let (_, ret) = self.function(module, name, span)?;
                ret.ok_or_else(|| {
                    let message = format!("`{name}` returns nothing");
                    Box::new(Diagnostic::error("no-retval", span, message))
                })
            }
            _ => {
                let message = format!("`retval` is not available in {} probes", instance.kind.name());
                let d = Diagnostic::error("no-retval", span, message);
                let hint = match instance.kind {
                    ProbeKind::Tracepoint => "tracepoints of system calls have `args.ret`",
                    _ => "it is in kretprobe, uretprobe and fexit probes",
                };
                Err(Box::new(d.hint(hint)))
            }
        }
    }

    /// `argN`.
    pub(crate) fn numbered_arg(&self, instance: &Instance, n: u32, span: Span) -> Result<ArgField, Fault> {
        let fail = |message: String| Box::new(Diagnostic::error("no-args", span, message));
        match &instance.args {
            ArgsFrom::EntryRegisters { .. } | ArgsFrom::BinaryFunction { .. } => {
                let user = &instance.args.in_user_space();
                let regs = regs::conventions(self.arch()).args;
                let offset = regs.get(n as usize).ok_or_else(|| {
                    let arch = regs::arch_name(self.arch());
                    Box::new(
                        fail(format!(
                            "{arch} passes {} arguments in registers, there is no `arg{n}`",
                            regs.len()
                        ))
                        .hint(format!(
                            "arguments on the stack are `sarg0`, `sarg1` … (here `sarg{}`)",
                            n as usize - regs.len()
                        )),
                    )
                })?;
                Ok(register(*offset, *user))
            }
            ArgsFrom::Operands { text } => self.operand(text, n, span),
            ArgsFrom::RawTracepoint { module, name, .. } => {
                let count = self.trace_args(module, name, Space::Kernel, span)?.len();
                if n as usize >= count {
                    return Err(fail(format!(
                        "raw tracepoint `{name}` has {count} arguments, there is no `arg{n}`"
                    )));
                }
                Ok(ArgField { source: Source::At(Arg::Raw(n)), ..register(0, false) })
            }
            ArgsFrom::Record { .. } | ArgsFrom::SyscallEnter { .. } | ArgsFrom::Function { .. } => {
                let message = format!("`arg{n}` is not available in {} probes", instance.kind.name());
                Err(Box::new(fail(message).hint("use `args.NAME`; `-lv` lists the names")))
            }
            _ => Err(fail(format!("`arg{n}` is not available in {} probes", instance.kind.name()))),
        }
    }

    /// Argument `n` of a USDT probe: signed 64 bits, whatever its own size; 0 where the probe has fewer.
    fn operand(&self, text: &str, n: u32, span: Span) -> Result<ArgField, Fault> {
        let source = match operand::parse(text, self.arch()).into_iter().nth(n as usize) {
            None => Source::Constant(0),
            Some(Ok(Operand { size, signed, place: OperandPlace::Constant(value) })) => {
                Source::Constant(operand::extend(value, size, signed))
            }
            Some(Ok(operand)) => Source::At(Arg::Operand(operand)),
            Some(Err(operand)) => {
                let message = format!("`arg{n}` of this probe lies in `{operand}`, which cannot be read");
                return Err(Box::new(Diagnostic::error("no-args", span, message)));
            }
        };
        Ok(ArgField { ty: Ty::I64, c_type: "int64".to_owned(), source, ..register(0, true) })
    }

    /// Fields of a tracepoint's record.
    fn record(&self, category: &str, name: &str, span: Span) -> Result<Vec<ArgField>, Fault> {
        let text = self
            .target
            .tracepoint_format(category, name)
            .map_err(|error| cannot(&format!("read the format of {category}:{name}"), &error, span))?;
        let format = TracepointFormat::parse(&text).map_err(|error| {
            let message = format!("cannot read the format of {category}:{name}: {error}");
            Box::new(Diagnostic::error("target", span, message))
        })?;
        // The kernel fills records of system calls with values from user space.
        let space = if category == "syscalls" { Space::User } else { Space::Kernel };
        Ok(format.fields.iter().map(|f| self.record_field(f, space)).collect())
    }

    fn record_field(&self, f: &TpField, space: Space) -> ArgField {
        let arg = match f.data_loc {
            DataLoc::None => Arg::Ctx { offset: f.offset },
            loc => Arg::DataLoc { offset: f.offset, relative: loc == DataLoc::Relative },
        };
        let (prefix, brackets) = match f.data_loc {
            DataLoc::None => ("", ""),
            DataLoc::Absolute => ("__data_loc ", "[]"),
            DataLoc::Relative => ("__rel_loc ", "[]"),
        };
        let scalar = f.data_loc == DataLoc::None && f.array_len.is_none();
        ArgField {
            name: f.name.clone(),
            c_type: format!("{prefix}{}{brackets}", f.c_type),
            suffix: f.array_len.map_or(String::new(), |n| format!("[{n}]")),
            ty: self.record_type(f, space),
            source: Source::At(arg),
            space: if scalar || f.data_loc != DataLoc::None { space } else { Space::Ctx },
            common: f.common,
        }
    }

    fn record_type(&self, f: &TpField, space: Space) -> Ty {
        if f.data_loc != DataLoc::None {
            return Ty::I64;
        }
        let Some(count) = f.array_len else { return self.c_type(&f.c_type, f.size, f.signed, space) };
        if f.c_type == "char" {
            return Ty::Str { size: f.size };
        }
        match self.c_type(&f.c_type, f.size.checked_div(count).unwrap_or(0), f.signed, space) {
            Ty::None => Ty::None,
            elem => Ty::Array { elem: Box::new(elem), count },
        }
    }

    /// A C type whose size and sign are known. Integers have that size even where C's is another: the records of system
    /// calls hold whole registers.
    fn c_type(&self, text: &str, size: u32, signed: bool, space: Space) -> Ty {
        if let Some(pointee) = text.trim_end().strip_suffix('*') {
            let to = self.pointee(pointee.trim_end(), space);
            return Ty::Ptr { to: Box::new(to), space };
        }
        match self.types.by_name(text, space) {
            Ok(Ty::Bool) if size == 1 => Ty::Bool,
            Ok(Ty::Enum { name, names, .. }) => {
                Ty::Enum { name, names, bits: u8::try_from(size * 8).unwrap_or(32), signed }
            }
            Ok(ty @ (Ty::Composite(_) | Ty::Ptr { .. } | Ty::Array { .. } | Ty::Str { .. })) => ty,
            _ => match size {
                1 | 2 | 4 | 8 => Ty::Int { bits: size as u8 * 8, signed },
                _ => Ty::None,
            },
        }
    }

    fn pointee(&self, text: &str, space: Space) -> Ty {
        let text = text.trim_end_matches("const").trim_end();
        match text.strip_suffix('*') {
            Some(inner) => Ty::Ptr { to: Box::new(self.pointee(inner.trim_end(), space)), space },
            None => self.types.by_name(text, space).unwrap_or(Ty::None),
        }
    }

    /// `id` and, at exit, `ret` of `raw_syscalls`.
    fn raw_syscalls(
        &self,
        name: &str,
        id: Arg,
        ret: Option<Arg>,
        span: Span,
    ) -> Result<Vec<ArgField>, Fault> {
        let mut fields = self.record("raw_syscalls", name, span)?;
        fields.retain(|f| f.name != "args");
        for f in &mut fields {
            match (f.name.as_str(), &ret) {
                ("id", _) => f.source = Source::At(id.clone()),
                ("ret", Some(ret)) => f.source = Source::At(ret.clone()),
                _ => {}
            }
        }
        Ok(fields)
    }

    /// Arguments of a raw tracepoint, from the typedef `btf_trace_NAME`: a function that takes a context first.
    fn trace_args(&self, module: &str, name: &str, space: Space, span: Span) -> Result<Vec<ArgField>, Fault> {
        let fail = || {
            let message = format!("the kernel's types do not describe raw tracepoint `{name}`");
            Box::new(Diagnostic::error("no-types", span, message))
        };
        let index = self.types.module(module).ok_or_else(fail)?;
        let btf = self.types.btf(index).ok_or_else(fail)?;
        let typedef = btf.find(NameKind::Typedef, &format!("btf_trace_{name}")).ok_or_else(fail)?;
        let proto = btf.pointee(typedef).ok_or_else(fail)?;
        let (mut fields, _) = self.prototype(&btf, index, proto, space).ok_or_else(fail)?;
        for (field, name) in fields.iter_mut().zip(traced_names(&btf, name)) {
            field.name = name;
        }
        if !fields.is_empty() {
            fields.remove(0);
        }
        for (n, field) in (0u32..).zip(&mut fields) {
            field.source = Source::At(Arg::Raw(n));
        }
        Ok(fields)
    }

    /// Arguments and result of a kernel function.
    fn function(
        &self,
        module: &str,
        name: &str,
        span: Span,
    ) -> Result<(Vec<ArgField>, Option<ArgField>), Fault> {
        let fail = || {
            let message = format!("the kernel's types do not describe function `{name}`");
            Box::new(Diagnostic::error("no-types", span, message))
        };
        let index = self.types.module(module).ok_or_else(fail)?;
        let btf = self.types.btf(index).ok_or_else(fail)?;
        let id = btf.find(NameKind::Func, name).ok_or_else(fail)?;
        let Some(Type::Func { proto, .. }) = btf.get(id) else { return Err(fail()) };
        self.prototype(&btf, index, proto, Space::Btf).ok_or_else(fail)
    }

    fn prototype(
        &self,
        btf: &Btf,
        module: u32,
        proto: TypeId,
        space: Space,
    ) -> Option<(Vec<ArgField>, Option<ArgField>)> {
        let Some(Type::FuncProto { ret, params }) = btf.get_resolved(proto) else { return None };
        let field = |n: u32, name: &str, id: TypeId| ArgField {
            name: name.to_owned(),
            c_type: btf.c_name(id),
            suffix: String::new(),
            ty: self.types.ty(module, id, space),
            source: Source::At(Arg::Raw(n)),
            space: Space::Kernel,
            common: false,
        };
        // An argument that is longer than eight bytes, such as a struct by value, has more than one word of the context
        // (btf_ctx_access, kernel/bpf/btf.c).
        let mut words = 0u32;
        let mut args: Vec<ArgField> = Vec::with_capacity(params.len());
        for (name, id) in &params {
            args.push(field(words, name, *id));
            words += btf.size_of(btf.resolve(*id)).unwrap_or(8).div_ceil(8).clamp(1, 8);
        }
        let ret = (btf.resolve(ret).0 != 0).then(|| field(words, "retval", ret));
        Some((args, ret))
    }
}

/// A 64-bit register.
fn register(offset: u32, user: bool) -> ArgField {
    ArgField {
        name: String::new(),
        c_type: "uint64".to_owned(),
        suffix: String::new(),
        ty: Ty::U64,
        source: Source::At(Arg::Reg { offset }),
        space: if user { Space::User } else { Space::Kernel },
        common: false,
    }
}

/// Fields of a system call's record, each from the register that it was filled from; `__syscall_nr` is known.
fn from_registers(record: Vec<ArgField>, nr: u32, register: impl Fn(usize) -> Option<Arg>) -> Vec<ArgField> {
    let (numbers, own): (Vec<_>, Vec<_>) =
        record.into_iter().filter(|f| !f.common).partition(|f| f.name == "__syscall_nr");
    let numbers = numbers.into_iter().map(|f| ArgField { source: Source::Constant(i64::from(nr)), ..f });
    let own = own.into_iter().enumerate().filter_map(|(i, f)| {
        let source = Source::At(register(i)?);
        Some(ArgField { source, ..f })
    });
    numbers.chain(own).collect()
}

/// Names of a raw tracepoint's arguments, the context pointer included: the typedef's prototype
/// has none, so they are taken from the functions that the kernel makes for each tracepoint (include/linux/tracepoint.h:
/// `__probestub_` since 6.7, `__traceiter_` since 5.10). Empty where neither is known.
fn traced_names(btf: &Btf, tracepoint: &str) -> Vec<String> {
    let function = ["__probestub_", "__traceiter_"]
        .iter()
        .find_map(|prefix| btf.find(NameKind::Func, &format!("{prefix}{tracepoint}")));
    let signature = function.and_then(|id| btf.signature(id));
    signature.map_or_else(Vec::new, |(_, params)| params.iter().map(|(name, _)| (*name).to_owned()).collect())
}
