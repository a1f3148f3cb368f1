//! The notation of fixtures.
//!
//! Types: `i32 u8 bool ptr str16 buf8 enum32 ienum32 mac inet ksym usym uid cgroup errno signal kstack ustack
//! kstack:perf time none`, `[T; n]`, `(T, T)`, `{name: T, name: T}`, `count sum usum min umin max umax avg uavg stats
//! ustats hist:BITS lhist:MIN:MAX:STEP`. Members lie at their natural alignment.
//!
//! Bytes: `i32:-5` (a number of the machine's byte order), `"text"`, `xff00` (bytes as they are), `pad8` (zeros up to
//! a multiple of 8).

use skep_bpf::format::{Conv, ConvKind, Format, Piece};
use skep_bpf::schema::{Agg, Clock, Field, StackFormat, StackMode, ValueType};

/// Parses a type; the rest of the text is returned with it.
fn ty(text: &str) -> (ValueType, &str) {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('[') {
        let (elem, rest) = ty(rest);
        let rest = rest.trim_start().strip_prefix(';').expect("; in an array");
        let (count, rest) = rest.split_once(']').expect("] of an array");
        return (ValueType::Array { elem: Box::new(elem), count: count.trim().parse().unwrap() }, rest);
    }
    if let Some(rest) = text.strip_prefix('(') {
        let (members, rest) = members(rest, ')');
        return (ValueType::tuple(members.into_iter().map(|(_, t)| t)), rest);
    }
    if let Some(rest) = text.strip_prefix('{') {
        let (members, rest) = members(rest, '}');
        let (names, types): (Vec<String>, Vec<ValueType>) = members.into_iter().unzip();
        let tuple = ValueType::tuple(types);
        let size = tuple.size();
        let ValueType::Tuple(fields) = tuple else { unreachable!() };
        let fields = fields.into_iter().zip(names).map(|(f, name)| Field { name, ..f }).collect();
        return (ValueType::Record { size, fields }, rest);
    }
    let end = text.find([',', ')', '}', ';', ']', ' ']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (plain(word), rest)
}

fn members(mut rest: &str, close: char) -> (Vec<(String, ValueType)>, &str) {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if let Some(behind) = rest.strip_prefix(close) {
            return (all, behind);
        }
        let mut name = String::new();
        if close == '}' {
            let (before, behind) = rest.split_once(':').expect("name:");
            name = before.to_owned();
            rest = behind;
        }
        let (t, behind) = ty(rest);
        all.push((name, t));
        rest = behind;
    }
}

/// An aggregation, if the word names one.
fn aggregate(word: &str) -> Option<Agg> {
    let (head, tail) = word.split_once(':').unwrap_or((word, ""));
    match (head, head.strip_prefix('u').unwrap_or(head)) {
        ("count", _) => Some(Agg::Count),
        (_, "sum") => Some(Agg::Sum { signed: !word.starts_with('u') }),
        (_, "min") => Some(Agg::Min { signed: !word.starts_with('u') }),
        (_, "max") => Some(Agg::Max { signed: !word.starts_with('u') }),
        (_, "avg") => Some(Agg::Avg { signed: !word.starts_with('u') }),
        (_, "stats") => Some(Agg::Stats { signed: !word.starts_with('u') }),
        ("hist", _) => Some(Agg::Hist { bits: tail.parse().unwrap() }),
        ("lhist", _) => {
            let n: Vec<i64> = tail.split(':').map(|n| n.parse().unwrap()).collect();
            Some(Agg::LHist { min: n[0], max: n[1], step: n[2] })
        }
        _ => None,
    }
}

fn plain(word: &str) -> ValueType {
    let stack = |mode| StackFormat { limit: 8, mode };
    let names = || vec![(1, "ONE".to_owned()), (-1, "MINUS".to_owned())];
    let number = |prefix: &str| word.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
    if let Some(agg) = aggregate(word) {
        return ValueType::Agg(agg);
    }
    if let Some(bits) = number("i") {
        return ValueType::Int { size: (bits / 8) as u8, signed: true };
    }
    if let Some(bits) = number("u") {
        return ValueType::Int { size: (bits / 8) as u8, signed: false };
    }
    if let Some(bits) = number("enum") {
        return ValueType::Enum { size: (bits / 8) as u8, signed: false, names: names() };
    }
    if let Some(bits) = number("ienum") {
        return ValueType::Enum { size: (bits / 8) as u8, signed: true, names: names() };
    }
    if let Some(size) = number("str") {
        return ValueType::Str { size };
    }
    if let Some(size) = number("buf") {
        return ValueType::Buf { size };
    }
    match word {
        "none" => ValueType::None,
        "bool" => ValueType::Bool,
        "ptr" => ValueType::Pointer,
        "mac" => ValueType::Mac,
        "inet" => ValueType::Inet,
        "ksym" => ValueType::KSym,
        "usym" => ValueType::USym,
        "uid" => ValueType::Username,
        "cgroup" => ValueType::CgroupPath { filter: String::new() },
        "errno" => ValueType::StrError,
        "signal" => ValueType::Signal,
        "kstack" => ValueType::KStack(stack(StackMode::Bpftrace)),
        "ustack" => ValueType::UStack(stack(StackMode::Bpftrace)),
        "kstack:perf" => ValueType::KStack(stack(StackMode::Perf)),
        "ustack:perf" => ValueType::UStack(stack(StackMode::Perf)),
        "kstack:raw" => ValueType::KStack(stack(StackMode::Raw)),
        "ustack:build_id" => ValueType::UStack(stack(StackMode::BuildId)),
        "time" => ValueType::Timestamp { format: "%H:%M:%S.%f".to_owned(), clock: Clock::Boot },
        _ => panic!("no type {word}"),
    }
}

/// A type.
pub fn value_type(text: &str) -> ValueType {
    let (t, rest) = ty(text);
    assert!(rest.trim().is_empty(), "behind type: {rest}");
    t
}

/// Bytes.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('"') {
            let (content, behind) = behind.split_once('"').expect("closing quote");
            out.extend_from_slice(unescape(content).as_bytes());
            rest = behind.trim_start();
            continue;
        }
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = behind.trim_start();
        if let Some(hex) = word.strip_prefix('x') {
            out.extend((0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()));
        } else if let Some(n) = word.strip_prefix("pad") {
            out.resize(out.len().next_multiple_of(n.parse().unwrap()), 0);
        } else {
            let (t, number) = word.split_once(':').expect("type:number");
            let number: i128 = number.parse().unwrap();
            match t {
                "i8" | "u8" => out.push(number as u8),
                "i16" | "u16" => out.extend((number as u16).to_ne_bytes()),
                "i32" | "u32" => out.extend((number as u32).to_ne_bytes()),
                _ => out.extend((number as u64).to_ne_bytes()),
            }
        }
    }
    out
}

/// Resolves `\n`, `\t`, `\e`, `\0` and `\\`.
pub fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, c == '\\') {
            (c, false) => c,
            _ => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('e') => '\x1b',
                Some('0') => '\0',
                other => other.unwrap_or('\\'),
            },
        });
    }
    out
}

/// A format string.
pub fn format(text: &str) -> Format {
    let text = unescape(text);
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            literal.push('%');
            rest = behind;
            continue;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        let (conv, behind) = conversion(rest);
        pieces.push(Piece::Conv(conv));
        rest = behind;
    }
    literal.push_str(rest);
    pieces.push(Piece::Text(literal));
    pieces
}

fn conversion(text: &str) -> (Conv, &str) {
    let mut conv = Conv::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
        match flag {
            '-' => conv.left = true,
            '+' => conv.plus = true,
            ' ' => conv.space = true,
            '#' => conv.alt = true,
            _ => conv.zero = true,
        }
        rest = &rest[1..];
    }
    let digits = |rest: &str| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let end = digits(rest);
    conv.width = rest[..end].parse().ok();
    rest = &rest[end..];
    if let Some(behind) = rest.strip_prefix('.') {
        let end = digits(behind);
        conv.precision = behind[..end].parse().ok();
        rest = &behind[end..];
    }
    let end = rest.find(|c: char| !"hljzt".contains(c)).unwrap();
    conv.length = rest[..end].to_owned();
    rest = &rest[end..];
    let (kind, len) = match &rest[..rest.len().min(2)] {
        "rx" => (ConvKind::BufHex, 2),
        "rh" => (ConvKind::BufHexBlank, 2),
        two => match &two[..1] {
            "d" | "i" => (ConvKind::Signed, 1),
            "u" => (ConvKind::Unsigned, 1),
            "x" => (ConvKind::HexLower, 1),
            "X" => (ConvKind::HexUpper, 1),
            "o" => (ConvKind::Octal, 1),
            "c" => (ConvKind::Char, 1),
            "p" => (ConvKind::Pointer, 1),
            "s" => (ConvKind::String, 1),
            "r" => (ConvKind::Buf, 1),
            other => panic!("no conversion {other}"),
        },
    };
    conv.kind = kind;
    (conv, &rest[len..])
}
