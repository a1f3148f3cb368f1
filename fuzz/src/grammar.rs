//! Scripts from a grammar: every construct of the language, nested, with names that mostly exist. A stream of numbers enters,
//! a script leaves. Most are wrong somewhere, and many are right.

use crate::rng::Rng;

/// A sentence to be completed: `{x}` stands for one of kind `x`.
type Rule = &'static [&'static str];

const PROBES: Rule = &[
    "BEGIN",
    "END",
    "interval:s:{n}",
    "profile:hz:{n}",
    "tracepoint:sched:sched_process_exec",
    "tracepoint:syscalls:sys_enter_openat",
    "tracepoint:syscalls:sys_*",
    "tracepoint:raw_syscalls:sys_enter",
    "rawtracepoint:sched_switch",
    "kprobe:vfs_read",
    "kprobe:vfs_{w}",
    "kretprobe:vfs_read",
    "fentry:do_thing",
    "fexit:do_thing",
    "uprobe:/bin/bash:readline",
    "uretprobe:bash:readline",
    "uprobe:/bin/bash:rl_*",
    "software:cpu-clock:{n}",
    "hardware:cycles:{n}",
    "iter:task",
    "self:signal:SIGUSR1",
    "usdt:/bin/bash:eval",
    "watchpoint:0x1000:{n}:w",
    "test:a",
    "bench:b",
];

const STATEMENTS: Rule = &[
    "{e};",
    "{v} = {e};",
    "{v} {o}= {e};",
    "{m} = {e};",
    "{m} = {a};",
    "{m} {o}= {e};",
    "{m}++;",
    "--{v};",
    "let {v} = {e};",
    "let {v}: {t};",
    "let {v}: {t} = {e};",
    "if ({e}) { {s} }",
    "if {e} { {s} } else { {s} }",
    "if ({e}) { {s} } else if ({e}) { {s} }",
    "while ({v} < {n}) { {s} {v}++; }",
    "unroll ({n}) { {s} }",
    "for ($kv : @m) { {s} }",
    "for ({v} : {n}..{e}) { {s} }",
    "while (1) { {s} break; }",
    "return;",
    "break;",
    "continue;",
    "printf(\"{f}\\n\", {e});",
    "printf(\"{f} {f}\", {e}, {e});",
    "print({e});",
    "print({m});",
    "print(@m, {n}, {n});",
    "clear(@m);",
    "zero(@m);",
    "delete({m});",
    "delete(@m, {e});",
    "exit();",
    "exit({e});",
    "time(\"%H:%M\");",
    "join({e});",
    "errorf(\"{f}\", {e});",
    "warnf(\"x\");",
    "cat(\"/x{f}\", {e});",
    "system(\"{f}\", {e});",
    "discard({e});",
    "{ {s} {s} }",
    "{s} {s}",
    "assert({e}, \"no\");",
];

const EXPRESSIONS: Rule = &[
    "{n}",
    "{n}",
    "-{n}",
    "{v}",
    "{v}",
    "{m}",
    "\"{w}\"",
    "{b}",
    "{b}",
    "({e})",
    "{e} {o} {e}",
    "{e} {c} {e}",
    "!{e}",
    "~{e}",
    "-{e}",
    "{e} ? {e} : {e}",
    "({t}){e}",
    "(({t}){e})",
    "*({t}*){e}",
    "((struct task_struct *){e})->pid",
    "((struct task_struct *)curtask)->comm",
    "curtask->real_parent->mm->mmap_base",
    "curtask->numbers[{e}]",
    "args.filename",
    "args->fd",
    "args.prev->comm",
    "args",
    "ctx.task->pid",
    "str({e})",
    "str({e}, {e})",
    "buf({e}, {n})",
    "kstack({n})",
    "ustack(perf, {n})",
    "ksym({e})",
    "usym({e})",
    "kaddr(\"jiffies\")",
    "uaddr(\"readline\")",
    "reg(\"ip\")",
    "sizeof({t})",
    "sizeof({e})",
    "offsetof(struct task_struct, comm)",
    "nsecs(boot)",
    "strftime(\"%S\", {e})",
    "ntop({e})",
    "ntop({n}, {e})",
    "macaddr({e})",
    "cgroupid(\"/x\")",
    "strncmp({e}, {e}, {n})",
    "strcontains({e}, {e})",
    "len({m})",
    "len({e})",
    "has_key(@m, {e})",
    "bswap({e})",
    "({e}, {e})",
    "({e}, {e}).{n}",
    "({e}, \"a\", ({n}, {e})).1",
    "(a = {e}, b = {e}).b",
    "{e}[{e}]",
    "pton(\"::1\")",
    "{v}++",
    "++{m}",
    "strerror({e})",
    "skboutput(\"a\", {e}, {n}, 0)",
    "kptr({e})",
    "uptr({e})",
    "path({e})",
    "{ let $y = {e}; $y }",
    "comptime ({n} + 1)",
    "typeof({e})",
    "is_ptr({e})",
    "nsecs",
    "sum({e})",
    "RED",
    "(enum color){e}",
    "percpu_kaddr(\"jiffies\", {e})",
    "socket_cookie({e})",
    "${n}",
    "str($1)",
    "$#",
];

const AGGREGATIONS: Rule = &[
    "count()",
    "sum({e})",
    "min({e})",
    "max({e})",
    "avg({e})",
    "stats({e})",
    "hist({e})",
    "hist({e}, {n})",
    "lhist({e}, 0, 100, 10)",
    "lhist({e}, {n}, {n}, {n})",
    "tseries({e}, {n}, {n})",
    "tseries({e}, 1s, 5, \"max\")",
];

const TYPES: Rule = &[
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
    "string",
    "string[{n}]",
    "struct task_struct",
    "struct task_struct *",
    "int32 *",
    "uint8[{n}]",
    "(int64, string)",
    "struct nothing",
    "enum color",
    "void *",
    "pid_t",
    "typeof({e})",
    "inet",
    "buffer[{n}]",
    "struct mine",
];

const BUILTINS: Rule = &[
    "pid", "tid", "uid", "gid", "cpu", "comm", "nsecs", "elapsed", "arg0", "arg5", "retval", "func", "probe",
    "curtask", "rand", "cgroup", "username", "kstack", "ustack", "numaid", "ncpus", "cpid", "jiffies",
    "usermode", "ctx",
];

const DECLARATIONS: Rule = &[
    "",
    "",
    "",
    "struct mine { int a; char b[{n}]; struct task_struct *t; };\n",
    "#define X {n}\n",
    "union both { int a; long b:{n}; };\n",
    "enum kind { A = {n}, B, };\n",
    "typedef unsigned long ours;\n",
    "config = { max_strlen = {n} }\n",
    "let @m = lruhash({n});\n",
    "macro add($x, y) { $x + y }\n",
    "fn f($a: {t}): {t} { {s} return {e}; }\n",
    "import \"none\";\n",
    "#include <linux/sched.h>\n",
    "struct bits { unsigned a:3; int:0; char c[][2]; };\n",
];

/// Expands one sentence of a rule.
fn expand(rule: Rule, depth: u32, rng: &mut Rng, out: &mut String) {
    // The first sentences of a rule are the simplest.
    let among = if depth == 0 { rule.len().min(3) } else { rule.len() };
    let Some(mut rest) = rule.get(rng.below(among)).copied() else { return };
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let hole = after.chars().next().filter(|_| after.as_bytes().get(1) == Some(&b'}'));
        match hole {
            Some(kind) => {
                fill(kind, depth.saturating_sub(1), rng, out);
                rest = &after[2..];
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

fn fill(kind: char, depth: u32, rng: &mut Rng, out: &mut String) {
    let one = |list: &[&'static str], rng: &mut Rng| rng.pick(list).copied().unwrap_or("");
    match kind {
        's' => expand(STATEMENTS, depth, rng, out),
        'e' => expand(EXPRESSIONS, depth, rng, out),
        'a' => expand(AGGREGATIONS, depth, rng, out),
        't' => expand(TYPES, depth, rng, out),
        'b' => expand(BUILTINS, depth, rng, out),
        'n' if rng.one_in(4) => out.push_str(&rng.number().to_string()),
        'n' => out.push_str(&rng.below(70).to_string()),
        'v' => out.push_str(one(&["$a", "$b", "$c", "$kv"], rng)),
        'm' if rng.one_in(3) => out.push_str(one(&["@", "@m", "@n"], rng)),
        'm' => {
            out.push_str(one(&["@m[", "@n[", "@k["], rng));
            expand(EXPRESSIONS, depth, rng, out);
            out.push(']');
        }
        'o' => out.push_str(one(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"], rng)),
        'c' => out.push_str(one(&["==", "!=", "<", "<=", ">", ">=", "&&", "||"], rng)),
        'w' => out.push_str(one(&["read", "w*", "bee", "", "a\\x41\\n"], rng)),
        'f' => out
            .push_str(one(&["%d", "%s", "%x", "%-10s", "%08llx", "%r", "%p", "%c", "%5.3d", "%%", "%"], rng)),
        _ => {}
    }
}

/// A script.
pub(crate) fn script(rng: &mut Rng) -> String {
    let mut out = String::new();
    for _ in 0..rng.below(3) {
        expand(DECLARATIONS, 2, rng, &mut out);
    }
    for _ in 0..=rng.below(2) {
        expand(PROBES, 2, rng, &mut out);
        if rng.one_in(4) {
            out.push_str(" /");
            expand(EXPRESSIONS, 2, rng, &mut out);
            out.push('/');
        }
        out.push_str(" { ");
        for _ in 0..=rng.below(4) {
            expand(STATEMENTS, 3, rng, &mut out);
            out.push(' ');
        }
        out.push_str("}\n");
    }
    out
}
