//! What programs did to the world: recorded, never done.

use crate::vm::memory::MapId;

/// Most effects that are kept between two calls of [`Effects::take`].
const MOST: usize = 1 << 20;

/// One thing that a program did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A line of `bpf_trace_printk()`.
    Print(String),
    /// Output of an iterator (`bpf_seq_write()`, `bpf_seq_printf()`).
    Sequence(Vec<u8>),
    /// A signal to the current process, or to its thread alone.
    Signal {
        /// Who gets it: the process' number, or the thread's.
        to: u32,
        /// Whether only the thread.
        thread: bool,
        /// Number of the signal.
        signal: u32,
    },
    /// The probed function would return this.
    OverrideReturn(u64),
    /// Memory of a process would be written.
    WriteUser {
        /// Where.
        address: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A copy of the packet would leave.
    CloneRedirect {
        /// To where.
        to: Redirect,
        /// The packet as it was then.
        packet: Vec<u8>,
    },
    /// A socket option would be set.
    SocketOption {
        /// Level.
        level: u32,
        /// Name.
        name: u32,
        /// Value.
        value: Vec<u8>,
    },
    /// The socket would be bound to this address.
    Bind(Vec<u8>),
    /// The packet, or the lookup, would belong to this socket.
    AssignSocket {
        /// Its cookie; 0: none any more.
        cookie: u64,
    },
    /// A tunnel's key or options for the packet.
    Tunnel(Vec<u8>),
    /// How many bytes of a message the verdict is for.
    ApplyBytes(u32),
    /// How many bytes must be there before the program runs again.
    CorkBytes(u32),
    /// A sysctl gets this value.
    Sysctl(Vec<u8>),
    /// Events of a connection that the program wants to see from now on.
    CallbackFlags(u32),
    /// Something else, by the name of the helper and its plain arguments.
    Other(&'static str, Vec<u64>),
}

/// Where a packet or message is sent in place of its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// To an interface.
    Device {
        /// Interface index.
        ifindex: u32,
        /// As if it came in there.
        ingress: bool,
        /// To the peer of the device, in its network namespace.
        peer: bool,
        /// Through neighbour resolution: the parameters (empty: of the packet's own address); `None`: link-layer header as it is.
        neighbour: Option<Vec<u8>>,
    },
    /// Through a map.
    Map {
        /// The map.
        map: MapId,
        /// The key.
        key: Vec<u8>,
        /// What is there: interface, queue length of the CPU, socket.
        target: Option<u64>,
        /// To all of them.
        broadcast: bool,
        /// But the one that it came from.
        exclude_ingress: bool,
    },
    /// To a socket.
    Socket {
        /// Its cookie.
        cookie: u64,
        /// Into its receive queue.
        ingress: bool,
    },
}

/// All that programs did since it was last taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    /// How many found no room.
    pub lost: u64,
}

impl Effects {
    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        if self.list.len() < MOST { self.list.push(effect) } else { self.lost += 1 }
    }

    /// All of them, the oldest first; they are gone then.
    pub fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.list.iter()
    }
}
