//! Legacy packet loads: an offset enters, bytes of the packet leave as a number in network byte order.

use super::{Flow, Interp};
use crate::vm::fault::FaultKind;
use crate::vm::op::Size;
use crate::vm::state::State;
use crate::vm::trace::Observe;

/// Offsets from here on count from the network header, and from the next from the link header (include/uapi/linux/filter.h).
const NET: i64 = -0x10_0000;
const LINK: i64 = -0x20_0000;

/// The packet's bytes at an offset; `None` where it has none, and the program ends.
pub(crate) fn packet_load(
    state: &State,
    context: u64,
    offset: i64,
    size: Size,
) -> Result<Option<u64>, FaultKind> {
    let packet = state.run.packet.filter(|_| context == state.run.context.get());
    let packet = packet.ok_or_else(|| FaultKind::Argument {
        name: "a packet load",
        index: 6,
        what: format!("(r6) is {context:#x}, not the context of a packet"),
    })?;
    let offset = match offset {
        0.. => offset,
        NET..0 => offset - NET + i64::from(state.run.network_offset),
        LINK..NET => offset - LINK,
        _ => return Ok(None),
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = packet.bytes(&state.memory).get(start..).and_then(|rest| rest.get(..size.bytes() as usize));
    Ok(bytes.map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
}

impl<O: Observe> Interp<'_, O> {
    pub(super) fn packet(
        &mut self,
        state: &State,
        size: Size,
        index: Option<u8>,
        imm: i32,
    ) -> Result<Flow, FaultKind> {
        let index = index.map_or(0, |reg| self.registers[reg as usize]) as u32;
        let offset = i64::from((index as i32).wrapping_add(imm));
        let value = packet_load(state, self.registers[6], offset, size)?;
        self.returned(value.unwrap_or(0));
        Ok(if value.is_some() { Flow::Next } else { Flow::Exit })
    }
}
