//! `skep route test`: a table is tried without a kernel. A test's text enters; the data plane is compiled for its interfaces, its
//! table filled by the same steps as a running router's, and its packets go through both programs on the offline machine as they go
//! through the kernel. What fails leaves, each with its place.

use super::machine::Machine;
use super::renew::name_cpu;
use super::write::{Write, name_cell, name_neighbour, name_port, name_route, name_source, name_tag, writes};
use super::{bare, condition, own, up};
use crate::error::Error;
use crate::run::{Guest, GuestOptions};
use crate::script::Script;
use skep_bpf::backend::MapAccess;
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::Program;
use skep_bpf::target::{Answer, Arch, Interface, Question, Target, TargetError};
use skep_bpf::version::KernelVersion;
use skep_engine::helpers::env::effects::Redirect;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::forward::Destination;
use skep_kernel::device::{Address, Device, Neighbour, Tag};
use skep_packet::file::Reader;
use skep_packet::route::case::{Case, Frame, Frames, Out, Passage, Stage};
use skep_packet::route::direct::{BLOCKS, Direct, Flat};
use skep_packet::route::{Change, Links, Step, Table, parse};
use skep_packet::yaml::Place;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// The kernel that the data plane is compiled as for.
const KERNEL: KernelVersion = KernelVersion::new(6, 12);
/// `ARPHRD_ETHER`
const ETHERNET: u32 = 1;
/// LINKTYPE_ETHERNET
const LINK_ETHERNET: u16 = 1;
/// `XDP_PASS`, `XDP_TX`, `XDP_REDIRECT`; what is less than the first is dropped.
const XDP: (u32, u32, u32) = (2, 3, 4);
/// `TC_ACT_SHOT`, `TC_ACT_REDIRECT`; others go on to the kernel.
const TC: (u32, u32) = (2, 7);

/// What a test came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tested {
    /// Packets that went as they should.
    pub passed: usize,
    /// What did not, each in a line or more that begins with its place.
    pub failures: Vec<String>,
}

/// A kernel of which nothing is known but its interfaces and how many CPUs it has: enough to compile programs for packets.
struct Lab(Arc<Vec<Interface>>, u32);

impl Target for Lab {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Ok(match question {
            Question::KernelVersion => Answer::Version(KERNEL),
            Question::Arch => {
                Answer::Arch(if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 })
            }
            Question::PossibleCpus => Answer::Number(self.1.into()),
            Question::Has(feature) => Answer::Yes(feature.since() <= KERNEL),
            Question::Interfaces => Answer::Interfaces(self.0.clone()),
            Question::PidNamespace => Answer::Names(Arc::default()),
            other => return Err(TargetError::Unknown(format!("{other:?}"))),
        })
    }
}

/// A router on the offline machine.
struct Bench {
    guest: Guest,
    xdp: usize,
    tc: usize,
    machine: Machine,
    neighbours: Vec<Neighbour>,
}

/// What a program made of a packet.
struct Run {
    verdict: u32,
    frame: Vec<u8>,
    /// Where a redirect leads, the packet there, and the neighbour that the kernel asks for first.
    to: Option<(Out, Vec<u8>, Option<IpAddr>)>,
    /// The CPU that goes on with it.
    cpu: Option<u32>,
}

/// What became of a packet.
struct Went {
    out: Out,
    by: Stage,
    frame: Vec<u8>,
    /// The kernel asks for this neighbour's link address before it sends the packet.
    asks: Option<IpAddr>,
    /// The CPU that went on with it.
    cpu: Option<u32>,
}

/// Runs a test; messages call it `name`, and `open` reads files beside it.
pub fn test(name: &str, text: &str, open: &dyn Fn(&str) -> io::Result<Vec<u8>>) -> Result<Tested, Error> {
    let at = |place: Place, why: &str| Error::Route(format!("{name}:{place}: {why}"));
    let case = Case::read(text).map_err(|m| at(m.place, &m.why))?;
    let mut bench = Bench::new(&case, &at)?;
    let mut tested = Tested::default();
    for passage in &case.packets {
        let frames = |frames: &Frames| read(frames, open).map_err(|why| at(passage.place, &why));
        let sent = frames(&passage.packets)?;
        let expected = passage.becomes.as_ref().map(frames).transpose()?;
        if let Some(expected) = expected.as_ref().filter(|e| e.len() != sent.len()) {
            let why = format!("{} packets cannot become {}", sent.len(), expected.len());
            return Err(at(passage.place, &why));
        }
        for (number, frame) in sent.iter().enumerate() {
            let which = if sent.len() > 1 { format!(" (packet {})", number + 1) } else { String::new() };
            let went = bench.send(passage, &frame.bytes).map_err(|why| at(passage.place, &why))?;
            match bench.complaint(passage, expected.as_ref().and_then(|e| e.get(number)), &went) {
                None => tested.passed += 1,
                Some(why) => {
                    let about = if passage.about.is_empty() { "" } else { ": " };
                    let about = format!("{}{about}", passage.about.escape_debug());
                    tested.failures.push(format!("{name}:{}: {about}{why}{which}", passage.place));
                }
            }
        }
    }
    Ok(tested)
}

/// The frames of the text, or of a capture file.
fn read(frames: &Frames, open: &dyn Fn(&str) -> io::Result<Vec<u8>>) -> Result<Vec<Frame>, String> {
    let path = match frames {
        Frames::One(frame) => return Ok(vec![frame.clone()]),
        Frames::Capture(path) => path,
    };
    let shown = path.escape_debug();
    let bytes = open(path).map_err(|e| format!("{shown}: {e}"))?;
    let failed = |e: skep_packet::file::FileError| format!("{shown}: {e}");
    let mut reader = Reader::new(bytes.as_slice()).map_err(failed)?;
    let mut all = Vec::new();
    while reader.advance().map_err(failed)? {
        let packet = reader.packet();
        if reader.interfaces().get(packet.interface).map(|i| i.link) != Some(LINK_ETHERNET) {
            return Err(format!("{shown}: packet {} is no Ethernet frame", all.len() + 1));
        }
        all.push(Frame { bytes: packet.data.to_vec(), has_ethernet: true });
    }
    Ok(all)
}

impl Bench {
    /// The router that a test describes.
    fn new(case: &Case, at: &dyn Fn(Place, &str) -> Error) -> Result<Bench, Error> {
        let machine = machine(case);
        let ports: Vec<Device> = (machine.devices.iter().zip(&case.interfaces))
            .filter(|(_, interface)| interface.port)
            .map(|(device, _)| device.clone())
            .collect();
        let interfaces = machine.devices.iter().map(|d| Interface {
            name: d.name.clone(),
            index: d.index,
            hardware: ETHERNET,
            mtu: d.mtu,
        });
        let (table, steps) = planned(case, &machine, at)?;
        let filters = Some(table.filters()).filter(|filters| !filters.is_empty());
        let plane = up::Plane { filters, ..up::Plane::default() };
        let script = Script::named("router.bt", &up::source_alone(&ports, &plane));
        let (object, ..) = script.compile_for(&Lab(Arc::new(interfaces.collect()), case.cpus))?;
        let program = |kind: ProgType, on_cpu: bool| {
            let fits =
                |p: &Program| p.prog_type == kind && (p.attach_type == AttachType::XdpCpumap) == on_cpu;
            object.programs.iter().position(fits)
        };
        let xdp_tc = (program(ProgType::Xdp, false), program(ProgType::SchedCls, false));
        let on_cpu = program(ProgType::Xdp, true);
        let (Some(xdp), Some(tc)) = xdp_tc else {
            return Err(Error::Route(
                "there is no port: `interfaces` and `ports` say which there are".to_owned(),
            ));
        };
        let options = GuestOptions { cpus: case.cpus, ..GuestOptions::default() };
        let guest = Guest::load("router.bt", object, None, &options)?;
        let mut bench = Bench { guest, xdp, tc, machine, neighbours: Vec::new() };
        for neighbour in &case.neighbours {
            let found = match neighbour.device {
                Some(index) => Some(index),
                None => bench.machine.on_link(neighbour.address, None).map(|d| d.index),
            };
            let device = found.ok_or_else(|| {
                let why = "is in no network of the interfaces: say where it is with `{mac: MAC, dev: NAME}`";
                at(neighbour.place, &format!("{} {why}", neighbour.address))
            })?;
            let known = Neighbour { device, address: neighbour.address, mac: neighbour.mac };
            bench.write(&name_neighbour(&known))?;
            bench.neighbours.push(known);
        }
        for port in &ports {
            let writes = name_port(port).into_iter().chain(name_tag(port));
            writes.into_iter().try_for_each(|write| bench.write(&write))?;
        }
        let sources = bench.machine.sources(ports.iter().map(|port| port.index));
        sources.iter().try_for_each(|source| bench.write(&name_source(source)))?;
        if let Some(program) = on_cpu.and_then(|index| bench.guest.program(index)) {
            (0..case.cpus).try_for_each(|cpu| bench.write(&name_cpu(cpu, program.0)))?;
        }
        let mut cells = Flat::new(*BLOCKS.start());
        let left: Vec<Write> = (table.values())
            .filter(|(prefix, value)| !Direct::new(&mut cells).set(*prefix, *value))
            .map(|(prefix, value)| name_route(prefix, value))
            .collect();
        let cells = cells.cells().map(name_cell);
        steps.iter().flat_map(writes).chain(cells).chain(left).try_for_each(|write| bench.write(&write))?;
        Ok(bench)
    }

    fn write(&mut self, Write { map, key, value }: &Write) -> Result<(), Error> {
        let failed = |why: String| Error::Internal(format!("the router's map {map}: {why}"));
        let maps = &self.guest.object().maps;
        let number = maps.iter().position(|spec| spec.name.strip_prefix('@') == Some(map));
        let number = number.ok_or_else(|| failed("there is none".to_owned()))?;
        match value {
            Some(value) => self.guest.map_update(number, key, value),
            None => self.guest.map_delete(number, key).map(drop),
        }
        .map_err(|e| failed(e.to_string()))
    }

    /// Sends a packet in by the port that a test says.
    fn send(&mut self, passage: &Passage, frame: &[u8]) -> Result<Went, String> {
        let into = passage.into;
        let (mut left, mut cpu) = (frame.to_vec(), None);
        if self.machine.exit(into).is_some_and(|port| port.fast.is_some_and(|through| through.device == into))
        {
            let Run { verdict, frame, to, cpu: on } = self.run(self.xdp, ProgType::Xdp, &left, into)?;
            cpu = on;
            let went = |out, frame| Ok(Went { out, by: Stage::Xdp, frame, asks: None, cpu });
            match (verdict, to) {
                (v, _) if v == XDP.0 => left = frame,
                (v, _) if v == XDP.1 => return went(Out::Device(into), frame),
                // The program of another CPU left it to the kernel, whose TC program sees it there.
                (v, Some((Out::Pass, frame, _))) if v == XDP.2 => left = frame,
                (v, to) if v == XDP.2 => {
                    let (out, frame) = to.map_or((Out::Drop, frame), |(to, frame, _)| (to, frame));
                    return went(out, frame);
                }
                _ => return went(Out::Drop, frame),
            }
        }
        let Run { verdict, frame, to, .. } = self.run(self.tc, ProgType::SchedCls, &left, into)?;
        let went = |out, frame, asks| Ok(Went { out, by: Stage::Tc, frame, asks, cpu });
        match (verdict, to) {
            (v, _) if v == TC.0 => went(Out::Drop, frame, None),
            (v, Some((out, frame, asks))) if v == TC.1 => went(out, frame, asks),
            (v, None) if v == TC.1 => went(Out::Drop, frame, None),
            _ => went(Out::Pass, frame, None),
        }
    }

    /// Runs a program on a packet.
    fn run(&mut self, program: usize, kind: ProgType, frame: &[u8], into: u32) -> Result<Run, String> {
        let mut input = Input::packet(kind, frame).ok_or("the machine takes no packets")?;
        for field in ["ingress_ifindex", "ifindex"] {
            // Each kind has one of them at least.
            let _ = input.set(field, into.into());
        }
        let ran = self.guest.run_once(program, &input, None)?;
        let left = ran.packet.unwrap_or_default();
        let neighbour = match &self.guest.vm.state.env.redirect {
            Some(Redirect::Device { ifindex, neighbour: Some(parameters), .. }) => {
                Some((*ifindex, next(parameters).or_else(|| destination(&left))))
            }
            _ => None,
        };
        let cpu = self.steered();
        let options = self.guest.options;
        let forwarded = self.guest.vm.forward(&input, left.clone(), options).map_err(|e| e.to_string())?;
        let to = forwarded.into_iter().next().map(|f| (f.to, f.packet));
        let to = to.map(|(to, packet)| match (to, neighbour) {
            (Destination::Device { .. }, Some((ifindex, address))) => {
                let (packet, asks) = self.neighbour_output(packet, ifindex, address);
                (Out::Device(ifindex), packet, asks)
            }
            (Destination::Device { ifindex, .. }, None) => (Out::Device(ifindex), packet, None),
            (Destination::Cpu(_), _) => (Out::Pass, packet, None),
            _ => (Out::Drop, packet, None),
        });
        Ok(Run { verdict: ran.result as u32, frame: left, to, cpu })
    }

    /// The CPU that the last run sent its packet to.
    fn steered(&self) -> Option<u32> {
        let Some(Redirect::Map { map, key, .. }) = &self.guest.vm.state.env.redirect else { return None };
        let kind = self.guest.vm.state.maps.get(*map)?.spec().map_type;
        (kind == MapType::Cpumap).then(|| key.as_slice().try_into().ok().map(u32::from_ne_bytes))?
    }

    /// What the kernel makes of a packet that goes to a neighbour: its link addresses, or a question first.
    fn neighbour_output(
        &self,
        mut packet: Vec<u8>,
        device: u32,
        to: Option<IpAddr>,
    ) -> (Vec<u8>, Option<IpAddr>) {
        let known = self.neighbours.iter().find(|n| n.device == device && Some(n.address) == to);
        let own = self.machine.exit(device).map(|d| d.mac);
        match (known, own, packet.get_mut(..12)) {
            (Some(known), Some(own), Some(addresses)) => {
                addresses[..6].copy_from_slice(&known.mac);
                addresses[6..].copy_from_slice(&own);
                (packet, None)
            }
            _ => (packet, to),
        }
    }

    /// What did not go as expected.
    fn complaint(&self, passage: &Passage, expected: Option<&Frame>, went: &Went) -> Option<String> {
        let said = |out: &Out, by: Option<Stage>| {
            let out = match out {
                Out::Device(index) => format!("out {}", self.machine.name_of(*index)),
                Out::Drop => "drop".to_owned(),
                Out::Pass => "pass".to_owned(),
            };
            match by {
                Some(Stage::Xdp) => format!("{out} by xdp"),
                Some(Stage::Tc) => format!("{out} by tc"),
                None => out,
            }
        };
        if went.out != passage.out || passage.by.is_some_and(|by| by != went.by) {
            let found = said(&went.out, Some(went.by));
            return Some(format!("{} was expected, but it was {found}", said(&passage.out, passage.by)));
        }
        if let Some(cpu) = passage.cpu.filter(|cpu| went.cpu != Some(*cpu)) {
            let found =
                went.cpu.map_or("it stayed where it came in".to_owned(), |cpu| format!("CPU {cpu} did"));
            return Some(format!("CPU {cpu} was expected to go on with it, but {found}"));
        }
        if let Some(to) = passage.to {
            let found = match (went.asks, went.frame.get(..6)) {
                (Some(address), _) => {
                    format!("the kernel asks for {address} first: `neighbours` has no such")
                }
                (None, Some(mac)) if mac != to.as_slice() => format!("it went to {}", text_of(mac)),
                _ => String::new(),
            };
            if !found.is_empty() {
                return Some(format!("to {} was expected, but {found}", text_of(&to)));
            }
        }
        let expected = expected?;
        let start = if expected.has_ethernet { 0 } else { 12 };
        let part = |bytes: &[u8]| bytes.get(start..).unwrap_or(&[]).to_vec();
        let (wanted, found) = (part(&expected.bytes), part(&went.frame));
        let differs = wanted.iter().zip(&found).take_while(|(a, b)| a == b).count();
        (wanted != found).then(|| {
            let place = differs + start;
            format!(
                "it became another packet, from byte {place} on\n  expected {}\n  found    {}",
                digits(&wanted),
                digits(&found)
            )
        })
    }
}

/// The interfaces and addresses of a test.
fn machine(case: &Case) -> Machine {
    let (mut devices, mut addresses) = (Vec::new(), Vec::new());
    for (index, interface) in (1u32..).zip(&case.interfaces) {
        let device = Device {
            name: interface.name.clone(),
            index,
            mtu: interface.mtu,
            mac: interface.mac,
            hardware: ETHERNET,
            tag: interface.tag.map(|(lower, id)| Tag { lower, id }),
            ..Device::default()
        };
        devices.push((device, interface.xdp));
        let own = interface.addresses.iter();
        addresses.extend(own.map(|(address, length)| Address {
            device: index,
            address: *address,
            network: (*address, *length),
        }));
    }
    Machine::made(devices, addresses, case.cpus)
}

/// The table of a test, and the steps that make it.
fn planned(
    case: &Case,
    machine: &Machine,
    at: &dyn Fn(Place, &str) -> Error,
) -> Result<(Table, Vec<Step>), Error> {
    let mut table = Table::default();
    let mut steps = own(&mut table, machine)?;
    for (place, line) in &case.routes {
        let words: Vec<&str> = line.split_whitespace().collect();
        let route = parse(&words, machine).map_err(|e| at(*place, &e.to_string()))?;
        condition::check(route.condition.as_deref()).map_err(|e| at(*place, &bare(&e)))?;
        steps.extend(table.plan(&[Change::Add(route)]).map_err(|e| at(*place, &e.to_string()))?);
    }
    Ok((table, steps))
}

/// The neighbour of a `struct bpf_redir_neigh`: a family, then the address.
fn next(parameters: &[u8]) -> Option<IpAddr> {
    let family = u32::from_ne_bytes(parameters.get(..4)?.try_into().ok()?);
    match family {
        2 => Some(<[u8; 4]>::try_from(parameters.get(4..8)?).ok()?.into()),
        10 => Some(<[u8; 16]>::try_from(parameters.get(4..20)?).ok()?.into()),
        _ => None,
    }
}

/// The destination of an Ethernet frame's IP packet.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [8, 0] => Some(<[u8; 4]>::try_from(frame.get(30..34)?).ok()?.into()),
        [0x86, 0xdd] => Some(<[u8; 16]>::try_from(frame.get(38..54)?).ok()?.into()),
        _ => None,
    }
}

fn text_of(mac: &[u8]) -> String {
    mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
