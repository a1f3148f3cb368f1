//! Properties over arbitrary preambles: whatever they say, the preprocessor and the parser end without a panic and within
//! their bounds.

use super::tests::target;
use super::*;
use crate::parse::parse;
use crate::random::Random;

/// Pieces of C.
const SOUP: &[&str] = &[
    "struct",
    "union",
    "enum",
    "typedef",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    ":",
    "*",
    "=",
    "A",
    "B",
    "F",
    "G",
    "int",
    "unsigned",
    "long",
    "char",
    "void",
    "const",
    "pid_t",
    "struct mm_struct",
    "1",
    "0x10",
    "-1",
    "1000000",
    "'a'",
    "\"x\"",
    "+",
    "<<",
    "/",
    "%",
    "?",
    "&&",
    "!",
    "sizeof",
    "(int)",
    "offsetof(struct A, x)",
    "__attribute__((packed))",
    "__attribute__((aligned(8)))",
    "__attribute__((",
    ": 3",
    ": 0",
    "x",
    "y",
    "\n#define A B\n",
    "\n#define B A A\n",
    "\n#define F(x) x #x x##A\n",
    "\n#define G(x, ...) F(x) __VA_ARGS__\n",
    "\n#if A\n",
    "\n#if defined(A) && F(1)\n",
    "\n#ifdef B\n",
    "\n#elif 1\n",
    "\n#else\n",
    "\n#endif\n",
    "\n#undef A\n",
    "\n#include \"loop.h\"\n",
    "\n#include <linux/sched.h>\n",
    "\n#pragma pack(1)\n",
    "\n#pragma pack(pop)\n",
    "\n#error e\n",
    "\n#",
    "\\\n",
    "/*",
    "*/",
    "//",
    "...",
    "##",
    "é",
    "\0",
    "\"",
    "'",
    "#define",
    "F(",
    "G(1, 2, 3)",
    "struct A { int x; };",
    "enum { C1, C2 = C1 + 5 };",
    "struct B { struct A a[2]; };",
    "typedef struct A *ap;",
    "int (*f)(void);",
    "static int g(int a) { return a; }",
];

fn soup(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(60) {
        text.push_str(SOUP[random.below(SOUP.len())]);
        text.push(' ');
    }
    text
}

#[test]
fn any_preamble_ends() {
    let target = target(&[("loop.h", "#include \"loop.h\"\nstruct L { int l; };\n")], true);
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut good = 0;
    for _ in 0..4_000 {
        let text = soup(&mut random);
        let mut diags = Diagnostics::default();
        let mut script = parse(&text, &mut diags);
        // Text that the script's parser would not hand on is tried as well.
        let span = Span::new(0, text.len());
        script.c_decls.push(crate::ast::CDecl { text: text.clone(), span });
        let mut diags = Diagnostics::default();
        let found = preamble(&script, &Options::default(), &target, &mut diags);
        good += usize::from(found.btf().is_some());
    }
    assert!(good > 100, "{good}");
}

#[test]
fn deep_nesting_is_refused() {
    let target = target(&[], false);
    for text in [
        "struct A { ".repeat(5_000),
        format!("struct A {{ int {}x; }};", "(".repeat(50_000)),
        format!("struct A {{ int x[{}1]; }};", "(".repeat(50_000)),
        format!("enum E {{ A = {}1 }};", "-".repeat(50_000)),
        format!("struct A {{ int {}x; }};", "*".repeat(50_000)),
        format!("struct A {{ int x{}; }};", "[1]".repeat(50_000)),
        "#if 1\n".repeat(5_000),
        format!("#if {}1\n#endif", "(".repeat(50_000)),
        format!("#define F(x) x\nenum E {{ A = {}1{} }};", "F(".repeat(5_000), ")".repeat(5_000)),
    ] {
        let decl = crate::ast::CDecl { span: Span::new(0, text.len()), text };
        let script = Script { c_decls: vec![decl], ..Script::default() };
        let mut diags = Diagnostics::default();
        preamble(&script, &Options::default(), &target, &mut diags);
    }
}

/// Checks a script with macros to its end.
fn check(text: &str) -> bool {
    let target = target(&[], true);
    let mut diags = Diagnostics::default();
    let script = parse(text, &mut diags);
    let program = crate::check::check(&script, &Options::default(), &target, &mut diags);
    assert!(program.is_some() || diags.has_errors(), "{text}");
    program.is_some()
}

#[test]
fn macros_in_scripts_grow_within_bounds() {
    let chain: String = (0..200).map(|i| format!("#define A{i} (A{n} + A{n})\n", n = i + 1)).collect();
    assert!(!check(&format!("{chain}BEGIN {{ print(A0); }}")));
    let nested = format!("{}pid{}", "D(".repeat(60), ")".repeat(60));
    assert!(!check(&format!("#define D(x) ((x) + (x))\nBEGIN {{ print({nested}); }}")));
    assert!(!check("#define A B\n#define B A\nBEGIN { print(A); }"));
    assert!(check(
        "#define A A\n#define B(x) B\n#define C(x) (x + A)\nenum { A = 1 };\nBEGIN { print(C(A)); }"
    ));
    let deep = format!("#define M {}1\nBEGIN {{ print(M); }}", "-".repeat(5_000));
    assert!(!check(&deep));
}

#[test]
fn any_script_with_macros_ends() {
    let mut random = Random(0x00c0_ffee_1234_5678);
    let uses = ["A", "B", "F(1)", "F(A)", "G(1, B)", "G(F(A), pid, 3)", "F", "A(1)", "MAJOR(A)", "sizeof(A)"];
    for _ in 0..1_000 {
        let mut text = soup(&mut random);
        text.push_str("\nBEGIN { $x = 1; ");
        for _ in 0..random.below(5) {
            text.push_str(&format!("print({}); ", uses[random.below(uses.len())]));
        }
        text.push('}');
        let mut diags = Diagnostics::default();
        let script = parse(&text, &mut diags);
        let target = target(&[("loop.h", "struct L { int l; };\n")], true);
        crate::check::check(&script, &Options::default(), &target, &mut diags);
    }
}
