//! Loaded programs and their types by id, and pins: ids and paths enter, descriptors and bytes leave.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{BtfInfo, FuncInfo, Id, Info, ObjPin, ProgInfo, cmd};
use super::bpf::{address_mut, call, call_fd, raw};

/// The id of the first loaded program above `after`.
pub(crate) fn prog_next_id(after: u32) -> Result<u32, Errno> {
    let mut attr = Id { id: after, ..Id::default() };
    // SAFETY: the structure holds no pointer.
    unsafe { call(cmd::PROG_GET_NEXT_ID, &mut attr) }?;
    Ok(attr.next_id)
}

/// Opens a loaded program.
pub(crate) fn prog_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = Id { id, ..Id::default() };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::PROG_GET_FD_BY_ID, &mut attr) }
}

/// BTF id of a program's types (0: none) and its functions, at most `limit`.
pub(crate) fn prog_functions(prog: BorrowedFd<'_>, limit: u32) -> Result<(u32, Vec<FuncInfo>), Errno> {
    let mut funcs = vec![FuncInfo::default(); limit as usize];
    let mut info = ProgInfo {
        func_info: address_mut(&mut funcs),
        nr_func_info: limit,
        func_info_rec_size: size_of::<FuncInfo>() as u32,
        ..ProgInfo::default()
    };
    let mut attr = Info {
        bpf_fd: raw(prog),
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is live and as long as `info_len` says; its only pointer is to `nr_func_info` records of
    // `func_info_rec_size` bytes, and its other counts are zero.
    unsafe { call(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    funcs.truncate(info.nr_func_info.min(limit) as usize);
    Ok((info.btf_id, funcs))
}

/// The bytes of a loaded BTF, at most `limit`.
pub(crate) fn btf_data(btf: BorrowedFd<'_>, limit: u32) -> Result<Vec<u8>, Errno> {
    let read = |info: &mut BtfInfo| {
        let mut attr = Info {
            bpf_fd: raw(btf),
            info_len: size_of::<BtfInfo>() as u32,
            info: std::ptr::from_mut(info) as u64,
        };
        // SAFETY: `info` is live and as long as `info_len` says; its pointer is null or to `btf_size` live bytes.
        unsafe { call(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }
    };
    let mut size = BtfInfo::default();
    read(&mut size)?;
    if size.btf_size > limit {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0u8; size.btf_size as usize];
    let mut info = BtfInfo { btf: address_mut(&mut bytes), btf_size: size.btf_size, ..BtfInfo::default() };
    read(&mut info)?;
    Ok(bytes)
}

/// Pins an object as a new file of a BPF file system.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let mut attr = ObjPin { pathname: path.as_ptr() as u64, bpf_fd: raw(object), file_flags: 0 };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { call(cmd::OBJ_PIN, &mut attr) }.map(drop)
}
