//! Packet sockets (packet(7); include/uapi/linux/if_packet.h): typed options enter, a result or an errno leaves.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use skep_bpf::classic::Insn;

use super::bpf::last_errno;

/// All protocols, in network byte order (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// struct tpacket_req3.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingRequest {
    pub(crate) block_size: u32,
    pub(crate) block_count: u32,
    pub(crate) frame_size: u32,
    pub(crate) frame_count: u32,
    pub(crate) retire_milliseconds: u32,
    pub(crate) private: u32,
    pub(crate) features: u32,
}

/// struct packet_mreq without an address.
#[repr(C)]
struct Membership {
    interface: i32,
    kind: u16,
    length: u16,
    address: [u8; 8],
}

/// A packet socket that receives nothing yet. `raw`: frames with their link headers.
pub(crate) fn open(raw: bool) -> Result<OwnedFd, Errno> {
    let kind = if raw { libc::SOCK_RAW } else { libc::SOCK_DGRAM };
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// setsockopt with a plain value.
///
/// # Safety
/// `T` has no padding, and holds no pointers.
unsafe fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> Result<(), Errno> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is live and of the given length.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets a number of the packet level (`PACKET_VERSION` and so on).
pub(crate) fn set_number(socket: BorrowedFd<'_>, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: a number.
    unsafe { set(socket, libc::SOL_PACKET, option, &value) }
}

/// Asks for a ring of blocks.
pub(crate) fn set_ring(socket: BorrowedFd<'_>, request: &RingRequest) -> Result<(), Errno> {
    // SAFETY: seven numbers of 32 bits, without padding.
    unsafe { set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request) }
}

/// Receives what is addressed to others too, while the socket is open.
pub(crate) fn promiscuous(socket: BorrowedFd<'_>, interface: i32) -> Result<(), Errno> {
    let kind = libc::PACKET_MR_PROMISC as u16;
    let request = Membership { interface, kind, length: 0, address: [0; 8] };
    // SAFETY: 4 + 2 + 2 + 8 bytes, without padding.
    unsafe { set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request) }
}

/// Puts a socket filter program on the socket, in the place of the one before.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: a descriptor's number.
    unsafe { set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program.as_raw_fd()) }
}

/// Puts a classic program on a socket in place of the filter that it has.
pub(crate) fn attach_classic(socket: BorrowedFd<'_>, program: &[Insn]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    // Instructions have the layout of the kernel's, and are only read.
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the program is live and of the given length.
    unsafe { set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter) }
}

/// Begins to receive, from this interface or (0) from all.
pub(crate) fn bind(socket: BorrowedFd<'_>, interface: i32) -> Result<(), Errno> {
    // SAFETY: zero is a value of every field.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL;
    address.sll_ifindex = interface;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is live and of the given length.
    let result = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// struct ifreq (include/uapi/linux/if.h) with an IPv4 address in its union.
#[repr(C)]
struct AddressRequest {
    name: [u8; libc::IFNAMSIZ],
    family: u16,
    port: u16,
    address: [u8; 4],
    rest: [u8; 16],
}

/// An interface's name as the kernel takes it, ended by a zero; `ENODEV` where it is too long for one.
pub(crate) fn interface_name(name: &str) -> Result<[u8; libc::IFNAMSIZ], Errno> {
    let mut field = [0; libc::IFNAMSIZ];
    let place = field.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ).ok_or(Errno::NODEV)?;
    place.copy_from_slice(name.as_bytes());
    Ok(field)
}

/// A socket for calls about interfaces (netdevice(7)).
pub(crate) fn control() -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The mask of an interface's first IPv4 address (SIOCGIFNETMASK, netdevice(7)).
pub(crate) fn netmask(name: &str) -> Result<[u8; 4], Errno> {
    let name = interface_name(name)?;
    let mut request = AddressRequest { name, family: 0, port: 0, address: [0; 4], rest: [0; 16] };
    let socket = control()?;
    // SAFETY: the request is live, ends its name with a zero, and is as long as struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNETMASK, &raw mut request) };
    if result == 0 { Ok(request.address) } else { Err(last_errno()) }
}

/// The error that waits on a socket; 0 without one.
pub(crate) fn pending_error(socket: BorrowedFd<'_>) -> i32 {
    let mut error = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: a live number of the given length is written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    };
    if result == 0 { error } else { 0 }
}

/// Packets that passed the filter, and those of them that found no room, since the last call (struct tpacket_stats_v3).
pub(crate) fn statistics(socket: BorrowedFd<'_>) -> Result<(u32, u32), Errno> {
    let mut counts = [0u32; 3];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: three live numbers of the given length are written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok((counts[0], counts[1])) } else { Err(last_errno()) }
}
