//! [`Recording`]: a backend that keeps what passes through it. Records of runs stay behind; the session gets its own events.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use skep_bpf::backend::{
    Backend, BackendError, BuildIdFrame, Entries, MapAccess, PollOutcome, Symbol, WallTime,
};
use skep_bpf::object::Object;
use skep_bpf::schema::Clock;

use super::{Log, MapUse, Question, Told};

/// Records that are read in one round: the session looks at its stop conditions in between.
const ROUND: u32 = 8192;
/// Records that are read ahead at most.
const AHEAD: u32 = 1 << 18;

/// A backend that is recorded.
pub struct Recording<'a> {
    /// The machine.
    pub inner: &'a mut dyn Backend,
    /// Where it is recorded.
    pub log: &'a mut Log,
    /// Events that wait for the session.
    pub ahead: &'a mut VecDeque<Vec<u8>>,
    /// What runs.
    pub object: &'a Object,
}

impl Recording<'_> {
    /// Reads what is in the ring, so that the count says how far the programs are.
    fn catch_up(&mut self) -> Result<(), BackendError> {
        let (log, ahead) = (&mut *self.log, &mut *self.ahead);
        let mut left = AHEAD;
        // Programs may send as fast as this reads.
        while left > 0 {
            let polled = self.inner.poll_events(Some(Duration::ZERO), &mut |bytes| {
                ahead.extend(log.record(bytes));
                left -= 1;
                if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if polled.records == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Notes that a map is used, now.
    fn used(&mut self, map: usize, how: MapUse) -> Result<(), BackendError> {
        self.catch_up()?;
        let name = self.object.maps.get(map).map_or("", |m| m.name.as_str());
        self.log.map(name, how);
        Ok(())
    }

    fn keep<T>(
        &mut self,
        question: Question,
        result: Result<T, BackendError>,
        told: impl Fn(&T) -> Told,
    ) -> Result<T, BackendError> {
        let answer = match &result {
            Ok(value) => told(value),
            Err(error) => Told::Failed(error.clone()),
        };
        self.log.asked(question, answer);
        result
    }
}

/// All values of all entries.
fn numbers(entries: &Entries) -> Vec<u64> {
    let values = entries.iter().flat_map(|e| e.per_cpu().map(<[u8]>::to_vec).collect::<Vec<_>>());
    values.map(|v| v.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)).collect()
}

impl MapAccess for Recording<'_> {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        let result = self.inner.map_entries(map);
        if Some(map) == self.object.session.counter_map {
            return self.keep(Question::Losses, result, |entries| Told::Numbers(numbers(entries)));
        }
        self.used(map, MapUse::Read)?;
        result
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        let result = self.inner.map_lookup(map, key);
        self.used(map, MapUse::Read)?;
        result
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        let result = self.inner.map_update(map, key, value);
        self.used(map, MapUse::Change)?;
        result
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        let result = self.inner.map_delete(map, key);
        self.used(map, MapUse::Change)?;
        result
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        let result = self.inner.map_clear(map);
        self.used(map, MapUse::Change)?;
        result
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        let result = self.inner.map_zero(map);
        self.used(map, MapUse::Change)?;
        result
    }
}

impl Backend for Recording<'_> {
    fn possible_cpus(&self) -> usize {
        self.inner.possible_cpus()
    }

    fn poll_events(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError> {
        let mut outcome = PollOutcome::default();
        while let Some(event) = self.ahead.pop_front() {
            outcome.records += 1;
            if sink(&event).is_break() {
                outcome.stopped = true;
                return Ok(outcome);
            }
        }
        let timeout = if outcome.records > 0 { Some(Duration::ZERO) } else { timeout };
        let log = &mut *self.log;
        let mut events = 0;
        loop {
            let mut left = ROUND;
            let polled = self.inner.poll_events(timeout, &mut |bytes| {
                left -= 1;
                let flow = match log.record(bytes) {
                    Some(event) => {
                        events += 1;
                        sink(&event)
                    }
                    None => ControlFlow::Continue(()),
                };
                if left > 0 { flow } else { ControlFlow::Break(()) }
            })?;
            // Who drains wants to hear of the session's own events, or that there is nothing left.
            let drains = timeout.is_some_and(|t| t.is_zero());
            if events > 0 || polled.records == 0 || !drains {
                return Ok(PollOutcome { records: outcome.records + events, ..polled });
            }
        }
    }

    fn recursion_misses(&mut self) -> Result<u64, BackendError> {
        let result = self.inner.recursion_misses();
        self.keep(Question::Misses, result, |n| Told::Numbers(vec![*n]))
    }

    fn kernel_symbol(&mut self, address: u64) -> Symbol {
        let symbol = self.inner.kernel_symbol(address);
        self.log.asked(Question::KernelSymbol(address), Told::Symbols(vec![symbol.clone()]));
        symbol
    }

    fn user_symbol(&mut self, pid: u32, address: u64) -> Symbol {
        let symbol = self.inner.user_symbol(pid, address);
        self.log.asked(Question::UserSymbols(pid, vec![address]), Told::Symbols(vec![symbol.clone()]));
        symbol
    }

    fn user_symbols(&mut self, pid: u32, addresses: &[u64]) -> Vec<Symbol> {
        let symbols = self.inner.user_symbols(pid, addresses);
        self.log.asked(Question::UserSymbols(pid, addresses.to_vec()), Told::Symbols(symbols.clone()));
        symbols
    }

    fn build_ids(&mut self, pid: u32, addresses: &[u64]) -> Vec<BuildIdFrame> {
        let frames = self.inner.build_ids(pid, addresses);
        self.log.asked(Question::BuildIds(pid, addresses.to_vec()), Told::BuildIds(frames.clone()));
        frames
    }

    fn stack(&mut self, map: usize, id: i64) -> Result<Vec<u64>, BackendError> {
        let name = self.object.maps.get(map).map(|m| m.name.clone()).unwrap_or_default();
        let result = self.inner.stack(map, id);
        self.keep(Question::Stack(name, id), result, |addresses| Told::Numbers(addresses.clone()))
    }

    fn user_name(&mut self, uid: u32) -> Option<String> {
        let name = self.inner.user_name(uid);
        self.log.asked(Question::UserName(uid), Told::Name(name.clone()));
        name
    }

    fn cgroup_paths(&mut self, id: u64) -> Vec<(String, String)> {
        let paths = self.inner.cgroup_paths(id);
        self.log.asked(Question::CgroupPaths(id), Told::Pairs(paths.clone()));
        paths
    }

    fn wall_time(&mut self, clock: Clock, ns: u64) -> WallTime {
        let time = self.inner.wall_time(clock, ns);
        self.log.asked(Question::WallTime(clock as u8, ns), Told::Time(time.clone()));
        time
    }

    fn now(&mut self) -> WallTime {
        let time = self.inner.now();
        self.log.asked(Question::Now, Told::Time(time.clone()));
        time
    }

    fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        let result = self.inner.read_file(path, limit);
        self.keep(Question::File(path.to_owned()), result, |bytes| Told::Bytes(bytes.clone()))
    }

    fn run_command(&mut self, command: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        let result = self.inner.run_command(command, limit);
        self.keep(Question::Command(command.to_owned()), result, |bytes| Told::Bytes(bytes.clone()))
    }
}
