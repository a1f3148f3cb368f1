//! Files that scripts name: a path enters, text or names leave. Regular files only, bounded, and text must be UTF-8: a
//! script is the user's, what it includes may be anything.

use std::fs::{self, File};
use std::io::Read;

use crate::error::Error;

/// Most bytes of one file.
const MAX_FILE: u64 = 16 << 20;
/// Most names of one directory.
const MAX_NAMES: usize = 65_536;

fn failed(what: &str, path: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => Error::io(format!("{what} {path}"), error),
    }
}

/// The text of the regular file at `path`.
pub(crate) fn text(path: &str) -> Result<String, Error> {
    let damaged = |why: &str| Error::Damaged { what: path.to_owned(), why: why.to_owned() };
    let metadata = fs::metadata(path).map_err(|e| failed("open", path, &e))?;
    if !metadata.is_file() {
        return Err(damaged("no regular file"));
    }
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let mut text = String::new();
    match file.take(MAX_FILE + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > MAX_FILE => Err(damaged("larger than 16 MiB")),
        Ok(_) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(damaged("no text in UTF-8")),
        Err(e) => Err(failed("read", path, &e)),
    }
}

/// The text of whatever is at `path`, a device or a pipe too; what is not UTF-8 in it is replaced.
pub(crate) fn any_text(path: &str) -> Result<String, Error> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names in the directory at `path`, sorted; those of directories end in `/`.
pub(crate) fn names(path: &str) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).map_err(|e| failed("read directory", path, &e))?;
    let mut names: Vec<String> = entries
        .flatten()
        .take(MAX_NAMES)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let directory = fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
            Some(if directory { name + "/" } else { name })
        })
        .collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories() {
        let here = env!("CARGO_MANIFEST_DIR");
        assert!(text(&format!("{here}/src/files.rs")).unwrap().starts_with("//! Files"));
        assert!(names(here).unwrap().iter().any(|name| name == "src/"));
        assert!(matches!(text("/no/such"), Err(Error::Missing(_))));
        assert!(matches!(text("/"), Err(Error::Damaged { .. })));
        assert!(matches!(text("/dev/zero"), Err(Error::Damaged { .. })));
    }
}
