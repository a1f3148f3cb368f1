//! The same fields on two made-up kernels, and on the running one.

use super::*;
use crate::btf::{BtfBuilder, MemberDef};
use crate::insn::{Reg, size};

fn m(name: &str, ty: TypeId, bit_offset: u32, bit_size: u8) -> MemberDef<'_> {
    MemberDef { name, ty, bit_offset, bit_size }
}

/// The kernel that the object was compiled on: (types, root).
fn old() -> (Btf, TypeId) {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let u64_ = b.int("u64", 8, false);
    let inner = b.struct_("", 16, &[m("a", u64_, 0, 0), m("b", int, 64, 0)]);
    let list = b.struct_("list", 8, &[m("next", u64_, 0, 0)]);
    let nums = b.array(int, 4);
    let root = b.struct_(
        "thing___v1",
        64,
        &[
            m("id", int, 0, 0),
            m("flag", int, 35, 3),
            m("", inner, 64, 0),
            m("list", list, 192, 0),
            m("nums", nums, 256, 0),
            m("gone", int, 384, 0),
            m("kind", int, 416, 0),
        ],
    );
    (Btf::parse(b.finish(), None).unwrap(), root)
}

/// Another: `id` is wider, `a` and `b` are at the top level, everything has moved, `gone` is gone.
fn new() -> Btf {
    let mut b = BtfBuilder::new();
    b.struct_("decoy", 0, &[]);
    let int = b.int("int", 4, true);
    let u64_ = b.int("u64", 8, false);
    let list = b.struct_("list", 16, &[m("prev", u64_, 0, 0), m("next", u64_, 64, 0)]);
    let nums = b.array(u64_, 4);
    b.struct_(
        "thing",
        96,
        &[
            m("b", int, 0, 0),
            m("a", u64_, 64, 0),
            m("id", u64_, 128, 0),
            m("list", list, 192, 0),
            m("flag", int, 333, 6),
            m("nums", nums, 384, 0),
            m("kind", list, 640, 0),
        ],
    );
    Btf::parse(b.finish(), None).unwrap()
}

fn ask(path: &[u32], kind: CoreKind) -> Result<u64, CoreError> {
    let (local, root) = old();
    let reloc = CoreReloc { root: root.0, root_name: "struct thing".to_owned(), path: path.to_vec(), kind };
    resolve(&reloc, &local, &new())
}

#[test]
fn fields_move() {
    use CoreKind::*;
    assert_eq!(ask(&[0, 0], FieldByteOffset), Ok(16));
    assert_eq!(ask(&[0, 0], FieldByteSize), Ok(8));
    assert_eq!(ask(&[0, 0], FieldSigned), Ok(0));
    assert_eq!(ask(&[0, 2, 0], FieldByteOffset), Ok(8));
    assert_eq!(ask(&[0, 2, 1], FieldByteOffset), Ok(0));
    assert_eq!(ask(&[0, 3, 0], FieldByteOffset), Ok(32));
    assert_eq!(ask(&[0, 4, 2], FieldByteOffset), Ok(64));
    assert_eq!(ask(&[1, 0], FieldByteOffset), Ok(96 + 16));
    assert_eq!(ask(&[0], TypeSize), Ok(96));
    assert_eq!(ask(&[0, 0], FieldExists), Ok(1));
}

#[test]
fn bit_fields_give_load_and_shifts() {
    use CoreKind::*;
    // Bits 333 to 338 lie in the four bytes from 40 on: bits 13 to 18 of them.
    assert_eq!(ask(&[0, 1], FieldByteOffset), Ok(40));
    assert_eq!(ask(&[0, 1], FieldByteSize), Ok(4));
    assert_eq!(ask(&[0, 1], FieldLshiftU64), Ok(64 - 19));
    assert_eq!(ask(&[0, 1], FieldRshiftU64), Ok(64 - 6));
}

#[test]
fn a_bit_field_across_a_boundary_takes_a_wider_load() {
    let mut b = BtfBuilder::new();
    let char_ = b.int("char", 1, false);
    let s = b.struct_("s", 8, &[m("x", char_, 6, 4), m("far", char_, 60, 8)]);
    let btf = Btf::parse(b.finish(), None).unwrap();
    let x = access(&btf, &btf.find_member(s, "x").unwrap()).unwrap();
    assert_eq!((x.byte_offset, x.byte_size, x.left, x.right), (0, 2, 54, 60));
    assert_eq!(access(&btf, &btf.find_member(s, "far").unwrap()), None);
}

#[test]
fn a_field_that_starts_within_a_byte_is_not_read() {
    let mut b = BtfBuilder::new();
    let word = b.int("u64", 8, false);
    let root = b.struct_("damaged", 16, &[m("word", word, 3, 0)]);
    let btf = Btf::parse(b.finish(), None).unwrap();
    assert_eq!(access(&btf, &btf.find_member(root, "word").unwrap()), None);
}

#[test]
fn what_is_missing_is_named() {
    use CoreKind::*;
    let text = |path: &[u32], kind| ask(path, kind).unwrap_err().to_string();
    assert_eq!(text(&[0, 5], FieldByteOffset), "`struct thing` has no member `gone` on this kernel");
    assert_eq!(ask(&[0, 5], FieldExists), Ok(0));
    assert_eq!(
        text(&[0, 6], FieldByteOffset),
        "`kind` of `struct thing` is `struct list` on this kernel, not `int`"
    );
    assert!(text(&[0, 9], FieldByteOffset).contains("leads nowhere"));
    assert!(text(&[], FieldByteOffset).contains("leads nowhere"));
    assert!(text(&[0, 2], FieldByteOffset).contains("anonymous"));
    let (local, root) = old();
    let reloc = CoreReloc { root: root.0, root_name: "struct thing".into(), path: vec![0], kind: TypeSize };
    let empty = Btf::parse(BtfBuilder::new().finish(), None).unwrap();
    assert_eq!(resolve(&reloc, &local, &empty), Ok(0));
}

#[test]
fn types_of_one_name_must_agree() {
    let two = |second: u32| {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        b.struct_("thing", 8, &[m("id", int, 0, 0)]);
        b.struct_("thing", 8, &[m("id", int, second, 0)]);
        Btf::parse(b.finish(), None).unwrap()
    };
    let (local, root) = old();
    let field = local.find_member(root, "id").unwrap();
    let reloc = relocation(&local, &field, CoreKind::FieldByteOffset);
    assert_eq!(resolve(&reloc, &local, &two(0)), Ok(0));
    assert!(matches!(resolve(&reloc, &local, &two(32)), Err(CoreError::Ambiguous(_))));
}

#[test]
fn values_go_where_the_instruction_has_them() {
    let mut insns = vec![Insn::load(size::W, Reg::R0, Reg::R1, 0), Insn::alu64_imm(0, Reg::R0, 0)];
    insns.extend(Insn::ld_imm64(Reg::R2, 0, 0));
    apply(&mut insns, 0, 32).unwrap();
    apply(&mut insns, 1, 70_000).unwrap();
    apply(&mut insns, 2, 5 << 32 | 7).unwrap();
    assert_eq!((insns[0].off, insns[1].imm, insns[2].imm, insns[3].imm), (32, 70_000, 7, 5));
    assert!(matches!(apply(&mut insns, 0, 40_000), Err(CoreError::Range { insn: 0, .. })));
    assert!(apply(&mut insns, 9, 0).is_err());
}

#[test]
fn a_kernel_agrees_with_itself() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: no /sys/kernel/btf/vmlinux");
        return;
    };
    let btf = Btf::parse(bytes, None).unwrap();
    for (root, name) in [("task_struct", "comm"), ("sk_buff", "dev"), ("tcp_sock", "tcp_header_len")] {
        let root = btf.find(NameKind::Struct, root).unwrap();
        let field = btf.find_member(root, name).unwrap();
        let reloc = relocation(&btf, &field, CoreKind::FieldByteOffset);
        assert!(reloc.root_name.starts_with("struct "));
        assert_eq!(resolve(&reloc, &btf, &btf), Ok(field.byte_offset()), "{name}");
    }
}
