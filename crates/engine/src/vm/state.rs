//! What a running program can see and change, apart from its registers: memory, maps, the world, and the run itself.

use skep_bpf::context::Layout;
use skep_bpf::kinds::ProgType;

use super::fault::FaultKind;
use super::held::Held;
use super::memory::{Addr, Memory};
use super::packet::Packet;
use super::program::ProgId;
use crate::helpers::env::Env;
use crate::maps::Maps;

/// Runs the function at an address of the running program with these arguments.
pub type Invoke<'a> = dyn FnMut(&mut State, u64, [u64; 5]) -> Result<u64, FaultKind> + 'a;

/// All of it.
pub struct State {
    /// Memory.
    pub memory: Memory,
    /// Maps.
    pub maps: Maps,
    /// The world.
    pub env: Env,
    /// This run.
    pub run: Run,
}

/// One run of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The program that runs; another one after a tail call.
    pub program: ProgId,
    /// Its kind.
    pub prog_type: ProgType,
    /// Where its context is.
    pub context: Addr,
    /// Its fields, where it is a struct of the kernel's interface.
    pub layout: Option<&'static Layout>,
    /// The packet that the context speaks of.
    pub packet: Option<Packet>,
    /// Where the packet's network header starts.
    pub network_offset: u32,
    /// Where the stack is: frame `i` starts [`STRIDE`] times `i` further.
    pub stack: Addr,
    /// r2 at entry.
    pub second: u64,
    /// Instructions that it may still run.
    pub budget: u64,
    /// Instructions that it might run at most.
    pub limit: u64,
    /// Tail calls so far.
    pub tail_calls: u32,
    /// Functions that are running: 1 in the main one.
    pub depth: u32,
    /// The instruction that called the helper or kernel function that runs, or ran last.
    pub insn: u32,
    /// What the program must give back before it ends.
    pub held: Vec<Held>,
}

impl Run {
    /// Before the first program.
    pub(super) fn new(stack: Addr, context: Addr) -> Run {
        Run {
            program: ProgId(0),
            prog_type: ProgType::SocketFilter,
            context,
            layout: None,
            packet: None,
            network_offset: 0,
            stack,
            second: 0,
            budget: 0,
            limit: 0,
            tail_calls: 0,
            depth: 0,
            insn: 0,
            held: Vec::new(),
        }
    }

    /// r1 to r5 at entry.
    #[inline]
    pub(crate) fn arguments(&self) -> [u64; 5] {
        [self.context.get(), self.second, 0, 0, 0]
    }

    /// r10 of the function that runs: the end of its frame.
    pub fn frame_end(&self) -> u64 {
        self.stack.get() + u64::from(STRIDE) * u64::from(self.depth.saturating_sub(1)) + u64::from(FRAME)
    }
}

/// Frames of the stack: functions that may be running at once (MAX_CALL_FRAMES, include/linux/bpf_verifier.h).
pub const FRAMES: u32 = 8;
/// Bytes of a frame (MAX_BPF_STACK, include/linux/filter.h).
pub const FRAME: u32 = 512;
/// Bytes from one frame to the next: as much as lies in a frame separates it from the next.
pub const STRIDE: u32 = 2 * FRAME;
/// Tail calls in one run (MAX_TAIL_CALL_CNT, include/linux/bpf.h).
pub const TAIL_CALLS: u32 = 33;
