//! A filter as machine code, for files of very many packets: the offline machine's translation of a program that goes through
//! packets side by side. What always holds: the verdict of the evaluation.

use skep_bpf::kinds::ProgType;
use skep_compiler::compile::{CompileOptions, compile as compile_module};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Options, Runner, Vm};
use skep_engine::vm::memory::Addr;
use skep_engine::vm::program::ProgId;
use skep_packet::file;
use skep_packet::filter::Filter;
use skep_packet::filter::batch::{Batch, Slots};

/// The place in struct xdp_md of the end of the packet.
const END: u32 = 4;

/// A filter that is ready to run.
pub(super) struct Machine {
    vm: Vm,
    program: ProgId,
    layout: Batch,
    /// As many bytes as a batch has.
    input: Input,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// Tests of packets, many at once.
pub(super) struct Tests<'m> {
    runner: Runner<'m>,
    data: Addr,
    context: Addr,
    layout: Batch,
    failed: bool,
}

impl Machine {
    /// Translates a filter; `None`: that cannot be, here or for this filter.
    pub(super) fn new(filter: &Filter) -> Option<Machine> {
        let (module, layout) = filter.batch()?;
        let object =
            compile_module(module, &mut CompileOptions { passes: true, ..CompileOptions::default() }).ok()?;
        let mut vm = Vm::new(Env::default()).ok()?;
        let program = *vm.load(&object, None).ok()?.programs.first()?;
        vm.code(program, None).ok()?;
        let input = Input::packet(ProgType::Xdp, &vec![0; layout.size()])?;
        Some(Machine { vm, program, layout, input })
    }

    /// Begins to test packets.
    pub(super) fn tests(&mut self) -> Option<Tests<'_>> {
        let options = Options { engine: Engine::Jit { blind: None }, ..Options::default() };
        let mut runner = self.vm.runner(self.program, &self.input, options).ok()?;
        let run = &runner.state().run;
        let (data, context) = (run.packet?.data, run.context);
        Some(Tests { runner, data, context, layout: self.layout, failed: false })
    }
}

impl Tests<'_> {
    /// Whether a run did not end as it should: then no verdict counts.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}

impl file::Tests for Tests<'_> {
    #[inline]
    fn slots(&mut self) -> Slots<'_> {
        let size = self.layout.size() as u32;
        let memory = &mut self.runner.state().memory;
        self.layout.slots(memory.host_mut(self.data, size).unwrap_or_default())
    }

    #[inline]
    fn test(&mut self, count: usize, mut found: impl FnMut(usize)) {
        let memory = &mut self.runner.state().memory;
        let end = self.data.plus(self.layout.entries(count) as u32).get() as u32;
        if let Some(place) = memory.host_mut(self.context.plus(END), 4) {
            place.copy_from_slice(&end.to_le_bytes());
        }
        let Ok(matched) = self.runner.run() else {
            self.failed = true;
            return;
        };
        let entries = self.layout.entries(count) as u32;
        let memory = &self.runner.state().memory;
        let Some(list) = memory.host(self.data, entries) else { return };
        (0..matched as usize).for_each(|index| found(self.layout.found(list, index)));
    }
}
