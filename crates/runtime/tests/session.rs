//! Sessions from the first record to the last warning, on a backend of plain data.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::cell::Cell;
use std::io::{self, Write};

use skep_bpf::event::{Action, EventLayout, Stream, TAIL_FAILED, lay_out};
use skep_bpf::kinds::MapType;
use skep_bpf::object::{Counter, MapSchema, Object, Storage};
use skep_bpf::schema::{Agg, ValueType};
use skep_runtime::session::{End, Options, Outcome, Session};
use skep_runtime::sink::{JsonSink, Severity, Sink, TextSink};
use support::{Fake, FakeMap, map, notation};

const U64: ValueType = ValueType::Int { size: 8, signed: false };

/// Events of the test object, by number.
const HELLO: u32 = 0;
const EXIT: u32 = 1;
const PRINT_C: u32 = 2;
const ZERO_C: u32 = 3;
const CLEAR_C: u32 = 4;
const TIME: u32 = 5;
const JOIN: u32 = 6;
const SYSTEM: u32 = 7;
const CAT: u32 = 8;
const WARN: u32 = 9;
const ERROR: u32 = 10;
const PRINT: u32 = 11;
const RUNTIME: u32 = 12;
const ZERO_H: u32 = 13;
const ZERO_K: u32 = 14;

/// Maps of the test object, by index.
const C: usize = 0;
const K: usize = 1;
const COUNTERS: usize = 2;
const H: usize = 3;

fn object() -> Object {
    let text = || ValueType::Str { size: 64 };
    let printf = |f: &str, stream| Action::Printf { format: notation::format(f), stream };
    let format = |f: &str| notation::format(f);
    let mut warn = lay_out(printf("bad %d\\n", Stream::Warning), vec![U64], 3);
    warn.columns = Some((5, 20));
    let events = vec![
        lay_out(printf("hello %s %d\\n", Stream::Out), vec![text(), U64], 1),
        lay_out(Action::Exit, vec![U64], 1),
        lay_out(Action::PrintMap { map: C }, vec![U64, U64], 1),
        lay_out(Action::Zero { map: C }, vec![], 1),
        lay_out(Action::Clear { map: C }, vec![], 1),
        lay_out(Action::Time { format: "%H:%M:%S\n".to_owned() }, vec![], 1),
        lay_out(Action::Join { delimiter: ",".to_owned() }, vec![text(), text(), text()], 1),
        lay_out(Action::System { format: format("run %s") }, vec![text()], 1),
        lay_out(Action::Cat { format: format("/proc/%d/x") }, vec![U64], 1),
        warn,
        lay_out(printf("worse\\n", Stream::Error), vec![], 4),
        lay_out(Action::Print, vec![ValueType::tuple([U64, U64])], 1),
        lay_out(Action::RuntimeError { message: "divided by zero".to_owned() }, vec![], 7),
        lay_out(Action::Zero { map: H }, vec![], 1),
        lay_out(Action::Zero { map: K }, vec![], 1),
    ];
    let schema = |storage, key: Vec<ValueType>, agg| {
        Some(MapSchema { storage, key, value: ValueType::Agg(agg), order: 0 })
    };
    let mut object = Object {
        maps: vec![
            map("@c", MapType::PercpuArray, 4, 16, schema(Storage::PercpuScalar, vec![], Agg::Count)),
            map("@a", MapType::PercpuHash, 8, 8, schema(Storage::Hash, vec![U64], Agg::Count)),
            map("counters", MapType::PercpuArray, 4, 8, None),
            map(
                "@h",
                MapType::PercpuArray,
                4,
                8,
                schema(Storage::PercpuScalar, vec![], Agg::Hist { bits: 0 }),
            ),
        ],
        events,
        ..Object::default()
    };
    object.session.print_maps_on_exit = true;
    object.session.counter_map = Some(COUNTERS);
    object.session.counters =
        vec![Counter::LostEvent, Counter::ScratchBusy, Counter::MapFull(K), Counter::MapRefused(K)];
    object
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn fake() -> Fake {
    let mut fake = Fake { cpus: 2, ..Fake::default() };
    let array = |value_size, entries: &[(u32, Vec<u64>)]| FakeMap {
        key_size: 4,
        value_size,
        cpus: 2,
        entries: entries.iter().map(|(k, v)| (k.to_ne_bytes().to_vec(), words(v))).collect(),
    };
    fake.maps.insert(C, array(16, &[(0, vec![3, 1, 4, 1])]));
    fake.maps.insert(H, array(8, &[(0, vec![0, 0]), (3, vec![1, 1])]));
    fake.maps
        .insert(COUNTERS, array(8, &[(0, vec![0, 0]), (1, vec![0, 0]), (2, vec![0, 0]), (3, vec![0, 0])]));
    let keyed = vec![(words(&[7]), words(&[1, 1])), (words(&[9]), words(&[0, 1]))];
    fake.maps.insert(K, FakeMap { key_size: 8, value_size: 8, cpus: 2, entries: keyed });
    fake
}

/// A record: arguments of the head as bytes, tails as content, both in order.
fn record(object: &Object, number: u32, fixed: &[&[u8]], tails: &[&[u8]]) -> Vec<u8> {
    let layout: &EventLayout = &object.events[number as usize];
    let mut bytes = vec![0u8; layout.head as usize];
    bytes[..4].copy_from_slice(&number.to_ne_bytes());
    let (mut fixed, mut tails) = (fixed.iter(), tails.iter());
    for arg in &layout.args {
        let at = arg.offset as usize;
        if arg.tail {
            let content = tails.next().unwrap();
            let pair = [bytes.len() as u32, content.len() as u32];
            bytes[at..at + 4].copy_from_slice(&pair[0].to_ne_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&pair[1].to_ne_bytes());
            bytes.extend_from_slice(content);
        } else {
            let content = fixed.next().unwrap();
            bytes[at..at + content.len()].copy_from_slice(content);
        }
    }
    bytes
}

struct Run {
    out: String,
    err: String,
    outcome: Outcome,
}

/// Runs records as if sent while attached, then `late` ones as if sent by `end` probes.
fn run(fake: &mut Fake, records: Vec<Vec<u8>>, late: Vec<Vec<u8>>, options: Options) -> Run {
    let object = object();
    let mut session = Session::new(&object, TextSink::new(Vec::new(), Vec::new(), true), options);
    session.attached(2).unwrap();
    fake.records.extend(records);
    let polls = Cell::new(0);
    let stop = || polls.replace(polls.get() + 1) >= 3;
    session.pump(fake, &stop).unwrap();
    session.settle(fake).unwrap();
    fake.records.extend(late);
    let outcome = session.finish(fake).unwrap();
    let (out, err) = session.into_sink().into_inner();
    let show = |b| String::from_utf8(b).unwrap();
    Run { out: show(out), err: show(err), outcome }
}

fn hello(who: &str, n: u64) -> Vec<u8> {
    record(&object(), HELLO, &[&n.to_ne_bytes()], &[who.as_bytes()])
}

fn exit(code: u64) -> Vec<u8> {
    record(&object(), EXIT, &[&code.to_ne_bytes()], &[])
}

#[test]
fn prints_in_order_and_maps_at_the_end() {
    let mut fake = fake();
    let r = run(
        &mut fake,
        vec![hello("you", 1), hello("me\x1b[m", 2)],
        vec![hello("end", 3)],
        Options::default(),
    );
    let want = "hello you 1\nhello me\\x1b[m 2\nhello end 3\n\n\n@a[9]: 1\n@a[7]: 2\n@c: 7\n@h:\n[2, 4)                 2 |";
    assert!(r.out.starts_with(want), "{}", r.out);
    assert_eq!(r.err, "Attached 2 probes\n");
    assert_eq!((r.outcome.records, r.outcome.dropped, r.outcome.exit_code), (3, 0, 0));
}

#[test]
fn exit_drops_what_follows_but_not_the_end_probes() {
    let mut fake = fake();
    let r = run(
        &mut fake,
        vec![hello("a", 1), exit(3), hello("b", 2)],
        vec![hello("end", 3)],
        Options::default(),
    );
    assert!(r.out.starts_with("hello a 1\nhello end 3\n\n\n"), "{}", r.out);
    assert_eq!((r.outcome.records, r.outcome.dropped, r.outcome.exit_code), (4, 1, 3));
}

#[test]
fn pump_says_why_it_ended() {
    let object = object();
    let mut fake = fake();
    fake.records.push_back(exit(0));
    let mut session = Session::new(&object, TextSink::new(io::sink(), io::sink(), true), Options::default());
    assert_eq!(session.pump(&mut fake, &|| false).unwrap(), End::Exit);
    assert!(session.exiting());
    session.settle(&mut fake).unwrap();
    assert_eq!(session.pump(&mut fake, &|| true).unwrap(), End::Stopped);
}

#[test]
fn maps_are_printed_zeroed_and_cleared_on_demand() {
    let object = object();
    let mut fake = fake();
    let at = |number| record(&object, number, &[], &[]);
    let print = record(&object, PRINT_C, &[&[0; 8], &2u64.to_ne_bytes()], &[]);
    let all = vec![print.clone(), at(ZERO_C), print.clone(), at(CLEAR_C), print, at(ZERO_H), at(ZERO_K)];
    let r = run(&mut fake, all, vec![], Options::default());
    assert!(r.out.starts_with("@c: 3\n@c: 0\n"), "{}", r.out);
    assert!(r.out.ends_with("\n\n@a[7]: 0\n@a[9]: 0\n@h:\n\n"), "{}", r.out);
    assert_eq!(fake.log, ["clear 0", "zero 3", "zero 1"]);
}

#[test]
fn zeroing_what_was_never_written_leaves_it_so() {
    let object = object();
    let mut fake = fake();
    for map in [C, H] {
        fake.maps.get_mut(&map).unwrap().entries.iter_mut().for_each(|(_, v)| v.fill(0));
    }
    let all = vec![record(&object, ZERO_C, &[], &[]), record(&object, ZERO_H, &[], &[])];
    let r = run(&mut fake, all, vec![], Options::default());
    assert_eq!(r.out, "\n\n@a[9]: 1\n@a[7]: 2\n");
}

#[test]
fn every_action_does_its_own() {
    let object = object();
    let mut fake = fake();
    fake.files.insert("/proc/5/x".to_owned(), b"a\tb\x1b\n".to_vec());
    let all = vec![
        record(&object, TIME, &[], &[]),
        record(&object, JOIN, &[], &[b"ls", b"-l", b""]),
        record(&object, CAT, &[&5u64.to_ne_bytes()], &[]),
        record(&object, PRINT, &[&words(&[1, 2])], &[]),
        record(&object, WARN, &[&9u64.to_ne_bytes()], &[]),
        record(&object, ERROR, &[], &[]),
        record(&object, RUNTIME, &[], &[]),
        record(&object, CAT, &[&6u64.to_ne_bytes()], &[]),
    ];
    let r = run(&mut fake, all, vec![], Options::default());
    assert!(r.out.starts_with("01:02:03\nls,-l\na\tb\\x1b\n(1, 2)\n\n\n"), "{}", r.out);
    let want = "Attached 2 probes\nstdin:3:5-20: WARNING: bad 9\nstdin:4: ERROR: worse\n\
                stdin:7: WARNING: divided by zero\nERROR: failed to open file '/proc/6/x' (No such file";
    assert!(r.err.starts_with(want), "{}", r.err);
}

#[test]
fn warnings_can_be_turned_off_errors_not() {
    let object = object();
    let all = vec![record(&object, WARN, &[&9u64.to_ne_bytes()], &[]), record(&object, ERROR, &[], &[])];
    let r = run(&mut fake(), all, vec![], Options { warnings: false, ..Options::default() });
    assert_eq!(r.err, "Attached 2 probes\nstdin:4: ERROR: worse\n");
}

#[test]
fn system_runs_only_when_allowed() {
    let object = object();
    let all = || vec![record(&object, SYSTEM, &[], &[b"a\nb"])];
    let mut fake = fake();
    let r = run(&mut fake, all(), vec![], Options::default());
    assert!(fake.commands.is_empty() && r.err.contains("--unsafe"), "{}", r.err);
    let r = run(&mut fake, all(), vec![], Options { allow_system: true, ..Options::default() });
    assert_eq!(fake.commands, ["run a\nb"]);
    assert!(r.out.starts_with("output\n\n"), "{}", r.out);
}

#[test]
fn loss_is_reported_by_cpu_and_kind() {
    let mut fake = fake();
    let counters = &mut fake.maps.get_mut(&COUNTERS).unwrap().entries;
    counters[0].1 = words(&[0, 5]);
    counters[1].1 = words(&[2, 0]);
    counters[2].1 = words(&[1, 3]);
    counters[3].1 = words(&[0, 6]);
    fake.misses = 5;
    let r = run(&mut fake, vec![hello("a", 1)], vec![], Options::default());
    assert_eq!(r.outcome.loss.total_events(), 7);
    let lines: Vec<&str> = r.err.lines().collect();
    assert_eq!(
        lines[..3],
        ["Attached 2 probes", "Lost 7 events", "WARNING: Total lost event count: 7 (CPU 0: 2, CPU 1: 5)"]
    );
    assert!(lines[3].contains("2 of the lost events") && lines[3].contains("(CPU 0: 2)"), "{}", lines[3]);
    assert!(lines[4].contains("map @a is full (16 entries): 4 updates"), "{}", lines[4]);
    assert!(lines[5].contains("refused 6 updates of map @a"), "{}", lines[5]);
    assert!(lines[6].contains("skipped 5 probe runs"), "{}", lines[6]);
}

#[test]
fn damaged_records_are_counted_and_skipped() {
    let object = object();
    let mut broken = hello("abc", 1);
    broken[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
    let mut unread = hello("abc", 1);
    unread[12..16].copy_from_slice(&TAIL_FAILED.to_ne_bytes());
    let unknown = vec![0xffu8; 32];
    let short = record(&object, EXIT, &[&[0; 8]], &[])[..12].to_vec();
    let all = vec![vec![], vec![1], unknown, short, broken, unread, hello("x", 1)];
    let r = run(&mut fake(), all, vec![], Options::default());
    let want = "hello <damaged: tail outside the record> 1\nhello  1\nhello x 1\n";
    assert!(r.out.starts_with(want), "{}", r.out);
    assert_eq!((r.outcome.records, r.outcome.damaged, r.outcome.exit_code), (7, 4, 0));
    assert!(r.err.contains("4 damaged event records"), "{}", r.err);
}

/// A writer whose reader leaves after so many bytes.
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let object = object();
    let mut fake = fake();
    fake.records.extend([hello("a", 1), hello("b", 2), hello("c", 3)]);
    let mut session = Session::new(&object, TextSink::new(Pipe(15), Vec::new(), true), Options::default());
    assert_eq!(session.pump(&mut fake, &|| false).unwrap(), End::Closed);
    session.settle(&mut fake).unwrap();
    let outcome = session.finish(&mut fake).unwrap();
    assert!(outcome.closed);
    assert_eq!((outcome.records, outcome.dropped), (3, 1));
    assert_eq!(session.into_sink().into_inner().1, b"");
}

#[test]
fn other_write_errors_are_errors() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let object = object();
    let mut fake = fake();
    fake.records.push_back(hello("a", 1));
    let mut session = Session::new(&object, TextSink::new(Full, Vec::new(), true), Options::default());
    assert!(session.pump(&mut fake, &|| false).is_err());
}

#[test]
fn json_lines_as_the_reference_spells_them() {
    let object = object();
    let mut fake = fake();
    let counters = &mut fake.maps.get_mut(&COUNTERS).unwrap().entries;
    counters[0].1 = words(&[0, 5]);
    fake.records.extend([
        hello("\x1b", 1),
        record(&object, TIME, &[], &[]),
        record(&object, JOIN, &[], &[b"ls", b"-l", b""]),
        record(&object, WARN, &[&9u64.to_ne_bytes()], &[]),
        record(&object, RUNTIME, &[], &[]),
        record(&object, SYSTEM, &[], &[b"x"]),
        exit(1),
    ]);
    let options = Options { allow_system: true, ..Options::default() };
    let mut session = Session::new(&object, JsonSink::new(Vec::new(), Vec::new()), options);
    session.attached(1).unwrap();
    session.pump(&mut fake, &|| false).unwrap();
    session.settle(&mut fake).unwrap();
    session.finish(&mut fake).unwrap();
    let (out, err) = session.into_sink().into_inner();
    let want = r#"{"type": "attached_probes", "count": 1, "data": {"probes": 1}}
{"type": "printf", "data": "hello \u001b 1\n"}
{"type": "time", "data": "01:02:03\n"}
{"type": "join", "data": "ls,-l"}
{"type": "warnf", "msg": "bad 9\n", "filename": "stdin", "line": 3, "col": 5}
{"type": "runtime_error", "msg": "divided by zero", "filename": "stdin", "line": 7}
{"type": "syscall", "data": "output\n"}
{"type": "lost_events", "count": 5, "data": {"events": 5}}
{"type": "map", "data": {"@a": {"9": 1, "7": 2}}}
{"type": "map", "data": {"@c": 7}}
{"type": "hist", "data": {"@h": [{"min": 2, "max": 3, "count": 2}]}}
"#;
    assert_eq!(String::from_utf8(out).unwrap(), want);
    assert_eq!(String::from_utf8(err).unwrap(), "WARNING: Total lost event count: 5 (CPU 1: 5)\n");
}

#[test]
fn many_records_come_through_in_batches() {
    let object = object();
    let mut fake = fake();
    let n = 20_000;
    fake.records.extend((0..n).map(|i| hello("0123456789abcdef0123456789abcdef", i)));
    fake.records.push_back(exit(0));
    let mut session = Session::new(&object, TextSink::new(Vec::new(), io::sink(), true), Options::default());
    session.pump(&mut fake, &|| false).unwrap();
    let out = String::from_utf8(session.into_sink().into_inner().0).unwrap();
    assert_eq!(out.lines().count() as u64, n);
    assert!(out.lines().enumerate().all(|(i, line)| line.ends_with(&format!(" {i}"))));
}

#[test]
fn messages_never_steer_a_terminal() {
    let mut sink = TextSink::new(Vec::new(), Vec::new(), false);
    assert!(sink.escapes(Stream::Warning) && !sink.escapes(Stream::Out));
    sink.notice(Severity::Error, "path \x1b]0;x\x07").unwrap();
    assert_eq!(sink.into_inner().1, b"ERROR: path \\x1b]0;x\\x07\n");
}
