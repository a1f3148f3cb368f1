//! kprobe.multi: one link over many functions (5.18, needs fprobe).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::link::{Link, c_string, lacks};
use crate::live::LiveTarget;
use crate::prog::Prog;
use crate::sys::link;

/// Most functions that are left out of one attachment before it counts as failed.
const MOST_UNKNOWN: usize = 64;

/// Attaches to all `symbols`, or to their returns. The kernel refuses a whole list for one function that it does not
/// know or cannot trace; of several functions such ones are left out, so that there may be more than one link.
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
    let mut attempt = Attempt { prog, ret, links: Vec::new(), refused: 0 };
    attempt.add(&names, cookies).map_err(|errno| Error::os(format!("attach {what}"), errno))?;
    if attempt.links.is_empty() {
        return Err(Error::Missing(match symbols {
            [one] => format!("kernel function {one}"),
            _ => format!("any of {} kernel functions", symbols.len()),
        }));
    }
    Ok(Link { links: attempt.links, ..Link::default() })
}

/// One attachment under way.
struct Attempt<'p> {
    prog: &'p Prog,
    ret: bool,
    links: Vec<OwnedFd>,
    /// Functions that the kernel did not take.
    refused: usize,
}

impl Attempt<'_> {
    /// Attaches to these, or to the halves of them that the kernel takes.
    fn add(&mut self, names: &[&CStr], cookies: &[u64]) -> Result<(), Errno> {
        let kind = self.prog.attach_type() as u32;
        match link::kprobe_multi(self.prog.as_fd(), kind, names, cookies, self.ret) {
            Ok(link) => {
                self.links.push(link);
                Ok(())
            }
            Err(errno @ (Errno::SRCH | Errno::NOENT | Errno::INVAL)) => match names {
                [] | [_] => {
                    self.refused += names.len();
                    if self.refused > MOST_UNKNOWN { Err(errno) } else { Ok(()) }
                }
                _ => {
                    let middle = names.len() / 2;
                    let (low, high) = cookies.split_at(middle.min(cookies.len()));
                    self.add(&names[..middle], low)?;
                    self.add(&names[middle..], high)
                }
            },
            Err(errno) => Err(errno),
        }
    }
}
