//! Objects in the region: what a program may read and write, and where each begins and ends.
//!
//! Sizes and kinds enter, addresses leave; an access enters with an address, a length and whether it writes, and leaves as a
//! slice or as an [`AccessFault`] that says which object was missed and by how much. Always: an access that is allowed lies wholly
//! in one live object; allocations start at multiples of 8, never in the first megabyte, never from [`CODE`] on; between two
//! allocations there is a page that nothing can touch.

use std::collections::BTreeMap;
use std::fmt;

use crate::native::region::{PAGE, PAGES, Region};
use crate::vm::VmError;
use crate::vm::fault::{AccessFault, FaultKind, Miss, Near};

/// Addresses from here on stand for instructions ([`code_address`]); no object ever lies there.
pub const CODE: u32 = 0xff00_0000;

/// No object lies below, so that small numbers are no addresses.
const FIRST: u32 = 1 << 20;

/// The address that a program sees of its instruction `insn`.
pub fn code_address(insn: u32) -> u64 {
    u64::from(CODE) + u64::from(insn) * 8
}

/// The instruction that a program means by an address.
pub fn code_index(at: u64) -> Option<u32> {
    let offset = at.checked_sub(u64::from(CODE)).filter(|_| at >> 32 == 0 && at.is_multiple_of(8))?;
    Some((offset / 8) as u32)
}

/// An address as programs see it: an offset into the region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Addr(pub u32);

impl Addr {
    /// As it stands in a register.
    pub fn get(self) -> u64 {
        self.0.into()
    }

    /// `bytes` further.
    pub fn plus(self, bytes: u32) -> Addr {
        Addr(self.0.wrapping_add(bytes))
    }
}

/// A map's number in its machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MapId(pub u32);

/// What an object is to the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// The frames of the stack; the element is the frame, 0 the program's own.
    Stack,
    /// The context.
    Context,
    /// Packet data.
    Packet,
    /// A value of a map.
    MapValue(MapId),
    /// A key of a map, as callbacks see it.
    MapKey(MapId),
    /// The map itself: what `map[…]` loads. It has no bytes that a program may see.
    Map(MapId),
    /// A record of a ring buffer.
    Record(MapId),
    /// Anything else that a helper hands out, by what it is ("socket", "task", …).
    Other(&'static str),
}

impl ObjectKind {
    /// The map that it belongs to.
    pub fn map(self) -> Option<MapId> {
        match self {
            ObjectKind::MapValue(map)
            | ObjectKind::MapKey(map)
            | ObjectKind::Map(map)
            | ObjectKind::Record(map) => Some(map),
            _ => None,
        }
    }
}

/// What a program may do with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing: only its address counts.
    None,
    /// Read.
    Read,
    /// Write, and not read what is there.
    Write,
    /// Read and write.
    ReadWrite,
    /// Read everything, write only within these ranges (start and end in bytes).
    Fields(&'static [(u16, u16)]),
}

/// One object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Which element of its array.
    pub index: u32,
    /// Its first byte.
    pub base: Addr,
    /// Its bytes.
    pub size: u32,
    /// What is allowed.
    pub access: Access,
}

/// No room in the region, or the host has no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{bytes} bytes do not fit into the machine's memory of 4 GiB")]
pub struct OutOfMemory {
    /// What was asked for.
    pub bytes: u64,
}

/// Equal objects side by side, in pages of their own.
#[derive(Debug)]
struct Slab {
    kind: ObjectKind,
    access: Access,
    base: u32,
    stride: u32,
    size: u32,
    count: u32,
    page: u32,
    pages: u32,
}

/// All memory that programs see.
#[derive(Debug)]
pub struct Memory {
    region: Region,
    /// For each page, the slab that has it, plus 1.
    owner: Vec<u32>,
    slabs: Vec<Slab>,
    /// Numbers of slabs that are free again.
    vacant: Vec<u32>,
    /// First page that was never used.
    next: u32,
    /// Runs of pages that are free again, by length.
    free: BTreeMap<u32, Vec<u32>>,
    epoch: u64,
    /// Names of maps, for messages.
    maps: BTreeMap<MapId, String>,
}

impl Memory {
    /// An empty memory.
    pub fn new() -> Result<Memory, VmError> {
        let region = Region::reserve().map_err(VmError::Reserve)?;
        let next = FIRST / PAGE;
        Ok(Memory {
            region,
            owner: vec![0; PAGES as usize],
            slabs: Vec::new(),
            vacant: Vec::new(),
            next,
            free: BTreeMap::new(),
            epoch: 0,
            maps: BTreeMap::new(),
        })
    }

    /// A new object: zeroed, at a multiple of 8.
    pub fn alloc(&mut self, kind: ObjectKind, size: u32, access: Access) -> Result<Addr, OutOfMemory> {
        self.alloc_spaced(kind, 1, size, size, access)
    }

    /// New objects side by side, each checked on its own; element `i` is at `i * stride`, where `stride` is `size` rounded up
    /// to 8. The address is that of the first.
    pub fn alloc_array(
        &mut self,
        kind: ObjectKind,
        count: u32,
        size: u32,
        access: Access,
    ) -> Result<Addr, OutOfMemory> {
        let stride = size.checked_next_multiple_of(8).ok_or(OutOfMemory { bytes: size.into() })?;
        self.alloc_spaced(kind, count, size, stride, access)
    }

    /// The same with a distance of their own from one to the next, at least `size`.
    pub fn alloc_spaced(
        &mut self,
        kind: ObjectKind,
        count: u32,
        size: u32,
        stride: u32,
        access: Access,
    ) -> Result<Addr, OutOfMemory> {
        let stride = stride.max(size).max(1);
        let bytes = u64::from(stride) * u64::from(count.max(1));
        let pages = bytes.div_ceil(PAGE.into()).max(1).next_multiple_of(self.region.alignment().into());
        let full = OutOfMemory { bytes };
        let pages = u32::try_from(pages).map_err(|_| full)?;
        let page = self.take(pages).ok_or(full)?;
        if self.region.commit(page, pages).is_err() {
            self.free.entry(pages).or_default().push(page);
            return Err(full);
        }
        let base = page * PAGE;
        let slab = Slab { kind, access, base, stride, size, count, page, pages };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.slabs[number as usize] = slab;
                number
            }
            None => {
                self.slabs.push(slab);
                self.slabs.len() as u32 - 1
            }
        };
        self.owner[page as usize..(page + pages) as usize].fill(number + 1);
        Ok(Addr(base))
    }

    /// Pages that nobody uses, with one behind them that nobody will.
    fn take(&mut self, pages: u32) -> Option<u32> {
        if let Some(page) = self.free.get_mut(&pages).and_then(Vec::pop) {
            return Some(page);
        }
        let end = self.next.checked_add(pages)?.checked_add(self.region.alignment())?;
        (end <= CODE / PAGE).then(|| std::mem::replace(&mut self.next, end))
    }

    /// Ends the life of what [`Memory::alloc`] or [`Memory::alloc_array`] returned (of all of its elements).
    pub fn free(&mut self, at: Addr) {
        let Some(number) = self.slab_number(at.0) else { return };
        let slab = &mut self.slabs[number];
        let (page, pages) = (slab.page, slab.pages);
        slab.count = 0;
        self.owner[page as usize..(page + pages) as usize].fill(0);
        self.epoch += 1;
        self.vacant.push(number as u32);
        // Pages that the host did not take back are not used again.
        if self.region.release(page, pages).is_ok() {
            self.free.entry(pages).or_default().push(page);
        }
    }

    /// Moves the bounds of a single object within the pages that were allocated for it: `at` is where the allocation began,
    /// `base` and `size` are the new bounds. Nothing changes when they do not fit.
    pub fn set_bounds(&mut self, at: Addr, base: Addr, size: u32) -> Result<(), OutOfMemory> {
        let full = OutOfMemory { bytes: size.into() };
        let slab = self.slab_number(at.0).map(|number| &mut self.slabs[number]).ok_or(full)?;
        let (start, end) = (u64::from(slab.page) * 4096, u64::from(slab.page + slab.pages) * 4096);
        if slab.count != 1 || base.get() < start || base.get() + u64::from(size) > end {
            return Err(full);
        }
        if (slab.base, slab.size) != (base.0, size) {
            (slab.base, slab.size, slab.stride) = (base.0, size, size.max(1));
            self.epoch += 1;
        }
        Ok(())
    }

    /// Changes what is allowed with an object and its siblings.
    pub fn set_access(&mut self, at: Addr, access: Access) {
        if let Some(number) = self.slab_number(at.0)
            && self.slabs[number].access != access
        {
            self.slabs[number].access = access;
            self.epoch += 1;
        }
    }

    /// Changes whenever an object ends, moves or changes its access: what was found out about one before is void.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn slab_number(&self, at: u32) -> Option<usize> {
        (self.owner[(at / PAGE) as usize] as usize).checked_sub(1)
    }

    /// The object that has the byte at `at`.
    pub fn find(&self, at: u64) -> Option<Object> {
        let at = u32::try_from(at).ok()?;
        let object = self.element(at)?;
        (at - object.base.0 < object.size).then_some(object)
    }

    /// The element that `at` belongs to, or would if it were larger.
    fn element(&self, at: u32) -> Option<Object> {
        let slab = &self.slabs[self.slab_number(at)?];
        let offset = at.checked_sub(slab.base)?;
        let index = if slab.count == 1 { 0 } else { offset / slab.stride };
        (index < slab.count).then(|| Object {
            kind: slab.kind,
            index,
            base: Addr(slab.base + index * slab.stride),
            size: slab.size,
            access: slab.access,
        })
    }

    /// Checks an access.
    #[inline]
    pub fn resolve(&self, at: u64, len: u32, write: bool) -> Result<Addr, FaultKind> {
        let found = u32::try_from(at).ok().and_then(|at| Some((at, self.element(at)?)));
        if let Some((address, object)) = found {
            let offset = address - object.base.0;
            let fits = u64::from(offset) + u64::from(len) <= object.size.into();
            let allowed = match object.access {
                Access::None => false,
                Access::Read => !write,
                Access::Write => write,
                Access::ReadWrite => true,
                Access::Fields(ranges) => !write || within(ranges, offset, len),
            };
            if fits && allowed {
                return Ok(Addr(address));
            }
        }
        Err(self.missed(at, len, write))
    }

    /// The bytes of an access that reads.
    #[inline]
    pub fn read(&self, at: u64, len: u32) -> Result<&[u8], FaultKind> {
        let Addr(address) = self.resolve(at, len, false)?;
        self.region.bytes(address, len).ok_or_else(|| self.missed(at, len, false))
    }

    /// The bytes of an access that writes.
    #[inline]
    pub fn write(&mut self, at: u64, len: u32) -> Result<&mut [u8], FaultKind> {
        let Addr(address) = self.resolve(at, len, true)?;
        if self.region.bytes(address, len).is_none() {
            return Err(self.missed(at, len, true));
        }
        Ok(self.region.bytes_mut(address, len).unwrap_or(&mut []))
    }

    /// The bytes of an access that reads and writes at once.
    #[inline]
    pub fn update(&mut self, at: u64, len: u32) -> Result<&mut [u8], FaultKind> {
        self.resolve_update(at, len)?;
        self.write(at, len)
    }

    /// Checks an access that reads and writes at once.
    pub(crate) fn resolve_update(&self, at: u64, len: u32) -> Result<Addr, FaultKind> {
        let address = self.resolve(at, len, true)?;
        self.resolve(at, len, false).map(|_| address)
    }

    /// The bytes of the object's allocation from `at` on, whatever a program may do with them: for what the machine itself
    /// puts there. `None` when they are not all in one allocation.
    pub fn host(&self, at: Addr, len: u32) -> Option<&[u8]> {
        self.within_slab(at, len).then(|| self.region.bytes(at.0, len))?
    }

    /// The same, to write.
    pub fn host_mut(&mut self, at: Addr, len: u32) -> Option<&mut [u8]> {
        self.within_slab(at, len).then(|| self.region.bytes_mut(at.0, len))?
    }

    fn within_slab(&self, at: Addr, len: u32) -> bool {
        self.slab_number(at.0).is_some_and(|number| {
            let slab = &self.slabs[number];
            at.get() + u64::from(len) <= u64::from(slab.page + slab.pages) * u64::from(PAGE)
        })
    }

    /// Why an access is not allowed.
    #[cold]
    fn missed(&self, at: u64, len: u32, write: bool) -> FaultKind {
        let miss = self.miss(at, len, write);
        let map = miss.object().and_then(|object| object.kind.map());
        let map = map.and_then(|map| self.maps.get(&map)).cloned();
        FaultKind::Access(AccessFault { at, len, write, miss, map })
    }

    fn miss(&self, at: u64, len: u32, write: bool) -> Miss {
        let Ok(address) = u32::try_from(at) else { return Miss::Outside };
        if address < PAGE {
            return Miss::Null;
        }
        if address >= CODE {
            return Miss::Code;
        }
        let Some(object) = self.find(at) else {
            return Miss::Nothing(self.nearest(address));
        };
        let past = (at + u64::from(len)).saturating_sub(object.base.get() + u64::from(object.size));
        match object.access {
            Access::None => Miss::Opaque(object),
            _ if past > 0 => Miss::Beyond { object, by: past },
            Access::Fields(_) if write => Miss::ReadOnlyField(object),
            Access::Write => Miss::WriteOnly(object),
            _ => Miss::ReadOnly(object),
        }
    }

    /// The object next to an address that belongs to none, if it is near.
    fn nearest(&self, at: u32) -> Option<Near> {
        const NEAR: u32 = 1 << 16;
        let mut best: Option<Near> = None;
        for slab in self.slabs.iter().filter(|s| s.count > 0 && s.access != Access::None) {
            let index = (at.saturating_sub(slab.base) / slab.stride).min(slab.count - 1);
            let base = slab.base + index * slab.stride;
            let end = base + slab.size;
            let (distance, after) = if at < base { (base - at, false) } else { (at - end, true) };
            if distance < NEAR && best.is_none_or(|near| distance < near.distance) {
                let object =
                    Object { kind: slab.kind, index, base: Addr(base), size: slab.size, access: slab.access };
                best = Some(Near { object, distance, after });
            }
        }
        best
    }

    /// What messages call a map.
    pub(crate) fn name_map(&mut self, map: MapId, name: &str) {
        if !name.is_empty() {
            self.maps.insert(map, name.to_owned());
        }
    }

    /// The region's start on the host, for machine code.
    pub(crate) fn base(&self) -> *mut u8 {
        self.region.base()
    }
}

fn within(ranges: &[(u16, u16)], offset: u32, len: u32) -> bool {
    ranges.iter().any(|&(start, end)| u32::from(start) <= offset && offset + len <= u32::from(end))
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKind::Stack => f.write_str("stack frame"),
            ObjectKind::Context => f.write_str("context"),
            ObjectKind::Packet => f.write_str("packet"),
            ObjectKind::MapValue(map) => write!(f, "value of map {}", map.0),
            ObjectKind::MapKey(map) => write!(f, "key of map {}", map.0),
            ObjectKind::Map(map) => write!(f, "map {}", map.0),
            ObjectKind::Record(map) => write!(f, "record of ring buffer {}", map.0),
            ObjectKind::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
