//! Recordings: what a script's programs and its session learned from the machine, as JSON lines, so that both can happen
//! again without it.
//!
//! The first line is the head ([`Head`]): the machine, the script, the answers that it was compiled with. Each further
//! line is one of ([`Line`]):
//!
//! - `run`: one execution of a program, with all that it was told ([`Run`]), written when it has ended;
//! - `asked`: a question of the session to the machine (a symbol, a user's name, the time), with the answer;
//! - `map`: the session read or changed a map, when so many records had come through the ring;
//! - `phase`: the session went on: started, attached, detached, ended.
//!
//! What always holds: records are counted as they come through the ring, and `at` is such a count; a run's events have
//! the count at which they came, so that everything replays in the order in which it was seen.

mod backend;
mod base64;
mod hex;
mod log;
mod read;
mod replay;
mod write;

#[cfg(test)]
mod tests;

pub use backend::Recording;
pub use log::Log;
pub use read::{Recorded, read};
pub use replay::{Difference, Machine, Replay};

use skep_bpf::backend::{BackendError, BuildIdFrame, Symbol, WallTime};

/// Version of the format.
pub const VERSION: u64 = 1;

/// The first line.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Head {
    /// The kernel's version, for the reader.
    pub kernel: String,
    /// The machine's architecture, for the reader.
    pub arch: String,
    /// Possible CPUs.
    pub cpus: u32,
    /// Name of the script.
    pub name: String,
    /// Its text.
    pub text: String,
    /// How it was compiled: names and values, the compiler's own.
    pub options: Vec<(String, Vec<String>)>,
    /// The answers of the target that it was compiled for.
    pub target: Vec<u8>,
}

/// One execution of a program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Its number: what tells it from others that run at the same time.
    pub id: u64,
    /// The program's index in the object.
    pub program: u32,
    /// The probe as the user knows it.
    pub probe: String,
    /// The CPU.
    pub cpu: u32,
    /// Nanoseconds since boot when it began.
    pub time: u64,
    /// Process (high half) and thread.
    pub process: u64,
    /// Group (high half) and user.
    pub user: u64,
    /// The thread's name.
    pub comm: Vec<u8>,
    /// The context's bytes up to the last that was read.
    pub context: Vec<u8>,
    /// The packet that it was about; what was not recorded of it is zero.
    pub packet: Option<Vec<u8>>,
    /// What it was told, in order.
    pub answers: Vec<Answer>,
    /// Keys of the entries that callbacks were called for, in order, each with the map's index.
    pub keys: Vec<(u32, Vec<u8>)>,
    /// The gate, if it was looked at.
    pub gate: Option<u64>,
    /// What it returned.
    pub returned: u64,
    /// Its events, each with the count at which it came.
    pub events: Vec<(u64, Vec<u8>)>,
    /// The count at which it had ended.
    pub end: u64,
    /// Records of it may be missing: it cannot run again.
    pub incomplete: bool,
}

impl Run {
    /// Its place in the order of all runs: its first event, or else its end.
    pub fn order(&self) -> u64 {
        self.events.first().map_or(self.end, |(at, _)| *at)
    }
}

/// Something that a program was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A helper's answer.
    Helper {
        /// The helper.
        id: u32,
        /// What it was asked to read, or 0.
        address: u64,
        /// What it returned.
        returned: u64,
        /// What it filled in.
        data: Vec<u8>,
    },
    /// A kernel function's answer.
    Kfunc {
        /// Which ([`skep_bpf::record::KFUNCS`]).
        number: u32,
        /// What it returned.
        returned: u64,
    },
    /// Kernel memory.
    Memory {
        /// Where.
        address: u64,
        /// What was there.
        data: Vec<u8>,
    },
}

/// A question of the session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Question {
    /// [`skep_bpf::backend::Backend::kernel_symbol`].
    KernelSymbol(u64),
    /// [`skep_bpf::backend::Backend::user_symbols`].
    UserSymbols(u32, Vec<u64>),
    /// [`skep_bpf::backend::Backend::build_ids`].
    BuildIds(u32, Vec<u64>),
    /// [`skep_bpf::backend::Backend::stack`]: name of the map, number of the stack.
    Stack(String, i64),
    /// [`skep_bpf::backend::Backend::user_name`].
    UserName(u32),
    /// [`skep_bpf::backend::Backend::cgroup_paths`].
    CgroupPaths(u64),
    /// [`skep_bpf::backend::Backend::wall_time`]: the clock's number, nanoseconds.
    WallTime(u8, u64),
    /// [`skep_bpf::backend::Backend::now`].
    Now,
    /// [`skep_bpf::backend::Backend::read_file`].
    File(String),
    /// [`skep_bpf::backend::Backend::run_command`].
    Command(String),
    /// [`skep_bpf::backend::Backend::recursion_misses`].
    Misses,
    /// The counters of what was lost, CPU by CPU, entry by entry.
    Losses,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Symbols.
    Symbols(Vec<Symbol>),
    /// Build ids.
    BuildIds(Vec<BuildIdFrame>),
    /// Addresses, counters or a count.
    Numbers(Vec<u64>),
    /// A name, if there is one.
    Name(Option<String>),
    /// Pairs of names.
    Pairs(Vec<(String, String)>),
    /// A time.
    Time(WallTime),
    /// Bytes.
    Bytes(Vec<u8>),
    /// It failed.
    Failed(BackendError),
}

/// What the session did to a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapUse {
    /// Read it, or an entry of it.
    Read,
    /// Changed it.
    Change,
}

/// A moment of the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The `begin` probes are next: the clocks as the programs get them.
    Start {
        /// The entry of the object's start map; empty without.
        clocks: Vec<u8>,
    },
    /// Everything is attached.
    Attached {
        /// How many probes.
        probes: u64,
        /// Whether the session says so.
        said: bool,
    },
    /// The session stopped waiting for events, for another reason than the script's own exit.
    Stopped,
    /// Everything is detached.
    Detached,
    /// The `end` probes have run.
    Ended,
}

/// A line behind the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A run.
    Run(Box<Run>),
    /// A question and its answer.
    Asked(Question, Told),
    /// A map was used when `at` records had come.
    Map {
        /// The map's name.
        name: String,
        /// How.
        how: MapUse,
        /// Records that had come.
        at: u64,
    },
    /// What a map held before any program ran: tables that the loader makes.
    Table {
        /// The map's name.
        name: String,
        /// Entries that it has room for.
        room: u32,
        /// Its keys and values, one behind the other, packed by zlib.
        packed: Vec<u8>,
    },
    /// The session went on when `at` records had come.
    Phase {
        /// To where.
        phase: Phase,
        /// Records that had come.
        at: u64,
    },
    /// The recording is over: what of it is missing.
    Close {
        /// Records that found no room in the ring.
        lost: u64,
        /// Runs of which records are missing.
        incomplete: u64,
    },
}
