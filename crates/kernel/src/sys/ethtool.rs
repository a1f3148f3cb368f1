//! Flags of a network card (include/uapi/linux/ethtool.h, `ETHTOOL_GFLAGS`, `ETHTOOL_SFLAGS`): a name enters, bits leave or an errno.

use std::os::fd::AsRawFd;

use rustix::io::Errno;

use super::bpf::last_errno;
use super::packet::{control, interface_name};

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
    let name = interface_name(name)?;
    let mut request = Request { name, data: &raw mut number, rest: [0; 16] };
    let socket = control()?;
    // SAFETY: the request is live, ends its name with a zero and is as long as struct ifreq; what it points to is live and as long as
    // the command says (struct ethtool_value).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(number.data) } else { Err(last_errno()) }
}

/// `SIOCETHTOOL` (include/uapi/linux/sockios.h)
const SIOCETHTOOL: libc::Ioctl = 0x8946;
