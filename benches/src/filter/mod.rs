//! Filters on packet sockets beside those of libpcap: instructions as the kernel runs them, nanoseconds a packet, and how
//! long compiling takes. Both are classic BPF, which the kernel translates.
//!
//! Time is measured where filters run: many sockets on one end of a veth pair, in a network namespace of its own, look at
//! each frame that is sent from the other end. Sockets whose filter takes nothing tell what all else costs.

mod classic;
mod socket;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use skep_bpf::classic::Insn;
use skep_kernel::LiveTarget;
use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Options, Source, compile};

/// Set for the process that runs in the namespace.
const INSIDE: &str = "SKEP_BENCH_NAMESPACE";
const SOCKETS: usize = 128;
/// Frames of one filter's turn, and turns in a round.
const FRAMES: usize = 200;
const TURNS: usize = 4;
/// Frames that no socket has room for all of.
const FULL: usize = 600;

/// Filters, one a line, which tests hold to libpcap's length.
const FILTERS: &str = include_str!("../../../tests/packet/usual-filters.txt");

/// Frames by name: Ethernet, then what is told here, filled up with zeros to 74 bytes.
const FRAMES_SENT: [(&str, &[u8]); 4] = [
    (
        "tcp",
        &[
            8, 0, 0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2, 0x9c, 0x40, 0, 80, 0,
            0, 0, 1, 0, 0, 0, 0, 0xa0, 2,
        ],
    ),
    (
        "udp",
        &[
            8, 0, 0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2, 0x10, 0, 0,
            53, 0, 40,
        ],
    ),
    (
        "tcp6",
        &[
            0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x9c, 0x40, 1, 0xbb,
        ],
    ),
    ("arp", &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]),
];

/// Prints a line for each expression.
pub(crate) fn measure(rounds: usize) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe()?;
        let rounds = rounds.to_string();
        let mut child = Command::new("unshare");
        child.arg("--net").arg(own).args(["--rounds", &rounds, "filter"]).env(INSIDE, "1");
        ensure!(child.status().context("unshare")?.success(), "the measurement in a namespace failed");
        return Ok(());
    }
    for line in ["link add va type veth peer name vb", "link set lo up", "link set va up", "link set vb up"] {
        ensure!(Command::new("ip").args(line.split(' ')).status()?.success(), "ip {line}");
    }
    let mut one = rustix::thread::CpuSet::new();
    one.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &one)?;
    std::thread::sleep(Duration::from_secs(1));
    println!("\nFilters on packet sockets: instructions in the kernel, nanoseconds a packet, compile time");
    println!("  {:>15}{:>38}{:>10}", "instructions", "skep / libpcap on", "");
    print!("  {:>6}{:>9}", "skep", "libpcap");
    FRAMES_SENT.iter().for_each(|(name, _)| print!("{name:>14}"));
    println!("{:>10}  filter", "compile");
    for text in FILTERS.lines() {
        let (ours, time) = ours(text)?;
        let theirs = classic::compile(text)?;
        print!("  {:>6}{:>9}", classic::translated(&ours), classic::translated(&theirs));
        for (_, head) in FRAMES_SENT {
            let filters = [&classic::NOTHING[..], &ours, &theirs];
            let [base, skep, libpcap] = times(filters, &frame(head), rounds)?;
            print!("{:>14}", format!("{:.1} / {:.1}", skep - base, libpcap - base));
        }
        println!("{:>7} us  {text}", time.as_micros());
    }
    Ok(())
}

/// The filter as a packet socket is given it, and how long it took to make: the best of some.
fn ours(text: &str) -> Result<(Vec<Insn>, Duration)> {
    let target = LiveTarget::new();
    let options = Options { link: LinkType::Ethernet, source: Source::Socket, netmask: None, strict: false };
    let mut best = Duration::MAX;
    let mut classic = None;
    for _ in 0..20 {
        let start = Instant::now();
        let filter = compile(text, &options, &target).map_err(|fault| anyhow!("{fault:?}"))?;
        classic = filter.classic(262_144);
        best = best.min(start.elapsed());
    }
    Ok((classic.context("there is no classic form")?, best))
}

fn frame(head: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(head);
    frame.resize(74, 0);
    frame
}

/// Nanoseconds that a frame spends on one socket, for each of the filters. They take turns on the same sockets, each frame is
/// timed alone, and the time counts below which a tenth of all lie: what was not disturbed.
fn times(filters: [&[Insn]; 3], frame: &[u8], rounds: usize) -> Result<[f64; 3]> {
    let (out, to) = socket::sender("va")?;
    let sockets: Vec<_> = (0..SOCKETS).map(|_| socket::receiver("vb", filters[0])).collect::<Result<_>>()?;
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds * TURNS {
        for (samples, filter) in samples.iter_mut().zip(filters) {
            sockets.iter().try_for_each(|socket| socket::attach(socket, filter))?;
            // What matches fills the sockets first, so that none is kept while the time is taken.
            let fill = if round == 0 { FULL } else { FRAMES / 10 };
            (0..fill).try_for_each(|_| socket::send(&out, &to, frame))?;
            for _ in 0..FRAMES {
                let start = Instant::now();
                socket::send(&out, &to, frame)?;
                samples.push(start.elapsed().as_nanos() as u64);
            }
        }
    }
    Ok(samples.map(|mut samples| {
        samples.sort_unstable();
        samples.get(samples.len() / 10).map_or(f64::NAN, |ns| *ns as f64 / SOCKETS as f64)
    }))
}
