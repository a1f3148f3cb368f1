//! Live captures beside tcpdump: floods of one kind of frame over a veth pair, from one network namespace to another, while
//! one tool writes them to a file. Leaves: what a captured packet costs the tool, what the tool adds to the
//! sender, and how many packets are lost; and what it costs to name the processes of packets. Or tcpdump beside itself.
//!
//! The sender runs on CPU 1, tools on CPU 0; both tools have the same room in the kernel.

mod flood;
mod tool;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::stat::{median, middle_half};
use flood::{Flood, Pair, Source};
use tool::{Form, Run};

/// Set for the process that runs in namespaces of its own.
const INSIDE: &str = "SKEP_BENCH_LIVE";
/// Most rounds: each takes about 30 seconds with all loads.
const ROUNDS: usize = 9;

/// What is sent, and how much of it the tools keep.
struct Load {
    shown: &'static str,
    source: Source,
    /// Bytes of a frame.
    bytes: usize,
    frames: u32,
    snaplen: Option<u32>,
}

/// Frames of a long burst, and of one of some milliseconds.
const LONG: u32 = 100_000;
const SHORT: u32 = 15_000;

const LOADS: [Load; 7] = [
    Load {
        shown: "sockets, 64, -s 96",
        source: Source::Socket,
        bytes: 64,
        frames: 1_000_000,
        snaplen: Some(96),
    },
    Load {
        shown: "sockets, 1442, -s 96",
        source: Source::Socket,
        bytes: 1442,
        frames: 1_000_000,
        snaplen: Some(96),
    },
    Load {
        shown: "XDP, 64, -s 96",
        source: Source::Xdp(LONG),
        bytes: 64,
        frames: 2_000_000,
        snaplen: Some(96),
    },
    Load {
        shown: "XDP, 1442, -s 96",
        source: Source::Xdp(LONG),
        bytes: 1442,
        frames: 2_000_000,
        snaplen: Some(96),
    },
    Load { shown: "sockets, 1442, all", source: Source::Socket, bytes: 1442, frames: 400_000, snaplen: None },
    Load { shown: "XDP, 1442, all", source: Source::Xdp(LONG), bytes: 1442, frames: 400_000, snaplen: None },
    Load {
        shown: "XDP in short bursts, 1442, all",
        source: Source::Xdp(SHORT),
        bytes: 1442,
        frames: 400_000,
        snaplen: None,
    },
];

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// The skep binary.
    pub(crate) skep: &'w str,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Only loads whose name contains this.
    pub(crate) only: &'w str,
    /// tcpdump in skep's place.
    pub(crate) null: bool,
}

/// Prints a line for each load. Files are written below `folder`.
pub(crate) fn measure(wanted: &Wanted<'_>, folder: Option<&Path>) -> Result<()> {
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let Wanted { skep, only, .. } = *wanted;
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe()?;
        let rounds = wanted.rounds.to_string();
        let mut child = Command::new("unshare");
        child.arg("--net").arg(own).args(["--skep", skep, "--rounds", &rounds, "--only", only]);
        child.args(wanted.null.then_some("--null")).arg("--folder").arg(folder).arg("live");
        ensure!(
            child.env(INSIDE, "1").status().context("unshare")?.success(),
            "measuring in a namespace failed"
        );
        return Ok(());
    }
    let folder = folder.join(format!("skep-bench-live-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    println!("\nFiles in {}", folder.display());
    let measured = all(&Wanted { rounds: wanted.rounds.clamp(1, ROUNDS), ..*wanted }, &folder);
    let _ = fs::remove_dir_all(&folder);
    measured
}

fn all(wanted: &Wanted<'_>, folder: &Path) -> Result<()> {
    let Wanted { skep, rounds, only, null } = *wanted;
    let pair = Pair::make()?;
    let path = folder.join("packets");
    let (forms, names) = match null {
        false => ([Form::Skep { processes: false }, Form::Tcpdump], "skep / tcpdump"),
        true => ([Form::Tcpdump; 2], "tcpdump / tcpdump"),
    };
    println!(
        "Live captures, nanoseconds a packet (median of {rounds}): {names}, and the ratio; of what is added to the sender\n\
         the median of the rounds' ratios, and between which values half of them lie"
    );
    println!(
        "  {:<30}{:>22}{:>22}{:>34}{:>18}",
        "load", "user + system", "user", "added to the sender", "lost"
    );
    for load in LOADS.iter().filter(|load| load.shown.contains(only)) {
        let flood = Flood::new(&pair, load.source, load.bytes)?;
        let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        let mut added: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        flood.send(load.frames / 10)?;
        let mut bare = flood.send(load.frames)?;
        for round in 0..rounds {
            // Who comes first finds other memory free: they take turns.
            for turn in [round % 2, (round + 1) % 2] {
                let words = forms[turn].words(skep, Pair::RECEIVER, load.snaplen, &path);
                let run = pair.within(|| tool::run(forms[turn], &words, || flood.send(load.frames)))??;
                fs::remove_file(&path)?;
                // Without a capture: just before and just after.
                let next = flood.send(load.frames)?;
                added[turn].push(run.sent - (bare + next) / 2.0);
                bare = next;
                runs[turn].push(run);
            }
        }
        let of = |value: &dyn Fn(&Run) -> f64| {
            let [skep, peer] = [0, 1].map(|i| median(runs[i].iter().map(value).collect()));
            (skep, peer)
        };
        let ratio = |(skep, peer): (f64, f64)| format!("{skep:.0} / {peer:.0} {:>6.2}", skep / peer);
        let lost = of(&|run| run.lost * 100.0);
        println!(
            "  {:<30}{:>22}{:>22}{:>34}{:>18}",
            load.shown,
            ratio(of(&|run| run.total)),
            ratio(of(&|run| run.user)),
            compared(added),
            format!("{:.1} % / {:.1} %", lost.0, lost.1),
        );
    }
    if null { Ok(()) } else { processes(skep, rounds, &pair, &path, only) }
}

/// Both medians, the median of the rounds' ratios, and between which values half of these lie.
fn compared([skep, peer]: [Vec<f64>; 2]) -> String {
    let ratios: Vec<f64> = skep.iter().zip(&peer).map(|(skep, peer)| skep / peer).collect();
    let (low, high) = middle_half(ratios.clone());
    format!("{:.0} / {:.0} {:>6.2} ({low:.2} to {high:.2})", median(skep), median(peer), median(ratios))
}

/// What naming the process of each packet costs, where the sender's socket is on this side.
fn processes(skep: &str, rounds: usize, pair: &Pair, path: &Path, only: &str) -> Result<()> {
    for load in LOADS.iter().filter(|load| load.source == Source::Socket && load.shown.contains(only)) {
        let flood = Flood::new(pair, load.source, load.bytes)?;
        let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (runs, processes) in runs.iter_mut().zip([true, false]) {
                let form = Form::Skep { processes };
                let words = form.words(skep, Pair::SENDER, load.snaplen, path);
                runs.push(tool::run(form, &words, || flood.send(load.frames))?);
                fs::remove_file(path)?;
            }
        }
        let [with, without] = [0, 1].map(|i| median(runs[i].iter().map(|run| run.total).collect()));
        let lost = [0, 1].map(|i| median(runs[i].iter().map(|run| run.lost * 100.0).collect()));
        println!(
            "  {:<30} with processes {with:.0}, without {without:.0}: {:.2}; lost {:.1} %, {:.1} %",
            load.shown,
            with / without,
            lost[0],
            lost[1]
        );
    }
    Ok(())
}
