//! `test:` and `bench:` probes: a loaded program enters; each is run, its output kept apart, and what it came to printed.

use crate::error::Error;
use crate::tracer::Tracer;
use skep_runtime::{BenchResult, Options, Outcome, Session, TestResult, TextSink};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

/// A measurement goes on until its runs take so long together.
const ENOUGH: Duration = Duration::from_millis(1);
/// Most runs of a measurement.
const MAX_RUNS: u32 = 1 << 28;

/// Bytes that several writers collect.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tracer<'_> {
    /// Runs all `test:` probes in order and says on the output how each came out. Whether all passed: a test does if it
    /// returns 0, exits with no other code and reports no error.
    pub fn run_tests(&mut self) -> Result<bool, Error> {
        self.session.settle(&mut self.loaded)?;
        let tests = self.loaded.tests();
        let names: Vec<String> = tests.iter().map(|t| t.name.clone()).collect();
        let mut passed = Vec::new();
        for (index, test) in tests.iter().enumerate() {
            let (returned, time) = self.loaded.run_test(test)?;
            let (outcome, output) = self.collect()?;
            passed.push(returned == 0 && outcome.exit_code == 0 && outcome.errors == 0);
            let result = TestResult { names: &names, index, time, passed: &passed, output: &output };
            self.session.test_result(&result)?;
        }
        Ok(passed.iter().all(|p| *p))
    }

    /// Runs all `bench:` probes in order, each until its runs take a millisecond together, and prints the average time of
    /// a run. One that returns a number other than 0 is left out. Whether none failed: exited with a code or reported an
    /// error.
    pub fn run_benches(&mut self) -> Result<bool, Error> {
        self.session.settle(&mut self.loaded)?;
        let benches = self.loaded.benches();
        let names: Vec<String> = benches.iter().map(|b| b.name.clone()).collect();
        let (mut first, mut good) = (true, true);
        for (index, bench) in benches.iter().enumerate() {
            let mut runs = 1u32;
            let (average, outcome) = loop {
                let (returned, average) = self.loaded.run_bench(bench, runs)?;
                let (outcome, _) = self.collect()?;
                if outcome.exit_code == 0 && returned != 0 {
                    break (None, outcome);
                }
                let total = average.saturating_mul(runs);
                if total >= ENOUGH || runs >= MAX_RUNS {
                    break (Some(average), outcome);
                }
                runs = runs.saturating_mul(more(total)).min(MAX_RUNS);
            };
            if outcome.exit_code != 0 || outcome.errors != 0 {
                self.session.notice_error(&format!("Benchmark '{}' failed.", bench.name))?;
                good = false;
                continue;
            }
            let Some(average) = average else { continue };
            let runs = u64::from(runs);
            self.session.bench_result(&BenchResult { names: &names, index, average, runs, first })?;
            first = false;
        }
        Ok(good)
    }

    /// What programs have sent, rendered as text, and what it came to.
    fn collect(&mut self) -> Result<(Outcome, Vec<u8>), Error> {
        let kept = Kept::default();
        let settings = Options { source_name: self.program.source.name.clone(), ..Options::default() };
        let sink = TextSink::new(kept.clone(), kept.clone(), true);
        let mut session = Session::new(&self.program.object, sink, settings);
        let outcome = session.collect(&mut self.loaded)?;
        Ok((outcome, kept.0.take()))
    }
}

/// How many times more runs are needed, from the time of those that were.
fn more(total: Duration) -> u32 {
    match total.as_nanos() {
        0..1_000 => 1000,
        1_000..10_000 => 100,
        10_000..100_000 => 10,
        _ => 2,
    }
}
