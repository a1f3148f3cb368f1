//! kprobes and kretprobes through the kprobe PMU (4.17).

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::features::{pmu_bit, pmu_type};
use crate::link::{Link, lacks, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::prog::Prog;
use crate::sys::perf;

/// Attaches to `symbol` + `offset` (without a symbol: to that address), or to its return.
pub(super) fn attach(
    prog: &Prog,
    symbol: &str,
    offset: u64,
    ret: bool,
    cookie: u64,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let kind = if ret { "kretprobe" } else { "kprobe" };
    let place = if symbol.is_empty() { format!("{kind} {offset:#x}") } else { format!("{kind} {symbol}") };
    let Some(pmu) = pmu_type("kprobe") else {
        return Err(lacks(&place, Feature::Kprobe, "CONFIG_KPROBE_EVENTS"));
    };
    let config = if ret { 1 << pmu_bit("kprobe", "retprobe").unwrap_or(0) } else { 0 };
    let event = open(pmu, config, symbol, offset).map_err(|errno| match errno {
        Errno::NOENT => Error::Missing(format!("kernel function {symbol}")),
        Errno::ADDRNOTAVAIL => {
            Error::Missing(format!("one kernel function {symbol} (several have that name)"))
        }
        Errno::ILSEQ => Error::Damaged {
            what: format!("{place}+{offset}"),
            why: "Possible attachment attempt in the middle of an instruction, try a different offset."
                .into(),
        },
        Errno::INVAL if symbol.is_empty() => {
            Error::Missing(format!("a traceable instruction at {offset:#x}"))
        }
        Errno::INVAL => Error::Missing(format!("a traceable instruction at {symbol}+{offset:#x}")),
        errno => Error::os(format!("open {place}"), errno),
    })?;
    on_event(prog, event, cookie, &place, target)
}

/// Opens the event. The kernel looks for `module:function` by that name (5.10) or by the function's alone (from 6.6 on it
/// counts the symbols of that name first: number_of_same_symbols, kernel/trace/trace_kprobe.c).
fn open(pmu: u32, config: u64, symbol: &str, offset: u64) -> Result<OwnedFd, Errno> {
    let at = (-1, machine::first_cpu());
    if symbol.is_empty() {
        return perf::probe(pmu, config, None, offset, at);
    }
    let name = |text: &str| CString::new(text).map_err(|_| Errno::NOENT);
    match (perf::probe(pmu, config, Some(&name(symbol)?), offset, at), symbol.split_once(':')) {
        (Err(Errno::NOENT), Some((_, bare))) => perf::probe(pmu, config, Some(&name(bare)?), offset, at),
        (result, _) => result,
    }
}
