//! The running kernel's types: /sys/kernel/btf/vmlinux mapped where the kernel allows it (6.16), read elsewhere, and
//! the modules' on top of it; and the descriptors of loaded module BTF that program load wants.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use skep_bpf::btf::Btf;

use crate::error::Error;
use crate::sys::{bpf, mmap::BtfMapping};

/// Where the kernel shows its types.
const FOLDER: &str = "/sys/kernel/btf";
/// The largest blob that is read; today's are below 16 MB.
const LIMIT: u64 = 256 << 20;

/// The bytes of one file of types.
enum Blob {
    Mapped(BtfMapping),
    Read(Vec<u8>),
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        match self {
            Blob::Mapped(m) => m.as_ref(),
            Blob::Read(v) => v,
        }
    }
}

fn blob(name: &str) -> Result<Blob, Error> {
    let path = format!("{FOLDER}/{name}");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing(if name == "vmlinux" {
                format!("{path} (a kernel with CONFIG_DEBUG_INFO_BTF has it)")
            } else {
                format!("types of module {name}")
            }));
        }
        Err(e) => return Err(Error::io(format!("open {path}"), &e)),
    };
    let size = file.metadata().map_err(|e| Error::io(format!("stat {path}"), &e))?.len();
    if let Ok(len) = usize::try_from(size)
        && let Ok(mapping) = BtfMapping::new(file.as_fd(), len)
    {
        return Ok(Blob::Mapped(mapping));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(LIMIT)).unwrap_or(0));
    file.by_ref().take(LIMIT).read_to_end(&mut bytes).map_err(|e| Error::io(format!("read {path}"), &e))?;
    Ok(Blob::Read(bytes))
}

fn parse(name: &str, base: Option<Arc<Btf>>) -> Result<Arc<Btf>, Error> {
    let parsed = Btf::parse(blob(name)?, base);
    parsed.map(Arc::new).map_err(|e| Error::Damaged { what: format!("{FOLDER}/{name}"), why: e.to_string() })
}

/// The kernel's own types.
pub(crate) fn vmlinux() -> Result<Arc<Btf>, Error> {
    parse("vmlinux", None)
}

/// A module's types on top of the kernel's. The name comes from a user: one with a slash is not found.
pub(crate) fn module(name: &str, vmlinux: Arc<Btf>) -> Result<Arc<Btf>, Error> {
    if name.contains('/') || name.starts_with('.') {
        return Err(Error::Missing(format!("module {name}")));
    }
    parse(name, Some(vmlinux))
}

/// Names of the modules that have types, sorted.
pub(crate) fn modules() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|e| e.file_name().into_string().ok()).filter(|name| name != "vmlinux").collect();
    names.sort();
    names
}

/// The descriptor of a module's BTF among those that the kernel has loaded (5.11; needs CAP_SYS_ADMIN).
pub(crate) fn module_fd(name: &str) -> Result<OwnedFd, Error> {
    let mut id = 0;
    loop {
        id = match bpf::btf_next_id(id) {
            Ok(next) if next > id => next,
            Ok(_) | Err(rustix::io::Errno::NOENT) => {
                return Err(Error::Missing(format!("types of module {name}")));
            }
            Err(errno) => return Err(Error::os("list the kernel's BTF", errno)),
        };
        let Ok(fd) = bpf::btf_by_id(id) else { continue };
        if bpf::btf_info(fd.as_fd()).is_ok_and(|(_, n)| n == name) {
            return Ok(fd);
        }
    }
}
