//! The kernel's routes as netlink tells them, in the network namespace of the calling thread: nothing enters, messages leave as the
//! kernel wrote them, those of now and those of every change.
//!
//! Layouts: include/uapi/linux/rtnetlink.h (groups, `RTM_*`), nexthop.h.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::netlink::{self, Netlink};
use crate::proc::Signals;

const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEXTHOP: u16 = 106;
/// Links (1), IPv4 addresses (5) and routes (7), IPv6 addresses (9) and routes (11), next-hop objects (32).
const GROUPS: u32 = 1 << 0 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 31;
/// Bytes of messages that wait in the socket: enough for some ten thousand routes at once.
const ROOM: usize = 32 << 20;
/// Bytes of messages that wait in memory: enough for a million routes at once.
const MOST: usize = 256 << 20;
/// Bytes of messages that are handed over at once.
const CHUNK: usize = 256 << 10;
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

/// What the kernel says of every change. A thread reads it as fast as it comes, so that the socket's room lasts while the caller works.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Datagrams of a chunk that are not read yet.
    chunk: Vec<u8>,
    at: usize,
}

/// What has come, and may wait.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Readable while something waits, and when the thread is to end.
    news: OwnedFd,
    end: OwnedFd,
}

/// Datagrams, each behind its length, in chunks.
#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Some found no room, or made no sense.
    lost: bool,
    failed: Option<Errno>,
}

impl Changes {
    /// Begins to collect them.
    pub fn follow() -> Result<Changes, Error> {
        let failed = |errno| Error::os("follow the kernel's routes", errno);
        let netlink = Netlink::subscribe(GROUPS, ROOM).map_err(failed)?;
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed);
        let shared = Arc::new(Shared { queue: Mutex::default(), news: event()?, end: event()? });
        let of_reader = shared.clone();
        let named = std::thread::Builder::new().name("skep-routes".to_owned());
        let reader = named.spawn(move || of_reader.collect(&netlink));
        let reader = reader.map_err(|e| failed(Errno::from_io_error(&e).unwrap_or(Errno::AGAIN)))?;
        Ok(Changes { shared, reader: Some(reader), chunk: Vec::new(), at: 0 })
    }

    /// Reads up to `most` datagrams that have come.
    pub fn read(&mut self, most: usize, each: &mut dyn FnMut(Message<'_>)) -> Result<News, Error> {
        let mut take = |kind: u16, flags: u16, body: &[u8]| each(Message { kind, flags, body });
        for _ in 0..most {
            let Some(datagram) = datagram(&self.chunk, self.at) else {
                let mut queue = self.shared.lock();
                if std::mem::take(&mut queue.lost) {
                    return Ok(News::Overrun);
                }
                if let Some(errno) = queue.failed {
                    return Err(Error::os("read changes of the kernel's routes", errno));
                }
                let Some(chunk) = queue.chunks.pop_front() else {
                    // Nothing waits any more.
                    let _ = rustix::io::read(&self.shared.news, &mut [0; 8]);
                    return Ok(News::All);
                };
                queue.bytes -= chunk.len();
                (self.chunk, self.at) = (chunk, 0);
                continue;
            };
            self.at += LENGTH + datagram.len();
            // What makes no sense may have said anything.
            if netlink::messages(datagram, &mut take).is_err() {
                return Ok(News::Overrun);
            }
        }
        Ok(News::Some)
    }

    /// Waits for messages or a signal, no longer than `most`.
    pub fn wait(&self, signals: &Signals, most: Duration) -> Result<Waited, Error> {
        let most = most.try_into().ok();
        let has_more = datagram(&self.chunk, self.at).is_some();
        let most = if has_more { Some(&Timespec { tv_sec: 0, tv_nsec: 0 }) } else { most.as_ref() };
        loop {
            let mut waiting =
                [PollFd::new(&self.shared.news, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut waiting, most) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::os("wait for changes of the kernel's routes", errno)),
                Ok(_) => {}
            }
            return Ok(
                match (waiting[1].revents().is_empty(), waiting[0].revents().is_empty() && !has_more) {
                    (false, _) => Waited::Signal,
                    (true, false) => Waited::Messages,
                    (true, true) => Waited::Time,
                },
            );
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.shared.end, &1u64.to_ne_bytes());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Bytes of a datagram's length in a chunk.
const LENGTH: usize = 4;

/// The datagram at a place of a chunk.
fn datagram(chunk: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = chunk.get(at..)?.split_first_chunk::<LENGTH>()?;
    rest.get(..u32::from_ne_bytes(*length) as usize)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what comes until the end is told.
    fn collect(&self, netlink: &Netlink) {
        let (mut chunk, mut buffer) = (Vec::with_capacity(CHUNK), vec![0; netlink::BUFFER]);
        loop {
            let mut waiting = [PollFd::new(netlink, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) if !waiting[1].revents().is_empty() => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return self.put(Vec::new(), false, Some(errno)),
            }
            loop {
                let (more, lost, failed) = match netlink.datagram(&mut buffer) {
                    Ok(Some(datagram)) => {
                        chunk.extend((datagram.len() as u32).to_ne_bytes());
                        chunk.extend(datagram);
                        (true, false, None)
                    }
                    Ok(None) => (false, false, None),
                    Err(Errno::NOBUFS) => (true, true, None),
                    Err(errno) => (false, false, Some(errno)),
                };
                if !more || lost || chunk.len() >= CHUNK {
                    self.put(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)), lost, failed);
                }
                match (failed, more) {
                    (Some(_), _) => return,
                    (None, false) => break,
                    (None, true) => {}
                }
            }
        }
    }

    fn put(&self, chunk: Vec<u8>, lost: bool, failed: Option<Errno>) {
        let mut queue = self.lock();
        queue.lost |= lost;
        queue.failed = queue.failed.or(failed);
        queue.bytes += chunk.len();
        if !chunk.is_empty() {
            queue.chunks.push_back(chunk);
        }
        if queue.bytes > MOST {
            // The whole list says it in less.
            *queue = Queue { lost: true, failed: queue.failed, ..Queue::default() };
        }
        if queue.lost || queue.failed.is_some() || !queue.chunks.is_empty() {
            let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
        }
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
    fn datagrams_of_a_chunk() {
        let chunk =
            [&3u32.to_ne_bytes()[..], b"abc", &0u32.to_ne_bytes(), &9u32.to_ne_bytes(), b"short"].concat();
        assert_eq!((datagram(&chunk, 0), datagram(&chunk, 7)), (Some(&b"abc"[..]), Some(&b""[..])));
        assert_eq!((datagram(&chunk, 11), datagram(&chunk, 99)), (None, None));
    }

    #[test]
    fn nothing_has_changed() {
        let mut changes = Changes::follow().unwrap();
        assert!(matches!(changes.read(1, &mut |_| {}), Ok(News::All | News::Some)));
    }
}
