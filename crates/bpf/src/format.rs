//! A printf format, parsed: what `lang` checks and `runtime` renders.

/// One piece of a format string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Text as it is (escapes already resolved, `%%` already `%`).
    Text(String),
    /// One conversion; takes the next argument.
    Conv(Conv),
}

/// One `%` conversion.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conv {
    /// `-`
    pub left: bool,
    /// `+`
    pub plus: bool,
    /// space
    pub space: bool,
    /// `#`
    pub alt: bool,
    /// `0`
    pub zero: bool,
    /// `'`
    pub group: bool,
    /// Minimum width.
    pub width: Option<u32>,
    /// Precision.
    pub precision: Option<u32>,
    /// Length modifier as written: "", "hh", "h", "l", "ll", "j", "z", "t".
    pub length: String,
    /// Conversion letter: d i u x X o c p s r (buf: `r`, hex only `rx`, hex only with blanks `rh`).
    pub kind: ConvKind,
}

/// Conversion letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConvKind {
    /// `%d`, `%i`
    #[default]
    Signed,
    /// `%u`
    Unsigned,
    /// `%x`
    HexLower,
    /// `%X`
    HexUpper,
    /// `%o`
    Octal,
    /// `%c`
    Char,
    /// `%p`
    Pointer,
    /// `%s`: any value as `print` shows it
    String,
    /// `%r`: bytes, unprintable ones escaped
    Buf,
    /// `%rx`: bytes, all escaped
    BufHex,
    /// `%rh`: bytes in hex, blanks between
    BufHexBlank,
    /// `%gr`: flags of a memory allocation by name
    GfpFlags,
}

/// A whole format.
pub type Format = Vec<Piece>;
