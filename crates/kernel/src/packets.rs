//! Packets that programs send whole: they come through a perf event array, with one ring buffer for each CPU. Records leave
//! as those of the other events do: the program's own head, then the packet and some padding.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};

use skep_bpf::object::PacketBuffer;

use crate::error::Error;
use crate::machine;
use crate::map::Map;
use crate::perf_ring::{HEADER, PerfRing, u32_at};
use crate::sys::perf;

/// `PERF_RECORD_SAMPLE`.
const RECORD_SAMPLE: u32 = 9;

/// All CPUs' buffers.
#[derive(Debug)]
pub(crate) struct Packets(Vec<PerfRing>);

impl Packets {
    /// Puts a buffer for each CPU that is online into `map`.
    pub(crate) fn open(map: &Map, buffer: PacketBuffer) -> Result<Packets, Error> {
        let cpus = machine::online_cpus()?;
        let share = buffer.bytes as usize / machine::page_size() / cpus.len().max(1);
        let pages = if share.is_power_of_two() { share } else { share.next_power_of_two() / 2 }.max(1);
        let one = |cpu: u32| {
            let failed = |errno| Error::os(format!("open a buffer for packets on CPU {cpu}"), errno);
            let event = perf::output(i32::try_from(cpu).unwrap_or(i32::MAX)).map_err(failed)?;
            let ring = PerfRing::new(event, pages).map_err(failed)?;
            map.update(&cpu.to_ne_bytes(), &ring.as_fd().as_raw_fd().to_ne_bytes())?;
            Ok(ring)
        };
        cpus.into_iter().map(one).collect::<Result<Vec<_>, Error>>().map(Packets)
    }

    /// What becomes readable when a packet comes.
    pub(crate) fn rings(&self) -> impl Iterator<Item = &PerfRing> {
        self.0.iter()
    }

    /// Hands finished records to `sink` until there is none or it breaks; how many, and whether it broke.
    pub(crate) fn drain(&self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> (u64, bool) {
        let mut records = 0;
        for ring in &self.0 {
            let (_, broke) = ring.drain(&mut |record| match sample(record) {
                Some(bytes) => {
                    records += 1;
                    sink(bytes)
                }
                None => ControlFlow::Continue(()),
            });
            if broke {
                return (records, true);
            }
        }
        (records, false)
    }
}

/// What a program sent; `None` for the kernel's own records.
fn sample(record: &[u8]) -> Option<&[u8]> {
    if u32_at(record, 0) != RECORD_SAMPLE {
        return None;
    }
    let length = u32_at(record, HEADER) as usize;
    record.get(HEADER + 4..)?.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_lies_within_its_record() {
        let mut record = Vec::new();
        for word in [RECORD_SAMPLE, 24 << 16, 12, 1, 2, 3] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(sample(&record).map(<[u8]>::len), Some(12));
        for end in 0..record.len() {
            assert_eq!(sample(&record[..end]), None, "{end}");
        }
        record[0] = 2;
        assert_eq!(sample(&record), None);
    }
}
