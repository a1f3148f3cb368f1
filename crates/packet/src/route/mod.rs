//! The router's table: routes as they are written enter, the steps that make a running table the wanted one leave. No
//! system call is made here. What always holds: after each step, every address is forwarded as the table before or as the
//! table behind says, because a next hop is written before the routes that lead to it and stays until none does.

pub mod case;
pub mod direct;
pub mod fib;
mod hash;
mod hop;
mod packed;
mod parse;
mod policy;
mod prefix;
pub mod record;
mod table;

pub use hop::{HOP_BYTES, Hop, Kind, LINK_AT, OWNER_AT, SPARE, Through};
pub use packed::{NUMBERS, Packed};
pub use parse::{Device, Links, NextHop, Route, Tail, Target, parse, parse_condition, some};
pub use policy::{Entry, FILTERS, LISTS, POLICY, Policies, SLOTS, TEXT, WORDS, text_words};
pub use prefix::Prefix;
pub use table::{BUCKETS, Change, Down, GROUP, GROUPS, HOPS, OWN_ROOM, Row, Step, Table, Whole};

/// What is wrong with a route.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(pub(crate) String);

/// A word of the user's, with control characters escaped and cut where it is long.
pub(crate) fn quoted(word: &str) -> String {
    let short: String = word.chars().take(60).collect();
    format!("`{}`", short.escape_debug())
}
