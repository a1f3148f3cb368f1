//! Medians, ratios, and the switch for run statistics of BPF programs.

use anyhow::{Context, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Median of some measurements; NaN without any.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

/// Geometric mean of ratios; NaN without any.
pub(crate) fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

/// Run statistics on, as long as the value lives.
#[derive(Debug)]
pub(crate) struct RunStats {
    before: String,
}

impl RunStats {
    /// Switches them on.
    pub(crate) fn on() -> Result<RunStats> {
        let before = std::fs::read_to_string(SWITCH).context("cannot read bpf_stats_enabled")?;
        std::fs::write(SWITCH, "1").context("cannot set bpf_stats_enabled (not root?)")?;
        Ok(RunStats { before })
    }
}

impl Drop for RunStats {
    fn drop(&mut self) {
        let _ = std::fs::write(SWITCH, self.before.trim());
    }
}
