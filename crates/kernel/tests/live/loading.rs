//! Loading: relocations, types and lines, refusals, statistics.

use crate::support::{counter_object, load, object, program, root, work};
use skep_bpf::backend::Backend;
use skep_bpf::insn::{Insn, Reg, pseudo, size};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget, Reloc, RelocKind};
use skep_bpf::target::TargetExt;
use skep_kernel::{Error, LiveTarget, LoadOptions, Loaded};
use std::sync::Arc;

#[test]
fn a_refused_program_comes_with_the_verifiers_words() {
    if !root("a_refused_program_comes_with_the_verifiers_words") {
        return;
    }
    let bad = vec![Insn::load(size::DW, Reg::R0, Reg::R2, 0), Insn::exit()];
    let wanted = object(Vec::new(), vec![program(ProgType::RawTracepoint, bad, Vec::new(), Attach::Begin)]);
    let failures = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &LoadOptions::default()).unwrap_err();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].error.verifier_log().unwrap().contains("R2 !read_ok"), "{failures:?}");
    assert_eq!(failures[0].error.explain(), ["the verifier says: R2 !read_ok"]);
}

#[test]
fn statistics_are_counted_while_they_are_on() {
    if !root("statistics_are_counted_while_they_are_on") {
        return;
    }
    let _on = skep_kernel::prog::enable_stats().unwrap();
    let mut loaded =
        load(&counter_object(ProgType::RawTracepoint, Attach::RawTracepoint { name: "sys_enter".into() }));
    loaded.attach_all().unwrap();
    work(100);
    let stats = loaded.stats().unwrap();
    assert!(stats[0].1.count >= 100 && stats[0].1.time_ns > 0, "{stats:?}");
    assert_eq!(loaded.recursion_misses().unwrap(), 0);
}

#[test]
fn programs_with_types_and_lines_are_refused_with_their_lines() {
    use skep_bpf::btf::{BtfBuilder, Linkage};
    use skep_bpf::object::{FuncInfo, LineInfo};
    if !root("programs_with_types_and_lines_are_refused_with_their_lines") {
        return;
    }
    let mut types = BtfBuilder::new();
    let int = types.int("int", 4, true);
    let void = types.ptr(skep_bpf::btf::TypeId(0));
    let proto = types.func_proto(int, &[("ctx", void)]);
    let func = types.func("main", proto, Linkage::Global);
    let (file, text) = (types.string("script.bt"), types.string("BEGIN { something }"));
    let bad = vec![Insn::load(size::DW, Reg::R0, Reg::R2, 0), Insn::exit()];
    let mut wanted =
        object(Vec::new(), vec![program(ProgType::RawTracepoint, bad, Vec::new(), Attach::Begin)]);
    wanted.btf = types.finish();
    wanted.programs[0].funcs = vec![FuncInfo { insn: 0, type_id: func.0 }];
    wanted.programs[0].lines = vec![LineInfo { insn: 0, file, text, line: 7, column: 3 }];
    let failures = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &LoadOptions::default()).unwrap_err();
    let log = failures[0].error.verifier_log().unwrap();
    assert!(log.contains("; BEGIN { something }"), "{log}");
    wanted.programs[0].insns = vec![Insn::mov_imm(Reg::R0, 0), Insn::exit()];
    let options = LoadOptions { log_level: 1, ..LoadOptions::default() };
    let loaded = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &options).unwrap();
    assert!(loaded.logs()[0].1.contains("processed 2 insns"), "{:?}", loaded.logs());
}

#[test]
fn kernel_functions_and_variables_are_linked_by_name() {
    if !root("kernel_functions_and_variables_are_linked_by_name") {
        return;
    }
    let target = LiveTarget::new();
    let types = target.vmlinux().unwrap();
    use skep_bpf::btf::NameKind;
    if types.find(NameKind::Func, "bpf_rcu_read_lock").is_none() {
        eprintln!("skipped kernel_functions_and_variables_are_linked_by_name: kfuncs of Linux 6.2");
        return;
    }
    // Variables have addresses for programs only where kallsyms lists data (CONFIG_KALLSYMS_ALL).
    let shown = |(_, name): &(_, &str)| target.kernel_symbol(name).is_ok();
    let known = types.types(NameKind::Var).find(shown).map(|(_, name)| name.to_owned());
    let call = Insn { code: 0x85, src: pseudo::KFUNC_CALL, ..Insn::default() };
    let variable = Insn::ld_imm64(Reg::R1, pseudo::BTF_ID, 0);
    let mut insns = vec![call, call, variable[0], variable[1], Insn::mov_imm(Reg::R0, 0), Insn::exit()];
    let mut relocs = vec![
        Reloc { insn: 0, kind: RelocKind::Kfunc("bpf_rcu_read_lock".into()) },
        Reloc { insn: 1, kind: RelocKind::Kfunc("bpf_rcu_read_unlock".into()) },
    ];
    match known {
        Some(name) => relocs.push(Reloc { insn: 2, kind: RelocKind::KernelSymbol(name) }),
        None => {
            eprintln!(
                "skipped the variable of kernel_functions_and_variables_are_linked_by_name: none is shown"
            );
            insns[2].src = 0;
        }
    }
    let mut wanted = counter_object(ProgType::Tracing, Attach::RawTracepoint { name: "sys_enter".into() });
    wanted.programs[0].insns = insns;
    wanted.programs[0].relocs = relocs;
    wanted.programs[0].attach_type = AttachType::TraceRawTp;
    wanted.programs[0].attach_btf = Some(BtfTarget::RawTracepoint("sys_enter".into()));
    load(&wanted).attach_all().unwrap();
    wanted.programs[0].relocs[0].kind = RelocKind::Kfunc("no_such_function".into());
    let failures = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &LoadOptions::default()).unwrap_err();
    assert!(failures[0].error.is_missing(), "{failures:?}");
    wanted.programs[0].relocs[0].insn = 1000;
    let failures = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &LoadOptions::default()).unwrap_err();
    assert!(matches!(failures[0].error, Error::Damaged { .. }), "{failures:?}");
}
