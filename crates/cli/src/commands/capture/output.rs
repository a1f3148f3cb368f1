//! Where captured packets go: standard output as lines or JSON, a file, or files that follow each other.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skep::capture::live::{By, Flows};
use skep::capture::{Dump, Files, Form, Kept, Matched, Rotation, Sink, Stamp, Style, local_zone};

use crate::args::{self, Capture};

/// How often the table of flows is printed.
const EVERY: Duration = Duration::from_secs(1);

/// Takes packets.
pub(super) enum Output {
    /// One stream.
    One(Sink<Box<dyn Write>>),
    /// Files.
    Files(Box<Files>),
    /// A table of flows each second.
    Top(Box<Top>),
}

/// The table of flows.
pub(super) struct Top {
    flows: Flows,
    by: By,
    rows: usize,
    since: Instant,
    /// The table before is wiped.
    terminal: bool,
}

impl Top {
    fn print(&mut self) -> Result<(), skep::Error> {
        const WIPE: &str = "\x1b[H\x1b[2J";
        let table = self.flows.table(self.by, self.rows, self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
        let mut out = io::stdout().lock();
        let wipe = if self.terminal { WIPE } else { "" };
        writeln!(out, "{wipe}{table}").and_then(|()| out.flush()).map_err(skep::Error::Output)
    }
}

impl Output {
    /// What the options say. `live`: files are whole at any time; `link`: what a file without packets says.
    pub(super) fn new(options: &Capture, link: u16, live: bool) -> Result<Output> {
        if options.live.top {
            return Ok(Output::Top(Box::new(Top {
                flows: Flows::default(),
                by: match options.live.by {
                    args::By::Bytes => By::Bytes,
                    args::By::Packets => By::Packets,
                    args::By::Process => By::Process,
                },
                rows: options.live.rows.into(),
                since: Instant::now(),
                terminal: io::stdout().is_terminal(),
            })));
        }
        let rotation = options.live.rotation();
        let path = options.write.as_ref().filter(|path| path.as_os_str() != "-");
        if let Some(path) = path.filter(|_| live || rotation.is_any()) {
            refuse_own_input(path, &options.read)?;
            let old = options.pcap.then_some(options.nano);
            let name = path.to_str().context("the name of the file to write is not UTF-8")?;
            return Ok(Output::Files(Box::new(Files::new(name, rotation, old, link)?)));
        }
        if rotation.is_any() {
            bail!("standard output cannot be rotated: give `-w` a name");
        }
        Ok(Output::One(Sink::new(form(options), output(options)?, options.line_buffered)?))
    }

    /// Lines do not say which interface a packet is of.
    pub(super) fn without_origin(self) -> Output {
        match self {
            Output::One(sink) => Output::One(sink.without_origin()),
            other => other,
        }
    }

    /// Takes a packet; whether there was room for it.
    pub(super) fn take(&mut self, matched: &Matched<'_>) -> Result<Kept, skep::Error> {
        match self {
            Output::One(sink) => sink.take(matched).map(|()| Kept::Yes),
            Output::Files(files) => files.take(matched),
            Output::Top(top) => {
                top.flows.take(matched);
                Ok(Kept::Yes)
            }
        }
    }

    /// Writes what is held back, and the table when its time has come.
    pub(super) fn round(&mut self) -> Result<(), skep::Error> {
        match self {
            Output::One(sink) => sink.flush(),
            Output::Files(files) => files.settle(),
            Output::Top(top) if top.since.elapsed() >= EVERY => top.print(),
            Output::Top(_) => Ok(()),
        }
    }

    /// Ends the last file. Of files: packets that are in them, and that did not fit.
    pub(super) fn finish(&mut self, link: u16) -> (u64, u64, Result<(), skep::Error>) {
        match self {
            Output::One(sink) => (0, 0, sink.finish(link)),
            Output::Files(files) => files.finish(),
            Output::Top(top) => (0, 0, top.print()),
        }
    }
}

impl crate::args::CaptureLive {
    /// When the next file begins.
    fn rotation(&self) -> Rotation {
        const MEGABYTE: u64 = 1_000_000;
        Rotation {
            bytes: self.size.map(|size| size.saturating_mul(MEGABYTE)),
            seconds: self.seconds,
            packets: self.packets,
            files: self.files,
            disk: self.disk.map(|disk| disk.saturating_mul(MEGABYTE)),
        }
    }
}

fn form(options: &Capture) -> Form {
    if options.write.is_some() {
        return if options.pcap { Form::Pcap { nano: options.nano } } else { Form::Pcapng };
    }
    match (options.count, options.json) {
        (true, _) => Form::Count,
        (_, true) => Form::Json,
        _ => Form::Lines(style(options), local_zone()),
    }
}

fn style(options: &Capture) -> Style {
    let stamps =
        [Stamp::Clock, Stamp::None, Stamp::Seconds, Stamp::SincePrevious, Stamp::Date, Stamp::SinceFirst];
    let dump = match (options.hex, options.hex_text, options.text) {
        (_, _, true) => Dump::Text,
        (0, 0, _) => Dump::None,
        (0, times, _) => Dump::Hex { text: true, link: times > 1 },
        (times, _, _) => Dump::Hex { text: false, link: times > 1 },
    };
    Style {
        stamp: stamps.get(usize::from(options.time)).copied().unwrap_or(Stamp::SinceFirst),
        verbose: options.verbose,
        quiet: options.quiet,
        link: options.link,
        absolute: options.absolute,
        dump,
    }
}

fn output(options: &Capture) -> Result<Box<dyn Write>> {
    let Some(path) = options.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    };
    refuse_own_input(path, &options.read)?;
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 18, file)))
}

/// A file that is read and written at once would be empty.
fn refuse_own_input(path: &Path, inputs: &[PathBuf]) -> Result<()> {
    let identity =
        |path: &Path| std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| (m.dev(), m.ino()));
    let Some(target) = identity(path) else { return Ok(()) };
    if inputs.iter().any(|input| identity(input) == Some(target)) {
        bail!("{}: this file is being read; write to another one", path.display());
    }
    Ok(())
}
