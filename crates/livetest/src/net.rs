//! Networks of a case's own: a network namespace with a pair of veth devices, `va` and `vb`, both up, without addresses.
//!
//! With further devices on top of `va` (`devices`) it has addresses: see there. With pins wanted it has a mount namespace too, with a BPF file system.
//!
//! In: an MTU and what else there is to be, or the process that holds a namespace and a command. Out: a namespace that goes away, devices, pins and
//! all, with the process that holds it; or the command, run in it. Always: nothing outside of the new namespaces is touched.

mod addresses;
mod devices;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The environment variable with the process whose network a command runs in.
pub(crate) const NET: &str = "LIVETEST_NET";
/// The word among a holder's for a BPF file system.
const PINS: &str = "pins";
/// Where programs look for it.
const BPF: &str = "/sys/fs/bpf";

/// A process that holds a network; dropping it ends the process.
pub(crate) struct Network(Child);

impl Network {
    /// Makes a network whose devices have this MTU; `parts`: what else it has, a line each that [`check`] takes; `pins`: with a BPF file system of its own.
    pub(crate) fn make(mtu: u32, parts: &[String], pins: bool) -> Result<Network, String> {
        let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(me);
        command.args(["net-holder", &mtu.to_string()]).args(pins.then_some(PINS)).args(parts);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| format!("the holder of the network: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let network = Network(child);
        match line.trim() {
            "ready" => Ok(network),
            _ => Err(format!("no network could be made: {}", line.trim())),
        }
    }

    /// The process that holds it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// `net-holder MTU [pins] LINE…`: makes a network, says so, and holds it until its input ends.
pub(crate) fn hold(words: &[String]) -> Result<(), String> {
    let [mtu, parts @ ..] = words else { return Err("net-holder takes an MTU".to_owned()) };
    let made = mtu.parse().map_err(|_| format!("no MTU: {mtu}")).and_then(|mtu| set_up(mtu, parts));
    match &made {
        Ok(()) => println!("ready"),
        Err(message) => println!("{message}"),
    }
    let _ = std::io::stdin().read(&mut [0; 1]);
    made
}

/// `in-net PID PROGRAM ARGS…`: becomes the program, in the network that the process holds, and sees its BPF file system.
pub(crate) fn run_in(words: &[String]) -> Result<(), String> {
    let [pid, program, args @ ..] = words else {
        return Err("in-net takes a process and a command".to_owned());
    };
    enter(pid)?;
    see(pid)?;
    let error = Command::new(program).args(args).exec();
    Err(format!("{program}: {error}"))
}

/// Moves this thread into the network that a process holds.
pub(crate) fn enter(pid: &str) -> Result<(), String> {
    move_into(&format!("/proc/{pid}/ns/net"), LinkNameSpaceType::Network)
}

/// Moves this process to the files that a process sees, where they are others.
fn see(pid: &str) -> Result<(), String> {
    let theirs = format!("/proc/{pid}/ns/mnt");
    let read = |path: &str| std::fs::read_link(path).map_err(|error| format!("{path}: {error}"));
    if read(&theirs)? == read("/proc/self/ns/mnt")? {
        return Ok(());
    }
    let folder = std::env::current_dir().map_err(|error| format!("the working folder: {error}"))?;
    move_into(&theirs, LinkNameSpaceType::Mount)?;
    std::env::set_current_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn move_into(path: &str, kind: LinkNameSpaceType) -> Result<(), String> {
    let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    use rustix::fd::AsFd;
    move_into_link_name_space(file.as_fd(), Some(kind)).map_err(|error| format!("setns to {path}: {error}"))
}

/// What a network has beyond the pair of devices.
enum Part<'l> {
    Device(devices::Device<'l>),
    Address(addresses::Address<'l>),
    Neighbour(addresses::Neighbour<'l>),
}

impl Part<'_> {
    fn parse(line: &str) -> Result<Part<'_>, String> {
        let (key, rest) = line.split_once(": ").unwrap_or((line, ""));
        match key {
            "device" => devices::Device::parse(rest).map(Part::Device),
            "address" => addresses::Address::parse(rest).map(Part::Address),
            "neighbour" => addresses::Neighbour::parse(rest).map(Part::Neighbour),
            _ => Err(format!("no part of a network: {key}")),
        }
    }

    fn make(&self, netlink: &mut Netlink) -> Result<(), Errno> {
        match self {
            Part::Device(device) => device.make(netlink),
            Part::Address(address) => address.give(netlink),
            Part::Neighbour(neighbour) => neighbour.give(netlink),
        }
    }
}

/// Whether a line is part of a network: a fixture's key, colon and value.
pub(crate) fn check(line: &str) -> Result<(), String> {
    Part::parse(line).map(drop)
}

#[expect(deprecated, reason = "what is unsafe about it is the sharing of descriptors, which is left alone")]
fn unshare(what: UnshareFlags) -> Result<(), String> {
    rustix::thread::unshare(what).map_err(|error| format!("unshare: {error}"))
}

/// A BPF file system that only this process and those that it is asked for see.
fn mount_pins() -> Result<(), String> {
    unshare(UnshareFlags::NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| format!("making mounts private: {error}"))?;
    mount("bpf", BPF, "bpf", MountFlags::empty(), None)
        .map_err(|error| format!("mount bpf on {BPF}: {error}"))
}

fn set_up(mtu: u32, parts: &[String]) -> Result<(), String> {
    let parts = match parts {
        [first, rest @ ..] if first == PINS => {
            mount_pins()?;
            rest
        }
        all => all,
    };
    unshare(UnshareFlags::NEWNET)?;
    // The kernel's own IPv6 messages would be frames that no case has sent.
    for which in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
    }
    let mut netlink = Netlink::open().map_err(|error| format!("netlink: {error}"))?;
    netlink.add_veth(mtu).map_err(|error| format!("making a pair of veth devices: {error}"))?;
    for name in ["va", "vb"] {
        netlink.set_up(name).map_err(|error| format!("starting {name}: {error}"))?;
    }
    if parts.is_empty() {
        return Ok(());
    }
    devices::name_ends(&mut netlink).map_err(|error| format!("the addresses of va: {error}"))?;
    parts.iter().try_for_each(|line| {
        Part::parse(line)?.make(&mut netlink).map_err(|error| format!("making `{line}`: {error}"))
    })
}

const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
const CREATE: u16 = 0x600;

/// rtnetlink, as far as it is needed here (include/uapi/linux/rtnetlink.h, if_link.h, veth.h).
struct Netlink(OwnedFd);

impl Netlink {
    fn open() -> Result<Netlink, Errno> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Netlink(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?))
    }

    fn add_veth(&mut self, mtu: u32) -> Result<(), Errno> {
        let device = |name: &str| {
            let mut out = Vec::new();
            attribute(&mut out, IFLA_IFNAME, format!("{name}\0").as_bytes());
            attribute(&mut out, IFLA_MTU, &mtu.to_ne_bytes());
            out
        };
        let peer = [vec![0; 16], device("vb")].concat();
        let (mut data, mut info, mut body) = (Vec::new(), Vec::new(), vec![0; 16]);
        attribute(&mut data, VETH_INFO_PEER, &peer);
        attribute(&mut info, IFLA_INFO_KIND, b"veth\0");
        attribute(&mut info, IFLA_INFO_DATA, &data);
        body.extend(device("va"));
        attribute(&mut body, IFLA_LINKINFO, &info);
        self.request(RTM_NEWLINK, CREATE, &body)
    }

    fn set_up(&mut self, name: &str) -> Result<(), Errno> {
        let mut body = vec![0; 8];
        body.extend(IFF_UP.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        attribute(&mut body, IFLA_IFNAME, format!("{name}\0").as_bytes());
        self.request(RTM_NEWLINK, 0, &body)
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        let mut packet = Vec::new();
        packet.extend((16 + body.len() as u32).to_ne_bytes());
        packet.extend(kind.to_ne_bytes());
        // NLM_F_REQUEST and NLM_F_ACK
        packet.extend((5 | flags).to_ne_bytes());
        packet.extend([0; 8]);
        packet.extend(body);
        send(&self.0, &packet, SendFlags::empty())?;
        let mut buffer = [0u8; 4096];
        let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
        let code = buffer.get(16..20).filter(|_| length >= 20).and_then(|b| b.try_into().ok());
        match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw_os_error(-code)),
            None => Err(Errno::BADMSG),
        }
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
