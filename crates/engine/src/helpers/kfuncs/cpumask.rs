//! Sets of CPUs (kernel/bpf/cpumask.c). A `struct bpf_cpumask` is a bit for each CPU that a kernel can have, and a count of references,
//! which programs do not see.

use crate::helpers::{Answer, Call};
use crate::vm::fault::FaultKind;
use crate::vm::memory::{Access, ObjectKind};

/// Bytes of the set: 8192 CPUs.
const BYTES: u32 = 1024;
/// What takes one back.
const RELEASE: &str = "cpumask_release";
/// Bytes of the whole object.
const SIZE: u32 = BYTES + 8;

pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let at = call.state.memory.alloc(ObjectKind::Other("cpumask"), SIZE, Access::Read)?;
    count(call, at.get(), 1)?;
    Ok(call.gives("cpumask_create", RELEASE, at.get()))
}

/// Changes the count of references: what it is then.
fn count(call: &mut Call<'_>, at: u64, by: i32) -> Result<i32, FaultKind> {
    let whole = call.state.memory.resolve(at, SIZE, false)?;
    let Some(place) = call.state.memory.host_mut(whole.plus(BYTES), 4) else { return Ok(0) };
    let old = i32::from_ne_bytes([place[0], place[1], place[2], place[3]]);
    place.copy_from_slice(&(old + by).to_ne_bytes());
    Ok(old + by)
}

pub(super) fn acquire(call: &mut Call<'_>) -> Answer {
    let at = call.arg(1);
    count(call, at, 1)?;
    Ok(call.gives("cpumask_acquire", RELEASE, at))
}

pub(super) fn release(call: &mut Call<'_>) -> Answer {
    call.takes_back(RELEASE)?;
    let at = call.arg(1);
    if count(call, at, -1)? <= 0
        && let Ok(at) = call.state.memory.resolve(at, SIZE, false)
    {
        call.state.memory.free(at);
    }
    Ok(0)
}

fn set(call: &Call<'_>, number: u8) -> Result<Vec<u8>, FaultKind> {
    call.fixed(number, BYTES)
}

fn store(call: &mut Call<'_>, number: u8, bytes: &[u8]) -> Result<(), FaultKind> {
    let at = call.state.memory.resolve(call.arg(number), SIZE, false)?;
    if let Some(place) = call.state.memory.host_mut(at, BYTES) {
        place.copy_from_slice(bytes);
    }
    Ok(())
}

/// Reads a CPU's bit and changes it where asked: what it was. CPUs that the machine has not are in no set.
fn bit(call: &mut Call<'_>, number: u8, new: Option<bool>) -> Answer {
    let cpu = call.arg32(1);
    if cpu >= call.state.env.cpus {
        return Ok(0);
    }
    let mut bytes = set(call, number)?;
    let (byte, mask) = (&mut bytes[(cpu / 8) as usize], 1u8 << (cpu % 8));
    let old = *byte & mask != 0;
    if let Some(new) = new {
        *byte = if new { *byte | mask } else { *byte & !mask };
        store(call, number, &bytes)?;
    }
    Ok(old.into())
}

pub(super) fn set_cpu(call: &mut Call<'_>) -> Answer {
    bit(call, 2, Some(true))
}

pub(super) fn clear_cpu(call: &mut Call<'_>) -> Answer {
    bit(call, 2, Some(false))
}

pub(super) fn test_cpu(call: &mut Call<'_>) -> Answer {
    bit(call, 2, None)
}

pub(super) fn test_and_set_cpu(call: &mut Call<'_>) -> Answer {
    bit(call, 2, Some(true))
}

pub(super) fn test_and_clear_cpu(call: &mut Call<'_>) -> Answer {
    bit(call, 2, Some(false))
}

/// All CPUs of the machine.
fn all(call: &Call<'_>) -> Vec<u8> {
    let mut bytes = vec![0; BYTES as usize];
    (0..call.state.env.cpus.min(BYTES * 8)).for_each(|cpu| bytes[(cpu / 8) as usize] |= 1 << (cpu % 8));
    bytes
}

pub(super) fn setall(call: &mut Call<'_>) -> Answer {
    let bytes = all(call);
    store(call, 1, &bytes)?;
    Ok(0)
}

pub(super) fn clear(call: &mut Call<'_>) -> Answer {
    store(call, 1, &[0; BYTES as usize])?;
    Ok(0)
}

/// Joins two sets into the one of argument 1: whether anything is in it.
fn join(call: &mut Call<'_>, with: fn(u8, u8) -> u8) -> Answer {
    let (a, b) = (set(call, 2)?, set(call, 3)?);
    let bytes: Vec<u8> = a.iter().zip(&b).map(|(a, b)| with(*a, *b)).collect();
    store(call, 1, &bytes)?;
    Ok(bytes.iter().any(|byte| *byte != 0).into())
}

pub(super) fn and(call: &mut Call<'_>) -> Answer {
    join(call, |a, b| a & b)
}

pub(super) fn or(call: &mut Call<'_>) -> Answer {
    join(call, |a, b| a | b)
}

pub(super) fn xor(call: &mut Call<'_>) -> Answer {
    join(call, |a, b| a ^ b)
}

fn relate(call: &mut Call<'_>, holds: fn(&[u8], &[u8]) -> bool) -> Answer {
    Ok(holds(&set(call, 1)?, &set(call, 2)?).into())
}

pub(super) fn equal(call: &mut Call<'_>) -> Answer {
    relate(call, |a, b| a == b)
}

pub(super) fn intersects(call: &mut Call<'_>) -> Answer {
    relate(call, |a, b| a.iter().zip(b).any(|(a, b)| a & b != 0))
}

pub(super) fn subset(call: &mut Call<'_>) -> Answer {
    relate(call, |a, b| a.iter().zip(b).all(|(a, b)| a & !b == 0))
}

pub(super) fn empty(call: &mut Call<'_>) -> Answer {
    Ok(set(call, 1)?.iter().all(|byte| *byte == 0).into())
}

pub(super) fn full(call: &mut Call<'_>) -> Answer {
    Ok((set(call, 1)? == all(call)).into())
}

pub(super) fn copy(call: &mut Call<'_>) -> Answer {
    let bytes = set(call, 2)?;
    store(call, 1, &bytes)?;
    Ok(0)
}

pub(super) fn weight(call: &mut Call<'_>) -> Answer {
    Ok(set(call, 1)?.iter().map(|byte| u64::from(byte.count_ones())).sum())
}

/// The first CPU whose bit is `wanted`; the number of CPUs when there is none.
fn first_with(call: &Call<'_>, wanted: bool) -> Answer {
    let (bytes, cpus) = (set(call, 1)?, call.state.env.cpus);
    let is = |cpu: &u32| {
        bytes.get((cpu / 8) as usize).is_some_and(|byte| byte >> (cpu % 8) & 1 == u8::from(wanted))
    };
    Ok((0..cpus).find(is).unwrap_or(cpus).into())
}

pub(super) fn first(call: &mut Call<'_>) -> Answer {
    first_with(call, true)
}

pub(super) fn first_zero(call: &mut Call<'_>) -> Answer {
    first_with(call, false)
}
