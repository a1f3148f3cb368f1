//! Options of `skep conformance`.

use clap::Args;

/// Options of `skep conformance`.
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// The program's memory, in hexadecimal
    #[arg(value_name = "MEMORY", default_value = "")]
    pub(crate) memory: String,
    /// The program is an ELF object (it is recognised without)
    #[arg(long)]
    pub(crate) elf: bool,
    /// Run machine code in place of the interpreter
    #[arg(long)]
    pub(crate) jit: bool,
    /// Machine code with blinded constants; the number decides with what
    #[arg(long, value_name = "SEED", requires = "jit")]
    pub(crate) blind: Option<u64>,
}
