//! Reading a blob: the header and the offset table at parse, single types on demand. Bytes in this machine's byte
//! order enter; a blob of the other order is refused. Always holds after parse: every record of the table lies wholly
//! within the type section, with all of its trailing elements.

use std::ops::Range;
use std::sync::Arc;

use super::{Btf, BtfError, Member, Type, TypeId};
use crate::btf::names::Names;

/// BTF_MAGIC, include/uapi/linux/btf.h.
const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_header` up to and with `str_len`.
const HEADER: usize = 24;
/// Longest name that is read; the kernel's own limit is KSYM_NAME_LEN (512).
const MAX_NAME: usize = 4096;
/// Most bytes of a section, so that an offset in words fits beside the kind in a [`Slot`].
const MAX_SECTION: usize = 1 << 28;
/// Most blobs on top of each other.
const MAX_BASES: usize = 4;

/// `BTF_KIND_*`, include/uapi/linux/btf.h.
pub(super) mod kind {
    pub(crate) const INT: u8 = 1;
    pub(crate) const PTR: u8 = 2;
    pub(crate) const ARRAY: u8 = 3;
    pub(crate) const STRUCT: u8 = 4;
    pub(crate) const UNION: u8 = 5;
    pub(crate) const ENUM: u8 = 6;
    pub(crate) const FWD: u8 = 7;
    pub(crate) const TYPEDEF: u8 = 8;
    pub(crate) const VOLATILE: u8 = 9;
    pub(crate) const CONST: u8 = 10;
    pub(crate) const RESTRICT: u8 = 11;
    pub(crate) const FUNC: u8 = 12;
    pub(crate) const FUNC_PROTO: u8 = 13;
    pub(crate) const VAR: u8 = 14;
    pub(crate) const DATASEC: u8 = 15;
    pub(crate) const FLOAT: u8 = 16;
    pub(crate) const DECL_TAG: u8 = 17;
    pub(crate) const TYPE_TAG: u8 = 18;
    pub(crate) const ENUM64: u8 = 19;
}

/// By kind: bytes behind the 12 common ones, and bytes per element (`vlen` of them). Index 0 is not a kind.
const SHAPES: [(u8, u8); 20] = [
    (0, 0),
    (4, 0),
    (0, 0),
    (12, 0),
    (0, 12),
    (0, 12),
    (0, 8),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),
    (4, 0),
    (0, 12),
    (0, 0),
    (4, 0),
    (0, 0),
    (0, 12),
];

/// Where a type's record lies and its kind: offset in the type section in words (low 26 bits), kind (high 6 bits).
#[derive(Clone, Copy)]
pub(super) struct Slot(u32);

impl Slot {
    fn new(offset: usize, kind: u32) -> Slot {
        Slot((offset as u32 >> 2) | kind.min(63) << 26)
    }

    fn offset(self) -> usize {
        ((self.0 & 0x03ff_ffff) as usize) << 2
    }

    pub(super) fn kind(self) -> u8 {
        (self.0 >> 26) as u8
    }

    /// String offset of the type's name, from the type section it lies in.
    pub(super) fn name_offset(self, types: &[u8]) -> u32 {
        u32_at(types, self.offset())
    }
}

/// A type's record: the common words and what follows them.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// Blob that the record lies in; names may lie in its base.
    pub(super) btf: &'a Btf,
    pub(super) kind: u8,
    /// `kind_flag`.
    pub(super) flag: bool,
    pub(super) vlen: u32,
    pub(super) name_off: u32,
    /// `size` or `type`, by kind.
    pub(super) word: u32,
    /// Trailing bytes: exactly those of the kind.
    pub(super) tail: &'a [u8],
}

/// The u32 at `offset`; 0 outside.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk) {
        Some(b) => u32::from_ne_bytes(*b),
        None => 0,
    }
}

impl<'a> Record<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.btf.string(self.name_off)
    }

    pub(super) fn to(&self) -> TypeId {
        TypeId(self.word)
    }

    /// The trailing elements of `size` bytes each.
    fn elements(&self, size: usize) -> std::slice::ChunksExact<'a, u8> {
        self.tail.chunks_exact(size)
    }

    /// Members of a struct or union.
    pub(super) fn members(self) -> impl ExactSizeIterator<Item = Member<'a>> {
        self.elements(12).map(move |m| {
            let offset = u32_at(m, 8);
            let (bit_offset, bit_size) =
                if self.flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            Member { name: self.btf.string(u32_at(m, 0)), ty: TypeId(u32_at(m, 4)), bit_offset, bit_size }
        })
    }

    /// Parameters of a prototype.
    pub(super) fn params(self) -> impl ExactSizeIterator<Item = (&'a str, TypeId)> {
        self.elements(8).map(move |p| (self.btf.string(u32_at(p, 0)), TypeId(u32_at(p, 4))))
    }

    /// Variables of a section: (id of the VAR, byte offset, bytes).
    pub(super) fn section(self) -> impl ExactSizeIterator<Item = (TypeId, u32, u32)> {
        self.elements(12).map(|v| (TypeId(u32_at(v, 0)), u32_at(v, 4), u32_at(v, 8)))
    }

    /// Names and values of an enum.
    pub(super) fn variants(self) -> Vec<(&'a str, i64)> {
        let name = |v: &[u8]| self.btf.string(u32_at(v, 0));
        if self.kind == kind::ENUM64 {
            let value = |v: &[u8]| (u64::from(u32_at(v, 8)) << 32 | u64::from(u32_at(v, 4))) as i64;
            return self.elements(12).map(|v| (name(v), value(v))).collect();
        }
        let value = |v: &[u8]| {
            let raw = u32_at(v, 4);
            if self.flag { i64::from(raw as i32) } else { i64::from(raw) }
        };
        self.elements(8).map(|v| (name(v), value(v))).collect()
    }
}

/// The fields of the header that are used, in bytes.
struct Header {
    types: Range<usize>,
    strings: Range<usize>,
    /// Sizes of kinds that this reader may not know (7.0): two bytes of size and two of flags for each kind.
    layout: Range<usize>,
}

fn error<T>(text: impl Into<String>) -> Result<T, BtfError> {
    Err(BtfError(text.into()))
}

/// Reads and checks the header.
fn header(bytes: &[u8]) -> Result<Header, BtfError> {
    let Some(magic) = bytes.first_chunk::<2>().filter(|_| bytes.len() >= HEADER) else {
        return error(format!("{} bytes are too few for a header", bytes.len()));
    };
    match u16::from_ne_bytes(*magic) {
        MAGIC => {}
        m if m.swap_bytes() == MAGIC => {
            return error("the types are of a machine with the other byte order");
        }
        m => return error(format!("no magic number (found {m:#06x})")),
    }
    if bytes[2] != 1 {
        return error(format!("version {} is not known", bytes[2]));
    }
    let len = u32_at(bytes, 4) as usize;
    if len < HEADER || len > bytes.len() {
        return error(format!("header of {len} bytes in a blob of {}", bytes.len()));
    }
    let section = |what: &str, at: usize| {
        let (off, size) = (u32_at(bytes, at) as usize, u32_at(bytes, at + 4) as usize);
        let start = len + off;
        if size > MAX_SECTION || bytes.len().checked_sub(start).is_none_or(|left| left < size) {
            return error(format!("{what} section of {size} bytes at {start} in a blob of {}", bytes.len()));
        }
        Ok(start..start + size)
    };
    let types = section("type", 8)?;
    let strings = section("string", 16)?;
    let layout = if len >= HEADER + 8 { section("layout", 24)? } else { 0..0 };
    if !types.len().is_multiple_of(4) {
        return error(format!("type section of {} bytes is not a whole number of words", types.len()));
    }
    if bytes[strings.clone()].last().is_some_and(|&b| b != 0) {
        return error("string section does not end with a zero byte");
    }
    Ok(Header { types, strings, layout })
}

/// Size of what follows the common words for kind `kind`: fixed and per element, or `None` when it cannot be known.
fn shape(kind: u32, layout: &[u8]) -> Option<(usize, usize)> {
    if let Some(&(fixed, each)) = SHAPES.get(kind as usize).filter(|_| kind != 0) {
        return Some((fixed.into(), each.into()));
    }
    let entry = layout.get(kind as usize * 4..)?.first_chunk::<4>()?;
    (kind != 0 && entry[0] % 4 == 0 && entry[1] % 4 == 0).then(|| (entry[0].into(), entry[1].into()))
}

/// Kind and number of elements in an info word. The bits between the 16 and 5 of older kernels were zero there.
fn info(word: u32) -> (u32, u32) {
    ((word >> 24) & 0x7f, word & 0x00ff_ffff)
}

/// One pass over the type section.
fn offset_table(types: &[u8], layout: &[u8]) -> Result<Vec<Slot>, BtfError> {
    let mut table = Vec::with_capacity(types.len() / 20);
    let mut at = 0;
    while at < types.len() {
        let (kind, vlen) = info(u32_at(types, at + 4));
        let Some((fixed, each)) = shape(kind, layout) else {
            return error(format!("type {} has the unknown kind {kind}", table.len() + 1));
        };
        let end = at + 12 + fixed + each * vlen as usize;
        if end > types.len() {
            return error(format!("type {} runs over the end of the type section", table.len() + 1));
        }
        table.push(Slot::new(at, kind));
        at = end;
    }
    Ok(table)
}

impl Btf {
    /// Parses `bytes` (a vector, a mapped file), the types of a module with `base` those of vmlinux.
    ///
    /// Reads the header and walks the type section once; errors are a damaged or foreign blob, the other byte order
    /// among them.
    pub fn parse(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        base: Option<Arc<Btf>>,
    ) -> Result<Btf, BtfError> {
        let view = bytes.as_ref();
        let head = header(view)?;
        let table = offset_table(&view[head.types.clone()], &view[head.layout])?;
        let (first_id, first_string) = match &base {
            Some(b) => (b.len(), b.string_end()),
            None => (1, 0),
        };
        if std::iter::successors(base.as_deref(), |b| b.base.as_deref()).count() > MAX_BASES {
            return error("too many blobs on top of each other");
        }
        if first_id.checked_add(table.len() as u32).is_none() {
            return error("too many types");
        }
        Ok(Btf {
            base,
            table,
            types: head.types,
            strings: head.strings,
            first_id,
            first_string,
            names: Names::default(),
            bytes: Box::new(bytes),
        })
    }

    /// The blob's bytes, without the base's.
    pub fn raw(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// The blob that this one builds on.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// One more than the highest type id, the base's types and void included.
    pub fn len(&self) -> u32 {
        self.first_id + self.table.len() as u32
    }

    /// Whether the types are a module's that were read without the kernel's: their names then lie behind all strings that there are.
    pub fn lacks_base(&self) -> bool {
        let mut own = (self.first_id.max(1)..self.len()).filter_map(|id| self.record(TypeId(id)));
        self.base.is_none()
            && own.any(|record| record.name_off >= self.strings.len() as u32 && record.name_off != 0)
    }

    /// Whether there is no type but void.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// Id of the first type of this blob itself: 1 without a base.
    pub fn first_id(&self) -> TypeId {
        TypeId(self.first_id)
    }

    /// String offset behind this blob's last string.
    pub(super) fn string_end(&self) -> u32 {
        self.first_string.saturating_add(self.strings.len() as u32)
    }

    /// A range of the blob; empty should the owner's bytes have shrunk.
    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.raw().get(range.clone()).unwrap_or(&[])
    }

    /// The type section.
    pub(super) fn type_bytes(&self) -> &[u8] {
        self.part(&self.types)
    }

    /// Bytes of the blob's own string section.
    pub fn string_len(&self) -> u32 {
        self.strings.len() as u32
    }

    /// A blob with the first `types` types and `strings` bytes of strings of this one, which must not build on a base.
    /// `None` when there are not as many.
    pub fn prefix(&self, types: u32, strings: u32) -> Option<Vec<u8>> {
        let end = match self.table.get(types as usize) {
            Some(slot) => slot.offset(),
            None if types as usize == self.table.len() => self.types.len(),
            None => return None,
        };
        let types = self.type_bytes().get(..end)?;
        let strings = self.own_strings().get(..strings as usize)?;
        let mut out = Vec::with_capacity(HEADER + types.len() + strings.len());
        out.extend_from_slice(&MAGIC.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        for word in [HEADER, 0, types.len(), types.len(), strings.len()] {
            out.extend_from_slice(&(word as u32).to_ne_bytes());
        }
        out.extend_from_slice(types);
        out.extend_from_slice(strings);
        Some(out)
    }

    /// The string section, without the base's.
    pub(super) fn own_strings(&self) -> &[u8] {
        self.part(&self.strings)
    }

    /// Bytes of this blob's string section from string offset `offset` on, from the base where it lies there.
    pub(super) fn string_bytes(&self, offset: u32) -> &[u8] {
        let mut btf = self;
        while offset < btf.first_string {
            match btf.base.as_deref() {
                Some(base) => btf = base,
                None => return &[],
            }
        }
        btf.own_strings().get((offset - btf.first_string) as usize..).unwrap_or(&[])
    }

    /// The string at `offset`; empty when there is none, or when it is not UTF-8 or unreasonably long.
    pub fn string(&self, offset: u32) -> &str {
        std::str::from_utf8(self.name_bytes(offset)).unwrap_or("")
    }

    /// The string at `offset` without its zero byte; empty when there is none or it is unreasonably long.
    pub(super) fn name_bytes(&self, offset: u32) -> &[u8] {
        if offset == 0 {
            return &[];
        }
        let bytes = self.string_bytes(offset);
        let bytes = &bytes[..bytes.len().min(MAX_NAME)];
        std::ffi::CStr::from_bytes_until_nul(bytes).map_or(&[], |name| name.to_bytes())
    }

    /// The blob's own slots with their ids.
    pub(super) fn slots(&self) -> impl Iterator<Item = (TypeId, Slot)> + '_ {
        (self.first_id..).map(TypeId).zip(self.table.iter().copied())
    }

    /// Slot of `id` and the blob that it lies in.
    pub(super) fn slot(&self, id: TypeId) -> Option<(&Btf, Slot)> {
        let mut btf = self;
        while id.0 < btf.first_id {
            btf = btf.base.as_deref()?;
        }
        Some((btf, *btf.table.get((id.0 - btf.first_id) as usize)?))
    }

    /// String offset of the name of the type in `slot` of this blob.
    pub(super) fn name_offset(&self, slot: Slot) -> u32 {
        slot.name_offset(self.type_bytes())
    }

    /// The record of `id`; `None` for void, ids beyond the end and kinds that this reader does not know.
    pub(super) fn record(&self, id: TypeId) -> Option<Record<'_>> {
        let (btf, slot) = self.slot(id)?;
        let bytes = btf.type_bytes().get(slot.offset()..)?;
        let word = u32_at(bytes, 4);
        let (kind, vlen) = info(word);
        let (fixed, each) = shape(kind, &[])?;
        Some(Record {
            btf,
            kind: kind as u8,
            flag: word >> 31 != 0,
            vlen,
            name_off: u32_at(bytes, 0),
            word: u32_at(bytes, 8),
            tail: bytes.get(12..12 + fixed + each * vlen as usize)?,
        })
    }

    /// The type with number `id`; `None` for an id beyond the end. 0 is [`Type::Void`].
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        if id.0 == 0 {
            return Some(Type::Void);
        }
        let r = self.record(id)?;
        let name = r.name();
        Some(match r.kind {
            kind::INT => {
                let encoding = u32_at(r.tail, 0) >> 24;
                Type::Int { name, size: r.word, signed: encoding & 1 != 0, boolean: encoding & 4 != 0 }
            }
            kind::PTR => Type::Ptr(r.to()),
            kind::ARRAY => Type::Array { elem: TypeId(u32_at(r.tail, 0)), count: u32_at(r.tail, 8) },
            kind::STRUCT | kind::UNION => Type::Composite {
                name,
                union: r.kind == kind::UNION,
                size: r.word,
                members: r.members().collect(),
            },
            kind::ENUM | kind::ENUM64 => {
                Type::Enum { name, size: r.word, signed: r.flag, variants: r.variants() }
            }
            kind::FWD => Type::Fwd { name, union: r.flag },
            kind::TYPEDEF => Type::Typedef { name, to: r.to() },
            kind::VOLATILE | kind::CONST | kind::RESTRICT => Type::Qualifier(r.to()),
            kind::FUNC => Type::Func { name, proto: r.to() },
            kind::FUNC_PROTO => Type::FuncProto { ret: r.to(), params: r.params().collect() },
            kind::VAR => Type::Var { name, ty: r.to() },
            kind::DATASEC => Type::Datasec { name },
            kind::FLOAT => Type::Float { name, size: r.word },
            kind::DECL_TAG => Type::DeclTag { name, to: r.to(), component: u32_at(r.tail, 0) as i32 },
            kind::TYPE_TAG => Type::TypeTag { name, to: r.to() },
            _ => return None,
        })
    }

    /// Name of `id`: empty for void, anonymous types and ids beyond the end.
    pub fn name_of(&self, id: TypeId) -> &str {
        self.slot(id).map_or("", |(btf, slot)| btf.string(btf.name_offset(slot)))
    }
}
