//! Wildcards in names of probes and binaries: `*` stands for any text. A pattern and a name enter, whether they match leaves.

/// Whether the text has a wildcard.
pub fn has_wildcard(text: &str) -> bool {
    text.contains('*')
}

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or("");
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
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
        ] {
            assert_eq!(matches(pattern, text), hit, "{pattern} {text}");
        }
    }
}
