//! Expressions from the grammar, weighted towards those that accept some packets and not others.

use super::packets::{LABELS, PORTS, SESSIONS, VLANS, VNIS};
use super::random::Random;

const PROTOS: &[&str] = &[
    "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "vrrp", "carp", "ah",
    "esp", "igrp", "iso", "esis", "isis", "clnp", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "stp",
    "ipx", "netbeui", "atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl",
];
const COMMON: &[&str] = &["ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp", "sctp"];
const HOSTS: &[&str] = &["10.0.0.1", "10.0.0.2", "192.168.1.77", "224.0.0.5", "10.0.0", "192.168"];
const NETS: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.0/31",
    "192.168",
    "10",
    "224.0.0.0/4",
    "0.0.0.0/0",
    "192.168.0.0 mask 255.255.0.0",
    "10.0.0.1/32",
];
const HOSTS6: &[&str] = &["2001:db8::1", "fe80::2", "ff02::1"];
const NETS6: &[&str] = &["2001:db8::/32", "fe80::/10", "ff00::/8", "::/0", "2001:db8::1/128"];
const MACS: &[&str] =
    &["02:00:00:00:00:01", "2:0:0:0:0:2", "ff:ff:ff:ff:ff:ff", "0200.0000.0001", "02-00-00-00-00-02"];
const DIRS: &[&str] = &["src ", "dst ", "src or dst ", "src and dst ", "", "", ""];
const RELOPS: &[&str] = &["=", "!=", ">", "<", ">=", "<=", "=="];

pub struct Generator<'a> {
    pub random: &'a mut Random,
}

impl Generator<'_> {
    pub fn expression(&mut self) -> String {
        let depth = 1 + self.random.below(3);
        self.chain(depth)
    }

    fn chain(&mut self, depth: usize) -> String {
        let mut out = self.operand(depth);
        let more = self.random.choose(&[0usize, 0, 1, 1, 2, 3]);
        for _ in 0..more {
            let join = self.random.pick(&["and", "or", "and", "or", "&&", "||"]);
            out = format!("{out} {join} {}", self.operand(depth));
        }
        out
    }

    fn operand(&mut self, depth: usize) -> String {
        match self.random.below(8) {
            0 => format!("not {}", self.operand(depth)),
            1 | 2 if depth > 1 => format!("({})", self.chain(depth - 1)),
            3 if self.random.one_in(12) => self.bare(),
            _ => self.primitive(),
        }
    }

    /// Something that takes the qualifiers of what stands before, or is a mistake.
    fn bare(&mut self) -> String {
        match self.random.below(4) {
            0 => self.port().to_string(),
            1 => self.random.pick(HOSTS).to_owned(),
            2 => format!("({} or {})", self.port(), self.port()),
            _ => format!("!{}", self.port()),
        }
    }

    fn port(&mut self) -> u16 {
        self.random.choose(&PORTS)
    }

    fn primitive(&mut self) -> String {
        match self.random.below(32) {
            0..=4 => self.random.pick(COMMON).to_owned(),
            5 => self.random.pick(PROTOS).to_owned(),
            6..=8 => self.ports(),
            9..=12 => self.hosts(),
            13 => self.ether(),
            14 | 15 => self.proto(),
            16..=19 => self.relation(),
            20..=23 => self.shift(),
            24 => self.odd(),
            25 => format!(
                "{} {}",
                self.random.pick(&["less", "greater"]),
                self.random.choose(&[20u32, 34, 60, 64, 90])
            ),
            26 => format!(
                "{}{}",
                self.random.pick(&["ip ", "ip6 ", "ether ", "", "link "]),
                self.random.pick(&["multicast", "broadcast"])
            ),
            27 => self.group(),
            28 => self.llc(),
            29 => self.flags(),
            _ => self.mistake(),
        }
    }

    fn ports(&mut self) -> String {
        let proto = self.random.pick(&["tcp ", "udp ", "sctp ", "", "", ""]);
        let dir = self.random.pick(DIRS);
        match self.random.below(8) {
            0 => format!("{proto}{dir}portrange {}-{}", self.port(), self.port()),
            1 => format!(
                "{proto}{dir}port {}",
                self.random.pick(&["ssh", "domain", "http", "https", "ntp", "ftp-data"])
            ),
            2 => format!(
                "{proto}{dir}portrange {}",
                self.random.pick(&["ssh-http", "22-domain", "80", "domain-443"])
            ),
            _ => format!("{proto}{dir}port {}", self.port()),
        }
    }

    fn hosts(&mut self) -> String {
        let dir = self.random.pick(DIRS);
        let proto = self.random.pick(&["ip ", "arp ", "rarp ", "", "", "", "", ""]);
        match self.random.below(8) {
            0..=2 => format!("{proto}{dir}host {}", self.random.pick(HOSTS)),
            3 | 4 => format!("{proto}{dir}net {}", self.random.pick(NETS)),
            5 => format!("{}{dir}host {}", self.random.pick(&["", "ip6 "]), self.random.pick(HOSTS6)),
            6 => format!("{}{dir}net {}", self.random.pick(&["", "ip6 "]), self.random.pick(NETS6)),
            _ => match dir {
                "" => format!("host {}", self.random.pick(HOSTS)),
                dir => format!("{dir}{}", self.random.pick(HOSTS)),
            },
        }
    }

    fn ether(&mut self) -> String {
        let dir = self.random.pick(DIRS);
        match self.random.below(3) {
            0 => format!("ether {dir}host {}", self.random.pick(MACS)),
            1 => format!("ether {} {}", self.random.pick(&["src", "dst"]), self.random.pick(MACS)),
            _ => format!(
                "ether proto {}",
                self.random.pick(&[
                    "\\ip", "\\arp", "0x86dd", "0x88cc", "\\ip6", "\\iso", "\\stp", "0xe0", "0x8100",
                    "34887", "loopback", "6"
                ])
            ),
        }
    }

    fn proto(&mut self) -> String {
        let over = self.random.pick(&["ip ", "ip6 ", ""]);
        let kind = if self.random.one_in(6) { "protochain" } else { "proto" };
        let what = self.random.pick(&[
            "\\tcp", "\\udp", "17", "6", "58", "\\icmp", "51", "44", "59", "sctp", "igmp", "47", "300", "4",
        ]);
        format!("{over}{kind} {what}")
    }

    fn shift(&mut self) -> String {
        match self.random.below(14) {
            0..=2 => "vlan".into(),
            3 | 4 => format!("vlan {}", self.random.choose(&VLANS)),
            5 | 6 => "mpls".into(),
            7 => format!("mpls {}", self.random.choose(&LABELS)),
            8 => "pppoes".into(),
            9 => format!("pppoes {}", self.random.choose(&SESSIONS)),
            10 => "pppoed".into(),
            11 => "geneve".into(),
            12 => format!("geneve {}", self.random.choose(&VNIS)),
            _ => self
                .random
                .pick(&["vlan 4096", "mpls 1048576", "pppoes 65536", "geneve 0x1000000", "vlan (5)"])
                .into(),
        }
    }

    fn relation(&mut self) -> String {
        let (a, op, b) = (self.arith(2), self.random.pick(RELOPS), self.arith(1));
        format!("{a} {op} {b}")
    }

    fn arith(&mut self, depth: usize) -> String {
        match self.random.below(12) {
            0 | 1 => {
                self.random.choose(&[0u32, 1, 2, 4, 5, 6, 8, 17, 20, 60, 0x40, 0x45, 255, 2048]).to_string()
            }
            2 => "len".into(),
            3 | 4 if depth > 0 => {
                let op = self.random.pick(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
                let (a, b) = (self.arith(depth - 1), self.arith(depth - 1));
                if self.random.one_in(3) { format!("({a} {op} {b})") } else { format!("{a} {op} {b}") }
            }
            5 if self.random.one_in(4) => format!("-{}", self.arith(0)),
            _ => self.byte(depth),
        }
    }

    fn byte(&mut self, depth: usize) -> String {
        let proto = self.random.pick(&[
            "ether", "ip", "ip", "ip6", "tcp", "tcp", "udp", "icmp", "icmp6", "arp", "sctp", "igmp", "link",
        ]);
        let index = if depth > 1 && self.random.one_in(8) {
            self.arith(1)
        } else {
            self.random.choose(&[0u32, 1, 2, 6, 8, 9, 12, 13, 14, 16, 20, 40]).to_string()
        };
        let size = self.random.pick(&["", "", ":1", ":2", ":4", ":2"]);
        format!("{proto}[{index}{size}]")
    }

    fn flags(&mut self) -> String {
        match self.random.below(4) {
            0 => "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0".into(),
            1 => format!("tcp[tcpflags] == tcp-{}", self.random.pick(&["syn", "ack", "fin", "rst"])),
            2 => format!(
                "icmp[icmptype] = icmp-{}",
                self.random.pick(&["echo", "echoreply", "unreach", "timxceed"])
            ),
            _ => format!(
                "icmp6[icmp6type] = icmp6-{}",
                self.random.pick(&["echo", "echoreply", "routeradvert", "neighborsolicit"])
            ),
        }
    }

    fn odd(&mut self) -> String {
        match self.random.below(5) {
            0 => "inbound".into(),
            1 => "outbound".into(),
            2 => format!("ifindex {}", self.random.choose(&[1u32, 2, 7])),
            3 => format!(
                "byte {} {} {}",
                self.random.below(24),
                self.random.pick(&["=", "<", ">"]),
                self.random.choose(&[0u32, 8, 64, 69])
            ),
            _ => format!(
                "decnet {}host {}",
                self.random.pick(&["", "src ", "dst "]),
                self.random.pick(&["10.15", "1.1"])
            ),
        }
    }

    fn group(&mut self) -> String {
        match self.random.below(4) {
            0 => format!("port ({} or {})", self.port(), self.port()),
            1 => format!(
                "{}host ({} or {})",
                self.random.pick(&["", "src ", "dst "]),
                self.random.pick(HOSTS),
                self.random.pick(HOSTS)
            ),
            2 => format!("port {} or {}", self.port(), self.port()),
            _ => format!("tcp port not {}", self.port()),
        }
    }

    fn llc(&mut self) -> String {
        format!(
            "llc {}",
            self.random.pick(&["", "i", "s", "u", "rr", "rnr", "ui", "xid", "test", "FRMR", "nonsense"])
        )
    }

    /// What libpcap refuses, mostly.
    fn mistake(&mut self) -> String {
        self.random
            .pick(&[
                "80",
                "tcp host 10.0.0.1",
                "ip6 host 10.0.0.1",
                "ip host ::1",
                "port 70000",
                "net 10.0.0.1/8",
                "host 10.0.0.256",
                "ether host 10.0.0.1",
                "ip[0:3] = 1",
                "1 / 0 = 1",
                "1 << 32 = 1",
                "5 / ip[0] = 1",
                "gateway gw",
                "gateway 10.0.0.1",
                "src proto 6",
                "tcp proto 6",
                "arp proto 6",
                "radio",
                "ether",
                "iso proto tcp",
                "portrange 80-70000",
                "udp port ssh",
                "host 10.0.0.1 and",
                "ip host",
                "fe80::/10",
                "net fe80::1/10",
                "ip6 net fe80::1",
                "host fe80::/10",
                "aarp host 10.0.0.1",
                "tcp[0",
                "len > ",
                "ether host 1:2:3:4:5",
                "vlan 5 6",
                "wlan addr1 02:00:00:00:00:01",
                "type data",
                "vpi 3",
                "1 % 0 = 1",
                "ip and arp",
                "len = 5 and len = 6",
                "ip proto 6 and ip proto 17",
                "arp and ip6",
                "host nohost.invalid",
                "\\tcp",
            ])
            .into()
    }
}
