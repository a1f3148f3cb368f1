//! Files with debug information: a path enters, the bytes of sections leave, decompressed. Small files are read, large
//! ones mapped; the bytes live as long as the [`Arena`] that they were put in.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use gimli::{RunTimeEndian, SectionId};
use object::{Object, ObjectSection, ObjectSegment};

use super::{Bytes, damaged};
use crate::error::Error;
use crate::sys::mmap::FileMapping;

/// Files up to this size are read into memory, larger ones mapped.
const READ_LIMIT: u64 = 32 << 20;
/// Most bytes of one decompressed section.
const SECTION_LIMIT: u64 = 4 << 30;
/// The most that one byte of compressed data can stand for (deflate: 1032; zstd may do more, but compilers' output
/// does not).
const MOST_COMPRESSION: u64 = 4096;
/// Most files and decompressed sections that are held for one question.
const ARENA_SLOTS: usize = 8192;

/// What an arena holds.
enum Blob {
    Mapped(FileMapping),
    Owned(Vec<u8>),
}

/// Holds bytes for as long as it lives.
pub(super) struct Arena {
    slots: Vec<OnceCell<Blob>>,
    used: Cell<usize>,
}

impl Default for Arena {
    fn default() -> Self {
        Arena { slots: (0..ARENA_SLOTS).map(|_| OnceCell::new()).collect(), used: Cell::new(0) }
    }
}

impl Arena {
    fn keep(&self, blob: Blob) -> Option<&[u8]> {
        let slot = self.slots.get(self.used.get())?;
        self.used.set(self.used.get() + 1);
        Some(match slot.get_or_init(|| blob) {
            Blob::Mapped(mapping) => mapping.as_ref(),
            Blob::Owned(bytes) => bytes,
        })
    }

    /// The bytes of a file.
    fn file(&self, path: &str) -> Result<&[u8], Error> {
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
            _ => Error::io(format!("read {path}"), &e),
        };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(damaged(path, "no regular file"));
        }
        let blob = match usize::try_from(metadata.len()) {
            Ok(len) if metadata.len() > READ_LIMIT => Blob::Mapped(
                FileMapping::new(file.as_fd(), len).map_err(|e| Error::os(format!("map {path}"), e))?,
            ),
            _ => {
                let mut bytes = Vec::new();
                file.by_ref().take(READ_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
                Blob::Owned(bytes)
            }
        };
        self.keep(blob).ok_or_else(|| damaged(path, "it is spread over too many files"))
    }
}

/// A parsed file.
pub(super) struct Binary<'a> {
    arena: &'a Arena,
    file: object::File<'a>,
    endian: RunTimeEndian,
}

impl<'a> Binary<'a> {
    /// Opens the file at `path`.
    pub(super) fn open(arena: &'a Arena, path: &str) -> Result<Binary<'a>, Error> {
        let bytes = arena.file(path)?;
        let file = object::File::parse(bytes).map_err(|e| damaged(path, e))?;
        let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        Ok(Binary { arena, file, endian })
    }

    /// Parses bytes that are no file of their own; messages call them `name`.
    pub(super) fn of_bytes(arena: &'a Arena, name: &str, bytes: Vec<u8>) -> Result<Binary<'a>, Error> {
        let bytes = arena.keep(Blob::Owned(bytes)).ok_or_else(|| damaged(name, "no room to keep it"))?;
        let file = object::File::parse(bytes).map_err(|e| damaged(name, e))?;
        let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        Ok(Binary { arena, file, endian })
    }

    /// The address of a section, 0 if there is none.
    pub(super) fn address(&self, name: &str) -> u64 {
        self.file.section_by_name(name).map_or(0, |s| s.address())
    }

    /// Code that is loaded: (offset in the file, bytes there, address).
    pub(super) fn code_segments(&self) -> Vec<(u64, u64, u64)> {
        let is_code = |s: &object::Segment<'_, '_>| matches!(s.flags(), object::SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        let ranges = self.file.segments().filter(is_code).map(|s| (s.file_range(), s.address()));
        ranges.map(|((offset, size), address)| (offset, size, address)).collect()
    }

    /// Whether the code is x86-64's, and whether it is aarch64's.
    pub(super) fn code(&self) -> (bool, bool) {
        let architecture = self.file.architecture();
        (architecture == object::Architecture::X86_64, architecture == object::Architecture::Aarch64)
    }

    /// Whether the file has units.
    pub(super) fn has_debug_info(&self) -> bool {
        let info = |name| self.file.section_by_name(name).is_some_and(|s| s.size() > 0 && !is_nobits(&s));
        info(".debug_info") || info(".zdebug_info")
    }

    /// The file's build id; empty without.
    pub(super) fn build_id(&self) -> &'a [u8] {
        self.file.build_id().ok().flatten().unwrap_or_default()
    }

    /// The name of the file that this one's debug information is in (`.gnu_debuglink`).
    pub(super) fn debug_link(&self) -> Option<String> {
        let (name, _) = self.file.gnu_debuglink().ok().flatten()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The file that holds what several files' debug information shares (`.gnu_debugaltlink`), and its build id.
    pub(super) fn alternate(&self) -> Option<(String, &'a [u8])> {
        let (name, id) = self.file.gnu_debugaltlink().ok().flatten()?;
        Some((String::from_utf8_lossy(name).into_owned(), id))
    }

    /// A section's bytes, decompressed; empty if there is none or it cannot be read.
    pub(super) fn section(&self, name: Option<&str>) -> Bytes<'a> {
        let bytes = name.and_then(|name| self.bytes(name)).unwrap_or_default();
        gimli::EndianSlice::new(bytes, self.endian)
    }

    /// The section of `id` for [`gimli::Dwarf::load`]; `dwo`: by its name in `.dwo` and `.dwp` files.
    pub(super) fn load(&self, id: SectionId, dwo: bool) -> Result<Bytes<'a>, gimli::Error> {
        Ok(self.section(if dwo { id.dwo_name() } else { Some(id.name()) }))
    }

    /// An empty section.
    pub(super) fn nothing(&self) -> Bytes<'a> {
        gimli::EndianSlice::new(&[], self.endian)
    }

    fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.file.section_by_name(name).filter(|s| !is_nobits(s))?;
        let data = section.compressed_data().ok()?;
        let most = (data.data.len() as u64).saturating_mul(MOST_COMPRESSION).min(SECTION_LIMIT);
        if data.uncompressed_size > most && data.format != object::CompressionFormat::None {
            return None;
        }
        match data.decompress().ok()? {
            Cow::Borrowed(bytes) => Some(bytes),
            Cow::Owned(bytes) => self.arena.keep(Blob::Owned(bytes)),
        }
    }
}

fn is_nobits<'d>(section: &impl ObjectSection<'d>) -> bool {
    section.kind() == object::SectionKind::UninitializedData
}
