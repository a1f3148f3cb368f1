//! What processes map while probes are attached: code, by process, so that addresses of processes that have ended keep
//! their names. The kernel tells of it in one ring buffer for each CPU; news leave in the order of time. What is
//! told while a buffer is full is lost, and so are names of processes that end meanwhile.
//!
//! A record's last word is its time (`PERF_SAMPLE_TIME` with `sample_id_all`).

use std::ops::ControlFlow;

use crate::machine;
use crate::perf_ring::{HEADER, PerfRing, u16_at, u32_at, u64_at};
use crate::sys::perf;

/// Data of each CPU, in pages.
const PAGES: usize = 64;
/// Most passes over the buffers in one go: a busy machine always has news.
const PASSES: usize = 8;
/// `PERF_RECORD_*`, and the flag of an execve's COMM.
const RECORD_COMM: u32 = 3;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const MISC_COMM_EXEC: u16 = 1 << 13;
/// Bytes before the file name of MMAP2.
const MMAP2_NAME: usize = 72;
/// `PROT_EXEC`.
const EXECUTABLE: u32 = 4;

/// Something that a process did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// It mapped a file's code.
    Mapped {
        pid: u32,
        /// First address.
        start: u64,
        /// First address behind.
        end: u64,
        /// Offset in the file of `start`.
        offset: u64,
        /// Path as the process sees it, or a name such as `[vdso]`.
        path: String,
    },
    /// It became another program.
    Exec { pid: u32 },
    /// It began as a copy of another.
    Fork { pid: u32, parent: u32 },
}

/// All CPUs' buffers.
#[derive(Debug)]
pub(super) struct Mappings(Vec<PerfRing>);

impl Mappings {
    /// Listens from now on; `None` where the kernel does not allow it.
    pub(super) fn listen() -> Option<Mappings> {
        let rings = machine::online_cpus().ok()?.into_iter().map(|cpu| {
            let event = perf::mappings(i32::try_from(cpu).ok()?).ok()?;
            PerfRing::new(event, PAGES).ok()
        });
        rings.collect::<Option<Vec<_>>>().map(Mappings)
    }

    /// Hands over what was told since the last call, oldest first. What a record follows from may stand in the buffer of
    /// a CPU that was read before it was written (a fork there, the child's execve here), so all are read again until
    /// nothing is new.
    pub(super) fn drain(&self, sink: &mut dyn FnMut(News)) {
        let mut news = Vec::new();
        for _ in 0..PASSES {
            let before = news.len();
            self.0.iter().for_each(|ring| read(ring, &mut |time, told| news.push((time, told))));
            if news.len() == before {
                break;
            }
        }
        news.sort_by_key(|(time, _)| *time);
        news.into_iter().for_each(|(_, told)| sink(told));
    }
}

/// Each record with its time, in nanoseconds of the kernel's clock for perf.
fn read(ring: &PerfRing, sink: &mut dyn FnMut(u64, News)) {
    ring.drain(&mut |record| {
        if let Some(news) = parse(record) {
            sink(u64_at(record, record.len().saturating_sub(8)), news);
        }
        ControlFlow::Continue(())
    });
}

/// One record.
fn parse(record: &[u8]) -> Option<News> {
    let (kind, misc, pid) = (u32_at(record, 0), u16_at(record, 4), u32_at(record, HEADER));
    match kind {
        RECORD_COMM if misc & MISC_COMM_EXEC != 0 => Some(News::Exec { pid }),
        RECORD_FORK => {
            let parent = u32_at(record, HEADER + 4);
            (pid != parent).then_some(News::Fork { pid, parent })
        }
        RECORD_MMAP2 if u32_at(record, 64) & EXECUTABLE != 0 => {
            let name = record.get(MMAP2_NAME..)?;
            let name = name.split(|b| *b == 0).next()?;
            // Memory of no file has no name in /proc/PID/maps.
            let name = if name == b"//anon" { &[] } else { name };
            let start = u64_at(record, 16);
            Some(News::Mapped {
                pid,
                start,
                end: start.checked_add(u64_at(record, 24))?,
                offset: u64_at(record, 32),
                path: String::from_utf8_lossy(name).into_owned(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_within_their_bounds() {
        let mut record = Vec::new();
        record.extend_from_slice(&RECORD_MMAP2.to_ne_bytes());
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&7u32.to_ne_bytes());
        record.extend_from_slice(&8u32.to_ne_bytes());
        for word in [0x1000u64, 0x2000, 0x3000] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(&[0; 24]);
        record.extend_from_slice(&5u32.to_ne_bytes());
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(b"/bin/x\0\0");
        let path = "/bin/x".to_owned();
        let mapped = News::Mapped { pid: 7, start: 0x1000, end: 0x3000, offset: 0x3000, path };
        assert_eq!(parse(&record), Some(mapped));
        for end in 0..record.len() {
            parse(&record[..end]);
        }
    }

    #[test]
    fn a_child_is_told_of() {
        let Some(mappings) = Mappings::listen() else { return };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let mut news = Vec::new();
        mappings.drain(&mut |n| news.push(n));
        assert!(news.contains(&News::Exec { pid }), "{news:?}");
        let code =
            |n: &News| matches!(n, News::Mapped { pid: p, path, .. } if *p == pid && path.ends_with("/true"));
        assert!(news.iter().any(code), "{news:?}");
    }
}
