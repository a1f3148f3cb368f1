//! The text of the disassembler and back.

use proptest::prelude::*;

use super::*;
use crate::disasm;
use crate::insn::{Reg, alu, atomic, mode, size, source};

fn text(insns: &[Insn]) -> Vec<String> {
    let mut at = 0;
    let mut lines = Vec::new();
    while at < insns.len() {
        let (line, slots) = disasm::insn(insns, at, &|_| None);
        lines.push(line);
        at += slots;
    }
    lines
}

#[test]
fn one_of_each_reads_as_the_kernel_writes() {
    const LINES: [&str; 52] = [
        "r1 = *(u64 *)(r10 -8)",
        "r1 = *(s16 *)(r2 +4)",
        "*(u32 *)(r10 -4) = r0",
        "*(u8 *)(r10 -1) = -7",
        "if r1 > 0x10 goto pc+5",
        "if w1 s<= w2 goto pc-5",
        "if r3 & 0xffffffff goto pc+0",
        "if r3 s>= r4 goto pc+1",
        "call bpf_map_lookup_elem#1",
        "call bpf_unknown#9999",
        "call pc+12",
        "call kfunc[4321]",
        "exit",
        "goto pc+3",
        "gotol pc-70000",
        "may_goto pc+2",
        "lock *(u64 *)(r1 +0) += r2",
        "lock *(u32 *)(r1 +4) ^= r2",
        "r2 = atomic64_fetch_or((u64 *)(r1 +0), r2)",
        "r2 = atomic_fetch_and((u32 *)(r1 +0), r2)",
        "r3 = atomic64_xchg((u64 *)(r1 -8), r3)",
        "r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r3)",
        "r0 = load_acquire((u8 *)(r1 +0))",
        "store_release((u64 *)(r1 +8), r2)",
        "w1 = w2",
        "r1 = r2",
        "r1 = (s8)r2",
        "w1 = (s16)w2",
        "r1 = (s32)r2",
        "r1 = -r1",
        "w5 = -w5",
        "r1 = -1",
        "w1 = 7",
        "r1 += r2",
        "w1 -= 3",
        "r1 s/= r2",
        "r1 s%= 5",
        "r1 %= 5",
        "r1 s>>= 63",
        "r1 <<= 3",
        "r1 >>= r0",
        "r1 = be16 r1",
        "r1 = le64 r1",
        "r1 = bswap32 r1",
        "r1 = addr_space_cast(r2, 0, 1)",
        "r0 = *(u16 *)skb[12]",
        "r0 = *(u8 *)skb[r6 +3]",
        "r1 = 0x123456789abcdef0 ll",
        "r1 = map[fd:5]",
        "r1 = map[idx:5][0]+16",
        "r2 = btf_id[77]",
        "r2 = subprog[pc+9]",
    ];
    let insns = parse(&LINES.join("\n")).unwrap();
    assert_eq!(text(&insns), LINES);
    assert_eq!(insns[0], Insn::load(size::DW, Reg::R1, Reg::FP, -8));
    let signed = Insn { off: 1, ..Insn::alu64_imm(alu::MOD, Reg::R1, 5) };
    assert!(insns.contains(&signed));
    assert!(insns.contains(&Insn { code: 0x18, dst: 1, src: pseudo::MAP_IDX_VALUE, imm: 5, off: 0 }));
    assert!(insns.contains(&Insn::atomic(size::DW, atomic::XCHG, Reg::R1, -8, Reg::R3)));
}

#[test]
fn labels_comments_and_names() {
    let source = "
        ; counts
        start:  r1 = map[@counts]    // the map
        2: r2 = 0 ll
        call bpf_ktime_get_ns
        if r0 == 0 goto out
        call kfunc[scx]
        goto start
    out: exit";
    let symbols = |name: &str| [("@counts", 3), ("scx", 99)].iter().find(|s| s.0 == name).map(|s| s.1);
    let insns = parse_with(source, &symbols).unwrap();
    let expected = [
        "r1 = map[fd:3]",
        "r2 = 0x0 ll",
        "call bpf_ktime_get_ns#5",
        "if r0 == 0x0 goto pc+2",
        "call kfunc[99]",
        "goto pc-8",
        "exit",
    ];
    assert_eq!(text(&insns), expected);
    let listing = disasm::listing(&insns, &|at| (at == 0).then(|| "@counts".to_owned()));
    assert!(listing.starts_with("L0:\n    0: r1 = map[@counts]\n    2: r2 = 0x0 ll\n"), "{listing}");
    assert!(listing.contains("goto L0\nL8:\n    8: exit\n"), "{listing}");
    assert_eq!(parse_with(&listing, &symbols).unwrap(), insns);
}

#[test]
fn errors_name_line_and_cause() {
    let fails = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(fails("exit\nr11 = 1"), "assembly, line 2: expected a statement, found `r11 = 1`");
    assert!(fails("goto nowhere").contains("no label `nowhere`"));
    assert!(fails("a:\na: exit").contains("twice"));
    assert!(fails("r1 = 0x100000000").contains("`ll`"));
    assert!(fails("r1 = w2").contains("same width"));
    assert!(fails("goto pc+40000").contains("too far"));
    assert!(fails("r1 = *(u64 *)(r2 +40000)").contains("16 bits"));
    assert!(fails("call bpf_nothing").contains("no helper"));
    assert!(fails("r1 = map[@x]").contains("`@x` is not known"));
    assert!(fails("exit exit").contains("end of the line"));
    assert!(fails("w1 = (s32)w2").contains("wider"));
    assert!(fails("lock *(u8 *)(r1 +0) += r2").contains("32 or 64"));
    assert!(fails("r0 = atomic64_xchg((u64 *)(r1 +0), r2)").contains("register of the operand"));
    assert!(fails(".raw 00").contains("sixteen"));
}

/// One instruction (or pair) that a compiler may emit.
fn valid() -> impl Strategy<Value = Vec<Insn>> {
    let reg = || 0u8..=10;
    let sizes = prop::sample::select(vec![size::B, size::H, size::W, size::DW]);
    let big = prop::sample::select(vec![size::W, size::DW]);
    let alu_ops = prop::sample::select(crate::disasm::ALU.map(|a| a.0).to_vec());
    let compares = prop::sample::select(crate::disasm::COMPARE.map(|a| a.0).to_vec());
    let atomics = prop::sample::select(vec![
        atomic::ADD,
        atomic::OR | atomic::FETCH,
        atomic::XOR,
        atomic::XCHG,
        atomic::CMPXCHG,
    ]);
    let class = prop::sample::select(vec![class::ALU, class::ALU64]);
    let jumps = prop::sample::select(vec![class::JMP, class::JMP32]);
    prop_oneof![
        (class, alu_ops, reg(), reg(), any::<i32>(), any::<bool>()).prop_map(|(c, op, dst, src, imm, x)| {
            vec![if x {
                Insn { code: c | op | source::X, dst, src, ..Insn::default() }
            } else {
                Insn { code: c | op, dst, imm, ..Insn::default() }
            }]
        }),
        (jumps, compares, reg(), reg(), any::<i32>(), any::<i16>(), any::<bool>()).prop_map(
            |(c, op, dst, src, imm, off, x)| {
                vec![if x {
                    Insn { code: c | op | source::X, dst, src, off, imm: 0 }
                } else {
                    Insn { code: c | op, dst, src: 0, off, imm }
                }]
            }
        ),
        (sizes.clone(), reg(), reg(), any::<i16>()).prop_map(|(s, d, b, o)| vec![Insn::load(
            s,
            Reg(d),
            Reg(b),
            o
        )]),
        (sizes.clone(), reg(), reg(), any::<i16>()).prop_map(|(s, d, b, o)| vec![Insn::store_reg(
            s,
            Reg(d),
            o,
            Reg(b)
        )]),
        (sizes, reg(), any::<i16>(), any::<i32>()).prop_map(|(s, d, o, i)| vec![Insn::store_imm(
            s,
            Reg(d),
            o,
            i
        )]),
        (big, atomics, reg(), reg(), any::<i16>()).prop_map(|(s, op, d, r, o)| vec![Insn::atomic(
            s,
            op,
            Reg(d),
            o,
            Reg(r)
        )]),
        (reg(), any::<u64>()).prop_map(|(d, v)| Insn::ld_imm64(Reg(d), 0, v).to_vec()),
        (reg(), 1u8..=2, any::<i32>())
            .prop_map(|(d, src, v)| Insn::ld_imm64(Reg(d), src, v as u32 as u64).to_vec()),
        any::<u32>().prop_map(|id| vec![Insn::call_helper(id)]),
        any::<i16>().prop_map(|off| vec![Insn::ja(off)]),
        Just(vec![Insn::exit()]),
    ]
}

proptest! {
    #[test]
    fn programs_round_trip(parts in prop::collection::vec(valid(), 0..40)) {
        let insns = parts.concat();
        let lines = text(&insns).join("\n");
        prop_assert!(!lines.contains(".raw"), "{}", lines);
        prop_assert_eq!(&parse(&lines).unwrap(), &insns);
        let listing = disasm::listing(&insns, &|_| None);
        prop_assert_eq!(&parse(&listing).unwrap(), &insns, "{}", listing);
    }

    #[test]
    fn any_bytes_round_trip(bytes in prop::collection::vec(any::<[u8; 8]>(), 0..20)) {
        let insns: Vec<Insn> = bytes.into_iter().map(Insn::from_bytes).collect();
        let listing = disasm::listing(&insns, &|_| None);
        prop_assert_eq!(&parse(&listing).unwrap(), &insns, "{}", listing);
    }

    /// Plausible codes with small fields hit every form and its near misses.
    #[test]
    fn near_misses_round_trip(parts in prop::collection::vec((any::<u8>(), 0u8..12, 0u8..12, -2i16..40, -2i32..0x120), 0..20)) {
        let insns: Vec<Insn> =
            parts.into_iter().map(|(code, dst, src, off, imm)| Insn { code, dst, src, off, imm }).collect();
        let listing = disasm::listing(&insns, &|_| None);
        prop_assert_eq!(&parse(&listing).unwrap(), &insns, "{}", listing);
    }

    #[test]
    fn any_text_is_harmless(text in "[rw0-9a-z =*+()\\[\\]_:;,<>-]{0,60}") {
        let _ = parse(&text);
    }
}

/// A mode that no instruction has stays visible.
#[test]
fn meaningless_instructions_print_their_bytes() {
    let odd = Insn { code: class::LDX | size::DW | mode::MEMSX, ..Insn::default() };
    assert_eq!(text(&[odd]), [".raw 9900000000000000"]);
    assert_eq!(text(&[Insn { imm: 1, ..Insn::exit() }]), [".raw 9500000001000000"]);
    assert_eq!(text(&[Insn { dst: 11, ..Insn::mov_imm(Reg::R0, 0) }]), [".raw b70b000000000000"]);
}
