//! The stack frame of a function: slots at the top, spilled values below.
//!
//! Offsets are bytes from the frame pointer, negative. A slot of eight bytes or more lies at a multiple of eight.

use crate::ir::Slot;

/// Bytes that all frames of a chain of calls may take together (MAX_BPF_STACK, include/linux/filter.h, Linux 6.18).
pub(crate) const STACK: u32 = 512;
/// The verifier rounds each frame up to this (check_max_stack_depth, kernel/bpf/verifier.c, Linux 5.10 to 6.18).
pub(crate) const FRAME_UNIT: u32 = 32;

/// Where slots and spilled values are.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Frame {
    slots: Vec<i32>,
    size: u32,
}

impl Frame {
    /// A frame whose slots lie at the given places (bytes below the frame pointer) in `size` bytes.
    pub(crate) fn new(slots: Vec<i32>, size: u32) -> Frame {
        Frame { slots, size: size.next_multiple_of(8) }
    }

    /// Offset of a slot.
    pub(crate) fn slot(&self, slot: Slot) -> i32 {
        self.slots.get(slot.index()).copied().unwrap_or(0)
    }

    /// Offset of a spill slot.
    pub(crate) fn spill(&self, n: u32) -> i16 {
        let off = self.size.saturating_add(8u32.saturating_mul(n + 1));
        i16::try_from(-i64::from(off)).unwrap_or(i16::MIN)
    }

    /// Bytes with so many spill slots.
    pub(crate) fn size(&self, spills: u32) -> u32 {
        self.size.saturating_add(8u32.saturating_mul(spills))
    }
}
/// What a frame grows by when its function uses may_goto: its budget, and from 6.14 on a time stamp
/// (do_misc_fixups, kernel/bpf/verifier.c).
pub(crate) const MAY_GOTO: u32 = 16;
