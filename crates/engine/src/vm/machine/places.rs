//! Where inputs lie in memory: an [`Input`] enters, a state leaves in which a program can begin. Nothing is allocated where there
//! has been an input as long.

use crate::vm::VmError;
use crate::vm::context::Input;
use crate::vm::memory::{Access, Addr, Memory, ObjectKind, OutOfMemory};
use crate::vm::packet::Packet;
use crate::vm::program::Program;
use crate::vm::state::{FRAME, FRAMES, Run, STRIDE, State};

/// Bytes that are kept for contexts, and for packets with the room around them.
const CONTEXT: u32 = 4096;
const PACKET: u32 = 4096;

/// The register that points to the frame.
const FP: u8 = 10;

/// The places of the stack, the context and the packet.
pub(super) struct Places {
    stack: Addr,
    context: Addr,
    packet: (Addr, u32),
    /// Frames that programs can reach.
    frames: u32,
}

impl Places {
    /// Places for inputs of usual lengths.
    pub(super) fn new(memory: &mut Memory) -> Result<Places, OutOfMemory> {
        let stack = memory.alloc_spaced(ObjectKind::Stack, FRAMES, FRAME, STRIDE, Access::ReadWrite)?;
        let context = memory.alloc(ObjectKind::Context, CONTEXT, Access::None)?;
        let packet = memory.alloc(ObjectKind::Packet, PACKET, Access::None)?;
        Ok(Places { stack, context, packet: (packet, PACKET), frames: 0 })
    }

    /// A run before the first program.
    pub(super) fn run(&self) -> Run {
        Run::new(self.stack, self.context)
    }

    /// Takes the needs of a program into account.
    pub(super) fn serve(&mut self, program: &Program) {
        if program.insns.iter().any(|insn| insn.dst == FP || insn.src == FP) {
            self.frames = self.frames.max(if program.functions.len() > 1 { FRAMES } else { 1 });
        }
    }

    /// Puts an input where programs find it, and begins a run without a program.
    pub(super) fn put(&mut self, state: &mut State, input: &Input) -> Result<(), VmError> {
        let State { memory, run, env, .. } = state;
        env.begin_run(memory);
        for frame in 0..self.frames {
            if let Some(frame) = memory.host_mut(self.stack.plus(frame * STRIDE), FRAME) {
                frame.fill(0);
            }
        }
        let length = u32::try_from(input.context.len()).unwrap_or(u32::MAX);
        if length > CONTEXT {
            memory.free(self.context);
            self.context = memory.alloc(ObjectKind::Context, length, Access::None)?;
        } else {
            memory.set_bounds(self.context, self.context, length)?;
        }
        memory.set_access(self.context, input.access);
        if let Some(place) = memory.host_mut(self.context, length) {
            place.copy_from_slice(&input.context);
        }
        *run = self.run();
        (run.second, run.layout, run.network_offset) = (input.second, input.layout, input.network_offset);
        if let Some(bytes) = &input.packet {
            let mut packet = Packet::reuse(memory, &mut self.packet, bytes)?;
            packet.put_meta(memory, &input.meta)?;
            run.packet = Some(packet);
            state.sync_packet();
        }
        Ok(())
    }
}
