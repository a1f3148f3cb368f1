//! `skep capture`: files or interfaces (`live`) and a filter enter; lines, JSON, a capture file or a count leave. What is
//! wrong with a file is told when it is met, and the exit code says that something was.

mod drops;
mod live;
mod output;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep::capture::dump as stages;
use skep::capture::{Expression, Input, Kept, Limits, Memory, Offline};
use skep::machine::{MappedFile, Signals, UntilSignal};

use crate::args::{Capture, FilterStage};
use crate::exit::Exit;
use crate::out::{note, out};
use output::Output;

/// Packets between two looks at the signals.
const PACKETS_PER_LOOK: u64 = 4096;

/// Ethernet, which a file of no packets says.
const ETHERNET: u16 = 1;

/// Runs the command.
pub(crate) fn run(options: &Capture) -> Result<ExitCode> {
    if options.list {
        return live::list(options);
    }
    if options.live.drops {
        return drops::run(options);
    }
    if options.read.is_empty() && options.dump.is_empty() {
        return live::run(options);
    }
    let expression = Expression::new(&text(options)?, options.strict);
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let opened = options.read.iter().map(|path| open(path, &signals)).collect::<Result<Vec<Opened>>>()?;
    let mut files = Vec::new();
    for (path, opened) in options.read.iter().zip(&opened) {
        let name = path.display().to_string();
        let input = opened.input().with_context(|| name.clone())?;
        files.push((name, input));
    }
    if !options.dump.is_empty() {
        return dump(options, files);
    }
    let limits = Limits { count: options.limit, bytes: options.most().map(|bytes| bytes as usize) };
    let mut offline = Offline::over(files, expression, limits)?;
    let link = offline.first_link().unwrap_or(ETHERNET);
    let mut output = Output::new(options, link, false)?;
    let mut damaged = false;
    while offline.advance()? {
        let matched = if options.count { None } else { offline.matched() };
        if let Some(matched) = matched
            && output.take(&matched)? == Kept::Full
        {
            break;
        }
        let look = offline.totals().matched % PACKETS_PER_LOOK == 0;
        if look && signals.next().is_some() {
            break;
        }
        if offline.is_damaged() {
            damaged |= tell(&mut offline);
        }
    }
    // A signal ends standard input, maybe in the middle of a packet.
    if signals.next().is_none() {
        damaged |= tell(&mut offline);
    }
    output.finish(link).2?;
    if options.count {
        let matched = offline.totals().matched;
        out!("{matched} packet{}", if matched == 1 { "" } else { "s" });
    }
    Ok(if damaged { Exit::Failure } else { Exit::Ok }.into())
}

/// Prints the filter at the stages that are asked for.
fn dump(options: &Capture, files: Vec<(String, Input<'_>)>) -> Result<ExitCode> {
    let text = text(options)?;
    let everything = Expression::new("", options.strict);
    let link = Offline::over(files, everything, Limits::default())?.first_link().unwrap_or(ETHERNET);
    let wants = |stage| {
        options.dump.iter().any(|wanted| match wanted {
            FilterStage::All => true,
            FilterStage::Tree => stage == stages::Stage::Tree,
            FilterStage::Tests => stage == stages::Stage::Tests,
            FilterStage::Ir => stage == stages::Stage::Ir,
            FilterStage::Opt => stage == stages::Stage::Opt,
            FilterStage::Classic => stage == stages::Stage::Classic,
            FilterStage::Asm => stage == stages::Stage::Asm,
        })
    };
    stages::stages(&text, link, options.strict, &wants, &mut |_, text| out!("{}", text.trim_end()))?;
    Ok(Exit::Ok.into())
}

/// The filter's text.
fn text(options: &Capture) -> Result<String> {
    match &options.filter_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{}", path.display())),
        None => match options.expression.iter().find(|word| is_option(word)) {
            Some(word) => bail!("`{word}` stands behind the filter: options come before it"),
            None => Ok(options.expression.join(" ")),
        },
    }
}

/// Whether a word of the filter can only be an option: what a minus stands before are numbers.
fn is_option(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()))
}

/// A file to be read.
enum Opened {
    /// As it lies in memory.
    Mapped(MappedFile),
    Stream(RefCell<Box<dyn Read>>),
}

impl Opened {
    fn input(&self) -> io::Result<Input<'_>> {
        match self {
            Opened::Mapped(file) => Ok(Input::memory(Memory {
                bytes: file.bytes(),
                present: Box::new(|| file.present()),
                fetch: MappedFile::fetch,
            })),
            Opened::Stream(source) => Input::new(Shared(source)),
        }
    }
}

/// A stream that is read through a reference.
struct Shared<'s>(&'s RefCell<Box<dyn Read>>);

impl Read for Shared<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(to)
    }
}

fn open(path: &Path, signals: &Signals) -> Result<Opened> {
    let stream = |source: Box<dyn Read>| Opened::Stream(RefCell::new(source));
    if path.as_os_str() == "-" {
        return Ok(stream(Box::new(UntilSignal::new(io::stdin(), signals)?)));
    }
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let file = match MappedFile::new(file) {
        Ok(mapped) => return Ok(Opened::Mapped(mapped)),
        Err(file) => file,
    };
    let regular = file.metadata().is_ok_and(|data| data.is_file());
    Ok(if regular { stream(Box::new(file)) } else { stream(Box::new(UntilSignal::new(file, signals)?)) })
}

/// Tells what was wrong with files; whether anything was.
fn tell(offline: &mut Offline<'_>) -> bool {
    let damage = offline.damage();
    damage.iter().for_each(|what| note!("error: {what}"));
    !damage.is_empty()
}
