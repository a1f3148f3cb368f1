//! Holes in structs as C text: a gap between two members enters; bit fields without a name leave, so that a compiler
//! that reads the text lays the struct out as the kernel has it.

/// A gap, in bits from the start of the struct.
pub(super) struct Gap {
    /// Where the member before ends.
    pub(super) from: u64,
    /// Where the next starts, or the struct ends.
    pub(super) to: u64,
    /// Alignment of the next, bytes.
    pub(super) align: u32,
    /// Between two bit fields.
    pub(super) in_bits: bool,
}

/// Types of padding with their bits, the widest first.
const FILLERS: [(&str, u64); 4] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)];
/// Largest gap in bits that is written out, and most lines.
const MAX_GAP: u64 = 1 << 20;

/// Appends the padding, one line for each filler behind `tabs`; nothing where a compiler leaves the gap by itself.
pub(super) fn write(text: &mut String, tabs: &str, gap: &Gap) {
    let Gap { from, to, .. } = *gap;
    if from >= to || to - from > MAX_GAP {
        return;
    }
    let mut line = |name: &str, bits: u64| text.push_str(&format!("{tabs}{name}: {bits};\n"));
    // The widest filler whose next boundary lies in the gap; bytes if there is none.
    let boundary = |width: u64| from.next_multiple_of(width);
    let fits = FILLERS.iter().find(|(_, width)| boundary(*width) <= to);
    let (name, width) = *fits.unwrap_or(&FILLERS[3]);
    let next = boundary(width);
    let mut at = from;
    if next > from && next <= to {
        let by_itself = from.next_multiple_of(u64::from(gap.align.max(1)) * 8) == next;
        let swallowed = next != to && to - next <= next - from;
        match gap.in_bits {
            true => line(name, next - from),
            false if (next == to && !by_itself) || swallowed => line(name, 0),
            false => {}
        }
        at = next;
    }
    while to - at >= width {
        line(name, width);
        at += width;
    }
    if at < to {
        let rest = to - at;
        let least = FILLERS.iter().rev().find(|(_, width)| *width >= rest);
        line(least.map_or("long", |(name, _)| name), rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padding(from: u64, to: u64, align: u32, in_bits: bool) -> String {
        let mut text = String::new();
        write(&mut text, "", &Gap { from, to, align, in_bits });
        text.replace('\n', " ")
    }

    #[test]
    fn gaps() {
        assert_eq!(padding(8, 32, 4, false), "", "alignment alone");
        assert_eq!(padding(32, 64, 4, false), "long: 0; ", "aligned by hand");
        assert_eq!(padding(64, 192, 8, false), "long: 64; long: 64; ");
        assert_eq!(padding(3, 8, 1, true), "char: 5; ");
        assert_eq!(padding(0, 28, 1, false), "int: 28; ");
        assert_eq!(padding(64, 64, 8, false), "");
        assert_eq!(padding(64, 32, 8, false), "");
        assert_eq!(padding(0, u64::MAX, 8, false), "");
    }
}
