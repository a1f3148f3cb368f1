//! A recording happens again: each run of a program with the answers that it got, in the session that it had.

use super::guest::{Guest, GuestOptions};
use super::recording::Recording;
use super::watch::Watch;
use crate::error::Error;
use crate::tracer::Output;
use flate2::read::ZlibDecoder;
use skep_bpf::backend::{HasMaps, MapAccess};
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Program;
use skep_engine::helpers::env::process::Process;
use skep_engine::helpers::env::recorded::Answer as Given;
use skep_engine::vm::context::Input;
use skep_runtime::record::{Answer, Difference, Machine, Phase, Replay, Run};
use skep_runtime::{Options, Session};
use std::collections::BTreeMap;
use std::io::Read;

/// Bytes of context that a program gets at least: what it does not read was not recorded.
const CONTEXT: usize = 64;

/// Bytes of a table at most: what the loader makes of all processes.
const MAX_TABLE: u64 = 256 << 20;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Runs of programs.
    pub runs: u64,
    /// The code of `exit()`, 0 without.
    pub exit_code: i32,
    /// The first things that came out otherwise than they were recorded.
    pub differences: Vec<Difference>,
    /// How many there were.
    pub different: u64,
    /// What of the recording is missing: records that found no room, incomplete runs; `None`: it breaks off.
    pub missing: Option<(u64, u64)>,
}

/// The machine with who watches.
struct Stage {
    guest: Guest,
    watch: Watch,
    /// The program of this object for each of the recording's, by number.
    programs: BTreeMap<u32, usize>,
}

impl Stage {
    /// Makes the world of a run what it was.
    fn set(&mut self, run: &Run) -> Result<(), String> {
        let env = &mut self.guest.vm.state.env;
        env.cpu = run.cpu.min(env.cpus.saturating_sub(1));
        env.now = run.time;
        let (tid, pid) = (run.process as u32, (run.process >> 32) as u32);
        env.processes.add(Process {
            tid,
            pid,
            uid: run.user as u32,
            gid: (run.user >> 32) as u32,
            comm: run.comm.clone(),
            ..Process::new(pid, "")
        });
        env.processes.switch(tid);
        env.answers.clear();
        env.key_order.clear();
        env.kernel.clear();
        env.user.clear();
        for answer in &run.answers {
            match answer {
                Answer::Helper { id, returned, data, .. } => {
                    env.answers.push(*id, Given { r0: *returned, bytes: data.clone() });
                }
                Answer::Kfunc { number, returned } => env.answers.push_kfunc(*number, *returned),
                Answer::Memory { address, data } => env.kernel.put(*address, data),
            }
        }
        for (map, key) in &run.keys {
            if let Some(map) = self.guest.map(*map as usize) {
                self.guest.vm.state.env.key_order.push(map, key);
            }
        }
        let gate = self.guest.object.session.control_map;
        if let (Some(gate), Some(value)) = (gate, run.gate) {
            let entry = self.guest.map_lookup(gate, &0u32.to_ne_bytes()).map_err(|e| e.to_string())?;
            let mut bytes = entry.get(0).map(|e| e.value().to_vec()).unwrap_or_default();
            bytes.iter_mut().zip((value as u32).to_ne_bytes()).for_each(|(b, new)| *b = new);
            self.guest.map_update(gate, &0u32.to_ne_bytes(), &bytes).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// A packet with the context that was recorded of it: what the program did not read follows from the packet.
fn of_packet(kind: ProgType, packet: &[u8], recorded: &[u8]) -> Option<Input> {
    let mut input = Input::packet(kind, packet)?;
    for (byte, was) in input.context.iter_mut().zip(recorded).filter(|(_, was)| **was != 0) {
        *byte = *was;
    }
    Some(input)
}

impl HasMaps for Stage {
    type Maps = Guest;

    fn maps(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

impl Machine for Stage {
    fn run(&mut self, run: &Run) -> (Vec<Vec<u8>>, Option<String>) {
        let Some(&index) = self.programs.get(&run.program) else {
            return (Vec::new(), Some(format!("there is no program for {}", run.probe)));
        };
        if let Err(why) = self.set(run) {
            return (Vec::new(), Some(why));
        }
        let mut context = run.context.clone();
        context.resize(context.len().max(CONTEXT), 0);
        let kind = self.guest.object.programs.get(index).map(|program| program.prog_type);
        let input = match (&run.packet, kind) {
            (Some(packet), Some(kind)) => of_packet(kind, packet, &run.context),
            _ => Some(Input::record(&context)),
        };
        let Some(input) = input else {
            return (Vec::new(), Some("its kind of programs gets no packets".to_owned()));
        };
        let ran = self.guest.run_once(index, &input, self.watch.observer());
        self.watch.ended(ran.as_ref().ok().map(|r| r.result));
        let env = &self.guest.vm.state.env;
        let (left, keys) = (env.answers.left(), env.key_order.left());
        let wrong = match (ran, left) {
            (Err(why), _) => Some(why),
            (Ok(_), 0) if keys == 0 => None,
            (Ok(_), 0) => Some(format!("it did not come to {keys} keys of its maps that it came to before")),
            (Ok(_), left) => Some(format!("it did not ask for {left} answers that it asked for before")),
        };
        (self.guest.sent(), wrong)
    }
}

impl Recording {
    /// Lets the session happen again and prints what it printed; `watch` sees the programs run.
    pub fn replay(
        &self,
        name: &str,
        output: Output,
        options: &GuestOptions,
        watch: &mut Watch,
    ) -> Result<Replayed, Error> {
        let options = GuestOptions { cpus: self.recorded.head.cpus, ..options.clone() };
        let guest = self.guest(name, &options)?;
        let watched = std::mem::replace(watch, Watch::Nobody);
        let programs = self.programs();
        let stage = Stage { guest, watch: watched, programs };
        let mut replay = Replay::new(&self.recorded, &self.object, stage);
        let settings = Options {
            allow_system: true,
            source_name: self.source.name.clone(),
            source_text: self.source.text.clone(),
            ..Options::default()
        };
        let mut session = Session::new(&self.object, output.sink(), settings);
        let mut stopped = None;
        let mut detached = u64::MAX;
        for (phase, at) in self.recorded.phases() {
            match phase {
                Phase::Start { clocks } => self.set_clocks(&mut replay, clocks)?,
                Phase::Attached { probes, said: true } => session.attached(*probes)?,
                Phase::Attached { .. } | Phase::Ended => {}
                Phase::Stopped => stopped = Some(at),
                Phase::Detached => detached = at,
            }
        }
        let limit = stopped.unwrap_or(detached);
        replay.set_limit(limit);
        let idle = replay.idle();
        session.pump(&mut replay, &|| idle.get())?;
        replay.set_limit(detached);
        session.settle(&mut replay)?;
        replay.set_limit(u64::MAX);
        let outcome = session.finish(&mut replay)?;
        let (differences, different) = replay.differences();
        let replayed = Replayed {
            runs: replay.ran(),
            exit_code: outcome.exit_code,
            differences: differences.to_vec(),
            different,
            missing: self.recorded.missing(),
        };
        *watch = std::mem::replace(&mut replay.machine().watch, Watch::Nobody);
        Ok(replayed)
    }

    /// The machine, its maps filled with the tables that the loader had made.
    fn guest(&self, name: &str, options: &GuestOptions) -> Result<Guest, Error> {
        let refused = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
        let mut object = self.object.clone();
        let tables: Vec<(usize, u32, &[u8])> = self
            .recorded
            .tables()
            .filter_map(|(map, room, packed)| {
                Some((object.maps.iter().position(|spec| spec.name == map)?, room, packed))
            })
            .collect();
        for (map, room, _) in &tables {
            object.maps.iter_mut().skip(*map).take(1).for_each(|spec| spec.max_entries = *room);
        }
        let mut guest = Guest::load(name, object, None, options)?;
        for (map, _, packed) in tables {
            let Some(spec) = guest.object.maps.get(map) else { continue };
            let (key, entry) = (spec.key_size as usize, (spec.key_size + spec.value_size) as usize);
            let what = spec.name.clone();
            let mut bytes = Vec::new();
            let unpacked = ZlibDecoder::new(packed).take(MAX_TABLE).read_to_end(&mut bytes);
            unpacked.map_err(|e| refused(format!("table {what} cannot be unpacked: {e}")))?;
            for (key, value) in bytes.chunks_exact(entry.max(1)).map(|entry| entry.split_at(key)) {
                guest.map_update(map, key, value).map_err(|e| refused(format!("table {what}: {e}")))?;
            }
        }
        Ok(guest)
    }

    /// The program of the object for each of the recording's: the one of the same probe.
    fn programs(&self) -> BTreeMap<u32, usize> {
        let mut programs = BTreeMap::new();
        for run in self.recorded.runs() {
            let own = |p: &Program| p.name == run.probe;
            let same = self.object.programs.get(run.program as usize).filter(|p| own(p));
            let found = match same {
                Some(_) => Some(run.program as usize),
                None => self.object.programs.iter().position(own),
            };
            if let Some(found) = found {
                programs.insert(run.program, found);
            }
        }
        programs
    }

    fn set_clocks(&self, replay: &mut Replay<'_, Stage>, clocks: &[u8]) -> Result<(), Error> {
        let Some(map) = self.object.session.start_map.filter(|_| !clocks.is_empty()) else { return Ok(()) };
        let set = replay.machine().map_update(map, &0u32.to_ne_bytes(), clocks);
        set.map_err(|e| Error::Session(skep_runtime::Error::Events(e)))
    }
}
