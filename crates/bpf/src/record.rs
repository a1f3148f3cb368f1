//! Recording of runs: what a program that is compiled to be recorded sends beside its own events, so that it can run
//! again without the kernel that it ran on.
//!
//! A *run* is one execution of a program. Whatever it learns that neither its maps nor its own code determine is an
//! *answer*: bytes of the context, what helpers returned and filled in, kernel memory behind typed pointers. Each answer
//! is one record in the ring of events, in the order in which the program got them:
//!
//! u32 [`EVENT`], u32 kind and (from bit 8 on) number, u64 run, u64 address, u64 value, u32 length of the data, u32 zero,
//! the data. What the last four mean depends on the kind. A program's own events carry the low half of the run's number in
//! the word that is otherwise zero, so that they can be told apart.

use crate::helpers::{Arg, Effect, Helper, Ret, by_id, id};

/// Event number of such a record; no layout of an object has it.
pub const EVENT: u32 = 0xffff_ff00;
/// Bytes before the data.
pub const HEAD: u32 = 40;
/// Offset of the address.
pub const ADDRESS: u32 = 16;
/// Offset of the value.
pub const VALUE: u32 = 24;
/// Offset of the length.
pub const LENGTH: u32 = 32;
/// Bytes of the data of [`Kind::Begin`]: u64 user and group, u64 time, u32 CPU, u32 zero, 16 bytes of name.
pub const BEGIN: u32 = 40;
/// Bytes of a packet that are recorded at most: a frame of the usual size, with what tunnels put in front.
pub const PACKET: u32 = 2048;
/// Name of the map (an array of one u64) that counts records that found no room.
pub const LOST_MAP: &str = "record_lost";
/// Name of the map (one value of a u64 for each CPU) with the number of the run on each CPU.
pub const RUN_MAP: &str = "record_run";

/// Kernel functions whose results are recorded, with their numbers. What others return follows from what they are given, or is nothing.
pub const KFUNCS: &[(u32, &str)] = &[(1, "bpf_task_from_pid"), (2, "bpf_session_is_return")];

/// The number of a kernel function whose results are recorded.
pub fn kfunc_number(name: &str) -> Option<u32> {
    KFUNCS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// The kernel function with a number.
pub fn kfunc_name(number: u32) -> Option<&'static str> {
    KFUNCS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Kinds of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A run begins. Number: the program. Value: process and thread. Data: see [`BEGIN`].
    Begin = 1,
    /// It has ended. Value: what the program returned.
    End = 2,
    /// A helper was called. Number: the helper. Address: what it was asked to read, if anything. Value: what it returned.
    /// Data: what it filled in.
    Helper = 3,
    /// A kernel function of [`KFUNCS`] was called. Number: which. Value: what it returned.
    Kfunc = 4,
    /// The context was read. Number: bytes. Address: offset. Value: what was there.
    Context = 5,
    /// Kernel memory was read through a typed pointer. Number: bytes, 0 if they are the data. Address and value.
    Memory = 6,
    /// The gate that detaching closes was looked at. Value: what it was.
    Gate = 7,
    /// A callback was called for an entry of a map. Number: the map. Data: the key.
    Key = 8,
    /// The packet that a run is about. Value: its bytes. Data: the first [`PACKET`] of them at most.
    Packet = 9,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 9] = [
        Kind::Begin,
        Kind::End,
        Kind::Helper,
        Kind::Kfunc,
        Kind::Context,
        Kind::Memory,
        Kind::Gate,
        Kind::Key,
        Kind::Packet,
    ];

    /// The second word of a record of this kind.
    pub fn word(self, number: u32) -> u32 {
        self as u32 | number << 8
    }
}

/// A record, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Kind.
    pub kind: Kind,
    /// Number; see the kind.
    pub number: u32,
    /// The run.
    pub run: u64,
    /// Address; see the kind.
    pub address: u64,
    /// Value; see the kind.
    pub value: u64,
    /// Data; see the kind.
    pub data: &'a [u8],
}

/// The u32 at `at`, in the machine's byte order.
pub fn u32_at(bytes: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The u64 at `at`, in the machine's byte order.
pub fn u64_at(bytes: &[u8], at: u32) -> Option<u64> {
    let at = at as usize;
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_ne_bytes)
}

/// Whether these bytes of the ring are a record, not an event of the program's own.
pub fn is_record(bytes: &[u8]) -> bool {
    u32_at(bytes, 0) == Some(EVENT)
}

/// Takes a record apart; `None` if it is damaged.
pub fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    if !is_record(bytes) {
        return None;
    }
    let word = u32_at(bytes, 4)?;
    let kind = Kind::ALL.into_iter().find(|k| *k as u32 == word & 0xff)?;
    let length = u32_at(bytes, LENGTH)? as usize;
    Some(Record {
        kind,
        number: word >> 8,
        run: u64_at(bytes, 8)?,
        address: u64_at(bytes, ADDRESS)?,
        value: u64_at(bytes, VALUE)?,
        data: bytes.get(HEAD as usize..)?.get(..length)?,
    })
}

/// Where what a helper fills in lies, by its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    /// The argument that points to it.
    pub argument: usize,
    /// Its length.
    pub length: Length,
}

/// How long it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// As the argument behind says.
    Argument,
    /// As the helper returned, at most what the argument behind says.
    Returned,
    /// Always so many bytes.
    Fixed(u32),
}

/// How an answer of a helper comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The call is made again: its result follows from maps and arguments.
    Again,
    /// It is part of the run's [`Kind::Begin`].
    Run,
    /// What it returned and filled in is recorded.
    Recorded {
        /// What it filled in.
        filled: Option<Filled>,
        /// The argument that is the address it reads.
        address: Option<usize>,
    },
    /// It cannot be recorded: it gives the program memory that changes unseen.
    Never,
}

/// Helpers whose results follow from maps and arguments, or that do nothing a program can see.
const AGAIN: &[u32] = &[
    id::MAP_LOOKUP_ELEM,
    id::MAP_UPDATE_ELEM,
    id::MAP_DELETE_ELEM,
    id::MAP_PUSH_ELEM,
    id::MAP_POP_ELEM,
    id::MAP_PEEK_ELEM,
    id::MAP_LOOKUP_PERCPU_ELEM,
    id::FOR_EACH_MAP_ELEM,
    id::LOOP,
    id::TAIL_CALL,
    id::RINGBUF_OUTPUT,
    id::RINGBUF_RESERVE,
    id::RINGBUF_SUBMIT,
    id::RINGBUF_DISCARD,
    id::SPIN_LOCK,
    id::SPIN_UNLOCK,
    id::STRNCMP,
    id::STRTOL,
    id::STRTOUL,
    id::CSUM_DIFF,
    id::TRACE_PRINTK,
    // What programs read and change of packets: the packet itself is recorded.
    id::SKB_LOAD_BYTES,
    id::SKB_LOAD_BYTES_RELATIVE,
    id::SKB_STORE_BYTES,
    id::SKB_PULL_DATA,
    id::SKB_CHANGE_HEAD,
    id::SKB_CHANGE_TAIL,
    id::SKB_CHANGE_PROTO,
    id::SKB_CHANGE_TYPE,
    id::SKB_ADJUST_ROOM,
    id::SKB_VLAN_PUSH,
    id::SKB_VLAN_POP,
    id::L3_CSUM_REPLACE,
    id::L4_CSUM_REPLACE,
    id::CSUM_UPDATE,
    id::XDP_GET_BUFF_LEN,
    id::XDP_LOAD_BYTES,
    id::XDP_STORE_BYTES,
    id::XDP_ADJUST_HEAD,
    id::XDP_ADJUST_META,
    id::XDP_ADJUST_TAIL,
    id::REDIRECT,
    id::REDIRECT_MAP,
    id::REDIRECT_NEIGH,
    id::REDIRECT_PEER,
];

/// Helpers whose results a [`Kind::Begin`] holds.
const RUN: &[u32] =
    &[id::GET_CURRENT_PID_TGID, id::GET_CURRENT_UID_GID, id::GET_CURRENT_COMM, id::GET_SMP_PROCESSOR_ID];

/// Helpers that return how much they have filled in.
const RETURNED: &[u32] = &[
    id::PROBE_READ_STR,
    id::PROBE_READ_USER_STR,
    id::PROBE_READ_KERNEL_STR,
    id::GET_STACK,
    id::GET_TASK_STACK,
    id::D_PATH,
    id::SNPRINTF_BTF,
    id::READ_BRANCH_RECORDS,
    id::GET_BRANCH_SNAPSHOT,
];

/// How the answers of helper `id` come again.
pub fn answer(id: u32) -> Answer {
    let Some(helper) = by_id(id) else { return Answer::Never };
    if AGAIN.contains(&id) {
        return Answer::Again;
    }
    if RUN.contains(&id) {
        return Answer::Run;
    }
    let memory = matches!(helper.ret, Ret::Value | Ret::ValueOrNull | Ret::MemOrNull);
    if memory || helper.args.contains(&Arg::Func) || helper.args.contains(&Arg::OutDynptr) {
        return Answer::Never;
    }
    Answer::Recorded { filled: filled(helper), address: address(helper) }
}

fn filled(helper: &Helper) -> Option<Filled> {
    let argument = helper.args.iter().position(|a| a.is_written())?;
    let length = match helper.args.get(argument) {
        Some(Arg::OutFixed) => Length::Fixed(8),
        _ if RETURNED.contains(&helper.id) => Length::Returned,
        _ => Length::Argument,
    };
    Some(Filled { argument, length })
}

/// Helpers that read at an address have it behind the memory that they fill and its length.
fn address(helper: &Helper) -> Option<usize> {
    let reads = helper.effect == Effect::Fills
        && helper.args.len() >= 3
        && helper.args.first() == Some(&Arg::Out)
        && helper.args.get(2) == Some(&Arg::Any);
    reads.then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_few() {
        let read = Filled { argument: 0, length: Length::Argument };
        let recorded = |filled, address| Answer::Recorded { filled, address };
        assert_eq!(answer(id::PROBE_READ_KERNEL), recorded(Some(read), Some(2)));
        let text = Filled { length: Length::Returned, ..read };
        assert_eq!(answer(id::PROBE_READ_USER_STR), recorded(Some(text), Some(2)));
        assert_eq!(answer(id::KTIME_GET_NS), recorded(None, None));
        let stack = Filled { argument: 1, length: Length::Returned };
        assert_eq!(answer(id::GET_STACK), recorded(Some(stack), None));
        assert_eq!(answer(id::MAP_LOOKUP_ELEM), Answer::Again);
        assert_eq!(answer(id::GET_CURRENT_COMM), Answer::Run);
        assert_eq!(answer(id::TASK_STORAGE_GET), Answer::Never);
        assert_eq!(answer(100_000), Answer::Never);
    }

    #[test]
    fn a_record_comes_apart() {
        let mut bytes = Vec::new();
        bytes.extend(EVENT.to_ne_bytes());
        bytes.extend(Kind::Helper.word(id::PROBE_READ_KERNEL).to_ne_bytes());
        for word in [7u64, 0xffff_8000_0000_0000, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(3u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(*b"abc\0\0");
        let record = parse(&bytes).unwrap();
        assert_eq!((record.kind, record.number, record.run), (Kind::Helper, id::PROBE_READ_KERNEL, 7));
        assert_eq!((record.address, record.value, record.data), (0xffff_8000_0000_0000, 0, &b"abc"[..]));
        assert_eq!(parse(&bytes[..42]), None);
        assert_eq!(parse(&[0; 48]), None);
    }
}
