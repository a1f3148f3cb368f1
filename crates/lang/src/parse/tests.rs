use super::*;
use crate::ast::{BinOp, ExprKind, ForIter, StmtKind, TypeExprKind, UnaryOp};
use crate::diag::Style;

fn ok(text: &str) -> Script {
    let mut diags = Diagnostics::default();
    let script = parse(text, &mut diags);
    assert!(!diags.has_errors(), "{}", diags.render("test", text, Style::Lines));
    script
}

fn errors(text: &str) -> Vec<String> {
    let mut diags = Diagnostics::default();
    parse(text, &mut diags);
    diags.list.into_iter().map(|d| d.message).collect()
}

fn stmts(text: &str) -> Vec<crate::ast::Stmt> {
    ok(&format!("BEGIN {{ {text} }}")).probes.remove(0).body.stmts
}

fn expr(text: &str) -> ExprKind {
    match stmts(&format!("$r = {text};")).remove(0).kind {
        StmtKind::Assign { value, .. } => *value.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn probes_with_lists_predicates_and_paths() {
    let script = ok("#!/usr/bin/skep\nuprobe:/bin/bash:readline,\n kprobe:vfs_* /pid == 1/ { exit() } END{}");
    assert_eq!(script.probes.len(), 2);
    let names: Vec<_> = script.probes[0].attach.iter().map(|a| a.text.as_str()).collect();
    assert_eq!(names, ["uprobe:/bin/bash:readline", "kprobe:vfs_*"]);
    assert!(script.probes[0].predicate.is_some());
    assert_eq!(script.probes[1].attach[0].text, "END");
    let quoted = ok("uprobe:\"/a b/c\":f { }");
    assert_eq!(quoted.probes[0].attach[0].text, "uprobe:\"/a b/c\":f");
    assert!(ok("BEGIN/1 / 2/{ }").probes[0].predicate.is_some());
}

#[test]
fn precedence_and_ternary() {
    let ExprKind::Binary { op: BinOp::Add, b, .. } = expr("1 + 2 * 3") else { panic!() };
    assert!(matches!(*b.kind, ExprKind::Binary { op: BinOp::Mul, .. }));
    let ExprKind::Ternary { a, .. } = expr("$a ? : $b") else { panic!() };
    assert!(matches!(*a.kind, ExprKind::Var(_)));
    let ExprKind::Binary { op: BinOp::LogOr, .. } = expr("1 && 0 || 1 == 2") else { panic!() };
}

#[test]
fn casts_groups_tuples_records() {
    let ExprKind::Cast { ty, .. } = expr("(struct task_struct *)arg0") else { panic!() };
    assert!(matches!(ty.kind, TypeExprKind::Ptr(_)));
    assert!(matches!(expr("(uint8)-1"), ExprKind::Cast { .. }));
    assert!(matches!(expr("(unsigned long)1"), ExprKind::Cast { .. }));
    assert!(matches!(expr("(pid) - 1"), ExprKind::Binary { .. }));
    assert!(matches!(expr("(nsecs - 1)"), ExprKind::Binary { .. }));
    assert!(matches!(expr("(my_type)$x"), ExprKind::Cast { .. }));
    assert!(matches!(expr("(1,)"), ExprKind::Tuple(v) if v.len() == 1));
    assert!(matches!(expr("(1, 2, \"x\")"), ExprKind::Tuple(v) if v.len() == 3));
    assert!(matches!(expr("(a = 1, b = 2)"), ExprKind::Record(v) if v.len() == 2));
    assert!(matches!(expr("sizeof(struct x)"), ExprKind::SizeofType(_)));
    assert!(matches!(expr("sizeof($x)"), ExprKind::SizeofExpr(_)));
    assert!(matches!(expr("$t.0.1"), ExprKind::TupleIndex { .. }));
    assert!(matches!(expr("if $a { 1 } else if $b { 2 } else { 3 }"), ExprKind::If { .. }));
    assert!(matches!(expr("{ $x = 1; $x + 1 }"), ExprKind::Block(b) if b.value.is_some()));
}

#[test]
fn statements() {
    let list = stmts(
        "@a[1, $x]++; ++@b; $x += 2; let $y: int8 = 1; if ($x) { exit() } else if $y == 1 { } \
         for ($kv : @a) { break; } for $i : 0..$x + 1 { continue } while ($i < 3) { $i++ } unroll (3) { @c = 1 } return",
    );
    assert_eq!(list.len(), 10);
    assert!(matches!(&list[0].kind, StmtKind::Expr(e)
        if matches!(*e.kind, ExprKind::Unary { op: UnaryOp::PostInc, .. })));
    assert!(matches!(&list[5].kind, StmtKind::For { iter: ForIter::Map(_), .. }));
    assert!(matches!(&list[6].kind, StmtKind::For { iter: ForIter::Range(..), .. }));
}

#[test]
fn declarations() {
    let script = ok(
        "#include <linux/fs.h>\nstruct x { int a; struct { int c; } b; };\nconfig = { max_strlen = 64; }\n\
         import \"stdlib\";\nlet @m = lruhash(10);\nmacro m($x, @y, z) { $x + z }\nfn f($a : int64): bool { return true; }\n\
         BEGIN { m(1, @a, 2) }",
    );
    assert_eq!((script.c_decls.len(), script.config.len(), script.imports.len()), (2, 1, 1));
    assert_eq!((script.map_decls.len(), script.macros.len(), script.functions.len()), (1, 1, 1));
    assert!(script.macros[0].body.value.is_some());
}

#[test]
fn several_errors_in_one_run() {
    let found = errors("BEGIN { $x = ; $y = 1 +; print(1) }\nEND { @ = (1; }");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn errors_say_what_was_expected() {
    for (text, part) in [
        ("BEGIN { printf(\"a\" }", "expected `)`"),
        ("BEGIN { ", "expected `}`"),
        ("BEGIN", "expected `{`"),
        ("BEGIN { $x.a = 1 }", "cannot be assigned"),
        ("BEGIN { 1++ }", "takes a variable or a map"),
        ("{ }", "expected a probe"),
        ("BEGIN { print(\"a) }", "not closed"),
        ("BEGIN { for ($x : 5) { } }", "walks a map"),
        ("BEGIN { $0 }", "begin with `$1`"),
    ] {
        let found = errors(text);
        assert!(found.iter().any(|m| m.contains(part)), "{text}: {found:?}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in
        ["(".repeat(5000), "!".repeat(5000), "{".repeat(5000), "1+(".repeat(3000), "if 1 {".repeat(4000)]
    {
        assert!(!errors(&format!("BEGIN {{ $x = {text}")).is_empty());
    }
}
