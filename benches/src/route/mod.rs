//! The router beside xdp-forward (its full mode) and the kernel, in network namespaces of their own: nanoseconds a packet by how many prefixes there
//! are, packets a second between namespaces, and how fast the table changes.
//!
//! XDP programs are run where they are attached, on packets to one destination again and again (hot), and to destinations all over the table, one
//! run each. The kernel does not restore a packet between runs, so a neighbour has the link address of the port itself and repeats are few. What
//! an empty run costs is measured with a program that only passes, and what comes out is looked at: verdict, time to live, link address.

mod crossing;
mod tables;
mod updates;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_kernel::device::{Device, devices};
use skep_kernel::inspect::{time_program, try_program};
use tables::{Block, frame, within};

/// Set for the process that runs in the namespace.
pub(crate) const INSIDE: &str = "SKEP_BENCH_NAMESPACE";
/// How many prefixes there are.
const SIZES4: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
const SIZES6: [u32; 3] = [1, 1_000, 200_000];
/// Destinations all over the table.
const PLACES: usize = 4_000;
/// Runs on one packet: its time to live is 255 at first.
const REPEAT: u32 = 200;
/// `XDP_PASS` and `XDP_REDIRECT`
const PASS: u32 = 2;
const REDIRECT: u32 = 4;
/// Widest bar of the plot.
const BAR: f64 = 60.0;

/// A process that is ended.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints tables. `forward` is the command of xdp-forward; of `parts` (`cost`, `crossing`, `updates`) those that are named, all without.
pub(crate) fn measure(skep: &str, forward: &str, rounds: usize, parts: &[String]) -> Result<()> {
    let part = |name: &str| {
        let named = |p: &String| ["cost", "crossing", "updates"].contains(&p.as_str());
        !parts.iter().any(named) || parts.iter().any(|p| p == name)
    };
    if std::env::var_os(INSIDE).is_none() {
        let mut child = Command::new("unshare");
        child.args(["--net", "--mount"]).arg(std::env::current_exe()?);
        child.args(["--skep", skep, "--forward", forward, "--rounds", &rounds.to_string(), "route"]);
        let status = child.args(parts.iter().filter(|p| *p != "route")).env(INSIDE, "1").status();
        ensure!(status.context("unshare")?.success(), "the measurement in a namespace failed");
        return Ok(());
    }
    let _other = networks(skep)?;
    run(skep, "route up --ports r1,r2 --native")?;
    if part("cost") || part("crossing") {
        run(forward, "load -f fib -F full r3 r4")?;
    }
    if part("cost") {
        let four: Vec<Cost> = costs(skep, rounds, &SIZES4, tables::four)?;
        let six: Vec<Cost> = costs(skep, rounds, &SIZES6, tables::six)?;
        show("IPv4", rounds, &four);
        show("IPv6", rounds, &six);
        plot("IPv4", &four);
        plot("IPv6", &six);
    }
    if part("crossing") {
        fill(skep, &tables::four(1))?;
        crossing::measure(rounds, tables::four(1)[0])?;
    }
    if part("updates") {
        updates::measure(skep, rounds)?;
    }
    run(skep, "route down")
}

/// Ports r1 to r6 here, their other ends in another namespace, which drop what reaches them, but for that of r1, which is here and passes it. r1 and r2
/// are skep's, r3 and r4 xdp-forward's, r5 and r6 the kernel's.
fn networks(skep: &str) -> Result<[Running; 3]> {
    run("mount", "-t bpf bpf /sys/fs/bpf")?;
    let holder = Command::new("unshare").args(["--net", "sleep", "3600"]).stdin(Stdio::null()).spawn();
    let holder = Running(holder.context("unshare")?);
    let pid = holder.0.id();
    std::thread::sleep(Duration::from_millis(500));
    for port in 1..=6 {
        run("ip", &format!("link add r{port} type veth peer name p{port}"))?;
        run("ip", &format!("addr add 10.0.{port}.1/24 dev r{port}"))?;
        run("ip", &format!("addr add 2001:db8:{port}::1/64 dev r{port} nodad"))?;
        run("ip", &format!("link set r{port} up"))?;
        if port == 1 {
            run("ip", "link set p1 up")?;
        } else {
            run("ip", &format!("link set p{port} netns {pid}"))?;
            run("nsenter", &format!("-t {pid} -n ip link set p{port} up"))?;
        }
    }
    std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1")?;
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    // The neighbours behind r2, r4 and r6 have the addresses of the ports that packets come in by.
    for (port, exit) in [("r1", "2"), ("r3", "4"), ("r5", "6")] {
        let mac = device(port)?.mac.map(|byte| format!("{byte:02x}")).join(":");
        for address in [format!("10.0.{exit}.2"), format!("2001:db8:{exit}::2")] {
            run("ip", &format!("neigh add {address} lladdr {mac} nud permanent dev r{exit}"))?;
        }
    }
    // What is sent into a veth vanishes unless a program is at its other end.
    let trace = |command: &mut Command, script: &str| -> Result<Running> {
        let started = command.args(["trace", "-e", script]).stdout(Stdio::null()).spawn();
        Ok(Running(started.context("skep trace")?))
    };
    let drops = "xdp:p2, xdp:p3, xdp:p4, xdp:p5, xdp:p6 { drop(); }";
    let pid = pid.to_string();
    let there = trace(Command::new("nsenter").args(["-t", &pid, "-n", skep]), drops)?;
    let here = trace(&mut Command::new(skep), "xdp:p1, xdp:r5, xdp:r6 { pass(); }")?;
    std::thread::sleep(Duration::from_secs(3));
    Ok([holder, there, here])
}

/// Nanoseconds a packet with so many prefixes, of one destination and of destinations all over: skep's and xdp-forward's.
struct Cost {
    size: u32,
    hot: [f64; 2],
    cold: [f64; 2],
}

fn costs(skep: &str, rounds: usize, sizes: &[u32], table: fn(u32) -> Vec<Block>) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for size in sizes {
        let prefixes = table(*size);
        fill(skep, &prefixes)?;
        let [empty, ours, theirs] = [Side::new("p1")?, Side::new("r1")?, Side::new("r3")?];
        let mut best = [[f64::INFINITY; 2]; 3];
        for _ in 0..rounds {
            for (side, best) in [&empty, &ours, &theirs].into_iter().zip(&mut best) {
                let [hot, cold] = side.times(&prefixes)?;
                *best = [best[0].min(hot), best[1].min(cold)];
            }
        }
        let [empty, ours, theirs] = best;
        costs.push(Cost {
            size: *size,
            hot: [ours[0], theirs[0]],
            cold: [ours[1] - empty[1], theirs[1] - empty[1]],
        });
        // What the next family's table does not replace.
        feed("ip", &["-batch", "-"], &kernel(&prefixes, "del"))?;
    }
    Ok(costs)
}

fn show(family: &str, rounds: usize, costs: &[Cost]) {
    println!(
        "\nForwarding {family} by XDP: nanoseconds a packet, of {rounds} rounds the best; behind the bar what an empty run costs is taken off"
    );
    println!("{:>10}{:>34}{:>34}", "", "one destination", "| destinations all over");
    println!(
        "{:>10}{:>10}{:>14}{:>10}{:>10}{:>14}{:>10}",
        "prefixes", "skep", "xdp-forward", "ratio", "skep", "xdp-forward", "ratio"
    );
    for Cost { size, hot, cold } in costs {
        print!("{size:>10}");
        for [ours, theirs] in [hot, cold] {
            print!("{ours:>10.0}{theirs:>14.0}{:>10.2}", ours / theirs);
        }
        println!();
    }
}

/// Bars for what a packet costs by the number of prefixes.
fn plot(family: &str, costs: &[Cost]) {
    let most = costs.iter().flat_map(|cost| cost.hot.into_iter().chain(cost.cold)).fold(1.0, f64::max);
    for (what, of) in [("one destination", 0), ("destinations all over", 1)] {
        println!("\n{family}, {what}: nanoseconds a packet by prefixes");
        for cost in costs {
            let values = if of == 0 { cost.hot } else { cost.cold };
            for (who, value) in ["skep", "xdp-forward"].into_iter().zip(values) {
                let bar = "#".repeat((value / most * BAR).round().max(1.0) as usize);
                let size = if who == "skep" { cost.size.to_string() } else { String::new() };
                println!("{size:>9} {who:<12}|{bar} {value:.0}");
            }
        }
    }
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
    fn times(&self, prefixes: &[Block]) -> Result<[f64; 2]> {
        let each = prefixes.len().div_ceil(PLACES);
        let first = frame(self.device.mac, within(prefixes[0]));
        self.look(&first, within(prefixes[0]))?;
        let (_, hot) = time_program(self.program, &first, self.device.index, REPEAT)?;
        let (mut sum, mut count) = (0u64, 0u64);
        // Not in the order in which they lie.
        for step in 0..PLACES {
            let at = (step * 2_654_435_761 % PLACES) * each % prefixes.len();
            let frame = frame(self.device.mac, within(prefixes[at]));
            sum += u64::from(time_program(self.program, &frame, self.device.index, 1)?.1);
            count += 1;
        }
        Ok([f64::from(hot), sum as f64 / count as f64])
    }

    /// Makes sure that the packet is really forwarded: its time to live one less, to the link address of a neighbour.
    fn look(&self, sent: &[u8], to: IpAddr) -> Result<()> {
        let name = &self.device.name;
        let (verdict, left) = try_program(self.program, sent, self.device.index)?;
        if name.starts_with('p') {
            ensure!(verdict == PASS, "{name} gives the verdict {verdict}, not {PASS}");
            return Ok(());
        }
        let lives = if to.is_ipv4() { 22 } else { 21 };
        ensure!(verdict == REDIRECT, "{name} gives the verdict {verdict}, not {REDIRECT}");
        ensure!(left[lives] == 254, "{name} makes the time to live {}, not 254", left[lives]);
        ensure!(
            left[..6] == self.device.mac && left[6..12] != sent[6..12],
            "{name} leaves the link addresses"
        );
        Ok(())
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

/// Gives all tables the prefixes.
fn fill(skep: &str, prefixes: &[Block]) -> Result<()> {
    feed(skep, &["route", "load", "-"], &ours(prefixes)?)?;
    feed("ip", &["-batch", "-"], &kernel(prefixes, "replace"))
}

/// Routes as skep takes them.
fn ours(prefixes: &[Block]) -> Result<String> {
    let mut text = String::new();
    for (address, length) in prefixes {
        let gateway = if address.is_ipv4() { "10.0.2.2" } else { "2001:db8:2::2" };
        writeln!(text, "{address}/{length} via {gateway} dev r2")?;
    }
    Ok(text)
}

/// Changes of the kernel's table.
fn kernel(prefixes: &[Block], verb: &str) -> String {
    let mut text = String::new();
    for (address, length) in prefixes {
        let gateway = if address.is_ipv4() { "10.0.4.2" } else { "2001:db8:4::2" };
        let _ = writeln!(text, "route {verb} {address}/{length} via {gateway} dev r4");
    }
    text
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
