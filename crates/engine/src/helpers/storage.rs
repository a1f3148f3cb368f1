//! Storage of tasks, inodes, sockets and cgroups (kernel/bpf/bpf_*_storage.c).

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed, status};
use crate::maps::Storage;

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

impl Call<'_> {
    fn storage_get(&mut self, helper: u32, owner: Option<u64>) -> Answer {
        let map = self.map(helper, 1)?;
        let flags = self.arg(4);
        let Some(owner) = owner.filter(|_| flags & !CREATE == 0) else { return Ok(0) };
        let initial = match self.arg(3) {
            0 => Vec::new(),
            _ => self.fixed(3, self.sizes(map).1)?,
        };
        let create = (flags & CREATE != 0).then_some(initial.as_slice());
        let state = &mut *self.state;
        let cpu = state.env.cpu;
        let storage = state.maps.kind::<Storage>(map);
        let at = storage.and_then(|storage| storage.of_owner(&mut state.memory, cpu, owner, create));
        Ok(at.map_or(0, |at| at.get()))
    }

    fn storage_delete(&mut self, helper: u32, owner: Option<u64>) -> Answer {
        let map = self.map(helper, 1)?;
        let (Some(owner), Some(storage)) = (owner, self.state.maps.kind::<Storage>(map)) else {
            return Ok(failed(Errno::INVAL));
        };
        Ok(status(storage.delete_owner(owner)))
    }

    /// The thread that argument 2 points to, by number; one that is not in the table by its address.
    fn task_owner(&self) -> Option<u64> {
        let at = self.arg(2);
        let known = self.state.env.processes.by_task(at).map(|process| process.tid.into());
        (at != 0).then(|| known.unwrap_or(at))
    }

    fn object_owner(&self) -> Option<u64> {
        Some(self.arg(2)).filter(|at| *at != 0)
    }
}

pub(super) fn task_storage_get(call: &mut Call<'_>) -> Answer {
    let owner = call.task_owner();
    call.storage_get(id::TASK_STORAGE_GET, owner)
}

pub(super) fn task_storage_delete(call: &mut Call<'_>) -> Answer {
    let owner = call.task_owner();
    call.storage_delete(id::TASK_STORAGE_DELETE, owner)
}

pub(super) fn inode_storage_get(call: &mut Call<'_>) -> Answer {
    let owner = call.object_owner();
    call.storage_get(id::INODE_STORAGE_GET, owner)
}

pub(super) fn inode_storage_delete(call: &mut Call<'_>) -> Answer {
    let owner = call.object_owner();
    call.storage_delete(id::INODE_STORAGE_DELETE, owner)
}

pub(super) fn cgrp_storage_get(call: &mut Call<'_>) -> Answer {
    let owner = call.object_owner();
    call.storage_get(id::CGRP_STORAGE_GET, owner)
}

pub(super) fn cgrp_storage_delete(call: &mut Call<'_>) -> Answer {
    let owner = call.object_owner();
    call.storage_delete(id::CGRP_STORAGE_DELETE, owner)
}

pub(super) fn sk_storage_get(call: &mut Call<'_>) -> Answer {
    let owner = call.socket_cookie(2);
    call.storage_get(id::SK_STORAGE_GET, owner)
}

pub(super) fn sk_storage_delete(call: &mut Call<'_>) -> Answer {
    let owner = call.socket_cookie(2);
    call.storage_delete(id::SK_STORAGE_DELETE, owner)
}

pub(super) fn get_local_storage(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::GET_LOCAL_STORAGE, 1)?;
    let state = &mut *call.state;
    let (cpu, cgroup) = (state.env.cpu, state.env.attached.cgroup);
    let storage = state.maps.kind::<Storage>(map);
    let at = storage.and_then(|storage| storage.of_owner(&mut state.memory, cpu, cgroup, Some(&[])));
    Ok(at.map_or(0, |at| at.get()))
}
