//! Events: the records that programs send through the ring buffer. Declared once here per [`crate::object::Object`];
//! the compiler emits from a layout and `runtime` decodes by it.
//!
//! A record is: u32 event number (index into `Object::events`), u32 zero, then the fields of the head, each at its
//! offset from the start of the record; a *tail* field's head entry is u32 offset from the start of the record and
//! u32 length, both in bytes, of content behind the head. Length 0xffff_ffff in a tail means that the read failed
//! (the offset then holds the positive errno). All records come through one ring, in order.

use crate::format::Format;
use crate::schema::{Field, ValueType};

/// Bytes before the first field.
pub const EVENT_HEADER: u32 = 8;

/// A tail length that says "could not be read".
pub const TAIL_FAILED: u32 = u32::MAX;

/// Layout of one kind of record.
#[derive(Clone, PartialEq, Debug)]
pub struct EventLayout {
    /// What the reader does with it.
    pub action: Action,
    /// Arguments in the order of the source.
    pub args: Vec<EventArg>,
    /// Bytes of the head, header included.
    pub head: u32,
    /// The file of the call as messages name it; `None`: the script itself.
    pub file: Option<String>,
    /// Line of the call in that file (1-based), for messages.
    pub line: u32,
    /// First and last column of the call (1-based), for messages, where known.
    pub columns: Option<(u32, u32)>,
    /// Where the macros that the call stands in were used, from the inside out.
    pub uses: Vec<Spot>,
}

/// A place in the source, for messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The file as messages name it; `None`: the script itself.
    pub file: Option<String>,
    /// Line in that file (1-based).
    pub line: u32,
    /// First and last column (1-based), where known.
    pub columns: Option<(u32, u32)>,
}

/// One argument of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct EventArg {
    /// Offset in the head, of the value or of the tail's (offset, length) pair.
    pub offset: u32,
    /// The type. A tail may hold `Str`, `Buf`, `KStack`, `UStack`.
    pub ty: ValueType,
    /// Whether the value is a tail.
    pub tail: bool,
}

impl EventArg {
    /// Bytes that the argument takes in the head.
    pub fn head_size(&self) -> u32 {
        if self.tail { 8 } else { self.ty.size() }
    }
}

/// What the reader does with a record. `map` is an index into `Object::maps`.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// `printf`, `errorf`, `warnf`: render to the given stream.
    Printf {
        /// The format.
        format: Format,
        /// Where to.
        stream: Stream,
    },
    /// `print(value)`: one argument; prints it and a newline.
    Print,
    /// `print(@map[key])` or `print((a, b))`: as `Print`, but JSON calls it by the map's name.
    PrintMapEntry {
        /// The map.
        map: usize,
        /// How the first argument (the key) prints; the second is the value.
        key: bool,
    },
    /// `print(@map, top, div)`: u64 arguments top and div, zero when not given.
    PrintMap {
        /// The map.
        map: usize,
    },
    /// `clear(@map)`.
    Clear {
        /// The map.
        map: usize,
    },
    /// `zero(@map)`.
    Zero {
        /// The map.
        map: usize,
    },
    /// `time(format)`: prints the time when the record is read; strftime(3).
    Time {
        /// The format.
        format: String,
    },
    /// `join(argv, delim)`: each argument is one string.
    Join {
        /// Between the strings.
        delimiter: String,
    },
    /// `system(format, …)`: runs the rendered command (only with --unsafe).
    System {
        /// The format.
        format: Format,
    },
    /// `cat(format, …)`: prints the file of that name.
    Cat {
        /// The format.
        format: Format,
    },
    /// `exit(code)`: u64 code as the one argument. Ends the session after this record.
    Exit,
    /// A run-time error of the program, such as a division by zero.
    RuntimeError {
        /// What failed.
        message: String,
    },
    /// `skboutput(path, skb, length, offset)`: the record comes through the buffer of packets
    /// ([`crate::object::SessionSpec::packets`]); two u64 arguments, the time on the boot clock and how many bytes of packet
    /// follow the head (what is behind those is padding). They are saved in a capture file.
    SavePacket {
        /// The file.
        path: String,
        /// Bytes at the packet's beginning that are left out.
        offset: u64,
    },
    /// `unwatch(address)`: takes the watchpoints on that address off; u64 address as the one argument.
    Unwatch,
    /// A kernel helper failed: one argument, what it returned (i64, a negative errno; 0 for a lookup that found nothing).
    HelperError {
        /// The helper's name, without `bpf_`.
        helper: String,
    },
}

/// Output streams of printf-like actions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The program's output.
    Out,
    /// `warnf`: standard error, with "WARNING: " in front.
    Warning,
    /// `errorf`: standard error, with "ERROR: " in front.
    Error,
}

/// Lays out an event's arguments: each at its natural alignment behind the header, in order. Strings, buffers and
/// stacks become tails.
pub fn lay_out(action: Action, types: Vec<ValueType>, line: u32) -> EventLayout {
    let is_tail = |ty: &ValueType| {
        matches!(
            ty,
            ValueType::Str { .. } | ValueType::Buf { .. } | ValueType::KStack(_) | ValueType::UStack(_)
        )
    };
    let args = types.into_iter().map(|ty| {
        let tail = is_tail(&ty);
        (ty, tail)
    });
    lay_out_with(action, args, line)
}

/// As [`lay_out`], but the caller says of each argument whether it is a tail: short strings and stack ids may lie in
/// the head.
pub fn lay_out_with(
    action: Action,
    args: impl IntoIterator<Item = (ValueType, bool)>,
    line: u32,
) -> EventLayout {
    let mut offset = EVENT_HEADER;
    let args = args
        .into_iter()
        .map(|(ty, tail)| {
            let (size, align) = if tail { (8, 4) } else { (ty.size(), ty.align()) };
            offset = offset.next_multiple_of(align.max(1));
            let arg = EventArg { offset, ty, tail };
            offset += size;
            arg
        })
        .collect();
    EventLayout {
        action,
        args,
        head: offset.next_multiple_of(8),
        file: None,
        line,
        columns: None,
        uses: Vec::new(),
    }
}

impl EventLayout {
    /// The same arguments as schema fields, tails left out.
    pub fn fixed_fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.args.iter().filter(|a| !a.tail).map(|a| Field {
            name: String::new(),
            offset: a.offset,
            ty: a.ty.clone(),
            bits: None,
        })
    }

    /// Whether every record of this layout has the same length.
    pub fn is_fixed(&self) -> bool {
        self.args.iter().all(|a| !a.tail)
    }
}
