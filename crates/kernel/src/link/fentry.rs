//! fentry and fexit (and whatever else has its place in the program).

use std::os::fd::AsFd;

use skep_bpf::object::AttachPoint;

use crate::error::Error;
use crate::link::Link;
use crate::prog::Prog;
use crate::sys::link;

/// Attaches `prog` to the function that it was loaded for. A cookie needs 5.19.
pub(super) fn attach(prog: &Prog, point: &AttachPoint) -> Result<Link, Error> {
    let result = if point.cookie == 0 {
        link::raw_tracepoint(prog.as_fd(), None, 0)
    } else {
        link::tracing(prog.as_fd(), prog.attach_type() as u32, point.cookie)
    };
    result.map(Link::one).map_err(|errno| Error::os(format!("attach to {}", point.name), errno))
}
