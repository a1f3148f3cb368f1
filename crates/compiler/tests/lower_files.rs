//! Walks `tests/lower/*.ir`. A file's first line says how its module is compiled (`; lower: v3 passes no-fetch`), then
//! comes the module, then a line `; ---`, then the programs that it compiles to, with what the object says beside them, or
//! the error. With `SKEP_BLESS=1` in the environment the files are rewritten with what comes out; read the
//! difference before you keep it.
//!
//! Words of the first line: `v1` to `v4` (instruction set), `passes` (optimise), `no-fetch` (no fetching atomics),
//! `no-may-goto`.

#![allow(clippy::unwrap_used, clippy::panic)]

use skep_bpf::disasm;
use skep_bpf::object::{Object, RelocKind};
use skep_compiler::compile::{CompileError, CompileOptions, Cpu, Features, compile};
use skep_compiler::ir::text;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const CPUS: [(&str, Cpu); 4] = [("v1", Cpu::V1), ("v2", Cpu::V2), ("v3", Cpu::V3), ("v4", Cpu::V4)];

fn show(object: &Object) -> String {
    let mut out = String::new();
    for program in &object.programs {
        out.push_str(&disasm::program(program, object));
        for reloc in &program.relocs {
            if let RelocKind::Core(core) = &reloc.kind {
                let _ = writeln!(
                    out,
                    "; core {}: {} {:?} {:?}",
                    reloc.insn, core.root_name, core.path, core.kind
                );
            }
        }
    }
    for map in object.maps.iter().filter(|m| !m.name.starts_with('@')) {
        let _ = writeln!(out, "; map {}: value {} entries {}", map.name, map.value_size, map.max_entries);
    }
    for counter in &object.session.counters {
        let _ = writeln!(out, "; counter {counter:?}");
    }
    out
}

fn outcome(words: &str, input: &str) -> String {
    let mut module = match text::parse(input) {
        Ok(module) => module,
        Err(error) => return format!("{error}\n"),
    };
    module.file = "test.bt".to_owned();
    module.source = (1..=20).map(|n| format!("source line {n}")).collect();
    let has = |word: &str| words.split_whitespace().any(|w| w == word);
    let cpu = CPUS.iter().find(|(name, _)| has(name)).map_or(Cpu::V4, |c| c.1);
    let features = Features {
        cpu,
        fetch_atomics: !has("no-fetch"),
        may_goto: !has("no-may-goto"),
        xdp_load_bytes: !has("no-xdp-load"),
        ..Features::default()
    };
    let mut options = CompileOptions { features, passes: has("passes"), record: has("record"), dump: None };
    match compile(module, &mut options) {
        Ok(object) => show(&object),
        Err(CompileError::Internal { function, what }) => format!("internal error in {function}: {what}\n"),
        Err(
            CompileError::Limit { ref what, ref function, loc }
            | CompileError::Unsupported { ref what, ref function, loc },
        ) => format!("{function} at {}:{}: {what}\n", loc.line, loc.column),
    }
}

fn check(path: &Path, bless: bool) -> Result<(), String> {
    let whole = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (head, rest) = whole.split_once('\n').unwrap_or((&whole, ""));
    let Some(words) = head.strip_prefix("; lower:") else {
        return Err(format!("{}: the first line is not `; lower:`", path.display()));
    };
    let (input, want) = rest.split_once("; ---\n").unwrap_or((rest, ""));
    let got = outcome(words, input);
    if got == want {
        return Ok(());
    }
    if bless {
        let text = format!("{head}\n{input}; ---\n{got}");
        return std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
    }
    Err(format!("{}\n--- expected\n{want}--- got\n{got}", path.display()))
}

#[test]
fn files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lower");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "ir"));
    paths.sort();
    assert!(paths.len() > 10, "where are the files?");
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let failed: Vec<String> = paths.iter().filter_map(|p| check(p, bless).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
