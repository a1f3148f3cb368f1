//! Files of other compilers as objects: a [`Module`] enters; an [`Object`] leaves whose programs' types and places are those
//! that their sections' names say, ready for the loader and the machine that run skep's own. What a name does not say (an
//! interface, a cgroup, a binary) is left to whoever attaches.

use super::{Code, ElfError, Module, section};
use crate::btf::Btf;
use crate::kinds::ProgType;
use crate::object::{AttachPoint, Object, Program, RelocKind};
use crate::origin::Origin;
use crate::target::Arch;
use crate::version::KernelVersion;

/// Which programs of a file are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Selection {
    /// All but those that are only loaded when they are asked for.
    #[default]
    Default,
    /// Those with these names of functions.
    Named(Vec<String>),
}

/// What there is to say of a program of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramRow {
    /// Name of the function.
    pub function: String,
    /// Name of the section.
    pub section: String,
    /// Type; `None` when the section's name says none.
    pub prog_type: Option<ProgType>,
    /// Instructions, with those of the functions that it calls.
    pub insns: usize,
    /// Names of the maps that it uses.
    pub maps: Vec<String>,
    /// Loaded only when it is asked for.
    pub optional: bool,
}

impl Module {
    /// What the file's programs are.
    pub fn listing(&self) -> Vec<ProgramRow> {
        let row = |code: &Code| {
            let kind = section::parse(&code.section);
            let mut used: Vec<usize> = code
                .relocs
                .iter()
                .filter_map(|r| match r.kind {
                    RelocKind::Map(map) | RelocKind::MapValue(map) => Some(map),
                    _ => None,
                })
                .collect();
            used.sort_unstable();
            used.dedup();
            ProgramRow {
                function: code.function.clone(),
                section: code.section.clone(),
                prog_type: kind.as_ref().map(|k| k.prog_type),
                insns: code.insns.len(),
                maps: used.into_iter().filter_map(|m| Some(self.maps.get(m)?.spec.name.clone())).collect(),
                optional: kind.is_some_and(|k| k.optional),
            }
        };
        self.programs.iter().map(row).collect()
    }

    /// The file as an object. A program whose section names no kind that is known is refused by name.
    pub fn object(&self, wanted: &Selection) -> Result<Object, ElfError> {
        let mut programs = Vec::new();
        for code in &self.programs {
            if let Selection::Named(names) = wanted
                && !names.contains(&code.function)
            {
                continue;
            }
            let kind = section::parse(&code.section).ok_or_else(|| {
                ElfError::unsupported(format!(
                    "function `{}` is in section `{}`, which names no type of program: expected a name such as \
                     `tp/sched/sched_switch`, `kprobe/vfs_read` or `xdp`",
                    code.function, code.section
                ))
            })?;
            if kind.optional && *wanted == Selection::Default {
                continue;
            }
            programs.push(program(code, kind));
        }
        if let Selection::Named(names) = wanted {
            let known = |name: &&String| !programs.iter().any(|p| p.symbol == **name);
            if let Some(name) = names.iter().find(known) {
                let all: Vec<&str> = self.programs.iter().map(|c| c.function.as_str()).collect();
                let why = format!("there is no program `{name}`; the file has {}", all.join(", "));
                return Err(ElfError::unsupported(why));
            }
        }
        Ok(Object {
            license: self.license.clone(),
            programs,
            maps: self.maps.iter().map(|m| m.spec.clone()).collect(),
            btf: self.types_for_the_kernel()?,
            origin: Some(Origin {
                arch: if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 },
                kernel: KernelVersion::new(0, 0),
                assumptions: Vec::new(),
            }),
            ..Object::default()
        })
    }

    fn types_for_the_kernel(&self) -> Result<Vec<u8>, ElfError> {
        if self.btf.is_empty() {
            return Ok(Vec::new());
        }
        let btf = Btf::parse(self.btf.clone(), None).map_err(|e| ElfError::damaged(e.to_string()))?;
        Ok(btf.accepted(&self.sections, &self.hidden, false))
    }
}

fn program(code: &Code, kind: section::SectionKind) -> Program {
    let name = code.section.trim_start_matches('?').to_owned();
    let point = |at| AttachPoint { at, cookie: 0, name: name.clone(), probes: Some(1) };
    Program {
        symbol: code.function.clone(),
        prog_type: kind.prog_type,
        attach_type: kind.attach_type,
        attach_btf: kind.attach_btf,
        attach: kind.attach.map(point).into_iter().collect(),
        sleepable: kind.sleepable,
        insns: code.insns.clone(),
        relocs: code.relocs.clone(),
        funcs: code.funcs.clone(),
        lines: code.lines.clone(),
        name: format!("{} ({name})", code.function),
    }
}
