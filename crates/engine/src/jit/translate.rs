//! One function of a program enters, Cranelift IR leaves. The function takes the shared state and r1 to r5 and returns r0 and
//! whether it faulted. Always: `State::budget` is right whenever code outside of the function can see it.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, Block, InstBuilder, MemFlagsData, SigRef, Signature, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};

use super::access::Access;
use super::alu::operation_type;
use super::flow::{self, Flow, Next};
use super::kinds::{Kinds, Windows};
use super::live::Live;
use super::span::Spans;
use super::state::{Stop, offset, outcome};
use crate::vm::blind::AX;
use crate::vm::interp::LOOPS;
use crate::vm::op::{Cmp, Op, Operand};

/// What a function is translated from.
pub(super) struct Function<'a> {
    /// Instructions of the whole program.
    pub(super) ops: &'a [Op],
    /// What each costs.
    pub(super) charges: &'a [u32],
    /// What each was made from.
    pub(super) origins: Option<&'a [u32]>,
    /// Where the function lies.
    pub(super) range: std::ops::Range<usize>,
    /// First instructions of all functions.
    pub(super) functions: &'a [u32],
    /// Its control flow.
    pub(super) flow: &'a Flow,
    /// What its registers hold.
    pub(super) kinds: &'a Kinds,
    /// Which of them matter.
    pub(super) live: &'a Live,
}

/// Memory that compiled code accesses: the two do not overlap.
struct Flags {
    state: MemFlagsData,
    region: MemFlagsData,
}

/// Signatures of what is called.
pub(super) struct Signatures {
    /// A function of the program, or a helper: state, five arguments; r0, outcome.
    pub(super) function: SigRef,
    /// The stub that resolves an access: state, address, site; keeps all registers.
    pub(super) resolve: SigRef,
    /// The end: state, site, reason.
    pub(super) fail: SigRef,
    /// A legacy packet load: state, site, offset; value, outcome.
    pub(super) packet: SigRef,
}

/// Translates one function.
pub(super) struct Translator<'a> {
    pub(super) builder: FunctionBuilder<'a>,
    pub(super) function: Function<'a>,
    pub(super) windows: &'a mut Windows,
    pub(super) signatures: Signatures,
    flags: Flags,
    registers: [Variable; 12],
    /// Instructions left; `None` where the function takes from the budget only at its beginning, and leaves it in the state.
    budget: Option<Variable>,
    /// Rounds that bounded loops have left.
    rounds: Variable,
    blocks: Vec<Option<Block>>,
    /// The shared state.
    pub(super) state: Value,
    /// The region's start on the host.
    pub(super) base: Value,
    /// r10 on the host.
    pub(super) frame: Value,
    /// Returns that the program faulted.
    pub(super) faulted: Block,
    /// What is known of pointers here.
    pub(super) spans: Spans,
}

/// The signature of compiled functions.
pub(super) fn function_signature(convention: CallConv) -> Signature {
    signature(convention, 6, 2)
}

/// A signature with numbers only.
pub(super) fn signature(convention: CallConv, parameters: usize, results: usize) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.resize(parameters, AbiParam::new(I64));
    signature.returns.resize(results, AbiParam::new(I64));
    signature
}

impl<'a> Translator<'a> {
    /// Begins a function.
    pub(super) fn new(
        mut builder: FunctionBuilder<'a>,
        function: Function<'a>,
        windows: &'a mut Windows,
        convention: CallConv,
    ) -> Translator<'a> {
        let signatures = Signatures {
            function: builder.import_signature(function_signature(convention)),
            resolve: builder.import_signature(signature(CallConv::PreserveAll, 3, 0)),
            fail: builder.import_signature(signature(convention, 3, 0)),
            packet: builder.import_signature(signature(convention, 3, 2)),
        };
        let mut region = |user_id, description: &'static str| {
            let data = AliasRegionData { user_id, description: description.into() };
            Some(builder.func.dfg.alias_regions.insert(data))
        };
        let flags = |region: Option<AliasRegion>| MemFlagsData::new().with_notrap().with_alias_region(region);
        let flags = Flags { state: flags(region(0, "state")), region: flags(region(1, "region")) };
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let parameters: [Value; 6] = std::array::from_fn(|i| builder.block_params(entry)[i]);
        let registers = std::array::from_fn(|_| builder.declare_var(I64));
        let [budget, rounds] = [(); 2].map(|()| builder.declare_var(I64));
        let loops = function.charges[function.range.clone()].iter().skip(1).any(|charge| *charge > 0);
        let budget = (loops || function.flow.is_looped(function.range.start)).then_some(budget);
        let faulted = builder.create_block();
        builder.set_cold_block(faulted);
        let blocks = vec![None; function.range.len() + 1];
        let [state, ..] = parameters;
        let mut translator = Translator {
            builder,
            function,
            windows,
            signatures,
            flags,
            registers,
            budget,
            rounds,
            blocks,
            state,
            base: state,
            frame: state,
            faulted,
            spans: Spans::default(),
        };
        translator.prologue(parameters);
        translator
    }

    fn prologue(&mut self, [_, arguments @ ..]: [Value; 6]) {
        self.base = self.load_state(offset::BASE);
        let zero = self.constant(I64, 0);
        let mut r10 = zero;
        if self.function.live.at(self.function.range.start) >> 10 & 1 == 1 {
            let depth = self.load_state(offset::DEPTH);
            r10 = self.load_indexed(offset::FRAMES, depth);
            self.frame = self.builder.ins().iadd(self.base, r10);
        }
        for register in 0..=AX {
            let value = match register {
                1..=5 => arguments[register as usize - 1],
                10 => r10,
                _ => zero,
            };
            self.set(register, value);
        }
        self.adopt_budget();
        let rounds = self.constant(I64, LOOPS.into());
        self.builder.def_var(self.rounds, rounds);
        let first = self.function.range.start;
        if self.function.flow.is_leader(first) {
            let block = self.block(first);
            self.builder.ins().jump(block, &[]);
        } else {
            self.charge(first);
        }
    }

    /// Translates all instructions and ends the function.
    pub(super) fn run(mut self) -> FunctionBuilder<'a> {
        let mut open = true;
        for at in self.function.range.clone() {
            if self.function.flow.is_leader(at) {
                open = self.begin_block(at, open);
            }
            if open {
                open = self.op(at);
            }
        }
        self.builder.switch_to_block(self.faulted);
        let zero = self.constant(I64, 0);
        let fault = self.constant(I64, outcome::FAULT as i64);
        self.builder.ins().return_(&[zero, fault]);
        self.builder.seal_all_blocks();
        self.builder
    }

    /// Begins the block at `at`, into which the code before it falls if that is open. Without a way to it there is no block.
    fn begin_block(&mut self, at: usize, open: bool) -> bool {
        if !self.function.kinds.reached(at) {
            return false;
        }
        let block = self.block(at);
        if open && at != self.function.range.start {
            self.builder.ins().jump(block, &[]);
        }
        self.builder.switch_to_block(block);
        if self.function.flow.is_targeted(at) {
            self.spans.forget();
        }
        if !self.function.flow.is_looped(at) {
            self.builder.seal_block(block);
        }
        self.charge(at);
        true
    }

    /// Emits one instruction; whether the one behind it is reached from here.
    fn op(&mut self, at: usize) -> bool {
        match self.function.ops[at] {
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst, src),
            Op::Extend { bits, width, dst, src } => self.extend(bits, width, dst, src),
            Op::Neg { width, dst } => self.negate(width, dst),
            Op::Swap { order, bits, dst } => self.swap(order, bits, dst),
            Op::Const { dst, value } => {
                let value = self.constant(I64, value as i64);
                self.set(dst, value);
            }
            Op::Second => {}
            Op::Load { size, signed, dst, base, off } => {
                self.load(Access::new(at, base, off, size), dst, signed);
            }
            Op::LoadAcquire { size, dst, base, off } => {
                self.load(Access::new(at, base, off, size).aligned(), dst, false);
            }
            Op::Store { size, base, off, value } => self.store(Access::new(at, base, off, size), value),
            Op::StoreRelease { size, base, off, src } => {
                self.store(Access::new(at, base, off, size).aligned(), Operand::Reg(src));
            }
            Op::Atomic { op, fetch, size, base, off, src } => {
                self.atomic(Access::new(at, base, off, size).aligned(), op, fetch, src);
            }
            Op::Packet { index, .. } => self.load_packet(at, index),
            Op::Call { .. } | Op::Kfunc { .. } => self.call_helper(at, None),
            Op::CallReg { reg } => self.call_helper(at, Some(reg)),
            Op::CallLocal { to } => self.call_function(at, to),
            Op::Jump { .. } | Op::Branch { .. } | Op::MayGoto { .. } | Op::Exit => {
                self.leave_block(at);
                return false;
            }
        }
        true
    }

    fn leave_block(&mut self, at: usize) {
        let op = self.function.ops[at];
        match flow::next(op) {
            Next::Jump(target) => {
                let target = self.block(target);
                self.builder.ins().jump(target, &[]);
            }
            Next::Branch(target) => {
                let condition = self.condition(op);
                let (target, behind) = (self.block(target), self.block(at + 1));
                self.builder.ins().brif(condition, target, &[], behind, &[]);
            }
            Next::Exit | Next::Through => {
                self.publish_budget();
                let result = self.get(0);
                let done = self.constant(I64, outcome::GO_ON as i64);
                self.builder.ins().return_(&[result, done]);
            }
        }
    }

    /// Takes the price of `at` from the budget; stops when it does not reach.
    fn charge(&mut self, at: usize) {
        let price = self.function.charges[at];
        if price == 0 {
            return;
        }
        let budget = match self.budget {
            Some(budget) => self.builder.use_var(budget),
            None => self.load_state(offset::BUDGET),
        };
        let price = self.constant(I64, price.into());
        let left = self.builder.ins().isub(budget, price);
        let zero = self.constant(I64, 0);
        let short = self.builder.ins().icmp(IntCC::SignedLessThan, left, zero);
        self.stop_if(short, at, Stop::Budget);
        match self.budget {
            Some(budget) => self.builder.def_var(budget, left),
            None => self.store_state(offset::BUDGET, left),
        }
    }

    /// Stops the program at `at` if the condition holds.
    pub(super) fn stop_if(&mut self, condition: Value, at: usize, stop: Stop) {
        let (over, on) = (self.cold_block(), self.builder.create_block());
        self.builder.ins().brif(condition, over, &[], on, &[]);
        self.builder.switch_to_block(over);
        self.builder.seal_block(over);
        self.publish_registers(at);
        let address = self.load_state(offset::FAIL);
        let insn = self.constant(I64, self.origin(at).into());
        let reason = self.constant(I64, stop as i64);
        self.builder.ins().call_indirect(self.signatures.fail, address, &[self.state, insn, reason]);
        self.builder.ins().jump(self.faulted, &[]);
        self.builder.switch_to_block(on);
        self.builder.seal_block(on);
    }

    fn condition(&mut self, op: Op) -> Value {
        let Op::Branch { op, width, dst, src, .. } = op else { return self.rounds_used_up() };
        let ty = operation_type(width);
        let left = self.get(dst);
        let left = self.narrow(ty, left);
        let right = self.operand(ty, src);
        let comparison = match op {
            Cmp::Eq => IntCC::Equal,
            Cmp::Ne => IntCC::NotEqual,
            Cmp::Gt => IntCC::UnsignedGreaterThan,
            Cmp::Ge => IntCC::UnsignedGreaterThanOrEqual,
            Cmp::Lt => IntCC::UnsignedLessThan,
            Cmp::Le => IntCC::UnsignedLessThanOrEqual,
            Cmp::Sgt => IntCC::SignedGreaterThan,
            Cmp::Sge => IntCC::SignedGreaterThanOrEqual,
            Cmp::Slt => IntCC::SignedLessThan,
            Cmp::Sle => IntCC::SignedLessThanOrEqual,
            Cmp::Set => return self.builder.ins().band(left, right),
        };
        self.builder.ins().icmp(comparison, left, right)
    }

    /// `may_goto`: counts down, and jumps when nothing is left.
    fn rounds_used_up(&mut self) -> Value {
        let rounds = self.builder.use_var(self.rounds);
        let zero = self.constant(I64, 0);
        let none = self.builder.ins().icmp(IntCC::Equal, rounds, zero);
        let one = self.constant(I64, 1);
        let fewer = self.builder.ins().isub(rounds, one);
        let left = self.builder.ins().select(none, zero, fewer);
        self.builder.def_var(self.rounds, left);
        none
    }

    /// The instruction of the program that the one at `at` was made from.
    pub(super) fn origin(&self, at: usize) -> u32 {
        self.function.origins.map_or(at as u32, |origins| origins[at])
    }

    /// The block that begins at `at`.
    fn block(&mut self, at: usize) -> Block {
        let index = at - self.function.range.start;
        if let Some(block) = self.blocks[index] {
            return block;
        }
        let block = self.builder.create_block();
        self.blocks[index] = Some(block);
        block
    }

    /// A block that is rarely run.
    pub(super) fn cold_block(&mut self) -> Block {
        let block = self.builder.create_block();
        self.builder.set_cold_block(block);
        block
    }

    /// A register's value.
    pub(super) fn get(&mut self, register: u8) -> Value {
        self.builder.use_var(self.registers[register as usize])
    }

    /// Gives a register a value.
    pub(super) fn set(&mut self, register: u8, value: Value) {
        self.builder.def_var(self.registers[register as usize], value);
    }

    /// How the state is accessed.
    pub(super) fn state_flags(&self) -> MemFlagsData {
        self.flags.state
    }

    /// How the region is accessed.
    pub(super) fn region_flags(&self) -> MemFlagsData {
        self.flags.region
    }

    /// A field of the state.
    pub(super) fn load_state(&mut self, at: i32) -> Value {
        self.builder.ins().load(I64, self.flags.state, self.state, at)
    }

    /// Sets a field of the state.
    pub(super) fn store_state(&mut self, at: i32, value: Value) {
        self.builder.ins().store(self.flags.state, value, self.state, at);
    }

    /// What an array's element has its offset from.
    pub(super) fn indexed(&mut self, index: Value) -> Value {
        let three = self.constant(I64, 3);
        let bytes = self.builder.ins().ishl(index, three);
        self.builder.ins().iadd(self.state, bytes)
    }

    fn load_indexed(&mut self, array: i32, index: Value) -> Value {
        let place = self.indexed(index);
        self.builder.ins().load(I64, self.flags.state, place, array)
    }

    /// Writes the budget where calls find it.
    pub(super) fn publish_budget(&mut self) {
        if let Some(budget) = self.budget {
            let budget = self.builder.use_var(budget);
            self.store_state(offset::BUDGET, budget);
        }
    }

    /// Takes over what a call left of the budget.
    pub(super) fn adopt_budget(&mut self) {
        if let Some(variable) = self.budget {
            let budget = self.load_state(offset::BUDGET);
            self.builder.def_var(variable, budget);
        }
    }

    /// Writes the registers that matter before `at` where the machine finds them; r10 it knows.
    pub(super) fn publish_registers(&mut self, at: usize) {
        let live = self.function.live.at(at);
        for register in (0..10).filter(|register| live >> register & 1 == 1) {
            let value = self.get(register);
            self.store_state(offset::register(register), value);
        }
        let known = self.constant(I64, i64::from(live & 0x3ff));
        self.store_state(offset::KNOWN, known);
    }
}
