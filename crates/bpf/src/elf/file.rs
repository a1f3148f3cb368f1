//! The ELF container: bytes enter, sections, symbols and relocations leave. 64-bit relocatable files of this machine's byte
//! order (System V ABI, chapter 4; include/uapi/linux/elf.h, Linux 6.18). Every offset and size is checked against the
//! file; a name that is not text is empty.

use super::ElfError;

/// `EM_BPF`.
pub(super) const MACHINE: u16 = 247;
/// `ET_REL`.
pub(super) const RELOCATABLE: u16 = 1;
/// Bytes of the file header.
pub(super) const HEADER: usize = 64;
/// Bytes of a section header.
pub(super) const SECTION: usize = 64;
/// Bytes of a symbol.
pub(super) const SYMBOL: usize = 24;
/// Bytes of a relocation without addend.
pub(super) const REL: usize = 16;
/// `ELFDATA2LSB` or `ELFDATA2MSB`.
pub(super) const ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };

/// Section types (`SHT_*`).
pub(super) mod section_type {
    pub(crate) const PROGBITS: u32 = 1;
    pub(crate) const SYMTAB: u32 = 2;
    pub(crate) const STRTAB: u32 = 3;
    pub(crate) const NOBITS: u32 = 8;
    pub(crate) const REL: u32 = 9;
}

/// Section flags (`SHF_*`).
pub(super) mod section_flag {
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const ALLOC: u64 = 2;
    pub(crate) const EXEC: u64 = 4;
}

/// Symbol types and bindings (`STT_*`, `STB_*`).
pub(super) mod symbol_kind {
    pub(crate) const NOTYPE: u8 = 0;
    pub(crate) const OBJECT: u8 = 1;
    pub(crate) const FUNC: u8 = 2;
    pub(crate) const SECTION: u8 = 3;
    pub(crate) const LOCAL: u8 = 0;
    pub(crate) const GLOBAL: u8 = 1;
    pub(crate) const WEAK: u8 = 2;
}

/// Relocations (`R_BPF_*`, Documentation/bpf/llvm_reloc.rst).
pub(super) mod rel_type {
    /// Both halves of a 64-bit load.
    pub(crate) const LD64: u32 = 1;
    /// An address in data.
    pub(crate) const ABS64: u32 = 2;
    /// The immediate of a call.
    pub(crate) const CALL: u32 = 10;
}

/// A file, parsed.
#[derive(Debug, Default)]
pub(super) struct File<'a> {
    /// Sections by index; the first is empty.
    pub(super) sections: Vec<Section<'a>>,
    /// Symbols by index; the first is empty.
    pub(super) symbols: Vec<Symbol<'a>>,
}

/// One section.
#[derive(Clone, Debug, Default)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u32,
    pub(super) flags: u64,
    /// Content; empty for sections without bytes in the file.
    pub(super) data: &'a [u8],
    /// Bytes in memory.
    pub(super) size: u64,
    link: u32,
    info: u32,
    /// Relocations of this section's content.
    pub(super) relocs: Vec<Rel>,
}

impl Section<'_> {
    /// Whether it holds instructions.
    pub(super) fn is_code(&self) -> bool {
        self.kind == section_type::PROGBITS && self.flags & section_flag::EXEC != 0
    }
}

/// One symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    /// Index of its section; 0: defined elsewhere.
    pub(super) section: usize,
    /// Bytes from the start of the section.
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) kind: u8,
    pub(super) bind: u8,
    /// Not to be seen outside of the object (`STV_INTERNAL`, `STV_HIDDEN`).
    pub(super) hidden: bool,
}

/// One relocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rel {
    /// Bytes from the start of the section.
    pub(super) offset: u64,
    pub(super) kind: u32,
    /// Index of the symbol.
    pub(super) symbol: usize,
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

pub(super) fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes(data, at))
}

pub(super) fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes(data, at))
}

pub(super) fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes(data, at))
}

fn range<'a>(data: &'a [u8], offset: u64, size: u64, what: &str) -> Result<&'a [u8], ElfError> {
    let (start, len) = (usize::try_from(offset).ok(), usize::try_from(size).ok());
    let found = start.zip(len).and_then(|(start, len)| data.get(start..)?.get(..len));
    found.ok_or_else(|| {
        ElfError::damaged(format!("{what}: {size} bytes at {offset} in a file of {}", data.len()))
    })
}

fn text(strings: &[u8], at: u32) -> &str {
    let rest = strings.get(at as usize..).unwrap_or(&[]);
    let text = std::ffi::CStr::from_bytes_until_nul(rest).ok().and_then(|c| c.to_str().ok());
    text.unwrap_or("")
}

/// Checks the header of a file that has the magic number.
fn check_header(data: &[u8]) -> Result<(), ElfError> {
    if data.len() < HEADER || data.get(..4) != Some(b"\x7fELF") {
        return Err(ElfError::NotElf("no ELF header".to_owned()));
    }
    let expect = |ok: bool, what: &str| {
        if ok { Ok(()) } else { Err(ElfError::NotElf(format!("{what}, not a BPF object of this machine"))) }
    };
    expect(data[4] == 2, "a 32-bit ELF file")?;
    expect(data[5] == ORDER, "of the other byte order")?;
    expect(u16_at(data, 18) == MACHINE, "an ELF file for a CPU")?;
    expect(u16_at(data, 16) == RELOCATABLE, "a linked ELF file")?;
    let size = usize::from(u16_at(data, 58));
    if size != SECTION {
        return Err(ElfError::damaged(format!("section headers of {size} bytes")));
    }
    Ok(())
}

impl<'a> File<'a> {
    /// Parses a file.
    pub(super) fn parse(data: &'a [u8]) -> Result<File<'a>, ElfError> {
        check_header(data)?;
        let (offset, count) = (u64_at(data, 40), u16_at(data, 60));
        let headers = range(data, offset, u64::from(count) * SECTION as u64, "section headers")?;
        let mut file = File::default();
        let mut names = Vec::new();
        for header in headers.chunks_exact(SECTION) {
            let kind = u32_at(header, 4);
            let (offset, size) = (u64_at(header, 24), u64_at(header, 32));
            let has_bytes = !matches!(kind, 0 | section_type::NOBITS);
            names.push(u32_at(header, 0));
            file.sections.push(Section {
                kind,
                flags: u64_at(header, 8),
                data: if has_bytes { range(data, offset, size, "section")? } else { &[] },
                size,
                link: u32_at(header, 40),
                info: u32_at(header, 44),
                ..Section::default()
            });
        }
        let strings = file.strings(u32::from(u16_at(data, 62)));
        for (section, name) in file.sections.iter_mut().zip(names) {
            section.name = text(strings, name);
        }
        file.read_symbols()?;
        file.read_relocs()?;
        Ok(file)
    }

    fn strings(&self, index: u32) -> &'a [u8] {
        let section = self.sections.get(index as usize).filter(|s| s.kind == section_type::STRTAB);
        section.map_or(&[], |s| s.data)
    }

    fn read_symbols(&mut self) -> Result<(), ElfError> {
        let mut tables = self.sections.iter().filter(|s| s.kind == section_type::SYMTAB);
        let Some(table) = tables.next() else { return Ok(()) };
        if tables.next().is_some() {
            return Err(ElfError::damaged("more than one symbol table"));
        }
        let strings = self.strings(table.link);
        let symbols = table.data.chunks_exact(SYMBOL).map(|s| Symbol {
            name: text(strings, u32_at(s, 0)),
            section: usize::from(u16_at(s, 6)),
            value: u64_at(s, 8),
            size: u64_at(s, 16),
            kind: s[4] & 0xf,
            bind: s[4] >> 4,
            hidden: matches!(s[5] & 3, 1 | 2),
        });
        self.symbols = symbols.collect();
        Ok(())
    }

    fn read_relocs(&mut self) -> Result<(), ElfError> {
        let tables: Vec<_> = self
            .sections
            .iter()
            .filter(|s| s.kind == section_type::REL)
            .map(|s| (s.info as usize, s.data))
            .collect();
        for (section, data) in tables {
            let section = self.sections.get_mut(section);
            let section = section.ok_or_else(|| ElfError::damaged("relocations of no section"))?;
            section.relocs.extend(data.chunks_exact(REL).map(|r| {
                let info = u64_at(r, 8);
                Rel { offset: u64_at(r, 0), kind: info as u32, symbol: (info >> 32) as usize }
            }));
        }
        Ok(())
    }

    /// The section of that name with its index.
    pub(super) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections.iter().enumerate().find(|(_, s)| s.name == name)
    }
}
