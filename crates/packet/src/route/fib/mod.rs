//! The kernel's routing table, followed: messages of rtnetlink enter as the kernel wrote them, changes of the router's table leave.
//! What always holds: only routes that follow are touched, and whatever the messages say, reading them ends and costs no more than
//! their length.

mod message;
mod mirror;
#[cfg(test)]
mod tests;

pub use message::{Change, KernelHop, KernelRoute, Link, Object, RouteKind, Ways, read};
pub use mirror::{Mirror, Selection, protocol_number};
