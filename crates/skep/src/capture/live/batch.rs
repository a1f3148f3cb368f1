//! Packets of blocks that the kernel has filled: one block of each socket enters, their packets leave by time.

use skep_kernel::packet::{Block, Directory, Head, Lease, PACKET_OUTGOING};
use skep_packet::file::{Direction, Packet};
use skep_packet::filter;

use super::owner::Owners;
use super::{Counts, Interfaces, Taken};
use crate::capture::Matched;

/// Packets that wait. Each that [`Batch::advance`] gives counts as taken until [`Batch::judge`] says something else.
#[derive(Debug)]
pub struct Batch<'b> {
    pub(super) ready: Vec<Ready<'b>>,
    pub(super) interfaces: &'b mut Interfaces,
    pub(super) directory: &'b mut Directory,
    pub(super) owners: Option<&'b mut Owners>,
    pub(super) counts: &'b mut Counts,
    /// Packets that were looked at.
    pub(super) seen: &'b mut u64,
    pub(super) over: &'b mut bool,
}

/// A block that is ready, and how its packets are read.
#[derive(Debug)]
pub(super) struct Ready<'b> {
    pub(super) block: Block<'b>,
    pub(super) lease: Lease,
    pub(super) link: u16,
    pub(super) late: Option<&'b filter::Filter>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next<'m> {
    /// A packet.
    Packet(Matched<'m>),
    /// One that was left: it is not of a process that is wanted.
    Unwanted,
    /// The end.
    End,
}

impl Batch<'_> {
    /// Goes to the next packet.
    #[inline]
    pub fn advance(&mut self) -> Next<'_> {
        let Some((number, head)) = self.find() else { return Next::End };
        let Some(Ready { block, lease, link, .. }) = self.ready.get(number) else { return Next::End };
        let number = self.interfaces.number(head.interface, *link, self.directory);
        let Some(interface) = self.interfaces.list.get(number) else { return Next::End };
        let direction = if head.kind == PACKET_OUTGOING { Direction::Out } else { Direction::In };
        let packet = Packet {
            interface: number,
            time: head.time,
            data: block.data(&head),
            len: head.len,
            direction: Some(direction),
            comment: None,
        };
        let process = match &mut self.owners {
            None => "",
            Some(owners) => match owners.of(*link, packet.data, packet.direction, packet.time) {
                Some(process) => process,
                None => {
                    self.counts.left += 1;
                    return Next::Unwanted;
                }
            },
        };
        self.counts.taken += 1;
        Next::Packet(Matched { packet, file: 0, interface, process, block: Some(lease) })
    }

    /// The next packet that passes what is tested here, and the block that it is in.
    #[inline]
    fn find(&mut self) -> Option<(usize, Head)> {
        loop {
            if *self.over {
                return None;
            }
            let number = match self.ready.len() {
                1 => 0,
                all => (0..all).min_by_key(|i| self.ready.get(*i).map_or(u64::MAX, Ready::time))?,
            };
            let Ready { block, late, .. } = self.ready.get_mut(number)?;
            let Some(head) = block.head() else {
                self.ready.swap_remove(number);
                continue;
            };
            *self.seen += 1;
            if late.is_none_or(|late| passes(late, block, &head)) {
                return Some((number, head));
            }
            self.counts.left += 1;
        }
    }

    /// Says what became of the last packet.
    #[inline]
    pub fn judge(&mut self, taken: Taken) {
        if matches!(taken, Taken::No | Taken::Full) {
            self.counts.taken -= 1;
            self.counts.left += 1;
        }
        *self.over |= matches!(taken, Taken::Last | Taken::Full);
    }

    /// Leaves what has not been taken.
    pub(super) fn leave(&mut self) {
        for Ready { block, .. } in &mut self.ready {
            while block.head().is_some() {
                *self.seen += 1;
                self.counts.left += 1;
            }
        }
    }
}

impl Ready<'_> {
    /// When its next packet came; behind all others without one.
    fn time(&self) -> u64 {
        self.block.time().unwrap_or(u64::MAX)
    }
}

fn passes(late: &filter::Filter, block: &Block<'_>, head: &Head) -> bool {
    late.matches(&filter::Packet {
        bytes: block.data(head),
        length: head.len,
        packet_type: head.kind.into(),
        ifindex: head.interface,
        ..filter::Packet::default()
    })
}
