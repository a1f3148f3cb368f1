//! Live packets: an interface, a socket filter and sizes enter, blocks of packets leave as the kernel fills them
//! (`Ring`).
//!
//! What always holds: a socket receives nothing before its filter is on it (it is bound last), so no packet that the filter
//! would not take is ever seen. Dropping a [`PacketSocket`] takes everything back, promiscuous mode included.

mod local;
mod mapped;
mod namespace;
mod ring;
mod spool;
mod tags;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use skep_bpf::classic::Insn;

pub use local::LocalAddresses;
pub use mapped::MappedFile;
pub use namespace::{Namespace, current_inode};
pub use ring::{Block, Head, Lease, PACKET_OUTGOING, SLL2_HEADER};
pub use spool::{Spool, copy_short};

use crate::error::Error;
use crate::netlink::Netlink;
use crate::prog::Prog;
use crate::sys::mmap::Mapping;
use crate::sys::packet as sys;
use ring::Ring;

/// `TPACKET_V3`
const VERSION: i32 = 2;
/// `PACKET_IGNORE_OUTGOING` (Linux 4.20)
const IGNORE_OUTGOING: i32 = 23;
/// Bytes of a frame's place that the kernel asks to be named; blocks are filled without regard to it.
const FRAME: u32 = 2048;

/// An interface of skep's network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// `ARPHRD_*` (include/uapi/linux/if_arp.h).
    pub hardware: u32,
    /// Largest packet.
    pub mtu: u32,
}

/// All interfaces of this network namespace, by index.
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    Directory::open()?.interfaces()
}

/// Knows the interfaces of the network namespace in which it was opened, also when this thread has left it and may not come back.
#[derive(Debug)]
pub struct Directory(Netlink);

impl Directory {
    /// Opens one of this thread's network namespace.
    pub fn open() -> Result<Directory, Error> {
        Netlink::open().map(Directory).map_err(|errno| Error::os("list network interfaces", errno))
    }

    /// All interfaces, by index.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let all = crate::device::devices_by(&mut self.0)?.into_iter();
        Ok(all
            .map(|i| Interface { name: i.name, index: i.index, hardware: i.hardware, mtu: i.mtu })
            .collect())
    }
}

/// The mask of an interface's first IPv4 address; `None`: it has none.
pub fn netmask(name: &str) -> Option<u32> {
    sys::netmask(name).ok().map(u32::from_be_bytes)
}

/// How a socket receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Index of the interface; 0: all.
    pub interface: u32,
    /// Frames with their link headers; else the kernel cuts these off, and a [`SLL2_HEADER`] stands in their place.
    pub raw: bool,
    /// Also what is addressed to others.
    pub promiscuous: bool,
    /// Nothing of what is sent.
    pub ignore_outgoing: bool,
    /// Bytes of a block: a power of two, at least a page.
    pub block: u32,
    /// Blocks.
    pub blocks: u32,
    /// Milliseconds after which a block that is not full is handed over.
    pub retire: u32,
}

/// What the kernel counted of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Packets that passed the filter.
    pub matched: u64,
    /// Those of them that found no room in the ring.
    pub dropped: u64,
}

/// What decides on a socket which packets it takes.
#[derive(Clone, Copy, Debug)]
pub enum Filter<'f> {
    /// Classic BPF, which the kernel checks and translates.
    Classic(&'f [Insn]),
    /// A program that is loaded.
    Program(&'f Prog),
}

impl Filter<'_> {
    /// Puts it on a socket, of any kind, in place of the one that it has.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let attached = match self {
            Filter::Classic(program) => sys::attach_classic(socket, program),
            Filter::Program(program) => sys::attach_filter(socket, program.as_fd()),
        };
        attached.map_err(|errno| Error::os("put a filter on a socket", errno))
    }
}

/// A packet socket with its ring.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    ring: Ring,
    counts: Counts,
}

impl PacketSocket {
    /// Opens a socket with `filter` on it and begins to receive.
    pub fn open(options: &Options, filter: Filter<'_>) -> Result<PacketSocket, Error> {
        let failed = |what: &'static str| move |errno| Error::os(what, errno);
        let socket = sys::open(options.raw).map_err(failed("open a packet socket"))?;
        sys::set_number(socket.as_fd(), libc::PACKET_VERSION, VERSION)
            .map_err(failed("choose the third version of packet rings"))?;
        sys::set_number(socket.as_fd(), libc::PACKET_RESERVE, ring::reserve(!options.raw) as i32)
            .map_err(failed("reserve room in front of packets"))?;
        if options.ignore_outgoing {
            // Older kernels have no such option; the filter says the same there.
            match sys::set_number(socket.as_fd(), IGNORE_OUTGOING, 1) {
                Ok(()) | Err(Errno::NOPROTOOPT) => {}
                Err(errno) => return Err(Error::os("leave out what is sent", errno)),
            }
        }
        let request = sys::RingRequest {
            block_size: options.block,
            block_count: options.blocks,
            frame_size: FRAME,
            frame_count: options.block / FRAME * options.blocks,
            retire_milliseconds: options.retire,
            private: 0,
            features: 0,
        };
        sys::set_ring(socket.as_fd(), &request).map_err(failed("make a ring for packets"))?;
        let bytes = options.block as usize * options.blocks as usize;
        let mapping =
            Mapping::shared(socket.as_fd(), 0, bytes, true).map_err(failed("mmap a ring for packets"))?;
        filter.attach(socket.as_fd())?;
        let interface = i32::try_from(options.interface).unwrap_or(i32::MAX);
        if options.promiscuous && interface != 0 {
            sys::promiscuous(socket.as_fd(), interface).map_err(failed("turn on promiscuous mode"))?;
        }
        sys::bind(socket.as_fd(), interface).map_err(|errno| match errno {
            Errno::NODEV => Error::Missing(format!("interface {interface}")),
            errno => Error::os("receive packets", errno),
        })?;
        let ring = Ring::new(mapping, options.block as usize, options.blocks as usize, !options.raw);
        Ok(PacketSocket { socket, ring, counts: Counts::default() })
    }

    /// The next block that the kernel has handed over.
    pub fn block(&mut self) -> Option<Block<'_>> {
        self.ring.block()
    }

    /// Puts another filter on the socket: one that takes nothing ends the stream.
    pub fn filter(&self, filter: Filter<'_>) -> Result<(), Error> {
        filter.attach(self.socket.as_fd())
    }

    /// What the kernel has counted until now.
    pub fn counts(&mut self) -> Counts {
        // The kernel forgets what it has told.
        if let Ok((matched, dropped)) = sys::statistics(self.socket.as_fd()) {
            self.counts.matched += u64::from(matched);
            self.counts.dropped += u64::from(dropped);
        }
        self.counts
    }

    /// Why no more packets come: the interface was taken down or is gone. `None`: they do.
    pub fn trouble(&self) -> Option<String> {
        match sys::pending_error(self.socket.as_fd()) {
            0 => None,
            libc::ENETDOWN => Some("the interface went down or is gone".to_owned()),
            errno => Some(std::io::Error::from_raw_os_error(errno).to_string()),
        }
    }
}

impl AsFd for PacketSocket {
    /// Readable when a block waits, or when something is wrong.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits up to `time` until one of these is readable or has failed, or a signal comes.
pub fn wait(descriptors: &[BorrowedFd<'_>], time: Duration) -> Result<(), Error> {
    let mut waiting: Vec<PollFd<'_>> =
        descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let time = Timespec::try_from(time).map_err(|_| Error::os("wait for packets", Errno::INVAL))?;
    match poll(&mut waiting, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::os("wait for packets", errno)),
    }
}

/// Gives up every capability but those to load, read and trace (`tracing`), and to write files where others may not
/// (`files`), in this thread and those that it starts later.
pub fn drop_capabilities(tracing: bool, files: bool) -> Result<(), Error> {
    use rustix::thread::{CapabilitySet as Set, CapabilitySets, capabilities, set_capabilities};
    let failed = |errno| Error::os("drop capabilities", errno);
    let mut keep = Set::empty();
    if tracing {
        keep |= Set::BPF | Set::PERFMON | Set::SYSLOG | Set::SYS_PTRACE | Set::DAC_READ_SEARCH;
    }
    if files {
        keep |= Set::DAC_OVERRIDE;
    }
    let have = capabilities(None).map_err(failed)?;
    let sets = CapabilitySets {
        effective: have.effective & keep,
        permitted: have.permitted & keep,
        inheritable: Set::empty(),
    };
    set_capabilities(None, sets).map_err(failed)
}
