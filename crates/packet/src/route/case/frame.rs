//! Frames as text: `10.0.1.2 > 10.1.2.3 ttl 9 udp 5 > 53 length 20`. Words enter, an Ethernet frame with right lengths and checksums
//! leaves.

use super::super::quoted;
use std::net::IpAddr;

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The text says what its Ethernet addresses are; else they are what was asked for.
    pub has_ethernet: bool,
}

/// A link address.
pub type Mac = [u8; 6];

/// What may stand in a text.
const FORM: &str = "hexadecimal digits, or `[eth MAC > MAC] [vlan N] ADDRESS > ADDRESS`, then any of `ttl N`, `tos N`, `df`, `mf`, `frag N`, `flow N`, \
                    one of `udp N > N`, `tcp N > N`, `icmp TYPE CODE`, `proto N`, and `length N` or `data HEX`";
/// Longest frame.
const LONGEST: usize = 65_535;

/// What the text says of a packet.
struct Packet {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    tos: u8,
    flow: u32,
    /// Flags and offset of fragments, as in the header.
    fragment: u16,
    transport: Transport,
    payload: Vec<u8>,
}

/// What the packet carries.
enum Transport {
    Udp(u16, u16),
    Tcp(u16, u16),
    Icmp(u8, u8),
    Other(u8),
}

/// `aa:bb:cc:dd:ee:ff`
pub fn mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let pairs = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
    (!digits.is_empty()).then(|| pairs.collect::<Option<Vec<u8>>>()).flatten()
}

/// The words that are left.
struct Words<'t>(std::iter::Peekable<std::str::SplitWhitespace<'t>>);

impl<'t> Words<'t> {
    fn next(&mut self, what: &str) -> Result<&'t str, String> {
        self.0.next().ok_or_else(|| format!("the text ends where {what} was expected"))
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("{} is not {what}", quoted(word)))
    }

    fn mac(&mut self) -> Result<Mac, String> {
        let word = self.next("a link address")?;
        mac(word).ok_or_else(|| format!("{} is no link address, such as `02:00:00:00:00:01`", quoted(word)))
    }

    fn arrow(&mut self) -> Result<(), String> {
        match self.next("`>`")? {
            ">" => Ok(()),
            word => Err(format!("{} was not expected: `>` was", quoted(word))),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        self.0.next_if_eq(&word).is_some()
    }

    fn pair<T: std::str::FromStr>(&mut self, what: &str) -> Result<(T, T), String> {
        let first = self.number(what)?;
        self.arrow()?;
        Ok((first, self.number(what)?))
    }
}

impl Frame {
    /// Reads a text; `ethernet` are the link addresses, from and to, where it names none.
    pub fn read(text: &str, ethernet: (Mac, Mac)) -> Result<Frame, String> {
        if let Some(bytes) = hex(text) {
            return match bytes.len() {
                14..=LONGEST => Ok(Frame { bytes, has_ethernet: true }),
                length => Err(format!("a frame has 14 to {LONGEST} bytes, this has {length}")),
            };
        }
        let mut words = Words(text.split_whitespace().peekable());
        let (mut from_to, mut has_ethernet) = (ethernet, false);
        if words.take("eth") {
            let from = words.mac()?;
            words.arrow()?;
            (from_to, has_ethernet) = ((from, words.mac()?), true);
        }
        let vlan: Option<u16> = words.take("vlan").then(|| words.number("a VLAN's number")).transpose()?;
        let packet = packet(&mut words)?;
        let ip = packet.bytes();
        let mut bytes = [from_to.1, from_to.0].concat();
        if let Some(vlan) = vlan {
            bytes.extend(0x8100u16.to_be_bytes());
            bytes.extend((vlan & 0xfff).to_be_bytes());
        }
        let kind: u16 = if packet.from.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend(kind.to_be_bytes());
        bytes.extend(ip);
        match bytes.len() {
            ..=LONGEST => Ok(Frame { bytes, has_ethernet }),
            length => Err(format!("a frame has at most {LONGEST} bytes, this has {length}")),
        }
    }
}

fn packet(words: &mut Words<'_>) -> Result<Packet, String> {
    let unknown = |word: &str| format!("{} was not expected: a packet is {FORM}", quoted(word));
    let first = words.next("an address")?;
    let from: IpAddr = first.parse().map_err(|_| unknown(first))?;
    words.arrow()?;
    let to: IpAddr = words.number("an address")?;
    if from.is_ipv4() != to.is_ipv4() {
        return Err(format!("{from} > {to}: both must be of IPv4, or both of IPv6"));
    }
    let mut packet = Packet {
        from,
        to,
        ttl: 64,
        tos: 0,
        flow: 0,
        fragment: 0,
        transport: Transport::Other(253),
        payload: Vec::new(),
    };
    while let Some(word) = words.0.next() {
        match word {
            "ttl" => packet.ttl = words.number("a time to live")?,
            "tos" => packet.tos = words.number("a type of service")?,
            "flow" => packet.flow = words.number("a flow label")?,
            "df" => packet.fragment |= 1 << 14,
            "mf" => packet.fragment |= 1 << 13,
            "frag" => packet.fragment |= words.number::<u16>("an offset in units of 8 bytes")? & 0x1fff,
            "udp" => packet.transport = words.pair("a port").map(|(a, b)| Transport::Udp(a, b))?,
            "tcp" => packet.transport = words.pair("a port").map(|(a, b)| Transport::Tcp(a, b))?,
            "icmp" => packet.transport = Transport::Icmp(words.number("a type")?, words.number("a code")?),
            "proto" => packet.transport = Transport::Other(words.number("a protocol's number")?),
            "length" => {
                let length: u16 = words.number("a number of bytes")?;
                packet.payload = (0..length).map(|n| n as u8).collect();
            }
            "data" => {
                let word = words.next("hexadecimal digits")?;
                packet.payload =
                    hex(word).ok_or_else(|| format!("{} are no hexadecimal digits", quoted(word)))?;
            }
            word => return Err(unknown(word)),
        }
    }
    Ok(packet)
}

/// The sum of 16-bit words in big-endian order, as checksums take it.
fn sum(bytes: &[u8]) -> u32 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b)));
    words.fold(0, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

fn checksum(sums: &[u32]) -> u16 {
    let all = sums.iter().fold(0, |all: u32, one| {
        let all = all + one;
        (all & 0xffff) + (all >> 16)
    });
    !(all as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

impl Packet {
    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Udp(..) => 17,
            Transport::Tcp(..) => 6,
            Transport::Icmp(..) if self.from.is_ipv4() => 1,
            Transport::Icmp(..) => 58,
            Transport::Other(protocol) => protocol,
        }
    }

    /// What follows the IP header.
    fn segment(&self) -> Vec<u8> {
        let length = self.payload.len();
        let (mut header, at): (Vec<u8>, usize) = match self.transport {
            Transport::Udp(from, to) => {
                let length = u16::try_from(length + 8).unwrap_or(u16::MAX);
                ([from, to, length, 0].iter().flat_map(|n| n.to_be_bytes()).collect(), 6)
            }
            Transport::Tcp(from, to) => {
                let mut header: Vec<u8> = [from, to].iter().flat_map(|n| n.to_be_bytes()).collect();
                // Sequence and acknowledgement 1; 20 bytes, ACK; a window.
                header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
                (header, 16)
            }
            Transport::Icmp(kind, code) => (vec![kind, code, 0, 0, 0, 1, 0, 1], 2),
            Transport::Other(_) => return self.payload.clone(),
        };
        header.extend(&self.payload);
        let ends = [octets(self.from), octets(self.to)].concat();
        let pseudo = match (&self.transport, self.from.is_ipv4()) {
            (Transport::Icmp(..), true) => 0,
            _ => checksum(&[sum(&ends), u32::from(self.protocol()), header.len() as u32]),
        };
        let whole = match pseudo {
            0 => checksum(&[sum(&header)]),
            pseudo => checksum(&[u32::from(!pseudo), sum(&header)]),
        };
        // A UDP checksum of zero would say that there is none.
        let whole = if whole == 0 && matches!(self.transport, Transport::Udp(..)) { 0xffff } else { whole };
        header[at..at + 2].copy_from_slice(&whole.to_be_bytes());
        header
    }

    /// From the IP header on.
    fn bytes(&self) -> Vec<u8> {
        // What follows the first fragment has no header of its own.
        let segment = if self.fragment & 0x1fff == 0 { self.segment() } else { self.payload.clone() };
        let length = |more: usize| u16::try_from(segment.len() + more).unwrap_or(u16::MAX).to_be_bytes();
        let ends = [octets(self.from), octets(self.to)].concat();
        let mut out = Vec::new();
        if self.from.is_ipv4() {
            out.extend([0x45, self.tos]);
            out.extend(length(20));
            out.extend([0, 1]);
            out.extend(self.fragment.to_be_bytes());
            out.extend([self.ttl, self.protocol(), 0, 0]);
            out.extend(ends);
            let whole = checksum(&[sum(&out)]);
            out[10..12].copy_from_slice(&whole.to_be_bytes());
        } else {
            out.extend((6 << 28 | u32::from(self.tos) << 20 | (self.flow & 0xf_ffff)).to_be_bytes());
            out.extend(length(0));
            out.extend([self.protocol(), self.ttl]);
            out.extend(ends);
        }
        out.extend(segment);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: (Mac, Mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

    fn frame(text: &str) -> Vec<u8> {
        Frame::read(text, ETHERNET).unwrap().bytes
    }

    #[test]
    fn checksums_are_right() {
        for text in [
            "10.0.1.2 > 10.1.2.3 ttl 9 udp 5 > 53 length 21",
            "10.0.1.2 > 10.1.2.3 tcp 5 > 53 length 20",
            "10.0.1.2 > 10.1.2.3 icmp 8 0",
        ] {
            let frame = frame(text);
            assert_eq!(sum(&frame[14..34]), 0xffff, "{text}");
            let segment = &frame[34..];
            let pseudo = if frame[23] == 1 {
                0
            } else {
                sum(&frame[26..34]) + u32::from(frame[23]) + segment.len() as u32
            };
            assert_eq!(checksum(&[pseudo, sum(segment)]), 0, "{text}");
            assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
        }
        let frame = frame("2001:db8::1 > 2001:db8::2 ttl 3 flow 7 icmp 128 0 data 616263");
        let segment = &frame[54..];
        assert_eq!(checksum(&[sum(&frame[22..54]) + 58 + segment.len() as u32, sum(segment)]), 0);
        assert_eq!((frame[17], frame[21], segment.len()), (7, 3, 11));
    }

    #[test]
    fn ethernet_and_hexadecimal() {
        let read =
            Frame::read("eth 02:00:00:00:00:0a > 02:00:00:00:00:0b vlan 5 1.2.3.4 > 5.6.7.8", ETHERNET)
                .unwrap();
        assert!(read.has_ethernet);
        assert_eq!(read.bytes[..20], [2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x81, 0, 0, 5, 8, 0, 0x45, 0]);
        assert_eq!(frame("0200 0000 0002 0200 0000 0001 0806 00").len(), 15);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, part) in [
            ("10.0.1.2", "`>`"),
            ("10.0.1.2 > x", "`x` is not an address"),
            ("10.0.1.2 > ::1", "both must be of IPv4"),
            ("nonsense", "`nonsense` was not expected: a packet is"),
            ("10.0.1.2 > 10.1.2.3 udp 5", "ends where `>` was expected"),
            ("10.0.1.2 > 10.1.2.3 ttl 300", "`300` is not a time to live"),
            ("0011", "14 to 65535 bytes, this has 2"),
            ("eth 1 > 2", "`1` is no link address"),
            ("10.0.1.2 > 10.1.2.3 length 65535", "at most 65535"),
        ] {
            let why = Frame::read(text, ETHERNET).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
