//! Units of debug information: entries by place, and references between them: within a unit, between units, into the
//! file that several share, to type units, and from a skeleton to its `.dwo` file or package. A binary's path enters;
//! units and entries leave. A reference that leads nowhere gives nothing.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use gimli::{
    AttributeValue, DW_AT_GNU_dwo_name, DW_AT_dwo_name, DebugInfoOffset, DebugTypeSignature, DwAt,
    DwarfFileType, DwarfPackage, SectionId, UnitOffset, UnitType,
};

use super::load::{Arena, Binary};
use super::{Bytes, Entry, Unit, damaged, file_name, find};
use crate::error::Error;

type Dwarf<'a> = gimli::Dwarf<Bytes<'a>>;

/// Most units that stay parsed.
const CACHED_UNITS: usize = 1024;
/// The file with the binary's own debug information.
const MAIN: u32 = 0;

/// A unit: the number of its file and its offset there, in the section of types or of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct UnitKey {
    file: u32,
    types: bool,
    start: usize,
}

/// An entry: its unit and its offset in that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) unit: UnitKey,
    pub(super) entry: usize,
}

/// A parsed unit.
#[derive(Clone)]
pub(super) struct Handle<'a> {
    pub(super) key: UnitKey,
    pub(super) dwarf: Arc<Dwarf<'a>>,
    pub(super) unit: Rc<Unit<'a>>,
}

/// One file's sections and where its units begin.
struct Part<'a> {
    dwarf: Arc<Dwarf<'a>>,
    starts: OnceCell<Vec<usize>>,
    signatures: OnceCell<HashMap<DebugTypeSignature, (UnitKey, usize)>>,
}

/// All units of a binary.
pub(super) struct Units<'a> {
    arena: &'a Arena,
    /// The binary, and the file that has its debug information.
    path: String,
    debug_path: String,
    parts: RefCell<Vec<Rc<Part<'a>>>>,
    supplement: Option<u32>,
    package: OnceCell<Option<DwarfPackage<Bytes<'a>>>>,
    known: RefCell<HashMap<UnitKey, Handle<'a>>>,
    splits: RefCell<HashMap<UnitKey, Option<UnitKey>>>,
}

fn load<'a>(binary: &Binary<'a>, dwo: bool) -> Result<Dwarf<'a>, gimli::Error> {
    Dwarf::load(|id: SectionId| binary.load(id, dwo))
}

impl<'a> Part<'a> {
    fn new(dwarf: Arc<Dwarf<'a>>) -> Rc<Part<'a>> {
        Rc::new(Part { dwarf, starts: OnceCell::new(), signatures: OnceCell::new() })
    }

    fn starts(&self) -> &[usize] {
        self.starts.get_or_init(|| {
            let mut headers = self.dwarf.units();
            std::iter::from_fn(|| headers.next().ok().flatten())
                .filter_map(|h| h.debug_info_offset().map(|o| o.0))
                .collect()
        })
    }

    /// Type units by their signatures, with the offset of the type.
    fn signatures(&self, file: u32) -> &HashMap<DebugTypeSignature, (UnitKey, usize)> {
        self.signatures.get_or_init(|| {
            let (mut info, mut types) = (self.dwarf.units(), self.dwarf.type_units());
            let headers = std::iter::from_fn(|| info.next().ok().flatten())
                .chain(std::iter::from_fn(|| types.next().ok().flatten()));
            headers
                .filter_map(|header| {
                    let (UnitType::Type { type_signature, type_offset }
                    | UnitType::SplitType { type_signature, type_offset }) = header.type_()
                    else {
                        return None;
                    };
                    let (types, start) = match header.section() {
                        SectionId::DebugTypes => (true, header.debug_types_offset()?.0),
                        _ => (false, header.debug_info_offset()?.0),
                    };
                    Some((type_signature, (UnitKey { file, types, start }, type_offset.0)))
                })
                .collect()
        })
    }
}

impl<'a> Units<'a> {
    /// The debug information of the binary at `path`, its own or that of its separate file. `folders` are searched for
    /// that before the usual ones.
    pub(super) fn open(arena: &'a Arena, path: &str, folders: &[String]) -> Result<Units<'a>, Error> {
        let binary = Binary::open(arena, path)?;
        let (debug_path, binary) = match binary.has_debug_info() {
            true => (path.to_owned(), binary),
            false => find::separate(arena, path, &binary, folders)
                .ok_or_else(|| Error::Missing(format!("debug information of {path}")))?,
        };
        let mut main = load(&binary, false).map_err(|e| damaged(path, e))?;
        let shared = find::alternate(arena, &debug_path, &binary, folders)
            .and_then(|file| load(&file, false).ok())
            .map(Arc::new);
        main.sup.clone_from(&shared);
        let mut parts = vec![Part::new(Arc::new(main))];
        let supplement = shared.map(|dwarf| {
            parts.push(Part::new(dwarf));
            1
        });
        Ok(Units {
            arena,
            path: path.to_owned(),
            debug_path,
            parts: RefCell::new(parts),
            supplement,
            package: OnceCell::new(),
            known: RefCell::default(),
            splits: RefCell::default(),
        })
    }

    /// The binary's compilation units, in the order of the file. Those of `.dwo` files are their skeletons.
    pub(super) fn all(&self) -> Vec<UnitKey> {
        let Some(part) = self.part(MAIN) else { return Vec::new() };
        part.starts().iter().map(|&start| UnitKey { file: MAIN, types: false, start }).collect()
    }

    fn part(&self, file: u32) -> Option<Rc<Part<'a>>> {
        self.parts.borrow().get(file as usize).cloned()
    }

    /// A unit, parsed as far as its root.
    pub(super) fn unit(&self, key: UnitKey) -> Option<Handle<'a>> {
        if let Some(known) = self.known.borrow().get(&key) {
            return Some(known.clone());
        }
        let dwarf = self.part(key.file)?.dwarf.clone();
        let header = if key.types {
            let mut units = dwarf.type_units();
            std::iter::from_fn(|| units.next().ok().flatten())
                .find(|h| h.debug_types_offset().is_some_and(|o| o.0 == key.start))?
        } else {
            dwarf.unit_header(DebugInfoOffset(key.start)).ok()?
        };
        let unit = Rc::new(dwarf.unit(header).ok()?);
        let handle = Handle { key, dwarf, unit };
        self.remember(handle.clone());
        Some(handle)
    }

    fn remember(&self, handle: Handle<'a>) {
        let mut known = self.known.borrow_mut();
        if known.len() >= CACHED_UNITS {
            // Split units cannot be parsed again without their skeletons.
            known.retain(|key, _| key.file != MAIN && Some(key.file) != self.supplement);
        }
        known.insert(handle.key, handle);
    }

    /// The unit that has the entries: of a skeleton the split one, if it is found.
    pub(super) fn full(&self, unit: Handle<'a>) -> Handle<'a> {
        if unit.key.file != MAIN || unit.unit.dwo_id.is_none() {
            return unit;
        }
        let known = self.splits.borrow().get(&unit.key).copied();
        let split = known.unwrap_or_else(|| {
            let found = self.split(&unit);
            self.splits.borrow_mut().insert(unit.key, found);
            found
        });
        split.and_then(|key| self.unit(key)).unwrap_or(unit)
    }

    fn split(&self, skeleton: &Handle<'a>) -> Option<UnitKey> {
        let id = skeleton.unit.dwo_id?;
        let dwarf = self.packaged(skeleton).or_else(|| self.in_own_file(skeleton))?;
        let mut headers = dwarf.units();
        let (header, mut unit) = std::iter::from_fn(|| headers.next().ok().flatten())
            .filter_map(|header| Some((header, dwarf.unit(header).ok()?)))
            .find(|(_, unit)| unit.dwo_id == Some(id))?;
        unit.copy_relocated_attributes(&skeleton.unit);
        let dwarf = Arc::new(dwarf);
        let mut parts = self.parts.borrow_mut();
        let file = u32::try_from(parts.len()).ok()?;
        parts.push(Part::new(dwarf.clone()));
        drop(parts);
        let key = UnitKey { file, types: false, start: header.debug_info_offset()?.0 };
        self.remember(Handle { key, dwarf, unit: Rc::new(unit) });
        Some(key)
    }

    fn packaged(&self, skeleton: &Handle<'a>) -> Option<Dwarf<'a>> {
        let package = self.package.get_or_init(|| {
            [&self.debug_path, &self.path].into_iter().find_map(|path| {
                let binary = Binary::open(self.arena, &format!("{path}.dwp")).ok()?;
                DwarfPackage::load(|id| binary.load(id, true), binary.nothing()).ok()
            })
        });
        package.as_ref()?.find_cu(skeleton.unit.dwo_id?, &skeleton.dwarf).ok().flatten()
    }

    fn in_own_file(&self, skeleton: &Handle<'a>) -> Option<Dwarf<'a>> {
        let mut cursor = skeleton.unit.entries();
        let root = cursor.next_dfs().ok()??;
        let name = [DW_AT_dwo_name, DW_AT_GNU_dwo_name].into_iter().find_map(|at| skeleton.text(root, at))?;
        let built = skeleton.unit.comp_dir.map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
        let own = Path::new(&self.debug_path).parent().unwrap_or(Path::new("/"));
        let places = [Path::new(&built).join(&name), own.join(&name), own.join(file_name(&name))];
        places.into_iter().find_map(|place| {
            let binary = Binary::open(self.arena, place.to_str()?).ok()?;
            let mut dwarf = load(&binary, true).ok()?;
            dwarf.make_dwo(&skeleton.dwarf);
            Some(dwarf).filter(|d| d.file_type == DwarfFileType::Dwo)
        })
    }

    /// The entry at a place.
    pub(super) fn entry(&self, place: Place) -> Option<(Handle<'a>, Entry<'a>)> {
        let handle = self.unit(place.unit)?;
        let entry = handle.unit.entry(UnitOffset(place.entry)).ok()?;
        Some((handle, entry))
    }

    /// What attribute `at` of an entry refers to.
    pub(super) fn reference(&self, unit: &Handle<'a>, entry: &Entry<'a>, at: DwAt) -> Option<Place> {
        let in_file = |file: u32, offset: usize| {
            let part = self.part(file)?;
            let starts = part.starts();
            let index = starts.partition_point(|start| *start <= offset).checked_sub(1)?;
            let start = *starts.get(index)?;
            Some(Place { unit: UnitKey { file, types: false, start }, entry: offset - start })
        };
        match entry.attr_value(at)? {
            AttributeValue::UnitRef(offset) => Some(Place { unit: unit.key, entry: offset.0 }),
            AttributeValue::DebugInfoRef(offset) => in_file(unit.key.file, offset.0),
            AttributeValue::DebugInfoRefSup(offset) => in_file(self.supplement?, offset.0),
            AttributeValue::DebugTypesRef(signature) => {
                let part = self.part(unit.key.file)?;
                let (unit, entry) = *part.signatures(unit.key.file).get(&signature)?;
                Some(Place { unit, entry })
            }
            _ => None,
        }
    }
}

impl<'a> Handle<'a> {
    /// The place of an entry of this unit.
    pub(super) fn place(&self, entry: &Entry<'a>) -> Place {
        Place { unit: self.key, entry: entry.offset().0 }
    }

    /// A text attribute.
    pub(super) fn text(&self, entry: &Entry<'a>, at: DwAt) -> Option<String> {
        let value = entry.attr_value(at)?;
        let text = self.dwarf.attr_string(&self.unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// Whether a text attribute is one of the wanted texts: which.
    pub(super) fn is_text<'w, V>(
        &self,
        entry: &Entry<'a>,
        at: DwAt,
        wanted: &'w HashMap<&[u8], V>,
    ) -> Option<&'w V> {
        let value = entry.attr_value(at)?;
        let text = self.dwarf.attr_string(&self.unit, value).ok()?;
        wanted.get(text.slice())
    }

    /// An address attribute.
    pub(super) fn address(&self, entry: &Entry<'a>, at: DwAt) -> Option<u64> {
        self.dwarf.attr_address(&self.unit, entry.attr_value(at)?).ok().flatten()
    }

    /// Whether the unit has code at one of `addresses`, which are sorted. A unit that does not say is taken to.
    pub(super) fn covers(&self, addresses: &[u64]) -> bool {
        let Ok(mut ranges) = self.dwarf.unit_ranges(&self.unit) else { return true };
        let mut any = false;
        while let Ok(Some(range)) = ranges.next() {
            any = true;
            let first = addresses.partition_point(|a| *a < range.begin);
            if addresses.get(first).is_some_and(|a| *a < range.end) {
                return true;
            }
        }
        !any
    }

    /// Entries directly below the entry at `offset`, with `f`, until it says false.
    pub(super) fn children(&self, offset: usize, f: &mut dyn FnMut(&Entry<'a>) -> bool) {
        let Ok(mut tree) = self.unit.entries_tree(Some(UnitOffset(offset))) else { return };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            if !f(child.entry()) {
                return;
            }
        }
    }
}

/// Whether a flag is set.
pub(super) fn flag(entry: &Entry<'_>, at: DwAt) -> bool {
    matches!(entry.attr_value(at), Some(AttributeValue::Flag(true)))
}

/// A number without sign.
pub(super) fn number(entry: &Entry<'_>, at: DwAt) -> Option<u64> {
    entry.attr_value(at)?.udata_value()
}
