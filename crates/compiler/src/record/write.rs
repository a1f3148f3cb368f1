//! Writing one record: what it says enters as values; the instructions that send it are appended.

use skep_bpf::helpers::id;
use skep_bpf::record::{self, ADDRESS, BEGIN, HEAD, Kind, LENGTH, PACKET, VALUE};

use crate::ir::{
    AtomicOp, BinOp, Block, Cc, Cond, Edge, Function, Inst, Loc, MapId, Offset, Op, PtrKind, Type, Value,
    Width,
};
use crate::lower::Append;

/// Data up to this length takes a record of its own size; what may be longer but is not takes one of this.
const SHORT: u32 = 64;
/// Where `struct __sk_buff` says what tag lies beside the packet: `vlan_present`, `vlan_tci`, `vlan_proto`.
const VLAN_FIELDS: [u32; 3] = [20, 24, 28];

/// The maps that recording needs.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    /// The ring of events.
    pub(super) ring: MapId,
    /// Counts what found no room.
    pub(super) lost: MapId,
    /// The run on each CPU.
    pub(super) run: MapId,
    /// The gate that detaching closes.
    pub(super) gate: Option<MapId>,
    /// Possible CPUs.
    pub(super) cpus: u32,
}

/// Data of a record.
pub(super) enum Data {
    None,
    /// So many bytes behind a pointer that the verifier tracks.
    Bytes {
        ptr: Value,
        offset: i32,
        len: u32,
    },
    /// The same, of a length that is known at run time and at most `max`.
    Upto {
        ptr: Value,
        len: Value,
        max: u32,
    },
}

/// Appends records.
pub(super) struct Writer<'a> {
    pub(super) a: Append<'a>,
    /// The run's number.
    pub(super) run: Value,
    /// Whether the block is rarely executed.
    pub(super) cold: bool,
    maps: Maps,
}

impl<'a> Writer<'a> {
    pub(super) fn new(func: &'a mut Function, at: Block, loc: Loc, maps: Maps) -> Writer<'a> {
        Writer { a: Append { func, at, loc }, run: Value(0), cold: false, maps }
    }

    pub(super) fn helper(&mut self, id: u32, args: &[Value], ty: Type) -> Value {
        self.a.value(Op::Helper { id, args: args.to_vec() }, ty)
    }

    pub(super) fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        self.a.value(Op::Bin { op, width: Width::W64, a, b }, Type::U64)
    }

    /// The value as an unsigned 64-bit number.
    pub(super) fn number(&mut self, v: Value) -> Value {
        match self.a.func.type_of(v) {
            Type::Int(ty) if ty.bits == 64 => v,
            Type::Int(_) => {
                let zero = self.a.constant(0);
                self.a.value(Op::Bin { op: BinOp::Add, width: Width::W64, a: v, b: zero }, Type::I64)
            }
            Type::Ptr(_) => self.a.value(Op::Cast(v), Type::U64),
        }
    }

    /// What `inst` gave, as a number; a call whose result nobody needs gets one.
    pub(super) fn result_of(&mut self, inst: Inst) -> Value {
        let result = match self.a.func.inst(inst).result {
            Some(result) => result,
            None => {
                let result = self.a.func.new_value(Type::I64);
                self.a.func.insts[inst.index()].result = Some(result);
                result
            }
        };
        self.number(result)
    }

    /// The address `offset` bytes behind a kernel object's, as a number.
    pub(super) fn address(&mut self, ptr: Value, offset: i64) -> Value {
        let base = self.number(ptr);
        let offset = self.a.constant(offset);
        self.bin(BinOp::Add, base, offset)
    }

    /// The value, or 0 where it is negative.
    pub(super) fn positive(&mut self, v: Value) -> Value {
        let zero = self.a.constant(0);
        let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: v, b: zero };
        self.a.value(Op::Select { cond, a: v, b: zero }, Type::U64)
    }

    fn block(&mut self, cold: bool) -> Block {
        let block = self.a.func.new_block();
        self.a.func.block_mut(block).cold = cold;
        block
    }

    fn store(&mut self, size: u8, ptr: Value, at: u32, val: Value) {
        self.a.push(Op::Store { size, ptr, off: Offset::at(at as i32), val });
    }

    fn plus(&mut self, ptr: Value, at: u32) -> Value {
        let off = self.a.constant(i64::from(at));
        let ty = self.a.func.type_of(ptr);
        self.a.value(Op::PtrAdd { ptr, off }, ty)
    }

    /// Sends one record; goes on in a new block.
    pub(super) fn record(&mut self, kind: Kind, number: u32, address: Value, value: Value, data: Data) {
        let done = self.block(self.cold);
        match data {
            Data::Upto { ptr, len, max } if max > 2 * SHORT => {
                // What is short, as most strings are, does not take the room of the longest.
                let limit = self.a.constant(i64::from(SHORT));
                let [short, long] = [self.block(self.cold), self.block(self.cold)];
                let edge = |block| Edge { block, args: Vec::new() };
                self.a.branch(Cc::Ule, len, limit, edge(short), edge(long));
                for (block, max) in [(short, SHORT), (long, max)] {
                    self.a.at = block;
                    self.reserved(kind, number, address, value, Data::Upto { ptr, len, max }, done);
                }
            }
            data => self.reserved(kind, number, address, value, data, done),
        }
        self.a.at = done;
    }

    /// Reserves a record, fills it, submits it, and goes to `done`.
    fn reserved(&mut self, kind: Kind, number: u32, address: Value, value: Value, data: Data, done: Block) {
        let room = match data {
            Data::None => 0,
            Data::Bytes { len, .. } => len,
            Data::Upto { max, .. } => max,
        };
        let memory = self.reserve(kind, number, room, done);
        self.store(8, memory, ADDRESS, address);
        self.store(8, memory, VALUE, value);
        let len = match data {
            Data::None => self.a.constant(0),
            Data::Bytes { ptr, offset, len } => {
                let (dst_off, align) = (HEAD as i32, 1);
                self.a.push(Op::Copy { dst: memory, dst_off, src: ptr, src_off: offset, len, align });
                self.a.constant(i64::from(len))
            }
            Data::Upto { ptr, len, max } => {
                let to = self.plus(memory, HEAD);
                let bound = self.a.value(Op::Bound { v: len, max: u64::from(max) }, Type::U64);
                self.helper(id::PROBE_READ_KERNEL, &[to, bound, ptr], Type::I64);
                self.a.value(Op::Bound { v: len, max: u64::from(max) }, Type::U64)
            }
        };
        self.store(8, memory, LENGTH, len);
        self.submit(memory, done);
    }

    /// Room for a record with its first two words and the run; without room counts it and goes to `done`.
    fn reserve(&mut self, kind: Kind, number: u32, room: u32, done: Block) -> Value {
        let ring = self.maps.ring;
        let ring = self.a.value(Op::MapRef(ring), Type::Ptr(PtrKind::Map(ring)));
        let size = self.a.constant(i64::from((HEAD + room).next_multiple_of(8)));
        let flags = self.a.constant(0);
        let ty = Type::Ptr(PtrKind::RingbufMem { nullable: true });
        let maybe = self.helper(id::RINGBUF_RESERVE, &[ring, size, flags], ty);
        let zero = self.a.constant(0);
        let [lost, there] = [self.block(true), self.block(self.cold)];
        let edge = |block| Edge { block, args: Vec::new() };
        self.a.branch(Cc::Eq, maybe, zero, edge(lost), edge(there));
        self.a.at = lost;
        let map = self.maps.lost;
        let ty = Type::Ptr(PtrKind::MapValue { map, nullable: false });
        let counter = self.a.value(Op::MapValueAddr { map, off: 0 }, ty);
        let one = self.a.constant(1);
        let add = AtomicOp::Add;
        self.a.push(Op::Atomic { op: add, size: 8, ptr: counter, off: 0, val: one, fetch: false });
        self.a.jump(done, Vec::new());
        self.a.at = there;
        let memory = self.a.value(Op::Cast(maybe), Type::Ptr(PtrKind::RingbufMem { nullable: false }));
        let words = u64::from(record::EVENT) | u64::from(kind.word(number)) << 32;
        let words = self.a.constant(words as i64);
        self.store(8, memory, 0, words);
        let run = self.run;
        self.store(8, memory, 8, run);
        memory
    }

    fn submit(&mut self, memory: Value, done: Block) {
        let flags = self.a.constant(0);
        self.a.push(Op::Helper { id: id::RINGBUF_SUBMIT, args: vec![memory, flags] });
        self.a.jump(done, Vec::new());
    }

    /// Sends the record of a beginning.
    pub(super) fn begin(&mut self, program: u32, in_process: bool, cpu: Value, time: Value) {
        let done = self.block(false);
        let memory = self.reserve(Kind::Begin, program, BEGIN, done);
        let zero = self.a.constant(0);
        self.store(8, memory, ADDRESS, zero);
        let (process, user) = match in_process {
            true => (
                self.helper(id::GET_CURRENT_PID_TGID, &[], Type::U64),
                self.helper(id::GET_CURRENT_UID_GID, &[], Type::U64),
            ),
            false => (zero, zero),
        };
        self.store(8, memory, VALUE, process);
        let length = self.a.constant(i64::from(BEGIN));
        self.store(8, memory, LENGTH, length);
        self.store(8, memory, HEAD, user);
        self.store(8, memory, HEAD + 8, time);
        self.store(8, memory, HEAD + 16, cpu);
        if in_process {
            let (name, size) = (self.plus(memory, HEAD + 24), self.a.constant(16));
            self.helper(id::GET_CURRENT_COMM, &[name, size], Type::I64);
        } else {
            self.store(8, memory, HEAD + 24, zero);
            self.store(8, memory, HEAD + 32, zero);
        }
        self.submit(memory, done);
        self.a.at = done;
    }

    /// Sends the packet that an XDP program got with its context: the first bytes.
    pub(super) fn xdp_packet(&mut self, context: Value) {
        let len = self.helper(id::XDP_GET_BUFF_LEN, &[context], Type::U64);
        let zero = self.a.constant(0);
        self.packet(len, |w, to, kept| w.helper(id::XDP_LOAD_BYTES, &[context, zero, to, kept], Type::I64));
    }

    /// The same for kernels without these helpers: the packet lies in memory in one piece.
    pub(super) fn xdp_memory(&mut self, context: Value) {
        let mut load = |kind, at| {
            let ty = Type::Ptr(kind);
            self.a.value(Op::Load { ty, ptr: context, off: Offset::at(at) }, ty)
        };
        let (start, end) = (load(PtrKind::Packet, 0), load(PtrKind::PacketEnd, 4));
        let (from, to) = (self.number(start), self.number(end));
        let len = self.bin(BinOp::Sub, to, from);
        self.packet(len, |w, to, kept| w.helper(id::PROBE_READ_KERNEL, &[to, kept, start], Type::I64));
    }

    /// The same for a program on socket buffers; with `tags` also the VLAN tag that lies beside the packet.
    pub(super) fn skb_packet(&mut self, context: Value, tags: bool) {
        let word = |w: &mut Self, at: u32| {
            w.a.value(Op::Load { ty: Type::U32, ptr: context, off: Offset::at(at as i32) }, Type::U32)
        };
        let len = word(self, 0);
        let len = self.number(len);
        let zero = self.a.constant(0);
        self.packet(len, |w, to, kept| w.helper(id::SKB_LOAD_BYTES, &[context, zero, to, kept], Type::I64));
        for at in VLAN_FIELDS.iter().filter(|_| tags) {
            let value = word(self, *at);
            let value = self.number(value);
            let offset = self.a.constant(i64::from(*at));
            self.record(Kind::Context, 4, offset, value, Data::None);
        }
    }

    /// Sends a packet of `len` bytes, the first of which `load` copies.
    fn packet(&mut self, len: Value, load: impl FnOnce(&mut Self, Value, Value) -> Value) {
        let done = self.block(false);
        let memory = self.reserve(Kind::Packet, 0, PACKET, done);
        let zero = self.a.constant(0);
        self.store(8, memory, ADDRESS, zero);
        self.store(8, memory, VALUE, len);
        // The verifier wants a length from 1 on; a packet has at least one byte.
        let most = self.a.constant(i64::from(PACKET));
        let cond = Cond { cc: Cc::Ugt, width: Width::W64, a: len, b: most };
        let short = self.a.value(Op::Select { cond, a: most, b: len }, Type::U64);
        let one = self.a.constant(1);
        let rest = self.bin(BinOp::Sub, short, one);
        let rest = self.a.value(Op::Bound { v: rest, max: u64::from(PACKET) - 1 }, Type::U64);
        let kept = self.bin(BinOp::Add, rest, one);
        let to = self.plus(memory, HEAD);
        load(self, to, kept);
        self.store(8, memory, LENGTH, kept);
        self.submit(memory, done);
        self.a.at = done;
    }

    /// Address of the run of this CPU.
    fn run_slot(&mut self, cpu: Value) -> Value {
        let map = self.maps.run;
        let three = self.a.constant(3);
        let off = self.bin(BinOp::Shl, cpu, three);
        let max = u64::from(self.maps.cpus.saturating_sub(1)) * 8;
        let ty = Type::Ptr(PtrKind::MapValue { map, nullable: false });
        let base = self.a.value(Op::MapValueAddr { map, off: 0 }, ty);
        let off = self.a.value(Op::Bound { v: off, max }, Type::U64);
        self.a.value(Op::PtrAdd { ptr: base, off }, ty)
    }

    /// The run of this CPU.
    pub(super) fn current_run(&mut self, cpu: Value) -> Value {
        let slot = self.run_slot(cpu);
        self.a.value(Op::Load { ty: Type::U64, ptr: slot, off: Offset::default() }, Type::U64)
    }

    /// Makes this run that of its CPU; gives the one that it interrupts.
    pub(super) fn exchange_run(&mut self, cpu: Value) -> Value {
        let slot = self.run_slot(cpu);
        let before = self.a.value(Op::Load { ty: Type::U64, ptr: slot, off: Offset::default() }, Type::U64);
        let run = self.run;
        self.store(8, slot, 0, run);
        before
    }

    /// Gives the CPU back to the run that was interrupted.
    pub(super) fn restore_run(&mut self, cpu: Value, before: Value) {
        let slot = self.run_slot(cpu);
        self.store(8, slot, 0, before);
    }
}
