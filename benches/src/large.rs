//! Scripts of many statements: from process start to the end of a `begin` probe that holds them all, by mix of statements.
//! The peer gets a hundredth of them: it takes quadratic time, and the kernel refuses what it makes of more.

use crate::tracer::Command;
use anyhow::Result;
use std::fmt::Write as _;

const SIZES: [usize; 2] = [5_000, 20_000];
const PEER_SIZE: usize = 200;

/// Writes statement number `n`.
type Statement = fn(&mut String, usize) -> std::fmt::Result;

const MIXES: &[(&str, Statement)] = &[
    ("@a = 1", |s, n| writeln!(s, "@a{} = {n};", n % 8)),
    ("$x = $x + 1", |s, n| writeln!(s, "$x = $x + {n};")),
    ("@[i] = count()", |s, n| writeln!(s, "@[{}] = count();", n % 4000)),
    ("@[i]++", |s, n| writeln!(s, "@[{}]++;", n % 4000)),
    ("@[i, tid] = nsecs", |s, n| writeln!(s, "@k[{}, tid] = nsecs;", n % 4000)),
    ("printf", |s, n| writeln!(s, "printf(\"%d %d\\n\", {n}, pid);")),
    ("if", |s, n| writeln!(s, "if (pid == {n}) {{ @a{} = {n}; }}", n % 8)),
    ("all of these", |s, n| match n % 8 {
        0 => writeln!(s, "@a{} = {n};", n % 64 / 8),
        1 => writeln!(s, "$x = $x + {n};"),
        2 => writeln!(s, "@[{}] = count();", n % 4000),
        3 => writeln!(s, "printf(\"%d %d\\n\", {n}, pid);"),
        4 => writeln!(s, "if (pid == {n}) {{ @b = {n}; }}"),
        5 => writeln!(s, "@h = hist($x);"),
        6 => writeln!(s, "@c[comm] = count();"),
        _ => writeln!(s, "@l[{}] = nsecs;", n % 4000),
    }),
];

fn script(statement: Statement, count: usize) -> Result<String> {
    let mut text = "begin {\n$x = (uint64)pid;\n".to_owned();
    for n in 0..count {
        statement(&mut text, n)?;
    }
    text.push_str("exit();\n}\n");
    Ok(text)
}

/// Prints a line for each mix.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    println!("\nmany statements in one probe, start to end, seconds (least of {rounds})");
    println!(
        "  {:<22}{:>14}{:>14}{:>18}",
        "statements",
        format!("{} {}", skep.name, SIZES[0]),
        format!("{} {}", skep.name, SIZES[1]),
        format!("{} {PEER_SIZE}", peer.name),
    );
    for (name, statement) in MIXES {
        let mut least = [f64::INFINITY; 3];
        let runs = [(skep, SIZES[0]), (skep, SIZES[1]), (peer, PEER_SIZE)];
        for _ in 0..rounds.min(3) {
            for (least, (command, count)) in least.iter_mut().zip(runs) {
                *least = least.min(command.run_file(&script(*statement, count)?)?.as_secs_f64());
            }
        }
        println!("  {name:<22}{:>14.2}{:>14.2}{:>18.2}", least[0], least[1], least[2]);
    }
    Ok(())
}
