//! Captures: files ([`Offline`]) or interfaces ([`live`]) and a filter expression enter, the packets that match leave, in
//! the order of time, for a [`Sink`] that prints, counts or writes them, or for [`Files`] that follow each other.

pub mod dump;
mod filter;
pub mod live;
mod machine;
mod rotate;
mod sink;

use std::io::Read;

use skep_packet::file::{Interface, Merge, Packet, Reader};

use skep_kernel::packet::Lease;

pub use filter::Expression;
pub use rotate::{Files, Kept, Rotation};
pub use sink::{Form, Sink};
pub use skep_packet::file::{Damage, Direction, FileError, Input, Memory};
pub use skep_packet::print::{Dump, Stamp, Style, Zone};

use crate::Error;

/// Which packets are taken, and how much of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Most packets that match; `None`: all.
    pub count: Option<u64>,
    /// Most bytes of a packet; `None`: all that were kept.
    pub bytes: Option<usize>,
}

/// What was found in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets read.
    pub read: u64,
    /// Packets that matched.
    pub matched: u64,
}

/// A packet that matches.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The packet.
    pub packet: Packet<'a>,
    /// Which file it is of, by the order in which they were given.
    pub file: usize,
    /// Its interface.
    pub interface: &'a Interface,
    /// The process that it belongs to; empty: nobody asked.
    pub process: &'a str,
    /// The block that its bytes lie in, which a file may keep until they are written.
    pub block: Option<&'a Lease>,
}

/// Capture files that are read together.
#[derive(Debug)]
pub struct Offline<'s> {
    files: Merge<'s>,
    expression: Expression,
    limits: Limits,
    totals: Totals,
    damage: Vec<String>,
    speed: Speed,
}

/// How packets are tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speed {
    /// One after the other, by evaluation; after [`MANY`] of them machine code may be worth it.
    Start,
    /// By machine code, all that lie ahead at once. `swapped`: made for files of the other byte order.
    Ahead { swapped: bool },
    /// By evaluation to the end.
    Steady,
}

/// So many packets take as long to evaluate as it takes to make machine code.
const MANY: u64 = 50_000;

/// The time zone of this machine.
pub fn local_zone() -> Zone {
    Zone(Box::new(|seconds| skep_kernel::proc::wall_time(i128::from(seconds) * 1_000_000_000).utc_offset))
}

impl<'s> Offline<'s> {
    /// Reads the headers of these files, each with the name that messages call it by.
    pub fn open<R: Read + 's>(
        files: Vec<(String, R)>,
        expression: Expression,
        limits: Limits,
    ) -> Result<Offline<'s>, Error> {
        let mut inputs = Vec::new();
        for (name, source) in files {
            let input = Input::new(source).map_err(|error| Error::capture(&name, &error.into()))?;
            inputs.push((name, input));
        }
        Offline::over(inputs, expression, limits)
    }

    /// The same of inputs.
    pub fn over(
        files: Vec<(String, Input<'s>)>,
        expression: Expression,
        limits: Limits,
    ) -> Result<Offline<'s>, Error> {
        let mut readers = Vec::new();
        for (name, input) in files {
            let reader = Reader::over(input).map_err(|error| Error::capture(&name, &error))?;
            readers.push((name, reader));
        }
        let mut offline = Offline {
            files: Merge::new(readers),
            expression,
            limits,
            totals: Totals::default(),
            damage: Vec::new(),
            speed: Speed::Start,
        };
        offline.compile_known()?;
        Ok(offline)
    }

    /// Compiles the expression for the interfaces that the files' headers name, so that mistakes are told first; for
    /// Ethernet where they name none.
    fn compile_known(&mut self) -> Result<(), Error> {
        let mut known = Vec::new();
        for file in 0.. {
            let Some(reader) = self.files.reader(file) else { break };
            known.extend(reader.interfaces().iter().map(|interface| (interface.link, reader.swapped())));
        }
        if known.is_empty() {
            known.push((1, false));
        }
        known.into_iter().try_for_each(|(link, swapped)| self.expression.prepare(link, swapped))
    }

    /// The link type of the first file that tells it in its header; `None`: none does.
    pub fn first_link(&self) -> Option<u16> {
        let readers = (0..).map_while(|file| self.files.reader(file));
        readers.flat_map(|reader| reader.interfaces().first()).map(|interface| interface.link).next()
    }

    /// Goes to the next packet that matches and shows it; `None` at the end, or when enough were found. Damage ends a
    /// file; what is wrong stands in [`Offline::damage`], and the other files go on.
    pub fn next_match(&mut self) -> Result<Option<Matched<'_>>, Error> {
        Ok(if self.advance()? { self.matched() } else { None })
    }

    /// The same without showing it; `false` at the end.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if self.limits.count.is_some_and(|most| self.totals.matched >= most) {
            return Ok(false);
        }
        loop {
            if self.speed != Speed::Steady && self.next_ahead() {
                break;
            }
            match self.files.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => {
                    self.damage.push(error.to_string());
                    continue;
                }
            }
            self.totals.read += 1;
            if self.matches()? {
                break;
            }
        }
        self.totals.matched += 1;
        Ok(true)
    }

    /// The packet that was found last.
    #[inline]
    pub fn matched(&self) -> Option<Matched<'_>> {
        let (file, mut packet) = self.files.packet()?;
        let interface = self.files.reader(file)?.interfaces().get(packet.interface)?;
        if let Some(most) = self.limits.bytes {
            packet.data = packet.data.get(..most).unwrap_or(packet.data);
        }
        Some(Matched { packet, file, interface, process: "", block: None })
    }

    /// Goes to the next match by machine code; `false`: the next packet is to be tested as it comes.
    fn next_ahead(&mut self) -> bool {
        if self.speed == Speed::Start {
            if self.totals.read < MANY {
                return false;
            }
            self.speed = self.translate();
        }
        let Speed::Ahead { swapped } = self.speed else { return false };
        loop {
            let found = self.files.next_wanted();
            let Some(reader) = self.files.only() else { return false };
            self.totals.read = reader.count();
            if found {
                return true;
            }
            // A section of a file may be of a machine of the other byte order.
            if reader.swapped() != swapped {
                self.speed = Speed::Steady;
                return false;
            }
            let Some(mut tests) = self.expression.tests() else { return false };
            let some = reader.look_ahead(&mut tests);
            if tests.failed() {
                reader.forget_ahead();
                self.speed = Speed::Steady;
                return false;
            }
            if !some {
                return false;
            }
        }
    }

    /// Machine code, if there is one file of packets of one link type.
    fn translate(&mut self) -> Speed {
        let swapped_link = self.files.only().and_then(|reader| {
            let link = reader.only_link().filter(|_| !self.expression.is_empty())?;
            Some((link, reader.swapped()))
        });
        match swapped_link {
            Some((link, swapped)) if self.expression.translate(link, swapped) => Speed::Ahead { swapped },
            _ => Speed::Steady,
        }
    }

    fn matches(&mut self) -> Result<bool, Error> {
        if self.expression.is_empty() {
            return Ok(true);
        }
        let Some((file, packet)) = self.files.packet() else { return Ok(false) };
        let Some(reader) = self.files.reader(file) else { return Ok(false) };
        let Some(interface) = reader.interfaces().get(packet.interface) else { return Ok(false) };
        self.expression.matches(interface.link, reader.swapped(), packet.data, packet.len)
    }

    /// Counts up to now.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether something was wrong with files since the last call of [`Offline::damage`].
    #[inline]
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty()
    }

    /// What was wrong with files, each with its name, since the last call.
    pub fn damage(&mut self) -> Vec<String> {
        std::mem::take(&mut self.damage)
    }
}
