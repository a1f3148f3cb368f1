//! Maps as BTF describes them: each variable of section `.maps` is a struct whose members are pointers; `int (*NAME)[N]`
//! says that property NAME is N (tools/lib/bpf/libbpf.c, `parse_btf_map_def`, Linux 6.18). Both directions.

use super::ElfError;
use crate::btf::{Btf, BtfBuilder, Member, MemberDef, Type, TypeId};
use crate::kinds::MapType;
use crate::object::{InnerMap, MapSpec, MapTypes};

/// Largest key or value that is believed.
const MAX_SIZE: u32 = 1 << 30;

/// Bytes of the variable of `spec` in `.maps`, and its type.
pub(super) fn define(out: &mut BtfBuilder, spec: &MapSpec) -> (u32, TypeId) {
    let int = out.int("int", 4, true);
    let properties = [
        ("type", spec.map_type as u32),
        ("key_size", spec.key_size),
        ("value_size", spec.value_size),
        ("max_entries", spec.max_entries),
        ("map_flags", spec.flags),
    ];
    let mut members = Vec::new();
    for (name, number) in properties.into_iter().filter(|(_, number)| *number != 0) {
        let array = out.array(int, number);
        let ty = out.ptr(array);
        members.push(MemberDef { name, ty, bit_offset: members.len() as u32 * 64, bit_size: 0 });
    }
    let size = members.len() as u32 * 8;
    (size, out.struct_("", size, &members))
}

/// The map that the variable `name` of type `ty` defines, and the offset of its list of first entries, if it has one.
pub(super) fn parse(btf: &Btf, name: &str, ty: TypeId) -> Result<(MapSpec, Option<u32>), ElfError> {
    let mut reader = Reader { btf, name, values: None };
    let spec = reader.definition(ty, false)?;
    Ok((spec, reader.values))
}

struct Reader<'a> {
    btf: &'a Btf,
    name: &'a str,
    /// Offset of the member `values` in bytes.
    values: Option<u32>,
}

impl Reader<'_> {
    fn unusable(&self, what: impl std::fmt::Display) -> ElfError {
        ElfError::unsupported(format!("map `{}`: {what}", self.name))
    }

    /// The definition in a struct; `inner`: of a map that a map of maps holds.
    fn definition(&mut self, ty: TypeId, inner: bool) -> Result<MapSpec, ElfError> {
        let btf = self.btf;
        let Some(Type::Composite { members, union: false, .. }) = btf.get_resolved(ty) else {
            return Err(ElfError::damaged(format!("map `{}` is not a struct", self.name)));
        };
        let mut spec = MapSpec::new(self.name, MapType::Array, 0, 0, 0);
        let (mut known, mut types) = (false, MapTypes { key: 0, value: 0 });
        for member in &members {
            match member.name {
                "type" => {
                    let number = self.whole(member)?;
                    let kind = MapType::from_number(number);
                    spec.map_type =
                        kind.ok_or_else(|| self.unusable(format!("maps of type {number} are not known")))?;
                    known = true;
                }
                "key_size" => spec.key_size = self.whole(member)?,
                "value_size" => spec.value_size = self.whole(member)?,
                "max_entries" => spec.max_entries = self.whole(member)?,
                "map_flags" => spec.flags = self.whole(member)?,
                "map_extra" => spec.details.map_extra = self.whole(member)?.into(),
                "numa_node" => spec.details.numa_node = Some(self.whole(member)?),
                "key" => (types.key, spec.key_size) = self.sized(member)?,
                "value" => (types.value, spec.value_size) = self.sized(member)?,
                "pinning" => spec.details.pin_by_name = self.whole(member)? == 1,
                "values" if !inner => self.values(&mut spec, member)?,
                other => return Err(self.unusable(format!("property `{other}` is not supported"))),
            }
        }
        if !known {
            return Err(self.unusable("it has no type"));
        }
        if types.value != 0 {
            spec.details.types = Some(types);
        }
        Ok(spec)
    }

    /// `N` of a member `int (*NAME)[N]`.
    fn whole(&self, member: &Member<'_>) -> Result<u32, ElfError> {
        number(self.btf, member.ty)
            .ok_or_else(|| self.unusable(format!("property `{}` is no number", member.name)))
    }

    /// The type that a member `TYPE *NAME` names, and its bytes.
    fn sized(&self, member: &Member<'_>) -> Result<(u32, u32), ElfError> {
        let to = self.btf.pointee(member.ty);
        let found = to.and_then(|to| Some((to.0, self.btf.size_of(to).filter(|s| *s <= MAX_SIZE)?)));
        found.ok_or_else(|| self.unusable(format!("the type of its {} has no size", member.name)))
    }

    /// `__array(values, …)`: pointers to maps of a definition, or to functions.
    fn values(&mut self, spec: &mut MapSpec, member: &Member<'_>) -> Result<(), ElfError> {
        self.values = Some(member.bit_offset / 8);
        let elem = match self.btf.get_resolved(member.ty) {
            Some(Type::Array { elem, .. }) => self.btf.pointee(elem),
            _ => None,
        };
        let elem = elem.ok_or_else(|| self.unusable("property `values` is no array of pointers"))?;
        // The kernel wants descriptors of 4 bytes as values.
        if spec.key_size == 0 {
            spec.key_size = 4;
        }
        spec.value_size = 4;
        if !matches!(spec.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            return Ok(());
        }
        let inner = self.definition(elem, true)?;
        spec.details.inner = Some(InnerMap {
            map_type: inner.map_type,
            key_size: inner.key_size,
            value_size: inner.value_size,
            max_entries: inner.max_entries,
            flags: inner.flags,
            types: inner.details.types,
        });
        Ok(())
    }
}

/// N of `int (*)[N]`.
fn number(btf: &Btf, ty: TypeId) -> Option<u32> {
    match btf.get_resolved(btf.pointee(ty)?)? {
        Type::Array { count, .. } => Some(count),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::MapDetails;

    fn spec() -> MapSpec {
        MapSpec {
            name: "counts".into(),
            map_type: MapType::LruHash,
            key_size: 16,
            value_size: 8,
            max_entries: 4096,
            flags: 1,
            initial: Vec::new(),
            frozen: false,
            schema: None,
            details: MapDetails::default(),
        }
    }

    #[test]
    fn definitions_read_back() {
        let ring = MapSpec {
            map_type: MapType::Ringbuf,
            key_size: 0,
            value_size: 0,
            max_entries: 1 << 16,
            flags: 0,
            ..spec()
        };
        for spec in [spec(), ring] {
            let mut out = BtfBuilder::new();
            let (size, ty) = define(&mut out, &spec);
            let btf = Btf::parse(out.finish(), None).unwrap();
            assert_eq!(btf.size_of(ty), Some(size));
            assert_eq!(parse(&btf, "counts", ty), Ok((spec, None)));
        }
    }

    #[test]
    fn keys_and_values_by_type() {
        let mut out = BtfBuilder::new();
        let int = out.int("int", 4, true);
        let long = out.int("long", 8, true);
        let pair = out.array(long, 2);
        let (key, value) = (out.ptr(int), out.ptr(pair));
        let one = out.array(int, 1);
        let kind = out.ptr(one);
        let at = |name, ty, index: u32| MemberDef { name, ty, bit_offset: index * 64, bit_size: 0 };
        let ty = out.struct_("", 24, &[at("type", kind, 0), at("key", key, 1), at("value", value, 2)]);
        let inner = out.struct_("", 16, &[at("type", kind, 0), at("values", value, 1)]);
        let nothing = out.struct_("", 0, &[]);
        let btf = Btf::parse(out.finish(), None).unwrap();
        let (spec, _) = parse(&btf, "m", ty).unwrap();
        assert_eq!((spec.map_type, spec.key_size, spec.value_size), (MapType::Hash, 4, 16));
        assert_eq!(spec.details.types, Some(MapTypes { key: int.0, value: pair.0 }));
        for (ty, what) in [(inner, "`values` is no array"), (nothing, "no type"), (int, "not a struct")] {
            let error = parse(&btf, "m", ty).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
