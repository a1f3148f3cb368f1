//! The code that filters become, run in the offline machine: the same verdicts as the evaluation gives, which is held to
//! libpcap's in another test; for sockets, XDP and TC, with the passes and without.

#![allow(unreachable_pub, dead_code, reason = "support is shared by test programs")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

mod support;

use skep_bpf::kinds::ProgType;
use skep_compiler::compile::{CompileOptions, compile as compile_module};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Options as RunOptions, Vm};
use skep_packet::filter::link::LinkType;
use skep_packet::filter::program::Verdicts;
use skep_packet::filter::{Filter, Options, Packet, Source, compile};
use support::expressions::Generator;
use support::random::Random;
use support::{Files, classic, packets};

const VERDICTS: Verdicts = Verdicts { matched: 7, other: 3 };

const SOURCES: [Source; 4] =
    [Source::Socket, Source::Xdp, Source::Tc { egress: false }, Source::File { swapped: false }];

/// Interpreted, and as machine code.
const ENGINES: [Engine; 2] = [Engine::Interpreter, Engine::Jit { blind: None }];

fn run(
    filter: &Filter,
    source: Source,
    passes: bool,
    text: &str,
    link: LinkType,
    random: &mut Random,
) -> usize {
    let module = filter.module("filter", filter.mode(false), VERDICTS);
    let mut options = CompileOptions { passes, ..CompileOptions::default() };
    let object = compile_module(module, &mut options).unwrap_or_else(|e| panic!("{source:?} `{text}`: {e}"));
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load(&object, None).unwrap_or_else(|e| panic!("`{text}`: {e}")).programs[0];
    let classic = as_classic(filter);
    let mut yes = 0;
    for _ in 0..12 {
        let bytes = packets::packet(random, link);
        let xdp = source == Source::Xdp;
        let vlan = (!xdp && random.one_in(3)).then(|| random.choose(&packets::VLANS));
        let packet = Packet {
            bytes: &bytes,
            length: bytes.len() as u32,
            vlan,
            packet_type: if xdp { 0 } else { random.choose(&[0, 1, 4]) },
            ifindex: random.choose(&[1, 2, 7]),
            protocol: 0,
        };
        let mut input = Input::packet(filter.program_type(), &bytes).unwrap();
        if xdp {
            input.set("ingress_ifindex", packet.ifindex.into()).unwrap();
        } else {
            input.set("vlan_present", vlan.is_some().into()).unwrap();
            input.set("vlan_tci", vlan.unwrap_or(0).into()).unwrap();
            input.set("pkt_type", packet.packet_type.into()).unwrap();
            input.set("ifindex", packet.ifindex.into()).unwrap();
        }
        let expected = filter.matches(&packet);
        if let Some(program) = classic.as_ref().filter(|_| source == Source::Socket) {
            let found = classic::run(program, &packet, true).accepts();
            assert_eq!(found, expected, "classic BPF {link:?} `{text}` on {packet:x?}");
        }
        let verdict = if expected { VERDICTS.matched } else { VERDICTS.other };
        for engine in ENGINES {
            let options = RunOptions { engine, ..RunOptions::default() };
            let outcome = vm.run(program, &input, options).unwrap_or_else(|e| panic!("`{text}`: {e}"));
            assert_eq!(
                outcome.result as u32 as i32, verdict,
                "{engine:?} {source:?} passes {passes} {link:?} `{text}` on {packet:x?}"
            );
        }
        yes += usize::from(expected);
    }
    yes
}

fn as_classic(filter: &Filter) -> Option<Vec<classic::Insn>> {
    let program = filter.classic(VERDICTS.matched as u32)?;
    Some(program.iter().map(|i| classic::Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect())
}

/// The program that large files are filtered by: many packets, each with the bytes that it may need and its own length.
fn batch(filter: &Filter, text: &str, link: LinkType, random: &mut Random) -> bool {
    let Some((module, layout)) = filter.batch() else { return false };
    let object = compile_module(module, &mut CompileOptions { passes: true, ..CompileOptions::default() });
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load(&object.unwrap(), None).unwrap().programs[0];
    let mut bytes = vec![0; layout.size()];
    let (mut slots, mut expected) = (layout.slots(&mut bytes), Vec::new());
    for number in 0..12 {
        let bytes = packets::packet(random, link);
        let length = bytes.len() as u32 + if random.one_in(3) { random.below(60) as u32 } else { 0 };
        // What lies behind a packet is not its own.
        let rest = [bytes.as_slice(), &vec![random.below(256) as u8; random.below(200)]].concat();
        assert!(slots.put(&rest, bytes.len(), length));
        let packet = Packet { bytes: &bytes, length, ..Packet::default() };
        expected.extend(filter.matches(&packet).then_some(number));
    }
    let input = Input::packet(ProgType::Xdp, &bytes).unwrap();
    for engine in ENGINES {
        let options = RunOptions { engine, ..RunOptions::default() };
        let mut runner = vm.runner(program, &input, options).unwrap();
        let (data, context) = (runner.state().run.packet.unwrap().data, runner.state().run.context);
        let end = data.plus(layout.entries(12) as u32).get() as u32;
        runner.state().memory.host_mut(context.plus(4), 4).unwrap().copy_from_slice(&end.to_le_bytes());
        let matched = runner.run().unwrap_or_else(|e| panic!("`{text}`: {e}")) as usize;
        let list = runner.state().memory.host(data, layout.entries(12) as u32).unwrap();
        let found: Vec<usize> = (0..matched).map(|index| layout.found(list, index)).collect();
        assert_eq!(found, expected, "{engine:?}, {link:?} `{text}` on {bytes:x?}");
    }
    true
}

#[test]
fn code_gives_the_verdicts_of_the_evaluation() {
    let count = std::env::var("SKEP_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let seed = std::env::var("SKEP_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut random = Random::new(seed);
    let links: Vec<LinkType> = LinkType::all().collect();
    let (mut compiled, mut yes, mut memory, mut sockets, mut classic) = (0, 0, 0, 0, 0);
    for _ in 0..count {
        let text = Generator { random: &mut random }.expression();
        let link = if random.one_in(2) { LinkType::Ethernet } else { random.choose(&links) };
        let source = random.choose(&SOURCES);
        let strict = random.one_in(2);
        let options = Options { link, source, netmask: Some(0), strict };
        let Ok(filter) = compile(&text, &options, &Files) else { continue };
        compiled += 1;
        if source == Source::Socket {
            sockets += 1;
            classic += usize::from(as_classic(&filter).is_some());
        }
        yes += run(&filter, source, random.one_in(2), &text, link, &mut random);
        if matches!(source, Source::File { .. }) {
            memory += usize::from(batch(&filter, &text, link, &mut random));
        }
    }
    assert!(classic * 10 > sockets * 8, "too few filters have a classic form: {classic} of {sockets}");
    assert!(memory * 10 > compiled, "too few filters of files run in memory");
    println!("{compiled} filters, {yes} packets accepted of {}", compiled * 12);
    assert!(compiled * 2 > count && yes > compiled, "too little is compiled or accepted");
}
