//! Blocks of addresses: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`. No bit behind the length is set.

use super::{RouteError, quoted};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Bits of an address.
#[inline]
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits behind `length` cleared.
#[inline]
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
        }
    }
}

impl Prefix {
    /// The block of `length` bits that `address` begins.
    pub fn new(address: IpAddr, length: u8) -> Result<Prefix, RouteError> {
        if length > width(address) {
            let most = width(address);
            return Err(RouteError(format!(
                "{address}/{length}: a length of at most {most} bits was expected"
            )));
        }
        let start = masked(address, length);
        if start != address {
            return Err(RouteError(format!(
                "{address}/{length} has bits behind its length: `{start}/{length}` is the block, `{address}` the one address"
            )));
        }
        Ok(Prefix { address, length })
    }

    /// The block of `length` bits that `address` lies in; of the whole address if it has no more bits.
    #[inline]
    pub fn around(address: IpAddr, length: u8) -> Prefix {
        let length = length.min(width(address));
        Prefix { address: masked(address, length), length }
    }

    /// The first address.
    #[inline]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits that all of its addresses share.
    #[inline]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Prefixes in their order, each with what came with it. Words are sorted, which is faster than comparing prefixes.
    pub fn in_order<T: Copy + Ord>(prefixes: impl IntoIterator<Item = (Prefix, T)>) -> Vec<(Prefix, T)> {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (prefix, with) in prefixes {
            match prefix.address {
                IpAddr::V4(a) => four.push((u64::from(a.to_bits()) << 8 | u64::from(prefix.length), with)),
                IpAddr::V6(a) => six.push((a.to_bits(), prefix.length, with)),
            }
        }
        four.sort_unstable();
        six.sort_unstable();
        let of_four = |(word, with): (u64, T)| {
            (Prefix { address: Ipv4Addr::from_bits((word >> 8) as u32).into(), length: word as u8 }, with)
        };
        let of_six = |(bits, length, with): (u128, u8, T)| {
            (Prefix { address: Ipv6Addr::from_bits(bits).into(), length }, with)
        };
        four.into_iter().map(of_four).chain(six.into_iter().map(of_six)).collect()
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }
}

impl Hash for Prefix {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self.address {
            IpAddr::V4(a) => hasher.write_u64(u64::from(a.to_bits()) << 8 | u64::from(self.length)),
            IpAddr::V6(a) => {
                hasher.write_u64((a.to_bits() >> 64) as u64);
                hasher.write_u64(a.to_bits() as u64 ^ u64::from(self.length) << 56);
            }
        }
    }
}

/// A block of IPv4 as it is mostly written, which is read faster so; `None`: it is written otherwise, or wrong.
fn block_of_four(text: &[u8]) -> Option<Prefix> {
    let (mut words, mut word, mut digits) = (0u64, 0u32, 0);
    let mut parts = 0;
    for byte in text {
        match byte {
            // No zero leads a number.
            b'0'..=b'9' if digits < 3 && (digits == 0 || word != 0) => {
                word = word * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' | b'/' if digits > 0 && word < 256 && (*byte == b'/') == (parts == 3) => {
                words = words << 8 | u64::from(word);
                (word, digits, parts) = (0, 0, parts + 1);
            }
            _ => return None,
        }
    }
    let length = u8::try_from(word).ok().filter(|length| digits > 0 && parts == 4 && *length <= 32)?;
    let address = IpAddr::V4(Ipv4Addr::from_bits(words as u32));
    (masked(address, length) == address).then_some(Prefix { address, length })
}

impl FromStr for Prefix {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Prefix, RouteError> {
        if let Some(prefix) = block_of_four(text.as_bytes()) {
            return Ok(prefix);
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let expected = "an address or a block of them was expected, such as `10.0.0.0/8` or `2001:db8::/32`";
        let address: IpAddr = address
            .parse()
            .map_err(|_| RouteError(format!("{} is no destination: {expected}", quoted(text))))?;
        let length = match length {
            None => width(address),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .map_err(|_| RouteError(format!("{} is no destination: {expected}", quoted(text))))?,
            Some(_) => return Err(RouteError(format!("{} is no destination: {expected}", quoted(text)))),
        };
        Prefix::new(address, length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length == width(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "192.0.2.1", "2001:db8::/32", "2001:db8::1"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_ones_say_what_was_expected() {
        for (text, part) in [
            ("10.0.0.1/8", "`10.0.0.0/8` is the block"),
            ("10.0.0.0/33", "at most 32"),
            ("10.0.0/8", "was expected"),
            ("10.0.0.0/+8", "was expected"),
            ("10.0.0.0/", "was expected"),
            ("\u{1b}[2J", "\\u{1b}"),
        ] {
            let error = text.parse::<Prefix>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_fast_way_reads_what_the_other_does() {
        for text in
            ["0.0.0.0/0", "10.0.0.0/8", "255.255.255.255/32", "192.0.2.0/24", "1.2.3.4/32", "10.20.128.0/17"]
        {
            let (address, length) = text.split_once('/').unwrap();
            let wanted = Prefix::new(address.parse().unwrap(), length.parse().unwrap());
            assert_eq!(block_of_four(text.as_bytes()), wanted.ok(), "{text}");
        }
        for text in [
            "",
            "/",
            "1.2.3.4",
            "1.2.3.4/",
            "1.2.3/24",
            "1.2.3.0.0/24",
            "1.2.3.4/24",
            "01.2.3.0/24",
            "1.2.3.0/024",
            "00.0.0.0/8",
            "1.2.3.256/32",
            "1.2.3.0/33",
            "1.2.3.0/256",
            "1..3.0/24",
            "1.2.3.0/24/1",
            " 1.2.3.0/24",
            "1.2.3.0/2a",
            "1000.0.0.0/8",
            "::/0",
            "1/2.3.0.0",
            "1.2.3./24",
        ] {
            assert_eq!(block_of_four(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn order_is_that_of_prefixes() {
        let all =
            ["::/0", "10.1.0.0/16", "2001:db8::/32", "10.0.0.0/8", "10.1.0.0/24", "2001:db8::/48", "9.9.9.9"];
        let all: Vec<Prefix> = all.iter().map(|text| text.parse().unwrap()).collect();
        let mut sorted = all.clone();
        sorted.sort();
        let ordered = Prefix::in_order(all.iter().copied().zip(0..));
        assert!(ordered.iter().all(|(prefix, place)| all[*place] == *prefix));
        assert_eq!(ordered.into_iter().map(|o| o.0).collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn blocks_contain_their_addresses() {
        let block: Prefix = "10.1.0.0/16".parse().unwrap();
        assert!(block.contains("10.1.255.255".parse().unwrap()));
        assert!(!block.contains("10.2.0.0".parse().unwrap()));
        assert!(!block.contains("::".parse().unwrap()));
        assert_eq!(Prefix::around("10.1.2.3".parse().unwrap(), 24).to_string(), "10.1.2.0/24");
    }
}
