//! What a running program can see and change, apart from its registers: memory, maps, the world, and the run itself.

use skep_bpf::kinds::ProgType;

use super::fault::FaultKind;
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
    /// The packet that the context speaks of.
    pub packet: Option<Packet>,
    /// Instructions that it may still run.
    pub budget: u64,
    /// Instructions that it might run at most.
    pub limit: u64,
    /// Tail calls so far.
    pub tail_calls: u32,
    /// Functions that are running: 1 in the main one.
    pub depth: u32,
}

/// Frames of the stack: functions that may be running at once (MAX_CALL_FRAMES, include/linux/bpf_verifier.h).
pub const FRAMES: u32 = 8;
/// Bytes of a frame (MAX_BPF_STACK, include/linux/filter.h).
pub const FRAME: u32 = 512;
/// Tail calls in one run (MAX_TAIL_CALL_CNT, include/linux/bpf.h).
pub const TAIL_CALLS: u32 = 33;
