//! Every kind of attachment: nothing runs before, it runs while, nothing runs after.

use crate::support::{count, counter_object, load, map, object, program, root, total, work};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{Attach, BtfTarget, MissingProbes, Sample};
use skep_bpf::target::{Feature, TargetExt};
use skep_bpf::version::KernelVersion;
use skep_kernel::{Error, LiveTarget, LoadOptions, Loaded, machine};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

fn counts(test: &str, prog_type: ProgType, at: Attach, mut work: impl FnMut()) {
    if !root(test) {
        return;
    }
    let mut loaded = load(&counter_object(prog_type, at));
    work();
    assert_eq!(total(&mut loaded, 0), 0, "ran before it was attached");
    assert_eq!(loaded.attach_all().unwrap().probes, 1);
    work();
    let seen = total(&mut loaded, 0);
    assert!(seen > 0, "did not run");
    loaded.detach().unwrap();
    let after = total(&mut loaded, 0);
    work();
    assert_eq!(total(&mut loaded, 0), after, "runs after it was detached");
}

#[test]
fn raw_tracepoint_counts() {
    let at = Attach::RawTracepoint { name: "sys_enter".into() };
    counts("raw_tracepoint_counts", ProgType::RawTracepoint, at, || work(10));
}

#[test]
fn tracepoint_counts() {
    let at = Attach::Tracepoint { category: "syscalls".into(), name: "sys_enter_getpriority".into() };
    counts("tracepoint_counts", ProgType::Tracepoint, at, || {
        let _ = rustix::process::getpriority_process(None);
    });
}

#[test]
fn software_event_counts() {
    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK
    let at = Attach::PerfEvent {
        perf_type: 1,
        config: 0,
        sample: Sample::Frequency(997),
        one_cpu: false,
        pid: None,
    };
    counts("software_event_counts", ProgType::PerfEvent, at, || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            work(1);
        }
    });
}

#[test]
fn software_event_of_one_process_counts() {
    let pid = Some(std::process::id());
    let at =
        Attach::PerfEvent { perf_type: 1, config: 0, sample: Sample::Period(1_000_000), one_cpu: false, pid };
    counts("software_event_of_one_process_counts", ProgType::PerfEvent, at, || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            work(1);
        }
    });
}

#[inline(never)]
extern "C" fn a_traced_function(n: u32) -> u32 {
    std::hint::black_box(n) + 1
}

/// Held by a test as long as it counts calls of [`a_traced_function`]: the others run in threads of this process.
static COUNTED: Mutex<()> = Mutex::new(());

fn own_function() -> (String, u64) {
    let path = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let symbols = LiveTarget::new().binary_symbols(&path).unwrap();
    let symbol = symbols.iter().find(|s| s.name.contains("a_traced_function")).unwrap();
    (path, symbol.offset)
}

#[test]
fn uprobe_counts() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, offset) = own_function();
    for (ret, pid) in [(false, None), (true, Some(std::process::id()))] {
        let at = Attach::Uprobe { path: path.clone(), offset, ref_ctr: 0, ret, pid };
        counts("uprobe_counts", ProgType::Kprobe, at, || {
            a_traced_function(1);
        });
    }
}

#[test]
fn uprobe_multi_counts() {
    if !LiveTarget::new().supports(Feature::UprobeMulti) {
        eprintln!("skipped uprobe_multi_counts: uprobe.multi needs Linux {}", Feature::UprobeMulti.since());
        return;
    }
    if !root("uprobe_multi_counts") {
        return;
    }
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, offset) = own_function();
    let at = Attach::UprobeMulti {
        path,
        offsets: vec![offset],
        cookies: vec![7],
        ref_ctrs: Vec::new(),
        ret: false,
        pid: Some(std::process::id()),
    };
    let mut wanted = counter_object(ProgType::Kprobe, at);
    wanted.programs[0].attach_type = AttachType::TraceUprobeMulti;
    let mut loaded = load(&wanted);
    loaded.attach_all().unwrap();
    for n in 0..5 {
        a_traced_function(n);
    }
    assert_eq!(total(&mut loaded, 0), 5);
}

#[test]
fn typed_raw_tracepoint_counts() {
    if !root("typed_raw_tracepoint_counts") {
        return;
    }
    let mut wanted = counter_object(ProgType::Tracing, Attach::RawTracepoint { name: "sched_switch".into() });
    wanted.programs[0].attach_type = AttachType::TraceRawTp;
    wanted.programs[0].attach_btf = Some(BtfTarget::RawTracepoint("sched_switch".into()));
    let mut loaded = load(&wanted);
    loaded.attach_all().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    assert!(total(&mut loaded, 0) > 0);
}

#[test]
fn fentry_counts_or_says_why_not() {
    if !root("fentry_counts_or_says_why_not") {
        return;
    }
    let target = Arc::new(LiveTarget::new());
    let mut wanted = counter_object(ProgType::Tracing, Attach::Fentry);
    wanted.programs[0].attach_type = AttachType::TraceFentry;
    wanted.programs[0].attach_btf = Some(BtfTarget::Function { name: "bpf_prog_put".into(), module: None });
    let loaded = Loaded::load(&wanted, target.clone(), &LoadOptions::default());
    assert_eq!(loaded.is_ok(), target.supports(Feature::Fentry));
    if let Err(failures) = loaded {
        assert!(matches!(failures[0].error, Error::Unavailable { .. }), "{failures:?}");
    }
}

#[test]
fn kprobe_counts_or_says_why_not() {
    if !root("kprobe_counts_or_says_why_not") {
        return;
    }
    let at = Attach::Kprobe { symbol: "ksys_read".into(), offset: 0, ret: false };
    let target = LiveTarget::new();
    if target.supports(Feature::Kprobe) {
        counts("kprobe_counts_or_says_why_not", ProgType::Kprobe, at, || {
            std::fs::read("/proc/self/stat").unwrap();
        });
        return;
    }
    let mut loaded = load(&counter_object(ProgType::Kprobe, at));
    let failures = loaded.attach_all().unwrap_err();
    assert!(matches!(failures[0].error, Error::Unavailable { .. }), "{failures:?}");
}

#[test]
fn kprobe_multi_counts_or_says_why_not() {
    if !root("kprobe_multi_counts_or_says_why_not") {
        return;
    }
    let symbols = vec!["ksys_read".to_owned(), "ksys_write".to_owned()];
    let at = Attach::KprobeMulti { symbols, cookies: Vec::new(), ret: false };
    let target = LiveTarget::new();
    let mut wanted = counter_object(ProgType::Kprobe, at);
    wanted.programs[0].attach_type = AttachType::TraceKprobeMulti;
    if target.supports(Feature::KprobeMulti) {
        let mut loaded = load(&wanted);
        assert_eq!(loaded.attach_all().unwrap().probes, 2);
        std::fs::read("/proc/self/stat").unwrap();
        assert!(total(&mut loaded, 0) > 0);
    } else if let Ok(mut loaded) = Loaded::load(&wanted, Arc::new(LiveTarget::new()), &LoadOptions::default())
    {
        let failures = loaded.attach_all().unwrap_err();
        let error = &failures[0].error;
        assert!(matches!(error, Error::Unavailable { .. } | Error::TooOld { .. }), "{failures:?}");
    }
}

#[test]
fn a_place_that_is_not_there_is_missing() {
    if !root("a_place_that_is_not_there_is_missing") {
        return;
    }
    let places = [
        (ProgType::Tracepoint, Attach::Tracepoint { category: "sched".into(), name: "no_such".into() }),
        (
            ProgType::Tracepoint,
            Attach::Tracepoint { category: "..".into(), name: "sched/sched_switch".into() },
        ),
        (ProgType::RawTracepoint, Attach::RawTracepoint { name: "no_such".into() }),
        (
            ProgType::Kprobe,
            Attach::Uprobe { path: "/no/such".into(), offset: 0, ref_ctr: 0, ret: false, pid: None },
        ),
    ];
    for (prog_type, at) in places {
        let mut wanted = counter_object(prog_type, at);
        let failures = load(&wanted).attach_all().unwrap_err();
        assert!(failures[0].error.is_missing(), "{failures:?}");
        wanted.session.missing_probes = MissingProbes::Warn;
        assert_eq!(load(&wanted).attach_all().unwrap().missing.len(), 1);
        wanted.session.missing_probes = MissingProbes::Ignore;
        assert_eq!(load(&wanted).attach_all().unwrap(), Default::default());
    }
}

#[test]
fn an_iterator_sees_every_task() {
    if !root("an_iterator_sees_every_task") {
        return;
    }
    let mut wanted = counter_object(ProgType::Tracing, Attach::Iter);
    wanted.programs[0].attach_type = AttachType::TraceIter;
    wanted.programs[0].attach_btf = Some(BtfTarget::Iter("task".into()));
    let mut loaded = load(&wanted);
    loaded.attach_all().unwrap();
    let start = Instant::now();
    while !is_read(&loaded) && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(is_read(&loaded));
    let tasks = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = tasks.filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok()).count() as u64;
    assert!(total(&mut loaded, 0) >= processes / 2);
}

#[test]
fn many_links_detach_quickly_and_wholly() {
    if !root("many_links_detach_quickly_and_wholly") {
        return;
    }
    let events = LiveTarget::new().tracepoints().unwrap();
    let mut names = events
        .iter()
        .filter_map(|e| e.split_once(':'))
        .filter(|(category, name)| *category == "syscalls" && name.starts_with("sys_enter_"));
    let mut detach = |many: usize| {
        let (insns, relocs) = count();
        let programs: Vec<_> = names
            .by_ref()
            .take(many)
            .map(|(category, name)| {
                let at = Attach::Tracepoint { category: category.into(), name: name.into() };
                program(ProgType::Tracepoint, insns.clone(), relocs.clone(), at)
            })
            .collect();
        let mut loaded = load(&object(vec![map("@n", MapType::PercpuArray, 4, 8, 1)], programs));
        assert_eq!(loaded.attach_all().unwrap().probes, many);
        let start = Instant::now();
        loaded.detach().unwrap();
        drop(loaded);
        start.elapsed()
    };
    let (one, many) = (detach(1), detach(60));
    // One after the other they would take 60 times as long as one, or twice that. Kernels before 6.17 wait for each
    // link under one lock (kernel/trace/bpf_trace.c, bpf_event_mutex).
    let together = machine::version() >= KernelVersion::new(6, 17);
    assert!(!together || many < one * 20 + Duration::from_millis(500), "{many:?} for 60, {one:?} for one");
}

/// Whether nothing is attached but iterators, and all of them have been read.
fn is_read(loaded: &Loaded) -> bool {
    loaded.ends_by_itself().is_some_and(|n| n.load(std::sync::atomic::Ordering::Acquire) == 0)
}
