//! Tracepoints through perf: one event on one CPU is enough, the program runs for all of them
//! (kernel/trace/bpf_trace.c, perf_event_attach_bpf_prog).

use crate::error::Error;
use crate::link::{Link, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::prog::Prog;
use crate::sys::perf;

/// Attaches to tracepoint `category:name`.
pub(super) fn attach(
    prog: &Prog,
    category: &str,
    name: &str,
    cookie: u64,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let place = format!("tracepoint {category}:{name}");
    let id = target.tracefs()?.id(category, name)?;
    let wanted = perf::Event { perf_type: perf::TYPE_TRACEPOINT, config: id, ..perf::Event::default() };
    let event =
        perf::event(&wanted, -1, machine::first_cpu()).map_err(|e| Error::os(format!("open {place}"), e))?;
    on_event(prog, event, cookie, &place, target)
}
