//! printf: a [`Format`] and its arguments enter, text leaves.
//!
//! The language's printf is not C's. An integer conversion without length modifier takes the low 32 bits; a `0` flag
//! fills with zeros on whichever side is filled, also before a sign and behind a left-aligned number; precision and
//! the blank flag mean nothing; `%s` takes any value, of which only the first piece is filled to the width. A value
//! that a conversion cannot show is printed as `!{…}` in its place.

use skep_bpf::format::{Conv, ConvKind, Format, Piece};

use super::escape::{self, Keep};
use super::{Names, Style, decimal, pad, signed_decimal, styled};
use crate::value::Value;

/// Widths beyond this are taken for this: output stays bounded whatever a format says.
const MAX_WIDTH: u32 = 1 << 16;

/// Appends `format` with `args` in place of its conversions. Missing arguments print as `!{…}`, further ones do not.
pub fn render(out: &mut Vec<u8>, format: &Format, args: &[Value<'_>], names: &mut Names<'_>) {
    render_with(out, format, &mut args.iter().cloned(), names);
}

/// The same, each argument taken when its conversion is reached.
pub fn render_with<'v>(
    out: &mut Vec<u8>,
    format: &Format,
    args: &mut dyn Iterator<Item = Value<'v>>,
    names: &mut Names<'_>,
) {
    for piece in format {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Conv(conv) => match args.next() {
                Some(value) => convert(out, conv, &value, names),
                None => out.extend_from_slice(b"!{missing argument}"),
            },
        }
    }
}

fn convert(out: &mut Vec<u8>, conv: &Conv, value: &Value<'_>, names: &mut Names<'_>) {
    let style = Style {
        width: conv.width.unwrap_or(0).min(MAX_WIDTH) as usize,
        left: conv.left,
        fill: if conv.zero { b'0' } else { b' ' },
        plus: conv.plus,
    };
    match (conv.kind, value) {
        (ConvKind::BufHex, Value::Buf(bytes)) => padded(out, style, |out| escape::hex(out, bytes)),
        (ConvKind::BufHexBlank, Value::Buf(bytes)) => padded(out, style, |out| escape::hex_blank(out, bytes)),
        (ConvKind::String | ConvKind::Buf | ConvKind::BufHex | ConvKind::BufHexBlank, _) => {
            styled(out, value, names, style);
        }
        _ => match value.bits() {
            Some(bits) => integer(out, conv, bits, style, names),
            None => {
                out.extend_from_slice(b"!{invalid integer conversion: ");
                super::text(out, value, names);
                out.push(b'}');
            }
        },
    }
}

fn padded(out: &mut Vec<u8>, style: Style, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut text = Vec::new();
    fill(&mut text);
    pad(out, &text, style);
}

/// Appends the number `bits` as an integer conversion shows it.
fn integer(out: &mut Vec<u8>, conv: &Conv, bits: u64, style: Style, names: &Names<'_>) {
    let width = length_bits(&conv.length);
    let unsigned = bits & (u64::MAX >> (64 - width));
    let text = match conv.kind {
        ConvKind::GfpFlags => super::gfp::flags(bits),
        ConvKind::Char => return character(out, unsigned as u8, style, names),
        ConvKind::Signed if style == Style::PLAIN => {
            return signed_decimal(out, sign_extend(bits, width));
        }
        ConvKind::Unsigned if style == Style::PLAIN => return decimal(out, false, unsigned),
        ConvKind::Signed => match sign_extend(bits, width) {
            number if conv.plus && number >= 0 => format!("+{number}"),
            number => number.to_string(),
        },
        ConvKind::HexLower if conv.alt && unsigned != 0 => format!("{unsigned:#x}"),
        ConvKind::HexUpper if conv.alt && unsigned != 0 => format!("0X{unsigned:X}"),
        ConvKind::Octal if conv.alt && unsigned != 0 => format!("0{unsigned:o}"),
        ConvKind::HexLower => format!("{unsigned:x}"),
        ConvKind::HexUpper => format!("{unsigned:X}"),
        ConvKind::Octal => format!("{unsigned:o}"),
        // Always the whole address, whatever the length says; zero has no prefix.
        ConvKind::Pointer if bits == 0 => "0".to_owned(),
        ConvKind::Pointer => format!("{bits:#x}"),
        _ => unsigned.to_string(),
    };
    pad(out, text.as_bytes(), style);
}

/// One byte, as it is unless it would steer a terminal.
fn character(out: &mut Vec<u8>, byte: u8, style: Style, names: &Names<'_>) {
    let mut text = Vec::new();
    if names.escapes() && byte < 0x80 {
        escape::printable(&mut text, &[byte], Keep::Lines);
    } else {
        text.push(byte);
    }
    pad(out, &text, style);
}

/// How many low bits of a value a length modifier takes.
fn length_bits(length: &str) -> u32 {
    match length {
        "hh" => 8,
        "h" => 16,
        "l" | "ll" | "j" | "z" | "t" => 64,
        _ => 32,
    }
}

/// The low `width` bits (1 to 64) as a signed number.
fn sign_extend(bits: u64, width: u32) -> i64 {
    let spare = 64 - width;
    ((bits << spare) as i64) >> spare
}
