//! Tables for walking the stacks of processes: processes enter, the contents of an object's two maps leave (see
//! `skep_bpf::unwind`). Each binary is read once, however many processes map it. What always holds: the tables are
//! bounded; code that could not be read has no place, and a walk says so when it comes there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use skep_bpf::object::{MapSpec, Object};
use skep_bpf::unwind::{CHUNK_ROWS, ROW_BYTES, Rule, UnwindMaps, place_key, place_value, prefixes};

use crate::dwarf::cfi::{self, Rows};
use crate::error::Error;
use crate::map::Map;

/// Most rows of all binaries: 128 MiB.
const MOST_ROWS: usize = 1 << 23;
/// Most places of all processes.
const MOST_PLACES: usize = 1 << 18;
/// Most bytes of an image that is read from a process's memory: the kernel's own code there takes two pages.
const MOST_IMAGE: u64 = 1 << 20;

/// An executable mapping of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    /// Offset in the file of `start`.
    offset: u64,
    /// Device and inode as text: what tells files apart.
    file: String,
    path: String,
}

/// A binary's part of the rows.
#[derive(Clone, Debug)]
struct Part {
    first: u32,
    count: u32,
    /// What the rows' program counters are less than the file's addresses.
    base: u64,
    segments: Vec<(u64, u64, u64)>,
}

/// The contents of both maps.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Rows as they lie in the map.
    rows: Vec<u8>,
    /// Keys and values.
    places: Vec<([u8; 16], [u8; 16])>,
    parts: HashMap<String, Option<Part>>,
}

impl Tables {
    /// The tables for `processes`, if the object's programs walk stacks; `Missing` for a process that is not there.
    pub(crate) fn of(object: &Object, processes: &[u32]) -> Result<Option<(UnwindMaps, Tables)>, Error> {
        let Some(maps) = object.session.unwind else { return Ok(None) };
        let mut tables = Tables::default();
        for pid in processes {
            tables.add_process(*pid)?;
        }
        Ok(Some((maps, tables)))
    }

    fn add_process(&mut self, pid: u32) -> Result<(), Error> {
        let text = fs::read_to_string(format!("/proc/{pid}/maps"))
            .map_err(|_| Error::Missing(format!("process {pid}")))?;
        self.places.push((place_key(pid, 0, 0), place_value(0, 0, 0)));
        for mapping in text.lines().filter_map(parse) {
            // Damaged files and ends of mappings that are already gone leave no rows.
            let Some(part) = self.part(pid, &mapping) else { continue };
            let Some(bias) = bias(&part, &mapping) else { continue };
            let value = place_value(bias, part.first, part.count);
            let keys = prefixes(mapping.start, mapping.end);
            if self.places.len() + keys.len() > MOST_PLACES {
                break;
            }
            self.places.extend(keys.into_iter().map(|(at, bits)| (place_key(pid, at, bits), value)));
        }
        Ok(())
    }

    /// The part of the rows that belongs to a mapping's binary.
    fn part(&mut self, pid: u32, mapping: &Mapping) -> Option<Part> {
        let own = mapping.path.starts_with('[');
        let key = if own { mapping.path.clone() } else { mapping.file.clone() };
        if let Some(known) = self.parts.get(&key) {
            return known.clone();
        }
        let rows = if own { image(pid, mapping) } else { file(pid, mapping) };
        let part = rows.ok().and_then(|rows| self.add_rows(rows));
        self.parts.insert(key, part.clone());
        part
    }

    fn add_rows(&mut self, found: Rows) -> Option<Part> {
        let base = found.rows.first()?.0;
        let first = self.rows.len() / ROW_BYTES as usize;
        let within = |address: u64| u32::try_from(address.wrapping_sub(base)).ok();
        let rows = found.rows.iter().map_while(|(address, rule)| Some((within(*address)?, rule)));
        let room = MOST_ROWS.saturating_sub(first + 1);
        let mut count = 0;
        for (pc, rule) in rows.take(room) {
            self.rows.extend_from_slice(&rule.row(pc));
            count += 1;
        }
        if count == room {
            // The last row must not stand for all that follows.
            self.rows.extend_from_slice(&Rule::UNKNOWN.row(u32::MAX));
        }
        let first = u32::try_from(first).ok()?;
        Some(Part { first, count: u32::try_from(count).ok()?, base, segments: found.segments })
    }

    /// The spec of map `index` with room for the contents.
    pub(crate) fn sized(&self, maps: UnwindMaps, index: usize, spec: &MapSpec) -> MapSpec {
        let chunk = (CHUNK_ROWS * ROW_BYTES) as usize;
        let entries = match index {
            i if i == maps.places => self.places.len(),
            i if i == maps.rows => self.rows.len().div_ceil(chunk),
            _ => return spec.clone(),
        };
        MapSpec { max_entries: u32::try_from(entries.max(1)).unwrap_or(u32::MAX), ..spec.clone() }
    }

    /// Fills the maps.
    pub(crate) fn fill(&self, names: UnwindMaps, maps: &[Map]) -> Result<(), Error> {
        let missing =
            || Error::Damaged { what: "object".into(), why: "its stack tables have no maps".into() };
        let places = maps.get(names.places).ok_or_else(missing)?;
        let rows = maps.get(names.rows).ok_or_else(missing)?;
        for (index, chunk) in self.rows.chunks((CHUNK_ROWS * ROW_BYTES) as usize).enumerate() {
            let mut entry = chunk.to_vec();
            entry.resize((CHUNK_ROWS * ROW_BYTES) as usize, 0);
            rows.update(&u32::try_from(index).unwrap_or(u32::MAX).to_ne_bytes(), &entry)?;
        }
        self.places.iter().try_for_each(|(key, value)| places.update(key, value))
    }
}

/// How much a mapping's addresses are more than the rows' program counters.
fn bias(part: &Part, mapping: &Mapping) -> Option<u64> {
    let holds = |(offset, size, _): &&(u64, u64, u64)| {
        // Segments begin and end within pages; mappings are whole ones.
        *offset < mapping.offset.saturating_add(mapping.end - mapping.start)
            && mapping.offset < offset.saturating_add(*size)
    };
    let (offset, _, address) = part.segments.iter().find(holds)?;
    let start = address.wrapping_sub(*offset).wrapping_add(mapping.offset);
    Some(mapping.start.wrapping_sub(start).wrapping_add(part.base))
}

/// A line of /proc/PID/maps, if code is mapped there that has a name.
fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (device, inode) = (fields.next()?, fields.next()?);
    let path = fields.next()?.trim_start();
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let named = path.starts_with('/') || path == "[vdso]";
    (permissions.as_bytes().get(2) == Some(&b'x') && named && start < end).then(|| Mapping {
        start,
        end,
        offset,
        file: format!("{device} {inode}"),
        path: path.to_owned(),
    })
}

/// Rows of a mapped file: by the mapping itself, which finds files that were replaced or removed too, else by its path
/// as the process sees it.
fn file(pid: u32, mapping: &Mapping) -> Result<Rows, Error> {
    let mapped = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    cfi::of_file(&mapped).or_else(|_| cfi::of_file(&format!("/proc/{pid}/root{}", mapping.path)))
}

/// Rows of an image that the kernel has mapped and no file holds.
fn image(pid: u32, mapping: &Mapping) -> Result<Rows, Error> {
    let path = format!("/proc/{pid}/mem");
    let failed = |e: std::io::Error| Error::io(format!("read {path}"), &e);
    let size = (mapping.end - mapping.start).min(MOST_IMAGE);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    File::open(&path).map_err(failed)?.read_exact_at(&mut bytes, mapping.start).map_err(failed)?;
    cfi::of_image(&mapping.path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_code() {
        let line = "7f0a3e826000-7f0a3e97b000 r-xp 00026000 fe:01 1442 /usr/lib/a b.so";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x7f0a_3e82_6000, 0x7f0a_3e97_b000));
        assert_eq!((mapping.offset, mapping.path.as_str()), (0x26000, "/usr/lib/a b.so"));
        assert_eq!(mapping.file, "fe:01 1442");
        assert_eq!(parse("7f0a3e826000-7f0a3e97b000 rw-p 00026000 fe:01 1442 /usr/lib/a"), None);
        assert_eq!(parse("7f0a3e826000-7f0a3e97b000 r-xp 00000000 00:00 0 "), None);
        assert!(parse("7ffc1-7ffc2 r-xp 00000000 00:00 0 [vdso]").is_some());
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn addresses_follow_from_the_segment() {
        let segments = vec![(0, 0x1000, 0), (0x1000, 0x2345, 0x3000)];
        let part = Part { first: 0, count: 1, base: 0x3010, segments };
        let mapping = Mapping {
            start: 0x5000_1000,
            end: 0x5000_4000,
            offset: 0x1000,
            file: String::new(),
            path: String::new(),
        };
        // Address 0x3010 of the file lies at 0x50001010 and is program counter 0.
        assert_eq!(bias(&part, &mapping), Some(0x5000_1010));
        assert_eq!(bias(&part, &Mapping { offset: 0x9000, ..mapping }), None);
    }

    #[test]
    fn this_process_has_tables() {
        let mut tables = Tables::default();
        tables.add_process(std::process::id()).unwrap();
        assert!(tables.rows.len() > 16 * 1000 && tables.places.len() > 4);
        assert!(tables.add_process(u32::MAX).is_err_and(|e| e.is_missing()));
    }
}
