//! Packets that the kernel throws away: a filter enters; each dropped packet that matches leaves, with the reason and the
//! place in the kernel as its comment. `programs/capture/drops.bt` filters and sends them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use skep_bpf::backend::Backend;
use skep_bpf::schema::Clock;
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::packet::Namespace;
use skep_kernel::proc::clock_now;
use skep_packet::file::{Interface, Packet};
use skep_runtime::decode;
use skep_runtime::loss::Loss;
use skep_runtime::value::Value;

use super::{Counts, Taken, Verdict};
use crate::capture::{Expression, Matched};
use crate::{Error, Program, Script};

const PROGRAM: &str = include_str!("../../../../../programs/capture/drops.bt");
/// What older kernels do not tell, and what stands in its place: the socket (before 6.11), the reason (before 5.17).
const SOCKET: (&str, &str) = ("args.rx_sk", "0");
const REASON: (&str, &str) = ("(enum skb_drop_reason)args.reason", "(uint64)0");
/// What the kernel's names of reasons begin with.
const PREFIX: &str = "SKB_DROP_REASON_";

/// What no packet matches: for packets without the header that the filter asks for.
const NOTHING: &str = "len = 0";

const ETHERNET: u16 = 1;
const RAW: u16 = 101;

/// Watches packets being dropped.
#[derive(Debug)]
pub struct Drops {
    program: Program,
    loaded: Loaded,
    /// By name and link type.
    interfaces: HashMap<(String, u16), usize>,
    list: Vec<Interface>,
    /// Names of places, by address.
    places: HashMap<u64, String>,
    behind: u64,
    snaplen: usize,
    counts: Counts,
    over: bool,
}

/// A dropped packet as it was sent.
struct Dropped<'e> {
    time: u64,
    reason: String,
    place: u64,
    interface: String,
    link: u16,
    len: u32,
    data: &'e [u8],
}

impl Drops {
    /// Begins to watch. `snaplen`: most bytes of a packet; `namespace`: only packets of this network namespace, by its name or a
    /// process in it.
    pub fn open(mut expression: Expression, snaplen: u32, namespace: Option<&str>) -> Result<Drops, Error> {
        // Mistakes are told in the expression, not in the program.
        expression.prepare(ETHERNET, false)?;
        let raw = match expression.prepare(RAW, false) {
            Ok(()) => expression.text(),
            Err(_) => NOTHING,
        };
        let namespace = namespace.map_or(Ok(0), |name| Namespace::find(name)?.inode())?;
        let params = vec![expression.text().to_owned(), raw.to_owned(), namespace.to_string()];
        let script = |text: &str| Script::named("drops.bt", text).params(params.clone()).compile();
        let older = PROGRAM.replace(SOCKET.0, SOCKET.1);
        let program = script(PROGRAM).or_else(|error| {
            // What is wrong with the program itself is told as it was found first.
            script(&older).or_else(|_| script(&older.replace(REASON.0, REASON.1))).map_err(|_| error)
        })?;
        let mut loaded = Loaded::load(&program.object, program.target.clone(), &LoadOptions::default())
            .map_err(Error::Kernel)?;
        loaded.attach_all().map_err(Error::Kernel)?;
        let behind = clock_now(Clock::Realtime) - clock_now(Clock::Boot);
        Ok(Drops {
            program,
            loaded,
            interfaces: HashMap::new(),
            list: Vec::new(),
            places: HashMap::new(),
            behind: u64::try_from(behind).unwrap_or(0),
            snaplen: snaplen as usize,
            counts: Counts::default(),
            over: false,
        })
    }

    /// Ends waits of [`Drops::round`] when this is readable.
    pub fn watch(&self, fd: impl AsFd) -> Result<(), Error> {
        Ok(self.loaded.watch(fd)?)
    }

    /// Waits up to `time` for packets and hands on those that match.
    pub fn round(
        &mut self,
        time: Duration,
        take: &mut dyn FnMut(&Matched<'_>) -> Verdict,
    ) -> Result<ControlFlow<()>, Error> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let polled = self.loaded.poll_events(Some(time), &mut |record| {
            records.push(record.to_vec());
            ControlFlow::Continue(())
        });
        polled.map_err(skep_runtime::Error::Events)?;
        for record in records {
            self.record(&record, take)?;
        }
        Ok(if self.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn record(&mut self, record: &[u8], take: &mut dyn FnMut(&Matched<'_>) -> Verdict) -> Result<(), Error> {
        let Drops { program, .. } = self;
        let layout = decode::event_number(record).and_then(|number| program.object.events.get(number));
        let Some(values) = layout.map(|layout| decode::event(layout, record)) else { return Ok(()) };
        let Some(dropped) = dropped(&values, self.behind) else { return Ok(()) };
        self.counts.matched += 1;
        if self.over {
            self.counts.left += 1;
            return Ok(());
        }
        let loaded = &mut self.loaded;
        let place = self.places.entry(dropped.place).or_insert_with(|| {
            let symbol = loaded.kernel_symbol(dropped.place);
            symbol.name.map_or(format!("{:#x}", dropped.place), |name| format!("{name}+{}", symbol.offset))
        });
        let comment = match dropped.reason.as_str() {
            "" => format!("dropped in {place}"),
            reason => format!("dropped: {reason} in {place}"),
        };
        let list = &mut self.list;
        let key = (dropped.interface, dropped.link);
        let number = *self.interfaces.entry(key).or_insert_with_key(|(name, link)| {
            list.push(Interface { link: *link, snaplen: 0, name: name.clone() });
            list.len() - 1
        });
        let Some(interface) = self.list.get(number) else { return Ok(()) };
        let packet = Packet {
            interface: number,
            time: dropped.time,
            data: dropped.data.get(..self.snaplen).unwrap_or(dropped.data),
            len: dropped.len,
            direction: None,
            comment: Some(&comment),
        };
        // Until it is taken.
        self.counts.left += 1;
        let taken = take(&Matched { packet, file: 0, interface, process: "", block: None })?;
        if matches!(taken, Taken::Yes | Taken::Last) {
            self.counts.left -= 1;
            self.counts.taken += 1;
        }
        self.over |= matches!(taken, Taken::Last | Taken::Full);
        Ok(())
    }

    /// Stops watching, and hands on what has come before.
    pub fn finish(&mut self, take: &mut dyn FnMut(&Matched<'_>) -> Verdict) -> Result<(), Error> {
        self.loaded.detach()?;
        self.round(Duration::ZERO, take).map(|_| ())
    }

    /// Dropped packets that were not looked at, for want of room in the ring of events.
    pub fn lost(&mut self) -> Result<u64, Error> {
        let loss = Loss::read(&self.program.object, &mut self.loaded).map_err(skep_runtime::Error::Events)?;
        Ok(loss.total_events())
    }

    /// Counts of packets that match.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// The values of an event, in the program's order.
fn dropped<'e>(values: &[Value<'e>], behind: u64) -> Option<Dropped<'e>> {
    let [time, reason, place, interface, raw, len, data] = values else { return None };
    let number = |value: &Value<'_>| match value {
        Value::Uint(n) | Value::Pointer(n) | Value::KSym(n) => Some(*n),
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    let reason = match reason {
        Value::Enum { name: Some(name), .. } => name.strip_prefix(PREFIX).unwrap_or(name).to_owned(),
        Value::Enum { bits: 0, .. } => String::new(),
        // Subsystems have reasons of their own, by number.
        Value::Enum { bits, .. } => format!("reason {bits:#x}"),
        _ => String::new(),
    };
    let interface = match interface {
        Value::Str { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let Value::Buf(data) = data else { return None };
    let len = u32::try_from(number(len)?).unwrap_or(u32::MAX);
    Some(Dropped {
        time: number(time)?.saturating_add(behind),
        reason,
        place: number(place)?,
        interface,
        link: if number(raw)? == 0 { ETHERNET } else { RAW },
        len: len.max(data.len() as u32),
        data,
    })
}
