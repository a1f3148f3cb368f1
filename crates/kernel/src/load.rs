//! [`Loaded`]: an [`Object`] on the running kernel. Maps are created, programs loaded, attached and detached, `begin`
//! and `end` run; reading maps and events is the [`skep_bpf::backend::Backend`] side. Dropping it removes everything.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::epoll;
use skep_bpf::backend::PollOutcome;
use skep_bpf::btf::Btf;
use skep_bpf::object::{Attach, AttachPoint, MissingProbes, Object};
use skep_bpf::schema::ValueType;

use crate::error::Error;
use crate::link::{Attached, Closing, Iteration, Link, attach, detach_all};
use crate::live::LiveTarget;
use crate::machine;
use crate::map::Map;
use crate::packets::Packets;
use crate::pin::Pins;
use crate::prog::{Loader, Prog, RunStats, load_types};
use crate::ringbuf::RingBuf;
use crate::symbols::lines::KernelLines;
use crate::symbols::user::UserSymbols;

mod foreign;
mod hold;
mod maps;
mod trial;
pub use trial::Trial;

/// From this many descriptors on the limit on open files is raised.
const MANY: usize = 200;
/// Bytes of an iterator's own output that are kept.
const ITER_OUTPUT: usize = 16 << 20;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Level of the verifier's log to keep of every program (0: only of refused ones; 1, 2; 4 adds statistics).
    pub log_level: u32,
    /// Processes whose stacks programs can walk by tables, where they do ([`Object::session`]'s `unwind`).
    pub walked: Vec<u32>,
    /// The types that CO-RE relocations are resolved against; without, the running kernel's.
    pub btf: Option<Arc<Btf>>,
    /// The folder of a BPF file system for maps that are pinned by name; without, `/sys/fs/bpf`.
    pub pin_root: Option<PathBuf>,
    /// Ids of maps that are used in place of new ones, where name, kind and sizes are those of the object's.
    pub reuse: Vec<u32>,
    /// Bytes for the verifier's log; without, what the object says, or 1 MiB and then 16.
    pub log_bytes: Option<u32>,
}

/// Something that failed, and of which probe or map.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// The probe (as the user sees it) or the map.
    pub of: String,
    /// What happened.
    pub error: Error,
    /// Whether it was to be attached.
    pub attaching: bool,
}

/// What attaching did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttachReport {
    /// Probes attached (an attach point over many places counts each; `begin`, `end` and signals count too).
    pub probes: usize,
    /// Attach points that are not there and were left out, when the object asks for a warning.
    pub missing: Vec<Failure>,
    /// Files of iterators, which stay.
    pub pinned: Vec<String>,
}

/// A program and its places.
#[derive(Debug)]
struct Placed {
    symbol: String,
    prog: Prog,
    points: Vec<AttachPoint>,
}

/// An object on the running kernel.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) maps: Vec<Map>,
    /// Pins of maps, kept when something else of the object is.
    pins: Pins,
    programs: Vec<Placed>,
    links: Vec<Link>,
    /// Symbols of their programs.
    link_names: Vec<String>,
    /// Iterators that are still being read.
    unread: Arc<AtomicUsize>,
    iterations: Vec<JoinHandle<Result<Vec<u8>, Error>>>,
    missing: MissingProbes,
    /// Programs that were left out because their place is not there.
    left_out: Vec<Failure>,
    control: Option<usize>,
    logs: Vec<(String, String)>,
    closing: Closing,
    pub(crate) events: Events,
    pub(crate) target: Arc<LiveTarget>,
    pub(crate) symbols: UserSymbols,
    pub(crate) kernel_lines: KernelLines,
    /// Whether values of the object are addresses of user space that are printed by name.
    names_users: bool,
    pub(crate) users: Option<HashMap<u32, String>>,
    pub(crate) cgroups: HashMap<u64, Vec<(String, String)>>,
    pub(crate) clocks: HashMap<u8, (Instant, i128)>,
}

/// The ring buffer and what ends a wait for it.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) ring: Option<RingBuf>,
    pub(crate) packets: Option<Packets>,
    pub(crate) epoll: OwnedFd,
    pub(crate) last_wake: Option<Instant>,
    /// Wake-ups in a row that followed closely on each other.
    pub(crate) close_wakes: u32,
    pub(crate) outcome: PollOutcome,
}

/// Whether a value of the object is an address of user space that is printed by name.
fn names_users(object: &Object) -> bool {
    fn within(ty: &ValueType) -> bool {
        match ty {
            ValueType::UStack(_) | ValueType::USym => true,
            ValueType::Tuple(fields) | ValueType::Record { fields, .. } => {
                fields.iter().any(|f| within(&f.ty))
            }
            ValueType::Array { elem, .. } => within(elem),
            _ => false,
        }
    }
    let of_maps = object.maps.iter().filter_map(|m| m.schema.as_ref());
    let mut of_maps = of_maps.flat_map(|s| s.key.iter().chain([&s.value]));
    let mut of_events = object.events.iter().flat_map(|e| &e.args).map(|a| &a.ty);
    of_maps.any(within) || of_events.any(within)
}

/// The binary that a place is in.
fn binary_of(at: &Attach) -> Option<&str> {
    match at {
        Attach::Uprobe { path, .. } | Attach::UprobeMulti { path, .. } => Some(path),
        _ => None,
    }
}

/// The mark of the ring buffer among what epoll watches.
pub(crate) const RING: u64 = 0;

fn failure(of: &str, error: Error) -> Vec<Failure> {
    vec![Failure { of: of.to_owned(), error, attaching: false }]
}

impl Loaded {
    /// Creates the maps and loads the programs of `object`. Nothing runs yet. All programs that fail are reported.
    pub fn load(
        object: &Object,
        target: Arc<LiveTarget>,
        options: &LoadOptions,
    ) -> Result<Loaded, Vec<Failure>> {
        let points: usize = object.programs.iter().map(|p| p.attach.len() + 1).sum();
        if points + object.maps.len() > MANY {
            machine::raise_nofile();
        }
        let btf = load_types(object);
        let (maps, pins) = maps::create(object, btf.as_ref().map(AsFd::as_fd), options, &target)?;
        let Programs { programs, logs, left_out } = load_programs(object, &maps, btf, &target, options)?;
        maps::fill_programs(object, &maps, &programs)?;
        let events = Events::new(object, &maps).map_err(|e| failure("events", e))?;
        Ok(Loaded {
            maps,
            pins,
            programs,
            links: Vec::new(),
            link_names: Vec::new(),
            unread: Arc::default(),
            iterations: Vec::new(),
            missing: object.session.missing_probes,
            left_out,
            control: object.session.control_map,
            logs,
            closing: Closing::default(),
            events,
            target,
            symbols: UserSymbols::new(object.session.symbols),
            kernel_lines: KernelLines::new(object.session.symbols),
            names_users: names_users(object),
            users: None,
            cgroups: HashMap::new(),
            clocks: HashMap::new(),
        })
    }

    /// Attaches all programs to their places, in order. When one fails, nothing stays attached and all failures are
    /// given. A place that does not exist is a failure, a warning or nothing, as the object says.
    pub fn attach_all(&mut self) -> Result<AttachReport, Vec<Failure>> {
        let points = self.programs.iter().flat_map(|p| &p.points);
        points.filter_map(|p| binary_of(&p.at)).for_each(|binary| self.symbols.watch(binary));
        if self.names_users {
            self.symbols.follow();
        }
        let mut report = AttachReport { missing: self.left_out.clone(), ..AttachReport::default() };
        let mut failures = Vec::new();
        let (mut links, mut names, mut iterations) = (Vec::new(), Vec::new(), Vec::new());
        for (symbol, prog, point) in self.in_order() {
            if matches!(
                point.at,
                Attach::Begin | Attach::End | Attach::Test | Attach::Bench | Attach::SelfSignal(_)
            ) {
                report.probes += places(point);
                continue;
            }
            match attach(prog, point, &self.target) {
                Ok(Attached::Link(link)) => {
                    links.push(link);
                    names.push(symbol.to_owned());
                }
                Ok(Attached::Pinned(path)) => report.pinned.push(path),
                Ok(Attached::Iteration(iteration)) => iterations.push(iteration),
                Err(error) => {
                    let failure = Failure { of: point.name.clone(), error, attaching: true };
                    match self.missing {
                        MissingProbes::Warn => report.missing.push(failure),
                        MissingProbes::Ignore => {}
                        MissingProbes::Error => failures.push(failure),
                    }
                    continue;
                }
            }
            report.probes += places(point);
        }
        if !failures.is_empty() {
            drop(detach_all(links));
            report.pinned.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(failures);
        }
        self.links.extend(links);
        self.link_names.extend(names);
        for iteration in iterations {
            self.read_in_background(iteration);
        }
        Ok(report)
    }

    /// Programs with their places in the order of attaching. Where several are at one place, the kernel runs those that
    /// were attached last first, but for tracepoints and perf events (kernel/trace/bpf_trace.c, kernel/events/uprobes.c):
    /// so that they run in the order of the script, what runs backwards is attached backwards, behind the others.
    fn in_order(&self) -> impl Iterator<Item = (&str, &Prog, &AttachPoint)> {
        let all = || {
            let each = self.programs.iter();
            each.flat_map(|p| p.points.iter().map(move |point| (p.symbol.as_str(), &p.prog, point)))
        };
        let forward = all().filter(|(.., point)| !runs_backwards(&point.at));
        let backward: Vec<_> = all().filter(|(.., point)| runs_backwards(&point.at)).collect();
        forward.chain(backward.into_iter().rev())
    }

    /// Runs the programs of `begin` in this thread.
    pub fn run_begin(&self) -> Result<(), Error> {
        self.run_all(|at| matches!(at, Attach::Begin))
    }

    /// Runs the programs of `end` in this thread.
    pub fn run_end(&self) -> Result<(), Error> {
        self.set_gate(false)?;
        self.run_all(|at| matches!(at, Attach::End))
    }

    /// Runs the programs of `self:signal:NAME`, with or without `SIG`.
    pub fn run_signal(&self, name: &str) -> Result<(), Error> {
        let plain = |s: &str| s.strip_prefix("SIG").unwrap_or(s).to_owned();
        let wanted = plain(name);
        self.run_all(|at| matches!(at, Attach::SelfSignal(n) if plain(n) == wanted))
    }

    /// Names of the signals that programs wait for.
    pub fn signals(&self) -> Vec<String> {
        let points = self.programs.iter().flat_map(|p| &p.points);
        points
            .filter_map(|p| match &p.at {
                Attach::SelfSignal(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    fn run_all(&self, wanted: impl Fn(&Attach) -> bool) -> Result<(), Error> {
        for Placed { prog, points, .. } in &self.programs {
            for _ in points.iter().filter(|p| wanted(&p.at)) {
                prog.test_run(&[])?;
            }
        }
        Ok(())
    }

    /// Tells the programs to be silent (or not), through the object's control map.
    fn set_gate(&self, closed: bool) -> Result<(), Error> {
        let Some(map) = self.control.and_then(|c| self.maps.get(c)) else { return Ok(()) };
        let entry = map.lookup(&0u32.to_ne_bytes())?;
        let Some(mut value) = entry.get(0).map(|e| e.value().to_vec()) else { return Ok(()) };
        if let Some(word) = value.get_mut(..4) {
            word.copy_from_slice(&u32::from(closed).to_ne_bytes());
        }
        map.update(&0u32.to_ne_bytes(), &value)
    }

    /// Stops all programs. An object with a control map is told to be silent and its programs are taken off in the
    /// background; otherwise this waits until they are off. Maps and events stay readable; dropping this value waits
    /// for the rest.
    pub fn detach(&mut self) -> Result<(), Error> {
        let gate = self.set_gate(true);
        let links = std::mem::take(&mut self.links);
        if !links.is_empty() {
            self.closing = detach_all(links);
        }
        if self.control.is_none() || gate.is_err() {
            self.closing.wait();
        }
        gate
    }

    /// Takes the watchpoints on an address off, in the background; how many there were.
    pub(crate) fn stop_watching(&mut self, address: u64) -> usize {
        let gone: Vec<Link> = self.links.extract_if(.., |link| link.is_watching(address)).collect();
        let count = gone.len();
        if count != 0 {
            drop(detach_all(gone));
        }
        count
    }

    /// Reads an iterator in a thread of its own, so that the events it makes can be drained meanwhile.
    fn read_in_background(&mut self, iteration: Iteration) {
        let unread = self.unread.clone();
        unread.fetch_add(1, Ordering::AcqRel);
        self.iterations.push(std::thread::spawn(move || {
            let output = iteration.run(ITER_OUTPUT);
            unread.fetch_sub(1, Ordering::AcqRel);
            output
        }));
    }

    /// For an object that ends by itself, because nothing of it is attached but iterators: how many of these are still
    /// being read. `None` while anything can still happen.
    pub fn ends_by_itself(&self) -> Option<Arc<AtomicUsize>> {
        (self.links.is_empty() && self.signals().is_empty()).then(|| self.unread.clone())
    }

    /// Ends [`skep_bpf::backend::Backend::poll_events`] as `interrupted` whenever `fd` is readable.
    pub fn watch(&self, fd: impl AsFd) -> Result<(), Error> {
        epoll::add(&self.events.epoll, fd, epoll::EventData::new_u64(RING + 1), epoll::EventFlags::IN)
            .map_err(|e| Error::os("watch a descriptor", e))
    }

    /// Stops watching `fd`, for example the descriptor of a child that has ended.
    pub fn unwatch(&self, fd: impl AsFd) -> Result<(), Error> {
        epoll::delete(&self.events.epoll, fd).map_err(|e| Error::os("stop watching a descriptor", e))
    }

    /// What the kernel has counted of each program, with the probe's name.
    pub fn stats(&self) -> Result<Vec<(String, RunStats)>, Error> {
        self.programs.iter().map(|p| Ok((p.prog.name().to_owned(), p.prog.stats()?))).collect()
    }

    /// Whether an iterator is still being read.
    pub fn is_reading(&self) -> bool {
        self.unread.load(Ordering::Acquire) != 0
    }

    /// The object's program of this number.
    pub fn program(&self, index: usize) -> Option<&Prog> {
        self.programs.get(index).map(|placed| &placed.prog)
    }

    /// The verifier's logs by probe, when the options asked for them.
    pub fn logs(&self) -> &[(String, String)] {
        &self.logs
    }

    /// The maps, in the object's order.
    pub fn maps(&self) -> &[Map] {
        &self.maps
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // A gate that cannot be closed does not matter here: the programs go.
        let _ = self.detach();
    }
}

/// What loading an object's programs gave.
#[derive(Default)]
struct Programs {
    programs: Vec<Placed>,
    logs: Vec<(String, String)>,
    left_out: Vec<Failure>,
}

fn load_programs(
    object: &Object,
    maps: &[Map],
    btf: Option<OwnedFd>,
    target: &LiveTarget,
    options: &LoadOptions,
) -> Result<Programs, Vec<Failure>> {
    let loader = Loader::new(object, maps, btf, target, options).map_err(|e| failure("object", e))?;
    let (mut done, mut failures) = (Programs::default(), Vec::new());
    for program in &object.programs {
        match loader.load(program) {
            Ok((prog, log)) => {
                if !log.is_empty() {
                    done.logs.push((program.name.clone(), log));
                }
                let (symbol, points) = (program.symbol.clone(), program.attach.clone());
                done.programs.push(Placed { symbol, prog, points });
            }
            Err(error) => {
                let failure = Failure { of: program.name.clone(), error, attaching: false };
                match object.session.missing_probes {
                    MissingProbes::Warn if failure.error.is_missing() => done.left_out.push(failure),
                    MissingProbes::Ignore if failure.error.is_missing() => {}
                    _ => failures.push(failure),
                }
            }
        }
        // A missing permission is the same for all of them.
        if failures.last().is_some_and(|f| f.error.is_permission()) {
            break;
        }
    }
    if failures.is_empty() { Ok(done) } else { Err(failures) }
}

/// Whether the program that was attached to a place last runs first.
fn runs_backwards(at: &Attach) -> bool {
    match at {
        Attach::Kprobe { ret, .. } | Attach::KprobeMulti { ret, .. } => !ret,
        Attach::Uprobe { .. } | Attach::UprobeMulti { .. } | Attach::Fentry | Attach::Iter => true,
        _ => false,
    }
}

/// How many probes an attach point counts as.
fn places(point: &AttachPoint) -> usize {
    if let Some(probes) = point.probes {
        return probes as usize;
    }
    match &point.at {
        Attach::KprobeMulti { symbols, .. } => symbols.len(),
        Attach::UprobeMulti { offsets, .. } => offsets.len(),
        _ => 1,
    }
}

impl Events {
    fn new(object: &Object, maps: &[Map]) -> Result<Events, Error> {
        let failed = |e| Error::os("watch events", e);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let map = object.session.events.and_then(|i| maps.get(i));
        let ring = map.map(RingBuf::new).transpose()?;
        if let Some(map) = map {
            let data = epoll::EventData::new_u64(RING);
            epoll::add(&epoll, map, data, epoll::EventFlags::IN).map_err(failed)?;
        }
        let buffer = object.session.packets.and_then(|buffer| Some((maps.get(buffer.map)?, buffer)));
        let packets = buffer.map(|(map, buffer)| Packets::open(map, buffer)).transpose()?;
        for ring in packets.iter().flat_map(Packets::rings) {
            let data = epoll::EventData::new_u64(RING);
            epoll::add(&epoll, ring, data, epoll::EventFlags::IN).map_err(failed)?;
        }
        Ok(Events { ring, packets, epoll, last_wake: None, close_wakes: 0, outcome: PollOutcome::default() })
    }
}
