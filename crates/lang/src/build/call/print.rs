//! Formats that the kernel renders: into the trace pipe, and into the file of an iterator.

use super::super::func::Fx;
use super::super::{Result, internal};
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{PtrKind, Type, Value};

/// A format and its values, as helpers take them.
struct Rendered {
    /// Address and bytes of the format.
    format: [Value; 2],
    /// Numbers, and addresses of strings.
    values: Vec<Value>,
}

/// Puts the format and the strings into memory.
fn rendered(fx: &mut Fx<'_, '_>, args: &[Expr]) -> Result<Rendered> {
    let Some((format, rest)) = args.split_first() else { return internal("no format") };
    let ExprKind::Str(text) = &format.kind else { return internal("a format that is no constant") };
    let size = text.len() as u32 + 1;
    let mut values = Vec::new();
    for e in rest {
        let value = match &e.ty {
            Ty::Str { size } => {
                let room = size + 1;
                let to = fx.scratch(room.next_multiple_of(8), "text");
                fx.put(e, &Ty::Str { size: room }, to, 0)?;
                to
            }
            _ => fx.value(e)?,
        };
        values.push(value);
    }
    let at = fx.scratch(size.next_multiple_of(8), "format");
    fx.put(format, &Ty::Str { size }, at, 0)?;
    let size = fx.f.u64(u64::from(size));
    Ok(Rendered { format: [at, size], values })
}

/// bpf_trace_printk takes at most three values.
pub(super) fn debugf(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let Rendered { format, values } = rendered(fx, args)?;
    let all: Vec<Value> = format.into_iter().chain(values).collect();
    Ok(fx.call(helper::TRACE_PRINTK, &all))
}

/// bpf_seq_printf takes the values as an array, and the file from what every iterator's context begins with:
/// `ctx.meta.seq`.
pub(super) fn seq_printf(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let Rendered { format, values } = rendered(fx, args)?;
    let bytes = values.len() as u64 * 8;
    let array = match values.is_empty() {
        true => fx.f.u64(0),
        false => fx.scratch(bytes as u32, "values"),
    };
    for (index, value) in values.into_iter().enumerate() {
        let value = fx.number(value);
        fx.f.store(8, array, index as i32 * 8, value);
    }
    let ctx = fx.ctx()?;
    let object = Type::Ptr(PtrKind::Btf { type_id: 0, nullable: false });
    let meta = fx.f.load(object, ctx, 0);
    let seq = fx.f.load(object, meta, 0);
    let bytes = fx.f.u64(bytes);
    let [text, size] = format;
    Ok(fx.call(helper::SEQ_PRINTF, &[seq, text, size, array, bytes]))
}
