//! Flags of a network card (include/uapi/linux/ethtool.h, `ETHTOOL_GFLAGS`, `ETHTOOL_SFLAGS`): a name enters, bits leave or an errno.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::bpf::last_errno;

const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;

/// struct ethtool_value.
#[repr(C)]
struct Number {
    command: u32,
    data: u32,
}

/// struct ifreq with a pointer.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut Number,
    rest: [u8; 16],
}

/// The flags (`ETH_FLAG_*`).
pub(crate) fn flags(name: &str) -> Result<u32, Errno> {
    call(name, Number { command: GET_FLAGS, data: 0 })
}

/// Sets the flags.
pub(crate) fn set_flags(name: &str, flags: u32) -> Result<(), Errno> {
    call(name, Number { command: SET_FLAGS, data: flags }).map(drop)
}

fn call(name: &str, mut number: Number) -> Result<u32, Errno> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: &raw mut number, rest: [0; 16] };
    let Some(place) = request.name.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ) else {
        return Err(Errno::NODEV);
    };
    place.copy_from_slice(name.as_bytes());
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the request is live, ends its name with a zero and is as long as struct ifreq; what it points to is live and as long as
    // the command says (struct ethtool_value).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(number.data) } else { Err(last_errno()) }
}

/// `SIOCETHTOOL` (include/uapi/linux/sockios.h)
const SIOCETHTOOL: libc::Ioctl = 0x8946;
