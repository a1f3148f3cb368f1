//! Format strings of `bpf_trace_printk()`, `bpf_snprintf()` and their siblings (bpf_bprintf_prepare, kernel/bpf/helpers.c): bytes and
//! arguments enter, text leaves. What the kernel refuses is EINVAL.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use super::Call;
use super::memory::Space;

/// Longest string that `%s` copies (MAX_BPRINTF_BUF).
const LONGEST: u32 = 1024;

/// Flags, width and base of one conversion.
#[derive(Clone, Copy, Default)]
struct Spec {
    zero: bool,
    plus: bool,
    left: bool,
    space: bool,
    width: usize,
}

/// A format string that is being read. Behind its end there are zeros.
struct Cursor<'f> {
    format: &'f [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.format.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn spec(&mut self) -> Spec {
        let mut spec = Spec::default();
        loop {
            match self.peek(0) {
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b'-' => spec.left = true,
                b' ' => spec.space = true,
                _ => break,
            }
            self.at += 1;
        }
        while self.peek(0).is_ascii_digit() {
            let digit = usize::from(self.peek(0) - b'0');
            spec.width = (spec.width * 10 + digit).min(LONGEST as usize);
            self.at += 1;
        }
        spec
    }

    /// Whether a conversion can end here.
    fn ends(&self) -> bool {
        let next = self.peek(0);
        next == 0 || next.is_ascii_whitespace() || next.is_ascii_punctuation()
    }
}

impl Spec {
    fn pad(self, out: &mut Vec<u8>, text: &[u8]) {
        let fill = self.width.saturating_sub(text.len());
        if !self.left {
            out.resize(out.len() + fill, b' ');
        }
        out.extend_from_slice(text);
        if self.left {
            out.resize(out.len() + fill, b' ');
        }
    }

    fn number(self, out: &mut Vec<u8>, sign: &str, digits: &str) {
        let fill = self.width.saturating_sub(sign.len() + digits.len());
        let zeros = if self.zero && !self.left { fill } else { 0 };
        self.pad(out, format!("{sign}{}{digits}", "0".repeat(zeros)).as_bytes());
    }

    fn signed(self, out: &mut Vec<u8>, value: i64) {
        let sign = match value {
            ..0 => "-",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        };
        self.number(out, sign, &value.unsigned_abs().to_string());
    }
}

/// Formats: `args` are the values, in order.
pub(super) fn format(call: &Call<'_>, format: &[u8], args: &[u64]) -> Result<Vec<u8>, Errno> {
    let end = format.iter().position(|byte| *byte == 0).ok_or(Errno::INVAL)?;
    let mut cursor = Cursor { format: &format[..end], at: 0 };
    let mut args = args.iter().copied();
    let mut out = Vec::new();
    while cursor.at < end {
        let byte = cursor.peek(0);
        if !byte.is_ascii_graphic() && !byte.is_ascii_whitespace() && byte != 0x0b {
            return Err(Errno::INVAL);
        }
        cursor.at += 1;
        if byte != b'%' {
            out.push(byte);
        } else if cursor.peek(0) == b'%' {
            cursor.at += 1;
            out.push(b'%');
        } else {
            let value = args.next().ok_or(Errno::INVAL)?;
            convert(call, &mut cursor, value, &mut out)?;
        }
    }
    Ok(out)
}

fn convert(call: &Call<'_>, cursor: &mut Cursor<'_>, value: u64, out: &mut Vec<u8>) -> Result<(), Errno> {
    let spec = cursor.spec();
    let kind = cursor.peek(0);
    match kind {
        b'p' => {
            cursor.at += 1;
            return pointer(call, cursor, spec, value, out);
        }
        b's' => {
            cursor.at += 1;
            return text(call, cursor, Space::Either, spec, value, out);
        }
        b'c' => {
            cursor.at += 1;
            spec.pad(out, &[value as u8]);
            return Ok(());
        }
        _ => {}
    }
    let mut longs = 0;
    while longs < 2 && cursor.peek(0) == b'l' {
        longs += 1;
        cursor.at += 1;
    }
    let kind = cursor.peek(0);
    cursor.at += 1;
    let unsigned = if longs == 0 { u64::from(value as u32) } else { value };
    match kind {
        b'd' | b'i' if longs == 0 => spec.signed(out, (value as i32).into()),
        b'd' | b'i' => spec.signed(out, value as i64),
        b'u' => spec.number(out, "", &unsigned.to_string()),
        b'x' => spec.number(out, "", &format!("{unsigned:x}")),
        b'X' => spec.number(out, "", &format!("{unsigned:X}")),
        _ => return Err(Errno::INVAL),
    }
    Ok(())
}

fn text(
    call: &Call<'_>,
    cursor: &Cursor<'_>,
    space: Space,
    spec: Spec,
    at: u64,
    out: &mut Vec<u8>,
) -> Result<(), Errno> {
    if !cursor.ends() {
        return Err(Errno::INVAL);
    }
    // A string that cannot be read prints as an empty one.
    let found = call.outside_text(space, at, LONGEST).unwrap_or_default();
    spec.pad(out, &found);
    Ok(())
}

/// What stands behind `%p`.
fn pointer(
    call: &Call<'_>,
    cursor: &mut Cursor<'_>,
    spec: Spec,
    value: u64,
    out: &mut Vec<u8>,
) -> Result<(), Errno> {
    let (first, second) = (cursor.peek(0), cursor.peek(1));
    match (first, second) {
        (b'k' | b'u', b's') => {
            cursor.at += 2;
            let space = if first == b'k' { Space::Kernel } else { Space::User };
            text(call, cursor, space, spec, value, out)
        }
        (b'x' | b'K', _) => {
            cursor.at += 1;
            spec.number(out, "", &format!("{value:016x}"));
            Ok(())
        }
        (b's' | b'S' | b'B', _) => {
            cursor.at += 1;
            spec.pad(out, symbol(call, value, first != b's').as_bytes());
            Ok(())
        }
        (b'i' | b'I', b'4' | b'6') => {
            cursor.at += 2;
            spec.pad(out, address(call, value, first == b'I', second == b'6').as_bytes());
            Ok(())
        }
        _ if cursor.ends() => {
            // The kernel prints a hash of the pointer; here there is nothing to hide.
            spec.number(out, "", &format!("{value:016x}"));
            Ok(())
        }
        _ => Err(Errno::INVAL),
    }
}

fn symbol(call: &Call<'_>, at: u64, offset: bool) -> String {
    let names = &call.state.env.names.kernel;
    let found = names.range(..=at).next_back().and_then(|(start, symbol)| {
        let name = symbol.name.as_deref()?;
        Some((name, symbol.offset + (at - start)))
    });
    match found {
        Some((name, by)) if offset => format!("{name}+{by:#x}"),
        Some((name, 0)) => name.to_owned(),
        Some((name, by)) => format!("{name}+{by:#x}"),
        None => format!("{at:#x}"),
    }
}

fn address(call: &Call<'_>, at: u64, pretty: bool, six: bool) -> String {
    let read = |len| call.outside(Space::Kernel, at, len).unwrap_or_else(|_| vec![0; len as usize]);
    if six {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&read(16));
        let groups: Vec<String> =
            Ipv6Addr::from(bytes).segments().iter().map(|group| format!("{group:04x}")).collect();
        return groups.join(if pretty { ":" } else { "" });
    }
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&read(4));
    match pretty {
        true => Ipv4Addr::from(bytes).to_string(),
        false => bytes.map(|byte| format!("{byte:03}")).join("."),
    }
}
