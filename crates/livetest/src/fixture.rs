//! Fixture files: what to run, on which kernel, and what must come out.
//!
//! In: the text of a `*.test` file. Out: its `Case`s, or a message with file and line.
//! Always: every key is known and every pattern compiles (with placeholders still in it) before anything runs.
//!
//! A file holds cases. A case starts with `== NAME` and has keys at column 0; a key with nothing after its colon takes the
//! indented lines below it. Lines that start with `#` at column 0 are comments. `tests/kernel/README.md` lists the keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::feature::Need;
use crate::load::Load;
use crate::sum::Requirement;

/// How the script reaches the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// `-e TEXT`
    Inline,
    /// A file's path.
    File,
    /// `-`, the text on standard input.
    Stdin,
    /// An ELF object that was written before.
    Object,
}

/// What ends the program under test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// It ends by itself.
    Itself,
    /// A signal, this long after the loads have ended.
    Signal(Signal, Duration),
}

/// One case of a fixture file.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Path of the file below the fixture directory, without extension, then the case's own name.
    pub(crate) name: String,
    pub(crate) needs: Vec<Need>,
    /// Run with passes on and off; otherwise once.
    pub(crate) twice: bool,
    pub(crate) smoke: bool,
    /// Why bpftrace cannot pass this case; `None` when it must.
    pub(crate) not_bpftrace: Option<String>,
    /// What bpftrace needs beyond `needs`.
    pub(crate) bpftrace_needs: Vec<Need>,
    /// Why a recorded run cannot happen again on the offline machine; `None` when it must.
    pub(crate) not_replayed: Option<String>,
    pub(crate) loads: Vec<Load>,
    /// Words in place of `trace`; the script is not passed then.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) args: Vec<String>,
    pub(crate) params: Vec<String>,
    pub(crate) script: Option<String>,
    pub(crate) via: Via,
    /// Words for writing the object.
    pub(crate) emit: Vec<String>,
    /// Started through a link of this name.
    pub(crate) called: Option<String>,
    /// In a network namespace of its own, with a pair of veth devices of this MTU.
    pub(crate) net: Option<u32>,
    /// Devices on top of that pair, addresses and neighbours, as `net::check` takes them.
    pub(crate) parts: Vec<String>,
    /// Commands of the program in that namespace, before the loads and after the program has ended.
    pub(crate) before: Vec<Vec<String>>,
    pub(crate) after: Vec<Vec<String>>,
    /// Started as this user, without privileges.
    pub(crate) user: Option<u32>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    /// Commands that make what the case traces, run in the run's folder before anything else.
    pub(crate) builds: Vec<Vec<String>>,
    pub(crate) end: End,
    pub(crate) close_stdout_after: Option<usize>,
    pub(crate) exit: i32,
    pub(crate) timeout: Duration,
    /// Each matches a line of standard output, in this order.
    pub(crate) expect: Vec<String>,
    /// Each matches some line of standard output.
    pub(crate) contains: Vec<String>,
    /// None matches any line of standard output.
    pub(crate) reject: Vec<String>,
    /// Each matches a line of what the commands before say, in this order.
    pub(crate) expect_before: Vec<String>,
    /// The same of those after.
    pub(crate) expect_after: Vec<String>,
    /// Each matches a line of standard error, in this order.
    pub(crate) stderr: Vec<String>,
    /// None matches any line of standard error.
    pub(crate) reject_stderr: Vec<String>,
    /// Files of the run's folder, each with patterns that match its lines in this order.
    pub(crate) written: Vec<(String, Vec<String>)>,
    pub(crate) require: Vec<Requirement>,
}

impl Case {
    fn new(name: String) -> Self {
        Case {
            name,
            needs: Vec::new(),
            twice: true,
            smoke: false,
            not_bpftrace: None,
            bpftrace_needs: Vec::new(),
            not_replayed: None,
            loads: Vec::new(),
            command: None,
            args: Vec::new(),
            params: Vec::new(),
            script: None,
            via: Via::Inline,
            emit: Vec::new(),
            called: None,
            net: None,
            parts: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            user: None,
            env: Vec::new(),
            files: Vec::new(),
            builds: Vec::new(),
            end: End::Itself,
            close_stdout_after: None,
            exit: 0,
            timeout: Duration::from_secs(15),
            expect: Vec::new(),
            contains: Vec::new(),
            reject: Vec::new(),
            expect_before: Vec::new(),
            expect_after: Vec::new(),
            stderr: Vec::new(),
            reject_stderr: Vec::new(),
            written: Vec::new(),
            require: Vec::new(),
        }
    }

    fn patterns(&self) -> impl Iterator<Item = &String> {
        let written = self.written.iter().flat_map(|(_, patterns)| patterns);
        let streams = [&self.expect, &self.contains, &self.reject, &self.stderr, &self.reject_stderr];
        let around = [&self.expect_before, &self.expect_after];
        streams.into_iter().chain(around).flatten().chain(written)
    }

    fn says_something(&self) -> bool {
        self.patterns().next().is_some() || !self.require.is_empty()
    }
}

/// Reads every `*.test` file below `dir`, in order of path.
pub(crate) fn read_dir(dir: &Path) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    walk(dir, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let stem = file.strip_prefix(dir).unwrap_or(&file).with_extension("").display().to_string();
        cases.extend(parse(&stem, &text)?);
    }
    match cases.is_empty() {
        true => Err(format!("no *.test file below {}", dir.display())),
        false => Ok(cases),
    }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", dir.display()))?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "test") {
            files.push(path);
        }
    }
    Ok(())
}

/// Parses one fixture file; `stem` is the first part of its cases' names.
pub(crate) fn parse(stem: &str, text: &str) -> Result<Vec<Case>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut cases: Vec<(usize, Case)> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let number = at + 1;
        let line = lines[at];
        at += 1;
        let fail = |message: String| format!("{stem}.test:{number}: {message}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            cases.push((number, Case::new(format!("{stem}/{}", name.trim()))));
            continue;
        }
        let Some((_, case)) = cases.last_mut() else {
            return Err(fail("expected `== NAME` before the first key".to_owned()));
        };
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with(' ')) else {
            return Err(fail(format!("expected `key: value`, found `{line}`")));
        };
        let value = value.trim();
        let mut block = Vec::new();
        if value.is_empty() {
            while at < lines.len() && (lines[at].starts_with("  ") || lines[at].trim().is_empty()) {
                block.push(lines[at].strip_prefix("  ").unwrap_or(""));
                at += 1;
            }
            while block.last().is_some_and(|line| line.trim().is_empty()) {
                block.pop();
            }
        }
        set(case, key, value, &block).map_err(fail)?;
    }
    for (number, case) in &cases {
        check(case).map_err(|message| format!("{stem}.test:{number}: {message}"))?;
    }
    Ok(cases.into_iter().map(|(_, case)| case).collect())
}

fn check(case: &Case) -> Result<(), String> {
    if case.script.is_none() && case.command.is_none() {
        return Err("a case needs `script` or `command`".to_owned());
    }
    if !case.says_something() {
        return Err("a case needs something that it expects".to_owned());
    }
    let around = !case.before.is_empty() || !case.after.is_empty();
    if around && (case.net.is_none() || case.not_bpftrace.is_none()) {
        return Err("`before` and `after` need `net`, and `bpftrace: no, REASON`".to_owned());
    }
    for pattern in case.patterns() {
        regex::Regex::new(pattern).map_err(|error| format!("pattern `{pattern}`: {error}"))?;
    }
    Ok(())
}

/// One line each: the value of the key, or the lines of its block.
fn items(value: &str, block: &[&str]) -> Vec<String> {
    let lines = block.iter().filter(|line| !line.trim().is_empty()).map(|line| (*line).to_owned());
    if value.is_empty() { lines.collect() } else { vec![value.to_owned()] }
}

fn text(value: &str, block: &[&str]) -> String {
    if value.is_empty() { block.join("\n") } else { value.to_owned() }
}

fn set(case: &mut Case, key: &str, value: &str, block: &[&str]) -> Result<(), String> {
    match key {
        "about" => {}
        "needs" => {
            for need in value.split(',') {
                case.needs.push(Need::parse(need.trim())?);
            }
        }
        "runs" => case.twice = choice(value, &[("both", true), ("once", false)])?,
        "smoke" => case.smoke = choice(value, &[("yes", true), ("no", false)])?,
        "bpftrace" => {
            if let Some(need) = value.strip_prefix("needs ") {
                case.bpftrace_needs.push(Need::parse(need.trim())?);
                return Ok(());
            }
            let reason = value.strip_prefix("no,").map(str::trim).filter(|reason| !reason.is_empty());
            case.not_bpftrace = Some(reason.ok_or("expected `no, REASON` or `needs FEATURE`")?.to_owned());
        }
        "vm" => {
            let reason = value.strip_prefix("no,").map(str::trim).filter(|reason| !reason.is_empty());
            case.not_replayed = Some(reason.ok_or("expected `no, REASON`")?.to_owned());
        }
        "load" => {
            case.loads.push(Load::parse(value)?);
            if case.end == End::Itself {
                case.end = End::Signal(Signal::INT, Duration::ZERO);
            }
        }
        "command" => {
            case.command = Some(words(value)?);
            case.twice = false;
        }
        "args" => case.args.extend(words(value)?),
        "params" => case.params.extend(words(value)?),
        "via" => {
            let kinds =
                [("-e", Via::Inline), ("file", Via::File), ("stdin", Via::Stdin), ("object", Via::Object)];
            case.via = choice(value, &kinds)?;
        }
        "emit" => case.emit.extend(words(value)?),
        "net" => case.net = Some(number(value.strip_prefix("veth ").ok_or("expected `veth MTU`")?)?),
        "device" | "address" | "neighbour" => {
            for item in items(value, block) {
                let part = format!("{key}: {item}");
                crate::net::check(&part)?;
                case.parts.push(part);
            }
        }
        "before" | "after" => {
            let commands: Result<Vec<_>, _> = items(value, block).iter().map(|line| words(line)).collect();
            if key == "before" { &mut case.before } else { &mut case.after }.extend(commands?);
        }
        "expect-before" => case.expect_before.extend(items(value, block)),
        "expect-after" => case.expect_after.extend(items(value, block)),
        "user" => case.user = Some(number(value)?),
        "called" => case.called = Some(value.to_owned()),
        "env" => {
            let (name, value) = value.split_once('=').ok_or("expected NAME=VALUE")?;
            case.env.push((name.to_owned(), value.to_owned()));
        }
        "build" => {
            for line in items(value, block) {
                case.builds.push(words(&line)?);
            }
        }
        "end" => case.end = end(value)?,
        "close-stdout-after" => case.close_stdout_after = Some(number(value)?),
        "exit" => case.exit = number(value)?,
        "timeout" => case.timeout = Duration::from_secs(number(value)?),
        "script" => case.script = Some(text(value, block)),
        "expect" => case.expect.extend(items(value, block)),
        "contains" => case.contains.extend(items(value, block)),
        "reject" => case.reject.extend(items(value, block)),
        "stderr" => case.stderr.extend(items(value, block)),
        "reject-stderr" => case.reject_stderr.extend(items(value, block)),
        "require" => {
            for line in items(value, block) {
                case.require.push(Requirement::parse(&line)?);
            }
        }
        _ => match key.split_once(' ') {
            Some(("file", name)) => case.files.push((name.to_owned(), text(value, block) + "\n")),
            Some(("in", name)) => case.written.push((name.to_owned(), items(value, block))),
            _ => return Err(format!("unknown key `{key}`")),
        },
    }
    Ok(())
}

fn choice<T: Copy>(value: &str, options: &[(&str, T)]) -> Result<T, String> {
    options.iter().find(|(name, _)| *name == value).map(|(_, result)| *result).ok_or_else(|| {
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        format!("expected {}, found `{value}`", names.join(" or "))
    })
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected a number, found `{value}`"))
}

/// `self`, or a signal's name and an optional `after MS`.
fn end(value: &str) -> Result<End, String> {
    let parts: Vec<&str> = value.split_whitespace().collect();
    let signal = match parts.first() {
        Some(&"self") if parts.len() == 1 => return Ok(End::Itself),
        Some(&"INT") => Signal::INT,
        Some(&"TERM") => Signal::TERM,
        _ => return Err(format!("expected self, INT or TERM, found `{value}`")),
    };
    match parts[1..] {
        [] => Ok(End::Signal(signal, Duration::ZERO)),
        ["after", delay] => Ok(End::Signal(signal, Duration::from_millis(number(delay)?))),
        _ => Err(format!("expected `after MS`, found `{value}`")),
    }
}

/// Splits at blanks; quotes of either kind keep a word together.
pub(crate) fn words(value: &str) -> Result<Vec<String>, String> {
    let mut result = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in value.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => result.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("no closing {open} in `{value}`"));
    }
    result.extend(word);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
== first
needs: uprobe, kernel>=5.13
load: comm=ls getppid 3
script:
  BEGIN {
    exit();
  }

expect:
  ^a$
  ^b$

== second
command: -l 'tracepoint:syscalls:*open*'
contains: open
";

    #[test]
    fn cases_keys_and_blocks() {
        let cases = parse("lang/x", TEXT).unwrap();
        assert_eq!(cases[0].name, "lang/x/first");
        assert_eq!(cases[0].script.as_deref(), Some("BEGIN {\n  exit();\n}"));
        assert_eq!(cases[0].expect, ["^a$", "^b$"]);
        assert_eq!(cases[0].end, End::Signal(Signal::INT, Duration::ZERO));
        assert_eq!(cases[1].command.as_deref().unwrap(), ["-l", "tracepoint:syscalls:*open*"]);
        assert_eq!(cases[1].end, End::Itself);
        assert!(!cases[1].twice);
    }

    #[test]
    fn commands_around_a_run_and_parts_of_a_network() {
        let text = "\
== a
bpftrace: no, it has no router
net: veth 1500
device: vlan va.5 5
address:
  va.5 10.0.5.1/24
  va.5 2001:db8:5::1/64
neighbour: va.5 10.0.5.9 02:00:00:00:05:09
before:
  route up --ports va.5
  route add 10.9.0.0/16 drop if 'udp port 7'
after: route down
script: 1
expect-after: ^stopped
";
        let case = &parse("x", text).unwrap()[0];
        assert_eq!(case.before[1][4..], ["if", "udp port 7"]);
        assert_eq!((case.before.len(), &case.after[0][..]), (2, &["route", "down"].map(str::to_owned)[..]));
        assert_eq!(case.parts[2], "address: va.5 2001:db8:5::1/64");
        assert_eq!((case.parts.len(), &case.expect_after[0][..]), (4, "^stopped"));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, message) in [
            ("needs: uprobe", "x.test:1: expected `== NAME`"),
            ("== a\nsripct: 1", "x.test:2: unknown key `sripct`"),
            ("== a\nscript: 1\nexpect: (", "x.test:1: pattern `(`"),
            ("== a\nscript: 1", "needs something that it expects"),
            ("== a\nexpect: 1", "needs `script` or `command`"),
            ("== a\nend: KILL", "expected self, INT or TERM"),
            ("== a\nneeds: teapot", "teapot"),
            ("== a\nload: teapot", "teapot"),
            ("== a\ndevice: teapot", "x.test:2: expected KIND NAME NUMBER"),
            ("== a\naddress: va.5", "x.test:2: expected DEVICE ADDRESS/LENGTH"),
            ("== a\nscript: 1\nexpect: 1\nbefore: maps", "x.test:1: `before` and `after` need `net`"),
            ("== a\nargs: 'x", "no closing '"),
        ] {
            let error = parse("x", text).unwrap_err();
            assert!(error.contains(message), "{error:?} should contain {message:?}");
        }
    }

    #[test]
    fn words_keep_quotes_together() {
        assert_eq!(words("a 'b c' \"\" d").unwrap(), ["a", "b c", "", "d"]);
    }
}
