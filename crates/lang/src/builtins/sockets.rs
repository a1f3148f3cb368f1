//! Builtins on sockets and packets that the kernel hands to a probe.

use super::text::pointer_to;
use super::{Builtin, Call, Checked, value as row};
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::resolve::{ArgField, Source};
use crate::ty::{Space, Ty};

pub(super) static ROWS: &[Builtin] = &[
    row(
        "socket_cookie",
        &["socket_cookie(struct sock *): uint64"],
        "The number that the kernel gives a socket for its life.",
        "fentry:tcp_connect { print(socket_cookie(args.sk)); }",
        (1, 1),
        socket_cookie,
    ),
    row(
        "skboutput",
        &["skboutput(\"FILE\", struct sk_buff *, LENGTH, OFFSET): int32"],
        "Saves the first LENGTH bytes of a packet, without the first OFFSET of these, in a pcap file of IP packets (14 leaves \
         an Ethernet header out). 0, or a negative error: LENGTH must not be more than the packet has.",
        "fentry:dev_queue_xmit { skboutput(\"sent.pcap\", args.skb, args.skb.len, 14); }",
        (4, 4),
        skboutput,
    ),
];

fn socket_cookie(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let from = known_pointer(
        c,
        call,
        0,
        "struct sock",
        "takes a socket that the kernel knows by its type, from `args`",
    )?;
    call.value("socket_cookie", vec![from], Ty::U64)
}

fn skboutput(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    use crate::resolve::ProbeKind::{Fentry, Fexit, RawTracepoint};
    let kind = c.instance?.kind;
    if !matches!(kind, Fentry | Fexit | RawTracepoint) {
        let message = format!("`skboutput` is not available in {} probes", kind.name());
        let hint = "the kernel hands over packets in fentry, fexit and rawtracepoint probes";
        c.diags.push(Diagnostic::error("no-packet", call.span, message).hint(hint));
        return None;
    }
    let path = call.literal_text(c, 0)?;
    if path.is_empty() || path.contains(&0) {
        return call.wrong(c, call.args[0].span, "needs the name of a file here");
    }
    let wanted = "takes a packet that the kernel knows by its type, from `args`";
    let packet = known_pointer(c, call, 1, "struct sk_buff", wanted)?;
    let length = call.integer(c, 2, false)?;
    let Ok(offset) = u32::try_from(call.literal_number(c, 3)?) else {
        return call.wrong(c, call.args[3].span, "needs a number of bytes here");
    };
    let path = Typed::string(path, call.args[0].span).expr;
    let offset = Typed::constant(i64::from(offset), Ty::U64, call.args[3].span).expr;
    call.value("skboutput", vec![path, packet, length, offset], Ty::I32)
}

/// A pointer to `name` that the verifier knows by its type: from `args`, or a numbered argument that is one, cast to it.
fn known_pointer(
    c: &mut Checker<'_>,
    call: &Call<'_>,
    index: usize,
    name: &str,
    wanted: &str,
) -> Option<Expr> {
    let mut from = pointer_to(c, call, index, name)?;
    let Ty::Ptr { to, space } = &from.ty else { return call.wrong(c, call.args[index].span, wanted) };
    if *space == Space::Btf {
        return Some(from);
    }
    let argument = match &from.kind {
        ExprKind::Convert(inner) => inner.kind.clone(),
        _ => return call.wrong(c, call.args[index].span, wanted),
    };
    let is_it = |field: &ArgField| {
        let same = matches!((&field.source, &argument), (Source::At(at), ExprKind::Arg(arg)) if at == arg);
        same && matches!(&field.ty, Ty::Ptr { to: typed, space: Space::Btf } if typed == to)
    };
    if !c.probe_args(call.span)?.iter().any(is_it) {
        return call.wrong(c, call.args[index].span, wanted);
    }
    from.ty = Ty::Ptr { to: to.clone(), space: Space::Btf };
    from.kind = argument;
    Some(from)
}
