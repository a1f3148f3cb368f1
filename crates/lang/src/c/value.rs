//! Values of C's constant expressions: integers of 32 or 64 bits with a sign, and what operators make of them.

/// An integer constant; `bits` is kept extended by its own sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Value {
    bits: u64,
    /// 64 bits wide rather than 32.
    wide: bool,
    unsigned: bool,
}

impl Value {
    /// A value of 64 or 32 bits.
    pub(super) fn new(bits: u64, wide: bool, unsigned: bool) -> Value {
        let bits = match (wide, unsigned) {
            (true, _) => bits,
            (false, true) => u64::from(bits as u32),
            (false, false) => bits as u32 as i32 as u64,
        };
        Value { bits, wide, unsigned }
    }

    /// An `int`.
    pub(super) fn int(value: i32) -> Value {
        Value::new(value as u64, false, false)
    }

    /// A `long`, or an `int` where that holds it.
    pub(super) fn small(value: i64) -> Value {
        Value::new(value as u64, i32::try_from(value).is_err(), false)
    }

    /// A `size_t`.
    pub(super) fn size(value: u64) -> Value {
        Value::new(value, true, true)
    }

    /// A `bool` as an `int`.
    pub(super) fn truth(value: bool) -> Value {
        Value::int(i32::from(value))
    }

    /// As the preprocessor counts: 64 bits.
    pub(super) fn widened(self) -> Value {
        Value { wide: true, ..self }
    }

    /// As a cast to an integer of `bits` bits.
    pub(super) fn cast(self, bits: u32, unsigned: bool) -> Value {
        let shift = 64 - bits.clamp(1, 64);
        let cut = self.bits << shift;
        let value = if unsigned { cut >> shift } else { (cut as i64 >> shift) as u64 };
        Value::new(value, bits > 32, unsigned && bits >= 32)
    }

    /// As a signed number of 64 bits.
    pub(super) fn signed(self) -> i64 {
        self.bits as i64
    }

    /// Whether it is not zero.
    pub(super) fn is_true(self) -> bool {
        self.bits != 0
    }

    /// As a size, if it is none below zero.
    pub(super) fn as_size(self) -> Option<u64> {
        (self.unsigned || self.signed() >= 0).then_some(self.bits)
    }

    /// `-`, `+`, `~` or `!` before it.
    pub(super) fn unary(self, op: &str) -> Value {
        match op {
            "-" => Value::new(self.bits.wrapping_neg(), self.wide, self.unsigned),
            "~" => Value::new(!self.bits, self.wide, self.unsigned),
            "!" => Value::truth(!self.is_true()),
            _ => self,
        }
    }

    /// `self op other`; an error for a division by zero.
    pub(super) fn binary(self, op: &str, other: Value) -> Result<Value, String> {
        if matches!(op, "<<" | ">>") {
            return Ok(self.shifted(op == "<<", other));
        }
        let wide = self.wide || other.wide;
        // The narrower side's sign does not count.
        let counts = |v: Value| v.unsigned && v.wide == wide;
        let unsigned = counts(self) || counts(other);
        let (a, b) =
            (Value::new(self.bits, wide, unsigned).bits, Value::new(other.bits, wide, unsigned).bits);
        let make = |bits| Ok(Value::new(bits, wide, unsigned));
        let order = if unsigned { a.cmp(&b) } else { (a as i64).cmp(&(b as i64)) };
        match op {
            "+" => make(a.wrapping_add(b)),
            "-" => make(a.wrapping_sub(b)),
            "*" => make(a.wrapping_mul(b)),
            "&" => make(a & b),
            "|" => make(a | b),
            "^" => make(a ^ b),
            "/" | "%" if b == 0 => Err("division by zero".to_owned()),
            "/" if unsigned => make(a / b),
            "%" if unsigned => make(a % b),
            "/" => make((a as i64).wrapping_div(b as i64) as u64),
            "%" => make((a as i64).wrapping_rem(b as i64) as u64),
            "==" => Ok(Value::truth(a == b)),
            "!=" => Ok(Value::truth(a != b)),
            "<" => Ok(Value::truth(order.is_lt())),
            "<=" => Ok(Value::truth(order.is_le())),
            ">" => Ok(Value::truth(order.is_gt())),
            ">=" => Ok(Value::truth(order.is_ge())),
            "&&" => Ok(Value::truth(self.is_true() && other.is_true())),
            "||" => Ok(Value::truth(self.is_true() || other.is_true())),
            _ => Err(format!("`{op}` is no operator of constants")),
        }
    }

    fn shifted(self, left: bool, by: Value) -> Value {
        let by = u32::try_from(by.bits).unwrap_or(u32::MAX);
        let bits = match (left, self.unsigned) {
            (true, _) => self.bits.checked_shl(by).unwrap_or(0),
            (false, true) => self.bits.checked_shr(by).unwrap_or(0),
            (false, false) => (self.signed() >> by.min(63)) as u64,
        };
        Value::new(bits, self.wide, self.unsigned)
    }

    /// The value of a preprocessing number.
    pub(super) fn number(text: &str) -> Result<Value, String> {
        let wrong = || format!("`{text}` is not an integer");
        let lower = text.to_ascii_lowercase();
        let digits_end = |radix: u32| lower.find(|c: char| !c.is_digit(radix)).unwrap_or(lower.len());
        let (radix, start, end) = if let Some(hex) = lower.strip_prefix("0x") {
            (16, 2, 2 + hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len()))
        } else if let Some(bin) = lower.strip_prefix("0b") {
            (2, 2, 2 + bin.find(|c: char| !matches!(c, '0' | '1')).unwrap_or(bin.len()))
        } else if lower.starts_with('0') {
            (8, 0, digits_end(8))
        } else {
            (10, 0, digits_end(10))
        };
        let bits = u64::from_str_radix(&lower[start..end], radix).map_err(|_| wrong())?;
        let (long, unsigned) = match &lower[end..] {
            "" => (false, false),
            "u" => (false, true),
            "l" | "ll" => (true, false),
            "ul" | "ull" | "lu" | "llu" => (true, true),
            _ => return Err(wrong()),
        };
        // The first type of C's list that holds it; only hexadecimals and octals become unsigned by themselves.
        let free = radix != 10;
        let wide = long
            || if unsigned || free { u32::try_from(bits).is_err() } else { i32::try_from(bits).is_err() };
        let fits = if wide { i64::try_from(bits).is_ok() } else { i32::try_from(bits).is_ok() };
        Ok(Value::new(bits, wide, unsigned || !fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_types_of_c() {
        let of = |text| Value::number(text).unwrap();
        assert_eq!(of("0x80000000"), Value::new(0x8000_0000, false, true));
        assert_eq!(of("2147483648"), Value::new(0x8000_0000, true, false));
        assert_eq!(of("017u"), Value::new(15, false, true));
        assert_eq!(of("1UL"), Value::new(1, true, true));
        assert_eq!(of("0"), Value::int(0));
        assert!(Value::number("1.5").is_err());
        assert!(Value::number("09").is_err());
        assert!(Value::number("0x").is_err());
    }

    #[test]
    fn operators_follow_the_conversions_of_c() {
        let int = Value::int;
        let of = |a: Value, op, b| a.binary(op, b).unwrap();
        assert_eq!(of(int(1), "<<", int(31)).signed(), i64::from(i32::MIN));
        assert_eq!(of(int(-1), "<", Value::number("1u").unwrap()), Value::truth(false));
        assert_eq!(of(int(-1), "<", Value::size(1)), Value::truth(false));
        assert_eq!(of(int(-7), "/", int(2)), int(-3));
        assert_eq!(of(int(-8), ">>", int(1)), int(-4));
        assert_eq!(int(-1).cast(8, true).signed(), 255);
        assert_eq!(int(0).unary("~").signed(), -1);
        assert!(int(1).binary("%", int(0)).is_err());
        assert_eq!(of(int(i32::MIN), "/", int(-1)).signed(), i64::from(i32::MIN));
    }
}
