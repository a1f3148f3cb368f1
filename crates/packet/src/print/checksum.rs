//! The internet checksum (RFC 1071).

use super::ip::Net;

/// The sum of 16-bit words in network byte order, an odd byte last.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut total = u64::from(start);
    for pair in bytes.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        total += u64::from(u16::from_be_bytes(word));
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

/// The checksum that would be right where `told` stands and `found` comes out.
pub(super) fn right(found: u16, told: u16) -> u16 {
    let total = u32::from(!found) + u32::from(!told);
    !((total & 0xffff) + (total >> 16)) as u16
}

/// Over a header alone: 0 means that it is right.
pub(super) fn header(bytes: &[u8]) -> u16 {
    !(sum(bytes, 0) as u16)
}

/// Over a transport layer's bytes with the pseudo header: 0 means that it is right.
pub(super) fn transport(net: &Net, proto: u8, bytes: &[u8]) -> u16 {
    let addresses = match (net.src, net.dst) {
        (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) => sum(&dst.octets(), sum(&src.octets(), 0)),
        (std::net::IpAddr::V6(src), std::net::IpAddr::V6(dst)) => sum(&dst.octets(), sum(&src.octets(), 0)),
        _ => 0,
    };
    let len = bytes.len() as u32;
    let pseudo = addresses + u32::from(proto) + (len >> 16) + (len & 0xffff);
    !(sum(bytes, pseudo) as u16)
}
