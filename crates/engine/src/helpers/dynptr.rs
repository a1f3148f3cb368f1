//! Dynptrs (kernel/bpf/helpers.c): pointers whose bounds are checked when they are used. One takes 16 bytes of the program's stack, laid
//! out as the kernel's: address, size with the kind in its high bits, offset. A program could write these bytes itself; every use
//! is checked as any access is.

use rustix::io::Errno;

use super::ring::NO_FLAGS;
use super::{Answer, Call, failed};
use crate::maps::Ringbuf;
use crate::vm::fault::FaultKind;
use crate::vm::memory::ObjectKind;

/// Bytes of a dynptr.
const SIZE: u32 = 16;
/// What takes a record back; discarding it does as well.
const SUBMIT: &str = "ringbuf_submit_dynptr";
/// Largest size of what one points to (DYNPTR_MAX_SIZE).
pub(super) const LARGEST: u32 = (1 << 24) - 1;
const KIND_SHIFT: u32 = 28;
const READ_ONLY: u32 = 1 << 31;

/// What a dynptr points to (`enum bpf_dynptr_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing.
    Null = 0,
    /// Memory of the program.
    Local = 1,
    /// A record of a ring buffer.
    Record = 2,
    /// The packet of a `__sk_buff`.
    Skb = 3,
    /// The packet of an `xdp_md`.
    Xdp = 4,
}

/// A dynptr, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dynptr {
    pub(super) kind: Kind,
    pub(super) data: u64,
    pub(super) size: u32,
    pub(super) offset: u32,
    pub(super) read_only: bool,
}

impl Dynptr {
    pub(super) const NULL: Dynptr =
        Dynptr { kind: Kind::Null, data: 0, size: 0, offset: 0, read_only: false };

    fn bytes(self) -> [u8; SIZE as usize] {
        let size = self.size | (self.kind as u32) << KIND_SHIFT | if self.read_only { READ_ONLY } else { 0 };
        let mut bytes = [0; SIZE as usize];
        bytes[..8].copy_from_slice(&self.data.to_ne_bytes());
        bytes[8..12].copy_from_slice(&size.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.offset.to_ne_bytes());
        bytes
    }

    /// Whether `len` bytes at `offset` lie within.
    pub(super) fn check(&self, offset: u32, len: u32) -> Result<(), Errno> {
        if offset > self.size || len > self.size - offset { Err(Errno::TOOBIG) } else { Ok(()) }
    }

    /// Whether it points into the packet.
    pub(super) fn is_packet(&self) -> bool {
        matches!(self.kind, Kind::Skb | Kind::Xdp)
    }
}

impl Call<'_> {
    /// The dynptr that an argument points to.
    pub(super) fn dynptr(&self, number: u8) -> Result<Dynptr, FaultKind> {
        let bytes = self.fixed(number, SIZE)?;
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_ne_bytes(word)
        };
        let mut data = [0; 8];
        data.copy_from_slice(&bytes[..8]);
        let kind = match word(8) >> KIND_SHIFT & 7 {
            1 => Kind::Local,
            2 => Kind::Record,
            3 => Kind::Skb,
            4 => Kind::Xdp,
            _ => return Ok(Dynptr::NULL),
        };
        Ok(Dynptr {
            kind,
            data: u64::from_ne_bytes(data),
            size: word(8) & LARGEST,
            offset: word(12),
            read_only: word(8) & READ_ONLY != 0,
        })
    }

    /// Writes a dynptr to where an argument points.
    pub(super) fn put_dynptr(&mut self, number: u8, dynptr: Dynptr) -> Result<(), FaultKind> {
        self.put(number, &dynptr.bytes())
    }

    /// Bytes of what a dynptr points to; they were checked to lie within.
    pub(super) fn dynptr_bytes(&self, dynptr: &Dynptr, offset: u32, len: u32) -> Result<Vec<u8>, FaultKind> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let at = self.dynptr_base(dynptr).wrapping_add(offset.into());
        Ok(self.state.memory.read(at, len)?.to_vec())
    }

    /// Where the first byte of a dynptr is now: packets move.
    pub(super) fn dynptr_base(&self, dynptr: &Dynptr) -> u64 {
        let base = match self.state.run.packet {
            Some(packet) if dynptr.is_packet() => packet.data.get(),
            _ => dynptr.data,
        };
        base.wrapping_add(dynptr.offset.into())
    }
}

pub(super) fn dynptr_from_mem(call: &mut Call<'_>) -> Answer {
    let size = call.length("dynptr_from_mem", 2)?;
    let (dynptr, result) = match (size, call.arg(3)) {
        (size, _) if size > LARGEST => (Dynptr::NULL, failed(Errno::TOOBIG)),
        (_, flags) if flags != NO_FLAGS => (Dynptr::NULL, failed(Errno::INVAL)),
        _ => {
            call.writable(1, size)?;
            let data = call.arg(1);
            (Dynptr { kind: Kind::Local, data, size, offset: 0, read_only: false }, 0)
        }
    };
    call.put_dynptr(4, dynptr)?;
    Ok(result)
}

pub(super) fn dynptr_read(call: &mut Call<'_>) -> Answer {
    let len = call.length("dynptr_read", 2)?;
    call.writable(1, len)?;
    let dynptr = call.dynptr(3)?;
    let offset = call.arg32(4);
    if dynptr.kind == Kind::Null || call.arg(5) != NO_FLAGS {
        return Ok(failed(Errno::INVAL));
    }
    if let Err(errno) = dynptr.check(offset, len) {
        return Ok(failed(errno));
    }
    let bytes = call.dynptr_bytes(&dynptr, offset, len)?;
    call.put(1, &bytes)?;
    Ok(0)
}

pub(super) fn dynptr_write(call: &mut Call<'_>) -> Answer {
    let dynptr = call.dynptr(1)?;
    let offset = call.arg32(2);
    let bytes = call.sized("dynptr_write", 3)?;
    // Of packets of a __sk_buff the flags are those of bpf_skb_store_bytes(): checksums are the machine's own business.
    let flags = call.arg(5);
    let allowed = if dynptr.kind == Kind::Skb { 3 } else { NO_FLAGS };
    if dynptr.kind == Kind::Null || dynptr.read_only || flags & !allowed != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if let Err(errno) = dynptr.check(offset, bytes.len() as u32) {
        return Ok(failed(errno));
    }
    if !bytes.is_empty() {
        let at = call.dynptr_base(&dynptr).wrapping_add(offset.into());
        call.state.memory.write(at, bytes.len() as u32)?.copy_from_slice(&bytes);
    }
    Ok(0)
}

pub(super) fn dynptr_data(call: &mut Call<'_>) -> Answer {
    let dynptr = call.dynptr(1)?;
    let len = call.length("dynptr_data", 3)?;
    let direct = matches!(dynptr.kind, Kind::Local | Kind::Record) && !dynptr.read_only;
    let offset = call.arg32(2);
    if !direct || dynptr.check(offset, len).is_err() {
        return Ok(0);
    }
    Ok(call.dynptr_base(&dynptr).wrapping_add(offset.into()))
}

pub(super) fn ringbuf_reserve_dynptr(call: &mut Call<'_>) -> Answer {
    let map = call.map(skep_bpf::helpers::id::RINGBUF_RESERVE_DYNPTR, 1)?;
    let (size, flags) = (call.arg32(2), call.arg(3));
    let state = &mut *call.state;
    let ring = state.maps.kind::<Ringbuf>(map).filter(|_| flags == NO_FLAGS && size <= LARGEST);
    let errno = if size > LARGEST { Errno::TOOBIG } else { Errno::INVAL };
    let reserved = ring.and_then(|ring| ring.reserve(&mut state.memory, size.into()));
    if let Some(at) = reserved {
        call.gives("ringbuf_reserve_dynptr", SUBMIT, at.get());
    }
    let (dynptr, result) = match reserved {
        Some(at) => (Dynptr { kind: Kind::Record, data: at.get(), size, offset: 0, read_only: false }, 0),
        None => (Dynptr::NULL, failed(errno)),
    };
    call.put_dynptr(4, dynptr)?;
    Ok(result)
}

fn finish(call: &mut Call<'_>, discard: bool) -> Answer {
    let dynptr = call.dynptr(1)?;
    if dynptr.kind != Kind::Record {
        return Ok(0);
    }
    let object = call.state.memory.find(dynptr.data);
    if let Some(ObjectKind::Record(map)) = object.map(|object| object.kind) {
        let state = &mut *call.state;
        if let (Some(ring), Some(object)) = (state.maps.kind::<Ringbuf>(map), object) {
            ring.finish(&mut state.memory, object.base, discard);
            state.run.let_go(Some(SUBMIT), object.base.get());
        }
    }
    call.put_dynptr(1, Dynptr::NULL)?;
    Ok(0)
}

pub(super) fn ringbuf_submit_dynptr(call: &mut Call<'_>) -> Answer {
    finish(call, false)
}

pub(super) fn ringbuf_discard_dynptr(call: &mut Call<'_>) -> Answer {
    finish(call, true)
}
