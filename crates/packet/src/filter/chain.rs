//! Following headers to a protocol (`protochain`): what one header says of the next.
//!
//! The rules are shared by the evaluation here and the code that is emitted. A chain ends at the protocol that is looked
//! for, at "no next header", at a header that has no next, and after [`MOST`] headers.

/// Headers that are followed.
pub(super) const MOST: usize = 10;

/// No next header.
pub(super) const NONE: u32 = 59;
/// Authentication header.
pub(super) const AUTHENTICATION: u32 = 51;
/// IPv6 headers that say in their second byte how many times 8 bytes follow the first 8: hop-by-hop options, destination
/// options, routing, and fragment (where that byte is zero).
pub(super) const EXTENSIONS: [u32; 4] = [0, 60, 43, 44];
