//! Arrays of perf events, as `bpf_perf_event_output()` uses them: every CPU has an open buffer (kernel/trace/bpf_trace.c,
//! `__bpf_perf_event_output`).

use std::collections::VecDeque;
use std::ops::ControlFlow;

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::{ENOTSUPP, Map};
use crate::vm::memory::Memory;

/// Bytes of records that a CPU's buffer holds; what comes then is lost until they are read.
pub(super) const BUFFER: usize = 4 << 20;

/// A record and the CPU that wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The CPU.
    pub cpu: u32,
    /// The bytes, as the program gave them.
    pub bytes: Box<[u8]>,
}

/// An array of perf events.
#[derive(Debug)]
pub struct PerfArray {
    spec: MapSpec,
    samples: VecDeque<Sample>,
    used: Vec<usize>,
    lost: u64,
}

impl PerfArray {
    pub(super) fn new(spec: &MapSpec, cpus: u32) -> PerfArray {
        PerfArray {
            spec: spec.clone(),
            samples: VecDeque::new(),
            used: vec![0; cpus.max(1) as usize],
            lost: 0,
        }
    }

    /// Adds a record of the program that runs on `cpu` to the buffer at `index`.
    pub fn output(&mut self, cpu: u32, index: u32, bytes: &[u8]) -> Result<(), Errno> {
        if index >= self.spec.max_entries {
            return Err(Errno::TOOBIG);
        }
        let used = self.used.get_mut(index as usize).ok_or(Errno::NOENT)?;
        if index != cpu {
            return Err(Errno::OPNOTSUPP);
        }
        if *used + bytes.len() > BUFFER {
            self.lost += 1;
            return Err(Errno::NOSPC);
        }
        *used += bytes.len();
        self.samples.push_back(Sample { cpu, bytes: bytes.into() });
        Ok(())
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Hands records to `sink`, the oldest first, until it breaks off: how many, and whether it did.
    pub fn consume(&mut self, sink: &mut dyn FnMut(&Sample) -> ControlFlow<()>) -> (u64, bool) {
        let mut count = 0;
        while let Some(sample) = self.samples.pop_front() {
            if let Some(used) = self.used.get_mut(sample.cpu as usize) {
                *used -= sample.bytes.len();
            }
            count += 1;
            if sink(&sample).is_break() {
                return (count, true);
            }
        }
        (count, false)
    }
}

impl Map for PerfArray {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn read(&self, _memory: &Memory, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(ENOTSUPP)
    }

    fn update(
        &mut self,
        _memory: &mut Memory,
        _cpu: u32,
        key: &[u8],
        _value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        // The events are the machine's own; setting one changes nothing.
        super::fd_index(key, self.spec.max_entries, flags).map(|_| ())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        super::fd_index(key, self.spec.max_entries, 0).map(|_| ())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        Ok(super::next_index(key, self.spec.max_entries))
    }
}
