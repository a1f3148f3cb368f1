//! Maps of a file: those of `.maps` (types say what they are), those of `maps` (numbers do, as in old files and aya's), data
//! sections, and the kernel's configuration. Sections and symbols enter, maps leave.

use super::{MAX_DATA, NamedMap, Parts};
use crate::btf::SectionLayout;
use crate::elf::file::{Section, Symbol, rel_type, symbol_kind, u32_at};
use crate::elf::{ElfError, maps};
use crate::kinds::{MapType, map_flags};
use crate::object::{MapSpec, MapTypes, NamedSlot, SlotContent};

/// Most entries that a definition lists.
const MAX_SLOTS: u64 = 1 << 16;

impl Parts<'_> {
    pub(super) fn collect_maps(&mut self) -> Result<Vec<NamedMap>, ElfError> {
        let mut out = Vec::new();
        self.typed_maps(&mut out)?;
        self.plain_maps(&mut out)?;
        self.data_maps(&mut out)?;
        if let Some(map) = self.kconfig_map() {
            self.kconfig = Some(out.len());
            out.push(map);
        }
        Ok(out)
    }

    /// Symbols of objects in a section, ascending.
    fn objects(&self, section: usize) -> Vec<Symbol<'_>> {
        let symbols = self.file.symbols.iter();
        let mut objects: Vec<_> = symbols
            .filter(|s| s.section == section && s.kind == symbol_kind::OBJECT && !s.name.is_empty())
            .copied()
            .collect();
        objects.sort_by_key(|s| s.value);
        objects
    }

    /// Section `.maps`.
    fn typed_maps(&mut self, out: &mut Vec<NamedMap>) -> Result<(), ElfError> {
        let Some((section, _)) = self.file.section(".maps") else { return Ok(()) };
        let btf = self.btf.as_ref().ok_or_else(|| ElfError::unsupported("maps without BTF"))?;
        let mut places = Vec::new();
        let mut listed = Vec::new();
        for symbol in self.objects(section) {
            let ty = self.variable(symbol.name);
            let ty = ty.ok_or_else(|| ElfError::damaged(format!("map `{}` has no type", symbol.name)))?;
            let (spec, values) = maps::parse(btf, symbol.name, ty)?;
            places.push(((section, symbol.value), out.len()));
            if let Some(offset) = values {
                listed.push((out.len(), symbol.value + u64::from(offset), symbol.value + symbol.size));
            }
            out.push(NamedMap { symbol: symbol.name.to_owned(), spec });
        }
        self.maps.extend(places);
        for (map, start, end) in listed {
            let slots = self.slots(section, start, end)?;
            if let Some(map) = out.get_mut(map) {
                map.spec.details.slots = slots;
            }
        }
        Ok(())
    }

    /// The entries that a definition lists from byte `start` to `end` of `.maps`: addresses of 8 bytes each.
    fn slots(&self, section: usize, start: u64, end: u64) -> Result<Vec<NamedSlot>, ElfError> {
        let relocs = self.relocs.get(&section).map_or(&[][..], |l| l);
        let mut slots = Vec::new();
        for reloc in relocs.iter().filter(|r| (start..end).contains(&r.offset)) {
            let bad = |why: &str| ElfError::damaged(format!(".maps: byte {}: {why}", reloc.offset));
            let index = (reloc.offset - start) / 8;
            if reloc.kind != rel_type::ABS64
                || !(reloc.offset - start).is_multiple_of(8)
                || index >= MAX_SLOTS
            {
                return Err(bad("no address of 64 bits"));
            }
            let symbol = self.file.symbols.get(reloc.symbol).ok_or_else(|| bad("the address of nothing"))?;
            let content = match self.maps.get(&(symbol.section, symbol.value)) {
                Some(map) if symbol.section == section => SlotContent::Map(*map),
                _ if symbol.kind == symbol_kind::FUNC => SlotContent::Program(symbol.name.to_owned()),
                _ => return Err(bad("the address of neither map nor program")),
            };
            slots.push(NamedSlot { index: index as u32, content });
        }
        Ok(slots)
    }

    /// Section `maps`: numbers of 32 bits: type, bytes of key and value, entries, flags, and in aya's files an id and
    /// whether it is pinned.
    fn plain_maps(&mut self, out: &mut Vec<NamedMap>) -> Result<(), ElfError> {
        let Some((index, section)) = self.file.section("maps") else { return Ok(()) };
        let symbols = self.objects(index);
        let mut places = Vec::new();
        for (at, symbol) in symbols.iter().enumerate() {
            let next = symbols.get(at + 1).map_or(section.data.len() as u64, |s| s.value);
            let data = section.data.get(symbol.value as usize..next as usize).unwrap_or(&[]);
            let bad = |why: String| ElfError::damaged(format!("map `{}`: {why}", symbol.name));
            if data.len() < 16 {
                return Err(bad(format!("a definition of {} bytes", data.len())));
            }
            let word = |n: usize| if data.len() >= n * 4 + 4 { u32_at(data, n * 4) } else { 0 };
            let kind = MapType::from_number(word(0));
            let kind = kind.ok_or_else(|| bad(format!("maps of type {} are not known", word(0))))?;
            let mut spec = MapSpec::new(symbol.name, kind, word(1), word(2), word(3));
            spec.flags = word(4);
            spec.details.pin_by_name = word(6) == 1;
            places.push(((index, symbol.value), out.len()));
            out.push(NamedMap { symbol: symbol.name.to_owned(), spec });
        }
        self.maps.extend(places);
        Ok(())
    }

    fn data_maps(&mut self, out: &mut Vec<NamedMap>) -> Result<(), ElfError> {
        let mut data = Vec::new();
        for (index, section) in self.file.sections.iter().enumerate() {
            let Some(kind) = data_kind(section.name) else { continue };
            // What holds addresses is refused where a program refers to it.
            if section.size == 0 || !section.relocs.is_empty() {
                continue;
            }
            let first = self.objects(index).into_iter().find(|s| s.value == 0);
            let symbol = first.map_or(section.name, |s| s.name).to_owned();
            data.push((index, out.len()));
            let mut spec = data_map(section, kind)?;
            spec.details.types = self.datasec(section.name).map(|id| MapTypes { key: 0, value: id.0 });
            out.push(NamedMap { symbol, spec });
        }
        self.data.extend(data);
        Ok(())
    }

    /// Sections of variables as the file lays them out.
    pub(super) fn layouts(&self) -> Vec<SectionLayout> {
        let sections = self.file.sections.iter().enumerate();
        let described = sections.filter(|(_, s)| !s.name.is_empty() && self.datasec(s.name).is_some());
        described
            .map(|(index, section)| SectionLayout {
                name: section.name.to_owned(),
                size: u32::try_from(section.size).unwrap_or(u32::MAX),
                variables: self
                    .objects(index)
                    .into_iter()
                    .map(|s| (s.name.to_owned(), u32::try_from(s.value).unwrap_or(u32::MAX)))
                    .collect(),
            })
            .collect()
    }
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
    let frozen = kind == ".rodata";
    let mut spec = MapSpec::new(section.name, MapType::Array, 4, section.size as u32, 1);
    spec.flags = map_flags::MMAPABLE | if frozen { map_flags::RDONLY_PROG } else { 0 };
    spec.initial = section.data.to_vec();
    spec.frozen = frozen;
    Ok(spec)
}
