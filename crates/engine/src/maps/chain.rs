//! A doubly linked order over slots, by their numbers: the order in which keys were added, or used. Every operation takes constant
//! time. Always: a slot is in it at most once.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    here: bool,
}

/// The order.
#[derive(Debug)]
pub(super) struct Chain {
    links: Vec<Link>,
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { links: Vec::new(), first: NONE, last: NONE }
    }
}

fn some(slot: u32) -> Option<u32> {
    (slot != NONE).then_some(slot)
}

impl Chain {
    /// The first slot.
    pub(super) fn first(&self) -> Option<u32> {
        some(self.first)
    }

    /// The slot behind `slot`.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        self.links.get(slot as usize).filter(|link| link.here).and_then(|link| some(link.after))
    }

    fn link(&mut self, slot: u32) -> &mut Link {
        let index = slot as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, Link { before: NONE, after: NONE, here: false });
        }
        &mut self.links[index]
    }

    /// Tells the neighbours of `slot` (or the ends) who stands at its place now.
    fn join(&mut self, before: u32, after: u32, next_of_before: u32, previous_of_after: u32) {
        match some(before) {
            Some(slot) => self.link(slot).after = next_of_before,
            None => self.first = next_of_before,
        }
        match some(after) {
            Some(slot) => self.link(slot).before = previous_of_after,
            None => self.last = previous_of_after,
        }
    }

    /// Puts a slot at the end, from wherever it was.
    pub(super) fn push(&mut self, slot: u32) {
        self.remove(slot);
        let before = self.last;
        *self.link(slot) = Link { before, after: NONE, here: true };
        self.join(before, NONE, slot, slot);
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, slot: u32) {
        let Link { before, after, here } = *self.link(slot);
        if here {
            self.link(slot).here = false;
            self.join(before, after, after, before);
        }
    }

    /// Puts `new` at the place of `old`.
    pub(super) fn replace(&mut self, old: u32, new: u32) {
        let link = *self.link(old);
        if link.here && old != new {
            self.link(old).here = false;
            *self.link(new) = link;
            self.join(link.before, link.after, new, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chain: &Chain) -> Vec<u32> {
        std::iter::successors(chain.first(), |slot| chain.after(*slot)).collect()
    }

    #[test]
    fn keeps_order_through_moves() {
        let mut chain = Chain::default();
        (0..5).for_each(|slot| chain.push(slot));
        chain.push(1);
        chain.remove(0);
        chain.replace(3, 9);
        assert_eq!(all(&chain), [2, 9, 4, 1]);
        chain.replace(1, 0);
        chain.remove(1);
        chain.push(7);
        assert_eq!(all(&chain), [2, 9, 4, 0, 7]);
        [2, 9, 4, 0, 7].iter().for_each(|slot| chain.remove(*slot));
        assert_eq!((chain.first(), chain.after(3)), (None, None));
    }
}
