//! VLAN tags that a packet without its link's header may begin with: its first bytes and the protocol that the kernel named enter,
//! whether tags come first leaves.
//!
//! The kernel takes one tag off what it receives. A socket without link headers gets the rest, from the next tag on, and the
//! protocol behind all of them (`vlan_get_protocol_dgram` in net/packet/af_packet.c; 6.10 and stable kernels of 2024 on; those
//! before named the next tag). What is sent begins behind all tags, and names the same protocol. So only the bytes tell.

/// Bytes of a tag: its number and priority, and the EtherType of what follows.
pub(super) const VLAN_TAG: usize = 4;
/// EtherType of VLAN tags, where the kernel does not tell it.
pub(super) const VLAN: u16 = 0x8100;

/// EtherTypes of tags (`eth_type_vlan` in include/linux/if_vlan.h).
const TAGS: [u16; 2] = [VLAN, 0x88a8];
const IP4: u16 = 0x0800;
const IP6: u16 = 0x86dd;
/// As many tags as the kernel follows (`VLAN_MAX_DEPTH`).
const MOST: usize = 8;

/// Whether a packet of `len` bytes begins with a tag, `data` being those that are there and `protocol` what the kernel calls it.
pub(super) fn begins(data: &[u8], len: u32, protocol: u16) -> bool {
    let mut tags = (1..=MOST).map(|n| n * VLAN_TAG).map_while(|end| Some((end, half(data, end - 2)?)));
    let Some((end, kind)) = tags.find(|(_, kind)| !TAGS.contains(kind)) else { return false };
    if kind != protocol {
        return false;
    }
    // An IPv4 packet of 2,048 bytes has the same number there, and an IPv6 packet may have it in its flow label.
    let len = len as usize;
    let behind = data.get(end..).is_some_and(|data| is_packet(data, len.saturating_sub(end), protocol));
    behind || !is_packet(data, len, protocol)
}

/// Whether these are the first bytes of an IP packet in `len` bytes; false for other protocols.
fn is_packet(data: &[u8], len: usize, protocol: u16) -> bool {
    let long = |own: Option<u16>, more: usize| own.is_some_and(|own| usize::from(own) + more <= len);
    let version = data.first().map(|first| first >> 4);
    match protocol {
        IP4 => {
            let header = usize::from(data.first().unwrap_or(&0) & 15) * 4;
            version == Some(4)
                && header >= 20
                && long(half(data, 2), 0)
                && data.get(..header).is_none_or(|header| sum(header) == u16::MAX)
        }
        IP6 => version == Some(6) && long(half(data, 4), 40),
        _ => false,
    }
}

/// The Internet checksum's sum: all ones over a header that holds its checksum.
fn sum(header: &[u8]) -> u16 {
    let all: u32 = header.chunks(2).filter_map(|pair| half(pair, 0)).map(u32::from).sum();
    let folded = (all & 0xffff) + (all >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"\x45\0\0\x14\0\0\0\0\x40\x11\x66\xd7\x0a\0\0\x01\x0a\0\0\x02";

    fn tagged(tag: &[u8]) -> bool {
        let data = [tag, HEADER].concat();
        begins(&data, data.len() as u32, IP4)
    }

    #[test]
    fn tags_are_known_by_the_protocol_behind_them() {
        assert!(tagged(b"\0\x07\x08\0"));
        assert!(tagged(b"\0\x07\x88\xa8\0\x08\x81\0\0\x09\x08\0"));
        assert!(!tagged(b""));
        assert!(!tagged(b"\0\x07\x86\xdd"));
        for end in 0..4 {
            assert!(!begins(&b"\0\x07\x08\0"[..end], 24, IP4));
        }
        assert!(begins(b"\0\x07\x08\x06\0\x01", 32, 0x0806));
        assert!(!begins(&[0x81, 0].repeat(32), 64, IP4), "tags without an end");
    }

    #[test]
    fn a_tag_that_looks_like_ip_is_one() {
        // Priority 2: the first digit is 4.
        assert!(tagged(b"\x45\x07\x08\0"));
    }

    #[test]
    fn ip_whose_length_looks_like_a_protocol_is_ip() {
        let mut packet = HEADER.to_vec();
        packet[2..4].copy_from_slice(&[8, 0]);
        packet[10..12].copy_from_slice(&[0x5e, 0xeb]);
        packet.resize(2048, 0);
        assert_eq!(sum(&packet[..20]), u16::MAX);
        assert!(!begins(&packet, 2048, IP4));
        assert!(!begins(&packet[..60], 2048, IP4), "cut");
        let mut six = vec![0; 48];
        six[..8].copy_from_slice(&[0x60, 0, 0x86, 0xdd, 0, 8, 17, 64]);
        assert!(!begins(&six, 48, IP6));
        assert!(begins(&[&b"\x60\x07\x86\xdd"[..], &six].concat(), 52, IP6));
    }
}
