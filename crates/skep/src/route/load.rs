//! Loading a table: a text of routes, one a line, enters; one batch of changes leaves that makes them the router's routes. Ends of lines that are alike are
//! read once. Where no route has a condition, which is the rule for long texts, routes are packed words from the text to the arrays; else they are changes like others.

use super::{Router, bare, condition};
use crate::error::Error;
use skep_packet::route::{Change, Kind, NUMBERS, Packed, Prefix, Table, Tail, Target};
use std::collections::HashMap;
use std::sync::Arc;

/// A line: its destination, its number, and which of the ends of lines it has.
type Line = (Prefix, (u32, u32));

/// Changes without conditions with their destinations, and those with some.
type Sorted = (Vec<(Prefix, Change)>, Vec<Change>);

/// Routes without conditions with the numbers of their targets, and these.
type Plain = (Packed, Vec<Arc<Target>>);

/// A text.
#[derive(Clone, Copy)]
struct Text<'t> {
    /// What messages call it.
    name: &'t str,
    text: &'t str,
}

/// Routes of a text.
struct Lines<'n> {
    name: &'n str,
    all: Vec<Line>,
    tails: Vec<Tail>,
}

impl Router {
    /// Makes the routes of a text, one a line, the router's routes; `name` is what messages call it. Gives how many.
    pub fn load(&self, name: &str, text: &str) -> Result<usize, Error> {
        let text = Text { name, text };
        if let Some((wanted, targets)) = self.read_packed(text)? {
            let count = wanted.count().iter().sum::<u32>() as usize;
            if self.make(&wanted, &targets)? {
                return Ok(count);
            }
        }
        let mut all = Vec::new();
        let tails =
            self.read(text, &mut |number, prefix, place| all.push((prefix, (number, place as u32))))?;
        let lines = Lines { name, all, tails };
        let count = lines.all.len();
        let (plain, conditional) = lines.sorted()?;
        self.change(|table| Ok(changes(table, plain, conditional)))?;
        Ok(count)
    }

    /// The routes of a text in order, with the numbers of their targets, and these; `None` where one has a condition or is there twice, or there are too
    /// many targets.
    fn read_packed(&self, text: Text<'_>) -> Result<Option<Plain>, Error> {
        let mut wanted = Packed::default();
        let tails = self.read(text, &mut |_, prefix, place| {
            // What has no number is seen below.
            wanted.push(prefix, (place as u32).min(NUMBERS - 1));
        })?;
        if tails.len() >= NUMBERS as usize || tails.iter().any(|tail| tail.condition().is_some()) {
            return Ok(None);
        }
        wanted.sort();
        let targets = tails.iter().map(|tail| tail.target().clone()).collect();
        Ok((!wanted.has_twice()).then_some((wanted, targets)))
    }

    /// Reads the lines: `line` gets the number of each, its destination, and which of the ends of lines it has; these are what comes back.
    fn read(
        &self,
        Text { name, text }: Text<'_>,
        line: &mut dyn FnMut(u32, Prefix, usize),
    ) -> Result<Vec<Tail>, Error> {
        let mut tails: Vec<Tail> = Vec::new();
        let (mut known, mut last): (HashMap<&str, usize>, Option<(&str, usize)>) = (HashMap::new(), None);
        for (number, whole) in (1..).zip(text.lines()) {
            let at = |why: String| Error::Route(format!("{name}:{number}: {why}"));
            // Neighbouring lines often end alike.
            let (begin, end) = whole.split_at(whole.bytes().take_while(|b| !b" \t#".contains(b)).count());
            let found = last.filter(|(text, _)| !begin.is_empty() && *text == end);
            let (destination, place) = match found {
                Some((_, place)) => (begin, place),
                None => {
                    let line_text = whole.split('#').next().unwrap_or("").trim();
                    if line_text.is_empty() {
                        continue;
                    }
                    let (destination, rest) = line_text.split_once([' ', '\t']).unwrap_or((line_text, ""));
                    let place = match known.get(rest) {
                        Some(place) => *place,
                        None => {
                            let words: Vec<&str> = rest.split_whitespace().collect();
                            let tail = Tail::parse(destination, &words, &self.machine);
                            let tail = tail.map_err(|e| at(e.to_string()))?;
                            condition::check(tail.condition()).map_err(|e| at(bare(&e)))?;
                            known.insert(rest, tails.len());
                            tails.push(tail);
                            tails.len() - 1
                        }
                    };
                    last = Some((end, place)).filter(|_| begin == destination);
                    (destination, place)
                }
            };
            let Some(tail) = tails.get(place) else { continue };
            line(number, tail.prefix(destination).map_err(|e| at(e.to_string()))?, place);
        }
        Ok(tails)
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
