//! kprobe.multi: one link over many functions (5.18, needs fprobe).

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::link::{Link, c_string, lacks};
use crate::live::LiveTarget;
use crate::prog::Prog;
use crate::sys::link;

/// Attaches to all `symbols`, or to their returns.
pub(super) fn attach(
    prog: &Prog,
    symbols: &[String],
    cookies: &[u64],
    ret: bool,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let what = format!("kprobe.multi over {} functions", symbols.len());
    if !target.supports(Feature::KprobeMulti) {
        return Err(lacks(&what, Feature::KprobeMulti, "CONFIG_FPROBE"));
    }
    let owned: Vec<CString> = symbols.iter().map(|s| c_string(s)).collect::<Result<_, _>>()?;
    let names: Vec<&CStr> = owned.iter().map(CString::as_c_str).collect();
    let result = link::kprobe_multi(prog.as_fd(), prog.attach_type() as u32, &names, cookies, ret);
    result.map(Link::one).map_err(|errno| match errno {
        Errno::SRCH | Errno::NOENT => Error::Missing(match symbols {
            [one] => format!("kernel function {one}"),
            _ => format!("one or more of {} kernel functions", symbols.len()),
        }),
        errno => Error::os(format!("attach {what}"), errno),
    })
}
