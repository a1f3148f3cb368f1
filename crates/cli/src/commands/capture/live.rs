//! `skep capture` on interfaces: until a signal, the last packet that was asked for, or until no interface is left. What
//! was captured is written whatever ends it; counts go to standard error.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use skep::capture::live::{
    Batch, Counts, Live, Next, Options, Taken, Verdict, Wanted, Way, devices, drop_capabilities, find_cgroup,
};
use skep::capture::{Kept, Matched};
use skep::machine::Signals;

use super::output::Output;
use crate::args::{self, Capture};
use crate::exit::Exit;
use crate::out::{note, out};

/// Longest time without a look at what else may end the capture.
const ROUND: Duration = Duration::from_millis(100);
/// Most bytes of a packet, without `-s` (libpcap's MAXIMUM_SNAPLEN).
const SNAPLEN: u32 = 262_144;
/// The same where only headers are looked at.
const HEADERS: u32 = 192;
/// Milliseconds after which few packets are handed over: for people, and for files.
const SOON: u32 = 10;
const LATER: u32 = 100;

/// Lists the interfaces.
pub(super) fn list(options: &Capture) -> Result<ExitCode> {
    for device in devices(options.live.netns.as_deref())? {
        let loopback = if device.hardware == 772 { ", loopback" } else { "" };
        out!("{}.{} [mtu {}{loopback}]", device.index, device.name.escape_debug(), device.mtu);
    }
    out!("any [all interfaces]");
    Ok(Exit::Ok.into())
}

/// Takes packets up to the last one that is wanted.
pub(super) struct Taker {
    pub(super) output: Output,
    pub(super) left: Option<u64>,
    pub(super) packets: u64,
}

impl Taker {
    pub(super) fn take(&mut self, matched: &Matched<'_>) -> Verdict {
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

    /// Takes all packets that wait.
    fn take_all(&mut self, batch: &mut Batch<'_>) -> Result<(), skep::Error> {
        if let (Output::Files(files), None) = (&mut self.output, self.left) {
            self.packets += files.take_all(batch)?;
            return Ok(());
        }
        loop {
            match batch.advance() {
                Next::Packet(matched) => {
                    let taken = self.take(&matched)?;
                    batch.judge(taken);
                }
                Next::Unwanted => {}
                Next::End => return Ok(()),
            }
        }
    }
}

/// Runs the command.
pub(super) fn run(options: &Capture) -> Result<ExitCode> {
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let wanted = wanted(options)?;
    let processes = wanted.processes.is_some();
    let mut live = Live::open(&wanted)?;
    let link = live.first_link();
    let mut output = Output::new(options, link, true)?;
    if live.is_single() {
        output = output.without_origin();
    }
    drop_capabilities(options.write.is_some(), processes)?;
    note!("capturing on {}", live.shown());
    let mut taker = Taker { output, left: options.limit, packets: 0 };
    let mut failed = None;
    let mut vanished = false;
    while failed.is_none() && live.is_alive() && signals.next().is_none() {
        let round = live.round(ROUND, &[signals.as_fd()], &mut |batch| taker.take_all(batch));
        let flushed = taker.output.round();
        match round.and_then(|flow| flushed.map(|()| flow)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => failed = Some(error),
        }
        for trouble in live.troubles() {
            vanished = true;
            note!("error: {trouble}");
        }
    }
    let writable = failed.is_none();
    let ended = live.finish(&mut |batch| if writable { taker.take_all(batch) } else { Ok(()) });
    let counts = live.counts();
    let failed = failed.or(ended.err());
    end(options, taker, counts, link, failed, vanished)
}

/// Ends the output, says what became of all packets, and gives the exit code.
pub(super) fn end(
    options: &Capture,
    mut taker: Taker,
    mut counts: Counts,
    link: u16,
    failed: Option<skep::Error>,
    vanished: bool,
) -> Result<ExitCode> {
    let (kept, lost, written) = taker.output.finish(link);
    if matches!(taker.output, Output::Files(_)) {
        counts.left += counts.taken - kept.min(counts.taken);
        counts.taken = kept;
    }
    if options.count {
        out!("{} packet{}", taker.packets, if taker.packets == 1 { "" } else { "s" });
    }
    report(&counts, lost);
    match failed.or(written.err()) {
        // Whoever read the output has seen enough.
        Some(skep::Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok.into()),
        Some(error) => Err(error.into()),
        None => Ok(if vanished { Exit::Failure } else { Exit::Ok }.into()),
    }
}

fn wanted(options: &Capture) -> Result<Options> {
    let live = &options.live;
    let processes = Wanted {
        pid: live.pid,
        comm: live.comm.clone(),
        cgroup: live.cgroup.as_deref().map(find_cgroup).transpose()?,
    };
    let asked = live.process || live.top || !processes.is_any();
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
        snaplen: options.most().unwrap_or(if live.top { HEADERS } else { SNAPLEN }).min(SNAPLEN),
        buffer: u64::from(options.live.buffer) << 10,
        retire: if options.write.is_some() { LATER } else { SOON },
        namespace: options.live.netns.clone(),
        processes: asked.then_some(processes),
    })
}

/// Says what became of all packets that matched: the last three add up to the first.
fn report(counts: &Counts, lost: u64) {
    let Counts { matched, taken, left, dropped } = counts;
    let packets = if *matched == 1 { "packet" } else { "packets" };
    note!("{matched} {packets} matched the filter in the kernel");
    note!("{taken} captured");
    let full = if lost > 0 { format!(" ({lost} did not fit on disk)") } else { String::new() };
    note!("{left} left by skep{full}");
    note!("{dropped} dropped by the kernel for want of room");
}
