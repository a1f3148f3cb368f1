//! Checks of the process and the machine: privilege, kernel, types, tracefs, containers and virtual machines.

use std::fs;
use std::path::Path;

use skep_bpf::version::KernelVersion;

use super::{Check, Status};
use crate::live::LiveTarget;
use crate::{machine, proc};

/// The oldest supported kernel.
const OLDEST: KernelVersion = KernelVersion::new(5, 10);

/// These checks, in order.
pub(super) fn checks(target: &LiveTarget) -> Vec<Check> {
    let mut checks = vec![kernel(), privilege()];
    checks.extend(capabilities());
    checks.extend([
        types(target),
        tracefs(target),
        tracepoints(target),
        where_it_runs(),
        pid_namespace(),
        cgroups(),
    ]);
    checks
}

fn kernel() -> Check {
    let found = format!("{} ({})", machine::release(), std::env::consts::ARCH);
    if machine::version() >= OLDEST {
        Check::good("kernel", found)
    } else {
        Check::bad("kernel", found).mend(format!("Linux {OLDEST} or later is needed"))
    }
}

fn privilege() -> Check {
    let missing = machine::missing_capabilities();
    let who = if machine::is_root() { "root" } else { "not root" };
    if missing.is_empty() {
        Check::good("privilege", format!("{who}; may load tracing programs"))
    } else {
        Check::bad("privilege", format!("{who}; lacks {}", missing.join(" and "))).mend(
            "run it with sudo, or give the binary its capabilities: \
             setcap cap_bpf,cap_perfmon,cap_sys_admin,cap_sys_ptrace,cap_syslog+ep",
        )
    }
}

fn capabilities() -> Vec<Check> {
    let have = machine::effective();
    let needed = |name: &str| name != "CAP_SYS_RESOURCE" || machine::version() < KernelVersion::new(5, 11);
    machine::CAPABILITIES
        .iter()
        .map(|(name, capability, use_)| match have.contains(*capability) {
            true => Check::good(name, format!("to {use_}")),
            false if !needed(name) => Check::good(name, format!("missing, and not needed here: to {use_}")),
            false => Check::limited(name, format!("missing: to {use_}")).mend("run it with sudo"),
        })
        .collect()
}

fn types(target: &LiveTarget) -> Check {
    match target.vmlinux_types() {
        Ok(types) => Check::good("kernel types (BTF)", format!("{} types in /sys/kernel/btf/vmlinux", types.len())),
        Err(error) => Check::limited("kernel types (BTF)", error.to_string())
            .mend("a kernel with CONFIG_DEBUG_INFO_BTF; tracepoints and probes without typed arguments work all the same"),
    }
}

fn tracefs(target: &LiveTarget) -> Check {
    match target.tracefs() {
        Ok(fs) if fs.is_detached() => Check::good(
            "tracefs",
            "not mounted; a private mount, seen by nobody else, serves while skep runs",
        ),
        Ok(_) => Check::good("tracefs", "mounted"),
        Err(error) => Check::limited("tracefs", error.to_string()).mend(
            "mount -t tracefs tracefs /sys/kernel/tracing (needs root; without it there are no tracepoints)",
        ),
    }
}

fn tracepoints(target: &LiveTarget) -> Check {
    let events = target.tracefs().and_then(|fs| fs.events());
    match events {
        Ok(events) if events.iter().any(|e| e.starts_with("syscalls:")) => {
            Check::good("tracepoints", format!("{} events", events.len()))
        }
        Ok(events) => Check::limited("tracepoints", format!("{} events, none of system calls", events.len()))
            .mend("a kernel with CONFIG_FTRACE_SYSCALLS"),
        Err(error) => Check::limited("tracepoints", error.to_string()).mend("see tracefs"),
    }
}

/// Marks of what runs this process: (file, text in it, what it is).
const MARKS: &[(&str, &str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "WSL", "WSL"),
    ("/proc/sys/kernel/osrelease", "microsoft", "WSL"),
    ("/run/.containerenv", "", "a Podman container"),
    ("/.dockerenv", "", "a Docker container"),
    ("/run/systemd/container", "", "a container"),
    ("/proc/1/environ", "container=", "a container"),
    ("/proc/1/cgroup", "kubepods", "a Kubernetes pod"),
    ("/proc/1/cgroup", "/docker", "a Docker container"),
    ("/proc/1/cgroup", "/lxc", "an LXC container"),
];

/// Product names that hypervisors put into the firmware tables, and what they are.
const HYPERVISORS: &[(&str, &str)] = &[
    ("QEMU", "QEMU"),
    ("KVM", "KVM"),
    ("VMware", "VMware"),
    ("VirtualBox", "VirtualBox"),
    ("Virtual Machine", "Hyper-V"),
    ("Google Compute", "Google Compute Engine"),
    ("Amazon EC2", "Amazon EC2"),
    ("Bochs", "Bochs"),
];

fn marked(file: &str, text: &str) -> bool {
    match fs::read(file) {
        Ok(_) if text.is_empty() => true,
        Ok(bytes) => bytes.windows(text.len()).any(|w| w == text.as_bytes()),
        Err(_) => false,
    }
}

fn virtual_machine() -> Option<String> {
    let folder = Path::new("/sys/class/dmi/id");
    let tables =
        ["product_name", "sys_vendor"].map(|f| machine::read_line(folder.join(f)).unwrap_or_default());
    let known = HYPERVISORS.iter().find(|(mark, _)| tables.iter().any(|t| t.contains(mark)));
    if let Some((_, name)) = known {
        return Some((*name).to_owned());
    }
    let flagged = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines().any(|l| l.starts_with("flags") && l.split_whitespace().any(|w| w == "hypervisor"))
    });
    flagged.then(|| "a hypervisor".to_owned())
}

fn where_it_runs() -> Check {
    let container = MARKS.iter().find(|(file, text, _)| marked(file, text)).map(|(.., what)| *what);
    let machine = virtual_machine();
    let found = match (container, &machine) {
        (None, None) => "the machine itself".to_owned(),
        (Some(c), None) => format!("in {c}"),
        (None, Some(m)) => format!("in a virtual machine ({m})"),
        (Some(c), Some(m)) => format!("in {c}, in a virtual machine ({m})"),
    };
    if machine::in_user_namespace() {
        return Check::limited(
            "environment",
            format!("{found}; root is not the machine's root (user namespace)"),
        )
        .mend("run it outside the rootless container, or in a privileged one of the machine's root");
    }
    match container {
        Some("WSL") => {
            Check::good("environment", format!("{found}; what can be traced is the WSL kernel, not Windows"))
        }
        Some(_) => Check::good(
            "environment",
            format!("{found}; the whole machine's kernel is traced, not the container alone"),
        ),
        None => Check::good("environment", found),
    }
}

fn pid_namespace() -> Check {
    match proc::pid_namespace() {
        Ok(ids) if ids.is_empty() => Check::good("pid namespace", "the initial one"),
        Ok(ids) => Check::good(
            "pid namespace",
            format!(
                "{}: `pid` and `tid` are numbers of this namespace where they are known in it",
                ids.join(":")
            ),
        ),
        Err(error) => Check::new("pid namespace", Status::Unknown, error.to_string()),
    }
}

fn cgroups() -> Check {
    match proc::cgroup_mounts().into_iter().find(|(name, _)| name == "unified") {
        Some((_, place)) => Check::good("cgroup v2", format!("mounted at {place}")),
        None => Check::limited("cgroup v2", "not mounted: cgroup filters do not work")
            .mend("mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1"),
    }
}
