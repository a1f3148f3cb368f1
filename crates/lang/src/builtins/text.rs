//! Builtins on strings, bytes, symbols and addresses.

use super::{Builtin, Call, Checked, value as row};
use crate::ast::{self, BinOp};
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use crate::types::infer::as_int;
use skep_bpf::object::BtfTarget;
use skep_bpf::schema::Clock;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "str",
        &["str(ADDRESS): string", "str(ADDRESS, LENGTH): string"],
        "The NUL-terminated string at an address, cut at LENGTH - 1 bytes or at `max_strlen`.",
        "tracepoint:syscalls:sys_enter_openat { print(str(args.filename)); }",
        (1, 2),
        str_,
    ),
    row(
        "buf",
        &["buf(ADDRESS, LENGTH): buffer", "buf(ARRAY): buffer"],
        "Bytes at an address, for `%r`, `%rx` and `%rh`.",
        "tracepoint:syscalls:sys_enter_write { printf(\"%r\\n\", buf(args.buf, args.count)); }",
        (1, 2),
        buf,
    ),
    row(
        "strlen",
        &["strlen(STRING): uint64"],
        "Bytes before the NUL.",
        "BEGIN { print(strlen(\"abc\")); }",
        (1, 1),
        strlen,
    ),
    row(
        "strncmp",
        &["strncmp(STRING, STRING, LENGTH): uint64"],
        "0 if the first LENGTH bytes are the same.",
        "tracepoint:raw_syscalls:sys_enter /strncmp(comm, \"ssh\", 3) == 0/ { @ = count(); }",
        (3, 3),
        strncmp,
    ),
    row(
        "strcontains",
        &["strcontains(STRING, PART): bool"],
        "Whether PART is in STRING.",
        "tracepoint:raw_syscalls:sys_enter /strcontains(comm, \"sh\")/ { @ = count(); }",
        (2, 2),
        strcontains,
    ),
    row(
        "strstr",
        &["strstr(STRING, PART): int64"],
        "Where PART begins in STRING, or -1.",
        "BEGIN { print(strstr(\"abc\", \"c\")); }",
        (2, 2),
        |c, call| strstr(c, call).map(Checked::Value),
    ),
    row(
        "ksym",
        &["ksym(ADDRESS): ksym_t"],
        "The kernel function that an address is in, looked up when it is printed.",
        "kprobe:vfs_read { print(ksym(reg(\"ip\"))); }",
        (1, 1),
        |c, call| symbol(c, call, "ksym", Ty::KSym),
    ),
    row(
        "usym",
        &["usym(ADDRESS): usym_t"],
        "The function of the current process that an address is in, looked up when it is printed.",
        "uprobe:/bin/bash:readline { print(usym(reg(\"ip\"))); }",
        (1, 1),
        |c, call| symbol(c, call, "usym", Ty::USym),
    ),
    row(
        "ntop",
        &["ntop(ADDRESS): inet", "ntop(FAMILY, ADDRESS): inet"],
        "An IPv4 or IPv6 address as text; its size says which unless FAMILY does.",
        "tracepoint:sock:inet_sock_set_state { print(ntop(args.saddr)); }",
        (1, 2),
        ntop,
    ),
    row(
        "pton",
        &["pton(\"ADDRESS\"): uint8[4] | uint8[16]"],
        "An IPv4 or IPv6 address as bytes in network order.",
        "BEGIN { print(ntop(pton(\"127.0.0.1\"))); }",
        (1, 1),
        pton,
    ),
    row(
        "macaddr",
        &["macaddr(BYTES): macaddr_t", "macaddr(\"ADDRESS\"): macaddr_t"],
        "Six bytes, or an address in text, as a MAC address.",
        "fentry:dev_queue_xmit { print(macaddr(args.skb.head)); }",
        (1, 1),
        macaddr,
    ),
    row(
        "bswap",
        &["bswap(INTEGER)"],
        "The integer with its bytes in the other order.",
        "tracepoint:tcp:tcp_probe { print(bswap(args.sport)); }",
        (1, 1),
        bswap,
    ),
    row(
        "strftime",
        &["strftime(\"FORMAT\", NANOSECONDS): timestamp"],
        "A time of the boot clock as text, made when it is printed; as strftime(3), and %f for microseconds.",
        "interval:s:1 { print(strftime(\"%H:%M:%S\", nsecs)); }",
        (2, 2),
        strftime,
    ),
    row(
        "strerror",
        &["strerror(ERRNO)"],
        "Text of an error number, made when it is printed.",
        "tracepoint:syscalls:sys_exit_openat /args.ret < 0/ { @[strerror(-args.ret)] = count(); }",
        (1, 1),
        |c, call| convert(c, call, Ty::StrError, true),
    ),
    row(
        "signal_name",
        &["signal_name(NUMBER)"],
        "What a signal means, such as `Killed`, made when it is printed.",
        "tracepoint:signal:signal_generate { @[signal_name(args.sig)] = count(); }",
        (1, 1),
        |c, call| convert(c, call, Ty::Signal, false),
    ),
    row(
        "cgroup_path",
        &["cgroup_path(ID): cgroup_path_t", "cgroup_path(ID, \"HIERARCHIES\"): cgroup_path_t"],
        "Path of a cgroup in each hierarchy that has it, looked up when it is printed; only in hierarchies whose names \
         match, if a pattern is given. The one of version 2 is called `unified`.",
        "tracepoint:sched:sched_process_exec { print(cgroup_path(cgroup, \"unified\")); }",
        (1, 2),
        cgroup_path,
    ),
    row(
        "path",
        &["path(struct path *): string"],
        "The path that a `struct path` stands for.",
        "fentry:filp_close { print(path(args.filp.f_path)); }",
        (1, 2),
        path,
    ),
];

/// An argument that is an address: pointers as they are, integers as pointers to bytes in the memory that they point to,
/// strings, buffers and arrays by their own address.
fn address(c: &mut Checker<'_>, call: &Call<'_>, index: usize) -> Option<Expr> {
    let e = &call.args[index];
    let value = c.value(e)?;
    let value = c.readable(value)?;
    let ty = value.ty().clone();
    match ty {
        Ty::Ptr { .. } | Ty::Str { .. } | Ty::Buf { .. } | Ty::Array { .. } => Some(value.expr),
        Ty::Int { .. } => {
            let space = value.space.unwrap_or_else(|| c.default_space());
            let to = Box::new(Ty::Int { bits: 8, signed: true });
            let span = value.span();
            let kind = ExprKind::Convert(Box::new(value.expr));
            Some(Expr { kind, ty: Ty::Ptr { to, space }, span })
        }
        _ => call.wrong(c, e.span, "takes an address, a string or an array here"),
    }
}

fn str_(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    if let Some(text) = known_text(c, &call.args[0]) {
        let text = match call.args.get(1) {
            None => text,
            Some(_) => {
                let length = usize::try_from(call.literal_number(c, 1)?).unwrap_or(0);
                text.get(..length).map_or(text.clone(), <[u8]>::to_vec)
            }
        };
        return Some(Checked::Value(Typed::string(text, call.span)));
    }
    let from = address(c, call, 0)?;
    let longest = c.settings.config.max_strlen;
    let Some(length) = call.args.get(1) else {
        if matches!(from.ty, Ty::Str { .. }) {
            let ty = from.ty.clone();
            return Some(Checked::Value(Typed { expr: from, ..Typed::new(ExprKind::Int(0), ty, call.span) }));
        }
        return call.value("str", vec![from], Ty::Str { size: longest });
    };
    let length = c.value(length)?;
    let literal = length.literal_int();
    if literal.is_some_and(|n| n < 0) {
        return call.wrong(c, length.span(), "cannot take a negative length");
    }
    let size = match literal.and_then(|n| u32::try_from(n + 1).ok()) {
        Some(size) if size <= longest => size,
        Some(_) => {
            let message = format!("the length is cut to `max_strlen`, {longest} bytes");
            c.warn("cut", length.span(), message);
            longest
        }
        None => longest,
    };
    // The length counts the NUL, as the helper's size does.
    let room = match literal {
        Some(n) => {
            let n = u32::try_from(n).unwrap_or(longest).min(longest);
            Typed::constant(i64::from(n), Ty::U64, call.span).expr
        }
        None => c.integer(length, false, false, "as a length")?,
    };
    call.value("str", vec![from, room], Ty::Str { size })
}

/// Text that is known now: a literal, a number, a positional parameter, also one with `+ N` behind it.
fn known_text(c: &mut Checker<'_>, e: &ast::Expr) -> Option<Vec<u8>> {
    match &*e.kind {
        ast::ExprKind::Positional(n) => Some(c.parameter(*n).into_bytes()),
        ast::ExprKind::Str(bytes) => Some(bytes.clone()),
        ast::ExprKind::Int { value, .. } => Some(value.to_string().into_bytes()),
        ast::ExprKind::Binary { op: BinOp::Add, a, b } => {
            let ast::ExprKind::Positional(n) = &*a.kind else { return None };
            let text = c.parameter(*n).into_bytes();
            let skip = usize::try_from(c.value(b)?.literal_int()?).ok()?;
            Some(text.get(skip..).unwrap_or(b"").to_vec())
        }
        _ => None,
    }
}

fn buf(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let from = address(c, call, 0)?;
    let longest = c.settings.config.max_strlen;
    let Some(length) = call.args.get(1) else {
        if !matches!(from.ty, Ty::Array { .. } | Ty::Str { .. }) {
            return call.wrong(c, call.span, "needs a length unless its argument is an array");
        }
        let size = c.types.size_of(&from.ty)?.min(longest);
        let length = Typed::constant(i64::from(size), Ty::U64, call.span).expr;
        return call.value("buf", vec![from, length], Ty::Buf { size });
    };
    let length = c.value(length)?;
    let size = match length.literal_int() {
        Some(n) if n < 0 => return call.wrong(c, length.span(), "cannot take a negative length"),
        Some(n) => u32::try_from(n).unwrap_or(longest).min(longest),
        None => longest,
    };
    let length = c.integer(length, false, false, "as a length")?;
    call.value("buf", vec![from, length], Ty::Buf { size })
}

/// A string argument.
fn string(c: &mut Checker<'_>, call: &Call<'_>, index: usize) -> Option<Expr> {
    let e = &call.args[index];
    let value = c.value(e)?;
    let value = c.readable(value)?;
    let size = match value.ty() {
        Ty::Str { .. } => return Some(value.expr),
        Ty::Array { elem, count } if is_char(elem) => *count,
        Ty::Ptr { to, .. } if is_char(to) => c.settings.config.max_strlen,
        _ => return call.wrong(c, e.span, "takes a string here; `str()` reads one from an address"),
    };
    let kind = ExprKind::Call { name: "str", args: vec![value.expr] };
    Some(Expr { kind, ty: Ty::Str { size }, span: e.span })
}

fn is_char(ty: &Ty) -> bool {
    matches!(ty, Ty::Int { bits: 8, .. })
}

/// The bytes of a constant string before its NUL.
fn constant(e: &Expr) -> Option<&[u8]> {
    match &e.kind {
        ExprKind::Str(bytes) => bytes.split(|b| *b == 0).next(),
        _ => None,
    }
}

fn strlen(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let text = string(c, call, 0)?;
    if let Some(bytes) = constant(&text) {
        return Some(Checked::Value(Typed::constant(bytes.len() as i64, Ty::U64, call.span)));
    }
    call.value("strlen", vec![text], Ty::U64)
}

fn strncmp(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (a, b) = (string(c, call, 0), string(c, call, 1));
    let limit = call.literal_number(c, 2)?;
    let Ok(limit) = u32::try_from(limit) else {
        return call.wrong(c, call.args[2].span, "cannot take that length");
    };
    let kind = ExprKind::BytesEq { a: Box::new(a?), b: Box::new(b?), negate: true, limit: Some(limit) };
    let differs = Expr { kind, ty: Ty::Bool, span: call.span };
    let kind = ExprKind::Convert(Box::new(differs));
    Some(Checked::Value(Typed::new(kind, Ty::U64, call.span)))
}

fn strstr(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Typed> {
    let (a, b) = (string(c, call, 0), string(c, call, 1));
    let (a, b) = (a?, b?);
    if let (Some(hay), Some(text)) = (constant(&a), constant(&b)) {
        let at = match text.is_empty() {
            true => Some(0),
            false => hay.windows(text.len()).position(|part| part == text),
        };
        return Some(Typed::constant(at.map_or(-1, |at| at as i64), Ty::I64, call.span));
    }
    let kind = ExprKind::Call { name: "strstr", args: vec![a, b] };
    Some(Typed::new(kind, Ty::I64, call.span))
}

fn strcontains(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let at = strstr(c, call)?;
    let zero = Typed::constant(0, Ty::I64, call.span).expr;
    let kind = ExprKind::Compare { op: BinOp::Ge, a: Box::new(at.expr), b: Box::new(zero) };
    Some(Checked::Value(Typed::new(kind, Ty::Bool, call.span)))
}

fn symbol(c: &mut Checker<'_>, call: &Call<'_>, name: &'static str, ty: Ty) -> Option<Checked> {
    let value = c.value(&call.args[0])?;
    let value = c.integer(value, false, true, "or a pointer")?;
    call.value(name, vec![value], ty)
}

fn ntop(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (family, data) = match call.args.len() {
        1 => (Typed::constant(0, Ty::U64, call.span).expr, &call.args[0]),
        _ => (call.integer(c, 0, false)?, &call.args[1]),
    };
    let value = c.value(data)?;
    let value = c.readable(value)?;
    let data = match value.ty().clone() {
        ty if as_int(&ty).is_some() => {
            let kind = ExprKind::Convert(Box::new(value.expr));
            Expr { kind, ty: Ty::U32, span: call.span }
        }
        ty @ (Ty::Array { .. } | Ty::Str { .. }) if matches!(c.types.size_of(&ty), Some(4 | 16)) => {
            value.expr
        }
        Ty::Array { .. } | Ty::Str { .. } => {
            return call.wrong(c, data.span, "takes an array of 4 or 16 bytes");
        }
        _ => return call.wrong(c, data.span, "takes an integer or an array of bytes"),
    };
    call.value("ntop", vec![family, data], Ty::Inet)
}

fn pton(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let text = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let bytes = match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => v4.octets().to_vec(),
        Ok(std::net::IpAddr::V6(v6)) => v6.octets().to_vec(),
        Err(_) => {
            let what = format!("takes an IPv4 or IPv6 address, `{text}` is none");
            return call.wrong(c, call.args[0].span, &what);
        }
    };
    let ty = Ty::Array { elem: Box::new(Ty::Int { bits: 8, signed: false }), count: bytes.len() as u32 };
    Some(Checked::Value(Typed::new(ExprKind::Str(bytes), ty, call.span)))
}

fn macaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let mut from = address(c, call, 0)?;
    if let ExprKind::Str(text) = &from.kind {
        let Some(bytes) = mac_of(text) else {
            return call.wrong(
                c,
                call.args[0].span,
                "takes six bytes, or text such as \"02:00:00:00:00:01\"",
            );
        };
        let ty = Ty::Array { elem: Box::new(Ty::Int { bits: 8, signed: false }), count: 6 };
        from = Expr { kind: ExprKind::Str(bytes.to_vec()), ty, span: from.span };
    } else if matches!(from.ty, Ty::Array { .. } | Ty::Str { .. }) && c.types.size_of(&from.ty) < Some(6) {
        return call.wrong(c, call.args[0].span, "takes at least 6 bytes");
    }
    call.value("macaddr", vec![from], Ty::Mac)
}

/// Six bytes in hexadecimal with colons between.
fn mac_of(text: &[u8]) -> Option<[u8; 6]> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next()?;
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
    }
    parts.next().is_none().then_some(bytes)
}

fn bswap(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let value = c.value(&call.args[0])?;
    let value = c.readable(value)?;
    let Some((bits, _)) = as_int(value.ty()) else {
        return call.wrong(c, call.args[0].span, "takes an integer");
    };
    let ty = Ty::Int { bits, signed: false };
    let arg = match value.ty() == &ty {
        true => value.expr,
        false => Expr { kind: ExprKind::Convert(Box::new(value.expr)), ty: ty.clone(), span: call.span },
    };
    if bits == 8 {
        return Some(Checked::Value(Typed { expr: arg, ..Typed::new(ExprKind::Int(0), ty, call.span) }));
    }
    call.value("bswap", vec![arg], ty)
}

fn strftime(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let format = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let value = c.value(&call.args[1])?;
    if value.literal_int().is_some_and(|n| n < 0) {
        return call.wrong(c, call.args[1].span, "cannot take a negative time");
    }
    let clock = match &value.expr.kind {
        ExprKind::Call { name: "nsecs_tai" | "nsecs_sw_tai", .. } => Clock::Tai,
        ExprKind::Call { name: "nsecs_monotonic", .. } => {
            return call.wrong(c, call.args[1].span, "cannot take a time of the monotonic clock");
        }
        _ => Clock::Boot,
    };
    let nanos = c.integer(value, false, false, "as a time")?;
    let kind = ExprKind::Convert(Box::new(nanos));
    Some(Checked::Value(Typed::new(kind, Ty::Timestamp { format, clock }, call.span)))
}

fn convert(c: &mut Checker<'_>, call: &Call<'_>, ty: Ty, signed: bool) -> Option<Checked> {
    let value = call.integer(c, 0, signed)?;
    Some(Checked::Value(Typed::new(ExprKind::Convert(Box::new(value)), ty, call.span)))
}

fn cgroup_path(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let filter = match call.args.len() {
        1 => String::new(),
        _ => String::from_utf8_lossy(&call.literal_text(c, 1)?).into_owned(),
    };
    convert(c, call, Ty::CgroupPath { filter }, false)
}

/// A pointer to the struct `name`, or such a struct in the kernel by its address.
pub(super) fn pointer_to(c: &mut Checker<'_>, call: &Call<'_>, index: usize, name: &str) -> Option<Expr> {
    let e = &call.args[index];
    let value = c.value(e)?;
    match value.ty() {
        Ty::Ptr { to, .. } if matches!(&**to, Ty::Composite(s) if s.name == name) => Some(value.expr),
        Ty::Composite(s) if s.name == name => {
            let (ty, span) = (value.ty().clone(), value.span());
            let space = c.place(&value);
            let kind = ExprKind::AddrOf(Box::new(value.expr));
            Some(Expr { kind, ty: Ty::Ptr { to: Box::new(ty), space }, span })
        }
        _ => call.wrong(c, e.span, &format!("takes a `{name} *`")),
    }
}

/// The functions in which the kernel allows bpf_d_path (btf_allowlist_d_path, kernel/trace/bpf_trace.c).
const WITH_PATHS: [&str; 9] = [
    "security_file_permission",
    "security_inode_getattr",
    "security_file_open",
    "security_path_truncate",
    "vfs_truncate",
    "vfs_fallocate",
    "dentry_open",
    "vfs_getattr",
    "filp_close",
];

fn path(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    use crate::resolve::ProbeKind::{Fentry, Fexit, Iter};
    let instance = c.instance?;
    let kind = instance.kind;
    if !matches!(kind, Fentry | Fexit | Iter) {
        c.error("no-path", call.span, format!("`path` is not available in {} probes", kind.name()));
        return None;
    }
    if let Some(BtfTarget::Function { name, .. }) = &instance.attach_btf
        && !WITH_PATHS.contains(&name.as_str())
    {
        let message = "helper bpf_d_path not allowed in probe";
        let hint = format!("the kernel makes paths only in iterators and in {}", WITH_PATHS.join(", "));
        c.diags.push(Diagnostic::error("no-path", call.span, message).hint(hint));
        return None;
    }
    let size = match call.args.get(1) {
        Some(_) => u32::try_from(call.literal_number(c, 1)?).unwrap_or(0),
        None => c.settings.config.max_strlen,
    };
    let from = pointer_to(c, call, 0, "struct path")?;
    call.value("path", vec![from], Ty::Str { size: size.clamp(1, 65536) })
}
