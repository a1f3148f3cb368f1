//! [`Backend`] for a [`Loaded`] object: its maps and events, and this machine's names.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use skep_bpf::backend::{
    Backend, BackendError, BuildIdFrame, Entries, MapAccess, PollOutcome, Symbol, WallTime,
};
use skep_bpf::schema::Clock;

use crate::error::Error;
use crate::load::{Events, Loaded, RING};
use crate::map::Map;
use crate::{machine, proc};

/// Two wake-ups closer than this mean that events come fast: the reader then lets some gather, because each wake-up
/// costs the traced process an interrupt.
const BUSY: Duration = Duration::from_millis(20);
/// So many close wake-ups in a row come before it begins to do so: a few events may ask for something at once.
const BUSY_WAKES: u32 = 4;
/// How long it lets them gather, at most, and in which steps it looks at the fill level.
const NAP: Duration = Duration::from_millis(5);
const NAP_STEP: Duration = Duration::from_millis(1);
/// A buffer filled above one part in so many is drained at once.
const NAP_FILL: u64 = 8;
/// How long the distance between two clocks is taken as it was.
const CLOCK_AGE: Duration = Duration::from_secs(10);
/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;
/// Cgroup paths that are remembered.
const CGROUP_LIMIT: usize = 1 << 16;

impl From<Error> for BackendError {
    fn from(error: Error) -> BackendError {
        match error {
            Error::Os { operation, errno } => BackendError::Os { operation, errno },
            other => BackendError::Unsupported(other.to_string()),
        }
    }
}

impl Loaded {
    fn map(&self, index: usize) -> Result<&Map, BackendError> {
        self.maps.get(index).ok_or_else(|| BackendError::Map { map: index, why: "there is none".into() })
    }

    /// Nanoseconds to add to `clock` for the real time.
    fn clock_distance(&mut self, clock: Clock) -> i128 {
        let key = clock as u8;
        match self.clocks.get(&key) {
            Some((when, distance)) if when.elapsed() < CLOCK_AGE => *distance,
            _ => {
                let distance = proc::clock_now(Clock::Realtime) - proc::clock_now(clock);
                // The atomic time differs by whole seconds; what is more lies between the two readings.
                let distance = match clock {
                    Clock::Tai => (distance + SECOND / 2).div_euclid(SECOND) * SECOND,
                    _ => distance,
                };
                self.clocks.insert(key, (Instant::now(), distance));
                distance
            }
        }
    }
}

impl Events {
    fn drain(&mut self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> bool {
        let mut drained = 0;
        // Packets come first: what follows an `exit()` counts no more.
        if let Some(packets) = &self.packets {
            let (records, stopped) = packets.drain(sink);
            drained += records;
            self.outcome.stopped |= stopped;
        }
        if let Some(ring) = self.ring.as_ref().filter(|_| !self.outcome.stopped) {
            let (records, stopped) = ring.consume(sink);
            drained += records;
            self.outcome.stopped |= stopped;
        }
        self.outcome.records += drained;
        drained > 0
    }

    /// Waits for records or a watched descriptor; whether there may be records.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); 8];
        let (ready, _) = match epoll::wait(&self.epoll, &mut buffer[..], timeout.as_ref()) {
            Ok(ready) => ready,
            Err(Errno::INTR) => {
                self.outcome.interrupted = true;
                return Ok(false);
            }
            Err(errno) => return Err(Error::os("wait for events", errno)),
        };
        let mut records = false;
        for event in ready.iter() {
            if event.data.u64() == RING {
                records = true;
            } else {
                self.outcome.interrupted = true;
            }
        }
        Ok(records)
    }

    /// Lets records gather for a moment when wake-ups come thick.
    fn gather(&mut self) {
        let now = Instant::now();
        let close = self.last_wake.is_some_and(|last| now.duration_since(last) < BUSY);
        self.close_wakes = if close { self.close_wakes.saturating_add(1) } else { 0 };
        if let (true, Some(ring)) = (self.close_wakes >= BUSY_WAKES, &self.ring) {
            while now.elapsed() < NAP && ring.pending() < ring.size() / NAP_FILL {
                std::thread::sleep(NAP_STEP);
            }
        }
        self.last_wake = Some(Instant::now());
    }

    fn poll(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, Error> {
        self.outcome = PollOutcome::default();
        let none = timeout.is_some_and(|t| t.is_zero());
        if self.drain(sink) || none {
            // The watched descriptors are looked at even when records never end.
            self.wait(Some(Duration::ZERO))?;
            return Ok(self.outcome);
        }
        if self.wait(timeout)? {
            if !self.outcome.interrupted {
                self.gather();
            }
            self.drain(sink);
        }
        Ok(self.outcome)
    }
}

impl MapAccess for Loaded {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        Ok(self.map(map)?.entries()?)
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        Ok(self.map(map)?.lookup(key)?)
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        Ok(self.map(map)?.update(key, value)?)
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        Ok(self.map(map)?.delete(key)?)
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        Ok(self.map(map)?.clear()?)
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        Ok(self.map(map)?.zero()?)
    }
}

impl Backend for Loaded {
    fn possible_cpus(&self) -> usize {
        machine::possible_cpus().unwrap_or(1)
    }

    fn poll_events(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError> {
        let outcome = self.events.poll(timeout, sink)?;
        self.symbols.update();
        Ok(outcome)
    }

    fn unwatch(&mut self, address: u64) -> Result<usize, BackendError> {
        Ok(self.stop_watching(address))
    }

    fn recursion_misses(&mut self) -> Result<u64, BackendError> {
        Ok(self.stats()?.iter().map(|(_, s)| s.recursion_misses).sum())
    }

    fn kernel_symbol(&mut self, address: u64) -> Symbol {
        let Ok(kallsyms) = self.target.kallsyms() else { return Symbol::default() };
        let Some((name, offset, module)) = kallsyms.lookup(address) else { return Symbol::default() };
        let lines = self.kernel_lines.lookup(address).unwrap_or_default();
        Symbol { name: Some(name.to_owned()), offset, module: module.to_owned(), ..lines }
    }

    fn user_symbol(&mut self, pid: u32, address: u64) -> Symbol {
        self.symbols.symbol(pid, address)
    }

    fn build_ids(&mut self, pid: u32, addresses: &[u64]) -> Vec<BuildIdFrame> {
        addresses.iter().map(|a| self.symbols.build_id(pid, *a)).collect()
    }

    fn stack(&mut self, map: usize, id: i64) -> Result<Vec<u64>, BackendError> {
        let Ok(id) = u32::try_from(id) else { return Ok(Vec::new()) };
        let entries = self.map(map)?.lookup(&id.to_ne_bytes())?;
        let Some(entry) = entries.get(0) else { return Ok(Vec::new()) };
        let words = entry.value().chunks_exact(8);
        let addresses = words.map(|w| w.try_into().map_or(0, u64::from_ne_bytes));
        Ok(addresses.take_while(|a| *a != 0).collect())
    }

    fn user_name(&mut self, uid: u32) -> Option<String> {
        self.users.get_or_insert_with(proc::users).get(&uid).cloned()
    }

    fn cgroup_paths(&mut self, id: u64) -> Vec<(String, String)> {
        if let Some(known) = self.cgroups.get(&id) {
            return known.clone();
        }
        let paths = proc::cgroup_paths(id);
        if self.cgroups.len() >= CGROUP_LIMIT {
            self.cgroups.clear();
        }
        self.cgroups.insert(id, paths.clone());
        paths
    }

    fn wall_time(&mut self, clock: Clock, ns: u64) -> WallTime {
        let distance = self.clock_distance(clock);
        proc::wall_time(i128::from(ns) + distance)
    }

    fn now(&mut self) -> WallTime {
        proc::wall_time(proc::clock_now(Clock::Realtime))
    }

    fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        let failed = |e: std::io::Error| Error::io(format!("read {path}"), &e);
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(limit as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn run_command(&mut self, command: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        Ok(proc::run_command(command, limit)?)
    }
}
