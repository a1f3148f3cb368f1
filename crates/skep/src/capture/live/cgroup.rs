//! Names of cgroups for people: a path enters, the container or unit that it is of leaves.

/// Hexadecimal digits of a container's id, in the names of cgroups and as they are shown.
const ID: usize = 64;
const SHORT: usize = 12;
/// What LXC puts before a container's name.
const LXC: &str = "lxc.payload.";

/// A cgroup as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// Its path in the unified hierarchy; empty: it is gone.
    pub(super) path: String,
    /// The container's short id or name, else the path's last part.
    pub(super) name: String,
}

impl Group {
    /// The cgroup of this path.
    pub(super) fn at(path: String) -> Group {
        // The innermost container: what runs in it may have cgroups of its own, or be one.
        let name = match path.rsplit('/').find_map(container) {
            Some(id) => format!("container {id}"),
            None => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        Group { path, name }
    }
}

/// The container that one part of a path names: `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`, `SLICE:docker:ID`,
/// `ID` alone, `lxc.payload.NAME`.
fn container(part: &str) -> Option<&str> {
    let digits = |word: &&str| word.len() == ID && word.bytes().all(|b| b.is_ascii_hexdigit());
    match part.split(['-', '.', ':']).find(digits) {
        Some(id) => id.get(..SHORT),
        None => part.strip_prefix(LXC).filter(|name| !name.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_by_container_or_unit() {
        let id = "0123456789abcdef".repeat(4);
        for (path, name) in [
            ("/system.slice/docker-ID.scope", "container 0123456789ab"),
            ("/docker/ID", "container 0123456789ab"),
            ("/docker/ID/init.scope", "container 0123456789ab"),
            ("/system.slice/docker-ID.scope/system.slice/nginx.service", "container 0123456789ab"),
            ("/kubepods/burstable/pod1/ID", "container 0123456789ab"),
            ("/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-ID.scope", "container 0123456789ab"),
            ("/kubepods.slice/kubepods-pod1_2.slice/crio-ID.scope/container", "container 0123456789ab"),
            ("/system.slice/kubepods-pod1.slice:cri-containerd:ID", "container 0123456789ab"),
            ("/machine.slice/libpod-ID.scope/container", "container 0123456789ab"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
                "container 0123456789ab",
            ),
            ("/system.slice/nerdctl-ID.scope", "container 0123456789ab"),
            ("/lxc.payload.web/system.slice/cron.service", "container web"),
            ("/system.slice/ssh.service", "ssh.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            ("/0123456789abcdef", "0123456789abcdef"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(Group::at(path.replace("ID", &id)).name, name, "{path}");
        }
    }
}
