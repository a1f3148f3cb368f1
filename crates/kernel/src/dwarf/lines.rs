//! Source lines: a file, a line and a column enter; the address where their code begins leaves.

use gimli::{AttributeValue, ColumnType, LineProgramHeader};

use super::units::{Handle, Units};
use super::{Bytes, damaged};
use crate::error::Error;

/// Whether `path` is `end` or ends with it, whole names only.
fn ends_with(path: &str, end: &str) -> bool {
    let path: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
    let wanted: Vec<&str> = end.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
    !wanted.is_empty() && path.ends_with(&wanted) && (!end.starts_with('/') || path.len() == wanted.len())
}

/// The path of file `index` of a unit's line table.
fn path_of<'a>(unit: &Handle<'a>, header: &LineProgramHeader<Bytes<'a>>, index: u64) -> Option<String> {
    let text = |value: AttributeValue<Bytes<'a>>| {
        let text = unit.dwarf.attr_string(&unit.unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    };
    let file = header.file(index)?;
    let name = text(file.path_name())?;
    let built = unit.unit.comp_dir.map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = file.directory(header).and_then(text).unwrap_or_default();
    let parts = [built, folder, name];
    // A part that starts at the root makes those before it void.
    let first = parts.iter().rposition(|p| p.starts_with('/')).unwrap_or(0);
    Some(parts[first..].iter().filter(|p| !p.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/"))
}

/// The source file and the address where the code of a line begins; the lowest where it is in several places of one
/// unit.
pub(super) fn address(
    units: &Units<'_>,
    binary: &str,
    file: &str,
    line: u32,
    column: u32,
) -> Result<(String, u64), Error> {
    let mut source: Option<String> = None;
    let mut found: Option<u64> = None;
    for key in units.all() {
        let Some(unit) = units.unit(key) else { continue };
        let Some(program) = unit.unit.line_program.clone() else { continue };
        let header = program.header().clone();
        let count = header.file_names().len() as u64;
        // The files that match, by their index; there may be two entries for one file.
        let matching: Vec<(u64, String)> = (0..=count)
            .filter_map(|index| Some((index, path_of(&unit, &header, index)?)))
            .filter(|(_, path)| ends_with(path, file))
            .collect();
        for (_, path) in &matching {
            match &source {
                None => source = Some(path.clone()),
                Some(known) if known == path => {}
                Some(known) => {
                    return Err(damaged(
                        binary,
                        format!("`{file}` may be {known} or {path}: write more of it"),
                    ));
                }
            }
        }
        if matching.is_empty() || found.is_some() {
            continue;
        }
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            let here = matching.iter().any(|(index, _)| *index == row.file_index())
                && !row.end_sequence()
                && row.line().is_some_and(|l| l.get() == u64::from(line))
                && (column == 0
                    || matches!(row.column(), ColumnType::Column(c) if c.get() == u64::from(column)));
            // Code that the linker has dropped is at address 0.
            if here && row.address() != 0 {
                found = Some(found.map_or(row.address(), |known| known.min(row.address())));
            }
        }
    }
    let Some(source) = source else {
        return Err(Error::Missing(format!("source file {file} in the debug information of {binary}")));
    };
    let place = if column == 0 { format!("{file}:{line}") } else { format!("{file}:{line}:{column}") };
    let address = found.ok_or_else(|| Error::Missing(format!("code of {place} in {binary}")))?;
    Ok((source, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_end_with_whole_names() {
        assert!(ends_with("/src/a/main.c", "main.c"));
        assert!(ends_with("/src/a/main.c", "a/main.c"));
        assert!(ends_with("/src/./a/main.c", "/src/a/main.c"));
        assert!(!ends_with("/src/a/main.c", "ain.c"));
        assert!(!ends_with("/src/a/main.c", "/a/main.c"));
        assert!(!ends_with("/src/a/main.c", ""));
    }
}
