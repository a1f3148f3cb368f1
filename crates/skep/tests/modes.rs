//! Every way of reading a packet gives the same verdict: one program looks at each packet through pointers, through the
//! helper that copies bytes, through probe reads and in plain memory, in the offline machine and in the kernel; with frames of
//! 9,000 bytes, and with TCP segments that the card would cut, which lie in several pieces.

#![allow(unreachable_pub, dead_code, reason = "support is shared with the packet crate's tests")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

#[path = "../../packet/tests/support/expressions.rs"]
mod expressions;
#[path = "../../packet/tests/support/packets.rs"]
mod packets;
#[path = "../../packet/tests/support/random.rs"]
mod random;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;

use expressions::Generator;
use random::Random;
use skep_bpf::backend::MapAccess;
use skep_bpf::helpers::id;
use skep_bpf::kinds::{AttachType, MapType};
use skep_bpf::object::{Attach, AttachPoint, MapSpec, Object, XdpMode};
use skep_bpf::target::TargetExt;
use skep_compiler::compile::{CompileOptions, compile as compile_module};
use skep_compiler::ir::{
    Cc, FuncBuilder, FuncId, FuncKind, IntTy, MapId, Module, ProgramDecl, PtrKind, Type, Value,
};
use skep_compiler::layers::{Context, Mode, Reader};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Options as RunOptions, Vm};
use skep_kernel::LiveTarget;
use skep_kernel::load::{LoadOptions, Loaded};
use skep_packet::filter::emit::Place;
use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Filter, Options, Packet, Source, compile};

/// The map that frames are copied to, and most bytes of one.
const BUFFER: MapId = MapId(0);
const CAPACITY: u32 = 1 << 14;
/// The map that counts verdicts: by a number that has a bit for each way that said yes.
const SEEN: MapId = MapId(1);
const WAYS: u32 = 6;

/// A way of reading, by its bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Pointers, where the frame lies in one piece.
    Direct,
    /// Pointers, and the helper for what lies beyond.
    Beyond,
    /// The helper.
    Load,
    /// Probe reads of a copy.
    Probe,
    /// A copy as plain memory.
    Flat,
    /// Probe reads through the skb's own `head`.
    Head,
}

const HERE: [Way; 5] = [Way::Direct, Way::Beyond, Way::Load, Way::Probe, Way::Flat];
/// Of frames that the kernel has in pieces.
const PIECES: [Way; 5] = [Way::Beyond, Way::Load, Way::Probe, Way::Flat, Way::Head];

fn bit(way: Way) -> u32 {
    1 << way as u32
}

fn bits(ways: &[Way]) -> u32 {
    ways.iter().map(|way| bit(*way)).sum()
}

/// Where struct sk_buff has what leads to its bytes.
#[derive(Clone, Copy)]
struct Skb {
    head: u64,
    mac_header: u64,
    len: u64,
    data_len: u64,
}

impl Skb {
    fn of(target: &LiveTarget) -> Skb {
        let types = target.vmlinux().unwrap();
        let skb = types.find(skep_bpf::btf::NameKind::Struct, "sk_buff").unwrap();
        let at = |name: &str| types.find_member(skb, name).unwrap().byte_offset();
        Skb { head: at("head"), mac_header: at("mac_header"), len: at("len"), data_len: at("data_len") }
    }
}

/// What the function that is built knows of its frame.
struct Frame {
    ctx: Value,
    context: Context,
    /// Bytes of the frame, and of its copy.
    whole: Value,
    copied: Value,
}

impl Frame {
    /// Copies the frame to the map.
    fn copy(f: &mut FuncBuilder, context: Context) -> Frame {
        let ctx = f.param(0);
        let (whole, load) = match context {
            Context::Skb => {
                let len = f.load(Type::U32, ctx, 0);
                (f.extend(len, IntTy::U64), id::SKB_LOAD_BYTES)
            }
            Context::Xdp => (f.helper(id::XDP_GET_BUFF_LEN, &[ctx], Type::U64), id::XDP_LOAD_BYTES),
        };
        let (most, join) = (f.u64(CAPACITY.into()), f.block(&[Type::U64]));
        f.branch_args(Cc::Ugt, whole, most, (join, &[most]), (join, &[whole]));
        f.switch_to(join);
        let copied = f.block_param(join, 0);
        // The helper wants to see that it is at least one byte.
        let less = f.add_imm(copied, -1);
        let less = f.bound(less, u64::from(CAPACITY) - 1);
        let size = f.add_imm(less, 1);
        let (to, zero) = (f.map_value_addr(BUFFER, 0), f.u64(0));
        f.helper(load, &[ctx, zero, to, size], Type::I64);
        Frame { ctx, context, whole, copied }
    }

    fn mode(&self, f: &mut FuncBuilder, way: Way, skb: Option<Skb>) -> Mode {
        let (context, whole, len) = (self.context, self.whole, self.copied);
        match way {
            Way::Direct => Mode::Direct { context, beyond: false },
            Way::Beyond => Mode::Direct { context, beyond: true },
            Way::Load => Mode::Load { context },
            Way::Probe => {
                let copy = f.map_value_addr(BUFFER, 0);
                Mode::Probe { start: f.cast(copy, Type::Ptr(PtrKind::Kernel)), len, whole }
            }
            Way::Flat => Mode::Flat { start: f.map_value_addr(BUFFER, 0), len, whole, capacity: CAPACITY },
            Way::Head => self.head(f, skb.unwrap()),
        }
    }

    /// The context of a TC program is the skb, whose address is known once it lies in memory.
    fn head(&self, f: &mut FuncBuilder, skb: Skb) -> Mode {
        let slot = f.slot(8, 8, "skb");
        let address = f.slot_addr(slot);
        f.store(8, address, 0, self.ctx);
        let from = f.cast(address, Type::Ptr(PtrKind::Kernel));
        let this = probe(f, from, 8);
        let this = f.cast(this, Type::Ptr(PtrKind::Kernel));
        let mut field = |at: u64, bytes: u32| {
            let from = f.ptr_add_imm(this, at as i64);
            probe(f, from, bytes)
        };
        let (head, mac) = (field(skb.head, 8), field(skb.mac_header, 2));
        let (all, elsewhere) = (field(skb.len, 4), field(skb.data_len, 4));
        let head = f.cast(head, Type::Ptr(PtrKind::Kernel));
        let start = f.ptr_add(head, mac);
        let len = f.bin(skep_compiler::ir::BinOp::Sub, Type::U64, all, elsewhere);
        Mode::Probe { start, len, whole: self.whole }
    }
}

/// A number that lies in the kernel's memory.
fn probe(f: &mut FuncBuilder, from: Value, bytes: u32) -> Value {
    let slot = f.slot(8, 8, "number");
    let to = f.slot_addr(slot);
    f.zero(to, 0, 8, 8);
    let size = f.u64(bytes.into());
    f.helper(id::PROBE_READ_KERNEL, &[to, size, from], Type::I64);
    f.load(Type::U64, to, 0)
}

/// A program that asks the filter in every way and counts; it returns the bits, or `verdict`.
fn module(
    filter: &Filter,
    ways: &[Way],
    skb: Option<Skb>,
    at: Option<Attach>,
    verdict: Option<i64>,
) -> Module {
    let mut f = FuncBuilder::new("main", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    let program = filter.program_type();
    let xdp = program == skep_bpf::kinds::ProgType::Xdp;
    let frame = Frame::copy(&mut f, if xdp { Context::Xdp } else { Context::Skb });
    let slot = f.slot(8, 8, "bits");
    let (said, zero) = (f.slot_addr(slot), f.u64(0));
    f.store(8, said, 0, zero);
    for way in ways {
        let mode = frame.mode(&mut f, *way, skb);
        let reader = Reader::new(&mut f, mode, frame.ctx);
        let (matched, other) = (f.block(&[]), f.block(&[]));
        filter.emit(&mut f, &Place { reader: &reader, program, len: None, matched, other });
        f.switch_to(matched);
        let said = f.slot_addr(slot);
        let before = f.load(Type::U64, said, 0);
        let after = f.add_imm(before, bit(*way).into());
        f.store(8, said, 0, after);
        f.jump(other, &[]);
        f.switch_to(other);
    }
    let said = f.slot_addr(slot);
    let result = f.load(Type::U64, said, 0);
    let result = f.bound(result, (1 << WAYS) - 1);
    let three = f.u64(3);
    let index = f.bin(skep_compiler::ir::BinOp::Shl, Type::U64, result, three);
    let (counters, one) = (f.map_value_addr(SEEN, 0), f.u64(1));
    let counter = f.ptr_add(counters, index);
    f.atomic_add(8, counter, 0, one);
    let returned = match verdict {
        Some(verdict) => f.iconst(Type::I32, verdict),
        None => f.cast(result, Type::I32),
    };
    f.ret(returned);
    let maps = vec![
        MapSpec::new("buffer", MapType::Array, 4, CAPACITY, 1),
        MapSpec::new("seen", MapType::Array, 4, 8 << WAYS, 1),
    ];
    let point = |at| AttachPoint { at, cookie: 0, name: "main".to_owned(), probes: None };
    Module {
        funcs: vec![f.finish()],
        programs: vec![ProgramDecl {
            main: FuncId(0),
            name: "main".to_owned(),
            symbol: "main".to_owned(),
            prog_type: program,
            attach_type: AttachType::None,
            attach_btf: None,
            attach: at.map(point).into_iter().collect(),
            sleepable: false,
        }],
        object: Object { license: "GPL".to_owned(), maps, ..Object::default() },
        ..Module::default()
    }
}

fn object(module: Module, passes: bool, text: &str) -> Object {
    let mut options = CompileOptions { passes, ..CompileOptions::default() };
    compile_module(module, &mut options).unwrap_or_else(|e| panic!("`{text}`: {e}"))
}

/// A frame that begins as any, of 9,000 bytes.
fn jumbo(random: &mut Random) -> Vec<u8> {
    let mut bytes = packets::packet(random, LinkType::Ethernet);
    bytes.resize(9000, 0x78);
    bytes
}

fn filter(text: &str, source: Source) -> Option<Filter> {
    let options = Options { link: LinkType::Ethernet, source, netmask: Some(0), strict: false };
    compile(text, &options, &LiveTarget::new()).ok()
}

fn may_load() -> bool {
    let module = module(&filter("ip", Source::Xdp).unwrap(), &HERE, None, None, None);
    let target = Arc::new(LiveTarget::new());
    match Loaded::load(&object(module, true, "ip"), target, &LoadOptions::default()) {
        Ok(_) => true,
        Err(failures) => {
            println!("not root, so nothing can be loaded: {}", failures[0].error);
            false
        }
    }
}

/// One filter on some packets, in the machine and maybe in the kernel; how many matched.
fn one(text: &str, source: Source, kernel: bool, random: &mut Random) -> Option<usize> {
    let filter = filter(text, source)?;
    let frags = Attach::Xdp { interface: "lo".to_owned(), mode: XdpMode::Any, frags: true };
    let at = (source == Source::Xdp).then_some(frags);
    let passes = !random.one_in(4);
    let object = object(module(&filter, &HERE, None, at, None), passes, text);
    // What lies in pieces has no direct way but by pieces.
    let pieces = object_in_pieces(&filter, source, passes, text);
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load(&object, None).unwrap().programs[0];
    let load = |object: &Object| {
        let loaded = Loaded::load(object, Arc::new(LiveTarget::new()), &LoadOptions::default());
        loaded.unwrap_or_else(|e| panic!("{source:?} `{text}`: the kernel refuses: {}", e[0].error))
    };
    let live = kernel.then(|| load(&object));
    let live_pieces = pieces.filter(|_| kernel).map(|object| load(&object));
    let mut yes = 0;
    for turn in 0..8 {
        let large = turn == 7;
        let bytes = if large { jumbo(random) } else { packets::packet(random, LinkType::Ethernet) };
        if bytes.len() <= 14 {
            continue;
        }
        let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ifindex: 1, ..Packet::default() };
        let expected = filter.matches(&packet);
        let all = |ways: &[Way]| if expected { bits(ways) } else { 0 };
        let mut input = Input::packet(filter.program_type(), &bytes).unwrap();
        let ifindex = if source == Source::Xdp { "ingress_ifindex" } else { "ifindex" };
        input.set(ifindex, 1).unwrap();
        let outcome = vm.run(program, &input, RunOptions::default());
        let said = outcome.unwrap_or_else(|e| panic!("`{text}`: {e}")).result as u32;
        let about = format!("{source:?} passes {passes} `{text}` on {packet:x?}");
        assert_eq!(said, all(&HERE), "machine, {about}");
        let (loaded, ways): (_, &[Way]) = match (large, source) {
            (false, _) => (&live, &HERE),
            (true, Source::Xdp) => (&live_pieces, &HERE[1..]),
            (true, _) => continue,
        };
        let Some(loaded) = loaded else { continue };
        match loaded.run_packet(0, &bytes) {
            Ok((said, _)) => assert_eq!(said, all(ways), "kernel, {about}"),
            // Too short for a header, or too long for the kernel's test.
            Err(skep_kernel::Error::Os { errno: 22, .. }) => continue,
            Err(error) => panic!("{about}: {error}"),
        }
        yes += usize::from(expected);
    }
    Some(yes)
}

fn object_in_pieces(filter: &Filter, source: Source, passes: bool, text: &str) -> Option<Object> {
    let frags = Attach::Xdp { interface: "lo".to_owned(), mode: XdpMode::Any, frags: true };
    let module = || module(filter, &HERE[1..], None, Some(frags), None);
    (source == Source::Xdp).then(|| object(module(), passes, text))
}

#[test]
fn every_way_of_reading_gives_one_verdict() {
    let kernel = may_load();
    let count = std::env::var("SKEP_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let mut random = Random::new(5);
    let (mut compiled, mut yes) = (0, 0);
    for i in 0..count {
        let text = Generator { random: &mut random }.expression();
        let source = [Source::Xdp, Source::Tc { egress: false }][i % 2];
        if let Some(matched) = one(&text, source, kernel, &mut random) {
            compiled += 1;
            yes += matched;
        }
    }
    println!(
        "{compiled} filters, {yes} packets accepted{}",
        if kernel { "" } else { ", none in the kernel" }
    );
    assert!(compiled * 3 > count, "too little is compiled");
    assert!(!kernel || yes > compiled / 2, "too little is accepted");
}

/// Set for the process that runs in namespaces of its own, and for the one that it talks to.
const INSIDE: &str = "SKEP_TEST_WAYS";
const PEER: &str = "10.9.0.2";

/// A pair of devices for frames of 9,000 bytes, the other end in a namespace of its own with a process that reads.
const SCRIPT: &str = r#"
set -e
trap 'kill $N $P 2>/dev/null || true' EXIT
unshare -n sleep 120 & N=$!
while [ "$(readlink /proc/$N/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
ip link set lo up
ip link add va mtu 9000 type veth peer name vb mtu 9000 netns $N
ip addr add 10.9.0.1/24 dev va; ip link set va up
nsenter -t $N -n ip addr add 10.9.0.2/24 dev vb; nsenter -t $N -n ip link set vb up
SKEP_TEST_WAYS=peer nsenter -t $N -n "$T" --exact frames_in_pieces & P=$!
SKEP_TEST_WAYS=here "$T" --exact frames_in_pieces --nocapture
"#;

/// Expressions on what the frames of the test are, each with whether it matches the large TCP segments and the large datagram.
const ON_PIECES: [(&str, bool, bool); 14] = [
    ("tcp port 8001 and greater 20000", true, false),
    ("udp port 8002 and greater 8900 and less 9000", false, true),
    ("tcp", true, false),
    ("udp", false, true),
    ("ip", true, true),
    ("net 10.9.0.0/24", true, true),
    ("src host 10.9.0.1 and dst host 10.9.0.2", true, true),
    ("tcp[tcpflags] & tcp-ack != 0", true, false),
    ("ip[8] = 64 and ip[9] = 6", true, false),
    ("tcp[12] & 0xf0 > 0x50", true, false),
    ("udp[4:2] > 8000", false, true),
    ("len > 5000", true, true),
    ("vlan or arp or ip6", false, false),
    ("portrange 8001-8002", true, true),
];

/// Reads a byte far in what is carried, which `head` does not lead to.
const FAR: &str = "(tcp[2:2] = 8001 and tcp[4000] = 0x74) or (udp[2:2] = 8002 and udp[8000] = 0x75)";

#[test]
fn frames_in_pieces() {
    match std::env::var(INSIDE).as_deref() {
        Ok("peer") => return peer(),
        Ok(_) => return traffic(),
        Err(_) => {}
    }
    let may = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        return println!("skipped: no rights to make network namespaces");
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "bash", "-c", SCRIPT]).env("T", std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("every way"), "{text}");
    println!("{text}");
}

/// Reads all that comes.
fn peer() {
    let listener = TcpListener::bind((PEER, 8001)).unwrap();
    let _datagrams = UdpSocket::bind((PEER, 8002)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
}

fn traffic() {
    let target = Arc::new(LiveTarget::new());
    let skb = Skb::of(&target);
    let texts = ON_PIECES.iter().map(|(text, ..)| *text).chain([FAR]);
    let mut programs: Vec<(&str, Loaded)> = Vec::new();
    for text in texts {
        let filter = filter(text, Source::Tc { egress: true }).unwrap();
        let at = Attach::Tc { interface: "va".to_owned(), egress: true };
        // TC_ACT_UNSPEC: the next one.
        let object = object(module(&filter, &PIECES, Some(skb), Some(at), Some(-1)), true, text);
        let mut loaded = Loaded::load(&object, target.clone(), &LoadOptions::default())
            .unwrap_or_else(|e| panic!("`{text}`: {}", e[0].error));
        loaded.attach_all().unwrap_or_else(|e| panic!("`{text}`: {}", e[0].error));
        programs.push((text, loaded));
    }
    let mut stream = (0..200)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            TcpStream::connect((PEER, 8001)).ok()
        })
        .unwrap();
    stream.write_all(&vec![b't'; 400_000]).unwrap();
    drop(stream);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(&[b'u'; 8920], (PEER, 8002)).unwrap();
    for (text, loaded) in &mut programs {
        let entries = loaded.map_lookup(SEEN.0 as usize, &0u32.to_ne_bytes()).unwrap();
        let counts = entries.get(0).unwrap().value().to_vec();
        let counts = counts.chunks(8).map(|count| u64::from_ne_bytes(count.try_into().unwrap()));
        let found: Vec<(u32, u64)> = (0u32..).zip(counts).filter(|(_, count)| *count > 0).collect();
        let known = ON_PIECES.iter().find(|(known, ..)| known == text);
        // What lies in other pieces than the first is not behind `head`; the kernel decides what does.
        let all = bits(&PIECES);
        let but_head = all - bit(Way::Head);
        let alike = |said: u32| said == 0 || said == all || known.is_none() && said == but_head;
        assert!(found.iter().all(|(said, _)| alike(*said)), "`{text}`: {found:?}");
        let matched = found.iter().any(|(said, _)| *said >= but_head);
        assert_eq!(matched, known.is_none_or(|(_, tcp, udp)| *tcp || *udp), "`{text}`: {found:?}");
        let in_pieces = found.iter().any(|(said, _)| *said == but_head);
        assert!(known.is_some() || in_pieces, "no frame lies in pieces: {found:?}");
        println!("every way alike: {found:?} `{text}`");
    }
}
