//! Stacks: one frame a line, innermost first, with a newline before the first so that the stack stands by itself.

use skep_bpf::backend::{BuildIdFrame, Symbol};
use skep_bpf::schema::{StackFormat, StackMode};
use skep_bpf::unwind::{UNKNOWN_CALLER, WALKED};

use super::names::{Names, bare_address};
use super::write_into;
use crate::value::{Frames, Value};

const INDENT: &[u8] = b"        ";

/// The stack's text; a stack that could not be taken is just the newline.
pub(super) fn render(value: &Value<'_>, names: &mut Names<'_>) -> Vec<u8> {
    let (format, pid, frames) = match value {
        Value::KStack { format, frames } => (*format, None, *frames),
        Value::UStack { format, pid, frames } => (*format, Some(*pid), *frames),
        _ => return Vec::new(),
    };
    let addresses = addresses(format, frames, names);
    let known = addresses.iter().position(|a| *a == UNKNOWN_CALLER).unwrap_or(addresses.len());
    let (known, failed) = addresses.split_at(known);
    let mut out = vec![b'\n'];
    match (format.mode, pid) {
        (StackMode::Raw, _) => known.iter().for_each(|a| write_into(&mut out, format_args!("{a:x}\n"))),
        (StackMode::BuildId, Some(pid)) => {
            let frames = names.backend().build_ids(pid, known);
            frames.iter().for_each(|f| build_id(&mut out, f));
        }
        _ => symbols(&mut out, known, pid, format.mode, names),
    }
    if !failed.is_empty() {
        out.extend_from_slice(INDENT);
        out.extend_from_slice(b"<unwind failure>\n");
    }
    out
}

fn addresses(format: StackFormat, frames: Frames<'_>, names: &mut Names<'_>) -> Vec<u64> {
    let mut addresses = match frames {
        Frames::Id(id) if id < 0 => Vec::new(),
        Frames::Id(id) if id & WALKED != 0 => walked(format, id, names),
        Frames::Id(id) => match names.stack_map(format) {
            Some(map) => names.backend().stack(map, id).unwrap_or_default(),
            None => Vec::new(),
        },
        Frames::Here(bytes) => {
            bytes.chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap_or_default())).collect()
        }
    };
    addresses.truncate(format.limit as usize);
    let used = addresses.iter().rposition(|a| *a != 0).map_or(0, |last| last + 1);
    addresses.truncate(used);
    addresses
}

/// The addresses of a stack that the program has walked: u64 number, then so many.
fn walked(format: StackFormat, id: i64, names: &mut Names<'_>) -> Vec<u64> {
    let Some(map) = names.walked_map(format) else { return Vec::new() };
    let Ok(found) = names.backend().map_lookup(map, &id.to_ne_bytes()) else { return Vec::new() };
    let Some(entry) = found.get(0) else { return Vec::new() };
    let mut words =
        entry.value().chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap_or_default()));
    let count = words.next().unwrap_or(0);
    words.take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

fn symbols(out: &mut Vec<u8>, addresses: &[u64], pid: Option<u32>, mode: StackMode, names: &mut Names<'_>) {
    let symbols = match pid {
        Some(pid) => names.backend().user_symbols(pid, addresses),
        None => addresses.iter().map(|a| names.backend().kernel_symbol(*a)).collect(),
    };
    let unknown = Symbol::default();
    for (i, address) in addresses.iter().enumerate() {
        let symbol = symbols.get(i).unwrap_or(&unknown);
        for inlined in &symbol.inlined {
            start(out, mode, *address);
            if mode != StackMode::Perf {
                out.extend_from_slice(b"[inlined] ");
            }
            out.extend_from_slice(&names.shown(inlined.name.as_bytes()));
            if mode == StackMode::Perf {
                out.extend_from_slice(b" (inlined)");
            } else {
                source(out, inlined.source.as_ref(), names);
            }
            out.push(b'\n');
        }
        start(out, mode, *address);
        frame(out, symbol, *address, names);
        if mode == StackMode::Perf {
            module(out, symbol, pid.is_some(), names);
        } else {
            source(out, symbol.source.as_ref(), names);
        }
        out.push(b'\n');
    }
}

/// What stands before a frame.
fn start(out: &mut Vec<u8>, mode: StackMode, address: u64) {
    if mode == StackMode::Perf {
        write_into(out, format_args!("\t{address:x} "));
    } else {
        out.extend_from_slice(INDENT);
    }
}

fn source(out: &mut Vec<u8>, place: Option<&(String, u32)>, names: &Names<'_>) {
    let Some((file, line)) = place else { return };
    out.push(b'@');
    out.extend_from_slice(&names.shown(file.as_bytes()));
    write_into(out, format_args!(":{line}"));
}

fn frame(out: &mut Vec<u8>, symbol: &Symbol, address: u64, names: &Names<'_>) {
    match &symbol.name {
        Some(name) => {
            out.extend_from_slice(&names.shown(name.as_bytes()));
            write_into(out, format_args!("+{}", symbol.offset));
        }
        None => out.extend_from_slice(&bare_address(address)),
    }
}

/// The binary of a user frame, or the module of a kernel frame that has one.
fn module(out: &mut Vec<u8>, symbol: &Symbol, user: bool, names: &Names<'_>) {
    if symbol.module.is_empty() || symbol.name.is_none() {
        if user {
            out.extend_from_slice(b" ([unknown])");
        }
        return;
    }
    out.extend_from_slice(b" (");
    out.extend_from_slice(&names.shown(symbol.module.as_bytes()));
    out.push(b')');
}

fn build_id(out: &mut Vec<u8>, frame: &BuildIdFrame) {
    if frame.build_id.is_empty() {
        write_into(out, format_args!("{:x}\n", frame.offset));
        return;
    }
    frame.build_id.iter().for_each(|b| write_into(out, format_args!("{b:02x}")));
    write_into(out, format_args!(" 0x{:02x}\n", frame.offset));
}
