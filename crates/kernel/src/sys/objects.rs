//! Loaded programs and their types by id, and pins: ids and paths enter, descriptors and bytes leave.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{
    Attr, BtfInfo, FuncInfo, Id, Info, LineInfo, LinkFd, LinkInfo, MapInfo, ObjPin, ProgInfo, cmd,
};
use super::bpf::{address_mut, call, call_fd, raw};

/// What has ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Map,
    Prog,
    Link,
}

/// The id of the first loaded object of a kind above `after`.
pub(crate) fn next_id(kind: Kind, after: u32) -> Result<u32, Errno> {
    let command = match kind {
        Kind::Map => cmd::MAP_GET_NEXT_ID,
        Kind::Prog => cmd::PROG_GET_NEXT_ID,
        Kind::Link => cmd::LINK_GET_NEXT_ID,
    };
    let mut attr = Id { id: after, ..Id::default() };
    // SAFETY: the structure holds no pointer.
    unsafe { call(command, &mut attr) }?;
    Ok(attr.next_id)
}

/// Opens a loaded object.
pub(crate) fn by_id(kind: Kind, id: u32) -> Result<OwnedFd, Errno> {
    let command = match kind {
        Kind::Map => cmd::MAP_GET_FD_BY_ID,
        Kind::Prog => cmd::PROG_GET_FD_BY_ID,
        Kind::Link => cmd::LINK_GET_FD_BY_ID,
    };
    let mut attr = Id { id, ..Id::default() };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(command, &mut attr) }
}

/// Opens a loaded program.
pub(crate) fn prog_by_id(id: u32) -> Result<OwnedFd, Errno> {
    by_id(Kind::Prog, id)
}

/// The id of the first loaded program above `after`.
pub(crate) fn prog_next_id(after: u32) -> Result<u32, Errno> {
    next_id(Kind::Prog, after)
}

/// Asks the kernel to describe an object.
///
/// # Safety
/// Every pointer in `info` must be null or to as many live bytes as the counts beside it say.
unsafe fn describe<T: Attr>(object: BorrowedFd<'_>, info: &mut T) -> Result<(), Errno> {
    let mut attr =
        Info { bpf_fd: raw(object), info_len: size_of::<T>() as u32, info: std::ptr::from_mut(info) as u64 };
    // SAFETY: `info` is live and as long as `info_len` says; for its own pointers the caller answers.
    unsafe { call(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// What the kernel says of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    let mut info = MapInfo::default();
    // SAFETY: the structure holds no pointer.
    unsafe { describe(map, &mut info) }?;
    Ok(info)
}

/// What the kernel says of a link, and the name in it: of a tracepoint, a function, a file.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> Result<(LinkInfo, String), Errno> {
    /// `BPF_LINK_TYPE_RAW_TRACEPOINT` and `BPF_LINK_TYPE_PERF_EVENT`.
    const RAW_TRACEPOINT: u32 = 1;
    const PERF_EVENT: u32 = 7;
    let mut info = LinkInfo::default();
    // SAFETY: all pointers are null and their counts zero.
    unsafe { describe(link, &mut info) }?;
    // Where the pointer and the length behind it lie.
    let at = match info.link_type {
        RAW_TRACEPOINT => 0,
        PERF_EVENT => 1,
        _ => return Ok((info, String::new())),
    };
    let mut name = [0u8; 512];
    let mut named = LinkInfo::default();
    named.body[at] = address_mut(&mut name);
    named.body[at + 1] = u64::from_ne_bytes({
        let mut word = [0; 8];
        word[..4].copy_from_slice(&(name.len() as u32).to_ne_bytes());
        word
    });
    // SAFETY: the pointer of these two kinds is to a live buffer whose length is in the word behind it.
    if unsafe { describe(link, &mut named) }.is_err() {
        return Ok((info, String::new()));
    }
    let end = name.iter().position(|b| *b == 0).unwrap_or(0);
    Ok((named, String::from_utf8_lossy(&name[..end]).into_owned()))
}

/// Takes a link off its place while others still hold it.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = LinkFd { link_fd: raw(link) };
    // SAFETY: the structure holds no pointer.
    unsafe { call(cmd::LINK_DETACH, &mut attr) }.map(drop)
}

/// What the kernel says of a program beyond its numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgParts {
    /// Ids of its maps.
    pub(crate) maps: Vec<u32>,
    /// Instructions as they run, rewritten by the verifier; empty where the caller may not see them.
    pub(crate) xlated: Vec<u8>,
    /// Machine code; as above.
    pub(crate) jited: Vec<u8>,
    /// Functions.
    pub(crate) funcs: Vec<FuncInfo>,
    /// Source lines.
    pub(crate) lines: Vec<LineInfo>,
}

/// Most of anything that is asked for.
const MAX_PARTS: u32 = 1 << 22;

/// The parts of a program; at most `MAX_PARTS` of each.
pub(crate) fn prog_parts(prog: BorrowedFd<'_>) -> Result<ProgParts, Errno> {
    let sizes = super::bpf::prog_info(prog)?;
    let mut parts = ProgParts {
        maps: vec![0; sizes.nr_map_ids.min(MAX_PARTS) as usize],
        xlated: vec![0; sizes.xlated_prog_len.min(MAX_PARTS) as usize],
        jited: vec![0; sizes.jited_prog_len.min(MAX_PARTS) as usize],
        funcs: vec![FuncInfo::default(); sizes.nr_func_info.min(MAX_PARTS) as usize],
        lines: vec![LineInfo::default(); sizes.nr_line_info.min(MAX_PARTS) as usize],
    };
    let mut info = ProgInfo {
        nr_map_ids: parts.maps.len() as u32,
        map_ids: address_mut(&mut parts.maps),
        xlated_prog_len: parts.xlated.len() as u32,
        xlated_prog_insns: address_mut(&mut parts.xlated),
        jited_prog_len: parts.jited.len() as u32,
        jited_prog_insns: address_mut(&mut parts.jited),
        nr_func_info: parts.funcs.len() as u32,
        func_info: address_mut(&mut parts.funcs),
        func_info_rec_size: size_of::<FuncInfo>() as u32,
        nr_line_info: parts.lines.len() as u32,
        line_info: address_mut(&mut parts.lines),
        line_info_rec_size: size_of::<LineInfo>() as u32,
        ..ProgInfo::default()
    };
    // SAFETY: each pointer is to a live vector, and the count beside it is that vector's length.
    unsafe { describe(prog, &mut info) }?;
    parts.maps.truncate(info.nr_map_ids as usize);
    // A null pointer comes back where the caller may not see it.
    parts.xlated.truncate(if info.xlated_prog_insns == 0 { 0 } else { info.xlated_prog_len as usize });
    parts.jited.truncate(if info.jited_prog_insns == 0 { 0 } else { info.jited_prog_len as usize });
    parts.funcs.truncate(info.nr_func_info as usize);
    parts.lines.truncate(info.nr_line_info as usize);
    Ok(parts)
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

/// Opens a pinned object.
pub(crate) fn open_pin(path: &CStr) -> Result<OwnedFd, Errno> {
    let mut attr = ObjPin { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `path` is a C string that outlives the call; the command gives a descriptor.
    unsafe { call_fd(cmd::OBJ_GET, &mut attr) }
}

/// Pins an object as a new file of a BPF file system.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let mut attr = ObjPin { pathname: path.as_ptr() as u64, bpf_fd: raw(object), file_flags: 0 };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { call(cmd::OBJ_PIN, &mut attr) }.map(drop)
}
