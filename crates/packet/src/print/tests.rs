//! Lines of frames that are built here.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const ETH: &str = "020000000002 020000000001";

/// The line of an Ethernet frame, its two addresses left out.
fn line(printer: &mut Printer, rest: &[u8]) -> String {
    let data = [hex(ETH), rest.to_vec()].concat();
    let packet = Shown {
        link: 1,
        time: 0,
        data: &data,
        len: data.len(),
        interface: "",
        direction: None,
        process: "",
        comment: None,
    };
    let mut out = String::new();
    printer.print(&packet, &mut out);
    assert_eq!(out.pop(), Some('\n'));
    out
}

fn plain() -> Printer {
    Printer::new(Style { stamp: Stamp::None, ..Style::default() }, Zone::utc())
}

fn of(rest: &str) -> String {
    line(&mut plain(), &hex(rest))
}

/// IPv4 from 10.0.0.1 to 10.0.0.2 with this protocol and body, EtherType in front.
fn ip4(proto: u8, body: &[u8]) -> Vec<u8> {
    let mut header = hex("0800 45000000 00014000 40000000 0a000001 0a000002");
    header[4..6].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
    header[11] = proto;
    [header, body.to_vec()].concat()
}

/// The same the other way.
fn back(proto: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = ip4(proto, body);
    packet[14..22].copy_from_slice(&hex("0a000002 0a000001"));
    packet
}

fn tcp(ports: &str, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex(ports);
    header.extend(seq.to_be_bytes());
    header.extend(ack.to_be_bytes());
    header.extend([0x50, flags, 2, 0, 0, 0, 0, 0]);
    [header, payload.to_vec()].concat()
}

#[test]
fn a_connection_counts_from_its_start() {
    let mut printer = plain();
    let (there, here) = ("9c40 0050", "0050 9c40");
    let mut say = |packet: Vec<u8>| line(&mut printer, &packet);
    assert_eq!(
        say(ip4(6, &tcp(there, 1000, 0, 2, b""))),
        "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1000, win 512, length 0"
    );
    assert_eq!(
        say(back(6, &tcp(here, 7000, 1001, 0x12, b""))),
        "IP 10.0.0.2.80 > 10.0.0.1.40000: Flags [S.], seq 7000, ack 1001, win 512, length 0"
    );
    assert_eq!(
        say(ip4(6, &tcp(there, 1001, 7001, 0x18, b"GET / HTTP/1.0\r\n\r\n"))),
        "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [P.], seq 1:19, ack 1, win 512, length 18: HTTP: GET / HTTP/1.0"
    );
    assert_eq!(
        say(back(6, &tcp(here, 7001, 1019, 0x11, b""))),
        "IP 10.0.0.2.80 > 10.0.0.1.40000: Flags [F.], seq 1, ack 19, win 512, length 0"
    );
    let mut absolute =
        Printer::new(Style { stamp: Stamp::None, absolute: true, ..Style::default() }, Zone::utc());
    let text = line(&mut absolute, &ip4(6, &tcp(there, 1001, 7001, 0x10, b"x")));
    assert!(text.contains("seq 1001:1002, ack 7001"), "{text}");
}

#[test]
fn options_of_tcp() {
    let mut segment = hex("9c40 0050 00000001 00000000 a0 02 faf0 0000 0000");
    segment.extend(hex("0204 05b4 0402 080a 00000064 00000000 01 030307"));
    let text = line(&mut plain(), &ip4(6, &segment));
    assert!(text.contains("options [mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7], length 0"), "{text}");
    segment.truncate(22);
    segment[12] = 0x60;
    segment.extend([9, 9]);
    segment[21] = 200;
    let text = line(&mut plain(), &ip4(6, &segment));
    assert!(text.contains("options [[bad opt 2]]"), "{text}");
}

#[test]
fn what_udp_carries() {
    let udp = |ports: &str, payload: &[u8]| {
        let mut header = hex(ports);
        header.extend(((payload.len() + 8) as u16).to_be_bytes());
        header.extend([0, 0]);
        line(&mut plain(), &ip4(17, &[header, payload.to_vec()].concat()))
    };
    assert_eq!(udp("1000 2000", b"abc"), "IP 10.0.0.1.4096 > 10.0.0.2.8192: UDP, length 3");
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    assert_eq!(udp("1000 0035", query), "IP 10.0.0.1.4096 > 10.0.0.2.53: 4660+ A? a. (19)");
    let mut ntp = [0u8; 48];
    ntp[0] = 0x23;
    assert_eq!(udp("1000 007b", &ntp), "IP 10.0.0.1.4096 > 10.0.0.2.123: NTPv4, Client, length 48");
    let mut dhcp = [0u8; 244];
    dhcp[0] = 1;
    dhcp[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    dhcp[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1]);
    assert_eq!(
        udp("0044 0043", &dhcp),
        "IP 10.0.0.1.68 > 10.0.0.2.67: BOOTP/DHCP, Request from 02:00:00:00:00:09, Discover, length 244"
    );
    let inner =
        [hex(ETH), hex("0806 0001 0800 0604 0001"), hex("020000000001 0a010001 000000000000 0a010002")];
    assert_eq!(
        udp("1000 12b5", &[hex("08000000 00002a00"), inner.concat()].concat()),
        "IP 10.0.0.1.4096 > 10.0.0.2.4789: VXLAN, flags [I] (0x08), vni 42: \
         ARP, Request who-has 10.1.0.2 tell 10.1.0.1, length 28"
    );
}

#[test]
fn icmp_and_what_it_is_about() {
    let echo = line(&mut plain(), &ip4(1, &hex("0800 0000 0007 0003 00")));
    assert_eq!(echo, "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 3, length 9");
    let about = [hex("0303 0000 00000000"), ip4(17, &hex("1000 829a 0008 0000"))[2..].to_vec()].concat();
    assert_eq!(
        line(&mut plain(), &ip4(1, &about)),
        "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 udp port 33434 unreachable, length 36"
    );
    let neighbor = "86dd 60000000 0020 3a ff fe80000000000000 0000000000000001 ff02000000000000 0000000000000002 \
                    8700 0000 00000000 fe80000000000000 0000000000000002 0101 020000000001";
    assert_eq!(
        of(neighbor),
        "IP6 fe80::1 > ff02::2: ICMP6, neighbor solicitation, who has fe80::2, length 32"
    );
}

#[test]
fn below_ip() {
    assert_eq!(
        of("8100 602a 0806 0001 0800 0604 0002 020000000001 0a000001 020000000002 0a000002"),
        "vlan 42, p 3, ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28"
    );
    let inner = &ip4(17, &hex("1000 2000 0009 0000 00"))[2..];
    let mpls = [hex("8847 00064 1 40"), inner.to_vec()].concat();
    assert_eq!(
        line(&mut plain(), &mpls),
        "MPLS (label 100, tc 0, [S], ttl 64) IP 10.0.0.1.4096 > 10.0.0.2.8192: UDP, length 1"
    );
    let pppoe = [hex("8864 1100 0011 001f 0021"), inner.to_vec()].concat();
    assert_eq!(
        line(&mut plain(), &pppoe),
        "PPPoE  [ses 0x11] IP 10.0.0.1.4096 > 10.0.0.2.8192: UDP, length 1"
    );
    let gre = line(&mut plain(), &ip4(47, &[hex("0000 0800"), inner.to_vec()].concat()));
    assert_eq!(
        gre,
        "IP 10.0.0.1 > 10.0.0.2: GREv0, length 33: IP 10.0.0.1.4096 > 10.0.0.2.8192: UDP, length 1"
    );
    assert_eq!(of("0026 4242 03 00"), "STP, length 38");
    assert_eq!(of("1234 00"), "ethertype 0x1234, length 1");
}

#[test]
fn fragments_and_cut_packets() {
    let mut later = ip4(17, b"rest");
    later[8..10].copy_from_slice(&[0x20, 0xb9]);
    assert_eq!(
        line(&mut plain(), &later),
        "IP 10.0.0.1 > 10.0.0.2: udp fragment, id 1, offset 1480+, length 4"
    );
    let cut = &ip4(6, &tcp("9c40 0050", 1, 0, 2, b""))[..30];
    let text = line(&mut plain(), cut);
    assert_eq!(text, "IP 10.0.0.1.40000 > 10.0.0.2.80: truncated-ip - 12 bytes missing!  [|tcp]");
}

#[test]
fn details_and_bytes() {
    let style = Style {
        stamp: Stamp::None,
        verbose: 1,
        link: true,
        dump: Dump::Hex { text: true, link: false },
        ..Style::default()
    };
    let text = line(&mut Printer::new(style, Zone::utc()), &ip4(17, &hex("1000 2000 0009 0000 41")));
    assert_eq!(
        text,
        "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4 (0x0800), length 43: (tos 0x0, ttl 64, id 1, \
         offset 0, flags [DF], proto UDP (17), length 29, bad cksum 0 (->26cd)!) 10.0.0.1.4096 > 10.0.0.2.8192: \
         [no cksum] UDP, length 1\n\
         \t0x0000:  4500 001d 0001 4000 4011 0000 0a00 0001  E.....@.@.......\n\
         \t0x0010:  0a00 0002 1000 2000 0009 0000 41         ...... .....A"
    );
}

#[test]
fn json_has_the_layers() {
    let data = [hex(ETH), ip4(17, &hex("1000 2000 0009 0000 41"))].concat();
    let packet = Shown {
        link: 1,
        time: 1_500_000_000_000_000_001,
        data: &data,
        len: 60,
        interface: "eth0\u{7f}",
        direction: Some(Direction::In),
        process: "curl 7",
        comment: Some("dropped"),
    };
    let mut out = String::new();
    plain().json(&packet, &mut out);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["interface"], "eth0\u{7f}");
    assert!(!out.contains('\u{7f}'), "{out:?}");
    assert_eq!(json["time"], "1500000000.000000001");
    assert_eq!((&json["process"], &json["comment"]), (&"curl 7".into(), &"dropped".into()));
    assert_eq!((&json["length"], &json["captured"]), (&60.into(), &43.into()));
    assert_eq!(json["layers"][1]["src"], "10.0.0.1");
    assert_eq!(json["layers"][2]["dport"], 8192);
    assert_eq!(json["payload"], 1);
}

#[test]
fn no_frame_is_too_strange() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let frames = [
        ip4(6, &tcp("9c40 0035", 1, 2, 0x18, &[0; 40])),
        ip4(6, &[tcp("9c40 01bb", 1, 2, 0x18, b""), app::tests::hello("x.example")].concat()),
        ip4(1, &[hex("0303 0000 00000000"), ip4(17, &hex("1000 829a 0008 0000"))[2..].to_vec()].concat()),
        ip4(
            17,
            &[hex("1000 0035 0020 0000"), hex("1234 8180 0001 0001 00000000 0161 00 0001 0001 c00c 0010")]
                .concat(),
        ),
    ];
    for round in 0..20_000 {
        let mut frame = frames[round % frames.len()].clone();
        for _ in 0..1 + round % 5 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = (seed >> 8) as usize % frame.len();
            frame[at] = seed as u8;
        }
        frame.truncate(1 + (seed >> 32) as usize % frame.len());
        let data = [hex(ETH), frame].concat();
        let style = Style { verbose: 2, link: true, dump: Dump::Text, ..Style::default() };
        for link in [0, 1, 101, 113, 276, 147] {
            let packet = Shown {
                link,
                time: 1,
                data: &data,
                len: data.len(),
                interface: "",
                direction: None,
                process: "",
                comment: None,
            };
            let mut printer = Printer::new(style, Zone::utc());
            let mut out = String::new();
            printer.print(&packet, &mut out);
            printer.json(&packet, &mut out);
            assert!(out.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)), "{out:?}");
        }
    }
}
