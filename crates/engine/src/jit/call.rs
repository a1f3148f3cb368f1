//! Calls: of the program's functions, of helpers and kernel functions, and the legacy packet loads, which are calls in all but
//! name. After a call, r1 to r5 are 0.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, SigRef, Value};

use super::state::{Called, FRAMES, Stop, offset};
use super::translate::Translator;

impl Translator<'_> {
    fn arguments(&mut self) -> Vec<Value> {
        std::iter::once(self.state).chain((1..6).map(|register| self.get(register))).collect()
    }

    /// A call of a helper or kernel function, or of what a register names.
    pub(super) fn call_helper(&mut self, at: usize, register: Option<u8>) {
        if let Some(register) = register {
            let value = self.get(register);
            self.store_state(offset::CALLEE, value);
        }
        let arguments = self.arguments();
        let function = self.load_state(offset::HELPER);
        self.call_out(at, self.signatures.function, function, &arguments);
    }

    /// A call of a function of the program.
    pub(super) fn call_function(&mut self, at: usize, to: u32) {
        let arguments = self.arguments();
        let index = self.function.functions.partition_point(|&first| first < to);
        let depth = self.load_state(offset::DEPTH);
        let last = self.constant(I64, FRAMES as i64 - 1);
        let deep = self.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, depth, last);
        self.stop_if(deep, at, Stop::Depth);
        let one = self.constant(I64, 1);
        let deeper = self.builder.ins().iadd(depth, one);
        self.store_state(offset::DEPTH, deeper);
        self.publish_budget();
        let table = self.load_state(offset::FUNCTIONS);
        let flags = self.state_flags();
        let function = self.builder.ins().load(I64, flags, table, index as i32 * 8);
        let call = self.builder.ins().call_indirect(self.signatures.function, function, &arguments);
        let [result, fault] = [0, 1].map(|i| self.builder.inst_results(call)[i]);
        self.store_state(offset::DEPTH, depth);
        let on = self.builder.create_block();
        self.builder.ins().brif(fault, self.faulted, &[], on, &[]);
        self.builder.switch_to_block(on);
        self.builder.seal_block(on);
        self.adopt_budget();
        self.set_results(result);
    }

    /// Calls the machine.
    fn call_out(&mut self, at: usize, signature: SigRef, function: Value, arguments: &[Value]) {
        let window = self.function.kinds.result(at);
        let insn = self.constant(I64, Called { insn: self.origin(at), window }.encode() as i64);
        self.store_state(offset::CALLED, insn);
        self.publish_budget();
        let call = self.builder.ins().call_indirect(signature, function, arguments);
        let [result, outcome] = [0, 1].map(|i| self.builder.inst_results(call)[i]);
        let (over, on) = (self.cold_block(), self.builder.create_block());
        self.builder.ins().brif(outcome, over, &[], on, &[]);
        self.builder.switch_to_block(over);
        self.builder.seal_block(over);
        self.publish_registers(at);
        let one = self.constant(I64, 1);
        let fault = self.builder.ins().band(outcome, one);
        self.builder.ins().return_(&[result, fault]);
        self.builder.switch_to_block(on);
        self.builder.seal_block(on);
        self.adopt_budget();
        self.set_results(result);
    }

    fn set_results(&mut self, result: Value) {
        // What was called may have ended the life of what pointers point to.
        self.spans.forget();
        self.set(0, result);
        let zero = self.constant(I64, 0);
        (1..6).for_each(|register| self.set(register, zero));
    }

    /// `r0 = *(size *)skb[imm]` and `skb[src + imm]`: big-endian from the packet; beyond its end the program returns 0.
    pub(super) fn load_packet(&mut self, at: usize, index: Option<u8>) {
        let context = self.get(6);
        let index = match index {
            Some(register) => self.get(register),
            None => self.constant(I64, 0),
        };
        let function = self.load_state(offset::PACKET_LOAD);
        self.call_out(at, self.signatures.packet, function, &[self.state, context, index]);
    }
}
