//! Demangled names: symbols as compilers write them enter, names as programmers write them leave. A name that is not
//! mangled, or not well, gives nothing.

use cpp_demangle::DemangleOptions;
use skep_bpf::target::Symbol;

/// Longest mangled name that is looked at.
const MAX_MANGLED: usize = 16 << 10;
/// Longest name that leaves: a few bytes can stand for much.
const MAX_NAME: usize = 64 << 10;

/// The name as a programmer writes it, with the parameters of C++ functions.
pub(crate) fn name(mangled: &str) -> Option<String> {
    if mangled.len() > MAX_MANGLED {
        return None;
    }
    let may_be_rust = mangled.starts_with("_R") || mangled.starts_with("_Z");
    if let (true, Ok(rust)) = (may_be_rust, rustc_demangle::try_demangle(mangled)) {
        return Some(format!("{rust:#}")).filter(|n| n.len() <= MAX_NAME);
    }
    if !mangled.starts_with("_Z") && !mangled.starts_with("____Z") {
        return None;
    }
    let symbol = cpp_demangle::BorrowedSymbol::new(mangled.as_bytes()).ok()?;
    symbol.demangle_with_options(&DemangleOptions::default()).ok().filter(|n| n.len() <= MAX_NAME)
}

/// The symbols whose names are mangled, by their demangled names, sorted.
pub(crate) fn symbols(all: &[Symbol]) -> Vec<Symbol> {
    let mut found: Vec<Symbol> =
        all.iter().filter_map(|s| Some(Symbol { name: name(&s.name)?, ..s.clone() })).collect();
    found.sort_unstable_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_languages() {
        assert_eq!(name("_ZN2ns3Foo3barEi").as_deref(), Some("ns::Foo::bar(int)"));
        assert_eq!(name("_Z4makeIiEvT_").as_deref(), Some("void make<int>(int)"));
        assert_eq!(name("_ZN4core3fmt5write17h0123456789abcdefE").as_deref(), Some("core::fmt::write"));
        assert_eq!(name("_RNvCs4fqI2P2rA04_5crate4fun1").as_deref(), Some("crate::fun1"));
        assert_eq!(name("main"), None);
        assert_eq!(name("_ZN"), None);
        assert_eq!(name(&format!("_ZN{}", "1a".repeat(20_000))), None);
    }
}
