//! BTF: type information (Documentation/bpf/btf.rst, Linux 6.18). Raw bytes enter, types leave. A blob is read as it
//! lies: offsets of the types are found in one pass at parse, the name index only when a name is asked for.

use std::ops::Range;
use std::sync::Arc;

mod accepted;
mod builder;
mod constants;
mod names;
mod pad;
mod print;
mod query;
mod read;
#[cfg(test)]
mod tests;
pub mod value;

pub use accepted::SectionLayout;
pub use builder::{BtfBuilder, Linkage, MemberDef};
pub use query::{FieldPath, PtrTags};

/// A type's number within a blob (and its base). 0 is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeId(pub u32);

/// Kinds by which a name can be looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NameKind {
    /// Integers and floats.
    Int,
    /// Structs.
    Struct,
    /// Unions.
    Union,
    /// Enums (32 and 64 bits).
    Enum,
    /// Typedefs.
    Typedef,
    /// Functions.
    Func,
    /// Variables.
    Var,
}

/// One type. Names are empty for anonymous types.
#[derive(Clone, PartialEq, Debug)]
pub enum Type<'a> {
    /// No type.
    Void,
    /// Integer.
    Int {
        /// C name.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// Signed.
        signed: bool,
        /// `_Bool`.
        boolean: bool,
    },
    /// Floating point.
    Float {
        /// C name.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// Pointer.
    Ptr(TypeId),
    /// Array.
    Array {
        /// Element.
        elem: TypeId,
        /// Elements (0: flexible).
        count: u32,
    },
    /// Struct or union.
    Composite {
        /// Tag.
        name: &'a str,
        /// Union rather than struct.
        union: bool,
        /// Bytes.
        size: u32,
        /// Members in order.
        members: Vec<Member<'a>>,
    },
    /// Enum.
    Enum {
        /// Tag.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// Signed.
        signed: bool,
        /// (name, value).
        variants: Vec<(&'a str, i64)>,
    },
    /// Forward declaration.
    Fwd {
        /// Tag.
        name: &'a str,
        /// Of a union.
        union: bool,
    },
    /// Typedef.
    Typedef {
        /// Name.
        name: &'a str,
        /// What it stands for.
        to: TypeId,
    },
    /// const, volatile, restrict.
    Qualifier(TypeId),
    /// Type tag (`user`, `percpu`, `rcu`) on a pointer's target.
    TypeTag {
        /// Tag.
        name: &'a str,
        /// Tagged type.
        to: TypeId,
    },
    /// Function.
    Func {
        /// Name.
        name: &'a str,
        /// Its FUNC_PROTO.
        proto: TypeId,
    },
    /// Function prototype.
    FuncProto {
        /// Return type.
        ret: TypeId,
        /// Parameters (name, type); a last one with void type means varargs.
        params: Vec<(&'a str, TypeId)>,
    },
    /// Variable.
    Var {
        /// Name.
        name: &'a str,
        /// Type.
        ty: TypeId,
    },
    /// Section of variables.
    Datasec {
        /// Section name.
        name: &'a str,
    },
    /// Declaration tag.
    DeclTag {
        /// Tag.
        name: &'a str,
        /// Tagged declaration.
        to: TypeId,
        /// Member or parameter index; -1: the declaration itself.
        component: i32,
    },
}

/// Member of a struct or union.
#[derive(Clone, PartialEq, Debug)]
pub struct Member<'a> {
    /// Name; empty for anonymous structs and unions.
    pub name: &'a str,
    /// Type.
    pub ty: TypeId,
    /// Offset in bits from the start of the composite.
    pub bit_offset: u32,
    /// Width of a bit field; 0: none.
    pub bit_size: u32,
}

/// A blob that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("BTF: {0}")]
pub struct BtfError(pub String);

/// A parsed blob, perhaps on top of a base (a module's on vmlinux').
///
/// Methods are spread over the files of this folder: `read` (parse, one type), `names` (lookup and listing), `query`
/// (sizes, members, tags) and `print` (C text). None of them panics or loops on hostile bytes: a type that cannot be
/// read is `None`, a name that cannot be read is empty.
pub struct Btf {
    base: Option<Arc<Btf>>,
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    /// Types of this blob, in order of their ids from `first_id`.
    table: Vec<read::Slot>,
    /// Bytes of the type section within `bytes`.
    types: Range<usize>,
    /// Bytes of the string section within `bytes`.
    strings: Range<usize>,
    /// Id of the first type of this blob: 1, or the base's `len()`.
    first_id: u32,
    /// String offset at which this blob's section starts: 0, or the end of the base's.
    first_string: u32,
    names: names::Names,
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf")
            .field("base", &self.base.is_some())
            .field("types", &self.table.len())
            .finish_non_exhaustive()
    }
}
