//! Object files of any compiler on the running kernel: bytes enter; a file's programs are listed, loaded, attached where their
//! sections say, pinned. What always holds: when a step fails nothing stays, and dropping a [`Held`] detaches what is not
//! pinned.

mod usdt;

use crate::error::Error;
use skep_bpf::elf::{Module, section};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, AttachPoint, HookOwner, Object, Program};
use skep_bpf::wildcard::matches;
use skep_kernel::LiveTarget;
use skep_kernel::load::{LoadOptions, Loaded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use usdt::Specs;

pub use skep_bpf::elf::{ProgramRow, Selection};

/// What section names leave open.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The interface for XDP, TC and netkit programs.
    pub interface: Option<String>,
    /// TC programs whose section says no direction see what the interface sends.
    pub egress: bool,
    /// The cgroup for cgroup programs.
    pub cgroup: Option<PathBuf>,
    /// The network namespace for socket lookup and flow dissector programs; without, this one.
    pub netns: Option<PathBuf>,
}

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which programs.
    pub selection: Selection,
    /// A file of types that relocations are resolved against; without, the running kernel's.
    pub btf: Option<PathBuf>,
    /// Level of the verifier's log to keep.
    pub log_level: u32,
    /// The folder for maps that are pinned by name.
    pub pin_root: Option<PathBuf>,
    /// Attach the programs, there where sections leave it open.
    pub attach: Option<Places>,
}

/// An object file.
#[derive(Debug)]
pub struct ObjectFile {
    name: String,
    module: Module,
    /// What skep itself has written says more than its sections.
    own: Option<Object>,
}

impl ObjectFile {
    /// Reads a file, which messages call `name`.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<ObjectFile, Error> {
        let module = Module::parse(bytes).map_err(|e| refused(name, e.to_string()))?;
        let own = match module.skep.is_empty() {
            true => None,
            false => Some(skep_bpf::elf::read(bytes).map_err(|e| refused(name, e.to_string()))?),
        };
        Ok(ObjectFile { name: name.to_owned(), module, own })
    }

    /// Its programs.
    pub fn listing(&self) -> Vec<ProgramRow> {
        self.module.listing()
    }

    /// The file as an object.
    pub fn object(&self, selection: &Selection) -> Result<Object, Error> {
        let mut object = self.module.object(selection).map_err(|e| refused(&self.name, e.to_string()))?;
        if let Some(own) = &self.own {
            let wanted = |p: &Program| object.programs.iter().any(|o| o.symbol == p.symbol);
            let programs = own.programs.iter().filter(|p| wanted(p)).cloned().collect();
            object = Object { programs, ..own.clone() };
        }
        Ok(object)
    }

    /// Loads it, and attaches it where the settings say so.
    pub fn load(&self, settings: &Settings, target: Arc<LiveTarget>) -> Result<Held, Error> {
        let mut object = self.object(&settings.selection)?;
        if object.programs.is_empty() && object.maps.is_empty() {
            return Err(refused(&self.name, "it has neither programs nor maps".to_owned()));
        }
        if let Some(program) = object.programs.iter().find(|p| p.prog_type == ProgType::StructOps) {
            let why = format!(
                "{}: structures of functions (struct_ops) are not supported; load the others with --prog NAME",
                program.symbol
            );
            return Err(refused(&self.name, why));
        }
        let mut specs = Specs::default();
        if let Some(places) = &settings.attach {
            self.place(&mut object, places, &target, &mut specs)?;
        } else {
            object.programs.iter_mut().for_each(|p| p.attach.clear());
        }
        let btf = settings.btf.as_ref().map(|path| types(path, &target)).transpose()?;
        let options = LoadOptions {
            log_level: settings.log_level,
            btf,
            pin_root: settings.pin_root.clone(),
            ..LoadOptions::default()
        };
        let mut loaded = Loaded::load(&object, target, &options).map_err(|failures| Error::Foreign {
            file: self.name.clone(),
            failures,
            object: Box::new(object.clone()),
        })?;
        let mut attached = 0;
        if settings.attach.is_some() {
            specs.write(&loaded)?;
            attached = loaded.attach_all().map_err(Error::Kernel)?.probes;
            // As libbpf leaves them: that is what such a pin is for.
            loaded.keep_pins();
        }
        let programs = object.programs.iter().map(|p| p.symbol.clone()).collect();
        Ok(Held { loaded, programs, attached })
    }

    /// Gives each program the place where it is attached.
    fn place(
        &self,
        object: &mut Object,
        places: &Places,
        target: &LiveTarget,
        specs: &mut Specs,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        for program in &mut object.programs {
            let code = self.module.programs.iter().find(|c| c.function == program.symbol);
            let kind = code.and_then(|c| section::parse(&c.section));
            let Some(kind) = kind.filter(|_| program.attach.is_empty()) else { continue };
            if kind.head.trim_end_matches(".s") == "usdt" {
                match specs.places(&kind.rest, &program.name, target) {
                    Ok(points) => program.attach = points,
                    Err(why) => missing.push(format!("{}: {why}", program.name)),
                }
                continue;
            }
            match find_place(program, &kind, places, target) {
                Ok(Some(at)) => {
                    let name = program.name.clone();
                    program.attach = vec![AttachPoint { at, cookie: 0, name, probes: Some(1) }];
                }
                // The name has said it already.
                Ok(None) => {}
                Err(why) => missing.push(format!("{}: {why}", program.name)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Object { file: self.name.clone(), why: missing })
    }
}

fn refused(file: &str, why: String) -> Error {
    Error::Object { file: file.to_owned(), why: vec![why] }
}

fn types(path: &Path, target: &LiveTarget) -> Result<Arc<skep_bpf::btf::Btf>, Error> {
    let name = path.display().to_string();
    let bytes = skep_kernel::elf::types(&name).map_err(Error::Environment)?;
    crate::types::parse(&name, bytes, target)
}

/// The place of a program; `None` when its section's name has it, or why there is none.
fn find_place(
    program: &Program,
    kind: &section::SectionKind,
    places: &Places,
    target: &LiveTarget,
) -> Result<Option<Attach>, String> {
    if kind.attach.is_some() {
        return Ok(None);
    }
    let head = kind.head.trim_end_matches(".s");
    let hook = |owner, name: &Path, attach_type| {
        Ok(Some(Attach::Hook { owner, name: name.display().to_string(), attach_type }))
    };
    match program.prog_type {
        ProgType::Xdp if matches!(program.attach_type, AttachType::XdpDevmap | AttachType::XdpCpumap) => {
            Err("a program for a device or CPU map is not attached by itself".to_owned())
        }
        ProgType::Xdp | ProgType::SchedCls => {
            let name = places.interface.as_ref().ok_or("name the interface with --dev")?;
            let attach_type = match (program.prog_type, program.attach_type, places.egress) {
                (ProgType::Xdp, ..) => AttachType::Xdp,
                (_, AttachType::None, true) => AttachType::TcxEgress,
                (_, AttachType::None, false) => AttachType::TcxIngress,
                (_, given, _) => given,
            };
            hook(HookOwner::Interface, Path::new(name), attach_type)
        }
        ProgType::SkLookup | ProgType::FlowDissector => {
            let own = Path::new("/proc/self/ns/net");
            hook(HookOwner::NetNamespace, places.netns.as_deref().unwrap_or(own), program.attach_type)
        }
        ProgType::CgroupSkb
        | ProgType::CgroupSock
        | ProgType::CgroupSockAddr
        | ProgType::CgroupDevice
        | ProgType::CgroupSysctl
        | ProgType::CgroupSockopt
        | ProgType::SockOps => {
            let path = places.cgroup.as_ref().ok_or("name the cgroup with --cgroup")?;
            hook(HookOwner::Cgroup, path, program.attach_type)
        }
        ProgType::Kprobe => probe(head, &kind.rest, target).map(Some),
        _ => Err(format!("programs in sections `{}` are not attached by their section's name", kind.head)),
    }
}

/// Places of kprobes and uprobes whose names stand for more than one function, or for one of a binary.
fn probe(head: &str, rest: &str, target: &LiveTarget) -> Result<Attach, String> {
    let ret = head.contains("ret");
    match head {
        "ksyscall" | "kretsyscall" => {
            let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
            Ok(Attach::Kprobe { symbol: format!("__{arch}_sys_{rest}"), offset: 0, ret })
        }
        "kprobe.multi" | "kretprobe.multi" | "kprobe.session" => {
            let symbols = target.kallsyms().map_err(|e| e.to_string())?;
            let mut found: Vec<String> = symbols.functions().filter(|name| matches(rest, name)).collect();
            found.sort_unstable();
            found.dedup();
            match found.is_empty() {
                true => Err(format!("no kernel function is called `{rest}`")),
                false => Ok(Attach::KprobeMulti { symbols: found, cookies: Vec::new(), ret }),
            }
        }
        "uprobe" | "uretprobe" => {
            let (path, offsets) = user_functions(rest)?;
            match offsets[..] {
                [offset] => Ok(Attach::Uprobe { path, offset, ref_ctr: 0, ret, pid: None }),
                _ => Err(format!("{} functions are called so: expected one", offsets.len())),
            }
        }
        "uprobe.multi" | "uretprobe.multi" => {
            let (path, offsets) = user_functions(rest)?;
            let (cookies, ref_ctrs) = (Vec::new(), Vec::new());
            Ok(Attach::UprobeMulti { path, offsets, cookies, ref_ctrs, ret, pid: None })
        }
        _ => Err(format!("sections `{head}` need what libbpf's runtime sets up (maps of arguments)")),
    }
}

/// The binary and the file offsets that `PATH:FUNCTION[+OFFSET]` names.
fn user_functions(rest: &str) -> Result<(String, Vec<u64>), String> {
    let parts = rest.rsplit_once(':').ok_or("its section names no place: expected `uprobe/PATH:FUNCTION`")?;
    let (path, function) = parts;
    let (function, added) = match function.split_once('+') {
        Some((function, added)) => {
            let hex = added.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
            (function, hex.or(added.parse().ok()).ok_or_else(|| format!("`{added}` is no offset"))?)
        }
        None => (function, 0),
    };
    let path = match path.contains('/') {
        true => path.to_owned(),
        false => skep_kernel::elf::find_binary(path).map_err(|e| e.to_string())?,
    };
    let symbols = skep_kernel::elf::function_symbols(&path).map_err(|e| e.to_string())?;
    let mut offsets: Vec<u64> = symbols
        .iter()
        .filter(|s| matches(function, &s.name))
        .map(|s| s.offset.saturating_add(added))
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    if offsets.is_empty() {
        return Err(format!("{path} has no function `{function}`"));
    }
    Ok((path, offsets))
}

/// An object on the running kernel.
#[derive(Debug)]
pub struct Held {
    loaded: Loaded,
    programs: Vec<String>,
    attached: usize,
}

impl Held {
    /// Names of the programs that were loaded.
    pub fn programs(&self) -> &[String] {
        &self.programs
    }

    /// How many places are attached to.
    pub fn attached(&self) -> usize {
        self.attached
    }

    /// Whether anything is attached that can still run; iterators run once.
    pub fn is_attached(&self) -> bool {
        self.loaded.ends_by_itself().is_none()
    }

    /// The verifier's logs by program.
    pub fn logs(&self) -> &[(String, String)] {
        self.loaded.logs()
    }

    /// Output of iterators, which end by themselves.
    pub fn iterators(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.loaded.iterator_outputs()?)
    }

    /// Pins programs, maps and links below `folder`; when one cannot be pinned, none stays. Gives the paths.
    pub fn pin(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        self.loaded.pin(folder).map_err(Error::Kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_binaries() {
        assert!(user_functions("nothing").unwrap_err().contains("expected `uprobe/PATH:FUNCTION`"));
        let own = std::env::current_exe().unwrap().display().to_string();
        assert!(user_functions(&format!("{own}:no_such_function")).unwrap_err().contains("no function"));
        let (path, offsets) = user_functions(&format!("{own}:main+0x4")).unwrap();
        assert_eq!((path, offsets.len()), (own, 1));
    }
}
