//! Programs on the offline machine (`skep run`): no kernel, no privilege. An object, a script or a recording enters, with
//! packets, a context or recorded events; what the programs print, decide and leave in their maps comes out.

mod assembly;
mod backend;
mod dump;
mod fill;
mod guest;
mod listing;
mod offline;
mod packets;
mod plain;
mod recording;
mod replay;
mod source;
mod watch;

pub use assembly::assemble;
pub use dump::maps;
pub use guest::{Guest, GuestOptions, Ran};
pub use listing::list;
pub use offline::Offline;
pub use packets::{Packets, Verdicts};
pub use recording::Recording;
pub use replay::Replayed;
pub use skep_runtime::record::Difference;
pub use source::{Types, object, script};
pub use watch::Watch;
