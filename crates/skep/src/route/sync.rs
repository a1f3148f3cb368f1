//! `skep route sync`: the kernel's routing table enters as netlink tells it, the router's table follows it. What always holds: only
//! routes that follow are changed, so those that were written by hand stay; when this ends, however it ends, the router goes on with
//! the table as it is.

use super::change::Writer;
use super::direct::Lookups;
use super::{Maps, Port, Router, find, own};
use crate::error::Error;
use skep_kernel::device::{self, Turn};
use skep_kernel::proc::Signals;
use skep_kernel::routes::{self, Changes, Message, News, Waited};
use skep_packet::route::fib::Mirror;
use skep_packet::route::{Change, Step, Table};
use std::time::Duration;

pub use skep_packet::route::fib::{Selection, protocol_number};

/// The name of the right to follow.
const TURN: &str = "skep-route-sync";
/// Number of the main table (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;
/// Datagrams of one batch.
const BATCH: usize = 4096;
/// How long it has to be quiet before the whole list is read, and after how many batches it is read all the same.
const QUIET: Duration = Duration::from_millis(10);
const PATIENCE: usize = 64;
/// How often it is looked whether others have changed the table, and at how many of these times whether the router is still there.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: usize = 4;
/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_DELADDR`
const MACHINE: [u16; 4] = [16, 17, 20, 21];

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    /// The whole list was read and compared.
    Listed {
        /// Routes of it that are followed.
        routes: usize,
        /// Steps that this took.
        steps: usize,
    },
    /// Changes were followed.
    Followed {
        /// Messages of the kernel.
        messages: usize,
        /// Steps that they took.
        steps: usize,
    },
    /// Messages found no room, so that the whole list is read.
    Overrun,
    /// Routes that the table cannot take; the kernel forwards their packets if it does.
    Refused {
        /// How many.
        routes: usize,
        /// Why the first was.
        why: String,
    },
}

/// Following the kernel's table.
#[derive(Debug)]
pub struct Sync {
    router: Router,
    mirror: Mirror,
    changes: Changes,
    /// The router's table as it was at `generation`.
    table: Table,
    lookups: Lookups,
    generation: u64,
    /// Interfaces or addresses have changed.
    other_machine: bool,
    _turn: Turn,
}

impl Sync {
    /// Begins to follow; nothing is changed yet.
    pub fn start(selection: Selection) -> Result<Sync, Error> {
        let router = Router::open()?;
        let turn = device::try_turn(TURN)?.ok_or_else(|| {
            Error::Route("another `skep route sync` follows the kernel's table already".to_owned())
        })?;
        // First the changes, then the list: what happens in between is in both.
        let changes = Changes::follow()?;
        Ok(Sync {
            router,
            mirror: Mirror::new(selection),
            changes,
            table: Table::default(),
            lookups: Lookups::default(),
            generation: u64::MAX,
            other_machine: false,
            _turn: turn,
        })
    }

    /// Follows until a signal comes.
    pub fn run(&mut self, signals: &Signals, tell: &mut dyn FnMut(Happened)) -> Result<(), Error> {
        let (mut batches, mut looks) = (0, 0);
        self.list(tell)?;
        loop {
            let stale = self.mirror.is_stale();
            match self.changes.wait(signals, if stale { QUIET } else { LOOK })? {
                Waited::Signal => return Ok(()),
                Waited::Messages => {
                    self.follow(tell)?;
                    batches += 1;
                }
                Waited::Time if stale => batches = PATIENCE,
                Waited::Time => {
                    looks += 1;
                    if looks % LOOKS == 0 {
                        self.find_router()?;
                    }
                    if Maps(&self.router.maps).generation()? != self.generation {
                        self.mirror.look_again();
                        self.apply(tell)?;
                    }
                }
            }
            if batches >= PATIENCE && self.mirror.is_stale() {
                self.list(tell)?;
            }
            if !self.mirror.is_stale() {
                batches = 0;
            }
        }
    }

    /// Reads a batch of messages and follows them.
    fn follow(&mut self, tell: &mut dyn FnMut(Happened)) -> Result<(), Error> {
        let (mirror, mut messages, mut other) = (&mut self.mirror, 0, false);
        let news = self.changes.read(BATCH, &mut |Message { kind, flags, body }| {
            messages += usize::from(mirror.take(kind, flags, body));
            other |= MACHINE.contains(&kind);
        })?;
        self.other_machine |= other;
        if news == News::Overrun {
            self.mirror.lost();
            tell(Happened::Overrun);
        }
        let steps = self.apply(tell)?;
        if steps > 0 {
            tell(Happened::Followed { messages, steps });
        }
        Ok(())
    }

    /// Reads the whole list and follows it.
    fn list(&mut self, tell: &mut dyn FnMut(Happened)) -> Result<(), Error> {
        let mirror = std::cell::RefCell::new(&mut self.mirror);
        let whole =
            routes::list(&mut || mirror.borrow_mut().begin(), &mut |Message { kind, flags, body }| {
                mirror.borrow_mut().take(kind, flags, body);
            })?;
        self.mirror.end(whole);
        self.other_machine = true;
        let steps = self.apply(tell)?;
        tell(Happened::Listed { routes: self.mirror.len(), steps });
        Ok(())
    }

    /// Makes the table what the messages say; gives how many steps that took.
    fn apply(&mut self, tell: &mut dyn FnMut(Happened)) -> Result<usize, Error> {
        if std::mem::take(&mut self.other_machine) {
            let machine = super::Machine::read()?;
            if machine.devices != self.router.machine.devices {
                self.mirror.look_again();
            }
            self.router.machine = machine;
            // Its own addresses are compared again.
            self.generation = u64::MAX;
        }
        let maps = Maps(&self.router.maps);
        let writer = Writer::begin(maps)?;
        let mut steps = Vec::new();
        if writer.generation() != self.generation {
            self.table = maps.table()?;
            self.lookups = Lookups::default();
            steps = own(&mut self.table, &self.router.machine)?;
        }
        let machine = &self.router.machine;
        let changes = self
            .mirror
            .changes(&self.table, &|index| machine.exit(index), &|prefix| machine.is_never_forwarded(prefix));
        let (planned, refused) = plan(&mut self.table, &changes);
        steps.extend(planned);
        // Should the steps fail, the table is read again.
        self.generation = u64::MAX;
        self.generation = self.router.apply(writer, &mut self.lookups, (&self.table, &steps))?;
        if let Some((routes, why)) = refused {
            tell(Happened::Refused { routes, why });
        }
        Ok(steps.len())
    }

    /// Goes on with the router that runs now, if it is another one.
    fn find_router(&mut self) -> Result<(), Error> {
        let Some(router) = find()? else {
            return Err(Error::Route("the router has ended, so there is nothing to do any more".to_owned()));
        };
        let programs = |router: &Router| router.ports.iter().map(Port::key).collect::<Vec<_>>();
        if programs(&router) != programs(&self.router) {
            self.router = router;
            self.generation = u64::MAX;
        }
        Ok(())
    }
}

impl Port {
    /// What tells it from a port of another router.
    fn key(&self) -> (u32, Option<u32>, Vec<u32>) {
        (self.device.index, self.device.xdp, self.filters.iter().map(|filter| filter.program).collect())
    }
}

/// Steps of the changes that the table can take, and how many it cannot, with the first reason.
fn plan(table: &mut Table, changes: &[Change]) -> (Vec<Step>, Option<(usize, String)>) {
    match table.plan(changes) {
        Ok(steps) => (steps, None),
        Err(_) => {
            let (mut steps, mut refused) = (Vec::new(), None);
            for change in changes {
                match table.plan(std::slice::from_ref(change)) {
                    Ok(more) => steps.extend(more),
                    Err(error) => refused.get_or_insert((0, error.to_string())).0 += 1,
                }
            }
            (steps, refused)
        }
    }
}
