//! Imports: a parsed script enters; the script with all that it imports merged into it leaves. A path is looked for beside
//! the file that imports it, then in the include directories; a directory stands for the scripts in it. What always
//! holds: each file is taken once, whoever imports it and in whatever circle; what is imported comes before what imports
//! it, so that its `begin` and `end` probes run first.

use std::collections::HashSet;
use std::sync::Arc;

use crate::ast::{CDecl, Name, Script, Span};
use crate::diag::{Diagnostic, Diagnostics};
use crate::options::Options;
use crate::source::SourceFile;
use crate::{library, parse, spans};
use skep_bpf::target::{Target, TargetExt};

/// Most files that a script imports, all together.
const MAX_FILES: usize = 256;
/// Most bytes of all of them.
const MAX_BYTES: u32 = 64 << 20;
/// Most links of a chain of imports.
const MAX_DEPTH: u32 = 64;

/// Parses `text`, a script that messages call `name`, and everything that it imports.
pub fn load(
    name: &str,
    text: &str,
    options: &Options,
    target: &dyn Target,
    diags: &mut Diagnostics,
) -> Script {
    let mut script = parse::parse(text, diags);
    if script.imports.is_empty() {
        return script;
    }
    let next = u32::try_from(text.len()).unwrap_or(u32::MAX).saturating_add(1);
    let mut loader =
        Loader { options, target, diags, seen: HashSet::new(), whole: Script::default(), next, first: next };
    loader.seen.insert(normal(name));
    loader.imports(&mut script, &directory_of(name), 0);
    let mut whole = loader.whole;
    merge(&mut whole, script);
    diags.files.clone_from(&whole.files);
    whole
}

struct Loader<'a> {
    options: &'a Options,
    target: &'a dyn Target,
    diags: &'a mut Diagnostics,
    /// Paths of files that are taken, in normal form.
    seen: HashSet<String>,
    /// What has been imported so far.
    whole: Script,
    /// Where the next file begins.
    next: u32,
    first: u32,
}

/// What an import's path leads to.
enum Found {
    /// What has been taken already.
    Known,
    File(String, Arc<str>),
    Directory(String, Vec<String>),
}

impl Loader<'_> {
    /// Follows the imports of `script`, whose file lies in `directory`.
    fn imports(&mut self, script: &mut Script, directory: &str, depth: u32) {
        for import in std::mem::take(&mut script.imports) {
            if library::has(&import.text) {
                continue;
            }
            match self.find(&import, directory) {
                Some(Found::File(path, _)) if is_header(&path) => {
                    self.header(&path, &import.text, import.span)
                }
                Some(Found::File(path, text)) => self.file(&path, &text, import.span, depth),
                Some(Found::Directory(path, names)) => self.directory(&path, &names, &import, depth),
                Some(Found::Known) | None => {}
            }
        }
    }

    fn find(&mut self, import: &Name, directory: &str) -> Option<Found> {
        let path = &import.text;
        if is_c(path) {
            self.refuse_c(path, import.span);
            return None;
        }
        let mut candidates = vec![join(directory, path)];
        if !path.starts_with('/') {
            candidates.extend(self.options.include_dirs.iter().map(|dir| join(dir, path)));
        }
        for candidate in &candidates {
            if self.seen.contains(&normal(candidate)) {
                return Some(Found::Known);
            }
            if let Ok(text) = self.target.file(candidate) {
                return Some(Found::File(candidate.clone(), text));
            }
            if let Ok(names) = self.target.directory(candidate) {
                return Some(Found::Directory(candidate.clone(), names.to_vec()));
            }
        }
        let d = Diagnostic::error("unknown-import", import.span, format!("there is no `{path}` to import"));
        self.diags.push(d.hint(format!("looked for: {}", candidates.join(", "))));
        None
    }

    fn refuse_c(&mut self, path: &str, span: Span) {
        let message = format!("`{path}` is a program in C, which cannot be imported");
        let d = Diagnostic::error("import-c", span, message);
        self.diags.push(d.hint(
            "types and constants in C go into a header: `#include \"FILE.h\"`; code becomes `macro` or `fn`",
        ));
    }

    /// A header with declarations in C: as an `#include` there.
    fn header(&mut self, path: &str, name: &str, span: Span) {
        if self.seen.insert(normal(path)) {
            self.whole.c_decls.push(CDecl { text: format!("#include \"{name}\""), span });
        }
    }

    /// All scripts and headers of a directory, by name.
    fn directory(&mut self, path: &str, names: &[String], import: &Name, depth: u32) {
        let span = import.span;
        let mut scripts: Vec<&String> = names.iter().filter(|n| n.ends_with(".bt")).collect();
        scripts.sort_unstable();
        let headers: Vec<&String> = names.iter().filter(|n| is_header(n)).collect();
        for name in &headers {
            self.header(&join(path, name), &join(&import.text, name), span);
        }
        for name in names.iter().filter(|n| is_c(n)) {
            self.refuse_c(&join(path, name), span);
        }
        if scripts.is_empty() && headers.is_empty() && !names.iter().any(|n| is_c(n)) {
            let d = Diagnostic::error("unknown-import", span, format!("there is no script in `{path}`"));
            self.diags.push(d.hint("the names of scripts end in `.bt`"));
        }
        for name in scripts {
            let file = join(path, name);
            match self.target.file(&file) {
                Ok(text) => self.file(&file, &text, span, depth),
                Err(error) => {
                    let message = format!("`{file}` cannot be read: {error}");
                    self.diags.push(Diagnostic::error("unknown-import", span, message));
                }
            }
        }
    }

    fn file(&mut self, path: &str, text: &Arc<str>, span: Span, depth: u32) {
        if !self.seen.insert(normal(path)) {
            return;
        }
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let total = (self.next - self.first).saturating_add(size);
        if self.whole.files.len() >= MAX_FILES || total > MAX_BYTES || depth >= MAX_DEPTH {
            let limits = format!("{MAX_FILES} files, {MAX_BYTES} bytes, {MAX_DEPTH} deep");
            let message = format!("more is imported than is allowed ({limits})");
            self.diags.push(Diagnostic::error("too-many-imports", span, message));
            return;
        }
        let start = self.next;
        self.next = start.saturating_add(size).saturating_add(1);
        self.whole.files.push(SourceFile { name: path.to_owned(), start, text: text.clone() });
        let mut found = Diagnostics::default();
        let mut script = parse::parse(text, &mut found);
        spans::shift(&mut script, start);
        for mut d in found.list {
            spans::shift_diagnostic(&mut d, start);
            self.diags.push(d);
        }
        if let Some(item) = script.config.first() {
            let message = "an imported script cannot have a config block";
            let d = Diagnostic::error("import-config", item.name.span, message);
            self.diags.push(d.label(span, "imported here").hint("only the script itself has one"));
        }
        self.imports(&mut script, &directory_of(path), depth + 1);
        merge(&mut self.whole, Script { config: Vec::new(), ..script });
    }
}

fn merge(into: &mut Script, from: Script) {
    into.c_decls.extend(from.c_decls);
    into.config.extend(from.config);
    into.map_decls.extend(from.map_decls);
    into.macros.extend(from.macros);
    into.functions.extend(from.functions);
    into.probes.extend(from.probes);
    into.files.extend(from.files);
}

fn is_c(path: &str) -> bool {
    path.ends_with(".c") || path.ends_with(".o")
}

fn is_header(path: &str) -> bool {
    path.ends_with(".h")
}

/// The directory part of a file's path; empty where it has none.
fn directory_of(path: &str) -> String {
    path.rsplit_once('/').map_or(String::new(), |(dir, _)| if dir.is_empty() { "/" } else { dir }.to_owned())
}

fn join(directory: &str, path: &str) -> String {
    match directory {
        _ if path.starts_with('/') => path.to_owned(),
        "" => path.to_owned(),
        dir => format!("{}/{path}", dir.trim_end_matches('/')),
    }
}

/// A path without `.` and empty parts, and without `..` where what it takes back is written.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
