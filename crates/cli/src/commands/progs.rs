//! `skep progs` and `skep links`: the programs of the running kernel and where they are attached.

use crate::args::{DumpKind, Format, Links, LinksAction, Progs, ProgsAction};
use anyhow::{Result, bail};
use serde_json::{Value as Json, json};
use skep::LiveTarget;
use skep::inspect::{self, Pinned, ProgRow, Which};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of machine code on one line.
const LINE: usize = 16;

/// Runs `skep progs`.
pub(crate) fn run(options: &Progs) -> Result<ExitCode> {
    let json = options.format == Format::Json;
    let mut out = std::io::stdout().lock();
    match options.action.as_ref().unwrap_or(&ProgsAction::List) {
        ProgsAction::List => {
            let pins = inspect::pins(Path::new(inspect::ROOT));
            for row in inspect::programs().map_err(skep::Error::from)? {
                describe(&mut out, &row, &pins, json)?;
            }
        }
        ProgsAction::Show { prog } => {
            let code = inspect::code(&Which::parse(prog), &LiveTarget::new()).map_err(skep::Error::from)?;
            describe(&mut out, &code.row, &inspect::pins(Path::new(inspect::ROOT)), json)?;
        }
        ProgsAction::Dump { prog, what } => {
            let code = inspect::code(&Which::parse(prog), &LiveTarget::new()).map_err(skep::Error::from)?;
            let bytes = if *what == DumpKind::Xlated { &code.xlated } else { &code.jited };
            if bytes.is_empty() {
                bail!(
                    "the kernel does not show the code of program {} (kernel.kptr_restrict, net.core.bpf_jit_enable, \
                     and a kernel in lockdown decide on that)",
                    code.row.id
                );
            }
            match (json, what) {
                (true, _) => {
                    writeln!(out, "{}", json!({ "id": code.row.id, "bytes": hex(bytes), "text": code.text }))?
                }
                (false, DumpKind::Xlated) => out.write_all(code.text.as_bytes())?,
                (false, DumpKind::Jited) => {
                    for (index, line) in bytes.chunks(LINE).enumerate() {
                        writeln!(out, "{:6x}: {}", index * LINE, hex(line))?;
                    }
                }
            }
        }
        ProgsAction::Pin { prog, path } => inspect::pin_program(&Which::parse(prog), path)?,
        ProgsAction::Unpin { path } => inspect::unpin(path).map_err(skep::Error::from)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

fn pinned(pins: &[(PathBuf, Pinned)], wanted: Pinned) -> Vec<String> {
    pins.iter().filter(|(_, held)| *held == wanted).map(|(path, _)| path.display().to_string()).collect()
}

fn describe(out: &mut impl Write, row: &ProgRow, pins: &[(PathBuf, Pinned)], as_json: bool) -> Result<()> {
    let kind = row.kind.map_or_else(|| format!("type {}", row.number), |kind| kind.name().to_owned());
    let tag: String = row.tag.iter().map(|b| format!("{b:02x}")).collect();
    let paths = pinned(pins, Pinned::Program(row.id));
    if as_json {
        let line = json!({
            "id": row.id, "name": row.name, "type": kind, "tag": tag, "loaded_at": row.loaded_at, "uid": row.uid,
            "gpl": row.gpl, "bytes_xlated": row.xlated, "bytes_jited": row.jited, "map_ids": row.maps,
            "btf_id": row.btf, "run_cnt": row.runs, "run_time_ns": row.run_time, "pinned": paths,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    write!(out, "{}: {kind}  {}  tag {tag}  uid {}", row.id, row.name.escape_debug(), row.uid)?;
    write!(out, "{}", if row.gpl { "  gpl" } else { "" })?;
    write!(out, "  xlated {}B  jited {}B", row.xlated, row.jited)?;
    if !row.maps.is_empty() {
        let ids: Vec<String> = row.maps.iter().map(u32::to_string).collect();
        write!(out, "  maps {}", ids.join(","))?;
    }
    if row.runs > 0 {
        write!(out, "  {} runs, {} ns each", row.runs, row.run_time / row.runs)?;
    }
    writeln!(out)?;
    for path in paths {
        writeln!(out, "  pinned {}", path.escape_debug())?;
    }
    Ok(())
}

/// Runs `skep links`.
pub(crate) fn links(options: &Links) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match options.action.as_ref().unwrap_or(&LinksAction::List) {
        LinksAction::List => {
            let pins = inspect::pins(Path::new(inspect::ROOT));
            for row in inspect::links().map_err(skep::Error::from)? {
                let paths = pinned(&pins, Pinned::Link(row.id));
                if options.format == Format::Json {
                    let place: serde_json::Map<String, Json> =
                        row.place.iter().map(|(k, v)| ((*k).to_owned(), Json::from(v.as_str()))).collect();
                    let line = json!({
                        "id": row.id, "type": row.kind, "prog_id": row.program, "place": place, "pinned": paths,
                    });
                    writeln!(out, "{line}")?;
                    continue;
                }
                write!(out, "{}: {}  prog {}", row.id, row.kind, row.program)?;
                for (name, value) in &row.place {
                    write!(out, "  {name} {}", value.escape_debug())?;
                }
                writeln!(out)?;
                for path in paths {
                    writeln!(out, "  pinned {}", path.escape_debug())?;
                }
            }
        }
        LinksAction::Detach { link } => inspect::detach(&Which::parse(link)).map_err(skep::Error::from)?,
        LinksAction::Unpin { path } => inspect::unpin(path).map_err(skep::Error::from)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
