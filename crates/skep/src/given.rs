//! What a user gives for the key or value of a map: a tree of names and numbers enters, the bytes that the map holds leave, by its types
//! where it has them. Always: as many bytes as the map wants, or an error that says what it wants.

use skep_bpf::btf::value::{Value, encode};
use skep_bpf::btf::{Btf, TypeId};

/// A key or a value of a map.
pub(crate) struct Place<'t> {
    /// `key` or `value`, for messages.
    pub(crate) what: &'static str,
    /// The map's types.
    pub(crate) types: Option<&'t Btf>,
    /// Its type among them; 0: none.
    pub(crate) id: u32,
    /// Its bytes.
    pub(crate) size: u32,
}

impl Place<'_> {
    /// The bytes of what was given.
    pub(crate) fn bytes(&self, given: &Value) -> Result<Vec<u8>, String> {
        let (what, size) = (self.what, self.size as usize);
        match (given, self.types) {
            (Value::Bytes(bytes), _) if bytes.len() == size => Ok(bytes.clone()),
            (Value::Bytes(bytes), _) => Err(format!("a {what} of {} bytes, expected {size}", bytes.len())),
            (given, Some(types)) if self.id != 0 => {
                encode(types, TypeId(self.id), given).map_err(|e| e.named(what))
            }
            (Value::Unsigned(n), _) if fits(*n, size) => number(*n as u64, size),
            (Value::Signed(n), _) if i64::try_from(*n).is_ok_and(|n| fits_signed(n, size)) => {
                number(*n as i64 as u64, size)
            }
            (Value::Unsigned(_) | Value::Signed(_), _) if size <= 8 => {
                Err(format!("the {what} {given} does not fit into {size} bytes"))
            }
            _ => Err(format!("the map has no types: give the {size} bytes of the {what} as hex:01020304…")),
        }
    }
}

fn fits(n: u128, size: usize) -> bool {
    size <= 8 && n >> (size * 8) == 0
}

fn fits_signed(n: i64, size: usize) -> bool {
    let unused = 64 - 8 * size.min(8) as u32;
    size <= 8 && unused < 64 && n << unused >> unused == n
}

/// The low `size` bytes of a number, at most 8.
fn number(n: u64, size: usize) -> Result<Vec<u8>, String> {
    let from = if cfg!(target_endian = "little") { 0 } else { 8 - size };
    Ok(n.to_ne_bytes().get(from..from + size).unwrap_or(&[]).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_bytes_of_their_place() {
        let bytes = |size, given: Value| Place { what: "key", types: None, id: 0, size }.bytes(&given);
        assert_eq!(bytes(4, Value::Unsigned(7)), Ok(7u32.to_ne_bytes().to_vec()));
        assert_eq!(bytes(8, Value::Unsigned(u64::MAX.into())), Ok(vec![255; 8]));
        assert_eq!(bytes(1, Value::Unsigned(255)), Ok(vec![255]));
        assert_eq!(bytes(2, Value::Signed(-2)), Ok((-2i16).to_ne_bytes().to_vec()));
        assert_eq!(bytes(3, Value::Bytes(vec![1, 2, 3])), Ok(vec![1, 2, 3]));
        for (size, given) in
            [(1, Value::Unsigned(256)), (1, Value::Signed(-129)), (8, Value::Unsigned(1 << 64))]
        {
            assert!(bytes(size, given).unwrap_err().contains("does not fit"));
        }
        assert_eq!(bytes(2, Value::Bytes(vec![1])), Err("a key of 1 bytes, expected 2".to_owned()));
        assert!(bytes(16, Value::Unsigned(1)).unwrap_err().contains("hex:"));
    }
}
