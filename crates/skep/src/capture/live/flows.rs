//! A table of flows: packets enter, the largest flows of the time since the last table leave as lines.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::flow::Flow;
use crate::capture::Matched;

/// Most flows between two tables; what comes beyond is counted together.
const FLOWS: usize = 1 << 16;

/// What flows are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// Bytes on the wire.
    #[default]
    Bytes,
    /// Packets.
    Packets,
    /// The process's name.
    Process,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sum {
    packets: u64,
    bytes: u64,
}

/// Counts packets by flow and process.
#[derive(Debug, Default)]
pub struct Flows {
    sums: HashMap<(String, String), Sum>,
    beyond: Sum,
}

impl Flows {
    /// Counts a packet.
    pub fn take(&mut self, matched: &Matched<'_>) {
        let packet = &matched.packet;
        let shown = match Flow::of(matched.interface.link, packet.data) {
            Some(flow) => flow.to_string(),
            None => "other".to_owned(),
        };
        let key = (shown, matched.process.to_owned());
        let room = self.sums.len() < FLOWS || self.sums.contains_key(&key);
        let sum = if room { self.sums.entry(key).or_default() } else { &mut self.beyond };
        sum.packets += 1;
        sum.bytes += u64::from(packet.len);
    }

    /// The table of the first `rows`, and counts from 0 again. `seconds`: how long it was.
    pub fn table(&mut self, by: By, rows: usize, seconds: f64) -> String {
        let mut all: Vec<_> = std::mem::take(&mut self.sums).into_iter().collect();
        all.sort_by(|((flow, process), a), ((other, another), b)| {
            let order = match by {
                By::Bytes => b.bytes.cmp(&a.bytes),
                By::Packets => b.packets.cmp(&a.packets),
                By::Process => process.cmp(another).then(b.bytes.cmp(&a.bytes)),
            };
            order.then_with(|| flow.cmp(other))
        });
        let beyond = std::mem::take(&mut self.beyond);
        let total = all
            .iter()
            .map(|(_, sum)| *sum)
            .chain([beyond])
            .fold(Sum::default(), |a, b| Sum { packets: a.packets + b.packets, bytes: a.bytes + b.bytes });
        let rate = |bytes: u64| bytes as f64 / seconds.max(0.001) / 1000.0;
        let mut out = format!(
            "{} packets, {} bytes, {:.1} kB/s, {} flows\n{:>12} {:>10} {:>10}  {:<24} FLOW\n",
            total.packets,
            total.bytes,
            rate(total.bytes),
            all.len(),
            "BYTES",
            "PACKETS",
            "kB/s",
            "PROCESS",
        );
        for ((flow, process), sum) in all.iter().take(rows) {
            let process: String = process.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            let rate = rate(sum.bytes);
            let _ = writeln!(out, "{:>12} {:>10} {rate:>10.1}  {process:<24} {flow}", sum.bytes, sum.packets);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_packet::file::{Interface, Packet};

    #[test]
    fn flows_are_ordered_and_counted_once() {
        let frame = |port: u8| {
            let head = [8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            [&[0; 12][..], &head, &[0, 9, 0, port, 0, 8, 0, 0]].concat()
        };
        let interface = Interface { link: 1, snaplen: 0, name: String::new() };
        let mut flows = Flows::default();
        for (port, len, process) in [(1, 100, "b"), (2, 60, "a"), (2, 60, "a"), (3, 40, "c\u{1b}")] {
            let data = frame(port);
            let packet = Packet { interface: 0, time: 0, data: &data, len, direction: None, comment: None };
            flows.take(&Matched { packet, file: 0, interface: &interface, process, block: None });
        }
        let table = flows.table(By::Bytes, 2, 1.0);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("4 packets, 260 bytes, 0.3 kB/s, 3 flows"), "{table}");
        assert!(lines[2].contains("120") && lines[2].ends_with("udp 10.0.0.1.9 > 10.0.0.2.2"), "{table}");
        assert_eq!(lines.len(), 4);
        assert!(flows.table(By::Packets, 9, 1.0).starts_with("0 packets, 0 bytes"));
    }
}
