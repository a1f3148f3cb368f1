//! Settings that are accepted and checked and change nothing here, because what they tune is done in another way; and
//! names that used to be settings.

use super::config::{Apply, boolean, int};

const ON_OFF: Apply = |_, v| boolean(v).map(|_| ());
const NUMBER: Apply = |_, v| int(v, 0, u64::MAX, "a number").map(|_| ());
const UNSTABLE: Apply = |_, v| match v.show().as_str() {
    "enable" | "warn" | "error" | "1" | "0" | "true" | "false" => Ok(()),
    _ => Err("enable, warn and error"),
};
const CACHE: Apply = |_, v| match v.show().as_str() {
    "PER_PID" | "PER_PROGRAM" | "NONE" | "0" | "1" => Ok(()),
    _ => Err("PER_PID, PER_PROGRAM and NONE"),
};

/// Settings by name.
pub(super) static QUIET: &[(&str, Apply)] = &[
    ("cache_user_symbols", CACHE),
    ("lazy_symbolication", ON_OFF),
    ("on_stack_limit", NUMBER),
    ("use_blazesym", ON_OFF),
    ("unstable_import_statement", UNSTABLE),
    ("unstable_tseries", UNSTABLE),
    ("unstable_typeinfo", UNSTABLE),
    ("unstable_dw_ustack", UNSTABLE),
];

/// Names that are accepted with a warning.
pub(super) const DEPRECATED: &[&str] =
    &["max_type_res_iterations", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl"];

/// Old names with the new ones.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("strlen", "max_strlen"),
    ("no_cpp_demangle", "cpp_demangle"),
    ("cat_bytes_max", "max_cat_bytes"),
    ("map_keys_max", "max_map_keys"),
];

/// Names that only the environment has.
pub(super) const ENVIRONMENT: &[&str] = &["btf", "kernel_build", "kernel_source", "vmlinux"];
