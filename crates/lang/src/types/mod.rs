//! Types of the target: BTF's, found by name, by id and by field, as types of the language. A [`Target`] and names
//! enter; `Ty`s, fields with their CO-RE paths and constants leave. Nothing is read before it is asked for.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use crate::c::Preamble;
use crate::hir::Access;
use crate::ty::{Composite, CompositeDef, Space, Ty};
use skep_bpf::btf::{Btf, FieldPath, NameKind, Type, TypeId};
use skep_bpf::object::{CoreKind, CoreReloc};
use skep_bpf::target::{Target, TargetError, TargetExt};

mod binary;
pub mod infer;
mod layout;
pub mod name;
mod parse;

pub(crate) use binary::declared;
pub use parse::TypeProblem;

/// Deepest nesting of pointers and arrays that is followed.
const MAX_NESTING: usize = 8;
/// Bytes of `__int128`.
const WIDE: u32 = 16;

/// What the preamble's types are called among the modules, of which they are the first.
const PREAMBLE: &str = "<preamble>";
/// Their number.
const PREAMBLE_MODULE: u32 = 1;

/// The types of a target.
pub struct Types<'a> {
    target: &'a dyn Target,
    vmlinux: OnceCell<Result<Arc<Btf>, TargetError>>,
    modules: RefCell<Vec<(String, Arc<Btf>)>>,
    names: RefCell<HashMap<(String, Space), Result<Ty, TypeProblem>>>,
    constants: RefCell<HashMap<String, Option<(i64, Ty)>>>,
    max_strlen: u32,
    preamble: Option<&'a Preamble>,
    binaries: RefCell<binary::Binaries>,
}

/// A field of a struct or union.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldInfo {
    /// Its type.
    pub ty: Ty,
    /// Where it lies.
    pub access: Access,
    /// A pointer into each CPU's area (`__percpu`): cannot be followed.
    pub percpu: bool,
}

impl<'a> Types<'a> {
    /// The types of `target`; strings of the language are `max_strlen` bytes unless they say otherwise.
    pub fn new(target: &'a dyn Target, max_strlen: u32) -> Types<'a> {
        Types {
            target,
            vmlinux: OnceCell::new(),
            modules: RefCell::default(),
            names: RefCell::default(),
            constants: RefCell::default(),
            max_strlen,
            preamble: None,
            binaries: RefCell::default(),
        }
    }

    /// The same with the types that a script's preamble declares, which come first.
    pub fn with_preamble(self, preamble: &'a Preamble) -> Types<'a> {
        if let Some(btf) = preamble.btf() {
            self.modules.borrow_mut().push((PREAMBLE.to_owned(), btf.clone()));
        }
        Types { preamble: Some(preamble), ..self }
    }

    /// BTF of the kernel itself, or why there is none.
    pub fn vmlinux(&self) -> Result<&Arc<Btf>, &TargetError> {
        self.vmlinux.get_or_init(|| self.target.vmlinux()).as_ref()
    }

    /// Number of the module's types in this table, for `CompositeDef::Btf`; `None` if the target has none.
    pub fn module(&self, name: &str) -> Option<u32> {
        if name.is_empty() || name == "vmlinux" {
            return Some(0);
        }
        let mut modules = self.modules.borrow_mut();
        let at = match modules.iter().position(|(n, _)| n == name) {
            Some(at) => at,
            None => {
                modules.push((name.to_owned(), self.target.module_btf(name).ok()?));
                // What was missing may be in it.
                self.names.borrow_mut().retain(|_, known| known.is_ok());
                modules.len() - 1
            }
        };
        u32::try_from(at + 1).ok()
    }

    /// The types of module `index` (0: vmlinux).
    pub fn btf(&self, index: u32) -> Option<Arc<Btf>> {
        match (index as usize).checked_sub(1) {
            None => self.vmlinux().ok().cloned(),
            Some(at) => self.modules.borrow().get(at).map(|(_, btf)| btf.clone()),
        }
    }

    /// The language's type of BTF type `id`. `space` is where pointers within point. `Ty::None` for void, functions,
    /// floats and what cannot be read.
    pub fn ty(&self, module: u32, id: TypeId, space: Space) -> Ty {
        match self.btf(module) {
            Some(btf) => self.convert(&btf, module, id, self.onward(module, space), MAX_NESTING),
            None => Ty::None,
        }
    }

    fn convert(&self, btf: &Btf, module: u32, id: TypeId, space: Space, depth: usize) -> Ty {
        let Some(depth) = depth.checked_sub(1) else { return Ty::None };
        let resolved = btf.resolve(id);
        match btf.get(resolved) {
            Some(Type::Int { boolean: true, .. }) => Ty::Bool,
            // The language has no wider integers: the low half stands for the whole.
            Some(Type::Int { size: WIDE, signed, .. }) => integer(WIDE / 2, signed),
            Some(Type::Int { size, signed, .. }) => integer(size, signed),
            Some(Type::Ptr(to)) => {
                let tags = btf.pointer_tags(resolved);
                let space = if tags.user { Space::User } else { space };
                let to = self.pointee(btf, module, to, space, depth);
                // The verifier follows pointers to structs only.
                let known = space != Space::Btf || matches!(to, Ty::Composite(_)) && !tags.percpu;
                Ty::Ptr { to: Box::new(to), space: if known { space } else { Space::Kernel } }
            }
            Some(Type::Array { elem, .. })
                if matches!(btf.get_resolved(elem), Some(Type::Int { size: WIDE, .. })) =>
            {
                Ty::None
            }
            Some(Type::Array { elem, count }) => match self.convert(btf, module, elem, space, depth) {
                Ty::Int { bits: 8, .. } if self.is_text(btf, module, resolved, elem) => {
                    Ty::Str { size: count }
                }
                Ty::None => Ty::None,
                elem => Ty::Array { elem: Box::new(elem), count },
            },
            Some(Type::Composite { name, union, size, .. }) => {
                composite(owner(btf, module, resolved), resolved, name, union, size)
            }
            Some(Type::Enum { name, size, signed, variants }) => Ty::Enum {
                name: name.to_owned(),
                bits: u8::try_from(size * 8).unwrap_or(32),
                signed,
                names: Arc::new(variants.iter().map(|(name, value)| (*value, (*name).to_owned())).collect()),
            },
            _ => Ty::None,
        }
    }

    /// Whether an array `id` of bytes is text. The kernel's types do not say; a script's own are text if they are `char`s.
    fn is_text(&self, btf: &Btf, module: u32, id: TypeId, elem: TypeId) -> bool {
        let scripts = || self.modules.borrow().first().is_some_and(|(name, _)| name == PREAMBLE);
        let own = owner(btf, module, id) == PREAMBLE_MODULE && scripts();
        !own || btf.name_of(btf.resolve(elem)) == "char"
    }

    /// What a pointer points to; a forward declaration becomes the struct of that name if there is one.
    fn pointee(&self, btf: &Btf, module: u32, id: TypeId, space: Space, depth: usize) -> Ty {
        match btf.get_resolved(id) {
            Some(Type::Fwd { name, union }) => {
                let kind = if union { NameKind::Union } else { NameKind::Struct };
                let found = btf.find(kind, name).and_then(|id| Some((id, btf.size_of(id)?)));
                let (id, size) = found.unwrap_or((btf.resolve(id), 0));
                composite(owner(btf, module, id), id, name, union, size)
            }
            _ => self.convert(btf, module, id, space, depth),
        }
    }

    /// Bytes of a value of the type; `None` where it has no size.
    pub fn size_of(&self, ty: &Ty) -> Option<u32> {
        match ty {
            Ty::None => None,
            Ty::Composite(c) => Some(c.size),
            Ty::Array { elem, count } => self.size_of(elem)?.checked_mul(*count),
            other => Some(self.layout(other).size()),
        }
    }

    /// The field `name` of a struct or union, also within anonymous ones.
    pub fn field(&self, c: &Composite, name: &str, space: Space) -> Option<FieldInfo> {
        let CompositeDef::Btf { module, id } = c.def else { return None };
        let btf = self.btf(module)?;
        let path = btf.find_member(TypeId(id), name)?;
        self.field_at(&btf, module, &path, &c.name, space)
    }

    fn field_at(
        &self,
        btf: &Btf,
        module: u32,
        path: &FieldPath,
        root: &str,
        space: Space,
    ) -> Option<FieldInfo> {
        let ty = self.convert(btf, module, path.ty, self.onward(module, space), MAX_NESTING);
        let (offset, bits) = place(path, self.size_of(&ty).unwrap_or(8))?;
        let core = (module == 0).then(|| CoreReloc {
            root: path.root.0,
            root_name: root.to_owned(),
            path: path.path.clone(),
            kind: CoreKind::FieldByteOffset,
        });
        let percpu = btf.pointer_tags(path.ty).percpu;
        Some(FieldInfo { ty, access: Access { offset, bits, core }, percpu })
    }

    /// Names of the fields of a struct or union, anonymous ones flattened.
    pub fn field_names(&self, c: &Composite) -> Vec<String> {
        let mut names = Vec::new();
        if let CompositeDef::Btf { module, id } = c.def
            && let Some(btf) = self.btf(module)
        {
            collect_names(&btf, TypeId(id), &mut names, MAX_NESTING);
        }
        names
    }

    /// Names of all structs and unions, with their tags' words, for suggestions.
    pub fn composite_names(&self) -> Vec<String> {
        let declared = self.preamble.and_then(Preamble::btf);
        let Some(btf) = declared.or_else(|| self.vmlinux().ok()) else { return Vec::new() };
        let of = |kind, word: &'static str| btf.types(kind).map(move |(_, name)| format!("{word} {name}"));
        of(NameKind::Struct, "struct").chain(of(NameKind::Union, "union")).collect()
    }

    /// The enum constant `name`: its value and its enum's type.
    pub fn constant(&self, name: &str) -> Option<(i64, Ty)> {
        if let Some((value, id)) = self.preamble.and_then(|p| p.constant(name)) {
            return Some((value, self.ty(PREAMBLE_MODULE, id, Space::Kernel)));
        }
        if let Some(known) = self.constants.borrow().get(name) {
            return known.clone();
        }
        let btf = self.vmlinux().ok()?;
        let found = btf.find_enumerator(name).map(|(id, value)| (value, self.ty(0, id, Space::Kernel)));
        self.constants.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }
}

/// Whose a type is: a module's, or the kernel's that it builds on.
fn owner(btf: &Btf, module: u32, id: TypeId) -> u32 {
    if id.0 < btf.first_id().0 { 0 } else { module }
}

/// An integer type of `size` bytes; those wider than 64 bits are none.
fn integer(size: u32, signed: bool) -> Ty {
    match size {
        1 | 2 | 4 | 8 => Ty::Int { bits: size as u8 * 8, signed },
        _ => Ty::None,
    }
}

fn composite(module: u32, id: TypeId, name: &str, union: bool, size: u32) -> Ty {
    let word = if union { "union" } else { "struct" };
    let name = if name.is_empty() { format!("{word} {{...}}") } else { format!("{word} {name}") };
    Ty::Composite(Composite { name, size, def: CompositeDef::Btf { module, id: id.0 } })
}

/// Byte offset of a field whose type has `size` bytes, and for a bit field its place in the smallest naturally
/// aligned unit that holds it.
#[allow(clippy::type_complexity)]
fn place(path: &FieldPath, size: u32) -> Option<(u32, Option<(u8, u8, u8)>)> {
    if !path.is_bitfield() {
        return Some((u32::try_from(path.byte_offset()).ok()?, None));
    }
    let (start, width) = (path.bit_offset, u64::from(path.bit_size));
    let unit = [1u64, 2, 4, 8]
        .into_iter()
        .filter(|unit| *unit >= u64::from(size.min(1)))
        .find(|unit| start / (unit * 8) == (start + width - 1) / (unit * 8))?;
    let offset = start / (unit * 8) * unit;
    let first = start - offset * 8;
    let first = if cfg!(target_endian = "big") { unit * 8 - first - width } else { first };
    let bits = (u8::try_from(first).ok()?, u8::try_from(width).ok()?, unit as u8);
    Some((u32::try_from(offset).ok()?, Some(bits)))
}

fn collect_names(btf: &Btf, id: TypeId, names: &mut Vec<String>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let Some(Type::Composite { members, .. }) = btf.get_resolved(id) else { return };
    for m in members {
        if m.name.is_empty() {
            collect_names(btf, m.ty, names, depth);
        } else {
            names.push(m.name.to_owned());
        }
    }
}
