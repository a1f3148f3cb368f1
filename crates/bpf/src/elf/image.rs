//! A relocatable file in the making: sections, symbols and relocations enter in any order, bytes leave. Equal calls give
//! equal bytes.

use super::file::{
    HEADER, MACHINE, ORDER, REL, RELOCATABLE, SECTION, SYMBOL, section_flag, section_type, symbol_kind,
};

/// A section as it was added; its index in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SectionId(pub(super) usize);

/// A symbol as it was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SymbolId(usize);

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    align: u64,
    data: Vec<u8>,
    link: u32,
    info: u32,
    entry: u64,
}

/// A symbol to write.
#[derive(Clone, Debug)]
pub(super) struct SymbolDef<'a> {
    pub(super) name: &'a str,
    /// `None`: defined elsewhere.
    pub(super) section: Option<SectionId>,
    /// Bytes from the start of the section.
    pub(super) value: u64,
    pub(super) size: u64,
    /// One of `symbol_kind`.
    pub(super) kind: u8,
    /// Seen by this file alone.
    pub(super) local: bool,
}

struct Symbol {
    name: String,
    section: usize,
    value: u64,
    size: u64,
    info: u8,
}

/// The file.
pub(super) struct Image {
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
    /// (section, offset in bytes, type, symbol).
    relocs: Vec<(usize, u64, u32, usize)>,
}

/// Names, each once, with their offsets.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.0.len() as u32;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

impl Image {
    /// An empty file.
    pub(super) fn new() -> Image {
        let mut image = Image { sections: Vec::new(), symbols: Vec::new(), relocs: Vec::new() };
        image.raw("", 0, 0, 0, Vec::new());
        image
    }

    fn raw(&mut self, name: &str, kind: u32, flags: u64, align: u64, data: Vec<u8>) -> SectionId {
        let name = name.to_owned();
        self.sections.push(Section { name, kind, flags, align, data, link: 0, info: 0, entry: 0 });
        SectionId(self.sections.len() - 1)
    }

    /// Adds a section of instructions.
    pub(super) fn code(&mut self, name: &str, data: Vec<u8>) -> SectionId {
        self.raw(name, section_type::PROGBITS, section_flag::ALLOC | section_flag::EXEC, 8, data)
    }

    /// Adds a section of data that programs see.
    pub(super) fn data(&mut self, name: &str, writable: bool, data: Vec<u8>) -> SectionId {
        let write = if writable { section_flag::WRITE } else { 0 };
        self.raw(name, section_type::PROGBITS, section_flag::ALLOC | write, 8, data)
    }

    /// Adds a section that describes the others.
    pub(super) fn note(&mut self, name: &str, data: Vec<u8>) -> SectionId {
        self.raw(name, section_type::PROGBITS, 0, 4, data)
    }

    /// Adds a section that is nobody's business but skep's. Its type is that of string tables, which loaders pass over
    /// without a word, where they would mention one that they do not know.
    pub(super) fn private(&mut self, name: &str, mut data: Vec<u8>) -> SectionId {
        data.push(0);
        self.raw(name, section_type::STRTAB, 0, 4, data)
    }

    /// Adds a symbol.
    pub(super) fn symbol(&mut self, def: &SymbolDef<'_>) -> SymbolId {
        let bind = if def.local { symbol_kind::LOCAL } else { symbol_kind::GLOBAL };
        self.symbols.push(Symbol {
            name: def.name.to_owned(),
            section: def.section.map_or(0, |s| s.0),
            value: def.value,
            size: def.size,
            info: bind << 4 | def.kind,
        });
        SymbolId(self.symbols.len() - 1)
    }

    /// Lets a symbol be missing.
    pub(super) fn weaken(&mut self, symbol: SymbolId) {
        if let Some(symbol) = self.symbols.get_mut(symbol.0) {
            symbol.info = symbol_kind::WEAK << 4 | symbol.info & 0xf;
        }
    }

    /// Adds a relocation of the content of `section` at byte `offset`.
    pub(super) fn reloc(&mut self, section: SectionId, offset: u64, kind: u32, symbol: SymbolId) {
        self.relocs.push((section.0, offset, kind, symbol.0));
    }

    /// The bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // Local symbols come first; the table begins with an empty one.
        let mut order: Vec<usize> = (0..self.symbols.len()).collect();
        order.sort_by_key(|&i| self.symbols[i].info >> 4 != symbol_kind::LOCAL);
        let locals = order.iter().filter(|&&i| self.symbols[i].info >> 4 == symbol_kind::LOCAL).count();
        let mut place = vec![0usize; order.len()];
        for (at, &i) in order.iter().enumerate() {
            place[i] = at + 1;
        }
        let symtab = self.sections.len() + self.reloc_sections().len();
        for section in self.reloc_sections() {
            let mut data = Vec::new();
            for (_, offset, kind, symbol) in self.relocs.iter().filter(|r| r.0 == section) {
                data.extend_from_slice(&offset.to_ne_bytes());
                let info = (place.get(*symbol).copied().unwrap_or(0) as u64) << 32 | u64::from(*kind);
                data.extend_from_slice(&info.to_ne_bytes());
            }
            let name = format!(".rel{}", self.sections[section].name);
            let id = self.raw(&name, section_type::REL, 0, 8, data);
            let added = &mut self.sections[id.0];
            (added.link, added.info, added.entry) = (symtab as u32, section as u32, REL as u64);
        }
        let mut strings = Strings(vec![0]);
        let mut table = vec![0; SYMBOL];
        for &i in &order {
            let symbol = &self.symbols[i];
            table.extend_from_slice(&strings.add(&symbol.name).to_ne_bytes());
            table.extend_from_slice(&[symbol.info, 0]);
            table.extend_from_slice(&(symbol.section as u16).to_ne_bytes());
            table.extend_from_slice(&symbol.value.to_ne_bytes());
            table.extend_from_slice(&symbol.size.to_ne_bytes());
        }
        let id = self.raw(".symtab", section_type::SYMTAB, 0, 8, table);
        let added = &mut self.sections[id.0];
        (added.link, added.info, added.entry) = (id.0 as u32 + 1, locals as u32 + 1, SYMBOL as u64);
        self.write(strings)
    }

    fn reloc_sections(&self) -> Vec<usize> {
        let mut sections: Vec<usize> = self.relocs.iter().map(|r| r.0).collect();
        sections.sort_unstable();
        sections.dedup();
        sections
    }

    /// Writes header, contents and section headers; symbols and section names share one string table.
    fn write(mut self, mut strings: Strings) -> Vec<u8> {
        let id = self.raw(".strtab", section_type::STRTAB, 0, 1, Vec::new());
        let names: Vec<u32> = self.sections.iter().map(|s| strings.add(&s.name)).collect();
        self.sections[id.0].data = strings.0;
        let mut out = vec![0; HEADER];
        let mut headers = Vec::new();
        for (section, name) in self.sections.iter().zip(names) {
            let align = section.align.max(1) as usize;
            out.resize(out.len().next_multiple_of(align), 0);
            let offset = if section.kind == 0 { 0 } else { out.len() as u64 };
            out.extend_from_slice(&section.data);
            headers.extend_from_slice(&name.to_ne_bytes());
            headers.extend_from_slice(&section.kind.to_ne_bytes());
            for word in [section.flags, 0, offset, section.data.len() as u64] {
                headers.extend_from_slice(&word.to_ne_bytes());
            }
            headers.extend_from_slice(&section.link.to_ne_bytes());
            headers.extend_from_slice(&section.info.to_ne_bytes());
            headers.extend_from_slice(&section.align.to_ne_bytes());
            headers.extend_from_slice(&section.entry.to_ne_bytes());
        }
        out.resize(out.len().next_multiple_of(8), 0);
        let table = out.len() as u64;
        out.extend_from_slice(&headers);
        out[..4].copy_from_slice(b"\x7fELF");
        out[4..7].copy_from_slice(&[2, ORDER, 1]);
        let mut half = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        half(16, RELOCATABLE);
        half(18, MACHINE);
        half(52, HEADER as u16);
        half(58, SECTION as u16);
        half(60, self.sections.len() as u16);
        half(62, id.0 as u16);
        out[20..24].copy_from_slice(&1u32.to_ne_bytes());
        out[40..48].copy_from_slice(&table.to_ne_bytes());
        out
    }
}
