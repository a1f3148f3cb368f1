//! How far `skep route sync` is behind the kernel, and how long a failed link stops a stream: two BIRDs in network namespaces of their own
//! speak BGP over two links, of which the router prefers the first or uses both; the first is then turned off at its other end, under a stream of
//! datagrams to destinations all over the table. Without BIRD (Debian's bird2) nothing is measured.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use skep_kernel::routes::{Changes, Message};

use crate::route::{INSIDE, Running, run};

/// How many prefixes there are.
const SIZES: [u32; 2] = [3_000, 100_000];
/// Destinations of the stream, and the port there.
const PLACES: u32 = 8;
const PORT: u16 = 9;
/// Between two datagrams to each destination.
const STEP: Duration = Duration::from_millis(1);
/// `RTM_NEWROUTE`
const NEW_ROUTE: u16 = 24;
/// Nothing more comes after such a silence.
const SILENCE: Duration = Duration::from_millis(2500);
/// Longest that BGP may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints a line for each size.
pub(crate) fn measure(skep: &str, rounds: usize) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        if !Command::new("bird").arg("--version").output().is_ok_and(|o| o.status.success()) {
            println!("\nsync: there is no `bird` (Debian's bird2)");
            return Ok(());
        }
        println!(
            "\nFollowing BIRD: milliseconds of {rounds} rounds, all of them; a link of two fails under a stream of a datagram a millisecond"
        );
        println!(
            "{:>16}  {:>26}  {:>26}  {:>22}",
            "", "all prefixes by BGP", "the link fails", "longest gap of"
        );
        println!(
            "{:>9} {:>6}  {:>10} {:>15}  {:>10} {:>15}  {:>10} {:>11}",
            "prefixes", "by", "kernel", "router behind", "kernel", "router behind", "one flow", "half of all"
        );
        for _ in 0..rounds {
            let mut child = Command::new("unshare");
            child.args(["--net", "--mount"]).arg(std::env::current_exe()?);
            child.args(["--skep", skep, "--rounds", "1", "sync"]).env(INSIDE, "1");
            ensure!(child.status().context("unshare")?.success(), "the measurement in a namespace failed");
        }
        return Ok(());
    }
    let network = Network::new()?;
    for size in SIZES {
        one(skep, &network, size, false)?;
        one(skep, &network, size, true)?;
    }
    Ok(())
}

/// The router's namespace is this process'; the other routers' and the sender's have a process each.
struct Network {
    peer: Running,
    sender: Running,
    folder: std::path::PathBuf,
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn namespace() -> Result<Running> {
    let child = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().context("unshare")?;
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let place = format!("/proc/{}/ns/net", child.id());
    let child = Running(child);
    for _ in 0..200 {
        if std::fs::read_link(&place).is_ok_and(|theirs| theirs != own) {
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("no network namespace came about")
}

impl Network {
    fn new() -> Result<Network> {
        run("mount", "-t bpf bpf /sys/fs/bpf")?;
        let (peer, sender) = (namespace()?, namespace()?);
        run("ip", "link set lo up")?;
        for (number, other) in [(1, &peer), (2, &peer), (3, &sender)] {
            let id = other.0.id();
            let inside = format!("-t {id} -n ip");
            run("ip", &format!("link add r{number} type veth peer name h{number} netns {id}"))?;
            run("ip", &format!("addr add 10.0.{number}.1/24 dev r{number}"))?;
            run("ip", &format!("link set r{number} up"))?;
            run("nsenter", &format!("{inside} addr add 10.0.{number}.2/24 dev h{number}"))?;
            run("nsenter", &format!("{inside} link set h{number} up"))?;
        }
        let (peer_id, sender_id) = (peer.0.id(), sender.0.id());
        run("nsenter", &format!("-t {peer_id} -n ip link set lo up"))?;
        run("nsenter", &format!("-t {peer_id} -n ip route add local 20.0.0.0/8 dev lo"))?;
        run("nsenter", &format!("-t {sender_id} -n ip route add default via 10.0.3.1"))?;
        let folder = std::env::temp_dir().join(format!("skep-bench-sync-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Network { peer, sender, folder })
    }

    /// Starts a BIRD, in the other routers' namespace or here.
    fn bird(&self, name: &str, configuration: &str) -> Result<Running> {
        let place = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        std::fs::write(place("conf"), configuration)?;
        let mut command = if name == "peer" {
            let mut command = Command::new("nsenter");
            command.args(["-t", &self.peer.0.id().to_string(), "-n", "bird"]);
            command
        } else {
            Command::new("bird")
        };
        command
            .arg("-f")
            .arg("-c")
            .arg(place("conf"))
            .arg("-s")
            .arg(place("sock"))
            .arg("-P")
            .arg(place("pid"));
        Ok(Running(command.stderr(Stdio::null()).spawn().context("bird")?))
    }
}

fn prefix(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(20 << 24 | number << 4)
}

/// The two configurations: who announces so many prefixes over both links, and who takes them and prefers the first or uses both.
fn configurations(size: u32, both: bool) -> Result<(String, String)> {
    let head = |id: &str| format!("router id {id}; protocol device {{ scan time 1; }}\n");
    let session = |number: u32, own: u32, other: u32, channel: &str| {
        format!(
            "protocol bgp n{number} {{ local 10.0.{number}.{own} as 6500{own}; neighbor 10.0.{number}.{other} as 6500{other}; \
             check link yes; connect delay time 1; error wait time 1, 1; ipv4 {{ {channel}; next hop self; }}; }}\n"
        )
    };
    let mut peer = head("10.0.1.2") + "protocol static many { ipv4;\n";
    for number in 0..size {
        writeln!(peer, "route {}/28 blackhole;", prefix(number))?;
    }
    peer += "}\n";
    let mut router =
        head("10.0.1.1") + "protocol kernel { merge paths on; ipv4 { import none; export all; }; }\n";
    for number in [1, 2] {
        peer += &session(number, 2, 1, "import none; export where source = RTS_STATIC");
        let preference = if both { 100 } else { 300 - number };
        let filter = format!("import filter {{ bgp_local_pref = {preference}; accept; }}; export none");
        router += &session(number, 1, 2, &filter);
    }
    Ok((peer, router))
}

/// When the last of something was seen, and how many.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(Option<Instant>, usize)>>);

impl Seen {
    fn note(&self, count: usize) {
        if let Ok(mut seen) = self.0.lock() {
            *seen = (Some(Instant::now()), seen.1 + count);
        }
    }

    fn take(&self) -> (Option<Instant>, usize) {
        self.0.lock().map(|mut seen| std::mem::take(&mut *seen)).unwrap_or_default()
    }

    fn get(&self) -> (Option<Instant>, usize) {
        self.0.lock().map(|seen| *seen).unwrap_or_default()
    }
}

/// Notes the kernel's messages of routes.
fn watch_kernel(seen: Seen, end: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
    let mut changes = Changes::follow()?;
    Ok(std::thread::spawn(move || {
        while !end.load(Ordering::Relaxed) {
            let mut count = 0;
            let read =
                changes.read(1024, &mut |Message { kind, .. }| count += usize::from(kind == NEW_ROUTE));
            match (count, read) {
                (0, _) => std::thread::sleep(Duration::from_micros(500)),
                (count, _) => seen.note(count),
            }
        }
    }))
}

/// Starts `skep route sync` and notes its steps.
fn follow(skep: &str, seen: Seen) -> Result<Running> {
    let words = ["route", "sync", "-v", "--proto", "bird"];
    let mut child =
        Command::new(skep).args(words).stdout(Stdio::piped()).spawn().context("skep route sync")?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let steps = line.split(' ').rev().nth(1).and_then(|word| word.parse().ok());
            if let Some(steps) = steps.filter(|steps| *steps > 0 && line.ends_with(" steps")) {
                seen.note(steps);
            }
        }
    });
    Ok(Running(child))
}

/// Waits until both have been silent and seen so many; gives when the last of each was.
fn settle(kernel: &Seen, router: &Seen, size: u32) -> Result<(Instant, Instant)> {
    let start = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        if let ((Some(k), count), (Some(r), steps)) = (kernel.get(), router.get())
            && k.elapsed() > SILENCE
            && r.elapsed() > SILENCE
            && count.min(steps) >= size as usize
        {
            return Ok((k, r));
        }
        let (k, r) = (kernel.get().1, router.get().1);
        ensure!(start.elapsed() < PATIENCE, "{k} messages and {r} steps for {size} prefixes");
    }
}

fn enter(id: u32) -> Result<()> {
    let file = std::fs::File::open(format!("/proc/{id}/ns/net"))?;
    Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?)
}

/// Sends until told to end; the receiver gives the longest gap of each destination.
fn stream(
    network: &Network,
    size: u32,
    end: &Arc<AtomicBool>,
) -> (JoinHandle<Result<()>>, JoinHandle<Result<Vec<Duration>>>) {
    let (sender, peer) = (network.sender.0.id(), network.peer.0.id());
    let address = move |place: u32| {
        // The last prefix is among them.
        let number = size - 1 - place * (size / PLACES);
        Ipv4Addr::from_bits(prefix(number).to_bits() | 1)
    };
    let (ends, stopped) = (end.clone(), end.clone());
    let sending = std::thread::spawn(move || {
        enter(sender)?;
        // What waits for a neighbour that is gone counts as its socket's unsent bytes: one socket for all would stop all.
        let socket = |_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let sockets = (0..PLACES).map(socket).collect::<std::io::Result<Vec<_>>>()?;
        while !ends.load(Ordering::Relaxed) {
            for (place, socket) in (0..).zip(&sockets) {
                let _ = socket.send_to(&u32::to_ne_bytes(place), (IpAddr::V4(address(place)), PORT));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    });
    let receiving = std::thread::spawn(move || {
        enter(peer)?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (mut last, mut gaps) =
            ([None::<Instant>; PLACES as usize], vec![Duration::ZERO; PLACES as usize]);
        while !stopped.load(Ordering::Relaxed) {
            let mut bytes = [0; 4];
            if socket.recv(&mut bytes).is_ok() {
                let (place, now) = (u32::from_ne_bytes(bytes) as usize % PLACES as usize, Instant::now());
                if let Some(before) = last[place].replace(now) {
                    gaps[place] = gaps[place].max(now - before);
                }
            }
        }
        // Who is not heard any more has a gap up to now.
        for (gap, last) in gaps.iter_mut().zip(&last) {
            *gap = (*gap).max(last.map_or(PATIENCE, |last| last.elapsed()));
        }
        Ok(gaps)
    });
    (sending, receiving)
}

fn one(skep: &str, network: &Network, size: u32, both: bool) -> Result<()> {
    run("nsenter", &format!("-t {} -n ip link set h1 up", network.peer.0.id()))?;
    run(skep, "route up --ports r1,r2,r3")?;
    let (kernel, router) = (Seen::default(), Seen::default());
    let end = Arc::new(AtomicBool::new(false));
    let watcher = watch_kernel(kernel.clone(), end.clone())?;
    let following = follow(skep, router.clone())?;
    let (peer, own) = configurations(size, both)?;
    let _peer = network.bird("peer", &peer)?;
    std::thread::sleep(Duration::from_secs(1));
    let birth = Instant::now();
    let _own = network.bird("own", &own)?;
    let (k, r) = settle(&kernel, &router, size)?;
    let all = (k - birth, r.saturating_duration_since(k));
    let quiet = Arc::new(AtomicBool::new(false));
    let (sending, receiving) = stream(network, size, &quiet);
    std::thread::sleep(Duration::from_secs(1));
    kernel.take();
    router.take();
    let failure = Instant::now();
    run("nsenter", &format!("-t {} -n ip link set h1 down", network.peer.0.id()))?;
    let (k, r) = settle(&kernel, &router, size)?;
    quiet.store(true, Ordering::Relaxed);
    end.store(true, Ordering::Relaxed);
    let joined = |_| anyhow::anyhow!("a thread of the measurement failed");
    sending.join().map_err(joined)??;
    let mut gaps = receiving.join().map_err(joined)??;
    watcher.join().map_err(joined)?;
    gaps.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (longest, half) = (gaps.last().copied().unwrap_or_default(), gaps[gaps.len() / 2]);
    println!(
        "{size:>9} {:>6}  {:>10.0} {:>15.0}  {:>10.0} {:>15.0}  {:>10.0} {:>11.0}",
        if both { "both" } else { "first" },
        ms(all.0),
        ms(all.1),
        ms(k - failure),
        ms(r.saturating_duration_since(k)),
        ms(longest),
        ms(half)
    );
    drop(following);
    run(skep, "route down")?;
    // BIRD's routes stay in the kernel when it is ended so.
    drop((_peer, _own));
    run("ip", "route flush proto bird")
}
