//! Counting what passed.
//!
//! In: the closing lines of other test programs. Out: one sum, printed the same way.

/// How many tests went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Tally { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
    }

    /// One check that was skipped.
    pub(crate) fn skip() -> Self {
        Tally { skipped: 1, ..Tally::default() }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads the harness's closing line, `N passed, N failed, N skipped`.
    pub(crate) fn from_harness(line: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut parts = line.trim().split(", ");
        for (number, word) in numbers.iter_mut().zip(["passed", "failed", "skipped"]) {
            let (digits, found) = parts.next()?.split_once(' ')?;
            if found != word {
                return None;
            }
            *number = digits.parse().ok()?;
        }
        let [passed, failed, skipped] = numbers;
        parts.next().is_none().then_some(Tally { passed, failed, skipped })
    }

    /// Adds up cargo's lines `test result: ok. N passed; N failed; N ignored; …`.
    pub(crate) fn from_cargo(lines: &[String]) -> Self {
        let mut tally = Tally::default();
        for line in lines.iter().filter_map(|line| line.strip_prefix("test result: ")) {
            for part in line.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let Some(number) = words.next().and_then(|word| word.parse::<usize>().ok()) else { continue };
                match words.next() {
                    Some("passed") => tally.passed += number,
                    Some("failed") => tally.failed += number,
                    Some("ignored") => tally.skipped += number,
                    _ => {}
                }
            }
        }
        tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_line() {
        let tally = Tally { passed: 3, failed: 1, skipped: 2 };
        assert_eq!(Tally::from_harness("3 passed, 1 failed, 2 skipped"), Some(tally));
        for other in
            ["", "3 passed", "3 passed, 1 failed, 2 skipped, 1 more", "x passed, 1 failed, 2 skipped"]
        {
            assert_eq!(Tally::from_harness(other), None, "{other}");
        }
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 2 skipped");
        assert_eq!(Tally::one(true).to_string(), "1 passed, 0 failed");
    }

    #[test]
    fn the_lines_of_cargo() {
        let lines = [
            "test result: ok. 16 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test x ... ok",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ];
        let tally = Tally::from_cargo(&lines.map(str::to_owned));
        assert_eq!(tally, Tally { passed: 18, failed: 3, skipped: 1 });
    }
}
