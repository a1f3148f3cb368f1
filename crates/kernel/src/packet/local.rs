//! Addresses of a network namespace: an address enters, whether packets to it come to sockets there leaves. The kernel's
//! routing says so, which knows whole blocks too (127.0.0.0/8).
//!
//! Layouts: include/uapi/linux/rtnetlink.h (rtmsg, `RTA_DST`, `RTN_*`).

use std::net::{IpAddr, Ipv6Addr};

use rustix::io::Errno;

use crate::error::Error;
use crate::netlink::{self, Netlink};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
/// Offset of the type in a rtmsg, and bytes of that.
const TYPE: usize = 7;
const RTMSG: usize = 12;
/// `RTN_LOCAL`, `RTN_BROADCAST`, `RTN_ANYCAST`, `RTN_MULTICAST`.
const RECEIVED: [u8; 4] = [2, 3, 4, 5];

/// Asks the kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct LocalAddresses {
    netlink: Netlink,
}

impl LocalAddresses {
    /// Of the calling thread's network namespace.
    pub fn open() -> Result<LocalAddresses, Error> {
        let netlink = Netlink::open().map_err(|errno| Error::os("ask for the machine's addresses", errno))?;
        Ok(LocalAddresses { netlink })
    }

    /// Whether packets to this address (IPv4 as ::ffff:a.b.c.d) come to sockets here. Broadcast and multicast addresses
    /// are such; of an address that nothing leads to it is not known, and the answer is no.
    pub fn contain(&mut self, address: Ipv6Addr) -> Result<bool, Error> {
        let address = address.to_canonical();
        if address.is_multicast() {
            return Ok(true);
        }
        match self.netlink.request(RTM_GETROUTE, 0, &question(address)) {
            Ok(messages) => Ok(messages.iter().any(|message| {
                message.kind == RTM_NEWROUTE && message.body.get(TYPE).is_some_and(|t| RECEIVED.contains(t))
            })),
            // What a route to nowhere answers, or none.
            Err(
                Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::INVAL
                | Errno::ACCESS
                | Errno::NOENT
                | Errno::SRCH,
            ) => Ok(false),
            Err(errno) => Err(Error::os(format!("ask for the route to {address}"), errno)),
        }
    }
}

fn question(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![0; RTMSG];
    body[0] = family as u8;
    body[1] = (octets.len() * 8) as u8;
    netlink::put(&mut body, RTA_DST, &octets);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        let mut addresses = LocalAddresses::open().unwrap();
        let mut contain = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            let mapped = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            addresses.contain(mapped).unwrap()
        };
        assert!(
            contain("127.0.0.1") && contain("127.1.2.3") && contain("224.0.0.251") && contain("ff02::fb")
        );
        assert!(!contain("192.0.2.77") && !contain("2001:db8::77"));
    }
}
