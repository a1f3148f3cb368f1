//! JSON output: one object a line, `{"type": …, "data": …}`, in the spelling of the reference.
//!
//! Keys of maps are the text of their key without blanks. Integers that a double cannot hold are strings. Symbols,
//! stacks and times are their text; pointers and enumerators are numbers. Bytes that are not UTF-8 become U+FFFD, so
//! every line is valid JSON; control characters are escaped, also those beyond ASCII.

use std::collections::HashSet;
use std::io::{self, Write};

use skep_bpf::event::Stream;
use skep_bpf::schema::Clock;

use super::text::key_text;
use super::{BenchResult, Message, MessageKind, Severity, Sink, TestResult, severity_word, shown, trimmed};
use crate::maps::hist::{Histogram, Label};
use crate::maps::series::Series;
use crate::maps::{Body, Cell, Class, MapView};
use crate::render::{Names, write_into};
use crate::strftime::{Dialect, strftime};
use crate::value::Value;

/// JSON output: one writer for all that the program says, another for messages of the session itself.
#[derive(Debug)]
pub struct JsonSink<O, E> {
    out: O,
    err: E,
}

impl<O: Write, E: Write> JsonSink<O, E> {
    /// Objects to `out`, the session's own messages, as text, to `err`.
    pub fn new(out: O, err: E) -> JsonSink<O, E> {
        JsonSink { out, err }
    }

    /// The two writers.
    pub fn into_inner(self) -> (O, E) {
        (self.out, self.err)
    }

    fn object(&mut self, kind: &str, data: &[u8]) -> io::Result<()> {
        write!(self.out, "{{\"type\": \"{kind}\", \"data\": ")?;
        self.out.write_all(data)?;
        self.out.write_all(b"}\n")
    }

    fn text(&mut self, kind: &str, text: &[u8]) -> io::Result<()> {
        let mut data = Vec::with_capacity(text.len() + 2);
        string(&mut data, text);
        self.object(kind, &data)
    }

    fn counted(&mut self, kind: &str, of: &str, count: u64) -> io::Result<()> {
        writeln!(self.out, "{{\"type\": \"{kind}\", \"count\": {count}, \"data\": {{\"{of}\": {count}}}}}")
    }
}

impl<O: Write, E: Write> Sink for JsonSink<O, E> {
    fn escapes(&self, _stream: Stream) -> bool {
        false
    }

    fn explains(&self) -> bool {
        false
    }

    fn attached_probes(&mut self, count: u64) -> io::Result<()> {
        self.counted("attached_probes", "probes", count)
    }

    fn printf(&mut self, text: &[u8]) -> io::Result<()> {
        self.text("printf", text)
    }

    fn value(&mut self, value: &Value<'_>, names: &mut Names<'_>) -> io::Result<()> {
        let mut data = Vec::new();
        emit(&mut data, value, names);
        self.object("value", &data)
    }

    fn map(&mut self, map: &MapView<'_>, names: &mut Names<'_>) -> io::Result<()> {
        let mut data = b"{".to_vec();
        string(&mut data, map.name.as_bytes());
        data.extend_from_slice(b": ");
        match &map.body {
            Body::Empty => return Ok(()),
            Body::Scalar(cell) => emit_cell(&mut data, cell, names),
            Body::Keyed(rows) => emit_rows(&mut data, rows, names),
        }
        data.push(b'}');
        let kind = match map.class {
            Class::Map => "map",
            Class::Stats => "stats",
            Class::Hist => "hist",
            Class::Series => "tseries",
        };
        self.object(kind, &data)
    }

    fn time(&mut self, text: &[u8]) -> io::Result<()> {
        self.text("time", text)
    }

    fn join(&mut self, text: &[u8]) -> io::Result<()> {
        self.text("join", text)
    }

    fn cat(&mut self, contents: &[u8]) -> io::Result<()> {
        self.text("cat", contents)
    }

    fn command(&mut self, output: &[u8]) -> io::Result<()> {
        self.text("syscall", output)
    }

    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        if message.kind == MessageKind::Expansion {
            return Ok(());
        }
        let (kind, text) = match (message.kind, message.severity) {
            (MessageKind::Runtime | MessageKind::Expansion, _) => ("runtime_error", trimmed(message.text)),
            (MessageKind::Helper(..), _) => ("helper_error", trimmed(message.text)),
            (MessageKind::Program, Severity::Warning) => ("warnf", message.text),
            (MessageKind::Program, Severity::Error) => ("errorf", message.text),
        };
        let mut line = format!("{{\"type\": \"{kind}\", \"msg\": ").into_bytes();
        string(&mut line, text);
        if let MessageKind::Helper(name, result) = message.kind {
            line.extend_from_slice(b", \"helper\": ");
            string(&mut line, name.as_bytes());
            write_into(&mut line, format_args!(", \"retcode\": {result}"));
        }
        line.extend_from_slice(b", \"filename\": ");
        string(&mut line, message.place.file.as_bytes());
        write_into(&mut line, format_args!(", \"line\": {}", message.place.line));
        if let Some((first, _)) = message.place.columns {
            write_into(&mut line, format_args!(", \"col\": {first}"));
        }
        line.extend_from_slice(b"}\n");
        self.out.write_all(&line)
    }

    fn notice(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        write!(self.err, "{}: ", severity_word(severity))?;
        self.err.write_all(&shown(text))?;
        self.err.write_all(b"\n")
    }

    fn lost_events(&mut self, count: u64) -> io::Result<()> {
        self.counted("lost_events", "events", count)
    }

    fn test_result(&mut self, result: &TestResult<'_>) -> io::Result<()> {
        let Some(name) = result.names.get(result.index) else { return Ok(()) };
        let mut data = b"{".to_vec();
        string(&mut data, name.as_bytes());
        let (time, passed) = (result.time.as_nanos(), result.passed.last().is_some_and(|p| *p));
        write!(data, ": {{\"duration\": {time}, \"passed\": {passed}, \"output\": ")?;
        string(&mut data, result.output);
        data.extend_from_slice(b"}}");
        self.object("test_result", &data)
    }

    fn bench_result(&mut self, result: &BenchResult<'_>) -> io::Result<()> {
        let Some(name) = result.names.get(result.index) else { return Ok(()) };
        let mut data = b"{".to_vec();
        string(&mut data, name.as_bytes());
        write!(data, ": {{\"average\": {}, \"iters\": {}}}}}", result.average.as_nanos(), result.runs)?;
        self.object("benchmark_result", &data)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

fn emit(out: &mut Vec<u8>, value: &Value<'_>, names: &mut Names<'_>) {
    match value {
        Value::None | Value::Damaged(_) => out.extend_from_slice(b"null"),
        Value::Bool(b) => write_into(out, format_args!("{b}")),
        Value::Int(i) => integer(out, i128::from(*i)),
        Value::Uint(u) | Value::Pointer(u) => integer(out, i128::from(*u)),
        Value::Enum { bits, signed: true, .. } => integer(out, i128::from(*bits as i64)),
        Value::Enum { bits, .. } => integer(out, i128::from(*bits)),
        Value::Array(values) | Value::Tuple(values) => list(out, values, |out, v| emit(out, v, names)),
        Value::Buf(bytes) => list(out, bytes, |out, b| write_into(out, format_args!("{}", *b as i8))),
        Value::Record(fields) => {
            out.push(b'{');
            for (i, (name, value)) in fields.iter().enumerate() {
                separate(out, i);
                string(out, name.as_bytes());
                out.extend_from_slice(b": ");
                emit(out, value, names);
            }
            out.push(b'}');
        }
        _ => {
            let text = names.leaf(value);
            string(out, &text);
        }
    }
}

fn emit_cell(out: &mut Vec<u8>, cell: &Cell<'_>, names: &mut Names<'_>) {
    match cell {
        Cell::Value(value) => emit(out, value, names),
        Cell::Hist(hist) => histogram(out, hist),
        Cell::Series(points) => series(out, points, names),
    }
}

/// Intervals that hold a value, with the time at which each began.
fn series(out: &mut Vec<u8>, series: &Series, names: &mut Names<'_>) {
    out.push(b'[');
    let known = series.points.iter().filter_map(|(epoch, value)| Some((epoch, value.as_ref()?)));
    for (i, (epoch, value)) in known.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let start = names.moment(Clock::Tai, epoch.saturating_mul(series.interval));
        out.extend_from_slice(b"{\"interval_start\": ");
        string(out, strftime("%Y-%m-%d %H:%M:%S.%k", &start, Dialect::Fractions).as_bytes());
        out.extend_from_slice(b", \"value\": ");
        emit(out, value, names);
        out.push(b'}');
    }
    out.push(b']');
}

/// Keys stand without blanks, as long as that keeps them apart.
fn emit_rows(out: &mut Vec<u8>, rows: &[(Vec<Value<'_>>, Cell<'_>)], names: &mut Names<'_>) {
    let full: Vec<Vec<u8>> = rows.iter().map(|(key, _)| key_text(key, names)).collect();
    let bare: Vec<Vec<u8>> =
        full.iter().map(|key| key.iter().copied().filter(|b| *b != b' ').collect()).collect();
    let distinct = bare.iter().collect::<HashSet<_>>().len() == bare.len();
    let keys = if distinct { bare } else { full };
    out.push(b'{');
    for (i, (key, (_, cell))) in keys.iter().zip(rows).enumerate() {
        separate(out, i);
        string(out, key);
        out.extend_from_slice(b": ");
        emit_cell(out, cell, names);
    }
    out.push(b'}');
}

/// Buckets with their least and greatest numbers, both inclusive; those at the ends may lack one.
fn histogram(out: &mut Vec<u8>, hist: &Histogram) {
    let bound = |out: &mut Vec<u8>, name: &str, label: Option<&Label>, less: i128| {
        if let Some(label) = label {
            write_into(out, format_args!("\"{name}\": "));
            integer(out, label.value - less);
            out.extend_from_slice(b", ");
        }
    };
    let mut lower = hist.lower.as_ref();
    list(out, &hist.buckets, |out, bucket| {
        out.push(b'{');
        bound(out, "min", lower, 0);
        bound(out, "max", bucket.end.as_ref(), 1);
        write_into(out, format_args!("\"count\": {}}}", bucket.count));
        lower = bucket.end.as_ref();
    });
}

fn list<'v, T>(out: &mut Vec<u8>, values: &'v [T], mut each: impl FnMut(&mut Vec<u8>, &'v T)) {
    out.push(b'[');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, value);
    }
    out.push(b']');
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.extend_from_slice(b", ");
    }
}

/// A number, as a string when a double cannot hold it.
fn integer(out: &mut Vec<u8>, number: i128) {
    if (number as f64) as i128 == number {
        write_into(out, format_args!("{number}"));
    } else {
        write_into(out, format_args!("\"{number}\""));
    }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ if c.is_control() => write_into(out, format_args!("\\u{:04x}", c as u32)),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0u8; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
