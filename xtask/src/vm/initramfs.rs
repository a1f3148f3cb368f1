//! What a guest boots into.
//!
//! In: a kernel, the static programs, the harness's arguments, objects that this kernel wrote. Out: a file with the archive.
//! Always: the guest needs no shell, no library and no disk: init, skep, the harness, the fixtures and a few modules are all.

use std::path::Path;

use super::Programs;
use super::cpio::Archive;
use super::kernel::Kernel;
use super::modules;

/// Modules that tests need where the kernel has them apart; each comes with what it depends on.
const MODULES: [&str; 8] = ["veth", "sch_ingress", "cls_bpf", "8021q", "bridge", "ip_gre", "geneve", "vxlan"];

/// Writes the initramfs. `src/bin/guest-init.rs` is the reader of `guest/` and `modules/`.
pub(super) fn write(
    file: &Path,
    kernel: &Kernel,
    programs: &Programs,
    words: &[String],
    objects: Option<&Path>,
) -> Result<(), String> {
    let mut archive = Archive::new();
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    for folder in ["proc", "sys", "tmp", "etc"] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, &read(&programs.init)?);
    archive.file("bin/skep", 0o755, &read(&programs.skep)?);
    let (name, program) = match &programs.bench {
        Some(bench) => ("bin/skep-bench", bench),
        None => ("bin/livetest", &programs.livetest),
    };
    archive.file(name, 0o755, &read(program)?);
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/skep\n");
    archive.file("guest/command", 0o644, command(name, words).as_bytes());
    for (number, module) in modules::collect(&kernel.modules, &MODULES)?.iter().enumerate() {
        archive.file(&format!("modules/{number:02}-{}.ko", module.name), 0o644, &module.image);
    }
    add_tree(&mut archive, &crate::root().join("tests/kernel"), "fixtures")?;
    if let Some(objects) = objects {
        add_tree(&mut archive, objects, "objects")?;
    }
    std::fs::write(file, archive.finish()).map_err(|error| format!("{}: {error}", file.display()))
}

/// The command line that init runs, one word a line.
fn command(program: &str, words: &[String]) -> String {
    std::iter::once(format!("/{program}")).chain(words.iter().cloned()).collect::<Vec<_>>().join("\n")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn add_tree(archive: &mut Archive, dir: &Path, name: &str) -> Result<(), String> {
    archive.folder(name);
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        let inside = format!("{name}/{file}");
        if path.is_dir() {
            add_tree(archive, &path, &inside)?;
        } else {
            archive.file(&inside, 0o644, &read(&path)?);
        }
    }
    Ok(())
}
