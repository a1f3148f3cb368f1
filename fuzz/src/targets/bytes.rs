//! Binary inputs: ELF objects, BTF, recordings; and tracepoint formats.

use super::Target;
use crate::rng::Rng;
use crate::{corpus, mutate};
use skep_bpf::btf::value::decode;
use skep_bpf::btf::{Btf, NameKind, TypeId};
use skep_bpf::core::embed::embed;
use skep_bpf::core::link::relocate;
use skep_bpf::core::{relocation, resolve};
use skep_bpf::elf;
use skep_bpf::object::{CoreKind, Object};
use skep_bpf::origin::Origin;
use skep_bpf::origin::check::adapt;
use skep_bpf::origin::gather::gather;
use skep_bpf::target::{Recorded, Recorder, Target as _, TargetExt};
use skep_bpf::text;
use skep_bpf::tracepoint::TracepointFormat;
use skep_lang::compile::{Source, compile};
use skep_lang::fake::{Fake, NEW};
use skep_lang::options::Options;

fn changed(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.pick(seeds).cloned().unwrap_or_default();
    mutate::bytes(&mut input, seeds, rng);
    input
}

/// Objects of the scripts that compile for the small machine, and what it was asked.
pub(super) fn objects() -> Vec<(Object, Recorded)> {
    let one = |script: Vec<u8>| {
        let text = String::from_utf8(script).ok()?;
        let source = Source { name: "seed.bt".to_owned(), text };
        let options = Options { passes: true, unsafe_mode: true, ..Options::default() };
        let target = Recorder::new(Fake::new(NEW));
        let compiled = compile(&source, &options, &target, &|_| false, &mut |_, _| {}).ok()?;
        Some((compiled.object, target.recorded()))
    };
    corpus::scripts().into_iter().filter_map(one).collect()
}

/// Objects that clang made.
pub(super) const CLANG: [&[u8]; 6] = [
    include_bytes!("../../../tests/elf/calls.o"),
    include_bytes!("../../../tests/elf/core.o"),
    include_bytes!("../../../tests/elf/maps.o"),
    include_bytes!("../../../tests/elf/plain.o"),
    include_bytes!("../../../tests/elf/refused.o"),
    include_bytes!("../../../tests/elf/sections.o"),
];

/// A file of any compiler: as an object for the kernel, relocated, and as text and back.
fn foreign(input: &[u8], types: &Btf) -> Result<(), String> {
    let Ok(module) = elf::Module::parse(input) else { return Ok(()) };
    let _ = module.listing();
    let Ok(object) = module.object(&elf::Selection::Default) else { return Ok(()) };
    if let Ok(local) = Btf::parse(object.btf.clone(), None) {
        let _ = local.accepted(&[], &[], true);
        for program in &object.programs {
            relocate(program, &mut program.insns.clone(), &local, types);
        }
        for spec in &object.maps {
            if let Some(ty) = spec.details.types {
                let _ =
                    decode(&local, TypeId(ty.value), &vec![0x5a; (spec.value_size as usize).min(1 << 16)]);
            }
        }
    }
    let bytes: usize = object.maps.iter().map(|m| m.initial.len()).sum();
    if bytes > 1 << 20 {
        return Ok(());
    }
    match text::parse(&text::print(&object)) {
        Ok(again) if again == object => Ok(()),
        Ok(again) => Err(format!("the text gives another object: {}", difference(&object, &again))),
        Err(error) => Err(format!("the text does not read: {error}")),
    }
}

/// The first line in which two objects differ.
fn difference(before: &Object, after: &Object) -> String {
    let (before, after) = (format!("{before:#?}"), format!("{after:#?}"));
    let mut lines = before.lines().zip(after.lines());
    let pair = lines.find(|(before, after)| before != after);
    let (before, after) = pair.unwrap_or(("one that is longer", "one that ends sooner"));
    format!("`{}` became `{}`", before.trim(), after.trim())
}

/// ELF objects.
pub(super) struct Elf {
    seeds: Vec<Vec<u8>>,
    machine: Fake,
}

impl Elf {
    pub(super) fn new() -> Elf {
        let machine = Fake::new(NEW);
        let write = |(object, recorded): (Object, Recorded)| {
            let assumptions = gather(&object, &recorded, &machine).ok()?;
            let arch = machine.arch().ok()?;
            let origin = Origin { arch, kernel: machine.kernel_version().ok()?, assumptions };
            elf::write(&embed(&object, &*machine.vmlinux().ok()?, origin).ok()?).ok()
        };
        let mut seeds: Vec<_> = objects().into_iter().filter_map(write).collect();
        // Those of clang are fewer and say more.
        for _ in 0..3 {
            seeds.extend(CLANG.iter().map(|bytes| bytes.to_vec()));
        }
        Elf { seeds, machine }
    }
}

impl Target for Elf {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        changed(&self.seeds, rng)
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let types = self.machine.vmlinux().map_err(|e| e.to_string())?;
        foreign(input, &types)?;
        let Ok(object) = elf::read(input) else { return Ok(()) };
        if let Ok(local) = Btf::parse(object.btf.clone(), None) {
            for program in &object.programs {
                relocate(program, &mut program.insns.clone(), &local, &types);
                skep_bpf::disasm::program(program, &object);
            }
        }
        let _ = adapt(&object, &self.machine);
        let Ok(bytes) = elf::write(&object) else { return Ok(()) };
        match elf::read(&bytes) {
            Ok(again) if again.programs.len() == object.programs.len() => Ok(()),
            Ok(_) => Err("programs are missing after writing".to_owned()),
            Err(error) => Err(format!("what was written does not read: {error}")),
        }
    }
}

/// BTF.
pub(super) struct Types {
    seeds: Vec<Vec<u8>>,
    kernel: std::sync::Arc<Btf>,
}

impl Types {
    pub(super) fn new() -> Types {
        let mut seeds: Vec<_> = objects().into_iter().map(|(object, _)| object.btf).collect();
        let kernel = Fake::new(NEW).vmlinux().unwrap_or_else(|_| std::process::abort());
        seeds.sort();
        seeds.dedup();
        seeds.resize_with(seeds.len() * 2, || kernel.raw().to_vec());
        Types { seeds, kernel }
    }
}

impl Target for Types {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        changed(&self.seeds, rng)
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let Ok(btf) = Btf::parse(input.to_vec(), None) else { return Ok(()) };
        for id in (0..btf.len().min(300) + 2).map(TypeId) {
            let _ = (btf.get(id), btf.size_of(id), btf.align_of(id), btf.pointer_tags(id), btf.signature(id));
            let _ = (btf.c_decl(id, "v"), btf.c_definition(id), btf.c_function(id), btf.section_vars(id));
            for name in ["pid", "comm", "exit_code"] {
                let Some(at) = btf.find_member(id, name) else { continue };
                for kind in [CoreKind::FieldByteOffset, CoreKind::FieldExists, CoreKind::FieldRshiftU64] {
                    let reloc = relocation(&btf, &at, kind);
                    let _ = resolve(&reloc, &btf, &self.kernel);
                    let _ = resolve(&reloc, &self.kernel, &btf);
                }
            }
        }
        for kind in [NameKind::Struct, NameKind::Func, NameKind::Typedef, NameKind::Enum] {
            let _ = (btf.find(kind, "task_struct"), btf.types(kind).count());
        }
        Ok(())
    }
}

/// Formats of tracepoints.
pub(super) struct Formats {
    seeds: Vec<Vec<u8>>,
    words: Vec<String>,
}

impl Formats {
    pub(super) fn new() -> Formats {
        let machine = Fake::new(NEW);
        let names = machine.tracepoints().unwrap_or_default();
        let text = |name: &String| {
            let (category, name) = name.split_once(':')?;
            Some(machine.tracepoint_format(category, name).ok()?.as_bytes().to_vec())
        };
        let mut seeds: Vec<Vec<u8>> = names.iter().filter_map(text).collect();
        let rel = "name: x\nID: 3\nformat:\n\tfield:__rel_loc u8[] a;\toffset:8;\tsize:4;\tsigned:0;\n\
                   \tfield:struct y b[3][2];\toffset:12;\tsize:48;\tsigned:0;\n\nprint fmt: \"%d\", REC->a\n";
        seeds.push(rel.as_bytes().to_vec());
        Formats { words: corpus::dictionary(&seeds), seeds }
    }
}

impl Target for Formats {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let seed = rng.pick(&self.seeds).map_or(&[][..], |s| s);
        mutate::text(&String::from_utf8_lossy(seed), &self.words, &self.seeds, rng).into_bytes()
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        if let Ok(format) = TracepointFormat::parse(&String::from_utf8_lossy(input)) {
            let _ = (format.size(), format.own_fields().count(), format.field("filename"));
        }
        Ok(())
    }
}

/// Recorded targets.
pub(super) struct Recordings {
    seeds: Vec<Vec<u8>>,
}

impl Recordings {
    pub(super) fn new() -> Recordings {
        Recordings {
            seeds: objects().into_iter().take(40).map(|(_, recorded)| recorded.to_bytes()).collect(),
        }
    }
}

impl Target for Recordings {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        changed(&self.seeds, rng)
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let Ok(recorded) = Recorded::from_bytes(input) else { return Ok(()) };
        for question in recorded.questions() {
            let _ = recorded.ask(question);
        }
        let bytes = recorded.to_bytes();
        match Recorded::from_bytes(&bytes) {
            Ok(again) if again.to_bytes() == bytes => Ok(()),
            Ok(_) => Err("it changes when it is written and read".to_owned()),
            Err(error) => Err(format!("what was written does not read: {error}")),
        }
    }
}
