//! DWARF of binaries: types and functions as BTF, and the addresses of source lines. A path and what is wanted enter;
//! a BTF blob or a place leaves. Debug information may lie in the binary, in a separate file, in `.dwo` files or in a
//! `.dwp` package. What always holds: only the units that can have what is wanted are read in full, everything read is
//! checked and bounded, and what is damaged gives an error or is left out.

#![allow(non_upper_case_globals, reason = "the names of DWARF's constants are as the standard has them")]

use std::path::Path;

use skep_bpf::btf::Btf;
use skep_bpf::target::{Symbol, TypeRequest};

use crate::elf;
use crate::error::Error;

mod aggregate;
pub(crate) mod cfi;
mod convert;
mod find;
mod graph;
mod lines;
mod load;
mod location;
mod search;
#[cfg(test)]
mod tests;
mod units;

use load::Arena;
use units::Units;

/// Bytes of a section, in the file's own byte order.
type Bytes<'a> = gimli::EndianSlice<'a, gimli::RunTimeEndian>;
/// A unit.
type Unit<'a> = gimli::Unit<Bytes<'a>>;
/// An entry of a unit.
type Entry<'a> = gimli::DebuggingInformationEntry<Bytes<'a>>;

fn damaged(path: &str, why: impl ToString) -> Error {
    Error::Damaged { what: format!("debug information of {path}"), why: why.to_string() }
}

/// The wanted types and functions of a binary.
pub(crate) fn types(request: &TypeRequest, folders: &[String]) -> Result<Btf, Error> {
    let arena = Arena::default();
    let units = Units::open(&arena, &request.path, folders)?;
    let found = search::search(&units, request);
    let blob = convert::convert(&units, request, found);
    Btf::parse(blob, None).map_err(|e| damaged(&request.path, e))
}

/// Where the code of a source line begins: (file, line, column), column 0 for any.
pub(crate) fn source_line(
    path: &str,
    folders: &[String],
    (file, line, column): (&str, u32, u32),
) -> Result<Symbol, Error> {
    let arena = Arena::default();
    let units = Units::open(&arena, path, folders)?;
    let (name, address) = lines::address(&units, path, file, line, column)?;
    let offset = elf::file_offset(path, address)?;
    Ok(Symbol { name, address, offset, size: 0 })
}

/// The name of a file without its folders.
fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or(path)
}
