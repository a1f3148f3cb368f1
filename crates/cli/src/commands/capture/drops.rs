//! `skep capture --drops`: packets that the kernel throws away, until a signal or the last one that was asked for.

use crate::out::note;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use skep::capture::Expression;
use skep::capture::live::{Drops, drop_capabilities};
use skep::machine::Signals;

use super::live::{Taker, end};
use super::output::Output;
use crate::args::Capture;

const ROUND: Duration = Duration::from_millis(100);
/// What a file without packets says: Ethernet.
const LINK: u16 = 1;

/// Runs the command.
pub(super) fn run(options: &Capture) -> Result<ExitCode> {
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let expression = Expression::new(&super::text(options)?, options.strict);
    let most = options.most().unwrap_or(u32::MAX);
    let mut drops = Drops::open(expression, most, options.live.netns.as_deref())?;
    drops.watch(&signals)?;
    let output = Output::new(options, LINK, true)?;
    drop_capabilities(options.write.is_some(), true)?;
    note!("capturing on the kernel's drops");
    let mut taker = Taker { output, left: options.limit, packets: 0 };
    let mut failed = None;
    while failed.is_none() && signals.next().is_none() {
        let round = drops.round(ROUND, &mut |matched| taker.take(matched));
        let flushed = taker.output.round();
        match round.and_then(|flow| flushed.map(|()| flow)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => failed = Some(error),
        }
    }
    if failed.is_none() {
        failed = drops.finish(&mut |matched| taker.take(matched)).err();
    }
    let lost = drops.lost()?;
    if lost > 0 {
        note!("{lost} dropped packets were not looked at: there were more than could be read");
    }
    end(options, taker, drops.counts(), LINK, failed, false)
}
