//! Programs of `test:` and `bench:` probes: they are run on demand, in this thread.

use std::time::{Duration, Instant};

use skep_bpf::object::Attach;

use super::Loaded;
use crate::error::Error;

/// A program that is run on demand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Name of the probe.
    pub name: String,
    /// Which program.
    program: usize,
}

impl Loaded {
    /// The programs of `test:` probes in the order of the source.
    pub fn tests(&self) -> Vec<Trial> {
        self.trials(&Attach::Test)
    }

    /// The programs of `bench:` probes in the order of the source.
    pub fn benches(&self) -> Vec<Trial> {
        self.trials(&Attach::Bench)
    }

    fn trials(&self, at: &Attach) -> Vec<Trial> {
        let programs = self.programs.iter().enumerate();
        programs
            .flat_map(|(program, placed)| {
                let points = placed.points.iter().filter(|p| p.at == *at);
                points.map(move |p| Trial { name: p.name.clone(), program })
            })
            .collect()
    }

    /// Runs a test once: what it returned and how long it took.
    pub fn run_test(&self, trial: &Trial) -> Result<(u32, Duration), Error> {
        let start = Instant::now();
        match self.programs.get(trial.program) {
            Some(placed) => Ok((placed.prog.test_run(&[])?, start.elapsed())),
            None => Err(Error::Missing(format!("program {}", trial.name))),
        }
    }

    /// Runs the object's program number `program` once on a packet: what it returned and the packet as it left it.
    pub fn run_packet(&self, program: usize, packet: &[u8]) -> Result<(u32, Vec<u8>), Error> {
        match self.programs.get(program) {
            Some(placed) => placed.prog.test_run_packet(packet),
            None => Err(Error::Missing(format!("program {program}"))),
        }
    }

    /// Runs a measurement `repeat` times: what it returned last and the average time of a run.
    pub fn run_bench(&self, trial: &Trial, repeat: u32) -> Result<(u32, Duration), Error> {
        match self.programs.get(trial.program) {
            Some(placed) => {
                let (returned, nanos) = placed.prog.test_run_repeated(repeat)?;
                Ok((returned, Duration::from_nanos(nanos.into())))
            }
            None => Err(Error::Missing(format!("program {}", trial.name))),
        }
    }
}
