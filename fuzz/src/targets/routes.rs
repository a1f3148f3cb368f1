//! What fills a router's table: the kernel's messages about its routes, and tests of tables.

use super::Target;
use crate::mutate;
use crate::rng::Rng;
use skep_packet::route::case::Case;
use skep_packet::route::fib::{Mirror, Selection};
use skep_packet::route::{Device, Table};

/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`
const KINDS: [u8; 7] = [16, 17, 20, 24, 25, 104, 105];
/// Number of the main table.
const MAIN: u32 = 254;

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A message as the kernel writes it, of that kind.
fn message(kind: u8, rng: &mut Rng) -> Vec<u8> {
    let index = (rng.below(4) as u32).to_ne_bytes();
    let mut body = Vec::new();
    match kind {
        16 | 17 => {
            body.extend([0; 4]);
            body.extend(index);
            body.extend(
                (rng.below(2) as u32 | (rng.below(2) as u32) << 16 | (rng.below(9) as u32 & 8)).to_ne_bytes(),
            );
            body.extend([0; 4]);
        }
        24 | 25 => {
            let (family, octets) =
                if rng.one_in(2) { (2, vec![10, rng.below(3) as u8, 0, 0]) } else { (10, vec![0x20; 16]) };
            let length = if family == 2 { 16 } else { 128 };
            body.extend([family, length, 0, 0, MAIN as u8, 4, 0, 1 + rng.below(9) as u8, 0, 0, 0, 0]);
            put(&mut body, 1, &octets);
            let mut hops = Vec::new();
            for _ in 0..rng.below(3) {
                let at = hops.len();
                hops.extend([0, 0, rng.below(2) as u8, rng.below(4) as u8]);
                hops.extend(index);
                put(&mut hops, 5, &octets);
                let length = (hops.len() - at) as u16;
                hops[at..at + 2].copy_from_slice(&length.to_ne_bytes());
            }
            match rng.below(3) {
                0 => put(&mut body, 9, &hops),
                1 => put(&mut body, 30, &index),
                _ => {
                    put(&mut body, 4, &index);
                    put(&mut body, 5, &octets);
                    put(&mut body, 6, &(rng.below(3) as u32).to_ne_bytes());
                }
            }
        }
        104 | 105 => {
            body.extend([0; 8]);
            put(&mut body, 1, &index);
            match rng.one_in(2) {
                true => put(&mut body, 2, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0]),
                false => {
                    put(&mut body, 5, &index);
                    put(&mut body, 6, &[10, 0, 1, 1]);
                }
            }
        }
        _ => body.extend([0; 8]),
    }
    body
}

/// Messages of the kernel's: each its kind, its flags, its length in one byte, and its body.
pub(super) struct Messages;

impl Target for Messages {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut input = Vec::new();
        for _ in 0..1 + rng.below(30) {
            let kind = rng.pick(&KINDS).copied().unwrap_or(24);
            let mut body = message(kind, rng);
            if rng.one_in(4) {
                mutate::bytes(&mut body, &[], rng);
            }
            body.truncate(255);
            input.extend([kind, rng.below(16) as u8, body.len() as u8]);
            input.extend(body);
        }
        input
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let device = |index: u32| {
            (index < 4).then(|| Device {
                name: format!("d{index}"),
                index,
                mtu: 1500,
                mac: [2; 6],
                fast: None,
            })
        };
        let mut mirror = Mirror::new(Selection { table: MAIN, protocol: None });
        let (mut table, mut rest, mut count) = (Table::default(), input, 0);
        mirror.begin();
        while let [kind, flags, length, behind @ ..] = rest {
            let (body, next) = behind.split_at(behind.len().min(usize::from(*length)));
            mirror.take(u16::from(*kind), u16::from(*flags) << 8, body);
            (rest, count) = (next, count + 1);
            if count == 4 {
                mirror.end(true);
            }
            if count > 4 {
                let changes = mirror.changes(&table, &device, &|_| false);
                table.plan(&changes).map_err(|e| e.to_string())?;
            }
        }
        mirror.end(true);
        let changes = mirror.changes(&table, &device, &|_| false);
        table.plan(&changes).map_err(|e| e.to_string())?;
        match (table.len() > mirror.len(), table.those(|hop| !hop.followed).is_empty()) {
            (true, _) => Err("more routes than the kernel has".to_owned()),
            (_, false) => Err("a route that follows nothing".to_owned()),
            _ => Ok(()),
        }
    }
}

const CASES: [&str; 4] = [
    include_str!("../../../tests/route/forward.yaml"),
    include_str!("../../../tests/route/several.yaml"),
    include_str!("../../../tests/route/conditions.yaml"),
    include_str!("../../../tests/route/cpus.yaml"),
];

/// Tests of tables.
pub(super) struct Cases(Vec<String>, Vec<Vec<u8>>);

impl Cases {
    pub(super) fn new() -> Cases {
        let words = CASES.iter().flat_map(|text| mutate::words(text)).map(str::to_owned).collect();
        Cases(words, CASES.iter().map(|text| text.as_bytes().to_vec()).collect())
    }
}

impl Target for Cases {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let text = rng.pick(&CASES).copied().unwrap_or("");
        mutate::text(text, &self.0, &self.1, rng).into_bytes()
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(input);
        let Err(mistake) = Case::read(&text) else { return Ok(()) };
        match mistake.place.line <= text.lines().count() + 1 {
            true => Ok(()),
            false => Err(format!("{mistake} is behind the text")),
        }
    }
}
