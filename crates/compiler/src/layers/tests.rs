//! The table's own consistency, decoding of frames, and that the code which finds layers holds the IR's invariants in
//! every mode.

use super::rows::{LAYERS, UNIONS};
use super::*;
use crate::ir::{Cc, FuncBuilder, FuncKind, Module, PtrKind, Type, check};

#[test]
fn rows_are_sound() {
    for (index, row) in LAYERS.iter().enumerate() {
        assert_eq!(row.id as usize, index, "{}", row.name);
        assert!(row.doc.ends_with('.') && !row.fields.is_empty(), "{}", row.name);
        for field in row.fields {
            let bits = match field.kind {
                FieldKind::Flag => 1..=1,
                FieldKind::Mac => 48..=48,
                FieldKind::Ip4 => 32..=32,
                FieldKind::Ip6 => 128..=128,
                FieldKind::Number => 1..=64,
                FieldKind::Bytes => 8..=2048,
            };
            assert!(bits.contains(&field.bits), "{}.{}", row.name, field.name);
        }
        for code in row.codes {
            let same = LAYERS.iter().filter(|other| other.codes.contains(code)).count();
            assert_eq!(same, 1, "{code:?}");
        }
        let mut names: Vec<&str> = row.fields.iter().map(|f| f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), row.fields.len(), "{}", row.name);
    }
    assert_eq!(LayerId::ALL.len(), LAYERS.len());
    for union in UNIONS {
        for (name, of, _) in union.fields {
            assert_eq!(of.len(), union.layers.len(), "{name}");
            for (layer, field) in union.layers.iter().zip(*of) {
                assert!(layer.row().field(field).is_some(), "{name}");
            }
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const MACS: &str = "020000000002 020000000001";
const IP4_UDP: &str = "45000030 00010000 40110000 0a000001 0a000002";

fn names(link: LinkType, text: &str) -> (Vec<&'static str>, Stop) {
    let decoded = decode(link, &hex(text));
    (decoded.layers.iter().map(|place| place.layer.row().name).collect(), decoded.stop)
}

#[test]
fn stacks_of_layers() {
    let eth = |rest: &str| names(LinkType::Ethernet, &format!("{MACS} {rest}")).0;
    let dns = "cafe0035 001c0000 1234 0100 0001 0000 0000 0000";
    assert_eq!(eth(&format!("0800 {IP4_UDP} {dns}")), ["eth", "ip4", "udp", "dns"]);
    assert_eq!(
        eth(&format!("88a8 0001 8100 0002 0800 {IP4_UDP} {dns}")),
        ["eth", "vlan", "vlan", "ip4", "udp", "dns"]
    );
    assert_eq!(
        eth(&format!("8847 00010040 00020140 {IP4_UDP} {dns}")),
        ["eth", "mpls", "mpls", "ip4", "udp", "dns"]
    );
    assert_eq!(
        eth(&format!("8864 1100 0001 0032 0021 {IP4_UDP} {dns}")),
        ["eth", "pppoe", "ip4", "udp", "dns"]
    );
    let vxlan = format!("0800 {IP4_UDP} 0001 12b5 0000 0000 08000000 00002a00 {MACS} 0800 {IP4_UDP} {dns}");
    assert_eq!(eth(&vxlan), ["eth", "ip4", "udp", "vxlan", "eth", "ip4", "udp", "dns"]);
    let ip6 = "86dd 60000000 0020 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002";
    assert_eq!(
        eth(&format!("{ip6} 2b00000000000000 0600000000000000 {}", tcp())),
        ["eth", "ip6", "ip6hop", "ip6route", "tcp"]
    );
    assert_eq!(names(LinkType::Raw, &format!("{IP4_UDP} {dns}")).0, ["ip4", "udp", "dns"]);
    assert_eq!(names(LinkType::Null, &format!("02000000 {IP4_UDP} {dns}")).0, ["null", "ip4", "udp", "dns"]);
    assert_eq!(names(LinkType::Loop, &format!("00000002 {IP4_UDP} {dns}")).0, ["null", "ip4", "udp", "dns"]);
    let sll = format!("0000 0001 0006 0200000000010000 0800 {IP4_UDP} {dns}");
    assert_eq!(names(LinkType::Sll, &sll).0, ["sll", "ip4", "udp", "dns"]);
}

fn tcp() -> &'static str {
    "0050 c000 00000001 00000002 8012 ffff 0000 0000 020405b4 01030307 01010402"
}

#[test]
fn what_ends_a_frame() {
    let eth = |rest: &str| names(LinkType::Ethernet, &format!("{MACS} {rest}"));
    assert_eq!(eth("0800 4500").1, Stop::Truncated(LayerId::Ip4));
    assert_eq!(eth("0800 42000030 00010000 40110000 0a000001 0a000002").1, Stop::Damaged(LayerId::Ip4));
    assert_eq!(eth("1234").1, Stop::Unknown { space: Space::EtherType, code: 0x1234 });
    let fragment = eth("0800 45000030 00010001 40110000 0a000001 0a000002 1122334455667788");
    assert_eq!(fragment, (vec!["eth", "ip4"], Stop::Guarded("not the first fragment")));
    let tags = "8100 0001 ".repeat(60);
    assert_eq!(eth(&format!("{tags} 0800")).1, Stop::TooDeep);
    assert_eq!(names(LinkType::Raw, "").1, Stop::Payload);
}

/// A program that asks for every layer, one after another: for its last field, and thereby for all of its header.
fn asks_for_all(make: impl Fn(&mut FuncBuilder) -> Mode, link: LinkType) -> Module {
    let mut f = FuncBuilder::new("main", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    let mode = make(&mut f);
    let ctx = f.param(0);
    let reader = Reader::new(&mut f, mode, ctx);
    let mut frame = Frame::new(reader, link);
    let sum = f.slot(8, 8, "sum");
    for depth in [Depth::Outer, Depth::Inner] {
        for row in LAYERS {
            for field in row.fields.iter().rev().filter(|f| f.bits <= 64).take(1) {
                let (missing, mark) = (f.block(&[]), frame.mark());
                let at = frame.find(&mut f, row.id, depth, 0, missing);
                let header = frame.header(&mut f, row, at, Some(field), missing);
                let value = header.field(&mut f, field);
                let to = f.slot_addr(sum);
                f.store(8, to, 0, value);
                f.jump(missing, &[]);
                f.switch_to(missing);
                frame.forget(mark);
            }
        }
        let missing = f.block(&[]);
        let at = frame.tcp_option(&mut f, depth, (2, 2), missing);
        frame.window(&mut f, at, 2, missing);
        let at = frame.payload(&mut f, depth, missing);
        frame.window(&mut f, at, 8, missing);
        let len = frame.reader().frame_len(&mut f);
        let zero = f.u64(0);
        f.branch(Cc::Eq, len, zero, missing, missing);
        f.switch_to(missing);
        frame.forget(Frame::new(*frame.reader(), link).mark());
    }
    let one = f.iconst(Type::I32, 1);
    f.ret(one);
    Module { funcs: vec![f.finish()], ..Module::default() }
}

#[test]
fn every_mode_gives_sound_code() {
    let xdp = |beyond| move |_: &mut FuncBuilder| Mode::Direct { context: Context::Xdp, beyond };
    let modules = [
        asks_for_all(xdp(false), LinkType::Ethernet),
        asks_for_all(xdp(true), LinkType::Ethernet),
        asks_for_all(|_| Mode::Load { context: Context::Skb }, LinkType::Raw),
        asks_for_all(
            |f| Mode::Probe {
                start: f.iconst(Type::Ptr(PtrKind::Kernel), 4096),
                len: f.u64(100),
                whole: f.u64(200),
            },
            LinkType::Ethernet,
        ),
        asks_for_all(
            |f| {
                let slot = f.slot(256, 8, "frame");
                Mode::Flat { start: f.slot_addr(slot), len: f.u64(200), whole: f.u64(300), capacity: 256 }
            },
            LinkType::Null,
        ),
    ];
    for mut module in modules {
        check(&module).unwrap_or_else(|errors| panic!("{}", errors[0]));
        crate::pipeline::optimize(&mut module, &mut crate::pipeline::PassOptions::default()).unwrap();
    }
}
