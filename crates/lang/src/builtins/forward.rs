//! Verdicts that name where a packet goes by a map's entry, a CPU or a next hop.

use super::{Builtin, Call, Checked, action as row};
use crate::ast;
use crate::check::Checker;
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, PacketChange, StmtKind};
use crate::ty::Ty;
use skep_bpf::kinds::MapType;
use skep_compiler::layers::Context;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "to_cpu",
        &["to_cpu(@CPUMAP[KEY])", "to_cpu(@CPUMAP[KEY], NUMBER)"],
        "Ends an xdp probe: the packet goes the rest of its way on the CPU whose number is the key, if the map has it. NUMBER goes along: \
              a probe `xdp:@CPUMAP` reads it as `packet.carried`; where the driver has no room for it, the packet passes.",
        "let @cpus = cpumap(64); xdp:lo /packet.udp.dport == 9/ { to_cpu(@cpus[1]); }",
        (1, 2),
        to_cpu,
    ),
    row(
        "icmp_error",
        &["icmp_error(TYPE, CODE, INFO, ADDRESS)"],
        "Makes of the packet an ICMP (ICMPv6) error about itself, from ADDRESS to its sender; `tx()` or `redirect(packet.ifindex)` sends it. \
              INFO is the number behind the checksum: of \"too big\" the MTU. The answer quotes as much of the packet as 576 bytes \
              (ICMPv6: 1,280) have room for. A packet that must not be answered ends the probe: an error, a fragment behind the first, one with options or tags.",
        "xdp:lo /packet.ip4.ttl == 1/ { icmp_error(11, 0, 0, ntop(pton(\"192.0.2.1\"))); tx(); }",
        (4, 4),
        icmp_error,
    ),
    row(
        "redirect_neigh",
        &["redirect_neigh(INDEX)", "redirect_neigh(INDEX, ADDRESS)"],
        "Ends a tc probe: the packet leaves through another interface, with the link's addresses that the kernel knows or asks \
              for: those of ADDRESS, without it those of the packet's destination.",
        "tc:lo:ingress /packet.udp.dport == 9/ { redirect_neigh(1, ntop(pton(\"192.0.2.1\"))); }",
        (1, 2),
        redirect_neigh,
    ),
];

/// `redirect(@map[key])`; `None` where the argument is something else.
pub(super) fn redirect_by_map(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Option<Checked>> {
    let ast::ExprKind::Map { name, key: Some(key) } = &*call.args[0].kind else { return None };
    let map = c.whole_map(name, call.args[0].span);
    matches!(c.map_kind(map), Some(MapType::Devmap | MapType::DevmapHash))
        .then(|| through_map(c, call, key, "redirect(INDEX) works in tc probes"))
}

fn to_cpu(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    if let ast::ExprKind::Map { name, key: Some(key) } = &*call.args[0].kind {
        let map = c.whole_map(name, call.args[0].span);
        if c.map_kind(map) == Some(MapType::Cpumap) {
            return through_map(c, call, key, "packets change the CPU before the kernel handles them");
        }
    }
    call.wrong(c, call.args[0].span, "takes an entry of a map that is declared `cpumap`: `to_cpu(@cpus[1])`")
}

fn through_map(c: &mut Checker<'_>, call: &Call<'_>, key: &[ast::Expr], elsewhere: &str) -> Option<Checked> {
    let source = c.packet_source(call.name(), call.span)?;
    if source.context != Context::Xdp {
        let message = format!("`{}` through a map is not available in tc probes", call.name());
        c.diags.push(Diagnostic::error("no-verdict", call.span, message).hint(elsewhere));
        return None;
    }
    let ast::ExprKind::Map { name, .. } = &*call.args[0].kind else { return None };
    let place = c.map_place(name, call.args[0].span, Some(key))?;
    let number = Expr { kind: ExprKind::Int(i64::from(place.map.0)), ty: Ty::U32, span: call.span };
    let mut args: Vec<Expr> = std::iter::once(number).chain(place.key).collect();
    if call.args.len() > 1 {
        args.push(call.integer(c, 1, false)?);
    }
    Some(returned(call, "redirect_map", args))
}

fn icmp_error(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    c.may_change_packet(call.span)?;
    let (kind, code, info) =
        (call.integer(c, 0, false)?, call.integer(c, 1, false)?, call.integer(c, 2, false)?);
    let address = c.value(&call.args[3])?;
    if *address.ty() != Ty::Inet {
        return call.wrong(c, call.args[3].span, "takes an address, such as `ntop(pton(\"192.0.2.1\"))`");
    }
    let parts = Box::new([kind, code, info, address.expr]);
    Some(Checked::Stmt(StmtKind::ChangePacket(PacketChange::IcmpError(parts))))
}

fn redirect_neigh(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let source = c.packet_source(call.name(), call.span)?;
    if source.context == Context::Xdp {
        let d = Diagnostic::error("no-verdict", call.span, "`redirect_neigh` is not available in xdp probes");
        c.diags.push(d.hint("set packet.eth.dst and packet.eth.src, and redirect(INDEX)"));
        return None;
    }
    let mut args = vec![call.integer(c, 0, false)?];
    if let Some(address) = call.args.get(1) {
        let address = c.value(address)?;
        if *address.ty() != Ty::Inet {
            return call.wrong(c, call.args[1].span, "takes an address, such as `ntop(pton(\"192.0.2.1\"))`");
        }
        args.push(address.expr);
    }
    Some(returned(call, "redirect_neigh", args))
}

fn returned(call: &Call<'_>, name: &'static str, args: Vec<Expr>) -> Checked {
    let code = Expr { kind: ExprKind::Call { name, args }, ty: Ty::I32, span: call.span };
    Checked::Stmt(StmtKind::Return(Some(code)))
}
