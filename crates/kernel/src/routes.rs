//! The kernel's routes as netlink tells them, in the network namespace of the calling thread: nothing enters, messages leave as the
//! kernel wrote them, those of now and those of every change.
//!
//! Layouts: include/uapi/linux/rtnetlink.h (groups, `RTM_*`), nexthop.h.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::netlink::Netlink;
use crate::proc::Signals;

const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEXTHOP: u16 = 106;
/// Links (1), IPv4 addresses (5) and routes (7), IPv6 addresses (9) and routes (11), next-hop objects (32).
const GROUPS: u32 = 1 << 0 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 31;
/// Bytes of messages that wait to be read: enough for some ten thousand routes at once.
const ROOM: usize = 32 << 20;
/// How often a list is read that changes meanwhile.
const TRIES: usize = 3;

/// A message: its kind (`RTM_*`), its flags (`NLM_F_*`) and what follows the header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `RTM_*`
    pub kind: u16,
    /// `NLM_F_*`
    pub flags: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

/// What has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// All that there was.
    All,
    /// As much as was asked for; there may be more.
    Some,
    /// Changes found no room and are lost: only the lists say how things are.
    Overrun,
}

/// Why waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// There are messages.
    Messages,
    /// A signal has come.
    Signal,
    /// The time is over.
    Time,
}

/// What the kernel says of every change.
#[derive(Debug)]
pub struct Changes {
    netlink: Netlink,
    buffer: Vec<u8>,
}

impl Changes {
    /// Begins to collect them.
    pub fn follow() -> Result<Changes, Error> {
        let netlink = Netlink::subscribe(GROUPS, ROOM)
            .map_err(|errno| Error::os("follow the kernel's routes", errno))?;
        Ok(Changes { netlink, buffer: Vec::new() })
    }

    /// Reads up to `most` datagrams that have come.
    pub fn read(&mut self, most: usize, each: &mut dyn FnMut(Message<'_>)) -> Result<News, Error> {
        let mut take = |kind: u16, flags: u16, body: &[u8]| each(Message { kind, flags, body });
        for _ in 0..most {
            match self.netlink.news(&mut self.buffer, &mut take) {
                Ok(true) => {}
                Ok(false) => return Ok(News::All),
                Err(Errno::NOBUFS) => return Ok(News::Overrun),
                // A datagram that makes no sense may have said anything.
                Err(Errno::BADMSG) => return Ok(News::Overrun),
                Err(errno) => return Err(Error::os("read changes of the kernel's routes", errno)),
            }
        }
        Ok(News::Some)
    }

    /// Waits for messages or a signal, no longer than `most`.
    pub fn wait(&self, signals: &Signals, most: Duration) -> Result<Waited, Error> {
        let most = most.try_into().ok();
        loop {
            let mut waiting =
                [PollFd::new(&self.netlink, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut waiting, most.as_ref()) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::os("wait for changes of the kernel's routes", errno)),
                Ok(_) => {}
            }
            return Ok(match (waiting[1].revents().is_empty(), waiting[0].revents().is_empty()) {
                (false, _) => Waited::Signal,
                (true, false) => Waited::Messages,
                (true, true) => Waited::Time,
            });
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// Lists links, next-hop objects and routes, in this order. `begin` is called before each attempt: a list that changed while it was
/// read is read again, and what came before it counts no more. `false`: it changed each time, and may have holes.
pub fn list(begin: &mut dyn FnMut(), each: &mut dyn FnMut(Message<'_>)) -> Result<bool, Error> {
    let mut whole = false;
    for _ in 0..TRIES {
        begin();
        whole = true;
        // struct ifinfomsg, nhmsg, and rtmsg of IPv4, then IPv6 (`AF_INET`, `AF_INET6`).
        for (what, kind, body) in [
            ("network interfaces", RTM_GETLINK, &[0; 16][..]),
            ("next hops", RTM_GETNEXTHOP, &[0; 8][..]),
            ("routes", RTM_GETROUTE, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]),
            ("routes", RTM_GETROUTE, &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]),
        ] {
            let mut take = |kind: u16, flags: u16, body: &[u8]| each(Message { kind, flags, body });
            let mut netlink = Netlink::open().map_err(|errno| Error::os(format!("list {what}"), errno))?;
            match netlink.dump(kind, body, &mut take) {
                Ok(this) => whole &= this,
                // No next-hop objects before 5.3, no IPv6 where it is turned off.
                Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT) if kind != RTM_GETLINK => {}
                Err(errno) => return Err(Error::os(format!("list {what}"), errno)),
            }
        }
        if whole {
            break;
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_listed() {
        let (mut begun, mut kinds) = (0, Vec::new());
        list(&mut || begun += 1, &mut |message| kinds.push(message.kind)).unwrap();
        // RTM_NEWLINK comes first, of loopback at least, and only RTM_NEWNEXTHOP and RTM_NEWROUTE behind.
        assert!(begun > 0 && kinds.first() == Some(&16), "{kinds:?}");
        assert!(kinds.iter().all(|kind| [16, 104, 24].contains(kind)), "{kinds:?}");
    }

    #[test]
    fn nothing_has_changed() {
        let mut changes = Changes::follow().unwrap();
        assert!(matches!(changes.read(1, &mut |_| {}), Ok(News::All | News::Some)));
    }
}
