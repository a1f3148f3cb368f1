//! Maps of an object: how they are created, what they hold at first, how they print.

use crate::kinds::MapType;
use crate::schema::ValueType;

/// A map before it is created.
#[derive(Clone, PartialEq, Debug)]
pub struct MapSpec {
    /// The source's name (`@`, `@bytes`) or an internal one (starts with a letter).
    pub name: String,
    /// Kind.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (for per-CPU kinds: on one CPU).
    pub value_size: u32,
    /// Entries; for a ring buffer its bytes (a power of two and multiple of the page size). 0: per-CPU entries = CPUs.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// First contents of the one value of an array (global data); empty: zero.
    pub initial: Vec<u8>,
    /// Freeze after filling (read-only data).
    pub frozen: bool,
    /// What user space prints; `None` for internal maps.
    pub schema: Option<MapSchema>,
    /// What object files of C and Rust programs say beyond that.
    pub details: MapDetails,
}

impl MapSpec {
    /// A map without first contents, flags and schema.
    pub fn new(name: &str, map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
        MapSpec {
            name: name.to_owned(),
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            initial: Vec::new(),
            frozen: false,
            schema: None,
            details: MapDetails::default(),
        }
    }
}

/// What a map definition in an object file can say and the language's maps need not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MapDetails {
    /// Types of key and value in the object's BTF.
    pub types: Option<MapTypes>,
    /// Of an array or hash of maps: what the maps in it look like.
    pub inner: Option<InnerMap>,
    /// First contents by index: maps of a map of maps, programs of an array of programs.
    pub slots: Vec<NamedSlot>,
    /// Pinned by its name in the BPF file system, and taken from there when it is (`LIBBPF_PIN_BY_NAME`).
    pub pin_by_name: bool,
    /// The memory node that it is to lie on.
    pub numa_node: Option<u32>,
    /// `map_extra`: hash functions of a Bloom filter, address of an arena.
    pub map_extra: u64,
    /// Values of the kernel's configuration that the loader writes into the first contents (`.kconfig`).
    pub kconfig: Vec<KconfigVar>,
}

/// BTF ids of key and value; 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapTypes {
    /// Key.
    pub key: u32,
    /// Value.
    pub value: u32,
}

/// A map within a map of maps. It holds no maps itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InnerMap {
    /// Kind.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
    /// Types of key and value in the object's BTF.
    pub types: Option<MapTypes>,
}

impl InnerMap {
    /// As a map of its own.
    pub fn spec(&self, name: &str) -> MapSpec {
        let mut spec = MapSpec::new(name, self.map_type, self.key_size, self.value_size, self.max_entries);
        spec.flags = self.flags;
        spec.details.types = self.types;
        spec
    }
}

/// An entry that is filled when the object is loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedSlot {
    /// Index.
    pub index: u32,
    /// With what.
    pub content: SlotContent,
}

/// What an entry is filled with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotContent {
    /// A map of the object, by index.
    Map(usize),
    /// A program of the object, by its symbol.
    Program(String),
}

/// A value of the kernel's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KconfigVar {
    /// `CONFIG_HZ`, `LINUX_KERNEL_VERSION`, ….
    pub name: String,
    /// Bytes from the start of the map's value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// What it is read as.
    pub kind: KconfigKind,
    /// Zero where the kernel has none; `false`: that is an error.
    pub weak: bool,
}

/// How a value of the kernel's configuration is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KconfigKind {
    /// `y` or not.
    Bool,
    /// `y`, `m`, `n` as one character.
    Char,
    /// `enum libbpf_tristate`: n 0, y 1, m 2.
    Tristate,
    /// A number; whether it has a sign.
    Int {
        /// Has a sign.
        signed: bool,
    },
    /// Text, cut to the array, with a NUL behind.
    Text,
}

/// How a user's map prints.
#[derive(Clone, PartialEq, Debug)]
pub struct MapSchema {
    /// How the source's map is stored.
    pub storage: Storage,
    /// Key parts as printed, joined by ", ". Empty for a map without a key.
    pub key: Vec<ValueType>,
    /// The key's layout is that of `ValueType::tuple(key)`; a histogram's key has a u64 bucket number appended
    /// (aligned to 8) when `storage` is `Hash`.
    pub value: ValueType,
    /// Order of declaration in the source.
    pub order: u32,
}

/// Where the entries of a source map are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storage {
    /// A hash (or LRU) map keyed by the key's tuple.
    Hash,
    /// A map without a key that holds an aggregation: entry 0 of a per-CPU array. Value: the aggregation's, then
    /// u64 that is nonzero on any CPU once the map has been written. Histograms: one entry per bucket of u64 (set
    /// when any is nonzero).
    PercpuScalar,
    /// A map without a key and without aggregation: entry 0 of an array. Value: u64 that is nonzero once written,
    /// then the value.
    Scalar,
}
