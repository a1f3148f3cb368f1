use skep_bpf::asm;
use skep_bpf::kinds::ProgType;

use crate::generate;
use crate::helpers::env::Env;
use crate::vm::context::Input;
use crate::vm::fault::{Fault, FaultKind};
use crate::vm::machine::{Engine, Options, Outcome, RunError, Vm};

fn run_by(engine: Engine, prog_type: ProgType, text: &str, input: &Input) -> Result<Outcome, Box<Fault>> {
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load_raw("test", prog_type, &asm::parse(text).unwrap(), &[]).unwrap();
    vm.run(program, input, Options { engine, budget: 10_000 }).map_err(|error| match error {
        RunError::Fault(fault) => fault,
        other => panic!("{other}"),
    })
}

/// Runs a text in all engines, which must agree.
fn run(prog_type: ProgType, text: &str, input: &Input) -> Result<Outcome, Box<Fault>> {
    let interpreted = run_by(Engine::Interpreter, prog_type, text, input);
    for blind in [None, Some(5)] {
        let compiled = run_by(Engine::Jit { blind }, prog_type, text, input);
        let same = match (&interpreted, &compiled) {
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(other)) => one.agrees(other),
            _ => false,
        };
        assert!(same, "{text}\nblinded: {blind:?}\n{interpreted:?}\n{compiled:?}");
    }
    interpreted
}

fn result(text: &str) -> u64 {
    run(ProgType::SocketFilter, text, &Input::bytes(&[0; 32])).unwrap().result
}

fn fault(text: &str) -> Box<Fault> {
    run(ProgType::SocketFilter, text, &Input::bytes(&[0; 32])).unwrap_err()
}

#[test]
fn division_never_traps() {
    for op in ["/=", "s/=", "%=", "s%="] {
        for register in ["r", "w"] {
            for (left, right) in [(7, 0), (7, -1), (i64::MIN, -1), (i32::MIN.into(), -1), (-7, 2), (7, -2)] {
                let text = format!("r0 = {left} ll\nr1 = {right} ll\n{register}0 {op} {register}1\nexit");
                run(ProgType::SocketFilter, &text, &Input::bytes(&[])).unwrap();
                if right != 0 {
                    let text = format!("r0 = {left} ll\n{register}0 {op} {right}\nexit");
                    run(ProgType::SocketFilter, &text, &Input::bytes(&[])).unwrap();
                }
            }
        }
    }
    assert_eq!(result("r0 = 0x8000000000000000 ll\nr1 = -1\nr0 s/= r1\nexit"), 1 << 63);
}

#[test]
fn a_fault_is_the_same_with_all_registers() {
    let found = fault("r0 = 1\nr2 = 2\nr3 = 3\nr7 = r10\nr7 += -8\nr4 = *(u64 *)(r7 +8)\nr2 = r3\nexit");
    assert_eq!((found.place.insn, found.registers[2], found.registers[3]), (5, Some(2), Some(3)));
    let found = fault("r6 = 6\ncall bpf_unknown#60000\nexit");
    assert!(matches!(found.kind, FaultKind::NoHelper { .. }), "{found}");
    assert_eq!((found.place.insn, found.registers[6]), (1, Some(6)));
    let found = fault("again: r0 += 1\ngoto again\nexit");
    assert_eq!(found.kind, FaultKind::Budget { limit: 10_000 });
    let found = fault("call pc+1\nexit\nr0 = 1\ncall pc-2\nexit");
    assert_eq!((found.kind, found.place.insn), (FaultKind::Depth { limit: 8 }, 3));
}

#[test]
fn functions_have_frames_and_registers_of_their_own() {
    let text = "
        r6 = 6
        *(u64 *)(r10 -8) = 1
        r1 = 40
        call f
        r0 += r6
        r2 = *(u64 *)(r10 -8)
        r0 += r2
        r0 += r1
        exit
        f: *(u64 *)(r10 -8) = 2
        r6 = 60
        r0 = r1
        exit";
    assert_eq!(result(text), 47);
}

#[test]
fn one_byte_too_many_is_seen_at_every_width() {
    for (register, width) in [("u8", 1i32), ("u16", 2), ("u32", 4), ("u64", 8)] {
        for end in [8, 12, 15, 32] {
            let read = |off: i32| {
                let text = format!("r2 = r1\nr2 += {off}\nr0 = *({register} *)(r2 +0)\nr0 = 1\nexit");
                run(ProgType::SocketFilter, &text, &Input::bytes(&vec![1; end as usize])).map(|_| ())
            };
            assert!(read(end - width).is_ok() && read(0).is_ok());
            assert!(read(end - width + 1).is_err() && read(-1).is_err());
        }
        let text = format!("r0 = *({register} *)(r1 +0)\nexit");
        assert!(run(ProgType::SocketFilter, &text, &Input::bytes(&[])).is_err());
    }
}

#[test]
fn a_pointer_beyond_32_bits_does_not_wrap_into_an_object() {
    for high in [1u64, 0x8000_0000, 0xffff_ffff] {
        let text = format!("r2 = {} ll\nr1 += r2\nr0 = *(u8 *)(r1 +0)\nexit", high << 32);
        assert!(matches!(fault(&text).kind, FaultKind::Access(_)));
    }
}

#[test]
fn what_may_only_be_read_is_not_written() {
    let input = Input::record(&[1; 16]);
    let text = "r0 = *(u64 *)(r1 +0)\n*(u64 *)(r1 +0) = 1\nexit";
    assert_eq!(run(ProgType::RawTracepoint, text, &input).unwrap_err().place.insn, 1);
}

#[test]
fn engines_agree() {
    for seed in 0..4 {
        let (ended, faulted) = generate::engines(seed, 60, None).unwrap();
        assert!(ended > 5 && faulted > 5, "{ended} ended, {faulted} faulted");
    }
    generate::engines(99, 60, Some(1)).unwrap();
}

/// Whether the bytes hold a number in one piece.
fn holds(code: &[u8], number: u32) -> bool {
    code.windows(4).any(|bytes| bytes == number.to_le_bytes())
}

#[test]
fn blinded_code_holds_no_constant_of_the_program() {
    let constants = [0x1122_3344u32, 0x5566_7788, 0x1357_2468, 0x5a5a_5a5b, 0x7e7e_7e7f, 0x0bad_cafe];
    let text = "
        r2 = *(u64 *)(r1 +0)
        r3 = 0x1122334455667788 ll
        r2 += r3
        r2 *= 0x5a5a5a5b
        w2 ^= 0x13572468
        *(u32 *)(r1 +8) = 0x7e7e7e7f
        r0 = r2
        if w2 == 0x0badcafe goto out
        r0 = *(u32 *)(r1 +16)
        out: exit";
    let mut vm = Vm::new(Env::default()).unwrap();
    let insns = asm::parse(text).unwrap();
    let program = vm.load_raw("test", ProgType::SocketFilter, &insns, &[]).unwrap();
    let plain = vm.code(program, None).unwrap();
    let found = constants.iter().filter(|constant| holds(plain.bytes(), **constant)).count();
    assert!(found >= 5, "without blinding they are there: {found}");
    for seed in 0..20 {
        let blinded = vm.code(program, Some(seed)).unwrap();
        for constant in constants {
            assert!(!holds(blinded.bytes(), constant), "{constant:#x}, seed {seed}");
        }
    }
    result(text);
}

#[test]
fn disassembly_shows_each_function() {
    let mut vm = Vm::new(Env::default()).unwrap();
    let insns = asm::parse("r1 = 5\ncall pc+1\nexit\nr0 = r1\nexit").unwrap();
    let program = vm.load_raw("test", ProgType::SocketFilter, &insns, &[]).unwrap();
    let text = vm.disassemble(program, None).unwrap();
    assert!(
        text.contains("function at 0:") && text.contains("function at 3:") && text.contains("ret"),
        "{text}"
    );
}

#[test]
fn code_is_never_writable_and_executable() {
    let mut vm = Vm::new(Env::default()).unwrap();
    let insns = asm::parse("r0 = 7\nexit").unwrap();
    let program = vm.load_raw("test", ProgType::SocketFilter, &insns, &[]).unwrap();
    let code = vm.code(program, None).unwrap();
    let at = code.bytes().as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = None;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|n| usize::from_str_radix(n, 16).unwrap());
        assert!(!rest.starts_with("rwx"), "{line}");
        if (start..end).contains(&at) {
            found = Some(rest.split(' ').next().unwrap().to_owned());
        }
    }
    assert_eq!(found.as_deref(), Some("r-xp"));
}
