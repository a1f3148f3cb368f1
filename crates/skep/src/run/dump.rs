//! The contents of maps that no schema says how to print: by the object's types where the map has them, else those of 1, 2, 4 or 8 bytes
//! as numbers with the bytes behind, others as bytes. (The language's own maps are printed by the session.)

use skep_bpf::btf::value::{decode, hex};
use skep_bpf::btf::{Btf, TypeId};

use super::guest::Guest;

/// Entries of a map that are shown.
const SHOWN: usize = 1000;

/// The lines: each such map, with its entries.
pub fn maps(guest: &Guest) -> Vec<String> {
    // Types that cannot be read are as if there were none.
    let types = Btf::parse(guest.object().btf.clone(), None).ok();
    let mut lines = Vec::new();
    for (index, spec) in guest.object().maps.iter().enumerate().filter(|(_, spec)| spec.schema.is_none()) {
        let kind = spec.map_type.name();
        let entries = match guest.entries(index) {
            Ok(entries) if entries.is_empty() => {
                lines.push(format!("{} ({kind}): no entries", spec.name));
                continue;
            }
            Ok(entries) => entries,
            Err(why) => {
                lines.push(format!("{} ({kind}): its entries cannot be read: {why}", spec.name));
                continue;
            }
        };
        lines.push(format!("{} ({kind}):", spec.name));
        let typed = |id: Option<u32>, bytes: &[u8]| match (&types, id) {
            (Some(types), Some(id @ 1..)) => decode(types, TypeId(id), bytes).to_string(),
            _ => untyped(bytes),
        };
        let ids = spec.details.types;
        for entry in entries.iter().take(SHOWN) {
            let value = |bytes| typed(ids.map(|types| types.value), bytes);
            let values: Vec<String> = match entries.cpus() {
                0 | 1 => entry.per_cpu().map(value).collect(),
                _ => (0..)
                    .zip(entry.per_cpu())
                    .map(|(cpu, bytes)| format!("cpu {cpu}: {}", value(bytes)))
                    .collect(),
            };
            let values = values.join(", ");
            match entry.key {
                [] => lines.push(format!("  {values}")),
                key => lines.push(format!("  {}: {values}", typed(ids.map(|types| types.key), key))),
            }
        }
        if entries.len() > SHOWN {
            lines.push(format!("  ({} more)", entries.len() - SHOWN));
        }
    }
    lines
}

fn untyped(bytes: &[u8]) -> String {
    let number = match *bytes {
        [a] => u64::from(a),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => return hex(bytes),
    };
    format!("{number} ({})", hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::untyped;

    #[test]
    fn bytes_without_a_type_are_numbers_too() {
        assert_eq!(
            untyped(&258u16.to_ne_bytes()),
            if cfg!(target_endian = "little") { "258 (02 01)" } else { "258 (01 02)" }
        );
        assert_eq!(untyped(&[1, 2, 3]), "01 02 03");
    }
}
