//! A suite's kernel, from the cache or from the mirror.
//!
//! In: a suite. Out: its kernel image and the folder of its modules, with the version they have; or that it is gone.
//! Always: the cache holds only whole kernels (an entry is renamed into place), outside the repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::apt::{Apt, Package, Refused};
use crate::process;

/// A cached kernel is asked for again after this long.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// The package that names the suite's present cloud kernel.
const META: &str = "linux-image-cloud-amd64";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) vmlinuz: PathBuf,
    /// The folder with the modules, `modules.builtin` and so on.
    pub(super) modules: PathBuf,
}

/// What came of asking for a suite's kernel.
#[derive(Clone)]
pub(super) enum Obtained {
    Kernel(Kernel),
    /// The suite is not to be had, and why.
    Gone(String),
    /// The suite should be there and could not be fetched.
    Failed(String),
}

/// Finds the kernel of a suite.
pub(super) fn obtain(suite: &str, refresh: bool) -> Obtained {
    if std::env::consts::ARCH != "x86_64" {
        return Obtained::Gone(format!("guests run on x86-64 alone, this is {}", std::env::consts::ARCH));
    }
    let dir = match cache_dir() {
        Ok(cache) => cache.join(suite),
        Err(message) => return Obtained::Failed(message),
    };
    let entry = dir.join("kernel");
    let cached = read_entry(&entry);
    if let (Some(kernel), false) = (&cached, refresh)
        && is_fresh(&entry)
    {
        return Obtained::Kernel(kernel.clone());
    }
    println!("guest {suite}: asking the mirror for its kernel");
    let problem = match Apt::update(&dir.join("apt"), suite) {
        Ok(apt) => match fetch(&apt, &dir, &entry, cached.as_ref()) {
            Ok(kernel) => return Obtained::Kernel(kernel),
            Err(message) => message,
        },
        Err(Refused::Gone) if cached.is_none() => {
            return Obtained::Gone("the mirror no longer has this suite".to_owned());
        }
        Err(Refused::Gone) => "the mirror no longer has this suite".to_owned(),
        Err(Refused::Failed(message)) => message,
    };
    match cached {
        Some(kernel) => {
            println!("guest {suite}: using the cached kernel, because: {problem}");
            Obtained::Kernel(kernel)
        }
        None => Obtained::Failed(problem),
    }
}

/// The cache: SKEP_VM_CACHE, else skep-vm in XDG_CACHE_HOME, else in ~/.cache.
fn cache_dir() -> Result<PathBuf, String> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("SKEP_VM_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("skep-vm")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/skep-vm")))
        .ok_or_else(|| "neither SKEP_VM_CACHE, XDG_CACHE_HOME nor HOME is set".to_owned())
}

fn is_fresh(entry: &Path) -> bool {
    let modified = std::fs::metadata(entry.join("about")).and_then(|data| data.modified());
    let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age < FRESH)
}

/// Reads a cache entry: `about` has one `key=value` a line.
fn read_entry(entry: &Path) -> Option<Kernel> {
    let about = std::fs::read_to_string(entry.join("about")).ok()?;
    let value = |key: &str| about.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let kernel = Kernel {
        release: value("release")?.to_owned(),
        package: value("package")?.to_owned(),
        version: value("version")?.to_owned(),
        vmlinuz: entry.join("vmlinuz"),
        modules: entry.join("modules"),
    };
    (kernel.vmlinuz.is_file() && kernel.modules.is_dir()).then_some(kernel)
}

/// Downloads the suite's kernel into the cache, unless that version is there already.
fn fetch(apt: &Apt, dir: &Path, entry: &Path, cached: Option<&Kernel>) -> Result<Kernel, String> {
    let meta = apt.show(META)?;
    let packages = closure(apt, &meta)?;
    let image =
        packages.first().ok_or_else(|| format!("{META} {} depends on no kernel image", meta.version))?;
    if let Some(kernel) = cached
        && kernel.package == image.name
        && kernel.version == image.version
    {
        write_about(entry, kernel)?;
        return Ok(kernel.clone());
    }
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    let root = dir.join("unpacked");
    let _ = std::fs::remove_dir_all(&root);
    for package in &packages {
        println!("  {} {}", package.name, package.version);
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(apt.download(package)?).arg(&root);
        process::output(command)?;
    }
    let found = find_in(&root).ok_or_else(|| format!("{} holds no kernel with modules", image.name))?;
    let staged = dir.join("staged");
    let _ = std::fs::remove_dir_all(&staged);
    std::fs::create_dir_all(&staged).map_err(fail)?;
    std::fs::rename(&found.vmlinuz, staged.join("vmlinuz")).map_err(fail)?;
    std::fs::rename(&found.modules, staged.join("modules")).map_err(fail)?;
    let kernel = Kernel {
        release: found.release,
        package: image.name.clone(),
        version: image.version.clone(),
        vmlinuz: entry.join("vmlinuz"),
        modules: entry.join("modules"),
    };
    write_about(&staged, &kernel)?;
    let _ = std::fs::remove_dir_all(entry);
    std::fs::rename(&staged, entry).map_err(fail)?;
    for name in ["unpacked", "apt/debs"] {
        let _ = std::fs::remove_dir_all(dir.join(name));
    }
    Ok(kernel)
}

fn write_about(entry: &Path, kernel: &Kernel) -> Result<(), String> {
    let Kernel { release, package, version, .. } = kernel;
    let text = format!("release={release}\npackage={package}\nversion={version}\n");
    std::fs::write(entry.join("about"), text).map_err(|error| format!("{}: {error}", entry.display()))
}

/// The packages that hold the kernel's files. Some image packages only depend on those that have them.
fn closure(apt: &Apt, meta: &Package) -> Result<Vec<Package>, String> {
    let holds_files = |name: &String| {
        ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|prefix| name.starts_with(prefix))
    };
    let mut packages: Vec<Package> = Vec::new();
    let mut names: Vec<String> = meta.depends.iter().filter(|name| holds_files(name)).cloned().collect();
    while let Some(name) = names.pop() {
        if packages.iter().all(|package| package.name != name) {
            let package = apt.show(&name)?;
            names.extend(package.depends.iter().filter(|name| holds_files(name)).cloned());
            packages.push(package);
        }
    }
    Ok(packages)
}

struct Found {
    release: String,
    vmlinuz: PathBuf,
    modules: PathBuf,
}

/// The kernel among unpacked files: either boot/vmlinuz-VERSION or vmlinuz beside the modules.
fn find_in(root: &Path) -> Option<Found> {
    for base in ["usr/lib/modules", "lib/modules"] {
        for entry in std::fs::read_dir(root.join(base)).into_iter().flatten().flatten() {
            let release = entry.file_name().to_string_lossy().into_owned();
            let beside = entry.path().join("vmlinuz");
            let in_boot = root.join("boot").join(format!("vmlinuz-{release}"));
            if let Some(vmlinuz) = [beside, in_boot].into_iter().find(|path| path.is_file()) {
                return Some(Found { release, vmlinuz, modules: entry.path() });
            }
        }
    }
    None
}
