//! Programs of a file: functions enter as they lie in sections, programs leave, each with all that it calls, calls and
//! relocations resolved to what they stand for.

use std::collections::HashMap;

use super::{Code, MAX_INSNS, MAX_TOTAL, Parts, Place};
use crate::btf::TypeId;
use crate::elf::ElfError;
use crate::elf::ext::Part;
use crate::elf::file::{Rel, Section, rel_type, symbol_kind};
use crate::elf::write::refers_to_function;
use crate::insn::{Insn, class, jmp, pseudo};
use crate::object::{CoreKind, CoreReloc, FuncInfo, LineInfo, Reloc, RelocKind};

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

impl Parts<'_> {
    pub(super) fn programs(&self) -> Result<Vec<Code>, ElfError> {
        let mut out: Vec<Code> = Vec::new();
        let mut total = 0;
        let mut mains: Vec<_> = self
            .file
            .symbols
            .iter()
            .filter(|s| s.kind == symbol_kind::FUNC && s.bind != symbol_kind::LOCAL && s.section != 0)
            .filter_map(|s| Some((s, self.file.sections.get(s.section)?)))
            .filter(|(_, section)| section.is_code())
            .collect();
        // Functions of `.text` are there for others to call, unless there are no others (`prog_is_subprog` in libbpf).
        if mains.iter().any(|(_, section)| section.name != ".text") {
            mains.retain(|(_, section)| section.name != ".text");
        }
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
            let bad = |why: String| {
                ElfError::damaged(format!("{}: relocation at byte {}: {why}", section.name, reloc.offset))
            };
            if !reloc.offset.is_multiple_of(8) {
                return Err(bad("within an instruction".to_owned()));
            }
            let slot = resolved.get_mut(index as usize);
            *slot.ok_or_else(|| bad("outside of the function".to_owned()))? = true;
            match self.open(reloc, &mut code.insns, at).map_err(bad)? {
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
                // Within one symbol distances stay as they are: assemblers need not give each function its own.
                if !(place.start + 1..place.end).contains(&target) {
                    calls.push((start + index, (place.section, target)));
                }
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

    /// Applies what a relocation says to the instruction; why it cannot.
    fn open(&self, reloc: &Rel, insns: &mut [Insn], at: usize) -> Result<Opened, String> {
        let insn = *insns.get(at).ok_or("it is behind the function's end")?;
        let meaning = self.meaning(reloc.symbol)?;
        let is_call = insn.code == class::JMP | jmp::CALL;
        match (reloc.kind, meaning) {
            (rel_type::CALL, Meaning::Code(section, start)) if is_call => {
                let target = start as i64 + (i64::from(insn.imm) + 1) * 8;
                let first = insns.get_mut(at).ok_or("it is behind the function's end")?;
                first.src = pseudo::CALL;
                Ok(Opened::Call((section, u64::try_from(target).map_err(|_| "a call to nowhere")?)))
            }
            (rel_type::CALL, Meaning::Extern(name)) if is_call => {
                let first = insns.get_mut(at).ok_or("it is behind the function's end")?;
                (first.src, first.imm) = (pseudo::KFUNC_CALL, 0);
                Ok(Opened::Reloc(self.called(name)))
            }
            (rel_type::LD64, meaning) if insn.is_ld_imm64() => {
                let rest = insns.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
                self.open_load(meaning, rest.ok_or("half a 64-bit load")?)
            }
            (kind, _) => Err(format!(
                "relocation type {kind} does not fit `{}`",
                crate::disasm::insn(&[insn], 0, &|_| None).0
            )),
        }
    }

    fn open_load(&self, meaning: Meaning, [first, second]: &mut [Insn; 2]) -> Result<Opened, String> {
        let added = i64::from(first.imm);
        (first.imm, second.imm) = (0, 0);
        Ok(match meaning {
            Meaning::Map(map) => {
                first.src = pseudo::MAP_FD;
                Opened::Reloc(RelocKind::Map(map))
            }
            Meaning::Data(map, offset) => {
                first.src = pseudo::MAP_VALUE;
                let place = i64::try_from(offset).ok().and_then(|o| o.checked_add(added));
                let place = place.and_then(|p| i32::try_from(p).ok());
                second.imm = place.ok_or("a place outside of the data")?;
                Opened::Reloc(RelocKind::MapValue(map))
            }
            Meaning::Code(section, start) => {
                first.src = pseudo::FUNC;
                let target = i64::try_from(start).ok().and_then(|s| s.checked_add(added));
                let target = target.and_then(|t| u64::try_from(t).ok());
                Opened::Call((section, target.ok_or("the address of nothing")?))
            }
            Meaning::Extern(name) => self.loaded(name, first, second),
        })
    }

    fn meaning(&self, symbol: usize) -> Result<Meaning, String> {
        let symbol = self.file.symbols.get(symbol).ok_or("its symbol is not there")?;
        if symbol.section == 0 {
            return match symbol.name {
                "" => Err("its symbol has no name".to_owned()),
                name => Ok(Meaning::Extern(name.to_owned())),
            };
        }
        if let Some(map) = self.data.get(&symbol.section) {
            return Ok(Meaning::Data(*map, symbol.value));
        }
        if let Some(map) = self.maps.get(&(symbol.section, symbol.value)) {
            return Ok(Meaning::Map(*map));
        }
        let section = self.file.sections.get(symbol.section).ok_or("its symbol is in no section")?;
        if section.is_code() {
            let value = if symbol.kind == symbol_kind::SECTION { 0 } else { symbol.value };
            return Ok(Meaning::Code(symbol.section, value));
        }
        if !section.relocs.is_empty() {
            return Err(format!(
                "it refers to {}, which holds addresses: these have no meaning in BPF",
                section.name
            ));
        }
        Err(format!(
            "it refers to `{}` in {}, which is neither map, data nor code",
            symbol.name, section.name
        ))
    }

    /// Function, lines and CO-RE relocations of the function that was appended at instruction `start`.
    fn describe(&self, place: Place, section: &Section<'_>, start: u32, code: &mut Code) {
        let index = |byte: u32| start + ((u64::from(byte) - place.start) / 8) as u32;
        let mut infos = within(&self.ext.funcs, section.name, place);
        if let Some(record) = infos.find(|record| u64::from(record[0]) == place.start) {
            code.funcs.push(FuncInfo { insn: start, type_id: record[1] });
        }
        for [byte, file, text, at] in within(&self.ext.lines, section.name, place) {
            let (line, column) = (at >> 10, at & 1023);
            code.lines.push(LineInfo { insn: index(*byte), file: *file, text: *text, line, column });
        }
        // The kernel wants lines ascending (kernel/bpf/verifier.c, `check_btf_line`).
        code.lines.sort_by_key(|line| line.insn);
        let Some(btf) = &self.btf else { return };
        for [byte, root, path, kind] in within(&self.ext.core, section.name, place) {
            let path: Option<Vec<u32>> = btf.string(*path).split(':').map(|i| i.parse().ok()).collect();
            // A kind that nobody knows stays as it was compiled.
            let (Some(path), Some(kind)) = (path, CoreKind::from_number(*kind)) else { continue };
            let root_name = btf.c_name(TypeId(*root));
            let kind = RelocKind::Core(CoreReloc { root: *root, root_name, path, kind });
            code.relocs.push(Reloc { insn: index(*byte), kind });
        }
    }
}

/// What an instruction refers to.
pub(super) enum Opened {
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
