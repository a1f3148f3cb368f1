//! Sampling perf events: software, hardware and clocks, on every online CPU, on one, or for one process.

use rustix::io::Errno;
use skep_bpf::object::Sample;

use crate::error::Error;
use crate::link::{Link, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::proc;
use crate::prog::Prog;
use crate::sys::perf;

/// What is sampled.
pub(super) struct Source {
    /// `PERF_TYPE_*`.
    pub(super) perf_type: u32,
    /// `PERF_COUNT_*`.
    pub(super) config: u64,
    /// How often.
    pub(super) sample: Sample,
    /// Only on the first online CPU.
    pub(super) one_cpu: bool,
    /// Only this process, with the threads and children that it makes.
    pub(super) pid: Option<u32>,
}

/// (process or -1, CPU or -1) pairs that an event must be opened for. A process has one for each of its threads,
/// because an event follows the thread it is opened for and what that starts.
fn places(source: &Source) -> Result<Vec<(i32, i32)>, Error> {
    match source.pid {
        Some(pid) if !source.one_cpu => {
            Ok(proc::threads(pid)?.into_iter().map(|tid| (i32::try_from(tid).unwrap_or(-1), -1)).collect())
        }
        _ => {
            let cpus = machine::online_cpus()?;
            let many = if source.one_cpu { 1 } else { cpus.len() };
            Ok(cpus.into_iter().take(many).map(|cpu| (-1, i32::try_from(cpu).unwrap_or(0))).collect())
        }
    }
}

/// Attaches to the event everywhere that `source` says.
pub(super) fn attach(prog: &Prog, source: &Source, cookie: u64, target: &LiveTarget) -> Result<Link, Error> {
    let name = format!("perf event {}:{}", source.perf_type, source.config);
    let (sample, frequency) = match source.sample {
        Sample::Period(period) => (period, false),
        Sample::Frequency(hz) => (hz, true),
    };
    let mut link = Link::default();
    for (pid, cpu) in places(source)? {
        let event = perf::Event {
            perf_type: source.perf_type,
            config: source.config,
            sample,
            frequency,
            inherit: pid >= 0,
        };
        let event = match perf::event(&event, pid, cpu) {
            Ok(event) => event,
            // A CPU that went offline, a thread that ended: nothing happens there.
            Err(Errno::NODEV | Errno::SRCH) if !link.links.is_empty() => continue,
            Err(Errno::NOENT | Errno::OPNOTSUPP) => {
                return Err(Error::Unavailable {
                    what: name,
                    why: "the CPU or its driver does not count it".into(),
                });
            }
            Err(errno) => return Err(Error::os(format!("open {name}"), errno)),
        };
        let one = on_event(prog, event, cookie, &name, target)?;
        // The event is closed along with its link: what a process's children inherited of it goes only then
        // (kernel/events/core.c, perf_event_release_kernel), and no grace period is waited for.
        link.links.extend(one.links.into_iter().chain(one.events));
    }
    Ok(link)
}
