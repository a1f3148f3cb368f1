//! The contents of maps that no schema says how to print, as numbers: keys and values of 1, 2, 4 or 8 bytes in decimal,
//! others as bytes. (The language's own maps are printed by the session.)

use super::guest::Guest;

/// Entries of a map that are shown.
const SHOWN: usize = 1000;

/// The lines: each map that has entries, with them.
pub fn maps(guest: &Guest) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, spec) in guest.object().maps.iter().enumerate().filter(|(_, spec)| spec.schema.is_none()) {
        lines.push(format!("{} ({}):", spec.name, spec.map_type.name()));
        let entries = match guest.entries(index) {
            Ok(entries) => entries,
            Err(_) => continue,
        };
        for entry in entries.iter().take(SHOWN) {
            let values: Vec<String> = entry.per_cpu().map(number).collect();
            lines.push(format!("  {}: {}", number(entry.key), values.join(" ")));
        }
        if entries.len() > SHOWN {
            lines.push(format!("  ({} more)", entries.len() - SHOWN));
        }
    }
    lines
}

fn number(bytes: &[u8]) -> String {
    let value = match *bytes {
        [a] => u64::from(a),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => return bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
    };
    value.to_string()
}
