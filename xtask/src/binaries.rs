//! Static builds of the workspace's binaries.
//!
//! In: a package and its binary. Out: the path of the built file. Always: release profile, an explicit target (else
//! procedural macros would be linked statically too, which fails), the C library linked in.

use std::path::PathBuf;

use crate::process;

/// A binary of the workspace.
#[derive(Clone, Copy)]
pub(crate) struct Binary {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    /// Flags for the last crate alone.
    flags: &'static [&'static str],
}

/// The product. Its relocations are packed (glibc 2.36 and later apply them so): 40,000 of them took a megabyte. Functions of the same
/// code are one (nothing compares their addresses, rustc warns of that): half a megabyte; the linker that can is rustc's own for x86-64.
pub(crate) const SKEP: Binary = Binary {
    package: "skep-cli",
    name: "skep",
    flags: if cfg!(target_arch = "x86_64") {
        &["-Clink-arg=-Wl,-z,pack-relative-relocs", "-Clink-arg=-Wl,--icf=all"]
    } else {
        &["-Clink-arg=-Wl,-z,pack-relative-relocs"]
    },
};

/// The live-test harness. Uprobes need its symbols, user stacks its frame pointers.
pub(crate) const LIVETEST: Binary = Binary {
    package: "livetest",
    name: "livetest",
    flags: &["-Cstrip=none", "-Cforce-frame-pointers=yes", "-Cdebuginfo=0"],
};

/// The benchmarks.
pub(crate) const BENCH: Binary = Binary { package: "skep-bench", name: "skep-bench", flags: &[] };

/// The first process of a guest.
pub(crate) const GUEST_INIT: Binary = Binary { package: "xtask", name: "guest-init", flags: &[] };

/// The target of static builds: this machine's architecture with the GNU C library.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds a binary and returns its path.
pub(crate) fn build(binary: Binary) -> Result<PathBuf, String> {
    let mut command = process::cargo();
    command.args(["rustc", "--release", "--message-format=json-render-diagnostics"]);
    command.args(["--target", &target(), "--package", binary.package, "--bin", binary.name]);
    command.arg("--").args(binary.flags);
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{given} -Ctarget-feature=+crt-static"));
    let done = process::watch(command, |_| {})?;
    if !done.success {
        return Err(format!("the static build of {} failed", binary.name));
    }
    let executable = |line: &String| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let named = message["target"]["name"] == binary.name;
        message["executable"].as_str().filter(|_| named).map(PathBuf::from)
    };
    done.stdout
        .iter()
        .rev()
        .find_map(executable)
        .ok_or_else(|| format!("cargo named no executable for {}", binary.name))
}

/// The folder for what tasks leave behind for a reader: logs of guests.
pub(crate) fn log_dir() -> Result<PathBuf, String> {
    let mut command = process::cargo();
    command.args(["metadata", "--no-deps", "--format-version=1"]);
    let text = process::output(command)?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target_directory")?;
    Ok(PathBuf::from(target).join("xtask"))
}
