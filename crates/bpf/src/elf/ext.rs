//! Section `.BTF.ext`: per program section, which function each instruction begins, its source lines, and its CO-RE
//! relocations (Documentation/bpf/btf.rst, include/uapi/linux/bpf.h `struct bpf_core_relo`, Linux 6.18). Both directions.
//! Instructions are counted in bytes from the start of their section, as in the file.

use super::ElfError;
use super::file::{u16_at, u32_at};
use crate::btf::Btf;

const MAGIC: u16 = 0xeb9f;
/// Bytes of the header with the CO-RE part.
const HEADER: usize = 32;

/// One of the three parts: records by section, in the order of the file. Records are words.
pub(super) type Part<const N: usize> = Vec<(String, Vec<[u32; N]>)>;

/// The section's content.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ext {
    /// (byte offset, FUNC type).
    pub(super) funcs: Part<2>,
    /// (byte offset, file name, text of the line, line << 10 | column); strings are offsets.
    pub(super) lines: Part<4>,
    /// (byte offset, root type, access path as a string, kind).
    pub(super) core: Part<4>,
}

/// Reads the section; `btf` has its strings.
pub(super) fn parse(data: &[u8], btf: &Btf) -> Result<Ext, ElfError> {
    let damaged = |what: String| ElfError::damaged(format!(".BTF.ext: {what}"));
    if data.len() < 24 || u16_at(data, 0) != MAGIC {
        return Err(damaged("no header".to_owned()));
    }
    let len = u32_at(data, 4) as usize;
    if len < 24 || len > data.len() {
        return Err(damaged(format!("a header of {len} bytes")));
    }
    let body = data.get(len..).unwrap_or(&[]);
    let part = |index: usize| {
        let at = 8 + index * 8;
        if at + 8 > len {
            return Ok(&[][..]);
        }
        let (offset, size) = (u32_at(data, at) as usize, u32_at(data, at + 4) as usize);
        let part = body.get(offset..).and_then(|rest| rest.get(..size));
        part.ok_or_else(|| damaged(format!("part {index}: {size} bytes at {offset} of {}", body.len())))
    };
    Ok(Ext {
        funcs: records(part(0)?, btf).map_err(damaged)?,
        lines: records(part(1)?, btf).map_err(damaged)?,
        core: records(part(2)?, btf).map_err(damaged)?,
    })
}

fn records<const N: usize>(data: &[u8], btf: &Btf) -> Result<Part<N>, String> {
    let mut part = Vec::new();
    if data.is_empty() {
        return Ok(part);
    }
    let size = u32_at(data, 0) as usize;
    if size < N * 4 || !size.is_multiple_of(4) {
        return Err(format!("records of {size} bytes"));
    }
    let mut rest = data.get(4..).unwrap_or(&[]);
    while !rest.is_empty() {
        let (name, count) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
        let wanted = count.checked_mul(size);
        let body = wanted.and_then(|n| rest.get(8..)?.get(..n));
        let body = body.ok_or_else(|| format!("{count} records in {} bytes", rest.len()))?;
        let words = |record: &[u8]| std::array::from_fn(|i| u32_at(record, i * 4));
        part.push((btf.string(name).to_owned(), body.chunks_exact(size).map(words).collect()));
        rest = rest.get(8 + body.len()..).unwrap_or(&[]);
    }
    Ok(part)
}

impl Ext {
    /// The section's bytes; `string` gives offsets of section names.
    pub(super) fn to_bytes(&self, string: &mut dyn FnMut(&str) -> u32) -> Vec<u8> {
        let parts = [write(&self.funcs, string), write(&self.lines, string), write(&self.core, string)];
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&(HEADER as u32).to_ne_bytes());
        let mut offset = 0u32;
        for part in &parts {
            out.extend_from_slice(&offset.to_ne_bytes());
            out.extend_from_slice(&(part.len() as u32).to_ne_bytes());
            offset += part.len() as u32;
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out
    }
}

fn write<const N: usize>(part: &Part<N>, string: &mut dyn FnMut(&str) -> u32) -> Vec<u8> {
    let mut out = Vec::new();
    // A part without records has no bytes at all.
    if part.iter().all(|(_, records)| records.is_empty()) {
        return out;
    }
    out.extend_from_slice(&(N as u32 * 4).to_ne_bytes());
    for (section, records) in part.iter().filter(|(_, records)| !records.is_empty()) {
        out.extend_from_slice(&string(section).to_ne_bytes());
        out.extend_from_slice(&(records.len() as u32).to_ne_bytes());
        records.iter().flatten().for_each(|word| out.extend_from_slice(&word.to_ne_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    #[test]
    fn parts_read_back() {
        let ext = Ext {
            funcs: vec![("tp/a/b".into(), vec![[0, 3], [64, 4]])],
            lines: vec![("tp/a/b".into(), vec![[0, 1, 2, 3 << 10]]), (".text".into(), vec![[8, 1, 2, 4]])],
            core: vec![(".text".into(), vec![[16, 7, 9, 0]])],
        };
        let mut strings = BtfBuilder::new();
        let bytes = ext.to_bytes(&mut |text| strings.string(text));
        let btf = Btf::parse(strings.finish(), None).unwrap();
        assert_eq!(parse(&bytes, &btf), Ok(ext));
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut], &btf).is_err(), "{cut}");
        }
    }
}
