//! Packets through programs: a capture enters; verdicts are counted, and what goes on is written, as the programs left it.

use super::offline::Offline;
use crate::error::Error;
use skep_bpf::kinds::ProgType;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::forward::Destination;
use skep_packet::file::{Packet, PcapWriter, Reader};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// LINKTYPE_ETHERNET: what XDP and TC programs see.
const ETHERNET: u16 = 1;
/// Bytes that are kept of a packet, as other tools write it.
const SNAPLEN: u32 = 262_144;

/// What a verdict is called, and whether the packet goes on.
struct Verdict {
    number: u32,
    name: &'static str,
    goes_on: bool,
}

const fn verdict(number: u32, name: &'static str, goes_on: bool) -> Verdict {
    Verdict { number, name, goes_on }
}

/// `enum xdp_action` (include/uapi/linux/bpf.h).
const XDP: &[Verdict] = &[
    verdict(0, "XDP_ABORTED", false),
    verdict(1, "XDP_DROP", false),
    verdict(2, "XDP_PASS", true),
    verdict(3, "XDP_TX", true),
    verdict(4, "XDP_REDIRECT", true),
];

/// `TC_ACT_*` (include/uapi/linux/pkt_cls.h).
const TC: &[Verdict] = &[
    verdict(u32::MAX, "TC_ACT_UNSPEC", true),
    verdict(0, "TC_ACT_OK", true),
    verdict(1, "TC_ACT_RECLASSIFY", true),
    verdict(2, "TC_ACT_SHOT", false),
    verdict(3, "TC_ACT_PIPE", true),
    verdict(4, "TC_ACT_STOLEN", false),
    verdict(5, "TC_ACT_QUEUED", false),
    verdict(6, "TC_ACT_REPEAT", true),
    verdict(7, "TC_ACT_REDIRECT", true),
    verdict(8, "TC_ACT_TRAP", false),
];

/// The verdicts of a kind of programs; `None` for those that judge no packets.
fn verdicts(kind: ProgType) -> Option<&'static [Verdict]> {
    match kind {
        ProgType::Xdp => Some(XDP),
        ProgType::SchedCls | ProgType::SchedAct => Some(TC),
        _ => None,
    }
}

/// `XDP_REDIRECT`.
const REDIRECT_XDP: u32 = 4;
/// `TC_ACT_REDIRECT`.
const REDIRECT_TC: u32 = 7;

/// A destination in words.
fn destination(to: &Destination) -> String {
    match to {
        Destination::Device { ifindex, ingress: false } => format!("out of interface {ifindex}"),
        Destination::Device { ifindex, ingress: true } => format!("into interface {ifindex}"),
        Destination::Cpu(cpu) => format!("to CPU {cpu}"),
        Destination::Socket(socket) => format!("to socket {socket}"),
        Destination::Dropped { verdict } => {
            let name = XDP.iter().find(|known| known.number == *verdict).map(|known| known.name);
            format!(
                "dropped by the map's program ({})",
                name.map_or_else(|| verdict.to_string(), str::to_owned)
            )
        }
        Destination::Lost => "dropped: redirected in circles".to_owned(),
    }
}

/// What packets came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdicts {
    /// Packets.
    pub packets: u64,
    /// How many had which verdict.
    pub counts: BTreeMap<String, u64>,
    /// How many of those that were redirected came where.
    pub redirects: BTreeMap<String, u64>,
    /// Packets that are no Ethernet frames.
    pub skipped: u64,
    /// Packets whose run was stopped, with the first reason.
    pub stopped: Option<(u64, String)>,
    /// Instructions, at least.
    pub instructions: u64,
    /// Why the capture ends before its end.
    pub damage: Option<String>,
}

/// Packets in, and where those that go on are written.
pub struct Packets<'s> {
    reader: Reader<'s>,
    out: Option<PcapWriter<Box<dyn Write>>>,
}

impl<'s> Packets<'s> {
    /// Reads a capture, which messages call `name`; what goes on is written to `out` as a pcap file.
    pub fn open(
        name: &str,
        input: impl Read + 's,
        out: Option<Box<dyn Write>>,
    ) -> Result<Packets<'s>, Error> {
        let failed = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
        let reader = Reader::new(input).map_err(|e| failed(e.to_string()))?;
        let out = out.map(|out| PcapWriter::new(out, ETHERNET, SNAPLEN, true)).transpose();
        let out = out.map_err(|e| Error::Session(skep_runtime::Error::Output(e)))?;
        Ok(Packets { reader, out })
    }

    /// Runs program `index` once for each packet.
    pub fn run(&mut self, offline: &mut Offline<'_>, index: usize) -> Result<Verdicts, Error> {
        let object = offline.guest().object();
        let Some(program) = object.programs.get(index) else {
            return Err(Error::Stopped(format!("there is no program {index}")));
        };
        let (name, kind) = (program.name.clone(), program.prog_type);
        let Some(known) = verdicts(kind) else {
            let what = format!("{name} is no program for packets (XDP or TC) but {}", kind.name());
            return Err(Error::Stopped(what));
        };
        let mut found = Verdicts::default();
        loop {
            match self.reader.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    found.damage = Some(error.to_string());
                    break;
                }
            }
            self.packet(offline, index, (kind, known), &mut found)?;
            if offline.exiting() {
                break;
            }
        }
        if let Some(out) = &mut self.out {
            out.flush().map_err(|e| Error::Session(skep_runtime::Error::Output(e)))?;
        }
        Ok(found)
    }

    fn packet(
        &mut self,
        offline: &mut Offline<'_>,
        index: usize,
        (kind, known): (ProgType, &[Verdict]),
        found: &mut Verdicts,
    ) -> Result<(), Error> {
        let packet = self.reader.packet();
        let link = self.reader.interfaces().get(packet.interface).map(|i| i.link);
        let input = Input::packet(kind, packet.data).filter(|_| link == Some(ETHERNET));
        let Some(input) = input else {
            found.skipped += 1;
            return Ok(());
        };
        found.packets += 1;
        offline.guest.vm.state.env.now = packet.time;
        let ran = match offline.run(index, &input) {
            Ok(ran) => ran,
            Err(Error::Stopped(why)) => {
                let (count, first) = found.stopped.take().unwrap_or((0, why));
                found.stopped = Some((count + 1, first));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        found.instructions += ran.instructions;
        let judged = known.iter().find(|v| v.number == ran.result as u32);
        let name = judged.map_or_else(|| format!("{}", ran.result as u32 as i32), |v| v.name.to_owned());
        *found.counts.entry(name).or_default() += 1;
        if let (REDIRECT_XDP, ProgType::Xdp) | (REDIRECT_TC, ProgType::SchedCls | ProgType::SchedAct) =
            (ran.result as u32, kind)
        {
            let left = ran.packet.unwrap_or_default();
            for forwarded in offline.forward(&input, left)? {
                found.instructions += forwarded.instructions;
                let goes_on = !matches!(forwarded.to, Destination::Dropped { .. } | Destination::Lost);
                *found.redirects.entry(destination(&forwarded.to)).or_default() += 1;
                if goes_on {
                    self.write(&forwarded.packet)?;
                }
            }
            return Ok(());
        }
        // The kernel passes what an unknown action of TC says on, and aborts for one of XDP.
        let goes_on = judged.map_or(kind != ProgType::Xdp, |v| v.goes_on);
        match ran.packet {
            Some(data) if goes_on => self.write(&data),
            _ => Ok(()),
        }
    }

    /// Writes what became of the packet that was read last.
    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let packet = Packet { data, len: data.len() as u32, ..self.reader.packet() };
        let written = out.write(&packet);
        written.map(|_| ()).map_err(|e| Error::Session(skep_runtime::Error::Output(e)))
    }
}
