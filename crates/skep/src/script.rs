//! A script before it runs: text and options enter, a compiled program leaves.

use crate::error::Error;
use crate::portable::{Elsewhere, detach};
use crate::record;
use skep_bpf::object::{Attach, Object};
use skep_bpf::target::{Recorder, Target};
use skep_bpf::version::KernelVersion;
use skep_kernel::LiveTarget;
use skep_lang::compile::{CompileFailure, Source, Stage, compile};
use skep_lang::diag::{Diagnostics, Style};
use skep_lang::options::{Mode, Options};
use skep_runtime::record::Head;
use std::sync::Arc;

/// A script with its options.
#[derive(Clone, Debug)]
pub struct Script {
    source: Source,
    options: Options,
    portable: bool,
    oldest: Option<KernelVersion>,
}

/// A compiled script.
#[derive(Debug)]
pub struct Program {
    /// What runs.
    pub object: Object,
    /// Warnings.
    pub diagnostics: Diagnostics,
    pub(crate) source: Source,
    pub(crate) target: Arc<LiveTarget>,
    /// The head of its recording, if it is compiled to be recorded.
    pub(crate) recording: Option<Head>,
}

impl Script {
    /// A script by its text; messages call it `stdin`, as bpftrace does.
    pub fn inline(text: &str) -> Script {
        Script::named("stdin", text)
    }

    /// A script by its text, and the name that messages call it by.
    pub fn named(name: &str, text: &str) -> Script {
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        let options = Options {
            passes: true,
            own_pid: skep_kernel::proc::own_pid(),
            filters: Some(skep_packet::filter::script::compiler()),
            ..Options::default()
        };
        Script { source, options, portable: false, oldest: None }
    }

    /// Positional parameters, `$1` and on.
    pub fn params(mut self, params: Vec<String>) -> Script {
        self.options.params = params;
        self
    }

    /// Only events of this process.
    pub fn pid(mut self, pid: Option<u32>) -> Script {
        self.options.pid = pid;
        self
    }

    /// The child that `cpid` means.
    pub fn child(mut self, pid: Option<u32>) -> Script {
        self.options.child = pid;
        self
    }

    /// Allows functions that change the system.
    pub fn allow_unsafe(mut self, allow: bool) -> Script {
        self.options.unsafe_mode = allow;
        self
    }

    /// Settings from outside: names as in a config block, values as text. The script's own block wins.
    pub fn config(mut self, config: Vec<(String, String)>) -> Script {
        self.options.config = config;
        self
    }

    /// Directories that `#include` and `import` look in, and files that are included before the script.
    pub fn includes(mut self, dirs: Vec<String>, files: Vec<String>) -> Script {
        self.options.include_dirs = dirs;
        self.options.includes = files;
        self
    }

    /// Which probes run; of `test:` and `bench:` probes only those whose name matches the regular expression.
    pub fn mode(mut self, mode: Mode, filter: Option<String>) -> Script {
        self.options.mode = mode;
        self.options.probe_filter = filter;
        self
    }

    /// Whether failing helpers are reported.
    pub fn helper_errors(mut self, report: bool) -> Script {
        self.options.helper_errors = report;
        self
    }

    /// Whether the programs record their runs: [`Tracer::record`](crate::Tracer::record) writes them.
    pub fn record(mut self, record: bool) -> Script {
        self.options.record = record;
        self
    }

    /// Whether the optimising passes run (they do unless told otherwise).
    pub fn passes(mut self, passes: bool) -> Script {
        self.options.passes = passes;
        self
    }

    /// The script in the standard layout: only blanks and line breaks differ.
    pub fn formatted(&self) -> Result<String, Error> {
        skep_lang::fmt::format(&self.source.text)
            .map_err(|diagnostics| Error::Script { diagnostics, source: self.source.clone() })
    }

    /// Compiles for other machines too, down to the kernel `oldest`: [`Program::to_elf`] writes the result.
    pub fn portable(mut self, portable: bool, oldest: Option<KernelVersion>) -> Script {
        self.portable = portable;
        self.oldest = oldest;
        self
    }

    /// Compiles for the running kernel.
    pub fn compile(&self) -> Result<Program, Error> {
        self.compile_with(Arc::new(LiveTarget::new()), &|_| false, &mut |_, _| {})
    }

    /// Compiles for a target that need not be this machine: object, warnings and source.
    pub(crate) fn compile_for(&self, target: &dyn Target) -> Result<(Object, Diagnostics, Source), Error> {
        match compile(&self.source, &self.options, target, &|_| false, &mut |_, _| {}) {
            Ok(compiled) => Ok((compiled.object, compiled.diagnostics, self.source.clone())),
            Err(CompileFailure::Diagnostics(diagnostics)) => {
                Err(Error::Script { diagnostics, source: self.source.clone() })
            }
            Err(CompileFailure::Internal(why)) => Err(Error::Internal(why)),
        }
    }

    /// Compiles for `target`; `dump` gets the text of each stage that `wants` asks for.
    pub fn compile_with(
        &self,
        target: Arc<LiveTarget>,
        wants: &dyn Fn(Stage) -> bool,
        dump: &mut dyn FnMut(Stage, &str),
    ) -> Result<Program, Error> {
        let elsewhere = self.portable.then(|| Elsewhere::new(&target, self.oldest));
        let recorder = self.options.record.then(|| Recorder::new(target.as_ref()));
        let compiled = match (&elsewhere, &recorder) {
            (Some(elsewhere), _) => compile(&self.source, &self.options, elsewhere, wants, dump),
            (None, Some(recorder)) => compile(&self.source, &self.options, recorder, wants, dump),
            (None, None) => compile(&self.source, &self.options, target.as_ref(), wants, dump),
        };
        let detached = match (&compiled, &elsewhere) {
            (Ok(compiled), Some(elsewhere)) => Some(detach(&compiled.object, elsewhere)?),
            _ => None,
        };
        drop(elsewhere);
        let answers = recorder.map(|recorder| recorder.recorded());
        match compiled {
            Ok(compiled) => {
                let mut program = Program {
                    object: detached.unwrap_or(compiled.object),
                    diagnostics: compiled.diagnostics,
                    source: self.source.clone(),
                    target,
                    recording: None,
                };
                if let Some(answers) = answers {
                    program.recording = Some(record::head(&program, &self.options, &answers)?);
                }
                Ok(program)
            }
            Err(CompileFailure::Diagnostics(diagnostics)) => {
                Err(Error::Script { diagnostics, source: self.source.clone() })
            }
            Err(CompileFailure::Internal(why)) => Err(Error::Internal(why)),
        }
    }
}

impl Program {
    /// The warnings as text; empty without.
    pub fn warnings(&self, style: Style) -> String {
        self.diagnostics.render(&self.source.name, &self.source.text, style)
    }

    /// Whether it walks stacks by the call frame information of the processes that are named when it is loaded.
    pub fn walks_stacks(&self) -> bool {
        self.object.session.unwind.is_some()
    }

    /// Names of the signals that its `self:signal` probes wait for.
    pub fn signals(&self) -> Vec<String> {
        let points = self.object.programs.iter().flat_map(|p| &p.attach);
        points
            .filter_map(|p| match &p.at {
                Attach::SelfSignal(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }
}
