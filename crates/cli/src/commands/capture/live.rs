//! `skep capture` on interfaces: until a signal, the last packet that was asked for, or until no interface is left. What
//! was captured is written whatever ends it; counts go to standard error.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use skep::capture::live::{Counts, Live, Options, Taken, Verdict, Way, devices, drop_capabilities};
use skep::capture::{Kept, Matched};
use skep::machine::Signals;

use super::output::Output;
use crate::args::{self, Capture};
use crate::exit::Exit;

/// Longest time without a look at what else may end the capture.
const ROUND: Duration = Duration::from_millis(250);
/// Most bytes of a packet, without `-s` (libpcap's MAXIMUM_SNAPLEN).
const SNAPLEN: u32 = 262_144;
/// Milliseconds after which few packets are handed over: for people, and for files.
const SOON: u32 = 10;
const LATER: u32 = 100;

/// Lists the interfaces.
pub(super) fn list(options: &Capture) -> Result<ExitCode> {
    for device in devices(options.live.netns.as_deref())? {
        let loopback = if device.hardware == 772 { ", loopback" } else { "" };
        println!("{}.{} [mtu {}{loopback}]", device.index, device.name.escape_debug(), device.mtu);
    }
    println!("any [all interfaces]");
    Ok(Exit::Ok.into())
}

/// Takes packets up to the last one that is wanted.
struct Taker {
    output: Output,
    left: Option<u64>,
    packets: u64,
}

impl Taker {
    fn take(&mut self, matched: &Matched<'_>) -> Verdict {
        if self.output.take(matched)? == Kept::Full {
            return Ok(Taken::Full);
        }
        self.packets += 1;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return Ok(Taken::Last);
            }
        }
        Ok(Taken::Yes)
    }
}

/// Runs the command.
pub(super) fn run(options: &Capture) -> Result<ExitCode> {
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let mut live = Live::open(&wanted(options)?)?;
    let link = live.first_link();
    let mut output = Output::new(options, link, true)?;
    if live.is_single() {
        output = output.without_origin();
    }
    drop_capabilities(options.write.is_some())?;
    eprintln!("capturing on {}", live.shown());
    let mut taker = Taker { output, left: options.limit, packets: 0 };
    let mut failed = None;
    let mut vanished = false;
    while failed.is_none() && live.is_alive() && signals.next().is_none() {
        let round = live.round(ROUND, &[signals.as_fd()], &mut |matched| taker.take(matched));
        let flushed = taker.output.flush();
        match round.and_then(|flow| flushed.map(|()| flow)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => failed = Some(error),
        }
        for trouble in live.troubles() {
            vanished = true;
            eprintln!("error: {trouble}");
        }
    }
    let writable = failed.is_none();
    let ended = live.finish(&mut |matched| if writable { taker.take(matched) } else { Ok(Taken::No) });
    let (kept, lost, written) = taker.output.finish(link);
    let mut counts = live.counts();
    if matches!(taker.output, Output::Files(_)) {
        counts.left += counts.taken - kept.min(counts.taken);
        counts.taken = kept;
    }
    if options.count {
        println!("{} packet{}", taker.packets, if taker.packets == 1 { "" } else { "s" });
    }
    report(&counts, lost);
    let failed = failed.or(ended.err()).or(written.err());
    match failed {
        // Whoever read the output has seen enough.
        Some(skep::Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok.into()),
        Some(error) => Err(error.into()),
        None => Ok(if vanished { Exit::Failure } else { Exit::Ok }.into()),
    }
}

fn wanted(options: &Capture) -> Result<Options> {
    Ok(Options {
        interfaces: options.interfaces.clone(),
        expression: super::text(options)?,
        strict: options.strict,
        way: match options.live.way {
            args::Way::In => Way::In,
            args::Way::Out => Way::Out,
            args::Way::Inout => Way::Both,
        },
        promiscuous: !options.live.plain,
        snaplen: options.snaplen.unwrap_or(SNAPLEN).min(SNAPLEN),
        buffer: u64::from(options.live.buffer) << 10,
        retire: if options.write.is_some() { LATER } else { SOON },
        namespace: options.live.netns.clone(),
    })
}

/// Says what became of all packets that matched: the last three add up to the first.
fn report(counts: &Counts, lost: u64) {
    let Counts { matched, taken, left, dropped } = counts;
    eprintln!("{matched} packets matched the filter in the kernel");
    eprintln!("{taken} captured");
    let full = if lost > 0 { format!(" ({lost} did not fit on disk)") } else { String::new() };
    eprintln!("{left} left by skep{full}");
    eprintln!("{dropped} dropped by the kernel for want of room");
}
