//! What was lost: counters that programs keep, read from the object's counter map.
//!
//! Counters only grow, per CPU. A [`Loss`] is their state at one moment; nothing here resets them.

use skep_bpf::backend::{Backend, BackendError};
use skep_bpf::object::{Counter, Object};

use crate::decode::{u32_at, u64_at};

/// What was lost since the programs were loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loss {
    /// Events that did not fit into the ring buffer, by CPU.
    pub events: Vec<u64>,
    /// Programs that ended early because no scratch memory was free, by CPU. Each is one event lost.
    pub scratch: Vec<u64>,
    /// Updates that failed because a map was full: index into `Object::maps`, how many.
    pub full_maps: Vec<(usize, u64)>,
    /// Updates that failed for another reason: index into `Object::maps`, how many.
    pub refused: Vec<(usize, u64)>,
    /// Stacks that could not be stored: index into `Object::maps`, how many.
    pub stacks: Vec<(usize, u64)>,
    /// Runs that the kernel skipped because the program was at work on that CPU, interrupted or preempted.
    pub recursion_misses: u64,
}

impl Loss {
    /// Reads all counters. An object without counter map has lost nothing that it knows of.
    pub fn read(object: &Object, backend: &mut dyn Backend) -> Result<Loss, BackendError> {
        let mut loss = Loss::default();
        let Some(map) = object.session.counter_map else { return Ok(loss) };
        let entries = backend.map_entries(map)?;
        for entry in entries.iter() {
            let index = u32_at(entry.key, 0).and_then(|i| usize::try_from(i).ok());
            let Some(counter) = index.and_then(|i| object.session.counters.get(i)) else { continue };
            let cpus = entry.per_cpu().map(|bytes| u64_at(bytes, 0).unwrap_or(0));
            let total = |cpus: &mut dyn Iterator<Item = u64>| cpus.fold(0u64, u64::wrapping_add);
            match counter {
                Counter::LostEvent => add(&mut loss.events, cpus),
                Counter::ScratchBusy => add(&mut loss.scratch, cpus),
                Counter::MapFull(map) => loss.full_maps.push((*map, total(&mut cpus.into_iter()))),
                Counter::MapRefused(map) => loss.refused.push((*map, total(&mut cpus.into_iter()))),
                Counter::StackLost(map) => loss.stacks.push((*map, total(&mut cpus.into_iter()))),
            }
        }
        loss.full_maps.retain(|(_, count)| *count != 0);
        loss.refused.retain(|(_, count)| *count != 0);
        loss.stacks.retain(|(_, count)| *count != 0);
        Ok(loss)
    }

    /// Events lost on all CPUs, for whichever reason.
    pub fn total_events(&self) -> u64 {
        self.events.iter().chain(&self.scratch).fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// The warnings for this loss, one line each; none when nothing was lost.
    pub fn warnings(&self, object: &Object) -> Vec<String> {
        let mut lines = Vec::new();
        let total = self.total_events();
        if total != 0 {
            let cpus = self.events.len().max(self.scratch.len());
            let on =
                |cpu: usize| [&self.events, &self.scratch].iter().filter_map(|v| v.get(cpu)).sum::<u64>();
            lines.push(format!("Total lost event count: {total} ({})", by_cpu((0..cpus).map(on))));
        }
        if self.scratch.iter().any(|n| *n != 0) {
            lines.push(format!(
                "{} of the lost events found no free scratch memory ({}): probes that interrupt each other on one CPU",
                self.scratch.iter().sum::<u64>(),
                by_cpu(self.scratch.iter().copied()),
            ));
        }
        let name = |map: usize| object.maps.get(map).map_or("?", |m| m.name.as_str());
        for (map, count) in &self.full_maps {
            let size = object.maps.get(*map).map_or(0, |m| m.max_entries);
            lines.push(format!(
                "map {} is full ({size} entries): {count} updates were lost; raise the config max_map_keys, or declare \
                 the map larger, as in `let {} = hash({});`",
                name(*map),
                name(*map),
                u64::from(size) * 2,
            ));
        }
        for (map, count) in &self.refused {
            lines.push(format!("the kernel refused {count} updates of map {}: they were lost", name(*map)));
        }
        for (map, count) in &self.stacks {
            lines.push(format!("{count} stacks could not be stored in {}", name(*map)));
        }
        if self.recursion_misses != 0 {
            lines.push(format!(
                "the kernel skipped {} probe runs (recursion misses): a program was at work on that CPU already, \
                 interrupted or preempted",
                self.recursion_misses
            ));
        }
        lines
    }
}

fn add(sums: &mut Vec<u64>, cpus: impl Iterator<Item = u64>) {
    for (cpu, count) in cpus.enumerate() {
        match sums.get_mut(cpu) {
            Some(sum) => *sum = sum.wrapping_add(count),
            None => sums.push(count),
        }
    }
}

/// "CPU 0: 3, CPU 5: 1", without the CPUs that have none.
fn by_cpu(counts: impl Iterator<Item = u64>) -> String {
    let some: Vec<String> =
        counts.enumerate().filter(|(_, n)| *n != 0).map(|(cpu, n)| format!("CPU {cpu}: {n}")).collect();
    some.join(", ")
}
