//! Any BPF object file, skep's or a C compiler's: bytes enter; programs with their functions put together, maps, types and
//! license leave. Sizes are bounded, every reference is checked: what leaves refers only to what is there.

use std::collections::HashMap;

use super::ext::{self, Ext, Part};
use super::file::{File, Rel, Section, rel_type, symbol_kind};
use super::write::refers_to_function;
use super::{ElfError, maps};
use crate::btf::{Btf, NameKind, Type, TypeId};
use crate::insn::{Insn, class, jmp, pseudo};
use crate::kinds::{MapType, map_flags};
use crate::object::{CoreKind, CoreReloc, FuncInfo, LineInfo, MapDetails, MapSpec, Reloc, RelocKind};

/// Largest file.
const MAX_FILE: usize = 64 << 20;
/// Most instructions of one program (BPF_COMPLEXITY_LIMIT_INSNS) and of all together.
const MAX_INSNS: usize = 1_000_000;
const MAX_TOTAL: usize = 8_000_000;
/// Most bytes of a data section.
pub(super) const MAX_DATA: u64 = 1 << 30;

/// A file, as far as its programs and maps go.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Module {
    /// Section `license`; empty without.
    pub license: String,
    /// Section `.BTF`; empty without.
    pub btf: Vec<u8>,
    /// Maps: those of `.maps`, then data sections.
    pub maps: Vec<NamedMap>,
    /// Programs, in the order of their sections and places there.
    pub programs: Vec<Code>,
    /// Section `.skep`, with the zero byte at its end; empty without.
    pub skep: Vec<u8>,
}

/// A map with its symbol; a data section has that of its first variable, or its own name.
#[derive(Clone, PartialEq, Debug)]
pub struct NamedMap {
    /// Symbol.
    pub symbol: String,
    /// The map.
    pub spec: MapSpec,
}

/// A program: its main function and, behind it, every function that it refers to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Code {
    /// Symbol of the main function.
    pub function: String,
    /// Name of its section: see [`super::section::parse`].
    pub section: String,
    /// Instructions.
    pub insns: Vec<Insn>,
    /// What they leave open; maps by index into [`Module::maps`].
    pub relocs: Vec<Reloc>,
    /// Functions.
    pub funcs: Vec<FuncInfo>,
    /// Source lines.
    pub lines: Vec<LineInfo>,
}

/// A function's place: section, and bytes within it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Place {
    section: usize,
    start: u64,
    end: u64,
}

/// What a symbol of a relocation stands for.
#[derive(Clone, Debug)]
enum Meaning {
    Map(usize),
    /// Map, and bytes into its value.
    Data(usize, u64),
    /// Section and byte of a function.
    Code(usize, u64),
    Extern(String),
}

/// What the programs are put together from.
struct Parts<'a> {
    file: File<'a>,
    btf: Option<Btf>,
    /// Functions by section, ascending.
    functions: HashMap<usize, Vec<Place>>,
    /// Maps by section and byte.
    maps: HashMap<(usize, u64), usize>,
    /// Data sections' maps.
    data: HashMap<usize, usize>,
    /// Relocations by section, ascending.
    relocs: HashMap<usize, Vec<Rel>>,
    ext: Ext,
}

impl Module {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Module, ElfError> {
        if bytes.len() > MAX_FILE {
            return Err(ElfError::damaged(format!("{} bytes are too many", bytes.len())));
        }
        let mut parts = Parts::new(File::parse(bytes)?)?;
        let content = |name: &str| parts.file.section(name).map_or(&[][..], |(_, s)| s.data);
        let license = content("license").split(|b| *b == 0).next().unwrap_or(&[]);
        let mut module = Module {
            license: String::from_utf8_lossy(license).into_owned(),
            btf: content(".BTF").to_vec(),
            skep: content(".skep").to_vec(),
            ..Module::default()
        };
        module.maps = parts.collect_maps()?;
        module.programs = parts.programs()?;
        Ok(module)
    }
}

impl<'a> Parts<'a> {
    fn new(file: File<'a>) -> Result<Parts<'a>, ElfError> {
        let blob = file.section(".BTF").map(|(_, s)| Btf::parse(s.data.to_vec(), None));
        let btf = blob.transpose().map_err(|e| ElfError::damaged(e.to_string()))?;
        let ext = match (&btf, file.section(".BTF.ext")) {
            (Some(btf), Some((_, section))) => ext::parse(section.data, btf)?,
            _ => Ext::default(),
        };
        let mut functions: HashMap<usize, Vec<Place>> = HashMap::new();
        for symbol in file.symbols.iter().filter(|s| s.kind == symbol_kind::FUNC && s.section != 0) {
            let Some(section) = file.sections.get(symbol.section).filter(|s| s.is_code()) else { continue };
            let end = symbol.value.checked_add(symbol.size).filter(|end| *end <= section.data.len() as u64);
            let whole = symbol.value.is_multiple_of(8) && symbol.size.is_multiple_of(8) && symbol.size > 0;
            let end = end.filter(|_| whole).ok_or_else(|| {
                ElfError::damaged(format!("function `{}` is not within its section", symbol.name))
            })?;
            let place = Place { section: symbol.section, start: symbol.value, end };
            functions.entry(symbol.section).or_default().push(place);
        }
        functions.values_mut().for_each(|list| list.sort_by_key(|p| (p.start, p.end)));
        let mut relocs = HashMap::new();
        for (index, section) in file.sections.iter().enumerate().filter(|(_, s)| !s.relocs.is_empty()) {
            let mut list = section.relocs.clone();
            list.sort_by_key(|r| r.offset);
            relocs.insert(index, list);
        }
        Ok(Parts { file, btf, functions, maps: HashMap::new(), data: HashMap::new(), relocs, ext })
    }

    fn collect_maps(&mut self) -> Result<Vec<NamedMap>, ElfError> {
        let mut out = Vec::new();
        if let Some((section, _)) = self.file.section(".maps") {
            let btf = self.btf.as_ref().ok_or_else(|| ElfError::unsupported("maps without BTF"))?;
            let symbols = self.file.symbols.iter();
            for symbol in symbols.filter(|s| s.section == section && s.kind == symbol_kind::OBJECT) {
                let ty = match btf.find(NameKind::Var, symbol.name).and_then(|id| btf.get(id)) {
                    Some(Type::Var { ty, .. }) => ty,
                    _ => return Err(ElfError::damaged(format!("map `{}` has no type", symbol.name))),
                };
                self.maps.insert((section, symbol.value), out.len());
                let spec = maps::parse(btf, symbol.name, ty)?;
                out.push(NamedMap { symbol: symbol.name.to_owned(), spec });
            }
        }
        for (index, section) in self.file.sections.iter().enumerate() {
            let Some(kind) = data_kind(section.name) else { continue };
            if section.size == 0 {
                continue;
            }
            let first = self.file.symbols.iter().find(|s| {
                s.section == index && s.kind == symbol_kind::OBJECT && s.value == 0 && !s.name.is_empty()
            });
            let symbol = first.map_or(section.name, |s| s.name).to_owned();
            self.data.insert(index, out.len());
            out.push(NamedMap { symbol, spec: data_map(section, kind)? });
        }
        Ok(out)
    }

    fn programs(&self) -> Result<Vec<Code>, ElfError> {
        let mut out: Vec<Code> = Vec::new();
        let mut total = 0;
        let mut mains: Vec<_> = self
            .file
            .symbols
            .iter()
            .filter(|s| s.kind == symbol_kind::FUNC && s.bind != symbol_kind::LOCAL && s.section != 0)
            .filter_map(|s| Some((s, self.file.sections.get(s.section)?)))
            .filter(|(_, section)| section.is_code() && section.name != ".text")
            .collect();
        mains.sort_by_key(|(symbol, _)| (symbol.section, symbol.value));
        for (symbol, section) in mains {
            let place =
                Place { section: symbol.section, start: symbol.value, end: symbol.value + symbol.size };
            let mut code = Code {
                function: symbol.name.to_owned(),
                section: section.name.to_owned(),
                ..Code::default()
            };
            self.assemble(place, &mut code)?;
            total += code.insns.len();
            if total > MAX_TOTAL {
                return Err(ElfError::damaged(format!("more than {MAX_TOTAL} instructions")));
            }
            out.push(code);
        }
        Ok(out)
    }

    /// Puts a program together: its main function, then the others as they are first referred to.
    fn assemble(&self, main: Place, code: &mut Code) -> Result<(), ElfError> {
        let mut order = vec![main];
        let mut starts: HashMap<(usize, u64), usize> = HashMap::from([((main.section, main.start), 0)]);
        // (instruction, function).
        let mut calls: Vec<(usize, (usize, u64))> = Vec::new();
        let mut next = 0;
        while let Some(place) = order.get(next).copied() {
            next += 1;
            let at = code.insns.len();
            starts.insert((place.section, place.start), at);
            let first = calls.len();
            self.function(place, code, &mut calls)?;
            if code.insns.len() > MAX_INSNS {
                let what = format!("program `{}` has more than {MAX_INSNS} instructions", code.function);
                return Err(ElfError::damaged(what));
            }
            for (_, target) in calls.iter().skip(first) {
                if !starts.contains_key(target) {
                    order.push(self.function_at(*target)?);
                    starts.insert(*target, usize::MAX);
                }
            }
        }
        for (insn, target) in calls {
            let start = starts.get(&target).copied().unwrap_or(insn);
            if let Some(insn_at) = code.insns.get_mut(insn) {
                insn_at.imm = (start as i64 - insn as i64 - 1) as i32;
            }
        }
        Ok(())
    }

    fn function_at(&self, (section, start): (usize, u64)) -> Result<Place, ElfError> {
        let list = self.functions.get(&section).map_or(&[][..], |l| l);
        let found = list.binary_search_by_key(&start, |p| p.start).ok().and_then(|i| list.get(i));
        found.copied().ok_or_else(|| {
            let name = self.file.sections.get(section).map_or("", |s| s.name);
            ElfError::damaged(format!("a call of no function: byte {start} of {name}"))
        })
    }

    /// Appends one function.
    fn function(
        &self,
        place: Place,
        code: &mut Code,
        calls: &mut Vec<(usize, (usize, u64))>,
    ) -> Result<(), ElfError> {
        let section = self.file.sections.get(place.section);
        let bytes = section.and_then(|s| s.data.get(place.start as usize..place.end as usize));
        let (Some(section), Some(bytes)) = (section, bytes) else {
            return Err(ElfError::damaged("a function outside its section"));
        };
        let start = code.insns.len();
        let insns = bytes.chunks_exact(8).filter_map(|c| c.first_chunk().copied());
        code.insns.extend(insns.map(Insn::from_bytes));
        let mut resolved = vec![false; code.insns.len() - start];
        for reloc in self.relocs_in(place) {
            let index = (reloc.offset - place.start) / 8;
            let at = start + index as usize;
            let bad = || ElfError::damaged(format!("{}: relocation at byte {}", section.name, reloc.offset));
            if !reloc.offset.is_multiple_of(8) {
                return Err(bad());
            }
            *resolved.get_mut(index as usize).ok_or_else(bad)? = true;
            match self.open(reloc, &mut code.insns, at).ok_or_else(bad)? {
                Opened::Reloc(kind) => code.relocs.push(Reloc { insn: at as u32, kind }),
                Opened::Call(target) => calls.push((at, target)),
            }
        }
        // A call within a section needs no relocation.
        for (index, _) in resolved.into_iter().enumerate().filter(|(_, known)| !known) {
            let Some(insn) = code.insns.get(start + index) else { continue };
            if refers_to_function(*insn) {
                let target = place.start as i64 + (index as i64 + 1 + i64::from(insn.imm)) * 8;
                let target = u64::try_from(target).map_err(|_| ElfError::damaged("a call to nowhere"))?;
                calls.push((start + index, (place.section, target)));
            }
        }
        self.describe(place, section, start as u32, code);
        code.relocs.sort_by_key(|r| r.insn);
        Ok(())
    }

    fn relocs_in(&self, place: Place) -> &[Rel] {
        let list = self.relocs.get(&place.section).map_or(&[][..], |l| l);
        let from = list.partition_point(|r| r.offset < place.start);
        let to = list.partition_point(|r| r.offset < place.end);
        list.get(from..to).unwrap_or(&[])
    }

    /// Applies what a relocation says to the instruction. `None` when they do not fit each other.
    fn open(&self, reloc: &Rel, insns: &mut [Insn], at: usize) -> Option<Opened> {
        let insn = *insns.get(at)?;
        let meaning = self.meaning(reloc.symbol)?;
        let is_call = insn.code == class::JMP | jmp::CALL;
        match (reloc.kind, meaning) {
            (rel_type::CALL, Meaning::Code(section, start)) if is_call => {
                let target = start as i64 + (i64::from(insn.imm) + 1) * 8;
                insns.get_mut(at)?.src = pseudo::CALL;
                Some(Opened::Call((section, u64::try_from(target).ok()?)))
            }
            (rel_type::CALL, Meaning::Extern(name)) if is_call => {
                let insn = insns.get_mut(at)?;
                (insn.src, insn.imm) = (pseudo::KFUNC_CALL, 0);
                Some(Opened::Reloc(RelocKind::Kfunc(name)))
            }
            (rel_type::LD64, meaning) if insn.is_ld_imm64() => {
                let [first, second] = insns.get_mut(at..)?.first_chunk_mut()?;
                let added = i64::from(first.imm);
                (first.imm, second.imm) = (0, 0);
                Some(match meaning {
                    Meaning::Map(map) => {
                        first.src = pseudo::MAP_FD;
                        Opened::Reloc(RelocKind::Map(map))
                    }
                    Meaning::Data(map, offset) => {
                        first.src = pseudo::MAP_VALUE;
                        second.imm = i32::try_from(i64::try_from(offset).ok()?.checked_add(added)?).ok()?;
                        Opened::Reloc(RelocKind::MapValue(map))
                    }
                    Meaning::Code(section, start) => {
                        first.src = pseudo::FUNC;
                        let target = i64::try_from(start).ok()?.checked_add(added)?;
                        Opened::Call((section, u64::try_from(target).ok()?))
                    }
                    Meaning::Extern(name) => {
                        first.src = pseudo::BTF_ID;
                        Opened::Reloc(RelocKind::KernelSymbol(name))
                    }
                })
            }
            _ => None,
        }
    }

    fn meaning(&self, symbol: usize) -> Option<Meaning> {
        let symbol = self.file.symbols.get(symbol)?;
        if symbol.section == 0 {
            return (!symbol.name.is_empty()).then(|| Meaning::Extern(symbol.name.to_owned()));
        }
        if let Some(map) = self.data.get(&symbol.section) {
            return Some(Meaning::Data(*map, symbol.value));
        }
        if let Some(map) = self.maps.get(&(symbol.section, symbol.value)) {
            return Some(Meaning::Map(*map));
        }
        let code = self.file.sections.get(symbol.section).is_some_and(|s| s.is_code());
        let value = if symbol.kind == symbol_kind::SECTION { 0 } else { symbol.value };
        code.then_some(Meaning::Code(symbol.section, value))
    }

    /// Function, lines and CO-RE relocations of the function that was appended at instruction `start`.
    fn describe(&self, place: Place, section: &Section<'_>, start: u32, code: &mut Code) {
        let index = |byte: u32| start + ((u64::from(byte) - place.start) / 8) as u32;
        for record in within(&self.ext.funcs, section.name, place) {
            if u64::from(record[0]) == place.start {
                code.funcs.push(FuncInfo { insn: start, type_id: record[1] });
            }
        }
        for [byte, file, text, at] in within(&self.ext.lines, section.name, place) {
            let (line, column) = (at >> 10, at & 1023);
            code.lines.push(LineInfo { insn: index(*byte), file: *file, text: *text, line, column });
        }
        let Some(btf) = &self.btf else { return };
        for [byte, root, path, kind] in within(&self.ext.core, section.name, place) {
            let path: Option<Vec<u32>> = btf.string(*path).split(':').map(|i| i.parse().ok()).collect();
            // A kind that is not known here stays as it was compiled.
            let (Some(path), Some(kind)) = (path, CoreKind::from_number(*kind)) else { continue };
            let root_name = btf.c_name(TypeId(*root));
            let kind = RelocKind::Core(CoreReloc { root: *root, root_name, path, kind });
            code.relocs.push(Reloc { insn: index(*byte), kind });
        }
    }
}

/// What an instruction refers to.
enum Opened {
    Reloc(RelocKind),
    Call((usize, u64)),
}

/// Records of a section that lie within a function.
fn within<'p, const N: usize>(
    part: &'p Part<N>,
    section: &str,
    place: Place,
) -> impl Iterator<Item = &'p [u32; N]> {
    let lists = part.iter().filter(move |(name, _)| name == section).map(|(_, records)| &records[..]);
    lists.collect::<Vec<_>>().into_iter().flat_map(move |records| {
        // Compilers write them ascending; where one did not, what is out of order is left out.
        let from = records.partition_point(|r| u64::from(r[0]) < place.start);
        let to = records.partition_point(|r| u64::from(r[0]) < place.end);
        records
            .get(from..to)
            .unwrap_or(&[])
            .iter()
            .filter(move |r| (place.start..place.end).contains(&u64::from(r[0])) && r[0].is_multiple_of(8))
    })
}

/// Data sections: `.data`, `.rodata`, `.bss`, also with a dot and a name behind.
fn data_kind(name: &str) -> Option<&'static str> {
    [".data", ".rodata", ".bss"]
        .into_iter()
        .find(|kind| name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn data_map(section: &Section<'_>, kind: &str) -> Result<MapSpec, ElfError> {
    if section.size > MAX_DATA {
        return Err(ElfError::damaged(format!("{} of {} bytes", section.name, section.size)));
    }
    if !section.relocs.is_empty() {
        return Err(ElfError::unsupported(format!("addresses in {}", section.name)));
    }
    let frozen = kind == ".rodata";
    Ok(MapSpec {
        name: section.name.to_owned(),
        map_type: MapType::Array,
        key_size: 4,
        value_size: section.size as u32,
        max_entries: 1,
        flags: map_flags::MMAPABLE | if frozen { map_flags::RDONLY_PROG } else { 0 },
        initial: section.data.to_vec(),
        frozen,
        schema: None,
        details: MapDetails::default(),
    })
}
