//! Libraries inside of archives: `FOLDER/app.apk!/lib/arm64-v8a/libx.so` names a file that lies uncompressed in a ZIP
//! archive and is mapped from there. A path enters; the archive's own path and the range of bytes in it leave. The
//! archive may be anything: every offset is checked (APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16).

use std::path::Path;

use object::read::ReadRef;

use crate::error::Error;

/// What stands between the archive's path and the one inside.
const SEPARATOR: &str = "!/";
/// Signatures of the records.
const END: &[u8] = b"PK\x05\x06";
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
/// Bytes of the records without what varies.
const END_SIZE: u64 = 22;
const ENTRY_SIZE: u64 = 46;
const LOCAL_SIZE: u64 = 30;
/// Longest comment at the end.
const COMMENT_LIMIT: u64 = 0xffff;

/// The archive and the path inside; `None` for a path that names no archive.
fn split(path: &str) -> Option<(&str, &str)> {
    path.split_once(SEPARATOR).filter(|(archive, _)| Path::new(archive).is_file())
}

/// Whether the path names something inside of an archive that exists.
pub(crate) fn contains(path: &str) -> bool {
    split(path).is_some()
}

/// The file to open for a path: the archive's for a library inside of one, else the path itself.
pub(crate) fn container(path: &str) -> &str {
    split(path).map_or(path, |(archive, _)| archive)
}

/// A little-endian number of `N` bytes at `at`.
fn number<'d, const N: usize>(data: impl ReadRef<'d>, at: u64) -> Option<u64> {
    let bytes = data.read_bytes_at(at, N as u64).ok()?;
    Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// Where the data of `path` lies in its archive: offset and length in bytes. The whole file for a path that names none.
pub(crate) fn range<'d>(data: impl ReadRef<'d>, path: &str) -> Result<(u64, u64), Error> {
    let damaged = |why: &str| Error::Damaged { what: path.to_owned(), why: why.to_owned() };
    let length = data.len().map_err(|()| damaged("its length is not known"))?;
    let Some((_, inside)) = split(path) else { return Ok((0, length)) };
    let (mut at, count) = directory(data, length).ok_or_else(|| damaged("no ZIP archive"))?;
    for _ in 0..count {
        let bad = || damaged("a damaged directory");
        if number::<4>(data, at) != Some(u64::from(ENTRY)) {
            return Err(bad());
        }
        let field = |offset| number::<2>(data, at + offset).ok_or_else(bad);
        let (name, extra, comment) = (field(28)?, field(30)?, field(32)?);
        let is_it = data.read_bytes_at(at + ENTRY_SIZE, name).is_ok_and(|n| n == inside.as_bytes());
        if is_it {
            let method = field(10)?;
            if method != 0 {
                return Err(damaged("it is compressed, so that no process can have mapped it from there"));
            }
            let size = number::<4>(data, at + 20).ok_or_else(bad)?;
            let header = number::<4>(data, at + 42).ok_or_else(bad)?;
            return stored(data, header, size).ok_or_else(bad);
        }
        at += ENTRY_SIZE + name + extra + comment;
    }
    Err(Error::Missing(path.to_owned()))
}

/// Offset and number of entries of the archive's directory, from the record at its end.
fn directory<'d>(data: impl ReadRef<'d>, length: u64) -> Option<(u64, u64)> {
    let tail = length.min(END_SIZE + COMMENT_LIMIT);
    let bytes = data.read_bytes_at(length - tail, tail).ok()?;
    let last = bytes.windows(END.len()).rposition(|window| window == END)?;
    let end = length - tail + last as u64;
    Some((number::<4>(data, end + 16)?, number::<2>(data, end + 10)?))
}

/// The range of an uncompressed file behind its local header.
fn stored<'d>(data: impl ReadRef<'d>, header: u64, size: u64) -> Option<(u64, u64)> {
    if number::<4>(data, header)? != u64::from(LOCAL) {
        return None;
    }
    let names = number::<2>(data, header + 26)? + number::<2>(data, header + 28)?;
    let start = header + LOCAL_SIZE + names;
    data.read_bytes_at(start, size).ok()?;
    Some((start, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with one file, `method` 0: stored.
    fn archive(name: &str, content: &[u8], method: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let put = |out: &mut Vec<u8>, n: u64, bytes: usize| out.extend_from_slice(&n.to_le_bytes()[..bytes]);
        put(&mut out, u64::from(LOCAL), 4);
        out.resize(26, 0);
        put(&mut out, name.len() as u64, 2);
        put(&mut out, 0, 2);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(content);
        let entry = out.len();
        put(&mut out, u64::from(ENTRY), 4);
        out.resize(entry + 10, 0);
        put(&mut out, u64::from(method), 2);
        out.resize(entry + 20, 0);
        put(&mut out, content.len() as u64, 4);
        put(&mut out, content.len() as u64, 4);
        put(&mut out, name.len() as u64, 2);
        out.resize(entry + ENTRY_SIZE as usize, 0);
        out.extend_from_slice(name.as_bytes());
        let end = out.len();
        out.extend_from_slice(END);
        out.resize(end + 8, 0);
        put(&mut out, 1, 2);
        put(&mut out, 1, 2);
        put(&mut out, (end - entry) as u64, 4);
        put(&mut out, entry as u64, 4);
        put(&mut out, 0, 2);
        out
    }

    #[test]
    fn a_stored_file_is_found_and_damage_is_harmless() {
        let path = std::env::temp_dir().join(format!("skep-archive-{}.zip", std::process::id()));
        let bytes = archive("lib/x.so", b"content", 0);
        std::fs::write(&path, &bytes).unwrap();
        let inside = |name: &str| format!("{}!/{name}", path.display());
        let (at, size) = range(bytes.as_slice(), &inside("lib/x.so")).unwrap();
        assert_eq!(&bytes[at as usize..(at + size) as usize], b"content");
        assert!(range(bytes.as_slice(), &inside("y")).is_err_and(|e| e.is_missing()));
        assert_eq!(range(bytes.as_slice(), "/no/such!/y").unwrap(), (0, bytes.len() as u64));
        assert_eq!(container(&inside("y")), path.to_str().unwrap());
        for end in 0..bytes.len() {
            let _ = range(&bytes[..end], &inside("lib/x.so"));
        }
        let packed = archive("lib/x.so", b"content", 8);
        assert!(range(packed.as_slice(), &inside("lib/x.so")).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
