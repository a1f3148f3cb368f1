//! Runs the commands of pages of `docs`. In a block of kind `console` the lines that begin with `$ ` go through a shell,
//! and what they print must be what stands below them. `…` stands for any text within a line, a line of it for any lines. A
//! block with `file=NAME` behind its language is a file that the commands find. With `SKEP_BLESS=1` in the environment the
//! pages are written anew with what comes out; read the difference before you keep it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that goes away with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One command with the lines that it is to print.
struct Shown {
    command: String,
    output: Vec<String>,
}

/// Runs all commands of a block in one shell, so that what one sets the next ones have: the output of each.
fn run(commands: &[Shown], folder: &Path) -> Vec<Vec<String>> {
    const MARK: &str = "--- next command ---";
    let script: Vec<String> = commands.iter().map(|c| format!("{}\necho '{MARK}'", c.command)).collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_skep")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let done = Command::new("sh")
        .arg("-c")
        .arg(format!("exec 2>&1\n{}", script.join("\n")))
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut outputs = vec![Vec::new()];
    for line in text.lines() {
        match line.strip_suffix(MARK) {
            Some("") => outputs.push(Vec::new()),
            Some(rest) => {
                outputs.last_mut().unwrap().push(rest.to_owned());
                outputs.push(Vec::new());
            }
            None => outputs.last_mut().unwrap().push(line.trim_end().to_owned()),
        }
    }
    outputs.truncate(commands.len());
    outputs
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|part| part.is_empty() || rest.ends_with(part))
}

fn matches(patterns: &[String], lines: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more))
        }
    }
}

/// The commands of a block with what stands below each.
fn commands(block: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push(Shown { command: command.to_owned(), output: Vec::new() }),
            (None, Some(shown)) => shown.output.push(line.trim_end().to_owned()),
            (None, None) => panic!("a block begins with `$ `, not with {line:?}"),
        }
    }
    found
}

/// Runs a block: its text as it should be, and what differed.
fn check_block(block: &str, folder: &Path, failures: &mut Vec<String>) -> String {
    let shown = commands(block);
    let outputs = run(&shown, folder);
    assert_eq!(outputs.len(), shown.len(), "a command of the block ended the shell:\n{block}");
    let mut written = String::new();
    for (Shown { command, output: wanted }, output) in shown.iter().zip(&outputs) {
        let good = matches(wanted, output);
        written.push_str(&format!("$ {command}\n"));
        let kept = if good { wanted } else { output };
        kept.iter().for_each(|line| written.push_str(&format!("{line}\n")));
        if !good {
            let (wanted, output) = (wanted.join("\n"), output.join("\n"));
            failures.push(format!("$ {command}\n--- the page says\n{wanted}\n--- it prints\n{output}"));
        }
    }
    written
}

fn check_page(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let folder = Folder(std::env::temp_dir().join(format!("skep-page-{}-{page}", std::process::id())));
    std::fs::create_dir(&folder.0).unwrap();
    let (mut written, mut failures, mut ran) = (String::new(), Vec::new(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        written.push_str(&format!("{line}\n"));
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: String =
            lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        if let Some((_, name)) = kind.split_once("file=") {
            std::fs::write(folder.0.join(name), &block).unwrap();
        }
        if kind == "console" {
            ran += 1;
            written.push_str(&check_block(&block, &folder.0, &mut failures));
        } else {
            written.push_str(&block);
        }
        written.push_str("```\n");
    }
    assert!(ran > 0, "{page} has no commands");
    if std::env::var_os("SKEP_BLESS").is_some() {
        return std::fs::write(&path, written).unwrap();
    }
    assert!(failures.is_empty(), "{page}:\n{}", failures.join("\n\n"));
}

#[test]
fn the_machine() {
    check_page("machine.md");
}

#[test]
fn captures() {
    check_page("capture.md");
}

#[test]
fn patterns() {
    assert!(line_matches("a … c", "a b c") && line_matches("…", "x") && line_matches("a", "a"));
    assert!(!line_matches("a … c", "a b d") && !line_matches("a", "ab") && !line_matches("…b", "abc"));
    assert!(line_matches("…b", "bcb"));
    let list = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert!(matches(&list("a\n…\nz"), &list("a\nb\nc\nz")) && matches(&list("…"), &list("")));
    assert!(!matches(&list("a\n…\nz"), &list("a\nb")));
}
