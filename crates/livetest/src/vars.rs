//! The placeholders a fixture may use: `<SELF>`, `<TMP>`, `<CGROUP>`, `<PID>`, `<PID2>`, `<CPUS>`, `<SCRIPT>`, `<TRACE>`.
//!
//! In: the values of one run. Out: text with each placeholder replaced; in patterns the value is quoted, so that it
//! matches itself.

use std::collections::BTreeMap;

/// The values of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars(BTreeMap<String, String>);

impl Vars {
    /// Sets the value of `<NAME>`.
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(format!("<{name}>"), value.to_string());
    }

    /// Replaces every placeholder in plain text.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Replaces every placeholder in a regular expression.
    pub(crate) fn fill_pattern(&self, pattern: &str) -> String {
        self.0
            .iter()
            .fold(pattern.to_owned(), |text, (name, value)| text.replace(name, &regex::escape(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_in_patterns_only() {
        let mut vars = Vars::default();
        vars.set("TMP", "/tmp/a.b");
        assert_eq!(vars.fill("open <TMP>/x"), "open /tmp/a.b/x");
        assert_eq!(vars.fill_pattern("^<TMP>$"), r"^/tmp/a\.b$");
    }
}
