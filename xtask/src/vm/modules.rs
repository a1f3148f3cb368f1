//! The kernel modules that a guest loads.
//!
//! In: the folder of a kernel's modules, names. Out: the modules' images, each after those that it depends on.
//! Always: a name that is neither a module nor built in is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSection};

/// A module to load.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) image: Vec<u8>,
}

/// Collects the modules of these names and what they depend on.
pub(super) fn collect(dir: &Path, wanted: &[&str]) -> Result<Vec<Module>, String> {
    let mut files = BTreeMap::new();
    walk(dir, &mut files)?;
    let builtin = std::fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        visit(name, &files, &builtin, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    builtin: &BTreeSet<String>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> Result<(), String> {
    if builtin.contains(name) || !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let path = files.get(name).ok_or_else(|| format!("this kernel has no module {name}"))?;
    let image = read(path)?;
    for needed in depends(&image).map_err(|message| format!("{}: {message}", path.display()))? {
        visit(&needed, files, builtin, seen, order)?;
    }
    order.push(Module { name: name.to_owned(), image });
    Ok(())
}

fn walk(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `sch_ingress` from `…/sch_ingress.ko.xz`; the kernel takes `-` for `_`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// A module's image, unpacked.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
    };
    let output = Command::new(program).args(["-d", "-c"]).arg(path).output();
    let output = output.map_err(|error| format!("{program}, to unpack {}: {error}", path.display()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{program} {}: {}", path.display(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// What a module says that it depends on: `depends=a,b` in its section `.modinfo`.
fn depends(image: &[u8]) -> Result<Vec<String>, String> {
    let file = object::File::parse(image).map_err(|error| error.to_string())?;
    let section = file.section_by_name(".modinfo").ok_or("no section .modinfo")?;
    let data = section.data().map_err(|error| error.to_string())?;
    let list = data
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="))
        .map(|list| String::from_utf8_lossy(list).into_owned())
        .unwrap_or_default();
    Ok(list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_module_files() {
        assert_eq!(module_name(Path::new("a/sch-ingress.ko.xz")).as_deref(), Some("sch_ingress"));
        assert_eq!(module_name(Path::new("kernel/net/veth.ko")).as_deref(), Some("veth"));
        assert_eq!(module_name(Path::new("modules.order")), None);
        assert_eq!(module_name(Path::new("a.kotlin")), None);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let error = collect(Path::new(env!("CARGO_MANIFEST_DIR")), &["teapot"]).err().unwrap();
        assert!(error.contains("teapot"), "{error}");
    }
}
