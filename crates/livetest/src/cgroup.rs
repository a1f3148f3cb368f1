//! Cgroups of a load's own, in the hierarchy of version 2, below one folder for this process.
//!
//! In: a path. Out: the folder, which a load enters before its work. Always: what was made is taken away with the value.

use std::path::{Path, PathBuf};

use rustix::thread::UnshareFlags;

/// The environment variable with the cgroup that a workload enters.
pub(crate) const CGROUP: &str = "LIVETEST_CGROUP";

/// Where cgroups of version 2 are mounted.
pub(crate) fn mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// The folder below which this process makes cgroups: `<CGROUP>` in fixtures.
pub(crate) fn root() -> Option<PathBuf> {
    Some(mount()?.join(format!("livetest-{}", std::process::id())))
}

/// A cgroup, with those above it that were made for it.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes the cgroup of this path below [`root`].
    pub(crate) fn make(path: &str) -> Result<Cgroup, String> {
        let folder = root().ok_or("no cgroups of version 2 are mounted")?.join(path);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Cgroup(folder))
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let root = root();
        let above =
            self.0.ancestors().take_while(|folder| root.as_deref().is_some_and(|r| folder.starts_with(r)));
        // Where another load is left, the folder stays for it.
        let _ = above.map(std::fs::remove_dir).take_while(Result::is_ok).count();
    }
}

/// Enters the cgroup in this folder, which is then the root of all that this process sees, as in a container.
pub(crate) fn enter(folder: &str) -> Result<(), String> {
    let path = Path::new(folder).join("cgroup.procs");
    std::fs::write(&path, "0").map_err(|error| format!("{}: {error}", path.display()))?;
    #[expect(
        deprecated,
        reason = "what is unsafe about it is the sharing of descriptors, which is left alone"
    )]
    rustix::thread::unshare(UnshareFlags::NEWCGROUP).map_err(|error| format!("unshare: {error}"))
}
