//! Types of binaries: those that a probe's binary has in its debug information. The functions that are probed are told
//! first, then a binary's path enters and the number of a module leaves, which has the functions' prototypes and the types
//! that the script names. Nothing is read before a body asks for it; pointers within lead to user memory.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Types;
use crate::ty::Space;
use skep_bpf::btf::{Btf, Type, TypeId};
use skep_bpf::target::{TargetError, TargetExt, TypeRequest};

/// Most functions of one binary whose arguments are looked up.
const MAX_FUNCTIONS: usize = 65_536;

/// What is known of binaries.
#[derive(Debug, Default)]
pub(super) struct Binaries {
    /// Functions that are probed, by binary: the symbol's name and its address.
    functions: BTreeMap<String, BTreeMap<String, u64>>,
    /// Names of types in the script, sorted.
    wanted: Vec<String>,
    /// The binaries that were asked for: the module, or why there is none.
    loaded: BTreeMap<String, Result<u32, TargetError>>,
    /// The binary of the probe at hand.
    scope: Option<Rc<str>>,
}

/// Whether a module of the table is a binary: those are named by their paths.
pub(super) fn is_binary(module: &str) -> bool {
    module.contains('/')
}

impl Types<'_> {
    /// Names of types that the script uses, to be looked for in binaries.
    pub fn want(&self, names: Vec<String>) {
        let mut names: Vec<String> =
            names.iter().filter_map(|name| name.split_whitespace().last()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        self.binaries.borrow_mut().wanted = names;
    }

    /// A function of a binary that is probed.
    pub fn probed(&self, binary: &str, function: &str, address: u64) {
        let mut binaries = self.binaries.borrow_mut();
        let functions = binaries.functions.entry(binary.to_owned()).or_default();
        if functions.len() < MAX_FUNCTIONS {
            functions.insert(function.to_owned(), address);
        }
    }

    /// The binary whose types count from now on, before the kernel's; `None`: none.
    pub fn enter(&self, binary: Option<&str>) {
        if self.binaries.borrow().scope.as_deref() != binary {
            self.binaries.borrow_mut().scope = binary.map(Into::into);
            self.names.borrow_mut().clear();
        }
    }

    /// The module of the probe's binary, if it has debug information.
    pub(super) fn scope(&self) -> Option<u32> {
        let path = self.binaries.borrow().scope.clone()?;
        self.binary(&path).ok()
    }

    /// Number of the binary's types in the table.
    pub fn binary(&self, path: &str) -> Result<u32, TargetError> {
        if let Some(known) = self.binaries.borrow().loaded.get(path) {
            return known.clone();
        }
        let loaded = self.target.binary_types(self.request(path)).map(|btf| {
            let mut modules = self.modules.borrow_mut();
            modules.push((path.to_owned(), btf));
            u32::try_from(modules.len()).unwrap_or(u32::MAX)
        });
        self.binaries.borrow_mut().loaded.insert(path.to_owned(), loaded.clone());
        loaded
    }

    fn request(&self, path: &str) -> TypeRequest {
        let binaries = self.binaries.borrow();
        let functions = binaries.functions.get(path).cloned().unwrap_or_default();
        TypeRequest {
            path: path.to_owned(),
            functions: functions.into_iter().collect(),
            types: binaries.wanted.clone(),
            shallow: false,
        }
    }

    /// Where pointers within a module's types lead: those of a binary to user memory, others to `space`.
    pub(super) fn onward(&self, module: u32, space: Space) -> Space {
        let index = (module as usize).checked_sub(1);
        let user = index.is_some_and(|at| self.modules.borrow().get(at).is_some_and(|(n, _)| is_binary(n)));
        if user { Space::User } else { space }
    }
}

/// The type as a declaration in C has it, stars at the type: `const char* `, `struct foo*`.
pub(crate) fn declared(btf: &Btf, id: TypeId) -> String {
    spell(btf, id, 16)
}

fn spell(btf: &Btf, id: TypeId, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else { return "...".to_owned() };
    let tagged = |word: &str, name: &str| match name {
        "" => format!("{word} <anonymous>"),
        name => format!("{word} {name}"),
    };
    match btf.get(id) {
        None | Some(Type::Void) => "void".to_owned(),
        Some(Type::Int { name, .. } | Type::Float { name, .. } | Type::Typedef { name, .. }) => {
            name.to_owned()
        }
        Some(Type::Ptr(to)) => match btf.get(to) {
            Some(Type::FuncProto { .. }) => "void (*)()".to_owned(),
            _ => format!("{}*", spell(btf, to, depth)),
        },
        Some(Type::Composite { name, union, .. } | Type::Fwd { name, union }) => {
            tagged(if union { "union" } else { "struct" }, name)
        }
        Some(Type::Enum { name, .. }) => tagged("enum", name),
        Some(Type::Qualifier(to)) => match btf.get(to) {
            Some(Type::Ptr(_)) => format!("{} const", spell(btf, to, depth)),
            _ => format!("const {}", spell(btf, to, depth)),
        },
        Some(Type::TypeTag { to, .. }) => spell(btf, to, depth),
        Some(Type::Array { elem, count }) => format!("{}[{count}]", spell(btf, elem, depth)),
        _ => "?".to_owned(),
    }
}
