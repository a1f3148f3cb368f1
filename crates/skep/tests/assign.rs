//! Every field that can be given a value, in every layer: the field has it afterwards, in the program too (whose bounds are proved
//! again), nothing else has changed but checksums, and those that were right are right. On XDP and TC, with pieces and without, in
//! the kernel (`BPF_PROG_TEST_RUN`) and in the offline machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

use std::sync::Arc;

use skep::Script;
use skep_bpf::kinds::ProgType;
use skep_compiler::layers::assign::is_assignable;
use skep_compiler::layers::rows::LAYERS;
use skep_compiler::layers::{Field, FieldKind, LayerId, LinkType, Place, Tier, decode};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Options, Vm};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::{LiveTarget, machine};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const MACS: &str = "020000000002 020000000001";
const IP6: &str = "20010db8000000000000000000000001 20010db8000000000000000000000002";

fn eth(kind: &str, rest: &[u8]) -> Vec<u8> {
    [hex(MACS), hex(kind), rest.to_vec()].concat()
}

fn ip4(proto: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = hex("45000000 00010000 40000000 0a000001 0a000002");
    header[2..4].copy_from_slice(&((20 + rest.len()) as u16).to_be_bytes());
    header[9] = proto;
    [header, rest.to_vec()].concat()
}

fn ip6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = hex(&format!("60000000 0000 00 40 {IP6}"));
    header[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    header[6] = next;
    [header, rest.to_vec()].concat()
}

fn udp(port: u16, rest: &[u8]) -> Vec<u8> {
    let ports = [40000, port, 8 + rest.len() as u16, 0].map(u16::to_be_bytes).concat();
    [ports, rest.to_vec()].concat()
}

fn tcp() -> Vec<u8> {
    hex("9c40 0050 00000064 000000c8 5010 03e8 0000 0000 68656c6c6f")
}

const VXLAN: &str = "08000000 00002a00";

/// Frames that have every layer among them; their checksums are made right, outer ones last.
fn frames() -> Vec<Vec<u8>> {
    let dns = hex("1234 0100 0001 0000 0000 0000 0161 0000 0100 01");
    let inner = |rest: &[u8]| udp(4789, &[hex(VXLAN), rest.to_vec()].concat());
    let extension = |next: u8, rest: &[u8]| [vec![next, 0, 0, 1, 1, 0, 0, 0], rest.to_vec()].concat();
    let geneve = [hex("0000 6558 00002b00"), eth("0800", &ip4(17, &udp(7, b"ab")))].concat();
    vec![
        eth("0800", &ip4(6, &tcp())),
        eth("86dd", &ip6(6, &tcp())),
        eth("0800", &ip4(17, &udp(9, b"abc"))),
        eth("86dd", &ip6(17, &udp(53, &dns))),
        eth("0800", &ip4(17, &udp(53, &dns))),
        eth("0800", &ip4(1, &hex("0800 0000 0001 0002 61626364"))),
        eth("86dd", &ip6(58, &hex("8700 0000 00000000 20010db8000000000000000000000009"))),
        eth("0800", &ip4(2, &hex("1600 0000 e00000fb"))),
        eth("8100", &[hex("a005 0800"), ip4(17, &udp(9, b"abc"))].concat()),
        eth("8847", &[hex("00010040 00020140"), ip4(17, &udp(9, b"abc"))].concat()),
        eth("8864", &[hex("1100 0027 0021 0021"), ip4(17, &udp(9, b"abc"))].concat()),
        eth("8863", &hex("1109 0000 0004 01010000")),
        eth("0806", &hex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002")),
        eth("86dd", &ip6(0, &extension(60, &extension(43, &extension(44, &extension(6, &tcp())))))),
        eth("86dd", &ip6(135, &extension(59, &[]))),
        eth("0800", &ip4(51, &[hex("11 04 0000 00001234 00000005"), vec![0; 12], udp(9, b"abc")].concat())),
        eth("0800", &ip4(50, &[hex("00001234 00000005"), vec![7; 24]].concat())),
        eth("0800", &ip4(47, &[hex("2000 0800 0000002a"), ip4(17, &udp(9, b"abc"))].concat())),
        eth("0800", &ip4(17, &inner(&eth("0800", &ip4(6, &tcp()))))),
        eth("86dd", &ip6(17, &inner(&eth("86dd", &ip6(17, &udp(53, &dns)))))),
        eth("0800", &ip4(17, &inner(&eth("0800", &ip4(17, &udp(9, b"abc")))))),
        eth("0800", &ip4(17, &inner(&eth("8100", &[hex("0005 86dd"), ip6(6, &tcp())].concat())))),
        eth("0800", &ip4(17, &udp(6081, &geneve))),
    ]
}

/// Where a layer's checksum lies in it.
fn checksum(layer: LayerId) -> Option<usize> {
    use LayerId::*;
    match layer {
        Ip4 => Some(10),
        Tcp => Some(16),
        Udp => Some(6),
        Icmp | Icmp6 | Igmp => Some(2),
        _ => None,
    }
}

/// The sum over what a layer's checksum is over, which is 0xffff where it is right. `places` are those of the packet.
fn sum(bytes: &[u8], places: &[Place], index: usize) -> u32 {
    let place = places[index];
    let network = places[..index].iter().rev().find(|p| matches!(p.layer, LayerId::Ip4 | LayerId::Ip6));
    let end = match (place.layer, network) {
        (LayerId::Ip4, _) => place.end,
        _ => bytes.len(),
    };
    let mut words = bytes[place.start..end].to_vec();
    if words.len() % 2 == 1 {
        words.push(0);
    }
    let number = match place.layer {
        LayerId::Tcp => 6,
        LayerId::Udp => 17,
        LayerId::Icmp6 => 58,
        _ => 0,
    };
    if let Some(network) = network.filter(|_| number != 0) {
        let addresses = if network.layer == LayerId::Ip4 { 12..20 } else { 8..40 };
        words.extend(&bytes[network.start..][addresses]);
        words.extend([0, number]);
        words.extend(((end - place.start) as u16).to_be_bytes());
    }
    let total: u32 = words.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (total & 0xffff) + (total >> 16);
    (folded & 0xffff) + (folded >> 16)
}

/// Makes all checksums right, but for those of UDP in tunnels on even turns: zero stands for none.
fn complete(bytes: &mut [u8], none_inside: bool) -> Vec<Place> {
    let places = decode(LinkType::Ethernet, bytes).layers.to_vec();
    for index in (0..places.len()).rev() {
        let place = places[index];
        let Some(at) = checksum(place.layer).map(|at| place.start + at) else { continue };
        bytes[at..at + 2].fill(0);
        let inside = places[..index].iter().any(|p| p.layer.row().tier == Tier::Tunnel);
        if inside && none_inside && place.layer == LayerId::Udp {
            continue;
        }
        let right = !(sum(bytes, &places, index) as u16);
        bytes[at..at + 2].copy_from_slice(&right.to_be_bytes());
    }
    places
}

/// One assignment.
struct Case {
    frame: Vec<u8>,
    places: Vec<Place>,
    index: usize,
    field: &'static Field,
    /// As a script says it.
    path: String,
    value: String,
    /// What the field's bits will be.
    wanted: u128,
}

fn bits(bytes: &[u8], place: Place, field: &Field) -> u128 {
    let bit = |at: u32| {
        let byte = bytes[place.start + (at / 8) as usize];
        u128::from(byte >> (7 - at % 8) & 1)
    };
    let first = u32::from(field.bit);
    (first..first + u32::from(field.bits)).fold(0, |value, at| value << 1 | bit(at))
}

/// The cases of one frame: each assignable field of each of its layers.
fn cases(frame: &[u8], places: &[Place]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let before = &places[..index];
        let inner = before.iter().any(|p| p.layer.row().tier == Tier::Tunnel);
        if before
            .iter()
            .rev()
            .take_while(|p| p.layer.row().tier != Tier::Tunnel)
            .any(|p| p.layer == place.layer)
        {
            continue;
        }
        let row = place.layer.row();
        let depth = if inner { "inner." } else { "" };
        for field in row.fields.iter().filter(|field| is_assignable(place.layer, field)) {
            let old = bits(frame, *place, field);
            let mask = u128::MAX >> (128 - u32::from(field.bits));
            let (value, wanted) = match field.kind {
                FieldKind::Flag => (if old == 0 { "true" } else { "false" }.to_owned(), old ^ 1),
                FieldKind::Number => ((!old & mask).to_string(), !old & mask),
                FieldKind::Ip4 => ("pton(\"192.168.7.9\")".to_owned(), 0xc0a8_0709),
                FieldKind::Ip6 => {
                    ("pton(\"2001:db8:7::99\")".to_owned(), 0x2001_0db8_0007_0000_0000_0000_0000_0099)
                }
                FieldKind::Mac => {
                    let other =
                        row.fields.iter().find(|f| f.kind == FieldKind::Mac && f.name != field.name).unwrap();
                    (format!("packet.{depth}{}.{}", row.name, other.name), bits(frame, *place, other))
                }
                FieldKind::Bytes => continue,
            };
            let path = format!("packet.{depth}{}.{}", row.name, field.name);
            let (frame, places) = (frame.to_vec(), places.to_vec());
            cases.push(Case { frame, places, index, field, path, value, wanted });
        }
    }
    cases
}

/// What must hold of the packet that a program left.
fn check(case: &Case, left: &[u8], about: &str) {
    let place = case.places[case.index];
    assert_eq!(bits(left, place, case.field), case.wanted, "{about}: {left:02x?}");
    let mut free = vec![false; case.frame.len()];
    let own = place.start * 8 + usize::from(case.field.bit);
    free[own / 8..(own + usize::from(case.field.bits)).div_ceil(8)].fill(true);
    for place in &case.places {
        if let Some(at) = checksum(place.layer).map(|at| place.start + at) {
            free[at..at + 2].fill(true);
        }
    }
    assert_eq!(left.len(), case.frame.len(), "{about}");
    let changed = |at: usize| left[at] != case.frame[at] && !free[at];
    assert!(!(0..left.len()).any(changed), "{about}: {:02x?} became {left:02x?}", case.frame);
    for (index, layer) in case.places.iter().enumerate() {
        let Some(at) = checksum(layer.layer) else { continue };
        let told = |bytes: &[u8]| u16::from_be_bytes([bytes[layer.start + at], bytes[layer.start + at + 1]]);
        let none = layer.layer == LayerId::Udp && told(&case.frame) == 0;
        if index == case.index && case.field.name == "checksum" {
            continue;
        }
        if none {
            assert_eq!(told(left), 0, "{about}: a sum where there was none");
        } else {
            let name = layer.layer.row().name;
            assert_eq!(sum(left, &case.places, index), 0xffff, "{about}: the sum of {name}: {left:02x?}");
        }
    }
}

/// The verdicts: the field has its value; another; there is no such field any more.
const SAME: [u32; 2] = [1, 2];
const GONE: [u32; 2] = [2, 0];

fn run(case: &Case, tc: bool, target: &Arc<LiveTarget>, kernel: bool) {
    let (probe, tail) = if tc { ("tc:lo:ingress", "drop") } else { ("xdp:lo", "drop") };
    let (path, value) = (&case.path, &case.value);
    let script = format!("{probe} {{ {path} = {value}; if ({path} == {value}) {{ {tail}(); }} pass(); }}");
    let object = match Script::inline(&script).compile_with(target.clone(), &|_| false, &mut |_, _| {}) {
        Ok(program) => program.object,
        Err(error) => panic!("{script}: {error}"),
    };
    // A field that names what follows, or what the layer is: it may not be found where it was.
    let here = case.places[case.index];
    let verdict = |left: &[u8]| {
        let found = decode(LinkType::Ethernet, left)
            .layers
            .iter()
            .any(|p| *p == here || p.start == here.start && p.layer == here.layer);
        if found { SAME[usize::from(tc)] } else { GONE[usize::from(tc)] }
    };
    let prog_type = if tc { ProgType::SchedCls } else { ProgType::Xdp };
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load(&object, None).unwrap_or_else(|e| panic!("{script}: {e}")).programs[0];
    let input = Input::packet(prog_type, &case.frame).unwrap();
    let outcome = vm.run(program, &input, Options::default());
    let outcome = outcome.unwrap_or_else(|e| panic!("{script}: {e}"));
    let (left, about) = (outcome.packet.unwrap(), format!("machine, {script}"));
    check(case, &left, &about);
    assert_eq!(outcome.result as u32, verdict(&left), "{about}: {left:02x?}");
    if kernel {
        let loaded = Loaded::load(&object, target.clone(), &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{script}: the kernel refuses: {}", e[0].error));
        let (returned, left) = loaded.run_packet(0, &case.frame).unwrap();
        let about = format!("kernel, {script}");
        check(case, &left, &about);
        assert_eq!(returned, verdict(&left), "{about}: {left:02x?}");
    }
}

#[test]
fn every_field_that_can_be_given_a_value() {
    let (kernel, target) = (machine::is_root(), Arc::new(LiveTarget::new()));
    let (mut all, mut seen) = (0, Vec::new());
    for mut frame in frames() {
        for none_inside in [false, true] {
            let places = complete(&mut frame, none_inside);
            let tunnel = places.iter().any(|place| place.layer.row().tier == Tier::Tunnel);
            if none_inside && !tunnel {
                continue;
            }
            for case in cases(&frame, &places) {
                // What an address is under depends on what stands before and behind it.
                let address = matches!(case.field.kind, FieldKind::Ip4 | FieldKind::Ip6);
                let around = if address { case.places.iter().map(|p| p.layer).collect() } else { Vec::new() };
                let key = (case.path.clone(), around, none_inside);
                if seen.contains(&key) {
                    continue;
                }
                seen.push(key);
                for tc in [false, true] {
                    run(&case, tc, &target, kernel);
                }
                all += 1;
            }
        }
    }
    let paths =
        |row: &skep_compiler::layers::Layer, field: &Field| format!("packet.{}.{}", row.name, field.name);
    for row in LAYERS.iter().filter(|row| !matches!(row.id, LayerId::Sll | LayerId::Sll2 | LayerId::Null)) {
        for field in row.fields.iter().filter(|field| is_assignable(row.id, field)) {
            assert!(
                seen.iter().any(|(path, ..)| *path == paths(row, field)),
                "{} is never changed",
                paths(row, field)
            );
        }
    }
    println!("{all} assignments{}", if kernel { "" } else { ", none in the kernel: not root" });
}

/// A script's verdict and the frame that it leaves, in the kernel and in the machine, which must agree.
fn both(script: &str, tc: bool, frame: &[u8]) -> (u32, Vec<u8>) {
    let object = Script::inline(script).compile().unwrap_or_else(|error| panic!("{script}: {error}")).object;
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load(&object, None).unwrap().programs[0];
    let input = Input::packet(if tc { ProgType::SchedCls } else { ProgType::Xdp }, frame).unwrap();
    let outcome = vm.run(program, &input, Options::default()).unwrap_or_else(|e| panic!("{script}: {e}"));
    let here = (outcome.result as u32, outcome.packet.unwrap());
    if machine::is_root() {
        let loaded = Loaded::load(&object, Arc::new(LiveTarget::new()), &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{script}: the kernel refuses: {}", e[0].error));
        assert_eq!(loaded.run_packet(0, frame).unwrap(), here, "{script}");
    }
    here
}

#[test]
fn tags_go_in_and_out_and_all_else_is_found_behind_them() {
    let mut frame = eth("0800", &ip4(6, &tcp()));
    complete(&mut frame, false);
    let tagged = |tag: &str| [&frame[..12], &hex(tag), &frame[12..]].concat();
    let in_frame = |script: &str| both(&format!("xdp:lo {{ {script} }}"), false, &frame);
    let seen = "packet.tcp.dport == 80 && packet.ip.src == pton(\"10.0.0.1\")";
    let (verdict, left) =
        in_frame(&format!("vlan_push(7); if (packet.vlan.id == 7 && {seen}) {{ drop(); }}"));
    assert_eq!((verdict, left), (SAME[0], tagged("8100 0007")));
    let twice =
        "vlan_push(7); vlan_push(9); if (packet.vlan[0].id == 9 && packet.vlan[1].id == 7) { drop(); }";
    assert_eq!(in_frame(twice), (SAME[0], tagged("8100 0009 8100 0007")));
    let around = format!("vlan_push(7); vlan_pop(); if (!packet.vlan && {seen}) {{ drop(); }}");
    assert_eq!(in_frame(&around), (SAME[0], frame.clone()));
    let changed = "vlan_push(7); packet.vlan.pcp = 5; packet.ip.ttl = 9; packet.tcp.dport = 81; \
        if (packet.vlan.pcp == 5 && packet.ip.ttl == 9 && packet.tcp.dport == 81) { drop(); }";
    let (verdict, left) = in_frame(changed);
    let places = decode(LinkType::Ethernet, &left).layers.to_vec();
    assert_eq!((verdict, &left[12..18]), (SAME[0], &hex("8100 a007 0800")[..]));
    assert!(
        places
            .iter()
            .enumerate()
            .all(|(i, p)| checksum(p.layer).is_none() || sum(&left, &places, i) == 0xffff)
    );
    // Where there is no tag, none is taken out, and the program ends.
    assert_eq!(in_frame("vlan_pop(); drop();"), (GONE[0], frame.clone()));
    let both_tags = tagged("88a8 0003 8100 0004");
    let (verdict, left) =
        both("xdp:lo { vlan_pop(); if (packet.vlan.id == 4) { drop(); } }", false, &both_tags);
    assert_eq!((verdict, left), (SAME[0], tagged("8100 0004")));
    // On TC the outermost tag lies beside the frame.
    let script =
        format!("tc:lo:ingress {{ vlan_push(7); if (packet.vlan.id == 7 && {seen}) {{ drop(); }} }}");
    assert_eq!(both(&script, true, &frame).0, SAME[1]);
    let script =
        format!("tc:lo:ingress {{ vlan_push(7); vlan_pop(); if (!packet.vlan && {seen}) {{ drop(); }} }}");
    assert_eq!(both(&script, true, &frame), (SAME[1], frame.clone()));
}

/// An outer IPv4 header as a tunnel gets it, and what it carries.
fn outer(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = hex("45000000 00004000 09000000 c0000201 c0000202");
    header[2..4].copy_from_slice(&((20 + rest.len()) as u16).to_be_bytes());
    header[9] = protocol;
    [header, rest.to_vec()].concat()
}

/// The frame within each tunnel: its name, the layer's test in the script, the frame.
fn tunnels(frame: &[u8]) -> [(&'static str, &'static str, Vec<u8>); 3] {
    let (kind, packet) = (&frame[12..14], &frame[14..]);
    let ip_in_ip = if kind == hex("0800") { 4 } else { 41 };
    let length = ((16 + frame.len()) as u16).to_be_bytes();
    let within = [&hex("e000 12b5"), &length[..], &hex("0000 08000000 00002a00"), frame].concat();
    let made = |protocol: u8, rest: &[u8]| {
        let mut made = eth("0800", &outer(protocol, rest));
        let right = !(sum(&made, &decode(LinkType::Ethernet, &made).layers, 1) as u16);
        made[24..26].copy_from_slice(&right.to_be_bytes());
        made
    };
    [
        ("ipip", "true", made(ip_in_ip, packet)),
        ("gre", "packet.gre", made(47, &[&hex("0000"), kind, packet].concat())),
        ("vxlan", "packet.vxlan.vni == 42", made(17, &within)),
    ]
}

#[test]
fn packets_go_into_tunnels_and_out_again() {
    let frames =
        [eth("0800", &ip4(6, &tcp())), eth("86dd", &ip6(6, &tcp())), eth("0800", &ip4(17, &udp(9, b"abc")))];
    for mut frame in frames {
        complete(&mut frame, false);
        for (name, layer, within) in tunnels(&frame) {
            for (tc, probe) in [(false, "xdp:lo"), (true, "tc:lo:ingress")] {
                let drop = SAME[usize::from(tc)];
                let vni = if name == "vxlan" { "packet.vxlan.vni = 42;" } else { "" };
                let into = format!(
                    "$from = packet.ip.src; tunnel_push(\"{name}\"); packet.ip4.src = pton(\"192.0.2.1\"); \
                     packet.ip4.dst = pton(\"192.0.2.2\"); packet.ip4.ttl = 9; {vni}"
                );
                let seen = format!(
                    "{layer} && packet.ip.dst == pton(\"192.0.2.2\") && packet.inner.ip.src == $from"
                );
                let script = format!("{probe} {{ {into} if ({seen}) {{ drop(); }} pass(); }}");
                assert_eq!(both(&script, tc, &frame), (drop, within.clone()), "{script}");
                let script = format!(
                    "{probe} {{ {into} packet.inner.ip.ttl -= 1; tunnel_pop(); packet.ip.ttl += 1; drop(); }}"
                );
                assert_eq!(both(&script, tc, &frame), (drop, frame.clone()), "{script}");
                let script = format!(
                    "{probe} {{ tunnel_pop(); if (!packet.inner.ip4 && packet.ip) {{ drop(); }} pass(); }}"
                );
                assert_eq!(both(&script, tc, &within), (drop, frame.clone()), "{script}");
            }
        }
    }
}

#[test]
fn tunnels_of_others_are_taken_off_and_what_is_in_none_stays() {
    let mut plain = eth("0800", &ip4(17, &udp(9, b"abc")));
    complete(&mut plain, false);
    let packet = &plain[14..];
    let other_macs = [&hex("020000000099 020000000098 0800"), packet].concat();
    let geneve = [hex("0100 6558 00002b00 00010001"), other_macs.clone()].concat();
    let long =
        [hex("47000000 00010000 40040000 0a000001 0a000002 01010101 01010100"), packet.to_vec()].concat();
    for (frame, left) in [
        (eth("0800", &ip4(47, &[&hex("2000 0800 0000002a"), packet].concat())), &plain),
        (eth("0800", &ip4(47, &[&hex("0000 6558"), other_macs.as_slice()].concat())), &other_macs),
        (eth("0800", &ip4(17, &udp(6081, &geneve))), &other_macs),
        (eth("86dd", &ip6(17, &udp(4789, &[hex(VXLAN), other_macs.clone()].concat()))), &other_macs),
        (eth("86dd", &ip6(4, packet)), &plain),
        (eth("0800", &long), &plain),
    ] {
        for (tc, probe) in [(false, "xdp:lo"), (true, "tc:lo:ingress")] {
            let script =
                format!("{probe} {{ tunnel_pop(); if (packet.udp.dport == 9) {{ drop(); }} pass(); }}");
            assert_eq!(
                both(&script, tc, &frame),
                (SAME[usize::from(tc)], left.clone()),
                "{script} {frame:02x?}"
            );
        }
    }
    let tagged = [&plain[..12], &hex("8100 0005")[..], &plain[12..]].concat();
    let arp = eth("0806", &hex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"));
    let inner_tag = [&hex("020000000099 020000000098 8100 0005 0800"), packet].concat();
    let bridged = eth("0800", &ip4(17, &udp(4789, &[hex(VXLAN), inner_tag].concat())));
    for (change, frame) in [
        ("tunnel_pop();", &plain),
        ("tunnel_pop();", &tagged),
        ("tunnel_pop();", &bridged),
        ("tunnel_push(\"gre\");", &tagged),
        ("tunnel_push(\"vxlan\");", &arp),
    ] {
        let script = format!("xdp:lo {{ {change} drop(); }}");
        assert_eq!(both(&script, false, frame), (GONE[0], frame.clone()), "{script} {frame:02x?}");
    }
}
