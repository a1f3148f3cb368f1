//! Bytes of a packet below its line.

use std::fmt::Write as _;

use super::Dump;

/// Bytes of a line.
const ROW: usize = 16;

/// Adds the bytes that `dump` asks for; the network header begins at `network`.
pub(super) fn dump(dump: Dump, data: &[u8], network: usize, out: &mut String) {
    match dump {
        Dump::None => {}
        Dump::Hex { text, link } => {
            let start = if link { 0 } else { network };
            rows(data.get(start..).unwrap_or_default(), text, out);
        }
        Dump::Text => {
            let bytes = data.get(network..).unwrap_or_default();
            for (at, byte) in bytes.iter().enumerate() {
                match byte {
                    b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
                    b'\n' | 0x20..=0x7e => out.push(char::from(*byte)),
                    _ => out.push('.'),
                }
            }
            out.push('\n');
        }
    }
}

fn rows(bytes: &[u8], text: bool, out: &mut String) {
    for (index, row) in bytes.chunks(ROW).enumerate() {
        let _ = write!(out, "\t0x{:04x}: ", index * ROW);
        for pair in row.chunks(2) {
            out.push(' ');
            for byte in pair {
                let _ = write!(out, "{byte:02x}");
            }
        }
        if text {
            // A whole row takes 40 columns.
            let used = row.len() * 2 + row.len().div_ceil(2);
            out.extend(std::iter::repeat_n(' ', 40 - used + 2));
            out.extend(row.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }));
        }
        out.push('\n');
    }
}
