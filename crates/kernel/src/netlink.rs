//! A minimal rtnetlink client: a request enters as its kind and body, the kernel's messages leave, or its errno. Only what
//! the kernel sends is read, with every length checked against what is there.
//!
//! Layouts: include/uapi/linux/netlink.h (nlmsghdr, nlattr).

use std::net::IpAddr;

use crate::error::Error;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, recvfrom, send, socket_with,
    sockopt,
};
use std::os::fd::{AsFd, BorrowedFd};

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// What was dumped changed meanwhile (`NLM_F_DUMP_INTR`).
const TORN: u16 = 0x10;
/// Send what was made back.
pub(crate) const ECHO: u16 = 8;
/// All of them.
pub(crate) const DUMP: u16 = 0x300;
/// Make it.
pub(crate) const CREATE: u16 = 0x400;
/// Only if it is not there.
pub(crate) const EXCL: u16 = 0x200;

/// One message of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// `RTM_*`
    pub(crate) kind: u16,
    /// What follows the header.
    pub(crate) body: Vec<u8>,
}

/// A connection to rtnetlink.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// Largest datagram that the kernel sends (its dumps fill at most 32 KiB).
pub(crate) const BUFFER: usize = 64 << 10;

impl Netlink {
    /// Opens one (protocol 0 is NETLINK_ROUTE), in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Netlink, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Opens one to the families of generic netlink.
    pub(crate) fn open_generic() -> Result<Netlink, Errno> {
        let (flags, protocol) = (SocketFlags::CLOEXEC, rustix::net::netlink::GENERIC);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(protocol))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Opens one that is sent what happens to these groups (bit 0 is group 1), reads without waiting, and has room for `room`
    /// bytes of messages where the caller may ask for that.
    pub(crate) fn subscribe(groups: u32, room: usize) -> Result<Netlink, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let forced = sockopt::set_socket_recv_buffer_size_force(&socket, room);
        forced.or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, room))?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Reads one datagram of what the kernel says by itself into a buffer of [`BUFFER`] bytes; `None`: there is none now. ENOBUFS: some found no room.
    pub(crate) fn datagram<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Errno> {
        let (length, from) = match recvfrom(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _, from)) => (length, from),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => (0, None),
            Err(errno) => return Err(errno),
        };
        // Others may send to this socket too; only the kernel has no port.
        let kernel = from.and_then(|a| SocketAddrNetlink::try_from(a).ok()).is_some_and(|a| a.pid() == 0);
        Ok(Some(buffer.get(..length).filter(|_| kernel).unwrap_or(&[])))
    }

    /// Lists what a request asks for, message by message; `false` when it changed meanwhile, so that the list may have holes.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        each: &mut dyn FnMut(u16, u16, &[u8]),
    ) -> Result<bool, Errno> {
        self.ask(kind, DUMP, body)?;
        let (mut whole, mut buffer) = (true, vec![0u8; BUFFER]);
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            for message in Messages(&buffer[..length.min(BUFFER)]) {
                let Header { kind, flags, sequence, body } = message?;
                if sequence != self.sequence {
                    continue;
                }
                whole &= flags & TORN == 0;
                match kind {
                    NLMSG_DONE | NLMSG_ERROR => return outcome(kind, body).map(|()| whole),
                    kind => each(kind, flags, body),
                }
            }
        }
    }

    /// Sends a request and gives all messages up to its end or acknowledgement.
    pub(crate) fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Message>, Errno> {
        self.ask(kind, flags, body)?;
        let (mut messages, mut buffer) = (Vec::new(), vec![0u8; BUFFER]);
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if self.take(&buffer[..length.min(BUFFER)], &mut messages)? {
                return Ok(messages);
            }
        }
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::TOOBIG)?;
        let ack = if flags & DUMP == DUMP { 0 } else { NLM_F_ACK };
        let mut packet = Vec::with_capacity(HEADER + body.len());
        packet.extend(length.to_ne_bytes());
        packet.extend(kind.to_ne_bytes());
        packet.extend((NLM_F_REQUEST | ack | flags).to_ne_bytes());
        packet.extend(self.sequence.to_ne_bytes());
        packet.extend(0u32.to_ne_bytes());
        packet.extend(body);
        send(&self.socket, &packet, SendFlags::empty()).map(drop)
    }

    /// Reads one datagram; whether it ends the answer.
    fn take(&self, datagram: &[u8], messages: &mut Vec<Message>) -> Result<bool, Errno> {
        for message in Messages(datagram) {
            let Header { kind, sequence, body, .. } = message?;
            if sequence != self.sequence {
                continue;
            }
            match kind {
                NLMSG_DONE | NLMSG_ERROR => return outcome(kind, body).map(|()| true),
                kind => messages.push(Message { kind, body: body.to_vec() }),
            }
        }
        Ok(false)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All messages of a list; `what` says of what.
pub(crate) fn list(what: &str, kind: u16, body: &[u8]) -> Result<Vec<Message>, Error> {
    let failed = |errno| Error::os(format!("list {what}"), errno);
    let mut netlink = Netlink::open().map_err(failed)?;
    netlink.request(kind, DUMP, body).map_err(failed)
}

/// What the message says that ends an answer. The end of a dump that failed carries its errno, as an error does.
fn outcome(kind: u16, body: &[u8]) -> Result<(), Errno> {
    match body.get(..4).map(|code| u32_at(code, 0) as i32) {
        Some(code) if code < 0 => Err(Errno::from_raw_os_error(code.wrapping_neg())),
        Some(_) => Ok(()),
        None if kind == NLMSG_DONE => Ok(()),
        None => Err(Errno::BADMSG),
    }
}

/// Calls `each` for the messages of a datagram: kind, flags, and what follows the header.
pub(crate) fn messages(datagram: &[u8], each: &mut dyn FnMut(u16, u16, &[u8])) -> Result<(), Errno> {
    Messages(datagram).try_for_each(|message| {
        let Header { kind, flags, body, .. } = message?;
        each(kind, flags, body);
        Ok(())
    })
}

/// A message within a datagram.
struct Header<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram; a damaged length is the last thing that it gives.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Header<'a>, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let header = rest.get(..HEADER)?;
        let length = u32_at(header, 0) as usize;
        let Some(body) = rest.get(HEADER..length) else { return Some(Err(Errno::BADMSG)) };
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        let (kind, flags, sequence) = (u16_at(header, 4), u16_at(header, 6), u32_at(header, 8));
        Some(Ok(Header { kind, flags, sequence, body }))
    }
}

/// Appends an attribute.
pub(crate) fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The attributes of a message behind its fixed part: kind and value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest.get(..4)?, 0));
        let value = rest.get(4..length)?;
        // The two top bits say nested and network byte order.
        let kind = u16_at(rest, 2) & 0x3fff;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// Bytes as an address.
pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// A number of 32 bits, 0 where there is none.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_back() {
        let mut body = Vec::new();
        put(&mut body, 3, b"veth0\0");
        put(&mut body, 4, &1500u32.to_ne_bytes());
        assert_eq!(body.len() % 4, 0);
        let list: Vec<_> = attributes(&body).collect();
        assert_eq!(list, [(3, &b"veth0\0"[..]), (4, &1500u32.to_ne_bytes()[..])]);
        // Damaged lengths end the list.
        assert_eq!(attributes(&[2, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[4]).count(), 0);
        assert_eq!((ip(&[1, 2, 3]), ip(&[1, 2, 3, 4])), (None, Some([1, 2, 3, 4].into())));
    }

    #[test]
    fn damaged_datagrams_are_refused() {
        let netlink = Netlink { sequence: 7, ..Netlink::open().unwrap() };
        let message = |length: u32, kind: u16, sequence: u32, body: &[u8]| {
            let mut out = length.to_ne_bytes().to_vec();
            out.extend(kind.to_ne_bytes());
            out.extend(0u16.to_ne_bytes());
            out.extend(sequence.to_ne_bytes());
            out.extend(0u32.to_ne_bytes());
            out.extend(body);
            out
        };
        let take = |bytes: &[u8]| netlink.take(bytes, &mut Vec::new());
        assert_eq!(take(&message(16, NLMSG_DONE, 7, &[])), Ok(true));
        assert_eq!(take(&message(16, NLMSG_DONE, 6, &[])), Ok(false));
        assert_eq!(take(&message(900, 16, 7, &[])), Err(Errno::BADMSG));
        assert_eq!(take(&message(3, 16, 7, &[])), Err(Errno::BADMSG));
        assert_eq!(take(&message(16, NLMSG_ERROR, 7, &[])), Err(Errno::BADMSG));
        assert_eq!(take(&message(20, NLMSG_ERROR, 7, &(-2i32).to_ne_bytes())), Err(Errno::NOENT));
        assert_eq!(take(&message(20, NLMSG_ERROR, 7, &0i32.to_ne_bytes())), Ok(true));
    }
}
