//! The session: events are read, decoded, acted on and printed, until the program exits or the caller stops it.
//!
//! The caller loads and attaches, then calls, in this order:
//!
//! 1. [`Session::attached`], when the probes are attached;
//! 2. [`Session::pump`], until it says why it ended;
//! 3. (the caller detaches all probes)
//! 4. [`Session::settle`], for what was on its way;
//! 5. (the caller runs the `end` probes)
//! 6. [`Session::finish`], which prints the maps and says what was lost.
//!
//! Events are handled in the order in which programs sent them. What follows an `exit()` on its way is dropped, as in
//! the reference. When the reader of the output has gone, everything goes on without output and without error.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use skep_bpf::backend::Backend;
use skep_bpf::event::Stream;
use skep_bpf::object::Object;

use crate::act;
use crate::error::Error;
use crate::loss::Loss;
use crate::maps::{self, Selection};
use crate::render::Names;
use crate::sink::{BenchResult, Severity, Sink, TestResult};

/// Bytes of records taken from the ring before they are handled.
const BATCH_BYTES: usize = 256 << 10;

/// Under load, loss is looked at once in so many batches.
const LOSS_EVERY: u32 = 32;

/// Settings of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `system()` may run commands.
    pub allow_system: bool,
    /// `warnf()` and run-time errors are shown.
    pub warnings: bool,
    /// Name of the source in messages.
    pub source_name: String,
    /// The source, for the lines that run-time errors show; empty: they show none.
    pub source_text: String,
    /// Most bytes that `cat()` shows of a file, where the object does not say.
    pub cat_bytes: usize,
    /// Most bytes that `system()` shows of a command's output.
    pub command_bytes: usize,
    /// How long to wait for events before the stop condition is looked at again.
    pub poll: Duration,
    /// Send output on after each batch of events; otherwise when its buffer is full.
    pub flush: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            allow_system: false,
            warnings: true,
            source_name: "stdin".to_owned(),
            source_text: String::new(),
            cat_bytes: 10_240,
            command_bytes: 1 << 20,
            poll: Duration::from_millis(100),
            flush: true,
        }
    }
}

/// Who saves packets that programs send whole.
pub trait SavePackets {
    /// Saves one: the file that the program names, nanoseconds since 1970, the bytes.
    fn save(&mut self, path: &str, time: u64, packet: &[u8]) -> io::Result<()>;

    /// Writes what is buffered.
    fn flush(&mut self) -> io::Result<()>;
}

/// Why [`Session::pump`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The program called `exit()`.
    Exit,
    /// The caller's stop condition holds.
    Stopped,
    /// Nobody reads the output any more.
    Closed,
}

/// What a session came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The code of `exit()`, 0 without.
    pub exit_code: i32,
    /// Records that came through the ring, dropped and damaged ones included.
    pub records: u64,
    /// Of these, the ones dropped because they followed an `exit()` or nobody reads the output.
    pub dropped: u64,
    /// Of these, the ones that held nothing known.
    pub damaged: u64,
    /// What did not come through.
    pub loss: Loss,
    /// Messages of the program that are errors (`errorf`).
    pub errors: u64,
    /// Whether the reader of the output had gone.
    pub closed: bool,
}

/// A running object's session.
pub struct Session<'a, S> {
    pub(crate) object: &'a Object,
    pub(crate) sink: S,
    pub(crate) options: Options,
    pub(crate) outcome: Outcome,
    /// `exit()` was called in the current phase.
    pub(crate) exiting: bool,
    /// An iterator called `exit()`: the events of the objects behind count, and the phase ends when no more come.
    pub(crate) leaving: bool,
    /// Histograms and time series without key that were set to zero, by map; their buckets cannot tell that from never
    /// written.
    pub(crate) zeroed: Vec<bool>,
    reported: u64,
    /// Records that were read and not all handled yet.
    batch: Batch,
    /// The end has come: commands that are still on their way are not started any more.
    pub(crate) ending: bool,
    /// A command has run, which takes its time.
    pub(crate) ran_command: bool,
    /// Where text is rendered, kept for its room.
    pub(crate) text: Vec<u8>,
    /// Where the lines of the source begin, once a message has asked.
    pub(crate) lines: Vec<usize>,
    /// Who saves packets; without, they are dropped.
    pub(crate) packets: Option<Box<dyn SavePackets>>,
}

/// Records copied out of the ring, one after another.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Records that have been handled.
    done: usize,
}

impl Batch {
    fn push(&mut self, record: &[u8]) -> ControlFlow<()> {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
        if self.bytes.len() < BATCH_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.done = 0;
    }

    /// The next record that has not been handled; it counts as handled then.
    fn next(&mut self) -> Option<&[u8]> {
        let end = *self.ends.get(self.done)?;
        let start = self.done.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.done += 1;
        Some(self.bytes.get(start..end).unwrap_or(&[]))
    }

    fn is_done(&self) -> bool {
        self.done >= self.ends.len()
    }
}

impl<'a, S: Sink> Session<'a, S> {
    /// A session of `object` that prints to `sink`.
    pub fn new(object: &'a Object, sink: S, options: Options) -> Session<'a, S> {
        let zeroed = vec![false; object.maps.len()];
        Session {
            object,
            sink,
            options,
            outcome: Outcome::default(),
            exiting: false,
            leaving: false,
            zeroed,
            reported: 0,
            batch: Batch::default(),
            ending: false,
            ran_command: false,
            text: Vec::new(),
            lines: Vec::new(),
            packets: None,
        }
    }

    /// Says who saves the packets that programs send whole.
    pub fn save_packets(&mut self, packets: Box<dyn SavePackets>) {
        self.packets = Some(packets);
    }

    /// The sink, for messages of the caller's own.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The sink, when the session is over.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Whether the program has called `exit()`.
    pub fn exiting(&self) -> bool {
        self.exiting
    }

    /// Says how many probes are attached.
    pub fn attached(&mut self, probes: u64) -> Result<(), Error> {
        let said = self.sink.attached_probes(probes).and_then(|()| self.sink.flush());
        self.written(said)
    }

    /// Handles events until `exit()`, until `stop` holds, or until nobody reads the output.
    pub fn pump(&mut self, backend: &mut dyn Backend, stop: &dyn Fn() -> bool) -> Result<End, Error> {
        let mut busy = 0u32;
        loop {
            if self.outcome.closed {
                return Ok(End::Closed);
            }
            if self.exiting {
                return Ok(End::Exit);
            }
            if stop() {
                return Ok(End::Stopped);
            }
            let records = self.step(backend, self.options.poll, stop)?;
            self.exiting |= self.leaving && records == 0;
            busy = if records == 0 { 0 } else { busy.wrapping_add(1) };
            if busy.is_multiple_of(LOSS_EVERY) {
                self.report_loss(backend)?;
            }
        }
    }

    /// Handles the events that were sent before all probes were detached and have not been read. After `exit()` they
    /// are dropped; when a command had to be waited for, further ones are not started any more.
    pub fn settle(&mut self, backend: &mut dyn Backend) -> Result<(), Error> {
        self.ending = !self.batch.is_done();
        self.drain(backend)?;
        self.exiting = false;
        self.leaving = false;
        self.ending = false;
        Ok(())
    }

    /// Handles all events that have been sent, and says what they came to.
    pub fn collect(&mut self, backend: &mut dyn Backend) -> Result<Outcome, Error> {
        self.drain(backend)?;
        Ok(self.outcome.clone())
    }

    /// Handles the events of the `end` probes, prints the maps that are not empty, and says what was lost.
    pub fn finish(&mut self, backend: &mut dyn Backend) -> Result<Outcome, Error> {
        self.drain(backend)?;
        self.report_loss(backend)?;
        match backend.recursion_misses() {
            Ok(misses) => self.outcome.loss.recursion_misses = misses,
            Err(e) => self.notice(Severity::Warning, &format!("recursion misses are not known: {e}"))?,
        }
        let end = self.sink.end();
        self.written(end)?;
        if self.object.session.print_maps_on_exit {
            self.print_maps(backend)?;
        }
        if self.outcome.damaged != 0 {
            let damaged = self.outcome.damaged;
            self.notice(Severity::Warning, &format!("{damaged} damaged event records were skipped"))?;
        }
        for line in self.outcome.loss.warnings(self.object) {
            self.notice(Severity::Warning, &line)?;
        }
        self.flush_packets()?;
        let flushed = self.sink.flush();
        self.written(flushed)?;
        Ok(self.outcome.clone())
    }

    /// Reads records, waiting for the first as long as `timeout`, and handles them; those that were left of the last
    /// round come first. Once a command has run and `stop` holds, the rest is left. How many there were.
    fn step(
        &mut self,
        backend: &mut dyn Backend,
        timeout: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.is_done() {
            batch.clear();
            let polled = backend.poll_events(Some(timeout), &mut |record| batch.push(record));
            polled.map_err(Error::Events)?;
        }
        let before = batch.done;
        while let Some(record) = batch.next() {
            self.outcome.records += 1;
            if self.exiting || self.outcome.closed {
                self.outcome.dropped += 1;
                continue;
            }
            let done = act::act(self, backend, record);
            self.written(done)?;
            if std::mem::take(&mut self.ran_command) && stop() {
                break;
            }
        }
        let records = batch.done - before;
        self.batch = batch;
        if self.options.flush && records != 0 {
            let flushed = self.sink.flush();
            self.written(flushed)?;
            self.flush_packets()?;
        }
        Ok(records as u64)
    }

    fn flush_packets(&mut self) -> Result<(), Error> {
        match self.packets.as_mut().map(|packets| packets.flush()) {
            Some(Err(e)) => self.notice(Severity::Error, &format!("cannot write packets: {e}")),
            _ => Ok(()),
        }
    }

    fn drain(&mut self, backend: &mut dyn Backend) -> Result<(), Error> {
        while self.step(backend, Duration::ZERO, &|| false)? != 0 {}
        Ok(())
    }

    /// Reads the loss counters and says how many events were lost since the last time.
    fn report_loss(&mut self, backend: &mut dyn Backend) -> Result<(), Error> {
        match Loss::read(self.object, backend) {
            Ok(loss) => self.outcome.loss = loss,
            Err(e) => return self.notice(Severity::Warning, &format!("loss counters are not known: {e}")),
        }
        let total = self.outcome.loss.total_events();
        let fresh = total.saturating_sub(self.reported);
        if fresh == 0 {
            return Ok(());
        }
        self.reported = total;
        let said = self.sink.lost_events(fresh).and_then(|()| self.sink.flush());
        self.written(said)
    }

    /// Prints all maps of the source, by name.
    fn print_maps(&mut self, backend: &mut dyn Backend) -> Result<(), Error> {
        let mut maps: Vec<(&str, usize)> = self
            .object
            .maps
            .iter()
            .enumerate()
            .filter(|(_, spec)| spec.schema.is_some())
            .map(|(index, spec)| (spec.name.as_str(), index))
            .collect();
        maps.sort_unstable();
        for (_, index) in maps {
            let printed = self.print_map(backend, index, Selection::default());
            self.written(printed)?;
        }
        Ok(())
    }

    /// Prints one map; one that cannot be read is an error message.
    pub(crate) fn print_map(
        &mut self,
        backend: &mut dyn Backend,
        index: usize,
        what: Selection,
    ) -> io::Result<()> {
        let Some(spec) = self.object.maps.get(index) else { return Ok(()) };
        let Some(schema) = &spec.schema else { return Ok(()) };
        let entries = match backend.map_entries(index) {
            Ok(entries) => entries,
            Err(e) => return self.sink.notice(Severity::Error, &format!("printing {}: {e}", spec.name)),
        };
        let mut view = maps::view(&spec.name, schema, &entries, what);
        if self.zeroed.get(index) == Some(&true) && view.body == maps::Body::Empty {
            let cell = match view.class {
                maps::Class::Series => maps::Cell::Series(maps::series::Series::default()),
                _ => maps::Cell::Hist(maps::hist::Histogram::default()),
            };
            view.body = maps::Body::Scalar(cell);
        }
        let mut names = Names::new(backend, self.object, self.sink.escapes(Stream::Out));
        self.sink.map(&view, &mut names)
    }

    /// Says what a test came to.
    pub fn test_result(&mut self, result: &TestResult<'_>) -> Result<(), Error> {
        let said = self.sink.test_result(result).and_then(|()| self.sink.flush());
        self.written(said)
    }

    /// Says what a measurement came to.
    pub fn bench_result(&mut self, result: &BenchResult<'_>) -> Result<(), Error> {
        let said = self.sink.bench_result(result).and_then(|()| self.sink.flush());
        self.written(said)
    }

    /// An error of the session itself, to the error stream.
    pub fn notice_error(&mut self, text: &str) -> Result<(), Error> {
        self.notice(Severity::Error, text)
    }

    fn notice(&mut self, severity: Severity, text: &str) -> Result<(), Error> {
        let said = self.sink.notice(severity, text);
        self.written(said)
    }

    /// Takes the result of writing: a closed pipe is remembered, not an error.
    fn written(&mut self, result: io::Result<()>) -> Result<(), Error> {
        match result {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.outcome.closed = true;
                Ok(())
            }
            Err(e) => Err(Error::Output(e)),
        }
    }
}
