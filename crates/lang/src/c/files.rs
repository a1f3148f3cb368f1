//! Headers: the name in an `#include` enters, a file's text leaves. A user's headers are read as files; headers that a
//! compiler brings along are our own; a header of the kernel's that is not there is answered by the kernel's types and the
//! table of constants, and so is empty.

use std::collections::HashMap;
use std::rc::Rc;

use crate::ast::Span;
use crate::options::Options;
use crate::source::SourceFile;
use skep_bpf::target::{Arch, Target, TargetError, TargetExt};

/// Most bytes of all headers together.
const MAX_BYTES: usize = 64 << 20;
/// Most headers, counted each time they are included.
const MAX_FILES: usize = 4096;

/// Folders of the kernel's own headers.
const KERNEL: &[&str] = &[
    "linux",
    "net",
    "asm",
    "asm-generic",
    "uapi",
    "trace",
    "generated",
    "vdso",
    "scsi",
    "sound",
    "drm",
    "rdma",
    "crypto",
    "media",
    "acpi",
    "target",
    "xen",
    "soc",
    "keys",
    "kvm",
    "video",
    "misc",
    "ras",
];

/// Headers that a compiler brings along.
const OWN: &[(&str, &str)] = &[
    (
        "stddef.h",
        "typedef unsigned long size_t;\ntypedef long ptrdiff_t;\ntypedef int wchar_t;\ntypedef unsigned int wint_t;\n\
         #undef NULL\n#define NULL ((void *)0)\n#define offsetof(t, m) __builtin_offsetof(t, m)\n",
    ),
    ("stdarg.h", "typedef __builtin_va_list __gnuc_va_list;\ntypedef __builtin_va_list va_list;\n"),
    ("stdbool.h", "#define bool _Bool\n#define true 1\n#define false 0\n"),
    (
        "limits.h",
        "#define _GCC_LIMITS_H_\n#define CHAR_BIT 8\n#define SCHAR_MIN (-128)\n#define SCHAR_MAX 127\n\
         #define UCHAR_MAX 255\n#define CHAR_MIN SCHAR_MIN\n#define CHAR_MAX SCHAR_MAX\n#define SHRT_MIN (-32768)\n\
         #define SHRT_MAX 32767\n#define USHRT_MAX 65535\n#define INT_MAX 0x7fffffff\n#define INT_MIN (-INT_MAX - 1)\n\
         #define UINT_MAX 0xffffffffU\n#define LONG_MAX 0x7fffffffffffffffL\n#define LONG_MIN (-LONG_MAX - 1L)\n\
         #define ULONG_MAX 0xffffffffffffffffUL\n#define LLONG_MAX 0x7fffffffffffffffLL\n\
         #define LLONG_MIN (-LLONG_MAX - 1LL)\n#define ULLONG_MAX 0xffffffffffffffffULL\n",
    ),
    (
        "stdint.h",
        "typedef signed char int8_t;\ntypedef short int16_t;\ntypedef int int32_t;\ntypedef long int64_t;\n\
         typedef unsigned char uint8_t;\ntypedef unsigned short uint16_t;\ntypedef unsigned int uint32_t;\n\
         typedef unsigned long uint64_t;\ntypedef long intptr_t;\ntypedef unsigned long uintptr_t;\n\
         typedef long intmax_t;\ntypedef unsigned long uintmax_t;\n",
    ),
    ("float.h", ""),
    ("stdalign.h", ""),
    ("stdnoreturn.h", ""),
    ("iso646.h", ""),
];

/// A file, or a declaration of the script's.
pub(super) struct FileInfo {
    /// Its path; empty for the script's own declarations.
    pub(super) name: String,
    /// Where the script has it: the declaration, or the `#include` that led to it.
    pub(super) span: Span,
    /// Text.
    pub(super) text: Rc<str>,
    /// Where `#include_next` begins to look.
    next_dir: usize,
}

impl FileInfo {
    /// Whether it is the script's own text.
    pub(super) fn is_script(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether it is a copy of one of the kernel's headers.
    pub(super) fn is_kernel(&self) -> bool {
        let inner = |dir: &str| {
            ["linux/", "asm/", "asm-generic/"].iter().any(|k| self.name.contains(&format!("{dir}{k}")))
        };
        self.name.starts_with("/usr/include/") && (inner("/usr/include/") || inner("-linux-gnu/"))
    }

    /// Whether mistakes in it are not the user's.
    pub(super) fn is_system(&self) -> bool {
        self.name.starts_with("/usr/") || self.name.starts_with('<')
    }
}

/// What an `#include` leads to.
pub(super) enum Included {
    /// The number of a file.
    File(u32),
    /// A header of the kernel's, which its types stand in for.
    Kernel,
}

/// All files that are read.
pub(super) struct Files<'a> {
    target: &'a dyn Target,
    /// Folder of the script.
    script_dir: String,
    /// Folders that are searched.
    dirs: Vec<String>,
    /// Imported scripts: first position, position behind them, folder.
    imported: Vec<(u32, u32, String)>,
    /// Files by number.
    pub(super) list: Vec<FileInfo>,
    texts: HashMap<String, Option<Rc<str>>>,
    bytes: usize,
}

/// The folder of a path, empty for the current one.
fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at.max(1)])
}

fn join(dir: &str, name: &str) -> String {
    match dir {
        _ if name.starts_with('/') => name.to_owned(),
        "" => name.to_owned(),
        dir => format!("{}/{name}", dir.trim_end_matches('/')),
    }
}

impl<'a> Files<'a> {
    /// Files as the script at path `script` sees them.
    pub(super) fn new(target: &'a dyn Target, options: &Options, script: &str) -> Files<'a> {
        let mut dirs = options.include_dirs.clone();
        let triplet = match target.arch() {
            Ok(Arch::Aarch64) => "aarch64-linux-gnu",
            _ => "x86_64-linux-gnu",
        };
        dirs.extend(["/usr/local/include".to_owned(), format!("/usr/include/{triplet}")]);
        dirs.push("/usr/include".to_owned());
        let script_dir = folder(script).to_owned();
        let (imported, list) = (Vec::new(), Vec::new());
        Files { target, script_dir, dirs, imported, list, texts: HashMap::new(), bytes: 0 }
    }

    /// Tells of imported scripts, which have folders of their own.
    pub(super) fn imported(&mut self, files: &[SourceFile]) {
        self.imported = files.iter().map(|f| (f.start, f.end(), folder(&f.name).to_owned())).collect();
    }

    /// The folder of the script, or imported script, that has `span`.
    fn folder_of(&self, span: Span) -> &str {
        let within = |(start, end, _): &&(u32, u32, String)| (*start..=*end).contains(&span.start);
        self.imported.iter().find(within).map_or(&self.script_dir, |(_, _, dir)| dir)
    }

    /// A declaration of the script's, as a file.
    pub(super) fn own(&mut self, text: &str, span: Span) -> u32 {
        self.add(String::new(), Rc::from(text), span, 0)
    }

    /// The file behind a number.
    pub(super) fn get(&self, file: u32) -> Option<&FileInfo> {
        self.list.get(file as usize)
    }

    /// Whether there is something to include.
    pub(super) fn exists(&mut self, name: &str, quoted: bool, from: u32) -> bool {
        self.find(name, quoted, from, 0).ok().flatten().is_some() || is_kernel_name(name)
    }

    /// Finds the header `name`. `quoted`: first beside the file `from`; `next`: only behind the folder that `from` is of.
    pub(super) fn include(
        &mut self,
        name: &str,
        quoted: bool,
        next: bool,
        from: u32,
        span: Span,
    ) -> Result<Included, String> {
        if self.list.len() >= MAX_FILES {
            return Err(format!("more than {MAX_FILES} headers are included"));
        }
        let first = self.get(from).filter(|_| next).map_or(0, |f| f.next_dir);
        match self.find(name, quoted && !next, from, first)? {
            Some((path, text, next_dir)) => Ok(Included::File(self.add(path, text, span, next_dir))),
            None if is_kernel_name(name) => Ok(Included::Kernel),
            None => Err(format!("'{name}' file not found")),
        }
    }

    fn add(&mut self, name: String, text: Rc<str>, span: Span, next_dir: usize) -> u32 {
        self.list.push(FileInfo { name, span, text, next_dir });
        (self.list.len() - 1) as u32
    }

    #[allow(clippy::type_complexity)]
    fn find(
        &mut self,
        name: &str,
        quoted: bool,
        from: u32,
        first: usize,
    ) -> Result<Option<(String, Rc<str>, usize)>, String> {
        if name.contains('\0') || name.is_empty() {
            return Ok(None);
        }
        if name == "linux/version.h" {
            return Ok(Some((format!("<{name}>"), Rc::from(self.version().as_str()), 0)));
        }
        if quoted || name.starts_with('/') {
            let beside = match self.get(from) {
                Some(f) if !f.is_script() => folder(&f.name).to_owned(),
                Some(f) => self.folder_of(f.span).to_owned(),
                None => self.script_dir.clone(),
            };
            let path = join(&beside, name);
            if let Some(text) = self.read(&path)? {
                return Ok(Some((path, text, 0)));
            }
        }
        for at in first..self.dirs.len() {
            let path = join(&self.dirs[at], name);
            if let Some(text) = self.read(&path)? {
                return Ok(Some((path, text, at + 1)));
            }
        }
        let own = OWN.iter().find(|(n, _)| *n == name);
        Ok(own.map(|(name, text)| (format!("<{name}>"), Rc::from(*text), self.dirs.len())))
    }

    /// `linux/version.h` of the kernel that the script runs on.
    fn version(&self) -> String {
        let code =
            self.target.kernel_version().map_or(0, |v| u32::from(v.major) << 16 | u32::from(v.minor) << 8);
        format!(
            "#define LINUX_VERSION_CODE {code}\n#define LINUX_VERSION_MAJOR {}\n#define LINUX_VERSION_PATCHLEVEL {}\n\
             #define LINUX_VERSION_SUBLEVEL 0\n\
             #define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n",
            code >> 16,
            code >> 8 & 0xff
        )
    }

    /// The text of the file at `path`; `None` if there is none.
    fn read(&mut self, path: &str) -> Result<Option<Rc<str>>, String> {
        if let Some(known) = self.texts.get(path) {
            return Ok(known.clone());
        }
        let text = match self.target.file(path) {
            Ok(text) => Some(Rc::<str>::from(&*text)),
            Err(TargetError::NotFound(_) | TargetError::Unknown(_)) => None,
            Err(TargetError::Os { errno: 20 | 2, .. }) => None,
            // A folder of that name.
            Err(TargetError::Damaged { why, .. }) if why.contains("no regular file") => None,
            Err(error) => return Err(error.to_string()),
        };
        self.bytes += text.as_ref().map_or(0, |t| t.len());
        if self.bytes > MAX_BYTES {
            return Err(format!("the headers have more than {} MiB", MAX_BYTES >> 20));
        }
        self.texts.insert(path.to_owned(), text.clone());
        Ok(text)
    }
}

/// Whether a header's name is one of the kernel's.
fn is_kernel_name(name: &str) -> bool {
    name.split_once('/').is_some_and(|(dir, _)| KERNEL.contains(&dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        assert_eq!(folder("/a/b.bt"), "/a");
        assert_eq!(folder("/b.bt"), "/");
        assert_eq!(folder("b.bt"), "");
        assert_eq!(join("/a", "x.h"), "/a/x.h");
        assert_eq!(join("", "x.h"), "x.h");
        assert_eq!(join("/a", "/x.h"), "/x.h");
    }

    #[test]
    fn names_of_the_kernel() {
        assert!(is_kernel_name("linux/sched.h"));
        assert!(is_kernel_name("net/sock.h"));
        assert!(!is_kernel_name("sched.h"));
        assert!(!is_kernel_name("lol/no.h"));
    }
}
