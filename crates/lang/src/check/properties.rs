//! Properties over arbitrary scripts: whatever a script says, the checker ends without a panic and either gives a program
//! or says why not, and what it gives compiles.

use super::check;
use super::tests::compile;
use crate::diag::Diagnostics;
use crate::fake::{Fake, OLD};
use crate::options::Options;
use crate::parse::parse;
use crate::random::Random;

/// Pieces that scripts are made of.
const SOUP: &[&str] = &[
    "$a",
    "$b",
    "@m",
    "@",
    "@k[1]",
    "@k[$a, comm]",
    "args",
    "args.filename",
    "args.ret",
    "curtask",
    "pid",
    "comm",
    "nsecs",
    "arg0",
    "retval",
    "1",
    "0",
    "-1",
    "300",
    "18446744073709551615",
    "\"x\"",
    "\"%d %s\"",
    "true",
    "(1, \"a\")",
    "(a=1, b=$a)",
    "$1",
    "$#",
    "str(args.filename)",
    "str($1)",
    "str(1, 2)",
    "buf(arg0, 4)",
    "ntop(1)",
    "kstack",
    "ustack(3)",
    "ksym(1)",
    "macaddr(comm)",
    "count()",
    "sum($a)",
    "hist(1)",
    "lhist(1, 0, 10, 1)",
    "len(@k)",
    "has_key(@k, 1)",
    "delete(@k, 1)",
    "strftime(\"%H\", nsecs)",
    "sizeof(struct task_struct)",
    "offsetof(struct task_struct, pid)",
    "(int8)",
    "(uint64)",
    "(struct task_struct *)",
    "(int8[4])",
    "(bool)",
    "(string[9])",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<<",
    ">>",
    "&",
    "|",
    "^",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    ">=",
    "!",
    "~",
    "++",
    "--",
    "?",
    ":",
    ".pid",
    "->comm",
    ".0",
    "[0]",
    "[$a]",
    "=",
    "+=",
    "-=",
    ";",
    ";",
    ";",
    "{",
    "}",
    "(",
    ")",
    ",",
    "if",
    "else",
    "while",
    "for",
    "unroll",
    "break",
    "continue",
    "return",
    "let",
    "$i : 0..5",
    "$kv : @k",
    "printf(\"%d\\n\", $a);",
    "print(@);",
    "print($a);",
    "exit();",
    "GREEN",
    "nothing",
    "printf(",
    "*",
    "&$a",
    "&@m",
    "_ =",
    "$a = $b;",
    "@ = $a;",
    "@m = count();",
    "$b = 1;",
];

const HEADS: &[&str] = &[
    "BEGIN",
    "tracepoint:syscalls:sys_enter_openat",
    "tracepoint:raw_syscalls:sys_exit",
    "kprobe:do_thing",
    "fexit:do_thing",
    "rawtracepoint:sched_switch",
    "uprobe:bash:r*",
    "iter:task",
    "interval:s:1",
    "tracepoint:sched:*",
];

/// Whatever a script says, the checker ends, does not panic, and either gives a program or says why not.
#[test]
fn any_script_is_checked() {
    let target = Fake::new(OLD);
    let options = Options { params: vec!["7".to_owned(), "text".to_owned()], ..Options::default() };
    let mut parsed = 0;
    for seed in 1..6000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = String::new();
        for _ in 0..=random.below(2) {
            text.push_str(HEADS[random.below(HEADS.len())]);
            text.push_str(" { $a = 1; ");
            for _ in 0..random.below(9) {
                text.push_str(SOUP[random.below(SOUP.len())]);
                text.push(' ');
            }
            text.push_str("} ");
        }
        let mut diags = Diagnostics::default();
        let script = parse(&text, &mut diags);
        // What the parser made of a wrong script is checked as well.
        parsed += usize::from(!diags.has_errors());
        let mut found = Diagnostics::default();
        let program = check(&script, &options, &target, &mut found);
        assert_eq!(program.is_some(), !found.has_errors(), "{text}\n{found:?}");
    }
    assert!(parsed > 300, "only {parsed} scripts were right for the parser");
}

/// A program whose types are found once is the same when they are found again.
#[test]
fn checking_is_deterministic() {
    let text = "BEGIN { @a[1, \"x\"] = 1; @b = @a[300, \"yyyy\"]; $t = (1, @b); $t = (nsecs, 2); @t = $t; }";
    let target = Fake::new(OLD);
    let first = compile(text, &Options::default(), &target).0;
    assert!(first.is_some());
    assert_eq!(first, compile(text, &Options::default(), &target).0);
}

const ATOMS: &[&str] = &[
    "1",
    "0",
    "300",
    "-5",
    "pid",
    "tid",
    "nsecs",
    "cpu",
    "comm",
    "\"abc\"",
    "true",
    "$i",
    "$s",
    "$t.0",
    "$t.1",
    "$u",
    "@m",
    "@k[pid, comm]",
    "@s[1]",
    "curtask.pid",
    "curtask->comm",
    "curtask.mm.users",
    "curtask.real_parent",
    "curtask.in_execve",
    "curtask.numbers[1]",
    "$t",
    "curtask",
    "GREEN",
    "kstack",
    "ustack(3)",
    "ksym(1)",
    "usym(2)",
    "ntop(pid)",
    "username",
    "len(@k)",
    "has_key(@k, (pid, comm))",
    "delete(@s, 2)",
    "strftime(\"%H\", nsecs)",
    "@c",
    "rand",
    "elapsed",
    "@i++",
    "$i++",
    "--$i",
    "str(curtask.stack)",
    "buf(curtask.comm, 4)",
    "sizeof($t)",
    "(1, comm)",
    "(a=1, b=comm)",
    "cgroup",
    "strerror(2)",
    "macaddr(curtask.comm)",
    "*$p",
    "$p[1]",
    "&$i",
    "strlen(comm)",
    "strcontains(comm, \"b\")",
    "strncmp(comm, \"ab\", 2)",
    "bswap($u)",
    "jiffies",
    "ppid",
    "args.filename",
    "str(args.filename)",
    "args.ret",
    "args.dfd",
    "(int8[8])nsecs",
    "(uint8)pid",
    "(struct task_struct *)nsecs",
    "(bool)pid",
    "(int64)@c",
    "(enum color)1",
    "retval",
    "arg0",
    "func",
];

fn expression(random: &mut Random, depth: usize) -> String {
    const OPERATORS: &[&str] =
        &["+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^", "&&", "||", "==", "!=", "<", "<=", ">", ">="];
    if depth == 0 || random.below(3) == 0 {
        return ATOMS[random.below(ATOMS.len())].to_owned();
    }
    let a = expression(random, depth - 1);
    match random.below(8) {
        0 => format!("!({a})"),
        1 => format!("(-{a})"),
        2 => format!("(pid ? {a} : {})", expression(random, depth - 1)),
        3 => format!("({a}, {})", expression(random, depth - 1)),
        _ => format!("({a} {} {})", OPERATORS[random.below(OPERATORS.len())], expression(random, depth - 1)),
    }
}

fn statement(random: &mut Random, depth: usize) -> String {
    let e = expression(random, 2);
    let inner = if depth > 0 { statement(random, depth - 1) } else { String::new() };
    match random.below(16) {
        0 => format!("$v{} = {e};", random.below(3)),
        1 => format!("@v{} = {e};", random.below(3)),
        2 => format!("@w[{e}] = {};", expression(random, 1)),
        3 => format!("@x[{e}, {}] = count();", expression(random, 1)),
        4 => format!("@y[{}] = sum({e});", expression(random, 1)),
        5 => format!("@z = hist({e});"),
        6 => format!("printf(\"%s %s\", {e}, {});", expression(random, 1)),
        7 => format!("print({e});"),
        8 => format!("if ({e}) {{ {inner} }} else {{ print(1); }}"),
        9 => format!("for ($j : 0..{e}) {{ {inner} }}"),
        10 => format!("for ($kv : @k) {{ print($kv.1); {inner} }}"),
        11 => format!("while ($i < 5) {{ $i++; {inner} }}"),
        12 => format!("unroll(2) {{ {inner} }}"),
        13 => format!("@a[{e}] += {};", expression(random, 1)),
        14 => format!("@min = min({e}); @st = stats({e});"),
        _ => format!("$i = {e};"),
    }
}

#[test]
fn what_checks_compiles() {
    let target = Fake::new(OLD);
    let options = Options { passes: true, unsafe_mode: true, ..Options::default() };
    let (mut failures, mut compiled) = (Vec::new(), 0);
    for seed in 1..SCRIPTS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = format!(
            "{} {{ $i = pid; $s = \"x\"; $t = (nsecs, comm); $u = (uint16)pid; @m = pid; @k[pid, comm] = 2; @s[1] = \"a\"; @c = count(); \
             $p = (uint32 *)curtask; ",
            HEADS[random.below(HEADS.len())]
        );
        for _ in 0..1 + random.below(3) {
            text.push_str(&statement(&mut random, 2));
        }
        text.push('}');
        let source = crate::compile::Source { name: seed.to_string(), text: text.clone() };
        match crate::compile::compile(&source, &options, &target, &|_| false, &mut |_, _| ()) {
            Err(crate::compile::CompileFailure::Internal(why)) => {
                failures.push(format!("{why}\n{seed}: {text}"))
            }
            Ok(_) => compiled += 1,
            _ => {}
        }
    }
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} (and {compiled} fine):\n{}",
        failures.len(),
        failures.iter().take(25).cloned().collect::<Vec<_>>().join("\n\n")
    );
    assert!(compiled as u64 > SCRIPTS / 20, "only {compiled} scripts were right");
}

/// Scripts of one run of the property.
const SCRIPTS: u64 = 2000;

/// Macros that multiply themselves end with a message.
#[test]
fn macros_are_bounded() {
    let target = Fake::new(OLD);
    let mut growing = String::from("macro m0(x) { x + x } ");
    for i in 1..40 {
        growing.push_str(&format!("macro m{i}(x) {{ m{}(x) + m{}(x) }} ", i - 1, i - 1));
    }
    let nested = "a(".repeat(60) + "1" + &")".repeat(60);
    let deep = (0..60).fold(String::new(), |text, i| {
        let inner = if i == 0 { "x".to_owned() } else { format!("d{}(x)", i - 1) };
        text + &format!("macro d{i}(x) {{ {}{inner}{} }} ", "!(".repeat(40), ")".repeat(40))
    });
    for (text, code) in [
        (format!("{growing} BEGIN {{ print(m39(1)); }}"), "too-many-macros"),
        (format!("macro a(x) {{ x + x }} BEGIN {{ print({nested}); }}"), "too-many-macros"),
        (format!("{deep} BEGIN {{ print(d59(1)); }}"), "too-deep"),
    ] {
        let (program, diags) = compile(&text, &Options::default(), &target);
        assert!(
            program.is_none() && diags.list.iter().any(|d| d.code == code),
            "{code}: {:?}",
            diags.list.first()
        );
    }
}
