//! Events as the kernel describes them in tracefs: through a mount where there is one, else through a detached mount
//! that nobody else sees and that goes with its descriptor. Names come from users and are checked; texts are bounded.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, StatFs, fstatfs, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::Error;

/// Mount points to look at, in this order.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// `TRACEFS_MAGIC` (include/uapi/linux/magic.h).
const MAGIC: u64 = 0x7472_6163;
/// Largest text that is read: available_filter_functions of a big kernel has some 4 MB.
const LIMIT: u64 = 64 << 20;

/// An open tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: OwnedFd,
    detached: bool,
}

impl Tracefs {
    /// Opens what is mounted, else mounts it detached (5.2; needs CAP_SYS_ADMIN).
    pub fn open() -> Result<Tracefs, Error> {
        let mut denied = None;
        for place in PLACES {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
            match openat(CWD, place, flags, Mode::empty()) {
                Ok(root) if fstatfs(&root).is_ok_and(|s| is_tracefs(&s)) => {
                    return Ok(Tracefs { root, detached: false });
                }
                Ok(_) => {}
                Err(Errno::NOENT) => {}
                Err(errno) => denied = Some(Error::os(format!("open {place}"), errno)),
            }
        }
        match detached("tracefs") {
            Ok(root) => Ok(Tracefs { root, detached: true }),
            Err(Errno::NODEV) => Err(Error::Unavailable {
                what: "tracefs".into(),
                why: "the kernel was built without CONFIG_TRACING".into(),
            }),
            Err(errno) => Err(denied.unwrap_or_else(|| Error::os("mount tracefs (detached)", errno))),
        }
    }

    /// Whether nothing was mounted and this is a private mount.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// The text of a file, such as `events/sched/sched_switch/format`. `Missing` when there is none.
    pub fn read(&self, path: &str) -> Result<String, Error> {
        let what = || format!("read tracefs {path}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(&self.root, path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Error::Missing(format!("tracefs file {path}")),
            errno => Error::os(what(), errno),
        })?;
        let mut bytes = Vec::with_capacity(4096);
        File::from(fd).take(LIMIT).read_to_end(&mut bytes).map_err(|e| Error::io(what(), &e))?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// All events as "category:name", sorted.
    pub fn events(&self) -> Result<Vec<String>, Error> {
        let mut events: Vec<String> = self
            .read("available_events")?
            .lines()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        events.sort_unstable();
        events.dedup();
        Ok(events)
    }

    /// The format text of an event.
    pub fn format(&self, category: &str, name: &str) -> Result<String, Error> {
        self.event_file(category, name, "format")
    }

    /// The number of an event, as perf_event_open takes it.
    pub fn id(&self, category: &str, name: &str) -> Result<u64, Error> {
        let text = self.event_file(category, name, "id")?;
        text.trim().parse().map_err(|_| Error::Damaged {
            what: format!("id of tracepoint {category}:{name}"),
            why: format!("{:?} is no number", text.trim()),
        })
    }

    fn event_file(&self, category: &str, name: &str, file: &str) -> Result<String, Error> {
        let missing = || Error::Missing(format!("tracepoint {category}:{name}"));
        let plain = |s: &str| !s.is_empty() && !s.contains(['/', '\0']) && !s.starts_with('.');
        if !plain(category) || !plain(name) {
            return Err(missing());
        }
        self.read(&format!("events/{category}/{name}/{file}"))
            .map_err(|e| if e.is_missing() { missing() } else { e })
    }
}

fn is_tracefs(stat: &StatFs) -> bool {
    stat.f_type as u64 == MAGIC
}

/// A mount of a kernel file system that nobody else sees and that goes with its descriptor (5.2; CAP_SYS_ADMIN).
pub(crate) fn detached(kind: &str) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
