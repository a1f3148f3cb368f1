//! The rule on what the source text uses: no files, no environment, no clock, no processes, no network.
//!
//! In: the text of a source file. Out: the lines that use them. Comments, literals and whatever is under `#[cfg(test)]` do
//! not count; of files, those that only tests include do not either.

use std::path::{Path, PathBuf};

/// Modules of the standard library that touch the machine, names in `std::time` that read a clock, names in `std::net` and
/// `std::os::unix::net` that open a socket.
const MODULES: &[&str] = &["fs", "env", "process"];
const CLOCKS: &[&str] = &["Instant", "SystemTime"];
const SOCKETS: &[&str] =
    &["TcpListener", "TcpStream", "UdpSocket", "UnixDatagram", "UnixListener", "UnixStream"];

/// The source files below a folder with their text, without those that are modules of tests.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut of_tests: Vec<PathBuf> = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let beside = match path.file_stem().and_then(|stem| stem.to_str()) {
                    Some("mod" | "lib" | "main") | None => dir.clone(),
                    Some(stem) => dir.join(stem),
                };
                for name in test_modules(&plain(&text)) {
                    of_tests.push(beside.join(format!("{name}.rs")));
                    of_tests.push(beside.join(&name));
                }
                found.push((path, text));
            }
        }
    }
    found.retain(|(path, _)| !of_tests.iter().any(|test| path.starts_with(test)));
    found.sort();
    found
}

/// The uses of the machine in a file: line number and name.
pub(crate) fn check(text: &str) -> Vec<(usize, String)> {
    let code = without_tests(&plain(text));
    let mut broken = Vec::new();
    for (at, path) in paths(&code) {
        let line = 1 + code[..at].matches('\n').count();
        let parts: Vec<&str> = path.split("::").collect();
        let culprit = match parts[..] {
            ["std", module, ..] if MODULES.contains(&module) => true,
            ["std", "time", name, ..] if CLOCKS.contains(&name) => true,
            [name, "now", ..] if CLOCKS.contains(&name) => true,
            ["std", .., "net", name] if SOCKETS.contains(&name) => true,
            _ => false,
        };
        if culprit {
            broken.push((line, path));
        }
    }
    broken
}

/// The lines of a file with the word `unsafe`.
pub(crate) fn unsafe_lines(text: &str) -> Vec<usize> {
    let code = plain(text);
    let words = paths(&code).into_iter().filter(|(_, path)| path == "unsafe");
    words.map(|(at, _)| 1 + code[..at].matches('\n').count()).collect()
}

/// Every path in the code with its place; groups in braces are written out, so `std::{fs, io}` is two paths.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = 0;
    while let Some(offset) = code[rest..].find(is_word) {
        let start = rest + offset;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |length| start + length);
        rest = path_from(code, start, end, &code[start..end], &mut found);
    }
    found
}

/// Follows a path from its first word on; returns where to go on.
fn path_from(code: &str, start: usize, end: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let Some(after) = code[end..].strip_prefix("::") else {
        found.push((start, prefix.to_owned()));
        return end;
    };
    let next = code.len() - after.len();
    if let Some(inside) = after.strip_prefix('{') {
        let mut at = code.len() - inside.len();
        while at < code.len() && !code[at..].starts_with('}') {
            let word = word_at(code, at);
            at = if word > at {
                path_from(code, at, word, &format!("{prefix}::{}", &code[at..word]), found)
            } else {
                at + 1
            };
        }
        return (at + 1).min(code.len());
    }
    let word = word_at(code, next);
    if word == next {
        found.push((start, prefix.to_owned()));
        return next;
    }
    path_from(code, start, word, &format!("{prefix}::{}", &code[next..word]), found)
}

/// The end of the word that starts here.
fn word_at(code: &str, at: usize) -> usize {
    code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(code.len(), |length| at + length)
}

/// The code with comments and literals blanked, line by line in place. Every byte outside ASCII becomes a blank.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !before_is_word(bytes, at) && is_raw(bytes, at) => raw_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        if end == at {
            code.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { ' ' });
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn before_is_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw literal as well.
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn hashes(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take_while(|byte| **byte == b'#').count()
}

fn is_raw(bytes: &[u8], at: usize) -> bool {
    bytes.get(at + 1 + hashes(bytes, at + 1)) == Some(&b'"')
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let count = hashes(bytes, at + 1);
    let open = at + 1 + count + 1;
    (open..bytes.len())
        .find(|&close| bytes[close] == b'"' && hashes(bytes, close + 1) >= count)
        .map_or(bytes.len(), |close| close + 1 + count)
}

/// The end of a character literal; a lifetime is none, and ends where it starts.
fn character_end(bytes: &[u8], at: usize) -> usize {
    let closing = match bytes.get(at + 1) {
        Some(b'\\') => bytes[at + 3..].iter().position(|byte| *byte == b'\'').map(|length| at + 3 + length),
        Some(byte) if byte.is_ascii() => (bytes.get(at + 2) == Some(&b'\'')).then_some(at + 2),
        _ => (at + 2..(at + 6).min(bytes.len())).find(|&close| bytes[close] == b'\''),
    };
    closing.map_or(at, |close| close + 1)
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut result = code.to_owned();
    while let Some(start) = result.find(TEST_ONLY) {
        let end = item_end(&result, start + TEST_ONLY.len());
        let blank: String = result[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        result.replace_range(start..end, &blank);
    }
    result
}

/// Where the item that starts here ends: at a `;`, or at the `}` of its body.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (offset, letter) in code[from..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(letter, ';' | '}') {
            return from + offset + 1;
        }
    }
    code.len()
}

/// The names of modules in files of their own that are under `#[cfg(test)]`.
fn test_modules(code: &str) -> Vec<String> {
    let items = code.match_indices(TEST_ONLY).map(|(at, _)| at + TEST_ONLY.len());
    items
        .filter_map(|from| {
            let item = code[from..item_end(code, from)].trim();
            let name = item.rsplit_once("mod ")?.1.strip_suffix(';')?.trim();
            Some(name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn uses_are_found_however_they_are_written() {
        for text in [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{collections::BTreeMap, fs, io};",
            "use std::{io::{self, Read}, time::{Duration, Instant}};",
            "let x = std::env::var(\"HOME\");",
            "let t = std::time::SystemTime::now();",
            "let t = Instant::now();",
            "let c = '\"'; let d = std::process::id();",
        ] {
            assert_eq!(lines(text), [1], "{text}");
        }
        assert_eq!(lines("fn a() {}\n\nuse std::net::TcpStream;\n"), [3]);
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for text in [
            "// use std::fs;",
            "/* a /* nested */ std::fs */",
            "let x = \"std::fs \\\" std::env\";",
            "let x = r#\"std::fs\"#;",
            "use std::time::Duration;",
            "use std::net::{Ipv4Addr, Ipv6Addr};",
            "let fs = 1; other::fs::x(); crate::std_fs();",
            "fn f<'a>(x: &'a str) -> char { 'x' }",
            "env!(\"CARGO_PKG_VERSION\")",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() {}\n}",
            "#[cfg(test)]\nuse std::fs;",
        ] {
            assert_eq!(lines(text), Vec::<usize>::new(), "{text}");
        }
        assert_eq!(lines("#[cfg(test)]\nmod tests {}\nuse std::fs;"), [3]);
    }

    #[test]
    fn unsafe_is_a_word_of_the_code() {
        let text = "// unsafe\nfn f() {}\nunsafe fn g() { \"unsafe\" }\nfn h() { unsafe { g() } }\n#[allow(unsafe_code)]";
        assert_eq!(unsafe_lines(text), [3, 4]);
    }

    #[test]
    fn modules_of_tests() {
        assert_eq!(test_modules("#[cfg(test)]\nmod tests;\nmod other;"), ["tests"]);
        assert_eq!(test_modules("#[cfg(test)]\nmod tests { mod inner; }"), Vec::<String>::new());
    }
}
