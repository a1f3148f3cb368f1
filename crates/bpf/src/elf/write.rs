//! An object as a standard ELF file: what libbpf, bpftool and the LLVM tools read, and section `.skep` with the rest.
//!
//! A program's main function lies in the section that its kind asks for; the functions that it calls lie in `.text`, each
//! once however many programs have it. Calls, addresses of functions, maps, data and kernel symbols become
//! relocations, CO-RE relocations records of `.BTF.ext`.

use std::collections::{BTreeMap, HashMap};

use super::ext::Ext;
use super::file::{rel_type, symbol_kind};
use super::image::{Image, SectionId, SymbolDef, SymbolId};
use super::module::MAX_DATA;
use super::naming::{identifier, map_symbol, unique};
use super::tables::{Extra, NamedMap, NamedProgram};
use super::{ElfError, maps, section};
use crate::btf::{Btf, BtfBuilder, Linkage, NameKind, TypeId};
use crate::insn::{Insn, class, jmp, pseudo};
use crate::object::{KsymKind, LineInfo, MapSpec, Object, Program, RelocKind};

/// Most sections (`SHN_LORESERVE`, with room for those that every file has).
const MAX_SECTIONS: usize = 0xff00 - 64;

/// Writes `object`, which must have an [`crate::origin::Origin`]: see [`crate::core::embed`].
pub fn write(object: &Object) -> Result<Vec<u8>, ElfError> {
    if object.origin.is_none() {
        return Err(ElfError::unsupported("the object still depends on the kernel that it was compiled for"));
    }
    let own = match &object.btf[..] {
        [] => Btf::parse(BtfBuilder::new().finish(), None),
        bytes => Btf::parse(bytes.to_vec(), None),
    };
    let own = own.map_err(|e| ElfError::damaged(e.to_string()))?;
    let names = unique(object.maps.iter().map(|m| map_symbol(&m.name)));
    let mut code = Code::new(object, unique(object.programs.iter().map(|p| identifier(&p.symbol))))?;
    code.place();
    let mut file = Writer {
        object,
        own: &own,
        image: Image::new(),
        btf: BtfBuilder::continuing(&own),
        maps: Vec::new(),
        externs: BTreeMap::new(),
        ext: Ext::default(),
    };
    file.image.data("license", true, [object.license.as_bytes(), b"\0"].concat());
    file.maps(&names)?;
    file.code(&code)?;
    Ok(file.finish(&names, &code))
}

/// A function's code, on its own.
#[derive(Clone, PartialEq, Debug, Default)]
struct Piece {
    insns: Vec<Insn>,
    /// (index within the piece, what).
    opens: Vec<(u32, Open)>,
    /// With indexes within the piece.
    lines: Vec<LineInfo>,
    /// FUNC type; 0: none.
    type_id: u32,
}

/// What an instruction leaves open.
#[derive(Clone, PartialEq, Debug)]
enum Open {
    Object(RelocKind),
    /// A function of `.text`, by index there.
    Func(usize),
}

/// All functions of an object.
struct Code {
    /// Of each program: symbol, section name, main function.
    mains: Vec<(String, String, Piece)>,
    text: Vec<Piece>,
}

impl Code {
    fn new(object: &Object, symbols: Vec<String>) -> Result<Code, ElfError> {
        let mut code = Code { mains: Vec::new(), text: Vec::new() };
        let mut known = HashMap::new();
        for (program, symbol) in object.programs.iter().zip(symbols) {
            let main = code.program(program, &mut known)?;
            code.mains.push((symbol, section::name(program), main));
        }
        Ok(code)
    }

    /// Writes the places of functions within `.text` into what refers to them.
    fn place(&mut self) {
        let mut starts = Vec::with_capacity(self.text.len());
        let mut end = 0;
        for piece in &self.text {
            starts.push(end);
            end += piece.insns.len() as i32;
        }
        for piece in self.text.iter_mut().chain(self.mains.iter_mut().map(|m| &mut m.2)) {
            for (index, open) in &piece.opens {
                let Open::Func(func) = open else { continue };
                let start = starts.get(*func).copied().unwrap_or(0);
                if let Some(insn) = piece.insns.get_mut(*index as usize) {
                    insn.imm = if insn.is_ld_imm64() { start * 8 } else { start - 1 };
                }
            }
        }
    }

    /// Takes a program apart; its main function.
    fn program(&mut self, program: &Program, known: &mut HashMap<u32, usize>) -> Result<Piece, ElfError> {
        let mut starts: Vec<u32> = program.funcs.iter().map(|f| f.insn).collect();
        if starts.is_empty() {
            starts.push(0);
        }
        // Functions that another program has too are the same code: the compiler makes each once.
        let ids: Vec<u32> = program.funcs.iter().map(|f| f.type_id).collect();
        let mut places = vec![usize::MAX; starts.len()];
        let mut fresh = Vec::new();
        for at in 1..starts.len() {
            places[at] = match known.get(&ids[at]) {
                Some(place) => *place,
                None => {
                    self.text.push(Piece::default());
                    known.insert(ids[at], self.text.len() - 1);
                    fresh.push(at);
                    self.text.len() - 1
                }
            };
        }
        for at in fresh {
            self.text[places[at]] = piece(program, &starts, at, &places)?;
        }
        piece(program, &starts, 0, &places)
    }
}

/// Function `at` of a program, whose functions start at `starts`; `places` are their indexes in `.text`.
fn piece(program: &Program, starts: &[u32], at: usize, places: &[usize]) -> Result<Piece, ElfError> {
    let bad =
        |insn: u32| ElfError::damaged(format!("{}: instruction {insn} refers to nothing", program.name));
    let start = starts[at];
    let end = starts.get(at + 1).copied().unwrap_or(program.insns.len() as u32);
    let insns = program.insns.get(start as usize..end as usize).filter(|insns| !insns.is_empty());
    let insns = insns.ok_or_else(|| bad(start))?;
    let mut piece = Piece { insns: insns.to_vec(), ..Piece::default() };
    for (index, insn) in (0u32..).zip(&mut piece.insns) {
        if !refers_to_function(*insn) {
            continue;
        }
        let target = i64::from(start + index) + 1 + i64::from(insn.imm);
        let func = starts.iter().position(|s| i64::from(*s) == target).filter(|f| *f > 0);
        piece.opens.push((index, Open::Func(places[func.ok_or_else(|| bad(start + index))?])));
        if insn.is_ld_imm64() {
            insn.src = 0;
        }
    }
    let within = start..end;
    for reloc in program.relocs.iter().filter(|r| within.contains(&r.insn)) {
        let index = reloc.insn - start;
        if let Some(rest) = piece.insns.get_mut(index as usize..) {
            leave_open(&reloc.kind, rest);
        }
        piece.opens.push((index, Open::Object(reloc.kind.clone())));
    }
    let lines = program.lines.iter().filter(|l| within.contains(&l.insn));
    piece.lines = lines.map(|l| LineInfo { insn: l.insn - start, ..*l }).collect();
    piece.type_id = program.funcs.get(at).map_or(0, |f| f.type_id);
    Ok(piece)
}

/// Whether the instruction calls or loads a function of its program.
pub(super) fn refers_to_function(insn: Insn) -> bool {
    insn.code == class::JMP | jmp::CALL && insn.src == pseudo::CALL
        || insn.is_ld_imm64() && insn.src == pseudo::FUNC
}

/// A function of `.text`.
struct Text {
    section: SectionId,
    /// Symbol of the section.
    whole: SymbolId,
    /// Bytes from the start of the section.
    start: u32,
}

/// A file in the making.
struct Writer<'a> {
    object: &'a Object,
    own: &'a Btf,
    image: Image,
    btf: BtfBuilder,
    /// Symbols of the maps.
    maps: Vec<SymbolId>,
    externs: BTreeMap<String, SymbolId>,
    ext: Ext,
}

impl Writer<'_> {
    /// Maps that are data sections: those that programs address directly.
    fn is_data(&self, map: usize) -> bool {
        let spec = self.object.maps.get(map);
        let direct = |p: &Program| p.relocs.iter().any(|r| r.kind == RelocKind::MapValue(map));
        spec.is_some_and(|m| !m.initial.is_empty()) || self.object.programs.iter().any(direct)
    }

    fn maps(&mut self, names: &[String]) -> Result<(), ElfError> {
        let is_data: Vec<bool> = (0..names.len()).map(|i| self.is_data(i)).collect();
        let mut vars = Vec::new();
        let mut size = 0;
        for ((spec, name), _) in self.object.maps.iter().zip(names).zip(&is_data).filter(|(_, data)| !**data)
        {
            let (bytes, ty) = maps::define(&mut self.btf, spec);
            vars.push((self.btf.var(name, ty, Linkage::Global), size, bytes));
            size += bytes;
        }
        let section = (!vars.is_empty()).then(|| {
            self.btf.datasec(".maps", size, &vars);
            self.image.data(".maps", true, vec![0; size as usize])
        });
        let mut vars = vars.into_iter();
        for ((spec, name), data) in self.object.maps.iter().zip(names).zip(is_data) {
            let symbol = if data {
                self.data_map(spec, name)?
            } else {
                let (offset, bytes) = vars.next().map_or((0, 0), |(_, offset, bytes)| (offset, bytes));
                self.object_symbol(name, section, offset, bytes)
            };
            self.maps.push(symbol);
        }
        Ok(())
    }

    /// A map that is a section of its own: one array entry.
    fn data_map(&mut self, spec: &MapSpec, name: &str) -> Result<SymbolId, ElfError> {
        if spec.max_entries != 1 {
            let what = format!("map `{}`: only the value of a map with one entry has an address", spec.name);
            return Err(ElfError::unsupported(what));
        }
        if spec.value_size == 0 || u64::from(spec.value_size) > MAX_DATA {
            let what = format!("map `{}`: a section of {} bytes", spec.name, spec.value_size);
            return Err(ElfError::unsupported(what));
        }
        let kind = if spec.frozen { ".rodata" } else { ".data" };
        let section = format!("{kind}.{name}");
        let byte = self.btf.int("unsigned char", 1, false);
        let ty = self.btf.array(byte, spec.value_size);
        let var = self.btf.var(name, ty, Linkage::Global);
        self.btf.datasec(&section, spec.value_size, &[(var, 0, spec.value_size)]);
        let mut data = spec.initial.clone();
        data.resize(spec.value_size as usize, 0);
        let section = self.image.data(&section, !spec.frozen, data);
        Ok(self.object_symbol(name, Some(section), 0, spec.value_size))
    }

    fn object_symbol(&mut self, name: &str, section: Option<SectionId>, value: u32, size: u32) -> SymbolId {
        let (value, size) = (value.into(), size.into());
        self.image.symbol(&SymbolDef { name, section, value, size, kind: symbol_kind::OBJECT, local: false })
    }

    fn code(&mut self, code: &Code) -> Result<(), ElfError> {
        let text = self.text(&code.text);
        let mut order: Vec<&str> = Vec::new();
        let mut members: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, (_, section, _)) in code.mains.iter().enumerate() {
            let of = members.entry(section).or_default();
            if of.is_empty() {
                order.push(section);
            }
            of.push(index);
        }
        if order.len() * 2 > MAX_SECTIONS {
            return Err(ElfError::unsupported(format!("{} kinds of programs are too many", order.len())));
        }
        for name in order {
            let indexes = members.get(name).map_or(&[][..], |m| m);
            let pieces: Vec<&Piece> = indexes.iter().map(|i| &code.mains[*i].2).collect();
            let bytes = pieces.iter().flat_map(|p| &p.insns).flat_map(|i| i.to_bytes()).collect();
            let section = self.image.code(name, bytes);
            let mut start = 0;
            for (index, piece) in indexes.iter().zip(pieces) {
                let symbol = &code.mains[*index].0;
                self.function(symbol, section, start, piece, false);
                self.describe(name, section, start, piece, &text)?;
                start += piece.insns.len() as u32 * 8;
            }
        }
        self.describe_text(&code.text, &text)
    }

    /// Section `.text`: its functions' symbols.
    fn text(&mut self, pieces: &[Piece]) -> Vec<Text> {
        if pieces.is_empty() {
            return Vec::new();
        }
        let bytes = pieces.iter().flat_map(|p| &p.insns).flat_map(|i| i.to_bytes()).collect();
        let section = self.image.code(".text", bytes);
        // Functions of this file alone are referred to through their section (libbpf knows no other way).
        let whole = self.image.symbol(&SymbolDef {
            name: "",
            section: Some(section),
            value: 0,
            size: 0,
            kind: symbol_kind::SECTION,
            local: true,
        });
        let mut start = 0;
        let mut out = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let name = match self.own.name_of(TypeId(piece.type_id)) {
                "" => format!("func_{index}"),
                name => name.to_owned(),
            };
            self.function(&name, section, start, piece, true);
            out.push(Text { section, whole, start });
            start += piece.insns.len() as u32 * 8;
        }
        out
    }

    fn describe_text(&mut self, pieces: &[Piece], text: &[Text]) -> Result<(), ElfError> {
        for (piece, place) in pieces.iter().zip(text) {
            self.describe(".text", place.section, place.start, piece, text)?;
        }
        Ok(())
    }

    fn function(
        &mut self,
        name: &str,
        section: SectionId,
        start: u32,
        piece: &Piece,
        local: bool,
    ) -> SymbolId {
        self.image.symbol(&SymbolDef {
            name,
            section: Some(section),
            value: start.into(),
            size: piece.insns.len() as u64 * 8,
            kind: symbol_kind::FUNC,
            local,
        })
    }

    /// Relocations and `.BTF.ext` records of a function at byte `start` of its section.
    fn describe(
        &mut self,
        name: &str,
        section: SectionId,
        start: u32,
        piece: &Piece,
        text: &[Text],
    ) -> Result<(), ElfError> {
        if piece.type_id != 0 {
            push(&mut self.ext.funcs, name, [start, piece.type_id]);
        }
        for line in &piece.lines {
            let place = line.line << 10 | line.column.min(1023);
            push(&mut self.ext.lines, name, [start + line.insn * 8, line.file, line.text, place]);
        }
        for (index, open) in &piece.opens {
            let at = start + index * 8;
            let ld64 = piece.insns.get(*index as usize).is_some_and(|i| i.is_ld_imm64());
            let kind = if ld64 { rel_type::LD64 } else { rel_type::CALL };
            let symbol = match open {
                Open::Func(func) => text.get(*func).map(|t| t.whole),
                Open::Object(RelocKind::Map(map) | RelocKind::MapValue(map)) => self.maps.get(*map).copied(),
                Open::Object(RelocKind::KernelSymbol(symbol) | RelocKind::Kfunc(symbol)) => {
                    Some(self.external(symbol))
                }
                Open::Object(RelocKind::Ksym(symbol)) => {
                    // The reader finds what the types do not say: see `module/externs.rs`.
                    let kind = match symbol.kind {
                        KsymKind::Address => symbol_kind::OBJECT,
                        KsymKind::Typed | KsymKind::Call => symbol_kind::NOTYPE,
                    };
                    let id = self.external_of(&symbol.name, kind);
                    if symbol.weak {
                        self.image.weaken(id);
                    }
                    Some(id)
                }
                Open::Object(RelocKind::Core(core)) => {
                    let path: Vec<String> = core.path.iter().map(u32::to_string).collect();
                    let path = self.btf.string(&path.join(":"));
                    push(&mut self.ext.core, name, [at, core.root, path, core.kind as u32]);
                    continue;
                }
            };
            let symbol =
                symbol.ok_or_else(|| ElfError::damaged(format!("{name}: a relocation of nothing")))?;
            self.image.reloc(section, at.into(), kind, symbol);
        }
        Ok(())
    }

    fn external(&mut self, name: &str) -> SymbolId {
        self.external_of(name, symbol_kind::NOTYPE)
    }

    fn external_of(&mut self, name: &str, kind: u8) -> SymbolId {
        if let Some(known) = self.externs.get(name) {
            return *known;
        }
        let symbol =
            self.image.symbol(&SymbolDef { name, section: None, value: 0, size: 0, kind, local: false });
        self.externs.insert(name.to_owned(), symbol);
        symbol
    }

    fn finish(mut self, maps: &[String], code: &Code) -> Vec<u8> {
        let externs: Vec<_> = self
            .externs
            .keys()
            .filter_map(|name| {
                let found = self.own.find(NameKind::Var, name);
                found.or_else(|| self.own.find(NameKind::Func, name)).map(|id| (id, 0, 0))
            })
            .collect();
        if !externs.is_empty() {
            self.btf.datasec(".ksyms", 0, &externs);
        }
        let ext = std::mem::take(&mut self.ext);
        let ext = ext.to_bytes(&mut |text| self.btf.string(text));
        self.image.note(".BTF", self.btf.finish());
        self.image.note(".BTF.ext", ext);
        let extra = extra(self.object, self.own, maps, code);
        self.image.private(".skep", extra.to_bytes());
        self.image.finish()
    }
}

fn extra(object: &Object, own: &Btf, maps: &[String], code: &Code) -> Extra {
    let maps = object.maps.iter().zip(maps);
    let programs = object.programs.iter().zip(&code.mains);
    Extra {
        origin: object.origin.clone(),
        btf_types: if object.btf.is_empty() { u32::MAX } else { own.len() - 1 },
        btf_strings: own.string_len(),
        maps: maps.map(|(spec, symbol)| NamedMap { symbol: symbol.clone(), spec: spec.clone() }).collect(),
        programs: programs
            .map(|(p, (function, ..))| NamedProgram {
                function: function.clone(),
                name: p.name.clone(),
                symbol: p.symbol.clone(),
                prog_type: p.prog_type,
                attach_type: p.attach_type,
                attach_btf: p.attach_btf.clone(),
                attach: p.attach.clone(),
                sleepable: p.sleepable,
            })
            .collect(),
        events: object.events.clone(),
        session: object.session.clone(),
        notes: object.notes.clone(),
    }
}

/// Adds a record to the last list when that is of the same section.
fn push<const N: usize>(part: &mut super::ext::Part<N>, section: &str, record: [u32; N]) {
    match part.last_mut() {
        Some((name, records)) if name == section => records.push(record),
        _ => part.push((section.to_owned(), vec![record])),
    }
}

/// Writes the first of `insns` as an ELF file has it: what the loader fills in is left to it.
fn leave_open(kind: &RelocKind, insns: &mut [Insn]) {
    match (kind, insns) {
        (RelocKind::Map(_) | RelocKind::KernelSymbol(_) | RelocKind::Ksym(_), [first, ..])
            if first.is_ld_imm64() =>
        {
            first.src = 0
        }
        // The offset within the value is what the relocation adds to.
        (RelocKind::MapValue(_), [first, second, ..]) if first.is_ld_imm64() => {
            (first.src, first.imm, second.imm) = (0, second.imm, 0);
        }
        (RelocKind::Kfunc(_) | RelocKind::Ksym(_), [first, ..]) => {
            (first.src, first.imm) = (pseudo::CALL, -1)
        }
        _ => {}
    }
}
