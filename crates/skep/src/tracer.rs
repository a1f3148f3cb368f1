//! A compiled script on the running kernel: attached, read, ended. What always holds: dropping a [`Tracer`] detaches
//! everything, whatever happened before.

use crate::error::Error;
use crate::record::{Tape, Written};
use crate::script::Program;
use skep_bpf::backend::MapAccess;
use skep_bpf::schema::Clock;
use skep_kernel::load::{AttachReport, LoadOptions, Loaded};
use skep_kernel::proc::{clock_now, signal_number};
use skep_runtime::maps::{self, Body, Cell, Selection};
use skep_runtime::record::Phase;
use skep_runtime::render::{self, Names};
use skep_runtime::value::Value;
use skep_runtime::{End, JsonSink, Options, Outcome, Session, Sink, TextSink};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where output goes and how it looks.
pub struct Output {
    /// What the program prints.
    pub out: Box<dyn Write>,
    /// Warnings and errors.
    pub err: Box<dyn Write>,
    /// JSON lines rather than text.
    pub json: bool,
    /// Escape control characters of traced strings (for terminals and wherever lines matter).
    pub escapes: bool,
}

impl Output {
    pub(crate) fn sink(self) -> Box<dyn Sink> {
        if self.json {
            Box::new(JsonSink::new(self.out, self.err))
        } else {
            Box::new(TextSink::new(self.out, self.err, self.escapes))
        }
    }
}

/// What a session may do, and how.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `system()` may run commands.
    pub allow_system: bool,
    /// Warnings are shown.
    pub warnings: bool,
    /// Output is sent on only when its buffer is full.
    pub full_buffer: bool,
    /// Processes whose stacks `dw_ustack` can walk; a script that uses it needs at least one.
    pub walked: Vec<u32>,
}

/// Why [`Tracer::pump`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The script called `exit()`.
    Exit,
    /// The caller's condition holds.
    Stopped,
    /// Nobody reads the output any more.
    Closed,
}

/// The session of an attached script.
pub(crate) type Reading<'p> = Session<'p, Box<dyn Sink>>;

/// An attached script.
pub struct Tracer<'p> {
    pub(crate) loaded: Loaded,
    pub(crate) program: &'p Program,
    pub(crate) session: Reading<'p>,
    pub(crate) tape: Option<Tape>,
    keep_running: bool,
}

impl<'p> Tracer<'p> {
    /// Loads and attaches `program`, and runs its `begin` probes; output goes to standard output and error.
    pub fn attach(program: &'p Program) -> Result<Tracer<'p>, Error> {
        let output = Output {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            json: false,
            escapes: true,
        };
        let mut tracer = Tracer::load(program, output, &Limits { warnings: true, ..Limits::default() }, 0)?;
        tracer.start()?;
        Ok(tracer)
    }

    /// Loads `program`; nothing runs yet. `log_level`: how much of the verifier's log to keep (0: none).
    pub fn load(
        program: &'p Program,
        output: Output,
        limits: &Limits,
        log_level: u32,
    ) -> Result<Tracer<'p>, Error> {
        if program.object.session.unwind.is_some() && limits.walked.is_empty() {
            return Err(Error::NoProcess);
        }
        let options = LoadOptions { log_level, walked: limits.walked.clone(), ..LoadOptions::default() };
        let loaded =
            Loaded::load(&program.object, program.target.clone(), &options).map_err(Error::Kernel)?;
        let settings = Options {
            allow_system: limits.allow_system,
            warnings: limits.warnings,
            source_name: program.source.name.clone(),
            source_text: program.source.text.clone(),
            flush: !limits.full_buffer,
            ..Options::default()
        };
        let session = Session::new(&program.object, output.sink(), settings);
        Ok(Tracer { loaded, program, session, tape: None, keep_running: false })
    }

    /// Opens the files that the script writes packets to (`skboutput`); without, packets are dropped.
    pub fn save_packets(&mut self, open: crate::Open<'_>) -> Result<(), Error> {
        if let Some(files) = crate::packets::files(&self.program.object, open)? {
            self.session.save_packets(files);
        }
        Ok(())
    }

    /// Runs the `begin` probes, then attaches everything else.
    pub fn start(&mut self) -> Result<AttachReport, Error> {
        let mut clocks = Vec::new();
        if let Some(map) = self.program.object.session.start_map {
            let boot = clock_now(Clock::Boot);
            let ahead = tai_offset();
            let word = |n: i128| u64::try_from(n).unwrap_or(0).to_ne_bytes();
            let entry = [word(boot), word(ahead)].concat();
            let set = self.loaded.map_update(map, &0u32.to_ne_bytes(), &entry);
            set.map_err(skep_runtime::Error::Events)?;
            clocks = entry;
        }
        self.phase(Phase::Start { clocks });
        self.loaded.run_begin()?;
        self.loaded.attach_all().map_err(Error::Kernel)
    }

    /// Says on the output how many probes are attached.
    pub fn announce(&mut self, probes: usize) -> Result<(), Error> {
        self.phase(Phase::Attached { probes: probes as u64, said: true });
        Ok(self.session.attached(probes as u64)?)
    }

    /// What is loaded, for descriptors to watch, statistics and logs.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Goes on although nothing is attached, for example while a child runs.
    pub fn keep_running(&mut self) {
        self.keep_running = true;
    }

    /// Handles events until `exit()`, until nothing more can happen (only `begin`, `end` and iterators), until `stop` holds, or until nobody reads the output. `stop` is asked at least
    /// every 100 ms.
    pub fn pump(&mut self, stop: &dyn Fn() -> bool) -> Result<Ended, Error> {
        let unread = self.loaded.ends_by_itself().filter(|_| !self.keep_running);
        let stop = || stop() || unread.as_ref().is_some_and(|n| n.load(Ordering::Acquire) == 0);
        Ok(match self.with_backend(|session, backend| session.pump(backend, &stop))? {
            End::Exit => Ended::Exit,
            End::Stopped => {
                self.phase(Phase::Stopped);
                Ended::Stopped
            }
            End::Closed => Ended::Closed,
        })
    }

    /// Handles events for `time`, or until the script calls `exit()`.
    pub fn run_for(&mut self, time: Duration) -> Result<Ended, Error> {
        let end =
            clock_now(Clock::Monotonic).saturating_add(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX));
        self.pump(&|| clock_now(Clock::Monotonic) >= end)
    }

    /// Entries of a map (name with `@`) now, as text: (key, value). The key is empty for a map without one.
    pub fn map(&mut self, name: &str) -> Result<Vec<(String, String)>, Error> {
        let object = &self.program.object;
        let found = object.maps.iter().enumerate().find(|(_, m)| m.name == name);
        let Some((index, schema)) = found.and_then(|(i, m)| Some((i, m.schema.as_ref()?))) else {
            return Err(Error::NoMap(name.to_owned()));
        };
        let entries = self.loaded.map_entries(index).map_err(skep_runtime::Error::Events)?;
        let view = maps::view(name, schema, &entries, Selection::default());
        let mut names = Names::new(&mut self.loaded, object, true);
        Ok(match &view.body {
            Body::Empty => Vec::new(),
            Body::Scalar(cell) => vec![(String::new(), cell_text(cell, &mut names))],
            Body::Keyed(entries) => entries
                .iter()
                .map(|(key, cell)| {
                    let key: Vec<String> = key.iter().map(|part| value_text(part, &mut names)).collect();
                    (key.join(","), cell_text(cell, &mut names))
                })
                .collect(),
        })
    }

    /// Detaches everything, runs the `end` probes, prints the maps, and says what was lost; and what the recording came
    /// to, if there is one.
    pub fn finish(mut self) -> Result<(Outcome, Option<Written>), Error> {
        let detached = self.loaded.detach();
        self.with_backend(|session, backend| session.settle(backend))?;
        detached?;
        self.phase(Phase::Detached);
        self.loaded.run_end()?;
        let outcome = self.with_backend(|session, backend| session.finish(backend))?;
        Ok((outcome, self.close_recording()?))
    }

    /// Ends a wait for events whenever `fd` is readable, so that the condition of [`Tracer::pump`] is looked at.
    pub fn watch(&self, fd: impl AsFd) -> Result<(), Error> {
        Ok(self.loaded.watch(fd)?)
    }

    /// Runs the probes that wait for this signal; whether there are any.
    pub fn run_signal(&self, number: i32) -> Result<bool, Error> {
        let waiting = self.loaded.signals();
        let Some(name) = waiting.iter().find(|n| signal_number(n) == Some(number)) else { return Ok(false) };
        self.loaded.run_signal(name)?;
        Ok(true)
    }

    /// Gives up what is not needed once everything is attached.
    pub fn drop_privilege(&self) -> Result<(), Error> {
        Ok(skep_kernel::proc::drop_capabilities()?)
    }
}

fn value_text(value: &Value<'_>, names: &mut Names<'_>) -> String {
    let mut out = Vec::new();
    render::text(&mut out, value, names);
    String::from_utf8_lossy(&out).into_owned()
}

fn cell_text(cell: &Cell<'_>, names: &mut Names<'_>) -> String {
    match cell {
        Cell::Value(value) => value_text(value, names),
        Cell::Hist(histogram) => format!("{histogram:?}"),
        Cell::Series(series) => format!("{series:?}"),
    }
}

/// Nanoseconds that CLOCK_TAI is ahead of the boot clock: TAI is read between two reads of the other, and of a few such
/// attempts the quickest counts.
fn tai_offset() -> i128 {
    let attempt = |_| {
        let (before, tai, after) = (clock_now(Clock::Boot), clock_now(Clock::Tai), clock_now(Clock::Boot));
        (after - before, tai - before - (after - before) / 2)
    };
    (0..3).map(attempt).min().map_or(0, |(_, ahead)| ahead)
}
