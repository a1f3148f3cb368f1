//! Internet checksums (net/core/filter.c, include/net/checksum.h). Sums are over bytes as they lie in memory, so that they work
//! in either byte order.

use rustix::io::Errno;

use super::{Answer, Call, failed};

/// Bits of the flags that are the size of a field (BPF_F_HDR_FIELD_MASK).
const FIELD: u64 = 0xf;
const PSEUDO_HEADER: u64 = 1 << 4;
const MARK_MANGLED_0: u64 = 1 << 5;
const MARK_ENFORCE: u64 = 1 << 6;
const IPV6: u64 = 1 << 7;

/// Adds with carry into the low bit (csum_add).
fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

/// To 16 bits, not complemented.
fn from_32(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// csum_fold.
fn fold(sum: u32) -> u16 {
    !from_32(sum)
}

/// The sum of bytes, beginning with `sum` (csum_partial).
fn partial(bytes: &[u8], sum: u32) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let word = u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        add(sum, word.into())
    })
}

pub(super) fn csum_diff(call: &mut Call<'_>) -> Answer {
    let (from_len, to_len) = (call.arg32(2), call.arg32(4));
    if !from_len.is_multiple_of(4) || !to_len.is_multiple_of(4) {
        return Ok(failed(Errno::INVAL));
    }
    let from = call.sized_or_null("csum_diff", 1)?.unwrap_or_default();
    let to = call.sized_or_null("csum_diff", 3)?.unwrap_or_default();
    let seed = call.arg32(5);
    let sum = match (from_len > 0, to_len > 0) {
        (true, true) => add(partial(&to, seed), !partial(&from, 0)),
        (true, false) => !partial(&from, !seed),
        (false, true) => partial(&to, seed),
        (false, false) => seed,
    };
    // Since 6.13 all architectures fold (csum_from32to16).
    Ok(from_32(sum).into())
}

/// A checksum in a packet after a change (csum_replace2, csum_replace4, csum_replace_by_diff).
fn replaced(old: u16, size: u64, from: u64, to: u64) -> Option<u16> {
    let sum = u32::from(!old);
    Some(match size {
        0 => fold(add(to as u32, sum)),
        2 => fold(add(add(sum, u32::from(!(from as u16))), u32::from(to as u16))),
        4 => fold(add(add(sum, !(from as u32)), to as u32)),
        _ => return None,
    })
}

fn replace(call: &mut Call<'_>, name: &'static str, known: u64) -> Answer {
    let packet = call.packet(name)?;
    let [_, offset, from, to, flags] = call.args;
    let offset = offset as u32;
    let size = flags & FIELD;
    if flags & !known != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if offset > 0xffff || offset % 2 == 1 {
        return Ok(failed(Errno::FAULT));
    }
    let Some(bytes) = call.packet_bytes(&packet, offset, 2) else { return Ok(failed(Errno::FAULT)) };
    let old = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let mangled = flags & MARK_MANGLED_0 != 0;
    if mangled && flags & MARK_ENFORCE == 0 && old == 0 {
        return Ok(0);
    }
    if size == 0 && from != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let Some(new) = replaced(old, size, from, to) else { return Ok(failed(Errno::INVAL)) };
    let new = if mangled && new == 0 { 0xffff } else { new };
    call.put_packet_bytes(&packet, offset, &new.to_ne_bytes());
    Ok(0)
}

pub(super) fn l3_csum_replace(call: &mut Call<'_>) -> Answer {
    replace(call, "l3_csum_replace", FIELD)
}

pub(super) fn l4_csum_replace(call: &mut Call<'_>) -> Answer {
    replace(call, "l4_csum_replace", FIELD | PSEUDO_HEADER | MARK_MANGLED_0 | MARK_ENFORCE | IPV6)
}

/// Adds to the checksum of the whole packet, which only devices keep: packets of the machine have none.
pub(super) fn csum_update(call: &mut Call<'_>) -> Answer {
    call.packet("csum_update")?;
    Ok(failed(Errno::OPNOTSUPP))
}

pub(super) fn csum_level(call: &mut Call<'_>) -> Answer {
    call.packet("csum_level")?;
    // BPF_CSUM_LEVEL_QUERY of a packet that no device has checked is EACCES; the changes do nothing for such a one.
    Ok(match call.arg(2) {
        0 => failed(Errno::ACCESS),
        1..=3 => 0,
        _ => failed(Errno::INVAL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum of a header, from its bytes.
    fn whole(bytes: &[u8]) -> u16 {
        fold(partial(bytes, 0))
    }

    #[test]
    fn replacing_gives_what_summing_again_gives() {
        let mut header = [0x45, 0, 0, 60, 1, 2, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let set = |header: &mut [u8; 20], sum: u16| header[10..12].copy_from_slice(&sum.to_ne_bytes());
        let sum = whole(&header);
        set(&mut header, sum);
        assert_eq!(whole(&header), 0, "a header with its checksum sums to nothing");
        for (size, at) in [(2u64, 8usize), (4, 12)] {
            let (mut from, mut to) = ([0; 8], [0; 8]);
            let n = size as usize;
            from[..n].copy_from_slice(&header[at..at + n]);
            to[..n].copy_from_slice(&[63, 6, 7, 8][..n]);
            let old = u16::from_ne_bytes([header[10], header[11]]);
            header[at..at + n].copy_from_slice(&to[..n]);
            let new = replaced(old, size, u64::from_ne_bytes(from), u64::from_ne_bytes(to)).unwrap();
            set(&mut header, new);
            assert_eq!(whole(&header), 0, "{size} bytes");
        }
        let old = u16::from_ne_bytes([header[10], header[11]]);
        let difference = add(partial(&[9, 9, 9, 9], 0), !partial(&header[16..20], 0));
        header[16..20].fill(9);
        set(&mut header, replaced(old, 0, 0, difference.into()).unwrap());
        assert_eq!(whole(&header), 0);
        assert_eq!(replaced(0, 3, 0, 0), None);
    }
}
