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
    /// Programs record their runs.
    pub record: bool,
    /// Directories that `#include` and `import` look in, after the script's own.
    pub include_dirs: Vec<String>,
    /// Files included before the script's first line.
    pub includes: Vec<String>,
    /// `-k`: a warning where a helper fails: a read of memory, a lookup of a map.
    pub helper_errors: bool,
    /// Which probes run.
    pub mode: Mode,
    /// Only `test:` and `bench:` probes whose name matches this regular expression.
    pub probe_filter: Option<String>,
    /// Compiles `filter("…")`; without, scripts cannot use it.
    pub filters: Option<crate::filter::Filters>,
    /// Process id of skep itself (for `self` probes and the like).
    pub own_pid: u32,
}

/// Which probes of a script run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// All but `test:` and `bench:` probes.
    #[default]
    Trace,
    /// Only `test:` probes.
    Test,
    /// Only `bench:` probes.
    Bench,
}
