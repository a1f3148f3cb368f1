//! Which program serves a port, and why: what an interface is enters, words for the user leave.

use super::machine::Machine;
use crate::error::Error;
use skep_kernel::device::{self, Device};

/// Kinds of hardware whose packets are bare IP (`ARPHRD_*`, include/uapi/linux/if_arp.h): PPP, raw IP, tunnels of IP in IP, of IPv6 in
/// IPv4, GRE, none (tun, WireGuard).
const BARE: [u32; 8] = [512, 519, 768, 769, 776, 778, 823, 0xfffe];
/// Why XDP does not run.
pub(super) const REFUSED: &str = "its driver runs no XDP programs, or not for its MTU and offloads";
pub(super) const TAGS: &str =
    "VLAN devices lie on it, and its card cannot be told to leave their tags in frames";

/// What became of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// Where its packets are forwarded, and why there.
    pub way: String,
}

/// Whether an interface can be a port at all.
pub(super) fn check(port: &Device) -> Result<(), Error> {
    let Device { name, hardware, mac, .. } = port;
    let name = name.escape_debug();
    match (port.is_ethernet(), BARE.contains(hardware)) {
        (true, _) if *mac != [0; 6] => Ok(()),
        (true, _) => Err(Error::Route(format!(
            "{name} has no Ethernet address: `ip link set {name} address …` gives it one"
        ))),
        (false, true) => Ok(()),
        (false, false) => Err(Error::Route(format!(
            "{name} is no port: it has hardware of kind {hardware} (ARPHRD), and ports carry Ethernet frames or bare IP (tun, WireGuard, tunnels)"
        ))),
    }
}

/// Why XDP is not tried on a port; `None`: it is. With `native` the user vouches for checksums.
pub(super) fn why_no_xdp(port: &Device, native: bool) -> Option<String> {
    if !port.is_ethernet() {
        return Some("its packets have no Ethernet header".to_owned());
    }
    if port.is_veth() && !native {
        return Some(
            "the other end of a veth pair leaves checksums undone; `--native` runs XDP all the same"
                .to_owned(),
        );
    }
    if !port.kind.is_empty() && device::runs_xdp(port.index) == Some(false) {
        return Some(format!("{} devices run no XDP programs", port.kind));
    }
    None
}

/// Where packets of a port are forwarded; `runs`: the interfaces on which the router's XDP program runs, `why_not` what is known of why it does not run here.
pub(super) fn way(machine: &Machine, port: &Device, runs: &[u32], why_not: Option<String>) -> String {
    let below = port.tag.map(|tag| tag.lower).filter(|lower| runs.contains(lower));
    match (runs.contains(&port.index), below) {
        (true, _) if machine.takes_frames(port) => "XDP, then TC".to_owned(),
        (true, _) => {
            "XDP, then TC; what goes out here by TC: its driver takes no frames from XDP programs".to_owned()
        }
        (false, Some(below)) => format!("XDP on {} by its tag, then TC", machine.name_of(below)),
        (false, None) => {
            let why = why_not.or_else(|| why_no_xdp(port, false)).unwrap_or_else(|| REFUSED.to_owned());
            format!("TC: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ethernet_or_bare_ip() {
        let port =
            |hardware: u32, mac: [u8; 6]| Device { name: "p".to_owned(), hardware, mac, ..Device::default() };
        assert!(check(&port(1, [2; 6])).is_ok() && check(&port(0xfffe, [0; 6])).is_ok());
        let why = |port: Device| check(&port).unwrap_err().to_string();
        assert!(why(port(1, [0; 6])).contains("has no Ethernet address"));
        assert!(why(port(772, [0; 6])).contains("hardware of kind 772"));
        assert!(
            why_no_xdp(&port(0xfffe, [0; 6]), true).is_some_and(|why| why.contains("no Ethernet header"))
        );
        let veth = Device { kind: "veth".to_owned(), ..port(1, [2; 6]) };
        assert!(why_no_xdp(&veth, false).is_some_and(|why| why.contains("`--native`")));
    }

    #[test]
    fn a_vlan_device_is_served_below() {
        let tag = Some(device::Tag { lower: 1, id: 100 });
        let lower =
            Device { name: "eth3".to_owned(), index: 1, hardware: 1, xdp: Some(7), ..Device::default() };
        let vlan = Device {
            name: "eth3.100".to_owned(),
            index: 2,
            hardware: 1,
            kind: "vlan".to_owned(),
            tag,
            ..Device::default()
        };
        let machine = Machine::made(vec![(lower.clone(), true), (vlan.clone(), false)], Vec::new(), 1);
        assert_eq!(way(&machine, &vlan, &[1], None), "XDP on eth3 by its tag, then TC");
        assert_eq!(way(&machine, &lower, &[1], None), "XDP, then TC");
        // A program there that is not the router's does not count.
        assert!(way(&machine, &vlan, &[], None).starts_with("TC: "));
        assert!(machine.has_vlans(&lower) && !machine.has_vlans(&vlan));
        let exit = machine.exit(2).unwrap().fast.unwrap();
        assert_eq!((exit.device, exit.tag), (1, 100));
    }
}
