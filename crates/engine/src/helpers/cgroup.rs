//! Cgroups: membership, classes, sysctls, return values (kernel/bpf/cgroup.c).

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed};
use crate::helpers::env::effects::Effect;
use crate::maps::{Map, Targets};
use crate::vm::fault::FaultKind;

/// Longest value of a sysctl.
const LONGEST: usize = 4095;
/// `BPF_F_SYSCTL_BASE_NAME`.
const BASE_NAME: u64 = 1;

/// Whether one of `cgroups` is the one at an index of a map.
fn under(call: &mut Call<'_>, helper: u32, number: u8, cgroups: Option<Vec<u64>>) -> Answer {
    let map = call.map(helper, number)?;
    let index = call.arg32(number + 1);
    let Some(targets) = call.state.maps.kind::<Targets>(map) else { return Ok(failed(Errno::INVAL)) };
    if index >= targets.spec().max_entries {
        return Ok(failed(Errno::TOOBIG));
    }
    let Some(cgroup) = targets.target(&index.to_ne_bytes()) else { return Ok(failed(Errno::AGAIN)) };
    Ok(cgroups.is_some_and(|cgroups| cgroups.contains(&cgroup)).into())
}

pub(super) fn current_task_under_cgroup(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::CURRENT_TASK_UNDER_CGROUP)? {
        return Ok(r0);
    }
    let cgroups = call.state.env.processes.current().map(|process| process.cgroups.clone());
    under(call, id::CURRENT_TASK_UNDER_CGROUP, 1, cgroups)
}

pub(super) fn skb_under_cgroup(call: &mut Call<'_>) -> Answer {
    call.context("skb_under_cgroup", 1)?;
    let net = &call.state.env.net;
    let socket = net.socket.and_then(|cookie| net.by_cookie(cookie));
    let Some(cgroups) = socket.map(|socket| socket.cgroups.clone()) else { return Ok(failed(Errno::NOENT)) };
    under(call, id::SKB_UNDER_CGROUP, 2, Some(cgroups))
}

pub(super) fn classid(call: &mut Call<'_>) -> Answer {
    Ok(call.state.env.net.classid.into())
}

pub(super) fn get_route_realm(call: &mut Call<'_>) -> Answer {
    Ok(call.state.env.net.realm.into())
}

pub(super) fn get_retval(call: &mut Call<'_>) -> Answer {
    Ok(i64::from(call.state.env.attached.retval) as u64)
}

pub(super) fn set_retval(call: &mut Call<'_>) -> Answer {
    call.state.env.attached.retval = call.arg(1) as i32;
    Ok(0)
}

/// Copies a value with a NUL behind it: its length, E2BIG where it was cut.
fn copy(call: &mut Call<'_>, name: &'static str, value: Option<&[u8]>) -> Result<u64, FaultKind> {
    let size = call.length(name, 3)? as usize;
    call.writable(2, size as u32)?;
    if size == 0 {
        return Ok(failed(Errno::TOOBIG));
    }
    let mut bytes = vec![0; size];
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        call.put(2, &bytes)?;
        return Ok(failed(Errno::INVAL));
    };
    let len = value.len().min(size - 1);
    bytes[..len].copy_from_slice(&value[..len]);
    call.put(2, &bytes)?;
    Ok(if value.len() < size { value.len() as u64 } else { failed(Errno::TOOBIG) })
}

pub(super) fn sysctl_get_name(call: &mut Call<'_>) -> Answer {
    call.context("sysctl_get_name", 1)?;
    let name = call.state.env.attached.sysctl.name.clone();
    let base = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) if call.arg(4) & BASE_NAME != 0 => &name[slash + 1..],
        _ => &name,
    };
    copy(call, "sysctl_get_name", Some(base))
}

pub(super) fn sysctl_get_current_value(call: &mut Call<'_>) -> Answer {
    call.context("sysctl_get_current_value", 1)?;
    let value = call.state.env.attached.sysctl.value.clone();
    copy(call, "sysctl_get_current_value", Some(&value))
}

pub(super) fn sysctl_get_new_value(call: &mut Call<'_>) -> Answer {
    call.context("sysctl_get_new_value", 1)?;
    let value = call.state.env.attached.sysctl.new.clone();
    copy(call, "sysctl_get_new_value", value.as_deref())
}

pub(super) fn sysctl_set_new_value(call: &mut Call<'_>) -> Answer {
    call.context("sysctl_set_new_value", 1)?;
    let value = call.sized("sysctl_set_new_value", 2)?;
    if value.is_empty() || call.state.env.attached.sysctl.new.is_none() {
        return Ok(failed(Errno::INVAL));
    }
    if value.len() > LONGEST {
        return Ok(failed(Errno::TOOBIG));
    }
    call.state.env.attached.sysctl.new = Some(value.clone());
    call.state.env.effects.push(Effect::Sysctl(value));
    Ok(0)
}
