//! Wildcards in names of probes and binaries: `*` stands for any text, `?` for one byte of it. A pattern and a name enter, whether they match leaves.

/// Whether the text has a wildcard.
pub fn has_wildcard(text: &str) -> bool {
    text.contains('*')
}

/// Whether the whole of `text` matches `pattern`; `?` stands for any one byte.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while let Some(now) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte == now => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or(&[]).iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text() {
        for (pattern, text, hit) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*open*", "sys_enter_openat", true),
            ("*b*b*", "abb", true),
            ("*b*b*", "ab", false),
            ("sys_*_read", "sys_enter_read", true),
            ("sys_*_read", "sys_enter_readv", false),
            ("abc", "abcd", false),
            ("vfs_rea?", "vfs_read", true),
            ("vfs_rea?", "vfs_rea", false),
            ("*read*d", "do_readahead", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), hit, "{pattern} {text}");
        }
    }
}
