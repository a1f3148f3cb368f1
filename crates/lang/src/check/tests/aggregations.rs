//! Every kind of aggregation in every place where an expression or a map can stand: it is a number there, or refused
//! with a message that points into the statement; never anything else.

use super::compile;
use crate::compile::{CompileFailure, Source};
use crate::diag::{Diagnostic, Severity};
use crate::fake::{Fake, NEW};
use crate::options::Options;

/// What a place takes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Takes {
    /// Aggregations that stand for a number.
    Numbers,
    /// All of them.
    All,
    /// None.
    Nothing,
}
use Takes::{All, Nothing, Numbers};

/// Each aggregation, and whether it stands for a number.
const KINDS: &[(&str, bool)] = &[
    ("count()", true),
    ("sum(-1)", true),
    ("sum((uint64)1)", true),
    ("min(1)", true),
    ("max(1)", true),
    ("avg(1)", true),
    ("stats(1)", false),
    ("hist(1)", false),
    ("hist(1, 3)", false),
    ("lhist(1, 0, 10, 2)", false),
    ("tseries(1, 1s, 3)", false),
    ("tseries(1, 1s, 3, \"avg\")", false),
];

/// Statements with the entry of a map for `X`, and what each takes.
const ENTRY: &[(&str, Takes)] = &[
    ("X;", Numbers),
    ("_ = X;", Numbers),
    ("$x = X;", Numbers),
    ("let $x = X;", Numbers),
    ("let $x: uint64 = X;", Numbers),
    ("let $x: typeof(X) = X;", Nothing),
    ("$x = 1; $x = X;", Numbers),
    ("$x = 1; $x += X;", Numbers),
    ("$x = -X;", Numbers),
    ("$x = ~X;", Numbers),
    ("$x = !X;", Numbers),
    ("$x = X + 1;", Numbers),
    ("$x = 1 - X;", Numbers),
    ("$x = X << X;", Numbers),
    ("$x = X % 7;", Numbers),
    ("$x = X == 1;", Numbers),
    ("$x = X != X;", Numbers),
    ("$x = X < 1;", Numbers),
    ("$x = X && 1;", Numbers),
    ("$x = 0 || X;", Numbers),
    ("$x = X ? 1 : 2;", Numbers),
    ("$x = 1 ? X : 2;", Numbers),
    ("$x = 1 ? 2 : X;", Numbers),
    ("$x = 1 ? X : X;", Numbers),
    ("$x = (X, 1);", Numbers),
    ("$x = (1, (X, \"a\"));", Numbers),
    ("$x = (a = X, b = 1);", Numbers),
    ("$x = (X, 1).0;", Numbers),
    ("$x = { let $y = 1; X };", Numbers),
    ("$x = if X { 1 } else { 2 };", Numbers),
    ("$x = if 1 { X } else { 2 };", Numbers),
    ("$x = (int64)X;", Numbers),
    ("$x = (uint8)X;", Numbers),
    ("$x = (bool)X;", Numbers),
    ("$x = (uint8[8])X;", Numbers),
    ("$x = (void *)X;", Numbers),
    ("$x = (int8 *)X;", Numbers),
    ("$x = (enum color)X;", Numbers),
    ("$x = (struct task_struct *)X;", Numbers),
    ("$x = (string)X;", Nothing),
    ("$x = (struct task_struct)X;", Nothing),
    ("$x = *X;", Numbers),
    ("$x = &X;", Nothing),
    ("print(*(&X));", Nothing),
    ("@other[&X] = 1;", Nothing),
    ("$x = sizeof(typeof(X));", All),
    ("$x = (typeof(X))1;", Nothing),
    ("$x = ((typeof(X) *)0)[1];", Nothing),
    ("print((typeof(X) *)0);", Nothing),
    ("$x = sizeof((typeof(X), int8));", Nothing),
    ("$x = has_key(@other, X); @other[1] = 1;", Numbers),
    ("$x = (X, 1); $y = $x.0 + 1;", Numbers),
    ("$x = X.a;", Nothing),
    ("$x = X->pid;", Nothing),
    ("$x = X.0;", Nothing),
    ("$x = X[1];", Nothing),
    ("$x = curtask->numbers[X];", Numbers),
    ("$x = curtask + X;", Nothing),
    ("$x = X + curtask;", Nothing),
    ("$x = \"a\" == X;", Nothing),
    ("$x = comm == X;", Nothing),
    ("$x = X + \"a\";", Nothing),
    ("$x = str(X);", Numbers),
    ("$x = str(curtask->comm, X);", Numbers),
    ("$x = buf(curtask->comm, X);", Numbers),
    ("$x = ksym(X);", Numbers),
    ("$x = usym(X);", Numbers),
    ("$x = ntop(X);", Numbers),
    ("$x = strftime(\"%S\", X);", Numbers),
    ("$x = strerror(X);", Numbers),
    ("$x = strncmp(comm, X, 3);", Nothing),
    ("$x = strcontains(X, \"a\");", Nothing),
    ("$x = macaddr(X);", Numbers),
    ("$x = kptr(X);", Numbers),
    ("$x = len(X);", Nothing),
    ("$x = sizeof(X);", All),
    ("printf(\"%d\", X);", Numbers),
    ("printf(\"%s\", X);", Numbers),
    ("printf(\"%s %llx\", comm, X);", Numbers),
    ("errorf(\"%d\", X);", Numbers),
    ("debugf(\"%d\", X);", Numbers),
    ("system(\"%d\", X);", Numbers),
    ("cat(\"/%d\", X);", Numbers),
    ("print((X, 1));", Numbers),
    ("print(X + 1);", Numbers),
    ("exit(X);", Numbers),
    ("return X;", Numbers),
    ("join(X);", Nothing),
    ("signal(X);", Numbers),
    ("if (X) { print(1); }", Numbers),
    ("if X > 1 { print(1); } else { print(2); }", Numbers),
    ("while (X < 3) { print(1); break; }", Numbers),
    ("unroll (X) { print(1); }", Nothing),
    ("for $i : 0..X { print($i); }", Numbers),
    ("for $i : X..3 { print($i); }", Numbers),
    ("@other = X;", Nothing),
    ("@other[1] = X;", Nothing),
    ("@other = (int64)X;", Numbers),
    ("@other = { let $y = 1; X };", Nothing),
    ("print({ let $y = 1; X });", Numbers),
    ("_ = { let $y = 1; X };", Numbers),
    ("@other[X] = 1;", Numbers),
    ("@other[1, X] = 1;", Numbers),
    ("@other[(X, 2)] = 1;", Numbers),
    ("@other = 1; @other = X;", Numbers),
    ("@other = 1; @other += X;", Numbers),
    ("@other += X;", Numbers),
    ("@other = (X, 1);", Numbers),
    ("@other = \"a\"; @other = X;", Nothing),
    ("@other = count(); @other = X;", Nothing),
    ("@other[1] = hist(2); @other[2] = X;", Nothing),
    ("@other = sum(X);", Numbers),
    ("@other = hist(X);", Numbers),
    ("@other = lhist(X, 0, 10, 1);", Numbers),
    ("@other = tseries(X, 1s, 3);", Numbers),
    ("@other = stats(X);", Numbers),
    ("@other[1] = 1; delete(@other, X);", Numbers),
    ("@other[1] = 1; $x = has_key(@other, X);", Numbers),
    ("X++;", Nothing),
    ("--X;", Nothing),
    ("X = 1;", Nothing),
    ("X = \"a\";", Nothing),
    ("X += 1;", Nothing),
    ("X = X;", Nothing),
    ("X = (1, 2);", Nothing),
    ("X[0] = 1;", Nothing),
    ("for $kv : X { print($kv); }", Nothing),
];

/// Statements on the keyed map `@m` as a whole.
const KEYED: &[(&str, Takes)] = &[
    ("print(@m);", All),
    ("print(@m, 5);", All),
    ("print(@m, 5, 2);", All),
    ("clear(@m);", All),
    ("zero(@m);", All),
    ("delete(@m, 1);", All),
    ("delete(@m[1]);", All),
    ("$x = len(@m);", All),
    ("$x = is_scalar(@m);", All),
    ("print(@m[1]);", Numbers),
    ("for $kv : @m { print($kv); }", Numbers),
    ("for $kv : @m { print($kv.1); }", Numbers),
    ("for $kv : @m { @other[$kv.0] = $kv.1; }", Numbers),
    ("$x = @m;", Nothing),
    ("@m = 1;", Nothing),
    ("print((@m, 1));", Nothing),
    ("printf(\"%d\", @m);", Nothing),
    ("@other = @m;", Nothing),
];

/// Statements on the map `@m` without a key.
const SCALAR: &[(&str, Takes)] = &[
    ("print(@m);", All),
    ("clear(@m);", All),
    ("zero(@m);", All),
    ("delete(@m);", All),
    ("$x = is_scalar(@m);", All),
    ("$x = len(@m);", Nothing),
    ("$x = has_key(@m, 1);", Nothing),
    ("for $kv : @m { print($kv); }", Nothing),
    ("print(@m[1]);", Nothing),
];

const HEAD: &str = "tracepoint:syscalls:sys_enter_read { ";

/// What is wrong with what the compiler makes of the statement, where anything is.
fn wrong(statement: &str, kind: &str, entry: &str, accepted: bool) -> Option<String> {
    let text = format!("{HEAD}{statement} }}\nEND {{ {entry} = {kind}; }}");
    let options = Options { unsafe_mode: true, passes: true, ..Options::default() };
    let target = Fake::new(NEW);
    let source = Source { name: "generated".to_owned(), text: text.clone() };
    let (program, _) = compile(&text, &options, &target);
    let result = crate::compile::compile(&source, &options, &target, &|_| false, &mut |_, _| ());
    let errors: Vec<Diagnostic> = match result {
        Ok(_) if accepted => return None,
        Ok(_) => return Some(format!("accepted: {text}")),
        Err(CompileFailure::Internal(why)) => return Some(format!("internal error, {why}: {text}")),
        Err(CompileFailure::Diagnostics(all)) => all.list,
    };
    let errors: Vec<_> = errors.into_iter().filter(|d| d.severity == Severity::Error).collect();
    let said: Vec<String> = errors.iter().map(|d| format!("{} {:?}", d.message, d.span)).collect();
    // Everywhere in the script: what comes second is what does not fit.
    let placed = errors.iter().all(|d| d.span.end > d.span.start && (d.span.end as usize) <= text.len());
    if accepted || !placed || program.is_some() {
        return Some(format!(
            "{} {said:?}: {text}",
            if accepted { "refused" } else { "refused without place, or late" }
        ));
    }
    None
}

#[test]
fn aggregations_are_numbers_or_refused_where_they_stand() {
    let mut failures = Vec::new();
    for (kind, number) in KINDS {
        let accepts = |takes: Takes| takes == All || (takes == Numbers && *number);
        for entry in ["@m", "@m[1]", "@m[comm, 1]"] {
            for (statement, takes) in ENTRY {
                let statement = statement.replace('X', entry);
                failures.extend(wrong(&statement, kind, entry, accepts(*takes)));
            }
        }
        for (list, entry) in [(KEYED, "@m[1]"), (SCALAR, "@m")] {
            failures.extend(list.iter().filter_map(|(s, takes)| wrong(s, kind, entry, accepts(*takes))));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
