//! [`Replay`]: a backend that lets a recording happen again. A [`Machine`] runs the programs, each run told what it was told
//! when it was recorded; the session reads their events in the order in which they came, and gets the answers that it got.
//!
//! What always holds: nothing runs twice, and nothing that the session asks for runs ahead of what the recording says
//! had run by then. What comes out otherwise than it was recorded is kept as a [`Difference`].

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use skep_bpf::backend::{
    Backend, BackendError, BuildIdFrame, Entries, MapAccess, PollOutcome, Symbol, WallTime,
};
use skep_bpf::object::Object;
use skep_bpf::schema::Clock;

use super::{Line, MapUse, Phase, Question, Recorded, Run, Told};

/// Differences that are kept; more are only counted.
const KEPT: usize = 100;

/// What runs programs and holds their maps.
pub trait Machine: MapAccess {
    /// Runs a program as `run` says; gives the records that it sent, in order, and what was not as it was recorded.
    fn run(&mut self, run: &Run) -> (Vec<Vec<u8>>, Option<String>);
}

/// Something that came out otherwise than it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The run; `None`: the session.
    pub run: Option<u64>,
    /// Its probe.
    pub probe: String,
    /// What differs.
    pub what: String,
}

/// A recording that happens again.
pub struct Replay<'a, M> {
    machine: M,
    object: &'a Object,
    cpus: usize,
    /// Runs to come, in their order.
    runs: VecDeque<Run>,
    /// Events that have been sent and not read, by the count at which they came.
    events: BTreeMap<u64, VecDeque<Vec<u8>>>,
    /// Uses of maps to come.
    uses: VecDeque<(String, MapUse, u64)>,
    answers: BTreeMap<Question, VecDeque<Told>>,
    /// The session gets no event beyond.
    limit: u64,
    /// Nothing is left within the limit.
    idle: Rc<Cell<bool>>,
    differences: Vec<Difference>,
    different: u64,
    ran: u64,
}

impl<'a, M: Machine> Replay<'a, M> {
    /// Of `recorded`, whose programs and maps are `object`'s, on `machine`.
    pub fn new(recorded: &Recorded, object: &'a Object, machine: M) -> Replay<'a, M> {
        let mut replay = Replay {
            machine,
            object,
            cpus: recorded.head.cpus.max(1) as usize,
            runs: VecDeque::new(),
            events: BTreeMap::new(),
            uses: VecDeque::new(),
            answers: BTreeMap::new(),
            limit: u64::MAX,
            idle: Rc::default(),
            differences: Vec::new(),
            different: 0,
            ran: 0,
        };
        let mut runs = Vec::new();
        for line in &recorded.lines {
            match line {
                Line::Run(run) => runs.push((**run).clone()),
                Line::Asked(question, told) => {
                    replay.answers.entry(question.clone()).or_default().push_back(told.clone());
                }
                Line::Map { name, how, at } => replay.uses.push_back((name.clone(), *how, *at)),
                Line::Table { .. } | Line::Phase { .. } | Line::Close { .. } => {}
            }
        }
        runs.sort_by_key(Run::order);
        replay.runs = runs.into();
        replay
    }

    /// The session gets no event beyond that count until this is set again.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.idle.set(false);
    }

    /// Whether the session has had all events within the limit; it changes as it reads.
    pub fn idle(&self) -> Rc<Cell<bool>> {
        self.idle.clone()
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Runs that have run.
    pub fn ran(&self) -> u64 {
        self.ran
    }

    /// What came out otherwise, the first of it; and how much in all.
    pub fn differences(&self) -> (&[Difference], u64) {
        (&self.differences, self.different)
    }

    fn differs(&mut self, run: Option<&Run>, what: String) {
        self.different += 1;
        if self.differences.len() < KEPT {
            let probe = run.map(|r| r.probe.clone()).unwrap_or_default();
            self.differences.push(Difference { run: run.map(|r| r.id), probe, what });
        }
    }

    /// Runs what had run when so many records had come.
    pub(super) fn advance(&mut self, at: u64) {
        while self.runs.front().is_some_and(|run| run.order() <= at) {
            self.next_run();
        }
    }

    fn next_run(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.ran += 1;
        let (sent, wrong) = self.machine.run(&run);
        if let Some(what) = wrong {
            self.differs(Some(&run), what);
        }
        let (got, wanted) = (sent.len(), run.events.len());
        if got != wanted {
            self.differs(Some(&run), format!("it sent {got} events, {wanted} when it was recorded"));
        }
        for (index, event) in sent.into_iter().enumerate() {
            let at = match run.events.get(index) {
                Some((at, recorded)) => {
                    if *recorded != event {
                        self.differs(Some(&run), difference(index, recorded, &event));
                    }
                    *at
                }
                None => run.end,
            };
            self.events.entry(at).or_default().push_back(event);
        }
    }

    /// The next event within the limit.
    fn next_event(&mut self) -> Option<Vec<u8>> {
        loop {
            let first = self.events.keys().next().copied().filter(|at| *at <= self.limit);
            let run = self.runs.front().map(Run::order).filter(|at| *at <= self.limit);
            match (first, run) {
                (Some(at), run) if run.is_none_or(|run| at < run) => {
                    let mut entry = self.events.first_entry()?;
                    let event = entry.get_mut().pop_front();
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                    if event.is_some() {
                        return event;
                    }
                }
                (_, Some(_)) => self.next_run(),
                _ => return None,
            }
        }
    }

    /// The session uses a map: the programs go on to where they were then.
    fn used(&mut self, map: usize, how: MapUse) {
        let name = self.object.maps.get(map).map_or("", |m| m.name.as_str());
        match self.uses.front() {
            Some((recorded, as_recorded, at)) if recorded == name && *as_recorded == how => {
                let at = *at;
                self.uses.pop_front();
                self.advance(at);
            }
            _ => {
                let what = format!("the session uses {name} otherwise than when it was recorded");
                self.differs(None, what);
            }
        }
    }

    /// The answer that was recorded: the next, or else the last one again.
    fn told(&mut self, question: &Question) -> Option<Told> {
        let answer = match self.answers.get_mut(question) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        };
        if answer.is_none() {
            self.differs(None, format!("the session asks what it did not ask: {question:?}"));
        }
        answer
    }

    fn symbols(&mut self, question: &Question, count: usize) -> Vec<Symbol> {
        let mut symbols = match self.told(question) {
            Some(Told::Symbols(symbols)) => symbols,
            _ => Vec::new(),
        };
        symbols.resize_with(count, Symbol::default);
        symbols
    }

    fn bytes(&mut self, question: &Question, limit: usize) -> Result<Vec<u8>, BackendError> {
        match self.told(question) {
            Some(Told::Bytes(mut bytes)) => {
                bytes.truncate(limit);
                Ok(bytes)
            }
            other => Err(failure(other)),
        }
    }

    /// The counters of what was lost, as they were.
    fn losses(&mut self) -> Result<Entries, BackendError> {
        let numbers = match self.told(&Question::Losses) {
            Some(Told::Numbers(numbers)) => numbers,
            other => return Err(failure(other)),
        };
        let mut entries = Entries::new(4, 8, 8, self.cpus);
        for (index, values) in (0u32..).zip(numbers.chunks(self.cpus)) {
            let values: Vec<u8> = values.iter().flat_map(|n| n.to_ne_bytes()).collect();
            entries.push(&index.to_ne_bytes(), &values);
        }
        Ok(entries)
    }
}

/// Where two records differ.
fn difference(index: usize, recorded: &[u8], event: &[u8]) -> String {
    let same = recorded.iter().zip(event).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let rest = bytes.get(same..).unwrap_or(&[]);
        super::hex::encode(rest.get(..8).unwrap_or(rest))
    };
    format!(
        "event {index} differs from byte {same} on: {} when it was recorded, {} now",
        show(recorded),
        show(event)
    )
}

fn failure(told: Option<Told>) -> BackendError {
    match told {
        Some(Told::Failed(error)) => error,
        _ => BackendError::Unsupported("the recording does not have it".to_owned()),
    }
}

impl<M: Machine> MapAccess for Replay<'_, M> {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        if Some(map) == self.object.session.counter_map {
            return self.losses();
        }
        self.used(map, MapUse::Read);
        self.machine.map_entries(map)
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        self.used(map, MapUse::Read);
        self.machine.map_lookup(map, key)
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.used(map, MapUse::Change);
        self.machine.map_update(map, key, value)
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        self.used(map, MapUse::Change);
        self.machine.map_delete(map, key)
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        self.used(map, MapUse::Change);
        self.machine.map_clear(map)
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        self.used(map, MapUse::Change);
        self.machine.map_zero(map)
    }
}

impl<M: Machine> Backend for Replay<'_, M> {
    fn possible_cpus(&self) -> usize {
        self.cpus
    }

    /// Never waits: what is to come is here.
    fn poll_events(
        &mut self,
        _timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError> {
        let mut outcome = PollOutcome::default();
        // One at a time: what the session does about an event comes before the programs go on.
        match self.next_event() {
            Some(event) => {
                outcome.records = 1;
                outcome.stopped = sink(&event).is_break();
            }
            None => self.idle.set(true),
        }
        Ok(outcome)
    }

    fn recursion_misses(&mut self) -> Result<u64, BackendError> {
        match self.told(&Question::Misses) {
            Some(Told::Numbers(numbers)) => Ok(numbers.first().copied().unwrap_or(0)),
            other => Err(failure(other)),
        }
    }

    fn kernel_symbol(&mut self, address: u64) -> Symbol {
        self.symbols(&Question::KernelSymbol(address), 1).pop().unwrap_or_default()
    }

    fn user_symbol(&mut self, pid: u32, address: u64) -> Symbol {
        self.symbols(&Question::UserSymbols(pid, vec![address]), 1).pop().unwrap_or_default()
    }

    fn user_symbols(&mut self, pid: u32, addresses: &[u64]) -> Vec<Symbol> {
        self.symbols(&Question::UserSymbols(pid, addresses.to_vec()), addresses.len())
    }

    fn build_ids(&mut self, pid: u32, addresses: &[u64]) -> Vec<BuildIdFrame> {
        let unknown = addresses.iter().map(|a| BuildIdFrame { build_id: Vec::new(), offset: *a });
        match self.told(&Question::BuildIds(pid, addresses.to_vec())) {
            Some(Told::BuildIds(frames)) if frames.len() == addresses.len() => frames,
            _ => unknown.collect(),
        }
    }

    fn stack(&mut self, map: usize, id: i64) -> Result<Vec<u64>, BackendError> {
        let name = self.object.maps.get(map).map(|m| m.name.clone()).unwrap_or_default();
        match self.told(&Question::Stack(name, id)) {
            Some(Told::Numbers(addresses)) => Ok(addresses),
            other => Err(failure(other)),
        }
    }

    fn user_name(&mut self, uid: u32) -> Option<String> {
        match self.told(&Question::UserName(uid)) {
            Some(Told::Name(name)) => name,
            _ => None,
        }
    }

    fn cgroup_paths(&mut self, id: u64) -> Vec<(String, String)> {
        match self.told(&Question::CgroupPaths(id)) {
            Some(Told::Pairs(pairs)) => pairs,
            _ => Vec::new(),
        }
    }

    fn wall_time(&mut self, clock: Clock, ns: u64) -> WallTime {
        match self.told(&Question::WallTime(clock as u8, ns)) {
            Some(Told::Time(time)) => time,
            _ => WallTime::default(),
        }
    }

    fn now(&mut self) -> WallTime {
        match self.told(&Question::Now) {
            Some(Told::Time(time)) => time,
            _ => WallTime::default(),
        }
    }

    fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        self.bytes(&Question::File(path.to_owned()), limit)
    }

    fn run_command(&mut self, command: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        self.bytes(&Question::Command(command.to_owned()), limit)
    }
}

impl Recorded {
    /// The phases, in order, with the counts at which they began.
    pub fn phases(&self) -> impl Iterator<Item = (&Phase, u64)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Phase { phase, at } => Some((phase, *at)),
            _ => None,
        })
    }

    /// What maps held before: name, room for entries, keys and values packed by zlib.
    pub fn tables(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        self.lines.iter().filter_map(|line| match line {
            Line::Table { name, room, packed } => Some((name.as_str(), *room, packed.as_slice())),
            _ => None,
        })
    }

    /// The runs, in the order in which they ended.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.lines.iter().filter_map(|line| match line {
            Line::Run(run) => Some(&**run),
            _ => None,
        })
    }

    /// What is missing of it: records that found no room and incomplete runs; `None` if it breaks off.
    pub fn missing(&self) -> Option<(u64, u64)> {
        self.lines.iter().find_map(|line| match line {
            Line::Close { lost, incomplete } => Some((*lost, *incomplete)),
            _ => None,
        })
    }
}
