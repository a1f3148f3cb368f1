//! `skep route`: a verb and a route enter; the running router is changed, or what it does is printed.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skep::machine::Signals;
use skep::route::{Happened, HopStats, Mode, Router, Selection, Sync, UpOptions, Watch, up};

use crate::args::{Route, RouteAction, RouteSync, RouteWords};
use crate::exit::Exit;
use crate::out::{note, out};

/// Runs the command.
pub(crate) fn run(options: &Route) -> Result<ExitCode> {
    match &options.action {
        RouteAction::Up { ports, native, generic, count } => {
            let mode = match (native, generic) {
                (true, _) => Mode::Native,
                (_, true) => Mode::Generic,
                _ => Mode::Automatic,
            };
            start(ports, &UpOptions { mode, count: count.unwrap_or(0) })?;
        }
        RouteAction::Add(words) => set(words, false)?,
        RouteAction::Replace(words) => set(words, true)?,
        RouteAction::Del { words } => {
            Router::open()?.delete(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        RouteAction::Show { all } => {
            let router = Router::open()?;
            let mut out = std::io::stdout().lock();
            if *all {
                router.ports().iter().try_for_each(|port| writeln!(out, "# port {port}"))?;
                let arrays = router.lookup()?;
                let mebi = |bytes: u64| bytes.div_ceil(1 << 20);
                writeln!(
                    out,
                    "# lookup: arrays of {} MiB, {} in use",
                    mebi(arrays.bytes),
                    mebi(arrays.used)
                )?;
                if arrays.searched > 0 {
                    let places = arrays.searched;
                    writeln!(out, "# lookup: {places} places by the kernel's tries, for want of memory")?;
                }
            }
            router.show(*all)?.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        RouteAction::Get { address } => get(*address)?,
        RouteAction::Stats => stats()?,
        RouteAction::Save { file } => save(file.as_deref())?,
        RouteAction::Watch { interval } => watch(Duration::from_secs(u64::from(*interval)))?,
        RouteAction::Test { files } => return test(files),
        RouteAction::Load { file } => {
            let (name, text) = read(file)?;
            let count = Router::open()?.load(&name, &text)?;
            out!("{count} route{}", if count == 1 { "" } else { "s" });
        }
        RouteAction::Sync(options) => sync(options)?,
        RouteAction::Down => out!("stopped on {}", Router::open()?.down()?.join(", ")),
    }
    Ok(Exit::Ok.into())
}

/// Prints the routes of an address.
fn get(address: std::net::IpAddr) -> Result<()> {
    let routes = Router::open()?.get(address)?;
    routes.iter().for_each(|route| out!("{}", route.text));
    match routes.last() {
        None => out!("no route: packets to {address} go to the kernel"),
        Some(last) if last.condition => out!("other packets to {address} go to the kernel"),
        Some(_) => {}
    }
    Ok(())
}

fn start(ports: &[String], options: &UpOptions) -> Result<()> {
    let report = up(ports, options)?;
    for port in &report.ports {
        out!("{}: {}", port.name, port.way);
    }
    if let Some(why) = &report.unfollowed {
        note!("warning: neighbours cannot be followed, so TC forwards everything: {why}");
    }
    Ok(())
}

fn set(words: &RouteWords, replace: bool) -> Result<()> {
    let router = Router::open()?;
    let words: Vec<&str> = words.words.iter().map(String::as_str).collect();
    let route = router.parse(&words)?;
    let stay = if route.names_cpu() { router.ports_that_stay() } else { Vec::new() };
    router.set(route, replace)?;
    if !stay.is_empty() {
        note!(
            "warning: packets that come in by {} stay on the CPU that has them: TC handles these ports, and only XDP can send to another CPU",
            stay.join(", ")
        );
    }
    Ok(())
}

fn sync(options: &RouteSync) -> Result<()> {
    let mut signals = Signals::receive(&[])?;
    let mut sync = Sync::start(Selection { table: options.table, protocol: options.proto })?;
    let mut begun = false;
    // That nobody reads any more what is printed is no reason to stop following.
    sync.run(&signals, &mut |happened| match happened {
        Happened::Listed { routes, .. } if !begun => {
            begun = true;
            let _ =
                writeln!(std::io::stdout(), "following {routes} route{}", if routes == 1 { "" } else { "s" });
        }
        Happened::Refused { routes, why } => {
            let _ = writeln!(
                std::io::stderr(),
                "warning: {routes} of the kernel's routes are not followed: {why}"
            );
        }
        Happened::Overrun => {
            let _ =
                writeln!(std::io::stderr(), "warning: changes came too fast, the whole table is read again");
        }
        Happened::Listed { routes, steps } if options.verbose => {
            let _ = writeln!(std::io::stdout(), "listed {routes} routes, {steps} steps");
        }
        Happened::Followed { messages, steps } if options.verbose => {
            let _ = writeln!(std::io::stdout(), "{messages} messages, {steps} steps");
        }
        Happened::Listed { .. } | Happened::Followed { .. } => {}
    })?;
    // The signal has been heeded.
    signals.by_ref().for_each(drop);
    Ok(())
}

/// Writes the routes to a file, which is as it was when that fails.
fn save(file: Option<&Path>) -> Result<()> {
    let text = Router::open()?.save()?;
    let Some(file) = file else {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    };
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file));
    if written.is_err() {
        // What is left of it helps nobody; it may not be there at all.
        let _ = std::fs::remove_file(&new);
    }
    written.with_context(|| file.display().to_string())
}

/// How long a signal may wait to be heeded.
const PATIENCE: Duration = Duration::from_millis(50);
/// Lines of one kind that are printed at a time.
const LINES: usize = 20;

fn watch(interval: Duration) -> Result<()> {
    let mut signals = Signals::receive(&[])?;
    let mut watch = Watch::start()?;
    let screen = std::io::stdout().is_terminal();
    let mut last = Instant::now();
    loop {
        let mut look = watch.look()?;
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = Instant::now();
        let mut text = if screen { "\x1b[H\x1b[J".to_owned() } else { String::new() };
        let changes = look.gone.drain(..).map(|r| format!("- {r}"));
        let changes: Vec<String> = changes.chain(look.come.drain(..).map(|r| format!("+ {r}"))).collect();
        let hop = |hop: &HopStats| {
            let per_second = |n: u64| n as f64 / seconds;
            format!(
                "{:>10.0} packets/s {:>12.0} bytes/s  {}",
                per_second(hop.packets),
                per_second(hop.bytes),
                hop.hop
            )
        };
        some(&mut text, &changes, "changes");
        some(&mut text, &look.hops.iter().map(hop).collect::<Vec<_>>(), "counted");
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
        while last.elapsed() < interval {
            if signals.next().is_some() {
                return Ok(());
            }
            std::thread::sleep(PATIENCE.min(interval.saturating_sub(last.elapsed())));
        }
    }
}

/// The first of many lines, and how many more there are.
fn some(text: &mut String, lines: &[String], what: &str) {
    for line in lines.iter().take(LINES) {
        text.push_str(line);
        text.push('\n');
    }
    if lines.len() > LINES {
        text.push_str(&format!("  and {} more {what}\n", lines.len() - LINES));
    }
}

fn test(files: &[PathBuf]) -> Result<ExitCode> {
    let mut good = true;
    for file in files {
        let (name, text) = read(file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let tested = skep::route::test(&name, &text, &|path| std::fs::read(folder.join(path)))?;
        tested.failures.iter().for_each(|failure| note!("{failure}"));
        let failed = tested.failures.len();
        out!("{name}: {} as expected, {failed} not", tested.passed);
        good &= failed == 0;
    }
    Ok(if good { Exit::Ok } else { Exit::Failure }.into())
}

fn stats() -> Result<()> {
    out!("{:>12} {:>16} {:>8}  route, or next hop of several", "packets", "bytes", "routes");
    for row in Router::open()?.stats()? {
        out!("{:>12} {:>16} {:>8}  {}", row.packets, row.bytes, row.routes, row.hop);
    }
    Ok(())
}

fn read(file: &Path) -> Result<(String, String)> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(("stdin".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    Ok((name, text))
}
