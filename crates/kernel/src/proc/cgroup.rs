//! Cgroups: paths enter, ids leave, and the other way round.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;

/// The id of a cgroup: the inode of its folder (fs/kernfs, 64-bit inode numbers).
pub fn cgroup_id(path: &str) -> Result<u64, Error> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(meta.ino()),
        Ok(_) => Err(Error::Damaged { what: path.to_owned(), why: "no cgroup folder".into() }),
        Err(_) => Err(Error::Missing(format!("cgroup {path}"))),
    }
}

/// Hierarchies of cgroups as (name, mount point): `unified` for version 2, the controllers of version 1.
pub(crate) fn mounts() -> Vec<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    parse_mounts(&mounts)
}

fn parse_mounts(mounts: &str) -> Vec<(String, String)> {
    let mut seen = std::collections::HashSet::new();
    let mut found: Vec<(String, String)> = mounts
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let (place, kind) = (words.get(1)?, words.get(2)?);
            let name = match *kind {
                "cgroup2" => "unified",
                "cgroup" => place.rsplit('/').next()?,
                _ => return None,
            };
            Some((name.to_owned(), (*place).to_owned()))
        })
        // Hierarchies may be mounted at several places.
        .filter(|(name, _)| seen.insert(name.clone()))
        .collect();
    found.sort_by(|(a, _), (b, _)| (a != "unified", a).cmp(&(b != "unified", b)));
    found
}

/// Folders that are looked at when a cgroup is searched by its id.
const CGROUP_LIMIT: usize = 100_000;

/// The hierarchies that have a cgroup of that id, by name, and the cgroup's path in each.
pub fn cgroup_paths(id: u64) -> Vec<(String, String)> {
    let mut left = CGROUP_LIMIT;
    let found = mounts().into_iter().filter_map(|(name, root)| {
        let mut folders = vec![std::path::PathBuf::from(&root)];
        while let Some(folder) = folders.pop() {
            left = left.checked_sub(1)?;
            if fs::metadata(&folder).is_ok_and(|m| m.ino() == id) {
                let inside = folder.to_string_lossy().strip_prefix(&root)?.to_owned();
                return Some((name, if inside.is_empty() { "/".to_owned() } else { inside }));
            }
            let children = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(children.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        None
    });
    found.collect()
}

/// A cgroup of version 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cgroup {
    /// The kernel's number for it.
    pub id: u64,
    /// Its path in the hierarchy, as this process sees it; `/` is the root.
    pub path: String,
}

impl Cgroup {
    /// Whether `path`, in the same hierarchy, is this cgroup or lies below it.
    pub fn holds(&self, path: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.path == "/" || path.strip_prefix(&self.path).is_some_and(below)
    }
}

/// Finds a cgroup of version 2 by its folder, or by its path in the hierarchy.
pub fn find_cgroup(path: &str) -> Result<Cgroup, Error> {
    let mount = mounts().into_iter().find(|(name, _)| name == "unified");
    let (_, root) = mount.ok_or_else(|| {
        Error::Missing(
            "a mounted hierarchy of cgroups of version 2 (mount -t cgroup2 none DIR mounts it)".into(),
        )
    })?;
    let root = fs::canonicalize(&root).map_err(|error| Error::io(format!("look at {root}"), &error))?;
    let inside = root.join(path.trim_start_matches('/'));
    let places = [Path::new(path), inside.as_path()];
    let folder =
        places.iter().filter_map(|place| fs::canonicalize(place).ok()).find(|place| place.starts_with(&root));
    let root = root.to_string_lossy();
    let Some(folder) = folder else {
        return Err(Error::Missing(format!("cgroup {path} (of version 2, which is mounted at {root})")));
    };
    let folder = folder.to_string_lossy();
    let path = folder.strip_prefix(&*root).filter(|path| !path.is_empty()).unwrap_or("/");
    Ok(Cgroup { id: cgroup_id(&folder)?, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_have_names() {
        let text = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                    cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw 0 0\n";
        assert_eq!(
            parse_mounts(text),
            [
                ("unified".to_owned(), "/sys/fs/cgroup/unified".to_owned()),
                ("cpu,cpuacct".to_owned(), "/sys/fs/cgroup/cpu,cpuacct".to_owned())
            ]
        );
    }

    #[test]
    fn a_cgroup_holds_those_below() {
        let slice = Cgroup { id: 2, path: "/a.slice".to_owned() };
        assert!(slice.holds("/a.slice") && slice.holds("/a.slice/b"));
        assert!(!slice.holds("/a.slice2") && !slice.holds("/") && !slice.holds(""));
        assert!(Cgroup { id: 1, path: "/".to_owned() }.holds("/a"));
    }

    #[test]
    fn cgroups_are_found_by_folder_and_by_path() {
        let Some((_, root)) = mounts().into_iter().find(|(name, _)| name == "unified") else {
            eprintln!("skipped: no cgroups of version 2 are mounted");
            return;
        };
        let found = find_cgroup(&root).unwrap();
        assert_eq!((found.id, found.path.as_str()), (cgroup_id(&root).unwrap(), "/"));
        assert_eq!(find_cgroup("").unwrap(), found);
        for wrong in ["/etc", "../../etc", "no-such-cgroup"] {
            let message = find_cgroup(wrong).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains(&root), "{message}");
        }
    }
}
