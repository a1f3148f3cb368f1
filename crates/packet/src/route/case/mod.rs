//! Tests of a routing table: a text in YAML enters (interfaces, neighbours, routes, packets and what is to become of them), a [`Case`]
//! leaves, or what is wrong with the text and where. Nothing is run here.

mod frame;

pub use frame::{Frame, Mac, mac};

use super::quoted;
use crate::yaml::{self, Mistake, Node, Place, Value};
use std::net::IpAddr;

/// A test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Interfaces; the index of each is its place here, from 1.
    pub interfaces: Vec<Interface>,
    /// How many CPUs there are.
    pub cpus: u32,
    /// Neighbours that are known.
    pub neighbours: Vec<Neighbour>,
    /// Routes as they are written, with their places.
    pub routes: Vec<(Place, String)>,
    /// Packets, in their order.
    pub packets: Vec<Passage>,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Its addresses, with the bits of their networks.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its link address.
    pub mac: Mac,
    /// Most bytes of an IP packet.
    pub mtu: u32,
    /// Its driver runs XDP programs and takes frames from them.
    pub xdp: bool,
    /// The router receives from it.
    pub port: bool,
    /// Of a VLAN device the index of the interface that it lies on, and its tag.
    pub tag: Option<(u32, u16)>,
}

/// A neighbour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: Mac,
    /// The index of its interface; `None`: the one in whose network it is.
    pub device: Option<u32>,
    /// Where the text says so.
    pub place: Place,
}

/// Packets that go one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Where the text says so.
    pub place: Place,
    /// What the test calls it.
    pub about: String,
    /// The index of the interface that they come in by.
    pub into: u32,
    /// The packets.
    pub packets: Frames,
    /// What is to become of them.
    pub out: Out,
    /// By which program.
    pub by: Option<Stage>,
    /// The CPU that they are sent to.
    pub cpu: Option<u32>,
    /// The link address that they go to.
    pub to: Option<Mac>,
    /// What they are then.
    pub becomes: Option<Frames>,
}

/// Packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frames {
    /// One, from the text.
    One(Frame),
    /// Those of a capture file, whose path is relative to the test's.
    Capture(String),
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Out {
    /// It leaves through an interface.
    Device(u32),
    /// It is gone.
    Drop,
    /// The kernel gets it.
    Pass,
}

/// A program of the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// In the driver.
    Xdp,
    /// Behind it.
    Tc,
}

/// Most CPUs of a test.
const MOST_CPUS: u32 = 64;
/// Longest name of an interface (`IFNAMSIZ` less one).
const NAME: usize = 15;
/// Where frames come from and go to whose text says nothing of it: a stranger's link address.
const STRANGER: Mac = [2, 0, 0, 0, 0xff, 1];

impl Case {
    /// Reads a text.
    pub fn read(text: &str) -> Result<Case, Mistake> {
        let root = yaml::read(text)?;
        let [interfaces, cpus, ports, neighbours, routes, packets] =
            root.fields(["interfaces", "cpus", "ports", "neighbours", "routes", "packets"])?;
        let missing = |what: &str| root.wrong(&format!("`{what}` is missing"));
        let mut case = Case {
            interfaces: Vec::new(),
            cpus: cpus.map_or(Ok(4), |node| number(node, 1..=MOST_CPUS, "a number of CPUs"))?,
            neighbours: Vec::new(),
            routes: Vec::new(),
            packets: Vec::new(),
        };
        for (number, (name, node)) in (1..).zip(interfaces.ok_or_else(|| missing("interfaces"))?.map()?) {
            let interface = interface(name, node, number, &case)?;
            case.interfaces.push(interface);
        }
        if let Some(ports) = ports {
            case.interfaces.iter_mut().for_each(|i| i.port = false);
            for node in ports.list() {
                let index = case.device(node)?;
                case.interfaces.iter_mut().skip(index as usize - 1).take(1).for_each(|i| i.port = true);
            }
        }
        for (address, node) in neighbours.map_or(Ok(&[][..]), Node::map)? {
            case.neighbours.push(case.neighbour(address, node)?);
        }
        case.routes = routes.map_or(Ok(Vec::new()), lines)?;
        for node in packets.ok_or_else(|| missing("packets"))?.list() {
            case.packets.push(case.passage(node)?);
        }
        Ok(case)
    }

    fn device(&self, node: &Node) -> Result<u32, Mistake> {
        let name = node.text()?;
        let found = (1..).zip(&self.interfaces).find(|(_, i)| i.name == name);
        let known = || self.interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
        found.map(|f| f.0).ok_or_else(|| {
            node.wrong(&format!("there is no interface {}: `interfaces` has {}", quoted(name), known()))
        })
    }

    /// `ADDRESS: MAC`, or `ADDRESS: {mac: MAC, dev: NAME}`
    fn neighbour(&self, key: &Node, node: &Node) -> Result<Neighbour, Mistake> {
        let address = parsed(key, "an address")?;
        let (mac, device) = match &node.value {
            Value::Map(_) => {
                let [mac, dev] = node.fields(["mac", "dev"])?;
                let mac = mac.ok_or_else(|| node.wrong("`mac` is missing"))?;
                (link_address(mac)?, dev.map(|dev| self.device(dev)).transpose()?)
            }
            _ => (link_address(node)?, None),
        };
        Ok(Neighbour { address, mac, device, place: key.place })
    }

    fn passage(&self, node: &Node) -> Result<Passage, Mistake> {
        let [about, into, packet, out, by, cpu, to, becomes] =
            node.fields(["about", "into", "packet", "out", "by", "cpu", "to", "becomes"])?;
        let missing = |what: &str| node.wrong(&format!("`{what}` is missing"));
        let into_node = into.ok_or_else(|| missing("into"))?;
        let into = self.device(into_node)?;
        let Some(port) = self.interfaces.get(into as usize - 1).filter(|i| i.port) else {
            return Err(into_node.wrong("the router receives from `ports` only, and this is none"));
        };
        let out = match out.ok_or_else(|| missing("out"))? {
            node if node.text()? == "drop" => Out::Drop,
            node if node.text()? == "pass" => Out::Pass,
            node => Out::Device(self.device(node)?),
        };
        let by = match by {
            None => None,
            Some(node) => Some(match node.text()? {
                "xdp" => Stage::Xdp,
                "tc" => Stage::Tc,
                other => {
                    return Err(node.wrong(&format!("{} was not expected: `xdp` or `tc` was", quoted(other))));
                }
            }),
        };
        let mac = match out {
            Out::Device(index) => self.interfaces.get(index as usize - 1).map_or(STRANGER, |i| i.mac),
            _ => STRANGER,
        };
        Ok(Passage {
            place: node.place,
            about: about.map_or(Ok(""), Node::text)?.to_owned(),
            into,
            packets: frames(packet.ok_or_else(|| missing("packet"))?, (STRANGER, port.mac))?,
            out,
            by,
            cpu: cpu.map(|node| number(node, 0..=self.cpus - 1, "the number of a CPU")).transpose()?,
            to: to.map(link_address).transpose()?,
            becomes: becomes.map(|node| frames(node, (mac, STRANGER))).transpose()?,
        })
    }
}

fn parsed<T: std::str::FromStr>(node: &Node, what: &str) -> Result<T, Mistake> {
    let text = node.text()?;
    text.parse().map_err(|_| node.wrong(&format!("{} is not {what}", quoted(text))))
}

fn number(node: &Node, allowed: std::ops::RangeInclusive<u32>, what: &str) -> Result<u32, Mistake> {
    let number: u32 = parsed(node, what)?;
    match allowed.contains(&number) {
        true => Ok(number),
        false => {
            let (first, last) = (allowed.start(), allowed.end());
            Err(node.wrong(&format!("{number} is not {what}: {first} to {last} was expected")))
        }
    }
}

fn link_address(node: &Node) -> Result<Mac, Mistake> {
    let text = node.text()?;
    mac(text).ok_or_else(|| {
        node.wrong(&format!("{} is no link address, such as `02:00:00:00:00:01`", quoted(text)))
    })
}

fn truth(node: &Node) -> Result<bool, Mistake> {
    match node.text()? {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(node.wrong(&format!("{} was not expected: `true` or `false` was", quoted(other)))),
    }
}

fn interface(key: &Node, node: &Node, number: u32, before: &Case) -> Result<Interface, Mistake> {
    let name = key.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME || !name.chars().all(plain) || ["drop", "pass"].contains(&name) {
        return Err(key.wrong(&format!(
            "{} is no name of an interface here: up to {NAME} letters, digits, `-`, `_` and `.`",
            quoted(name)
        )));
    }
    let [addresses, mac, mtu, xdp, on, vlan] =
        node.fields(["addresses", "mac", "mtu", "xdp", "on", "vlan"])?;
    let tag = match (on, vlan) {
        (None, None) => None,
        (Some(on), Some(vlan)) => {
            let wrong = || vlan.wrong("a VLAN tag from 1 to 4094 was expected");
            let id = vlan.text()?.parse().ok().filter(|id| (1..=4094).contains(id)).ok_or_else(wrong)?;
            Some((before.device(on)?, id))
        }
        _ => return Err(key.wrong("a VLAN device has `on`, an interface before it, and `vlan`, its tag")),
    };
    let below = tag.and_then(|(lower, _)| before.interfaces.get(lower as usize - 1));
    let mut list = Vec::new();
    for node in addresses.map_or(&[][..], Node::list) {
        let text = node.text()?;
        let wrong =
            || node.wrong(&format!("{} is no address with its network, such as `10.0.1.1/24`", quoted(text)));
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length: &u8| *length <= most).ok_or_else(wrong)?;
        list.push((address, length));
    }
    Ok(Interface {
        name: name.to_owned(),
        addresses: list,
        mac: mac.map_or(
            Ok(below.map_or([2, 0, 0, 0, (number >> 8) as u8, number as u8], |i| i.mac)),
            link_address,
        )?,
        mtu: mtu.map_or(Ok(1500), |node| parsed(node, "a number of bytes"))?,
        xdp: xdp.map_or(Ok(below.is_none()), truth)?,
        port: true,
        tag,
    })
}

/// Lines of a block, or texts of a list, with their places; comments are left out.
fn lines(node: &Node) -> Result<Vec<(Place, String)>, Mistake> {
    let mut all = Vec::new();
    let mut put = |place: Place, line: &str| {
        let line = line.split('#').next().unwrap_or("").trim();
        if !line.is_empty() {
            all.push((place, line.to_owned()));
        }
    };
    match &node.value {
        Value::Lines(text) => {
            for (number, line) in (node.place.line..).zip(text.lines()) {
                put(Place { line: number, column: 1 }, line);
            }
        }
        _ => {
            for node in node.list() {
                put(node.place, node.text()?);
            }
        }
    }
    Ok(all)
}

/// A packet, or `{capture: FILE}`.
fn frames(node: &Node, ethernet: (Mac, Mac)) -> Result<Frames, Mistake> {
    if let Value::Map(_) = node.value {
        let [capture] = node.fields(["capture"])?;
        let capture = capture.ok_or_else(|| node.wrong("`capture` is missing"))?;
        return Ok(Frames::Capture(capture.text()?.to_owned()));
    }
    let frame = Frame::read(node.text()?, ethernet).map_err(|why| node.wrong(&why))?;
    Ok(Frames::One(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
interfaces:
  eth1: {addresses: [10.0.1.1/24, '2001:db8:1::1/64'], mtu: 1400}
  eth2: {addresses: 10.0.2.1/24, xdp: false, mac: '02:00:00:00:07:02'}
ports: eth1
neighbours: {10.0.2.2: '02:00:00:00:02:02', 'fe80::1': {mac: '02:00:00:00:02:03', dev: eth2}}
routes: |
  # none
  10.1.0.0/16 via 10.0.2.2 # one
packets:
  - {about: it goes on, into: eth1, packet: 10.0.1.9 > 10.1.2.3 ttl 9, out: eth2, by: tc, to: '02:00:00:00:02:02'}
  - {into: eth1, packet: {capture: in.pcap}, out: drop}
";

    #[test]
    fn a_case_is_read() {
        let case = Case::read(GOOD).unwrap();
        assert_eq!(
            case.interfaces.iter().map(|i| (i.mtu, i.xdp, i.port)).collect::<Vec<_>>(),
            [(1400, true, true), (1500, false, false)]
        );
        assert_eq!(case.routes, [(Place { line: 8, column: 1 }, "10.1.0.0/16 via 10.0.2.2".to_owned())]);
        assert_eq!((case.neighbours[0].device, case.neighbours[1].device), (None, Some(2)));
        let [first, second] = &case.packets[..] else { panic!("two packets") };
        assert_eq!(
            (first.into, &first.out, first.by, first.place.line),
            (1, &Out::Device(2), Some(Stage::Tc), 10)
        );
        assert_eq!(second.packets, Frames::Capture("in.pcap".to_owned()));
    }

    #[test]
    fn mistakes_have_places() {
        for (from, into, part) in [
            ("mtu: 1400", "mtu: x", "2:61: `x` is not a number of bytes"),
            ("ports: eth1", "ports: eth3", "4:8: there is no interface `eth3`: `interfaces` has eth1, eth2"),
            ("by: tc", "by: it", "`it` was not expected: `xdp` or `tc` was"),
            (
                "into: eth1, packet: {",
                "into: eth2, packet: {",
                "11:12: the router receives from `ports` only",
            ),
            ("out: drop", "gone: drop", "`gone` is not known here"),
            ("ttl 9", "ttl nine", "`nine` is not a time to live"),
            ("10.0.1.1/24", "10.0.1.1/33", "`10.0.1.1/33` is no address with its network"),
            ("  eth2:", "  'e h2':", "`e h2` is no name of an interface here"),
            ("10.0.2.2: '02:00:00:00:02:02'", "10.0.2.2: '02:00:00:00:02'", "is no link address"),
            ("interfaces:", "interface:", "1:1: `interface` is not known here"),
            ("ports: eth1", "cpus: 65", "65 is not a number of CPUs: 1 to 64 was expected"),
            ("by: tc", "cpu: 4", "4 is not the number of a CPU: 0 to 3 was expected"),
        ] {
            let why = Case::read(&GOOD.replacen(from, into, 1)).unwrap_err().to_string();
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
