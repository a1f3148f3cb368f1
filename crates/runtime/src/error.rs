//! Why a session could not go on.

use skep_bpf::backend::BackendError;

/// Errors of a session. A reader that closed the output is none of them, see [`crate::session::End::Closed`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The events could not be read.
    #[error("reading events: {0}")]
    Events(#[source] BackendError),
    /// The output could not be written.
    #[error("writing output: {0}")]
    Output(#[source] std::io::Error),
}
