//! Rendering: values enter, text as the language prints it leaves.
//!
//! `%s`, `print` and map output share one text form: integers in decimal, tuples `(1, abc)`, records
//! `{ .a = 1, .b = 2 }`, arrays `[1,2]`, pointers `0x…`, `true` and `false`. What values need to be looked up for
//! (symbols, users, times) comes through [`Names`].

pub mod escape;
pub mod printf;

pub(crate) mod errno;
mod gfp;
mod inet;
mod names;
mod signal;
mod stack;

pub use names::Names;

use std::io::Write as _;

use crate::value::Value;

/// How a value is set: what of a conversion's flags its text form heeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Fewest bytes of the value's first piece: all of a plain value, the opening bracket of a compound one.
    pub width: usize,
    /// Fill behind instead of before.
    pub left: bool,
    /// What to fill with.
    pub fill: u8,
    /// A `+` before signed integers that are not negative.
    pub plus: bool,
}

impl Style {
    /// No filling, no sign.
    pub const PLAIN: Style = Style { width: 0, left: false, fill: b' ', plus: false };
}

/// Appends the text form of `value`.
pub fn text(out: &mut Vec<u8>, value: &Value<'_>, names: &mut Names<'_>) {
    styled(out, value, names, Style::PLAIN);
}

/// Appends the text form of `value` in `style`.
pub fn styled(out: &mut Vec<u8>, value: &Value<'_>, names: &mut Names<'_>, style: Style) {
    let inner = Style { width: 0, ..style };
    match value {
        Value::Int(i) if style.plus && *i >= 0 => pad(out, format!("+{i}").as_bytes(), style),
        Value::Int(i) if style.width == 0 => signed_decimal(out, *i),
        Value::Uint(u) if style.width == 0 => decimal(out, false, *u),
        Value::Int(i) => pad(out, i.to_string().as_bytes(), style),
        Value::Uint(u) => pad(out, u.to_string().as_bytes(), style),
        Value::Array(values) => {
            pad(out, b"[", style);
            list(out, values, names, inner, b",");
            out.push(b']');
        }
        Value::Tuple(values) => {
            pad(out, b"(", style);
            list(out, values, names, inner, b", ");
            out.push(b')');
        }
        Value::Record(fields) if fields.is_empty() => pad(out, b"{}", style),
        Value::Record(fields) => {
            pad(out, b"{ ", style);
            for (i, (name, value)) in fields.iter().enumerate() {
                out.extend_from_slice(if i == 0 { b"." } else { b", ." });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b" = ");
                styled(out, value, names, inner);
            }
            out.extend_from_slice(b" }");
        }
        Value::Buf(bytes) => {
            let mut text = Vec::with_capacity(bytes.len());
            escape::buffer(&mut text, bytes);
            pad(out, &text, style);
        }
        _ => pad(out, &names.leaf(value), style),
    }
}

fn list(out: &mut Vec<u8>, values: &[Value<'_>], names: &mut Names<'_>, style: Style, between: &[u8]) {
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(between);
        }
        styled(out, value, names, style);
    }
}

/// Appends `text`, filled up to the style's width.
pub(crate) fn pad(out: &mut Vec<u8>, text: &[u8], style: Style) {
    let missing = style.width.saturating_sub(text.len());
    if !style.left {
        out.resize(out.len() + missing, style.fill);
    }
    out.extend_from_slice(text);
    if style.left {
        out.resize(out.len() + missing, style.fill);
    }
}

/// Appends a number in decimal. Events are made of numbers, and this takes a fraction of the time of a format.
pub(crate) fn decimal(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    if negative {
        out.push(b'-');
    }
    let mut digits = [0u8; 20];
    let (mut at, mut rest) = (digits.len(), magnitude);
    while let Some(digit) = at.checked_sub(1).and_then(|next| digits.get_mut(next)) {
        *digit = b'0' + (rest % 10) as u8;
        at -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or(&[]));
}

/// Appends a signed number in decimal.
pub(crate) fn signed_decimal(out: &mut Vec<u8>, number: i64) {
    decimal(out, number < 0, number.unsigned_abs());
}

/// Appends formatted text; writing to memory cannot fail.
pub(crate) fn write_into(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(args);
}
