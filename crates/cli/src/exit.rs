//! Exit codes of `skep`, documented in docs/trace.md.

/// Why the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// The input is wrong, or the environment refused.
    Failure = 1,
    /// The command line is wrong (clap's own code).
    Usage = 2,
    /// A bug of skep: a program that it compiled was refused, or an invariant of the compiler broke.
    Internal = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
