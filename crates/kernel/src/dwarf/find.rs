//! Separate debug files: a binary enters, the path of the file that has its debug information leaves. A file counts if
//! its build id is the binary's, or if one of them has none.

use std::path::{Path, PathBuf};

use super::file_name;
use super::load::{Arena, Binary};

/// Where distributions put debug files.
const SYSTEM: &str = "/usr/lib/debug";
/// Longest build id in a path.
const MAX_ID: usize = 64;

/// The place of a build id below a folder of debug files: `.build-id/ab/cdef….debug`.
fn by_build_id(folder: &Path, id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let rest: String = rest.iter().take(MAX_ID).map(|b| format!("{b:02x}")).collect();
    Some(folder.join(format!(".build-id/{first:02x}/{rest}.debug")))
}

/// Where the debug file of the binary at `path` may be, best first.
fn candidates(path: &str, link: Option<&str>, id: &[u8], folders: &[String]) -> Vec<PathBuf> {
    let own = Path::new(path).parent().unwrap_or(Path::new("/"));
    let fallback = format!("{}.debug", file_name(path));
    // A link with folders in it would lead out of the places that are searched.
    let name = link.map(file_name).unwrap_or(&fallback);
    let below = own.strip_prefix("/").unwrap_or(own);
    let mut all = Vec::new();
    for folder in folders.iter().map(String::as_str).chain([SYSTEM]) {
        let folder = Path::new(folder);
        all.extend(by_build_id(folder, id));
        all.push(folder.join(below).join(name));
        all.push(folder.join(name));
        if folder.is_relative() {
            all.push(own.join(folder).join(name));
        }
    }
    all.push(own.join(".debug").join(name));
    all.push(own.join(name));
    all
}

/// Whether two build ids can be of one build.
fn agree(a: &[u8], b: &[u8]) -> bool {
    a.is_empty() || b.is_empty() || a == b
}

/// The separate debug file of `binary`, which lies at `path`.
pub(super) fn separate<'a>(
    arena: &'a Arena,
    path: &str,
    binary: &Binary<'a>,
    folders: &[String],
) -> Option<(String, Binary<'a>)> {
    let link = binary.debug_link();
    candidates(path, link.as_deref(), binary.build_id(), folders).into_iter().find_map(|candidate| {
        let candidate = candidate.to_str().filter(|c| *c != path && Path::new(c).is_file())?;
        let found = Binary::open(arena, candidate).ok()?;
        let fits = found.has_debug_info() && agree(found.build_id(), binary.build_id());
        fits.then(|| (candidate.to_owned(), found))
    })
}

/// The file that several files' debug information shares.
pub(super) fn alternate<'a>(
    arena: &'a Arena,
    path: &str,
    binary: &Binary<'a>,
    folders: &[String],
) -> Option<Binary<'a>> {
    let (name, id) = binary.alternate()?;
    let own = Path::new(path).parent().unwrap_or(Path::new("/"));
    let mut all = vec![own.join(&name)];
    for folder in folders.iter().map(String::as_str).chain([SYSTEM]) {
        all.extend(by_build_id(Path::new(folder), id));
        all.push(Path::new(folder).join(".dwz").join(file_name(&name)));
    }
    all.into_iter().find_map(|candidate| {
        let found = Binary::open(arena, candidate.to_str()?).ok()?;
        agree(found.build_id(), id).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_debug_files() {
        let all = candidates("/usr/bin/x", Some("../../y.debug"), &[0xab, 0xcd, 0xef], &["dbg".to_owned()]);
        for place in [
            "dbg/.build-id/ab/cdef.debug",
            "dbg/y.debug",
            "/usr/bin/dbg/y.debug",
            "/usr/lib/debug/usr/bin/y.debug",
            "/usr/lib/debug/.build-id/ab/cdef.debug",
            "/usr/bin/.debug/y.debug",
        ] {
            assert!(all.contains(&PathBuf::from(place)), "{place} in {all:?}");
        }
        assert!(candidates("/x", None, &[], &[]).contains(&PathBuf::from("/.debug/x.debug")));
        assert!(agree(&[], &[1]) && !agree(&[2], &[1]));
    }
}
