//! The router's lookup beside the kernel's table: nanoseconds a packet of skep's XDP program and of xdp-forward's (its full mode), by how many
//! prefixes there are, in a network namespace of its own. The programs are run where they are attached, on packets to one destination again and
//! again (hot), and to destinations all over the table, one run each.
//!
//! The kernel does not restore a packet between runs, so a neighbour has the link address of the port itself and repeats are few. What a
//! single run costs before the program begins is measured with one that only passes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_kernel::device::{Device, devices};
use skep_kernel::inspect::time_program;

/// Set for the process that runs in the namespace.
pub(crate) const INSIDE: &str = "SKEP_BENCH_NAMESPACE";
/// How many prefixes there are.
const SIZES: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
/// Destinations all over the table.
const PLACES: u32 = 4_000;
/// Runs on one packet: its time to live is 255 at first.
const REPEAT: u32 = 200;
/// Lengths of prefixes and how many of a hundred have them, roughly as in the internet's table.
const LENGTHS: [(u32, u32); 8] = [(24, 60), (22, 12), (23, 10), (20, 5), (21, 5), (19, 3), (16, 3), (18, 2)];
/// `XDP_PASS` and `XDP_REDIRECT`
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// A process that is ended.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints a line for each size. `forward` is the command of xdp-forward.
pub(crate) fn measure(skep: &str, forward: &str, rounds: usize) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let mut child = Command::new("unshare");
        child.args(["--net", "--mount"]).arg(std::env::current_exe()?);
        child
            .args(["--skep", skep, "--forward", forward, "--rounds", &rounds.to_string(), "route"])
            .env(INSIDE, "1");
        ensure!(child.status().context("unshare")?.success(), "the measurement in a namespace failed");
        return Ok(());
    }
    run("mount", "-t bpf bpf /sys/fs/bpf")?;
    for pair in ["1", "2", "3", "4"] {
        run("ip", &format!("link add r{pair} type veth peer name p{pair}"))?;
        run("ip", &format!("addr add 10.0.{pair}.1/24 dev r{pair}"))?;
        run("ip", &format!("link set r{pair} up"))?;
        run("ip", &format!("link set p{pair} up"))?;
    }
    // What is sent into a veth vanishes unless a program is at its other end.
    let other = Command::new(skep)
        .args(["trace", "-e", "xdp:p1, xdp:p2, xdp:p3, xdp:p4 { pass(); }"])
        .stdout(Stdio::null())
        .spawn();
    let _other = Running(other.context("skep trace")?);
    std::thread::sleep(Duration::from_secs(3));
    std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1")?;
    // The neighbours behind r2 (skep's) and r4 (the kernel's) have the addresses of the ports that packets come in by.
    for (port, exit) in [("r1", "2"), ("r3", "4")] {
        let mac = device(port)?.mac.map(|byte| format!("{byte:02x}")).join(":");
        run("ip", &format!("neigh add 10.0.{exit}.2 lladdr {mac} nud permanent dev r{exit}"))?;
    }
    run(skep, "route up --ports r1,r2 --native")?;
    run(forward, "load -f fib -F full r3 r4")?;
    println!(
        "\nForwarding by XDP: nanoseconds a packet, of {rounds} rounds the best; behind the bar what an empty run costs is taken off"
    );
    println!("{:>10}{:>34}{:>34}", "", "one destination", "destinations all over");
    println!(
        "{:>10}{:>10}{:>14}{:>10}{:>10}{:>14}{:>10}",
        "prefixes", "skep", "xdp-forward", "ratio", "skep", "xdp-forward", "ratio"
    );
    for size in SIZES {
        let prefixes = table(size);
        fill(skep, &prefixes)?;
        let [empty, ours, theirs] = [Side::new("p1")?, Side::new("r1")?, Side::new("r3")?];
        let mut best = [[f64::INFINITY; 2]; 3];
        for _ in 0..rounds {
            for (side, best) in [&empty, &ours, &theirs].into_iter().zip(&mut best) {
                let [hot, cold] = side.times(&prefixes)?;
                *best = [best[0].min(hot), best[1].min(cold)];
            }
        }
        print!("{size:>10}");
        for at in [0, 1] {
            let [empty, ours, theirs] = best.map(|b| b[at]);
            let ratio = if at == 0 { ours / theirs } else { (ours - empty) / (theirs - empty) };
            print!(
                "{:>10.0}{:>14.0}{ratio:>10.2}",
                if at == 0 { ours } else { ours - empty },
                if at == 0 { theirs } else { theirs - empty }
            );
        }
        println!();
    }
    run(skep, "route down")
}

/// A program where it is attached.
struct Side {
    device: Device,
    program: u32,
}

impl Side {
    fn new(name: &str) -> Result<Side> {
        let device = device(name)?;
        let program = device.xdp.with_context(|| format!("{name} runs no XDP program"))?;
        Ok(Side { device, program })
    }

    /// Nanoseconds of a run: to one destination again and again, and to many.
    fn times(&self, prefixes: &[(u32, u32)]) -> Result<[f64; 2]> {
        let each = prefixes.len().div_ceil(PLACES as usize);
        let first = frame(self.device.mac, prefixes[0].0 | 1);
        let (verdict, hot) = time_program(self.program, &first, self.device.index, REPEAT)?;
        let wanted = if self.device.name.starts_with('p') { PASS } else { REDIRECT };
        ensure!(verdict == wanted, "{} gives the verdict {verdict}, not {wanted}", self.device.name);
        let (mut sum, mut count) = (0u64, 0u64);
        // Not in the order in which they lie.
        for step in 0..PLACES as usize {
            let at = (step * 2_654_435_761 % PLACES as usize) * each % prefixes.len();
            let frame = frame(self.device.mac, prefixes[at].0 | 1);
            sum += u64::from(time_program(self.program, &frame, self.device.index, 1)?.1);
            count += 1;
        }
        Ok([f64::from(hot), sum as f64 / count as f64])
    }
}

fn device(name: &str) -> Result<Device> {
    devices()?.into_iter().find(|d| d.name == name).with_context(|| format!("no interface {name}"))
}

pub(crate) fn run(program: &str, words: &str) -> Result<()> {
    let mut parts = program.split(' ').chain(words.split(' '));
    let mut command = Command::new(parts.next().unwrap_or_default());
    let status = command.args(parts).stdout(Stdio::null()).status().with_context(|| program.to_owned())?;
    ensure!(status.success(), "{program} {words}");
    Ok(())
}

/// So many prefixes: the first address, and how many bits.
fn table(size: u32) -> Vec<(u32, u32)> {
    let (mut seed, mut seen, mut list) = (7u64, BTreeSet::new(), Vec::new());
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    while list.len() < size as usize {
        let mut share = random() % 100;
        let found = LENGTHS.iter().find(|(_, part)| {
            let here = share < *part;
            share = share.saturating_sub(*part);
            here
        });
        let length = found.map_or(24, |row| row.0);
        let address = random() >> (32 - length) << (32 - length);
        // Unicast, and none of the interfaces' own networks.
        if (1..224).contains(&(address >> 24))
            && ![10, 127, 169].contains(&(address >> 24))
            && seen.insert((address, length))
        {
            list.push((address, length));
        }
    }
    list
}

/// Gives both tables the prefixes.
fn fill(skep: &str, prefixes: &[(u32, u32)]) -> Result<()> {
    let (mut ours, mut theirs) = (String::new(), String::new());
    for (address, length) in prefixes {
        let address = std::net::Ipv4Addr::from_bits(*address);
        writeln!(ours, "{address}/{length} via 10.0.2.2 dev r2")?;
        writeln!(theirs, "route replace {address}/{length} via 10.0.4.2 dev r4")?;
    }
    feed(skep, &["route", "load", "-"], &ours)?;
    feed("ip", &["-batch", "-"], &theirs)
}

fn feed(program: &str, words: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| program.to_owned())?;
    child.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "{program} {}", words.join(" "));
    Ok(())
}

/// A UDP datagram in an Ethernet frame to the port.
fn frame(port: [u8; 6], destination: u32) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 50, 0, 1, 0x40, 0, 255, 17, 0, 0, 10, 0, 1, 9];
    ip.extend(destination.to_be_bytes());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = port.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    frame.extend(ip);
    frame.extend([0x10, 0, 0, 53, 0, 30, 0, 0]);
    frame.resize(64, 0);
    frame
}
