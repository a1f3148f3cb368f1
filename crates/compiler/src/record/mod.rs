//! Recording: a module whose programs are finished enters; one leaves that does the same and tells, in its ring of events,
//! everything that it learns from outside ([`skep_bpf::record`]).
//!
//! It runs behind the optimising passes, so that a recorded program makes the same calls in the same order as the one that
//! runs again later. What always holds: nothing that the programs compute is changed; a record that finds no room is
//! counted and left out.

mod write;

use skep_bpf::helpers::id;
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::{MapDetails, MapSpec, Object};
use skep_bpf::record::{self, Answer, Filled, Kind, Length};

use crate::compile::{CompileError, Features};
use crate::ir::{
    BinOp, Block, FuncKind, Function, Inst, MapId, Module, Offset, Op, PtrKind, Terminator, Type, Value,
    Width,
};
use crate::lower::Chains;
use write::{Data, Maps, Writer};

/// Bytes of the ring at least: one run may send many records.
const RING: u32 = 16 << 20;
/// Bytes of data that are copied by loads and stores; more goes through a helper.
const COPIED: u32 = 64;

/// Makes the programs of `module` record their runs.
pub(crate) fn instrument(module: &mut Module, features: &Features) -> Result<(), CompileError> {
    let maps = add_maps(&mut module.object, features);
    let keyed: Vec<bool> = module.object.maps.iter().map(|m| is_hash(m.map_type)).collect();
    let key_sizes: Vec<u32> = module.object.maps.iter().map(|m| m.key_size).collect();
    let packets = Packets { xdp_load_bytes: features.xdp_load_bytes, tags: changes_tags(module) };
    for index in 0..module.funcs.len() {
        let program = module.programs.iter().position(|p| p.main.index() == index);
        let program = program.and_then(|i| Some((i as u32, module.programs.get(i)?.prog_type)));
        let Some(func) = module.funcs.get_mut(index) else { continue };
        let order = match func.params.first() {
            Some(Type::Ptr(PtrKind::Map(map))) if func.kind == FuncKind::Callback => {
                let known = keyed.get(map.index()).copied().unwrap_or(false);
                key_sizes.get(map.index()).filter(|_| known).map(|size| (*map, *size))
            }
            _ => None,
        };
        Recording { maps, program, order, packets }.function(func)?;
    }
    Ok(())
}

/// How packets are recorded.
#[derive(Clone, Copy)]
struct Packets {
    /// XDP programs read them through a helper; otherwise from their memory, which is in one piece then.
    xdp_load_bytes: bool,
    /// A tag that lies beside the packet is recorded before the program can change it.
    tags: bool,
}

/// Whether any function puts VLAN tags in or takes them out.
fn changes_tags(module: &Module) -> bool {
    let changes = |op: &Op| matches!(op, Op::Helper { id: id::SKB_VLAN_PUSH | id::SKB_VLAN_POP, .. });
    module.funcs.iter().any(|func| func.insts.iter().any(|inst| changes(&inst.op)))
}

/// Whether the entries come in an order that follows from nothing that a recording holds.
fn is_hash(kind: MapType) -> bool {
    matches!(kind, MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash)
}

fn add_maps(object: &mut Object, features: &Features) -> Maps {
    let array = |name: &str, map_type, value_size, max_entries| MapSpec {
        name: name.to_owned(),
        map_type,
        key_size: if map_type == MapType::Ringbuf { 0 } else { 4 },
        value_size,
        max_entries,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    };
    let mut add = |spec: MapSpec| {
        object.maps.push(spec);
        object.maps.len() - 1
    };
    let events = match object.session.events {
        Some(events) => events,
        None => add(array("events", MapType::Ringbuf, 0, RING)),
    };
    let lost = add(array(record::LOST_MAP, MapType::Array, 8, 1));
    let run = add(array(record::RUN_MAP, MapType::Array, features.cpus.max(1).saturating_mul(8), 1));
    object.session.events = Some(events);
    if let Some(ring) = object.maps.get_mut(events) {
        ring.max_entries = ring.max_entries.max(RING);
    }
    let id = |index: usize| MapId(index as u32);
    Maps {
        ring: id(events),
        lost: id(lost),
        run: id(run),
        gate: object.session.control_map.map(id),
        cpus: features.cpus.max(1),
    }
}

/// What is recorded of a function.
struct Recording {
    maps: Maps,
    /// The program that it is, with its type.
    program: Option<(u32, ProgType)>,
    /// The map whose entries it is called for, and the bytes of a key.
    order: Option<(MapId, u32)>,
    packets: Packets,
}

/// What of an instruction is recorded.
enum Site {
    /// The answer of a helper.
    Helper { id: u32, args: Vec<Value>, filled: Option<(Filled, Room)>, address: Option<Value> },
    /// The answer of a kernel function, by its number.
    Kfunc { number: u32 },
    /// A load from the context at an offset.
    Context { offset: u64, size: u32 },
    /// A load through a typed pointer.
    Memory { ptr: Value, offset: i64, size: u32 },
    /// A copy from behind one.
    Copied { from: (Value, i64), to: Value, to_offset: i32, len: u32 },
    /// A load of the gate.
    Gate,
    /// An event of the program's own, whose number of the run is filled in before.
    Event { record: Value },
}

/// How much memory a helper fills at most.
#[derive(Clone, Copy)]
enum Room {
    Exactly(u32),
    /// A value that is at most so much.
    Upto(Value, u32),
}

impl Recording {
    fn function(&self, func: &mut Function) -> Result<(), CompileError> {
        let sites = self.sites(func)?;
        let main = func.kind == FuncKind::Main;
        if !main && sites.iter().all(Option::is_none) && self.order.is_none() {
            return Ok(());
        }
        let blocks = func.blocks.len();
        let mut sites = sites.into_iter().map(Some).collect::<Vec<_>>();
        let entry = std::mem::take(&mut func.block_mut(Function::ENTRY).insts);
        let loc = entry.first().map_or(func.block(Function::ENTRY).loc, |i| func.inst(*i).loc);
        let mut begun = Begun::default();
        let (term, end) = (func.block_mut(Function::ENTRY).term.take(), func.block(Function::ENTRY).loc);
        let mut w = Writer::new(func, Function::ENTRY, loc, self.maps);
        self.begin(&mut w, &mut begun);
        let at = w.a.at;
        let last = func.block_mut(at);
        (last.term, last.loc) = (term, end);
        self.block(func, at, entry, &mut sites, &begun);
        for index in 1..blocks {
            let block = Block(index as u32);
            let insts = std::mem::take(&mut func.block_mut(block).insts);
            self.block(func, block, insts, &mut sites, &begun);
        }
        Ok(())
    }

    /// What is recorded of each instruction, by its number.
    fn sites(&self, func: &Function) -> Result<Vec<Option<Site>>, CompileError> {
        let chains = Chains::new(func);
        let mut sites: Vec<Option<Site>> = func.insts.iter().map(|_| None).collect();
        for inst in func.blocks.iter().flat_map(|b| &b.insts) {
            let data = func.inst(*inst);
            let site = self.site(&chains, &data.op).map_err(|what| CompileError::Unsupported {
                what: format!("--record: {what}"),
                function: func.name.clone(),
                loc: data.loc,
            })?;
            sites[inst.index()] = site;
        }
        Ok(sites)
    }

    fn site(&self, chains: &Chains<'_>, op: &Op) -> Result<Option<Site>, String> {
        let kind = |v: Value| match chains.func.type_of(v) {
            Type::Ptr(kind) => Some(kind),
            Type::Int(_) => None,
        };
        Ok(match op {
            Op::Helper { id, args } => self.helper(chains, *id, args)?,
            Op::Kfunc { name, .. } => record::kfunc_number(name).map(|number| Site::Kfunc { number }),
            Op::Load { ty, ptr, off } => {
                let size = if let Type::Int(int) = ty { int.bytes() } else { 8 };
                match kind(*ptr) {
                    // The packet is recorded as a whole.
                    Some(PtrKind::Ctx) if matches!(ty, Type::Ptr(PtrKind::Packet | PtrKind::PacketEnd)) => {
                        None
                    }
                    Some(PtrKind::Ctx) => {
                        let (_, before) = chains.parts(*ptr);
                        let offset = before + off.resolved();
                        Some(Site::Context { offset: u64::try_from(offset).unwrap_or(0), size })
                    }
                    Some(PtrKind::Btf { .. }) => {
                        Some(Site::Memory { ptr: *ptr, offset: off.resolved(), size })
                    }
                    Some(PtrKind::MapValue { .. }) if self.is_gate(chains, *ptr) => Some(Site::Gate),
                    _ => None,
                }
            }
            Op::Copy { dst, dst_off, src, src_off, len, .. } => match kind(*src) {
                Some(PtrKind::Btf { .. }) => Some(Site::Copied {
                    from: (*src, i64::from(*src_off)),
                    to: *dst,
                    to_offset: *dst_off,
                    len: *len,
                }),
                Some(PtrKind::Ctx) => {
                    return Err("copies of the context are not recorded".to_owned());
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn is_gate(&self, chains: &Chains<'_>, ptr: Value) -> bool {
        let (base, _) = chains.parts(ptr);
        match chains.def(base) {
            Some(Op::MapValueAddr { map, .. }) => Some(*map) == self.maps.gate,
            _ => false,
        }
    }

    fn helper(&self, chains: &Chains<'_>, id: u32, args: &[Value]) -> Result<Option<Site>, String> {
        if id == id::RINGBUF_OUTPUT {
            let ring = args.first().and_then(|v| chains.def(chains.root(*v)));
            let own = matches!(ring, Some(Op::MapRef(map)) if *map == self.maps.ring);
            return Ok(args.get(1).filter(|_| own).map(|record| Site::Event { record: *record }));
        }
        let (filled, address) = match record::answer(id) {
            Answer::Again | Answer::Run => return Ok(None),
            Answer::Recorded { filled, address } => (filled, address),
            Answer::Never => {
                let name = skep_bpf::helpers::by_id(id).map_or("?", |h| h.name);
                return Err(format!("what bpf_{name} gives is not recorded"));
            }
        };
        let filled = match filled {
            None => None,
            Some(filled) => Some((filled, room(chains, filled, args)?)),
        };
        let address = address.and_then(|i| args.get(i)).copied();
        Ok(Some(Site::Helper { id, args: args.to_vec(), filled, address }))
    }

    /// The run's number: a new one in a main function, that of the CPU in others.
    fn begin(&self, w: &mut Writer<'_>, begun: &mut Begun) {
        let cpu = w.helper(id::GET_SMP_PROCESSOR_ID, &[], Type::U64);
        if w.a.func.kind == FuncKind::Main {
            let time = w.helper(id::KTIME_GET_NS, &[], Type::U64);
            let eight = w.a.constant(8);
            let high = w.bin(BinOp::Shl, time, eight);
            let mask = w.a.constant(0xff);
            let low = w.bin(BinOp::And, cpu, mask);
            w.run = w.bin(BinOp::Or, high, low);
            let (number, ty) = self.program.unwrap_or((0, ProgType::Xdp));
            w.begin(number, is_tracing(ty), cpu, time);
            let context = w.a.func.block(Function::ENTRY).params.first().copied();
            match (context, ty) {
                (Some(context), ProgType::Xdp) if self.packets.xdp_load_bytes => w.xdp_packet(context),
                (Some(context), ProgType::Xdp) => w.xdp_memory(context),
                (Some(context), ProgType::SchedCls) => w.skb_packet(context, self.packets.tags),
                _ => {}
            }
            begun.cpu = Some(cpu);
            begun.before = Some(w.exchange_run(cpu));
        } else {
            w.run = w.current_run(cpu);
        }
        begun.run = w.run;
        if let Some((map, size)) = self.order {
            let key = w.a.func.block(Function::ENTRY).params.get(1).copied();
            let data = key.map_or(Data::None, |key| Data::Bytes { ptr: key, offset: 0, len: size });
            let zero = w.a.constant(0);
            w.record(Kind::Key, map.0, zero, zero, data);
        }
    }

    /// Puts the instructions of a block back, with what records them.
    fn block(
        &self,
        func: &mut Function,
        block: Block,
        insts: Vec<Inst>,
        sites: &mut [Option<Option<Site>>],
        begun: &Begun,
    ) {
        let term = func.block_mut(block).term.take();
        let (loc, cold) = (func.block(block).loc, func.block(block).cold);
        let mut w = Writer::new(func, block, loc, self.maps);
        (w.run, w.cold) = (begun.run, cold);
        for inst in insts {
            let site = sites.get_mut(inst.index()).and_then(Option::take).flatten();
            w.a.loc = w.a.func.inst(inst).loc;
            if let Some(Site::Event { record }) = &site {
                let run = w.run;
                w.a.push(Op::Store { size: 4, ptr: *record, off: Offset::at(4), val: run });
            }
            let at = w.a.at;
            w.a.func.block_mut(at).insts.push(inst);
            if let Some(site) = site {
                put(&mut w, inst, &site);
            }
        }
        w.a.loc = loc;
        if let (Some(Terminator::Return(value)), FuncKind::Main) = (&term, w.a.func.kind) {
            let value = w.number(*value);
            let zero = w.a.constant(0);
            w.record(Kind::End, 0, zero, value, Data::None);
            if let (Some(cpu), Some(before)) = (begun.cpu, begun.before) {
                w.restore_run(cpu, before);
            }
        }
        let at = w.a.at;
        let end = func.block_mut(at);
        (end.term, end.loc) = (term, loc);
    }
}

/// What the beginning of a function has settled.
struct Begun {
    run: Value,
    cpu: Option<Value>,
    before: Option<Value>,
}

impl Default for Begun {
    fn default() -> Begun {
        Begun { run: Value(0), cpu: None, before: None }
    }
}

/// Whether programs of this type can ask for the process that they run in.
fn is_tracing(ty: ProgType) -> bool {
    matches!(
        ty,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::Tracing
            | ProgType::Lsm
    )
}

/// How much memory the helper's caller gives it.
fn room(chains: &Chains<'_>, filled: Filled, args: &[Value]) -> Result<Room, String> {
    if let Length::Fixed(bytes) = filled.length {
        return Ok(Room::Exactly(bytes));
    }
    let Some(len) = args.get(filled.argument + 1).copied() else {
        return Err("a helper is called without the length of what it fills".to_owned());
    };
    if let Some(bytes) = chains.int(len).and_then(|n| u32::try_from(n).ok()) {
        return Ok(Room::Exactly(bytes));
    }
    let (len, max) = bounded(chains, len).ok_or("a helper fills memory of a length without a known bound")?;
    let max = u32::try_from(max).map_err(|_| "a helper fills more than 4 GiB".to_owned())?;
    Ok(Room::Upto(len, max))
}

/// A length with the most that it can be: what is bounded, or a constant more than that.
fn bounded(chains: &Chains<'_>, len: Value) -> Option<(Value, u64)> {
    match chains.def(chains.root(len))? {
        Op::Bound { v, max } => Some((*v, *max)),
        Op::Bin { op: BinOp::Add, width: Width::W64, a, b } => {
            let more = u64::try_from(chains.int(*b)?).ok()?;
            match chains.def(chains.root(*a))? {
                Op::Bound { max, .. } => Some((len, max.checked_add(more)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Writes the record of what `inst` has just done.
fn put(w: &mut Writer<'_>, inst: Inst, site: &Site) {
    let zero = w.a.constant(0);
    match site {
        Site::Helper { id, args, filled, address } => {
            let value = w.result_of(inst);
            let address = address.map_or(zero, |a| w.number(a));
            let data = filled.map_or(Data::None, |(filled, room)| {
                let ptr = args.get(filled.argument).copied().unwrap_or(zero);
                filled_data(w, ptr, filled.length, room, value)
            });
            w.record(Kind::Helper, *id, address, value, data);
        }
        Site::Kfunc { number } => {
            let value = w.result_of(inst);
            w.record(Kind::Kfunc, *number, zero, value, Data::None);
        }
        Site::Context { offset, size } => {
            let value = w.result_of(inst);
            let offset = w.a.constant(*offset as i64);
            w.record(Kind::Context, *size, offset, value, Data::None);
        }
        Site::Memory { ptr, offset, size } => {
            let value = w.result_of(inst);
            let address = w.address(*ptr, *offset);
            w.record(Kind::Memory, *size, address, value, Data::None);
        }
        Site::Copied { from: (ptr, offset), to, to_offset, len } => {
            let address = w.address(*ptr, *offset);
            let data = Data::Bytes { ptr: *to, offset: *to_offset, len: *len };
            w.record(Kind::Memory, 0, address, zero, data);
        }
        Site::Gate => {
            let value = w.result_of(inst);
            w.record(Kind::Gate, 0, zero, value, Data::None);
        }
        Site::Event { .. } => {}
    }
}

/// What a helper has filled in, by its length.
fn filled_data(w: &mut Writer<'_>, ptr: Value, length: Length, room: Room, result: Value) -> Data {
    match (length, room) {
        (Length::Returned, Room::Exactly(max) | Room::Upto(_, max)) => {
            let len = w.positive(result);
            Data::Upto { ptr, len, max }
        }
        (_, Room::Exactly(len)) if len <= COPIED => Data::Bytes { ptr, offset: 0, len },
        (_, Room::Exactly(len)) => {
            let all = w.a.constant(i64::from(len));
            Data::Upto { ptr, len: all, max: len }
        }
        (_, Room::Upto(len, max)) => Data::Upto { ptr, len, max },
    }
}
