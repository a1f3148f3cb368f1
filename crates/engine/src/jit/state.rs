//! What compiled code and the machine share while a program runs. Compiled code reads and writes it at fixed offsets; the
//! machine fills it before a run and looks into it when compiled code calls.
//!
//! Always: a [`Window`] shows a live object, so what lies within it can be accessed without asking. A window without an object
//! of its own shows the program's first stack frame.

use std::mem::offset_of;

/// Frames of the stack: the program and seven calls within calls.
pub(crate) const FRAMES: usize = 8;
/// Windows of a compiled program.
pub(crate) const WINDOWS: u16 = 64;
/// The window that shows the context.
pub(crate) const CONTEXT: u16 = 0;
/// The window that shows the packet.
pub(crate) const PACKET: u16 = 1;

/// For accesses of 1, 2, 4 and 8 bytes: an object's first byte, and the offset of the last access that lies in it. Where the
/// object is too small for the width, another object's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Window {
    widths: [Bounds; 4],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
struct Bounds {
    base: u64,
    limit: u64,
}

impl Window {
    /// Shows an object; `other` is an object of at least 8 bytes, for the widths that are too large for this one.
    pub(crate) fn show(base: u32, size: u32, other: Window) -> Window {
        let mut window = other;
        for (bounds, bytes) in window.widths.iter_mut().zip([1, 2, 4, 8]) {
            if let Some(limit) = size.checked_sub(bytes) {
                *bounds = Bounds { base: base.into(), limit: limit.into() };
            }
        }
        window
    }
}

/// The windows for one place in the program: what it may read, and what it may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Pair {
    pub(crate) read: Window,
    pub(crate) write: Window,
}

impl State {
    /// A state without anything in it, to be filled before it is used.
    pub(crate) fn new() -> Box<State> {
        Box::new(State {
            base: 0,
            budget: 0,
            depth: 0,
            found: 0,
            host: 0,
            called: 0,
            callee: 0,
            frames: [0; FRAMES],
            registers: [0; 10],
            known: 0,
            calls: Calls::default(),
            functions: 0,
            windows: [Pair::default(); WINDOWS as usize],
        })
    }
}

/// The shared state. Addresses of functions are here and not in the code, so that the code is the same in every run.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct State {
    /// The region's start on the host.
    pub(crate) base: u64,
    /// Instructions left. Compiled code holds it in a register, and here whenever it calls.
    pub(crate) budget: i64,
    /// Frames in use besides the first.
    pub(crate) depth: u64,
    /// Host address of the bytes that were asked for, or 0 when they may not be accessed.
    pub(crate) found: u64,
    /// Address of the machine while code runs.
    pub(crate) host: u64,
    /// The instruction that called out of compiled code: a [`Called`].
    pub(crate) called: u64,
    /// What the register held that an instruction called.
    pub(crate) callee: u64,
    /// r10 by depth.
    pub(crate) frames: [u64; FRAMES],
    /// r0 to r9 before the instruction that faulted, as far as they mattered.
    pub(crate) registers: [u64; 10],
    /// Which of them did, one bit each.
    pub(crate) known: u64,
    /// Machine code that this code calls.
    pub(crate) calls: Calls,
    /// Entries of the program's functions.
    pub(crate) functions: u64,
    /// The windows.
    pub(crate) windows: [Pair; WINDOWS as usize],
}

/// Addresses of what compiled code calls.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Calls {
    /// Resolves an access that no window allows: the stub, which keeps all registers.
    pub(crate) resolve: u64,
    /// What the stub calls.
    pub(crate) resolver: u64,
    /// Calls a helper or kernel function.
    pub(crate) helper: u64,
    /// A legacy packet load.
    pub(crate) packet: u64,
    /// Stops the program.
    pub(crate) fail: u64,
}

/// Offsets of fields, for compiled code.
pub(crate) mod offset {
    use super::*;

    pub(crate) const BASE: i32 = offset_of!(State, base) as i32;
    pub(crate) const BUDGET: i32 = offset_of!(State, budget) as i32;
    pub(crate) const DEPTH: i32 = offset_of!(State, depth) as i32;
    pub(crate) const FOUND: i32 = offset_of!(State, found) as i32;
    pub(crate) const CALLED: i32 = offset_of!(State, called) as i32;
    pub(crate) const CALLEE: i32 = offset_of!(State, callee) as i32;
    pub(crate) const FRAMES: i32 = offset_of!(State, frames) as i32;
    pub(crate) const KNOWN: i32 = offset_of!(State, known) as i32;
    pub(crate) const FUNCTIONS: i32 = offset_of!(State, functions) as i32;
    pub(crate) const RESOLVE: i32 = offset_of!(State, calls.resolve) as i32;
    pub(crate) const RESOLVER: i32 = offset_of!(State, calls.resolver) as i32;
    pub(crate) const HELPER: i32 = offset_of!(State, calls.helper) as i32;
    pub(crate) const PACKET_LOAD: i32 = offset_of!(State, calls.packet) as i32;
    pub(crate) const FAIL: i32 = offset_of!(State, calls.fail) as i32;

    /// Of a register's value.
    pub(crate) fn register(register: u8) -> i32 {
        offset_of!(State, registers) as i32 + i32::from(register) * 8
    }

    /// Of the base in a window, for one access; the limit follows.
    pub(crate) fn bounds(window: u16, bytes: u32, write: bool) -> i32 {
        let pair = offset_of!(State, windows) + usize::from(window) * size_of::<Pair>();
        let window = pair + if write { offset_of!(Pair, write) } else { offset_of!(Pair, read) };
        (window + bytes.trailing_zeros() as usize * size_of::<Bounds>()) as i32
    }

    /// Of the limit behind a base.
    pub(crate) const LIMIT: i32 = offset_of!(Bounds, limit) as i32;
}

/// An access, or a reason to stop, as one number: what compiled code tells the machine about where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    /// The instruction.
    pub(crate) insn: u32,
    /// Bytes accessed.
    pub(crate) bytes: u32,
    /// Whether they are written.
    pub(crate) write: bool,
    /// Whether the address must be a multiple of their number.
    pub(crate) aligned: bool,
    /// The window to show the object in.
    pub(crate) window: u16,
}

impl Site {
    /// As a number.
    pub(crate) fn encode(self) -> u64 {
        u64::from(self.insn)
            | u64::from(self.window) << 32
            | u64::from(self.bytes) << 48
            | u64::from(self.write) << 56
            | u64::from(self.aligned) << 57
    }

    /// From that number.
    pub(crate) fn decode(number: u64) -> Site {
        Site {
            insn: number as u32,
            window: (number >> 32) as u16,
            bytes: (number >> 48 & 0xff) as u32,
            write: number >> 56 & 1 == 1,
            aligned: number >> 57 & 1 == 1,
        }
    }
}

/// A call out of compiled code, as one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Called {
    /// The instruction.
    pub(crate) insn: u32,
    /// The window to show the object in that the result points to.
    pub(crate) window: Option<u16>,
}

impl Called {
    /// As a number.
    pub(crate) fn encode(self) -> u64 {
        u64::from(self.insn) | self.window.map_or(0, |window| u64::from(window) + 1) << 32
    }

    /// From that number.
    pub(crate) fn decode(number: u64) -> Called {
        Called { insn: number as u32, window: ((number >> 32) as u16).checked_sub(1) }
    }
}

/// Why compiled code stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The budget does not reach.
    Budget,
    /// Too many calls within calls.
    Depth,
}

/// How a call out of compiled code ended, the second of two results.
pub(crate) mod outcome {
    /// Go on; the first result is r0.
    pub(crate) const GO_ON: u64 = 0;
    /// The program faulted.
    pub(crate) const FAULT: u64 = 1;
    /// The function ends; the first result is what it returns.
    pub(crate) const RETURN: u64 = 2;
}
