//! Iterators: reading the file runs the program once for each object.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use skep_bpf::object::AttachPoint;

use rustix::io::Errno;

use crate::error::Error;
use crate::link::c_string;
use crate::prog::Prog;
use crate::sys::{link, objects};

/// An open iterator.
#[derive(Debug)]
pub struct Iteration {
    file: File,
    name: String,
}

fn open(prog: &Prog, point: &AttachPoint) -> Result<OwnedFd, Error> {
    let cgroups = point.name == "iter:cgroup";
    link::iterator(prog.as_fd(), prog.attach_type() as u32, cgroups).map_err(|errno| match errno {
        // Only iterators over the elements of a map ask for a descriptor.
        Errno::BADF => Error::Unavailable {
            what: point.name.clone(),
            why: "it goes over the elements of one map, which a script cannot name".into(),
        },
        errno => Error::os(format!("attach to {}", point.name), errno),
    })
}

/// Attaches an iterator program and opens its file.
pub(super) fn attach(prog: &Prog, point: &AttachPoint) -> Result<Iteration, Error> {
    let failed = |errno| Error::os(format!("attach to {}", point.name), errno);
    let link = open(prog, point)?;
    // The file holds the link, so the link's own descriptor may go.
    let file = File::from(link::iter_create(link.as_fd()).map_err(failed)?);
    Ok(Iteration { file, name: point.name.clone() })
}

/// Attaches an iterator program and pins it: reading the file at `path` runs it, and the file stays behind.
pub(super) fn pin(prog: &Prog, point: &AttachPoint, path: &str) -> Result<String, Error> {
    let link = open(prog, point)?;
    let place = c_string(path)?;
    objects::pin(link.as_fd(), &place).map_err(|errno| match errno {
        Errno::EXIST => {
            Error::Damaged { what: format!("pin {path}"), why: "there is such a file already".into() }
        }
        Errno::PERM => Error::Damaged {
            what: format!("pin {path}"),
            why: "the folder is not of a BPF file system (mount -t bpf bpf /sys/fs/bpf)".into(),
        },
        errno => Error::os(format!("pin {path}"), errno),
    })?;
    // The file holds the link, so nothing is left to detach.
    Ok(path.to_owned())
}

impl Iteration {
    /// The probe.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the program over all objects, and gives what it wrote to the file (at most `limit` bytes are kept).
    pub fn run(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let (mut output, mut buffer) = (Vec::new(), vec![0u8; 1 << 16]);
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(output),
                Ok(n) => {
                    let room = limit.saturating_sub(output.len()).min(n);
                    output.extend_from_slice(&buffer[..room]);
                }
                // After a million objects without output the kernel asks to come again (kernel/bpf/bpf_iter.c).
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("read {}", self.name), &e)),
            }
        }
    }
}
