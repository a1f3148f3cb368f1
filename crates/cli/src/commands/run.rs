//! `skep run`: an object, a script or a recording on the offline machine.

use super::value::{from_json, given};
use crate::args::{Engine, Filling, Format, Run, With};
use crate::out::{note, out};
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use skep::inspect::Value;
use skep::run::{Guest, GuestOptions, Offline, Packets, Recording, Replayed, Types, Verdicts, Watch};
use skep::{Output, Script};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Largest object, script or recording that is read.
const MAX_FILE: u64 = 1 << 30;

/// Runs the command.
pub(crate) fn run(options: &Run) -> Result<ExitCode> {
    if let Some(path) = &options.event {
        return replay(options, &path.display().to_string(), &read(path)?);
    }
    let (name, bytes, params) = program(options)?;
    if Recording::is_recording(&bytes) {
        return replay(options, &name, &bytes);
    }
    let types = match &options.btf {
        None => Types::new(None)?,
        Some(path) => Types::new(Some((&path.display().to_string(), read(path)?)))?,
    };
    let object = if skep::is_elf(&bytes) {
        if !params.is_empty() {
            bail!("{name} is compiled already: its parameters are those that it was compiled with");
        }
        let named: Vec<String> = options.program.iter().cloned().collect();
        // Maps may name other programs.
        let all = options.list || !options.fill.is_empty();
        skep::run::object(&name, &bytes, if all { &[] } else { &named })?
    } else if name.ends_with(".s") {
        let text = String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
        skep::run::assemble(&name, &text)?
    } else {
        let text =
            String::from_utf8(bytes).with_context(|| format!("{name} is neither an object nor text"))?;
        let script = Script::named(&name, &text).params(params).allow_unsafe(true).passes(!options.no_passes);
        let (object, warnings) = skep::run::script(&script, &types, super::style())?;
        crate::out::text(format_args!("{warnings}"));
        object
    };
    if options.list {
        let mut out = std::io::stdout().lock();
        skep::run::list(&object).iter().try_for_each(|line| writeln!(out, "{line}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let btf = types.btf();
    if options.blind && options.engine != Engine::Jit {
        bail!("--blind is about machine code: it needs --engine jit");
    }
    let mut guest = Guest::load(&name, object, btf.as_deref(), &machine(options))?;
    options.fill.iter().try_for_each(|filling| fill(&mut guest, filling))?;
    let (object, alone) = (guest.object().clone(), guest.runs_alone());
    let index = chosen(options, &guest)?;
    if options.jit_dump {
        write!(std::io::stdout().lock(), "{}", guest.machine_code(index, &machine(options))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.engine == Engine::Jit && (options.trace || options.profile) {
        bail!("machine code cannot be watched: leave --engine jit out for --trace and --profile");
    }
    let mut offline = Offline::new(guest, &object, output(options), watch(options));
    offline.begin()?;
    match (&options.pcap, &options.context) {
        (Some(path), _) => packets(options, &mut offline, index, path)?,
        (None, Some(context)) => bytes_of(options, &mut offline, index, &context.0)?,
        (None, None) if alone || options.quiet => {}
        (None, None) => note!(
            "note: nothing has run: programs get packets with --pcap IN, the bytes of their context with --ctx HEX, \
             a recorded session with --event FILE"
        ),
    }
    let (outcome, guest, mut watch) = offline.finish()?;
    finish(options, &mut watch)?;
    if options.maps {
        let mut out = std::io::stdout().lock();
        skep::run::maps(&guest).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(ExitCode::from(u8::try_from(outcome.exit_code & 0xff).unwrap_or(1)))
}

/// The program's name, its bytes, and the parameters behind it.
fn program(options: &Run) -> Result<(String, Vec<u8>, Vec<String>)> {
    if let Some(text) = &options.text {
        return Ok(("stdin".to_owned(), text.clone().into_bytes(), options.args.clone()));
    }
    let Some((file, params)) = options.args.split_first() else {
        bail!("no program: give an object, a script or a recording, or a script's text with -e");
    };
    Ok((file.clone(), read(Path::new(file))?, params.to_vec()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    file.take(MAX_FILE).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    Ok(bytes)
}

/// The machine, as the options want it.
fn machine(options: &Run) -> GuestOptions {
    GuestOptions {
        jit: options.engine == Engine::Jit,
        blind: options.blind,
        seed: options.seed,
        budget: options.budget,
        cpus: options.cpus,
    }
}

/// Puts entries into a map.
fn fill(guest: &mut Guest, filling: &Filling) -> Result<()> {
    let map = &filling.map;
    let path = match &filling.with {
        With::Entry(key, value) => return Ok(guest.fill(map, &given(key)?, &[given(value)?])?),
        With::File(path) => path,
    };
    let name = path.display();
    let text = String::from_utf8(read(path)?).with_context(|| format!("{name} is no text"))?;
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let place = || format!("{name}:{number}");
        let (key, values) = entry(line).with_context(place)?;
        guest.fill(map, &key, &values).with_context(place)?;
    }
    Ok(())
}

/// Key and values of a line that `skep maps dump -f json` has printed.
fn entry(line: &str) -> Result<(Value, Vec<Value>)> {
    let json: Json = serde_json::from_str(line)?;
    let key = json.get("key").context("there is no \"key\"")?;
    let values = match (json.get("value"), json.get("values").and_then(Json::as_array)) {
        (Some(value), _) => vec![from_json(value)?],
        (None, Some(values)) => values.iter().map(from_json).collect::<Result<_>>()?,
        (None, None) => bail!("there is neither \"value\" nor \"values\""),
    };
    Ok((from_json(key)?, values))
}

/// The program that is meant: the named one, else the first that has no moment of its own.
fn chosen(options: &Run, guest: &Guest) -> Result<usize> {
    let Some(name) = &options.program else { return Ok(guest.first()) };
    guest.find(name).with_context(|| {
        let names: Vec<&str> = guest.object().programs.iter().map(|p| p.name.as_str()).collect();
        format!("there is no program {name}; there are: {}", names.join(", "))
    })
}

fn watch(options: &Run) -> Watch {
    match (options.trace, options.profile) {
        (true, _) => Watch::trace(Box::new(std::io::stdout())),
        (_, true) => Watch::profile(),
        _ => Watch::Nobody,
    }
}

fn output(options: &Run) -> Output {
    Output {
        out: Box::new(std::io::stdout()),
        err: Box::new(std::io::stderr()),
        json: options.format == Format::Json,
        escapes: true,
    }
}

/// What watching has left to say.
fn finish(options: &Run, watch: &mut Watch) -> Result<()> {
    if let Some(error) = watch.failure() {
        return Err(error.into());
    }
    if options.profile {
        let mut out = std::io::stdout().lock();
        watch.table().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

/// Runs a program over a context.
fn bytes_of(options: &Run, offline: &mut Offline<'_>, index: usize, context: &[u8]) -> Result<()> {
    let start = Instant::now();
    let mut last = offline.run_bytes(index, context)?;
    for _ in 1..options.repeat {
        last = offline.run_bytes(index, context)?;
    }
    let time = start.elapsed();
    if !options.quiet {
        out!("r0 = {:#x} ({}), {} instructions", last.result, last.result as i64, last.instructions);
        if options.repeat > 1 {
            let each = time.as_nanos() as f64 / options.repeat as f64;
            out!("{} runs, {each:.1} ns each", options.repeat);
        }
    }
    Ok(())
}

/// Runs a program over the packets of a capture.
fn packets(options: &Run, offline: &mut Offline<'_>, index: usize, path: &Path) -> Result<()> {
    let name = path.display().to_string();
    let (mut sum, start) = (Verdicts::default(), Instant::now());
    for round in 0..options.repeat {
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let out = match &options.out {
            Some(out) if round == 0 => {
                let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
                Some(Box::new(BufWriter::new(file)) as Box<dyn Write>)
            }
            _ => None,
        };
        let found = Packets::open(&name, file, out)?.run(offline, index)?;
        if round == 0 {
            sum = found;
        } else {
            sum.packets += found.packets;
        }
    }
    if !options.quiet {
        told(&sum);
        if options.repeat > 1 {
            let each = start.elapsed().as_nanos() as f64 / sum.packets.max(1) as f64;
            out!("{} packets, {each:.1} ns each", sum.packets);
        }
    }
    if let Some(damage) = &sum.damage {
        bail!("{name}: {damage}");
    }
    Ok(())
}

/// The verdicts, the most frequent first.
fn told(found: &Verdicts) {
    out!("{} packets", found.packets);
    let mut counts: Vec<(&String, &u64)> = found.counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    counts.iter().for_each(|(name, count)| out!("{count:>10} {name}"));
    found.redirects.iter().for_each(|(place, count)| out!("{count:>10} {place}"));
    if found.skipped > 0 {
        out!("{:>10} skipped: they are no Ethernet frames", found.skipped);
    }
    if let Some((count, why)) = &found.stopped {
        out!("{count:>10} stopped; the first: {why}");
    }
}

/// Lets a recorded session happen again.
fn replay(options: &Run, name: &str, bytes: &[u8]) -> Result<ExitCode> {
    let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is no recording"))?;
    let recording = match (options.event.is_some(), options.text.is_some() || !options.args.is_empty()) {
        (true, true) => {
            let (script, source, params) = program(options)?;
            let text = String::from_utf8(source).with_context(|| format!("{script} is no script"))?;
            let other = Script::named(&script, &text).params(params);
            Recording::open_with(name, std::str::from_utf8(bytes)?, Some(&other))?
        }
        _ => Recording::open(name, text)?,
    };
    let mut watch = watch(options);
    let replayed = recording.replay(name, output(options), &machine(options), &mut watch)?;
    finish(options, &mut watch)?;
    if !options.quiet {
        differences(&replayed);
    }
    match replayed.different {
        0 => Ok(ExitCode::from(u8::try_from(replayed.exit_code & 0xff).unwrap_or(1))),
        _ => Ok(crate::exit::Exit::Failure.into()),
    }
}

/// Says what came out otherwise than it was recorded.
fn differences(replayed: &Replayed) {
    for difference in &replayed.differences {
        match difference.run {
            Some(run) => note!("difference: run {run} of {}: {}", difference.probe, difference.what),
            None => note!("difference: {}", difference.what),
        }
    }
    let more = replayed.different.saturating_sub(replayed.differences.len() as u64);
    if more > 0 {
        note!("difference: {more} more");
    }
    match replayed.missing {
        Some((0, 0)) => {}
        Some((lost, runs)) => {
            note!("warning: the recording lacks {runs} runs, because {lost} records found no room");
        }
        None => note!("warning: the recording breaks off: it was not ended"),
    }
}
