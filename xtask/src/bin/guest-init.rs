//! The first process of a guest: prepares the machine, runs the live-test harness, powers off.
//!
//! In: the initramfs that `src/vm/initramfs.rs` writes: /guest/command (one word a line), /modules/*.ko in order.
//! Out: the harness's output and a closing marker on the second serial port; its own troubles as well.
//! Always: it ends by powering off. tracefs, debugfs and bpffs stay unmounted: skep must do without them.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Command;

use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::system::RebootCommand;

fn main() {
    let mounted = mount_all();
    let Ok(mut report) = OpenOptions::new().write(true).open("/dev/ttyS1") else {
        println!("guest-init: no second serial port");
        power_off();
        return;
    };
    for step in [mounted, loopback_up(), load_modules()] {
        if let Err(message) = step {
            let _ = writeln!(report, "guest-init: {message}");
        }
    }
    match run_harness(&report) {
        Ok(code) => {
            let _ = writeln!(report, "guest-init: the harness ended with {code}");
        }
        Err(message) => {
            let _ = writeln!(report, "guest-init: {message}");
        }
    }
    let _ = rustix::termios::tcdrain(&report);
    power_off();
}

fn mount_all() -> Result<(), String> {
    let mounts = [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ];
    for (kind, place) in mounts {
        rustix::mount::mount(kind, place, kind, MountFlags::empty(), None)
            .map_err(|errno| format!("mount {kind} on {place}: {errno}"))?;
    }
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        std::os::unix::fs::symlink(format!("/proc/self/{target}"), format!("/dev/{name}"))
            .map_err(|error| format!("/dev/{name}: {error}"))?;
    }
    Ok(())
}

/// Sets the loopback device up: RTM_NEWLINK for interface 1 with IFF_UP (Linux: include/uapi/linux/rtnetlink.h, if_link.h).
fn loopback_up() -> Result<(), String> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes()); // length of the whole message
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend([0; 4]); // family, padding, device type
    message.extend(1_i32.to_ne_bytes()); // interface 1 is the loopback
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // the flags that change
    let fail = |errno| format!("loopback: {errno}");
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).map_err(fail)?; // 0 is NETLINK_ROUTE
    rustix::net::send(&socket, &message, SendFlags::empty()).map_err(fail)?;
    let mut answer = [0_u8; 64];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).map_err(fail)?;
    match answer[..length].get(16..20) {
        Some([0, 0, 0, 0]) => Ok(()),
        other => Err(format!("loopback: the kernel answered {other:?}")),
    }
}

fn load_modules() -> Result<(), String> {
    // Else modules of tunnels put devices of their own into every network namespace. Kernels that do not know the setting do so.
    let _ = std::fs::write("/proc/sys/net/core/fb_tunnels_only_for_init_net", "2");
    let Ok(entries) = std::fs::read_dir("/modules") else { return Ok(()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        rustix::system::finit_module(&file, &CString::default(), 0)
            .map_err(|errno| format!("{}: {errno}", path.display()))?;
    }
    Ok(())
}

/// Runs the harness with its output on the second serial port; its exit code.
fn run_harness(report: &File) -> Result<i32, String> {
    let text =
        std::fs::read_to_string("/guest/command").map_err(|error| format!("/guest/command: {error}"))?;
    let mut words = text.lines();
    let program = words.next().ok_or("/guest/command is empty")?;
    let clone = || report.try_clone().map_err(|error| format!("/dev/ttyS1: {error}"));
    let mut command = Command::new(program);
    command.args(words).env("PATH", "/bin").env("HOME", "/tmp").stdout(clone()?).stderr(clone()?);
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    Ok(status.code().unwrap_or(255))
}

fn power_off() {
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
}
