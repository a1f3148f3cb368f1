//! Many packets in one run of the offline machine: the beginnings of packets enter, side by side in memory; a program goes
//! through them and says which match.
//!
//! What always holds: the verdict of the evaluation, for packets of which at least [`Batch::reach`] bytes, or all that were kept,
//! are there.

use super::Filter;
use super::emit::{self, Place};
use super::program::whole;
use skep_bpf::kinds::ProgType;
use skep_compiler::ir::{BinOp, Block, Cc, FuncBuilder, FuncKind, IntTy, Module, PtrKind, Type, Value};
use skep_compiler::layers::{Context, Reader};

/// Bytes of an entry: where the packet begins, counted from the first entry; how many bytes of it are there; its length; and the
/// number of the match that is found at this place in the list. Each is 32 bits, little-endian as the machine is.
const ENTRY: usize = 16;
const KEPT: i32 = 4;
const LENGTH: i32 = 8;
const FOUND: i32 = 12;

/// Bytes of a packet are a multiple of this apart.
const LINE: usize = 64;

/// Most bytes of a packet that are worth to be copied.
const FAR: u64 = 1024;

/// Packets that are tested together.
const MOST: usize = 16;

/// How packets lie in the memory of a program that tests many of them: entries, then the packets' beginnings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Bytes that the filter can read of a packet.
    reach: usize,
    /// Bytes from one packet to the next.
    stride: usize,
}

/// Memory of a batch that is being filled.
#[derive(Debug)]
pub struct Slots<'m> {
    bytes: &'m mut [u8],
    layout: Batch,
    used: usize,
}

impl Batch {
    /// Most packets of a batch.
    pub const MOST: usize = MOST;

    /// For a filter that can read so many bytes of a packet.
    pub fn new(reach: usize) -> Batch {
        Batch { reach, stride: reach.next_multiple_of(LINE).max(LINE) }
    }

    /// Bytes of memory for a batch.
    pub fn size(self) -> usize {
        MOST * (ENTRY + self.stride)
    }

    /// Bytes that the filter can read of a packet.
    pub fn reach(self) -> usize {
        self.reach
    }

    /// Bytes of so many entries: where the program's packet has to end for it to test so many packets.
    pub fn entries(self, count: usize) -> usize {
        count.min(MOST) * ENTRY
    }

    /// Memory to be filled; it must be [`Batch::size`] bytes long.
    pub fn slots(self, bytes: &mut [u8]) -> Slots<'_> {
        Slots { bytes, layout: self, used: 0 }
    }

    /// What a program sees of a packet of the batch: its bytes, and its length.
    pub fn packet(self, bytes: &[u8], index: usize) -> Option<(&[u8], u32)> {
        let entry = bytes.get(index * ENTRY..)?.first_chunk::<ENTRY>()?;
        let word = |at: usize| entry[at..].first_chunk().map(|word| u32::from_le_bytes(*word));
        let (at, kept) = (word(0)? as usize, word(KEPT as usize)? as usize);
        Some((bytes.get(at..at + kept)?, word(LENGTH as usize)?))
    }

    /// The number of the `index`th packet that was found.
    #[inline]
    pub fn found(self, bytes: &[u8], index: usize) -> usize {
        let at = index * ENTRY + FOUND as usize;
        bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |number| u32::from_le_bytes(*number) as usize)
    }
}

impl Slots<'_> {
    /// Adds a packet: its bytes begin `bytes`, of which `kept` are its own, and it was `len` bytes long. `false`: there is no room.
    #[inline]
    pub fn put(&mut self, bytes: &[u8], kept: usize, len: u32) -> bool {
        let Batch { reach, stride } = self.layout;
        if self.used == MOST {
            return false;
        }
        let at = MOST * ENTRY + self.used * stride;
        let kept = kept.min(reach).min(bytes.len());
        let Some(place) = self.bytes.get_mut(at..at + stride) else { return false };
        // Bytes of the next packet do no harm, and a copy of a length that is known is quicker.
        match (place.first_chunk_mut::<128>(), bytes.first_chunk::<128>()) {
            (Some(place), Some(bytes)) if stride == 128 => *place = *bytes,
            _ => place[..kept].copy_from_slice(&bytes[..kept]),
        }
        let entry = u128::from(at as u32) | u128::from(kept as u32) << 32 | u128::from(len) << 64;
        let Some(place) = self.bytes.get_mut(self.used * ENTRY..).and_then(|rest| rest.first_chunk_mut())
        else {
            return false;
        };
        *place = entry.to_le_bytes();
        self.used += 1;
        true
    }

    /// Packets that were added.
    pub fn used(&self) -> usize {
        self.used
    }
}

impl Filter {
    /// A program for the offline machine that tests a batch of packets. It has the context of XDP; its packet begins with the
    /// entries and ends behind the last of them that counts, what else the batch has lies behind. It returns how many packets
    /// match; their numbers are in the entries. `None`: what it reads may lie farther away than a packet's headers.
    pub fn batch(&self) -> Option<(Module, Batch)> {
        let reach = emit::reach(&self.graph, &self.preds).filter(|reach| *reach <= FAR)?;
        let packet = Type::Ptr(PtrKind::Packet);
        let mut f = FuncBuilder::new("filter", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
        let ctx = f.param(0);
        let (first, end) = (f.load(packet, ctx, 0), f.load(Type::Ptr(PtrKind::PacketEnd), ctx, 4));
        let (head, test, done) = (f.block(&[packet, packet]), f.block(&[]), f.block(&[]));
        f.jump(head, &[first, first]);
        f.switch_to(head);
        let (entry, found) = (f.block_param(head, 0), f.block_param(head, 1));
        f.branch(Cc::Uge, entry, end, done, test);
        f.switch_to(test);
        let next = f.block(&[packet]);
        let matched = self.tested(&mut f, ctx, (first, entry, found), next);
        f.switch_to(matched);
        let number = distance(&mut f, first, entry);
        f.store(4, found, FOUND, number);
        let more = f.ptr_add_imm(found, ENTRY as i64);
        f.jump(next, &[more]);
        f.switch_to(next);
        let (entry, more) = (f.ptr_add_imm(entry, ENTRY as i64), f.block_param(next, 0));
        f.jump(head, &[entry, more]);
        f.switch_to(done);
        let count = distance(&mut f, first, found);
        let count = f.extend(count, IntTy::I32);
        f.ret(count);
        Some((whole(f, "filter", ProgType::Xdp), Batch::new(reach as usize)))
    }

    /// Tests the packet of an entry; goes to `next` where it does not match. The block where it does.
    fn tested(
        &self,
        f: &mut FuncBuilder,
        ctx: Value,
        (first, entry, found): (Value, Value, Value),
        next: Block,
    ) -> Block {
        let word = |f: &mut FuncBuilder, at: i32| {
            let word = f.load(Type::U32, entry, at);
            f.extend(word, IntTy::U64)
        };
        let (at, kept, len) = (word(f, 0), word(f, KEPT), word(f, LENGTH));
        let start = f.ptr_add(first, at);
        let stop = f.ptr_add(start, kept);
        let reader = Reader::between(ctx, Context::Xdp, start, stop);
        let (matched, other) = (f.block(&[]), f.block(&[]));
        let place = Place { reader: &reader, program: ProgType::Xdp, len: Some(len), matched, other };
        self.emit(f, &place);
        f.switch_to(other);
        f.jump(next, &[found]);
        matched
    }
}

/// How many entries lie between two places.
fn distance(f: &mut FuncBuilder, from: Value, to: Value) -> Value {
    let (from, to) = (f.cast(from, Type::U64), f.cast(to, Type::U64));
    let bytes = f.bin(BinOp::Sub, Type::U64, to, from);
    let size = f.u64(ENTRY.trailing_zeros().into());
    f.bin(BinOp::Lshr, Type::U64, bytes, size)
}
