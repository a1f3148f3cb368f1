//! What an object needs of the kernel: an object enters; helpers, instructions, map and attach kinds leave, each with the
//! first kernel that has it. Derived from what is there, not from what was asked while compiling: a program that did without
//! a feature does not need it.

use std::collections::BTreeMap;

use crate::helpers::{self, id};
use crate::insn::{Insn, alu, atomic, class, jmp, mode, source};
use crate::kinds::{AttachType, MapType, ProgType};
use crate::object::{Attach, Object, Program};
use crate::target::Feature;
use crate::version::KernelVersion;

/// Something that a kernel must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// What, as `bpf_loop()` or `map type Ringbuf`.
    pub what: String,
    /// The program or map that needs it.
    pub by: String,
    /// First mainline kernel that has it.
    pub since: KernelVersion,
    /// The feature to ask the target for; `None`: its version tells.
    pub feature: Option<Feature>,
}

/// Features that a helper is.
const HELPERS: &[(&str, Feature)] = &[
    ("for_each_map_elem", Feature::ForEachMapElem),
    ("get_attach_cookie", Feature::AttachCookie),
    ("loop", Feature::Loop),
    ("map_lookup_percpu_elem", Feature::LookupPercpu),
    ("ktime_get_tai_ns", Feature::KtimeTai),
    ("get_ns_current_pid_tgid", Feature::NsPidTgid),
    ("get_current_task_btf", Feature::CurrentTaskBtf),
    ("ktime_get_coarse_ns", Feature::KtimeCoarse),
    ("strncmp", Feature::Strncmp),
];

/// Helpers that change the system or a process: bpf_probe_write_user, bpf_override_return, bpf_send_signal and
/// bpf_send_signal_thread.
const CHANGING: [u32; 4] = [36, 58, 109, 117];

/// Everything that `object` needs, each once, in no particular order of importance.
pub fn needs(object: &Object) -> Vec<Need> {
    let mut found: BTreeMap<String, Need> = BTreeMap::new();
    let mut add = |need: Need| {
        found.entry(need.what.clone()).or_insert(need);
    };
    for map in &object.maps {
        let (since, feature) = match map.map_type {
            MapType::Ringbuf => (KernelVersion::new(5, 8), Some(Feature::Ringbuf)),
            MapType::TaskStorage => (KernelVersion::new(5, 11), None),
            _ => continue,
        };
        let by = format!("map {}", map.name);
        add(Need { what: format!("the map type {:?}", map.map_type), by, since, feature });
    }
    for program in &object.programs {
        of_kind(program).into_iter().for_each(&mut add);
        helpers_of(program).into_iter().for_each(&mut add);
        for (feature, what) in program.insns.iter().filter_map(|i| instruction(*i)) {
            let by = program.name.clone();
            add(Need { what: what.to_owned(), by, since: feature.since(), feature: Some(feature) });
        }
    }
    found.into_values().collect()
}

/// Names of the helpers that change the system or a process, with the programs that call them.
pub fn changing_helpers(object: &Object) -> Vec<(&'static str, &str)> {
    let calls = object.programs.iter().flat_map(|p| p.insns.iter().map(move |i| (p, *i)));
    let mut out: Vec<(&str, &str)> = calls
        .filter_map(|(program, insn)| {
            let number = helper_number(insn).filter(|n| CHANGING.contains(n))?;
            Some((helpers::by_id(number)?.name, program.name.as_str()))
        })
        .collect();
    out.dedup();
    out
}

/// The helper that an instruction calls.
fn helper_number(insn: Insn) -> Option<u32> {
    (insn.code == class::JMP | jmp::CALL && insn.src == 0).then_some(insn.imm as u32)
}

fn helpers_of(program: &Program) -> Vec<Need> {
    let mut numbers: Vec<u32> = program.insns.iter().filter_map(|i| helper_number(*i)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let need = |number: u32| {
        let helper = helpers::by_id(number)?;
        let feature = HELPERS.iter().find(|(name, _)| *name == helper.name).map(|(_, f)| *f);
        let what = format!("bpf_{}()", helper.name);
        Some(Need { what, by: program.name.clone(), since: helper.since, feature })
    };
    // Every supported kernel has these; most programs call them.
    let common = [id::MAP_LOOKUP_ELEM, id::MAP_UPDATE_ELEM];
    numbers.into_iter().filter(|n| !common.contains(n)).filter_map(need).collect()
}

fn of_kind(program: &Program) -> Vec<Need> {
    let need = |what: &str, feature: Feature| Need {
        what: what.to_owned(),
        by: program.name.clone(),
        since: feature.since(),
        feature: Some(feature),
    };
    let mut out = Vec::new();
    match (program.prog_type, program.attach_type) {
        (_, AttachType::TraceKprobeSession) => out.push(need("kprobe.session", Feature::KprobeSession)),
        (_, AttachType::TraceKprobeMulti) => out.push(need("kprobe.multi", Feature::KprobeMulti)),
        (_, AttachType::TraceUprobeMulti) => out.push(need("uprobe.multi", Feature::UprobeMulti)),
        (_, AttachType::TraceFentry | AttachType::TraceFexit) => {
            out.push(need("fentry and fexit", Feature::Fentry));
        }
        (_, AttachType::TraceRawTp) => out.push(need("typed raw tracepoints", Feature::TpBtf)),
        (ProgType::Syscall, _) => out.push(Need {
            what: "programs of type syscall".to_owned(),
            by: program.name.clone(),
            since: KernelVersion::new(5, 14),
            feature: None,
        }),
        _ => {}
    }
    for point in &program.attach {
        match point.at {
            Attach::Kprobe { .. } => out.push(need("kprobes", Feature::Kprobe)),
            Attach::Uprobe { .. } => out.push(need("uprobes", Feature::Uprobe)),
            _ => {}
        }
    }
    out
}

/// The feature that an instruction is part of.
fn instruction(insn: Insn) -> Option<(Feature, &'static str)> {
    const V4: (Feature, &str) = (Feature::CpuV4, "the instruction set v4");
    let (op, class) = (insn.code & 0xf0, insn.class());
    match class {
        class::LDX if insn.code & 0xe0 == mode::MEMSX => Some(V4),
        class::STX if insn.code & 0xe0 == mode::ATOMIC => match insn.imm {
            atomic::ADD => None,
            atomic::LOAD_ACQ | atomic::STORE_REL => None,
            _ => Some((Feature::FetchAtomics, "atomic instructions that give the old value")),
        },
        class::ALU | class::ALU64 => {
            let extends = op == alu::MOV && insn.code & source::X != 0 && insn.off != 0;
            let signed = matches!(op, alu::DIV | alu::MOD) && insn.off == 1;
            let swaps = op == alu::END && class == class::ALU64;
            (extends || signed || swaps).then_some(V4)
        }
        class::JMP32 if op == jmp::JA => Some(V4),
        class::JMP if op == jmp::JCOND => Some((Feature::MayGoto, "may_goto")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::{empty_program, sample};
    use crate::insn::{Reg, size};

    fn needs_of(insns: Vec<Insn>) -> Vec<String> {
        let program = Program { insns, ..empty_program() };
        let object = Object { programs: vec![program], ..Object::default() };
        needs(&object).into_iter().map(|n| format!("{} {}", n.what, n.since)).collect()
    }

    #[test]
    fn instructions_and_helpers() {
        assert!(
            needs_of(vec![Insn::mov_reg(Reg::R0, Reg::R1), Insn::call_helper(1), Insn::exit()]).is_empty()
        );
        assert_eq!(needs_of(vec![Insn::call_helper(id::LOOP)]), ["bpf_loop() 5.17"]);
        let extend = Insn { off: 32, ..Insn::mov_reg(Reg::R0, Reg::R1) };
        assert_eq!(needs_of(vec![extend, extend]), ["the instruction set v4 6.6"]);
        let add = Insn::atomic(size::DW, atomic::ADD, Reg::R1, 0, Reg::R2);
        let swap = Insn::atomic(size::DW, atomic::XCHG, Reg::R1, 0, Reg::R2);
        assert!(needs_of(vec![add]).is_empty());
        assert_eq!(needs_of(vec![swap]), ["atomic instructions that give the old value 5.12"]);
    }

    #[test]
    fn maps_and_kinds() {
        assert!(needs(&sample()).iter().any(|n| n.feature == Some(Feature::Ringbuf) && n.by == "map events"));
        let program = Program { insns: vec![Insn::call_helper(109)], ..empty_program() };
        let object = Object { programs: vec![program], ..Object::default() };
        assert_eq!(changing_helpers(&object), [("send_signal", "begin")]);
    }
}
