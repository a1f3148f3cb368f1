//! Any BPF object file, skep's or a C compiler's: bytes enter; programs with their functions put together, maps, types and
//! license leave. Sizes are bounded, every reference is checked: what leaves refers only to what is there.

use std::collections::HashMap;

use super::ElfError;
use super::ext::{self, Ext};
use super::file::{File, Rel, symbol_kind};
use crate::btf::{Btf, SectionLayout};
use crate::insn::Insn;
use crate::object::{FuncInfo, LineInfo, MapSpec, Reloc};

mod code;
mod externs;
mod maps;

use externs::Extern;

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
    /// Sizes and places of variables, for [`Btf::accepted`].
    pub sections: Vec<SectionLayout>,
    /// Functions that only this object sees: the verifier is to look at them with their callers, as at static ones.
    pub hidden: Vec<String>,
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
    /// What `.ksyms` and `.kconfig` say of symbols that are defined elsewhere.
    externs: HashMap<String, Extern>,
    /// The map that `.kconfig` becomes.
    kconfig: Option<usize>,
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
        let own = parts.file.symbols.iter().filter(|s| s.kind == symbol_kind::FUNC && s.hidden);
        module.hidden = own.map(|s| s.name.to_owned()).collect();
        module.maps = parts.collect_maps()?;
        module.sections = parts.layouts();
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
        let externs = btf.as_ref().map_or_else(HashMap::new, |btf| externs::collect(btf, &file));
        let (maps, data) = (HashMap::new(), HashMap::new());
        Ok(Parts { file, btf, functions, maps, data, relocs, externs, kconfig: None, ext })
    }
}
