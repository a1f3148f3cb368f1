//! The maps of an object: created or taken from where they are pinned, filled with what the object says. When a later step
//! fails, pins that were made here go with the maps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use skep_bpf::kinds::MapType;
use skep_bpf::object::{MapSpec, Object, SlotContent};

use super::{Failure, LoadOptions, Placed, failure};
use crate::error::Error;
use crate::kconfig;
use crate::live::LiveTarget;
use crate::map::{Map, Surroundings, kernel_name, object_name};
use crate::pin::{self, Pins};
use crate::unwind::Tables;

/// Creates the maps, with the tables for the stacks of the walked processes where programs use such.
pub(super) fn create(
    object: &Object,
    btf: Option<BorrowedFd<'_>>,
    options: &LoadOptions,
    target: &LiveTarget,
) -> Result<(Vec<Map>, Pins), Vec<Failure>> {
    let tables = Tables::of(object, &options.walked).map_err(|e| failure("dw_ustack", e))?;
    let mut there = Vec::with_capacity(options.reuse.len());
    for id in &options.reuse {
        there.push(crate::inspect::map_by_id(*id).map_err(|e| failure("maps", e))?);
    }
    let mut pins = Pins::default();
    let mut maps = Vec::with_capacity(object.maps.len());
    for (index, spec) in object.maps.iter().enumerate() {
        let created = match &tables {
            Some((names, tables)) => Map::create(&tables.sized(*names, index, spec)),
            None => match there.iter().position(|map| is_alike(spec, map)) {
                Some(found) => Ok(there.swap_remove(found)),
                None => one(spec, btf, options, target, &mut pins),
            },
        };
        maps.push(created.map_err(|e| failure(&spec.name, e))?);
    }
    if let Some((names, tables)) = &tables {
        tables.fill(*names, &maps).map_err(|e| failure("dw_ustack", e))?;
    }
    for (spec, map) in object.maps.iter().zip(&maps) {
        for slot in &spec.details.slots {
            let SlotContent::Map(inner) = slot.content else { continue };
            let inner = maps.get(inner).ok_or_else(|| no_such(spec))?;
            fill(map, slot.index, inner.as_fd()).map_err(|e| failure(&spec.name, e))?;
        }
    }
    Ok((maps, pins))
}

fn no_such(spec: &MapSpec) -> Vec<Failure> {
    let why = "an entry that names what the object does not have".to_owned();
    failure(&spec.name, Error::Damaged { what: format!("map {}", spec.name), why })
}

fn fill(map: &Map, index: u32, content: BorrowedFd<'_>) -> Result<(), Error> {
    map.update(&index.to_ne_bytes(), &content.as_raw_fd().to_ne_bytes())
}

/// Puts programs into the entries that name them, once they are loaded.
pub(super) fn fill_programs(object: &Object, maps: &[Map], programs: &[Placed]) -> Result<(), Vec<Failure>> {
    for (spec, map) in object.maps.iter().zip(maps) {
        for slot in &spec.details.slots {
            let SlotContent::Program(symbol) = &slot.content else { continue };
            // A program that was not asked for leaves its entry empty.
            let Some(placed) = programs.iter().find(|p| p.symbol == *symbol) else { continue };
            fill(map, slot.index, placed.prog.as_fd()).map_err(|e| failure(&spec.name, e))?;
        }
    }
    Ok(())
}

fn one(
    spec: &MapSpec,
    btf: Option<BorrowedFd<'_>>,
    options: &LoadOptions,
    target: &LiveTarget,
    pins: &mut Pins,
) -> Result<Map, Error> {
    let details = &spec.details;
    let place = details.pin_by_name.then(|| {
        let root = options.pin_root.as_deref().unwrap_or(Path::new(pin::ROOT));
        root.join(pin::file_name(&spec.name))
    });
    if let Some(place) = &place
        && let Some(fd) = pin::open(place)?
    {
        return reuse(spec, crate::inspect::map_of(fd)?, place);
    }
    let inner = details.inner.as_ref().map(|inner| inner.spec("inner"));
    let inner = inner.map(|spec| Map::create_with(&spec, &Surroundings { btf, inner: None })).transpose()?;
    let around = Surroundings { btf, inner: inner.as_ref().map(AsFd::as_fd) };
    let map = if details.kconfig.is_empty() {
        Map::create_with(spec, &around)?
    } else {
        let mut filled = spec.clone();
        kconfig::fill(&details.kconfig, &mut filled.initial, target)?;
        Map::create_with(&filled, &around)?
    };
    if let Some(place) = &place {
        if let Some(folder) = place.parent() {
            pins.folder(folder)?;
        }
        pins.pin(&map, place)?;
    }
    Ok(map)
}

/// Whether a map is what a spec describes, by the kernel's name for it and its shape.
fn is_alike(spec: &MapSpec, map: &Map) -> bool {
    kernel_name(&object_name(&spec.name)) == map.name() && shape_of(spec) == shape(map)
}

/// Kind, bytes of key and value, entries.
type Shape = (MapType, usize, usize, u32);

fn shape_of(spec: &MapSpec) -> Shape {
    (spec.map_type, spec.key_size as usize, spec.value_size as usize, spec.max_entries)
}

fn shape(map: &Map) -> Shape {
    (map.kind(), map.key_size(), map.value_size(), map.max_entries())
}

/// A map that is pinned already, if it is made alike.
fn reuse(spec: &MapSpec, map: Map, place: &Path) -> Result<Map, Error> {
    let (wanted, found) = (shape_of(spec), shape(&map));
    if wanted == found {
        return Ok(map);
    }
    let text = |(kind, key, value, entries): Shape| {
        format!("{} with keys of {key}, values of {value} bytes and {entries} entries", kind.name())
    };
    Err(Error::Damaged {
        what: format!("map {}", spec.name),
        why: format!(
            "pinned at {} is a {}, and the object wants a {}: unpin it (`skep maps unpin {}`) or give another folder",
            place.display(),
            text(found),
            text(wanted),
            place.display()
        ),
    })
}
