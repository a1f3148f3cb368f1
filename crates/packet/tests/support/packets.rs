//! Packets of all link types, mostly well-formed, of few addresses and ports, so that filters find them; some are cut.

use super::random::Random;
use skep_packet::filter::link::LinkType;

pub const IPV4: [[u8; 4]; 5] =
    [[10, 0, 0, 1], [10, 0, 0, 2], [192, 168, 1, 77], [224, 0, 0, 5], [255, 255, 255, 255]];
pub const IPV6: [[u8; 16]; 3] = [
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
];
pub const MAC: [[u8; 6]; 4] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]];
pub const PORTS: [u16; 7] = [22, 53, 80, 443, 6081, 4789, 50000];
pub const VLANS: [u16; 3] = [5, 100, 0xfff];
pub const LABELS: [u32; 2] = [16, 1000];
pub const SESSIONS: [u16; 2] = [1, 0x27];
pub const VNIS: [u32; 2] = [7, 0x123456];

struct Writer<'a> {
    out: Vec<u8>,
    random: &'a mut Random,
}

impl Writer<'_> {
    fn put16(&mut self, value: u16) {
        self.out.extend(value.to_be_bytes());
    }

    fn put32(&mut self, value: u32) {
        self.out.extend(value.to_be_bytes());
    }

    fn noise(&mut self, most: usize) {
        for _ in 0..self.random.below(most + 1) {
            let byte = self.random.next() as u8;
            self.out.push(byte);
        }
    }

    fn ethernet(&mut self, depth: u32) {
        let (to, from) = (self.random.choose(&MAC), self.random.choose(&MAC));
        self.out.extend(to);
        self.out.extend(from);
        self.typed(depth);
    }

    /// An EtherType or an 802.3 length, and what it stands for.
    fn typed(&mut self, depth: u32) {
        match self.random.below(24) {
            0..=7 => {
                self.put16(0x0800);
                self.ipv4(depth);
            }
            8..=11 => {
                self.put16(0x86dd);
                self.ipv6(depth);
            }
            12..=14 if depth > 0 => {
                let kind = self.random.choose(&[0x8100u16, 0x8100, 0x88a8, 0x9100]);
                self.put16(kind);
                let tag = self.random.choose(&VLANS) | (self.random.below(16) as u16) << 12;
                self.put16(tag);
                self.typed(depth - 1);
            }
            15 | 16 if depth > 0 => {
                self.put16(0x8847);
                self.mpls(depth - 1);
            }
            17 | 18 if depth > 0 => self.pppoe(depth - 1),
            19 => {
                self.put16(self.random_arp());
                self.arp();
            }
            20 | 21 => self.llc(),
            _ => {
                let other = [
                    0x8863u16, 0x809b, 0x80f3, 0x6003, 0x6004, 0x6007, 0x6001, 0x6002, 0x8137, 0x9000, 0x88cc,
                ];
                let kind = self.random.choose(&other);
                self.put16(kind);
                self.noise(40);
            }
        }
    }

    fn random_arp(&self) -> u16 {
        if self.out.last().is_some_and(|b| b & 1 == 1) { 0x8035 } else { 0x0806 }
    }

    fn arp(&mut self) {
        self.out.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        for _ in 0..2 {
            let mac = self.random.choose(&MAC);
            self.out.extend(mac);
            let ip = self.random.choose(&IPV4);
            self.out.extend(ip);
        }
    }

    fn mpls(&mut self, depth: u32) {
        let labels = 1 + self.random.below(3);
        for i in 0..labels {
            let last = u32::from(i + 1 == labels);
            let label = self.random.choose(&LABELS) << 12 | last << 8 | 64;
            self.put32(label);
        }
        if self.random.one_in(3) { self.ipv6(depth) } else { self.ipv4(depth) }
    }

    fn pppoe(&mut self, depth: u32) {
        self.put16(0x8864);
        self.out.extend([0x11, 0]);
        let session = self.random.choose(&SESSIONS);
        self.put16(session);
        self.put16(40);
        match self.random.below(4) {
            0 => {
                self.put16(0x0057);
                self.ipv6(depth);
            }
            1 => {
                let other = self.random.choose(&[0xc021u16, 0x0281, 0x0029, 0x0031]);
                self.put16(other);
                self.mpls(depth);
            }
            _ => {
                self.put16(0x0021);
                self.ipv4(depth);
            }
        }
    }

    fn llc(&mut self) {
        let length = self.random.choose(&[46u16, 100, 1500]);
        self.put16(length);
        let sap = self.random.choose(&[0xfeu8, 0x42, 0xe0, 0xf0, 0x06, 0xaa, 0xff]);
        self.out.extend([sap, sap]);
        match sap {
            0xaa => {
                self.out.push(3);
                let snap: &[u8] = match self.random.below(4) {
                    0 => &[8, 0, 7, 0x80, 0x9b],
                    1 => &[0, 0, 0, 0x80, 0xf3],
                    2 => &[0, 0, 0, 0x81, 0x37],
                    _ => &[0, 0, 0, 8, 0],
                };
                self.out.extend(snap);
            }
            _ => {
                let control = self.random.choose(&[3u8, 0, 1, 5, 9, 0xe3, 0xaf, 0x63, 0x87]);
                self.out.push(control);
                let nlpid = self.random.choose(&[0x81u8, 0x82, 0x83, 0x83, 0x83]);
                self.out.extend([nlpid, 27, 1, 0]);
                let kind = self.random.choose(&[15u8, 16, 17, 18, 20, 24, 25, 26, 27]);
                self.out.push(kind);
            }
        }
        self.noise(30);
    }

    fn ipv4(&mut self, depth: u32) {
        let words = if self.random.one_in(4) { 5 + self.random.below(4) } else { 5 };
        let proto = self.random.choose(&[6u8, 6, 6, 17, 17, 17, 1, 132, 2, 103, 112, 50, 51, 9, 47, 4]);
        let fragment: u16 = match self.random.below(8) {
            0 => 0x2000,
            1 => 0x00b9,
            2 => 0x4000,
            _ => 0,
        };
        self.out.push(0x40 | words as u8);
        self.out.push(0);
        self.put16(60);
        self.put16(7);
        self.put16(fragment);
        self.out.extend([64, proto, 0, 0]);
        for _ in 0..2 {
            let ip = self.random.choose(&IPV4);
            self.out.extend(ip);
        }
        for _ in 5..words {
            self.put32(0x0101_0100);
        }
        self.transport(proto, depth);
    }

    fn ipv6(&mut self, depth: u32) {
        let proto = self.random.choose(&[6u8, 6, 17, 17, 58, 58, 132, 51, 50, 59, 103]);
        let extensions: &[u8] = match self.random.below(6) {
            0 => &[0],
            1 => &[44],
            2 => &[0, 60],
            3 => &[43, 44, 51],
            _ => &[],
        };
        self.put32(0x6000_0000);
        self.put16(40);
        let first = extensions.first().copied().unwrap_or(proto);
        self.out.extend([first, 64]);
        for _ in 0..2 {
            let ip = self.random.choose(&IPV6);
            self.out.extend(ip);
        }
        for i in 0..extensions.len() {
            let next = extensions.get(i + 1).copied().unwrap_or(proto);
            let more = if extensions[i] == 44 { 0 } else { self.random.below(2) as u8 };
            self.out.extend([next, more, 0, 0, 0, 0, 0, 0]);
            for _ in 0..more {
                self.out.extend([0; 8]);
            }
        }
        self.transport(proto, depth);
    }

    fn transport(&mut self, proto: u8, depth: u32) {
        match proto {
            6 | 17 | 132 => {
                let (from, to) = (self.random.choose(&PORTS), self.random.choose(&PORTS));
                self.put16(from);
                self.put16(to);
                if proto == 17 {
                    self.put16(50);
                    self.put16(0);
                    match to {
                        6081 if depth > 0 => self.geneve(depth - 1),
                        4789 if depth > 0 => {
                            self.put32(0x0800_0000);
                            let vni = self.random.choose(&VNIS);
                            self.put32(vni << 8);
                            self.ethernet(depth - 1);
                        }
                        _ => self.noise(30),
                    }
                    return;
                }
                self.put32(1);
                self.put32(2);
                let flags = self.random.choose(&[0x02u8, 0x10, 0x12, 0x18, 0x11, 0x04, 0xc2]);
                self.out.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
                self.noise(30);
            }
            1 | 58 => {
                let kind = self.random.choose(&[0u8, 3, 8, 11, 128, 129, 134, 135]);
                self.out.extend([kind, self.random_code(), 0, 0, 0, 1, 0, 1]);
                self.noise(20);
            }
            51 => {
                let next = self.random.choose(&[6u8, 17, 59, 51]);
                self.out.extend([next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
                self.noise(30);
            }
            4 if depth > 0 => self.ipv4(depth - 1),
            _ => self.noise(40),
        }
    }

    fn random_code(&self) -> u8 {
        self.out.len() as u8 & 3
    }

    fn geneve(&mut self, depth: u32) {
        let words = self.random.below(3) as u8;
        let version = if self.random.one_in(6) { 0x40 } else { 0 };
        self.out.extend([version | words, 0]);
        let bridged = !self.random.one_in(3);
        self.put16(if bridged { 0x6558 } else { 0x0800 });
        let vni = self.random.choose(&VNIS);
        self.put32(vni << 8);
        for _ in 0..words {
            self.put32(0xdead_beef);
        }
        if bridged { self.ethernet(depth) } else { self.ipv4(depth) }
    }
}

/// A packet.
pub fn packet(random: &mut Random, link: LinkType) -> Vec<u8> {
    let mut w = Writer { out: Vec::new(), random };
    match link {
        LinkType::Ethernet => w.ethernet(3),
        LinkType::Raw | LinkType::Ipv4 | LinkType::Ipv6 => {
            let v6 = match link {
                LinkType::Raw => w.random.one_in(3),
                _ => (link == LinkType::Ipv6) != w.random.one_in(8),
            };
            if v6 { w.ipv6(3) } else { w.ipv4(3) }
        }
        LinkType::Null | LinkType::Loop => {
            let family = w.random.choose(&[2u32, 2, 24, 28, 30, 10, 7]);
            let family = if w.random.one_in(2) { family.swap_bytes() } else { family };
            w.put32(family);
            if family == 2 || family == 2u32.swap_bytes() { w.ipv4(3) } else { w.ipv6(3) }
        }
        LinkType::Sll => {
            let kind = w.random.choose(&[0u16, 1, 2, 3, 4]);
            w.put16(kind);
            w.out.extend([0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            if w.random.one_in(5) {
                w.llc();
                let at = w.out.len().min(14);
                w.out[at..at + 2].copy_from_slice(&[0, 4]);
            } else {
                w.typed(3);
            }
        }
        LinkType::Sll2 => {
            let mut body = Writer { out: Vec::new(), random: w.random };
            body.typed(3);
            let body = body.out;
            w.out.extend(&body[..2]);
            w.put16(0);
            let index = w.random.choose(&[1u32, 2, 7]);
            w.put32(index);
            w.put16(1);
            let kind = w.random.choose(&[0u8, 1, 4]);
            w.out.extend([kind, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            w.out.extend(&body[2..]);
        }
    }
    let mut out = w.out;
    if random.one_in(4) {
        let keep = random.below(out.len() + 1);
        out.truncate(keep);
    }
    out
}
