use super::*;
use crate::diag::Style;

fn formatted(text: &str) -> String {
    format(text).unwrap_or_else(|d| panic!("{}", d.render("test", text, Style::Lines)))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let once = formatted(text);
    assert_eq!(once, expected);
    assert_eq!(formatted(&once), expected, "what is formatted stays");
}

#[test]
fn a_script_gets_its_layout() {
    check(
        "#!/usr/bin/env bpftrace\n// hello\n#include <linux/sched.h>\nstruct Foo { int x; };\n\
         config = { max_strlen=64 }\nlet @a = hash(100);\nmacro foo($x) { $x+1 }\n\n\n\
         BEGIN{ printf(\"hi %d\\n\",  1+2 ) ; @[pid,comm]=count();  // trailing\n\
         if($1>2){ exit() } else if (1) { @x = 1; } else { @b++; }\n/* block */ for ($i : 0..10) { print($i); }\n\
         $y = 1?2:3; $f = ((struct Foo*)0).x;\n\n\nprint(-1); $z=!$y && ~1 ; $k = (uint64)5; }\n\
         tracepoint:syscalls:sys_enter_*,kprobe:f /pid==1&&comm==\"a\"/ { @[probe]=count(); }",
        "#!/usr/bin/env bpftrace\n// hello\n#include <linux/sched.h>\nstruct Foo { int x; };\n\
         config = {\n  max_strlen = 64\n}\nlet @a = hash(100);\nmacro foo($x)\n{\n  $x + 1\n}\n\n\
         BEGIN\n{\n  printf(\"hi %d\\n\", 1 + 2);\n  @[pid, comm] = count(); // trailing\n\
         \x20 if ($1 > 2) {\n    exit()\n  } else if (1) {\n    @x = 1;\n  } else {\n    @b++;\n  }\n\
         \x20 /* block */\n  for ($i : 0..10) {\n    print($i);\n  }\n\
         \x20 $y = 1 ? 2 : 3;\n  $f = ((struct Foo *)0).x;\n\n  print(-1);\n  $z = !$y && ~1;\n  $k = (uint64)5;\n}\n\
         tracepoint:syscalls:sys_enter_*,\nkprobe:f\n/pid == 1 && comm == \"a\"/\n{\n  @[probe] = count();\n}\n",
    );
}

#[test]
fn a_line_of_the_kernel_is_one_at_the_beginning_only() {
    check("\n\n#!/usr/bin/env bpftrace\nBEGIN { }", "\n#!/usr/bin/env bpftrace\nBEGIN\n{}\n");
}

#[test]
fn line_breaks_within_parentheses_stay() {
    check(
        "BEGIN { printf(\"%d %d\\n\",\n 1,\n2); }",
        "BEGIN\n{\n  printf(\"%d %d\\n\",\n      1,\n      2);\n}\n",
    );
}

#[test]
fn signs_and_stars() {
    check(
        "BEGIN { $a = -1 - -$b; $c = *$p * 2; @x--; --$d; $e = &$f & 3; }",
        "BEGIN\n{\n  $a = -1 - -$b;\n  $c = *$p * 2;\n  @x--;\n  --$d;\n  $e = &$f & 3;\n}\n",
    );
}

#[test]
fn a_star_and_an_assignment_stay_apart() {
    check("BEGIN { let $s : int8*** = 0; }", "BEGIN\n{\n  let $s : int8 *** = 0;\n}\n");
}

#[test]
fn signs_that_would_join_stay_apart() {
    check(
        "BEGIN { $a = - -$b; $c = - --$b; $d = -(-1); }",
        "BEGIN\n{\n  $a = - -$b;\n  $c = - --$b;\n  $d = -(-1);\n}\n",
    );
    check("k:f / *arg0 == 1/ { }", "k:f\n/ *arg0 == 1/\n{}\n");
}

#[test]
fn a_comment_on_its_own_line_stays_there() {
    check("/*/ a */\nconfig = { max_strlen=2 }", "/*/ a */\nconfig = {\n  max_strlen = 2\n}\n");
    check("\n/* a\n b */\nconfig = { max_strlen=2 }", "/* a\n b */\nconfig = {\n  max_strlen = 2\n}\n");
}

#[test]
fn what_is_wrong_is_said() {
    assert!(format("BEGIN { ").is_err());
}

/// Tokens and comments without blanks.
fn essence(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn only_blanks_change() {
    for text in [
        "BEGIN { }",
        "// only\nBEGIN { // a\n // b\n /* c */ exit(); /* d */ }\n// e",
        "END{$x={ let $y=1;$y+1 };print($x)}",
        "k:f,kr:g\n{ if (1) { } else { } while (0) { break; } @a[1,\"x\"][2] = { 1 }; }",
        "fn f($x : int64) : int64 { return $x; } BEGIN { print(f(1)); }",
        "uprobe:/bin/bash:readline / pid > 3 / { @[ustack(3)] = count() }",
    ] {
        let Ok(once) = format(text) else { continue };
        assert_eq!(essence(&once), essence(text));
        assert_eq!(format(&once).unwrap(), once, "{text}");
    }
}

/// Scripts of the fixtures below a folder of the tests: whole files, and those within the files of live tests.
fn scripts(folder: &std::path::Path, out: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.path().display().to_string());
        if path.is_dir() {
            scripts(&path, out);
        } else if name.ends_with(".bt") {
            out.push((name, std::fs::read_to_string(&path).unwrap()));
        } else if name.ends_with(".test") {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("\nscript:\n").skip(1) {
                let lines = part.lines().map_while(|line| line.strip_prefix("  "));
                out.push((name.clone(), lines.map(|line| format!("{line}\n")).collect()));
            }
        }
    }
}

#[test]
fn every_fixture_keeps_its_meaning_and_comments() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    scripts(&root.join("../../tests"), &mut all);
    scripts(&root.join("std"), &mut all);
    let mut done = 0;
    let mut wrong = Vec::new();
    for (name, text) in &all {
        let Ok(once) = format(text) else { continue };
        done += 1;
        if let Err(why) = verify(text, &once) {
            wrong.push(format!("{name}: {why}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(done > 300, "{done} of {} scripts", all.len());
}
