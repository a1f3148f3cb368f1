//! Measures skep beside a peer (any bpftrace), in one run, alternating, and prints ratios. Enters: the two commands;
//! leaves: tables on standard output. Nothing is asserted: machines are noisy.
//!
//! `cargo run --release -p skep-bench -- --skep target/release/skep --peer bpftrace [start|attach|event|added|syscall|throughput|large|capture|live|filter|route|sync|vm]…`

mod added;
mod attach;
mod capture;
mod event;
mod filter;
mod large;
mod live;
mod load;
mod route;
mod scripts;
mod start;
mod stat;
mod sync;
mod syscall;
mod target;
mod throughput;
mod tracer;
#[cfg(feature = "vm")]
mod vm;

use anyhow::Result;
use clap::Parser;

/// Measures skep beside a peer
#[derive(Debug, Parser)]
struct Args {
    /// The skep binary (run as `SKEP trace …`)
    #[arg(long, default_value = "target/release/skep")]
    skep: String,
    /// The peer's command, words separated by blanks
    #[arg(long, default_value = "bpftrace")]
    peer: String,
    /// xdp-forward's command, words separated by blanks
    #[arg(long, default_value = "xdp-forward")]
    forward: String,
    /// Where live captures are written: the temporary folder without it. On a tmpfs the disk's share is left out
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
    /// Of live captures, only loads whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Live captures: tcpdump beside itself, which shows how far the ratios move on their own
    #[arg(long)]
    null: bool,
    /// Rounds of each measurement
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// What to measure: start, attach, event, added, syscall, throughput, large, capture, live, filter, route (with cost, crossing, updates behind it only those parts), sync, vm (all without; vm needs the feature of that name)
    what: Vec<String>,
}

fn main() -> Result<()> {
    if let Some(code) = load::run_as_child() {
        std::process::exit(code);
    }
    let args = Args::parse();
    let skep = tracer::Command::new("skep", &format!("{} trace", args.skep));
    let peer = tracer::Command::new("peer", &args.peer);
    let all = args.what.is_empty();
    let wanted = |name: &str| all || args.what.iter().any(|w| w == name);
    if wanted("start") {
        start::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("attach") {
        attach::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("event") {
        event::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("added") {
        added::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("syscall") {
        syscall::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("throughput") {
        throughput::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("large") {
        large::measure(&skep, &peer, args.rounds)?;
    }
    if wanted("capture") {
        capture::measure(&args.skep, args.rounds)?;
    }
    if wanted("live") {
        let loads = live::Wanted { skep: &args.skep, rounds: args.rounds, only: &args.only, null: args.null };
        live::measure(&loads, args.folder.as_deref())?;
    }
    if wanted("route") {
        route::measure(&args.skep, &args.forward, args.rounds, &args.what)?;
    }
    if wanted("sync") {
        sync::measure(&args.skep, args.rounds)?;
    }
    if wanted("filter") {
        filter::measure(args.rounds)?;
    }
    #[cfg(feature = "vm")]
    if wanted("vm") {
        vm::measure(args.rounds)?;
    }
    load::clean_up();
    Ok(())
}
