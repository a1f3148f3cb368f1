//! Recording a session (`skep trace --record`): a script that was compiled to be recorded and a writer enter; the recording
//! is complete when the session has ended.

use crate::error::Error;
use crate::script::Program;
use crate::tracer::Tracer;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use skep_bpf::backend::{Backend, Entries, MapAccess};
use skep_bpf::record::LOST_MAP;
use skep_bpf::target::{Arch, Recorded, TargetExt};
use skep_lang::options::Options;
use skep_runtime::record::{Head, Log, Phase, Recording};
use std::collections::VecDeque;
use std::io::Write;

/// A recording that is being written, with what has been read ahead of the session.
pub(crate) struct Tape {
    log: Log,
    ahead: VecDeque<Vec<u8>>,
}

/// What a recording came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Runs that are in it.
    pub runs: u64,
    /// Runs of which something is missing; they are not in it.
    pub incomplete: u64,
    /// Records that found no room.
    pub lost: u64,
}

/// The options of a compilation by name: what [`compiled_as`] reads.
fn names(options: &Options) -> Vec<(String, Vec<String>)> {
    let number = |n: Option<u32>| n.iter().map(u32::to_string).collect();
    let flag = |set: bool| if set { vec!["yes".to_owned()] } else { Vec::new() };
    let config = options.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let all: [(&str, Vec<String>); 10] = [
        ("params", options.params.clone()),
        ("pid", number(options.pid)),
        ("child", number(options.child)),
        ("own_pid", number(Some(options.own_pid))),
        ("unsafe", flag(options.unsafe_mode)),
        ("passes", flag(options.passes)),
        ("helper_errors", flag(options.helper_errors)),
        ("config", config),
        ("include_dirs", options.include_dirs.clone()),
        ("includes", options.includes.clone()),
    ];
    all.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

/// The options that a recording was compiled with.
pub(crate) fn compiled_as(head: &Head) -> Options {
    let values = |name: &str| -> &[String] {
        head.options.iter().find(|(n, _)| n == name).map_or(&[], |(_, values)| values)
    };
    let number = |name: &str| values(name).first().and_then(|n| n.parse().ok());
    let config = values("config").iter().filter_map(|entry| entry.split_once('='));
    Options {
        params: values("params").to_vec(),
        pid: number("pid"),
        child: number("child"),
        own_pid: number("own_pid").unwrap_or(0),
        unsafe_mode: !values("unsafe").is_empty(),
        passes: !values("passes").is_empty(),
        helper_errors: !values("helper_errors").is_empty(),
        config: config.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        include_dirs: values("include_dirs").to_vec(),
        includes: values("includes").to_vec(),
        filters: Some(skep_packet::filter::script::compiler()),
        ..Options::default()
    }
}

/// The head of a recording of what was compiled so; `answers` are the target's.
pub(crate) fn head(program: &Program, options: &Options, answers: &Recorded) -> Result<Head, Error> {
    let target = program.target.as_ref();
    let failed = |e: std::io::Error| Error::Session(skep_runtime::Error::Output(e));
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&answers.to_bytes()).map_err(failed)?;
    Ok(Head {
        kernel: target.kernel_version().map(|v| v.to_string()).unwrap_or_default(),
        arch: target
            .arch()
            .map(|a| if a == Arch::X86_64 { "x86_64" } else { "aarch64" }.to_owned())
            .unwrap_or_default(),
        cpus: target.possible_cpus().ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        name: program.source.name.clone(),
        text: program.source.text.clone(),
        options: names(options),
        target: packed.finish().map_err(failed)?,
    })
}

/// Keys and values, one behind the other, packed.
fn packed(entries: &Entries) -> std::io::Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    for entry in entries.iter() {
        packed.write_all(entry.key)?;
        packed.write_all(entry.value())?;
    }
    packed.finish()
}

impl Tracer<'_> {
    /// Records the session to `out`; the script was compiled with [`Script::record`](crate::Script::record).
    pub fn record(&mut self, out: Box<dyn Write>) -> Result<(), Error> {
        let Some(head) = &self.program.recording else {
            return Err(Error::Internal("the script was not compiled to be recorded".to_owned()));
        };
        let object = &self.program.object;
        let failed = |e: std::io::Error| Error::Session(skep_runtime::Error::Output(e));
        let mut log = Log::new(out, head, object).map_err(failed)?;
        // The tables of the processes whose stacks are walked.
        for index in object.session.unwind.iter().flat_map(|maps| [maps.places, maps.rows]) {
            let name = object.maps.get(index).map_or("", |spec| spec.name.as_str());
            let entries = self.loaded.map_entries(index).map_err(skep_runtime::Error::Events)?;
            let room = u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX);
            log.table(name, room, packed(&entries).map_err(failed)?);
        }
        self.tape = Some(Tape { log, ahead: VecDeque::new() });
        Ok(())
    }

    /// Notes in the recording, if there is one, that the session goes on.
    pub(crate) fn phase(&mut self, phase: Phase) {
        if let Some(tape) = &mut self.tape {
            tape.log.phase(phase);
        }
    }

    /// The session with what it reads from: the machine, or the machine as it is recorded.
    pub(crate) fn with_backend<T>(
        &mut self,
        act: impl FnOnce(&mut crate::tracer::Reading<'_>, &mut dyn Backend) -> T,
    ) -> T {
        match &mut self.tape {
            None => act(&mut self.session, &mut self.loaded),
            Some(tape) => {
                let mut recording = Recording {
                    inner: &mut self.loaded,
                    log: &mut tape.log,
                    ahead: &mut tape.ahead,
                    object: &self.program.object,
                };
                act(&mut self.session, &mut recording)
            }
        }
    }

    /// Ends the recording, if there is one.
    pub(crate) fn close_recording(&mut self) -> Result<Option<Written>, Error> {
        let Some(tape) = self.tape.take() else { return Ok(None) };
        let lost_map = self.program.object.maps.iter().position(|m| m.name == LOST_MAP);
        let entries = lost_map.map(|map| self.loaded.map_entries(map)).transpose();
        let entries = entries.map_err(skep_runtime::Error::Events)?;
        let lost = entries.as_ref().and_then(|e| e.get(0)).and_then(|e| e.value().try_into().ok());
        let lost = lost.map_or(0, u64::from_ne_bytes);
        let (runs, incomplete) = tape.log.close(lost).map_err(skep_runtime::Error::Output)?;
        Ok(Some(Written { runs, incomplete, lost }))
    }
}
