//! Network namespaces: a name (as `ip netns` gives them) or a process id enters; what is opened while one is entered
//! belongs to it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// The folder where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    shown: String,
}

impl Namespace {
    /// The namespace of this name, or of the process with this id.
    pub fn find(name: &str) -> Result<Namespace, Error> {
        let path = match name.parse::<u32>() {
            Ok(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Err(_) if name.is_empty() || name.contains('/') || name == "." || name == ".." => {
                return Err(Error::Missing(format!("network namespace {name:?}")));
            }
            Err(_) => PathBuf::from(NAMES).join(name),
        };
        let file = File::open(&path).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => {
                Error::Missing(format!("network namespace {name} ({}, {})", path.display(), known()))
            }
            _ => Error::io(format!("open {}", path.display()), &error),
        })?;
        Ok(Namespace { file, shown: name.to_owned() })
    }

    /// Runs `work` in the namespace: this thread enters it and comes back.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let own = File::open(OWN).map_err(|error| Error::io(format!("open {OWN}"), &error))?;
        let enter = |file: &File, what: String| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|errno| Error::os(what, errno))
        };
        enter(&self.file, format!("enter the network namespace {}", self.shown))?;
        let result = work();
        enter(&own, "come back to the own network namespace".to_owned())?;
        Ok(result)
    }

    /// The number by which the kernel's structures name it (`ns.inum`).
    pub fn inode(&self) -> Result<u32, Error> {
        inode(&self.file, &self.shown)
    }
}

/// Which names there are.
fn known() -> String {
    let entries = std::fs::read_dir(NAMES).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.truncate(20);
    match names.is_empty() {
        true => "there are none with names; the id of a process in one will do".to_owned(),
        false => format!("there are {}; the id of a process in one will do too", names.join(", ")),
    }
}

/// The number of this thread's network namespace.
pub fn current_inode() -> Result<u32, Error> {
    let own = File::open(OWN).map_err(|error| Error::io(format!("open {OWN}"), &error))?;
    inode(&own, OWN)
}

fn inode(file: &File, shown: &str) -> Result<u32, Error> {
    let data = file.metadata().map_err(|error| Error::io(format!("look at {shown}"), &error))?;
    u32::try_from(data.ino()).map_err(|_| Error::Damaged {
        what: shown.to_owned(),
        why: "a number of more than 32 bits".to_owned(),
    })
}
