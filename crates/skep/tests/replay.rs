//! A recorded target replays to the same object, byte for byte: how a user's report becomes a test on another machine.

use skep_bpf::target::{Recorded, Recorder};
use skep_kernel::{LiveTarget, machine};
use skep_lang::compile::{Source, compile};
use skep_lang::options::Options;

const SCRIPTS: &[&str] = &[
    "tracepoint:syscalls:sys_enter_openat { printf(\"%-6d %-16s %s\\n\", pid, comm, str(args->filename)); }",
    "tracepoint:raw_syscalls:sys_enter /comm == \"ls\"/ { @us = hist(args->id); @l = lhist(args->id, 0, 400, 20); }",
    "rawtracepoint:sched_process_fork { @[args.parent->comm] = count(); }",
];

#[test]
fn a_recorded_target_gives_the_same_object() {
    if !machine::is_root() {
        eprintln!("skipped: not root, so tracefs cannot be read");
        return;
    }
    for script in SCRIPTS {
        let source = Source { name: "stdin".to_owned(), text: (*script).to_owned() };
        let options = Options { passes: true, ..Options::default() };
        let recorder = Recorder::new(LiveTarget::new());
        let live = compile(&source, &options, &recorder, &|_| false, &mut |_, _| {}).expect(script);
        let bytes = recorder.recorded().to_bytes();
        let recorded = Recorded::from_bytes(&bytes).expect("the recording reads back");
        let replayed = compile(&source, &options, &recorded, &|_| false, &mut |_, _| {}).expect(script);
        assert_eq!(live.object, replayed.object, "{script}");
        let again = compile(&source, &options, &recorded, &|_| false, &mut |_, _| {}).expect(script);
        assert_eq!(replayed.object, again.object, "{script}");
    }
}
