//! Filters on the running kernel: the verifier takes their programs, and the kernel's verdicts on packets (through
//! `BPF_PROG_TEST_RUN`, attached to nothing) are those of the evaluation, which is held to libpcap's in the packet crate.

#![allow(unreachable_pub, dead_code, reason = "support is shared with the packet crate's tests")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

#[path = "../../packet/tests/support/expressions.rs"]
mod expressions;
#[path = "../../packet/tests/support/packets.rs"]
mod packets;
#[path = "../../packet/tests/support/random.rs"]
mod random;

use expressions::Generator;
use random::Random;
use skep_compiler::compile::{CompileOptions, compile as compile_module};
use skep_kernel::LiveTarget;
use skep_kernel::load::{LoadOptions, Loaded};
use skep_packet::filter::link::LinkType;
use skep_packet::filter::program::Verdicts;
use skep_packet::filter::{Options, Packet, Source, compile};
use std::os::fd::AsFd;
use std::sync::Arc;

const VERDICTS: Verdicts = Verdicts { matched: 2, other: 1 };

/// What the kernel puts before a packet that a socket filter sees.
const HEADER: usize = 14;

fn one(random: &mut Random, target: &Arc<LiveTarget>, source: Source) -> Option<usize> {
    let text = Generator { random }.expression();
    let link = LinkType::Ethernet;
    let options = Options { link, source, netmask: Some(0), strict: random.one_in(2) };
    let filter = compile(&text, &options, target.as_ref()).ok()?;
    let passes = !random.one_in(4);
    let module = filter.module("filter", filter.mode(false), VERDICTS);
    let object = compile_module(module, &mut CompileOptions { passes, ..CompileOptions::default() })
        .unwrap_or_else(|e| panic!("`{text}`: {e}"));
    let loaded = Loaded::load(&object, target.clone(), &LoadOptions::default())
        .unwrap_or_else(|e| panic!("{source:?} `{text}`: the kernel refuses: {}", e[0].error));
    let mut yes = 0;
    for _ in 0..8 {
        let bytes = packets::packet(random, link);
        let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ifindex: 1, ..Packet::default() };
        let given = match source {
            Source::Socket => [vec![0; HEADER], bytes.clone()].concat(),
            _ if bytes.len() <= HEADER => continue,
            _ => bytes.clone(),
        };
        if given.len() <= HEADER {
            continue;
        }
        // The kernel runs no packet that does not fit a page with its head and tail room, and none too short for its header.
        let returned = match loaded.run_packet(0, &given) {
            Ok((returned, _)) => returned,
            Err(skep_kernel::Error::Os { errno: 22, .. }) => {
                eprintln!("{source:?}: not run, {} bytes", given.len());
                continue;
            }
            Err(error) => panic!("`{text}`: {error}"),
        };
        let expected = filter.matches(&packet);
        let verdict = if expected { VERDICTS.matched } else { VERDICTS.other };
        assert_eq!(returned as i32, verdict, "{source:?} passes {passes} `{text}` on {packet:x?}");
        yes += usize::from(expected);
    }
    Some(yes)
}

/// The kernel's verdict of classic BPF: what a socket's filter does not take does not arrive. `None`: the filter has no classic form,
/// or asks for an interface, which a packet on such a socket has not.
fn classic(random: &mut Random, target: &LiveTarget) -> Option<usize> {
    let text = Generator { random }.expression();
    let link = LinkType::Ethernet;
    let options = Options { link, source: Source::Socket, netmask: Some(0), strict: random.one_in(2) };
    let filter = compile(&text, &options, target).ok()?;
    let program = filter.classic(1 << 18)?;
    let interface = skep_bpf::classic::BESIDE + 8;
    if program.iter().any(|insn| insn.code & 0xe7 == 0x20 && insn.k == interface) {
        return None;
    }
    let (from, to) = std::os::unix::net::UnixDatagram::pair().unwrap();
    to.set_nonblocking(true).unwrap();
    skep_kernel::packet::Filter::Classic(&program)
        .attach(to.as_fd())
        .unwrap_or_else(|error| panic!("`{text}`: {error}"));
    let (mut yes, mut room) = (0, vec![0; 1 << 17]);
    for _ in 0..8 {
        let bytes = packets::packet(random, link);
        let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ..Packet::default() };
        from.send(&bytes).unwrap();
        let taken = match to.recv(&mut room) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("`{text}`: {error}"),
        };
        assert_eq!(taken, filter.matches(&packet), "`{text}` on {packet:x?}");
        yes += usize::from(taken);
    }
    Some(yes)
}

#[test]
fn the_kernel_gives_the_same_verdicts_by_classic_bpf() {
    let target = LiveTarget::new();
    let count = std::env::var("SKEP_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let mut random = Random::new(5);
    let (mut compiled, mut yes) = (0, 0);
    for _ in 0..count {
        if let Some(accepted) = classic(&mut random, &target) {
            compiled += 1;
            yes += accepted;
        }
    }
    println!("{compiled} filters, {yes} packets accepted");
    assert!(compiled * 3 > count && yes > compiled / 2, "too little is compiled or accepted");
}

#[test]
fn the_kernel_gives_the_verdicts_of_the_evaluation() {
    let target = Arc::new(LiveTarget::new());
    let module = compile(
        "ip",
        &Options { link: LinkType::Ethernet, source: Source::Xdp, netmask: None, strict: false },
        target.as_ref(),
    )
    .unwrap();
    let module = module.module("filter", module.mode(false), VERDICTS);
    let object = compile_module(module, &mut CompileOptions::default()).unwrap();
    if let Err(failures) = Loaded::load(&object, target.clone(), &LoadOptions::default()) {
        return println!("not root, so nothing can be loaded: {}", failures[0].error);
    }
    let count = std::env::var("SKEP_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let mut random = Random::new(3);
    let sources = [Source::Socket, Source::Xdp, Source::Tc { egress: false }];
    let (mut compiled, mut yes) = (0, 0);
    for i in 0..count {
        if let Some(accepted) = one(&mut random, &target, sources[i % sources.len()]) {
            compiled += 1;
            yes += accepted;
        }
    }
    println!("{compiled} filters, {yes} packets accepted");
    assert!(compiled * 3 > count && yes > compiled / 2, "too little is compiled or accepted");
}
