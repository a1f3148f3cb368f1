//! kprobes and kretprobes through the kprobe PMU (4.17).

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::features::{pmu_bit, pmu_type};
use crate::link::{Link, c_string, lacks, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::prog::Prog;
use crate::sys::perf;

/// Attaches to `symbol` + `offset`, or to its return.
pub(super) fn attach(
    prog: &Prog,
    symbol: &str,
    offset: u64,
    ret: bool,
    cookie: u64,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let place = format!("{} {symbol}", if ret { "kretprobe" } else { "kprobe" });
    let Some(pmu) = pmu_type("kprobe") else {
        return Err(lacks(&place, Feature::Kprobe, "CONFIG_KPROBE_EVENTS"));
    };
    let config = if ret { 1 << pmu_bit("kprobe", "retprobe").unwrap_or(0) } else { 0 };
    let event = perf::probe(pmu, config, &c_string(symbol)?, offset, (-1, machine::first_cpu())).map_err(
        |errno| match errno {
            Errno::NOENT => Error::Missing(format!("kernel function {symbol}")),
            Errno::ADDRNOTAVAIL => {
                Error::Missing(format!("one kernel function {symbol} (several have that name)"))
            }
            errno => Error::os(format!("open {place}"), errno),
        },
    )?;
    on_event(prog, event, cookie, &place, target)
}
