//! The way to the network layer: past VLAN tags, MPLS labels and PPPoE.

use super::super::access::At;
use super::super::emit::{Coded, by_version, equal, guarded, joined, translated};
use super::super::rows::LAYERS;
use super::super::table::{Layer, LayerId, Next, Space, Tier};
use super::{Behind, Depth, ETHER_TYPE, Frame, IP4, IP6, Key, LOCATED, MAX_SHIMS};
use crate::ir::{Block, Cc, FuncBuilder, Type, Value};

impl Frame {
    /// Where the network layer begins, and its EtherType: behind all tags and labels.
    pub(super) fn network(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Coded {
        let key = Key::Network(depth);
        if let Some(known) = self.known(key) {
            return known;
        }
        let max = LOCATED[depth as usize];
        if let Some(off) = self.located(f, depth, (0, max.count_ones()))
            && let Some(code) = self.located(f, depth, (ETHER_TYPE, 16))
        {
            // Without a network layer the EtherType is 0, which no layer has.
            let found = Coded { at: At { base: Some(off), add: 0, max }, code };
            self.coded.push((key, found));
            return found;
        }
        let first = self.first(f, depth, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        let at = first.at.value(f);
        for code in [IP4, IP6] {
            let (want, next) = (f.u64(code as u64), f.block(&[]));
            f.branch_args(Cc::Eq, first.code, want, (done, &[at, first.code]), (next, &[]));
            f.switch_to(next);
        }
        self.pass_shims(f, first, None, (done, missing));
        f.switch_to(done);
        let found = joined(f, &self.reader, done, first.at.max.saturating_add(8 * MAX_SHIMS));
        self.coded.push((key, found));
        found
    }

    /// Takes it as known that the EtherType of the frame's own Ethernet header is `code`: without a tag or label before it, the
    /// network layer's place is then a constant. Holds until [`Frame::forget`], as what was found.
    pub fn assume_ether_type(&mut self, f: &mut FuncBuilder, code: u64) {
        let key = Key::Network(Depth::Outer);
        let is_network = [IP4 as u64, IP6 as u64].contains(&code);
        let Some(first) = self.link.first().filter(|first| *first == LayerId::Eth) else { return };
        if is_network && self.known(key).is_none() {
            let at = At::constant(first.row().min.into());
            self.coded.push((key, Coded { at, code: f.u64(code) }));
        }
    }

    /// Passes tags and labels, in a loop: jumps to `done` with the place and EtherType of what follows; or, with a layer
    /// to look for, with the place of its nth.
    fn pass_shims(
        &mut self,
        f: &mut FuncBuilder,
        first: Coded,
        wanted: Option<(LayerId, u32)>,
        (done, missing): (Block, Block),
    ) {
        let head = f.block(&[Type::U64, Type::U64, Type::U64, Type::U64]);
        let (at, zero) = (first.at.value(f), f.u64(0));
        f.jump(head, &[at, first.code, zero, zero]);
        f.switch_to(head);
        let [off, code, round, seen] = [0, 1, 2, 3].map(|i| f.block_param(head, i));
        let (off, code) = (self.reader.veil(f, off), self.reader.veil(f, code));
        let at = At { base: Some(off), add: 0, max: first.at.max.saturating_add(8 * MAX_SHIMS) };
        let (limit, go) = (f.u64(u64::from(MAX_SHIMS)), f.block(&[]));
        f.branch(Cc::Uge, round, limit, missing, go);
        f.switch_to(go);
        let round = f.add_imm(round, 1);
        for row in LAYERS.iter().filter(|row| row.tier == Tier::Shim) {
            let (yes, no) = (f.block(&[]), f.block(&[]));
            for wanted in row.codes_in(Space::EtherType) {
                equal(f, code, i64::from(wanted), yes);
            }
            f.jump(no, &[]);
            f.switch_to(yes);
            let mut seen = seen;
            if let Some((layer, nth)) = wanted
                && layer == row.id
            {
                let (nth, later) = (f.u64(nth.into()), f.block(&[]));
                f.branch_args(Cc::Eq, seen, nth, (done, &[off, code]), (later, &[]));
                f.switch_to(later);
                seen = f.add_imm(seen, 1);
            }
            self.pass_shim(
                f,
                row,
                (at, code),
                |f, off, code| match code {
                    Behind::More(code) => f.jump(head, &[off, code, round, seen]),
                    Behind::End(code) => match wanted {
                        None => f.jump(done, &[off, code]),
                        Some(_) => f.jump(missing, &[]),
                    },
                },
                missing,
            );
            f.switch_to(no);
        }
        match wanted {
            None => f.jump(done, &[off, code]),
            Some(_) => f.jump(missing, &[]),
        }
    }

    /// Passes one tag or label; `go` ends each way that there is behind it.
    fn pass_shim(
        &mut self,
        f: &mut FuncBuilder,
        row: &Layer,
        (at, code): (At, Value),
        mut go: impl FnMut(&mut FuncBuilder, Value, Behind),
        missing: Block,
    ) {
        let header = self.reader.window(f, at, row.min.into(), missing);
        guarded(f, &header, row.guard, missing);
        let next = at.plus(row.min.into());
        let off = next.value(f);
        match row.next {
            Next::Code { space: Space::EtherType, at, bytes } => {
                let code = header.number(f, at.into(), bytes.into());
                go(f, off, Behind::More(code));
            }
            Next::Code { at, bytes, .. } => {
                let ppp = header.number(f, at.into(), bytes.into());
                let code = translated(f, ppp, Space::Ppp);
                go(f, off, Behind::End(code));
            }
            Next::Label => {
                let bottom = header.bits(f, 23, 1);
                let (last, more) = (f.block(&[]), f.block(&[]));
                f.branch_nonzero(bottom, last, more);
                f.switch_to(more);
                go(f, off, Behind::More(code));
                f.switch_to(last);
                let first = self.reader.window(f, next, 1, missing);
                let code = by_version(f, &first);
                go(f, off, Behind::End(code));
            }
            _ => f.jump(missing, &[]),
        }
    }

    pub(super) fn shim(
        &mut self,
        f: &mut FuncBuilder,
        layer: LayerId,
        depth: Depth,
        nth: u32,
        missing: Block,
    ) -> At {
        let first = self.first(f, depth, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        self.pass_shims(f, first, Some((layer, nth)), (done, missing));
        f.switch_to(done);
        joined(f, &self.reader, done, first.at.max.saturating_add(8 * MAX_SHIMS)).at
    }

    /// Finds the network layer; its EtherType.
    pub fn network_code(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Value {
        self.network(f, depth, missing).code
    }
}
