//! Layout of structs and unions as the System V ABIs of x86-64 and aarch64 have it: members with their sizes enter, bit
//! offsets leave.

use super::table::Form;

/// Largest alignment that may be asked for.
const MAX_ALIGN: u64 = 1 << 16;

/// What a member needs.
pub(super) struct Piece {
    /// Bytes of its type.
    pub(super) size: u64,
    /// Alignment of its type in bytes.
    pub(super) align: u64,
    /// Width of a bit field.
    pub(super) bits: Option<u64>,
    /// Alignment that an attribute asks for.
    pub(super) asked: Option<u64>,
    /// Not aligned.
    pub(super) packed: bool,
}

/// A struct or union in the making.
pub(super) struct Layout {
    form: Form,
    /// Bits so far.
    end: u64,
    align: u64,
}

fn up(value: u64, unit: u64) -> Result<u64, String> {
    value.checked_next_multiple_of(unit.max(1)).ok_or_else(|| "this struct is too large".to_owned())
}

/// An alignment that can be.
pub(super) fn alignment(value: u64) -> Result<u64, String> {
    if value.is_power_of_two() && value <= MAX_ALIGN {
        Ok(value)
    } else {
        Err(format!("an alignment is a power of two up to {MAX_ALIGN}, not {value}"))
    }
}

impl Layout {
    pub(super) fn new(form: Form) -> Layout {
        Layout { form, end: 0, align: 1 }
    }

    /// Where the next member lies, in bits.
    pub(super) fn place(&mut self, piece: &Piece, nameless: bool) -> Result<u64, String> {
        let packed = self.form.packed || piece.packed;
        let mut align = if packed { 1 } else { piece.align };
        align = align.min(self.form.pack.unwrap_or(u64::MAX)).max(piece.asked.unwrap_or(1));
        let start = if self.form.union { 0 } else { self.end };
        let (at, bits) = match piece.bits {
            Some(bits) if bits > piece.size * 8 => {
                return Err(format!("a bit field of {bits} bits does not fit its type"));
            }
            Some(0) => (up(start, piece.align.max(align) * 8)?, 0),
            Some(bits) => {
                let unit = piece.size * 8;
                let crosses = start / unit != (start + bits - 1) / unit;
                let unpacked = !packed && self.form.pack.is_none_or(|p| p >= piece.align);
                let at = match piece.asked {
                    Some(asked) => up(start, asked * 8)?,
                    None if crosses && unpacked => up(start, piece.align * 8)?,
                    None => start,
                };
                (at, bits)
            }
            None => (up(start, align * 8)?, piece.size * 8),
        };
        // A bit field without a name does not align the whole.
        if piece.bits.is_none() || !nameless {
            self.align = self.align.max(align);
        }
        let end = at.checked_add(bits).ok_or("this struct is too large")?;
        self.end = self.end.max(end);
        Ok(at)
    }

    /// Bytes and alignment of the whole.
    pub(super) fn finish(self) -> Result<(u64, u64), String> {
        let align = self.align.max(self.form.align.unwrap_or(1));
        Ok((up(self.end.div_ceil(8), align)?, align))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(form: Form, pieces: &[(u64, Option<u64>)]) -> (Vec<u64>, (u64, u64)) {
        let mut layout = Layout::new(form);
        let places = pieces
            .iter()
            .map(|&(size, bits)| {
                let piece = Piece { size, align: size, bits, asked: None, packed: false };
                layout.place(&piece, false).unwrap()
            })
            .collect();
        (places, layout.finish().unwrap())
    }

    #[test]
    fn members_are_aligned() {
        assert_eq!(laid(Form::default(), &[(1, None), (4, None), (8, None)]), (vec![0, 32, 64], (16, 8)));
        let packed = Form { packed: true, ..Form::default() };
        assert_eq!(laid(packed, &[(1, None), (4, None), (8, None)]), (vec![0, 8, 40], (13, 1)));
        let union = Form { union: true, ..Form::default() };
        assert_eq!(laid(union, &[(1, None), (8, None), (4, None)]), (vec![0, 0, 0], (8, 8)));
        let pack2 = Form { pack: Some(2), ..Form::default() };
        assert_eq!(laid(pack2, &[(1, None), (8, None)]), (vec![0, 16], (10, 2)));
    }

    #[test]
    fn bit_fields_do_not_cross_their_unit() {
        let fields = [(4, Some(30)), (4, Some(3)), (1, Some(5)), (4, Some(0)), (1, None)];
        assert_eq!(laid(Form::default(), &fields), (vec![0, 32, 35, 64, 64], (12, 4)));
        assert_eq!(laid(Form::default(), &[(1, None), (4, Some(8))]), (vec![0, 8], (4, 4)));
        let packed = Form { packed: true, ..Form::default() };
        assert_eq!(laid(packed, &[(4, Some(30)), (4, Some(3))]), (vec![0, 30], (5, 1)));
    }

    #[test]
    fn sizes_that_cannot_be() {
        assert!(alignment(3).is_err() && alignment(0).is_err() && alignment(1 << 20).is_err());
        let mut layout = Layout::new(Form::default());
        let piece = Piece { size: 1, align: 1, bits: Some(9), asked: None, packed: false };
        assert!(layout.place(&piece, false).is_err());
    }
}
