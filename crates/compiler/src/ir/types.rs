//! Value types and the numbers that name things in the IR.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// An SSA value of a function.
    Value = "v";
    /// A basic block of a function.
    Block = "b";
    /// An instruction of a function.
    Inst = "i";
    /// A stack slot of a function.
    Slot = "s";
    /// A function of a module.
    FuncId = "f";
    /// A map of a module: index into `Module::object.maps`.
    MapId = "m";
}

/// A place in the source: line and column, 1-based; line 0 is "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Loc {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Width of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Width {
    /// Lower 32 bits; the result is zero-extended.
    W32,
    /// All 64.
    W64,
}

/// An integer type: 1 (bool), 8, 16, 32 or 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntTy {
    /// Bits.
    pub bits: u8,
    /// How it is extended to 64 bits.
    pub signed: bool,
}

impl IntTy {
    /// Unsigned 64 bits.
    pub const U64: IntTy = IntTy { bits: 64, signed: false };
    /// Signed 64 bits.
    pub const I64: IntTy = IntTy { bits: 64, signed: true };
    /// Unsigned 32 bits.
    pub const U32: IntTy = IntTy { bits: 32, signed: false };
    /// Signed 32 bits.
    pub const I32: IntTy = IntTy { bits: 32, signed: true };
    /// 0 or 1.
    pub const BOOL: IntTy = IntTy { bits: 1, signed: false };

    /// Bytes in memory.
    pub fn bytes(self) -> u32 {
        (u32::from(self.bits)).div_ceil(8)
    }
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Type {
    /// An integer.
    Int(IntTy),
    /// A pointer that the verifier tracks, or an address that it does not.
    Ptr(PtrKind),
}

/// What a pointer points to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PtrKind {
    /// The program's context.
    Ctx,
    /// A stack slot (or the scratch area that replaces it).
    Stack,
    /// A map itself, as helpers take it.
    Map(MapId),
    /// A value of a map; `nullable` until compared with zero.
    MapValue {
        /// The map.
        map: MapId,
        /// Not yet checked.
        nullable: bool,
    },
    /// Memory from bpf_ringbuf_reserve.
    RingbufMem {
        /// Not yet checked.
        nullable: bool,
    },
    /// Packet data.
    Packet,
    /// End of packet data.
    PacketEnd,
    /// A kernel object that the verifier knows by BTF type: fields are read by plain loads (faults read zero).
    Btf {
        /// Type id in the target's BTF.
        type_id: u32,
        /// Not yet checked.
        nullable: bool,
    },
    /// A kernel address: read with bpf_probe_read_kernel only.
    Kernel,
    /// A user address: read with bpf_probe_read_user only.
    User,
    /// A function of the module, for callbacks.
    Func(FuncId),
    /// The context object that a callback gets.
    CallbackCtx,
}

impl Type {
    /// Unsigned 64-bit integer.
    pub const U64: Type = Type::Int(IntTy::U64);
    /// Signed 64-bit integer.
    pub const I64: Type = Type::Int(IntTy::I64);
    /// Unsigned 32-bit integer.
    pub const U32: Type = Type::Int(IntTy::U32);
    /// Signed 32-bit integer.
    pub const I32: Type = Type::Int(IntTy::I32);
    /// 0 or 1.
    pub const BOOL: Type = Type::Int(IntTy::BOOL);

    /// The type behind a null check.
    pub fn non_null(self) -> Type {
        match self {
            Type::Ptr(PtrKind::MapValue { map, .. }) => Type::Ptr(PtrKind::MapValue { map, nullable: false }),
            Type::Ptr(PtrKind::RingbufMem { .. }) => Type::Ptr(PtrKind::RingbufMem { nullable: false }),
            Type::Ptr(PtrKind::Btf { type_id, .. }) => Type::Ptr(PtrKind::Btf { type_id, nullable: false }),
            other => other,
        }
    }

    /// Whether the verifier wants a null check first.
    pub fn is_nullable(self) -> bool {
        matches!(
            self,
            Type::Ptr(
                PtrKind::MapValue { nullable: true, .. }
                    | PtrKind::RingbufMem { nullable: true }
                    | PtrKind::Btf { nullable: true, .. }
            )
        )
    }
}
