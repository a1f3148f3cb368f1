//! The record of a running router: every route with its value, in an array of words, from which a table is read again. Changes of routes enter, words
//! leave. What always holds: a route comes, goes and leads elsewhere by the write of one word, so who is killed in between leaves the route as it was or
//! as it should be.
//!
//! A head, then two hash tables with open addressing: of IPv4 a word for each route (from the lowest bit on the address, 32 bits, the length and one,
//! 8 bits, and the value, packed into 24), of IPv6 three (the address, then a word as of IPv4 without one). A word of zeros was never used, one with a length that there is not was.
//! The hash has a seed that the head keeps: prefixes come from peers of a routing daemon too, who must not know which of them collide.

use super::direct::{Cells, Part};
use super::hash::{fold, seed};
use super::{GROUP, POLICY, Packed, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most routes of each family.
pub const MOST: [u32; 2] = [1 << 22, 1 << 20];
/// Words before the first route.
const HEAD: u32 = 256;
/// Where in the head stand the seed and, of each family, how many slots there are, how many hold or held a route, and how many routes there are of each length.
const SEED: u32 = 0;
const SLOTS: [u32; 2] = [1, 2];
const TAKEN: [u32; 2] = [3, 4];
const LENGTHS: [u32; 2] = [16, 64];
/// Fewest slots: a table that grows route by route does not often outgrow them.
const FEWEST: [u32; 2] = [1 << 18, 1 << 14];
/// Words of a slot.
const WIDTH: [u32; 2] = [1, 3];
/// Where a word has the length and one, and the value.
const LENGTH: u32 = 32;
const VALUE: u32 = 40;
/// A slot whose route has gone.
const GONE: u64 = 0xff << LENGTH;
/// Marks of values as they are packed, and bits of a number below them.
const PACKED: [(u32, u32); 2] = [(GROUP, 1 << 23), (POLICY, 1 << 22)];
const NUMBER: u32 = (1 << 22) - 1;

/// Slots for routes of each family: powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room([u32; 2]);

impl Default for Room {
    fn default() -> Room {
        Room(FEWEST)
    }
}

impl Room {
    /// Enough for so many routes of IPv4 and IPv6, and some more.
    pub fn for_routes(routes: [u32; 2]) -> Room {
        let slots = |at: usize| (routes[at].min(MOST[at]) / 2 * 3 + 1).next_power_of_two().max(FEWEST[at]);
        Room([slots(0), slots(1)])
    }

    /// Words that the record takes.
    pub fn words(self) -> u32 {
        HEAD + self.0[0] * WIDTH[0] + self.0[1] * WIDTH[1]
    }
}

/// The slots that a record has.
pub fn room(cells: &impl Cells) -> Room {
    Room(SLOTS.map(|at| cells.get(Part::Record, at) as u32))
}

/// How many routes of each family there are.
pub fn count(cells: &impl Cells) -> [u32; 2] {
    let sum =
        |first: u32, last: u32| (first..=first + last).map(|at| cells.get(Part::Record, at) as u32).sum();
    [sum(LENGTHS[0], 32), sum(LENGTHS[1], 128)]
}

/// Whether so many routes more find room.
pub fn has_room(cells: &impl Cells, more: [u32; 2]) -> bool {
    (0..2).all(|at| {
        let [slots, taken] = [SLOTS, TAKEN].map(|word| cells.get(Part::Record, word[at]) as u32);
        taken.saturating_add(more[at]) <= slots - slots / 4
    })
}

/// The value of a route.
pub fn value(cells: &impl Cells, prefix: Prefix) -> Option<u32> {
    let half = Half::of(cells, prefix);
    half.seek(cells, prefix).ok().map(|slot| value_in(cells.get(Part::Record, half.word(slot))))
}

/// Length and value of the longest route around a block whose length is one of these.
pub fn longest(cells: &impl Cells, prefix: Prefix, lengths: std::ops::Range<u8>) -> Option<(u8, u32)> {
    let (counts, width) = (LENGTHS[family(prefix)], [32, 128][family(prefix)]);
    let there = |length: &u8| cells.get(Part::Record, counts + u32::from(*length)) != 0;
    let mut lengths = (lengths.start..lengths.end.min(width + 1)).rev().filter(there);
    lengths.find_map(|length| Some((length, value(cells, Prefix::around(prefix.address(), length))?)))
}

/// Whether some route but this one has such a value.
pub fn any_other(cells: &impl Cells, prefix: Prefix, mut is: impl FnMut(u32) -> bool) -> bool {
    let own = Half::of(cells, prefix).seek(cells, prefix).ok();
    (0..2).any(|at| {
        let half = Half::at(cells, at);
        (0..half.slots).filter(|slot| at != family(prefix) || own != Some(*slot)).any(|slot| {
            let word = cells.get(Part::Record, half.word(slot));
            word != 0 && word != GONE && is(value_in(word))
        })
    })
}

/// All routes with their values, in no order.
pub fn routes(cells: &impl Cells) -> Vec<(Prefix, u32)> {
    let mut routes = Vec::with_capacity(count(cells).iter().sum::<u32>() as usize);
    for at in 0..2 {
        let half = Half::at(cells, at);
        routes.extend((0..half.slots).filter_map(|slot| half.route(cells, slot)));
    }
    routes
}

/// The same in order.
pub fn packed_routes(cells: &impl Cells) -> Packed {
    let mut routes = Packed::default();
    for at in 0..2 {
        let half = Half::at(cells, at);
        let all = (0..half.slots).filter_map(|slot| half.route(cells, slot));
        all.for_each(|(prefix, value)| routes.push_value(prefix, value));
    }
    routes.sort();
    routes
}

/// Reads where these routes have their slots. Many at once are read much faster than one after the other; who then changes them finds them near.
pub fn touch(cells: &impl Cells, prefixes: impl Iterator<Item = Prefix>) -> u64 {
    let halves = [0, 1].map(|at| Half::at(cells, at));
    let seed = cells.get(Part::Record, SEED);
    let word = |prefix: Prefix| {
        let half = &halves[family(prefix)];
        cells.get(Part::Record, half.word(half.first_slot(seed, words(prefix))))
    };
    prefixes.map(word).fold(0, |all, word| all ^ word)
}

/// Makes of words that are all zero a record without routes, with these slots.
pub fn begin(cells: &mut impl Cells, room: Room) {
    cells.set(Part::Record, SEED, seed());
    (0..2).for_each(|at| cells.set(Part::Record, SLOTS[at], room.0[at].into()));
}

/// Gives a record without routes those of another, which find room there.
pub fn copy(from: &impl Cells, to: &mut impl Cells) {
    for (prefix, value) in routes(from) {
        set(to, prefix, value);
    }
}

/// A route leads to `value`; `false`: there is no slot for it.
pub fn set(cells: &mut impl Cells, prefix: Prefix, value: u32) -> bool {
    let half = Half::of(cells, prefix);
    let [high, low, word] = words(prefix);
    let word = word | u64::from(packed(value)) << VALUE;
    match half.seek(cells, prefix) {
        Ok(slot) => cells.set(Part::Record, half.word(slot), word),
        Err(None) => return false,
        Err(Some(slot)) => {
            let last = half.word(slot);
            let before = cells.get(Part::Record, last);
            if half.family == 1 {
                cells.set(Part::Record, last - 2, high);
                cells.set(Part::Record, last - 1, low);
            }
            cells.set(Part::Record, last, word);
            add(cells, LENGTHS[half.family] + u32::from(prefix.length()), 1);
            add(cells, TAKEN[half.family], i64::from(before == 0));
        }
    }
    true
}

/// A route goes; gives its value, if it was there.
pub fn remove(cells: &mut impl Cells, prefix: Prefix) -> Option<u32> {
    let half = Half::of(cells, prefix);
    let mut slot = half.seek(cells, prefix).ok()?;
    let value = value_in(cells.get(Part::Record, half.word(slot)));
    cells.set(Part::Record, half.word(slot), GONE);
    add(cells, LENGTHS[half.family] + u32::from(prefix.length()), -1);
    // Before a slot that was never used nothing has to be passed over.
    if cells.get(Part::Record, half.word(half.behind(slot))) == 0 {
        while cells.get(Part::Record, half.word(slot)) == GONE {
            cells.set(Part::Record, half.word(slot), 0);
            add(cells, TAKEN[half.family], -1);
            slot = slot.wrapping_sub(1) & (half.slots - 1);
        }
    }
    Some(value)
}

fn add(cells: &mut impl Cells, at: u32, by: i64) {
    if by != 0 {
        let count = cells.get(Part::Record, at).wrapping_add_signed(by);
        cells.set(Part::Record, at, count);
    }
}

/// 0 of IPv4, 1 of IPv6.
pub(super) fn family(prefix: Prefix) -> usize {
    usize::from(prefix.address().is_ipv6())
}

/// The address of IPv6, and the word of a route without its value.
fn words(prefix: Prefix) -> [u64; 3] {
    let length = (u64::from(prefix.length()) + 1) << LENGTH;
    match prefix.address() {
        IpAddr::V4(a) => [0, 0, length | u64::from(a.to_bits())],
        IpAddr::V6(a) => [(a.to_bits() >> 64) as u64, a.to_bits() as u64, length],
    }
}

/// A value in 24 bits.
pub(super) fn packed(value: u32) -> u32 {
    PACKED.iter().fold(value & NUMBER, |out, (mark, bit)| if value & mark != 0 { out | bit } else { out })
}

fn value_in(word: u64) -> u32 {
    value_of((word >> VALUE) as u32)
}

/// The value that was packed so.
pub(super) fn value_of(packed: u32) -> u32 {
    PACKED.iter().fold(packed & NUMBER, |out, (mark, bit)| if packed & bit != 0 { out | mark } else { out })
}

/// The routes of one family.
struct Half {
    family: usize,
    /// Its first word.
    first: u32,
    slots: u32,
}

impl Half {
    fn of(cells: &impl Cells, prefix: Prefix) -> Half {
        Half::at(cells, family(prefix))
    }

    fn at(cells: &impl Cells, family: usize) -> Half {
        let Room([four, six]) = room(cells);
        match family {
            0 => Half { family, first: HEAD, slots: four },
            _ => Half { family, first: HEAD + four * WIDTH[0], slots: six },
        }
    }

    /// The word that says whether a slot holds a route.
    fn word(&self, slot: u32) -> u32 {
        self.first + slot * WIDTH[self.family] + WIDTH[self.family] - 1
    }

    fn behind(&self, slot: u32) -> u32 {
        (slot + 1) & (self.slots - 1)
    }

    /// Where the search for a route begins.
    fn first_slot(&self, seed: u64, [high, low, word]: [u64; 3]) -> u32 {
        let hash = fold(seed, word);
        let hash = if self.family == 1 { fold(fold(hash, high), low) } else { hash };
        hash as u32 & self.slots.wrapping_sub(1)
    }

    /// The slot of a route; where it is not there, one for it.
    fn seek(&self, cells: &impl Cells, prefix: Prefix) -> Result<u32, Option<u32>> {
        let [high, low, wanted] = words(prefix);
        let mut slot = self.first_slot(cells.get(Part::Record, SEED), [high, low, wanted]);
        let mut free = None;
        for _ in 0..self.slots {
            let at = self.word(slot);
            match cells.get(Part::Record, at) {
                0 => return Err(free.or(Some(slot))),
                GONE => free = free.or(Some(slot)),
                word if word & ((1 << VALUE) - 1) == wanted => {
                    let same = self.family == 0
                        || cells.get(Part::Record, at - 2) == high && cells.get(Part::Record, at - 1) == low;
                    if same {
                        return Ok(slot);
                    }
                }
                _ => {}
            }
            slot = self.behind(slot);
        }
        Err(free)
    }

    /// The route of a slot, if it holds one.
    fn route(&self, cells: &impl Cells, slot: u32) -> Option<(Prefix, u32)> {
        let at = self.word(slot);
        let word = cells.get(Part::Record, at);
        let length = ((word >> LENGTH) as u8).checked_sub(1).filter(|_| word != GONE)?;
        let address: IpAddr = match self.family {
            0 => Ipv4Addr::from_bits(word as u32).into(),
            _ => {
                let [high, low] = [at - 2, at - 1].map(|at| u128::from(cells.get(Part::Record, at)));
                Ipv6Addr::from_bits(high << 64 | low).into()
            }
        };
        Some((Prefix::new(address, length).ok()?, value_in(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::direct::Flat;
    use super::*;
    use std::collections::BTreeMap;

    /// Few, so that routes lie close.
    const SMALL: Room = Room([1 << 11, 1 << 11]);

    /// Numbers that look random (SplitMix64).
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn prefix(state: &mut u64) -> Prefix {
        let bits = random(state) & 0x3ff;
        match random(state) % 3 {
            0 => Prefix::around(
                Ipv6Addr::from_bits(u128::from(bits) << 64 | 0x2001 << 112).into(),
                (bits % 129) as u8,
            ),
            _ => Prefix::around(Ipv4Addr::from_bits(10 << 24 | (bits as u32) << 8).into(), (bits % 33) as u8),
        }
    }

    #[test]
    fn routes_are_found_again() {
        let (mut state, mut known, mut cells) = (5, BTreeMap::new(), Flat::recording(SMALL));
        for _ in 0..40_000 {
            let prefix = prefix(&mut state);
            let number = random(&mut state) as u32 & NUMBER;
            let wanted = [number, GROUP | number, POLICY | number][(number % 3) as usize];
            match random(&mut state) % 2 {
                0 => assert_eq!(remove(&mut cells, prefix), known.remove(&prefix)),
                _ => {
                    assert!(set(&mut cells, prefix, wanted));
                    known.insert(prefix, wanted);
                }
            }
            assert_eq!(value(&cells, prefix), known.get(&prefix).copied());
        }
        assert_eq!(routes(&cells).into_iter().collect::<BTreeMap<_, _>>(), known);
        for (prefix, value) in known.iter().take(50) {
            let others = known.iter().filter(|(other, _)| *other != prefix);
            assert_eq!(any_other(&cells, *prefix, |v| v == *value), others.clone().any(|(_, v)| v == value));
            assert_eq!(others.count() > 0, any_other(&cells, *prefix, |_| true));
        }
        assert_eq!(count(&cells).iter().sum::<u32>() as usize, known.len());
        for _ in 0..2000 {
            let Some(address) = Some(prefix(&mut state).address()) else { continue };
            let whole = Prefix::around(address, 128);
            let expected = known.iter().filter(|(p, _)| p.contains(address)).max_by_key(|(p, _)| p.length());
            let found = longest(&cells, whole, 0..129);
            assert_eq!(found, expected.map(|(p, v)| (p.length(), *v)), "{address}");
        }
        for prefix in known.keys() {
            remove(&mut cells, *prefix);
        }
        assert!(routes(&cells).is_empty() && has_room(&cells, SMALL.0.map(|slots| slots / 2)));
    }

    #[test]
    fn a_full_record_says_so() {
        let mut cells = Flat::recording(SMALL);
        let one = |n: u32| Prefix::around(Ipv4Addr::from_bits(n << 8).into(), 24);
        let slots = SMALL.0[0];
        (0..slots).for_each(|n| assert!(set(&mut cells, one(n), n)));
        assert!(!set(&mut cells, one(slots), 1) && set(&mut cells, one(5), 9));
        assert!(!has_room(&cells, [1, 0]) && value(&cells, one(5)) == Some(9));
        assert_eq!(Room::for_routes([u32::MAX; 2]).0, [1 << 23, 1 << 21]);
        assert_eq!(Room::for_routes([0; 2]), Room::default());
    }
}
