//! Binaries on this machine: finding one by name, its function symbols with their file offsets, its build id. The
//! files are the users' and may be anything: what is damaged gives an error or is left out.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectKind, ObjectSegment, ObjectSymbol, SymbolKind};
use skep_bpf::target::Symbol;

use crate::error::Error;

/// Folders where libraries are when the linker's cache does not say.
const LIBRARY_FOLDERS: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// The dynamic linker's cache and the mark of its current format (glibc sysdeps/generic/dl-cache.h).
const LINKER_CACHE: &str = "/etc/ld.so.cache";
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const CACHE_HEADER: usize = 48;
const CACHE_ENTRY: usize = 24;
/// The most symbols of one binary that are kept.
const SYMBOL_LIMIT: usize = 4_000_000;

pub(crate) fn damaged(path: &str, why: impl ToString) -> Error {
    Error::Damaged { what: path.to_owned(), why: why.to_string() }
}

/// Opens a binary to read; for a library inside of an archive ([`crate::archive`]) the archive.
pub(crate) fn open(path: &str) -> Result<ReadCache<File>, Error> {
    match File::open(crate::archive::container(path)) {
        Ok(file) if file.metadata().is_ok_and(|m| m.is_file()) => Ok(ReadCache::new(file)),
        Ok(_) => Err(damaged(path, "no regular file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::Missing(path.to_owned())),
        Err(e) => Err(Error::io(format!("open {path}"), &e)),
    }
}

/// (address, file offset, bytes in the file) of a loaded segment.
pub(crate) type Segment = (u64, u64, u64);

/// The loaded segments of a binary.
pub(crate) fn segments<'d, R: ReadRef<'d>>(file: &object::File<'d, R>) -> Vec<Segment> {
    file.segments()
        .map(|s| {
            let (offset, size) = s.file_range();
            (s.address(), offset, size)
        })
        .collect()
}

/// The file offset of an address.
pub(crate) fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .find(|(start, _, size)| address >= *start && address - start < *size)
        .and_then(|(start, offset, _)| offset.checked_add(address - start))
}

/// The functions of one file's symbol tables, placed by the segments of the binary that runs. Symbols outside the file
/// (imports) are left out.
fn functions<'d, R: ReadRef<'d>>(file: &object::File<'d, R>, segments: &[(u64, u64, u64)]) -> Vec<Symbol> {
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter(|s| s.kind() == SymbolKind::Text && s.is_definition())
        .filter_map(|s| {
            let name = s.name().ok().filter(|n| !n.is_empty())?;
            let offset = offset_of(segments, s.address())?;
            Some(Symbol { name: name.to_owned(), address: s.address(), offset, size: s.size() })
        })
        .take(SYMBOL_LIMIT)
        .collect()
}

/// The content of a section of an ELF file of any machine.
pub fn section(path: &str, name: &str) -> Result<Vec<u8>, Error> {
    use object::ObjectSection;
    let cache = open(path)?;
    let file = object::File::parse(&cache).map_err(|e| damaged(path, e))?;
    let section = file.section_by_name(name);
    let section = section.ok_or_else(|| Error::Missing(format!("section {name} in {path}")))?;
    Ok(section.uncompressed_data().map_err(|e| damaged(path, e))?.into_owned())
}

/// Most bytes of a file of types alone.
const MAX_TYPES: u64 = 256 << 20;

/// BTF of a file: the section of an ELF file, or all of one that is nothing else (as in /sys/kernel/btf).
pub fn types(path: &str) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let failed = |e: std::io::Error| Error::io(format!("read {path}"), &e);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_TYPES).read_to_end(&mut bytes).map_err(failed)?;
    if skep_bpf::elf::is_elf(&bytes) { section(path, ".BTF") } else { Ok(bytes) }
}

/// All functions of a binary, from both of its symbol tables, and for a stripped one from its separate debug file;
/// sorted by name and address.
pub fn function_symbols(path: &str) -> Result<Vec<Symbol>, Error> {
    let cache = open(path)?;
    let (start, size) = crate::archive::range(&cache, path)?;
    let file = object::File::parse(cache.range(start, size)).map_err(|e| damaged(path, e))?;
    let segments = segments(&file);
    let mut symbols = functions(&file, &segments);
    if file.symbols().next().is_none()
        && let Ok(Some(id)) = file.build_id()
        && let Some(debug) = debug_file(id)
        && let Ok(cache) = open(&debug)
        && let Ok(debug) = object::File::parse(&cache)
    {
        symbols.extend(functions(&debug, &segments));
    }
    symbols.sort_unstable_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
    symbols.dedup_by(|a, b| a.name == b.name && a.address == b.address);
    symbols.iter_mut().for_each(|s| s.offset = s.offset.saturating_add(start));
    Ok(symbols)
}

/// The separate debug file of a build id, where distributions put it.
fn debug_file(id: &[u8]) -> Option<String> {
    let (first, rest) = id.split_first()?;
    let rest: String = rest.iter().take(63).map(|b| format!("{b:02x}")).collect();
    let path = format!("/usr/lib/debug/.build-id/{first:02x}/{rest}.debug");
    fs::exists(&path).unwrap_or(false).then_some(path)
}

/// The variable or function of that name in a binary's symbol tables. Of a variable that is not in the file (zeros at
/// the start), the offset is 0.
pub fn variable(path: &str, name: &str) -> Result<Option<Symbol>, Error> {
    let cache = open(path)?;
    let file = object::File::parse(&cache).map_err(|e| damaged(path, e))?;
    let segments = segments(&file);
    let found = file.symbols().chain(file.dynamic_symbols()).find(|s| {
        matches!(s.kind(), SymbolKind::Data | SymbolKind::Text) && s.is_definition() && s.name() == Ok(name)
    });
    Ok(found.map(|s| Symbol {
        name: name.to_owned(),
        address: s.address(),
        offset: offset_of(&segments, s.address()).unwrap_or(0),
        size: s.size(),
    }))
}

/// The file offset of a virtual address of a binary.
pub fn file_offset(path: &str, address: u64) -> Result<u64, Error> {
    let cache = open(path)?;
    let file = object::File::parse(&cache).map_err(|e| damaged(path, e))?;
    offset_of(&segments(&file), address)
        .ok_or_else(|| Error::Missing(format!("address {address:#x} in {path}")))
}

/// A binary's GNU build id; empty without one.
pub fn build_id(path: &str) -> Result<Vec<u8>, Error> {
    let cache = open(path)?;
    let file = object::File::parse(&cache).map_err(|e| damaged(path, e))?;
    let id = file.build_id().map_err(|e| damaged(path, e))?.unwrap_or(&[]);
    Ok(id[..id.len().min(20)].to_vec())
}

/// Whether a binary is a program or shared object that can run.
fn is_binary(path: &Path) -> bool {
    let Some(cache) = path.to_str().and_then(|p| open(p).ok()) else { return false };
    object::File::parse(&cache)
        .is_ok_and(|f| matches!(f.kind(), ObjectKind::Executable | ObjectKind::Dynamic))
}

/// The path of a binary or library by the name that a user writes: a path as it is, a program through PATH, a library
/// (`libc`, `c`, `libc.so.6`) through the linker's cache and the usual folders.
pub fn find_binary(name: &str) -> Result<String, Error> {
    if name.contains('/') {
        return match fs::canonicalize(name) {
            Ok(path) => Ok(path.to_string_lossy().into_owned()),
            Err(_) => Err(Error::Missing(name.to_owned())),
        };
    }
    in_path(name)
        .or_else(|| library(name))
        .map(|p| fs::canonicalize(&p).unwrap_or(p).to_string_lossy().into_owned())
        .ok_or_else(|| Error::Missing(format!("binary or library {name}")))
}

/// A program by name through PATH: the first regular file with an execute bit.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into());
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

/// Whether the file name `file` is library `name`: `libc.so.6` is `c`, `libc`, `libc.so` and itself.
pub(crate) fn is_library(file: &str, name: &str) -> bool {
    let stem = file.strip_prefix("lib").unwrap_or(file);
    [file, stem]
        .iter()
        .any(|f| f.strip_prefix(name).is_some_and(|rest| rest.is_empty() || is_so_suffix(rest)))
}

fn is_so_suffix(rest: &str) -> bool {
    rest.strip_prefix(".so").is_some_and(|r| r.is_empty() || r.starts_with('.'))
        || (rest.starts_with('.') && rest[1..].chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The path of a library by the names that a user writes: `libc`, `c`, `libc.so.6`.
pub(crate) fn library(name: &str) -> Option<PathBuf> {
    let cached = fs::read(LINKER_CACHE).ok().and_then(|bytes| in_linker_cache(&bytes, name, &is_binary));
    cached.or_else(|| {
        LIBRARY_FOLDERS.iter().find_map(|folder| {
            let files = fs::read_dir(folder).ok()?.flatten();
            let mut found: Vec<PathBuf> = files
                .filter(|f| f.file_name().to_str().is_some_and(|f| is_library(f, name)))
                .map(|f| f.path())
                .filter(|p| is_binary(p))
                .collect();
            found.sort();
            found.into_iter().next()
        })
    })
}

/// The path of library `name` in the bytes of ld.so.cache.
fn in_linker_cache(bytes: &[u8], name: &str, usable: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let start = bytes.windows(CACHE_MAGIC.len()).position(|w| w == CACHE_MAGIC)?;
    let cache = &bytes[start..];
    let word = |at: usize| Some(u32::from_ne_bytes(cache.get(at..at + 4)?.try_into().ok()?) as usize);
    let text = |at: usize| {
        let rest = cache.get(at..)?;
        std::str::from_utf8(&rest[..rest.iter().position(|b| *b == 0)?]).ok()
    };
    let count = word(20)?.min(cache.len() / CACHE_ENTRY);
    (0..count).find_map(|i| {
        let entry = CACHE_HEADER + i * CACHE_ENTRY;
        let file = text(word(entry + 4)?)?;
        let path = PathBuf::from(text(word(entry + 8)?)?);
        (is_library(file, name) && usable(&path)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_names() {
        for name in ["c", "libc", "libc.so", "libc.so.6"] {
            assert!(is_library("libc.so.6", name), "{name}");
        }
        assert!(!is_library("libcap.so.2", "c"));
        assert!(!is_library("libc.so.6", "libc.so.7"));
        assert!(is_library("libstdc++.so.6", "stdc++"));
    }

    #[test]
    fn linker_cache_is_read_within_its_bounds() {
        let mut bytes = vec![0; CACHE_HEADER];
        bytes[..20].copy_from_slice(CACHE_MAGIC);
        bytes[20..24].copy_from_slice(&1u32.to_ne_bytes());
        let strings = (CACHE_HEADER + CACHE_ENTRY) as u32;
        for word in [3, strings, strings + 10, 0, 0, 0] {
            bytes.extend_from_slice(&u32::to_ne_bytes(word));
        }
        bytes.extend_from_slice(b"libz.so.1\0/lib/libz.so.1\0");
        let found = in_linker_cache(&bytes, "z", &|_| true);
        assert_eq!(found, Some(PathBuf::from("/lib/libz.so.1")));
        assert_eq!(in_linker_cache(&bytes, "y", &|_| true), None);
        for end in 0..bytes.len() {
            in_linker_cache(&bytes[..end], "z", &|_| true);
        }
        bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(in_linker_cache(&bytes, "q", &|_| true).is_none());
    }

    #[test]
    fn own_functions_have_offsets() {
        let me = std::env::current_exe().unwrap();
        let symbols = function_symbols(me.to_str().unwrap()).unwrap();
        let main = symbols.iter().find(|s| s.name == "main").unwrap();
        assert!(main.offset > 0 && main.size > 0);
        assert_eq!(file_offset(me.to_str().unwrap(), main.address).unwrap(), main.offset);
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        assert!(matches!(function_symbols("/etc/passwd"), Err(Error::Damaged { .. })));
        assert!(matches!(function_symbols("/dev/zero"), Err(Error::Damaged { .. })));
        assert!(matches!(function_symbols("/no/such"), Err(Error::Missing(_))));
        assert!(find_binary("no-such-binary-at-all").is_err_and(|e| e.is_missing()));
        assert!(find_binary("sh").unwrap().starts_with('/'));
    }
}
