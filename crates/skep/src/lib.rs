//! skep as a library: compile a script, load it, read its events and its maps.
//!
//! ```no_run
//! use skep::{Script, Tracer};
//!
//! let script = Script::inline("tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }");
//! let program = script.compile()?;
//! let mut tracer = Tracer::attach(&program)?;
//! tracer.run_for(std::time::Duration::from_secs(1))?;
//! for (key, value) in tracer.map("@")? {
//!     println!("{key} {value}");
//! }
//! # Ok::<(), skep::Error>(())
//! ```

pub mod assembly;
pub mod capture;
pub mod conformance;
mod error;
mod given;
pub mod inspect;
pub mod objects;
mod packets;
mod portable;
mod record;
mod refusal;
pub mod route;
pub mod run;
mod script;
mod tracer;
mod trial;
mod types;

pub use error::Error;
pub use packets::Open;
pub use record::Written;
pub use script::{Program, Script};
pub use skep_bpf::elf::is_elf;
pub use skep_bpf::target::Feature;
pub use skep_bpf::version::KernelVersion;
pub use skep_kernel::{LiveOptions, LiveTarget};
pub use skep_lang::compile::Stage;
pub use skep_lang::diag::Style;
pub use skep_lang::options::Mode;
pub use tracer::{Ended, Limits, Output, Tracer};

/// What the running kernel can do.
pub mod doctor {
    pub use skep_kernel::features::doctor::{Check, Status, checks};
}

/// Listing of probes.
pub mod list {
    use crate::Error;
    use skep_kernel::LiveTarget;
    use skep_lang::compile::Source;
    use skep_lang::list;

    /// Lines of the listing of all probes that match `pattern`; with their arguments if `verbose`.
    pub fn probes(pattern: &str, verbose: bool, target: &LiveTarget) -> Result<Vec<String>, Error> {
        list::probes(pattern, verbose, target.options().pid, target).map_err(|diagnostics| {
            let source = Source { name: "pattern".to_owned(), text: pattern.to_owned() };
            Error::Script { diagnostics, source }
        })
    }

    /// The same for the probes of the script `text`, which messages call `name`.
    pub fn script(name: &str, text: &str, verbose: bool, target: &LiveTarget) -> Result<Vec<String>, Error> {
        list::script(text, verbose, target.options().pid, target).map_err(|diagnostics| {
            let source = Source { name: name.to_owned(), text: text.to_owned() };
            Error::Script { diagnostics, source }
        })
    }
}

/// Names of machine-level things that a command line needs.
pub mod machine {
    pub use skep_kernel::interrupt::UntilSignal;
    pub use skep_kernel::machine::{is_root, missing_capabilities, system};
    pub use skep_kernel::packet::MappedFile;
    pub use skep_kernel::proc::{Child, Signals, exists, signal_number};
}
