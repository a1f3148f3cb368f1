//! The ring buffer: order, wrapping, stopping, waiting.

use skep_bpf::target::Feature;
use skep_kernel::LiveTarget;

use crate::support::{drain, load, map, object, program, ring_object, root, work};
use skep_bpf::backend::{Backend, MapAccess};
use skep_bpf::helpers::id;
use skep_bpf::insn::{Insn, Reg, alu, atomic, jmp, pseudo, size};
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::{Attach, Reloc, RelocKind, SessionSpec};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

#[test]
fn begin_and_end_send_events_in_order() {
    if !root("begin_and_end_send_events_in_order") {
        return;
    }
    let mut loaded = load(&ring_object());
    assert_eq!(loaded.attach_all().unwrap().probes, 2);
    loaded.run_begin().unwrap();
    loaded.detach().unwrap();
    loaded.run_end().unwrap();
    assert_eq!(drain(&mut loaded), [11, 22]);
    assert_eq!(drain(&mut loaded), [] as [u64; 0]);
}

#[test]
fn the_ring_wraps_and_loses_nothing_that_fits() {
    if !root("the_ring_wraps_and_loses_nothing_that_fits") {
        return;
    }
    let mut loaded = load(&ring_object());
    let mut total = 0;
    for _ in 0..50 {
        // 16 bytes each with their header: 100 fit in a page, and 50 rounds of them wrap it many times.
        for _ in 0..100 {
            loaded.run_begin().unwrap();
        }
        total += drain(&mut loaded).iter().filter(|v| **v == 11).count();
    }
    assert_eq!(total, 5000);
    for _ in 0..1000 {
        loaded.run_begin().unwrap();
    }
    let kept = drain(&mut loaded).len();
    assert!((200..=256).contains(&kept), "{kept} of 1000 in a page");
}

#[test]
fn a_sink_can_stop_and_go_on() {
    if !root("a_sink_can_stop_and_go_on") {
        return;
    }
    let mut loaded = load(&ring_object());
    for _ in 0..10 {
        loaded.run_begin().unwrap();
    }
    let mut seen = 0;
    let mut sink = |_: &[u8]| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = loaded.poll_events(Some(Duration::ZERO), &mut sink).unwrap();
    assert!(outcome.stopped);
    assert_eq!(outcome.records, 3);
    assert_eq!(drain(&mut loaded).len(), 7);
}

#[test]
fn waiting_ends_with_a_record_a_watched_descriptor_or_the_time() {
    if !root("waiting_ends_with_a_record_a_watched_descriptor_or_the_time") {
        return;
    }
    let mut loaded = load(&ring_object());
    let mut none = |_: &[u8]| ControlFlow::Continue(());
    let start = Instant::now();
    let outcome = loaded.poll_events(Some(Duration::from_millis(30)), &mut none).unwrap();
    assert_eq!((outcome.records, outcome.interrupted), (0, false));
    assert!(start.elapsed() >= Duration::from_millis(29));
    let (reader, writer) = std::io::pipe().unwrap();
    loaded.watch(&reader).unwrap();
    drop(writer);
    let outcome = loaded.poll_events(None, &mut none).unwrap();
    assert!(outcome.interrupted);
    loaded.unwatch(&reader).unwrap();
    loaded.run_begin().unwrap();
    let outcome = loaded.poll_events(None, &mut none).unwrap();
    assert_eq!(outcome.records, 1);
}

#[test]
fn a_fast_ring_gives_every_record_once_and_in_order() {
    if !root("a_fast_ring_gives_every_record_once_and_in_order") {
        return;
    }
    if !LiveTarget::new().supports(Feature::FetchAtomics) {
        eprintln!("skipped a_fast_ring_gives_every_record_once_and_in_order: atomics of Linux 5.12");
        return;
    }
    // Each system call of this process sends the running number of a counter (map 1).
    let (counter, ring) =
        (Insn::ld_imm64(Reg::R1, pseudo::MAP_VALUE, 0), Insn::ld_imm64(Reg::R1, pseudo::MAP_FD, 0));
    let insns = vec![
        Insn::call_helper(id::GET_CURRENT_PID_TGID),
        Insn::alu64_imm(alu::RSH, Reg::R0, 32),
        Insn::jmp_imm(jmp::JNE, Reg::R0, std::process::id() as i32, 12),
        counter[0],
        counter[1],
        Insn::mov_imm(Reg::R2, 1),
        Insn::atomic(size::DW, atomic::ADD | atomic::FETCH, Reg::R1, 0, Reg::R2),
        Insn::store_reg(size::DW, Reg::FP, -8, Reg::R2),
        ring[0],
        ring[1],
        Insn::mov_reg(Reg::R2, Reg::FP),
        Insn::alu64_imm(alu::ADD, Reg::R2, -8),
        Insn::mov_imm(Reg::R3, 8),
        Insn::mov_imm(Reg::R4, 0),
        Insn::call_helper(id::RINGBUF_OUTPUT),
        Insn::mov_imm(Reg::R0, 0),
        Insn::exit(),
    ];
    let relocs =
        vec![Reloc { insn: 3, kind: RelocKind::MapValue(1) }, Reloc { insn: 8, kind: RelocKind::Map(0) }];
    let at = Attach::RawTracepoint { name: "sys_enter".into() };
    let maps = vec![map("events", MapType::Ringbuf, 0, 0, 1 << 20), map("n", MapType::Array, 4, 8, 1)];
    let mut wanted = object(maps, vec![program(ProgType::RawTracepoint, insns, relocs, at)]);
    wanted.session = SessionSpec { events: Some(0), ..SessionSpec::default() };
    let mut loaded = load(&wanted);
    loaded.attach_all().unwrap();
    let worker = std::thread::spawn(|| work(3000));
    let mut seen: Vec<u64> = Vec::new();
    let mut polls = 0;
    while !worker.is_finished() {
        let mut sink = |bytes: &[u8]| {
            seen.push(u64::from_ne_bytes(bytes.try_into().unwrap()));
            ControlFlow::Continue(())
        };
        loaded.poll_events(Some(Duration::from_millis(100)), &mut sink).unwrap();
        polls += 1;
    }
    loaded.detach().unwrap();
    seen.extend(drain(&mut loaded));
    let counted =
        u64::from_ne_bytes(loaded.map_entries(1).unwrap().get(0).unwrap().value().try_into().unwrap());
    // Two CPUs may take a number and reserve in different orders; none may be missing or come twice.
    seen.sort_unstable();
    assert_eq!(seen, (0..counted).collect::<Vec<_>>(), "{polls} polls");
    assert!(counted >= 3000);
}
