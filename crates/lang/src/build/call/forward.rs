//! Verdicts through maps and to next hops.

use super::super::Result;
use super::super::func::Fx;
use super::super::{BuildError, internal};
use super::arg;
use crate::hir::{Expr, ExprKind, MapNo};
use skep_bpf::helpers::id as helper;
use skep_bpf::target::TargetExt;
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{MapId, Type, Value};

/// `XDP_PASS`: what bpf_redirect_map returns where the map has no such entry, said in its flags.
const PASS: u64 = 2;
/// Bytes of struct bpf_redir_neigh (include/uapi/linux/bpf.h): a family, and an address of 16 bytes; an `inet` lies alike.
const NEXT_HOP: u64 = 20;
/// First kernel whose bpf_redirect_neigh takes a next hop.
const NAMED: KernelVersion = KernelVersion::new(5, 10);

/// The verdict that sends the packet where an entry of a map says; `XDP_PASS` without such an entry.
pub(super) fn redirect_map(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let ExprKind::Int(number) = arg(args, 0)?.kind else { return internal("a redirect without a map") };
    let info = fx.map_info(MapNo(number as u32))?;
    let key = fx.value(arg(args, 1)?)?;
    let key = fx.number(key);
    let Some(carried) = args.get(2) else { return Ok(to_entry(fx, info.id, key)) };
    let number = fx.value(carried)?;
    let number = fx.number(number);
    let reader = fx.packet_reader()?;
    let (none, join) = (fx.f.block(&[]), fx.f.block(&[Type::I64]));
    reader.carry(&mut fx.f, number, none);
    let verdict = to_entry(fx, info.id, key);
    fx.f.jump(join, &[verdict]);
    fx.f.switch_to(none);
    let pass = fx.f.iconst(Type::I64, PASS as i64);
    fx.f.jump(join, &[pass]);
    fx.f.switch_to(join);
    Ok(fx.f.block_param(join, 0))
}

fn to_entry(fx: &mut Fx<'_, '_>, map: MapId, key: Value) -> Value {
    let (map, flags) = (fx.f.map_ref(map), fx.f.u64(PASS));
    fx.f.helper(helper::REDIRECT_MAP, &[map, key, flags], Type::I64)
}

/// The verdict that sends the packet to a next hop.
pub(super) fn redirect_neigh(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    if fx.cx.target.kernel_version()? < NAMED {
        let what = "redirect_neigh".to_owned();
        return Err(BuildError::Unsupported { what, since: Some(NAMED), span: e.span });
    }
    let index = fx.value(arg(args, 0)?)?;
    let zero = fx.f.u64(0);
    let (hop, size) = match args.get(1) {
        None => (zero, zero),
        Some(address) => {
            let at = fx.scratch(NEXT_HOP as u32, "hop");
            let ty = address.ty.clone();
            fx.put(address, &ty, at, 0)?;
            (at, fx.f.u64(NEXT_HOP))
        }
    };
    fx.make_ethernet_header()?;
    let flags = fx.f.u64(0);
    Ok(fx.f.helper(helper::REDIRECT_NEIGH, &[index, hop, size, flags], Type::I64))
}
