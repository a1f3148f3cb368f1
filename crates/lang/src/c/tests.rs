//! Preambles against a target that has a few files.

use std::collections::HashMap;

use super::*;
use crate::fake::{Fake, OLD};
use crate::parse::parse;
use skep_bpf::btf::{Member, Type};
use skep_bpf::target::{Answer, Question, TargetError};

/// Files by path, and the types of the small target where `types`.
pub(super) struct Files {
    files: HashMap<String, String>,
    fake: Fake,
    types: bool,
}

impl Target for Files {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        match question {
            Question::File(path) => match self.files.get(path) {
                Some(text) => Ok(Answer::Text(text.as_str().into())),
                None => Err(TargetError::NotFound(path.clone())),
            },
            Question::Btf(_) if !self.types => Err(TargetError::NotFound("types".to_owned())),
            other => self.fake.ask(other),
        }
    }
}

pub(super) fn target(files: &[(&str, &str)], types: bool) -> Files {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Files { files, fake: Fake::new(OLD), types }
}

fn read_on(files: &Files, text: &str) -> (Preamble, Vec<String>) {
    let mut diags = Diagnostics::default();
    let script = parse(text, &mut diags);
    let script = Script { path: "/home/me/script.bt".to_owned(), ..script };
    let options = Options { include_dirs: vec!["/opt/include".to_owned()], ..Options::default() };
    let found = preamble(&script, &options, files, &mut diags);
    (found, diags.list.into_iter().map(|d| d.message).collect())
}

fn read(text: &str) -> Preamble {
    let (found, messages) = read_on(&target(&[], false), text);
    assert_eq!(messages, Vec::<String>::new());
    found
}

/// Size and members (name, bit offset, bits) of a struct.
fn shape(p: &Preamble, kind: NameKind, name: &str) -> (u32, Vec<(String, u32, u32)>) {
    let id = p.type_of(kind, name).unwrap();
    match p.btf().unwrap().get_resolved(id) {
        Some(Type::Composite { size, members, .. }) => {
            let of = |m: &Member<'_>| (m.name.to_owned(), m.bit_offset, m.bit_size);
            (size, members.iter().map(of).collect())
        }
        other => panic!("{name} is {other:?}"),
    }
}

fn members(list: &[(&str, u32, u32)]) -> Vec<(String, u32, u32)> {
    list.iter().map(|(n, a, b)| ((*n).to_owned(), *a, *b)).collect()
}

#[test]
fn structs_of_all_kinds() {
    let p = read(
        "struct Foo { int a, *b; char c[3][2]; unsigned x : 3, y : 7; struct { short s; }; \
         union { int u; long v; } w; void (*f)(int, void *); struct Foo *next; uint8_t tail[]; };\n\
         struct __attribute__((packed)) P { char c; long l; } ; typedef struct { int a; } anon_t;\n\
         struct Q { char c; long l __attribute__((aligned(16))); } __attribute__((aligned(32)));\n\
         typedef struct Foo *foo_p;\n",
    );
    let foo = [
        ("a", 0, 0),
        ("b", 64, 0),
        ("c", 128, 0),
        ("x", 176, 3),
        ("y", 179, 7),
        ("", 192, 0),
        ("w", 256, 0),
        ("f", 320, 0),
        ("next", 384, 0),
        ("tail", 448, 0),
    ];
    assert_eq!(shape(&p, NameKind::Struct, "Foo"), (56, members(&foo)));
    assert_eq!(shape(&p, NameKind::Struct, "P"), (9, members(&[("c", 0, 0), ("l", 8, 0)])));
    assert_eq!(shape(&p, NameKind::Struct, "Q"), (32, members(&[("c", 0, 0), ("l", 128, 0)])));
    assert_eq!(shape(&p, NameKind::Typedef, "anon_t").0, 4);
    let id = p.type_of(NameKind::Typedef, "foo_p").unwrap();
    assert!(matches!(p.btf().unwrap().get_resolved(id), Some(Type::Ptr(_))));
}

#[test]
fn sizes_are_constant_expressions() {
    let p = read(
        "#define N 4\nenum E { A = 2, B, C = A << 4 | 1, D = -1, F = sizeof(long) * N };\n\
         struct S { char a[N + B]; char b[(int)2 * 3 > 5 ? 7 : 1]; char c[sizeof(struct T *)]; };\n\
         struct U { char x[offsetof(struct S, b)]; char y['a' - '`']; };",
    );
    let value = |name| p.constant(name).map(|c| c.0);
    assert_eq!([value("B"), value("C"), value("D"), value("F")], [Some(3), Some(33), Some(-1), Some(32)]);
    assert_eq!(shape(&p, NameKind::Struct, "S").0, 22);
    assert_eq!(shape(&p, NameKind::Struct, "U").0, 8);
}

#[test]
fn conditions_choose_declarations() {
    let p = read(
        "#if defined(BPFTRACE_HAVE_BTF) || 0\nstruct A { int a; };\n#elif 1 + 1 == 2 && !defined(X)\nstruct B { int b; };\n\
         #else\nstruct C { int c; };\n#endif\n#ifdef __x86_64__\nenum { ONE = 1 };\n#ifndef ONE\n#define TWO 2\n#endif\n#endif\n\
         #undef TWO\n#ifdef TWO\nenum { NEVER };\n#endif\n#if 0\n#if 1\n#error no\n#endif\n#else\nenum { YES };\n#endif\n",
    );
    assert!(p.type_of(NameKind::Struct, "A").is_none() && p.type_of(NameKind::Struct, "C").is_none());
    assert!(p.type_of(NameKind::Struct, "B").is_some());
    assert!(p.constant("ONE").is_some() && p.constant("YES").is_some() && p.constant("NEVER").is_none());
}

#[test]
fn headers_are_found_beside_the_script_and_in_folders() {
    let files = target(
        &[
            (
                "/home/me/x.h",
                "#ifndef X_H\n#define X_H\n#include \"sub/y.h\"\nstruct X { struct Y y; };\n#endif\n",
            ),
            ("/home/me/sub/y.h", "#pragma once\n#include <z.h>\n#include \"y.h\"\nstruct Y { z_t z; };\n"),
            ("/opt/include/z.h", "typedef unsigned short z_t;\nstatic inline int f(int a) { return a; }\n"),
            (
                "/usr/include/q.h",
                "#include <stddef.h>\nextern int printf(const char *, ...) __asm__(\"x\");\nint broken(;\nstruct Q { size_t s; };\n",
            ),
        ],
        false,
    );
    let (p, messages) = read_on(
        &files,
        "#include \"x.h\"\n#include <x.h>\n#include <q.h>\n#include <linux/sched.h>\n#include <net/sock.h>\n",
    );
    assert_eq!(messages, ["'x.h' file not found"]);
    assert_eq!(shape(&p, NameKind::Struct, "X").0, 2);
    assert_eq!(shape(&p, NameKind::Struct, "Q").0, 8);
}

#[test]
fn mistakes_in_headers_say_where() {
    let files = target(
        &[("/home/me/x.h", "struct A {\n  what_t x;\n};\nstruct B { int b; };\n#error stop here\n")],
        false,
    );
    let (p, messages) = read_on(&files, "#include \"x.h\"\n");
    assert_eq!(messages, ["/home/me/x.h:5: #error stop here", "/home/me/x.h:2: unknown type name 'what_t'"]);
    assert!(p.type_of(NameKind::Struct, "B").is_some());
}

#[test]
fn the_kernels_types_can_be_built_upon() {
    let files = target(&[], true);
    let (p, messages) = read_on(
        &files,
        "struct Foo { struct mm_struct m; pid_t p; struct task_struct *t; u32 u; };\n\
         struct mm_struct { int x; struct mm_struct *y; };",
    );
    assert_eq!(messages, Vec::<String>::new());
    let foo = [("m", 0, 0), ("p", 128, 0), ("t", 192, 0), ("u", 256, 0)];
    assert_eq!(shape(&p, NameKind::Struct, "Foo"), (40, members(&foo)));
    assert_eq!(shape(&p, NameKind::Struct, "mm_struct").0, 16);
    let (_, messages) = read_on(&files, "struct task_struct { struct thread_info x; };");
    assert_eq!(messages, ["field `x` has incomplete type 'struct thread_info'"]);
}

#[test]
fn declarations_that_are_wrong() {
    let wrong = |text: &str| read_on(&target(&[], false), text).1.join("; ");
    for (text, message) in [
        ("struct A { int a int b; };", "expected `;`, found `int`"),
        ("struct A { struct B b; };", "field `b` has incomplete type 'struct B'"),
        ("struct A { int x[-1]; };", "the size of an array is negative"),
        ("struct A { int x[n]; };", "use of undeclared identifier 'n'"),
        ("struct A { int x; };\nstruct A { int y; };", "redefinition of 'A'"),
        ("enum E { A = 1 / 0 };", "division by zero"),
        ("struct A { int x : 40; };", "a bit field of 40 bits does not fit its type"),
        ("#if 1\nstruct A { int x; };", "an `#if` has no `#endif`"),
        ("#endif", "`#endif` without an `#if`"),
        ("#nonsense", "unknown directive `#nonsense`"),
        ("#include nothing", "expected `\"FILE\"` or `<FILE>` behind `#include`"),
        ("#if 1 +\n#endif", "in this condition: expected a value, found the end"),
        ("struct A { int x[1 << 30][1 << 30]; };", "this array is too large"),
    ] {
        assert_eq!(wrong(text), message, "{text}");
    }
}

#[test]
fn packing_by_pragma() {
    let p = read(
        "#pragma pack(push, 1)\nstruct A { char c; int i; };\n#pragma pack(pop)\nstruct B { char c; int i; };\n",
    );
    assert_eq!(shape(&p, NameKind::Struct, "A").0, 5);
    assert_eq!(shape(&p, NameKind::Struct, "B").0, 8);
}
