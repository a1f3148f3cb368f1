//! Where an object comes from, and what it takes for granted of the machine it runs on. The compiler bakes answers of its
//! [`crate::target::Target`] into instructions; what of that CO-RE cannot relocate is noted here as an [`Assumption`],
//! so that another machine can be asked before anything runs on it.

pub mod check;
pub mod gather;
#[cfg(test)]
mod tests;

use crate::object::BtfTarget;
use crate::target::Arch;
use crate::version::KernelVersion;

/// What an object was compiled for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Architecture: registers, calling conventions and numbers of system calls are its own.
    pub arch: Arch,
    /// The kernel; for messages.
    pub kernel: KernelVersion,
    /// What must hold where it runs.
    pub assumptions: Vec<Assumption>,
}

/// Something that the instructions or the attach points rely on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Assumption {
    /// The record of a tracepoint (through perf) has these fields, at these places.
    Tracepoint {
        /// Category.
        category: String,
        /// Name.
        name: String,
        /// The fields that the program may read.
        fields: Vec<Place>,
    },
    /// A kernel function, raw tracepoint or iterator has arguments of these C types, in this order. More may follow.
    Signature {
        /// Which.
        target: BtfTarget,
        /// C types.
        params: Vec<String>,
    },
    /// A kernel symbol has this address.
    Symbol {
        /// Name.
        name: String,
        /// Address.
        address: u64,
    },
    /// A cgroup has this id.
    Cgroup {
        /// Path, as the source names it.
        path: String,
        /// Id.
        id: u64,
    },
    /// A user has this id.
    User {
        /// Name.
        name: String,
        /// Id.
        id: u64,
    },
    /// A probe's place in a binary belongs to this function. Where the function lies elsewhere, the place moves with it.
    Function {
        /// The binary.
        path: String,
        /// Symbol.
        name: String,
        /// Bytes from the function's start to the place.
        delta: u64,
        /// Offset of the place in the file.
        offset: u64,
    },
    /// A probe's place in a binary is that of a USDT probe.
    Note {
        /// The binary.
        path: String,
        /// Provider.
        provider: String,
        /// Name.
        name: String,
        /// Which of the places of that name, from 0.
        index: u32,
        /// Offset of the place in the file.
        offset: u64,
        /// Offset of its semaphore; 0: it has none.
        semaphore: u64,
        /// Operands of its arguments.
        args: String,
    },
    /// The machine has at most so many possible CPUs.
    Cpus(u64),
    /// A struct of the kernel whose whole value is kept is laid out so.
    Layout {
        /// Tag.
        name: String,
        /// Bytes.
        size: u32,
        /// The fields that are kept.
        fields: Vec<Place>,
    },
}

/// A field's place in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name.
    pub name: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}
