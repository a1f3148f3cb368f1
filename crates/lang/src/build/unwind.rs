//! Stacks that the program walks itself: what a frame's registers are enters, the addresses of all frames leave. The
//! rules by which a frame finds its caller lie in maps that the loader fills (see `skep_bpf::unwind`); one bpf_loop goes
//! from frame to frame, one within it looks for the row of a program counter.
//!
//! What always holds: what the loops share lies in one object on the stack, only the addresses elsewhere; the number of
//! frames is at most the limit; a stack that ends where no rule is known has `UNKNOWN_CALLER` behind its last address.

mod round;

use super::Result;
use super::call::NO_STACK;
use super::func::Fx;
use crate::ast::Span;
use round::Round;
use skep_bpf::event::Action;
use skep_bpf::helpers::id as helper;
use skep_bpf::object::Counter;
use skep_bpf::schema::StackFormat;
use skep_bpf::target::{Arch, Feature};
use skep_bpf::unwind::{PLACE_KEY_BITS, WALKED};
use skep_compiler::ir::{BinOp, Cc, FuncBuilder, FuncId, FuncKind, Op, PtrKind, Type, Value};

/// Offsets in what the loops share: program counter, stack pointer, frame pointer and link register of the frame at
/// hand; frames so far, their hash, and where their addresses go; 1 if there are no tables for the process; the key of
/// a place; the first row that may be looked for, the one behind the last, and what is looked for; a word to read to; the
/// kernel's innermost note of a return address that it has replaced, and the address to return to.
const IP: i32 = 0;
const SP: i32 = 8;
const FP: i32 = 16;
const LINK: i32 = 24;
const FRAMES: i32 = 32;
const HASH: i32 = 40;
const BUFFER: i32 = 48;
const NO_TABLES: i32 = 56;
const KEY: i32 = 64;
const KEY_ADDRESS: i32 = 72;
const LOW: i32 = 80;
const HIGH: i32 = 88;
const WANTED: i32 = 96;
const WORD: i32 = 104;
const RETURNS: i32 = 112;
const FOUND: i32 = 120;
const STATE_BYTES: u32 = 128;

/// Notes of replaced return addresses at most (MAX_URETPROBE_DEPTH, include/linux/uprobes.h).
const MOST_RETURNS: u64 = 64;
/// Rounds of a binary search over all rows that 32 bits can count.
const SEARCH_ROUNDS: u64 = 32;
/// What the hash is multiplied with: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of an address that count, where the others may sign it (aarch64).
const ADDRESS_BITS: u64 = (1 << 48) - 1;
/// `BPF_NOEXIST` and `-EEXIST`.
const ONLY_NEW: u64 = 1;
const EXISTS: i64 = -17;

const NO_TABLES_MESSAGE: &str =
    "No DWARF unwind data available for this process. Name it with -p or --dwarf-pid to have its stacks.";

/// A walked stack.
pub(super) struct Walked {
    /// Frames, u64.
    pub(super) frames: Value,
    /// A hash of the addresses, u64.
    hash: Value,
}

/// Registers in `struct pt_regs`: bytes to be read, and the offsets of program counter, stack pointer, frame pointer and
/// link register (arch/x86/include/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h).
fn registers(arch: Arch) -> (u64, [(i32, i32); 4]) {
    match arch {
        Arch::X86_64 => (168, [(IP, 128), (SP, 152), (FP, 32), (LINK, 128)]),
        Arch::Aarch64 => (264, [(IP, 256), (SP, 248), (FP, 232), (LINK, 240)]),
    }
}

impl Fx<'_, '_> {
    /// Walks the current process's stack: at most `limit` addresses go to `to`. Where there are no tables for the process
    /// an event says so, and there are no frames.
    pub(super) fn walk_stack(&mut self, to: Value, limit: u32, span: Span) -> Result<Walked> {
        self.cx.require(Feature::Loop, "`dw_ustack`", span)?;
        let state = self.scratch(STATE_BYTES, "walk");
        self.f.zero(state, 0, STATE_BYTES, 8);
        self.f.store(8, state, BUFFER, to);
        // Zeros that the verifier does not know: it would follow numbers that it knows through every round.
        let zero = self.cx.zero_map();
        let zero = self.f.map_value_addr(zero, 0);
        let zero = self.f.load(Type::U64, zero, 0);
        for at in [FRAMES, HASH, LOW, HIGH, WANTED, WORD] {
            self.f.store(8, state, at, zero);
        }
        self.read_registers(state)?;
        let bits = self.f.u64(u64::from(PLACE_KEY_BITS));
        self.f.store(4, state, KEY, bits);
        let pid = self.process_id(None)?;
        self.f.store(4, state, KEY + 4, pid);
        let stepper = self.stepper(limit);
        let (func, rounds) = (self.f.func_addr(stepper), self.f.u64(u64::from(limit)));
        let flags = self.f.u64(0);
        self.call(helper::LOOP, &[rounds, func, state, flags]);
        let missing = self.f.load(Type::U64, state, NO_TABLES);
        let (report, done) = (self.f.cold_block(), self.f.block(&[]));
        self.f.branch_nonzero(missing, report, done);
        self.f.switch_to(report);
        self.emit(&Action::RuntimeError { message: NO_TABLES_MESSAGE.to_owned() }, &[], span, &[])?;
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        let frames = self.f.load(Type::U64, state, FRAMES);
        let hash = self.f.load(Type::U64, state, HASH);
        Ok(Walked { frames, hash })
    }

    /// The registers of user space, which lie at the end of the task's kernel stack whatever the probe is.
    fn read_registers(&mut self, state: Value) -> Result<()> {
        let (size, places) = registers(self.cx.arch);
        let task = self.current_task()?;
        let regs = Type::Ptr(PtrKind::Btf { type_id: 0, nullable: false });
        let regs = self.f.helper(helper::TASK_PT_REGS, &[task], regs);
        let regs = self.untrack(regs);
        self.read_returns(task, state);
        let copy = self.scratch(size as u32, "registers");
        let size = self.f.u64(size);
        self.call(helper::PROBE_READ_KERNEL, &[copy, size, regs]);
        for (to, from) in places {
            let word = self.f.load(Type::U64, copy, from);
            self.f.store(8, state, to, word);
        }
        Ok(())
    }

    /// The head of the list of return addresses that uretprobes have replaced (`struct uprobe_task`,
    /// include/linux/uprobes.h); zero where there is none.
    fn read_returns(&mut self, task: Value, state: Value) {
        let utask = self.kernel_field("struct task_struct", "task_struct", &["utask"]);
        let head = self.kernel_field("struct uprobe_task", "uprobe_task", &["return_instances"]);
        let (Ok(utask), Ok(head)) = (utask, head) else { return };
        let mut at = self.untrack(task);
        for (offset, _, reloc) in [utask, head] {
            let offset = self.f.push_value(Op::CoreConst { value: u64::from(offset), reloc }, Type::U64);
            at = self.f.bin(BinOp::Add, Type::U64, at, offset);
            let (to, size) = (self.f.ptr_add_imm(state, i64::from(RETURNS)), self.f.u64(8));
            self.f.helper(helper::PROBE_READ_KERNEL, &[to, size, at], Type::I64);
            at = self.f.load(Type::U64, state, RETURNS);
        }
    }

    /// The function that looks for a replaced return address; `None` where the kernel's types do not have such.
    fn finder(&mut self, round: &dyn Fn(String) -> Round) -> Option<FuncId> {
        let own = (String::new(), "returns", 0);
        if let Some(func) = self.cx.shared.get(&own) {
            return Some(*func);
        }
        let mut field = |name| {
            let found = self.kernel_field("struct return_instance", "return_instance", &[name]).ok()?;
            Some((found.0, found.2))
        };
        let fields = [field("stack")?, field("orig_ret_vaddr")?, field("next")?];
        let func = round(self.cx.func_name("returns")).find_return(fields);
        let func = self.cx.add_func(func.f.finish());
        self.cx.shared.insert(own, func);
        Some(func)
    }

    /// The id of the current stack, kept in the map of walked stacks; negative where there is none.
    pub(super) fn walked_id(&mut self, format: StackFormat, span: Span) -> Result<Value> {
        let map = self.cx.walked_map(format.limit);
        let entry = self.scratch((format.limit * 8 + 8).max(136), "walked");
        let to = self.f.ptr_add_imm(entry, 8);
        let walked = self.walk_stack(to, format.limit, span)?;
        self.f.store(8, entry, 0, walked.frames);
        let (none, some, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[Type::I64]));
        self.f.branch_nonzero(walked.frames, some, none);
        self.f.switch_to(none);
        let no_stack = self.f.iconst(Type::I64, NO_STACK);
        self.f.jump(join, &[no_stack]);
        self.f.switch_to(some);
        let (mask, bit) = (self.f.u64(WALKED as u64 - 1), self.f.u64(WALKED as u64));
        let id = self.f.bin(BinOp::And, Type::U64, walked.hash, mask);
        let id = self.f.bin(BinOp::Or, Type::U64, id, bit);
        let key = self.scratch(8, "id");
        self.f.store(8, key, 0, id);
        let (map_ref, flags) = (self.f.map_ref(map), self.f.u64(ONLY_NEW));
        let result = self.f.helper(helper::MAP_UPDATE_ELEM, &[map_ref, key, entry, flags], Type::I64);
        let (failed, lost, done) = (self.f.cold_block(), self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, result, zero, failed, done);
        self.f.switch_to(failed);
        let exists = self.f.iconst(Type::I64, EXISTS);
        self.f.branch(Cc::Eq, result, exists, done, lost);
        self.f.switch_to(lost);
        self.count_loss(Counter::StackLost(map.index()));
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        let id = self.f.cast(id, Type::I64);
        self.f.jump(join, &[id]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// The function of a round of the walk, made once for each limit.
    fn stepper(&mut self, limit: u32) -> FuncId {
        let own = |what| (String::new(), what, if what == "search" { 0 } else { limit as usize });
        if let Some(func) = self.cx.shared.get(&own("walk")) {
            return *func;
        }
        let (places, rows) = self.cx.unwind_maps();
        let loc = self.f.loc();
        let round = |name: String| {
            let params = [Type::U64, Type::Ptr(PtrKind::CallbackCtx)];
            let mut f = FuncBuilder::new(&name, FuncKind::Callback, &params, Type::I64);
            f.set_loc(loc);
            let state = f.param(1);
            Round { f, state, places, rows, limit }
        };
        let finder = self.finder(&round);
        let search = match self.cx.shared.get(&own("search")) {
            Some(func) => *func,
            None => {
                let func = round(self.cx.func_name("search")).search();
                let func = self.cx.add_func(func.f.finish());
                self.cx.shared.insert(own("search"), func);
                func
            }
        };
        let func = round(self.cx.func_name("walk")).step(search, finder, self.cx.arch);
        let func = self.cx.add_func(func.f.finish());
        self.cx.shared.insert(own("walk"), func);
        func
    }
}
