//! `--aot`: programs that carry a script. Such a file is this program itself with the script behind its end; when it is
//! started, it compiles the script for the kernel that it finds, and runs it.
//!
//! In: the options and the script; later the file of the running program. Out: the file; the script and its words.
//! Always: what is read of the file is bounded and checked, and a file that carries nothing is left alone.

use crate::args::Trace;
use anyhow::{Context, Result, bail};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// The last bytes of a file that carries a script; before them stands how long the content is (u64, little endian).
const MARK: &[u8; 8] = b"SKEPAOT1";
/// Bytes of length and mark.
const TRAILER: u64 = 16;
/// Most words that are carried.
const MAX_WORDS: usize = 1024;
/// The running program.
const ITSELF: &str = "/proc/self/exe";

/// A script that was carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Whether it was made under the name `bpftrace`.
    pub(crate) bpftrace: bool,
    /// The script's name in messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// Options of `skep trace` that it was made with.
    pub(crate) words: Vec<String>,
}

impl Bundle {
    /// The script with what of the options is about how it is compiled.
    pub(crate) fn new(options: &Trace, name: &str, text: &str) -> Bundle {
        let flags = [
            ("--unsafe", options.allow_unsafe),
            ("-k", options.helper_errors),
            ("--no-warnings", options.no_warnings),
            ("-q", options.quiet),
        ];
        let mut words: Vec<String> =
            flags.iter().filter(|(_, given)| *given).map(|(word, _)| (*word).to_owned()).collect();
        for (option, values) in [("-I", &options.include_dirs), ("--include", &options.includes)] {
            words.extend(values.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        Bundle { bpftrace: crate::is_bpftrace(), name: name.to_owned(), text: text.to_owned(), words }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.bpftrace)];
        for word in [&self.name, &self.text].into_iter().chain(&self.words) {
            out.extend_from_slice(&(word.len() as u64).to_le_bytes());
            out.extend_from_slice(word.as_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Bundle> {
        let (bpftrace, mut rest) = bytes.split_first()?;
        let mut words = Vec::new();
        while !rest.is_empty() && words.len() < MAX_WORDS {
            let (length, behind) = rest.split_first_chunk::<8>()?;
            let (word, behind) =
                behind.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            words.push(String::from_utf8(word.to_vec()).ok()?);
            rest = behind;
        }
        let mut words = words.into_iter();
        let (name, text) = (words.next()?, words.next()?);
        rest.is_empty().then(|| Bundle { bpftrace: *bpftrace == 1, name, text, words: words.collect() })
    }

    /// Writes a program that carries this to `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<ExitCode> {
        let mut program = std::fs::File::open(ITSELF).context("cannot read this program")?;
        let own = content(&mut program).context("cannot read this program")?.0;
        program.seek(SeekFrom::Start(0)).context("cannot read this program")?;
        // A running program cannot be written to; a new file takes its place.
        let cannot = || format!("cannot write {}", path.display());
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path)
            .with_context(cannot)?;
        std::io::copy(&mut program.take(own), &mut file).with_context(cannot)?;
        let content = self.encode();
        file.write_all(&content).with_context(cannot)?;
        file.write_all(&(content.len() as u64).to_le_bytes()).with_context(cannot)?;
        file.write_all(MARK).with_context(cannot)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the program itself ends, and how long what it carries is, if it carries something.
fn content(file: &mut std::fs::File) -> std::io::Result<(u64, Option<u64>)> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(start) = size.checked_sub(TRAILER) else { return Ok((size, None)) };
    let mut trailer = [0; TRAILER as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut trailer)?;
    let (length, mark) = trailer.split_at(8);
    let length = length.try_into().map_or(0, u64::from_le_bytes);
    match start.checked_sub(length) {
        Some(own) if mark == MARK => Ok((own, Some(length))),
        _ => Ok((size, None)),
    }
}

/// What the running program carries.
pub(crate) fn carried() -> Result<Option<Bundle>> {
    // Where there is no /proc, nothing is carried that could be found.
    let Ok(mut file) = std::fs::File::open(ITSELF) else { return Ok(None) };
    let Ok((own, Some(length))) = content(&mut file) else { return Ok(None) };
    if length > 2 * super::trace::MAX_SCRIPT {
        bail!(
            "the script that this program carries has {length} bytes, at most {} are possible",
            2 * super::trace::MAX_SCRIPT
        );
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(own)).context("cannot read this program")?;
    file.take(length).read_to_end(&mut bytes).context("cannot read this program")?;
    match Bundle::decode(&bytes) {
        Some(bundle) => Ok(Some(bundle)),
        None => bail!("the script that this program carries is damaged: make the program again with --aot"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_comes_back_and_damage_is_seen() {
        let words = ["-k", "-I", "a dir"].map(str::to_owned).to_vec();
        let bundle = Bundle { bpftrace: true, name: "x.bt".into(), text: "begin { }\n".into(), words };
        let bytes = bundle.encode();
        assert_eq!(Bundle::decode(&bytes).as_ref(), Some(&bundle));
        for cut in 0..bytes.len() {
            assert_ne!(Bundle::decode(&bytes[..cut]).as_ref(), Some(&bundle), "{cut}");
        }
        assert_eq!(Bundle::decode(&[1, 255, 255, 255, 255, 255, 255, 255, 255]), None);
        assert_eq!(Bundle::decode(&[]), None);
    }
}
