//! USDT probes: a binary enters, the places that its `.note.stapsdt` notes describe leave, with file offsets. The format
//! is SystemTap's (its wiki, UserSpaceProbeImplementation): a note of owner `stapsdt` and type 3 holds three addresses
//! (the probe's, the link-time one of `.stapsdt.base`, the semaphore's) and three texts. Binaries may be anything: what
//! is damaged ends the section, and what lies outside of the file is left out.

use std::collections::HashMap;

use object::read::ReadRef;
use object::{Object, ObjectKind, ObjectSection, ObjectSymbol};
use skep_bpf::target::Note;

use crate::elf::{self, Segment, damaged, offset_of};
use crate::error::Error;

const SECTION: &str = ".note.stapsdt";
const BASE_SECTION: &str = ".stapsdt.base";
const OWNER: &[u8] = b"stapsdt\0";
const NOTE_TYPE: u64 = 3;
/// Most notes of one binary, and bytes of one text in them.
const NOTE_LIMIT: usize = 1 << 16;
const TEXT_LIMIT: usize = 4096;

/// A note as it stands, addresses as they were linked.
struct Raw {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    args: String,
}

/// The USDT probes of a binary, in the order of its notes.
pub(crate) fn notes(path: &str) -> Result<Vec<Note>, Error> {
    let cache = elf::open(path)?;
    let (start, size) = crate::archive::range(&cache, path)?;
    let file = object::File::parse(cache.range(start, size)).map_err(|e| damaged(path, e))?;
    let mut raw = Vec::new();
    for section in file.sections().filter(|s| s.name() == Ok(SECTION)) {
        let data = section.data().map_err(|e| damaged(path, e))?;
        read(data, file.is_little_endian(), if file.is_64() { 8 } else { 4 }, &mut raw);
    }
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let segments = elf::segments(&file);
    let base = file.section_by_name(BASE_SECTION).map(|section| section.address());
    let symbols = symbols(&file, &raw);
    Ok(raw
        .into_iter()
        .filter_map(|note| place(note, base, &segments, &symbols, file.kind() == ObjectKind::Executable))
        .map(|note| Note {
            offset: note.offset + start,
            semaphore: if note.semaphore == 0 { 0 } else { note.semaphore + start },
            ..note
        })
        .collect())
}

/// Reads notes from the bytes of a section up to the first that is damaged.
fn read(data: &[u8], little: bool, word: usize, out: &mut Vec<Raw>) {
    let number = |at: usize, size: usize| {
        let bytes = data.get(at..at.checked_add(size)?)?;
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let mut at = 0;
    let mut one = || {
        let (owner, length, kind) = (number(at, 4)?, number(at + 4, 4)?, number(at + 8, 4)?);
        let start = at + 12;
        let content = start.checked_add(aligned(owner)?)?;
        at = content.checked_add(aligned(length)?)?;
        let is_ours = kind == NOTE_TYPE && data.get(start..start + owner as usize)? == OWNER;
        if !is_ours {
            return Some(None);
        }
        let text = data.get(content + 3 * word..content.checked_add(length as usize)?)?;
        let mut texts = text.split(|b| *b == 0).map(|t| &t[..t.len().min(TEXT_LIMIT)]);
        let mut text = || Some(String::from_utf8_lossy(texts.next()?).into_owned());
        Some(Some(Raw {
            address: number(content, word)?,
            base: number(content + word, word)?,
            semaphore: number(content + 2 * word, word)?,
            provider: text()?,
            name: text()?,
            args: text()?,
        }))
    };
    while out.len() < NOTE_LIMIT {
        match one() {
            Some(note) => out.extend(note),
            None => return,
        }
    }
}

/// A length with the padding to four bytes behind it.
fn aligned(length: u64) -> Option<usize> {
    usize::try_from(length.checked_add(3)? & !3).ok()
}

/// Addresses of the symbols that operands name.
fn symbols<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, notes: &[Raw]) -> HashMap<String, u64> {
    let mut wanted: HashMap<String, u64> = HashMap::new();
    for note in notes {
        for word in note.args.split(|c: char| !is_symbol(c)).filter(|word| starts_symbol(word)) {
            wanted.insert(word.to_owned(), 0);
        }
    }
    if wanted.is_empty() {
        return wanted;
    }
    for symbol in file.symbols().chain(file.dynamic_symbols()).filter(|s| !s.is_undefined()) {
        if let Some(address) = symbol.name().ok().and_then(|name| wanted.get_mut(name)) {
            *address = symbol.address();
        }
    }
    wanted.retain(|_, address| *address != 0);
    wanted
}

fn is_symbol(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '%')
}

/// Whether a word of an operand is a symbol's name rather than a number or a register.
fn starts_symbol(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.'))
}

/// The note as the file has it: moved by as much as the base section was (prelink), at its file offset. `None` for one
/// whose place is in no segment.
fn place(
    raw: Raw,
    base: Option<u64>,
    segments: &[Segment],
    symbols: &HashMap<String, u64>,
    fixed: bool,
) -> Option<Note> {
    let moved = base.filter(|_| raw.base != 0).map_or(0, |base| base.wrapping_sub(raw.base));
    let address = raw.address.wrapping_add(moved);
    let semaphore = match raw.semaphore {
        0 => 0,
        at => offset_of(segments, at.wrapping_add(moved))?,
    };
    let args = raw.args.split(' ').map(|arg| locate(arg, address, symbols, fixed)).collect::<Vec<_>>();
    Some(Note {
        provider: raw.provider,
        name: raw.name,
        offset: offset_of(segments, address)?,
        semaphore,
        args: args.join(" "),
    })
}

/// An operand with its symbol replaced: relative to the instruction where it is so at run time, absolute in a program
/// that is loaded where it was linked (`fixed`). Operands without symbols, or with unknown ones, stay as they are.
fn locate(arg: &str, pc: u64, symbols: &HashMap<String, u64>, fixed: bool) -> String {
    let same = || arg.to_owned();
    let Some((size, operand)) = arg.split_once('@') else { return same() };
    let (immediate, operand) = match operand.strip_prefix('$') {
        Some(rest) => (true, rest),
        None => (false, operand),
    };
    let end = operand.find('(').unwrap_or(operand.len());
    let (displacement, address) = operand.split_at(end);
    let terms = displacement.split_inclusive(['+', '-']);
    let (mut sum, mut sign, mut named) = (0i64, 1i64, false);
    for term in terms {
        let (word, next) = match term.strip_suffix(['+', '-']) {
            Some(word) => (word, if term.ends_with('-') { -1 } else { 1 }),
            None => (term, 1),
        };
        let value = match (word, symbols.get(word), word.parse::<i64>()) {
            ("", ..) => 0,
            (_, Some(at), _) => {
                named = true;
                *at as i64
            }
            (_, None, Ok(number)) => number,
            _ => return same(),
        };
        sum = sum.wrapping_add(sign.wrapping_mul(value));
        sign = next;
    }
    let relative = sum.wrapping_sub(pc as i64);
    match (named, immediate, address) {
        (false, ..) => same(),
        (_, true, _) if fixed => format!("{size}@${sum}"),
        (_, false, "(%rip)") => format!("{size}@{relative}(%rip)"),
        (_, false, "") if fixed => format!("{size}@{relative}(%rip)"),
        (_, false, address) if fixed => format!("{size}@{sum}{address}"),
        _ => same(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(args: &str) -> Vec<u8> {
        let texts = format!("prov\0name\0{args}\0");
        let mut out = Vec::new();
        for word in [8u32, 24 + texts.len() as u32, 3] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(OWNER);
        for word in [0x1010u64, 0x2000, 0x3008] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(texts.as_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn notes_are_read_and_moved() {
        let mut data = note("8@%rdi");
        data.extend(note("-4@count+4(%rip)"));
        let mut raw = Vec::new();
        read(&data, true, 8, &mut raw);
        assert_eq!(raw.len(), 2);
        let segments = [(0x1000, 0, 0x1000), (0x2000, 0x1000, 0x800), (0x3000, 0x2000, 0x400)];
        let symbols = HashMap::from([("count".to_owned(), 0x3100)]);
        let moved: Vec<Note> =
            raw.into_iter().filter_map(|n| place(n, Some(0x2010), &segments, &symbols, false)).collect();
        assert_eq!((moved[0].provider.as_str(), moved[0].name.as_str()), ("prov", "name"));
        assert_eq!((moved[0].offset, moved[0].semaphore), (0x20, 0x2018));
        assert_eq!(moved[1].args, format!("-4@{}(%rip)", 0x3104 - 0x1020));
    }

    #[test]
    fn damaged_notes_are_harmless() {
        let data = note("8@%rdi");
        for end in 0..data.len() {
            read(&data[..end], true, 8, &mut Vec::new());
        }
        for at in 0..data.len() {
            let mut bad = data.clone();
            bad[at] = 0xff;
            read(&bad, true, 8, &mut Vec::new());
            read(&bad, false, 4, &mut Vec::new());
        }
    }

    #[test]
    fn symbols_in_operands() {
        let symbols = HashMap::from([("a.b".to_owned(), 100), ("c".to_owned(), 500)]);
        for (operand, fixed, expected) in [
            ("8@%rax", false, "8@%rax"),
            ("8@-8(%rbp)", false, "8@-8(%rbp)"),
            ("8@a.b(%rip)", false, "8@60(%rip)"),
            ("8@8+a.b-4(%rip)", false, "8@64(%rip)"),
            ("4@c", true, "4@460(%rip)"),
            ("4@c", false, "4@c"),
            ("4@c(,%rax,4)", true, "4@500(,%rax,4)"),
            ("4@$c", true, "4@$500"),
            ("4@$12", true, "4@$12"),
            ("4@d(%rip)", false, "4@d(%rip)"),
        ] {
            assert_eq!(locate(operand, 40, &symbols, fixed), expected, "{operand}");
        }
    }
}
