//! Strings and numbers in them (kernel/bpf/helpers.c, `__bpf_strtoull`).

use rustix::io::Errno;

use super::{Answer, Call, failed};

/// Digits are looked for in so many bytes behind white space and sign.
const LONGEST: usize = 63;
/// Bits of the flags that are the base (BPF_STRTOX_BASE_MASK).
const BASE: u64 = 0x1f;

/// A number at the start of a text: magnitude, sign, bytes that it took.
fn parse(text: &[u8], flags: u64) -> Result<(u64, bool, usize), Errno> {
    let mut base = (flags & BASE) as u32;
    if flags & !BASE != 0 || !matches!(base, 0 | 8 | 10 | 16) || text.is_empty() {
        return Err(Errno::INVAL);
    }
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0xa0);
    let blank = text.iter().take_while(|byte| white(byte)).count();
    let negative = text.get(blank) == Some(&b'-');
    let start = blank + usize::from(negative);
    let digits = &text[start.min(text.len())..];
    let digits = &digits[..digits.len().min(LONGEST)];
    if digits.is_empty() {
        return Err(Errno::INVAL);
    }
    let hex = digits.len() > 2
        && digits[0] == b'0'
        && digits[1].eq_ignore_ascii_case(&b'x')
        && digits[2].is_ascii_hexdigit();
    if base == 0 {
        base = match digits {
            _ if hex => 16,
            [b'0', ..] => 8,
            _ => 10,
        };
    }
    let prefix =
        if base == 16 && digits[0] == b'0' && digits.get(1).is_some_and(|x| x.eq_ignore_ascii_case(&b'x')) {
            2
        } else {
            0
        };
    let number = digits[prefix.min(digits.len())..]
        .iter()
        .map_while(|byte| char::from(*byte).to_digit(base))
        .collect::<Vec<u32>>();
    if number.is_empty() {
        return Err(Errno::INVAL);
    }
    let add = |value: u64, digit: &u32| value.checked_mul(base.into())?.checked_add(u64::from(*digit));
    let value = number.iter().try_fold(0, add).ok_or(Errno::RANGE)?;
    Ok((value, negative, start + prefix + number.len()))
}

fn answer(call: &mut Call<'_>, parsed: Result<(u64, usize), Errno>) -> Answer {
    match parsed {
        Ok((value, len)) => {
            call.put(4, &value.to_ne_bytes())?;
            Ok(len as u64)
        }
        Err(errno) => {
            call.put(4, &[0; 8])?;
            Ok(failed(errno))
        }
    }
}

pub(super) fn strtol(call: &mut Call<'_>) -> Answer {
    let text = call.sized("strtol", 1)?;
    let parsed = parse(&text, call.arg(3)).and_then(|(value, negative, len)| {
        let limit = if negative { 1 << 63 } else { (1 << 63) - 1 };
        if value > limit {
            return Err(Errno::RANGE);
        }
        Ok((if negative { value.wrapping_neg() } else { value }, len))
    });
    answer(call, parsed)
}

pub(super) fn strtoul(call: &mut Call<'_>) -> Answer {
    let text = call.sized("strtoul", 1)?;
    let parsed = parse(&text, call.arg(3))
        .and_then(|(value, negative, len)| if negative { Err(Errno::INVAL) } else { Ok((value, len)) });
    answer(call, parsed)
}

pub(super) fn strncmp(call: &mut Call<'_>) -> Answer {
    let first = call.sized("strncmp", 1)?;
    for (i, a) in first.iter().enumerate() {
        let b = call.state.memory.read(call.arg(3).wrapping_add(i as u64), 1)?[0];
        if *a != b {
            return Ok(if *a < b { -1i64 as u64 } else { 1 });
        }
        if b == 0 {
            break;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_kernel_reads_them() {
        let value = |text: &str, base| parse(text.as_bytes(), base);
        assert_eq!(value("42", 10), Ok((42, false, 2)));
        assert_eq!(value("  -17rest", 0), Ok((17, true, 5)));
        assert_eq!(value("0x1F", 0), Ok((31, false, 4)));
        assert_eq!(value("0x1F", 16), Ok((31, false, 4)));
        assert_eq!(value("017", 0), Ok((15, false, 3)));
        assert_eq!(value("09", 0), Ok((0, false, 1)));
        assert_eq!(value("0", 0), Ok((0, false, 1)));
        assert_eq!(value("99999999999999999999", 10), Err(Errno::RANGE));
        for (text, base) in [("", 10), ("x", 10), ("-", 10), ("   ", 10), ("1", 3), ("1", 1 << 10)] {
            assert_eq!(value(text, base), Err(Errno::INVAL), "{text:?}");
        }
    }
}
