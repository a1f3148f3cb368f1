//! Writing a recording: records of the ring and answers enter as they come; lines leave.
//!
//! What always holds: a run is written when its end has come, with all records of it that came before; what has no
//! beginning or no end is counted as incomplete.

use std::collections::BTreeMap;
use std::io::{self, Write};

use skep_bpf::event::EVENT_HEADER;
use skep_bpf::object::Object;
use skep_bpf::record::{self, Kind, Record, u32_at, u64_at};

use super::{Answer, Head, Line, MapUse, Phase, Question, Run, Told, write};

/// Bytes of context that a run may have.
const CONTEXT: usize = 64 << 10;
/// Runs that may be going on at one time; more are given up, the oldest first.
const OPEN: usize = 4096;
/// Bytes of a packet at most: what is longer is no packet.
const LONGEST_PACKET: usize = 256 << 10;

/// A run that is going on.
struct Open {
    run: Run,
    /// Bytes of its context that are known.
    known: Vec<bool>,
}

impl Open {
    /// The first reading of a place counts: it is what the kernel gave the program, which may have changed it since.
    fn set_context(&mut self, offset: u64, bytes: &[u8]) {
        let Some(start) = usize::try_from(offset).ok().filter(|at| *at < CONTEXT) else { return };
        let end = start + bytes.len();
        if self.run.context.len() < end {
            self.run.context.resize(end, 0);
            self.known.resize(end, false);
        }
        let places = self.run.context.iter_mut().zip(&mut self.known).skip(start);
        for ((place, known), byte) in places.zip(bytes) {
            if !std::mem::replace(known, true) {
                *place = *byte;
            }
        }
    }
}

/// A recording that is being written.
pub struct Log {
    out: Box<dyn Write>,
    /// Names of the probes by program.
    probes: Vec<String>,
    open: BTreeMap<u64, Open>,
    /// Records that have come.
    count: u64,
    /// Runs that could not be written.
    incomplete: u64,
    /// Runs that are written.
    runs: u64,
    /// The first failure to write.
    failed: Option<io::Error>,
}

impl Log {
    /// Writes the head.
    pub fn new(mut out: Box<dyn Write>, head: &Head, object: &Object) -> io::Result<Log> {
        writeln!(out, "{}", write::head(head))?;
        let probes = object.programs.iter().map(|p| p.name.clone()).collect();
        Ok(Log { out, probes, open: BTreeMap::new(), count: 0, incomplete: 0, runs: 0, failed: None })
    }

    /// Records that have come.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn line(&mut self, line: &Line) {
        if self.failed.is_none()
            && let Err(error) = writeln!(self.out, "{}", write::line(line))
        {
            self.failed = Some(error);
        }
    }

    /// Takes a record; gives the event of the program's own that it is, as the session knows it.
    pub(super) fn record(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.count += 1;
        if record::is_record(bytes) {
            match record::parse(bytes) {
                Some(record) => self.answer(&record),
                None => self.incomplete += 1,
            }
            return None;
        }
        let mut event = bytes.to_vec();
        let tag = u32_at(bytes, EVENT_HEADER - 4).unwrap_or(0);
        event.iter_mut().skip(4).take(4).for_each(|b| *b = 0);
        let count = self.count;
        if let Some(run) =
            self.open.values_mut().map(|open| &mut open.run).rev().find(|run| run.id as u32 == tag)
        {
            run.events.push((count, event.clone()));
        }
        Some(event)
    }

    fn answer(&mut self, record: &Record<'_>) {
        if record.kind == Kind::Begin {
            return self.begin(record);
        }
        let Some(open) = self.open.get_mut(&record.run) else {
            self.incomplete += u64::from(record.kind == Kind::End);
            return;
        };
        if record.kind == Kind::Context {
            return open.set_context(record.address, &low_bytes(record.value, record.number));
        }
        let run = &mut open.run;
        let (returned, data) = (record.value, record.data.to_vec());
        match record.kind {
            Kind::Begin | Kind::Context => {}
            Kind::Helper => {
                run.answers.push(Answer::Helper {
                    id: record.number,
                    address: record.address,
                    returned,
                    data,
                });
            }
            Kind::Kfunc => run.answers.push(Answer::Kfunc { number: record.number, returned }),
            Kind::Memory => {
                let data = match record.number {
                    0 => data,
                    size => low_bytes(returned, size),
                };
                run.answers.push(Answer::Memory { address: record.address, data });
            }
            Kind::Gate => run.gate = Some(returned),
            Kind::Key => run.keys.push((record.number, data)),
            Kind::Packet => {
                let mut packet = data;
                packet.resize(usize::try_from(returned).unwrap_or(0).clamp(packet.len(), LONGEST_PACKET), 0);
                run.packet = Some(packet);
            }
            Kind::End => {
                (run.returned, run.end) = (returned, self.count);
                if let Some(Open { run, .. }) = self.open.remove(&record.run) {
                    self.runs += 1;
                    self.line(&Line::Run(Box::new(run)));
                }
            }
        }
    }

    fn begin(&mut self, record: &Record<'_>) {
        let data = record.data;
        let name = data.get(24..).unwrap_or(&[]);
        let run = Run {
            id: record.run,
            program: record.number,
            probe: self.probes.get(record.number as usize).cloned().unwrap_or_default(),
            cpu: u32_at(data, 16).unwrap_or(0),
            time: u64_at(data, 8).unwrap_or(0),
            process: record.value,
            user: u64_at(data, 0).unwrap_or(0),
            comm: name.split(|b| *b == 0).next().unwrap_or(&[]).to_vec(),
            ..Run::default()
        };
        if self.open.len() >= OPEN {
            self.open.pop_first();
            self.incomplete += 1;
        }
        self.open.insert(record.run, Open { run, known: Vec::new() });
    }

    /// A question of the session was answered.
    pub(super) fn asked(&mut self, question: Question, told: Told) {
        self.line(&Line::Asked(question, told));
    }

    /// The session used a map.
    pub(super) fn map(&mut self, name: &str, how: MapUse) {
        let line = Line::Map { name: name.to_owned(), how, at: self.count };
        self.line(&line);
    }

    /// A map holds something before any program runs: its keys and values, packed by zlib.
    pub fn table(&mut self, name: &str, room: u32, packed: Vec<u8>) {
        self.line(&Line::Table { name: name.to_owned(), room, packed });
    }

    /// The session goes on.
    pub fn phase(&mut self, phase: Phase) {
        let at = self.count;
        self.line(&Line::Phase { phase, at });
    }

    /// Ends the recording. `lost`: records that programs could not send. Gives the number of runs that are written, and
    /// what is missing.
    pub fn close(mut self, lost: u64) -> io::Result<(u64, u64)> {
        let incomplete = self.incomplete + self.open.len() as u64;
        self.line(&Line::Close { lost, incomplete });
        match self.failed {
            Some(error) => Err(error),
            None => self.out.flush().map(|()| (self.runs, incomplete)),
        }
    }
}

/// The low bytes of a number, in the machine's byte order.
fn low_bytes(value: u64, size: u32) -> Vec<u8> {
    let size = (size as usize).min(8);
    let bytes = value.to_ne_bytes();
    match cfg!(target_endian = "big") {
        true => bytes.get(8 - size..).unwrap_or(&[]).to_vec(),
        false => bytes.get(..size).unwrap_or(&[]).to_vec(),
    }
}
