//! The process table: who runs, as helpers see it.

use std::collections::BTreeMap;

/// A thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its own number (`pid` in the kernel).
    pub tid: u32,
    /// Its process' number (`tgid`).
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name; the kernel keeps 15 bytes.
    pub comm: Vec<u8>,
    /// Cgroup ids from the root's down to its own.
    pub cgroups: Vec<u64>,
    /// Number of the process that made it.
    pub parent: u32,
    /// Address of its `task_struct`; 0: one that follows from `tid`.
    pub task: u64,
}

/// Where made-up `task_struct`s lie.
const TASKS: u64 = 0xffff_8880_0000_0000;
/// Bytes between two of them.
const TASK_SIZE: u64 = 0x4000;

impl Process {
    /// A process of one thread, run by root in the root cgroup.
    pub fn new(pid: u32, comm: &str) -> Process {
        Process {
            tid: pid,
            pid,
            uid: 0,
            gid: 0,
            comm: comm.as_bytes().to_vec(),
            cgroups: vec![1],
            parent: 1,
            task: 0,
        }
    }

    /// `bpf_get_current_comm()`'s bytes: the name, zeros, always one at the end.
    pub fn comm_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let len = self.comm.len().min(15);
        bytes[..len].copy_from_slice(&self.comm[..len]);
        bytes
    }

    /// Its own cgroup.
    pub fn cgroup(&self) -> u64 {
        self.cgroups.last().copied().unwrap_or(0)
    }

    /// Address of its `task_struct`.
    pub fn task_address(&self) -> u64 {
        if self.task != 0 { self.task } else { TASKS + u64::from(self.tid) * TASK_SIZE }
    }
}

/// All threads, and the one that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Processes {
    all: BTreeMap<u32, Process>,
    current: u32,
}

impl Default for Processes {
    fn default() -> Processes {
        Processes { all: BTreeMap::from([(1, Process::new(1, "init"))]), current: 1 }
    }
}

impl Processes {
    /// Adds a thread, or replaces the one of that number.
    pub fn add(&mut self, process: Process) {
        self.all.insert(process.tid, process);
    }

    /// Removes a thread; the one that runs stays.
    pub fn remove(&mut self, tid: u32) {
        if tid != self.current {
            self.all.remove(&tid);
        }
    }

    /// Says which thread runs; `false` when there is none of that number.
    pub fn switch(&mut self, tid: u32) -> bool {
        let known = self.all.contains_key(&tid);
        if known {
            self.current = tid;
        }
        known
    }

    /// The thread that runs.
    pub fn current(&self) -> Option<&Process> {
        self.all.get(&self.current)
    }

    /// A thread.
    pub fn get(&self, tid: u32) -> Option<&Process> {
        self.all.get(&tid)
    }

    /// The thread whose `task_struct` is at an address.
    pub fn by_task(&self, address: u64) -> Option<&Process> {
        self.all.values().find(|process| process.task_address() == address)
    }

    /// All threads, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        let p = Process::new(7, "a-name-of-eighteen");
        assert_eq!(&p.comm_bytes(), b"a-name-of-eight\0");
        assert_eq!(p.cgroup(), 1);
    }

    #[test]
    fn one_always_runs() {
        let mut all = Processes::default();
        all.add(Process::new(7, "seven"));
        assert!(all.switch(7) && !all.switch(8));
        all.remove(7);
        let seven = all.current().unwrap();
        assert_eq!(seven.tid, 7);
        assert_eq!(all.by_task(seven.task_address()).map(|p| p.tid), Some(7));
        assert_eq!(all.by_task(5), None);
    }
}
