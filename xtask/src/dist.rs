//! `cargo xtask dist`: the binary that users get.
//!
//! In: nothing. Out: the path and size of the stripped static release binary. Always: an error above the size limit, or if
//! the file still asks for a dynamic loader, or does not tell a mistake.

use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSegment};

use crate::binaries;

/// Most bytes that the binary may have.
const LIMIT: u64 = 14_000_000;

pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    if let Some(argument) = arguments.first() {
        return Err(format!("dist takes no arguments, found `{argument}`"));
    }
    let path = build()?;
    println!("{}: {} bytes, static (at most {LIMIT})", path.display(), size(&path)?);
    Ok(true)
}

/// Builds the binary and checks it.
pub(crate) fn build() -> Result<PathBuf, String> {
    let path = binaries::build(binaries::SKEP)?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    check(&bytes)
        .and_then(|()| complain(&path))
        .map_err(|message| format!("{}: {message}", path.display()))?;
    Ok(path)
}

/// Whether it tells of a mistake, also where errors note the stack: without its unwinding data libgcc aborts then.
fn complain(path: &Path) -> Result<(), String> {
    let mut command = Command::new(path);
    command.args(["capture", "-r", "/dev/null/no-file"]).env("RUST_BACKTRACE", "1");
    let output = command.output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), told.contains("/dev/null/no-file")) {
        (Some(1), true) => Ok(()),
        _ => Err(format!("a file that is not there: {}, and it says {told:?}", output.status)),
    }
}

fn size(path: &Path) -> Result<u64, String> {
    std::fs::metadata(path).map(|data| data.len()).map_err(|error| format!("{}: {error}", path.display()))
}

fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() as u64 > LIMIT {
        return Err(format!("{} bytes, more than {LIMIT}", bytes.len()));
    }
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    if file.segments().next().is_none_or(|first| first.size() == 0) {
        return Err("no loaded segment".to_owned());
    }
    if file.section_by_name(".interp").is_some() {
        return Err("not static: it names a dynamic loader".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_the_product() {
        assert!(check(&vec![0; LIMIT as usize + 1]).unwrap_err().contains("more than"));
        assert!(check(b"no program").is_err());
        let dynamic = std::fs::read("/proc/self/exe").unwrap();
        assert!(check(&dynamic).is_err());
    }
}
