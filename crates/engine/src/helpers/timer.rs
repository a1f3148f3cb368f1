//! Timers of programs (kernel/bpf/helpers.c, `bpf_timer_*`).

use rustix::io::Errno;

use super::{Answer, Call, failed};
use crate::helpers::env::timers::Timer;
use crate::vm::fault::FaultKind;
use crate::vm::memory::{Addr, MapId, ObjectKind};

/// Bytes of a `struct bpf_timer`.
const SIZE: u32 = 16;
/// Clocks that a timer can be on: CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME.
const CLOCKS: &[u64] = &[0, 1, 7];
/// `BPF_F_TIMER_ABS` and `BPF_F_TIMER_CPU_PIN`.
const ABSOLUTE: u64 = 1;
const PINNED: u64 = 2;

/// Where the timer is, which must be in a value of a map.
fn place(call: &Call<'_>, name: &'static str) -> Result<(Addr, MapId), FaultKind> {
    let at = call.state.memory.resolve(call.arg(1), SIZE, true)?;
    match call.state.memory.find(at.get()).map(|object| object.kind) {
        Some(ObjectKind::MapValue(map)) => Ok((at, map)),
        _ => {
            let what = "must be in a value of a map".to_owned();
            Err(FaultKind::Argument { name, index: 1, what })
        }
    }
}

pub(super) fn timer_init(call: &mut Call<'_>) -> Answer {
    let (at, map) = place(call, "timer_init")?;
    let given = call.state.maps.by_handle(&call.state.memory, call.arg(2));
    if given != Some(map) {
        let what = "must be the map that the timer is in".to_owned();
        return Err(FaultKind::Argument { name: "timer_init", index: 2, what });
    }
    let clock = call.arg(3);
    if !CLOCKS.contains(&clock) {
        return Ok(failed(Errno::INVAL));
    }
    let timers = &mut call.state.env.timers.all;
    if timers.contains_key(&at) {
        return Ok(failed(Errno::BUSY));
    }
    timers.insert(at, Timer { map, clock: clock as u32, callback: None, due: None });
    Ok(0)
}

pub(super) fn timer_set_callback(call: &mut Call<'_>) -> Answer {
    let (at, _) = place(call, "timer_set_callback")?;
    let callback = (call.state.run.program, call.arg(2));
    match call.state.env.timers.all.get_mut(&at) {
        Some(timer) => {
            timer.callback = Some(callback);
            Ok(0)
        }
        None => Ok(failed(Errno::INVAL)),
    }
}

pub(super) fn timer_start(call: &mut Call<'_>) -> Answer {
    let (at, _) = place(call, "timer_start")?;
    let (time, flags) = (call.arg(2), call.arg(3));
    let env = &mut call.state.env;
    let clock = env.clock;
    let timer = env.timers.all.get_mut(&at).filter(|timer| timer.callback.is_some());
    let Some(timer) = timer.filter(|_| flags & !(ABSOLUTE | PINNED) == 0) else {
        return Ok(failed(Errno::INVAL));
    };
    let ahead = match timer.clock {
        0 => clock.wall_ahead,
        7 => clock.boot_ahead,
        _ => 0,
    };
    timer.due = Some(match flags & ABSOLUTE {
        0 => env.now.saturating_add(time),
        _ => time.saturating_sub(ahead),
    });
    Ok(0)
}

pub(super) fn timer_cancel(call: &mut Call<'_>) -> Answer {
    let (at, _) = place(call, "timer_cancel")?;
    let timers = &mut call.state.env.timers;
    if timers.running == Some(at) {
        return Ok(failed(Errno::DEADLK));
    }
    let Some(timer) = timers.all.get_mut(&at) else { return Ok(failed(Errno::INVAL)) };
    timer.callback = None;
    Ok(timer.due.take().is_some().into())
}
