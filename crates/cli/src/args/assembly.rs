//! Options of `skep disasm` and `skep asm`.

use clap::Args;
use std::path::PathBuf;

/// Options of `skep disasm`.
#[derive(Debug, Args)]
pub(crate) struct Disasm {
    /// An object file, or instructions: eight bytes each, or hex digits (`-`: standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Write the text to FILE
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Options of `skep asm`.
#[derive(Debug, Args)]
pub(crate) struct Asm {
    /// The text: what `skep disasm` prints, or instructions alone (`-`: standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Write the object, or the bytes of the instructions, to FILE; without it, instructions are printed in hex
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
