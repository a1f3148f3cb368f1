//! The world outside of the program, as far as helpers ask for it: clock, CPU, processes, memory of the kernel, network. All of it is
//! set beforehand: two runs with the same settings see the same. What programs do to it is noted in [`Env::effects`].

pub mod effects;
pub mod net;
pub mod process;
pub mod recorded;
pub mod timers;

use std::collections::BTreeMap;

use skep_bpf::backend::{BuildIdFrame, Symbol};

use crate::vm::memory::Memory;
use effects::{Effects, Redirect};
use net::Net;
use process::Processes;
use recorded::{Answers, KeyOrder, RecordedMemory};
use timers::Timers;

/// The clock. It stands still but for what is set here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Nanoseconds that pass with every reading.
    pub per_reading: u64,
    /// Nanoseconds that pass with every instruction that is charged to the budget.
    pub per_insn: u64,
    /// How far the boot clock is ahead of the monotonic one: the time that the machine slept.
    pub boot_ahead: u64,
    /// How far the wall clock is ahead of the monotonic one.
    pub wall_ahead: u64,
    /// How far TAI is ahead of the wall clock.
    pub tai_ahead: u64,
    /// Jiffies a second (CONFIG_HZ).
    pub hz: u32,
}

/// What an attachment gives to its program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// The cookie that it was attached with.
    pub cookie: u64,
    /// Address of the probed function or instruction.
    pub function: u64,
    /// Arguments of the function, where the program type has `bpf_get_func_arg()`.
    pub args: Vec<u64>,
    /// What it returned, at its end.
    pub result: Option<u64>,
    /// Cgroup that the program is attached to.
    pub cgroup: u64,
    /// What a cgroup hook would return (`bpf_get_retval()`).
    pub retval: i32,
    /// The sysctl's name, its value, and the new one.
    pub sysctl: Sysctl,
}

/// A sysctl that is read or written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sysctl {
    /// Path below /proc/sys: `net/ipv4/tcp_mem`.
    pub name: Vec<u8>,
    /// Current value.
    pub value: Vec<u8>,
    /// The value that is being written.
    pub new: Option<Vec<u8>>,
}

/// Stacks at the moment, innermost address first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stacks {
    /// The kernel's; `None`: unknown.
    pub kernel: Option<Vec<u64>>,
    /// The process'; `None`: unknown.
    pub user: Option<Vec<u64>>,
}

/// The world's names for numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Kernel symbols by address.
    pub kernel: BTreeMap<u64, Symbol>,
    /// Symbols of processes by process and address.
    pub user: BTreeMap<(u32, u64), Symbol>,
    /// Build ids by process and address.
    pub build_ids: BTreeMap<(u32, u64), BuildIdFrame>,
    /// Users.
    pub users: BTreeMap<u32, String>,
    /// Paths of cgroups by id, each with its hierarchy.
    pub cgroups: BTreeMap<u64, Vec<(String, String)>>,
    /// Paths of kernel objects (`struct path`) by address.
    pub paths: BTreeMap<u64, Vec<u8>>,
    /// Variables and functions of the kernel.
    pub variables: BTreeMap<String, u64>,
    /// Contents of files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Output of commands.
    pub commands: BTreeMap<String, Vec<u8>>,
    /// The local time zone: seconds ahead of UTC, and its name.
    pub zone: (i32, String),
}

/// The world.
#[derive(Clone, PartialEq, Debug)]
pub struct Env {
    /// CPUs of the machine.
    pub cpus: u32,
    /// The CPU that programs run on.
    pub cpu: u32,
    /// Its memory node.
    pub node: u32,
    /// Nanoseconds on the monotonic clock.
    pub now: u64,
    /// How time passes.
    pub clock: Clock,
    /// State of the random numbers.
    pub seed: u64,
    /// Who runs.
    pub processes: Processes,
    /// What the attachment gives.
    pub attached: Attached,
    /// The network.
    pub net: Net,
    /// Stacks at the moment.
    pub stacks: Stacks,
    /// Memory of the kernel.
    pub kernel: RecordedMemory,
    /// Memory of the current process.
    pub user: RecordedMemory,
    /// Answers that helpers give before anything else.
    pub answers: Answers,
    /// The order in which it walked the keys of maps.
    pub key_order: KeyOrder,
    /// Names.
    pub names: Names,
    /// Timers of programs.
    pub timers: Timers,
    /// What programs did.
    pub effects: Effects,
    /// Where the run that ended last, or still goes on, sends its packet or message.
    pub redirect: Option<Redirect>,
}

impl Default for Env {
    fn default() -> Env {
        Env {
            cpus: 1,
            cpu: 0,
            node: 0,
            now: 0,
            clock: Clock {
                per_reading: 0,
                per_insn: 0,
                boot_ahead: 0,
                wall_ahead: 0,
                tai_ahead: 37_000_000_000,
                hz: 250,
            },
            seed: 0,
            processes: Processes::default(),
            attached: Attached::default(),
            net: Net::default(),
            stacks: Stacks::default(),
            kernel: RecordedMemory::default(),
            user: RecordedMemory::default(),
            answers: Answers::default(),
            key_order: KeyOrder::default(),
            names: Names { zone: (0, "UTC".to_owned()), ..Names::default() },
            timers: Timers::default(),
            effects: Effects::default(),
            redirect: None,
        }
    }
}

impl Env {
    /// Forgets what the run before left: where its packet went, sockets that it held.
    pub(crate) fn begin_run(&mut self, memory: &mut Memory) {
        self.redirect = None;
        for (at, _) in std::mem::take(&mut self.net.held) {
            memory.free(at);
        }
    }

    /// The address of a variable of the kernel; `None` where none is recorded.
    pub fn kernel_symbol(&self, name: &str) -> Option<u64> {
        self.names.variables.get(name).copied()
    }

    /// Memory of the kernel at `at`, as far as it is recorded; what is not reads as zero.
    pub fn kernel_memory(&self, at: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let known = self.kernel.get(at, bytes.len());
        bytes[..known.len()].copy_from_slice(&known);
    }

    /// The next random number (splitmix64).
    pub fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut env = Env { seed, ..Env::default() };
            [(); 3].map(|()| env.random())
        };
        assert_eq!(numbers(5), numbers(5));
        assert_ne!(numbers(5), numbers(6));
        let [a, b, c] = numbers(0);
        assert!(a != b && b != c);
    }

    #[test]
    fn what_is_not_recorded_reads_as_zero() {
        let mut env = Env::default();
        env.kernel.put(0xffff_8000_0000_0000, b"ab");
        let mut bytes = [9; 4];
        env.kernel_memory(0xffff_8000_0000_0000, &mut bytes);
        assert_eq!(&bytes, b"ab\0\0");
    }
}
