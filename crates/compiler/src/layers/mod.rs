//! The packet model: which layers a frame may have, how each is recognised, how long it is and where its fields lie.
//!
//! One table ([`table`]) drives everything that knows packets: decoding of bytes ([`mod@decode`]), and code that finds layers
//! in a running program ([`walk`]) through any of the ways in which a program may read a packet ([`access`]). What enters
//! is a link type and bytes, or a function that is being built; what leaves are places of layers. What always holds: both
//! follow the same rows, so a layer that one finds at a place is found there by the other, up to the depth that
//! [`walk`] names.

pub mod access;
pub mod assign;
pub mod decode;
mod emit;
mod icmp;
pub mod rows;
pub mod table;
pub mod value;
pub mod walk;

pub use access::{At, Context, Mode, Reader, Window};
pub use assign::NewValue;
pub use decode::{Decoded, Place, Stop, decode, visit};
pub use icmp::{IcmpError, quote_sum};
pub use table::{Field, FieldKind, Guard, Layer, LayerId, Length, LinkType, Next, Shown, Space, Tier};
pub use value::Value;
pub use walk::{Depth, Frame, Tunnel};

#[cfg(test)]
mod tests;
