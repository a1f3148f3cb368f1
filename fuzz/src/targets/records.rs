//! What comes out of the kernel: records of the ring buffer and entries of maps, under the layouts of real scripts.

use super::{Target, bytes};
use crate::backend::{Fake, FakeMap};
use crate::rng::Rng;
use skep_bpf::object::Object;
use skep_runtime::session::{Options, Session};
use skep_runtime::sink::{JsonSink, Sink, TextSink};

/// The target. Inputs: u16 number of the object, then records and entries, each with a u8 length.
pub(super) struct Records {
    objects: Vec<Object>,
}

impl Records {
    pub(super) fn new() -> Records {
        let objects = bytes::objects().into_iter().map(|(object, _)| object);
        Records { objects: objects.filter(|o| !o.events.is_empty() || !o.maps.is_empty()).collect() }
    }
}

impl Target for Records {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let object = rng.below(self.objects.len());
        let events = self.objects.get(object).map_or(0, |o| o.events.len());
        let mut input = (object as u16).to_le_bytes().to_vec();
        for _ in 0..rng.below(6) {
            let most = if rng.one_in(4) { 250 } else { 72 };
            let len = rng.below(most);
            input.push(len as u8);
            let start = input.len();
            for _ in 0..len.div_ceil(8) {
                let word = if rng.one_in(3) { rng.number() } else { rng.below(64) as u64 };
                input.extend_from_slice(&word.to_ne_bytes());
            }
            input.truncate(start + len);
            if let Some(number) = input.get_mut(start..start + 4) {
                number.copy_from_slice(&(rng.below(events + 1) as u32).to_ne_bytes());
            }
        }
        input
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let Some((head, mut rest)) = input.split_first_chunk::<2>() else { return Ok(()) };
        let Some(object) = self.objects.get(usize::from(u16::from_le_bytes(*head))) else { return Ok(()) };
        let mut pieces = Vec::new();
        while let Some((len, tail)) = rest.split_first() {
            let (piece, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        let text = TextSink::new(Vec::new(), Vec::new(), true);
        run(object, &pieces, text)?;
        run(object, &pieces, JsonSink::new(Vec::new(), Vec::new()))
    }
}

fn run<S: Sink>(object: &Object, pieces: &[Vec<u8>], sink: S) -> Result<(), String> {
    let mut machine = Fake { cpus: 2, ..Fake::default() };
    machine.records.extend(pieces.iter().cloned());
    for (index, spec) in object.maps.iter().enumerate().filter(|(_, m)| m.schema.is_some()) {
        let sized = |piece: &Vec<u8>, size: u32, times: usize| -> Vec<u8> {
            piece.iter().copied().cycle().chain(std::iter::repeat(0)).take(size as usize * times).collect()
        };
        let entries = pieces.iter().filter(|p| !p.is_empty());
        let entries = entries.map(|p| (sized(p, spec.key_size, 1), sized(p, spec.value_size, 2))).collect();
        let (key_size, value_size) = (spec.key_size as usize, spec.value_size as usize);
        if key_size + value_size < 1 << 16 {
            machine.maps.insert(index, FakeMap { key_size, value_size, cpus: 2, entries });
        }
    }
    let mut session = Session::new(object, sink, Options::default());
    let failed = |e: skep_runtime::Error| e.to_string();
    session.pump(&mut machine, &|| true).map_err(failed)?;
    session.settle(&mut machine).map_err(failed)?;
    let outcome = session.finish(&mut machine).map_err(failed);
    // A map that the machine does not have is its own trouble.
    let _ = outcome;
    Ok(())
}
