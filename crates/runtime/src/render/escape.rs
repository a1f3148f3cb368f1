//! Bytes that a terminal must not see as they are.
//!
//! Strings of traced processes can hold anything, also sequences that move a terminal's cursor or retitle it. Text
//! output therefore shows their control characters as `\n`, `\t`, `\r` or `\xNN`.

use super::write_into;

/// Which control characters stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// None.
    Nothing,
    /// Newlines and tabs, for text of many lines such as a file's.
    Lines,
}

/// Appends `bytes` with control characters (C0, DEL, C1) and bytes that are not UTF-8 escaped. All else stays as it
/// is, also backslashes.
pub fn printable(out: &mut Vec<u8>, bytes: &[u8], keep: Keep) {
    if bytes.iter().all(|b| (0x20..0x7f).contains(b)) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let stays = !c.is_control() || (keep == Keep::Lines && matches!(c, '\n' | '\t'));
            let mut utf8 = [0u8; 4];
            let utf8 = c.encode_utf8(&mut utf8).as_bytes();
            match c {
                _ if stays => out.extend_from_slice(utf8),
                '\n' => out.extend_from_slice(b"\\n"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\r' => out.extend_from_slice(b"\\r"),
                _ => hex(out, utf8),
            }
        }
        hex(out, chunk.invalid());
    }
}

/// Appends `bytes` as `%r` shows a buffer: printable ASCII as it is, all else as `\xNN`.
pub fn buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    for b in bytes {
        if (0x20..0x7f).contains(b) {
            out.push(*b);
        } else {
            hex(out, &[*b]);
        }
    }
}

/// Appends every byte as `\xNN`.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for b in bytes {
        write_into(out, format_args!("\\x{b:02x}"));
    }
}

/// Appends every byte as two hexadecimal digits, with blanks between.
pub fn hex_blank(out: &mut Vec<u8>, bytes: &[u8]) {
    for (i, b) in bytes.iter().enumerate() {
        let blank = if i == 0 { "" } else { " " };
        write_into(out, format_args!("{blank}{b:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], keep: Keep) -> String {
        let mut out = Vec::new();
        printable(&mut out, bytes, keep);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn terminal_sequences_become_visible() {
        assert_eq!(shown(b"a\x1b]0;x\x07b\x7f", Keep::Nothing), "a\\x1b]0;x\\x07b\\x7f");
        assert_eq!(shown("C1 \u{9b}2J".as_bytes(), Keep::Nothing), "C1 \\xc2\\x9b2J");
        assert_eq!(shown(b"raw \x9b \xff", Keep::Nothing), "raw \\x9b \\xff");
    }

    #[test]
    fn text_stays() {
        assert_eq!(shown("größe \\n 日本".as_bytes(), Keep::Nothing), "größe \\n 日本");
        assert_eq!(shown(b"a\n\tb\r", Keep::Nothing), "a\\n\\tb\\r");
        assert_eq!(shown(b"a\n\tb\r", Keep::Lines), "a\n\tb\\r");
    }

    #[test]
    fn buffers_show_every_byte() {
        let mut out = Vec::new();
        buffer(&mut out, b"a~\x01\xff");
        out.push(b' ');
        hex_blank(&mut out, b"a\x01\xff");
        assert_eq!(out, b"a~\\x01\\xff 61 01 ff");
    }
}
