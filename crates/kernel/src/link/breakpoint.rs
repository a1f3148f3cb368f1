//! Hardware breakpoints and watchpoints through perf: an address is watched on every CPU, or in the threads of one process.

use rustix::io::Errno;

use crate::error::Error;
use crate::link::{Link, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::proc;
use crate::prog::Prog;
use crate::sys::perf::{self, Breakpoint};

/// `HW_BREAKPOINT_X`.
const EXECUTION: u32 = 4;

/// Watches. A place that cannot be watched (a thread that ended, a CPU that went offline) is passed over as long as
/// there is another.
pub(super) fn attach(
    prog: &Prog,
    wanted: &Breakpoint,
    pid: Option<u32>,
    cookie: u64,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let name = format!("watchpoint {:#x}", wanted.address);
    // An instruction is watched by a word's length, whatever its own is (kernel/events/hw_breakpoint.c).
    let len = if wanted.access & EXECUTION != 0 { size_of::<usize>() as u32 } else { wanted.len };
    let wanted = Breakpoint { len, inherit: true, ..*wanted };
    let places: Vec<(i32, i32)> = match pid {
        Some(pid) => {
            proc::threads(pid)?.into_iter().map(|tid| (i32::try_from(tid).unwrap_or(-1), -1)).collect()
        }
        None => machine::online_cpus()?.into_iter().map(|c| (-1, i32::try_from(c).unwrap_or(0))).collect(),
    };
    let (mut link, mut refused) = (Link { watches: Some(wanted.address), ..Link::default() }, None);
    for (pid, cpu) in places {
        match perf::breakpoint(&wanted, pid, cpu) {
            Ok(event) => {
                let one = on_event(prog, event, cookie, &name, target)?;
                link.links.extend(one.links.into_iter().chain(one.events));
            }
            Err(errno) => refused = Some(errno),
        }
    }
    match refused {
        Some(errno) if link.links.is_empty() => Err(refusal(name, errno)),
        _ => Ok(link),
    }
}

fn refusal(name: String, errno: Errno) -> Error {
    let unavailable = |why: &str| Error::Unavailable { what: name.clone(), why: why.to_owned() };
    match errno {
        Errno::NOSPC => unavailable("all of the CPU's breakpoint registers are taken"),
        Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV => unavailable("the CPU has no breakpoint registers"),
        errno => Error::os(format!("open {name}"), errno),
    }
}
