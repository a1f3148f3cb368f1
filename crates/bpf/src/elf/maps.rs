//! Maps as BTF describes them: each variable of section `.maps` is a struct whose members are pointers; `int (*NAME)[N]`
//! says that property NAME is N (tools/lib/bpf/libbpf.c, `parse_btf_map_def`, Linux 6.18). Both directions.

use super::ElfError;
use crate::btf::{Btf, BtfBuilder, MemberDef, Type, TypeId};
use crate::kinds::MapType;
use crate::object::{MapDetails, MapSpec};

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

/// The map that the variable `name` of type `ty` defines.
pub(super) fn parse(btf: &Btf, name: &str, ty: TypeId) -> Result<MapSpec, ElfError> {
    let unusable = |what: String| ElfError::unsupported(format!("map `{name}`: {what}"));
    let Some(Type::Composite { members, union: false, .. }) = btf.get_resolved(ty) else {
        return Err(ElfError::damaged(format!("map `{name}` is not a struct")));
    };
    let mut spec = MapSpec {
        name: name.to_owned(),
        map_type: MapType::Array,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    };
    let mut known = false;
    for member in &members {
        let number = number(btf, member.ty);
        let whole = || number.ok_or_else(|| unusable(format!("property `{}` is no number", member.name)));
        let sized = || {
            let size = btf.pointee(member.ty).and_then(|to| btf.size_of(to)).filter(|s| *s <= MAX_SIZE);
            size.ok_or_else(|| unusable(format!("the type of its {} has no size", member.name)))
        };
        match member.name {
            "type" => {
                let number = whole()?;
                let kind = MapType::from_number(number);
                spec.map_type =
                    kind.ok_or_else(|| unusable(format!("maps of type {number} are not known")))?;
                known = true;
            }
            "key_size" => spec.key_size = whole()?,
            "value_size" => spec.value_size = whole()?,
            "max_entries" => spec.max_entries = whole()?,
            "map_flags" => spec.flags = whole()?,
            "key" => spec.key_size = sized()?,
            "value" => spec.value_size = sized()?,
            // Where it would be pinned, and on which memory node it lies.
            "pinning" | "numa_node" => {}
            other => return Err(unusable(format!("property `{other}` is not supported"))),
        }
    }
    if known { Ok(spec) } else { Err(unusable("it has no type".to_owned())) }
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
            assert_eq!(parse(&btf, "counts", ty), Ok(spec));
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
        let spec = parse(&btf, "m", ty).unwrap();
        assert_eq!((spec.map_type, spec.key_size, spec.value_size), (MapType::Hash, 4, 16));
        for (ty, what) in [(inner, "`values`"), (nothing, "no type"), (int, "not a struct")] {
            let error = parse(&btf, "m", ty).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
