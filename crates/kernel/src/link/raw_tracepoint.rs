//! Raw tracepoints, by name, and typed ones (tp_btf), whose place is in the program.

use std::os::fd::AsFd;

use rustix::io::Errno;
use skep_bpf::kinds::ProgType;
use skep_bpf::version::KernelVersion;

use crate::error::Error;
use crate::link::{Link, c_string};
use crate::machine;
use crate::prog::Prog;
use crate::sys::link;

/// The first kernel that takes a cookie for a raw tracepoint.
const COOKIE_SINCE: KernelVersion = KernelVersion::new(6, 10);

/// Attaches to raw tracepoint `name`.
pub(super) fn attach(prog: &Prog, name: &str, cookie: u64) -> Result<Link, Error> {
    let place = c_string(name)?;
    let place = (prog.kind() != ProgType::Tracing).then_some(place.as_c_str());
    link::raw_tracepoint(prog.as_fd(), place, cookie).map(Link::one).map_err(|errno| match errno {
        Errno::NOENT => Error::Missing(format!("raw tracepoint {name}")),
        Errno::TOOBIG | Errno::INVAL if cookie != 0 && machine::version() < COOKIE_SINCE => Error::TooOld {
            what: format!("a cookie for raw tracepoint {name}"),
            since: COOKIE_SINCE,
            here: machine::release().to_owned(),
        },
        errno => Error::os(format!("attach to raw tracepoint {name}"), errno),
    })
}
