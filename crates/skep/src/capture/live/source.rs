//! One socket: an interface (or all) and the filter enter, a socket with the compiled filter on it leaves.

use std::sync::Arc;

use skep_compiler::compile::{CompileError, CompileOptions, compile};
use skep_kernel::LiveTarget;
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::packet::{self, PacketSocket};
use skep_lang::compile::Source as Text;
use skep_lang::diag::Diagnostics;
use skep_packet::filter::link::LinkType;
use skep_packet::filter::program::Verdicts;
use skep_packet::filter::{self, Filter};

use super::{Options, Way};
use crate::Error;

/// Hardware types (include/uapi/linux/if_arp.h) whose packets begin with an Ethernet header, and those whose packets
/// begin with IP. Of all others the kernel cuts the link's header off.
const ETHERNET: [u32; 2] = [1, 772];
const PLAIN: [u32; 6] = [519, 768, 769, 776, 778, 65_534];

/// Room for a packet's head in a block, beside its bytes.
const HEAD: u32 = 256;
/// Bytes of a block: room for the largest packets, and enough of the small ones that a wake-up is worth it.
const BLOCK: u32 = 256 << 10;
/// Fewest blocks of a ring: one is read while another is filled.
const FEWEST: u32 = 4;

/// A socket and what its packets are of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) socket: PacketSocket,
    /// The interface's name; empty: all.
    pub(super) name: String,
    pub(super) link: u16,
    /// Tested here, where the kernel cannot.
    pub(super) late: Option<Filter>,
    /// It gives nothing any more.
    pub(super) ended: bool,
}

/// The link type of packets of an interface, and whether they come with the link's header.
fn link_of(hardware: Option<u32>) -> (LinkType, bool) {
    match hardware {
        Some(hardware) if ETHERNET.contains(&hardware) => (LinkType::Ethernet, true),
        Some(hardware) if PLAIN.contains(&hardware) => (LinkType::Raw, true),
        _ => (LinkType::Sll2, false),
    }
}

/// Compiles filters and opens sockets.
pub(super) struct Opener<'o> {
    pub(super) options: &'o Options,
    pub(super) target: Arc<LiveTarget>,
    /// Index of the loopback interface.
    pub(super) loopback: Option<u32>,
}

impl Opener<'_> {
    /// Opens a socket on this interface; `None`: on all.
    pub(super) fn open(&self, interface: Option<&packet::Interface>) -> Result<Source, Error> {
        let (link, raw) = link_of(interface.map(|i| i.hardware));
        let filter = self.compile(link, interface)?;
        // Without link headers the program sees packets from the network header on.
        let (kernel, late) = match raw {
            true => (filter, None),
            false => match filter.cooked() {
                Some(cooked) => (cooked, None),
                None => (self.everything(link)?, Some(filter)),
            },
        };
        let keep = if raw { self.options.snaplen } else { self.options.snaplen.saturating_sub(20).max(1) };
        let (block, blocks) = self.sizes();
        let on_loopback = interface.is_some_and(|i| Some(i.index) == self.loopback);
        let wanted = packet::Options {
            interface: interface.map_or(0, |i| i.index),
            raw,
            promiscuous: self.options.promiscuous,
            ignore_outgoing: self.options.way == Way::In || (on_loopback && self.options.way == Way::Both),
            block,
            blocks,
            retire: self.options.retire,
        };
        let socket = with_filter(&kernel, keep, &self.target, |filter| PacketSocket::open(&wanted, filter))?;
        let name = interface.map_or(String::new(), |i| i.name.clone());
        Ok(Source { socket, name, link: link.number(), late, ended: false })
    }

    /// Bytes of a block, and blocks of a ring.
    pub(super) fn sizes(&self) -> (u32, u32) {
        let block = BLOCK.max((self.options.snaplen + HEAD).next_power_of_two());
        let blocks = self.options.buffer.div_ceil(u64::from(block)).clamp(FEWEST.into(), 1 << 14) as u32;
        (block, blocks)
    }

    /// Without an IPv4 address, and on all interfaces together, the mask is zero, as with libpcap.
    fn options(&self, link: LinkType, interface: Option<&packet::Interface>) -> filter::Options {
        let netmask = interface.and_then(|i| packet::netmask(&i.name)).unwrap_or(0);
        let (source, strict) = (filter::Source::Socket, self.options.strict);
        filter::Options { link, source, netmask: Some(netmask), strict }
    }

    fn everything(&self, link: LinkType) -> Result<Filter, Error> {
        filter::compile("", &self.options(link, None), &*self.target)
            .map_err(|mistake| Error::Internal(format!("the empty filter: {}", mistake.message)))
    }

    /// The filter with the direction in it. A packet on the loopback interface is seen when it is sent and when it is
    /// received: once is enough.
    fn compile(&self, link: LinkType, interface: Option<&packet::Interface>) -> Result<Filter, Error> {
        let text = self.options.expression.trim();
        let failed = |text: &str, mistake| {
            let source = Text { name: "filter".to_owned(), text: text.to_owned() };
            Error::Script { diagnostics: Diagnostics { list: vec![mistake], files: Vec::new() }, source }
        };
        let options = self.options(link, interface);
        let plain = filter::compile(text, &options, &*self.target).map_err(|m| failed(text, *m))?;
        let wanted = match (self.options.way, interface, self.loopback) {
            (Way::In, ..) => "inbound".to_owned(),
            (Way::Out, ..) => "outbound".to_owned(),
            (Way::Both, None, Some(loopback)) => format!("not (ifindex {loopback} and outbound)"),
            (Way::Both, Some(one), Some(loopback)) if one.index == loopback => "inbound".to_owned(),
            _ => return Ok(plain),
        };
        let whole = if text.is_empty() { wanted } else { format!("{wanted} and ({text}\n)") };
        filter::compile(&whole, &options, &*self.target).map_err(|m| failed(&whole, *m))
    }
}

/// Puts the filter on what `open` makes of it: as classic BPF, which the kernel's own translation reads packets in place with, and
/// which needs no right but that to packet sockets; as a program of ours where there is no such form. What matches is kept
/// up to `keep` bytes.
fn with_filter<T>(
    filter: &Filter,
    keep: u32,
    target: &Arc<LiveTarget>,
    open: impl FnOnce(packet::Filter<'_>) -> Result<T, skep_kernel::Error>,
) -> Result<T, Error> {
    if let Some(classic) = filter.classic(keep) {
        return Ok(open(packet::Filter::Classic(&classic))?);
    }
    let verdicts = Verdicts { matched: i32::try_from(keep).unwrap_or(i32::MAX), other: 0 };
    let module = filter.module("capture", filter.mode(false), verdicts);
    let features = skep_lang::compile::features(&**target);
    let mut options = CompileOptions { features, passes: true, ..CompileOptions::default() };
    let object = compile(module, &mut options).map_err(|error| match error {
        CompileError::Internal { .. } => Error::Internal(error.to_string()),
        error => Error::Capture(format!("the filter: {error}")),
    })?;
    let loaded = Loaded::load(&object, target.clone(), &LoadOptions::default()).map_err(Error::Kernel)?;
    let program = loaded.program(0).ok_or_else(|| Error::Internal("a filter without a program".into()))?;
    Ok(open(packet::Filter::Program(program))?)
}
