//! Whose packet is this? A packet's addresses and ports enter, the process of the socket that sends or receives it leaves,
//! from what `programs/capture/owners.bt` keeps in the kernel.
//!
//! What always holds: nothing is guessed. Where no socket is known, or who held it when the packet came, the answer is `?`.
//! The kernel is asked once for a flow and a while, never /proc. Packets of a flow that has been seen cost no allocation.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use skep_bpf::backend::{Backend, MapAccess};
use skep_bpf::schema::{Clock, Field, ValueType};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::packet::{LocalAddresses, current_inode};
use skep_kernel::proc::{self, Cgroup, clock_now};
use skep_packet::file::Direction;

use super::cgroup::Group;
use super::flow::{End, Flow, Headers};
use crate::{Error, Script};

const PROGRAM: &str = include_str!("../../../../../programs/capture/owners.bt");
const MAP: &str = "@owner";

/// What is said where no process is known.
const UNKNOWN_PROCESS: &str = "?";
/// Bytes of a key: twelve words.
const KEY: usize = 48;
/// Nanoseconds for which an answer is believed; and that there is none.
const KNOWN: u64 = 1_000_000_000;
const UNKNOWN: u64 = 100_000_000;
/// Flows whose headers are kept at hand.
const AT_HAND: usize = 4;
/// Most flows that are remembered.
const FLOWS: usize = 1 << 16;
/// How much later than a packet the first note of a socket that is not connected may be: the note is made when the call
/// returns, the packet has gone out before. And how far from its first packet the note of a call may be.
const SLACK: u64 = 100_000_000;
/// Longest wait for the sockets that are there already.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which process packets must be of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Process id.
    pub pid: Option<u32>,
    /// Name of the command.
    pub comm: Option<String>,
    /// The cgroup that it is in, or in one below.
    pub cgroup: Option<Cgroup>,
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

/// What is known of a flow.
#[derive(Debug, Default)]
struct Answer {
    /// The time of the packet for which it was asked, and for how long it is believed.
    asked: u64,
    lasts: u64,
    /// What is said of packets, by their direction ([`way`]); `None`: they are not of a process that is wanted.
    shown: [Option<String>; 3],
}

/// The place of a direction in [`Answer::shown`].
fn way(direction: Option<Direction>) -> usize {
    match direction {
        Some(Direction::Out) => 0,
        Some(Direction::In) => 1,
        None => 2,
    }
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
    /// The network namespace, and what comes to its sockets.
    inode: u32,
    addresses: LocalAddresses,
    /// What the program's clock is behind that of packets.
    behind: u64,
    /// Places of answers.
    flows: HashMap<Flow, usize>,
    answers: Vec<Answer>,
    /// Headers of flows that came last, with the places of their answers; the oldest is replaced next.
    at_hand: Vec<(Headers, usize)>,
    oldest: usize,
    cgroups: HashMap<u64, Group>,
    wanted: Wanted,
}

impl Wanted {
    /// Whether any process will do.
    pub fn is_any(&self) -> bool {
        *self == Wanted::default()
    }

    fn has(&self, process: &Process, group: Option<&Group>) -> bool {
        let inside =
            |cgroup: &Cgroup| cgroup.id == process.cgroup || group.is_some_and(|g| cgroup.holds(&g.path));
        self.pid.is_none_or(|pid| pid == process.pid)
            && self.comm.as_ref().is_none_or(|comm| *comm == process.comm)
            && self.cgroup.as_ref().is_none_or(inside)
    }
}

impl Owners {
    /// Begins to watch the sockets of the machine; packets are of the calling thread's network namespace.
    pub(super) fn start(wanted: Wanted) -> Result<Owners, Error> {
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
            inode: current_inode()?,
            addresses: LocalAddresses::open()?,
            behind: u64::try_from(behind).unwrap_or(0),
            flows: HashMap::new(),
            answers: Vec::new(),
            at_hand: Vec::new(),
            oldest: 0,
            cgroups: HashMap::new(),
            wanted,
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
        let at_hand = self.at_hand.iter().find(|(headers, _)| headers.agree(link, data)).map(|(_, at)| *at);
        let fresh =
            |at: usize| self.answers.get(at).is_some_and(|answer| time.abs_diff(answer.asked) < answer.lasts);
        let at = match at_hand.filter(|at| fresh(*at)) {
            Some(at) => at,
            None => match self.find(link, data, time) {
                Some(at) => at,
                None if self.wanted.is_any() => return Some(UNKNOWN_PROCESS),
                None => return None,
            },
        };
        self.answers.get(at)?.shown.get(way(direction))?.as_deref()
    }

    /// The place of the answer for a packet's flow, which may have to be asked for; `None`: it has no ports.
    fn find(&mut self, link: u16, data: &[u8], time: u64) -> Option<usize> {
        let (flow, headers) = Headers::of(link, data)?;
        if self.flows.len() >= FLOWS {
            self.flows.clear();
            self.answers.clear();
            self.at_hand.clear();
        }
        let at = *self.flows.entry(flow).or_insert_with(|| {
            self.answers.push(Answer::default());
            self.answers.len() - 1
        });
        if self.answers.get(at).is_some_and(|answer| time.abs_diff(answer.asked) >= answer.lasts) {
            let answer = self.ask(flow, time, Flow::is_opened(link, data));
            *self.answers.get_mut(at)? = answer;
        }
        if let Some(headers) = headers.filter(|_| self.at_hand.iter().all(|(h, _)| !h.agree(link, data))) {
            match self.at_hand.get_mut(self.oldest) {
                Some(place) => *place = (headers, at),
                None => self.at_hand.push((headers, at)),
            }
            self.oldest = (self.oldest + 1) % AT_HAND;
        }
        Some(at)
    }

    /// Asks the kernel's map for both ends of a flow; `opened`: by this packet.
    fn ask(&mut self, flow: Flow, time: u64, opened: bool) -> Answer {
        let mut lasts = KNOWN;
        let mut sender = self.end(flow.protocol, flow.source, flow.destination, time);
        if sender.is_none() {
            sender = opened.then(|| self.caller(&flow, time)).flatten();
            lasts = UNKNOWN;
        }
        let receiver = self.end(flow.protocol, flow.destination, flow.source, time);
        for process in [&sender, &receiver].into_iter().flatten() {
            if !self.cgroups.contains_key(&process.cgroup) {
                let paths = self.loaded.cgroup_paths(process.cgroup);
                let path = paths.into_iter().find(|(hierarchy, _)| hierarchy == "unified");
                self.cgroups.insert(process.cgroup, Group::at(path.map_or(String::new(), |(_, path)| path)));
            }
        }
        if receiver.is_some() && !opened {
            lasts = KNOWN;
        }
        let shown = [Some(Direction::Out), Some(Direction::In), None]
            .map(|direction| self.shown(flow.is_local(), direction, sender.as_ref(), receiver.as_ref()));
        Answer { asked: time, lasts, shown }
    }

    /// What is said of packets of this direction; `local`: both ends are here.
    fn shown(
        &self,
        local: bool,
        direction: Option<Direction>,
        mut sender: Option<&Process>,
        mut receiver: Option<&Process>,
    ) -> Option<String> {
        // Only on a machine's own connections both ends are sockets of it.
        match direction {
            Some(Direction::Out) if sender.is_some() => receiver = None,
            Some(Direction::In) if receiver.is_some() && !local => sender = None,
            _ => {}
        }
        let wanted = |process: Option<&Process>| {
            process.is_some_and(|process| self.wanted.has(process, self.cgroups.get(&process.cgroup)))
        };
        if !self.wanted.is_any() && !wanted(sender) && !wanted(receiver) {
            return None;
        }
        // Of two ends that are here, one that is not known is said to be so.
        let both = local && (sender.is_some() || receiver.is_some());
        let ends: Vec<String> = [sender, receiver]
            .into_iter()
            .filter_map(|process| match process {
                Some(process) => Some(self.name(process)),
                None => both.then(|| UNKNOWN_PROCESS.to_owned()),
            })
            .collect();
        Some(if ends.is_empty() { UNKNOWN_PROCESS.to_owned() } else { ends.join(" > ") })
    }

    /// A process as people call it.
    fn name(&self, Process { pid, comm, cgroup }: &Process) -> String {
        match self.cgroups.get(cgroup) {
            Some(Group { name, .. }) if !name.is_empty() => format!("{comm} {pid} in {name}"),
            _ => format!("{comm} {pid}"),
        }
    }

    /// The process at one end: of the connected socket, else of the one that is bound to the address, else to the port, if
    /// the address is this machine's: what passes through has ports too.
    fn end(&mut self, protocol: u8, local: End, remote: End, time: u64) -> Option<Process> {
        let any = Ipv6Addr::UNSPECIFIED;
        if local.1 == 0 {
            return None;
        }
        if let Some((process, _)) = self.look_up(protocol, local, remote) {
            return Some(process);
        }
        for bound in [local, (any, local.1)] {
            if let Some((process, since)) = self.look_up(protocol, bound, (any, 0)) {
                let here = bound == local || self.addresses.contain(local.0).unwrap_or(false);
                return (here && since <= time.saturating_add(SLACK)).then_some(process);
            }
        }
        None
    }

    /// The process that calls the other end, whose port does not show yet; `None` also where it is one of several.
    fn caller(&mut self, flow: &Flow, time: u64) -> Option<Process> {
        let unbound = (flow.source.0, 0);
        let (process, since) = self.look_up(flow.protocol, unbound, flow.destination)?;
        (process.pid != 0 && since.abs_diff(time) <= SLACK).then_some(process)
    }

    fn look_up(&mut self, protocol: u8, local: End, remote: End) -> Option<(Process, u64)> {
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
