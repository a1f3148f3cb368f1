//! Many routes at once, each packed into a word (of IPv6 two) and in the order of their destinations: routes of a text or of a record enter, in any order;
//! the difference of two tables leaves, as steps. With every destination stands a number of 24 bits: where a route leads, or what its user means by it.

use super::record::{Room, packed, value_of};
use super::{Prefix, Step};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bits of the number, below those of the length.
const NUMBER: u32 = 24;
/// Numbers are below.
pub const NUMBERS: u32 = 1 << NUMBER;

/// A destination with a number; words are in the order of their destinations.
pub(super) trait Word: Copy + Ord {
    /// The same with another number.
    fn with(self, number: u32) -> Self;
    /// What stands with it.
    fn number(self) -> u32;
    /// The destination.
    fn prefix(self) -> Prefix;
}

/// The address, then eight bits of the length, then the number.
impl Word for u64 {
    fn with(self, number: u32) -> u64 {
        self & !u64::from(NUMBERS - 1) | u64::from(number)
    }

    fn number(self) -> u32 {
        self as u32 & (NUMBERS - 1)
    }

    fn prefix(self) -> Prefix {
        Prefix::around(Ipv4Addr::from_bits((self >> 32) as u32).into(), (self >> NUMBER) as u8)
    }
}

/// The address, then a word with length and number.
impl Word for (u128, u32) {
    fn with(self, number: u32) -> (u128, u32) {
        (self.0, self.1 & !(NUMBERS - 1) | number)
    }

    fn number(self) -> u32 {
        self.1 & (NUMBERS - 1)
    }

    fn prefix(self) -> Prefix {
        Prefix::around(Ipv6Addr::from_bits(self.0).into(), (self.1 >> NUMBER) as u8)
    }
}

/// Routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Packed {
    pub(super) four: Vec<u64>,
    pub(super) six: Vec<(u128, u32)>,
}

impl Packed {
    /// Puts a destination behind the others, with a number below [`NUMBERS`].
    #[inline]
    pub fn push(&mut self, prefix: Prefix, number: u32) {
        let low = u32::from(prefix.length()) << NUMBER | number;
        match prefix.address() {
            std::net::IpAddr::V4(a) => self.four.push(u64::from(a.to_bits()) << 32 | u64::from(low)),
            std::net::IpAddr::V6(a) => self.six.push((a.to_bits(), low)),
        }
    }

    /// The same with where a route leads.
    #[inline]
    pub fn push_value(&mut self, prefix: Prefix, value: u32) {
        self.push(prefix, packed(value));
    }

    /// Puts them in order.
    pub fn sort(&mut self) {
        self.four.sort_unstable();
        self.six.sort_unstable();
    }

    /// Whether a destination is there twice; they are in order.
    pub fn has_twice(&self) -> bool {
        fn twice<W: Word>(words: &[W]) -> bool {
            words.windows(2).any(|two| two[0].with(0) == two[1].with(0))
        }
        twice(&self.four) || twice(&self.six)
    }

    /// How many of IPv4 and of IPv6 there are.
    pub fn count(&self) -> [u32; 2] {
        [self.four.len() as u32, self.six.len() as u32]
    }

    /// Destinations with where they lead.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, u32)> {
        let four = self.four.iter().map(|word| (word.prefix(), value_of(word.number())));
        four.chain(self.six.iter().map(|word| (word.prefix(), value_of(word.number()))))
    }

    /// Slots for them in a record.
    pub fn room(&self) -> Room {
        Room::for_routes(self.count())
    }

    /// The steps that make this table another: longer routes before shorter ones, those that go the other way round and last.
    pub fn steps_to(&self, behind: &Packed) -> Vec<Step> {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        let mut step = |step: Step| match step {
            Step::Remove { .. } => gone.push(step),
            _ => new.push(step),
        };
        differences(&self.four, &behind.four, &mut step);
        differences(&self.six, &behind.six, &mut step);
        let length = |step: &Step| step.prefix().map_or(0, Prefix::length);
        new.sort_by_key(|step| std::cmp::Reverse(length(step)));
        gone.sort_by_key(length);
        new.append(&mut gone);
        new
    }

    /// Destinations that another table has and this one has not.
    pub fn lacks(&self, behind: &Packed) -> Vec<Prefix> {
        let mut come = Vec::new();
        let mut step = |step: Step| come.extend(step.comes());
        differences(&self.four, &behind.four, &mut step);
        differences(&self.six, &behind.six, &mut step);
        come
    }
}

/// A step for each route in which two tables differ, in the order of destinations.
fn differences<W: Word>(before: &[W], behind: &[W], step: &mut dyn FnMut(Step)) {
    let mut old = before.iter().copied().peekable();
    let gone = |word: W| Step::Remove { prefix: word.prefix(), before: value_of(word.number()) };
    for new in behind.iter().copied() {
        while let Some(word) = old.next_if(|old| old.with(0) < new.with(0)) {
            step(gone(word));
        }
        let before = old.next_if(|old| old.with(0) == new.with(0));
        if before != Some(new) {
            let before = before.map(|word| value_of(word.number()));
            step(Step::Route { prefix: new.prefix(), value: value_of(new.number()), before });
        }
    }
    old.map(gone).for_each(step);
}

#[cfg(test)]
mod tests {
    use super::super::{GROUP, POLICY};
    use super::*;

    fn packed(routes: &[(&str, u32)]) -> Packed {
        let mut all = Packed::default();
        routes.iter().for_each(|(text, value)| all.push_value(text.parse().unwrap(), *value));
        all.sort();
        all
    }

    #[test]
    fn routes_come_back_in_order() {
        let wanted = [
            ("0.0.0.0/0", GROUP | 4),
            ("10.0.0.0/8", 1),
            ("10.0.0.0/9", 3),
            ("255.255.255.255", POLICY | 7),
            ("::/0", 5),
            ("2001:db8::1", (1 << 22) - 1),
        ];
        let mut mixed = wanted;
        mixed.reverse();
        let all = packed(&mixed);
        let read: Vec<(String, u32)> =
            all.routes().map(|(prefix, value)| (prefix.to_string(), value)).collect();
        let wanted: Vec<(String, u32)> =
            wanted.iter().map(|(text, value)| ((*text).to_owned(), *value)).collect();
        assert_eq!((read, all.count(), all.has_twice()), (wanted, [4, 2], false));
        assert!(packed(&[("10.0.0.0/8", 1), ("10.0.0.0/8", 2)]).has_twice());
        assert!(packed(&[("::/8", 1), ("::/8", 2)]).has_twice());
    }

    #[test]
    fn steps_lead_from_one_to_the_other() {
        let before =
            packed(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.2.0.0/16", 2), ("::/0", 1), ("1::/16", 1)]);
        let behind = packed(&[
            ("9.0.0.0/8", 1),
            ("10.1.0.0/16", 3),
            ("10.2.0.0/16", 2),
            ("10.2.1.0/24", 4),
            ("1::/16", 1),
        ]);
        let texts: Vec<String> = before
            .steps_to(&behind)
            .iter()
            .map(|step| match step {
                Step::Route { prefix, value, before } => format!("{prefix} {value} {before:?}"),
                Step::Remove { prefix, before } => format!("- {prefix} {before}"),
                other => format!("{other:?}"),
            })
            .collect();
        let wanted =
            ["10.2.1.0/24 4 None", "10.1.0.0/16 3 Some(2)", "9.0.0.0/8 1 None", "- ::/0 1", "- 10.0.0.0/8 1"];
        assert_eq!(texts, wanted);
        let come: Vec<String> = before.lacks(&behind).iter().map(Prefix::to_string).collect();
        assert_eq!(come, ["9.0.0.0/8", "10.2.1.0/24"]);
        assert!(before.steps_to(&before).is_empty());
    }
}
