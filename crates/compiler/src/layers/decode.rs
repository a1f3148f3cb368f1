//! Decoding of bytes. A frame, as far as it was captured, and its link type enter; the places of its layers leave, and what
//! ended the search. Every place lies within the bytes, and each begins where the one before it ends.

use std::ops::ControlFlow;

use super::table::{Layer, LayerId, Length, LinkType, Next, Space};

/// Most layers of one frame: tunnels in tunnels end here.
pub const MAX_LAYERS: usize = 32;

/// Where a layer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which.
    pub layer: LayerId,
    /// First byte.
    pub start: usize,
    /// One past its header's last byte.
    pub end: usize,
}

/// Why there is no further layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The last layer carries data.
    Payload,
    /// The last layer names something that is not in the table.
    Unknown {
        /// Which kind of number.
        space: Space,
        /// The number.
        code: u16,
    },
    /// The bytes end within a layer's header.
    Truncated(LayerId),
    /// A header says that it is shorter than it can be.
    Damaged(LayerId),
    /// The last layer's guard does not hold (a later fragment, and the like).
    Guarded(&'static str),
    /// There are more than [`MAX_LAYERS`].
    TooDeep,
}

/// A frame's layers.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoded {
    /// In order.
    pub layers: Vec<Place>,
    /// First byte behind the last layer.
    pub payload: usize,
    /// Why it is the last.
    pub stop: Stop,
}

impl Decoded {
    /// The first place of a layer.
    pub fn find(&self, layer: LayerId) -> Option<Place> {
        self.layers.iter().copied().find(|place| place.layer == layer)
    }
}

/// What comes next: a layer, or the end.
type Step = Result<&'static Layer, Stop>;

/// Finds the layers of a frame.
pub fn decode(link: LinkType, bytes: &[u8]) -> Decoded {
    let mut layers = Vec::new();
    let (payload, stop) = visit(link, bytes, &mut |place| {
        layers.push(place);
        ControlFlow::Continue(())
    });
    Decoded { layers, payload, stop }
}

/// Hands each layer of a frame to `see`, until it has seen enough ([`Stop::Payload`] then): the first byte behind the last
/// one, and why it is the last.
pub fn visit(link: LinkType, bytes: &[u8], see: &mut dyn FnMut(Place) -> ControlFlow<()>) -> (usize, Stop) {
    let (mut start, mut count) = (0, 0);
    let mut next: Step = match link.first() {
        Some(first) => Ok(first.row()),
        None => by_version(bytes, 0),
    };
    loop {
        let layer = match next {
            Ok(_) if count == MAX_LAYERS => return (start, Stop::TooDeep),
            Ok(layer) => layer,
            Err(stop) => return (start, stop),
        };
        let header = &bytes[start..];
        let end = match length(layer, header) {
            Err(stop) => return (start, stop),
            Ok(length) if length > header.len() => return (start, Stop::Truncated(layer.id)),
            Ok(length) => start + length,
        };
        if see(Place { layer: layer.id, start, end }).is_break() {
            return (end, Stop::Payload);
        }
        count += 1;
        next = following(layer, header, bytes, end);
        start = end;
    }
}

impl Layer {
    /// The bytes of a header that decide how long it is and what follows it (some may be named twice): [`visit`] finds the
    /// same behind two headers that agree in them.
    pub fn deciding(&self) -> impl Iterator<Item = usize> {
        let range = |at: u8, bytes: usize| usize::from(at)..usize::from(at) + bytes;
        let length = match self.length {
            Length::Fixed => 0..0,
            Length::Counted { at, .. } | Length::Flagged { at, .. } => range(at, 1),
            Length::Summed { at, .. } => range(at, 2),
        };
        let next = match self.next {
            Next::Nothing | Next::Layer(_) => 0..0,
            Next::Code { at, bytes, .. } => range(at, bytes.into()),
            Next::Family | Next::Ports => 0..4,
            Next::Label => 2..3,
        };
        let guard = self.guard.map_or(0..0, |guard| range(guard.at, 2));
        // The first byte may have been what said that it is this layer.
        (0..1).chain(length).chain(next).chain(guard)
    }
}

/// The bytes of a header.
fn length(layer: &Layer, header: &[u8]) -> Result<usize, Stop> {
    let min = usize::from(layer.min);
    if header.len() < min {
        return Err(Stop::Truncated(layer.id));
    }
    let byte = |at: u8| usize::from(header[usize::from(at)]);
    let length = match layer.length {
        Length::Fixed => min,
        Length::Counted { at, mask, shift, unit, plus } => {
            ((byte(at) & usize::from(mask)) >> shift) * usize::from(unit) + usize::from(plus)
        }
        Length::Flagged { at, mask, unit } => {
            min + (byte(at) & usize::from(mask)).count_ones() as usize * usize::from(unit)
        }
        Length::Summed { at, unit, plus } => {
            (byte(at) + byte(at + 1)) * usize::from(unit) + usize::from(plus)
        }
    };
    if length < min { Err(Stop::Damaged(layer.id)) } else { Ok(length) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn following(layer: &'static Layer, header: &[u8], bytes: &[u8], end: usize) -> Step {
    if let Some(guard) = layer.guard
        && u16_at(header, usize::from(guard.at)).is_some_and(|bits| bits & guard.mask != 0)
    {
        return Err(Stop::Guarded(guard.why));
    }
    let number = |at: usize, wide: bool| match wide {
        true => u16_at(header, at).unwrap_or(0),
        false => header.get(at).copied().map_or(0, u16::from),
    };
    match layer.next {
        Next::Nothing => Err(Stop::Payload),
        Next::Layer(next) => Ok(next.row()),
        Next::Code { space, at, bytes } => by_code(space, number(usize::from(at), bytes == 2)),
        Next::Family => {
            let family = header.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
            // The capturing machine's byte order: families are small.
            let family = if family > 0xffff { family.swap_bytes() } else { family };
            by_code(Space::Family, u16::try_from(family).unwrap_or(u16::MAX))
        }
        Next::Label if header[2] & 1 == 0 => Ok(layer),
        Next::Label => by_version(bytes, end),
        Next::Ports => {
            let (sport, dport) = (number(0, true), number(2, true));
            let found = Layer::of_code(Space::UdpDestination, dport)
                .or_else(|| Layer::of_code(Space::UdpPort, dport))
                .or_else(|| Layer::of_code(Space::UdpPort, sport));
            found.ok_or(Stop::Payload)
        }
    }
}

fn by_code(space: Space, code: u16) -> Step {
    Layer::of_code(space, code).ok_or(Stop::Unknown { space, code })
}

/// The layer that the first four bits at `at` name.
fn by_version(bytes: &[u8], at: usize) -> Step {
    match bytes.get(at) {
        None => Err(Stop::Payload),
        Some(first) => by_code(Space::Version, u16::from(first >> 4)),
    }
}
