//! Values of fields, read from the bytes of a layer. What a header does not hold has no value.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::table::{Field, FieldKind, Layer};

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A number without sign.
    Number(u64),
    /// One bit.
    Flag(bool),
    /// A MAC address.
    Mac([u8; 6]),
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Field {
    /// The field's value in a layer that begins where `layer` does.
    pub fn value<'a>(&self, layer: &'a [u8]) -> Option<Value<'a>> {
        let bytes = layer.get(self.first_byte() as usize..self.end_byte() as usize)?;
        Some(match self.kind {
            FieldKind::Number => Value::Number(self.bits_of(bytes)),
            FieldKind::Flag => Value::Flag(self.bits_of(bytes) != 0),
            FieldKind::Mac => Value::Mac(bytes.try_into().ok()?),
            FieldKind::Ip4 => Value::Ip4(<[u8; 4]>::try_from(bytes).ok()?.into()),
            FieldKind::Ip6 => Value::Ip6(<[u8; 16]>::try_from(bytes).ok()?.into()),
            FieldKind::Bytes => Value::Bytes(bytes),
        })
    }

    /// The field's bits of the bytes that hold them, at most nine.
    fn bits_of(&self, bytes: &[u8]) -> u64 {
        let all = bytes.iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        let behind = self.end_byte() * 8 - u32::from(self.bit) - u32::from(self.bits);
        (all >> behind) as u64 & (u64::MAX >> (64 - u32::from(self.bits.clamp(1, 64))))
    }
}

impl Layer {
    /// The number in the field of that name; 0 for a field that is not there.
    pub fn number(&self, name: &str, layer: &[u8]) -> u64 {
        match self.field(name).and_then(|field| field.value(layer)) {
            Some(Value::Number(number)) => number,
            Some(Value::Flag(set)) => u64::from(set),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LayerId;
    use super::*;

    #[test]
    fn bits_are_cut_out() {
        let vlan = [0b1011_0001u8, 0x23, 0x08, 0x00];
        let row = LayerId::Vlan.row();
        assert_eq!(row.number("pcp", &vlan), 5);
        assert_eq!(row.field("dei").unwrap().value(&vlan), Some(Value::Flag(true)));
        assert_eq!((row.number("id", &vlan), row.number("proto", &vlan)), (0x123, 0x800));
        let vxlan = [8, 0, 0, 0, 1, 2, 3, 0];
        assert_eq!(LayerId::Vxlan.row().number("vni", &vxlan), 0x1_0203);
        assert_eq!(LayerId::Vxlan.row().field("vni").unwrap().value(&vxlan[..6]), None);
    }

    #[test]
    fn addresses() {
        let mut ip = [0u8; 20];
        ip[12..16].copy_from_slice(&[10, 0, 0, 1]);
        let src = LayerId::Ip4.row().field("src").unwrap().value(&ip);
        assert_eq!(src, Some(Value::Ip4(Ipv4Addr::new(10, 0, 0, 1))));
        let eth = [1, 2, 3, 4, 5, 6];
        assert_eq!(LayerId::Eth.row().field("dst").unwrap().value(&eth), Some(Value::Mac(eth)));
    }
}
