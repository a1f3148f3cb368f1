use super::*;
use skep_bpf::asm;

fn what(insns: &[Insn]) -> String {
    decode(insns).unwrap_err().to_string()
}

fn raw(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Vec<Insn> {
    vec![Insn { code, dst, src, off, imm }, Insn::exit()]
}

#[test]
fn one_op_for_each_slot() {
    let insns =
        asm::parse("r1 = 0x1122334455667788 ll\nif r1 s> 5 goto pc+1\nw2 = r1\nr0 = bswap32 r0\nexit");
    let insns = insns.or_else(|_| {
        asm::parse("r1 = 0x1122334455667788 ll\nif r1 s> 5 goto pc+1\nw2 = w1\nr0 = bswap32 r0\nexit")
    });
    let ops = decode(&insns.unwrap()).unwrap();
    assert_eq!(ops[0], Op::Const { dst: 1, value: 0x1122_3344_5566_7788 });
    assert_eq!(ops[1], Op::Second);
    assert_eq!(ops[2], Op::Branch { op: Cmp::Sgt, width: Width::W64, dst: 1, src: Operand::Imm(5), to: 4 });
    assert_eq!(ops[4], Op::Swap { order: ByteOrder::Swap, bits: 32, dst: 0 });
    assert_eq!(std::mem::size_of::<Op>(), 16);
}

#[test]
fn jumps_lead_to_instructions() {
    for (text, found) in [
        ("goto pc+5\nexit", "no instruction 6"),
        ("r0 = 0\ngoto pc-3\nexit", "no instruction -1"),
        ("goto pc+1\nr1 = 1 ll\nexit", "second half"),
        ("gotol pc+99999\nexit", "no instruction 100000"),
        ("call pc+9\nexit", "no instruction 10"),
        ("r0 = 0", "goes on behind its end"),
    ] {
        assert!(what(&asm::parse(text).unwrap()).contains(found), "{text}");
    }
    assert!(what(&[]).contains("has 0"));
    assert!(what(&Insn::ld_imm64(skep_bpf::insn::Reg(1), 0, 1)[..1]).contains("second half is missing"));
}

#[test]
fn registers_are_those_of_the_machine() {
    for (insns, found) in [
        (raw(0xb7, 10, 0, 0, 1), "r10 can only be read"),
        (raw(0xb7, 11, 0, 0, 1), "no r11"),
        (raw(0xbf, 1, 15, 0, 0), "no r15"),
        (raw(0x79, 10, 1, 0, 0), "r10 can only be read"),
        (raw(0x18, 10, 0, 0, 0), "second half"),
        (raw(0xdb, 1, 10, 0, atomic::XCHG), "r10 can only be read"),
    ] {
        assert!(what(&insns).contains(found), "{insns:?}: {}", what(&insns));
    }
    assert!(decode(&raw(0xdb, 10, 1, -8, atomic::XCHG)).is_ok());
}

#[test]
fn what_does_not_exist_and_what_is_not_used() {
    for (insns, found) in [
        (raw(0xff, 0, 0, 0, 0), "code 0xff"),
        (raw(0x07, 1, 2, 0, 0), "`src` is 2"),
        (raw(0x0f, 1, 2, 0, 7), "`imm` is 7"),
        (raw(0x0f, 1, 2, 3, 0), "`off` is 3"),
        (raw(0x37, 1, 0, 2, 3), "`off` is 2"),
        (raw(0xbf, 1, 2, 24, 0), "8, 16 or 32, not 24"),
        (raw(0xbc, 1, 2, 32, 0), "8, 16 or 32, not 32"),
        (raw(0xbf, 1, 2, 1, 0), "arenas"),
        (raw(0xb7, 1, 0, 8, 5), "takes a register"),
        (raw(0x87, 1, 0, 0, 4), "`imm` is 4"),
        (raw(0xdc, 1, 0, 0, 24), "not of 24"),
        (raw(0x99, 1, 2, 0, 0), "code 0x99"),
        (raw(0x38, 0, 0, 0, 0), "code 0x38"),
        (raw(0x95, 0, 0, 0, 1), "`imm` is 1"),
        (raw(0x85, 0, 3, 0, 1), "kind 3"),
        (raw(0xdb, 1, 2, 0, 0x20), "atomic operation 0x20"),
        (raw(0xd3, 1, 2, 0, 0), "not on 1"),
        (raw(0x06, 0, 0, 1, 0), "`off` is 1"),
    ] {
        assert!(what(&insns).contains(found), "{insns:?}: {:?}", decode(&insns));
    }
}

proptest::proptest! {
    /// Nothing that is decoded uses a register that is not there, writes r10 or jumps out of the program.
    #[test]
    fn bytes_of_any_kind(bytes in proptest::collection::vec(proptest::array::uniform8(0u8..), 1..6)) {
        let mut insns: Vec<Insn> = bytes.into_iter().map(Insn::from_bytes).collect();
        insns.push(Insn::exit());
        if let Ok(ops) = decode(&insns) {
            proptest::prop_assert_eq!(ops.len(), insns.len());
            for (op, insn) in ops.iter().zip(&insns) {
                proptest::prop_assert!(insn.dst <= 10 && (insn.src <= 10));
                if let Some(to) = target(*op) {
                    proptest::prop_assert!((to as usize) < ops.len() && ops[to as usize] != Op::Second);
                }
            }
        }
    }
}
