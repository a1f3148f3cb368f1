//! Recordings as bytes. Layout, all numbers little-endian, strings and lists with a u32 count in front:
//!
//! - `SKEPREC`, version byte 1
//! - list of BTF blobs: u32 index plus one of the base among those before it (0: none), bytes
//! - list of answers: question (tag byte, its strings), then tag byte of the answer and its content; tags 0x80 on are
//!   refusals
//!
//! What is read is bounded by its own length, and a count that the rest cannot hold is refused before anything is
//! reserved for it.

use std::sync::Arc;

use super::record::Recorded;
use super::{Answer, Arch, Feature, Interface, Note, Question, Symbol, TargetError, TypeRequest};
use crate::btf::Btf;
use crate::version::KernelVersion;

const MAGIC: &[u8; 8] = b"SKEPREC\x01";

/// A recording that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("recording, byte {at}: {what}")]
pub struct RecordError {
    /// Offset in bytes.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

impl Recorded {
    /// The recording as bytes; equal recordings give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer { out: MAGIC.to_vec() };
        let mut blobs: Vec<Arc<Btf>> = Vec::new();
        for answer in self.answers.values() {
            if let Ok(Answer::Btf(btf)) = answer {
                add_blob(&mut blobs, btf);
            }
        }
        w.count(blobs.len());
        for btf in &blobs {
            let base = btf.base().and_then(|base| blob_index(&blobs, base));
            w.u32(base.map_or(0, |i| i as u32 + 1));
            w.bytes(btf.raw());
        }
        w.count(self.answers.len());
        for (question, answer) in &self.answers {
            w.question(question);
            w.answer(answer, &blobs);
        }
        w.out
    }

    /// Reads a recording.
    pub fn from_bytes(bytes: &[u8]) -> Result<Recorded, RecordError> {
        let mut r = Reader { bytes, at: 0 };
        if r.take(MAGIC.len())? != MAGIC {
            return Err(RecordError { at: 0, what: "this is no recording of version 1".to_owned() });
        }
        let mut blobs = Vec::new();
        for _ in 0..r.count(8)? {
            let base = match r.u32()? as usize {
                0 => None,
                n => Some(blobs.get(n - 1).cloned().ok_or_else(|| r.error("no such base"))?),
            };
            let raw = r.bytes()?.to_vec();
            let btf = Btf::parse(raw, base).map_err(|e| r.error(&e.to_string()))?;
            blobs.push(Arc::new(btf));
        }
        let mut recorded = Recorded::new();
        for _ in 0..r.count(2)? {
            let question = r.question()?;
            let answer = r.answer(&blobs)?;
            recorded.set(question, answer);
        }
        if r.at != bytes.len() {
            return Err(r.error("more follows than belongs to it"));
        }
        Ok(recorded)
    }
}

fn blob_index(blobs: &[Arc<Btf>], btf: &Arc<Btf>) -> Option<usize> {
    blobs.iter().position(|b| Arc::ptr_eq(b, btf))
}

/// Adds a blob behind its bases.
fn add_blob(blobs: &mut Vec<Arc<Btf>>, btf: &Arc<Btf>) {
    if let Some(base) = btf.base() {
        add_blob(blobs, base);
    }
    if blob_index(blobs, btf).is_none() {
        blobs.push(btf.clone());
    }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn u8(&mut self, n: u8) {
        self.out.push(n);
    }

    fn u32(&mut self, n: u32) {
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    fn count(&mut self, n: usize) {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.u8(tag);
        self.bytes(text.as_bytes());
    }

    fn question(&mut self, question: &Question) {
        use Question::*;
        match question {
            KernelVersion => self.u8(0),
            Arch => self.u8(1),
            PossibleCpus => self.u8(2),
            Has(feature) => self.text(3, feature.name()),
            Btf(module) => self.text(4, module),
            Modules => self.u8(5),
            Tracepoints => self.u8(6),
            TracepointFormat { category, name } => {
                self.text(7, category);
                self.bytes(name.as_bytes());
            }
            KernelFunctions => self.u8(8),
            Interfaces => self.u8(60),
            KernelSymbol(name) => self.text(9, name),
            BinaryPath(name) => self.text(10, name),
            BinarySymbols(path) => self.text(11, path),
            BinaryVariable { path, name } => {
                self.text(40, path);
                self.bytes(name.as_bytes());
            }
            PidNamespace => self.u8(12),
            BpfPrograms => self.u8(50),
            CgroupId(path) => self.text(13, path),
            UserId(name) => self.text(14, name),
            File(path) => self.text(15, path),
            Directory(path) => self.text(16, path),
            BinaryTypes(request) => {
                self.text(17, &request.path);
                self.u32(request.functions.len() as u32);
                request.functions.iter().for_each(|(name, address)| {
                    self.bytes(name.as_bytes());
                    self.u64(*address);
                });
                self.u32(request.types.len() as u32);
                request.types.iter().for_each(|name| self.bytes(name.as_bytes()));
                self.u8(request.shallow.into());
            }
            SourceLine { path, file, line, column } => {
                self.text(30, path);
                self.bytes(file.as_bytes());
                self.u32(*line);
                self.u32(*column);
            }
            DemangledSymbols(path) => self.text(31, path),
            Binaries { name, pid, any_file } => {
                self.text(18, name);
                self.u32(pid.unwrap_or(0));
                self.u8((*any_file).into());
            }
            MappedBinaries(pid) => {
                self.u8(19);
                self.u32(pid.unwrap_or(0));
            }
            BinaryNotes(path) => self.text(20, path),
            InstructionAt { path, start, offset } => {
                self.text(23, path);
                [*start, *offset].into_iter().for_each(|n| self.u64(n));
            }
        }
    }

    fn answer(&mut self, answer: &Result<Answer, TargetError>, blobs: &[Arc<Btf>]) {
        match answer {
            Ok(Answer::Version(v)) => {
                self.u8(0);
                [v.major, v.minor, v.patch].iter().for_each(|n| self.out.extend_from_slice(&n.to_le_bytes()));
            }
            Ok(Answer::Arch(arch)) => self.text(1, arch_name(*arch)),
            Ok(Answer::Number(n)) => {
                self.u8(2);
                self.u64(*n);
            }
            Ok(Answer::Yes(yes)) => {
                self.u8(3);
                self.u8((*yes).into());
            }
            Ok(Answer::Btf(btf)) => {
                self.u8(4);
                self.u32(blob_index(blobs, btf).map_or(u32::MAX, |i| i as u32));
            }
            Ok(Answer::Names(names)) => {
                self.u8(5);
                self.count(names.len());
                names.iter().for_each(|n| self.bytes(n.as_bytes()));
            }
            Ok(Answer::Text(text)) => self.text(6, text),
            Ok(Answer::Symbols(symbols)) => {
                self.u8(7);
                self.count(symbols.len());
                for s in symbols.iter() {
                    self.bytes(s.name.as_bytes());
                    [s.address, s.offset, s.size].into_iter().for_each(|n| self.u64(n));
                }
            }
            Ok(Answer::Notes(notes)) => {
                self.u8(8);
                self.count(notes.len());
                notes.iter().for_each(|n| self.note(n));
            }
            Ok(Answer::Interfaces(list)) => {
                self.u8(9);
                self.count(list.len());
                for i in list.iter() {
                    self.bytes(i.name.as_bytes());
                    [i.index, i.hardware, i.mtu].into_iter().for_each(|n| self.u32(n));
                }
            }
            Err(e) => self.refusal(e),
        }
    }

    fn note(&mut self, n: &Note) {
        [&n.provider, &n.name, &n.args].into_iter().for_each(|s| self.bytes(s.as_bytes()));
        [n.offset, n.semaphore].into_iter().for_each(|n| self.u64(n));
    }

    fn refusal(&mut self, e: &TargetError) {
        match e {
            TargetError::NotFound(what) => self.text(0x80, what),
            TargetError::Unknown(what) => self.text(0x81, what),
            TargetError::Os { operation, errno } => {
                self.text(0x82, operation);
                self.u32(*errno as u32);
            }
            TargetError::Damaged { what, why } => {
                self.text(0x83, what);
                self.bytes(why.as_bytes());
            }
        }
    }
}

const ARCHES: [(Arch, &str); 2] = [(Arch::X86_64, "x86_64"), (Arch::Aarch64, "aarch64")];

fn arch_name(arch: Arch) -> &'static str {
    ARCHES.iter().find(|(a, _)| *a == arch).map_or("", |(_, name)| name)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &str) -> RecordError {
        RecordError { at: self.at, what: what.to_owned() }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let taken =
            rest.get(..n).ok_or_else(|| self.error(&format!("{n} bytes wanted, {} left", rest.len())))?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things that take at least `each` bytes.
    fn count(&mut self, each: usize) -> Result<usize, RecordError> {
        let n = self.u32()? as usize;
        let left = self.bytes.len() - self.at;
        if n > left / each {
            return Err(self.error(&format!("{n} entries in {left} bytes")));
        }
        Ok(n)
    }

    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let n = self.count(1)?;
        self.take(n)
    }

    fn string(&mut self) -> Result<String, RecordError> {
        let text = std::str::from_utf8(self.bytes()?).map(str::to_owned);
        text.map_err(|e| self.error(&e.to_string()))
    }

    fn question(&mut self) -> Result<Question, RecordError> {
        use Question::*;
        Ok(match self.u8()? {
            0 => KernelVersion,
            1 => Arch,
            2 => PossibleCpus,
            3 => {
                let name = self.string()?;
                Has(Feature::from_name(&name)
                    .ok_or_else(|| self.error(&format!("unknown feature {name}")))?)
            }
            4 => Btf(self.string()?),
            5 => Modules,
            6 => Tracepoints,
            7 => TracepointFormat { category: self.string()?, name: self.string()? },
            8 => KernelFunctions,
            60 => Interfaces,
            9 => KernelSymbol(self.string()?),
            10 => BinaryPath(self.string()?),
            11 => BinarySymbols(self.string()?),
            40 => BinaryVariable { path: self.string()?, name: self.string()? },
            12 => PidNamespace,
            50 => BpfPrograms,
            13 => CgroupId(self.string()?),
            14 => UserId(self.string()?),
            15 => File(self.string()?),
            16 => Directory(self.string()?),
            17 => BinaryTypes(self.type_request()?),
            18 => Binaries { name: self.string()?, pid: self.pid()?, any_file: self.u8()? != 0 },
            19 => MappedBinaries(self.pid()?),
            20 => BinaryNotes(self.string()?),
            23 => InstructionAt { path: self.string()?, start: self.u64()?, offset: self.u64()? },
            30 => SourceLine {
                path: self.string()?,
                file: self.string()?,
                line: self.u32()?,
                column: self.u32()?,
            },
            31 => DemangledSymbols(self.string()?),
            tag => return Err(self.error(&format!("unknown question {tag}"))),
        })
    }

    fn type_request(&mut self) -> Result<TypeRequest, RecordError> {
        let path = self.string()?;
        let functions = (0..self.count(12)?)
            .map(|_| Ok((self.string()?, self.u64()?)))
            .collect::<Result<_, RecordError>>()?;
        let types = (0..self.count(4)?).map(|_| self.string()).collect::<Result<_, RecordError>>()?;
        Ok(TypeRequest { path, functions, types, shallow: self.u8()? != 0 })
    }

    fn answer(&mut self, blobs: &[Arc<Btf>]) -> Result<Result<Answer, TargetError>, RecordError> {
        Ok(Ok(match self.u8()? {
            0 => {
                let (major, minor, patch) = (self.u16()?, self.u16()?, self.u16()?);
                Answer::Version(KernelVersion { major, minor, patch })
            }
            1 => {
                let name = self.string()?;
                let arch = ARCHES.iter().find(|(_, n)| *n == name);
                Answer::Arch(arch.ok_or_else(|| self.error(&format!("unknown architecture {name}")))?.0)
            }
            2 => Answer::Number(self.u64()?),
            3 => Answer::Yes(self.u8()? != 0),
            4 => {
                let blob = blobs.get(self.u32()? as usize).cloned();
                Answer::Btf(blob.ok_or_else(|| self.error("no such blob"))?)
            }
            5 => {
                let names: Result<_, _> = (0..self.count(4)?).map(|_| self.string()).collect();
                Answer::Names(Arc::new(names?))
            }
            6 => Answer::Text(self.string()?.into()),
            7 => {
                let symbols: Result<_, _> = (0..self.count(28)?).map(|_| self.symbol()).collect();
                Answer::Symbols(Arc::new(symbols?))
            }
            8 => {
                let notes: Result<_, _> = (0..self.count(28)?).map(|_| self.note()).collect();
                Answer::Notes(Arc::new(notes?))
            }
            9 => {
                let list: Result<_, _> = (0..self.count(16)?).map(|_| self.interface()).collect();
                Answer::Interfaces(Arc::new(list?))
            }
            0x80 => return Ok(Err(TargetError::NotFound(self.string()?))),
            0x81 => return Ok(Err(TargetError::Unknown(self.string()?))),
            0x82 => {
                let (operation, errno) = (self.string()?, self.u32()? as i32);
                return Ok(Err(TargetError::Os { operation, errno }));
            }
            0x83 => return Ok(Err(TargetError::Damaged { what: self.string()?, why: self.string()? })),
            tag => return Err(self.error(&format!("unknown answer {tag}"))),
        }))
    }

    /// A process id; 0 for none.
    fn pid(&mut self) -> Result<Option<u32>, RecordError> {
        Ok(Some(self.u32()?).filter(|pid| *pid != 0))
    }

    fn note(&mut self) -> Result<Note, RecordError> {
        let (provider, name, args) = (self.string()?, self.string()?, self.string()?);
        Ok(Note { provider, name, args, offset: self.u64()?, semaphore: self.u64()? })
    }

    fn interface(&mut self) -> Result<Interface, RecordError> {
        let name = self.string()?;
        Ok(Interface { name, index: self.u32()?, hardware: self.u32()?, mtu: self.u32()? })
    }

    fn symbol(&mut self) -> Result<Symbol, RecordError> {
        let name = self.string()?;
        Ok(Symbol { name, address: self.u64()?, offset: self.u64()?, size: self.u64()? })
    }
}
