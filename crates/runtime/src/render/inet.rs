//! IP and MAC addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

/// AF_INET and AF_INET6 (include/linux/socket.h, Linux 6.18).
const IPV4: u32 = 2;
const IPV6: u32 = 10;

/// The address as inet_ntop(3) writes it; empty for another family.
pub(super) fn address(family: u32, bytes: &[u8; 16]) -> String {
    match family {
        IPV4 => {
            let [a, b, c, d, ..] = *bytes;
            Ipv4Addr::new(a, b, c, d).to_string()
        }
        IPV6 => {
            let address = Ipv6Addr::from(*bytes);
            match address.segments() {
                // An IPv4-compatible address, which inet_ntop(3) still writes with dots.
                [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                    let [.., a, b, c, d] = *bytes;
                    format!("::{}", Ipv4Addr::new(a, b, c, d))
                }
                _ => address.to_string(),
            }
        }
        _ => String::new(),
    }
}

/// Six bytes in capital hexadecimal digits with colons between.
pub(super) fn mac(bytes: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{f:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are those of glibc 2.36's inet_ntop(3).
    #[test]
    fn addresses_as_inet_ntop() {
        let six = |text: &str| address(IPV6, &text.parse::<Ipv6Addr>().unwrap().octets());
        for text in
            ["::", "::1", "1:0:0:2::3", "fe80::1", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8", "1:0:2:3:4:5:6:7"]
        {
            assert_eq!(six(text), text);
        }
        assert_eq!(six("::1:2"), "::0.1.0.2");
        let mut four = [0u8; 16];
        four[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(IPV4, &four), "127.0.0.1");
        assert_eq!(address(7, &four), "");
        assert_eq!(mac(&[1, 2, 0xab, 0xcd, 0xef, 0xff]), "01:02:AB:CD:EF:FF");
    }
}
