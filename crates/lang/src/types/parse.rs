//! Types as written: a type expression's names enter, types of the language leave.

use super::binary::is_binary;
use super::{Types, name};
use crate::suggest;
use crate::ty::{Space, Ty};
use skep_bpf::btf::NameKind;

/// Why a name is no type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeProblem {
    /// What was looked for.
    pub name: String,
    /// The name that was probably meant.
    pub near: Option<String>,
    /// Whether the target has no types at all.
    pub no_btf: bool,
}

impl Types<'_> {
    /// The type of a name: the language's, C's integers, `struct x`, `union x`, `enum x`, typedefs of the kernel.
    /// Pointers within structs point to `space`.
    pub fn by_name(&self, text: &str, space: Space) -> Result<Ty, TypeProblem> {
        let key = (text.to_owned(), space);
        if let Some(known) = self.names.borrow().get(&key) {
            return known.clone();
        }
        let found = self.look_up(text, space);
        self.names.borrow_mut().insert(key, found.clone());
        found
    }

    fn look_up(&self, text: &str, space: Space) -> Result<Ty, TypeProblem> {
        let words: Vec<&str> = text.split_whitespace().filter(|w| !name::is_qualifier(w)).collect();
        let text = words.join(" ");
        let plain = name::builtin(&text).or_else(|| name::c_integer(&text));
        if let Some(ty) = plain {
            return Ok(ty);
        }
        let kinds: &[NameKind] = match words.as_slice() {
            ["struct", _] => &[NameKind::Struct],
            ["union", _] => &[NameKind::Union],
            ["enum", _] => &[NameKind::Enum],
            [_] => &[NameKind::Typedef, NameKind::Struct, NameKind::Union, NameKind::Enum],
            _ => &[],
        };
        let wanted = words.last().copied().unwrap_or("");
        if let Some(ty) = self.declared_in_preamble(kinds, wanted, space) {
            return Ok(ty);
        }
        if let Some(ty) = self.in_scope(kinds, wanted, space) {
            return Ok(ty);
        }
        if let Ok(btf) = self.vmlinux() {
            for kind in kinds {
                if let Some(id) = btf.find(*kind, wanted) {
                    let ty = self.ty(0, id, space);
                    if ty != Ty::None {
                        return Ok(ty);
                    }
                }
            }
            if let Some(ty) = self.in_modules(kinds, wanted, space) {
                return Ok(ty);
            }
        }
        name::typedef(&text).ok_or_else(|| self.problem(&text))
    }

    /// The type as the script itself declares it.
    fn declared_in_preamble(&self, kinds: &[NameKind], wanted: &str, space: Space) -> Option<Ty> {
        let preamble = self.preamble?;
        let found = kinds.iter().find_map(|kind| preamble.type_of(*kind, wanted))?;
        Some(self.ty(super::PREAMBLE_MODULE, found, space)).filter(|ty| *ty != Ty::None)
    }

    /// The type as the binary of the probe at hand has it.
    fn in_scope(&self, kinds: &[NameKind], wanted: &str, space: Space) -> Option<Ty> {
        let module = self.scope()?;
        let btf = self.btf(module)?;
        let found = kinds.iter().filter_map(|kind| btf.find(*kind, wanted));
        found.map(|id| self.ty(module, id, space)).find(|ty| *ty != Ty::None)
    }

    fn in_modules(&self, kinds: &[NameKind], wanted: &str, space: Space) -> Option<Ty> {
        let loaded = self.modules.borrow().clone();
        (1u32..).zip(loaded).filter(|(_, (name, _))| !is_binary(name)).find_map(|(module, (_, btf))| {
            let id = kinds.iter().find_map(|kind| btf.find(*kind, wanted))?;
            Some(self.ty(module, id, space)).filter(|ty| *ty != Ty::None)
        })
    }

    fn problem(&self, text: &str) -> TypeProblem {
        let known = self.composite_names();
        let mut names: Vec<&str> = name::all().collect();
        names.extend(known.iter().map(String::as_str));
        let near = suggest::nearest(text, names).map(str::to_owned);
        TypeProblem { name: text.to_owned(), near, no_btf: self.vmlinux().is_err() }
    }
}
