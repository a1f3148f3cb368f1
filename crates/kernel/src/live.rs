//! [`LiveTarget`]: the running machine as a [`Target`]. Every answer is found when it is asked for, and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use skep_bpf::btf::Btf;
use skep_bpf::target::{Answer, Arch, Feature, Question, Target, TargetError, TypeRequest};

use crate::error::Error;
use crate::features::{Features, Probe};
use crate::symbols::kallsyms::Kallsyms;
use crate::tracefs::Tracefs;
use crate::{
    binaries, boundary, btf, demangle, dwarf, elf, files, interfaces, machine, proc, programs, usdt,
};

/// What the user wants to be otherwise than found.
#[derive(Clone, Debug, Default)]
pub struct LiveOptions {
    /// Features that are taken as missing.
    pub without: Vec<Feature>,
    /// File with the traceable kernel functions, as `available_filter_functions` has them, in place of the kernel's.
    pub traceable_functions: Option<String>,
    /// Directories of debug information, searched before the system's.
    pub debuginfo: Vec<String>,
    /// The process whose binaries and mount namespace `-p` means.
    pub pid: Option<u32>,
}

/// The running machine. Cheap to make; share one per process.
#[derive(Debug, Default)]
pub struct LiveTarget {
    options: LiveOptions,
    vmlinux: OnceLock<Result<Arc<Btf>, Error>>,
    modules: Mutex<HashMap<String, Arc<Btf>>>,
    tracefs: OnceLock<Result<Tracefs, Error>>,
    events: OnceLock<Arc<Vec<String>>>,
    functions: OnceLock<Arc<Vec<String>>>,
    kallsyms: OnceLock<Result<Arc<Kallsyms>, Error>>,
    binaries: Mutex<HashMap<String, Arc<Vec<skep_bpf::target::Symbol>>>>,
    binary_types: Mutex<HashMap<TypeRequest, Result<Arc<Btf>, Error>>>,
    features: Features,
}

/// This program's architecture, which is the kernel's.
const ARCH: Option<Arch> = if cfg!(target_arch = "x86_64") {
    Some(Arch::X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(Arch::Aarch64)
} else {
    None
};

impl LiveTarget {
    /// The running machine; nothing is read yet.
    pub fn new() -> LiveTarget {
        LiveTarget::default()
    }

    /// The running machine, but for what `options` change.
    pub fn with(options: LiveOptions) -> LiveTarget {
        LiveTarget { options, ..LiveTarget::default() }
    }

    /// What was wanted otherwise.
    pub fn options(&self) -> &LiveOptions {
        &self.options
    }

    /// The kernel's own types.
    pub fn vmlinux_types(&self) -> Result<Arc<Btf>, Error> {
        self.vmlinux.get_or_init(btf::vmlinux).clone()
    }

    /// A module's types.
    pub fn module_types(&self, module: &str) -> Result<Arc<Btf>, Error> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(types) = modules.get(module) {
            return Ok(types.clone());
        }
        let types = btf::module(module, self.vmlinux_types()?)?;
        modules.insert(module.to_owned(), types.clone());
        Ok(types)
    }

    /// Tracefs, mounted or detached.
    pub fn tracefs(&self) -> Result<&Tracefs, Error> {
        self.tracefs.get_or_init(Tracefs::open).as_ref().map_err(Clone::clone)
    }

    /// The kernel's symbols, read at the first call (some 40 ms).
    pub fn kallsyms(&self) -> Result<Arc<Kallsyms>, Error> {
        self.kallsyms.get_or_init(|| Kallsyms::read().map(Arc::new)).clone()
    }

    /// Whether the kernel has `feature`, or that it would not say.
    pub fn probe(&self, feature: Feature) -> Probe {
        self.features.probe(feature, self)
    }

    /// Whether the kernel has `feature`; where it would not say, whether its version has it.
    pub fn supports(&self, feature: Feature) -> bool {
        !self.options.without.contains(&feature)
            && self.probe(feature).or(machine::version() >= feature.since())
    }

    fn events(&self) -> Result<Arc<Vec<String>>, Error> {
        if let Some(events) = self.events.get() {
            return Ok(events.clone());
        }
        let events = Arc::new(self.tracefs()?.events()?);
        Ok(self.events.get_or_init(|| events).clone())
    }

    fn functions(&self) -> Result<Arc<Vec<String>>, Error> {
        if let Some(functions) = self.functions.get() {
            return Ok(functions.clone());
        }
        let functions = Arc::new(self.list_functions()?);
        Ok(self.functions.get_or_init(|| functions).clone())
    }

    /// What ftrace can trace; where that is not shown, the text symbols that are not marked as out of bounds.
    fn list_functions(&self) -> Result<Vec<String>, Error> {
        let filter = match &self.options.traceable_functions {
            Some(file) => Ok(files::any_text(file)?),
            None => self.tracefs().and_then(|t| t.read("available_filter_functions")),
        };
        let mut names: Vec<String> = match filter {
            Ok(text) => text.lines().filter_map(filter_function).collect(),
            Err(_) => self.kallsyms()?.functions().collect(),
        };
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn binary_symbols(&self, path: &str) -> Result<Arc<Vec<skep_bpf::target::Symbol>>, Error> {
        let mut binaries = self.binaries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(symbols) = binaries.get(path) {
            return Ok(symbols.clone());
        }
        let symbols = Arc::new(elf::function_symbols(path)?);
        binaries.insert(path.to_owned(), symbols.clone());
        Ok(symbols)
    }

    fn binary_types(&self, request: &TypeRequest) -> Result<Arc<Btf>, Error> {
        let known = &self.binary_types;
        if let Some(types) = known.lock().unwrap_or_else(PoisonError::into_inner).get(request) {
            return types.clone();
        }
        let types = dwarf::types(request, &self.options.debuginfo).map(Arc::new);
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(request.clone(), types.clone());
        types
    }

    fn answer(&self, question: &Question) -> Result<Answer, Error> {
        Ok(match question {
            Question::KernelVersion => Answer::Version(machine::version()),
            Question::Arch => Answer::Arch(ARCH.ok_or_else(|| Error::Unavailable {
                what: "skep".into(),
                why: "it supports x86-64 and aarch64".into(),
            })?),
            Question::PossibleCpus => Answer::Number(machine::possible_cpus()? as u64),
            Question::Has(feature) => Answer::Yes(self.supports(*feature)),
            Question::Btf(name) if name.is_empty() => Answer::Btf(self.vmlinux_types()?),
            Question::Btf(name) => Answer::Btf(self.module_types(name)?),
            Question::Modules => Answer::Names(Arc::new(btf::modules())),
            Question::Tracepoints => Answer::Names(self.events()?),
            Question::TracepointFormat { category, name } => {
                Answer::Text(self.tracefs()?.format(category, name)?.into())
            }
            Question::KernelFunctions => Answer::Names(self.functions()?),
            Question::Interfaces => Answer::Interfaces(Arc::new(interfaces::all()?)),
            Question::KernelSymbol(name) => Answer::Number(
                self.kallsyms()?
                    .address(name)?
                    .ok_or_else(|| Error::Missing(format!("kernel symbol {name}")))?,
            ),
            Question::BinaryPath(name) => Answer::Text(elf::find_binary(name)?.into()),
            Question::BinarySymbols(path) => Answer::Symbols(self.binary_symbols(path)?),
            Question::InstructionAt { path, start, offset } => {
                Answer::Yes(boundary::begins(path, *start, *offset)?)
            }
            Question::BinaryNotes(path) => Answer::Notes(Arc::new(usdt::notes(path)?)),
            Question::Binaries { name, pid, any_file } => {
                Answer::Names(Arc::new(binaries::find(name, *pid, *any_file)?))
            }
            Question::MappedBinaries(pid) => Answer::Names(Arc::new(match pid {
                Some(pid) => binaries::mapped(*pid)?,
                None => binaries::mapped_by_all()?,
            })),
            Question::BinaryVariable { path, name } => {
                Answer::Symbols(Arc::new(elf::variable(path, name)?.into_iter().collect()))
            }
            Question::BpfPrograms => Answer::Names(Arc::new(programs::functions()?)),
            Question::PidNamespace => Answer::Names(Arc::new(proc::pid_namespace()?)),
            Question::CgroupId(path) => Answer::Number(proc::cgroup_id(path)?),
            Question::UserId(name) => Answer::Number(u64::from(
                proc::user_id(name).ok_or_else(|| Error::Missing(format!("user {name}")))?,
            )),
            Question::File(path) => Answer::Text(files::text(path)?.into()),
            Question::Directory(path) => Answer::Names(Arc::new(files::names(path)?)),
            Question::BinaryTypes(request) => Answer::Btf(self.binary_types(request)?),
            Question::SourceLine { path, file, line, column } => {
                let place = dwarf::source_line(path, &self.options.debuginfo, (file, *line, *column))?;
                Answer::Symbols(Arc::new(vec![place]))
            }
            Question::DemangledSymbols(path) => {
                Answer::Symbols(Arc::new(demangle::symbols(&self.binary_symbols(path)?)))
            }
        })
    }
}

/// The function of one line of available_filter_functions: `name` or `name [module]`.
fn filter_function(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    if name.starts_with("__ftrace_invalid_address") {
        return None;
    }
    Some(match words.next() {
        Some(module) => format!("{}:{name}", module.trim_matches(['[', ']'])),
        None => name.to_owned(),
    })
}

impl Target for LiveTarget {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        self.answer(question).map_err(TargetError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_lines() {
        assert_eq!(filter_function("vfs_read").as_deref(), Some("vfs_read"));
        assert_eq!(filter_function("nf_hook [nf_tables]").as_deref(), Some("nf_tables:nf_hook"));
        assert_eq!(filter_function("__ftrace_invalid_address___120"), None);
        assert_eq!(filter_function(""), None);
    }
}
