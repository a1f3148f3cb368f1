//! Results of `test:` and `bench:` probes as text. A result enters, with the names of all and how those before came out;
//! its lines leave, with a heading before the first and a summary behind the last.

use std::time::Duration;

/// What a test came to.
#[derive(Clone, Copy, Debug)]
pub struct TestResult<'a> {
    /// Names of all tests that run.
    pub names: &'a [String],
    /// Which of them this is.
    pub index: usize,
    /// How long it ran.
    pub time: Duration,
    /// Whether it and each one before passed.
    pub passed: &'a [bool],
    /// What it printed.
    pub output: &'a [u8],
}

/// What a measurement came to.
#[derive(Clone, Copy, Debug)]
pub struct BenchResult<'a> {
    /// Names of all measurements that run.
    pub names: &'a [String],
    /// Which of them this is.
    pub index: usize,
    /// Time of one run.
    pub average: Duration,
    /// How many runs that is the average of.
    pub runs: u64,
    /// Whether it is the first that has a result.
    pub first: bool,
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Columns of a measurement's name and time.
const NAME: usize = 40;
const TIME: usize = 15;

fn tag(color: &str, text: &str) -> String {
    format!("{color}[{text}]{PLAIN} ")
}

fn tests(n: usize) -> String {
    format!("{n} test{}", if n == 1 { "" } else { "s" })
}

/// A time in the largest unit of which it is at least one.
fn shown(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "μs")];
    match units.iter().find(|(size, _)| nanos >= *size) {
        Some((size, unit)) => format!("{} {unit}", nanos / size),
        None => format!("{nanos} ns"),
    }
}

/// Lines of a test. What it printed is shown when it failed.
pub(super) fn test_text(result: &TestResult<'_>) -> String {
    let TestResult { names, index, passed, .. } = *result;
    let Some(name) = names.get(index) else { return String::new() };
    let mut out = String::new();
    if index == 0 {
        out.push_str(&format!("{}Running {} tests.\n", tag(GREEN, "=========="), names.len()));
    }
    out.push_str(&format!("{}{name}\n", tag(GREEN, " RUN      ")));
    let ok = passed.last().is_some_and(|p| *p);
    if !ok {
        for line in String::from_utf8_lossy(result.output).lines().filter(|l| !l.is_empty()) {
            out.push_str(&format!("{line}\n"));
        }
    }
    let end = if ok { tag(GREEN, "       OK ") } else { tag(RED, "  FAILED  ") };
    out.push_str(&format!("{end}{name} ({})\n", shown(result.time)));
    if index + 1 == names.len() {
        out.push_str(&summary(names, passed));
    }
    out
}

fn summary(names: &[String], passed: &[bool]) -> String {
    let good = passed.iter().filter(|p| **p).count();
    let mut out = format!("{}{} ran.\n", tag(GREEN, "=========="), tests(names.len()));
    out.push_str(&format!("{}{}.\n", tag(GREEN, "  PASSED  "), tests(good)));
    if good < passed.len() {
        let bad = tests(passed.len() - good);
        out.push_str(&format!("{}{bad}, listed below:\n", tag(RED, "  FAILED  ")));
        for (name, _) in names.iter().zip(passed).filter(|(_, p)| !**p) {
            out.push_str(&format!("{}{name}\n", tag(RED, "  FAILED  ")));
        }
    }
    out
}

/// Lines of a measurement.
pub(super) fn bench_text(result: &BenchResult<'_>) -> String {
    let Some(name) = result.names.get(result.index) else { return String::new() };
    let width = result.names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(NAME) + 1;
    let mut out = String::new();
    if result.first {
        let head = format!("{:<width$}{:<TIME$}Iterations", "Benchmark", "Time(ns)");
        out.push_str(&format!("{head}\n{}\n", "-".repeat(head.chars().count())));
    }
    out.push_str(&format!("{name:<width$}{:<TIME$}{}\n", result.average.as_nanos(), result.runs));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_shown_one_by_one() {
        let names = ["good".to_owned(), "bad".to_owned()];
        let of = |index: usize, passed: &[bool], output: &[u8]| {
            let time = Duration::from_micros(1200 + index as u64);
            let text = test_text(&TestResult { names: &names, index, time, passed, output });
            text.replace(GREEN, "").replace(RED, "").replace(PLAIN, "")
        };
        assert_eq!(
            of(0, &[true], b"hidden\n"),
            "[==========] Running 2 tests.\n[ RUN      ] good\n[       OK ] good (1 ms)\n"
        );
        assert_eq!(
            of(1, &[true, false], b"shown\n\n"),
            "[ RUN      ] bad\nshown\n[  FAILED  ] bad (1 ms)\n[==========] 2 tests ran.\n[  PASSED  ] 1 test.\n\
             [  FAILED  ] 1 test, listed below:\n[  FAILED  ] bad\n"
        );
    }

    #[test]
    fn measurements_are_a_table() {
        let names = ["count".to_owned()];
        let average = Duration::from_nanos(40);
        let text = bench_text(&BenchResult { names: &names, index: 0, average, runs: 20_000, first: true });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), 66);
        assert_eq!(lines[1], "-".repeat(66));
        assert_eq!(lines[2], format!("{:<41}{:<15}20000", "count", 40));
    }
}
