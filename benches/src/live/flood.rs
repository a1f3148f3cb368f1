//! Floods: frames by a UDP socket, or as if a network card had received them (XDP, `BPF_F_TEST_XDP_LIVE_FRAMES`).

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use skep_bpf::insn::{Insn, Reg};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, AttachPoint, Object, Program};
use skep_kernel::LiveTarget;
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::packet::Namespace;

/// Bytes of the headers of Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Who the frames are for: nobody, so that the receiver's stack throws them away at once.
const RECEIVER: &str = "02:00:00:00:00:09";
const TO: &str = "10.9.0.9:9";
/// `XDP_PASS`
const PASS: i32 = 2;
/// Where frames come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// Calls to `send`.
    Socket,
    /// The receiving interface, below everything else: so many frames by one call to the kernel, which cannot be interrupted. Each
    /// call also waits for two RCU grace periods, some 25 milliseconds (`bpf_dispatcher_change_prog` in bpf_prog_test_run_xdp,
    /// net/bpf/test_run.c, Linux 6.18).
    Xdp(u32),
}

/// The end of a veth pair in this network namespace, and the other end in another one.
#[derive(Debug)]
pub(super) struct Pair {
    /// Holds the other namespace.
    holder: Child,
    other: Namespace,
    /// Index of the receiving end.
    index: u32,
}

impl Pair {
    pub(super) const SENDER: &str = "va";
    pub(super) const RECEIVER: &str = "vb";

    pub(super) fn make() -> Result<Pair> {
        let own = skep_kernel::packet::current_inode()?;
        let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn()?;
        let pid = holder.id().to_string();
        let begin = Instant::now();
        let other = loop {
            let found = Namespace::find(&pid)?;
            if found.inode()? != own {
                break found;
            }
            ensure!(begin.elapsed() < Duration::from_secs(5), "no second network namespace");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut pair = Pair { holder, other, index: 0 };
        ip(&format!("link add va type veth peer name vb netns {pid}"))?;
        ip("link set va up")?;
        pair.within(|| ip("link set vb up"))??;
        ip("addr add 10.9.0.1/24 dev va")?;
        ip(&format!("neigh replace 10.9.0.9 lladdr {RECEIVER} dev va"))?;
        let all = pair.within(skep_kernel::packet::interfaces)??;
        pair.index = all.iter().find(|i| i.name == Pair::RECEIVER).context("no interface vb")?.index;
        std::thread::sleep(Duration::from_secs(1));
        Ok(pair)
    }

    /// Runs `work` where the receiving end is.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        Ok(self.other.within(work)?)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(line: &str) -> Result<()> {
    ensure!(Command::new("ip").args(line.split(' ')).status()?.success(), "ip {line}");
    Ok(())
}

/// Sends frames that are all alike.
#[derive(Debug)]
pub(super) struct Flood<'p> {
    pair: &'p Pair,
    kind: Kind,
    frame: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Socket(UdpSocket),
    Xdp(Box<Loaded>, u32),
}

impl Flood<'_> {
    /// Frames of `bytes` bytes.
    pub(super) fn new(pair: &Pair, source: Source, bytes: usize) -> Result<Flood<'_>> {
        let kind = match source {
            Source::Socket => {
                let socket = UdpSocket::bind("10.9.0.1:0")?;
                socket.connect(TO)?;
                Kind::Socket(socket)
            }
            Source::Xdp(at_once) => Kind::Xdp(Box::new(pass()?), at_once),
        };
        Ok(Flood { pair, kind, frame: frame(bytes) })
    }

    /// Sends so many from CPU 1; nanoseconds of processor time for each: this thread's, and that of interrupts meanwhile. The
    /// clock on the wall would count what calls wait for, which is more than all else and depends on what other CPUs do.
    pub(super) fn send(&self, frames: u32) -> Result<f64> {
        let mut cpus = CpuSet::new();
        cpus.set(1);
        // On a machine with one CPU it stays where it is.
        let _ = sched_setaffinity(None, &cpus);
        let begin = processor_time();
        match &self.kind {
            Kind::Socket(socket) => {
                let payload = &self.frame[HEADERS..];
                for _ in 0..frames {
                    socket.send(payload)?;
                }
            }
            Kind::Xdp(loaded, at_once) => {
                let program = loaded.program(0).context("no program")?;
                self.pair.within(|| -> Result<()> {
                    for sent in (0..frames).step_by(*at_once as usize) {
                        program.test_run_live(&self.frame, self.pair.index, (frames - sent).min(*at_once))?;
                    }
                    Ok(())
                })??;
            }
        }
        Ok((processor_time() - begin).as_nanos() as f64 / f64::from(frames))
    }
}

/// What this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// An XDP program that lets everything through.
fn pass() -> Result<Loaded> {
    let program = Program {
        name: "pass".into(),
        symbol: "pass".into(),
        prog_type: ProgType::Xdp,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: vec![AttachPoint { at: Attach::Test, cookie: 0, name: "pass".into(), probes: None }],
        sleepable: false,
        insns: vec![Insn::mov_imm(Reg::R0, PASS), Insn::exit()],
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    let object = Object { license: "GPL".into(), programs: vec![program], ..Object::default() };
    let loaded = Loaded::load(&object, Arc::new(LiveTarget::new()), &LoadOptions::default());
    loaded.map_err(|failures| anyhow!("{}", failures[0].error))
}

/// A UDP datagram over IPv4 in an Ethernet frame of `bytes` bytes, the payload zeros.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend(((bytes - 14) as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 9]);
    frame.extend([0x9c, 0x40, 0, 9]);
    frame.extend(((bytes - 34) as u16).to_be_bytes());
    frame.resize(bytes, 0);
    frame
}
