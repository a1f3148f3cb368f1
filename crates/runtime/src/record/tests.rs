//! A recording is written and read again, and happens again on a machine of the test's own.

use std::cell::RefCell;
use std::io::Write;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use skep_bpf::backend::{Backend, BackendError, Entries, MapAccess, Symbol};
use skep_bpf::helpers::id;
use skep_bpf::object::Object;
use skep_bpf::record::{BEGIN, EVENT, Kind};

use super::*;

#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn record(kind: Kind, number: u32, run: u64, address: u64, value: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = EVENT.to_ne_bytes().to_vec();
    bytes.extend(kind.word(number).to_ne_bytes());
    [run, address, value].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes.extend((data.len() as u64).to_ne_bytes());
    bytes.extend(data);
    bytes
}

fn begin(run: u64) -> Vec<u8> {
    let mut data = vec![0; BEGIN as usize];
    data[16] = 1;
    data[24..27].copy_from_slice(b"cat");
    record(Kind::Begin, 0, run, 0, 7 << 32 | 8, &data)
}

/// An event of `run`, as the ring has it.
fn event(run: u64, number: u8) -> Vec<u8> {
    [[number, 0, 0, 0], (run as u32).to_ne_bytes()].concat()
}

fn recorded() -> Recorded {
    let kept = Kept::default();
    let head = Head { cpus: 2, text: "begin { }".to_owned(), target: vec![1, 2, 3], ..Head::default() };
    let mut log = Log::new(Box::new(kept.clone()), &head, &Object::default()).unwrap();
    log.table("rows", 3, vec![1, 2, 3]);
    log.phase(Phase::Start { clocks: Vec::new() });
    // Two runs at one time: the second sends first.
    log.record(&begin(100));
    log.record(&begin(200));
    log.record(&record(Kind::Context, 2, 100, 4, 0x1234, &[]));
    // The program has written there since.
    log.record(&record(Kind::Context, 2, 100, 4, 0x5678, &[]));
    log.record(&record(Kind::Helper, id::PROBE_READ_USER_STR, 100, 0xffff_8000_0000_0010, 3, b"hi\0"));
    assert_eq!(log.record(&event(200, 5)), Some(vec![5, 0, 0, 0, 0, 0, 0, 0]));
    log.record(&event(100, 6));
    log.record(&record(Kind::Helper, id::PROBE_READ_KERNEL, 200, 16, -14i64 as u64, &[]));
    log.record(&record(Kind::End, 0, 100, 0, 0, &[]));
    log.record(&record(Kind::End, 0, 200, 0, 1, &[]));
    let symbol = Symbol { name: Some("f".to_owned()), offset: 2, ..Symbol::default() };
    log.asked(Question::KernelSymbol(9), Told::Symbols(vec![symbol]));
    let refused = BackendError::Os { operation: "read x".to_owned(), errno: 2 };
    log.asked(Question::File("x".to_owned()), Told::Failed(refused));
    log.phase(Phase::Detached);
    // Its end never comes.
    log.record(&begin(300));
    assert_eq!(log.close(0).unwrap(), (2, 1));
    let text = String::from_utf8(kept.0.borrow().clone()).unwrap();
    read(&text).unwrap()
}

/// A machine that sends what was recorded, but for run 200 if it is told so.
struct Echo {
    ran: Vec<u64>,
    wrong: bool,
}

impl MapAccess for Echo {
    fn map_entries(&mut self, _: usize) -> Result<Entries, BackendError> {
        Ok(Entries::default())
    }

    fn map_lookup(&mut self, _: usize, _: &[u8]) -> Result<Entries, BackendError> {
        Ok(Entries::default())
    }

    fn map_update(&mut self, _: usize, _: &[u8], _: &[u8]) -> Result<(), BackendError> {
        Ok(())
    }

    fn map_delete(&mut self, _: usize, _: &[u8]) -> Result<bool, BackendError> {
        Ok(false)
    }

    fn map_clear(&mut self, _: usize) -> Result<(), BackendError> {
        Ok(())
    }

    fn map_zero(&mut self, _: usize) -> Result<(), BackendError> {
        Ok(())
    }
}

impl Machine for Echo {
    fn run(&mut self, run: &Run) -> (Vec<Vec<u8>>, Option<String>) {
        self.ran.push(run.id);
        match self.wrong && run.id == 200 {
            true => (vec![vec![9; 8]], None),
            false => (run.events.iter().map(|(_, e)| e.clone()).collect(), None),
        }
    }
}

#[test]
fn what_is_written_reads_back() {
    let recorded = recorded();
    assert_eq!(recorded.tables().collect::<Vec<_>>(), [("rows", 3, &[1, 2, 3][..])]);
    assert_eq!((recorded.head.cpus, recorded.head.target.as_slice()), (2, &[1, 2, 3][..]));
    let runs: Vec<&Run> = recorded
        .lines
        .iter()
        .filter_map(|l| if let Line::Run(run) = l { Some(&**run) } else { None })
        .collect();
    let [first, second] = runs[..] else { panic!("{} runs", runs.len()) };
    assert_eq!(
        (first.id, first.cpu, first.process, first.comm.as_slice()),
        (100, 1, 7 << 32 | 8, &b"cat"[..])
    );
    assert_eq!(first.context, [0, 0, 0, 0, 0x34, 0x12]);
    let text = Answer::Helper {
        id: id::PROBE_READ_USER_STR,
        address: 0xffff_8000_0000_0010,
        returned: 3,
        data: b"hi\0".to_vec(),
    };
    assert_eq!(first.answers, [text]);
    assert_eq!(second.events, [(6, vec![5, 0, 0, 0, 0, 0, 0, 0])]);
    assert_eq!((second.returned, recorded.missing()), (1, Some((0, 1))));
}

#[test]
fn events_replay_in_their_order() {
    let (recorded, object) = (recorded(), Object::default());
    let mut replay = Replay::new(&recorded, &object, Echo { ran: Vec::new(), wrong: false });
    let mut seen = Vec::new();
    while replay
        .poll_events(Some(Duration::ZERO), &mut |event| {
            seen.push(event[0]);
            ControlFlow::Continue(())
        })
        .unwrap()
        .records
        > 0
    {}
    assert_eq!(seen, [5, 6]);
    assert_eq!(replay.machine().ran, [200, 100]);
    assert_eq!(replay.kernel_symbol(9).name.as_deref(), Some("f"));
    assert!(matches!(replay.read_file("x", 10), Err(BackendError::Os { errno: 2, .. })));
    assert_eq!(replay.differences().1, 0);
    assert_eq!(replay.user_name(5), None);
    assert_eq!(replay.differences().1, 1, "a question that was not asked");
}

#[test]
fn another_event_is_a_difference() {
    let (recorded, object) = (recorded(), Object::default());
    let mut replay = Replay::new(&recorded, &object, Echo { ran: Vec::new(), wrong: true });
    replay.advance(u64::MAX);
    let (kept, count) = replay.differences();
    assert_eq!((count, kept[0].run), (1, Some(200)));
    assert!(kept[0].what.contains("differs from byte 0"), "{}", kept[0].what);
}

#[test]
fn what_is_no_recording_is_refused() {
    for (text, why) in [
        ("", "it is empty"),
        ("{}", "line 1: this is no recording"),
        ("[", "line 1: this is no JSON"),
        (r#"{"skep":"recording","version":9}"#, "version 9; this skep reads version 1"),
        (r#"{"skep":"recording","version":1,"cpus":0}"#, "`cpus` should be"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(why), "{error:?} should say {why:?}");
    }
    let head = super::write::head(&Head { cpus: 1, ..Head::default() });
    for (line, why) in [
        ("{}", "line 2: a line has"),
        (r#"{"run":1,"comm":"x"}"#, "`events` should be a list"),
        (r#"{"asked":"name","of":[]}"#, "`name` is no question"),
        (r#"{"phase":"lunch","at":1}"#, "`lunch` is no phase"),
        (r#"{"map":"@","how":"eaten","at":1}"#, "`how` should be"),
    ] {
        let error = read(&format!("{head}\n{line}\n")).unwrap_err();
        assert!(error.contains(why), "{error:?} should say {why:?}");
    }
}
