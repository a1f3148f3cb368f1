//! Options of `skep doctor`.

use super::Format;
use clap::Args;

/// Options of `skep doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Output format
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}
