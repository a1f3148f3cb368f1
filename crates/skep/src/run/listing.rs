//! What an object holds, as a listing: its programs and its maps.

use skep_bpf::object::Object;

/// The lines: programs with kind and size, then maps.
pub fn list(object: &Object) -> Vec<String> {
    let mut lines = Vec::new();
    let width = object.programs.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for (index, program) in object.programs.iter().enumerate() {
        lines.push(format!(
            "program {index}: {:width$}  {}  {}  {} instructions",
            program.name,
            program.prog_type.name(),
            program.symbol,
            program.insns.len(),
        ));
    }
    let width = object.maps.iter().map(|m| m.name.len()).max().unwrap_or(0);
    for map in &object.maps {
        lines.push(format!(
            "map {:width$}  {}  key {} bytes, value {} bytes, {} entries",
            map.name,
            map.map_type.name(),
            map.key_size,
            map.value_size,
            map.max_entries,
        ));
    }
    lines
}
