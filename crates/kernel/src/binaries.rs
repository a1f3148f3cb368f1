//! Which binaries a name means: a path, a program of PATH, a library of the dynamic linker, a pattern over these, or what
//! processes have mapped. A name enters, paths leave; each was an ELF program or shared object (or whatever file the
//! caller allows) when it was looked at, and skep can open it as it stands, other mount namespaces included.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::{archive, elf};
use skep_bpf::wildcard::matches;

/// Most paths of one answer.
const PATH_LIMIT: usize = 100_000;
/// Most bytes of a process's map or environment that are read.
const PROC_LIMIT: u64 = 64 << 20;
/// `e_type` of programs and of shared objects (elf(5)).
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// The binaries that `name` stands for, in the order in which they are looked for: itself as a path, then in PATH, then
/// as a library. `pid`: as that process sees them. Empty when there are none.
pub(crate) fn find(name: &str, pid: Option<u32>, any_file: bool) -> Result<Vec<String>, Error> {
    let foreign = pid.filter(|pid| in_other_namespace(*pid));
    let mut candidates = vec![name.to_owned()];
    if !name.contains('/') {
        let path = match foreign {
            Some(pid) => path_of(pid),
            None => std::env::var("PATH").unwrap_or_default(),
        };
        candidates.extend(path.split(':').filter(|p| !p.is_empty()).map(|p| format!("{p}/{name}")));
    }
    let pattern = name.contains('*');
    let any_file = any_file && !pattern;
    let root = foreign.map(root_of).unwrap_or_default();
    let mut found: Vec<String> = candidates
        .iter()
        .flat_map(|c| if pattern { expand(&within(&root, c)) } else { vec![within(&root, c)] })
        .filter(|path| archive::contains(path) || is_binary(Path::new(path), any_file))
        .take(PATH_LIMIT)
        .collect();
    if pattern {
        let mut seen = HashSet::new();
        found.retain(|path| seen.insert(path.clone()));
    } else if !name.contains('/') && (found.is_empty() || name.starts_with("lib")) {
        // A library's name is rarely that of a program; where it is, `lib…` means the library.
        found.splice(0..0, library(name, pid, &root));
    }
    Ok(found)
}

/// The library of that name: mapped by the process, or known to the linker.
fn library(name: &str, pid: Option<u32>, root: &str) -> Option<String> {
    let mapped = pid.map(mapped_paths).unwrap_or_default();
    let of_process = mapped
        .iter()
        .find(|path| path.rsplit('/').next().is_some_and(|file| elf::is_library(file, name)))
        .map(|path| within(root, path));
    of_process.or_else(|| Some(elf::library(name)?.to_string_lossy().into_owned()))
}

/// `path` below the root folder of another process; relative paths too, as that process has no working directory of
/// ours.
fn within(root: &str, path: &str) -> String {
    match root {
        "" => path.to_owned(),
        root if path.starts_with(root) => path.to_owned(),
        root => format!("{root}/{}", path.trim_start_matches('/')),
    }
}

fn root_of(pid: u32) -> String {
    format!("/proc/{pid}/root")
}

/// Whether a process has another mount namespace than skep.
fn in_other_namespace(pid: u32) -> bool {
    let of = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/mnt")).map(|m| (m.dev(), m.ino())).ok();
    let (own, other) = (of("self"), of(&pid.to_string()));
    own.is_some() && other.is_some() && own != other
}

/// A text of /proc, however long it says it is.
fn proc_text(path: String) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(PROC_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// PATH of a process.
fn path_of(pid: u32) -> String {
    let environment = proc_text(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split('\0').find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default().to_owned()
}

/// Files that a process has mapped, by their paths in its mount namespace, its program first.
fn mapped_paths(pid: u32) -> Vec<String> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok().and_then(|p| p.to_str().map(str::to_owned));
    let maps = proc_text(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut seen = HashSet::new();
    program
        .into_iter()
        .chain(maps.lines().filter_map(mapped_path).map(str::to_owned))
        .filter(|path| !path.ends_with(" (deleted)") && seen.insert(path.clone()))
        .take(PATH_LIMIT)
        .collect()
}

/// The file of a line of /proc/PID/maps.
fn mapped_path(line: &str) -> Option<&str> {
    let mut words = line.splitn(6, ' ');
    words.nth(4)?;
    Some(words.next()?.trim_start()).filter(|path| path.starts_with('/'))
}

/// Binaries that process `pid` has mapped, below its root folder; `Missing` when there is no such process.
pub(crate) fn mapped(pid: u32) -> Result<Vec<String>, Error> {
    if !crate::proc::exists(pid) {
        return Err(Error::Missing(format!("process {pid}")));
    }
    let root = root_of(pid);
    let paths = mapped_paths(pid).into_iter().map(|path| root.clone() + &path);
    Ok(paths.filter(|path| is_binary(Path::new(path), false)).collect())
}

/// Binaries that any process has mapped, each file once: by its own path where that is the same file for skep, else
/// below the root folder of a process that has it.
pub(crate) fn mapped_by_all() -> Result<Vec<String>, Error> {
    let entries = fs::read_dir("/proc").map_err(|e| Error::io("read /proc", &e))?;
    let mut pids: Vec<u32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let identity = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let (mut files, mut found) = (HashSet::new(), Vec::new());
    for pid in pids {
        for path in mapped_paths(pid) {
            let inside = root_of(pid) + &path;
            let Some(file) = identity(&inside) else { continue };
            if !files.insert(file) || found.len() >= PATH_LIMIT {
                continue;
            }
            let path = if identity(&path) == Some(file) { path } else { inside };
            if is_binary(Path::new(&path), false) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Whether a file is a program that may be executed or a shared object; with `any_file`, whether it is a regular file.
fn is_binary(path: &Path, any_file: bool) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    if !metadata.is_file() || any_file {
        return metadata.is_file();
    }
    let mut head = [0; 18];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    if read.is_err() || !head.starts_with(b"\x7fELF") {
        return false;
    }
    let kind = [head[16], head[17]];
    let kind = if head[5] == 2 { u16::from_be_bytes(kind) } else { u16::from_le_bytes(kind) };
    kind == ET_DYN || kind == ET_EXEC && metadata.permissions().mode() & 0o100 != 0
}

/// The files whose paths match a pattern, sorted; `*` stands for any text without a `/`, and for none that begins with
/// a dot.
fn expand(pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for (i, part) in pattern.split('/').enumerate() {
        let slash = if i > 0 { "/" } else { "" };
        found = match part.contains('*') {
            false => found.into_iter().map(|folder| format!("{folder}{slash}{part}")).collect(),
            true => found
                .iter()
                .flat_map(|folder| {
                    let folder = format!("{folder}{slash}");
                    names(&folder, part).into_iter().map(move |name| format!("{folder}{name}"))
                })
                .take(PATH_LIMIT)
                .collect(),
        };
    }
    found.retain(|path| Path::new(path).exists());
    found.sort_unstable();
    found
}

/// Names in a folder (empty: the working directory) that match one part of a pattern.
fn names(folder: &str, part: &str) -> Vec<String> {
    let folder = if folder.is_empty() { PathBuf::from(".") } else { PathBuf::from(folder) };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(PATH_LIMIT);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| part.starts_with('.') == name.starts_with('.') && matches(part, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_libraries_and_paths_are_found() {
        let sh = find("sh", None, false).unwrap();
        assert!(sh[0].ends_with("/sh"), "{sh:?}");
        let libc = find("libc", None, false).unwrap();
        assert!(libc[0].contains("libc.so"), "{libc:?}");
        assert_eq!(find("/bin/sh", None, false).unwrap(), ["/bin/sh"]);
        assert!(find("/etc/passwd", None, false).unwrap().is_empty());
        assert_eq!(find("/etc/passwd", None, true).unwrap(), ["/etc/passwd"]);
        assert!(find("/etc", None, true).unwrap().is_empty());
        assert!(find("no-such-binary-at-all", None, false).unwrap().is_empty());
    }

    #[test]
    fn patterns_are_expanded() {
        let found = find("/bin/*sh", None, false).unwrap();
        assert!(found.iter().any(|p| p == "/bin/sh"), "{found:?}");
        assert!(found.is_sorted());
        assert!(find("/e*/passw*", None, true).unwrap().is_empty());
        assert!(expand("/proc/self/*/").is_empty() || expand("/proc/self/*/")[0].ends_with('/'));
    }

    #[test]
    fn what_is_mapped() {
        let me = std::process::id();
        let own = mapped(me).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(own[0], format!("/proc/{me}/root{}", exe.display()));
        assert!(own.len() > 1);
        let all = mapped_by_all().unwrap();
        assert!(all.iter().any(|p| p.ends_with(exe.to_str().unwrap())), "{all:?}");
        assert!(mapped(u32::MAX).is_err_and(|e| e.is_missing()));
        assert_eq!(mapped_path("1-2 r-xp 0 08:01 5      /a b"), Some("/a b"));
        assert_eq!(mapped_path("1-2 r-xp 0 00:00 0      [vdso]"), None);
        assert_eq!(mapped_path("1-2 r-xp 0 00:00 0"), None);
    }

    #[test]
    fn paths_below_another_root() {
        assert_eq!(within("", "/a"), "/a");
        assert_eq!(within("/proc/7/root", "/a"), "/proc/7/root/a");
        assert_eq!(within("/proc/7/root", "a"), "/proc/7/root/a");
        assert_eq!(within("/proc/7/root", "/proc/7/root/a"), "/proc/7/root/a");
    }
}
