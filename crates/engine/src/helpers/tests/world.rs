//! Clock, processes, recorded answers, stacks, effects.

use super::*;
use crate::helpers::env::effects::Effect;
use crate::helpers::env::process::Process;
use crate::helpers::env::recorded::Answer;
use crate::maps::{PerfArray, StackMap};

fn tracing() -> Rig {
    let mut env = Env { cpus: 2, ..Env::default() };
    let mut process = Process::new(42, "worker");
    (process.tid, process.uid, process.gid) = (43, 1000, 100);
    process.cgroups = vec![1, 20, 300];
    env.processes.add(process);
    env.processes.switch(43);
    Rig::new(ProgType::RawTracepoint, env)
}

#[test]
fn the_clock_moves_as_it_is_told() {
    let mut rig = Rig::new(ProgType::Syscall, Env::default());
    rig.env().now = 1000;
    assert_eq!([(); 2].map(|()| rig.ok(id::KTIME_GET_NS, &[])), [1000, 1000]);
    rig.env().clock.per_reading = 10;
    rig.env().clock.boot_ahead = 5000;
    assert_eq!(rig.ok(id::KTIME_GET_NS, &[]), 1010);
    assert_eq!(rig.ok(id::KTIME_GET_BOOT_NS, &[]), 6020);
    rig.env().now = 4_000_001;
    assert_eq!(rig.ok(id::KTIME_GET_COARSE_NS, &[]), 4_000_000);
    assert_eq!(rig.ok(id::JIFFIES64, &[]), (1 << 32) - 300 * 250 + 1);
    rig.env().clock.per_insn = 2;
    rig.vm.state.run.budget -= 50;
    rig.env().now = 0;
    assert_eq!(rig.ok(id::KTIME_GET_NS, &[]), 110, "50 instructions and a reading");
}

#[test]
fn who_runs() {
    let mut rig = tracing();
    assert_eq!(rig.ok(id::GET_CURRENT_PID_TGID, &[]), 42 << 32 | 43);
    assert_eq!(rig.ok(id::GET_CURRENT_UID_GID, &[]), 100 << 32 | 1000);
    assert_eq!(rig.ok(id::GET_CURRENT_CGROUP_ID, &[]), 300);
    assert_eq!(rig.ok(id::GET_CURRENT_ANCESTOR_CGROUP_ID, &[1]), 20);
    assert_eq!(rig.ok(id::GET_CURRENT_ANCESTOR_CGROUP_ID, &[7]), 0);
    let comm = rig.put(&[9; 16]);
    assert_eq!(rig.ok(id::GET_CURRENT_COMM, &[comm, 16]), 0);
    assert_eq!(rig.get(comm, 16), *b"worker\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(rig.ok(id::GET_CURRENT_COMM, &[comm, 4]), 0);
    assert_eq!(rig.get(comm, 4), *b"wor\0");
    let task = rig.ok(id::GET_CURRENT_TASK, &[]);
    assert_eq!(rig.kfunc("bpf_task_from_pid", &[43]), task);
}

#[test]
fn storage_of_tasks() {
    let mut rig = tracing();
    let (map, handle) = rig.map(MapType::TaskStorage, 4, 8, 0, 1);
    let task = rig.ok(id::GET_CURRENT_TASK_BTF, &[]);
    assert_eq!(rig.ok(id::TASK_STORAGE_GET, &[handle, task, 0, 0]), 0);
    let initial = rig.put(&[7; 8]);
    let at = rig.ok(id::TASK_STORAGE_GET, &[handle, task, initial, 1]);
    assert_eq!(rig.get(at, 8), [7; 8]);
    assert_eq!(rig.ok(id::TASK_STORAGE_GET, &[handle, task, 0, 0]), at);
    assert_eq!(rig.ok(id::TASK_STORAGE_GET, &[handle, task, 0, 2]), 0, "no such flag");
    let state = &rig.vm.state;
    assert_eq!(state.maps.user_lookup(map, &state.memory, &43u32.to_ne_bytes()), Ok(vec![7; 8]));
    assert_eq!(rig.ok(id::TASK_STORAGE_DELETE, &[handle, task]), 0);
    assert_eq!(rig.ok(id::TASK_STORAGE_DELETE, &[handle, task]), error(2));
}

#[test]
fn recorded_answers_come_first() {
    let mut rig = tracing();
    rig.env().answers.push(id::KTIME_GET_NS, Answer { r0: 77, bytes: vec![] });
    rig.env().answers.push(id::PROBE_READ_USER, Answer { r0: 0, bytes: b"told".to_vec() });
    assert_eq!([(); 2].map(|()| rig.ok(id::KTIME_GET_NS, &[])), [77, 0]);
    let out = rig.put(&[0; 4]);
    assert_eq!(rig.ok(id::PROBE_READ_USER, &[out, 4, 0x1234]), 0);
    assert_eq!(rig.get(out, 4), b"told");
    assert_eq!(rig.ok(id::PROBE_READ_USER, &[out, 4, 0x1234]), error(14));
}

#[test]
fn stacks() {
    let mut rig = tracing();
    let (map, handle) = rig.map(MapType::StackTrace, 4, 32, 64, 0);
    let context = rig.context();
    assert_eq!(rig.ok(id::GET_STACKID, &[context, handle, 0]), error(14), "none is known");
    rig.env().stacks.kernel = Some(vec![1, 2, 3]);
    let id1 = rig.ok(id::GET_STACKID, &[context, handle, 0]);
    assert_eq!(rig.ok(id::GET_STACKID, &[context, handle, 0]), id1);
    let id2 = rig.ok(id::GET_STACKID, &[context, handle, 1]);
    let stacks = rig.vm.state.maps.kind::<StackMap>(map).unwrap();
    assert_eq!((stacks.get(id1 as u32), stacks.get(id2 as u32)), (Some(&[1, 2, 3][..]), Some(&[2, 3][..])));
    let out = rig.put(&[9; 16]);
    assert_eq!(rig.ok(id::GET_STACK, &[context, out, 16, 0]), 16, "what fits");
    assert_eq!(rig.get(out, 16), [1u64.to_ne_bytes(), 2u64.to_ne_bytes()].concat());
    assert_eq!(rig.ok(id::GET_STACK, &[context, out, 16, 1 << 8]), error(14), "no user stack");
    assert_eq!(rig.get(out, 16), [0; 16]);
    let bytes = [5u64.to_ne_bytes(), 6u64.to_ne_bytes()].concat();
    rig.env().answers.push(id::GET_STACKID, Answer { r0: 9, bytes });
    assert_eq!(rig.ok(id::GET_STACKID, &[context, handle, 0]), 9);
    assert_eq!(rig.vm.state.maps.kind::<StackMap>(map).unwrap().get(9), Some(&[5, 6][..]));
}

#[test]
fn signals_are_noted_and_not_sent() {
    let mut rig = tracing();
    assert_eq!(rig.ok(id::SEND_SIGNAL, &[9]), 0);
    assert_eq!(rig.ok(id::SEND_SIGNAL_THREAD, &[15]), 0);
    assert_eq!(rig.ok(id::SEND_SIGNAL, &[65]), error(22));
    rig.env().processes.switch(1);
    assert_eq!(rig.ok(id::SEND_SIGNAL, &[9]), error(1), "init gets none");
    assert_eq!(
        rig.env().effects.take(),
        [
            Effect::Signal { to: 42, thread: false, signal: 9 },
            Effect::Signal { to: 43, thread: true, signal: 15 }
        ]
    );
}

#[test]
fn what_the_attachment_gives() {
    let mut rig = Rig::new(ProgType::Tracing, Env::default());
    let context = rig.context();
    let out = rig.put(&[0; 8]);
    rig.env().attached.args = vec![11, 22];
    (rig.env().attached.cookie, rig.env().attached.function) = (5, 0xffff_ffff_8100_0000);
    assert_eq!(rig.ok(id::GET_ATTACH_COOKIE, &[context]), 5);
    assert_eq!(rig.ok(id::GET_FUNC_IP, &[context]), 0xffff_ffff_8100_0000);
    assert_eq!(rig.ok(id::GET_FUNC_ARG_CNT, &[context]), 2);
    assert_eq!(rig.ok(id::GET_FUNC_ARG, &[context, 1, out]), 0);
    assert_eq!(rig.get(out, 8), 22u64.to_ne_bytes());
    assert_eq!(rig.ok(id::GET_FUNC_ARG, &[context, 2, out]), error(22));
    assert_eq!(rig.ok(id::GET_FUNC_RET, &[context, out]), error(95));
    assert!(rig.fault(id::GET_FUNC_IP, &[context + 8]).contains("must be the context"));
}

#[test]
fn perf_events() {
    let mut rig = tracing();
    let (map, handle) = rig.map(MapType::PerfEventArray, 4, 4, 0, 0);
    let (context, data) = (rig.context(), rig.put(b"event"));
    let current = 0xffff_ffff;
    assert_eq!(rig.ok(id::PERF_EVENT_OUTPUT, &[context, handle, current, data, 5]), 0);
    assert_eq!(rig.ok(id::PERF_EVENT_OUTPUT, &[context, handle, 1, data, 5]), error(95), "another CPU's");
    assert_eq!(rig.ok(id::PERF_EVENT_OUTPUT, &[context, handle, 1 << 40, data, 5]), error(22));
    let mut seen = 0;
    let perf = rig.vm.state.maps.kind::<PerfArray>(map).unwrap();
    perf.consume(&mut |sample| {
        assert_eq!((sample.cpu, &*sample.bytes), (0, &b"event"[..]));
        seen += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(seen, 1);
}
