//! What a command does when nobody reads what it prints, or it cannot be written.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

use std::process::{Command, Output, Stdio};

fn filter(out: Stdio, err: Stdio) -> Output {
    let words = ["capture", "-d", "asm", "tcp port 80"];
    Command::new(env!("CARGO_BIN_EXE_skep")).args(words).stdout(out).stderr(err).output().unwrap()
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_has_gone_is_no_trouble() {
    let done = filter(closed(), Stdio::piped());
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
    let words = ["capture", "-d", "asm", "tcp port"];
    let run =
        |out, err| Command::new(env!("CARGO_BIN_EXE_skep")).args(words).stdout(out).stderr(err).status();
    assert_eq!(run(Stdio::null(), closed()).unwrap().code(), Some(1));
    assert_eq!(run(closed(), closed()).unwrap().code(), Some(1));
}

#[test]
fn a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = filter(full.into(), Stdio::piped());
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to standard output: ") && said.contains("space"), "{said}");
}
