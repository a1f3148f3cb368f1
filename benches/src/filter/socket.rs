//! Packet sockets: filters on many of them, and frames that all of them look at.

#![allow(unsafe_code, reason = "rustix has neither the address of a packet socket nor its options")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::net::addr::{SocketAddrArg, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, sendto, socket_with};

use skep_bpf::classic::Insn;

/// struct sockaddr_ll (include/uapi/linux/if_packet.h).
#[repr(C)]
pub(super) struct Address {
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
    fn setsockopt(fd: i32, level: i32, name: i32, value: *const c_void, len: u32) -> i32;
}

const SOL_SOCKET: i32 = 1;
const SO_ATTACH_FILTER: i32 = 26;
const ETH_P_ALL: u16 = 3;

/// `struct sock_fprog` (include/uapi/linux/filter.h).
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Insn,
}

/// A socket that sends on an interface.
pub(super) fn sender(interface: &str) -> Result<(OwnedFd, Address)> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).context("packet socket")?;
    let ifindex = rustix::net::netdevice::name_to_index(&socket, interface)? as i32;
    let family = AddressFamily::PACKET.as_raw();
    Ok((socket, Address { family, protocol: 0, ifindex, rest: [0; 12] }))
}

pub(super) fn send(socket: &OwnedFd, to: &Address, frame: &[u8]) -> Result<()> {
    sendto(socket, frame, SendFlags::empty(), to).map(drop).context("send")
}

/// A socket that sees all frames of an interface and keeps those that the filter takes, as long as there is room.
pub(super) fn receiver(interface: &str, filter: &[Insn]) -> Result<OwnedFd> {
    let (socket, mut address) = sender(interface)?;
    attach(&socket, filter)?;
    address.protocol = ETH_P_ALL.to_be();
    bind(&socket, &address).context("bind")?;
    Ok(socket)
}

/// Puts a filter in the place of the one that a socket has.
pub(super) fn attach(socket: &OwnedFd, filter: &[Insn]) -> Result<()> {
    set(socket, SO_ATTACH_FILTER, &Program { len: filter.len() as u16, filter: filter.as_ptr() })
}

fn set<T>(socket: &OwnedFd, name: i32, value: &T) -> Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: the value lives as long as the call and has the length that is given.
    let done =
        unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, name, std::ptr::from_ref(value).cast(), len) };
    ensure!(done == 0, "attach a filter: {}", std::io::Error::last_os_error());
    Ok(())
}
