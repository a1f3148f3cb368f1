//! Errors of the facade: the user's mistakes as text that is ready to show, the environment's as values.

use skep_lang::compile::Source;
use skep_lang::diag::{Diagnostics, Style};

/// Why something did not work.
#[derive(Debug)]
pub enum Error {
    /// The script is wrong, or this kernel lacks what it needs.
    Script {
        /// What was found.
        diagnostics: Diagnostics,
        /// The script.
        source: Source,
    },
    /// The kernel refused the maps, programs or attachments of these probes.
    Kernel(Vec<skep_kernel::Failure>),
    /// The kernel refused maps or programs of an object file of another compiler.
    Foreign {
        /// The file.
        file: String,
        /// What was refused.
        failures: Vec<skep_kernel::Failure>,
        /// The object, for its source lines.
        object: Box<skep_bpf::object::Object>,
    },
    /// Something else in the environment.
    Environment(skep_kernel::Error),
    /// Events could not be read, or output not be written.
    Session(skep_runtime::Error),
    /// `dw_ustack` is used, and no process is named whose stacks it is to walk.
    NoProcess,
    /// There is no map of that name.
    NoMap(String),
    /// A capture cannot be read or written as asked.
    Capture(String),
    /// A router cannot do what is asked.
    Route(String),
    /// Output could not be written.
    Output(std::io::Error),
    /// An object file cannot be written, read, or run on this machine.
    Object {
        /// The file; empty when it is to be written.
        file: String,
        /// Everything that stands in the way.
        why: Vec<String>,
    },
    /// A program was stopped on the offline machine, or cannot run there.
    Stopped(String),
    /// A bug of skep: an invariant broke, or the kernel refused a program that the compiler made.
    Internal(String),
}

impl Error {
    /// The message for people.
    pub fn render(&self, style: Style) -> String {
        match (self, style) {
            (Error::Script { diagnostics, source }, _) => {
                diagnostics.render(&source.name, &source.text, style)
            }
            (other, Style::Snippets { .. }) => format!("error: {other}\n"),
            (Error::Kernel(failures), Style::Lines) if failures.iter().all(|f| f.attaching) => {
                failures.iter().map(unattached).collect()
            }
            (Error::Kernel(failures), Style::Lines) if failures.iter().any(is_load) => {
                let hint = if self.is_internal() { format!("HINT: {REPORT}\n") } else { String::new() };
                failures.iter().map(unloaded).chain([hint]).collect()
            }
            (other, Style::Lines) => format!("ERROR: {other}\n"),
        }
    }

    /// What is wrong with a capture file.
    pub(crate) fn capture(name: &str, error: &skep_packet::file::FileError) -> Error {
        Error::Capture(format!("{name}: {error}"))
    }

    /// Whether it is a bug of skep.
    pub fn is_internal(&self) -> bool {
        match self {
            Error::Internal(_) => true,
            Error::Kernel(failures) => failures.iter().any(|f| f.error.is_refusal()),
            _ => false,
        }
    }
}

/// What to do about a program that the kernel should have taken.
const REPORT: &str = "this is a bug in skep: please report it with the output of `-d all`, and of `-vv`";

fn is_load(failure: &skep_kernel::Failure) -> bool {
    matches!(failure.error, skep_kernel::Error::Load { .. })
}

/// A program that was not loaded, in the form of bpftrace.
fn unloaded(failure: &skep_kernel::Failure) -> String {
    let skep_kernel::Error::Load { symbol, errno, log, .. } = &failure.error else {
        return format!("ERROR: {}: {}\n", failure.of, failure.error);
    };
    let why = std::io::Error::from_raw_os_error(*errno).to_string();
    let why = why.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&why);
    let mut text = format!("ERROR: Error loading BPF program for {symbol}. Error code: -{errno} ({why}).\n");
    failure.error.explain().iter().for_each(|line| text.push_str(&format!("HINT: {line}\n")));
    if !log.contains("processed") {
        text.push_str(
            "WARNING: Kernel log seems to be trimmed. This may be due to its buffer not being big enough: try increasing \
             the BPFTRACE_LOG_SIZE environment variable, or `config = { log_size = N }`.\n",
        );
    }
    text
}

/// A probe that could not be attached, in the form of bpftrace.
fn unattached(failure: &skep_kernel::Failure) -> String {
    // The place is in the line below.
    let mut text = match &failure.error {
        skep_kernel::Error::Damaged { why, .. } => format!("ERROR: {why}\n"),
        error => format!("ERROR: {error}\n"),
    };
    failure.error.explain().iter().for_each(|line| text.push_str(&format!("HINT: {line}\n")));
    text.push_str(&format!("ERROR: Unable to attach probe: {}. ", failure.of));
    text.push_str("If this is expected, set the 'missing_probes' config variable to 'warn'.\n");
    text
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Script { diagnostics, source } => f.write_str(
                diagnostics.render(&source.name, &source.text, Style::Snippets { color: false }).trim_end(),
            ),
            Error::Kernel(failures) => {
                for (i, failure) in failures.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{}: {}", failure.of, failure.error)?;
                    for line in failure.error.explain() {
                        write!(f, "\n  {line}")?;
                    }
                }
                if self.is_internal() {
                    write!(f, "\n  {REPORT}")?;
                }
                Ok(())
            }
            Error::Foreign { file, failures, object } => {
                write!(f, "{file} cannot be loaded")?;
                failures.iter().try_for_each(|failure| crate::refusal::write(f, failure, object))
            }
            Error::Environment(error) => {
                write!(f, "{error}")?;
                for line in error.explain() {
                    write!(f, "\n  {line}")?;
                }
                Ok(())
            }
            Error::Session(error) => write!(f, "{error}"),
            Error::Object { file, why } => {
                let why = why.join("\n  ");
                match file.as_str() {
                    "" => write!(f, "this program cannot run on other machines: {why}"),
                    file => write!(f, "{file}: {why}"),
                }
            }
            Error::NoProcess => f.write_str(
                "dw_ustack requires a target process: name one with -p or --dwarf-pid, or start it with -c",
            ),
            Error::Capture(why) | Error::Route(why) => f.write_str(why),
            Error::Output(error) => write!(f, "{error}"),
            Error::Stopped(why) => f.write_str(why),
            Error::NoMap(name) => write!(f, "the script has no map {name}"),
            Error::Internal(why) => write!(f, "this is a bug in skep: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Output(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Output(error)
    }
}

impl From<skep_kernel::Error> for Error {
    fn from(error: skep_kernel::Error) -> Error {
        Error::Environment(error)
    }
}

impl From<skep_runtime::Error> for Error {
    fn from(error: skep_runtime::Error) -> Error {
        Error::Session(error)
    }
}
