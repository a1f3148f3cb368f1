//! Maps, programs and links of the running kernel, whoever loaded them: what `skep maps`, `skep progs` and `skep links` do.
//! Keys and values are trees of names and numbers where the map has types, bytes where it has none.

use crate::error::Error;
use crate::given::Place;
use skep_bpf::btf::value::decode;
use skep_bpf::btf::{Btf, TypeId};
use skep_bpf::kinds::MapType;
use skep_kernel::map::Map;

pub use skep_bpf::btf::value::Value;
pub use skep_kernel::inspect::{
    Code, LinkRow, MapRow, Pinned, ProgRow, Which, code, detach, links, maps, pins, programs,
};
pub use skep_kernel::pin::{ROOT, unpin};

/// An entry of a map: its key, and its value, for per-CPU kinds one for each CPU.
pub type Entry = (Value, Vec<Value>);

/// An open map.
#[derive(Debug)]
pub struct OpenMap {
    map: Map,
    row: MapRow,
    types: Option<Btf>,
}

/// Opens a map.
pub fn open(which: &Which) -> Result<OpenMap, Error> {
    let (map, row) = skep_kernel::inspect::map(which)?;
    // Types that cannot be read are as if there were none.
    let types = if row.btf == 0 { None } else { skep_kernel::inspect::types(row.btf).ok() };
    Ok(OpenMap { map, row, types })
}

impl OpenMap {
    /// What it is.
    pub fn row(&self) -> &MapRow {
        &self.row
    }

    /// Types of key and value in C; `None` without.
    pub fn types(&self) -> Option<(String, String)> {
        let types = self.types.as_ref()?;
        let name = |id: u32| types.c_name(TypeId(id));
        (self.row.value_type != 0).then(|| (name(self.row.key_type), name(self.row.value_type)))
    }

    fn typed(&self, id: u32, bytes: &[u8]) -> Value {
        // Maps of maps and of programs hold ids, as the kernel shows them.
        let holds_ids =
            matches!(self.row.kind, Some(MapType::ArrayOfMaps | MapType::HashOfMaps | MapType::ProgArray));
        if let (true, Ok(word)) = (holds_ids && id == self.row.value_type, <[u8; 4]>::try_from(bytes)) {
            return Value::Unsigned(u32::from_ne_bytes(word).into());
        }
        match (&self.types, id) {
            (Some(types), 1..) => decode(types, TypeId(id), bytes),
            _ => Value::Bytes(bytes.to_vec()),
        }
    }

    /// A key without a type is a number where it is as long as one.
    fn key(&self, bytes: &[u8]) -> Value {
        match (self.row.key_type, <[u8; 4]>::try_from(bytes)) {
            (0, Ok(word)) => Value::Unsigned(u32::from_ne_bytes(word).into()),
            _ => self.typed(self.row.key_type, bytes),
        }
    }

    /// All entries.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let entries = self.map.entries()?;
        Ok(entries.iter().map(|e| (self.key(e.key), self.values(e.per_cpu()))).collect())
    }

    fn values<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Vec<Value> {
        values.map(|bytes| self.typed(self.row.value_type, bytes)).collect()
    }

    /// The value of a key.
    pub fn lookup(&self, key: &Value) -> Result<Option<Vec<Value>>, Error> {
        let entries = self.map.lookup(&self.bytes("key", self.row.key_type, self.row.key_size, key)?)?;
        Ok(entries.get(0).map(|e| self.values(e.per_cpu())))
    }

    /// Sets a value; of per-CPU kinds on every CPU.
    pub fn update(&self, key: &Value, value: &Value) -> Result<(), Error> {
        let key = self.bytes("key", self.row.key_type, self.row.key_size, key)?;
        let value = self.bytes("value", self.row.value_type, self.row.value_size, value)?;
        Ok(self.map.update(&key, &value)?)
    }

    /// Removes an entry; whether there was one.
    pub fn delete(&self, key: &Value) -> Result<bool, Error> {
        Ok(self.map.delete(&self.bytes("key", self.row.key_type, self.row.key_size, key)?)?)
    }

    /// The bytes of what was given for a key or value.
    fn bytes(&self, what: &'static str, id: u32, size: u32, given: &Value) -> Result<Vec<u8>, Error> {
        let place = Place { what, types: self.types.as_ref(), id, size };
        place.bytes(given).map_err(|why| Error::Object {
            file: format!("map {} ({})", self.row.id, self.row.name),
            why: vec![why],
        })
    }
}

/// Pins a map or program.
pub fn pin_map(which: &Which, path: &std::path::Path) -> Result<(), Error> {
    let map = open(which)?;
    let mut pins = skep_kernel::pin::Pins::default();
    pins.pin(&map.map, path)?;
    pins.keep();
    Ok(())
}

/// Pins a program.
pub fn pin_program(which: &Which, path: &std::path::Path) -> Result<(), Error> {
    Ok(skep_kernel::inspect::pin_program(which, path)?)
}
