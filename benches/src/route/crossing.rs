//! Packets from one network namespace to another, each of one flow to one destination: the frames come in as from a network card
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`), go out through a veth device and are dropped by a program at its other end. Beside skep and xdp-forward the
//! kernel forwards the same frames, which an XDP program passes to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_kernel::inspect::receive_frames;

use super::tables::{Block, frame, within};
use super::{Side, device, run};

/// Frames of one call: each buffer is used again less often than its time to live lasts.
const AT_ONCE: u32 = 8_000;
/// How long a side sends in a round.
const TIME: Duration = Duration::from_millis(1500);
/// Ticks of /proc/stat in a second.
const TICKS: f64 = 100.0;

/// What a side did.
#[derive(Clone, Copy, Default)]
struct Done {
    packets: u64,
    seconds: f64,
    /// Of all processors together.
    busy: f64,
}

impl Done {
    fn rate(self) -> f64 {
        self.packets as f64 / self.seconds
    }

    fn each(self) -> f64 {
        self.busy * 1e9 / self.packets as f64
    }
}

/// Prints packets a second and the processors' time for each.
pub(super) fn measure(rounds: usize, prefix: Block) -> Result<()> {
    // The kernel's own way leads to its own pair, so its turn has a route of its own.
    let sides = [("skep", "r1", "r2"), ("xdp-forward", "r3", "r4"), ("kernel", "r5", "r6")];
    let mut all = [Done::default(); 3];
    for _ in 0..rounds {
        for ((name, from, to), sum) in sides.into_iter().zip(&mut all) {
            if name != "skep" {
                let exit = &to[1..];
                let (address, length) = prefix;
                run("ip", &format!("route replace {address}/{length} via 10.0.{exit}.2 dev {to}"))?;
            }
            let done = send(from, to, prefix).with_context(|| name.to_owned())?;
            sum.packets += done.packets;
            sum.seconds += done.seconds;
            sum.busy += done.busy;
        }
    }
    println!("\nForwarding between namespaces, one flow on one processor: {rounds} rounds, interleaved");
    println!("{:>14}{:>14}{:>10}{:>18}{:>10}", "", "packets/s", "skep's", "ns of CPU each", "skep's");
    for ((name, ..), done) in sides.iter().zip(all) {
        let (faster, cheaper) = (all[0].rate() / done.rate(), all[0].each() / done.each());
        println!("{name:>14}{:>14.0}{faster:>10.2}{:>18.0}{cheaper:>10.2}", done.rate(), done.each());
    }
    Ok(())
}

fn send(from: &str, to: &str, prefix: Block) -> Result<Done> {
    let side = Side::new(from)?;
    let frame = frame(side.device.mac, within(prefix));
    let (before, ticks, begin) = (sent(to)?, busy()?, Instant::now());
    let mut given = 0u64;
    while begin.elapsed() < TIME {
        receive_frames(side.program, &frame, side.device.index, AT_ONCE)?;
        given += u64::from(AT_ONCE);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let packets = sent(to)? - before;
    ensure!(packets * 100 >= given * 99, "of {given} packets {packets} came out");
    Ok(Done { packets, seconds, busy: busy()? - ticks })
}

/// Packets that an interface has sent.
fn sent(name: &str) -> Result<u64> {
    device(name)?;
    let text = std::fs::read_to_string("/proc/net/dev")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
    let field = line.and_then(|line| line.split_whitespace().nth(9)).context("no such interface")?;
    Ok(field.parse()?)
}

/// Seconds that the processors were at work.
fn busy() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no processors")?;
    let fields: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    Ok([0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum::<f64>() / TICKS)
}
