//! A filter as machine code, for files of very many packets: the offline machine's translation of the same program that the
//! kernel would run. What always holds: the verdict of the evaluation.

use skep_bpf::kinds::ProgType;
use skep_compiler::compile::{CompileOptions, compile as compile_module};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Options, Runner, Vm};
use skep_engine::vm::memory::Addr;
use skep_engine::vm::program::ProgId;
use skep_packet::filter::Filter;

/// Places in struct xdp_md: the end of the packet, and the interface, which stands for the packet's length.
const END: usize = 4;
const LENGTH: usize = 12;
const CONTEXT: u32 = 16;

/// A filter that is ready to run.
pub(super) struct Machine {
    vm: Vm,
    program: ProgId,
    /// A packet of as many bytes as the filter may read.
    input: Input,
    reach: usize,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// Tests of packets, one after the other.
pub(super) struct Tests<'m> {
    runner: Runner<'m>,
    data: Addr,
    context: Addr,
    reach: usize,
    failed: bool,
}

impl Machine {
    /// Translates a filter; `None`: that cannot be, here or for this filter.
    pub(super) fn new(filter: &Filter) -> Option<Machine> {
        let (module, reach) = filter.in_memory()?;
        let object =
            compile_module(module, &mut CompileOptions { passes: true, ..CompileOptions::default() }).ok()?;
        let mut vm = Vm::new(Env::default()).ok()?;
        let program = *vm.load(&object, None).ok()?.programs.first()?;
        vm.code(program, None).ok()?;
        let reach = reach as usize;
        let input = Input::packet(ProgType::Xdp, &vec![0; reach])?;
        Some(Machine { vm, program, input, reach })
    }

    /// Begins to test packets.
    pub(super) fn tests(&mut self) -> Option<Tests<'_>> {
        let options = Options { engine: Engine::Jit { blind: None }, ..Options::default() };
        let mut runner = self.vm.runner(self.program, &self.input, options).ok()?;
        let run = &runner.state().run;
        let (data, context) = (run.packet?.data, run.context);
        Some(Tests { runner, data, context, reach: self.reach, failed: false })
    }
}

impl Tests<'_> {
    /// Whether a packet matches.
    #[inline]
    pub(super) fn matches(&mut self, bytes: &[u8], len: u32) -> bool {
        let head = bytes.get(..self.reach).unwrap_or(bytes);
        let kept = head.len() as u32;
        let memory = &mut self.runner.state().memory;
        let (Some(place), end) = (memory.host_mut(self.data, kept), self.data.plus(kept)) else {
            return false;
        };
        place.copy_from_slice(head);
        if let Some(context) = memory.host_mut(self.context, CONTEXT) {
            context[END..END + 4].copy_from_slice(&(end.get() as u32).to_le_bytes());
            context[LENGTH..LENGTH + 4].copy_from_slice(&len.to_le_bytes());
        }
        match self.runner.run() {
            Ok(verdict) => verdict as u32 == 1,
            Err(_) => {
                self.failed = true;
                false
            }
        }
    }

    /// Whether a run did not end as it should: then no verdict counts.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}
