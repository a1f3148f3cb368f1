//! What all programs of a module share: the maps and how they are stored, counters, event layouts, source lines, and
//! what the target can do.

use super::storage::{self, MapInfo};
use super::walk::Facts;
use super::{BuildError, Result};
use crate::ast::Span;
use crate::diag::line_column;
use crate::hir::{self, MapNo, PacketSource};
use crate::source;
use crate::ty::{Composite, Ty};
use skep_bpf::event::{EventLayout, Spot};
use skep_bpf::kinds::{MapType, map_flags};
use skep_bpf::object::{Counter, MapDetails, MapSpec, PacketBuffer};
use skep_bpf::schema::ValueType;
use skep_bpf::target::{Arch, Feature, Target, TargetExt};
use skep_bpf::unwind;
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{FuncId, Function, Loc, MapId, Module, ProgramDecl};
use skep_compiler::layers::Depth;
use std::collections::HashMap;

/// The module while it is built.
pub(super) struct ModuleCx<'a> {
    /// The checked program.
    pub(super) program: &'a hir::Program,
    /// What it will run on.
    pub(super) target: &'a dyn Target,
    /// Architecture.
    pub(super) arch: Arch,
    /// The source's maps by `MapNo`.
    pub(super) maps: Vec<MapInfo>,
    /// Facts of the whole tree.
    pub(super) facts: Facts,
    /// Whether the kernel keeps `task_struct.comm` padded with zeros (__set_task_comm, fs/exec.c, Linux 5.17).
    pub(super) padded_comm: bool,
    /// Whether a raw tracepoint's program may run inside of itself.
    pub(super) raw_programs_nest: bool,
    /// Functions of the script that were called; `None` while one is built.
    pub(super) functions: HashMap<usize, Option<FuncId>>,
    /// The probe is built for the verifier's sake: shared functions, parts, rare code out of line (see `parts`).
    pub(super) large: bool,
    /// Functions that several places call, by what they do.
    pub(super) shared: HashMap<(String, &'static str, usize), FuncId>,
    /// Events that say that a helper failed at a place, for those functions.
    pub(super) failures: HashMap<(u32, Span), u32>,
    /// Functions that find the layers of packets.
    pub(super) locators: Vec<((PacketSource, Depth), FuncId)>,
    module: Module,
    /// The script's text, with the imported files' behind it.
    text: &'a str,
    /// First byte of each line.
    lines: Vec<u32>,
    layouts: HashMap<crate::ty::CompositeDef, &'a ValueType>,
    features: HashMap<Feature, bool>,
    internal_maps: HashMap<String, MapId>,
}

impl<'a> ModuleCx<'a> {
    /// An empty module with the program's maps.
    pub(super) fn new(
        program: &'a hir::Program,
        target: &'a dyn Target,
        (file, text): (&'a str, &'a str),
    ) -> Result<ModuleCx<'a>> {
        let source = text.lines().map(str::to_owned).collect();
        let mut module = Module { file: file.to_owned(), source, ..Module::default() };
        module.object.license.clone_from(&program.config.license);
        module.object.notes.clone_from(&program.notes);
        let session = &mut module.object.session;
        session.print_maps_on_exit = program.config.print_maps_on_exit;
        session.truncation_trailer.clone_from(&program.config.truncation_trailer);
        session.missing_probes = program.config.missing_probes;
        session.symbols = program.config.symbols;
        session.cat_bytes = program.config.cat_bytes;
        session.log_bytes = program.config.log_bytes;
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1);
        let mut cx = ModuleCx {
            program,
            target,
            arch: target.arch()?,
            maps: Vec::new(),
            facts: Facts::of(program),
            padded_comm: target.kernel_version()? >= KernelVersion::new(5, 17),
            raw_programs_nest: target.kernel_version()? < KernelVersion::new(6, 1),
            functions: HashMap::new(),
            large: false,
            shared: HashMap::new(),
            failures: HashMap::new(),
            locators: Vec::new(),
            module,
            text,
            lines: std::iter::once(0).chain(starts).collect(),
            layouts: program.layouts.iter().map(|(def, ty)| (*def, ty)).collect(),
            features: HashMap::new(),
            internal_maps: HashMap::new(),
        };
        for (order, source) in program.maps.iter().enumerate() {
            let info = storage::declare(&mut cx, source, order as u32)?;
            cx.maps.push(info);
        }
        Ok(cx)
    }

    /// The module, finished.
    pub(super) fn finish(mut self) -> Module {
        let session = &self.module.object.session;
        if let Some(map) = session.counter_map {
            self.module.object.maps[map].max_entries = session.counters.len() as u32;
        }
        self.module
    }

    /// Line and column of a span's start.
    pub(super) fn loc(&self, span: Span) -> Loc {
        let line = self.lines.partition_point(|start| *start <= span.start).max(1);
        Loc { line: line as u32, column: span.start - self.lines[line - 1] + 1 }
    }

    /// Where in the source something is: file, line, first column and the one behind the last, the columns if all of it
    /// lies on one line.
    pub(super) fn spot(&self, span: Span) -> Spot {
        let place = source::locate(&self.program.files, self.text, span);
        let at = |offset| match place.file {
            None => self.loc(Span { start: offset, end: offset }),
            Some(_) => {
                let (line, column) = line_column(place.text, offset);
                Loc { line, column }
            }
        };
        let (start, end) = (at(place.span.start), at(place.span.end));
        let columns = (start.line == end.line).then_some((start.column, end.column));
        Spot { file: place.file.map(str::to_owned), line: start.line, columns }
    }

    /// Notes in an event where in the source it comes from.
    pub(super) fn place(&self, layout: &mut EventLayout, span: Span) {
        let spot = self.spot(span);
        (layout.file, layout.line, layout.columns) = (spot.file, spot.line, spot.columns);
    }

    /// How a value of this type lies in a map, a tuple or an event.
    pub(super) fn layout(&self, ty: &Ty) -> ValueType {
        let of_composite = |c: &Composite| match self.layouts.get(&c.def) {
            Some(layout) => (*layout).clone(),
            None => ValueType::Record { size: c.size, fields: Vec::new() },
        };
        ty.layout(&of_composite)
    }

    /// Bytes of a value in memory. Composites count in full even where their fields are not known.
    pub(super) fn size_of(&self, ty: &Ty) -> u32 {
        self.layout(ty).size()
    }

    /// Whether the target has a feature; asked once.
    pub(super) fn has(&mut self, feature: Feature) -> Result<bool> {
        if let Some(known) = self.features.get(&feature) {
            return Ok(*known);
        }
        let has = self.target.has(feature)?;
        self.features.insert(feature, has);
        Ok(has)
    }

    /// An error unless the target has `feature`, which `what` needs.
    pub(super) fn require(&mut self, feature: Feature, what: &str, span: Span) -> Result<()> {
        match self.has(feature)? {
            true => Ok(()),
            false => {
                Err(BuildError::Unsupported { what: what.to_owned(), since: Some(feature.since()), span })
            }
        }
    }

    /// Adds a map.
    pub(super) fn add_map(&mut self, spec: MapSpec) -> MapId {
        self.module.object.maps.push(spec);
        MapId(self.module.object.maps.len() as u32 - 1)
    }

    /// The internal map of that name, made from `spec` at first use.
    pub(super) fn internal_map(&mut self, spec: MapSpec) -> MapId {
        if let Some(id) = self.internal_maps.get(&spec.name) {
            return *id;
        }
        let name = spec.name.clone();
        let id = self.add_map(spec);
        self.internal_maps.insert(name, id);
        id
    }

    /// How a source map is stored.
    pub(super) fn map(&self, map: MapNo) -> Result<&MapInfo> {
        match self.maps.get(map.0 as usize) {
            Some(info) => Ok(info),
            None => super::internal(format!("map {} was not declared", map.0)),
        }
    }

    /// The ring buffer of all events.
    pub(super) fn ring(&mut self) -> MapId {
        let bytes = self.program.config.ring_bytes;
        let id = self.internal_map(MapSpec {
            map_type: MapType::Ringbuf,
            max_entries: bytes,
            key_size: 0,
            value_size: 0,
            ..internal("events")
        });
        self.module.object.session.events = Some(id.index());
        id
    }

    /// The array of buffers that packets are sent through.
    pub(super) fn packets(&mut self) -> MapId {
        let bytes = self.program.config.ring_bytes;
        let id = self.internal_map(MapSpec {
            map_type: MapType::PerfEventArray,
            value_size: 4,
            // One for each CPU of the machine that loads it.
            max_entries: 0,
            ..internal("packets")
        });
        self.module.object.session.packets = Some(PacketBuffer { map: id.index(), bytes });
        id
    }

    /// The map that counts losses, and the entry of `counter` in it.
    pub(super) fn counter(&mut self, counter: Counter) -> (MapId, u32) {
        let map = self.internal_map(MapSpec { map_type: MapType::PercpuArray, ..internal("counters") });
        let session = &mut self.module.object.session;
        session.counter_map = Some(map.index());
        let index = session.counters.iter().position(|c| *c == counter).unwrap_or_else(|| {
            session.counters.push(counter);
            session.counters.len() - 1
        });
        (map, index as u32)
    }

    /// The array with what the loader knows of the clocks: see `SessionSpec::start_map`.
    pub(super) fn start_map(&mut self) -> MapId {
        let id = self.internal_map(MapSpec { value_size: 16, ..internal("start") });
        self.module.object.session.start_map = Some(id.index());
        id
    }

    /// An array with one u64: whether an interval has called `exit()`.
    pub(super) fn exit_map(&mut self) -> MapId {
        self.internal_map(internal("exited"))
    }

    /// An array with one u64 that is zero, which the verifier does not know.
    pub(super) fn zero_map(&mut self) -> MapId {
        self.internal_map(internal("zero"))
    }

    /// The stack trace map for stacks of at most `limit` frames.
    pub(super) fn stack_map(&mut self, limit: u32) -> MapId {
        let max_entries = self.program.config.max_stacks;
        self.internal_map(MapSpec {
            map_type: MapType::StackTrace,
            value_size: limit * 8,
            max_entries,
            ..internal(&format!("stack_{limit}"))
        })
    }

    /// The maps of the tables that stacks are walked by; the loader sets their sizes.
    pub(super) fn unwind_maps(&mut self) -> (MapId, MapId) {
        let places = self.internal_map(MapSpec {
            map_type: MapType::LpmTrie,
            key_size: unwind::PLACE_KEY_BYTES,
            value_size: unwind::PLACE_BYTES,
            flags: map_flags::NO_PREALLOC,
            ..internal("places")
        });
        let value_size = unwind::CHUNK_ROWS * unwind::ROW_BYTES;
        let rows = self.internal_map(MapSpec { value_size, ..internal("rows") });
        self.module.object.session.unwind =
            Some(unwind::UnwindMaps { places: places.index(), rows: rows.index() });
        (places, rows)
    }

    /// The map of walked stacks of at most `limit` frames.
    pub(super) fn walked_map(&mut self, limit: u32) -> MapId {
        let max_entries = self.program.config.max_stacks;
        self.internal_map(MapSpec {
            map_type: MapType::Hash,
            key_size: 8,
            value_size: 8 + limit * 8,
            max_entries,
            ..internal(&unwind::walked_map(limit))
        })
    }

    /// A map of one value that programs may only read. One of the same contents is shared.
    pub(super) fn constant(&mut self, bytes: Vec<u8>) -> MapId {
        let known = self.module.object.maps.iter().position(|m| m.frozen && m.initial == bytes);
        if let Some(index) = known {
            return MapId(index as u32);
        }
        let name = format!("constant_{}", self.module.object.maps.len());
        let value_size = bytes.len() as u32;
        let flags = map_flags::RDONLY_PROG;
        self.add_map(MapSpec { value_size, flags, initial: bytes, frozen: true, ..internal(&name) })
    }

    /// Adds an event's layout; its number.
    pub(super) fn add_event(&mut self, layout: EventLayout) -> u32 {
        self.module.object.events.push(layout);
        self.module.object.events.len() as u32 - 1
    }

    /// Adds a function.
    pub(super) fn add_func(&mut self, func: Function) -> FuncId {
        self.module.funcs.push(func);
        FuncId(self.module.funcs.len() as u32 - 1)
    }

    /// Adds a program.
    pub(super) fn add_program(&mut self, program: ProgramDecl) {
        self.module.programs.push(program);
    }

    /// A C identifier that no function has yet, starting with `stem`.
    pub(super) fn func_name(&self, stem: &str) -> String {
        format!("{stem}_{}", self.module.funcs.len())
    }
}

/// An internal array with one u64.
fn internal(name: &str) -> MapSpec {
    MapSpec {
        name: name.to_owned(),
        map_type: MapType::Array,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    }
}
