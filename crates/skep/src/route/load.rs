//! Loading a table: a text of routes, one a line, enters; one batch of changes leaves that makes them the router's routes. Ends of lines that are alike are
//! read once, and routes are handed on in the order of their destinations, in which they are looked up fastest.

use super::{Router, bare, condition};
use crate::error::Error;
use skep_packet::route::{Change, Kind, Prefix, Table, Tail};
use std::collections::HashMap;

/// A line: its destination, its number, and which of the ends of lines it has.
type Line = (Prefix, (u32, u32));

/// Changes without conditions with their destinations, and those with some.
type Sorted = (Vec<(Prefix, Change)>, Vec<Change>);

/// Routes of a text.
struct Lines<'n> {
    /// What messages call the text.
    name: &'n str,
    all: Vec<Line>,
    tails: Vec<Tail>,
}

impl Router {
    /// Makes the routes of a text, one a line, the router's routes; `name` is what messages call it. Gives how many.
    pub fn load(&self, name: &str, text: &str) -> Result<usize, Error> {
        let lines = self.read(name, text)?;
        let count = lines.all.len();
        let (plain, conditional) = lines.sorted()?;
        self.change(|table| Ok(changes(table, plain, conditional)))?;
        Ok(count)
    }

    fn read<'n>(&self, name: &'n str, text: &str) -> Result<Lines<'n>, Error> {
        let mut lines = Lines { name, all: Vec::new(), tails: Vec::new() };
        let (mut known, mut last): (HashMap<&str, usize>, Option<(&str, usize)>) = (HashMap::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            let at = |why: String| Error::Route(format!("{name}:{number}: {why}"));
            if line.is_empty() {
                continue;
            }
            let (destination, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            // Neighbouring lines often end alike.
            let found = last.filter(|(text, _)| *text == rest).map(|(_, tail)| tail);
            let place = match found.or_else(|| known.get(rest).copied()) {
                Some(place) => place,
                None => {
                    let words: Vec<&str> = rest.split_whitespace().collect();
                    let tail = Tail::parse(destination, &words, &self.machine);
                    let tail = tail.map_err(|e| at(e.to_string()))?;
                    condition::check(tail.condition()).map_err(|e| at(bare(&e)))?;
                    known.insert(rest, lines.tails.len());
                    lines.tails.push(tail);
                    lines.tails.len() - 1
                }
            };
            last = Some((rest, place));
            let Some(tail) = lines.tails.get(place) else { continue };
            let prefix = tail.prefix(destination).map_err(|e| at(e.to_string()))?;
            lines.all.push((prefix, (number, place as u32)));
        }
        Ok(lines)
    }
}

impl Lines<'_> {
    fn condition(&self, line: &Line) -> Option<&str> {
        self.tails.get(line.1.1 as usize)?.condition()
    }

    fn change(&self, line: &Line) -> Option<Change> {
        Some(Change::Replace(self.tails.get(line.1.1 as usize)?.route(line.0)))
    }

    /// Routes without conditions by destination, and those with some in the order of the text, in which those of one destination are tried.
    fn sorted(&self) -> Result<Sorted, Error> {
        let twice = |first: &Line, second: &Line| {
            let with = if self.condition(first).is_some() { " with that `if`" } else { "" };
            let why = format!("{} has a route{with} in line {} already", first.0, first.1.0);
            Err(Error::Route(format!("{}:{}: {why}", self.name, second.1.0)))
        };
        let conditional = || self.all.iter().filter(|line| self.condition(line).is_some());
        let mut known: HashMap<(Prefix, Option<&str>), &Line> = HashMap::new();
        for line in conditional() {
            if let Some(first) = known.insert((line.0, self.condition(line)), line) {
                return twice(first, line);
            }
        }
        let plain = self.all.iter().filter(|line| self.condition(line).is_none());
        let plain = Prefix::in_order(plain.copied());
        if let Some([first, second]) = plain.windows(2).find(|two| two[0].0 == two[1].0) {
            return twice(first, second);
        }
        let plain = plain.iter().filter_map(|line| Some((line.0, self.change(line)?))).collect();
        Ok((plain, conditional().filter_map(|line| self.change(line)).collect()))
    }
}

fn changes(table: &Table, plain: Vec<(Prefix, Change)>, conditional: Vec<Change>) -> Vec<Change> {
    // Those that follow the kernel's, and those of the machine itself, stay.
    let by_hand = table.those(|hop| hop.kind != Kind::Local && !hop.followed);
    let gone = Prefix::in_order(by_hand.into_iter().map(|prefix| (prefix, ())));
    let mut gone = gone.into_iter().map(|(prefix, ())| prefix).peekable();
    let mut changes: Vec<Change> = table.conditional().map(Change::DeleteAllIf).collect();
    changes.extend(conditional);
    changes.reserve(plain.len());
    for (prefix, change) in plain {
        while let Some(before) = gone.next_if(|before| *before < prefix) {
            changes.push(Change::Delete(before));
        }
        gone.next_if_eq(&prefix);
        changes.push(change);
    }
    changes.extend(gone.map(Change::Delete));
    changes
}
