//! How fast the table changes: prefixes a second of one batch, and how long one change takes until packets go by it, in tables of several sizes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skep::route::Router;
use skep_kernel::inspect::try_program;

use super::tables::{Block, frame, within};
use super::{REDIRECT, Side, feed, ours, tables};

/// Prefixes of a batch.
const BATCH: u32 = 1_000_000;
/// Sizes of tables that one route changes in, and how many changes.
const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
const CHANGES: usize = 50;
/// `XDP_PASS`
const PASS: u32 = 2;

/// Prints both.
pub(super) fn measure(skep: &str, rounds: usize) -> Result<()> {
    let prefixes = tables::four(BATCH);
    let text = ours(&prefixes)?;
    let (mut library, mut command) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        feed(skep, &["route", "load", "-"], "")?;
        let begin = Instant::now();
        let router = Router::open()?;
        let loaded = router.load("bench", &text)?;
        library = library.min(begin.elapsed().as_secs_f64());
        ensure!(loaded == prefixes.len(), "{loaded} routes are there");
        feed(skep, &["route", "load", "-"], "")?;
        let begin = Instant::now();
        feed(skep, &["route", "load", "-"], &text)?;
        command = command.min(begin.elapsed().as_secs_f64());
    }
    println!("\nA batch of {BATCH} prefixes of IPv4 into an empty table, of {rounds} rounds the best");
    for (what, seconds) in [("Router::load", library), ("skep route load", command)] {
        println!("{what:>16}{:>10.2} s{:>12.0} prefixes/s", seconds, f64::from(BATCH) / seconds);
    }
    println!(
        "\nOne route comes or goes, until packets go by it: microseconds of the call, {CHANGES} changes"
    );
    println!("{:>10}{:>10}{:>10}", "prefixes", "median", "worst");
    for size in SIZES {
        let some = &prefixes[..size as usize];
        feed(skep, &["route", "load", "-"], &ours(some)?)?;
        let mut times = changes(some)?;
        times.sort_by(f64::total_cmp);
        println!("{size:>10}{:>10.0}{:>10.0}", times[times.len() / 2], times[times.len() - 1]);
    }
    Ok(())
}

/// Microseconds of each change.
fn changes(prefixes: &[Block]) -> Result<Vec<f64>> {
    let router = Router::open()?;
    let side = Side::new("r1")?;
    let mut times = Vec::new();
    for step in 0..CHANGES {
        let (address, length) = prefixes[step / 2 * 7 % prefixes.len()];
        let prefix = format!("{address}/{length}");
        let words = [prefix.as_str(), "via", "10.0.2.2", "dev", "r2"];
        // It goes, and comes back.
        let (wanted, begin) = if step % 2 == 0 {
            let begin = Instant::now();
            router.delete(&[prefix.as_str()])?;
            (PASS, begin)
        } else {
            let begin = Instant::now();
            router.set(router.parse(&words)?, false)?;
            (REDIRECT, begin)
        };
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        let program = Side::new("r1").context("r1")?.program;
        let frame = frame(side.device.mac, within((address, length)));
        let (verdict, _) = try_program(program, &frame, side.device.index)?;
        // A shorter route may be there when one goes.
        ensure!(verdict == wanted || wanted == PASS, "the verdict is {verdict}, not {wanted}");
    }
    Ok(times)
}
