//! A map's descriptor together with the sizes that the kernel reads and writes, so that every call checks its buffers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{MapCreate, MapFd, cmd};
use super::bpf;

/// An open map.
#[derive(Debug)]
pub(crate) struct RawMap {
    fd: OwnedFd,
    key_size: usize,
    value_bytes: usize,
}

impl RawMap {
    /// Creates a map; `value_bytes` is what one lookup writes (for per-CPU kinds all possible CPUs' values, each
    /// rounded up to 8 bytes).
    pub(crate) fn create(attr: &MapCreate, value_bytes: usize) -> Result<RawMap, Errno> {
        let mut attr = *attr;
        // SAFETY: the structure holds no pointer; the command gives a descriptor.
        let fd = unsafe { bpf::call_fd(cmd::MAP_CREATE, &mut attr) }?;
        Ok(RawMap { fd, key_size: attr.key_size as usize, value_bytes })
    }

    /// A map that is there already, whose sizes are the kernel's own answer.
    pub(crate) fn open(fd: OwnedFd, key_size: usize, value_bytes: usize) -> RawMap {
        RawMap { fd, key_size, value_bytes }
    }

    /// Bytes of one lookup's value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Bytes of a key.
    pub(crate) fn key_size(&self) -> usize {
        self.key_size
    }

    fn check(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Errno> {
        let fits = key.len() == self.key_size && value.is_none_or(|v| v.len() == self.value_bytes);
        if fits { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Reads the entry of `key`; ENOENT without one.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.check(key, Some(value))?;
        // SAFETY: the lengths are those of this map's definition.
        unsafe { bpf::map_elem(cmd::MAP_LOOKUP_ELEM, self.fd.as_fd(), key, value, 0) }
    }

    /// Sets the entry of `key`.
    pub(crate) fn update(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        self.check(key, Some(value))?;
        // SAFETY: the lengths are those of this map's definition.
        unsafe { bpf::map_elem(cmd::MAP_UPDATE_ELEM, self.fd.as_fd(), key, value, flags) }
    }

    /// Removes the entry of `key`; ENOENT without one.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.check(key, None)?;
        // SAFETY: the key's length is that of this map's definition; deletion takes no value.
        unsafe { bpf::map_elem(cmd::MAP_DELETE_ELEM, self.fd.as_fd(), key, &mut [], 0) }
    }

    /// Reads the entry of `key` and removes it.
    pub(crate) fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.check(key, Some(value))?;
        // SAFETY: the lengths are those of this map's definition.
        unsafe { bpf::map_elem(cmd::MAP_LOOKUP_AND_DELETE_ELEM, self.fd.as_fd(), key, value, 0) }
    }

    /// The key behind `key` (`None`: the first) into `next`; ENOENT at the end.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        if next.len() != self.key_size || key.is_some_and(|k| k.len() != self.key_size) {
            return Err(Errno::INVAL);
        }
        // SAFETY: both keys have the length of this map's definition; a missing key is a null pointer, which asks
        // for the first (4.12).
        unsafe { bpf::map_elem(cmd::MAP_GET_NEXT_KEY, self.fd.as_fd(), key.unwrap_or(&[]), next, 0) }
    }

    /// Reads up to `count` entries from position `from`; see [`bpf::map_lookup_batch`].
    pub(crate) fn lookup_batch(
        &self,
        from: Option<&[u8]>,
        next: &mut [u8],
        keys: &mut [u8],
        values: &mut [u8],
        count: u32,
    ) -> Result<(u32, bool), Errno> {
        let n = count as usize;
        let position = self.key_size.max(4);
        let fits = next.len() >= position
            && from.is_none_or(|f| f.len() >= position)
            && Some(keys.len()) == n.checked_mul(self.key_size)
            && Some(values.len()) == n.checked_mul(self.value_bytes);
        if !fits {
            return Err(Errno::INVAL);
        }
        // SAFETY: the lengths were just checked against this map's definition.
        unsafe { bpf::map_lookup_batch(self.fd.as_fd(), from, next, keys, values, count) }
    }

    /// Sets, or without values removes, `count` entries: how many were done, and why not all.
    pub(crate) fn change_batch(
        &self,
        keys: &[u8],
        values: Option<&[u8]>,
        count: u32,
    ) -> (u32, Result<(), Errno>) {
        let n = count as usize;
        let fits = Some(keys.len()) == n.checked_mul(self.key_size)
            && values.is_none_or(|v| Some(v.len()) == n.checked_mul(self.value_bytes));
        if !fits {
            return (0, Err(Errno::INVAL));
        }
        let command = if values.is_some() { cmd::MAP_UPDATE_BATCH } else { cmd::MAP_DELETE_BATCH };
        // SAFETY: the lengths were just checked against this map's definition.
        unsafe { bpf::map_change_batch(command, self.fd.as_fd(), keys, values.unwrap_or(&[]), count) }
    }

    /// Forbids further writes through the system call (5.2).
    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        let mut attr = MapFd { map_fd: bpf::raw(self.fd.as_fd()) };
        // SAFETY: the structure holds no pointer.
        unsafe { bpf::call(cmd::MAP_FREEZE, &mut attr) }.map(|_| ())
    }
}

impl AsFd for RawMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
