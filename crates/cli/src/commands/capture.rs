//! `skep capture`: files and a filter enter; lines, JSON, a capture file or a count leave. What is wrong with a file is
//! told when it is met, and the exit code says that something was.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep::capture::dump as stages;
use skep::capture::{Dump, Expression, Form, Limits, Offline, Sink, Stamp, Style, local_zone};
use skep::machine::{Signals, UntilSignal};

use crate::args::{Capture, FilterStage};
use crate::exit::Exit;

/// Packets between two looks at the signals.
const PACKETS_PER_LOOK: u64 = 4096;

/// Ethernet, which a file of no packets says.
const ETHERNET: u16 = 1;

/// Runs the command.
pub(crate) fn run(options: &Capture) -> Result<ExitCode> {
    let expression = Expression::new(&text(options)?, options.strict);
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let mut files = Vec::new();
    for path in &options.read {
        files.push((path.display().to_string(), open(path, &signals)?));
    }
    if !options.dump.is_empty() {
        return dump(options, files);
    }
    let limits = Limits { count: options.limit, bytes: options.snaplen.map(|bytes| bytes as usize) };
    let mut offline = Offline::open(files, expression, limits)?;
    let link = offline.first_link().unwrap_or(ETHERNET);
    let mut sink = Sink::new(form(options), output(options)?, options.line_buffered)?;
    let mut damaged = false;
    while let Some(matched) = offline.next_match()? {
        sink.take(&matched)?;
        let look = offline.totals().matched % PACKETS_PER_LOOK == 0;
        if look && signals.next().is_some() {
            break;
        }
        damaged |= tell(&mut offline);
    }
    // A signal ends standard input, maybe in the middle of a packet.
    if signals.next().is_none() {
        damaged |= tell(&mut offline);
    }
    sink.finish(link)?;
    if options.count {
        let matched = offline.totals().matched;
        println!("{matched} packet{}", if matched == 1 { "" } else { "s" });
    }
    Ok(if damaged { Exit::Failure } else { Exit::Ok }.into())
}

/// Prints the filter at the stages that are asked for.
fn dump(options: &Capture, files: Vec<(String, Box<dyn Read>)>) -> Result<ExitCode> {
    let text = text(options)?;
    let everything = Expression::new("", options.strict);
    let link = Offline::open(files, everything, Limits::default())?.first_link().unwrap_or(ETHERNET);
    let wants = |stage| {
        options.dump.iter().any(|wanted| match wanted {
            FilterStage::All => true,
            FilterStage::Tree => stage == stages::Stage::Tree,
            FilterStage::Tests => stage == stages::Stage::Tests,
            FilterStage::Ir => stage == stages::Stage::Ir,
            FilterStage::Opt => stage == stages::Stage::Opt,
            FilterStage::Asm => stage == stages::Stage::Asm,
        })
    };
    stages::stages(&text, link, options.strict, &wants, &mut |_, text| println!("{}", text.trim_end()))?;
    Ok(Exit::Ok.into())
}

/// The filter's text.
fn text(options: &Capture) -> Result<String> {
    match &options.filter_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{}", path.display())),
        None => Ok(options.expression.join(" ")),
    }
}

fn open(path: &Path, signals: &Signals) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(UntilSignal::new(io::stdin(), signals)?));
    }
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let regular = file.metadata().is_ok_and(|data| data.is_file());
    Ok(if regular { Box::new(file) } else { Box::new(UntilSignal::new(file, signals)?) })
}

/// Tells what was wrong with files; whether anything was.
fn tell(offline: &mut Offline<'_>) -> bool {
    let damage = offline.damage();
    damage.iter().for_each(|what| eprintln!("error: {what}"));
    !damage.is_empty()
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
