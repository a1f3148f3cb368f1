//! What the caller decides about a compilation.

/// Options of the front-end. Environment variables and the command line are read by the caller.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Positional parameters `$1` ….
    pub params: Vec<String>,
    /// `-p`: only this process.
    pub pid: Option<u32>,
    /// The process started by `-c` (`cpid`).
    pub child: Option<u32>,
    /// Allow `system`, `signal`, `override` ….
    pub unsafe_mode: bool,
    /// Settings from the environment, name as in a config block (`max_strlen`), value as text. The script's own
    /// config block wins.
    pub config: Vec<(String, String)>,
    /// Compiler passes on.
    pub passes: bool,
    /// Process id of skep itself (for `self` probes and the like).
    pub own_pid: u32,
}
