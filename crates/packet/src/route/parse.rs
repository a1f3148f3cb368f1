//! Routes as they are written: `10.1.0.0/16 via 192.0.2.1 dev eth2`. Words enter, a route leaves or what is wrong with them.

use super::{Hop, Kind, Prefix, RouteError, Through, quoted};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the table has to know of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Most bytes of an IP packet.
    pub mtu: u32,
    /// Its own address.
    pub mac: [u8; 6],
    /// What takes frames for it from XDP programs.
    pub fast: Option<Through>,
}

/// The interfaces of the machine.
pub trait Links {
    /// By name.
    fn named(&self, name: &str) -> Option<Device>;
    /// The interface that has `address` in one of its own networks, among all or only `device`.
    fn on_link(&self, address: IpAddr, device: Option<u32>) -> Option<Device>;
}

/// Where packets go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The neighbour; without, the destination itself.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub device: Device,
    /// Share among several.
    pub weight: u16,
}

/// What becomes of the packets of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Gone.
    Drop,
    /// Gone, and their senders are told that there is no way.
    Unreachable,
    /// Left to the kernel.
    Pass,
    /// Left to the kernel: the machine's own.
    Local,
    /// Sent out of an interface as they are.
    Redirect(Device),
    /// Sent to one of several next hops, by flow.
    Forward(Vec<NextHop>),
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Destinations.
    pub prefix: Prefix,
    /// What becomes of them.
    pub target: Target,
}

/// Most next hops of a route.
const MOST_HOPS: usize = 32;
/// What may stand behind the destination.
const FORMS: &str = "`via ADDRESS [dev NAME] [weight N]` (also several), `dev NAME`, `redirect dev NAME`, `drop`, `unreachable` or `pass`";

impl Target {
    /// The next hops as the map holds them.
    pub fn hops(&self) -> Vec<Hop> {
        match self {
            Target::Drop => vec![Hop::plain(Kind::Drop)],
            Target::Unreachable => vec![Hop::plain(Kind::Unreachable)],
            Target::Pass => vec![Hop::plain(Kind::Pass)],
            Target::Local => vec![Hop::plain(Kind::Local)],
            Target::Redirect(device) => vec![hop(Kind::Redirect, device, None, 1)],
            Target::Forward(hops) => {
                hops.iter().map(|h| hop(Kind::Forward, &h.device, h.gateway, h.weight)).collect()
            }
        }
    }
}

fn hop(kind: Kind, device: &Device, gateway: Option<IpAddr>, weight: u16) -> Hop {
    let Device { index, mtu, mac, fast, .. } = *device;
    Hop { kind, device: index, mtu, gateway, mac, weight, fast, followed: false }
}

/// Reads a route.
pub fn parse(words: &[&str], links: &dyn Links) -> Result<Route, RouteError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(RouteError("a destination is missing, such as `10.0.0.0/8` or `default`".to_owned()));
    };
    let target = target(first, rest, links)?;
    let prefix = match *first {
        "default" => default_of(&target),
        text => text.parse()?,
    };
    if let Target::Forward(hops) = &target {
        let other = |h: &&NextHop| h.gateway.is_some_and(|g| g.is_ipv4() != prefix.address().is_ipv4());
        if let Some(NextHop { gateway: Some(gateway), .. }) = hops.iter().find(other) {
            return Err(RouteError(format!("{prefix} via {gateway}: both must be of IPv4, or both of IPv6")));
        }
    }
    Ok(Route { prefix, target })
}

/// The default route of the gateway's family.
fn default_of(target: &Target) -> Prefix {
    let six = matches!(target, Target::Forward(hops) if hops.iter().any(|h| h.gateway.is_some_and(|g| g.is_ipv6())));
    let any = if six { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    Prefix::around(any, 0)
}

fn target(prefix: &str, words: &[&str], links: &dyn Links) -> Result<Target, RouteError> {
    match words {
        ["drop"] => Ok(Target::Drop),
        ["unreachable"] => Ok(Target::Unreachable),
        ["pass"] => Ok(Target::Pass),
        ["redirect", "dev", name] => Ok(Target::Redirect(named(name, links)?)),
        ["dev", name] => {
            Ok(Target::Forward(vec![NextHop { gateway: None, device: named(name, links)?, weight: 1 }]))
        }
        ["via", ..] => gateways(words, links).map(Target::Forward),
        [] => Err(RouteError(format!("{} has no target: {FORMS} was expected", quoted(prefix)))),
        [word, ..] => Err(RouteError(format!(
            "{} was not expected behind {}: {FORMS} was",
            quoted(word),
            quoted(prefix)
        ))),
    }
}

fn named(name: &str, links: &dyn Links) -> Result<Device, RouteError> {
    links.named(name).ok_or_else(|| RouteError(format!("there is no interface {}", quoted(name))))
}

fn gateways(mut words: &[&str], links: &dyn Links) -> Result<Vec<NextHop>, RouteError> {
    let mut hops: Vec<NextHop> = Vec::new();
    while let [via, rest @ ..] = words {
        let [address, rest @ ..] = rest else {
            return Err(RouteError("behind `via` an address was expected".to_owned()));
        };
        if *via != "via" {
            return Err(RouteError(format!(
                "{} was not expected: `via`, `dev` or `weight` was",
                quoted(via)
            )));
        }
        let gateway: IpAddr = address.parse().map_err(|_| {
            RouteError(format!("{} is no address of a gateway, such as `192.0.2.1`", quoted(address)))
        })?;
        let (mut device, mut weight, mut left) = (None, 1, rest);
        loop {
            match left {
                ["dev", name, more @ ..] => (device, left) = (Some(named(name, links)?), more),
                ["weight", number, more @ ..] => {
                    weight = number.parse().ok().filter(|n| (1..=256).contains(n)).ok_or_else(|| {
                        RouteError(format!(
                            "{} is no weight: a number from 1 to 256 was expected",
                            quoted(number)
                        ))
                    })?;
                    left = more;
                }
                _ => break,
            }
        }
        hops.push(NextHop { gateway: Some(gateway), device: reach(gateway, device, links)?, weight });
        words = left;
    }
    if hops.len() > MOST_HOPS {
        return Err(RouteError(format!(
            "a route has at most {MOST_HOPS} next hops, this has {}",
            hops.len()
        )));
    }
    Ok(hops)
}

/// The interface that reaches a gateway.
fn reach(gateway: IpAddr, device: Option<Device>, links: &dyn Links) -> Result<Device, RouteError> {
    let link_local = matches!(gateway, IpAddr::V6(a) if a.is_unicast_link_local());
    match (&device, link_local) {
        (Some(device), true) => return Ok(device.clone()),
        (None, true) => {
            return Err(RouteError(format!(
                "{gateway} is there on every interface: say which with `dev NAME`"
            )));
        }
        _ => {}
    }
    links.on_link(gateway, device.as_ref().map(|d| d.index)).ok_or_else(|| {
        RouteError(match &device {
            Some(device) => format!(
                "{gateway} is in no network of {}: give the interface an address beside it",
                device.name
            ),
            None => format!("{gateway} is in no network of this machine's interfaces"),
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two interfaces, `a` with 10.0.1.0/24 and `b` with 10.0.2.0/24 and 2001:db8:2::/64.
    pub(crate) struct Two;

    pub(crate) fn device(name: &str, index: u32) -> Device {
        let fast = Some(Through { device: index, tag: 0 });
        Device { name: name.to_owned(), index, mtu: 1500, mac: [2, 0, 0, 0, 0, index as u8], fast }
    }

    impl Links for Two {
        fn named(&self, name: &str) -> Option<Device> {
            [device("a", 1), device("b", 2)].into_iter().find(|d| d.name == name)
        }

        fn on_link(&self, address: IpAddr, wanted: Option<u32>) -> Option<Device> {
            let networks = [
                ("10.0.1.0/24", device("a", 1)),
                ("10.0.2.0/24", device("b", 2)),
                ("2001:db8:2::/64", device("b", 2)),
            ];
            let fits = |(network, device): &(&str, Device)| {
                network.parse::<Prefix>().unwrap().contains(address)
                    && wanted.is_none_or(|w| w == device.index)
            };
            networks.into_iter().find(fits).map(|n| n.1)
        }
    }

    pub(crate) fn read(text: &str) -> Result<Route, RouteError> {
        parse(&text.split_whitespace().collect::<Vec<_>>(), &Two)
    }

    #[test]
    fn forms() {
        assert_eq!(read("10.0.0.0/8 drop").unwrap().target, Target::Drop);
        assert_eq!(read("default pass").unwrap().prefix.to_string(), "0.0.0.0/0");
        assert_eq!(read("default via 2001:db8:2::1").unwrap().prefix.to_string(), "::/0");
        let Target::Forward(hops) =
            read("10.9.0.0/16 via 10.0.1.1 weight 2 via 10.0.2.1 dev b").unwrap().target
        else {
            panic!("no next hops");
        };
        let seen: Vec<_> = hops.iter().map(|h| (h.device.name.as_str(), h.weight)).collect();
        assert_eq!(seen, [("a", 2), ("b", 1)]);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, part) in [
            ("", "destination is missing"),
            ("10.0.0.0/8", "has no target"),
            ("10.0.0.0/8 through x", "`through` was not expected"),
            ("10.0.0.0/8 dev c", "no interface `c`"),
            ("10.0.0.0/8 via 10.0.3.1", "in no network of this machine"),
            ("10.0.0.0/8 via 10.0.2.1 dev a", "in no network of a"),
            ("10.0.0.0/8 via 10.0.2.1 weight 0", "is no weight"),
            ("10.0.0.0/8 via 2001:db8:2::1", "both must be"),
            ("2001:db8::/32 via fe80::1", "say which with `dev NAME`"),
            ("10.0.0.0/8 via", "an address was expected"),
            ("10.0.0.0/8 via 10.0.2.1 metric 3", "`metric` was not expected"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
