//! [`Offline`]: a script's or object's programs on the machine, run one by one, with what they print.

use super::guest::{Guest, Ran};
use super::plain::Plain;
use super::watch::Watch;
use crate::error::Error;
use crate::tracer::Output;
use skep_bpf::object::{Attach, Object};
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::forward::Forwarded;
use skep_runtime::{Options, Outcome, Session, Sink};

/// Programs on the machine.
pub struct Offline<'o> {
    pub(super) guest: Guest,
    object: &'o Object,
    session: Session<'o, Box<dyn Sink>>,
    pub(super) watch: Watch,
}

impl<'o> Offline<'o> {
    /// Of `guest`, whose object is `object`; `watch` sees what runs.
    pub fn new(guest: Guest, object: &'o Object, output: Output, watch: Watch) -> Offline<'o> {
        let session = Session::new(object, output.sink(), Options::default());
        Offline { guest, object, session, watch }
    }

    /// The machine.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// Programs of `begin`: run once, before anything else.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.run_all(|at| matches!(at, Attach::Begin))
    }

    fn run_all(&mut self, wanted: impl Fn(&Attach) -> bool) -> Result<(), Error> {
        let object = self.object;
        let programs = object.programs.iter().enumerate();
        for (index, program) in programs {
            for _ in program.attach.iter().filter(|point| wanted(&point.at)) {
                self.run(index, &Input::args(&[0; 8]))?;
            }
        }
        Ok(())
    }

    /// Runs a program with these bytes as its context.
    pub fn run_bytes(&mut self, index: usize, context: &[u8]) -> Result<Ran, Error> {
        self.run(index, &Input::bytes(context))
    }

    /// Runs a program, and prints what it sends.
    pub(super) fn run(&mut self, index: usize, input: &Input) -> Result<Ran, Error> {
        let ran = self.guest.run_once(index, input, self.watch.observer());
        self.watch.ended(ran.as_ref().ok().map(|r| r.result));
        self.read()?;
        let ran = ran.map_err(Error::Stopped)?;
        Ok(Ran { result: ran.result, instructions: ran.instructions, packet: ran.packet })
    }

    /// Where the packet goes that the last run has redirected, which left it as `packet`; programs of maps run on it before.
    pub(super) fn forward(&mut self, input: &Input, packet: Vec<u8>) -> Result<Vec<Forwarded>, Error> {
        let options = self.guest.options;
        let forwarded = self.guest.vm.forward(input, packet, options);
        self.read()?;
        forwarded.map_err(|e| Error::Stopped(e.to_string()))
    }

    /// Prints what has been sent.
    fn read(&mut self) -> Result<(), Error> {
        self.session.collect(&mut Plain::new(&mut self.guest))?;
        Ok(())
    }

    /// Whether the script has called `exit()`.
    pub fn exiting(&self) -> bool {
        self.session.exiting()
    }

    /// Runs the programs of `end`, prints the maps, and gives the machine back with who watched.
    pub fn finish(mut self) -> Result<(Outcome, Guest, Watch), Error> {
        self.session.settle(&mut Plain::new(&mut self.guest))?;
        self.run_all(|at| matches!(at, Attach::End))?;
        // Programs that are no script have nothing that a session could print.
        let spoken =
            self.object.session.events.is_some() || self.object.maps.iter().any(|m| m.schema.is_some());
        let outcome = match spoken {
            true => self.session.finish(&mut Plain::new(&mut self.guest))?,
            false => Outcome::default(),
        };
        Ok((outcome, self.guest, self.watch))
    }
}
