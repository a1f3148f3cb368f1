//! Routes with conditions: of one destination several routes are tried in their order, each with a filter expression, then the one without, then those
//! of the block around it. What a destination leads to is then a list, [`POLICY`] with its number: entries of a filter and a value. What always
//! holds: a list is written before anything leads to it and is never changed after that, so a destination changes in one step.
//!
//! The map has [`LISTS`] lists of [`SLOTS`] words: which filters the list asks (a bit each), then its entries; a word of zeros ends it. Behind
//! them lie the texts of the filters, from number 1 on, [`TEXT`] bytes each: what the running programs were compiled with.

use super::{Prefix, RouteError};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Mark of a route's value that is a list.
pub const POLICY: u32 = 1 << 29;
/// Lists that there can be; number 0 is none.
pub const LISTS: u32 = 256;
/// Words of a list; all but the first are entries.
pub const SLOTS: u32 = 16;
/// Different filters that there can be, from number 1 on.
pub const FILTERS: u32 = 32;
/// Bytes of a filter's text in the map, of which one is left zero.
pub const TEXT: u32 = 512;
/// Words of the map.
pub const WORDS: u32 = LISTS * SLOTS + FILTERS * TEXT / 8;

/// An entry of a list: where packets go that a filter matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The filter's number; 0: it matches all.
    pub filter: u32,
    /// The value, as a route's.
    pub value: u32,
    /// It comes from a shorter block, for where nothing of its own matches.
    pub inherited: bool,
}

impl Entry {
    /// As it lies in the map: the value, then the filter, then whether it is inherited.
    fn word(self) -> u64 {
        u64::from(self.value) | u64::from(self.filter) << 32 | u64::from(self.inherited) << 40
    }

    fn of(word: u64) -> Option<Entry> {
        let (value, filter) = (word as u32, (word >> 32) as u32 & 0xff);
        (value != 0).then_some(Entry { filter, value, inherited: word >> 40 & 1 != 0 })
    }
}

/// Routes of one destination that have conditions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Policy {
    /// Filters and values, in the order in which they are tried.
    pub(super) conditions: Vec<(u32, u32)>,
    /// The value of the route without a condition.
    pub(super) otherwise: Option<u32>,
}

/// What is known of conditions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policies {
    /// Texts of the filters that the programs have, by number.
    pub(super) filters: BTreeMap<u32, String>,
    /// By destination.
    pub(super) of: BTreeMap<Prefix, Policy>,
    /// Lists that something leads to.
    pub(super) lists: BTreeMap<u32, Vec<Entry>>,
    pub(super) numbers: HashMap<Vec<Entry>, u32>,
}

impl Policies {
    /// Those that the map holds: its words, and the routes.
    pub fn read(routes: &[(Prefix, u32)], words: impl Fn(u32) -> u64) -> Policies {
        let mut policies = Policies::default();
        for number in 1..=FILTERS {
            let first = LISTS * SLOTS + (number - 1) * (TEXT / 8);
            let bytes: Vec<u8> = (first..first + TEXT / 8).flat_map(|at| words(at).to_ne_bytes()).collect();
            let text = bytes.split(|b| *b == 0).next().unwrap_or(&[]);
            if !text.is_empty() {
                policies.filters.insert(number, String::from_utf8_lossy(text).into_owned());
            }
        }
        for (prefix, list) in routes.iter().filter_map(|(prefix, value)| Some((*prefix, list_of(*value)?))) {
            if !policies.lists.contains_key(&list) {
                let first = list.saturating_mul(SLOTS).saturating_add(1);
                let slots = (0..SLOTS - 1).map(|at| words(first.saturating_add(at)));
                policies.name(list, slots.map_while(Entry::of).collect());
            }
            let own = policies.lists.get(&list).into_iter().flatten().filter(|e| !e.inherited);
            let mut policy = Policy::default();
            for entry in own {
                match entry.filter {
                    0 => policy.otherwise = Some(entry.value),
                    filter => policy.conditions.push((filter, entry.value)),
                }
            }
            policies.of.insert(prefix, policy);
        }
        policies
    }

    /// Texts of the filters that the programs have, by number.
    pub fn filters(&self) -> &BTreeMap<u32, String> {
        &self.filters
    }

    /// Whether no destination has conditions, and none ever had.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty() && self.filters.is_empty()
    }

    pub(super) fn name(&mut self, list: u32, entries: Vec<Entry>) {
        self.numbers.insert(entries.clone(), list);
        self.lists.insert(list, entries);
    }

    pub(super) fn number_of(&self, entries: &[Entry]) -> Option<u32> {
        self.numbers.get(entries).copied()
    }

    /// Values that a list leads to, each once.
    pub(super) fn values(&self, list: u32) -> BTreeSet<u32> {
        self.lists.get(&list).into_iter().flatten().map(|entry| entry.value).collect()
    }

    /// Forgets a list; gives the values that it led to.
    pub(super) fn forget(&mut self, list: u32) -> BTreeSet<u32> {
        let values = self.values(list);
        if let Some(entries) = self.lists.remove(&list) {
            self.numbers.remove(&entries);
        }
        values
    }

    /// Number of a filter by its text.
    pub(super) fn filter_named(&self, text: &str) -> Option<u32> {
        self.filters.iter().find(|(_, known)| *known == text).map(|(number, _)| *number)
    }

    /// What a destination leads to: its own entries, then those of the blocks around it. `plain` gives routes without conditions.
    pub(super) fn entries(
        &self,
        prefix: Prefix,
        plain: &dyn Fn(Prefix) -> Option<u32>,
    ) -> Result<Vec<Entry>, RouteError> {
        let mut entries: Vec<Entry> = Vec::new();
        for length in (0..=prefix.length()).rev() {
            let block = Prefix::around(prefix.address(), length);
            let inherited = length != prefix.length();
            let policy = self.of.get(&block);
            let conditions = policy.into_iter().flat_map(|policy| policy.conditions.iter());
            // What was asked before does not match now.
            let new: Vec<_> = conditions.filter(|c| entries.iter().all(|e| e.filter != c.0)).collect();
            for (filter, value) in new {
                entries.push(Entry { filter: *filter, value: *value, inherited });
            }
            let otherwise = match policy {
                Some(policy) => policy.otherwise,
                None => plain(block),
            };
            if let Some(value) = otherwise {
                entries.push(Entry { filter: 0, value, inherited });
                break;
            }
        }
        let most = SLOTS as usize - 1;
        if entries.len() > most {
            return Err(RouteError(format!(
                "{prefix} has {} routes to try, with those of the blocks around it: at most {most} are possible",
                entries.len()
            )));
        }
        Ok(entries)
    }
}

/// The list that a value leads to.
pub(super) fn list_of(value: u32) -> Option<u32> {
    (value >> 29 == 1).then_some(value & (POLICY - 1))
}

/// What a list's words are.
pub(super) fn words_of(list: u32, entries: &[Entry]) -> Vec<(u32, u64)> {
    let asked = entries.iter().filter(|e| e.filter != 0).fold(0, |bits, e| bits | 1u64 << e.filter.min(63));
    let words = std::iter::once(asked).chain(entries.iter().map(|e| e.word())).chain(std::iter::repeat(0));
    (list * SLOTS..(list + 1) * SLOTS).zip(words).collect()
}

/// The words of a filter's text.
pub fn text_words(number: u32, text: &str) -> Vec<(u32, u64)> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(TEXT as usize, 0);
    let words = bytes.chunks_exact(8).map(|c| c.try_into().map_or(0, u64::from_ne_bytes));
    (LISTS * SLOTS + (number - 1) * (TEXT / 8)..).zip(words).collect()
}
