//! Clocks, random numbers, CPUs.

use skep_bpf::helpers::id;

use super::{Answer, Call};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Call<'_> {
    /// The monotonic clock, read once.
    fn read_clock(&mut self) -> u64 {
        let ran = self.state.run.limit.saturating_sub(self.state.run.budget);
        let env = &mut self.state.env;
        env.now = env.now.wrapping_add(env.clock.per_reading);
        env.now.wrapping_add(ran.wrapping_mul(env.clock.per_insn))
    }
}

pub(super) fn ktime_get_ns(call: &mut Call<'_>) -> Answer {
    Ok(call.recorded(id::KTIME_GET_NS)?.unwrap_or_else(|| call.read_clock()))
}

pub(super) fn ktime_get_coarse_ns(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::KTIME_GET_COARSE_NS)? {
        return Ok(r0);
    }
    let tick = SECOND / u64::from(call.state.env.clock.hz.max(1));
    Ok(call.read_clock() / tick * tick)
}

pub(super) fn ktime_get_boot_ns(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::KTIME_GET_BOOT_NS)? {
        return Ok(r0);
    }
    Ok(call.read_clock().wrapping_add(call.state.env.clock.boot_ahead))
}

pub(super) fn ktime_get_tai_ns(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::KTIME_GET_TAI_NS)? {
        return Ok(r0);
    }
    let clock = call.state.env.clock;
    Ok(call.read_clock().wrapping_add(clock.wall_ahead).wrapping_add(clock.tai_ahead))
}

pub(super) fn jiffies64(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::JIFFIES64)? {
        return Ok(r0);
    }
    let tick = SECOND / u64::from(call.state.env.clock.hz.max(1));
    // The kernel starts five minutes before its counter wraps around (INITIAL_JIFFIES).
    let start = u64::from(0u32.wrapping_sub(300 * call.state.env.clock.hz));
    Ok(start + call.read_clock() / tick)
}

pub(super) fn get_prandom_u32(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_PRANDOM_U32)? {
        return Ok(r0);
    }
    Ok(call.state.env.random().into())
}

pub(super) fn get_smp_processor_id(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_SMP_PROCESSOR_ID)? {
        return Ok(r0);
    }
    Ok(call.state.env.cpu.into())
}

pub(super) fn get_numa_node_id(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_NUMA_NODE_ID)? {
        return Ok(r0);
    }
    Ok(call.state.env.node.into())
}
