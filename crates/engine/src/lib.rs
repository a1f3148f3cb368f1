//! The offline machine: runs eBPF programs without a kernel.
//!
//! Objects, maps' contents, packets and recorded events enter; what the programs return, send and leave in their maps comes
//! out. Everything of a program's world lies in one reserved region of 4 GiB, a program's pointers are offsets into it, and
//! every access is checked against the object that it falls into. Nothing of the host is visible to a program, and nothing
//! here touches a file, the environment or a clock.

#[cfg(any(test, feature = "generate"))]
pub mod generate;
pub mod helpers;
pub mod jit;
pub mod maps;
#[allow(unsafe_code, reason = "mapped memory and machine code")]
mod native;
pub mod random;
pub mod vm;
