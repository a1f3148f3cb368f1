//! How a value lies in memory and what it means: what `runtime` needs to print map keys, map values and event fields.
//!
//! Layouts are in the byte order of the machine that runs the program. Offsets and sizes are bytes.

/// A value's meaning and layout.
#[derive(Clone, PartialEq, Debug)]
pub enum ValueType {
    /// Nothing, zero bytes.
    None,
    /// An integer of 1, 2, 4 or 8 bytes.
    Int {
        /// Bytes.
        size: u8,
        /// Whether it prints with a sign.
        signed: bool,
    },
    /// One byte, 0 or 1; prints `true` or `false`.
    Bool,
    /// A kernel or user address; prints as `0x…`.
    Pointer,
    /// An integer with names for its values; prints the name, or the number where there is none.
    Enum {
        /// Bytes.
        size: u8,
        /// Whether it has a sign.
        signed: bool,
        /// (value, name).
        names: Vec<(i64, String)>,
    },
    /// NUL-terminated bytes in a field of `size` bytes. In an event's tail: exactly the tail's bytes, without NUL.
    /// Content that fills all `size` bytes, leaving no room for the NUL, was cut and prints the truncation trailer.
    Str {
        /// Bytes of the field.
        size: u32,
    },
    /// `buf()`: u32 length, then up to `size` bytes. In an event's tail: exactly the tail's bytes.
    Buf {
        /// Most bytes of content.
        size: u32,
    },
    /// `count` elements one after another.
    Array {
        /// The element.
        elem: Box<ValueType>,
        /// How many.
        count: u32,
    },
    /// A tuple: fields without names.
    Tuple(Vec<Field>),
    /// A record or C struct or union: fields with names.
    Record {
        /// Bytes in all.
        size: u32,
        /// The fields, in order.
        fields: Vec<Field>,
    },
    /// A kernel stack: i64 id in a stack trace map (negative: errno), or in an event's tail the addresses (u64 each).
    KStack(StackFormat),
    /// A user stack: i64 id as above (or, with the bit [`crate::unwind::WALKED`], in a map of walked stacks), u32 pid (of
    /// the initial PID namespace), u32 zero; in an event's tail the u32 pid, u32 zero, and then the addresses.
    UStack(StackFormat),
    /// A kernel address printed as symbol: u64.
    KSym,
    /// A user address printed as symbol: u64 address, u32 pid, u32 zero.
    USym,
    /// An IP address: u32 family (2 or 10), then 16 bytes, network order (IPv4 in the first four).
    Inet,
    /// Six bytes of a MAC address.
    Mac,
    /// `strftime`: u64 nanoseconds of `clock`; prints with the format.
    Timestamp {
        /// strftime(3) format (`%f` microseconds).
        format: String,
        /// Which clock the nanoseconds count.
        clock: Clock,
    },
    /// A user id printed as name: u32.
    Username,
    /// A cgroup id printed as path: u64.
    CgroupPath {
        /// Only hierarchies whose names match, `*` and `?` stand for any text and any character; empty: all.
        filter: String,
    },
    /// An errno printed as text: i32 (four bytes).
    StrError,
    /// A signal number printed as its name: u32.
    Signal,
    /// An aggregation; per CPU in the map, merged when read.
    Agg(Agg),
}

/// Clocks of nanosecond values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// bpf_ktime_get_ns: CLOCK_MONOTONIC.
    Monotonic,
    /// bpf_ktime_get_boot_ns: CLOCK_BOOTTIME.
    Boot,
    /// CLOCK_TAI.
    Tai,
    /// CLOCK_REALTIME.
    Realtime,
}

/// One member of a tuple or record.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// The member's name; empty in tuples.
    pub name: String,
    /// Bytes from the start of the whole.
    pub offset: u32,
    /// What is there.
    pub ty: ValueType,
    /// A bit field within an integer of `ty`: (first bit counted from the least significant, width).
    pub bits: Option<(u8, u8)>,
}

/// How a stack prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackFormat {
    /// Most frames.
    pub limit: u32,
    /// Style.
    pub mode: StackMode,
}

/// Stack printing styles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackMode {
    /// `symbol+offset`, one a line.
    Bpftrace,
    /// As `perf script`: address, symbol, (module).
    Perf,
    /// Addresses only.
    Raw,
    /// Build id and offset (user stacks).
    BuildId,
}

/// Aggregations. Map values are per CPU unless said otherwise.
#[derive(Clone, PartialEq, Debug)]
pub enum Agg {
    /// u64; the sum over CPUs.
    Count,
    /// u64; the sum over CPUs.
    Sum {
        /// Prints with a sign.
        signed: bool,
    },
    /// u64 value, u64 whether it is set; the least over CPUs.
    Min {
        /// Compares and prints with a sign.
        signed: bool,
    },
    /// As `Min`; the greatest.
    Max {
        /// Compares and prints with a sign.
        signed: bool,
    },
    /// u64 total, u64 count; prints total / count.
    Avg {
        /// Prints with a sign.
        signed: bool,
    },
    /// As `Avg`; prints count, average and total.
    Stats {
        /// Prints with a sign.
        signed: bool,
    },
    /// Log2 histogram with 2^bits buckets per power of two. Bucket number as `lang` computes it, see [`hist_bounds`].
    Hist {
        /// 0 to 5.
        bits: u8,
    },
    /// Linear histogram: bucket 0 below min, 1.. steps, the last at or above max.
    LHist {
        /// Lowest value.
        min: i64,
        /// End of the range.
        max: i64,
        /// Width of a bucket.
        step: i64,
    },
    /// Time series: one value for each of the last `count` intervals of `interval` nanoseconds. Stored like a
    /// histogram, with bucket number `epoch % count` where epoch is the TAI clock (bpf_ktime_get_boot_ns plus a
    /// constant) divided by `interval`. An entry is three u64: the value, a second word as `fold` says, and the epoch
    /// that both belong to; 0 where nothing was ever stored. Values of one epoch are merged over CPUs, older ones than
    /// the newest of a bucket are gone.
    TSeries {
        /// Compares and prints with a sign.
        signed: bool,
        /// Nanoseconds, not 0.
        interval: u64,
        /// Buckets, not 0.
        count: u32,
        /// How values of one interval become one.
        fold: SeriesFold,
    },
}

/// How values of one interval of a time series become one, and what the second word of an entry holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeriesFold {
    /// The last one; second word: when, in nanoseconds of the TAI clock.
    Last,
    /// Their sum; second word: unused.
    Sum,
    /// The least; second word: 1.
    Min,
    /// The greatest; second word: 1.
    Max,
    /// Total (the value) divided by how many there are (the second word).
    Avg,
}

impl ValueType {
    /// Bytes that the value takes in a map key, a map value (one CPU), a tuple or an event's head.
    pub fn size(&self) -> u32 {
        match self {
            ValueType::None => 0,
            ValueType::Int { size, .. } | ValueType::Enum { size, .. } => u32::from(*size),
            ValueType::Bool => 1,
            ValueType::Pointer
            | ValueType::KSym
            | ValueType::Timestamp { .. }
            | ValueType::CgroupPath { .. }
            | ValueType::KStack(_) => 8,
            ValueType::Str { size } => *size,
            ValueType::Buf { size } => size.saturating_add(4),
            ValueType::Array { elem, count } => elem.size().saturating_mul(*count),
            ValueType::Tuple(fields) => tuple_size(fields),
            ValueType::Record { size, .. } => *size,
            ValueType::UStack(_) | ValueType::USym => 16,
            ValueType::Inet => 20,
            ValueType::Mac => 6,
            ValueType::Username | ValueType::StrError | ValueType::Signal => 4,
            ValueType::Agg(Agg::Count | Agg::Sum { .. } | Agg::Hist { .. } | Agg::LHist { .. }) => 8,
            ValueType::Agg(Agg::TSeries { .. }) => 24,
            ValueType::Agg(_) => 16,
        }
    }

    /// Alignment in bytes.
    pub fn align(&self) -> u32 {
        match self {
            ValueType::None | ValueType::Bool | ValueType::Str { .. } | ValueType::Mac => 1,
            ValueType::Int { size, .. } | ValueType::Enum { size, .. } => u32::from(*size),
            ValueType::Buf { .. }
            | ValueType::Inet
            | ValueType::Username
            | ValueType::StrError
            | ValueType::Signal => 4,
            ValueType::Array { elem, .. } => elem.align(),
            ValueType::Tuple(fields) => fields.iter().map(|f| f.ty.align()).max().unwrap_or(1),
            _ => 8,
        }
    }

    /// A tuple of these types, each at its natural alignment.
    pub fn tuple(types: impl IntoIterator<Item = ValueType>) -> ValueType {
        let mut offset = 0u32;
        let fields = types
            .into_iter()
            .map(|ty| {
                offset = offset.checked_next_multiple_of(ty.align().max(1)).unwrap_or(u32::MAX);
                let field = Field { name: String::new(), offset, ty, bits: None };
                offset = offset.saturating_add(field.ty.size());
                field
            })
            .collect();
        ValueType::Tuple(fields)
    }
}

fn tuple_size(fields: &[Field]) -> u32 {
    let end = fields.iter().map(|f| f.offset.saturating_add(f.ty.size())).max().unwrap_or(0);
    let align = fields.iter().map(|f| f.ty.align()).max().unwrap_or(1);
    end.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX)
}

/// Number of buckets of a log2 histogram with `bits`: negative, zero to 2^bits - 1 one each, then 2^bits per power
/// of two up to 2^63.
pub fn hist_buckets(bits: u8) -> u32 {
    1 + (1 << bits) + ((64 - u32::from(bits)) << bits)
}

/// Range of bucket `index` of a log2 histogram: values in `low..=high`. Bucket 0 holds negative values (`low` =
/// i64::MIN, `high` = -1). Bucket 1 + v holds v for v < 2^bits; then, for a value with its highest set bit at
/// position p >= bits, the bucket is 1 + 2^bits + (p - bits) * 2^bits + (the `bits` bits below the highest one).
pub fn hist_bounds(index: u32, bits: u8) -> (i64, i64) {
    let per = 1u32 << bits;
    match index {
        0 => (i64::MIN, -1),
        i if i <= per => (i64::from(i - 1), i64::from(i - 1)),
        i => {
            let n = i - 1 - per;
            let (p, sub) = (n / per + u32::from(bits), u64::from(n % per));
            let width = 1u64 << (p - u32::from(bits)).min(63);
            let low = (1u64 << p.min(63)).wrapping_add(sub.wrapping_mul(width));
            (low as i64, low.wrapping_add(width - 1) as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_is_aligned() {
        let t = ValueType::tuple([ValueType::Bool, ValueType::Int { size: 8, signed: true }, ValueType::Mac]);
        assert_eq!((t.size(), t.align()), (24, 8));
    }

    #[test]
    fn histogram_buckets_cover_without_gap() {
        for bits in 0..=5u8 {
            assert_eq!(hist_bounds(0, bits), (i64::MIN, -1));
            let mut next = 0i64;
            for i in 1..hist_buckets(bits) {
                let (low, high) = hist_bounds(i, bits);
                if low < 0 {
                    break;
                }
                assert_eq!(low, next, "bits {bits} bucket {i}");
                next = high.wrapping_add(1);
            }
        }
    }
}
