//! Objects that leave the machine: a script is compiled so that other kernels can run it, written as an ELF file, and read
//! from one. What always holds: an object that was read is checked against the machine before anything of it is loaded.

use crate::error::Error;
use crate::script::Program;
use skep_bpf::core::embed::embed;
use skep_bpf::elf;
use skep_bpf::needs::changing_helpers;
use skep_bpf::object::Object;
use skep_bpf::origin::check::adapt;
use skep_bpf::origin::gather::gather;
use skep_bpf::origin::{Assumption, Origin};
use skep_bpf::target::{Answer, Feature, Question, Recorder, Target, TargetError, TargetExt};
use skep_bpf::version::KernelVersion;
use skep_kernel::LiveTarget;
use skep_lang::compile::Source;
use skep_lang::diag::Diagnostics;
use std::sync::Arc;

/// The machine as a script sees it whose object will run elsewhere: process ids are those of the initial PID namespace, and
/// features that are newer than the oldest kernel to run on are not there.
pub(crate) struct Elsewhere<'a> {
    inner: &'a LiveTarget,
    oldest: Option<KernelVersion>,
}

impl<'a> Elsewhere<'a> {
    pub(crate) fn new(inner: &'a LiveTarget, oldest: Option<KernelVersion>) -> Recorder<Elsewhere<'a>> {
        Recorder::new(Elsewhere { inner, oldest })
    }

    fn too_new(&self, feature: Feature) -> bool {
        self.oldest.is_some_and(|oldest| feature.since() > oldest)
    }
}

impl Target for Elsewhere<'_> {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        match question {
            Question::PidNamespace => Ok(Answer::Names(Arc::default())),
            Question::Has(feature) if self.too_new(*feature) => Ok(Answer::Yes(false)),
            Question::KernelVersion => {
                let version = self.inner.kernel_version()?;
                Ok(Answer::Version(self.oldest.map_or(version, |oldest| version.min(oldest))))
            }
            _ => self.inner.ask(question),
        }
    }
}

/// Makes an object that was compiled with `target` independent of this machine, as far as that goes.
pub(crate) fn detach(object: &Object, target: &Recorder<Elsewhere<'_>>) -> Result<Object, Error> {
    let refused = |why: String| Error::Object { file: String::new(), why: vec![why] };
    let unanswered = |e: TargetError| refused(e.to_string());
    let machine = target.inner().inner;
    let types = machine.vmlinux().map_err(unanswered)?;
    let origin = Origin {
        arch: machine.arch().map_err(unanswered)?,
        kernel: machine.kernel_version().map_err(unanswered)?,
        assumptions: gather(object, &target.recorded(), machine).map_err(|e| refused(e.to_string()))?,
    };
    embed(object, &types, origin).map_err(|e| refused(e.to_string()))
}

impl Program {
    /// The program as an ELF file that libbpf, bpftool and skep load; of a script that was compiled as
    /// [`portable`](crate::Script::portable).
    pub fn to_elf(&self) -> Result<Vec<u8>, Error> {
        elf::write(&self.object).map_err(|e| Error::Object { file: String::new(), why: vec![e.to_string()] })
    }

    /// Reads an ELF file that skep wrote, which messages call `name`, checks that this machine can run it, and adapts what
    /// lies elsewhere here. `allow_unsafe`: the object may change the system.
    pub fn open(
        name: &str,
        bytes: &[u8],
        target: Arc<LiveTarget>,
        allow_unsafe: bool,
    ) -> Result<Program, Error> {
        let refused = |why: Vec<String>| Error::Object { file: name.to_owned(), why };
        let object = elf::read(bytes).map_err(|e| refused(vec![e.to_string()]))?;
        if !allow_unsafe && let Some((helper, probe)) = changing_helpers(&object).first() {
            let why =
                format!("{probe} calls bpf_{helper}(), which changes the system: allow it with --unsafe");
            return Err(refused(vec![why]));
        }
        let object = adapt(&object, target.as_ref()).map_err(refused)?;
        let source = Source { name: name.to_owned(), text: String::new() };
        Ok(Program { object, diagnostics: Diagnostics::default(), source, target, recording: None })
    }

    /// Whether an object that runs elsewhere takes a thing for granted that only this machine, as it runs now, has: the
    /// address of a kernel symbol, the id of a cgroup. Each as a sentence.
    pub fn ties(&self) -> Vec<String> {
        let assumptions = self.object.origin.iter().flat_map(|o| &o.assumptions);
        assumptions
            .filter_map(|a| match a {
                Assumption::Symbol { name, .. } => Some(format!(
                    "the address of the kernel symbol {name} changes with every boot: the object runs until the next"
                )),
                Assumption::Cgroup { path, .. } => {
                    Some(format!("the id of the cgroup {path} is part of the object"))
                }
                _ => None,
            })
            .collect()
    }
}
