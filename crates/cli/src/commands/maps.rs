//! `skep maps`: the maps of the running kernel, listed, printed by their types, read and written.

use super::value::{given, json};
use crate::args::{Format, Maps, MapsAction};
use crate::exit::Exit;
use crate::out::note;
use anyhow::Result;
use serde_json::{Value as Json, json};
use skep::inspect::{self, MapRow, OpenMap, Pinned, Value, Which};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the command.
pub(crate) fn run(options: &Maps) -> Result<ExitCode> {
    let json = options.format == Format::Json;
    let open = |map: &str| inspect::open(&Which::parse(map));
    let mut out = std::io::stdout().lock();
    match options.action.as_ref().unwrap_or(&MapsAction::List) {
        MapsAction::List => {
            let pins = inspect::pins(Path::new(inspect::ROOT));
            for row in inspect::maps().map_err(skep::Error::from)? {
                describe(&mut out, &row, &pins, None, json)?;
            }
        }
        MapsAction::Show { map } => {
            let map = open(map)?;
            let pins = inspect::pins(Path::new(inspect::ROOT));
            describe(&mut out, map.row(), &pins, map.types(), json)?;
        }
        MapsAction::Dump { map } => dump(&mut out, &open(map)?, json)?,
        MapsAction::Lookup { map, key } => {
            let (map, key) = (open(map)?, given(key)?);
            match map.lookup(&key)? {
                Some(values) => entry(&mut out, &key, &values, json)?,
                None => {
                    note!("error: there is no such key");
                    return Ok(Exit::Failure.into());
                }
            }
        }
        MapsAction::Update { map, key, value } => open(map)?.update(&given(key)?, &given(value)?)?,
        MapsAction::Delete { map, key } => {
            if !open(map)?.delete(&given(key)?)? {
                note!("error: there is no such key");
                return Ok(Exit::Failure.into());
            }
        }
        MapsAction::Pin { map, path } => inspect::pin_map(&Which::parse(map), path)?,
        MapsAction::Unpin { path } => inspect::unpin(path).map_err(skep::Error::from)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn describe(
    out: &mut impl Write,
    row: &MapRow,
    pins: &[(PathBuf, Pinned)],
    types: Option<(String, String)>,
    as_json: bool,
) -> Result<()> {
    let kind = row.kind.map_or_else(|| format!("type {}", row.number), |kind| kind.name().to_owned());
    let paths: Vec<String> = pins
        .iter()
        .filter(|(_, held)| *held == Pinned::Map(row.id))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if as_json {
        let types = types.map(|(key, value)| json!({ "key": key, "value": value }));
        let line = json!({
            "id": row.id, "name": row.name, "type": kind, "key_size": row.key_size, "value_size": row.value_size,
            "max_entries": row.max_entries, "flags": row.flags, "btf_id": row.btf, "types": types, "pinned": paths,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let name = row.name.escape_debug();
    write!(out, "{}: {kind}  {name}  key {}B  value {}B", row.id, row.key_size, row.value_size)?;
    write!(out, "  max_entries {}  flags {:#x}", row.max_entries, row.flags)?;
    if row.btf != 0 {
        write!(out, "  btf {}", row.btf)?;
    }
    writeln!(out)?;
    if let Some((key, value)) = types {
        writeln!(out, "  {} -> {}", key.escape_debug(), value.escape_debug())?;
    }
    for path in paths {
        writeln!(out, "  pinned {}", path.escape_debug())?;
    }
    Ok(())
}

fn dump(out: &mut impl Write, map: &OpenMap, as_json: bool) -> Result<()> {
    let entries = map.entries()?;
    for (key, values) in &entries {
        entry(out, key, values, as_json)?;
    }
    if !as_json {
        writeln!(out, "{} {}", entries.len(), if entries.len() == 1 { "entry" } else { "entries" })?;
    }
    Ok(())
}

/// One entry: `KEY: VALUE`; of per-CPU kinds a line for each CPU.
fn entry(out: &mut impl Write, key: &Value, values: &[Value], as_json: bool) -> Result<()> {
    match (as_json, values) {
        (true, [value]) => writeln!(out, "{}", json!({ "key": json(key), "value": json(value) }))?,
        (true, values) => {
            let values: Vec<Json> = values.iter().map(json).collect();
            writeln!(out, "{}", json!({ "key": json(key), "values": values }))?;
        }
        (false, [value]) => writeln!(out, "{}: {}", key, value)?,
        (false, values) => {
            writeln!(out, "{}:", key)?;
            for (cpu, value) in values.iter().enumerate() {
                writeln!(out, "  cpu {cpu}: {}", value)?;
            }
        }
    }
    Ok(())
}
