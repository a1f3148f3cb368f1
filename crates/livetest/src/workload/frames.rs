//! Frames: sent as they are through a packet socket.
//!
//! In: an interface and a file with a frame a line, in hexadecimal digits; blanks do not matter, `#` begins a comment, and
//! `xx*N` is byte xx N times. Out: the frames on the wire, in order. Always: a frame is sent whole, or the work fails.

#![allow(unsafe_code, reason = "rustix has neither the address of a packet socket nor its options")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, addr::SocketAddrArg, addr::SocketAddrOpaque, sendto,
    socket_with,
};

use super::failed;

/// struct sockaddr_ll (include/uapi/linux/if_packet.h), as far as sending looks at it.
#[repr(C)]
struct Address {
    family: u16,
    protocol: u16,
    ifindex: i32,
    rest: [u8; 12],
}

// SAFETY: the pointer is to a whole struct sockaddr_ll that lives as long as the call.
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, u32) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Address>() as u32)
    }
}

unsafe extern "C" {
    fn setsockopt(fd: i32, level: i32, name: i32, value: *const i32, len: u32) -> i32;
}

/// EtherType of IPv4.
const IP4: u16 = 0x0800;
const SOL_PACKET: i32 = 263;
/// Each frame has a struct virtio_net_hdr before it.
const PACKET_VNET_HDR: i32 = 15;

/// `frames INTERFACE FILE`
pub(super) fn frames(args: &[String]) -> Result<(), String> {
    let (socket, address) = open(&args[0])?;
    each(&args[1], &mut |frame| send(&socket, &address, &frame))
}

/// `packets INTERFACE FILE`: the same for IPv4 packets, where the link has no header that tells the protocol.
pub(super) fn packets(args: &[String]) -> Result<(), String> {
    let (socket, address) = open(&args[0])?;
    let address = Address { protocol: IP4.to_be(), ..address };
    each(&args[1], &mut |packet| send(&socket, &address, &packet))
}

/// `gso-frames INTERFACE FILE LINEAR SEGMENT`: as IPv4 and TCP segments that the device is to cut into pieces of SEGMENT
/// bytes, only the first LINEAR bytes of each in one piece of memory.
pub(super) fn gso_frames(args: &[String]) -> Result<(), String> {
    let (socket, address) = open(&args[0])?;
    let on = 1i32;
    // SAFETY: the option's value is an int that lives as long as the call.
    let done = unsafe { setsockopt(socket.as_raw_fd(), SOL_PACKET, PACKET_VNET_HDR, &on, 4) };
    if done != 0 {
        return Err(format!("PACKET_VNET_HDR: {}", std::io::Error::last_os_error()));
    }
    let number = |text: &String| super::count(text).map(|n| (n as u16).to_le_bytes());
    let (linear, segment) = (number(&args[2])?, number(&args[3])?);
    each(&args[1], &mut |frame| {
        // struct virtio_net_hdr (include/uapi/linux/virtio_net.h): the checksum is left to the device, which starts
        // behind Ethernet and 20 bytes of IPv4; VIRTIO_NET_HDR_GSO_TCPV4.
        let (start, offset) = (34u16.to_le_bytes(), 16u16.to_le_bytes());
        let mut whole = vec![1, 1];
        whole.extend([linear, segment, start, offset].concat());
        whole.extend(frame);
        send(&socket, &address, &whole)
    })
}

fn open(interface: &str) -> Result<(OwnedFd, Address), String> {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(failed("socket"))?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface).map_err(failed(interface))?;
    let family = AddressFamily::PACKET.as_raw();
    Ok((socket, Address { family, protocol: 0, ifindex: index as i32, rest: [0; 12] }))
}

fn send(socket: &OwnedFd, address: &Address, frame: &[u8]) -> Result<(), String> {
    let sent = sendto(socket, frame, SendFlags::empty(), address).map_err(failed("sendto"))?;
    match sent == frame.len() {
        true => Ok(()),
        false => Err(format!("{sent} of {} bytes were sent", frame.len())),
    }
}

fn each(path: &str, work: &mut dyn FnMut(Vec<u8>) -> Result<(), String>) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    for line in text.lines() {
        let frame = parse(line)?;
        if !frame.is_empty() {
            work(frame)?;
        }
    }
    Ok(())
}

/// A line as bytes.
fn parse(line: &str) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    for word in line.split('#').next().unwrap_or("").split_whitespace() {
        let (digits, times) = match word.split_once('*') {
            Some((digits, times)) => (digits, super::count(times)?),
            None => (word, 1),
        };
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let bytes = bytes.filter(|_| digits.len() % 2 == 0).ok_or_else(|| format!("no bytes: `{word}`"))?;
        (0..times).for_each(|_| frame.extend(&bytes));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_of_bytes() {
        assert_eq!(parse("0a0B 01*3 # comment"), Ok(vec![10, 11, 1, 1, 1]));
        assert_eq!(parse("# nothing"), Ok(vec![]));
        assert!(parse("0a0").is_err() && parse("zz").is_err() && parse("01*x").is_err());
    }
}
