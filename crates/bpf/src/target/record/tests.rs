//! What is recorded replays, from memory and from bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::btf::{Btf, BtfBuilder, NameKind};
use crate::target::{Arch, Feature, Note, Symbol, TargetExt, TypeRequest};
use crate::version::KernelVersion;

/// Answers everything, numbers differently at each call.
struct Live {
    vmlinux: Arc<Btf>,
    module: Arc<Btf>,
    clock: AtomicU64,
}

impl Live {
    fn new() -> Live {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        let vmlinux = Arc::new(Btf::parse(b.finish(), None).unwrap());
        let mut b = BtfBuilder::on(&vmlinux);
        b.typedef("mod_t", int);
        let module = Arc::new(Btf::parse(b.finish(), Some(vmlinux.clone())).unwrap());
        Live { vmlinux, module, clock: AtomicU64::new(0) }
    }
}

impl Target for Live {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Ok(match question {
            Question::KernelVersion => Answer::Version(KernelVersion { major: 6, minor: 18, patch: 44 }),
            Question::Arch => Answer::Arch(Arch::Aarch64),
            Question::Has(f) => Answer::Yes(*f == Feature::Loop),
            Question::Btf(name) if name.is_empty() => Answer::Btf(self.vmlinux.clone()),
            Question::Btf(_) => Answer::Btf(self.module.clone()),
            Question::Modules => Answer::Names(Arc::new(vec!["nf_tables".into(), "veth".into()])),
            Question::TracepointFormat { category, name } => {
                Answer::Text(format!("{category}/{name}").into())
            }
            Question::BinarySymbols(_) => Answer::Symbols(Arc::new(vec![Symbol {
                name: "readline".into(),
                address: 0x401000,
                offset: 0x1000,
                size: 12,
            }])),
            Question::BinaryNotes(_) => Answer::Notes(Arc::new(vec![Note {
                provider: "libc".into(),
                name: "setjmp".into(),
                offset: 0x4_0000,
                semaphore: 0x20_0000,
                args: "8@%rdi -4@%esi".into(),
            }])),
            Question::KernelSymbol(name) => return Err(TargetError::NotFound(name.clone())),
            Question::KernelFunctions => {
                return Err(TargetError::Os { operation: "reading functions".into(), errno: 1 });
            }
            Question::Tracepoints => {
                return Err(TargetError::Damaged { what: "events".into(), why: "empty".into() });
            }
            Question::PidNamespace => return Err(TargetError::Unknown("the namespace".into())),
            _ => Answer::Number(self.clock.fetch_add(1, Ordering::Relaxed)),
        })
    }
}

fn questions() -> Vec<Question> {
    use Question::*;
    let name = || "x".to_owned();
    vec![
        KernelVersion,
        Arch,
        PossibleCpus,
        Has(Feature::Loop),
        Has(Feature::CpuV4),
        Btf(String::new()),
        Btf("mod".to_owned()),
        Modules,
        Tracepoints,
        TracepointFormat { category: "sched".into(), name: "fork".into() },
        KernelFunctions,
        KernelSymbol(name()),
        BinaryPath(name()),
        BinarySymbols(name()),
        PidNamespace,
        BpfPrograms,
        CgroupId(name()),
        UserId(name()),
        File(name()),
        Directory(name()),
        BinaryTypes(TypeRequest {
            path: name(),
            functions: vec![(name(), 7)],
            types: vec![name()],
            shallow: true,
        }),
        SourceLine { path: name(), file: name(), line: 3, column: 0 },
        DemangledSymbols(name()),
        Binaries { name: name(), pid: Some(7), any_file: true },
        MappedBinaries(None),
        MappedBinaries(Some(7)),
        BinaryNotes(name()),
        InstructionAt { path: name(), start: 7, offset: 9 },
    ]
}

fn shown(target: &impl Target) -> Vec<String> {
    questions().iter().map(|q| format!("{:?}", target.ask(q))).collect()
}

fn recording() -> Recorded {
    let recorder = Recorder::new(Live::new());
    for q in questions() {
        let _ = recorder.ask(&q);
    }
    recorder.recorded()
}

#[test]
fn replays_what_was_answered() {
    let recorder = Recorder::new(Live::new());
    let first = shown(&recorder);
    assert_eq!(shown(&recorder), first, "the same answer again");
    let recorded = recorder.recorded();
    assert_eq!(shown(&recorded), first);
    assert_eq!(recorded.questions().count(), questions().len());
    let other = recorded.ask(&Question::UserId("y".to_owned()));
    assert!(matches!(other, Err(TargetError::Unknown(what)) if what.contains("not in the recording")));
}

#[test]
fn bytes_round_trip() {
    let recorded = recording();
    let bytes = recorded.to_bytes();
    let read = Recorded::from_bytes(&bytes).unwrap();
    assert_eq!(shown(&read), shown(&recorded));
    assert_eq!(read.to_bytes(), bytes);
    let (vmlinux, module) = (read.vmlinux().unwrap(), read.module_btf("mod").unwrap());
    assert!(module.base().is_some_and(|base| Arc::ptr_eq(base, &vmlinux)));
    assert!(module.find(NameKind::Typedef, "mod_t").is_some());
    assert_eq!(read.has(Feature::CpuV4), Ok(false));
}

#[test]
fn a_module_alone_brings_its_base() {
    let recorder = Recorder::new(Live::new());
    let _ = recorder.module_btf("mod");
    let read = Recorded::from_bytes(&recorder.recorded().to_bytes()).unwrap();
    assert!(read.module_btf("mod").unwrap().find(NameKind::Int, "int").is_some());
    assert!(read.vmlinux().is_err());
}

#[test]
fn damage_is_named() {
    let bytes = recording().to_bytes();
    let fails = |bytes: &[u8]| Recorded::from_bytes(bytes).unwrap_err().to_string();
    assert!(fails(b"SKEPREC\x02").contains("version 1"));
    assert!(fails(b"SK").contains("8 bytes wanted, 2 left"));
    assert!(fails(&bytes[..bytes.len() - 1]).contains("wanted"));
    assert!(fails(&[&bytes[..], b"!"].concat()).contains("more follows"));
    assert!(fails(b"SKEPREC\x01\xff\xff\xff\xff").contains("4294967295 entries in 0 bytes"));
}

#[test]
fn features_have_names_and_versions() {
    for f in Feature::ALL {
        assert_eq!(Feature::from_name(f.name()), Some(*f));
        assert!(f.since() <= KernelVersion::new(6, 18) && f.since().major >= 3, "{f:?}");
    }
}

proptest! {
    #[test]
    fn damaged_recordings_are_harmless(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
                                       cut in any::<prop::sample::Index>()) {
        let mut bytes = recording().to_bytes();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Recorded::from_bytes(&bytes);
        let _ = Recorded::from_bytes(&bytes[..cut.index(bytes.len())]);
    }
}
