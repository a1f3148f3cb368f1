//! Longest-prefix match tries (kernel/bpf/lpm_trie.c). A key is a u32 with the number of bits that count, then the bits, the first in
//! the highest bit of the first byte.
//!
//! The trie is the kernel's, node by node: paths without a fork are one node, forks without an entry of their own are nodes without a value. So keys
//! iterate in the kernel's order: what is more specific first, zeros before ones.

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::pool::Pool;
use super::{Map, check_flags, update_flag, value_access};
use crate::vm::memory::{Addr, MapId, Memory, ObjectKind};

#[derive(Debug)]
struct Node {
    prefix: u32,
    data: Box<[u8]>,
    /// Place of the value; nodes that are only forks have none.
    value: Option<u32>,
    child: [Option<u32>; 2],
}

/// Where a node hangs: below another one, on a side, or at the root.
type Place = Option<(u32, usize)>;

/// A trie.
pub(super) struct Lpm {
    spec: MapSpec,
    bits: u32,
    pool: Pool,
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    root: Option<u32>,
    entries: u32,
}

fn bit(data: &[u8], at: u32) -> usize {
    data.get((at / 8) as usize).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1))
}

/// How many bits two prefixes share.
fn shared(a: (&[u8], u32), b: (&[u8], u32)) -> u32 {
    let most = a.1.min(b.1);
    let mut bits = 0;
    for (x, y) in a.0.iter().zip(b.0) {
        let same = (x ^ y).leading_zeros();
        bits += same;
        if same < 8 || bits >= most {
            break;
        }
    }
    bits.min(most)
}

impl Lpm {
    pub(super) fn new(id: MapId, spec: &MapSpec) -> Lpm {
        let access = value_access(spec.flags);
        Lpm {
            spec: spec.clone(),
            bits: spec.key_size.saturating_sub(4) * 8,
            pool: Pool::new(ObjectKind::MapValue(id), access, spec.value_size, 1, spec.max_entries),
            nodes: Vec::new(),
            vacant: Vec::new(),
            root: None,
            entries: 0,
        }
    }

    /// Length and bits of a key; `None` for a length that the map does not have.
    fn split<'k>(&self, key: &'k [u8]) -> Option<(u32, &'k [u8])> {
        let (prefix, data) = key.split_first_chunk::<4>()?;
        let prefix = u32::from_ne_bytes(*prefix);
        (prefix <= self.bits && data.len() >= (self.bits / 8) as usize).then_some((prefix, data))
    }

    fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    fn add(&mut self, node: Node) -> u32 {
        match self.vacant.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    fn hang(&mut self, place: Place, node: Option<u32>) {
        match place {
            None => self.root = node,
            Some((parent, side)) => self.nodes[parent as usize].child[side] = node,
        }
    }

    /// Walks towards a prefix: the first node that does not lie above it, where it hangs, and how many bits they share.
    fn descend(&self, prefix: u32, data: &[u8]) -> (Place, Option<(u32, u32)>) {
        let (mut place, mut next) = (None, self.root);
        while let Some(index) = next {
            let node = self.node(index);
            let common = shared((&node.data, node.prefix), (data, prefix));
            if node.prefix != common || node.prefix == prefix {
                return (place, Some((index, common)));
            }
            let side = bit(data, node.prefix);
            (place, next) = (Some((index, side)), node.child[side]);
        }
        (place, None)
    }

    /// Counts one entry more (trie_check_add_elem).
    fn grow(&mut self, flags: u64) -> Result<(), Errno> {
        if flags == update_flag::EXIST {
            return Err(Errno::NOENT);
        }
        if self.entries == self.spec.max_entries {
            return Err(Errno::NOSPC);
        }
        self.entries += 1;
        Ok(())
    }

    /// The place in the pool for the value of a new entry.
    fn take(&mut self, memory: &mut Memory, value: &[u8]) -> Result<u32, Errno> {
        let slot = self.pool.take(memory).map_err(|_| Errno::NOMEM)?;
        self.pool.set(memory, slot, 0, value);
        Ok(slot)
    }

    fn insert(
        &mut self,
        memory: &mut Memory,
        prefix: u32,
        data: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let (place, found) = self.descend(prefix, data);
        let fresh = |slot, child| Node { prefix, data: data.into(), value: Some(slot), child };
        let Some((index, common)) = found else {
            self.grow(flags)?;
            let slot = self.take(memory, value)?;
            let new = self.add(fresh(slot, [None, None]));
            self.hang(place, Some(new));
            return Ok(());
        };
        let (node_prefix, node_value, node_child) = {
            let node = self.node(index);
            (node.prefix, node.value, node.child)
        };
        if node_prefix == common {
            // The same prefix: the new entry takes the node's place, with a value of its own.
            match node_value {
                Some(_) if flags == update_flag::NOEXIST => return Err(Errno::EXIST),
                Some(_) => {}
                None => self.grow(flags)?,
            }
            let slot = self.take(memory, value)?;
            if let Some(old) = node_value {
                self.pool.give(old);
            }
            self.nodes[index as usize] = fresh(slot, node_child);
            return Ok(());
        }
        self.grow(flags)?;
        let slot = self.take(memory, value)?;
        if common == prefix {
            // The new entry is above the node.
            let side = bit(&self.node(index).data, common);
            let mut child = [None, None];
            child[side] = Some(index);
            let new = self.add(fresh(slot, child));
            self.hang(place, Some(new));
            return Ok(());
        }
        // The two part: a fork above both.
        let new = self.add(fresh(slot, [None, None]));
        let fork_data = self.node(index).data.clone();
        let mut child = [Some(index), Some(index)];
        child[bit(data, common)] = Some(new);
        let fork = self.add(Node { prefix: common, data: fork_data, value: None, child });
        self.hang(place, Some(fork));
        Ok(())
    }

    fn release(&mut self, index: u32) {
        self.vacant.push(index);
    }

    /// Takes out the value of a prefix, and the nodes that nothing needs any more (trie_delete_elem).
    fn remove(&mut self, prefix: u32, data: &[u8]) -> Result<(), Errno> {
        let mut above: (Place, Option<u32>) = (None, None);
        let (mut place, mut next) = (None, self.root);
        let index = loop {
            let index = next.ok_or(Errno::NOENT)?;
            let node = self.node(index);
            let common = shared((&node.data, node.prefix), (data, prefix));
            if node.prefix != common {
                return Err(Errno::NOENT);
            }
            if node.prefix == prefix {
                break index;
            }
            let side = bit(data, node.prefix);
            above = (place, Some(index));
            (place, next) = (Some((index, side)), node.child[side]);
        };
        let slot = self.nodes[index as usize].value.take().ok_or(Errno::NOENT)?;
        self.pool.give(slot);
        self.entries -= 1;
        match self.node(index).child {
            [Some(_), Some(_)] => {}
            [None, None] => self.remove_leaf(index, place, above),
            [child, other] => {
                self.hang(place, child.or(other));
                self.release(index);
            }
        }
        Ok(())
    }

    /// Takes out a node without children, and the fork above it: its other child takes that one's place.
    fn remove_leaf(&mut self, leaf: u32, place: Place, (parent_place, parent): (Place, Option<u32>)) {
        let fork = parent.zip(place).filter(|(parent, _)| self.node(*parent).value.is_none());
        match fork {
            Some((parent, (_, side))) => {
                let other = self.node(parent).child[1 - side];
                self.hang(parent_place, other);
                self.release(parent);
            }
            None => self.hang(place, None),
        }
        self.release(leaf);
    }

    fn key_of(&self, index: u32) -> Vec<u8> {
        let node = self.node(index);
        let mut key = node.prefix.to_ne_bytes().to_vec();
        key.extend_from_slice(&node.data[..(self.bits / 8) as usize]);
        key
    }

    /// The first entry below a node (and itself), children first, the zero side before the other.
    fn first_below(&self, from: u32) -> Option<u32> {
        let mut index = from;
        loop {
            let node = self.node(index);
            match node.child[0].or(node.child[1]) {
                Some(child) => index = child,
                None => return Some(index),
            }
        }
    }

    /// The nodes from the root to an entry; `None` when it is not there.
    fn path(&self, prefix: u32, data: &[u8]) -> Option<Vec<u32>> {
        let mut path = Vec::new();
        let mut next = self.root;
        while let Some(index) = next {
            path.push(index);
            let node = self.node(index);
            if node.prefix == prefix {
                let same = shared((&node.data, prefix), (data, prefix)) == prefix;
                return (same && node.value.is_some()).then_some(path);
            }
            next = (node.prefix < prefix).then(|| node.child[bit(data, node.prefix)]).flatten();
        }
        None
    }

    /// The entry behind the one at the end of `path`.
    fn behind(&self, path: &[u32]) -> Option<u32> {
        let (mut index, above) = path.split_last()?;
        for parent in above.iter().rev() {
            let node = self.node(*parent);
            if let (true, Some(other)) = (node.child[0] == Some(*index), node.child[1]) {
                return self.first_below(other);
            }
            if node.value.is_some() {
                return Some(*parent);
            }
            index = parent;
        }
        None
    }
}

impl Map for Lpm {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn find(&self, _cpu: u32, key: &[u8]) -> Option<Addr> {
        let (prefix, data) = self.split(key)?;
        let (mut best, mut next) = (None, self.root);
        while let Some(index) = next {
            let node = self.node(index);
            if shared((&node.data, node.prefix), (data, prefix)) < node.prefix {
                break;
            }
            best = node.value.or(best);
            next = (node.prefix < self.bits).then(|| node.child[bit(data, node.prefix)]).flatten();
        }
        self.pool.at(best?, 0)
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        _cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        check_flags(flags)?;
        let (prefix, data) = self.split(key).ok_or(Errno::INVAL)?;
        self.insert(memory, prefix, data, value, flags)
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        let (prefix, data) = self.split(key).ok_or(Errno::INVAL)?;
        self.remove(prefix, data)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        let found = key.and_then(|key| self.split(key)).and_then(|(prefix, data)| self.path(prefix, data));
        let next = match found {
            Some(path) => self.behind(&path),
            None => self.root.and_then(|root| self.first_below(root)),
        };
        Ok(next.map(|index| self.key_of(index)))
    }
}
