//! Names to types. The first lookups walk the offset table, which costs less than an index; a user of many names (a
//! listing, a script with dozens of types) gets an index, built once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::read::{Slot, kind};
use super::{Btf, NameKind, TypeId};

/// Lookups that walk before the index is built: about what building it costs.
const WALKS: u32 = 12;

/// State of the lookups.
#[derive(Default)]
pub(super) struct Names {
    walked: AtomicU32,
    index: OnceLock<Index>,
}

/// Chained hash table over the blob's own types: `heads[hash]` and `next[slot]` hold slot index plus one, or 0.
struct Index {
    heads: Vec<u32>,
    next: Vec<u32>,
}

/// FNV-1a over words of up to eight bytes.
fn hash(name: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in name.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = (h ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 29;
    }
    h
}

impl NameKind {
    /// The BTF kinds that are looked up by this kind of name, as a set of bits.
    fn kinds(self) -> u64 {
        let kinds: &[u8] = match self {
            NameKind::Int => &[kind::INT, kind::FLOAT],
            NameKind::Struct => &[kind::STRUCT],
            NameKind::Union => &[kind::UNION],
            NameKind::Enum => &[kind::ENUM, kind::ENUM64],
            NameKind::Typedef => &[kind::TYPEDEF],
            NameKind::Func => &[kind::FUNC],
            NameKind::Var => &[kind::VAR],
        };
        kinds.iter().fold(0, |set, k| set | 1 << k)
    }
}

/// The BTF kinds that are found by name at all.
fn named_kinds() -> u64 {
    use NameKind::*;
    [Int, Struct, Union, Enum, Typedef, Func, Var].iter().fold(0, |set, n| set | n.kinds())
}

impl Btf {
    /// The first type of that kind and name: of this blob, or else of its base. `None` for an empty name.
    pub fn find(&self, kind: NameKind, name: &str) -> Option<TypeId> {
        std::iter::successors(Some(self), |b| b.base.as_deref())
            .find_map(|b| b.find_own(kind, name, false).first().copied())
    }

    /// All types of that kind and name, this blob's before its base's, each in ascending order.
    pub fn find_all(&self, kind: NameKind, name: &str) -> Vec<TypeId> {
        std::iter::successors(Some(self), |b| b.base.as_deref())
            .flat_map(|b| b.find_own(kind, name, true))
            .collect()
    }

    /// All named types of a kind with their names, base included, in ascending order.
    pub fn types(&self, kind: NameKind) -> impl Iterator<Item = (TypeId, &str)> + '_ {
        let mut blobs: Vec<&Btf> = std::iter::successors(Some(self), |b| b.base.as_deref()).collect();
        blobs.reverse();
        blobs.into_iter().flat_map(move |b| b.own_types(kind))
    }

    /// As [`Btf::types`], without the base's.
    pub fn own_types(&self, kind: NameKind) -> impl Iterator<Item = (TypeId, &str)> + '_ {
        let kinds = kind.kinds();
        self.slots()
            .filter(move |(_, slot)| kinds >> slot.kind() & 1 != 0)
            .map(|(id, slot)| (id, self.string(self.name_offset(slot))))
            .filter(|(_, name)| !name.is_empty())
    }

    /// Matches in this blob alone, in ascending order: all, or the first.
    fn find_own(&self, kind: NameKind, name: &str, all: bool) -> Vec<TypeId> {
        let mut hits = Vec::new();
        if name.is_empty() || name.contains('\0') {
            return hits;
        }
        let mut wanted = name.as_bytes().to_vec();
        wanted.push(0);
        let kinds = kind.kinds();
        let strings = self.own_strings();
        let types = self.type_bytes();
        // Whether to go on.
        let mut visit = |at: usize, slot: Slot| {
            if kinds >> slot.kind() & 1 == 0 {
                return true;
            }
            let offset = slot.name_offset(types);
            let text = match offset.checked_sub(self.first_string) {
                Some(own) => strings.get(own as usize..).unwrap_or(&[]),
                None => self.string_bytes(offset),
            };
            if text.starts_with(&wanted) {
                hits.push(TypeId(self.first_id + at as u32));
            }
            all || hits.is_empty()
        };
        let Some(index) = self.index_if_due() else {
            let _ = self.table.iter().enumerate().all(|(at, &slot)| visit(at, slot));
            return hits;
        };
        let mut at = index.heads[hash(name.as_bytes()) as usize & (index.heads.len() - 1)] as usize;
        while at != 0 && self.table.get(at - 1).is_some_and(|&slot| visit(at - 1, slot)) {
            at = index.next[at - 1] as usize;
        }
        hits
    }

    /// The index, once enough names have been asked for.
    fn index_if_due(&self) -> Option<&Index> {
        if let Some(index) = self.names.index.get() {
            return Some(index);
        }
        if self.names.walked.fetch_add(1, Ordering::Relaxed) < WALKS {
            return None;
        }
        Some(self.names.index.get_or_init(|| self.build_index()))
    }

    fn build_index(&self) -> Index {
        let mut heads = vec![0u32; (self.table.len() / 2).max(1).next_power_of_two()];
        let mut next = vec![0u32; self.table.len()];
        let kinds = named_kinds();
        let types = self.type_bytes();
        // From the end, so that a chain ascends.
        for (at, slot) in self.table.iter().enumerate().rev() {
            if kinds >> slot.kind() & 1 == 0 {
                continue;
            }
            let name = self.name_bytes(slot.name_offset(types));
            let bucket = hash(name) as usize & (heads.len() - 1);
            next[at] = std::mem::replace(&mut heads[bucket], at as u32 + 1);
        }
        Index { heads, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    #[test]
    fn walk_and_index_agree() {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        for i in 0..50 {
            b.typedef(&format!("t{}", i % 25), int);
        }
        b.struct_("t3", 0, &[]);
        let btf = Btf::parse(b.finish(), None).unwrap();
        let ask = || {
            let mut all: Vec<_> =
                (0..26).map(|i| btf.find_all(NameKind::Typedef, &format!("t{i}"))).collect();
            all.push(btf.find_all(NameKind::Struct, "t3"));
            all
        };
        let walked = ask();
        assert!(btf.names.index.get().is_some());
        assert_eq!(ask(), walked);
        assert_eq!(walked[3].len(), 2);
        assert!(walked[3][0] < walked[3][1]);
        assert!(walked[25].is_empty());
        assert_eq!(walked[26].len(), 1);
        assert_eq!(btf.find(NameKind::Typedef, ""), None);
    }

    #[test]
    fn names_differ_from_their_prefixes() {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        let long = b.typedef("size_tt", int);
        let short = b.typedef("size_t", int);
        let btf = Btf::parse(b.finish(), None).unwrap();
        for _ in 0..2 * WALKS {
            assert_eq!(btf.find(NameKind::Typedef, "size_t"), Some(short));
            assert_eq!(btf.find(NameKind::Typedef, "size_tt"), Some(long));
            assert_eq!(btf.find(NameKind::Typedef, "size"), None);
        }
    }
}
