//! The table of constants that the compiler ships: the values of macros in the kernel's and the C library's headers.
//!
//! In: `--sysroot DIR`, whose usr/include holds the headers of linux-libc-dev for x86-64 and aarch64 (one package for all
//! machines in current Debian) and of libc6-dev; and a C compiler, which only has to evaluate constants. Out:
//! crates/lang/src/c/constants.txt, sorted lines `NAME VALUE`, or `NAME X86-64 AARCH64` where they differ.
//! Always: names and numbers are all that is taken.

mod headers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The table's file, from the workspace's folder.
const TABLE: &str = "crates/lang/src/c/constants.txt";
/// Most rounds of leaving out what the compiler refuses.
const ROUNDS: usize = 40;

/// A machine: its folder of headers, and what the compiler must define for it.
struct Machine {
    triplet: &'static str,
    flags: &'static [&'static str],
}

const X86_64: Machine = Machine { triplet: "x86_64-linux-gnu", flags: &[] };
const AARCH64: Machine =
    Machine { triplet: "aarch64-linux-gnu", flags: &["-U__x86_64__", "-U__i386__", "-D__aarch64__"] };

type Values = BTreeMap<String, i64>;

/// Writes the table.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let sysroot = match arguments {
        [] => PathBuf::from("/"),
        [flag, dir] if flag == "--sysroot" => PathBuf::from(dir),
        _ => return Err("usage: cargo xtask constants [--sysroot DIR]".to_owned()),
    };
    let work = crate::root().join("target/constants");
    fs::create_dir_all(work.join("gnu")).map_err(|e| format!("{}: {e}", work.display()))?;
    fs::write(work.join("gnu/stubs-32.h"), "").map_err(|e| format!("{}: {e}", work.display()))?;
    let kernel = |machine| evaluate(&sysroot, &work, machine, headers::KERNEL);
    let (mut x86, mut arm) = (kernel(&X86_64)?, kernel(&AARCH64)?);
    // The library's own constants are the same on both; the kernel's value counts where both have one.
    for (name, value) in evaluate(&sysroot, &work, &X86_64, headers::LIBRARY)? {
        if !x86.contains_key(&name) && !arm.contains_key(&name) {
            arm.insert(name.clone(), value);
            x86.insert(name, value);
        }
    }
    for values in [&mut x86, &mut arm] {
        // The same numbers by another name, as the lookup knows.
        values.retain(|name, _| !name.starts_with("SYS_"));
        values.extend(headers::INTERNAL.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    }
    let table = table(&x86, &arm);
    let path = crate::root().join(TABLE);
    fs::write(&path, &table).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{}: {} constants, {} bytes", path.display(), table.lines().count(), table.len());
    Ok(true)
}

/// The lines of both machines.
fn table(x86: &Values, arm: &Values) -> String {
    let names: BTreeSet<&String> = x86.keys().chain(arm.keys()).collect();
    let mut out = String::new();
    for name in names {
        let show = |v: Option<&i64>| v.map_or_else(|| "-".to_owned(), i64::to_string);
        let (a, b) = (show(x86.get(name)), show(arm.get(name)));
        out.push_str(&if a == b { format!("{name} {a}\n") } else { format!("{name} {a} {b}\n") });
    }
    out
}

fn compiler(sysroot: &Path, work: &Path, machine: &Machine) -> Command {
    let mut command = Command::new("cc");
    command
        .args(["-w", "-nostdinc", "-D_GNU_SOURCE", "-ffreestanding", "-fmax-errors=0"])
        .args(machine.flags);
    let include = sysroot.join("usr/include");
    let own =
        Command::new("cc").arg("-print-file-name=include").output().map(|o| o.stdout).unwrap_or_default();
    command.arg("-isystem").arg(include.join(machine.triplet)).arg("-isystem").arg(&include);
    // The C library's parts for one machine serve for the constants of another, but for one file.
    command.arg("-isystem").arg(include.join(X86_64.triplet)).arg("-isystem").arg(work);
    command.arg("-isystem").arg(String::from_utf8_lossy(&own).trim());
    command
}

/// The values of all constants in the headers that are there. Each is read by itself: they do not all go together.
fn evaluate(sysroot: &Path, work: &Path, machine: &Machine, list: &[&str]) -> Result<Values, String> {
    let asm = sysroot.join("usr/include").join(machine.triplet).join("asm");
    if !asm.is_dir() {
        return Err(format!("{}: not there; linux-libc-dev of Debian 13 or newer has it", asm.display()));
    }
    let mut all = Values::new();
    for header in list {
        match of_header(sysroot, work, machine, header) {
            // The first header that has a name counts.
            Ok(values) => values.into_iter().for_each(|(name, value)| {
                all.entry(name).or_insert(value);
            }),
            Err(why) => eprintln!("left out for {}: {header}: {why}", machine.triplet),
        }
    }
    Ok(all)
}

/// The values of all constants in one header and those it includes.
fn of_header(sysroot: &Path, work: &Path, machine: &Machine, header: &str) -> Result<Values, String> {
    let source = work.join("headers.c");
    let include = format!("#include <{header}>\n");
    let write = |text: &str| fs::write(&source, text).map_err(|e| e.to_string());
    write(&include)?;
    let mut dump = compiler(sysroot, work, machine);
    dump.args(["-E", "-dM"]).arg(&source);
    let output = crate::process::output(dump)?;
    let mut names: Vec<&str> = output.lines().filter_map(constant_name).collect();
    names.sort_unstable();
    for _ in 0..ROUNDS {
        let lines = names.iter().enumerate().map(|(i, n)| {
            // Constants alone: no address, and no value of another kind.
            format!("unsigned long long skep_{i} = (unsigned long long)({n});\n")
        });
        write(&format!("{include}{}", lines.collect::<String>()))?;
        let mut compile = compiler(sysroot, work, machine);
        compile.args(["-S", "-O0", "-fno-zero-initialized-in-bss", "-o", "-"]).arg(&source);
        let output = compile.output().map_err(|e| format!("cc: {e}"))?;
        if output.status.success() {
            return Ok(values(&names, &String::from_utf8_lossy(&output.stdout)));
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = refused(&errors);
        if refused.is_empty() {
            return Err(errors.lines().next().unwrap_or("").to_owned());
        }
        let mut at = 0;
        names.retain(|_| {
            at += 1;
            !refused.contains(&(at - 1))
        });
    }
    Err("the compiler goes on refusing constants".to_owned())
}

/// The name in a line `#define NAME VALUE` that may be a constant.
fn constant_name(line: &str) -> Option<&str> {
    let (name, value) = line.strip_prefix("#define ")?.split_once(' ')?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let own = !name.starts_with('_') || name.starts_with("__NR_");
    (plain && own && !value.is_empty() && name.bytes().any(|b| b.is_ascii_uppercase())).then_some(name)
}

/// Which constants the compiler's errors are about: the lines behind the include.
fn refused(errors: &str) -> BTreeSet<usize> {
    errors
        .lines()
        .filter(|l| l.contains(": error:"))
        .filter_map(|l| l.split("headers.c:").nth(1)?.split(':').next()?.parse::<usize>().ok())
        .filter_map(|line| line.checked_sub(2))
        .collect()
}

/// Values from the assembly: `skep_N:` and the directive behind it. Addresses are no values.
fn values(names: &[&str], assembly: &str) -> Values {
    let mut found: HashMap<usize, i64> = HashMap::new();
    let mut current = None;
    for line in assembly.lines().map(str::trim) {
        if let Some(label) = line.strip_suffix(':') {
            current = label.strip_prefix("skep_").and_then(|n| n.parse::<usize>().ok());
        } else if let (Some(at), Some(value)) = (current, line.strip_prefix(".quad")) {
            let value = value.trim();
            let number = value.parse::<i64>().ok().or_else(|| value.parse::<u64>().ok().map(|v| v as i64));
            found.extend(number.map(|n| (at, n)));
            current = None;
        } else if let (Some(at), true) = (current, line.starts_with(".zero")) {
            found.insert(at, 0);
            current = None;
        }
    }
    found.into_iter().filter_map(|(at, value)| Some(((*names.get(at)?).to_owned(), value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        assert_eq!(constant_name("#define EPERM 1"), Some("EPERM"));
        assert_eq!(constant_name("#define __NR_read 0"), Some("__NR_read"));
        assert_eq!(constant_name("#define _IOC_NONE 0"), None);
        assert_eq!(constant_name("#define F(x) x"), None);
        let names = ["A", "B", "C"];
        let found = values(&names, "skep_0:\n\t.quad\t-1\nskep_1:\n\t.zero\t8\nskep_2:\n\t.quad\t.LC0\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("A".to_owned(), -1), ("B".to_owned(), 0)]);
        assert_eq!(refused("x/headers.c:3:3: error: y"), BTreeSet::from([1]));
    }

    #[test]
    fn lines_of_the_table() {
        let x86 = Values::from([("A".to_owned(), 1), ("B".to_owned(), 2)]);
        let arm = Values::from([("A".to_owned(), 1), ("C".to_owned(), 3)]);
        assert_eq!(table(&x86, &arm), "A 1\nB 2 -\nC - 3\n");
    }
}
