//! Words of the text form for what the kernel gives no names.

use crate::object::{CoreKind, KconfigKind, KsymKind};

/// What a CO-RE relocation asks.
pub(super) const CORE: &[(CoreKind, &str)] = &[
    (CoreKind::FieldByteOffset, "byte_off"),
    (CoreKind::FieldByteSize, "byte_sz"),
    (CoreKind::FieldExists, "field_exists"),
    (CoreKind::FieldSigned, "signed"),
    (CoreKind::FieldLshiftU64, "lshift_u64"),
    (CoreKind::FieldRshiftU64, "rshift_u64"),
    (CoreKind::TypeIdLocal, "local_type_id"),
    (CoreKind::TypeIdTarget, "target_type_id"),
    (CoreKind::TypeExists, "type_exists"),
    (CoreKind::TypeSize, "type_size"),
    (CoreKind::EnumvalExists, "enumval_exists"),
    (CoreKind::EnumvalValue, "enumval_value"),
    (CoreKind::TypeMatches, "type_matches"),
];

/// What is wanted of a kernel symbol.
pub(super) const KSYM: &[(KsymKind, &str)] =
    &[(KsymKind::Address, "address"), (KsymKind::Typed, "typed"), (KsymKind::Call, "call")];

/// How a value of the kernel's configuration is read.
pub(super) const KCONFIG: &[(KconfigKind, &str)] = &[
    (KconfigKind::Bool, "bool"),
    (KconfigKind::Char, "char"),
    (KconfigKind::Tristate, "tristate"),
    (KconfigKind::Int { signed: true }, "int"),
    (KconfigKind::Int { signed: false }, "unsigned"),
    (KconfigKind::Text, "text"),
];

/// The word for a value; a value that is missing in a table would be a mistake here, and is empty.
pub(super) fn word<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|(v, _)| *v == value).map_or("", |(_, word)| word)
}

/// The value of a word.
pub(super) fn value<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table.iter().find(|(_, w)| *w == word).map(|(value, _)| *value)
}
