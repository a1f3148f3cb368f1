//! Names of types: what messages, `-lv` listings and the cast syntax call them. Types and names enter, names and types
//! leave; nothing is looked up in BTF here.

use crate::ty::Ty;
use skep_bpf::schema::{Agg, StackMode};

/// The type as messages show it, in the language's own syntax.
pub fn display(ty: &Ty) -> String {
    match ty {
        Ty::None => "none".to_owned(),
        Ty::Bool => "bool".to_owned(),
        Ty::Int { bits, signed } => format!("{}int{bits}", if *signed { "" } else { "u" }),
        Ty::Ptr { to, .. } if **to == Ty::None => "void *".to_owned(),
        Ty::Ptr { to, .. } => format!("{} *", display(to)),
        Ty::Str { size } => format!("string[{size}]"),
        Ty::Buf { size } => format!("buffer[{size}]"),
        Ty::Array { elem, count } => format!("{}[{count}]", display(elem)),
        Ty::Composite(c) => c.name.clone(),
        Ty::Enum { name, .. } if name.is_empty() => "enum".to_owned(),
        Ty::Enum { name, .. } => format!("enum {name}"),
        Ty::Tuple(types) if types.len() == 1 => format!("({},)", join(types.iter().map(display))),
        Ty::Tuple(types) => format!("({})", join(types.iter().map(display))),
        Ty::Record(fields) => {
            format!("({})", join(fields.iter().map(|(name, ty)| format!("{name}: {}", display(ty)))))
        }
        Ty::KStack(f) => stack("kstack", f.mode, f.limit),
        Ty::UStack(f) => stack("ustack", f.mode, f.limit),
        Ty::Agg(agg) => aggregation(agg).to_owned(),
        other => opaque(other).to_owned(),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn stack(kind: &str, mode: StackMode, limit: u32) -> String {
    let mode = match mode {
        StackMode::Bpftrace => "bpftrace",
        StackMode::Perf => "perf",
        StackMode::Raw => "raw",
        StackMode::BuildId => "build_id",
    };
    format!("{kind}({mode}, {limit})")
}

fn opaque(ty: &Ty) -> &'static str {
    match ty {
        Ty::KSym => "ksym_t",
        Ty::USym => "usym_t",
        Ty::Inet => "inet",
        Ty::Mac => "macaddr_t",
        Ty::Timestamp { .. } => "timestamp",
        Ty::Username => "username_t",
        Ty::CgroupPath { .. } => "cgroup_path_t",
        Ty::StrError => "strerror_t",
        Ty::Signal => "signal_t",
        _ => "none",
    }
}

/// The name of an aggregation's type.
pub fn aggregation(agg: &Agg) -> &'static str {
    match agg {
        Agg::Count => "count_t",
        Agg::Sum { signed: true } => "sum_t",
        Agg::Sum { signed: false } => "usum_t",
        Agg::Min { signed: true } => "min_t",
        Agg::Min { signed: false } => "umin_t",
        Agg::Max { signed: true } => "max_t",
        Agg::Max { signed: false } => "umax_t",
        Agg::Avg { signed: true } => "avg_t",
        Agg::Avg { signed: false } => "uavg_t",
        Agg::Stats { signed: true } => "stats_t",
        Agg::Stats { signed: false } => "ustats_t",
        Agg::Hist { .. } => "hist_t",
        Agg::LHist { .. } => "lhist_t",
        Agg::TSeries { .. } => "tseries_t",
    }
}

const fn int(bits: u8, signed: bool) -> Ty {
    Ty::Int { bits, signed }
}

/// Types that have a name of their own in the language. `string` and `buffer` come without a size: 0.
static NAMES: &[(&str, Ty)] = &[
    ("bool", Ty::Bool),
    ("int8", int(8, true)),
    ("int16", int(16, true)),
    ("int32", int(32, true)),
    ("int64", int(64, true)),
    ("uint8", int(8, false)),
    ("uint16", int(16, false)),
    ("uint32", int(32, false)),
    ("uint64", int(64, false)),
    ("void", Ty::None),
    ("string", Ty::Str { size: 0 }),
    ("buffer", Ty::Buf { size: 0 }),
    ("inet", Ty::Inet),
    ("macaddr_t", Ty::Mac),
    ("username_t", Ty::Username),
    ("cgroup_path_t", Ty::CgroupPath { filter: String::new() }),
];

/// C's integer types by the set of their words, on the 64-bit machines that skep supports (plain `char` is unsigned on
/// aarch64 in C, but BTF and so the language call it signed).
static C_INTS: &[(&str, Ty)] = &[
    ("char", int(8, true)),
    ("signed char", int(8, true)),
    ("unsigned char", int(8, false)),
    ("short", int(16, true)),
    ("unsigned short", int(16, false)),
    ("int", int(32, true)),
    ("unsigned", int(32, false)),
    ("unsigned int", int(32, false)),
    ("long", int(64, true)),
    ("unsigned long", int(64, false)),
    ("long long", int(64, true)),
    ("unsigned long long", int(64, false)),
    ("__int128", Ty::None),
    ("_Bool", Ty::Bool),
];

/// Typedefs that every kernel has, for targets without types.
static TYPEDEFS: &[(&str, Ty)] = &[
    ("u8", int(8, false)),
    ("u16", int(16, false)),
    ("u32", int(32, false)),
    ("u64", int(64, false)),
    ("s8", int(8, true)),
    ("s16", int(16, true)),
    ("s32", int(32, true)),
    ("s64", int(64, true)),
    ("__u8", int(8, false)),
    ("__u16", int(16, false)),
    ("__u32", int(32, false)),
    ("__u64", int(64, false)),
    ("__s8", int(8, true)),
    ("__s16", int(16, true)),
    ("__s32", int(32, true)),
    ("__s64", int(64, true)),
    ("__be16", int(16, false)),
    ("__be32", int(32, false)),
    ("__be64", int(64, false)),
    ("__le16", int(16, false)),
    ("__le32", int(32, false)),
    ("__le64", int(64, false)),
    ("uint8_t", int(8, false)),
    ("uint16_t", int(16, false)),
    ("uint32_t", int(32, false)),
    ("uint64_t", int(64, false)),
    ("int8_t", int(8, true)),
    ("int16_t", int(16, true)),
    ("int32_t", int(32, true)),
    ("int64_t", int(64, true)),
    ("size_t", int(64, false)),
    ("ssize_t", int(64, true)),
    ("uintptr_t", int(64, false)),
    ("intptr_t", int(64, true)),
    ("pid_t", int(32, true)),
    ("uid_t", int(32, false)),
    ("gid_t", int(32, false)),
    ("umode_t", int(16, false)),
    ("dev_t", int(32, false)),
    ("ino_t", int(64, false)),
    ("loff_t", int(64, true)),
    ("sector_t", int(64, false)),
    ("gfp_t", int(32, false)),
    ("aio_context_t", int(64, false)),
    ("qid_t", int(32, false)),
    ("key_t", int(32, true)),
    ("timer_t", int(32, true)),
    ("clockid_t", int(32, true)),
    ("mqd_t", int(32, true)),
    ("key_serial_t", int(32, true)),
    ("cap_user_header_t", int(64, false)),
];

fn find(table: &'static [(&'static str, Ty)], name: &str) -> Option<&'static Ty> {
    table.iter().find(|(n, _)| *n == name).map(|(_, ty)| ty)
}

/// A type of the language by its name.
pub fn builtin(name: &str) -> Option<Ty> {
    find(NAMES, name).cloned()
}

/// A C integer type, words in any order, with the optional `int` (`long unsigned int`, `short`).
pub fn c_integer(name: &str) -> Option<Ty> {
    let mut words: Vec<&str> = name.split_whitespace().filter(|w| !is_qualifier(w)).collect();
    if words.len() > 1 {
        words.retain(|w| {
            *w != "int" || name.split_whitespace().all(|o| o == "unsigned" || o == "signed" || o == "int")
        });
    }
    let unsigned = words.contains(&"unsigned");
    let chars = words.contains(&"char");
    words.retain(|w| *w != "unsigned" && (*w != "signed" || chars));
    words.sort_unstable_by_key(|w| (*w == "char", *w));
    let rest = if words.is_empty() { "int".to_owned() } else { words.join(" ") };
    let name = if unsigned { format!("unsigned {rest}") } else { rest };
    find(C_INTS, &name).filter(|t| **t != Ty::None).cloned()
}

/// A well-known typedef of an integer.
pub fn typedef(name: &str) -> Option<Ty> {
    find(TYPEDEFS, name).cloned()
}

/// Words that do not change what a C type is here.
pub fn is_qualifier(word: &str) -> bool {
    matches!(word, "const" | "volatile" | "restrict" | "__user" | "__rcu" | "__percpu" | "__iomem")
}

/// Names for suggestions.
pub fn all() -> impl Iterator<Item = &'static str> {
    NAMES.iter().chain(C_INTS).chain(TYPEDEFS).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_words_in_any_order() {
        assert_eq!(c_integer("long unsigned int"), Some(Ty::U64));
        assert_eq!(c_integer("unsigned long"), Some(Ty::U64));
        assert_eq!(c_integer("unsigned"), Some(Ty::U32));
        assert_eq!(c_integer("unsigned int"), Some(Ty::U32));
        assert_eq!(c_integer("const int"), Some(Ty::I32));
        assert_eq!(c_integer("signed"), Some(Ty::I32));
        assert_eq!(c_integer("short int"), Some(int(16, true)));
        assert_eq!(c_integer("signed char"), Some(int(8, true)));
        assert_eq!(c_integer("unsigned char"), Some(int(8, false)));
        assert_eq!(c_integer("long long unsigned int"), Some(Ty::U64));
        assert_eq!(c_integer("__int128"), None);
        assert_eq!(c_integer("struct x"), None);
    }

    #[test]
    fn names_go_back_to_their_types() {
        for name in ["bool", "int8", "uint64", "macaddr_t"] {
            assert_eq!(builtin(name).map(|t| display(&t)).as_deref(), Some(name));
        }
    }
}
