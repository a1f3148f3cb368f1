//! The plugin protocol of bpf_conformance: a program and its memory enter as hexadecimal digits, r0 leaves. The program runs in the
//! offline machine with r1 at the memory and r2 its length.

use skep_bpf::elf::Module;
use skep_bpf::insn::Insn;
use skep_bpf::kinds::ProgType;
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
pub use skep_engine::vm::machine::Engine;
use skep_engine::vm::machine::{Options, Vm};

/// Runs the program; the message says what is wrong with it.
pub fn run(program: &str, memory: &str, engine: Engine) -> Result<u64, String> {
    let (program, memory) = (digits(program)?, digits(memory)?);
    let insns = if skep_bpf::elf::is_elf(&program) {
        let module = Module::parse(&program).map_err(|error| error.to_string())?;
        module.programs.into_iter().next().ok_or("the object has no program")?.insns
    } else {
        let (chunks, rest) = program.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are no whole number of instructions of 8 bytes", program.len()));
        }
        chunks.iter().map(|bytes| Insn::from_bytes(*bytes)).collect()
    };
    let mut vm = Vm::new(Env::default()).map_err(|error| error.to_string())?;
    let id = vm.load_raw("program", ProgType::Xdp, &insns, &[]).map_err(|error| error.to_string())?;
    let mut input = Input::bytes(&memory);
    input.second = memory.len() as u64;
    let outcome =
        vm.run(id, &input, Options { engine, ..Options::default() }).map_err(|error| error.to_string())?;
    Ok(outcome.result)
}

/// Bytes from pairs of hexadecimal digits, with blanks where one likes.
fn digits(text: &str) -> Result<Vec<u8>, String> {
    let text: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let wrong = |what: &str| format!("`{}` {what}", text.iter().collect::<String>().escape_debug());
    if !text.len().is_multiple_of(2) {
        return Err(wrong("has half a byte too much"));
    }
    let value = |c: &char| c.to_digit(16).map(|digit| digit as u8);
    text.chunks_exact(2)
        .map(|pair| Some(value(&pair[0])? << 4 | value(&pair[1])?))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| wrong("is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, memory: &str) -> Result<u64, String> {
        // Machine code keeps only those registers that somebody reads again: a fault names fewer.
        let plain = |result: Result<u64, String>| {
            let registers = |line: &&str| !line.starts_with("  r");
            result.map_err(|why| why.lines().filter(registers).collect::<Vec<_>>().join("\n"))
        };
        let interpreted = plain(super::run(program, memory, Engine::Interpreter));
        assert_eq!(plain(super::run(program, memory, Engine::Jit { blind: None })), interpreted);
        interpreted
    }

    #[test]
    fn a_program_gets_its_memory() {
        // r0 = *(u8 *)(r1 +1); r0 += r2; exit
        let program = "71 10 01 00 00 00 00 00\n0f 20 00 00 00 00 00 00 9500000000000000\n";
        assert_eq!(run(program, "0a 0b 0c"), Ok(14));
        assert!(run(program, "0a").unwrap_err().contains("1 bytes"), "{:?}", run(program, "0a"));
        assert_eq!(run("95", "").unwrap_err(), "1 bytes are no whole number of instructions of 8 bytes");
        assert_eq!(run("9", "").unwrap_err(), "`9` has half a byte too much");
        assert_eq!(run("zz", "").unwrap_err(), "`zz` is not hexadecimal");
        assert!(run("ff00000000000000", "").unwrap_err().contains("no instruction with code 0xff"));
    }
}
