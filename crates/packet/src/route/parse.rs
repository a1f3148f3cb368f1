//! Routes as they are written: `10.1.0.0/16 via 192.0.2.1 dev eth2`. Words enter, a route leaves or what is wrong with them.

use super::{Hop, Kind, Prefix, RouteError, Through, quoted};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

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
    /// The CPUs that can go on with packets.
    fn cpus(&self) -> Vec<u32>;
    /// Whether an address is the machine's own, or stands for all hosts of a network.
    fn is_own(&self, address: IpAddr) -> bool;
    /// Names of the interfaces.
    fn names(&self) -> Vec<String>;
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
    /// The CPU that sends the packets.
    pub cpu: Option<u32>,
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
    /// Left to the kernel on this CPU.
    Cpu(u32),
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
    /// What becomes of them; routes of one batch that are written alike share it.
    pub target: Arc<Target>,
    /// The filter expression that packets have to match.
    pub condition: Option<String>,
    /// Its place among the routes of this destination that have conditions, from 1; `None`: the last, or the one that it has.
    pub position: Option<usize>,
}

impl Route {
    /// One without a condition.
    pub fn new(prefix: Prefix, target: impl Into<Arc<Target>>) -> Route {
        Route { prefix, target: target.into(), condition: None, position: None }
    }

    /// Its next hops as the map holds them, counted by themselves.
    pub fn counted_hops(&self) -> Vec<Hop> {
        let owner = super::table::owner(self);
        self.target.hops().into_iter().map(|hop| Hop { owner, ..hop }).collect()
    }

    /// Whether it says which CPU goes on with packets.
    pub fn names_cpu(&self) -> bool {
        self.target.hops().iter().any(|hop| hop.cpu.is_some())
    }
}

/// What stands behind the destination of routes, read once for all that have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tail {
    target: Arc<Target>,
    condition: Option<String>,
    position: Option<usize>,
}

impl Tail {
    /// Reads it; `destination` is for messages.
    pub fn parse(destination: &str, words: &[&str], links: &dyn Links) -> Result<Tail, RouteError> {
        let (rest, condition) = parse_condition(words)?;
        let (rest, position) = position(rest, condition.is_some())?;
        let target = Arc::new(target(destination, rest, links)?);
        Ok(Tail { target, condition, position })
    }

    /// Reads a destination that this may stand behind.
    pub fn prefix(&self, destination: &str) -> Result<Prefix, RouteError> {
        let prefix = match destination {
            "default" => default_of(&self.target),
            text => text.parse()?,
        };
        if let Target::Forward(hops) = &*self.target {
            let four = prefix.address().is_ipv4();
            let other = hops.iter().find_map(|hop| hop.gateway.filter(|gateway| gateway.is_ipv4() != four));
            if let Some(gateway) = other {
                return Err(RouteError(format!(
                    "{prefix} via {gateway}: both must be of IPv4, or both of IPv6"
                )));
            }
        }
        Ok(prefix)
    }

    /// The route of a destination that was read so.
    pub fn route(&self, prefix: Prefix) -> Route {
        let Tail { target, condition, position } = self.clone();
        Route { prefix, target, condition, position }
    }

    /// What becomes of packets.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The filter expression that packets have to match.
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_deref()
    }
}

/// Most next hops of a route.
const MOST_HOPS: usize = 32;
/// What may stand behind the destination.
const FORMS: &str = "`via ADDRESS [dev NAME] [weight N] [cpu N]` (also several), `dev NAME [cpu N]`, `redirect dev NAME`, `drop`, `unreachable`, \
                     `pass` or `cpu N`";
/// Names of interfaces that a message lists.
const MOST_NAMES: usize = 12;
/// Longest text of a condition in bytes.
const LONGEST: usize = super::TEXT as usize - 1;

impl Target {
    /// The next hops as the map holds them.
    pub fn hops(&self) -> Vec<Hop> {
        match self {
            Target::Drop => vec![Hop::plain(Kind::Drop)],
            Target::Unreachable => vec![Hop::plain(Kind::Unreachable)],
            Target::Pass => vec![Hop::plain(Kind::Pass)],
            Target::Cpu(cpu) => vec![Hop { cpu: Some(*cpu), ..Hop::plain(Kind::Pass) }],
            Target::Local => vec![Hop::plain(Kind::Local)],
            Target::Redirect(device) => vec![hop(Kind::Redirect, device, None, 1)],
            Target::Forward(hops) => {
                let one =
                    |h: &NextHop| Hop { cpu: h.cpu, ..hop(Kind::Forward, &h.device, h.gateway, h.weight) };
                hops.iter().map(one).collect()
            }
        }
    }
}

fn hop(kind: Kind, device: &Device, gateway: Option<IpAddr>, weight: u16) -> Hop {
    let Device { index, mtu, mac, fast, .. } = *device;
    Hop { device: index, mtu, gateway, mac, weight, fast, ..Hop::plain(kind) }
}

/// Reads a route.
pub fn parse(words: &[&str], links: &dyn Links) -> Result<Route, RouteError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(RouteError("a destination is missing, such as `10.0.0.0/8` or `default`".to_owned()));
    };
    let tail = Tail::parse(first, rest, links)?;
    Ok(tail.route(tail.prefix(first)?))
}

/// The first of many names.
pub fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).map(String::as_str).collect();
    let more = if names.len() > MOST_NAMES { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Takes `if EXPRESSION`, which the words may end with, off them. The expression is one word or several, with or without quotes around all.
pub fn parse_condition<'w, 't>(words: &'w [&'t str]) -> Result<(&'w [&'t str], Option<String>), RouteError> {
    let Some(at) = words.iter().position(|word| *word == "if") else { return Ok((words, None)) };
    let text = words[at + 1..].iter().flat_map(|word| word.split_whitespace()).collect::<Vec<_>>().join(" ");
    let bare = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    let text = bare.unwrap_or(&text).trim().to_owned();
    if text.is_empty() {
        return Err(RouteError(
            "behind `if` a filter expression was expected, such as `\"tcp dst port 443\"`".to_owned(),
        ));
    }
    if text.len() > LONGEST || text.contains(|c: char| c.is_control() || c == '#') {
        return Err(RouteError(format!(
            "{} is no expression of a route: it has at most {LONGEST} bytes, and no `#` or control characters",
            quoted(&text)
        )));
    }
    Ok((&words[..at], Some(text)))
}

/// Takes `at N`, which the words may end with, off them.
fn position<'w, 't>(
    words: &'w [&'t str],
    condition: bool,
) -> Result<(&'w [&'t str], Option<usize>), RouteError> {
    let [rest @ .., "at", number] = words else { return Ok((words, None)) };
    if !condition {
        return Err(RouteError("`at` is for routes with `if`: the one without is tried last".to_owned()));
    }
    let place = number.parse().ok().filter(|n| (1..=32).contains(n));
    let place = place.ok_or_else(|| {
        RouteError(format!(
            "{} is no place: a number from 1 (tried first) to 32 was expected",
            quoted(number)
        ))
    })?;
    Ok((rest, Some(place)))
}

/// A CPU, which has to be there.
fn cpu(word: &str, links: &dyn Links) -> Result<u32, RouteError> {
    let there = links.cpus();
    let found = word.parse().ok().filter(|number| there.contains(number));
    found.ok_or_else(|| {
        RouteError(format!("there is no CPU {}: this machine has {}", quoted(word), ranges(&there)))
    })
}

/// Numbers in order, as `0-3, 8`.
fn ranges(numbers: &[u32]) -> String {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match all.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => all.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    all.iter().map(text).collect::<Vec<_>>().join(", ")
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
        ["cpu", number] => Ok(Target::Cpu(cpu(number, links)?)),
        ["dev", name] | ["dev", name, "cpu", _] | ["cpu", _, "dev", name] => {
            let device = named(name, links)?;
            let number = words.iter().position(|w| *w == "cpu").and_then(|at| words.get(at + 1));
            let cpu = number.map(|number| cpu(number, links)).transpose()?;
            Ok(Target::Forward(vec![NextHop { gateway: None, device, weight: 1, cpu }]))
        }
        ["via", ..] => gateways(words, links).map(Target::Forward),
        ["dev"] | ["redirect"] | ["redirect", "dev"] => Err(RouteError(format!(
            "behind {} the name of an interface was expected: {FORMS}",
            quoted(&words.join(" "))
        ))),
        ["cpu"] => Err(RouteError("behind `cpu` its number was expected".to_owned())),
        [known @ ("drop" | "unreachable" | "pass"), extra, ..]
        | [known @ "dev", _, extra, ..]
        | ["redirect", known @ "dev", _, extra, ..]
        | [known @ "cpu", _, extra, ..] => {
            let name = if matches!(*known, "dev" | "cpu") { " and its name or number" } else { "" };
            Err(RouteError(format!("{} was not expected behind {}{name}", quoted(extra), quoted(known))))
        }
        [] => Err(RouteError(format!("{} has no target: {FORMS} was expected", quoted(prefix)))),
        [word, ..] => Err(RouteError(format!(
            "{} was not expected behind {}: {FORMS} was",
            quoted(word),
            quoted(prefix)
        ))),
    }
}

fn named(name: &str, links: &dyn Links) -> Result<Device, RouteError> {
    links.named(name).ok_or_else(|| {
        RouteError(format!("there is no interface {}: there are {}", quoted(name), some(&links.names())))
    })
}

fn gateways(mut words: &[&str], links: &dyn Links) -> Result<Vec<NextHop>, RouteError> {
    let mut hops: Vec<NextHop> = Vec::new();
    while let [via, rest @ ..] = words {
        let [address, rest @ ..] = rest else {
            return Err(RouteError("behind `via` an address was expected".to_owned()));
        };
        if *via != "via" {
            return Err(RouteError(format!(
                "{} was not expected: `via`, `dev`, `weight` or `cpu` was",
                quoted(via)
            )));
        }
        let gateway: IpAddr = address.parse().map_err(|_| {
            RouteError(format!("{} is no address of a gateway, such as `192.0.2.1`", quoted(address)))
        })?;
        let (mut device, mut weight, mut on, mut left) = (None, 1, None, rest);
        loop {
            match left {
                ["dev", name, more @ ..] if device.is_none() => {
                    (device, left) = (Some(named(name, links)?), more)
                }
                ["dev", ..] if device.is_some() => {
                    return Err(RouteError(format!(
                        "the gateway {gateway} has `dev` twice: it has one interface"
                    )));
                }
                [last @ ("dev" | "weight" | "cpu")] => {
                    let what = if *last == "dev" { "the name of an interface" } else { "a number" };
                    return Err(RouteError(format!("behind `{last}` {what} was expected")));
                }
                ["cpu", number, more @ ..] => (on, left) = (Some(cpu(number, links)?), more),
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
        hops.push(NextHop {
            gateway: Some(gateway),
            device: reach(gateway, device, links)?,
            weight,
            cpu: on,
        });
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
    if gateway.is_multicast() || gateway.is_loopback() || gateway.is_unspecified() || links.is_own(gateway) {
        return Err(RouteError(format!(
            "{gateway} is no gateway: it is this machine's own address, or that of no one host. The address of a neighbour was expected"
        )));
    }
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
            None => format!(
                "{gateway} is in no network of this machine's interfaces: a gateway is a neighbour (`ip addr` shows the networks)"
            ),
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

        fn cpus(&self) -> Vec<u32> {
            vec![0, 1, 2, 5]
        }

        fn is_own(&self, address: IpAddr) -> bool {
            address == IpAddr::from([10, 0, 1, 254])
        }

        fn names(&self) -> Vec<String> {
            vec!["a".to_owned(), "b".to_owned()]
        }
    }

    pub(crate) fn read(text: &str) -> Result<Route, RouteError> {
        parse(&text.split_whitespace().collect::<Vec<_>>(), &Two)
    }

    #[test]
    fn forms() {
        assert_eq!(*read("10.0.0.0/8 drop").unwrap().target, Target::Drop);
        assert_eq!(read("default pass").unwrap().prefix.to_string(), "0.0.0.0/0");
        assert_eq!(read("default via 2001:db8:2::1").unwrap().prefix.to_string(), "::/0");
        let route = read("10.9.0.0/16 via 10.0.1.1 weight 2 via 10.0.2.1 dev b").unwrap();
        let Target::Forward(hops) = &*route.target else { panic!("no next hops") };
        let seen: Vec<_> = hops.iter().map(|h| (h.device.name.as_str(), h.weight)).collect();
        assert_eq!(seen, [("a", 2), ("b", 1)]);
        for text in
            ["10.0.0.0/8 dev b cpu 5", "10.0.0.0/8 cpu 5 dev b", "10.0.0.0/8 via 10.0.2.1 cpu 5 weight 2"]
        {
            let route = read(text).unwrap();
            let Target::Forward(hops) = &*route.target else { panic!("no next hops") };
            assert_eq!((hops[0].device.name.as_str(), hops[0].cpu), ("b", Some(5)), "{text}");
        }
        assert_eq!(*read("10.0.0.0/8 cpu 1").unwrap().target, Target::Cpu(1));
    }

    #[test]
    fn conditions() {
        let condition = |text: &str| read(text).map(|route| (route.condition, route.position));
        for text in [
            "10.0.0.0/8 drop at 2 if \"tcp dst  port 443\"",
            "10.0.0.0/8 drop at 2 if tcp dst port 443",
            "10.0.0.0/8 drop at 2 if 'tcp dst port 443'",
        ] {
            assert_eq!(condition(text).unwrap(), (Some("tcp dst port 443".to_owned()), Some(2)), "{text}");
        }
        assert_eq!(condition("10.0.0.0/8 drop").unwrap(), (None, None));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, part) in [
            ("", "destination is missing"),
            ("10.0.0.0/8", "has no target"),
            ("10.0.0.0/8 through x", "`through` was not expected"),
            ("10.0.0.0/8 dev c", "no interface `c`: there are a, b"),
            ("10.0.0.0/8 via 10.0.1.254", "10.0.1.254 is no gateway: it is this machine's own"),
            ("10.0.0.0/8 via 224.0.0.1 dev a", "224.0.0.1 is no gateway"),
            ("10.0.0.0/8 via 10.0.1.1 dev a dev b", "has `dev` twice"),
            ("10.0.0.0/8 via 10.0.1.1 weight", "behind `weight` a number was expected"),
            ("10.0.0.0/8 via 10.0.1.1 dev", "behind `dev` the name of an interface was expected"),
            ("10.0.0.0/8 via 10.0.3.1", "in no network of this machine"),
            ("10.0.0.0/8 via 10.0.2.1 dev a", "in no network of a"),
            ("10.0.0.0/8 via 10.0.2.1 weight 0", "is no weight"),
            ("10.0.0.0/8 via 2001:db8:2::1", "both must be"),
            ("2001:db8::/32 via fe80::1", "say which with `dev NAME`"),
            ("10.0.0.0/8 via", "an address was expected"),
            ("10.0.0.0/8 via 10.0.2.1 metric 3", "`metric` was not expected"),
            ("10.0.0.0/8 cpu 3", "there is no CPU `3`: this machine has 0-2, 5"),
            ("10.0.0.0/8 dev b cpu x", "there is no CPU `x`"),
            ("10.0.0.0/8 drop cpu 1", "`cpu` was not expected behind `drop`"),
            ("10.0.0.0/8 dev a via 10.0.1.1", "`via` was not expected behind `dev` and its name"),
            ("10.0.0.0/8 redirect", "behind `redirect` the name of an interface was expected"),
            ("10.0.0.0/8 redirect a", "`redirect` was not expected"),
            ("10.0.0.0/8 cpu", "behind `cpu` its number was expected"),
            ("10.0.0.0/8 drop if", "behind `if` a filter expression was expected"),
            ("10.0.0.0/8 drop if \"\"", "behind `if` a filter expression was expected"),
            ("10.0.0.0/8 drop at 1", "`at` is for routes with `if`"),
            ("10.0.0.0/8 drop at 0 if tcp", "`0` is no place"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
