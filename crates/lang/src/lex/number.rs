//! Integer literals: decimal, hexadecimal, binary, octal, `_` separators, `1e6`, C suffixes, units of time.

use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics};

/// An integer literal's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    /// Value.
    pub value: u64,
    /// `u` suffix, or too large for a signed 64-bit integer.
    pub unsigned: bool,
    /// Bits that a C suffix says (`u`: 32, `l`/`ll`: 64).
    pub bits: Option<u8>,
}

/// Suffixes: name, factor, (unsigned, bits, greatest value).
const SUFFIXES: &[(&str, u64, bool, Option<u8>, u64)] = &[
    ("", 1, false, None, u64::MAX),
    ("u", 1, true, Some(32), u32::MAX as u64),
    ("ul", 1, true, Some(64), u64::MAX),
    ("ull", 1, true, Some(64), u64::MAX),
    ("l", 1, false, Some(64), i64::MAX as u64),
    ("ll", 1, false, Some(64), i64::MAX as u64),
    ("ns", 1, false, None, u64::MAX),
    ("us", 1_000, false, None, u64::MAX),
    ("ms", 1_000_000, false, None, u64::MAX),
    ("s", 1_000_000_000, false, None, u64::MAX),
    ("m", 60_000_000_000, false, None, u64::MAX),
    ("h", 3_600_000_000_000, false, None, u64::MAX),
    ("d", 86_400_000_000_000, false, None, u64::MAX),
];

/// Scans the literal at the start of `rest` (which begins with a digit, at `start` of the text). Gives its value (0 when
/// damaged, with a diagnostic) and its length in bytes.
pub(super) fn scan(rest: &str, start: usize, diags: &mut Diagnostics) -> (Number, usize) {
    let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let literal = &rest[..len];
    match parse(literal) {
        Ok(number) => (number, len),
        Err(why) => {
            let span = Span::new(start, start + len);
            diags.push(Diagnostic::error("bad-number", span, format!("`{literal}` is not a number: {why}")));
            (Number { value: 0, unsigned: false, bits: None }, len)
        }
    }
}

/// The value of a literal.
pub(super) fn parse(literal: &str) -> Result<Number, String> {
    let clean = literal.replace('_', "");
    if literal.ends_with('_') {
        return Err("it ends with `_`".to_owned());
    }
    let lower = clean.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(bin) = lower.strip_prefix("0b") {
        (2, bin)
    } else if lower.len() > 1 && lower.starts_with('0') && lower.as_bytes()[1].is_ascii_digit() {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let count = digits.chars().take_while(|c| c.is_digit(radix)).count();
    let (digits, mut rest) = digits.split_at(count);
    if digits.is_empty() {
        return Err("it has no digits".to_owned());
    }
    let too_large = || "it does not fit into 64 bits".to_owned();
    let mut value = u64::from_str_radix(digits, radix).map_err(|_| too_large())?;
    if let Some(exponent) = rest.strip_prefix('e') {
        let count = exponent.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&value) || count == 0 {
            return Err("the part before `e` is one digit from 1 to 9, and a number follows it".to_owned());
        }
        let power = exponent[..count].parse().map_err(|_| too_large())?;
        let factor = 10u64.checked_pow(power).ok_or_else(too_large)?;
        value = value.checked_mul(factor).ok_or_else(too_large)?;
        rest = &exponent[count..];
    }
    let Some((_, factor, unsigned, bits, max)) = SUFFIXES.iter().find(|s| s.0 == rest) else {
        return Err(format!(
            "`{rest}` is not a suffix (there are u, l, ul, ll, ull, ns, us, ms, s, m, h, d)"
        ));
    };
    let value = value.checked_mul(*factor).ok_or_else(too_large)?;
    if value > *max {
        return Err(format!("it is larger than the suffix `{rest}` allows"));
    }
    Ok(Number { value, unsigned: *unsigned || value > i64::MAX as u64, bits: *bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (literal, value) in [
            ("0", 0),
            ("1_000", 1000),
            ("0xff", 255),
            ("0b101", 5),
            ("0o7".trim_start_matches("0o"), 7),
            ("017", 15),
            ("1e6", 1_000_000),
            ("5ms", 5_000_000),
            ("18446744073709551615", u64::MAX),
            ("10u", 10),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(parse(literal).map(|n| n.value), Ok(value), "{literal}");
        }
        assert!(parse("18446744073709551615").unwrap().unsigned);
    }

    #[test]
    fn refusals() {
        for literal in ["18446744073709551616", "12e3", "1x", "5_", "0x", "4294967296u", "1e99"] {
            assert!(parse(literal).is_err(), "{literal}");
        }
    }
}
