//! The archive format of an initramfs: cpio's `newc`.
//!
//! In: folders, files, device nodes. Out: the bytes of an archive. Always: names are relative, a folder comes before what is
//! in it, and the trailer comes last. (Linux: Documentation/driver-api/early-userspace/buffer-format.rst, 6.1.)

use std::collections::BTreeSet;

/// An archive under construction.
pub(super) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    /// Each entry has an inode number of its own, so that none is taken for a hard link.
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    pub(super) fn new() -> Self {
        Archive { bytes: Vec::new(), folders: BTreeSet::new(), entries: 0 }
    }

    /// Adds a folder and those above it.
    pub(super) fn folder(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        if !path.is_empty() && self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, (0, 0), &[]);
        }
    }

    /// Adds a file with these permissions, and the folders above it.
    pub(super) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.entry(path, FILE | permissions, (0, 0), content);
    }

    /// Adds a character device.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let inode = if path == TRAILER { 0 } else { self.entries };
        let size = content.len() as u32;
        let name_size = path.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, device of the file, device that it is, name's size, checksum
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }
}

const TRAILER: &str = "TRAILER!!!";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_aligned_and_ends_with_the_trailer() {
        let mut archive = Archive::new();
        archive.file("bin/a", 0o755, b"abcde");
        archive.file("bin/b", 0o644, b"");
        archive.device("dev/null", 1, 3);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let magics = bytes.windows(6).filter(|window| window == b"070701").count();
        assert_eq!(magics, 6, "bin, bin/a, bin/b, dev, dev/null, the trailer");
        for at in (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"070701")) {
            assert_eq!(at % 4, 0);
        }
    }

    #[test]
    fn the_head_of_a_file() {
        let mut archive = Archive::new();
        archive.file("a", 0o644, b"xyz");
        let bytes = archive.finish();
        let head = String::from_utf8(bytes[..110].to_vec()).unwrap();
        assert_eq!(&head[6..14], "00000001");
        assert_eq!(&head[14..22], "000081a4");
        assert_eq!(&head[54..62], "00000003");
        assert_eq!(&head[94..102], "00000002");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..115], b"xyz");
    }
}
