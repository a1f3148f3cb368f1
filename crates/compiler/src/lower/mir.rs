//! Machine instructions over virtual registers: what selection makes and register allocation reads.
//!
//! A virtual register is defined once. An operation with three operands stands for the two-address form; the
//! allocator keeps the operands that are read after the destination is written ([`Role::Late`]) away from it.
//! Constants and addresses are not in registers: they are made anew at each use. Critical edges are split.

use skep_bpf::insn::jmp;
use skep_bpf::object::CoreReloc;

use crate::ir::{FuncId, FuncKind, Loc, MapId, Slot, Width};

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct VReg(pub u32);

impl VReg {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value that needs no register until it is used.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Konst {
    /// 64 bits.
    Int(i64),
    /// An address in a slot.
    Slot { slot: Slot, off: i32 },
    /// A map, for helpers.
    Map(MapId),
    /// An address in an array map's first value.
    MapValue { map: MapId, off: u32 },
    /// A function, for callbacks.
    Func(FuncId),
    /// A kernel variable.
    Symbol(String),
    /// A CO-RE value.
    Core { value: u64, reloc: Box<CoreReloc> },
}

/// A register or an immediate (sign-extended to 64 bits).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Src {
    Reg(VReg),
    Imm(i32),
}

/// The base of a memory access.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Base {
    Reg(VReg),
    Slot(Slot),
}

/// Where a memory access goes. With `core`, `off` is the field's offset alone. With a register base, `off` fits i16.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Addr {
    pub base: Base,
    pub off: i32,
    pub core: Option<Box<CoreReloc>>,
}

/// What a call's argument, a returned value or an edge's argument comes from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Source {
    Reg(VReg),
    Konst(Konst),
}

/// What is done to an argument once it is in its register.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Fix {
    None,
    /// Plus a constant.
    Add(i32),
    /// Plus a field's offset.
    AddCore(i32, Box<CoreReloc>),
    /// Unsigned minimum with a constant.
    Clamp(i32),
}

/// An argument of a call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arg {
    pub from: Source,
    pub fix: Fix,
}

/// A condition `a OP b`; `op` is one of [`jmp`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct MCond {
    pub op: u8,
    pub width: Width,
    pub a: VReg,
    pub b: Src,
}

impl MCond {
    /// The operation that holds when `op` does not; `None` for JSET.
    pub(crate) fn inverse(op: u8) -> Option<u8> {
        const PAIRS: [(u8, u8); 5] = [
            (jmp::JEQ, jmp::JNE),
            (jmp::JGT, jmp::JLE),
            (jmp::JGE, jmp::JLT),
            (jmp::JSGT, jmp::JSLE),
            (jmp::JSGE, jmp::JSLT),
        ];
        PAIRS.iter().find_map(|&(x, y)| match op {
            o if o == x => Some(y),
            o if o == y => Some(x),
            _ => None,
        })
    }
}

/// How a register is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ext {
    /// All 64 bits.
    None,
    /// The low 32 bits, zero-extended.
    Zero32,
    /// The low bits, sign-extended (v4).
    Sign(u8),
}

/// What a call calls.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Callee {
    Helper(u32),
    Kfunc(String),
    Func(FuncId),
}

/// An operation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum MOp {
    /// Parameter `index` of the function; only at the start of the entry.
    Param { dst: VReg, index: u8 },
    /// The result of the call directly before.
    Result { dst: VReg },
    /// A constant into a register.
    Konst { dst: VReg, value: Konst },
    /// Copy.
    Mov { dst: VReg, src: VReg, ext: Ext },
    /// `dst = a OP b`; `op` of `insn::alu`; `off` 1: signed division.
    Alu { op: u8, width: Width, off: i16, dst: VReg, a: Src, b: Src },
    /// `dst = a + field offset`.
    AddCore { dst: VReg, a: VReg, off: i32, reloc: Box<CoreReloc> },
    /// `dst = -a`.
    Neg { width: Width, dst: VReg, a: VReg },
    /// Byte swap of the low `bits`; `always`: the v4 form, else "to big endian".
    Swap { dst: VReg, a: VReg, bits: u8, always: bool },
    /// Load; `signed` only where the machine has it (v4).
    Load { size: u8, signed: bool, dst: VReg, addr: Addr },
    /// Store.
    Store { size: u8, addr: Addr, src: Src },
    /// Atomic without a result; `op` of `insn::atomic`.
    Atomic { op: i32, size: u8, addr: Addr, src: VReg },
    /// Atomic that gives the old value.
    AtomicFetch { op: i32, size: u8, dst: VReg, addr: Addr, src: VReg },
    /// `dst = cond ? then : other`.
    Select { dst: VReg, cond: MCond, then: Src, other: Src },
    /// `dst = cond ? -a : a`.
    NegIf { dst: VReg, cond: MCond, a: VReg },
    /// `dst = min(a, max)`, unsigned, in a form that the verifier learns the bound from.
    Clamp { dst: VReg, a: VReg, max: Src },
    /// Call.
    Call { callee: Callee, args: Vec<Arg> },
}

/// An instruction and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct MInst {
    pub op: MOp,
    pub loc: Loc,
}

/// An edge to block `to` (index into [`MFunc::blocks`]).
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct MEdge {
    pub to: usize,
    pub args: Vec<Source>,
}

/// How a block ends.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum MTerm {
    Jump(MEdge),
    Branch { cond: MCond, then: MEdge, other: MEdge },
    MayGoto { body: MEdge, exit: MEdge },
    Return(Source),
}

impl MTerm {
    /// The edges.
    pub(crate) fn edges(&self) -> impl Iterator<Item = &MEdge> {
        let (first, second) = match self {
            MTerm::Return(_) => (None, None),
            MTerm::Jump(e) => (Some(e), None),
            MTerm::Branch { then, other, .. } => (Some(then), Some(other)),
            MTerm::MayGoto { body, exit } => (Some(body), Some(exit)),
        };
        first.into_iter().chain(second)
    }

    /// The edges, to change them.
    pub(crate) fn edges_mut(&mut self) -> impl Iterator<Item = &mut MEdge> {
        let (first, second) = match self {
            MTerm::Return(_) => (None, None),
            MTerm::Jump(e) => (Some(e), None),
            MTerm::Branch { then, other, .. } => (Some(then), Some(other)),
            MTerm::MayGoto { body, exit } => (Some(body), Some(exit)),
        };
        first.into_iter().chain(second)
    }
}

/// A block.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct MBlock {
    pub params: Vec<VReg>,
    pub insts: Vec<MInst>,
    pub term: MTerm,
    pub loc: Loc,
    pub cold: bool,
    /// Header of the innermost loop that the block is in (a header is in its own).
    pub head: Option<usize>,
    /// For a header: the header of the loop around.
    pub outer: Option<usize>,
}

/// A function; block 0 is the entry and has no predecessors.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct MFunc {
    pub name: String,
    pub kind: FuncKind,
    pub blocks: Vec<MBlock>,
    pub vregs: u32,
    /// Size and alignment of each slot.
    pub slots: Vec<(u32, u32)>,
}

/// How an operand is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Read before the destination is written.
    Early,
    /// Read after the destination is written.
    Late,
    /// Read from wherever it is, before the call.
    Any,
    /// Written.
    Def,
}

fn src(s: &Src, role: Role, f: &mut impl FnMut(VReg, Role)) {
    if let Src::Reg(v) = s {
        f(*v, role);
    }
}

fn base(a: &Addr, role: Role, f: &mut impl FnMut(VReg, Role)) {
    if let Base::Reg(v) = a.base {
        f(v, role);
    }
}

fn cond(c: &MCond, role: Role, f: &mut impl FnMut(VReg, Role)) {
    f(c.a, role);
    src(&c.b, role, f);
}

impl MOp {
    /// Calls `f` with each virtual register: what is read, then what is written.
    pub(crate) fn visit(&self, f: &mut impl FnMut(VReg, Role)) {
        match self {
            MOp::Param { .. } | MOp::Result { .. } | MOp::Konst { .. } => {}
            MOp::Mov { src: a, .. } | MOp::AddCore { a, .. } | MOp::Neg { a, .. } | MOp::Swap { a, .. } => {
                f(*a, Role::Early)
            }
            MOp::Alu { a, b, .. } => {
                src(a, Role::Early, f);
                src(b, Role::Late, f);
            }
            MOp::Load { addr, .. } => base(addr, Role::Early, f),
            MOp::Store { addr, src: s, .. } => {
                base(addr, Role::Early, f);
                src(s, Role::Early, f);
            }
            MOp::Atomic { addr, src: s, .. } => {
                base(addr, Role::Early, f);
                f(*s, Role::Early);
            }
            MOp::AtomicFetch { addr, src: s, .. } => {
                base(addr, Role::Late, f);
                f(*s, Role::Early);
            }
            MOp::Select { cond: c, then, other, .. } => {
                src(then, Role::Early, f);
                cond(c, Role::Late, f);
                src(other, Role::Late, f);
            }
            MOp::NegIf { cond: c, a, .. } => {
                f(*a, Role::Early);
                cond(c, Role::Late, f);
            }
            MOp::Clamp { a, max, .. } => {
                f(*a, Role::Early);
                src(max, Role::Late, f);
            }
            MOp::Call { args, .. } => {
                for arg in args {
                    if let Source::Reg(v) = arg.from {
                        f(v, Role::Any);
                    }
                }
            }
        }
        if let Some(dst) = self.dst() {
            f(dst, Role::Def);
        }
    }

    /// What is written.
    pub(crate) fn dst(&self) -> Option<VReg> {
        match self {
            MOp::Param { dst, .. }
            | MOp::Result { dst }
            | MOp::Konst { dst, .. }
            | MOp::Mov { dst, .. }
            | MOp::Alu { dst, .. }
            | MOp::AddCore { dst, .. }
            | MOp::Neg { dst, .. }
            | MOp::Swap { dst, .. }
            | MOp::Load { dst, .. }
            | MOp::AtomicFetch { dst, .. }
            | MOp::Select { dst, .. }
            | MOp::NegIf { dst, .. }
            | MOp::Clamp { dst, .. } => Some(*dst),
            MOp::Store { .. } | MOp::Atomic { .. } | MOp::Call { .. } => None,
        }
    }

    /// The operand that is best in the destination's register.
    pub(crate) fn same_as_dst(&self) -> Option<VReg> {
        match self {
            MOp::Mov { src: a, ext: Ext::None, .. }
            | MOp::AddCore { a, .. }
            | MOp::Neg { a, .. }
            | MOp::Swap { a, .. }
            | MOp::NegIf { a, .. }
            | MOp::Clamp { a, .. }
            | MOp::AtomicFetch { src: a, .. }
            | MOp::Alu { a: Src::Reg(a), .. }
            | MOp::Select { then: Src::Reg(a), .. } => Some(*a),
            _ => None,
        }
    }
}

impl MTerm {
    /// Calls `f` with each virtual register that the end of a block reads, edges' arguments apart.
    pub(crate) fn visit(&self, f: &mut impl FnMut(VReg, Role)) {
        match self {
            MTerm::Branch { cond: c, .. } => cond(c, Role::Early, f),
            MTerm::Return(Source::Reg(v)) => f(*v, Role::Any),
            MTerm::Jump(_) | MTerm::MayGoto { .. } | MTerm::Return(_) => {}
        }
    }
}
