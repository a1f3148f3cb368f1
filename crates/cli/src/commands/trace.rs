//! `skep trace`: compile, load, attach, print until it ends, detach, print the maps.

use super::bundle::Bundle;
use super::{info, list, object};
use crate::args::{self, Buffering, Format, Stage, Trace, Without};
use crate::out::note;
use anyhow::{Context, Result, bail};
use skep::machine::{Child, Signals, exists, signal_number};
use skep::{Ended, Feature, Limits, LiveOptions, LiveTarget, Mode, Output, Program, Script, Tracer, Written};
use std::cell::{Cell, RefCell};
use std::io::{BufWriter, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Set by test engines that want to know when everything is attached; the line that says so has the same text.
const NOTIFY_ATTACHED: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// The version of bpftrace whose language this is.
const LANGUAGE: &str = "0.27";

/// A test engine gets so long to see that line before the process ends.
const NOTICED: Duration = Duration::from_millis(30);

/// Largest script that is read.
pub(super) const MAX_SCRIPT: u64 = 16 << 20;

/// Runs the command.
pub(crate) fn run(options: &Trace) -> Result<ExitCode> {
    if options.version {
        return version();
    }
    if options.info {
        return info::run(&live_target(options));
    }
    if options.list {
        return list::run(options);
    }
    if options.carried.is_none()
        && let Some(program) = object::open(options)?
    {
        if options.record.is_some() {
            bail!("--record needs the script: what is compiled already does not record its runs");
        }
        require_privilege(options)?;
        let mut child =
            options.command.as_deref().map(Child::spawn).transpose().map_err(skep::Error::from)?;
        return trace(options, &program, child.as_mut());
    }
    let (name, text, params) = source(options)?;
    if options.fmt || options.mode == Some(args::Mode::Format) {
        let formatted = Script::named(&name, &text).formatted()?;
        std::io::stdout().write_all(formatted.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    require_privilege(options)?;
    if let Some(pid) = options.pid.filter(|pid| !exists(*pid)) {
        bail!("-p {pid}: no such process");
    }
    let mut child = options.command.as_deref().map(Child::spawn).transpose().map_err(skep::Error::from)?;
    let script = Script::named(&name, &text)
        .params(params)
        .pid(options.pid)
        .child(child.as_ref().map(Child::pid))
        .allow_unsafe(options.allow_unsafe)
        .config(environment())
        .includes(options.include_dirs.clone(), options.includes.clone())
        .mode(mode(options), options.probe_filter.clone())
        .helper_errors(options.helper_errors)
        .portable(options.emit.is_some(), object::oldest(options)?)
        .record(options.record.is_some())
        .passes(!options.no_passes);
    let target = Arc::new(live_target(options));
    let program = script.compile_with(target, &|stage| wants(options, stage), &mut |_, text| show(text))?;
    if !options.no_warnings {
        crate::out::text(format_args!("{}", program.warnings(super::style())));
    }
    if options.verbose > 0 {
        for note in &program.object.notes {
            note!("note: {note}");
        }
    }
    if !options.dump.is_empty() || options.mode == Some(args::Mode::Codegen) {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.emit {
        return object::write(options, path, &program);
    }
    if let Some(path) = &options.aot {
        return Bundle::new(options, &name, &text).write(path);
    }
    trace(options, &program, child.as_mut())
}

/// Prints the version: under the name of bpftrace that of its language.
fn version() -> Result<ExitCode> {
    let skep = env!("CARGO_PKG_VERSION");
    match crate::is_bpftrace() {
        true => show(&format!("bpftrace v{LANGUAGE} (skep {skep})")),
        false => show(&format!("skep {skep}")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The running machine, as the options want it.
pub(super) fn live_target(options: &Trace) -> LiveTarget {
    let feature = |without: &Without| match without {
        Without::KprobeMulti => Feature::KprobeMulti,
        Without::KprobeSession => Feature::KprobeSession,
        Without::UprobeMulti => Feature::UprobeMulti,
        Without::Tcx => Feature::Tcx,
        Without::XdpFrags => Feature::XdpFrags,
    };
    LiveTarget::with(LiveOptions {
        without: options.without.iter().map(feature).collect(),
        traceable_functions: options.traceable_functions.clone(),
        debuginfo: options.debuginfo.clone(),
        pid: options.pid,
    })
}

fn mode(options: &Trace) -> Mode {
    match options.mode {
        Some(args::Mode::Test) => Mode::Test,
        Some(args::Mode::Bench) => Mode::Bench,
        _ if options.test => Mode::Test,
        _ if options.bench => Mode::Bench,
        _ => Mode::Trace,
    }
}

/// Prints a stage of the compilation. A reader that has gone is no error.
fn show(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// How much of the verifier's log is kept of every program: with `-vv`, and with `-v` where the script says how long it is.
fn log_level(options: &Trace, program: &Program) -> u32 {
    let sized = program.object.session.log_bytes != 0;
    u32::from(options.verbose > 1 || options.verbose == 1 && sized)
}

/// Loads, attaches, and prints until the end.
fn trace(options: &Trace, program: &Program, mut child: Option<&mut Child>) -> Result<ExitCode> {
    if program.walks_stacks()
        && let Some(child) = child.as_deref_mut()
    {
        child.run_to_entry().map_err(skep::Error::from)?;
    }
    let walked = options.dwarf_pids.iter().copied().chain(options.pid).chain(child.as_ref().map(|c| c.pid()));
    let limits = Limits {
        allow_system: options.allow_unsafe,
        warnings: !options.no_warnings,
        full_buffer: options.buffering == Buffering::Full,
        walked: walked.collect(),
    };
    let own_signals: Vec<i32> = program.signals().iter().filter_map(|n| signal_number(n)).collect();
    let mut signals = Signals::receive(&own_signals).map_err(skep::Error::from)?;
    let mut tracer = Tracer::load(program, output(options)?, &limits, log_level(options, program))?;
    for (probe, log) in tracer.loaded().logs() {
        note!("verifier, {probe}:\n{log}");
    }
    if options.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.record {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        tracer.record(Box::new(BufWriter::with_capacity(64 << 10, file)))?;
    }
    tracer.save_packets(&create)?;
    let report = tracer.start()?;
    for missing in &report.missing {
        note!("warning: {}: {}", missing.of, missing.error);
    }
    let good = match mode(options) {
        Mode::Trace => None,
        Mode::Test => Some(tracer.run_tests()?),
        Mode::Bench => Some(tracer.run_benches()?),
    };
    if let Some(good) = good {
        tracer.finish()?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !options.quiet {
        tracer.announce(report.probes)?;
    }
    if !options.quiet {
        report.pinned.iter().for_each(|path| show(&format!("Program pinned to {path}")));
    }
    let notified = std::env::var_os(NOTIFY_ATTACHED).map(|_| {
        show(NOTIFY_ATTACHED);
        Instant::now()
    });
    tracer.watch(&signals)?;
    if let Some(child) = child.as_deref_mut() {
        tracer.watch(&*child)?;
        tracer.keep_running();
        child.release().map_err(skep::Error::from)?;
    }
    if !options.allow_unsafe {
        tracer.drop_privilege()?;
    }
    wait(options, &mut tracer, &mut signals, child)?;
    if let Some(at) = notified {
        std::thread::sleep(NOTICED.saturating_sub(at.elapsed()));
        // What was to end a run that has ended by itself.
        while signals.next().is_some() {}
    }
    // A second Ctrl-C ends the process at once.
    signals.release();
    let (outcome, recording) = tracer.finish()?;
    if let (Some(written), false) = (&recording, options.no_warnings) {
        recorded(written);
    }
    Ok(ExitCode::from(u8::try_from(outcome.exit_code & 0xff).unwrap_or(1)))
}

/// Says what is missing of a recording.
fn recorded(written: &Written) {
    let Written { runs, incomplete, lost } = written;
    if *lost > 0 || *incomplete > 0 {
        note!(
            "warning: the recording holds {runs} runs; {incomplete} are missing, because {lost} records found no room in the \
             ring buffer: probe less, or raise the config perf_rb_pages"
        );
    }
}

/// What ended a stretch of waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Signal(i32),
    ProcessEnded,
}

/// Handles events until the script, a signal, the child or the traced process ends it.
fn wait(
    options: &Trace,
    tracer: &mut Tracer<'_>,
    signals: &mut Signals,
    child: Option<&mut Child>,
) -> Result<()> {
    let why = Cell::new(None);
    let sources = RefCell::new((signals, child));
    let stop = || {
        let (signals, child) = &mut *sources.borrow_mut();
        if let Some(number) = Signals::next(signals) {
            why.set(Some(Why::Signal(number)));
        } else if child.as_mut().is_some_and(|c| c.status().is_some())
            || options.pid.is_some_and(|p| !exists(p))
        {
            why.set(Some(Why::ProcessEnded));
        }
        why.get().is_some()
    };
    loop {
        match tracer.pump(&stop)? {
            Ended::Exit | Ended::Closed => return Ok(()),
            Ended::Stopped => match why.take() {
                Some(Why::Signal(number)) if tracer.run_signal(number)? => {}
                _ => return Ok(()),
            },
        }
    }
}

/// The script's name, text and parameters.
fn source(options: &Trace) -> Result<(String, String, Vec<String>)> {
    if let Some((name, text)) = &options.carried {
        return Ok((name.clone(), text.clone(), options.args.clone()));
    }
    if let Some(text) = &options.text {
        return Ok(("stdin".to_owned(), text.clone(), options.args.clone()));
    }
    let Some((file, params)) = options.args.split_first() else {
        bail!("no program: give its text with -e, or a file (`skep trace --help` shows examples)");
    };
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().take(MAX_SCRIPT).read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(("stdin".to_owned(), text, params.to_vec()));
    }
    let opened = open(file)?;
    opened.take(MAX_SCRIPT).read_to_string(&mut text).with_context(|| format!("cannot read {file}"))?;
    Ok((file.clone(), text, params.to_vec()))
}

/// Opens a script.
pub(super) fn open(file: &str) -> Result<std::fs::File> {
    std::fs::File::open(file).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "No such file or directory".to_owned(),
            _ => error.to_string(),
        };
        // A program that was given without -e.
        let hint = if file.contains(['{', ' ']) { "; a program's text is given with -e" } else { "" };
        anyhow::anyhow!("failed to open file '{file}': {why}{hint}")
    })
}

/// Says which capabilities are missing, before the kernel refuses with less.
fn require_privilege(options: &Trace) -> Result<()> {
    let missing = skep::machine::missing_capabilities();
    if missing.is_empty() || !options.dump.is_empty() {
        return Ok(());
    }
    bail!("missing {} (run as root, or give the binary these capabilities)", missing.join(", "));
}

/// Settings from `BPFTRACE_…` and `SKEP_…` variables, as a config block would name them.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.to_str()?;
            let name = name.strip_prefix("BPFTRACE_").or_else(|| name.strip_prefix("SKEP_"))?;
            Some((name.to_ascii_lowercase(), value.to_str()?.to_owned()))
        })
        .collect()
}

fn wants(options: &Trace, stage: skep::Stage) -> bool {
    options.dump.iter().any(|wanted| match wanted {
        Stage::All => true,
        Stage::Ast => stage == skep::Stage::Ast,
        Stage::Hir => stage == skep::Stage::Hir,
        Stage::Ir => stage == skep::Stage::Ir,
        Stage::Opt => stage == skep::Stage::Opt,
        Stage::Asm => stage == skep::Stage::Asm,
    })
}

/// A file for what the script saves.
fn create(path: &str) -> std::io::Result<Box<dyn Write>> {
    Ok(Box::new(BufWriter::with_capacity(64 << 10, std::fs::File::create(path)?)))
}

fn output(options: &Trace) -> Result<Output> {
    let out: Box<dyn Write> = match &options.output {
        Some(path) => {
            let opened = std::fs::File::create(path);
            Box::new(opened.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let out = match options.buffering {
        Buffering::None => out,
        Buffering::Line | Buffering::Full => Box::new(BufWriter::with_capacity(64 << 10, out)),
    };
    // Programs that read bpftrace's output expect the bytes as they are; a terminal must never get them so.
    let escapes = !crate::is_bpftrace() || options.output.is_none() && std::io::stdout().is_terminal();
    Ok(Output { out, err: Box::new(std::io::stderr()), json: options.format == Format::Json, escapes })
}
