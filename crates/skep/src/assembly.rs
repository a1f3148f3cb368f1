//! Objects and instructions as text, and back: what `skep disasm` and `skep asm` do. Bytes of a file enter, text leaves, and
//! the other way round; the two are a round trip.

use crate::error::Error;
use skep_bpf::asm;
use skep_bpf::disasm;
use skep_bpf::elf::{self, Module, Selection};
use skep_bpf::insn::Insn;
use skep_bpf::object::Object;
use skep_bpf::text;

fn refused(name: &str, why: impl ToString) -> Error {
    Error::Object { file: name.to_owned(), why: vec![why.to_string()] }
}

/// The text of an object file, or of instructions: eight bytes each, or hex digits.
pub fn disassemble(name: &str, bytes: &[u8]) -> Result<String, Error> {
    if elf::is_elf(bytes) {
        return Ok(text::print(&object(name, bytes)?));
    }
    let raw = match instructions_in_hex(bytes) {
        Some(raw) => raw,
        None => bytes.to_vec(),
    };
    if raw.is_empty() || !raw.len().is_multiple_of(8) {
        let why = format!(
            "{} bytes are no instructions: expected an ELF object, hex digits, or eight bytes for each instruction",
            raw.len()
        );
        return Err(refused(name, why));
    }
    let chunks = raw.chunks_exact(8).filter_map(|c| c.first_chunk().copied());
    let insns: Vec<Insn> = chunks.map(Insn::from_bytes).collect();
    Ok(disasm::listing(&insns, &|_| None))
}

/// The object in a file, as skep wrote it, or of another compiler with all of its programs.
fn object(name: &str, bytes: &[u8]) -> Result<Object, Error> {
    let module = Module::parse(bytes).map_err(|e| refused(name, e))?;
    if !module.skep.is_empty() {
        return elf::read(bytes).map_err(|e| refused(name, e));
    }
    let all = module.programs.iter().map(|p| p.function.clone()).collect();
    module.object(&Selection::Named(all)).map_err(|e| refused(name, e))
}

fn instructions_in_hex(bytes: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if digits.is_empty() || !digits.len().is_multiple_of(16) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// What a text is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Assembled {
    /// An object: the bytes of an ELF file.
    Object(Vec<u8>),
    /// Instructions: their bytes.
    Instructions(Vec<u8>),
}

/// Assembles a text, which messages call `name`.
pub fn assemble(name: &str, source: &str) -> Result<Assembled, Error> {
    if !text::is_object(source) {
        let insns = asm::parse(source).map_err(|e| refused(name, e))?;
        return Ok(Assembled::Instructions(insns.into_iter().flat_map(Insn::to_bytes).collect()));
    }
    let mut object = text::parse(source).map_err(|e| refused(name, e))?;
    if object.origin.is_none() {
        // Written by hand: nothing of a machine is taken for granted.
        object.origin = Some(skep_bpf::origin::Origin {
            arch: if cfg!(target_arch = "aarch64") {
                skep_bpf::target::Arch::Aarch64
            } else {
                skep_bpf::target::Arch::X86_64
            },
            kernel: skep_bpf::version::KernelVersion::new(0, 0),
            assumptions: Vec::new(),
        });
    }
    elf::write(&object).map(Assembled::Object).map_err(|e| refused(name, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_both_ways() {
        let source = "r0 = 1\nif r0 == 0x2 goto L4\nr1 = map[fd:3]\nL4:\nexit\n";
        let Assembled::Instructions(bytes) = assemble("t", source).unwrap() else {
            panic!("no instructions")
        };
        let text = disassemble("t", &bytes).unwrap();
        assert_eq!(assemble("t", &text).unwrap(), Assembled::Instructions(bytes.clone()));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(disassemble("t", format!("{hex}\n").as_bytes()).unwrap(), text);
        assert!(
            disassemble("t", b"1234567").unwrap_err().to_string().contains("7 bytes are no instructions")
        );
        assert!(assemble("t", "r0 = bee").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn an_object_written_by_hand() {
        let source = ".license \"GPL\"\n.map \"counts\" array key=4 value=8 entries=1\n\
                      .program \"pass\" xdp attach=none\nr0 = 2\nexit\n.end\n";
        let Assembled::Object(bytes) = assemble("t", source).unwrap() else { panic!("no object") };
        let text = disassemble("t", &bytes).unwrap();
        assert!(text.contains(".map \"counts\" array") && text.contains("r0 = 2"), "{text}");
        assert_eq!(assemble("t", &text).unwrap(), Assembled::Object(bytes));
    }
}
