//! Packets of a capture file through a filter: the same file in the page cache and the same expression for skep and for
//! tcpdump, mostly only counted. Files of a gigabyte, of small packets and of large ones, are made first and removed at the end.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

const BYTES: u64 = 1 << 30;

/// Expressions, from simple to complex; the last two are what an incident leaves: addresses and ports as they were found, with
/// exceptions, in no order.
const FILTERS: [&str; 6] = [
    "",
    "tcp port 443",
    "ip and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 10.0.0.0/16",
    "(tcp port 80 or tcp port 443 or udp portrange 5000-6000) and (net 10.1.0.0/16 or ip6) \
     and not (tcp[tcpflags] & tcp-rst != 0) and (ip[8] > 30 or ip6) and greater 60",
    "(host 10.0.17.4 or host 10.1.33.9 or host 10.2.201.77 or host 10.3.4.15 or host 10.0.250.31 or host 10.2.18.6 \
     or host 10.1.144.200 or host 192.0.2.15 or host 198.51.100.23 or host 203.0.113.9 or src net 10.0.128.0/20 \
     or dst net 10.2.64.0/19 or net 172.16.0.0/12 or net 192.168.0.0/16 or net 10.3.160.0/21 or src net 10.1.8.0/24 \
     or ip6 host 2001:db8::15 or ip6 net fd00::/8) and not host 10.0.128.1 and not net 10.2.80.0/24 \
     and (tcp port 22 or tcp port 443 or tcp port 8443 or tcp port 3389 or udp port 53 or udp portrange 5000-6000 \
     or tcp portrange 5400-5600 or icmp) \
     and (tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0 or ip[8] < 65 or ip6) \
     and not (udp and dst port 123) and greater 54 and less 1600",
    "(host 10.2.201.77 or host 198.51.100.23 or host 10.0.17.4 or host 203.0.113.201 or host 10.1.33.9 or host 192.0.2.15 \
     or host 10.3.4.15 or host 203.0.113.9 or host 10.0.250.31 or host 198.51.100.77 or host 10.2.18.6 or host 192.0.2.200 \
     or host 10.1.144.200 or host 10.3.90.41 or host 203.0.113.44 or host 10.0.61.8 or host 10.2.7.113 or host 198.51.100.4 \
     or host 10.1.250.19 or host 10.3.222.3 or host 192.0.2.78 or host 10.0.99.142 or host 10.2.130.55 or host 203.0.113.130 \
     or host 10.1.12.231 or host 10.3.71.166 or host 198.51.100.190 or host 10.0.201.5 or host 10.2.44.87 or host 10.1.77.60 \
     or net 10.0.128.0/20 or net 172.16.0.0/12 or net 10.2.64.0/19 or net 192.168.0.0/16 or net 10.3.160.0/21 \
     or net 10.1.8.0/24 or net 100.64.0.0/10 or net 10.2.208.0/22 or net 169.254.0.0/16 or net 10.3.16.0/24 \
     or ip6 host 2001:db8::15 or ip6 host 2001:db8:9::77 or ip6 net fd00::/8 or ip6 net 2001:db8:40::/48) \
     and (tcp port 443 or tcp port 22 or udp port 53 or tcp port 8443 or tcp port 3389 or tcp port 5985 or udp port 4789 \
     or tcp port 445 or udp portrange 5000-6000 or tcp portrange 5400-5600) \
     and not (host 10.0.128.1 or net 10.2.80.0/24 or udp dst port 123) \
     and (tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0 or udp or ip6) and ip[6:2] & 0x1fff = 0 or icmp[icmptype] = icmp-unreach",
];

/// Bytes of payload: a server's answers, and downloads.
const MIXES: [(&str, [usize; 8]); 2] = [
    ("small packets", [0, 0, 6, 20, 40, 100, 200, 512]),
    ("large packets", [0, 0, 6, 536, 1448, 1448, 1448, 1448]),
];

/// Removes the file when the measuring ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Prints for each mix of packets a line for each expression, then one for each other way to use the packets.
pub(crate) fn measure(skep: &str, rounds: usize) -> Result<()> {
    MIXES.iter().try_for_each(|(what, payloads)| mix(skep, rounds, what, payloads))
}

fn mix(skep: &str, rounds: usize, what: &str, payloads: &[usize]) -> Result<()> {
    let folder = Folder(std::env::temp_dir().join(format!("skep-bench-{}", std::process::id())));
    fs::create_dir(&folder.0).with_context(|| folder.0.display().to_string())?;
    let path = folder.0.join("packets.pcap");
    let packets = make(&path, payloads)?;
    println!("\n{packets} {what} in a file of {BYTES} bytes, million packets a second (best of {rounds})");
    println!("  {:>8}{:>10}{:>8}{:>12}  filter", "skep", "tcpdump", "ratio", "matched");
    let line = |filter: &str, uses: [&str; 2]| -> Result<([f64; 3], u64)> {
        let mut best = [f64::INFINITY; 2];
        let mut counts = [0; 2];
        for _ in 0..rounds {
            for index in [0, 1] {
                let program = [format!("{skep} capture"), "tcpdump -n -Z root".to_owned()][index].clone();
                let start = Instant::now();
                counts[index] = run(&program, &path, uses[index], filter)?;
                best[index] = best[index].min(start.elapsed().as_secs_f64());
            }
        }
        ensure!(counts[0] == counts[1], "skep counts {}, tcpdump {} for `{filter}`", counts[0], counts[1]);
        let rate = best.map(|seconds| packets as f64 / seconds / 1e6);
        Ok(([rate[0], rate[1], rate[0] / rate[1]], counts[0]))
    };
    for filter in FILTERS {
        let ([skep, tcpdump, ratio], matched) = line(filter, ["--count"; 2])?;
        println!("  {skep:>8.2}{tcpdump:>10.2}{ratio:>8.2}{matched:>12}  {filter}");
    }
    println!(
        "The same by what becomes of the packets: with the filter of 31 tests, then with the one behind it"
    );
    for filter in &FILTERS[3..5] {
        for (what, uses) in USES {
            let ([skep, tcpdump, ratio], _) = line(filter, uses)?;
            println!("  {skep:>8.2}{tcpdump:>10.2}{ratio:>8.2}{:>12}  {what}", "");
        }
    }
    Ok(())
}

/// Other uses than counting: words for skep and for tcpdump.
const USES: [(&str, [&str; 2]); 3] = [
    ("written as pcap (-w)", ["--pcap -w /dev/null", "-w /dev/null"]),
    ("printed", ["", ""]),
    ("printed with -v -e", ["-v -e", "-v -e"]),
];

/// Runs a program on the file; the number that it prints if it counts.
fn run(program: &str, path: &Path, uses: &str, filter: &str) -> Result<u64> {
    let mut words = program.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg("-r").arg(path).args(uses.split_whitespace());
    if !filter.is_empty() {
        command.arg(filter);
    }
    if uses != "--count" {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        ensure!(command.status().with_context(|| program.to_owned())?.success(), "{program} {uses}");
        return Ok(0);
    }
    let output = command.output().with_context(|| program.to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.with_context(|| format!("{program}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Xorshift: the same packets every time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next(of.len() as u64) as usize]
    }
}

/// Writes the file; how many packets it has.
fn make(path: &Path, payloads: &[usize]) -> Result<u64> {
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let pool: Vec<Vec<u8>> = (0..20_000).map(|_| packet(&mut random, payloads)).collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    let (mut size, mut time, mut packets) = (24, 1_700_000_000_000_000, 0);
    while size < BYTES {
        let data = &pool[random.next(pool.len() as u64) as usize];
        time += 1 + random.next(50);
        for word in [time / 1_000_000, time % 1_000_000, data.len() as u64, data.len() as u64] {
            out.write_all(&(word as u32).to_le_bytes())?;
        }
        out.write_all(data)?;
        size += 16 + data.len() as u64;
        packets += 1;
    }
    out.flush()?;
    Ok(packets)
}

/// One frame: TCP, UDP and ICMP over IPv4, TCP over IPv6, ARP, as a server sees them.
fn packet(random: &mut Random, payloads: &[usize]) -> Vec<u8> {
    let len = random.pick(payloads);
    let payload = vec![0u8; len];
    let known = [80u16, 443, 443, 22, 53, 8080, 5432, 5555];
    let (mut sport, mut dport) = (1024 + random.next(60_000) as u16, random.pick(&known));
    if random.next(2) == 0 {
        std::mem::swap(&mut sport, &mut dport);
    }
    let flags = random.pick(&[2u8, 0x10, 0x10, 0x18, 0x11, 0x12, 4]);
    let mut tcp = Vec::new();
    tcp.extend(sport.to_be_bytes());
    tcp.extend(dport.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 2, 0, 0, 0, 0, 0]);
    tcp.extend(&payload);
    let mut udp = Vec::new();
    udp.extend(sport.to_be_bytes());
    udp.extend(dport.to_be_bytes());
    udp.extend((8 + len as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(&payload);
    let kind = random.next(100);
    match kind {
        0..60 => ethernet(0x0800, &ip4(random, 6, &tcp)),
        60..85 => ethernet(0x0800, &ip4(random, 17, &udp)),
        85..90 => {
            ethernet(0x0800, &ip4(random, 1, &[&[8, 0, 0, 0, 0, 1, 0, 2], payload.as_slice()].concat()))
        }
        90..97 => {
            let mut ip6 = vec![0x60, 0, 0, 0];
            ip6.extend((tcp.len() as u16).to_be_bytes());
            ip6.extend([6, 64]);
            ip6.extend([[0xfd; 16], [0xfe; 16]].concat());
            ethernet(0x86dd, &[ip6, tcp].concat())
        }
        _ => ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 20]].concat()),
    }
}

fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &kind.to_be_bytes(), body].concat()
}

fn ip4(random: &mut Random, proto: u8, body: &[u8]) -> Vec<u8> {
    let mut address = || [10, random.next(4) as u8, random.next(256) as u8, 1 + random.next(254) as u8];
    let (src, dst) = (address(), address());
    let mut header = vec![0x45, 0];
    header.extend((20 + body.len() as u16).to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, proto, 0, 0]);
    [header, src.to_vec(), dst.to_vec(), body.to_vec()].concat()
}
