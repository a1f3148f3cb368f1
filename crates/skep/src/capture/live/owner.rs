//! Whose packet is this? A packet's addresses and ports enter, the process of the socket that sends or receives it leaves,
//! from what `programs/capture/owners.bt` keeps in the kernel.
//!
//! What always holds: nothing is guessed. Where no socket is known, or who held it when the packet came, the answer is `?`.
//! The kernel is asked once for a flow and a while, never /proc.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use skep_bpf::backend::Backend;
use skep_bpf::schema::{Clock, Field, ValueType};
use skep_compiler::layers::{LayerId, decode};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::proc::{self, clock_now};
use skep_packet::file::Direction;
use skep_packet::print::link_type;

use crate::{Error, Script};

const PROGRAM: &str = include_str!("../../../../../programs/capture/owners.bt");
const MAP: &str = "@owner";

/// Bytes of a key: twelve words.
const KEY: usize = 48;
/// How long an answer is believed; and that there is none.
const KNOWN: Duration = Duration::from_secs(1);
const UNKNOWN: Duration = Duration::from_millis(100);
/// Most flows that are remembered.
const FLOWS: usize = 1 << 16;
/// How much later than a packet the first note of a socket that is not connected may be: the note is made when the call
/// returns, the packet has gone out before.
const SLACK: u64 = 100_000_000;
/// Longest wait for the sockets that are there already.
const PATIENCE: Duration = Duration::from_secs(5);
/// Hexadecimal digits of a container's id, in the names of cgroups and as they are shown.
const ID: usize = 64;
const SHORT: usize = 12;

/// Which process packets must be of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Process id.
    pub pid: Option<u32>,
    /// Name of the command.
    pub comm: Option<String>,
    /// Id of the cgroup.
    pub cgroup: Option<u64>,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Process {
    /// Id.
    pub pid: u32,
    /// Name of the command.
    pub comm: String,
    /// Id of its cgroup in the unified hierarchy.
    pub cgroup: u64,
}

/// Both ends of a packet, as sockets know them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Flow {
    protocol: u8,
    source: (Ipv6Addr, u16),
    destination: (Ipv6Addr, u16),
}

/// What is known of a flow.
#[derive(Debug)]
struct Answer {
    /// Since boot.
    until: Duration,
    sender: Option<Process>,
    receiver: Option<Process>,
}

/// Where the parts of a value lie.
#[derive(Clone, Copy, Debug)]
struct Layout {
    since: usize,
    cgroup: usize,
    pid: usize,
    comm: (usize, usize),
}

/// Knows processes of sockets.
#[derive(Debug)]
pub(super) struct Owners {
    loaded: Loaded,
    map: usize,
    layout: Layout,
    /// The network namespace.
    inode: u32,
    /// What the program's clock is behind that of packets.
    behind: u64,
    flows: HashMap<Flow, Answer>,
    /// Names of cgroups.
    cgroups: HashMap<u64, String>,
    wanted: Wanted,
    shown: String,
}

impl Wanted {
    /// Whether any process will do.
    pub fn is_any(&self) -> bool {
        *self == Wanted::default()
    }

    fn has(&self, process: &Process) -> bool {
        self.pid.is_none_or(|pid| pid == process.pid)
            && self.comm.as_ref().is_none_or(|comm| *comm == process.comm)
            && self.cgroup.is_none_or(|cgroup| cgroup == process.cgroup)
    }
}

impl Owners {
    /// Begins to watch the sockets of the machine; packets are of the network namespace with this number.
    pub(super) fn start(inode: u32, wanted: Wanted) -> Result<Owners, Error> {
        let program = Script::named("owners.bt", PROGRAM).compile()?;
        let object = &program.object;
        let unfit = || Error::Internal(format!("{MAP} is not laid out as expected"));
        let found = object.maps.iter().position(|map| map.name == MAP);
        let map = found.ok_or_else(unfit)?;
        let spec = object.maps.get(map).ok_or_else(unfit)?;
        let value = spec.schema.as_ref().map(|schema| &schema.value);
        let Some(ValueType::Tuple(fields)) = value else { return Err(unfit()) };
        let [since, cgroup, pid, comm] = fields.as_slice() else { return Err(unfit()) };
        let at = |field: &Field| field.offset as usize;
        let layout = Layout {
            since: at(since),
            cgroup: at(cgroup),
            pid: at(pid),
            comm: (at(comm), comm.ty.size() as usize),
        };
        if spec.key_size as usize != KEY {
            return Err(unfit());
        }
        let mut loaded =
            Loaded::load(object, program.target.clone(), &LoadOptions::default()).map_err(Error::Kernel)?;
        loaded.attach_all().map_err(Error::Kernel)?;
        let end = proc::monotonic() + PATIENCE;
        while loaded.is_reading() && proc::monotonic() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let behind = clock_now(Clock::Realtime) - clock_now(Clock::Boot);
        Ok(Owners {
            loaded,
            map,
            layout,
            inode,
            behind: u64::try_from(behind).unwrap_or(0),
            flows: HashMap::new(),
            cgroups: HashMap::new(),
            wanted,
            shown: String::new(),
        })
    }

    /// The processes of a packet as text: the sender's, the receiver's, or both, where both are here; `?` if unknown.
    /// `None`: it is not of a process that is wanted.
    pub(super) fn of(
        &mut self,
        link: u16,
        data: &[u8],
        direction: Option<Direction>,
        time: u64,
    ) -> Option<&str> {
        self.shown.clear();
        let flow = flow(link, data);
        if let Some(flow) = flow {
            let fresh = self.flows.get(&flow).is_some_and(|answer| answer.until > proc::monotonic());
            if !fresh {
                self.ask(flow, time);
            }
        }
        let answer = flow.and_then(|flow| self.flows.get(&flow));
        let (mut sender, mut receiver) =
            answer.map_or((None, None), |answer| (answer.sender.as_ref(), answer.receiver.as_ref()));
        // Only on a machine's own connections both ends are sockets of it.
        match direction {
            Some(Direction::Out) if sender.is_some() => receiver = None,
            Some(Direction::In) if receiver.is_some() && !is_local(flow) => sender = None,
            _ => {}
        }
        let wanted = |process: Option<&Process>| process.is_some_and(|process| self.wanted.has(process));
        if !self.wanted.is_any() && !wanted(sender) && !wanted(receiver) {
            return None;
        }
        // Of two ends that are here, one that is not known is said to be so.
        let both = is_local(flow) && (sender.is_some() || receiver.is_some());
        for (index, process) in [sender, receiver].into_iter().enumerate() {
            if index == 1 && (both || (sender.is_some() && receiver.is_some())) {
                self.shown += " > ";
            }
            let Some(Process { pid, comm, cgroup }) = process else {
                self.shown += if both { "?" } else { "" };
                continue;
            };
            self.shown += &format!("{comm} {pid}");
            match self.cgroups.get(cgroup) {
                Some(name) if !name.is_empty() => self.shown += &format!(" in {name}"),
                _ => {}
            }
        }
        if self.shown.is_empty() {
            self.shown.push('?');
        }
        Some(&self.shown)
    }

    /// Asks the kernel's map for both ends of a flow.
    #[cold]
    fn ask(&mut self, flow: Flow, time: u64) {
        if self.flows.len() >= FLOWS {
            self.flows.clear();
        }
        let sender = self.end(flow.protocol, flow.source, flow.destination, time);
        let receiver = self.end(flow.protocol, flow.destination, flow.source, time);
        for process in [&sender, &receiver].into_iter().flatten() {
            if !self.cgroups.contains_key(&process.cgroup) {
                let paths = self.loaded.cgroup_paths(process.cgroup);
                let path = paths.iter().find(|(hierarchy, _)| hierarchy == "unified").or(paths.first());
                let name = path.map_or(String::new(), |(_, path)| unit(path));
                self.cgroups.insert(process.cgroup, name);
            }
        }
        let lasts = if sender.is_some() || receiver.is_some() { KNOWN } else { UNKNOWN };
        self.flows.insert(flow, Answer { until: proc::monotonic() + lasts, sender, receiver });
    }

    /// The process at one end: of the connected socket, else of the one that is bound to the address, else to the port.
    fn end(
        &mut self,
        protocol: u8,
        local: (Ipv6Addr, u16),
        remote: (Ipv6Addr, u16),
        time: u64,
    ) -> Option<Process> {
        let any = Ipv6Addr::UNSPECIFIED;
        if let Some((process, _)) = self.look_up(protocol, local, remote) {
            return Some(process);
        }
        for local in [local, (any, local.1)] {
            if let Some((process, since)) = self.look_up(protocol, local, (any, 0)) {
                return (since <= time.saturating_add(SLACK)).then_some(process);
            }
        }
        None
    }

    fn look_up(
        &mut self,
        protocol: u8,
        local: (Ipv6Addr, u16),
        remote: (Ipv6Addr, u16),
    ) -> Option<(Process, u64)> {
        let mut key = Vec::with_capacity(KEY);
        for word in [self.inode, protocol.into(), local.1.into(), remote.1.into()] {
            key.extend(word.to_ne_bytes());
        }
        // Words in network byte order are bytes in their order.
        key.extend(local.0.octets());
        key.extend(remote.0.octets());
        let entries = self.loaded.map_lookup(self.map, &key).ok()?;
        let entry = entries.get(0)?;
        let value = entry.value();
        let word = |at: usize| value.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
        let pid = value.get(self.layout.pid..self.layout.pid + 4)?;
        let name = value.get(self.layout.comm.0..self.layout.comm.0 + self.layout.comm.1)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let since = word(self.layout.since)?;
        let since = if since == 0 { 0 } else { since.saturating_add(self.behind) };
        let process = Process {
            pid: u32::from_ne_bytes(pid.try_into().ok()?),
            comm: String::from_utf8_lossy(&name[..end]).into_owned(),
            cgroup: word(self.layout.cgroup)?,
        };
        Some((process, since))
    }
}

/// Whether both ends are of this machine.
fn is_local(flow: Option<Flow>) -> bool {
    flow.is_some_and(|flow| flow.source.0 == flow.destination.0 || loopback(flow.source.0))
}

fn loopback(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
}

/// What a cgroup's path says for people: the container's short id, or the last part.
fn unit(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let digits = |part: &&str| part.len() == ID && part.bytes().all(|b| b.is_ascii_hexdigit());
    match last.split(['-', '.']).find(digits) {
        Some(id) => format!("container {}", id.get(..SHORT).unwrap_or(id)),
        None => last.to_owned(),
    }
}

/// The ends of a packet's outermost IP layer, where ports follow it.
fn flow(link: u16, data: &[u8]) -> Option<Flow> {
    let decoded = decode(link_type(link)?, data);
    let mut ends: Option<(Ipv6Addr, Ipv6Addr)> = None;
    for place in decoded.layers.iter() {
        let bytes = data.get(place.start..place.end)?;
        match place.layer {
            LayerId::Ip4 if ends.is_none() => {
                let address = |at: usize| -> Option<Ipv6Addr> {
                    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).to_ipv6_mapped())
                };
                ends = Some((address(12)?, address(16)?));
            }
            LayerId::Ip6 if ends.is_none() => {
                let address = |at: usize| -> Option<Ipv6Addr> {
                    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?))
                };
                ends = Some((address(8)?, address(24)?));
            }
            LayerId::Tcp | LayerId::Udp => {
                let (source, destination) = ends?;
                let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
                let protocol = if place.layer == LayerId::Tcp { 6 } else { 17 };
                return Some(Flow {
                    protocol,
                    source: (source, port(0)?),
                    destination: (destination, port(2)?),
                });
            }
            _ => {}
        }
    }
    None
}

/// The ends of a packet as text, with its protocol: what flows are told apart by.
pub(super) fn ends(link: u16, data: &[u8]) -> Option<(&'static str, SocketAddr, SocketAddr)> {
    let flow = flow(link, data)?;
    let plain = |(address, port): (Ipv6Addr, u16)| SocketAddr::new(IpAddr::V6(address).to_canonical(), port);
    Some((if flow.protocol == 6 { "tcp" } else { "udp" }, plain(flow.source), plain(flow.destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_by_container_or_unit() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(unit(&format!("/system.slice/docker-{id}.scope")), "container 0123456789ab");
        assert_eq!(unit(&format!("/kubepods/pod1/{id}")), "container 0123456789ab");
        assert_eq!(unit("/system.slice/ssh.service"), "ssh.service");
        assert_eq!(unit("/"), "");
    }

    #[test]
    fn flows_have_ports_and_mapped_addresses() {
        let packet = [
            &[0; 12][..],
            &[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
            &[0, 9, 0x12, 0x34, 0, 8, 0, 0],
        ]
        .concat();
        let found = flow(1, &packet).unwrap();
        assert_eq!((found.protocol, found.source.1, found.destination.1), (17, 9, 0x1234));
        assert_eq!(found.source.0, "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap());
        for end in 0..packet.len() - 4 {
            assert!(flow(1, &packet[..end]).is_none());
        }
    }
}
