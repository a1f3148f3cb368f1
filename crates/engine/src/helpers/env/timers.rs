//! Timers that programs start (`bpf_timer_*`, kernel/bpf/helpers.c). They fire when the machine's clock has come to their time and the machine is
//! told so, in the order of their times.

use std::collections::BTreeMap;

use crate::vm::memory::{Addr, MapId};
use crate::vm::program::ProgId;

/// A timer in a map value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timer {
    /// The map.
    pub map: MapId,
    /// Clock that absolute times are on: 0 wall, 1 monotonic, 7 boot.
    pub clock: u32,
    /// The program and its function.
    pub callback: Option<(ProgId, u64)>,
    /// When it fires, in nanoseconds of the monotonic clock; `None`: it does not.
    pub due: Option<u64>,
}

/// All timers, by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timers {
    pub(in crate::helpers) all: BTreeMap<Addr, Timer>,
    /// The one whose callback runs.
    pub(crate) running: Option<Addr>,
}

/// A timer that fires: what its callback is called with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Where the timer is.
    pub at: Addr,
    /// The map.
    pub map: MapId,
    /// The program whose function is called.
    pub program: ProgId,
    /// The function.
    pub function: u64,
    /// The time that it was set to.
    pub time: u64,
}

impl Timers {
    /// The next timer that is due at `now`; it is stopped then, until its callback starts it again.
    pub fn next_due(&mut self, now: u64) -> Option<Due> {
        let due = self.all.iter().filter_map(|(at, timer)| Some((timer.due?, *at)));
        let (time, at) = due.filter(|(time, _)| *time <= now).min()?;
        let timer = self.all.get_mut(&at)?;
        timer.due = None;
        let (program, function) = timer.callback?;
        Some(Due { at, map: timer.map, program, function, time })
    }

    /// When the next one fires.
    pub fn next_time(&self) -> Option<u64> {
        self.all.values().filter_map(|timer| timer.due).min()
    }

    /// Forgets the timers in a stretch of memory: the value that they were in is gone.
    pub fn drop_within(&mut self, from: Addr, len: u32) {
        let gone: Vec<Addr> = self.all.range(from..from.plus(len)).map(|(at, _)| *at).collect();
        gone.iter().for_each(|at| {
            self.all.remove(at);
        });
    }
}
