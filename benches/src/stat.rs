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

/// Between which values the middle half of some measurements lies; NaN without any.
pub(crate) fn middle_half(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get(values.len().saturating_sub(1) * part / 4).copied().unwrap_or(f64::NAN);
    (at(1), at(3))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_leaves_a_quarter_at_each_end() {
        assert_eq!(middle_half(vec![9.0, 1.0, 5.0, 3.0, 7.0]), (3.0, 7.0));
        assert_eq!(middle_half(vec![4.0]), (4.0, 4.0));
        assert!(middle_half(Vec::new()).0.is_nan());
    }
}
