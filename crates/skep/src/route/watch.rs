//! `skep route watch`: a running router is looked at again and again; what has changed since the last look leaves.

use super::{HopStats, Maps, Router, find, is_followed, is_local};
use crate::error::Error;
use std::collections::BTreeMap;

/// What has changed since the last look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Routes that have gone, as they are written; of one that has changed how it was before.
    pub gone: Vec<String>,
    /// Routes that have come; of one that has changed how it is now.
    pub come: Vec<String>,
    /// Next hops that packets went to, with how many since the last look; most packets first.
    pub hops: Vec<HopStats>,
}

/// Routes as they are written, by destination and condition.
type Routes = BTreeMap<(String, Option<String>), String>;

/// A router that is watched.
#[derive(Debug)]
pub struct Watch {
    router: Router,
    generation: Option<u64>,
    routes: Routes,
    counted: BTreeMap<String, (u64, u64)>,
}

impl Watch {
    /// Begins to watch: the first look has all routes, and nothing that was counted before it.
    pub fn start() -> Result<Watch, Error> {
        let router = Router::open()?;
        let mut watch = Watch { router, generation: None, routes: BTreeMap::new(), counted: BTreeMap::new() };
        watch.count()?;
        Ok(watch)
    }

    /// What has changed. An error when the router has ended.
    pub fn look(&mut self) -> Result<Look, Error> {
        self.router = find()?.ok_or_else(|| Error::Route("the router has ended".to_owned()))?;
        let generation = Some(Maps(&self.router.maps).generation()?);
        let mut look = Look { hops: self.count()?, ..Look::default() };
        if generation == self.generation {
            return Ok(look);
        }
        self.generation = generation;
        let table = self.router.table()?;
        let mut routes = BTreeMap::new();
        for row in table.routes().filter(|row| !is_local(&table, &row.hops)) {
            let mark = if is_followed(&table, &row.hops) { " # sync" } else { "" };
            let key = (row.prefix.to_string(), row.condition.clone());
            routes.insert(key, format!("{}{mark}", self.router.row(&table, &row)));
        }
        let other = |one: &Routes, two: &Routes| {
            one.iter().filter(|(key, text)| two.get(*key) != Some(*text)).map(|row| row.1.clone()).collect()
        };
        look.gone = other(&self.routes, &routes);
        look.come = other(&routes, &self.routes);
        self.routes = routes;
        Ok(look)
    }

    /// What was counted since the last time.
    fn count(&mut self) -> Result<Vec<HopStats>, Error> {
        let mut since = Vec::new();
        let mut counted = BTreeMap::new();
        for now in self.router.stats()? {
            let (packets, bytes) = self.counted.get(&now.hop).copied().unwrap_or_default();
            // A next hop that came anew counts from zero.
            let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            let (packets, bytes) = (more(now.packets, packets), more(now.bytes, bytes));
            counted.insert(now.hop.clone(), (now.packets, now.bytes));
            if packets > 0 {
                since.push(HopStats { packets, bytes, ..now });
            }
        }
        self.counted = counted;
        since.sort_by_key(|hop| std::cmp::Reverse(hop.packets));
        Ok(since)
    }
}
