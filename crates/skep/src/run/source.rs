//! What is run: an object file or a script enters; an object that the machine loads leaves.

use crate::error::Error;
use crate::script::Script;
use skep_bpf::btf::Btf;
use skep_bpf::elf::{Module, Selection, read};
use skep_bpf::object::Object;
use skep_bpf::target::{Answer, Question, Target, TargetError, TargetExt};
use skep_kernel::LiveTarget;
use std::sync::Arc;

/// The kernel that programs are to run as on: this one, with the types of a file where one is given.
pub struct Types {
    live: LiveTarget,
    given: Option<Arc<Btf>>,
}

impl Types {
    /// This kernel's; `file`: name and contents of a file of types (BTF) in their place.
    pub fn new(file: Option<(&str, Vec<u8>)>) -> Result<Types, Error> {
        let live = LiveTarget::new();
        let given = file.map(|(name, bytes)| crate::types::parse(name, bytes, &live)).transpose()?;
        Ok(Types { live, given })
    }

    /// The types, if this machine has any.
    pub fn btf(&self) -> Option<Arc<Btf>> {
        self.vmlinux().ok()
    }
}

impl Target for Types {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        match (question, &self.given) {
            (Question::Btf(module), Some(btf)) if module.is_empty() => Ok(Answer::Btf(btf.clone())),
            _ => self.live.ask(question),
        }
    }
}

/// Reads an object file, which messages call `name`, for the machine. One that skep wrote runs as it is; of others all
/// programs, or those that are named.
pub fn object(name: &str, bytes: &[u8], programs: &[String]) -> Result<Object, Error> {
    let refused = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
    let module = Module::parse(bytes).map_err(|e| refused(e.to_string()))?;
    if !module.skep.is_empty() {
        return read(bytes).map_err(|e| refused(e.to_string()));
    }
    let wanted = match programs {
        [] => Selection::Default,
        names => Selection::Named(names.to_vec()),
    };
    module.object(&wanted).map_err(|e| refused(e.to_string()))
}

/// Compiles a script for the machine; warnings as text beside it.
pub fn script(script: &Script, types: &Types, style: crate::Style) -> Result<(Object, String), Error> {
    let (object, diagnostics, source) = script.compile_for(types)?;
    Ok((object, diagnostics.render(&source.name, &source.text, style)))
}
