//! Text output, as a person at a terminal reads it.

use std::io::{self, Write};

use skep_bpf::event::Stream;

use super::{
    BenchResult, Message, MessageKind, Severity, Sink, TestResult, graph, severity_word, shown, trial,
    trimmed,
};
use crate::maps::hist::{Histogram, Label};
use crate::maps::{Body, Cell, MapView};
use crate::render::escape::{self, Keep};
use crate::render::{self, Names, Style, pad};
use crate::value::Value;

/// Columns of a histogram's bar.
const BAR: usize = 52;

/// Text output: what the program prints to one writer, messages to another.
#[derive(Debug)]
pub struct TextSink<O, E> {
    out: O,
    err: E,
    escapes: bool,
}

impl<O: Write, E: Write> TextSink<O, E> {
    /// Output to `out`, messages to `err`. `escapes`: control characters in strings of traced processes are shown
    /// (`\x1b`) in the output instead of sent; for everything that a terminal may show. In messages they always are.
    pub fn new(out: O, err: E, escapes: bool) -> TextSink<O, E> {
        TextSink { out, err, escapes }
    }

    /// The two writers.
    pub fn into_inner(self) -> (O, E) {
        (self.out, self.err)
    }

    fn line(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)?;
        self.out.write_all(b"\n")
    }
}

impl<O: Write, E: Write> Sink for TextSink<O, E> {
    fn escapes(&self, stream: Stream) -> bool {
        self.escapes || stream != Stream::Out
    }

    fn attached_probes(&mut self, count: u64) -> io::Result<()> {
        writeln!(self.err, "Attached {count} probe{}", if count == 1 { "" } else { "s" })
    }

    fn printf(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)
    }

    fn value(&mut self, value: &Value<'_>, names: &mut Names<'_>) -> io::Result<()> {
        let mut text = Vec::new();
        render::text(&mut text, value, names);
        self.line(&text)
    }

    fn map(&mut self, map: &MapView<'_>, names: &mut Names<'_>) -> io::Result<()> {
        match &map.body {
            Body::Empty => Ok(()),
            Body::Scalar(cell) => self.out.write_all(&row(map.name, None, cell, names)),
            Body::Keyed(rows) => rows
                .iter()
                .try_for_each(|(key, cell)| self.out.write_all(&row(map.name, Some(key), cell, names))),
        }
    }

    fn time(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)
    }

    fn join(&mut self, text: &[u8]) -> io::Result<()> {
        self.line(text)
    }

    fn cat(&mut self, contents: &[u8]) -> io::Result<()> {
        if !self.escapes {
            return self.out.write_all(contents);
        }
        let mut text = Vec::with_capacity(contents.len());
        escape::printable(&mut text, contents, Keep::Lines);
        self.out.write_all(&text)
    }

    fn command(&mut self, output: &[u8]) -> io::Result<()> {
        self.line(output)
    }

    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        let place = message.place;
        write!(self.err, "{}:{}", place.file, place.line)?;
        if let Some((first, last)) = place.columns {
            write!(self.err, ":{first}-{last}")?;
        }
        write!(self.err, ": {}: ", severity_word(message.severity))?;
        self.err.write_all(trimmed(message.text))?;
        if let MessageKind::Helper(name, result) = message.kind {
            write!(self.err, "\nAdditional Info - helper: {name}, retcode: {result}")?;
        }
        self.err.write_all(b"\n")?;
        let (Some(line), Some((first, last))) = (message.context, place.columns) else { return Ok(()) };
        let (blanks, marks) = (first.saturating_sub(1) as usize, last.saturating_sub(first) as usize);
        writeln!(self.err, "{line}\n{:blanks$}{:~<marks$}", "", "")
    }

    fn notice(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        write!(self.err, "{}: ", severity_word(severity))?;
        self.err.write_all(&shown(text))?;
        self.err.write_all(b"\n")
    }

    fn lost_events(&mut self, count: u64) -> io::Result<()> {
        writeln!(self.err, "Lost {count} events")
    }

    fn test_result(&mut self, result: &TestResult<'_>) -> io::Result<()> {
        self.out.write_all(trial::test_text(result).as_bytes())
    }

    fn bench_result(&mut self, result: &BenchResult<'_>) -> io::Result<()> {
        self.out.write_all(trial::bench_text(result).as_bytes())
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

/// A map's entry: `@name[key]: value`, a histogram on lines of its own and a blank one behind.
fn row(name: &str, key: Option<&[Value<'_>]>, cell: &Cell<'_>, names: &mut Names<'_>) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    if let Some(key) = key {
        out.push(b'[');
        out.extend_from_slice(&key_text(key, names));
        out.push(b']');
    }
    match cell {
        Cell::Value(value) => {
            out.extend_from_slice(b": ");
            render::text(&mut out, value, names);
        }
        Cell::Hist(hist) => {
            out.extend_from_slice(b":\n");
            histogram(&mut out, hist);
        }
        Cell::Series(series) => {
            out.extend_from_slice(b":\n");
            graph::draw(&mut out, series, names);
        }
    }
    out.push(b'\n');
    out
}

/// A key's parts with ", " between; a tuple that is the only part stands without its brackets.
pub(super) fn key_text(key: &[Value<'_>], names: &mut Names<'_>) -> Vec<u8> {
    let parts = match key {
        [Value::Tuple(parts)] => parts,
        _ => key,
    };
    let mut out = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        render::text(&mut out, part, names);
    }
    out
}

fn histogram(out: &mut Vec<u8>, hist: &Histogram) {
    let most = hist.buckets.iter().map(|b| b.count).max().unwrap_or(0);
    let mut lower = hist.lower.as_ref();
    for bucket in &hist.buckets {
        let left = |width| Style { width, left: true, ..Style::PLAIN };
        pad(out, range(lower, bucket.end.as_ref()).as_bytes(), left(16));
        pad(out, bucket.count.to_string().as_bytes(), Style { width: 8, ..Style::PLAIN });
        out.extend_from_slice(b" |");
        pad(out, &vec![b'@'; bar(bucket.count, most)], left(BAR));
        out.extend_from_slice(b"|\n");
        lower = bucket.end.as_ref();
    }
}

/// Columns of a bar, in single precision as the reference computes them.
fn bar(count: u64, most: u64) -> usize {
    if most == 0 {
        return 0;
    }
    let columns = (count as f32 / most as f32) * BAR as f32;
    (columns as usize).min(BAR)
}

/// `[8, 16)`, `[3]` for a bucket of one number, `(..., 0)` and `[100, ...)` at the ends.
fn range(lower: Option<&Label>, end: Option<&Label>) -> String {
    let text = |l: &Label| l.text.clone().unwrap_or_else(|| l.value.to_string());
    match (lower, end) {
        (None, end) => format!("(..., {})", end.map_or("...".to_owned(), text)),
        (Some(lower), None) => format!("[{}, ...)", text(lower)),
        (Some(lower), Some(end)) => {
            let plain = lower.text.is_none() && end.text.is_none();
            if plain && lower.value + 1 == end.value {
                format!("[{}]", text(lower))
            } else {
                format!("[{}, {})", text(lower), text(end))
            }
        }
    }
}
