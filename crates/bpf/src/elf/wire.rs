//! Values as bytes and back: the primitives of the `.skep` section, and two macros that turn a list of fields or variants
//! into both directions.
//!
//! Integers are LEB128 (signed ones zigzag first), texts and lists have their length in front. Whatever is read is
//! bounded by its own length: a count that the rest cannot hold is refused before anything is reserved for it, and
//! values nest at most [`MAX_DEPTH`] deep.

/// Deepest nesting of values.
const MAX_DEPTH: u32 = 64;

/// Bytes that are no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct WireError {
    /// Offset in bytes from the start of the section.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// What is being read.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Input<'a> {
    /// Reads `bytes` from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Input<'a> {
        Input { bytes, at, depth: 0 }
    }

    /// An error at this place.
    pub(super) fn error(&self, what: impl Into<String>) -> WireError {
        WireError { at: self.at, what: what.into() }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("the end, too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..n));
        let taken = taken.ok_or_else(|| self.error(format!("{n} bytes wanted, {} left", self.left())))?;
        self.at += n;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("a number of more than 64 bits"))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<usize, WireError> {
        let n = self.number()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.left() => Ok(n),
            _ => Err(self.error(format!("{n} entries in {} bytes", self.left()))),
        }
    }

    /// One level deeper; every value that can hold values of its own kind goes through here.
    pub(super) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("values nest too deeply"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }
}

/// What has been written.
pub(super) type Output = Vec<u8>;

fn put_number(out: &mut Output, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A value that can be written and read.
pub(super) trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Output);
    /// Reads a value.
    fn get(input: &mut Input<'_>) -> Result<Self, WireError>;
}

macro_rules! unsigned {
    ($($ty:ty)*) => {$(
        impl Wire for $ty {
            fn put(&self, out: &mut Output) {
                put_number(out, *self as u64);
            }
            fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
                let value = input.number()?;
                <$ty>::try_from(value).map_err(|_| input.error(format!("{value} is too large")))
            }
        }
    )*};
}

unsigned!(u16 u32 u64 usize);

impl Wire for u8 {
    fn put(&self, out: &mut Output) {
        out.push(*self);
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        input.byte()
    }
}

impl Wire for i64 {
    fn put(&self, out: &mut Output) {
        put_number(out, ((self << 1) ^ (self >> 63)) as u64);
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        let raw = input.number()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
}

impl Wire for i32 {
    fn put(&self, out: &mut Output) {
        i64::from(*self).put(out);
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        let value = i64::get(input)?;
        i32::try_from(value).map_err(|_| input.error(format!("{value} is too large")))
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Output) {
        out.push((*self).into());
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(input.error(format!("{other} is neither yes nor no"))),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut Output) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        let n = input.count()?;
        let text = std::str::from_utf8(input.take(n)?).map(str::to_owned);
        text.map_err(|e| input.error(e.to_string()))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Output) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        Ok(if bool::get(input)? { Some(T::get(input)?) } else { None })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Output) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        let n = input.count()?;
        (0..n).map(|_| T::get(input)).collect()
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Output) {
        (**self).put(out);
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        T::get(input).map(Box::new)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Output) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
        Ok((A::get(input)?, B::get(input)?))
    }
}

/// Structs: `Name { field, field }`, fields in the order in which they are written.
macro_rules! wire_structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(impl Wire for $name {
            fn put(&self, out: &mut Output) {
                let $name { $($field),* } = self;
                $($field.put(out);)*
            }
            fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
                Ok($name { $($field: Wire::get(input)?),* })
            }
        })*
        /// The structs as text, for the schema's number.
        pub(super) const STRUCTS: &[&str] = &[$(stringify!($name $($field)*)),*];
    };
}

/// Enums: `Name { TAG Variant; TAG Variant(a); TAG Variant { field } }`. A tag is never given to something else.
macro_rules! wire_enums {
    ($($name:ident {
        $($tag:literal $variant:ident $(( $($item:ident),* ))? $({ $($field:ident),* })? ;)*
    })*) => {
        $(impl Wire for $name {
            fn put(&self, out: &mut Output) {
                match self {
                    $($name::$variant $(( $($item),* ))? $({ $($field),* })? => {
                        out.push($tag);
                        $($($item.put(out);)*)?
                        $($($field.put(out);)*)?
                    })*
                }
            }
            fn get(input: &mut Input<'_>) -> Result<Self, WireError> {
                input.nested(|input| {
                    Ok(match u8::get(input)? {
                        $($tag => $name::$variant
                            $(( $({ let $item = Wire::get(input)?; $item }),* ))?
                            $({ $($field: Wire::get(input)?),* })?,)*
                        tag => return Err(input.error(format!(concat!("unknown ", stringify!($name), " {}"), tag))),
                    })
                })
            }
        })*
        /// The enums as text, for the schema's number.
        pub(super) const ENUMS: &[&str] = &[
            $(stringify!($name $($tag $variant $($($item)*)? $($($field)*)?)*)),*
        ];
    };
}

pub(super) use {wire_enums, wire_structs};

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        let mut out = Output::new();
        value.put(&mut out);
        let mut input = Input::new(&out, 0);
        assert_eq!(&T::get(&mut input).unwrap(), value);
        assert_eq!(input.left(), 0);
    }

    #[test]
    fn primitives() {
        [0, 1, 127, 128, u64::MAX].iter().for_each(round);
        [0, -1, 1, i64::MIN, i64::MAX].iter().for_each(round);
        [i32::MIN, -7, i32::MAX].iter().for_each(round);
        round(&vec![(String::from("bee"), Some(3u32)), (String::new(), None)]);
    }

    #[test]
    fn refusals() {
        let get = |bytes: &[u8]| u64::get(&mut Input::new(bytes, 0));
        assert!(get(&[0x80; 12]).is_err());
        assert!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok(u64::MAX));
        assert!(u16::get(&mut Input::new(&[0x80, 0x80, 0x04], 0)).is_err());
        assert!(Vec::<u8>::get(&mut Input::new(&[200, 1, 0], 0)).is_err());
        assert!(String::get(&mut Input::new(&[2, 0xff, 0xff], 0)).is_err());
        assert!(bool::get(&mut Input::new(&[2], 0)).is_err());
    }
}
