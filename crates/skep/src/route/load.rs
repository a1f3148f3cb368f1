//! Loading a table: a text of routes, one a line, enters; one batch of changes leaves that makes them the router's routes. Ends of lines that are alike are
//! read once, and routes are handed on in the order of their destinations, in which they are looked up fastest.

use super::{Router, bare, condition};
use crate::error::Error;
use skep_packet::route::{Change, Kind, Prefix, Route, Table, Tail};
use std::collections::HashMap;

impl Router {
    /// Makes the routes of a text, one a line, the router's routes; `name` is what messages call it. Gives how many.
    pub fn load(&self, name: &str, text: &str) -> Result<usize, Error> {
        let (plain, conditional) = sorted(name, self.read(name, text)?)?;
        let count = plain.len() + conditional.len();
        self.change(|table| Ok(changes(table, plain, conditional)))?;
        Ok(count)
    }

    /// The routes of a text, with the numbers of their lines.
    fn read(&self, name: &str, text: &str) -> Result<Vec<(usize, Route)>, Error> {
        let mut routes: Vec<(usize, Route)> = Vec::new();
        let (mut tails, mut last): (HashMap<&str, Tail>, Option<(&str, Tail)>) = (HashMap::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            let at = |why: String| Error::Route(format!("{name}:{number}: {why}"));
            if line.is_empty() {
                continue;
            }
            let (destination, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            // Neighbouring lines often end alike.
            let tail = match &last {
                Some((text, tail)) if *text == rest => tail,
                _ => {
                    if !tails.contains_key(rest) {
                        let words: Vec<&str> = rest.split_whitespace().collect();
                        let tail = Tail::parse(destination, &words, &self.machine);
                        let tail = tail.map_err(|e| at(e.to_string()))?;
                        condition::check(tail.condition()).map_err(|e| at(bare(&e)))?;
                        tails.insert(rest, tail);
                    }
                    last = tails.get(rest).map(|tail| (rest, tail.clone()));
                    let Some((_, tail)) = &last else { continue };
                    tail
                }
            };
            routes.push((number, tail.of(destination).map_err(|e| at(e.to_string()))?));
        }
        Ok(routes)
    }
}

/// Routes without conditions by destination, and those with some in the order of the file, in which those of one destination are tried.
fn sorted(name: &str, routes: Vec<(usize, Route)>) -> Result<(Vec<Route>, Vec<Route>), Error> {
    let twice = |line: usize, first: &Route, number: usize| {
        let with = if first.condition.is_some() { " with that `if`" } else { "" };
        let why = format!("{} has a route{with} in line {line} already", first.prefix);
        Err(Error::Route(format!("{name}:{number}: {why}")))
    };
    let (conditional, plain): (Vec<_>, Vec<_>) =
        match routes.iter().any(|(_, route)| route.condition.is_some()) {
            true => routes.into_iter().partition(|(_, route)| route.condition.is_some()),
            false => (Vec::new(), routes),
        };
    let mut known: HashMap<(Prefix, &Option<String>), usize> = HashMap::new();
    for (number, route) in &conditional {
        if let Some(line) = known.insert((route.prefix, &route.condition), *number) {
            return twice(line, route, *number);
        }
    }
    let order = Prefix::in_order(plain.iter().map(|(_, route)| route.prefix));
    if let Some([(_, first), (_, second)]) =
        order.windows(2).find(|two| two[0].0 == two[1].0).and_then(<[_]>::first_chunk)
    {
        let [(line, first), (number, _)] = [first, second].map(|place| &plain[*place as usize]);
        return twice(*line, first, *number);
    }
    let mut plain: Vec<Option<Route>> = plain.into_iter().map(|(_, route)| Some(route)).collect();
    let plain = order.into_iter().filter_map(|(_, place)| plain[place as usize].take()).collect();
    Ok((plain, conditional.into_iter().map(|(_, route)| route).collect()))
}

fn changes(table: &Table, plain: Vec<Route>, conditional: Vec<Route>) -> Vec<Change> {
    // Those that follow the kernel's, and those of the machine itself, stay.
    let by_hand = table.those(|hop| hop.kind != Kind::Local && !hop.followed);
    let mut gone = Prefix::in_order(by_hand).into_iter().map(|(prefix, _)| prefix).peekable();
    let mut changes: Vec<Change> = table.conditional().map(Change::DeleteAllIf).collect();
    changes.extend(conditional.into_iter().map(Change::Replace));
    changes.reserve(plain.len());
    for route in plain {
        while let Some(prefix) = gone.next_if(|prefix| *prefix < route.prefix) {
            changes.push(Change::Delete(prefix));
        }
        gone.next_if_eq(&route.prefix);
        changes.push(Change::Replace(route));
    }
    changes.extend(gone.map(Change::Delete));
    changes
}
