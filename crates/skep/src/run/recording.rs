//! Recordings that were written by `skep trace --record`: a file's text enters; the script as it was compiled then, for
//! the machine that it ran on, leaves, ready to happen again here.

use crate::error::Error;
use crate::record::compiled_as;
use crate::script::Script;
use flate2::read::ZlibDecoder;
use skep_bpf::object::Object;
use skep_bpf::target::Recorded as Answers;
use skep_lang::compile::{CompileFailure, Source, compile};
use skep_runtime::record::{Recorded, read};
use std::io::Read;

/// Largest target that is unpacked.
const MAX_TARGET: u64 = 256 << 20;

/// A recording with its script compiled again.
#[derive(Debug)]
pub struct Recording {
    /// What was recorded.
    pub recorded: Recorded,
    /// The script's programs, as they were but for the recording of their runs.
    pub object: Object,
    /// The script.
    pub(crate) source: Source,
}

impl Recording {
    /// Whether this is the beginning of a recording.
    pub fn is_recording(bytes: &[u8]) -> bool {
        bytes.starts_with(br#"{"skep":"recording""#)
    }

    /// Reads a recording, which messages call `name`, and compiles its script. Nothing of this machine goes into it.
    pub fn open(name: &str, text: &str) -> Result<Recording, Error> {
        Recording::open_with(name, text, None)
    }

    /// The same with another script in place of its own, which may ask the target only what that one did.
    pub fn open_with(name: &str, text: &str, script: Option<&Script>) -> Result<Recording, Error> {
        let refused = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
        let recorded = read(text).map_err(refused)?;
        let mut target = Vec::new();
        let unpacked =
            ZlibDecoder::new(recorded.head.target.as_slice()).take(MAX_TARGET).read_to_end(&mut target);
        unpacked.map_err(|e| refused(format!("line 1: `target` cannot be unpacked: {e}")))?;
        let target = Answers::from_bytes(&target).map_err(|e| refused(format!("line 1: `target`: {e}")))?;
        if let Some(script) = script {
            let (object, _, source) = script.compile_for(&target)?;
            return Ok(Recording { recorded, object, source });
        }
        let source = Source { name: recorded.head.name.clone(), text: recorded.head.text.clone() };
        let options = compiled_as(&recorded.head);
        match compile(&source, &options, &target, &|_| false, &mut |_, _| {}) {
            Ok(compiled) => Ok(Recording { recorded, object: compiled.object, source }),
            Err(CompileFailure::Diagnostics(diagnostics)) => Err(Error::Script { diagnostics, source }),
            Err(CompileFailure::Internal(why)) => Err(Error::Internal(why)),
        }
    }
}
