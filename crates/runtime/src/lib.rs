//! What a running object says: its events are decoded and acted on, its maps merged and ordered, and both printed as
//! text or JSON.
//!
//! Enters: an [`Object`](skep_bpf::object::Object) and a [`Backend`](skep_bpf::backend::Backend) that runs it; leaves:
//! bytes written to the caller's writers, and an [`session::Outcome`]. All that is read from the machine comes through
//! the backend: nothing here opens a file, looks at a clock or knows a system call, so the live kernel and a virtual
//! machine print through the same code. Bytes of records and maps are hostile and never make this crate panic.

mod act;

pub mod decode;
pub mod error;
pub mod loss;
pub mod maps;
pub mod record;
pub mod render;
pub mod session;
pub mod sink;
pub mod strftime;
pub mod value;

pub use error::Error;
pub use session::{End, Options, Outcome, SavePackets, Session};
pub use sink::{BenchResult, JsonSink, Sink, TestResult, TextSink};
