//! Packets of the running kernel: interfaces and a filter enter, the packets that match leave, in the order of time as far
//! as they are there, for a [`Sink`](super::Sink) or whoever takes them.
//!
//! What always holds: what the kernel has counted as matching is taken, dropped for want of room, or left
//! ([`Counts`]): the sums agree once [`Live::finish`] has run.

mod batch;
mod cgroup;
mod drops;
mod flow;
mod flows;
mod owner;
mod source;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use skep_bpf::classic::{Insn, class};
use skep_kernel::LiveTarget;
use skep_kernel::packet::{self, Directory, Namespace};
use skep_kernel::proc;
use skep_packet::file::Interface;
use skep_packet::filter;

use crate::Error;
use batch::Ready;
use owner::Owners;
use source::{Opener, Source};

pub use batch::{Batch, Next};
pub use drops::Drops;
pub use flows::{By, Flows};
pub use owner::Wanted;
pub use skep_kernel::packet::{Interface as Device, interfaces};
pub use skep_kernel::proc::Cgroup;

/// The name that means all interfaces.
const ANY: &str = "any";
/// A filter that takes nothing.
const NOTHING: [Insn; 1] = [Insn::new(class::RET, 0)];
/// Longest wait for what the kernel still holds when the capture ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest sleep while packets come, and the part of a ring that may be filled meanwhile, if they come as they did.
const NAP: Duration = Duration::from_millis(4);
const PART: u32 = 8;

/// Which way packets go that are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// Those that are received.
    In,
    /// Those that are sent.
    Out,
    /// Both.
    #[default]
    Both,
}

/// What is captured, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of interfaces; `any`: all of them, also those to come. Empty: the first that is not the loopback interface.
    pub interfaces: Vec<String>,
    /// The filter; empty: everything.
    pub expression: String,
    /// The filter as libpcap means it in everything.
    pub strict: bool,
    /// Which way.
    pub way: Way,
    /// Also what is addressed to others.
    pub promiscuous: bool,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// Bytes of each interface's ring.
    pub buffer: u64,
    /// Milliseconds after which packets are handed over, although there are few.
    pub retire: u32,
    /// The network namespace, by its name or the id of a process in it.
    pub namespace: Option<String>,
    /// Find the process of each packet; only packets of those that are wanted are taken.
    pub processes: Option<Wanted>,
}

/// Where matching packets went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Packets that the filter in the kernel took.
    pub matched: u64,
    /// Those that were handed on.
    pub taken: u64,
    /// Those that were not: they came after the end, or what is tested here was against them.
    pub left: u64,
    /// Those for which the kernel had no room.
    pub dropped: u64,
}

/// What a packet's taker says: go on, or that was the last one.
pub type Verdict = Result<Taken, Error>;

/// Takes packets of a batch.
pub type Take<'t> = &'t mut dyn FnMut(&mut Batch<'_>) -> Result<(), Error>;

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It was taken.
    Yes,
    /// It was taken, and is the last one.
    Last,
    /// It was not wanted.
    No,
    /// There is no room for it, nor for any behind it.
    Full,
}

/// A running capture.
#[derive(Debug)]
pub struct Live {
    sources: Vec<Source>,
    interfaces: Interfaces,
    counts: Counts,
    seen: u64,
    retire: Duration,
    /// When it was read last, and how long to sleep before the next time.
    read: Duration,
    nap: Duration,
    /// Blocks that may be filled meanwhile.
    room: u32,
    directory: Directory,
    owners: Option<Owners>,
    over: bool,
}

/// The interfaces that packets came from, numbered in the order in which they were met.
#[derive(Debug)]
struct Interfaces {
    list: Vec<Interface>,
    /// By index of the kernel.
    numbers: HashMap<u32, usize>,
    /// The entry that was used last.
    last: Option<(u32, usize)>,
    snaplen: u32,
}

/// Gives up, in this thread, the rights that an open capture does not need; `files`: it goes on to make files; `maps`: it
/// goes on to read maps and symbols of the kernel.
pub fn drop_capabilities(files: bool, maps: bool) -> Result<(), Error> {
    Ok(packet::drop_capabilities(maps, files)?)
}

/// Finds a cgroup by its folder, or by its path in the unified hierarchy.
pub fn find_cgroup(path: &str) -> Result<Cgroup, Error> {
    Ok(proc::find_cgroup(path)?)
}

/// All interfaces of the network namespace that the options name.
pub fn devices(namespace: Option<&str>) -> Result<Vec<Device>, Error> {
    match namespace {
        None => Ok(interfaces()?),
        Some(name) => Ok(Namespace::find(name)?.within(interfaces)??),
    }
}

impl Live {
    /// Opens what the options name and begins to receive.
    pub fn open(options: &Options) -> Result<Live, Error> {
        match options.namespace.as_deref().map(Namespace::find).transpose()? {
            None => Live::open_here(options),
            Some(inside) => inside.within(|| Live::open_here(options))?,
        }
    }

    fn open_here(options: &Options) -> Result<Live, Error> {
        let mut directory = Directory::open()?;
        let devices = directory.interfaces()?;
        let loopback = devices.iter().find(|d| d.hardware == 772).map(|d| d.index);
        let opener = Opener { options, target: Arc::new(LiveTarget::new()), loopback };
        let mut live = Live {
            sources: Vec::new(),
            interfaces: Interfaces {
                list: Vec::new(),
                numbers: HashMap::new(),
                last: None,
                snaplen: options.snaplen,
            },
            counts: Counts::default(),
            seen: 0,
            retire: Duration::from_millis(options.retire.into()),
            read: proc::monotonic(),
            nap: Duration::ZERO,
            room: opener.sizes().1 / PART,
            directory,
            owners: None,
            over: false,
        };
        if let Some(wanted) = &options.processes {
            live.owners = Some(Owners::start(wanted.clone())?);
        }
        let first = || devices.iter().find(|d| Some(d.index) != loopback).or(devices.first());
        let named: Vec<&str> = match options.interfaces.as_slice() {
            [] => first().map(|d| d.name.as_str()).into_iter().collect(),
            names => names.iter().map(String::as_str).collect(),
        };
        for name in named {
            if name == ANY {
                live.sources.push(opener.open(None)?);
                continue;
            }
            let number = name.parse::<u32>().ok();
            let device = devices.iter().find(|d| d.name == name || Some(d.index) == number);
            let device = device.ok_or_else(|| unknown(name, &devices))?;
            let source = opener.open(Some(device))?;
            live.interfaces.add(device.index, &device.name, source.link);
            live.sources.push(source);
        }
        if live.sources.is_empty() {
            return Err(Error::Capture("there is no network interface".to_owned()));
        }
        Ok(live)
    }

    /// What is captured, as messages say it: names with their link types.
    pub fn shown(&self) -> String {
        let one = |source: &Source| {
            let name = if source.name.is_empty() { ANY } else { &source.name };
            let link = filter::link::LinkType::from_number(source.link);
            format!("{name} ({})", link.map_or("?", |link| link.name()))
        };
        self.sources.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The link type of the first socket's packets.
    pub fn first_link(&self) -> u16 {
        self.sources.first().map_or(1, |source| source.link)
    }

    /// Whether lines need not say which interface a packet is of: there is one.
    pub fn is_single(&self) -> bool {
        self.sources.len() == 1 && self.sources.iter().all(|source| !source.name.is_empty())
    }

    /// Descriptors that become readable when packets wait.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().filter(|source| !source.ended).map(|source| source.socket.as_fd())
    }

    /// Waits up to `time` for packets or for `also` to be readable; then hands on all that wait, a block at a time. What `take` does
    /// not look at is left; if it fails, so is the packet that it had last.
    pub fn round(
        &mut self,
        time: Duration,
        also: &[BorrowedFd<'_>],
        take: Take<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        if !self.nap.is_zero() {
            packet::wait(&[], self.nap)?;
        }
        let waiting: Vec<BorrowedFd<'_>> = self.descriptors().chain(also.iter().copied()).collect();
        packet::wait(&waiting, time)?;
        let mut blocks = 0;
        while self.blocks(take)? {
            blocks += 1;
            if self.over {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.rest(blocks);
        Ok(if self.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Each wake-up costs this process and whoever sends the packet. Where blocks come fast, it sleeps until some have come.
    fn rest(&mut self, blocks: u32) {
        let now = proc::monotonic();
        let each = now.saturating_sub(self.read) / blocks.max(1);
        self.read = now;
        self.nap = match blocks {
            0 => Duration::ZERO,
            _ => Some(each * self.room)
                .filter(|nap| *nap < NAP * self.room)
                .map_or(Duration::ZERO, |nap| nap.min(NAP)),
        };
    }

    /// Hands on the packets of one block of each socket; whether there was any.
    fn blocks(&mut self, take: Take<'_>) -> Result<bool, Error> {
        let Live { sources, interfaces, counts, seen, over, directory, owners, .. } = self;
        let ready: Vec<Ready<'_>> = sources
            .iter_mut()
            .filter_map(|Source { socket, link, late, .. }| {
                let (link, late) = (*link, late.as_ref());
                let block = socket.block()?;
                Some(Ready { lease: block.lease(), block, link, late })
            })
            .collect();
        if ready.is_empty() {
            return Ok(false);
        }
        let owners = owners.as_mut();
        let mut batch = Batch { ready, interfaces, directory, owners, counts, seen, over };
        let mut done = Ok(());
        if !*batch.over {
            done = take(&mut batch);
        }
        if done.is_err() {
            batch.judge(Taken::Full);
        }
        batch.leave();
        done.map(|()| true)
    }

    /// What went wrong with interfaces since the last call: each is told once. Their packets that came before stay.
    pub fn troubles(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for source in self.sources.iter_mut().filter(|source| !source.ended) {
            if let Some(why) = source.socket.trouble() {
                source.ended = true;
                let name = if source.name.is_empty() { ANY } else { &source.name };
                found.push(format!("{name}: {why}"));
            }
        }
        found
    }

    /// Whether an interface is left that gives packets.
    pub fn is_alive(&self) -> bool {
        self.sources.iter().any(|source| !source.ended)
    }

    /// Counts of the kernel and ours. While packets come they are of slightly different moments.
    pub fn counts(&mut self) -> Counts {
        let (mut matched, mut dropped) = (0, 0);
        for source in &mut self.sources {
            let counts = source.socket.counts();
            matched += counts.matched;
            dropped += counts.dropped;
        }
        Counts { matched, dropped, ..self.counts }
    }

    /// Ends the capture: nothing new is received, and what the kernel still holds is handed on, or left where the last
    /// packet has been taken.
    pub fn finish(&mut self, take: Take<'_>) -> Result<Counts, Error> {
        for source in &self.sources {
            source.socket.filter(packet::Filter::Classic(&NOTHING))?;
        }
        let end = proc::monotonic() + PATIENCE;
        let mut failed = Ok(());
        loop {
            let more = self.blocks(take).unwrap_or_else(|error| {
                failed = Err(error);
                true
            });
            if more {
                continue;
            }
            let counts = self.counts();
            if self.seen + counts.dropped >= counts.matched || proc::monotonic() >= end {
                return failed.map(|()| counts);
            }
            packet::wait(&[], self.retire.min(Duration::from_millis(5)))?;
        }
    }
}

fn unknown(name: &str, devices: &[Device]) -> Error {
    let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).take(20).collect();
    Error::Capture(format!(
        "there is no interface {}; there are {} (`any` is all of them)",
        name.escape_debug(),
        names.join(", ")
    ))
}

impl Interfaces {
    fn add(&mut self, index: u32, name: &str, link: u16) -> usize {
        let number = self.list.len();
        self.list.push(Interface { link, snaplen: self.snaplen, name: name.to_owned() });
        self.numbers.insert(index, number);
        number
    }

    /// The number of the interface with the kernel's index, which may be new.
    #[inline]
    fn number(&mut self, index: u32, link: u16, directory: &mut Directory) -> usize {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == index) {
            return number;
        }
        let number = match self.numbers.get(&index) {
            Some(number) => *number,
            None => self.meet(index, link, directory),
        };
        self.last = Some((index, number));
        number
    }

    #[cold]
    fn meet(&mut self, index: u32, link: u16, directory: &mut Directory) -> usize {
        let found = directory.interfaces().ok().and_then(|all| all.into_iter().find(|d| d.index == index));
        let name = found.map_or_else(|| format!("if{index}"), |d| d.name);
        self.add(index, &name, link)
    }
}
