//! The filter language against libpcap: expressions from its grammar on packets of every link type.
//!
//! What libpcap accepts we accept, what it rejects we reject, and every packet gets the same verdict. The differences that
//! `docs/filter.md` names are the only ones, each held to its conditions here:
//!
//! - libpcap's optimiser leaves out reads, so its programs with and without it can disagree on a packet that is too short.
//!   `strict` is as without; otherwise either verdict is right, and we may accept where a missing byte decides nothing.
//! - `protochain` goes on behind an authentication header where libpcap, and `strict`, go astray.
//! - An expression that no packet can match is refused; how far that is noticed differs.
//! - Behind `geneve`, and on a live source `vlan`, libpcap may read offsets that were never set, where it kept a number before.

#![allow(unreachable_pub, reason = "support is shared by test programs")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

mod support;

use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Options, Packet, compile};
use support::classic::End;
use support::expressions::Generator;
use support::oracle::Oracle;
use support::random::Random;
use support::{Files, classic, packets};

/// What went by.
#[derive(Default, Debug)]
struct Tally {
    expressions: usize,
    refused: usize,
    /// Accepted some packets and not others.
    telling: usize,
    verdicts: usize,
    /// libpcap's optimised and unoptimised programs disagreed.
    either: usize,
    /// We accepted what both refused for a byte that decides nothing.
    short: usize,
    /// Only one side noticed that no packet can match.
    unnoticed: usize,
    /// libpcap read offsets that were never set.
    unset: usize,
    differences: Vec<String>,
}

impl Tally {
    fn shown(&self) -> String {
        format!(
            "{} expressions: {} refused by both, {} told packets apart; by one side only {} were found to match nothing\n\
             {} verdicts: {} where libpcap disagrees with itself, {} of short packets that only we accept",
            self.expressions,
            self.refused,
            self.telling,
            self.unnoticed,
            self.verdicts,
            self.either,
            self.short
        )
    }
}

struct Case<'a> {
    link: LinkType,
    swapped: bool,
    oracle: &'a Oracle,
}

fn count() -> usize {
    std::env::var("SKEP_FILTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(6000)
}

fn seed() -> u64 {
    std::env::var("SKEP_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Filters as they are written most, one a line; `skep-bench filter` measures them.
const FILTERS: &str = include_str!("../../../tests/packet/usual-filters.txt");
const NO_TAGS: &str = "no VLAN support for";
const REJECTS_ALL: &str = "expression rejects all packets";

fn check(case: &Case<'_>, text: &str, random: &mut Random, tally: &mut Tally) {
    let source = case.oracle.source(case.swapped);
    let options = |strict| Options { link: case.link, source, netmask: Some(0), strict };
    let theirs = case.oracle.compile(text);
    let (strict, free) = (compile(text, &options(true), &Files), compile(text, &options(false), &Files));
    tally.expressions += 1;
    let wraps = matches!(case.oracle, Oracle::Live(_));
    let (theirs, strict, free) = match (theirs, strict, free) {
        (Ok(theirs), Ok(strict), Ok(free)) => (theirs, strict, free),
        (Err(_), Err(_), Err(_)) => {
            tally.refused += 1;
            return;
        }
        // Tags behind a header of Linux are ours alone (docs/filter.md).
        (Err(error), Err(_), Ok(_)) if case.link == LinkType::Sll2 && error.contains(NO_TAGS) => {
            tally.refused += 1;
            return;
        }
        (Ok(theirs), Err(error), _) | (Ok(theirs), _, Err(error)) => {
            let any = (0..400).any(|_| {
                let bytes = packets::packet(random, case.link);
                let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ..Packet::default() };
                classic::run(&theirs.optimised, &packet, wraps).accepts()
            });
            if any || error.message != REJECTS_ALL {
                tally
                    .differences
                    .push(format!("{:?} `{text}`: only we refuse: {}", case.link, error.message));
            }
            tally.unnoticed += 1;
            return;
        }
        (Err(error), ours, _) => {
            let any = (0..400).any(|_| {
                let bytes = packets::packet(random, case.link);
                let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ..Packet::default() };
                ours.as_ref().is_ok_and(|ours| ours.matches(&packet))
            });
            if any || !error.contains(REJECTS_ALL) {
                tally.differences.push(format!("{:?} `{text}`: only libpcap refuses: {error}", case.link));
            }
            tally.unnoticed += 1;
            return;
        }
    };
    let (mut yes, mut no) = (0, 0);
    for _ in 0..48 {
        let bytes = packets::packet(random, case.link);
        let length = bytes.len() as u32 + if random.one_in(3) { random.below(60) as u32 } else { 0 };
        let beside = wraps && random.one_in(3);
        let packet = Packet {
            bytes: &bytes,
            length,
            vlan: beside.then(|| random.choose(&packets::VLANS)),
            packet_type: random.choose(&[0, 1, 4]),
            ifindex: random.choose(&[1, 2, 7]),
            protocol: 0,
        };
        let run = |program| classic::run(program, &packet, wraps);
        let (optimised, plain) = (run(&theirs.optimised), run(&theirs.plain));
        if optimised == End::Never || plain == End::Never {
            continue;
        }
        let (strict, free) = (strict.matches(&packet), free.matches(&packet));
        let (optimised, known) = (optimised.accepts(), plain.accepts());
        tally.verdicts += 1;
        tally.either += usize::from(optimised != known);
        *(if strict { &mut yes } else { &mut no }) += 1;
        let short = free && plain == End::Missing;
        tally.short += usize::from(short && !optimised);
        let free = if text.contains("protochain") { strict } else { free };
        if strict != known && may_read_unset(text, wraps) {
            tally.unset += 1;
            continue;
        }
        if strict != known || free != optimised && free != known && !short {
            return tally.differences.push(format!(
                "{:?} `{text}`: strict {strict}, free {free}, libpcap {known}, optimised {optimised}, on {} ({packet:?})",
                case.link,
                bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(),
            ));
        }
    }
    tally.telling += usize::from(yes > 0 && no > 0);
}

/// Whether libpcap keeps numbers where it later looks for offsets that may not have been set.
fn may_read_unset(text: &str, live: bool) -> bool {
    let place = |word| text.find(word);
    let offsets = place("geneve").or(place("vlan").filter(|_| live));
    let numbers = [place("["), place("len")].into_iter().flatten().min();
    numbers.zip(offsets).is_some_and(|(numbers, offsets)| numbers < offsets)
}

fn run(cases: &[Case<'_>], expressions: usize) -> Tally {
    let mut random = Random::new(seed());
    let mut tally = Tally::default();
    for _ in 0..expressions {
        let text = Generator { random: &mut random }.expression();
        // Ethernet has the most of the language.
        let case = if random.one_in(2) { &cases[0] } else { &cases[random.below(cases.len())] };
        check(case, &text, &mut random, &mut tally);
    }
    tally
}

fn assert_equal(tally: &Tally) {
    println!("{}", tally.shown());
    let shown: Vec<&String> = tally.differences.iter().take(40).collect();
    assert!(
        shown.is_empty(),
        "{} differences, libpcap {} here:\n{shown:#?}",
        tally.differences.len(),
        support::oracle::version()
    );
    assert!(tally.unset * 1000 <= tally.expressions, "{} offsets that were never set", tally.unset);
    assert!(tally.telling * 4 > tally.expressions, "the expressions tell too few packets apart");
}

#[test]
fn files_of_every_link_type() {
    let links: Vec<(LinkType, bool)> = LinkType::all()
        .map(|link| (link, false))
        .chain([(LinkType::Null, true), (LinkType::Loop, true)])
        .collect();
    let oracles: Vec<Oracle> = links.iter().map(|(link, swapped)| Oracle::file(*link, *swapped)).collect();
    let mut cases: Vec<Case<'_>> = links
        .iter()
        .zip(&oracles)
        .map(|((link, swapped), oracle)| Case { link: *link, swapped: *swapped, oracle })
        .collect();
    cases.sort_by_key(|case| case.link != LinkType::Ethernet);
    assert_equal(&run(&cases, count()));
}

#[test]
fn a_live_socket() {
    let oracle = match Oracle::live() {
        Ok(oracle) => oracle,
        Err(error) => return println!("not root, so libpcap compiles for no live interface: {error}"),
    };
    let case = Case { link: LinkType::Ethernet, swapped: false, oracle: &oracle };
    assert_equal(&run(&[case], count() / 3));
}

/// What a packet socket is given, beside what libpcap would give it.
#[test]
fn sockets_programs_are_as_short() {
    let oracle = match Oracle::live() {
        Ok(oracle) => oracle,
        Err(error) => return println!("not root, so libpcap compiles for no live interface: {error}"),
    };
    for text in std::iter::once("").chain(FILTERS.lines()) {
        let options = Options {
            link: LinkType::Ethernet,
            source: oracle.source(false),
            netmask: Some(0),
            strict: false,
        };
        let ours = compile(text, &options, &Files).unwrap().classic(1 << 18).unwrap();
        let theirs = oracle.compile(text).unwrap().optimised;
        assert!(
            ours.len() <= theirs.len(),
            "`{text}`: {} instructions, libpcap {}",
            ours.len(),
            theirs.len()
        );
    }
}
