//! The network interfaces of skep's network namespace, from rtnetlink (`RTM_GETLINK`; include/uapi/linux/rtnetlink.h,
//! struct ifinfomsg, and if_link.h): nothing enters, names, indexes and kinds leave, by index.

use skep_bpf::target::Interface;

use crate::error::Error;
use crate::netlink::{self, Netlink, attributes, u32_at};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
/// Bytes of struct ifinfomsg.
const INFO: usize = 16;

/// All interfaces.
pub(crate) fn all() -> Result<Vec<Interface>, Error> {
    let failed = |errno| Error::os("list network interfaces", errno);
    let mut netlink = Netlink::open().map_err(failed)?;
    let answer = netlink.request(RTM_GETLINK, netlink::DUMP, &[0; INFO]).map_err(failed)?;
    let mut list: Vec<Interface> =
        answer.iter().filter(|m| m.kind == RTM_NEWLINK).filter_map(|m| interface(&m.body)).collect();
    list.sort_by_key(|i| i.index);
    Ok(list)
}

/// The index of an interface.
pub(crate) fn index(name: &str) -> Result<u32, Error> {
    let found = all()?.into_iter().find(|i| i.name == name);
    found.map(|i| i.index).ok_or_else(|| Error::Missing(format!("interface {name}")))
}

fn interface(body: &[u8]) -> Option<Interface> {
    let info = body.get(..INFO)?;
    let hardware = u32::from(u16::from_ne_bytes(info.get(2..4)?.try_into().ok()?));
    let mut found = Interface { name: String::new(), index: u32_at(info, 4), hardware, mtu: 0 };
    for (kind, value) in attributes(&body[INFO..]) {
        match kind {
            IFLA_IFNAME => {
                let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
                found.name = String::from_utf8_lossy(&value[..end]).into_owned();
            }
            IFLA_MTU => found.mtu = u32_at(value, 0),
            _ => {}
        }
    }
    (!found.name.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let all = all().unwrap();
        // ARPHRD_LOOPBACK
        assert!(all.iter().any(|i| i.name == "lo" && i.hardware == 772 && i.index > 0), "{all:?}");
    }

    #[test]
    fn short_messages_are_no_interfaces() {
        assert_eq!(interface(&[0; 15]), None);
        assert_eq!(interface(&[0; 16]), None);
    }
}
