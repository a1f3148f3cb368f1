//! `skep route`: a verb and a route enter; the running router is changed, or what it does is printed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use skep::machine::Signals;
use skep::route::{Happened, PortPath, Router, Selection, Sync, up};

use crate::args::{Route, RouteAction, RouteSync, RouteWords};
use crate::exit::Exit;

/// Runs the command.
pub(crate) fn run(options: &Route) -> Result<ExitCode> {
    match &options.action {
        RouteAction::Up { ports, native } => start(ports, *native)?,
        RouteAction::Add(words) => set(words, false)?,
        RouteAction::Replace(words) => set(words, true)?,
        RouteAction::Del { destination } => Router::open()?.delete(destination)?,
        RouteAction::Show { all } => {
            let router = Router::open()?;
            if *all {
                println!("# ports: {}", router.ports().join(", "));
            }
            router.show(*all)?.iter().for_each(|line| println!("{line}"));
        }
        RouteAction::Get { address } => match Router::open()?.get(*address)? {
            Some(route) => println!("{route}"),
            None => println!("no route: packets to {address} go to the kernel"),
        },
        RouteAction::Stats => stats()?,
        RouteAction::Load { file } => {
            let (name, text) = read(file)?;
            let count = Router::open()?.load(&name, &text)?;
            println!("{count} route{}", if count == 1 { "" } else { "s" });
        }
        RouteAction::Sync(options) => sync(options)?,
        RouteAction::Down => println!("stopped on {}", Router::open()?.down()?.join(", ")),
    }
    Ok(Exit::Ok.into())
}

fn start(ports: &[String], native: bool) -> Result<()> {
    let report = up(ports, native)?;
    for port in &report.ports {
        let path = match port.path {
            PortPath::Xdp => "XDP, then TC",
            PortPath::Tc => "TC",
        };
        println!("{}: {path}", port.name);
    }
    if let Some(why) = &report.unfollowed {
        eprintln!("warning: neighbours cannot be followed, so TC forwards everything: {why}");
    }
    Ok(())
}

fn set(words: &RouteWords, replace: bool) -> Result<()> {
    let router = Router::open()?;
    let words: Vec<&str> = words.words.iter().map(String::as_str).collect();
    Ok(router.set(router.parse(&words)?, replace)?)
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

fn stats() -> Result<()> {
    println!("{:>12} {:>16} {:>8}  next hop", "packets", "bytes", "routes");
    for row in Router::open()?.stats()? {
        println!("{:>12} {:>16} {:>8}  {}", row.packets, row.bytes, row.routes, row.hop);
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
