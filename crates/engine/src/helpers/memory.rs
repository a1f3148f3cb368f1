//! Memory that is not the program's: of the kernel and of processes, as far as it is recorded. The machine's own memory counts as the
//! kernel's: a program may read its stack that way.

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed, status};
use crate::helpers::env::effects::Effect;

/// Whose memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Kernel,
    User,
    /// Whoever has it: `bpf_probe_read()`.
    Either,
}

impl Call<'_> {
    /// Memory at an address.
    pub(super) fn outside(&self, space: Space, at: u64, len: u32) -> Result<Vec<u8>, Errno> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let env = &self.state.env;
        let mut bytes = vec![0; len as usize];
        if space != Space::User {
            if let Ok(own) = self.state.memory.read(at, len) {
                return Ok(own.to_vec());
            }
            if env.kernel.read(at, &mut bytes).is_ok() {
                return Ok(bytes);
            }
        }
        if space != Space::Kernel {
            env.user.read(at, &mut bytes)?;
            return Ok(bytes);
        }
        Err(Errno::FAULT)
    }

    /// The string at an address, without its end, at most `most` bytes.
    pub(super) fn outside_text(&self, space: Space, at: u64, most: u32) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        while text.len() < most as usize {
            let next = at.wrapping_add(text.len() as u64);
            match self.outside(space, next, 1)?.first() {
                None | Some(0) => break,
                Some(byte) => text.push(*byte),
            }
        }
        Ok(text)
    }
}

/// Copies memory in; zeros and EFAULT where there is none.
fn copy_in(call: &mut Call<'_>, name: &'static str, helper: u32, space: Space) -> Answer {
    let len = call.length(name, 2)?;
    call.writable(1, len)?;
    if let Some(r0) = call.recorded(helper)? {
        return Ok(r0);
    }
    let found = call.outside(space, call.arg(3), len);
    call.put(1, found.as_deref().unwrap_or(&vec![0; len as usize]))?;
    Ok(status(found.map(|_| ())))
}

/// Copies a string in, cut to what fits with a NUL: its length with the NUL; zeros and EFAULT where there is none.
fn copy_text_in(call: &mut Call<'_>, name: &'static str, helper: u32, space: Space) -> Answer {
    let len = call.length(name, 2)?;
    call.writable(1, len)?;
    if let Some(r0) = call.recorded(helper)? {
        return Ok(r0);
    }
    if len == 0 {
        return Ok(0);
    }
    match call.outside_text(space, call.arg(3), len - 1) {
        Ok(mut text) => {
            text.push(0);
            call.put(1, &text)?;
            Ok(text.len() as u64)
        }
        Err(errno) => {
            call.put(1, &vec![0; len as usize])?;
            Ok(failed(errno))
        }
    }
}

pub(super) fn probe_read(call: &mut Call<'_>) -> Answer {
    copy_in(call, "probe_read", id::PROBE_READ, Space::Either)
}

pub(super) fn probe_read_kernel(call: &mut Call<'_>) -> Answer {
    copy_in(call, "probe_read_kernel", id::PROBE_READ_KERNEL, Space::Kernel)
}

pub(super) fn probe_read_user(call: &mut Call<'_>) -> Answer {
    copy_in(call, "probe_read_user", id::PROBE_READ_USER, Space::User)
}

pub(super) fn copy_from_user(call: &mut Call<'_>) -> Answer {
    copy_in(call, "copy_from_user", id::COPY_FROM_USER, Space::User)
}

pub(super) fn copy_from_user_task(call: &mut Call<'_>) -> Answer {
    if call.arg(5) != 0 {
        return Ok(failed(Errno::INVAL));
    }
    copy_in(call, "copy_from_user_task", id::COPY_FROM_USER_TASK, Space::User)
}

pub(super) fn probe_read_str(call: &mut Call<'_>) -> Answer {
    copy_text_in(call, "probe_read_str", id::PROBE_READ_STR, Space::Either)
}

pub(super) fn probe_read_kernel_str(call: &mut Call<'_>) -> Answer {
    copy_text_in(call, "probe_read_kernel_str", id::PROBE_READ_KERNEL_STR, Space::Kernel)
}

pub(super) fn probe_read_user_str(call: &mut Call<'_>) -> Answer {
    copy_text_in(call, "probe_read_user_str", id::PROBE_READ_USER_STR, Space::User)
}

pub(super) fn probe_write_user(call: &mut Call<'_>) -> Answer {
    let bytes = call.sized("probe_write_user", 2)?;
    let address = call.arg(1);
    call.state.env.user.put(address, &bytes);
    call.state.env.effects.push(Effect::WriteUser { address, bytes });
    Ok(0)
}

pub(super) fn d_path(call: &mut Call<'_>) -> Answer {
    let size = call.length("d_path", 3)?;
    call.writable(2, size)?;
    if let Some(r0) = call.recorded(id::D_PATH)? {
        return Ok(r0);
    }
    let Some(path) = call.state.env.names.paths.get(&call.arg(1)) else { return Ok(failed(Errno::FAULT)) };
    let mut bytes = path.clone();
    bytes.push(0);
    if bytes.len() > size as usize {
        return Ok(failed(Errno::NAMETOOLONG));
    }
    call.put(2, &bytes)?;
    Ok(bytes.len() as u64)
}
