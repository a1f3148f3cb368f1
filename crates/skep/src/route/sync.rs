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
use std::collections::BTreeSet;
use std::net::IpAddr;
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
/// After so many of them without a message what is only doubtful is compared.
const CALM: usize = 2;
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
    /// Neighbours that the kernel was told to keep known.
    gateways: BTreeSet<(u32, IpAddr)>,
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
            gateways: BTreeSet::new(),
            _turn: turn,
        })
    }

    /// Follows until a signal comes.
    pub fn run(&mut self, signals: &Signals, tell: &mut dyn FnMut(Happened)) -> Result<(), Error> {
        let (mut batches, mut looks, mut quiet) = (0, 0, 0);
        self.list(tell)?;
        loop {
            let stale = self.mirror.is_stale();
            match self.changes.wait(signals, if stale { QUIET } else { LOOK })? {
                Waited::Signal => return Ok(()),
                Waited::Messages => {
                    self.follow(tell)?;
                    batches += 1;
                    quiet = 0;
                }
                Waited::Time if stale => batches = PATIENCE,
                Waited::Time => {
                    looks += 1;
                    quiet += 1;
                    if looks % LOOKS == 0 {
                        self.find_router()?;
                    }
                    if Maps(&self.router.maps).generation()? != self.generation {
                        self.apply(tell)?;
                    }
                }
            }
            let doubts = self.mirror.is_doubtful() && quiet >= CALM;
            if doubts || batches >= PATIENCE && self.mirror.is_stale() {
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
        let other_machine = std::mem::take(&mut self.other_machine);
        if other_machine {
            let machine = super::Machine::read()?;
            if machine.devices != self.router.machine.devices {
                self.mirror.look_at_directions();
            }
            self.router.machine = machine;
        }
        let writer = Writer::begin(Maps(&self.router.maps))?;
        let (other, turn) = (writer.generation() != self.generation, writer.turn());
        if other {
            // Who changed it may have replaced the programs, and with them maps.
            self.find_router()?;
        }
        let maps = Maps(&self.router.maps);
        let writer = Writer::of(turn, maps)?;
        if !writer.knows(&self.router)? {
            // Its arrays have been replaced, by this or by another.
            drop(writer);
            self.router = Router::open()?;
            (self.generation, self.lookups) = (u64::MAX, Lookups::default());
            return self.apply(tell);
        }
        let mut steps = Vec::new();
        if writer.generation() != self.generation {
            let mut table = maps.table()?;
            table.remember(&self.table, |number| maps.hop(number));
            self.table = table;
            self.lookups = Lookups::default();
            // Whoever changed it may have taken a route away that had the place of a followed one.
            self.mirror.look_again();
        }
        // Few entries, whatever the number of routes: they come first.
        steps.extend(self.table.set_down(&self.mirror.down()));
        let machine = &self.router.machine;
        if other_machine || writer.generation() != self.generation {
            steps.extend(self.table.renew(|index| machine.exit(index)));
            steps.extend(own(&mut self.table, machine)?);
        }
        let changes = self
            .mirror
            .changes(&self.table, &|index| machine.exit(index), &|prefix| machine.is_never_forwarded(prefix));
        let (planned, refused) = plan(&mut self.table, &changes);
        steps.extend(planned);
        // Should the steps fail, the table is read again.
        self.generation = u64::MAX;
        self.generation = self.router.apply(writer, &mut self.lookups, (&self.table, &steps))?;
        let gateways = self.table.gateways();
        if other_machine || gateways != self.gateways {
            device::keep_known(&gateways)?;
            self.gateways = gateways;
        }
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
            (self.generation, self.lookups) = (u64::MAX, Lookups::default());
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
