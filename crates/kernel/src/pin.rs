//! Pins: files of a BPF file system that hold maps, programs and links. Descriptors and paths enter, files appear; what was
//! made is taken away again unless it is kept.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::Error;
use crate::link::c_string;
use crate::sys::objects;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS: u64 = 0xcafe_4a11;
/// Where the file system is mounted on most machines.
pub const ROOT: &str = "/sys/fs/bpf";

/// Files and folders that were made; dropping this removes them, but for those that are kept.
#[derive(Debug, Default)]
pub struct Pins {
    made: Vec<PathBuf>,
}

/// A name as a file of this file system, which knows no dots.
pub(crate) fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether the nearest folder above `path` that exists is of a BPF file system.
fn is_in_bpf_fs(path: &Path) -> bool {
    let there = path.ancestors().find(|p| p.exists());
    there.and_then(|p| rustix::fs::statfs(p).ok()).is_some_and(|s| s.f_type as u64 == BPF_FS)
}

fn failed(path: &Path, errno: Errno) -> Error {
    let what = format!("pin {}", text(path));
    match errno {
        Errno::EXIST => Error::Damaged {
            what,
            why: "there is such a file already (`skep maps unpin`, `skep progs unpin` and `skep links unpin` remove one)".into(),
        },
        Errno::PERM | Errno::INVAL if !is_in_bpf_fs(path) => not_mounted(path),
        errno => Error::os(what, errno),
    }
}

fn not_mounted(path: &Path) -> Error {
    Error::Damaged {
        what: format!("pin {}", text(path)),
        why: format!("the folder is not of a BPF file system (mount -t bpf bpf {ROOT})"),
    }
}

impl Pins {
    /// Makes a folder and those above it.
    pub fn folder(&mut self, path: &Path) -> Result<(), Error> {
        if !is_in_bpf_fs(path) {
            return Err(not_mounted(path));
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(folder).map_err(|e| Error::io(format!("make {}", text(folder)), &e))?;
            self.made.push(folder.to_owned());
        }
        Ok(())
    }

    /// Pins an object.
    pub fn pin(&mut self, object: impl AsFd, path: &Path) -> Result<(), Error> {
        let name = c_string(&text(path))?;
        objects::pin(object.as_fd(), &name).map_err(|errno| failed(path, errno))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Keeps what was made.
    pub fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.made)
    }

    /// Takes over what another made.
    pub fn join(&mut self, other: Pins) {
        self.made.extend(other.keep());
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for path in self.made.drain(..).rev() {
            // What someone else has removed or filled meanwhile is theirs.
            let _ = if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
        }
    }
}

/// Opens a pinned object; `None` when there is no such file.
pub(crate) fn open(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let name = c_string(&text(path))?;
    match objects::open_pin(&name) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::os(format!("open {}", text(path)), errno)),
    }
}

/// Removes a pin: a file of a BPF file system and nothing else.
pub fn unpin(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Err(Error::Missing(text(path)));
    }
    if !is_in_bpf_fs(path) || path.is_dir() {
        return Err(Error::Damaged {
            what: text(path),
            why: "it is no pinned object of a BPF file system".into(),
        });
    }
    std::fs::remove_file(path).map_err(|e| Error::io(format!("remove {}", text(path)), &e))
}

/// Removes a folder of pins with what is pinned in it; one that is not there, or not of a BPF file system, is left alone.
pub fn unpin_folder(folder: &Path) -> Result<(), Error> {
    if !folder.is_dir() || !is_in_bpf_fs(folder) {
        return Ok(());
    }
    let failed = |e: std::io::Error| Error::io(format!("remove {}", text(folder)), &e);
    for file in std::fs::read_dir(folder).map_err(failed)? {
        std::fs::remove_file(file.map_err(failed)?.path()).map_err(failed)?;
    }
    std::fs::remove_dir(folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pins_are_removed() {
        let file = std::env::temp_dir().join(format!("skep-no-pin-{}", std::process::id()));
        std::fs::write(&file, "x").unwrap();
        let error = unpin(&file).unwrap_err();
        assert!(error.to_string().contains("no pinned object"), "{error}");
        assert!(file.exists());
        std::fs::remove_file(&file).unwrap();
        assert!(unpin(&file).unwrap_err().is_missing());
        let error = Pins::default().folder(&file).unwrap_err();
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
        assert_eq!(file_name(".data.x y"), "_data_x_y");
    }
}
