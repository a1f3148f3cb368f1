//! Packets: what is read of them, and what becomes of them.

use super::values::plain;
use super::{Builtin, Call, Checked, action as verdict, value};
use crate::ast::Span;
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::filter::{FilterCode, FilterSource};
use crate::hir::{ExprKind, FilterMemory, PacketChange, PacketPart, PacketRead, StmtKind};
use crate::ty::Ty;
use skep_bpf::kinds::AttachType;
use skep_bpf::target::TargetExt;
use skep_compiler::layers::{Context, Depth, LinkType, Tunnel};

pub(super) static ROWS: &[Builtin] = &[
    plain(
        "packet",
        &["packet.LAYER", "packet.LAYER.FIELD", "packet.len", "packet.payload", "packet.inner.LAYER.FIELD"],
        "The packet of an xdp or tc probe: whether it has a layer, or a field of it.",
        "xdp:lo { @[packet.ip.src] = sum(packet.len); }",
        |c, call| {
            let source = c.packet_source("packet", call.span);
            if source.is_some() {
                c.error("no-field", call.span, "a packet is read by its layers and fields: `packet.ip.src`");
            }
            None
        },
    ),
    verdict(
        "pass",
        &["pass()"],
        "Ends an xdp or tc probe: the packet goes on as if there were none.",
        "xdp:lo { if (packet.len > 1000) { pass(); } @ = count(); }",
        (0, 0),
        |c, call| decided(c, call, 2, -1),
    ),
    verdict(
        "drop",
        &["drop()"],
        "Ends an xdp or tc probe: the packet is gone.",
        "xdp:lo /packet.tcp.dport == 23/ { drop(); }",
        (0, 0),
        |c, call| decided(c, call, 1, 2),
    ),
    verdict(
        "tx",
        &["tx()"],
        "Ends an xdp probe: the packet leaves through the interface that it came from.",
        "xdp:lo /packet.icmp.type == 8/ { tx(); }",
        (0, 0),
        tx,
    ),
    verdict(
        "vlan_push",
        &["vlan_push(ID)"],
        "Puts a VLAN tag into the packet of an xdp or tc probe, before all others.",
        "tc:lo:egress /packet.udp.dport == 9/ { vlan_push(7); }",
        (1, 1),
        |c, call| {
            c.may_change_packet(call.span)?;
            let tci = call.integer(c, 0, false)?;
            Some(Checked::Stmt(StmtKind::ChangePacket(PacketChange::PushVlan(tci))))
        },
    ),
    verdict(
        "vlan_pop",
        &["vlan_pop()"],
        "Takes the outermost VLAN tag out of the packet of an xdp or tc probe.",
        "tc:lo:ingress /packet.vlan.id == 7/ { vlan_pop(); }",
        (0, 0),
        |c, call| {
            c.may_change_packet(call.span)?;
            Some(Checked::Stmt(StmtKind::ChangePacket(PacketChange::PopVlan)))
        },
    ),
    verdict(
        "tunnel_push",
        &["tunnel_push(\"ipip\")", "tunnel_push(\"gre\")", "tunnel_push(\"vxlan\")"],
        "Puts the packet of an xdp or tc probe, IPv4 or IPv6 directly on Ethernet, into a tunnel over IPv4. The outer headers are layers like \
         others: their addresses are zero until they are given values.",
        "tc:lo:egress /packet.udp.dport == 9/ { tunnel_push(\"vxlan\"); packet.ip4.src = pton(\"192.0.2.1\"); packet.ip4.dst = pton(\"192.0.2.2\"); packet.vxlan.vni = 7; }",
        (1, 1),
        tunnel_push,
    ),
    verdict(
        "tunnel_pop",
        &["tunnel_pop()"],
        "Takes the packet of an xdp or tc probe out of its outermost tunnel: IP in IP, GRE, VXLAN, GENEVE, over IPv4 or IPv6. One that is in \
         none ends the probe.",
        "tc:lo:ingress /packet.vxlan.vni == 7/ { tunnel_pop(); }",
        (0, 0),
        |c, call| {
            c.may_change_packet(call.span)?;
            Some(Checked::Stmt(StmtKind::ChangePacket(PacketChange::PopTunnel)))
        },
    ),
    verdict(
        "redirect",
        &["redirect(\"INTERFACE\")", "redirect(INDEX)", "redirect(@DEVMAP[KEY])"],
        "Ends an xdp or tc probe: the packet leaves through another interface. Through a map only in xdp; without such an entry the packet passes.",
        "tc:lo:ingress /packet.udp.dport == 9/ { redirect(\"lo\"); }",
        (1, 1),
        redirect,
    ),
    value(
        "filter",
        &[
            "filter(\"EXPRESSION\"): bool",
            "filter(\"EXPRESSION\", ADDRESS, BYTES[, LENGTH[, \"raw\"]]): bool",
        ],
        "Whether the packet of an xdp or tc probe matches an [expression](filter.md) of the language of tcpdump, pcap-filter(7). \
         With an address: whether the packet of which BYTES bytes lie there in the kernel's memory does; LENGTH says how long it \
         is in all. It begins with its Ethernet header, or (`\"raw\"`) with IP.",
        "xdp:lo /filter(\"tcp port 80 and net 10.0.0.0/8\")/ { @ = count(); }",
        (1, 5),
        filter,
    ),
];

/// A verdict by its number in XDP (`enum xdp_action`) and in TC (`TC_ACT_*`, include/uapi/linux/pkt_cls.h).
fn decided(c: &mut Checker<'_>, call: &Call<'_>, xdp: i64, tc: i64) -> Option<Checked> {
    let source = c.packet_source(call.name(), call.span)?;
    let code = if source.context == Context::Xdp { xdp } else { tc };
    Some(returned(Typed::constant(code, Ty::I32, call.span)))
}

fn returned(code: Typed) -> Checked {
    Checked::Stmt(StmtKind::Return(Some(code.expr)))
}

fn tunnel_push(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    c.may_change_packet(call.span)?;
    let name = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let Some(tunnel) = Tunnel::from_name(&name) else {
        let known: Vec<String> = Tunnel::names().map(|name| format!("\"{name}\"")).collect();
        return call.wrong(c, call.args[0].span, &format!("knows the tunnels {}", known.join(", ")));
    };
    Some(Checked::Stmt(StmtKind::ChangePacket(PacketChange::PushTunnel(tunnel))))
}

fn tx(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let source = c.packet_source(call.name(), call.span)?;
    if source.context != Context::Xdp {
        let d = Diagnostic::error("no-verdict", call.span, "`tx` is not available in tc probes");
        c.diags.push(d.hint("redirect(packet.ifindex) sends a packet out of its own interface"));
        return None;
    }
    if c.instance.is_some_and(|i| i.attach_type == AttachType::XdpCpumap) {
        let message = "`tx` is not available in programs of a map of CPUs";
        let d = Diagnostic::error("no-verdict", call.span, message);
        c.diags.push(d.hint("redirect(@DEVMAP[KEY]) sends a packet out of an interface"));
        return None;
    }
    Some(returned(Typed::constant(3, Ty::I32, call.span)))
}

fn redirect(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    if let Some(through_map) = super::forward::redirect_by_map(c, call) {
        return through_map;
    }
    c.packet_source(call.name(), call.span)?;
    let to = c.value(&call.args[0])?;
    let index = match to.literal_str() {
        None => c.integer(to, false, false, "as an interface's index, or its name as a string")?,
        Some(text) => {
            let name = String::from_utf8_lossy(text).into_owned();
            let all = c.resolver.target.interfaces();
            let all = all.as_ref().map(|list| list.as_slice()).unwrap_or(&[]);
            match all.iter().find(|i| i.name == name) {
                Some(found) => Typed::constant(i64::from(found.index), Ty::U64, call.span).expr,
                None => {
                    return call.wrong(c, call.args[0].span, &format!("does not find an interface `{name}`"));
                }
            }
        }
    };
    let kind = ExprKind::Call { name: "redirect", args: vec![index] };
    Some(returned(Typed::new(kind, Ty::I32, call.span)))
}

fn filter(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    if call.args.len() > 1 {
        return filter_memory(c, call);
    }
    let source = c.packet_source(call.name(), call.span)?;
    let source = FilterSource { link: source.link, context: Some(source.context), egress: source.egress };
    let code = compiled(c, call, source)?;
    let read = PacketRead { what: PacketPart::Filter(code), depth: Depth::Outer, nth: 0 };
    Some(Checked::Value(Typed::new(ExprKind::Packet(read), Ty::Bool, call.span)))
}

/// A filter on a packet in the kernel's memory.
fn filter_memory(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    if call.args.len() < 3 {
        return call.wrong(c, call.span, "needs an address and the number of bytes that lie there");
    }
    let link = match call.args.get(4) {
        None => LinkType::Ethernet,
        Some(name) => match call.literal_text(c, 4)?.as_slice() {
            b"raw" => LinkType::Raw,
            b"ethernet" => LinkType::Ethernet,
            _ => return call.wrong(c, name.span, "knows packets that are \"ethernet\" or \"raw\""),
        },
    };
    let filter = compiled(c, call, FilterSource { link, context: None, egress: false })?;
    let mut number = |index: usize, what: &str| {
        let value = c.value(call.args.get(index)?)?;
        c.integer(value, false, true, what)
    };
    let start = number(1, "as an address")?;
    let here = number(2, "as a number of bytes")?;
    let whole = if call.args.len() > 3 { number(3, "as the packet's length")? } else { here.clone() };
    let test = Box::new(FilterMemory { filter, start, here, whole });
    Some(Checked::Value(Typed::new(ExprKind::FilterMemory(test), Ty::Bool, call.span)))
}

/// The code of the expression that is the first argument.
fn compiled(c: &mut Checker<'_>, call: &Call<'_>, source: FilterSource) -> Option<FilterCode> {
    let text = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let Some(filters) = c.settings.options.filters.clone() else {
        return call.wrong(
            c,
            call.span,
            "needs the compiler of filter expressions, which is not part of this build",
        );
    };
    let (span, length) = (call.args[0].span, text.len());
    match filters.0.compile(&text, source, c.resolver.target) {
        Ok(code) => Some(FilterCode { text, code }),
        Err(fault) => {
            // Places in the text lie behind the opening quote, where it stands there as it is.
            let verbatim = span.end.saturating_sub(span.start) as usize == length + 2;
            let within = |s: Span| match verbatim {
                true => {
                    let place = |at: u32| span.start.saturating_add(1).saturating_add(at).min(span.end);
                    Span { start: place(s.start), end: place(s.end) }
                }
                false => span,
            };
            let mut fault = *fault;
            fault.span = within(fault.span);
            fault.labels.iter_mut().for_each(|label| label.0 = within(label.0));
            c.diags.push(fault);
            None
        }
    }
}

/// Builtins that are about a process, a function or its registers: packets have none of these.
pub(super) const NOT_FOR_PACKETS: &[&str] = &[
    "pid",
    "tid",
    "uid",
    "gid",
    "comm",
    "curtask",
    "cgroup",
    "kstack",
    "ustack",
    "dw_ustack",
    "usermode",
    "signal",
    "signal_thread",
    "override",
    "func",
    "ctx",
    "reg",
    "usym",
    "path",
    "socket_cookie",
    "join",
];
