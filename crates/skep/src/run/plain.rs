//! The machine as a session sees it when nothing is replayed: its maps, its events, and a world without names.

use super::guest::Guest;
use skep_bpf::backend::{
    Backend, BackendError, BuildIdFrame, HasMaps, MapAccess, PollOutcome, Symbol, WallTime,
};
use skep_bpf::schema::Clock;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A machine that is read by a session.
pub(super) struct Plain<'g> {
    pub(super) guest: &'g mut Guest,
    /// Events that have been sent and not read.
    pub(super) waiting: VecDeque<Vec<u8>>,
}

impl Plain<'_> {
    pub(super) fn new(guest: &mut Guest) -> Plain<'_> {
        Plain { guest, waiting: VecDeque::new() }
    }
}

fn missing(what: &str) -> BackendError {
    BackendError::Unsupported(format!("{what} (the offline machine has none)"))
}

impl HasMaps for Plain<'_> {
    type Maps = Guest;

    fn maps(&mut self) -> &mut Guest {
        self.guest
    }
}

impl Backend for Plain<'_> {
    fn possible_cpus(&self) -> usize {
        self.guest.vm.state.env.cpus as usize
    }

    fn poll_events(
        &mut self,
        _timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError> {
        self.waiting.extend(self.guest.sent());
        let mut outcome = PollOutcome::default();
        while let Some(event) = self.waiting.pop_front() {
            outcome.records += 1;
            if sink(&event).is_break() {
                outcome.stopped = true;
                break;
            }
        }
        Ok(outcome)
    }

    fn recursion_misses(&mut self) -> Result<u64, BackendError> {
        Ok(0)
    }

    fn kernel_symbol(&mut self, _: u64) -> Symbol {
        Symbol::default()
    }

    fn user_symbol(&mut self, _: u32, _: u64) -> Symbol {
        Symbol::default()
    }

    fn build_ids(&mut self, _: u32, addresses: &[u64]) -> Vec<BuildIdFrame> {
        addresses.iter().map(|a| BuildIdFrame { build_id: Vec::new(), offset: *a }).collect()
    }

    fn stack(&mut self, map: usize, id: i64) -> Result<Vec<u64>, BackendError> {
        let Ok(id) = u32::try_from(id) else { return Ok(Vec::new()) };
        let entries = self.guest.map_lookup(map, &id.to_ne_bytes())?;
        let words = entries.get(0).map(|e| e.value().to_vec()).unwrap_or_default();
        let addresses = words.chunks_exact(8).map(|w| w.try_into().map_or(0, u64::from_ne_bytes));
        Ok(addresses.take_while(|a| *a != 0).collect())
    }

    fn user_name(&mut self, _: u32) -> Option<String> {
        None
    }

    fn cgroup_paths(&mut self, _: u64) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The machine's clocks all begin in 1970.
    fn wall_time(&mut self, _: Clock, ns: u64) -> WallTime {
        let (secs, nanos) = ((ns / SECOND) as i64, (ns % SECOND) as u32);
        WallTime { secs, nanos, utc_offset: 0, zone: "UTC".to_owned() }
    }

    fn now(&mut self) -> WallTime {
        let now = self.guest.vm.state.env.now;
        self.wall_time(Clock::Monotonic, now)
    }

    fn read_file(&mut self, path: &str, _: usize) -> Result<Vec<u8>, BackendError> {
        Err(missing(&format!("file {path}")))
    }

    fn run_command(&mut self, _: &str, _: usize) -> Result<Vec<u8>, BackendError> {
        Err(missing("commands"))
    }
}
