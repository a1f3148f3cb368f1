//! A module: functions, the programs that they are, and the parts of the object that the front-end has settled.

use super::func::Function;
use super::types::FuncId;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{AttachPoint, BtfTarget, Object};

/// What a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FuncKind {
    /// A program's main function: one parameter, the context; returns i32.
    Main,
    /// Called by other functions: at most five parameters.
    Sub,
    /// As `Sub`, but the verifier looks at it once and not at each call, knowing nothing of its callers (a global
    /// function, 5.13 with memory as parameter). The first parameter may be the address of so many bytes, readable and
    /// writable, or (without bytes, 5.6) the context of an XDP or TC program; the others are integers. Returns 64 bits.
    Global {
        /// Bytes behind the first parameter; 0: it is an integer too.
        bytes: u32,
    },
    /// Called by the kernel: bpf_loop (u64 index, callback ctx), bpf_for_each_map_elem (map, key, value, callback
    /// ctx); returns i64 0 to go on, 1 to stop. What it captures lies in the context object, a stack slot of the caller.
    Callback,
}

/// A program to be made of a function.
#[derive(Clone, PartialEq, Debug)]
pub struct ProgramDecl {
    /// Its main function.
    pub main: FuncId,
    /// See `Program::name`.
    pub name: String,
    /// See `Program::symbol`.
    pub symbol: String,
    /// Type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// BTF type that load needs.
    pub attach_btf: Option<BtfTarget>,
    /// Where it runs.
    pub attach: Vec<AttachPoint>,
    /// Sleepable.
    pub sleepable: bool,
}

/// A module.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Module {
    /// Functions by number.
    pub funcs: Vec<Function>,
    /// Programs.
    pub programs: Vec<ProgramDecl>,
    /// Maps, events, session and license; `programs` and `btf` are still empty. The compiler may add internal maps
    /// (scratch) and counters.
    pub object: Object,
    /// Source lines, for line info (index 0 is line 1), and the file's name.
    pub source: Vec<String>,
    /// The file's name.
    pub file: String,
}
