//! Sinks: where a session's output goes, as text or as JSON.
//!
//! A session hands over what happened; a sink decides how it looks and to which of its writers it goes. An error of a
//! writer is returned as it is; [`std::io::ErrorKind::BrokenPipe`] tells the session that nobody reads any more.

mod graph;
mod json;
mod text;
mod trial;

pub use json::JsonSink;
pub use text::TextSink;
pub use trial::{BenchResult, TestResult};

use std::io;

use skep_bpf::event::Stream;

use crate::maps::MapView;
use crate::render::Names;
use crate::render::escape::{self, Keep};
use crate::value::Value;

/// How serious a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
}

/// Where in the source a message comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The file as the user named it.
    pub file: &'a str,
    /// Line, 1-based.
    pub line: u32,
    /// First and last column, 1-based, where known.
    pub columns: Option<(u32, u32)>,
}

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind<'a> {
    /// The program said it (`warnf`, `errorf`).
    Program,
    /// The program failed while it ran.
    Runtime,
    /// The macro that the message before comes from was used here.
    Expansion,
    /// A helper of the kernel failed: its name without `bpf_`, and what it returned.
    Helper(&'a str, i64),
}

/// A message with a place in the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What it is about.
    pub kind: MessageKind<'a>,
    /// How serious it is.
    pub severity: Severity,
    /// Where it comes from.
    pub place: Place<'a>,
    /// The text; one newline at its end is dropped in text output.
    pub text: &'a [u8],
    /// The source's line, where it is known and the message shows it.
    pub context: Option<&'a str>,
}

/// Where output goes.
pub trait Sink {
    /// Whether text for `stream` must have the control characters of its strings shown instead of sent when it is
    /// handed over ([`Sink::printf`], [`Sink::message`], …).
    fn escapes(&self, stream: Stream) -> bool;

    /// Whether messages are for people: explained rather than in the kernel's terms.
    fn explains(&self) -> bool {
        true
    }

    /// So many probes are attached.
    fn attached_probes(&mut self, count: u64) -> io::Result<()>;

    /// Text of a `printf`, already rendered.
    fn printf(&mut self, text: &[u8]) -> io::Result<()>;

    /// A value that was printed.
    fn value(&mut self, value: &Value<'_>, names: &mut Names<'_>) -> io::Result<()>;

    /// A map. Empty ones may print nothing.
    fn map(&mut self, map: &MapView<'_>, names: &mut Names<'_>) -> io::Result<()>;

    /// The time, already rendered.
    fn time(&mut self, text: &[u8]) -> io::Result<()>;

    /// Strings joined by their delimiter.
    fn join(&mut self, text: &[u8]) -> io::Result<()>;

    /// Contents of a file.
    fn cat(&mut self, contents: &[u8]) -> io::Result<()>;

    /// Output of a command.
    fn command(&mut self, output: &[u8]) -> io::Result<()>;

    /// A message of or about the program.
    fn message(&mut self, message: &Message<'_>) -> io::Result<()>;

    /// A message of the session itself, one line or more; to the error stream.
    fn notice(&mut self, severity: Severity, text: &str) -> io::Result<()>;

    /// So many events were lost since the last such call.
    fn lost_events(&mut self, count: u64) -> io::Result<()>;

    /// A test has run.
    fn test_result(&mut self, result: &TestResult<'_>) -> io::Result<()>;

    /// A measurement is done.
    fn bench_result(&mut self, result: &BenchResult<'_>) -> io::Result<()>;

    /// The program has ended; maps may follow.
    fn end(&mut self) -> io::Result<()>;

    /// Sends on what is buffered.
    fn flush(&mut self) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn escapes(&self, stream: Stream) -> bool {
        (**self).escapes(stream)
    }
    fn explains(&self) -> bool {
        (**self).explains()
    }
    fn attached_probes(&mut self, count: u64) -> io::Result<()> {
        (**self).attached_probes(count)
    }
    fn printf(&mut self, text: &[u8]) -> io::Result<()> {
        (**self).printf(text)
    }
    fn value(&mut self, value: &Value<'_>, names: &mut Names<'_>) -> io::Result<()> {
        (**self).value(value, names)
    }
    fn map(&mut self, map: &MapView<'_>, names: &mut Names<'_>) -> io::Result<()> {
        (**self).map(map, names)
    }
    fn time(&mut self, text: &[u8]) -> io::Result<()> {
        (**self).time(text)
    }
    fn join(&mut self, text: &[u8]) -> io::Result<()> {
        (**self).join(text)
    }
    fn cat(&mut self, contents: &[u8]) -> io::Result<()> {
        (**self).cat(contents)
    }
    fn command(&mut self, output: &[u8]) -> io::Result<()> {
        (**self).command(output)
    }
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        (**self).message(message)
    }
    fn notice(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        (**self).notice(severity, text)
    }
    fn lost_events(&mut self, count: u64) -> io::Result<()> {
        (**self).lost_events(count)
    }
    fn test_result(&mut self, result: &TestResult<'_>) -> io::Result<()> {
        (**self).test_result(result)
    }
    fn bench_result(&mut self, result: &BenchResult<'_>) -> io::Result<()> {
        (**self).bench_result(result)
    }
    fn end(&mut self) -> io::Result<()> {
        (**self).end()
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// A message of the session as it may be shown: it can quote strings of traced processes.
fn shown(text: &str) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    escape::printable(&mut shown, text.as_bytes(), Keep::Lines);
    shown
}

/// Drops one newline at the end.
fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    }
}
