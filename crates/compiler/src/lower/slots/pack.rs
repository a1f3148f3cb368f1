//! Packing of slots into a frame.

use super::SlotUse;
use crate::ir::{Function, Slot};
use crate::lower::chain::slot_align;

/// Where slots lie: for each the distance of its start below the top (so that its address is the top less that), and
/// the bytes in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packing {
    pub below: Vec<u32>,
    pub size: u32,
}

/// Packs the slots that `take` accepts; slots that are never in use together share bytes.
pub(crate) fn pack(func: &Function, uses: &[SlotUse], take: impl Fn(usize) -> bool) -> Packing {
    let mut order: Vec<usize> = (0..func.slots.len()).filter(|i| uses[*i].is_used() && take(*i)).collect();
    order.sort_by_key(|i| (uses[*i].span().0, std::cmp::Reverse(func.slots[*i].size)));
    let mut out = Packing { below: vec![0; func.slots.len()], size: 0 };
    let mut active: Vec<usize> = Vec::new();
    for i in order {
        let start = uses[i].span().0;
        active.retain(|a| uses[*a].span().1 > start);
        let mut taken: Vec<(u32, u32)> = active
            .iter()
            .filter(|a| uses[**a].meets(&uses[i]))
            .map(|a| (out.below[*a] - func.slots[*a].size, out.below[*a]))
            .collect();
        taken.sort_unstable();
        let (size, align) = (func.slots[i].size, slot_align(func, Slot(i as u32)));
        let mut at = 0u32;
        for (low, high) in taken {
            if (at + size).next_multiple_of(align) <= low {
                break;
            }
            at = at.max(high);
        }
        out.below[i] = (at + size).next_multiple_of(align);
        out.size = out.size.max(out.below[i]);
        active.push(i);
    }
    out
}
