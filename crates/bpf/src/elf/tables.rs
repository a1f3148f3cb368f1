//! The `.skep` section: what an [`Object`](crate::object::Object) has and a standard ELF file has no place for. One row
//! here says how a type is written and read; a type that gains a field or a variant gains it here too, with a tag that was
//! never used before.
//!
//! Layout: `SKEP`, u32 [`VERSION`], u32 number of the schema (little-endian), then [`Extra`]. The schema's number
//! changes by itself with the rows, so that a file is never read by rows other than those that wrote it.

use super::wire::{Input, Output, Wire, WireError, wire_enums, wire_structs};
use crate::event::{Action, EventArg, EventLayout, Spot, Stream};
use crate::format::{Conv, ConvKind, Piece};
use crate::kinds::{AttachType, MapType, ProgType};
use crate::object::{
    Attach, AttachPoint, BtfTarget, Counter, HookOwner, InnerMap, KconfigKind, KconfigVar, MapDetails,
    MapSchema, MapSpec, MapTypes, MissingProbes, NamedSlot, PacketBuffer, Sample, SessionSpec, SlotContent,
    Storage, SymbolSpec, XdpMode,
};
use crate::origin::{Assumption, Origin, Place};
use crate::schema::{Agg, Clock, Field, SeriesFold, StackFormat, StackMode, ValueType};
use crate::target::Arch;
use crate::unwind::UnwindMaps;
use crate::version::KernelVersion;

/// First bytes of the section.
const MAGIC: &[u8; 4] = b"SKEP";
/// Version of the layout in front of [`Extra`].
const VERSION: u32 = 1;

/// The content of the section.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Extra {
    /// See [`crate::object::Object::origin`].
    pub(super) origin: Option<Origin>,
    /// Types of `.BTF` that are the object's own; those behind them describe the ELF file's maps and sections.
    pub(super) btf_types: u32,
    /// Bytes of `.BTF`'s strings that are the object's own.
    pub(super) btf_strings: u32,
    /// The maps, in the object's order.
    pub(super) maps: Vec<NamedMap>,
    /// The programs, in the object's order.
    pub(super) programs: Vec<NamedProgram>,
    /// See [`crate::object::Object::events`].
    pub(super) events: Vec<EventLayout>,
    /// See [`crate::object::Object::session`].
    pub(super) session: SessionSpec,
    /// See [`crate::object::Object::notes`].
    pub(super) notes: Vec<String>,
}

/// A map with its symbol.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NamedMap {
    /// Symbol of the map, or of the first variable of its data section.
    pub(super) symbol: String,
    /// The map.
    pub(super) spec: MapSpec,
}

/// A program with its symbol; the code is the ELF file's.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NamedProgram {
    /// Symbol of the function.
    pub(super) function: String,
    /// See [`crate::object::Program`], as the rest.
    pub(super) name: String,
    pub(super) symbol: String,
    pub(super) prog_type: ProgType,
    pub(super) attach_type: AttachType,
    pub(super) attach_btf: Option<BtfTarget>,
    pub(super) attach: Vec<AttachPoint>,
    pub(super) sleepable: bool,
}

wire_structs! {
    Extra { origin, btf_types, btf_strings, maps, programs, events, session, notes }
    NamedMap { symbol, spec }
    NamedProgram { function, name, symbol, prog_type, attach_type, attach_btf, attach, sleepable }
    Origin { arch, kernel, assumptions }
    KernelVersion { major, minor, patch }
    Place { name, offset, size }
    MapSpec { name, map_type, key_size, value_size, max_entries, flags, initial, frozen, schema, details }
    MapDetails { types, inner, slots, pin_by_name, numa_node, map_extra, kconfig }
    MapTypes { key, value }
    InnerMap { map_type, key_size, value_size, max_entries, flags, types }
    NamedSlot { index, content }
    KconfigVar { name, offset, size, kind, weak }
    MapSchema { storage, key, value, order }
    SessionSpec {
        events, counter_map, counters, print_maps_on_exit, control_map, start_map, truncation_trailer, missing_probes,
        symbols, cat_bytes, log_bytes, packets, unwind
    }
    PacketBuffer { map, bytes }
    SymbolSpec { debug_info, demangle }
    UnwindMaps { places, rows }
    AttachPoint { at, cookie, name, probes }
    EventLayout { action, args, head, file, line, columns, uses }
    Spot { file, line, columns }
    EventArg { offset, ty, tail }
    Field { name, offset, ty, bits }
    StackFormat { limit, mode }
    Conv { left, plus, space, alt, zero, group, width, precision, length, kind }
}

wire_enums! {
    Arch {
        0 X86_64;
        1 Aarch64;
    }
    Assumption {
        0 Tracepoint { category, name, fields };
        1 Signature { target, params };
        2 Symbol { name, address };
        3 Cgroup { path, id };
        4 User { name, id };
        5 Function { path, name, delta, offset };
        6 Cpus(n);
        7 Layout { name, size, fields };
        8 Note { path, provider, name, index, offset, semaphore, args };
    }
    BtfTarget {
        0 RawTracepoint(name);
        1 Function { name, module };
        2 Iter(name);
        3 Program { id, function };
    }
    Counter {
        0 LostEvent;
        1 ScratchBusy;
        2 MapFull(map);
        3 StackLost(map);
        4 MapRefused(map);
    }
    MissingProbes {
        0 Error;
        1 Warn;
        2 Ignore;
    }
    Storage {
        0 Hash;
        1 PercpuScalar;
        2 Scalar;
    }
    SlotContent {
        0 Map(map);
        1 Program(symbol);
    }
    KconfigKind {
        0 Bool;
        1 Char;
        2 Tristate;
        3 Int { signed };
        4 Text;
    }
    Sample {
        0 Period(n);
        1 Frequency(n);
    }
    Attach {
        0 Begin;
        1 End;
        2 SelfSignal(name);
        3 Tracepoint { category, name };
        4 RawTracepoint { name };
        5 Kprobe { symbol, offset, ret };
        6 KprobeMulti { symbols, cookies, ret };
        7 Fentry;
        8 Uprobe { path, offset, ref_ctr, ret, pid };
        9 UprobeMulti { path, offsets, cookies, ref_ctrs, ret, pid };
        10 PerfEvent { perf_type, config, sample, one_cpu, pid };
        11 Iter;
        12 Breakpoint { address, len, access, pid };
        13 Test;
        14 Bench;
        15 PinnedIter { path };
        16 Xdp { interface, mode, frags };
        17 Tc { interface, egress };
        18 Hook { owner, name, attach_type };
        19 CpuMap { map, frags };
    }
    XdpMode {
        0 Any;
        1 Native;
        2 Generic;
    }
    HookOwner {
        0 Cgroup;
        1 NetNamespace;
        2 Interface;
    }
    Action {
        0 Printf { format, stream };
        1 Print;
        2 PrintMapEntry { map, key };
        3 PrintMap { map };
        4 Clear { map };
        5 Zero { map };
        6 Time { format };
        7 Join { delimiter };
        8 System { format };
        9 Cat { format };
        10 Exit;
        11 RuntimeError { message };
        12 HelperError { helper };
        13 Unwatch;
        14 SavePacket { path, offset };
    }
    Stream {
        0 Out;
        1 Warning;
        2 Error;
    }
    Piece {
        0 Text(text);
        1 Conv(conv);
    }
    ConvKind {
        0 Signed;
        1 Unsigned;
        2 HexLower;
        3 HexUpper;
        4 Octal;
        5 Char;
        6 Pointer;
        7 String;
        8 Buf;
        9 BufHex;
        10 BufHexBlank;
        11 GfpFlags;
    }
    ValueType {
        0 None;
        1 Int { size, signed };
        2 Bool;
        3 Pointer;
        4 Enum { size, signed, names };
        5 Str { size };
        6 Buf { size };
        7 Array { elem, count };
        8 Tuple(fields);
        9 Record { size, fields };
        10 KStack(format);
        11 UStack(format);
        12 KSym;
        13 USym;
        14 Inet;
        15 Mac;
        16 Timestamp { format, clock };
        17 Username;
        18 CgroupPath { filter };
        19 StrError;
        20 Signal;
        21 Agg(agg);
    }
    Clock {
        0 Monotonic;
        1 Boot;
        2 Tai;
        3 Realtime;
    }
    StackMode {
        0 Bpftrace;
        1 Perf;
        2 Raw;
        3 BuildId;
    }
    Agg {
        0 Count;
        1 Sum { signed };
        2 Min { signed };
        3 Max { signed };
        4 Avg { signed };
        5 Stats { signed };
        6 Hist { bits };
        7 LHist { min, max, step };
        8 TSeries { signed, interval, count, fold };
    }
    SeriesFold {
        0 Last;
        1 Sum;
        2 Min;
        3 Max;
        4 Avg;
    }
}

/// Enums of the kernel's numbers.
macro_rules! wire_numbers {
    ($($name:ident)*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Output) {
                (*self as u32).put(out);
            }
            fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
                let number = u32::get(input)?;
                let unknown = || input.error(format!(concat!("unknown ", stringify!($name), " {}"), number));
                $name::from_number(number).ok_or_else(unknown)
            }
        }
    )*};
}

wire_numbers!(ProgType AttachType MapType);

/// FNV-1a over the rows: which rows wrote a section.
const fn schema() -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let tables = [STRUCTS, ENUMS];
    let mut t = 0;
    while t < tables.len() {
        let mut i = 0;
        while i < tables[t].len() {
            let text = tables[t][i].as_bytes();
            let mut at = 0;
            while at < text.len() {
                hash = (hash ^ text[at] as u32).wrapping_mul(0x0100_0193);
                at += 1;
            }
            i += 1;
        }
        t += 1;
    }
    hash
}

const SCHEMA: u32 = schema();

impl Extra {
    /// The section's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&SCHEMA.to_le_bytes());
        self.put(&mut out);
        out
    }

    /// Reads a section.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Extra, WireError> {
        let head = 4 + 4 + 4;
        if bytes.get(..4) != Some(&MAGIC[..]) || bytes.len() < head {
            return Err(WireError { at: 0, what: "this is not what skep writes there".to_owned() });
        }
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
            u32::from_le_bytes(word.unwrap_or_default())
        };
        if (word(4), word(8)) != (VERSION, SCHEMA) {
            let what = format!(
                "written by another version of skep (layout {}.{:08x}, this one reads {VERSION}.{SCHEMA:08x}): \
                 emit the object again with this one",
                word(4),
                word(8)
            );
            return Err(WireError { at: 4, what });
        }
        let mut input = Input::new(bytes, head);
        let extra = Extra::get(&mut input)?;
        if input.left() != 0 {
            return Err(input.error(format!("{} bytes more than belong to it", input.left())));
        }
        Ok(extra)
    }
}
