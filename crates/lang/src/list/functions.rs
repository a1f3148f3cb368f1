//! Arguments of functions of binaries: the names of uprobes enter; for each whose binary has debug information of it, a
//! declaration for each argument leaves. Each binary is asked once for all of its functions.

use super::found::Finder;
use crate::resolve::demangled;
use crate::types::declared;
use skep_bpf::btf::{Btf, NameKind};
use skep_bpf::target::{Symbol, TargetExt, TypeRequest};
use std::collections::{BTreeMap, HashMap};

/// Most functions of one binary whose arguments are listed.
const MAX_FUNCTIONS: usize = 65_536;

impl Finder<'_> {
    /// Arguments by the name of the probe, without its kind.
    pub(super) fn function_arguments(&self, names: &[String]) -> HashMap<String, Vec<String>> {
        let mut by_binary: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            let Some((binary, function)) = name.split_once(':') else { continue };
            let functions = by_binary.entry(binary).or_default();
            if functions.len() < MAX_FUNCTIONS {
                functions.push(function);
            }
        }
        let mut all = HashMap::new();
        for (binary, functions) in by_binary {
            all.extend(self.in_binary(binary, &functions).into_iter().flatten());
        }
        all
    }

    fn in_binary(&self, binary: &str, functions: &[&str]) -> Option<Vec<(String, Vec<String>)>> {
        let symbols = self.target.binary_symbols(binary).ok()?;
        let by_name: HashMap<&str, &Symbol> = symbols.iter().map(|s| (s.name.as_str(), s)).collect();
        let plain = functions.iter().any(|f| demangled::quoted(f).is_some());
        let demangled = if plain { self.target.demangled_symbols(binary).ok() } else { None };
        let addresses: HashMap<&str, u64> =
            demangled.iter().flat_map(|list| list.iter()).map(|s| (s.name.as_str(), s.address)).collect();
        let by_address: HashMap<u64, &Symbol> = symbols.iter().map(|s| (s.address, s)).collect();
        // The name of the probe and the symbol that it is on.
        let wanted: Vec<(&str, &Symbol)> = functions
            .iter()
            .filter_map(|function| {
                let symbol = match demangled::quoted(function) {
                    Some((_, name)) => by_address.get(addresses.get(name)?).copied(),
                    None => by_name.get(function).copied(),
                };
                Some((*function, symbol?))
            })
            .collect();
        let request = TypeRequest {
            path: binary.to_owned(),
            functions: wanted.iter().map(|(_, s)| (s.name.clone(), s.address)).collect(),
            types: Vec::new(),
            shallow: true,
        };
        let btf = self.target.binary_types(request).ok()?;
        let found = wanted.iter().filter_map(|(function, symbol)| {
            Some((format!("{binary}:{function}"), arguments(&btf, &symbol.name)?))
        });
        Some(found.collect())
    }
}

fn arguments(btf: &Btf, function: &str) -> Option<Vec<String>> {
    let (_, params) = btf.signature(btf.find(NameKind::Func, function)?)?;
    let declare = |(name, ty): &(&str, _)| match (*name, declared(btf, *ty)) {
        ("", ty) if ty == "void" => "...".to_owned(),
        ("", ty) => ty,
        (name, ty) => format!("{ty} {name}"),
    };
    Some(params.iter().map(declare).collect())
}
