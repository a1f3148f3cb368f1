//! What is loaded on this machine, whoever loaded it: ids, names and pins enter, descriptions leave. An object that goes
//! while it is looked at is passed over; what it carries is not trusted.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use skep_bpf::btf::Btf;
use skep_bpf::kinds::{MapType, ProgType};

use crate::error::Error;
use crate::map::{Map, kernel_name};
use crate::pin;
use crate::sys::objects::{self, Kind};
use crate::sys::{attr, bpf};

mod link;
mod program;

pub use link::{LinkRow, detach, links};
pub use program::{
    Code, ProgRow, code, maps_of, pin_program, program_by_id, programs, receive_frames, time_program,
    try_program,
};

/// Most objects of a kind that are looked at, and bytes of types.
const MAX_OBJECTS: usize = 1 << 16;
const MAX_TYPES: u32 = 64 << 20;

/// Which object is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// By its id.
    Id(u32),
    /// By its name, or what the kernel keeps of it.
    Name(String),
    /// By the file that holds it.
    Pinned(PathBuf),
}

impl Which {
    /// `17`, a path, or a name.
    pub fn parse(text: &str) -> Which {
        match text.parse() {
            Ok(id) => Which::Id(id),
            Err(_) if text.contains('/') => Which::Pinned(text.into()),
            Err(_) => Which::Name(text.to_owned()),
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Id(id) => write!(f, "{id}"),
            Which::Name(name) => f.write_str(name),
            Which::Pinned(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapRow {
    /// Id.
    pub id: u32,
    /// Name; empty without.
    pub name: String,
    /// Kind's number, and the kind where it is known.
    pub number: u32,
    /// Kind.
    pub kind: Option<MapType>,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Id of its types; 0: none.
    pub btf: u32,
    /// Type of a key in them.
    pub key_type: u32,
    /// Type of a value in them.
    pub value_type: u32,
}

/// Ids of all objects of a kind.
fn ids(kind: Kind, what: &str) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    let mut id = 0;
    while found.len() < MAX_OBJECTS {
        id = match objects::next_id(kind, id) {
            Ok(next) if next > id => next,
            Ok(_) | Err(Errno::NOENT) => break,
            Err(errno) => return Err(Error::os(format!("list {what}"), errno)),
        };
        found.push(id);
    }
    Ok(found)
}

/// Opens the object that is meant; `matches` says whether one is called so.
fn open(
    kind: Kind,
    what: &str,
    which: &Which,
    matches: &dyn Fn(&OwnedFd, &str) -> bool,
) -> Result<OwnedFd, Error> {
    let missing = || Error::Missing(format!("{what} {which}"));
    match which {
        Which::Id(id) => objects::by_id(kind, *id).map_err(|errno| match errno {
            Errno::NOENT => missing(),
            errno => Error::os(format!("open {what} {id}"), errno),
        }),
        Which::Pinned(path) => pin::open(path)?.ok_or_else(missing),
        Which::Name(name) => {
            let mut found = Vec::new();
            for id in ids(kind, what)? {
                let Ok(fd) = objects::by_id(kind, id) else { continue };
                if matches(&fd, name) {
                    found.push((id, fd));
                }
            }
            if found.len() > 1 {
                let ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
                let why = format!("several are called so: give an id ({})", ids.join(", "));
                return Err(Error::Damaged { what: format!("{what} {name}"), why });
            }
            found.pop().map(|(_, fd)| fd).ok_or_else(missing)
        }
    }
}

/// Whether an object that the kernel calls `kept` is meant by `name`: it keeps 15 bytes.
fn is_called(kept: &str, name: &str) -> bool {
    kept == name || kept.len() == 15 && name.starts_with(kept)
}

fn row(info: &attr::MapInfo) -> MapRow {
    MapRow {
        id: info.id,
        name: kernel_name(&info.name),
        number: info.map_type,
        kind: MapType::from_number(info.map_type),
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
        btf: info.btf_id,
        key_type: info.btf_key_type_id,
        value_type: info.btf_value_type_id,
    }
}

/// All maps, by id.
pub fn maps() -> Result<Vec<MapRow>, Error> {
    let opened = ids(Kind::Map, "maps")?.into_iter().filter_map(|id| objects::by_id(Kind::Map, id).ok());
    Ok(opened.filter_map(|fd| objects::map_info(fd.as_fd()).ok()).map(|info| row(&info)).collect())
}

/// Opens a map by its descriptor.
pub(crate) fn map_of(fd: OwnedFd) -> Result<Map, Error> {
    let info = objects::map_info(fd.as_fd()).map_err(|e| Error::os("describe a map", e))?;
    Map::opened(fd, &info)
}

/// Opens the map of this id.
pub(crate) fn map_by_id(id: u32) -> Result<Map, Error> {
    let fd = objects::by_id(Kind::Map, id).map_err(|errno| Error::os(format!("open map {id}"), errno))?;
    map_of(fd)
}

/// Opens a map, with what there is to say of it.
pub fn map(which: &Which) -> Result<(Map, MapRow), Error> {
    let fd = open(Kind::Map, "map", which, &|fd, name| {
        objects::map_info(fd.as_fd()).is_ok_and(|i| is_called(&kernel_name(&i.name), name))
    })?;
    // A pin may hold a program: the kernel then describes that, in fewer or other fields.
    let info = objects::map_info(fd.as_fd()).map_err(|e| Error::os(format!("describe map {which}"), e))?;
    let same = objects::by_id(Kind::Map, info.id).and_then(|fd| objects::map_info(fd.as_fd()));
    if !same.is_ok_and(|again| row(&again) == row(&info)) {
        return Err(Error::Damaged { what: which.to_string(), why: "it is no map".into() });
    }
    Ok((Map::opened(fd, &info)?, row(&info)))
}

/// The types with an id.
pub fn types(id: u32) -> Result<Btf, Error> {
    let failed = |errno| Error::os(format!("read types {id}"), errno);
    let fd = bpf::btf_by_id(id).map_err(failed)?;
    let bytes = objects::btf_data(fd.as_fd(), MAX_TYPES).map_err(failed)?;
    Btf::parse(bytes, None).map_err(|e| Error::Damaged { what: format!("types {id}"), why: e.to_string() })
}

/// Pinned objects below a folder: paths with what they hold.
pub fn pins(root: &Path) -> Vec<(PathBuf, Pinned)> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if let Some(held) = held(&path) {
                found.push((path, held));
            }
            if found.len() + open.len() > MAX_OBJECTS {
                return found;
            }
        }
    }
    found.sort();
    found
}

/// What a pin holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pinned {
    /// A map by its id.
    Map(u32),
    /// A program.
    Program(u32),
    /// A link.
    Link(u32),
}

fn held(path: &Path) -> Option<Pinned> {
    let fd = pin::open(path).ok()??;
    // The kernel says what a descriptor is by the target of its link in /proc.
    let name = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).ok()?;
    match name.to_str()? {
        "anon_inode:bpf-map" => Some(Pinned::Map(objects::map_info(fd.as_fd()).ok()?.id)),
        "anon_inode:bpf-prog" => Some(Pinned::Program(bpf::prog_info(fd.as_fd()).ok()?.id)),
        "anon_inode:bpf_link" | "anon_inode:bpf-link" => {
            Some(Pinned::Link(objects::link_info(fd.as_fd()).ok()?.0.id))
        }
        _ => None,
    }
}

/// A program's type as the kernel numbers it.
fn prog_type(number: u32) -> Option<ProgType> {
    ProgType::from_number(number)
}
