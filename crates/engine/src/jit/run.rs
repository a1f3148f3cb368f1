//! Running compiled programs: the machine's state and where to begin enter, r0 or a [`Fault`] leaves, the same as from the
//! interpreter. Always: before compiled code runs, every window shows a live object; when an object ends, moves or changes while
//! the machine is called, the windows are made anew before compiled code goes on.

use std::ptr::NonNull;
use std::rc::Rc;

use super::compile::{Assembled, CompileError, Compiler, Text};
use super::kinds::PacketFields;
use super::state::{CONTEXT, Called, Calls, FRAMES, PACKET, Pair, Site, State as Shared, Stop, Window};
use crate::helpers::{self, Call, HelperFn};
use crate::native::code::{Host, Outcome, Pages};
use crate::vm::blind::blind;
use crate::vm::fault::{Fault, FaultKind, Registers};
use crate::vm::held;
use crate::vm::interp::{self, Entry, TAIL_CALL, helper_number, packet_load, probe, tail_call};
use crate::vm::memory::{Access, Object, code_index};
use crate::vm::op::{Op, Size};
use crate::vm::program::{ProgId, Program};
use crate::vm::state::{FRAME, STRIDE, State};

/// A compiled program.
#[derive(Debug)]
pub struct Code {
    pages: Pages,
    /// Where its functions begin on the host, in their order.
    functions: Vec<u64>,
    /// The same, from the start of the code.
    entries: Vec<usize>,
}

impl Code {
    /// The machine code.
    pub fn bytes(&self) -> &[u8] {
        self.pages.bytes()
    }
}

/// Compiled programs of a machine, each made when it is first needed.
pub struct Jit {
    compiler: Compiler,
    blind: Option<u64>,
    codes: Vec<Option<Rc<Code>>>,
    shared: Option<Box<Shared>>,
    /// [`crate::vm::memory::Memory::epoch`] when the windows were made: they stay right as long as it is the same.
    shown: u64,
    /// Windows that show another object than the first frame, one bit each.
    dirty: u64,
    /// A value that a load reads which is not in the region.
    probed: u64,
}

impl Jit {
    /// Nothing is compiled yet. With a seed for random numbers, constants are blinded.
    pub fn new(blind: Option<u64>) -> Result<Jit, CompileError> {
        let compiler = Compiler::new()?;
        Ok(Jit { compiler, blind, codes: Vec::new(), shared: None, shown: 0, dirty: 0, probed: 0 })
    }

    /// A program's code.
    pub fn code(&mut self, id: ProgId, program: &Program) -> Result<Rc<Code>, CompileError> {
        let index = id.0 as usize;
        if let Some(code) = self.compiled(id) {
            return Ok(code);
        }
        let assembled = self.compile(program, false)?;
        let pages = Pages::new(&assembled.bytes).map_err(CompileError::Pages)?;
        let functions = assembled.entries.iter().map(|&entry| pages.address(entry)).collect();
        let code = Rc::new(Code { pages, functions, entries: assembled.entries });
        self.codes.resize(self.codes.len().max(index + 1), None);
        self.codes[index] = Some(code.clone());
        Ok(code)
    }

    /// A program's code if it has some.
    #[inline]
    fn compiled(&self, id: ProgId) -> Option<Rc<Code>> {
        self.codes.get(id.0 as usize)?.clone()
    }

    /// The text of a program's machine code.
    pub fn disassemble(&mut self, program: &Program) -> Result<String, CompileError> {
        Ok(self.compile(program, true)?.text.unwrap_or_default())
    }

    fn compile(&mut self, program: &Program, readable: bool) -> Result<Assembled, CompileError> {
        let packet = PacketFields::of(program.prog_type);
        let (ops, functions, charges) = (&program.ops, &program.functions, &program.charge);
        let Some(seed) = self.blind else {
            let text = Text { ops, functions, charges, origins: None, packet };
            return self.compiler.compile(text, readable);
        };
        let blinded = blind(ops, functions, charges, seed);
        let text = Text {
            ops: &blinded.ops,
            functions: &blinded.functions,
            charges: &blinded.charges,
            origins: Some(&blinded.origins),
            packet,
        };
        self.compiler.compile(text, readable)
    }

    /// Runs the function at `entry` to its end.
    #[inline]
    pub(crate) fn run(
        &mut self,
        programs: &[Program],
        vm: &mut State,
        entry: Entry,
    ) -> Result<u64, Box<Fault>> {
        let mut shared = self.shared.take().unwrap_or_else(|| self.share(vm));
        let depth = vm.run.depth + 1;
        let mut session =
            Session { programs, jit: self, vm, program: entry.program, depth, fault: None, late: false };
        let result = session.function(&mut shared, entry.insn, entry.args);
        self.shared = Some(shared);
        result
    }

    /// The program of `run.program`, to be run from its beginning again and again.
    pub(crate) fn ready<'a>(
        &'a mut self,
        programs: &'a [Program],
        vm: &'a mut State,
    ) -> Result<Ready<'a>, CompileError> {
        let program = vm.run.program;
        let code = self.code(program, &programs[program.0 as usize])?;
        let mut shared = self.share(vm);
        shared.functions = code.functions.as_ptr() as u64;
        let session = Session { programs, jit: self, vm, program, depth: 1, fault: None, late: false };
        let entry = code.entries.first().copied().unwrap_or_default();
        Ok(Ready { session, shared, code, entry })
    }

    /// What compiled code and this machine share.
    #[cold]
    #[inline(never)]
    fn share(&mut self, vm: &State) -> Box<Shared> {
        let mut shared = Shared::new();
        shared.base = vm.memory.base() as u64;
        shared.calls = Calls::of::<Session<'_>>();
        shared.frames = std::array::from_fn(|depth| {
            vm.run.stack.get() + u64::from(STRIDE) * depth as u64 + u64::from(FRAME)
        });
        let frame = Window::show(vm.run.stack.0, FRAME, Window::default());
        shared.windows.fill(Pair { read: frame, write: frame });
        self.dirty = 0;
        self.show_all(&mut shared, vm);
        shared
    }

    /// Makes all windows anew: the context's and the packet's show them, all others the first frame.
    #[cold]
    #[inline(never)]
    fn show_all(&mut self, shared: &mut Shared, vm: &State) {
        let frame = Window::show(vm.run.stack.0, FRAME, Window::default());
        while self.dirty != 0 {
            let window = self.dirty.trailing_zeros();
            shared.windows[window as usize] = Pair { read: frame, write: frame };
            self.dirty &= self.dirty - 1;
        }
        let context = vm.memory.find(vm.run.context.get());
        let packet = vm.run.packet.and_then(|packet| vm.memory.find(packet.data.get()));
        for (window, object) in [(CONTEXT, context), (PACKET, packet)] {
            if let Some(object) = object {
                self.show(shared, window, object);
            }
        }
        self.shown = vm.memory.epoch();
    }

    /// Shows an object in a window, as far as an access needs no more than to lie in it.
    fn show(&mut self, shared: &mut Shared, window: u16, object: Object) {
        let frame = Window::show(shared.frames[0] as u32 - FRAME, FRAME, Window::default());
        let whole = Window::show(object.base.0, object.size, frame);
        let pair = match object.access {
            // An atomic operation is a write that reads too, so what can only be written is always asked for.
            Access::None | Access::Write => Pair { read: frame, write: frame },
            Access::Read | Access::Fields(_) => Pair { read: whole, write: frame },
            Access::ReadWrite => Pair { read: whole, write: whole },
        };
        shared.windows[usize::from(window)] = pair;
        self.dirty |= 1 << window;
    }
}

/// A compiled program that is run again and again: all that does not change from run to run is done.
pub(crate) struct Ready<'a> {
    session: Session<'a>,
    shared: Box<Shared>,
    code: Rc<Code>,
    /// Where it begins in the code.
    entry: usize,
}

impl Ready<'_> {
    /// Runs it with these arguments.
    #[inline]
    pub(crate) fn run(&mut self, args: [u64; 5]) -> Result<u64, Box<Fault>> {
        let Ready { session, shared, code, entry } = self;
        session.vm.run.depth = 1;
        session.publish(shared);
        let result = code.pages.run(*entry, shared, session, args);
        session.vm.run.budget = shared.budget as u64;
        session.vm.run.depth = 0;
        result.ok_or_else(|| session.stopped(shared, 0))
    }

    /// The fault of a program that has ended and holds something.
    #[cold]
    pub(crate) fn kept(&mut self) -> Option<Box<Fault>> {
        held::at_the_end(self.session.programs, &mut self.session.vm.run)
    }

    /// What the program sees and changes.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut State {
        self.session.vm
    }
}

/// One run of a program: what compiled code calls.
struct Session<'a> {
    programs: &'a [Program],
    jit: &'a mut Jit,
    vm: &'a mut State,
    program: ProgId,
    /// [`crate::vm::state::Run::depth`] in the function that it began with.
    depth: u32,
    fault: Option<Box<Fault>>,
    /// Whether the registers of the fault come when the code has ended.
    late: bool,
}

impl Session<'_> {
    fn source(&self) -> &Program {
        &self.programs[self.program.0 as usize]
    }

    /// Runs a function of the program in a new frame.
    fn function(&mut self, shared: &mut Shared, insn: u32, args: [u64; 5]) -> Result<u64, Box<Fault>> {
        if self.vm.run.depth as usize >= FRAMES {
            return Err(self.too_deep(insn));
        }
        let depth = self.vm.run.depth;
        self.vm.run.depth += 1;
        let result = self.enter(shared, insn, args);
        self.vm.run.depth = depth;
        result
    }

    /// Runs a function of the program in the frame that `run.depth` says.
    fn enter(&mut self, shared: &mut Shared, insn: u32, args: [u64; 5]) -> Result<u64, Box<Fault>> {
        let id = self.program;
        let code = match self.jit.compiled(id) {
            Some(code) => code,
            None => self.compile(insn)?,
        };
        let index = match insn {
            0 => 0,
            insn => self.source().functions.partition_point(|&start| start < insn),
        };
        let Some(&entry) = code.entries.get(index) else { return Err(self.no_function(insn)) };
        // A function that is called back runs within another one.
        let outer = (shared.functions, shared.host, shared.calls.resolve);
        shared.functions = code.functions.as_ptr() as u64;
        self.publish(shared);
        let result = code.pages.run(entry, shared, self, args);
        (shared.functions, shared.host, shared.calls.resolve) = outer;
        self.adopt(shared);
        result.ok_or_else(|| self.stopped(shared, insn))
    }

    /// Compiles the program that is to run.
    #[cold]
    #[inline(never)]
    fn compile(&mut self, insn: u32) -> Result<Rc<Code>, Box<Fault>> {
        let id = self.program;
        let code = self.jit.code(id, &self.programs[id.0 as usize]);
        code.map_err(|error| self.fault(insn, FaultKind::NoCode(error.to_string()), [None; 11]))
    }

    #[cold]
    #[inline(never)]
    fn no_function(&self, insn: u32) -> Box<Fault> {
        self.fault(insn, FaultKind::NotAFunction { at: u64::from(insn) }, [None; 11])
    }

    /// Why compiled code stopped.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self, shared: &Shared, insn: u32) -> Box<Fault> {
        let Some(mut fault) = self.fault.take() else {
            let kind = FaultKind::NoCode("it stopped without a reason".to_owned());
            return self.fault(insn, kind, [None; 11]);
        };
        if std::mem::take(&mut self.late) {
            let frame = fault.registers[10];
            fault.registers = self.registers(shared);
            fault.registers[10] = frame;
        }
        fault
    }

    /// Too many functions have called each other.
    #[cold]
    #[inline(never)]
    fn too_deep(&self, insn: u32) -> Box<Fault> {
        self.fault(insn, FaultKind::Depth { limit: FRAMES as u32 }, [Some(0); 11])
    }

    /// What is known of the registers of the function that runs.
    fn registers(&self, shared: &Shared) -> Registers {
        std::array::from_fn(|register| match shared.registers.get(register) {
            Some(value) => (shared.known >> register & 1 == 1).then_some(*value),
            None => Some(self.vm.run.frame_end()),
        })
    }

    #[cold]
    #[inline(never)]
    fn fault(&self, insn: u32, kind: FaultKind, registers: Registers) -> Box<Fault> {
        match kind {
            FaultKind::Within(fault) => fault,
            kind => Box::new(Fault { kind, place: self.source().place(insn), registers }),
        }
    }

    /// Takes over what compiled code counts.
    fn adopt(&mut self, shared: &Shared) {
        self.vm.run.budget = shared.budget as u64;
        self.vm.run.depth = shared.depth as u32 + 1;
    }

    /// Gives compiled code what it counts, and windows that are right.
    fn publish(&mut self, shared: &mut Shared) {
        shared.budget = self.vm.run.budget.min(i64::MAX as u64) as i64;
        shared.depth = u64::from(self.vm.run.depth.saturating_sub(1));
        if self.jit.shown != self.vm.memory.epoch() {
            self.jit.show_all(shared, self.vm);
        }
    }

    fn helper(&mut self, shared: &mut Shared, function: HelperFn, args: [u64; 5]) -> Result<u64, FaultKind> {
        let Session { programs, jit, vm, program, .. } = self;
        let (programs, program) = (*programs, *program);
        let mut invoke = |vm: &mut State, at: u64, args: [u64; 5]| {
            let source = &programs[program.0 as usize];
            let insn = code_index(at).filter(|insn| source.is_function(*insn));
            let insn = insn.ok_or(FaultKind::NotAFunction { at })?;
            let depth = vm.run.depth + 1;
            let mut session = Session { programs, jit, vm, program, depth, fault: None, late: false };
            let result = session.function(shared, insn, args);
            session.vm.run.program = program;
            result.map_err(FaultKind::Within)
        };
        function(&mut Call { args, state: vm, invoke: &mut invoke })
    }

    /// What the instruction calls: its result, or where the program goes on.
    fn called(&mut self, shared: &mut Shared, insn: u32, args: [u64; 5]) -> Result<Outcome, FaultKind> {
        let program = &self.programs[self.program.0 as usize];
        let function = match program.ops[insn as usize] {
            Op::Call { helper: TAIL_CALL } => return self.tail_call(shared, args),
            Op::Call { helper } => helpers::by_id(helper, self.vm.run.prog_type)?,
            Op::Kfunc { index } => program.kfuncs[index as usize].function,
            _ => {
                let at = shared.callee;
                if let Some(to) = code_index(at).filter(|to| program.is_function(*to)) {
                    if self.vm.run.depth as usize >= FRAMES {
                        return Err(FaultKind::Depth { limit: FRAMES as u32 });
                    }
                    let result = self.function(shared, to, args);
                    return result.map(Outcome::Continue).map_err(FaultKind::Within);
                }
                helpers::by_id(helper_number(at)?, self.vm.run.prog_type)?
            }
        };
        self.vm.run.insn = insn;
        self.helper(shared, function, args).map(Outcome::Continue)
    }

    /// Runs the program of a tail call in this frame; its result is what the function returns.
    fn tail_call(
        &mut self,
        shared: &mut Shared,
        [_, map, index, ..]: [u64; 5],
    ) -> Result<Outcome, FaultKind> {
        let Some(next) = tail_call(self.vm, map, index)? else {
            return Ok(Outcome::Continue(interp::FAILED));
        };
        let before = std::mem::replace(&mut self.program, next);
        self.vm.run.program = next;
        let context = self.vm.run.context.get();
        let result = self.enter(shared, 0, [context, 0, 0, 0, 0]);
        self.program = before;
        // A function's caller goes on in its own program; behind the outermost one nothing does.
        if self.vm.run.depth > self.depth {
            self.vm.run.program = before;
        }
        result.map(Outcome::Return).map_err(FaultKind::Within)
    }

    /// Ends a call out of compiled code.
    fn ended(&mut self, shared: &mut Shared, insn: u32, result: Result<Outcome, FaultKind>) -> Outcome {
        self.publish(shared);
        match result {
            Ok(outcome) => outcome,
            Err(kind) => {
                self.late = !matches!(kind, FaultKind::Within(_));
                let mut registers = [None; 11];
                registers[10] = Some(self.vm.run.frame_end());
                self.fault = Some(self.fault(insn, kind, registers));
                Outcome::Fault
            }
        }
    }
}

impl Host for Session<'_> {
    fn resolve(&mut self, shared: &mut Shared, at: u64, site: Site) -> Option<NonNull<u8>> {
        let ops = &self.source().ops;
        let updates =
            site.write && site.aligned && matches!(ops.get(site.insn as usize), Some(Op::Atomic { .. }));
        let memory = &self.vm.memory;
        let found = match updates {
            true => memory.resolve_update(at, site.bytes),
            false => memory.resolve(at, site.bytes, site.write),
        };
        match found {
            Ok(address) => {
                if let Some(object) = self.vm.memory.find(address.get()) {
                    self.jit.show(shared, site.window, object);
                }
                let offset = address.0 as usize;
                NonNull::new(self.vm.memory.base().wrapping_add(offset))
            }
            Err(kind) => {
                let allowed = self.source().probe;
                let size = size(site.bytes);
                if !site.write
                    && let Some(value) = probe(allowed, self.vm, at, size)
                {
                    self.jit.probed = value.to_le();
                    return Some(NonNull::from(&mut self.jit.probed).cast());
                }
                self.adopt(shared);
                self.fault = Some(self.fault(site.insn, kind, self.registers(shared)));
                None
            }
        }
    }

    fn call(&mut self, shared: &mut Shared, args: [u64; 5]) -> Outcome {
        self.adopt(shared);
        let Called { insn, window } = Called::decode(shared.called);
        let result = self.called(shared, insn, args);
        let outcome = self.ended(shared, insn, result);
        if let (Outcome::Continue(value), Some(window)) = (outcome, window)
            && let Some(object) = self.vm.memory.find(value)
        {
            self.jit.show(shared, window, object);
        }
        outcome
    }

    fn packet(&mut self, shared: &mut Shared, context: u64, index: u64) -> Outcome {
        self.adopt(shared);
        let Called { insn, .. } = Called::decode(shared.called);
        let Op::Packet { size, imm, .. } = self.source().ops[insn as usize] else { return Outcome::Fault };
        let offset = i64::from((index as i32).wrapping_add(imm));
        let result = packet_load(self.vm, context, offset, size);
        let result = result.map(|value| value.map_or(Outcome::Return(0), Outcome::Continue));
        self.ended(shared, insn, result)
    }

    fn stop(&mut self, shared: &mut Shared, insn: u32, why: Stop) {
        self.adopt(shared);
        let kind = match why {
            Stop::Budget => FaultKind::Budget { limit: self.vm.run.limit },
            Stop::Depth => FaultKind::Depth { limit: FRAMES as u32 },
        };
        self.fault = Some(self.fault(insn, kind, self.registers(shared)));
    }
}

fn size(bytes: u32) -> Size {
    match bytes {
        1 => Size::B,
        2 => Size::H,
        4 => Size::W,
        _ => Size::Dw,
    }
}
