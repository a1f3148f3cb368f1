//! Events: what the reader is told. The record is put together in one slot, fixed fields in its head, strings, buffers
//! and stacks read straight to where they belong behind it, and sent with one bpf_ringbuf_output. A record that finds no
//! room is counted.

use super::func::Fx;
use super::memory::Mem;
use super::types::alignment;
use super::{BuildError, Result, internal};
use crate::ast::Span;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::event::{Action, EventArg, EventLayout, lay_out_with};
use skep_bpf::helpers::id as helper;
use skep_bpf::schema::{Agg, StackFormat, ValueType};
use skep_bpf::target::Feature;
use skep_compiler::ir::{BinOp, Cc, Cond, Op, PtrKind, Type, Value, Width};

/// Strings up to this size lie in the head.
const SHORT_STRING: u32 = 32;
/// Most strings that `join` reads.
const JOINED: usize = 16;
/// Longest record: what the reader maps, or what the compiler's scratch area has where it is per CPU.
const MAX_RECORD: u32 = 60 * 1024;
const MAX_RECORD_PERCPU: u32 = 30 * 1024;

/// The end of a record while it is built.
#[derive(Clone, Copy)]
enum End {
    At(u32),
    /// A value that is at most so much.
    Upto(Value, u32),
}

/// A record while it is built.
struct Record {
    slot: Value,
    end: End,
    /// Bytes of the slot.
    size: u32,
}

/// What a tail needs at most, its alignment included; `None`: the argument lies in the head.
fn tail_size(e: &Expr) -> Option<u32> {
    match (&e.ty, &e.kind) {
        (Ty::Str { .. }, ExprKind::Str(_)) => None,
        (Ty::Str { size }, _) => (*size > SHORT_STRING).then_some(size + 1),
        (Ty::Buf { size }, _) => Some(size + 1),
        (Ty::KStack(format), ExprKind::Call { .. }) => Some(stack_bytes(*format) + 8),
        (Ty::UStack(format), ExprKind::Call { .. }) => Some(stack_bytes(*format) + 16),
        _ => None,
    }
}

fn stack_bytes(format: StackFormat) -> u32 {
    format.limit.saturating_mul(8)
}

impl Fx<'_, '_> {
    /// Sends an event. `exit` ends the program.
    pub(super) fn emit(&mut self, action: &Action, args: &[Expr], span: Span, uses: &[Span]) -> Result<()> {
        self.at(span);
        let ends = matches!(action, Action::Exit);
        if let Action::Join { .. } = action {
            self.join(action, args, span)?;
        } else {
            self.send(action, args, span, uses)?;
        }
        if !ends {
            return Ok(());
        }
        self.note_exit();
        self.return_from(None)
    }

    fn send(&mut self, action: &Action, args: &[Expr], span: Span, uses: &[Span]) -> Result<()> {
        let mut types = Vec::new();
        for e in args {
            if let Ty::Agg(Agg::Hist { .. } | Agg::LHist { .. } | Agg::TSeries { .. }) = e.ty {
                let what = "printing one entry of a histogram".to_owned();
                return Err(BuildError::Unsupported { what, since: None, span: e.span });
            }
            let ty = match (&e.kind, &e.ty) {
                (ExprKind::Str(bytes), Ty::Str { .. }) => ValueType::Str { size: bytes.len() as u32 + 1 },
                _ => self.cx.layout(&e.whole_string().unwrap_or_else(|| e.ty.clone())),
            };
            types.push((ty, tail_size(e).is_some()));
        }
        let action = self.with_maps(action)?;
        let mut layout = lay_out_with(action, types, 0);
        self.cx.place(&mut layout, span);
        layout.uses = uses.iter().map(|span| self.cx.spot(*span)).collect();
        let tails: u32 = args.iter().filter_map(tail_size).fold(0, u32::saturating_add);
        let mut record = self.record(&layout, tails, span)?;
        for (e, arg) in args.iter().zip(&layout.args) {
            match arg.tail {
                true => self.put_tail(&mut record, e, arg)?,
                false => self.put_head(&record, e, arg)?,
            }
        }
        self.output(&layout, record)
    }

    /// Sends an event of one 64-bit number.
    pub(super) fn send_number(
        &mut self,
        layout: &EventLayout,
        event: Value,
        number: Value,
        span: Span,
    ) -> Result<()> {
        let record = self.record(layout, 0, span)?;
        let at = layout.args.first().map_or(skep_bpf::event::EVENT_HEADER, |arg| arg.offset);
        self.f.store(8, record.slot, at as i32, number);
        self.output_as(event, record)
    }

    /// The action with maps by their place in the object.
    fn with_maps(&self, action: &Action) -> Result<Action> {
        let mut action = action.clone();
        if let Action::PrintMapEntry { map, .. }
        | Action::PrintMap { map }
        | Action::Clear { map }
        | Action::Zero { map } = &mut action
        {
            *map = self.cx.map(crate::hir::MapNo(*map as u32))?.id.index();
        }
        Ok(action)
    }

    /// A slot for a record, its gaps zeroed.
    fn record(&mut self, layout: &EventLayout, tails: u32, span: Span) -> Result<Record> {
        let size = layout.head.saturating_add(tails).next_multiple_of(8);
        let most = if size > MAX_RECORD_PERCPU && self.cx.has(Feature::FetchAtomics)? {
            MAX_RECORD
        } else {
            MAX_RECORD_PERCPU
        };
        if size > most {
            let since = Feature::FetchAtomics.since();
            let old = if size <= MAX_RECORD { format!(" before Linux {since}") } else { String::new() };
            let message = format!("this sends up to {size} bytes, at most {most} are possible{old}");
            return Err(BuildError::Limit { message, span });
        }
        // A record whose later tails lie at computed offsets is no good on the stack: old verifiers do not follow.
        let room = if tails != 0 { size.max(136) } else { size };
        let slot = self.scratch(room, "event");
        let mut at = skep_bpf::event::EVENT_HEADER;
        let ends = layout.args.iter().map(|arg| (arg.offset, arg.head_size()));
        for (offset, len) in ends.chain([(layout.head, 0)]) {
            if offset > at {
                self.f.zero(slot, at as i32, offset - at, alignment(at as i32, offset - at));
            }
            at = offset + len;
        }
        Ok(Record { slot, end: End::At(layout.head), size: room })
    }

    fn put_head(&mut self, record: &Record, e: &Expr, arg: &EventArg) -> Result<()> {
        let off = arg.offset as i32;
        match &arg.ty {
            ValueType::Str { size } if matches!(e.kind, ExprKind::Str(_)) => {
                self.put(e, &Ty::Str { size: *size }, record.slot, off)
            }
            // A string that fills its field would lose its last byte to the next field, or write behind the head.
            ValueType::Str { size } if !matches!(e.kind, ExprKind::Call { name: "comm", .. }) => {
                let ty = Ty::Str { size: *size };
                let slot = self.slot_for(&ty, "string");
                let from = self.f.slot_addr(slot);
                self.put(e, &ty, from, 0)?;
                let align = alignment(off, *size);
                self.f.copy(record.slot, off, from, 0, *size, align);
                Ok(())
            }
            _ => self.put(e, &e.ty, record.slot, off),
        }
    }

    /// Number and layout of the record, then send it.
    fn output(&mut self, layout: &EventLayout, record: Record) -> Result<()> {
        let number = self.cx.add_event(layout.clone());
        let number = self.f.u64(u64::from(number));
        self.output_as(number, record)
    }

    /// Sends a record of event `number`.
    fn output_as(&mut self, number: Value, record: Record) -> Result<()> {
        self.f.store(8, record.slot, 0, number);
        let ring = self.cx.ring();
        let ring = self.f.map_ref(ring);
        let len = match record.end {
            End::At(len) => self.f.u64(u64::from(len)),
            End::Upto(len, _) => self.f.bound(len, u64::from(record.size)),
        };
        let flags = self.f.u64(0);
        let result = self.call(helper::RINGBUF_OUTPUT, &[ring, record.slot, len, flags]);
        let (lost, done) = (self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, result, zero, lost, done);
        self.f.switch_to(lost);
        self.lose_event();
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// Address of the record's end, where at least `room` bytes are free, and its offset.
    fn end_of(&mut self, record: &Record, room: u32) -> Result<(Value, Value)> {
        match record.end {
            End::At(at) => {
                let offset = self.f.u64(u64::from(at));
                Ok((self.f.ptr_add_imm(record.slot, i64::from(at)), offset))
            }
            End::Upto(at, most) => {
                if most + room > record.size {
                    return internal("a record without room for its tails");
                }
                let bounded = self.f.bound(at, u64::from(most));
                Ok((self.f.ptr_add(record.slot, bounded), at))
            }
        }
    }

    /// The record ends `len` bytes further, of at most `most`; the head tells where they are.
    fn extend_record(&mut self, record: &mut Record, arg: &EventArg, offset: Value, len: Value, most: u32) {
        let at = arg.offset as i32;
        self.f.store(4, record.slot, at, offset);
        self.f.store(4, record.slot, at + 4, len);
        let len = self.number(len);
        let end = self.f.bin(BinOp::Add, Type::U64, offset, len);
        let before = match record.end {
            End::At(at) | End::Upto(_, at) => at,
        };
        record.end = End::Upto(end, before + most);
    }

    fn put_tail(&mut self, record: &mut Record, e: &Expr, arg: &EventArg) -> Result<()> {
        match &e.ty {
            Ty::Str { size } => self.str_tail(record, e, arg, *size),
            Ty::Buf { size } => self.buf_tail(record, e, arg, *size),
            Ty::KStack(format) => self.stack_tail(record, arg, *format, false),
            Ty::UStack(format) if matches!(e.kind, ExprKind::Call { name: "dw_ustack", .. }) => {
                self.walked_tail(record, arg, *format, e.span)
            }
            Ty::UStack(format) => self.stack_tail(record, arg, *format, true),
            other => internal(format!("{other:?} as a tail")),
        }
    }

    fn str_tail(&mut self, record: &mut Record, e: &Expr, arg: &EventArg, size: u32) -> Result<()> {
        let (from, cap) = match &e.kind {
            ExprKind::Ternary { .. } | ExprKind::Block { .. } | ExprKind::MapGet { .. } => {
                let from = self.place(e)?;
                let cap = self.f.u64(u64::from(size) + 1);
                (from, cap)
            }
            _ => self.str_source(e, size)?,
        };
        let (to, offset) = self.end_of(record, size + 1)?;
        let len = self.read_str(to, cap, &from);
        self.extend_record(record, arg, offset, len, size);
        Ok(())
    }

    fn buf_tail(&mut self, record: &mut Record, e: &Expr, arg: &EventArg, size: u32) -> Result<()> {
        let (from, len) = match &e.kind {
            ExprKind::Call { name: "buf", args } => self.buf_source(args, size)?,
            _ => {
                let mem = self.place(e)?;
                let len = self.read(&mem, Type::U32)?;
                let len = self.number(len);
                (mem.plus(4), len)
            }
        };
        let (to, offset) = self.end_of(record, size)?;
        let address = self.address(&from);
        let id = match from.space {
            Space::User => helper::PROBE_READ_USER,
            _ => helper::PROBE_READ_KERNEL,
        };
        let most = self.f.u64(u64::from(size));
        let cond = Cond { cc: Cc::Ult, width: Width::W64, a: len, b: most };
        let len = self.f.push_value(Op::Select { cond, a: len, b: most }, Type::U64);
        let bounded = self.f.bound(len, u64::from(size));
        let result = self.call(id, &[to, bounded, address]);
        let zero = self.f.u64(0);
        let failed = Cond { cc: Cc::Slt, width: Width::W64, a: result, b: zero };
        let len = self.f.push_value(Op::Select { cond: failed, a: zero, b: len }, Type::U64);
        self.extend_record(record, arg, offset, len, size);
        Ok(())
    }

    /// A stack's addresses; of user stacks the process first.
    fn stack_tail(
        &mut self,
        record: &mut Record,
        arg: &EventArg,
        format: StackFormat,
        user: bool,
    ) -> Result<()> {
        self.align_end(record);
        let (front, size) = (if user { 8 } else { 0 }, stack_bytes(format));
        let (to, offset) = self.end_of(record, size + front)?;
        if user {
            let pid = self.process_id(None)?;
            let pid = self.number(pid);
            self.f.store(8, to, 0, pid);
        }
        let to = self.f.ptr_add_imm(to, i64::from(front));
        let ctx = self.ctx()?;
        let bytes = self.f.u64(u64::from(size));
        let flags = self.stack_flags(user);
        let result = self.call(helper::GET_STACK, &[ctx, to, bytes, flags]);
        let zero = self.f.iconst(Type::I64, 0);
        let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: result, b: zero };
        let len = self.f.push_value(Op::Select { cond, a: result, b: zero }, Type::I64);
        let len = self.f.add_imm(len, i64::from(front));
        self.extend_record(record, arg, offset, len, size + front);
        Ok(())
    }

    /// The same for a user stack that the program walks itself.
    fn walked_tail(
        &mut self,
        record: &mut Record,
        arg: &EventArg,
        format: StackFormat,
        span: Span,
    ) -> Result<()> {
        self.align_end(record);
        let size = stack_bytes(format);
        let (to, offset) = self.end_of(record, size + 8)?;
        let pid = self.process_id(None)?;
        let pid = self.number(pid);
        self.f.store(8, to, 0, pid);
        let to = self.f.ptr_add_imm(to, 8);
        let walked = self.walk_stack(to, format.limit, span)?;
        let three = self.f.u64(3);
        let len = self.f.bin(BinOp::Shl, Type::U64, walked.frames, three);
        let len = self.f.add_imm(len, 8);
        self.extend_record(record, arg, offset, len, size + 8);
        Ok(())
    }

    fn align_end(&mut self, record: &mut Record) {
        record.end = match record.end {
            End::At(at) => End::At(at.next_multiple_of(8)),
            End::Upto(at, most) => {
                let up = self.f.add_imm(at, 7);
                let mask = self.f.u64(!7);
                End::Upto(self.f.bin(BinOp::And, Type::U64, up, mask), most.next_multiple_of(8))
            }
        };
    }

    /// `join`: the strings of a NULL-terminated array of addresses, at most 16. Those that are not there are empty.
    fn join(&mut self, action: &Action, args: &[Expr], span: Span) -> Result<()> {
        let [argv] = args else { return internal("join takes one address") };
        let size = self.cx.program.config.max_strlen.min(1024);
        let types = (0..JOINED).map(|_| (ValueType::Str { size }, true));
        let mut layout = lay_out_with(action.clone(), types, 0);
        self.cx.place(&mut layout, span);
        let base = self.value(argv)?;
        let user = !matches!(&argv.ty, Ty::Ptr { space: Space::Kernel | Space::Btf, .. });
        let user_strings = match &argv.ty {
            Ty::Ptr { to, .. } => !matches!(**to, Ty::Ptr { space: Space::Kernel | Space::Btf, .. }),
            _ => user,
        };
        let mut record = self.record(&layout, (size + 1) * JOINED as u32, span)?;
        self.f.zero(record.slot, 0, layout.head, 8);
        let head = self.f.u64(u64::from(layout.head));
        let end_at = self.scratch(8, "end");
        self.f.store(8, end_at, 0, head);
        let done = self.f.block(&[]);
        for (index, arg) in layout.args.iter().enumerate() {
            let from = self.f.ptr_add_imm(base, 8 * index as i64);
            let kind = if user_strings { PtrKind::User } else { PtrKind::Kernel };
            let string = self.probe_read(from, Type::Ptr(kind), user)?;
            let zero = self.f.u64(0);
            let there = self.f.block(&[]);
            self.f.branch(Cc::Eq, string, zero, done, there);
            self.f.switch_to(there);
            let most = layout.head + size * index as u32;
            let at = self.f.load(Type::U64, end_at, 0);
            record.end = End::Upto(at, most);
            let (to, offset) = self.end_of(&record, size + 1)?;
            let cap = self.f.u64(u64::from(size) + 1);
            let space = if user_strings { Space::User } else { Space::Kernel };
            let len = self.read_str(to, cap, &Mem { base: string, off: 0, core: None, space });
            self.extend_record(&mut record, arg, offset, len, size);
            if let End::Upto(end, _) = record.end {
                self.f.store(8, end_at, 0, end);
            }
        }
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        let end = self.f.load(Type::U64, end_at, 0);
        record.end = End::Upto(end, layout.head + size * JOINED as u32);
        self.output(&layout, record)
    }
}
