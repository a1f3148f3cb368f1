//! A graph as steps: what most tests ask, a number at a fixed place or behind an IPv4 header against a constant, is decoded
//! once, when the filter is compiled, and every other test is left to [`super::eval`]. Going through them allocates nothing,
//! but for filters with very many variables.
//!
//! What always holds: the verdict that the tests give when all of them are evaluated.

use super::Filter;
use super::ast::ArithOp;
use super::eval::{Eval, Packet, variables};
use super::graph::{Graph, Next};
use super::pred::{Cc, Preds, Value, ValueId};

/// Where steps lead, beside other steps.
const ACCEPT: u32 = u32::MAX;
const REJECT: u32 = u32::MAX - 1;

/// Places from here on are left to the evaluation, which knows how they wrap.
const FAR: u32 = 1 << 30;

/// Variables that find room without an allocation.
const FEW: usize = 32;

/// The steps of a filter, by the numbers of the graph's nodes.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    steps: Vec<Step>,
    root: u32,
    /// How many variables there are.
    variables: usize,
}

/// `read & mask` compared with a number.
#[derive(Clone, Copy, Debug)]
struct Step {
    read: Read,
    cc: Cc,
    mask: u32,
    with: u32,
    then: u32,
    other: u32,
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    Byte(u32),
    Half(u32),
    Word(u32),
    /// `add` bytes behind the length of the IPv4 header that begins at `header`.
    ByteBehind(Behind),
    HalfBehind(Behind),
    WordBehind(Behind),
    /// The packet's length.
    Len,
    /// The test is more than a step.
    Evaluate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Behind {
    header: u32,
    add: u32,
}

impl Steps {
    /// The steps of a graph.
    pub(super) fn new(graph: &Graph, preds: &Preds) -> Steps {
        let place = |next: Next| match next {
            Next::Accept => ACCEPT,
            Next::Reject => REJECT,
            Next::Node(n) => n,
        };
        let step = |node: &super::graph::Node| {
            let with = preds.constant(node.test.b).filter(|_| node.test.sets.is_empty());
            let simple = with.and_then(|with| operand(preds, node.test.a).map(|of| (of, with)));
            let ((read, mask), with) = simple.unwrap_or(((Read::Evaluate, 0), 0));
            let (then, other) = (place(node.then), place(node.other));
            Step { read, cc: node.test.cc, mask, with, then, other }
        };
        let steps = graph.nodes.iter().map(step).collect();
        Steps { steps, root: place(graph.root), variables: variables(graph, preds) }
    }

    /// Whether the packet passes the filter, whose steps these are.
    pub(super) fn matches(&self, filter: &Filter, packet: &Packet<'_>) -> bool {
        if self.variables == 0 {
            self.follow(filter, packet, &mut [])
        } else if self.variables <= FEW {
            self.follow(filter, packet, &mut [0; FEW])
        } else {
            self.follow(filter, packet, &mut vec![0; self.variables])
        }
    }

    #[inline]
    fn follow(&self, filter: &Filter, packet: &Packet<'_>, vars: &mut [u32]) -> bool {
        let mut at = self.root;
        while let Some(step) = self.steps.get(at as usize) {
            let holds = match step.read {
                Read::Evaluate => evaluate(filter, at, packet, vars),
                read => read.value(packet).map(|value| step.holds(value)),
            };
            let Some(holds) = holds else { return false };
            at = if holds { step.then } else { step.other };
        }
        at == ACCEPT
    }
}

/// Whether a node's test holds; `None`: the filter ends with "no".
fn evaluate(filter: &Filter, node: u32, packet: &Packet<'_>, vars: &mut [u32]) -> Option<bool> {
    let rules = filter.rules();
    let node = filter.graph.nodes.get(node as usize)?;
    let mut eval = Eval { preds: &filter.preds, packet, vars, wraps: rules.wraps, strict: rules.strict };
    eval.test(&node.test).ok()
}

impl Step {
    #[inline]
    fn holds(&self, value: u32) -> bool {
        super::pred::holds(self.cc, value & self.mask, self.with)
    }
}

impl Read {
    #[inline]
    fn value(self, packet: &Packet<'_>) -> Option<u32> {
        let bytes = packet.bytes;
        match self {
            Read::Byte(at) => byte(bytes, at),
            Read::Half(at) => half(bytes, at),
            Read::Word(at) => word(bytes, at),
            Read::ByteBehind(behind) => byte(bytes, behind.place(bytes)?),
            Read::HalfBehind(behind) => half(bytes, behind.place(bytes)?),
            Read::WordBehind(behind) => word(bytes, behind.place(bytes)?),
            Read::Len => Some(packet.length),
            Read::Evaluate => None,
        }
    }
}

impl Behind {
    #[inline]
    fn place(self, bytes: &[u8]) -> Option<u32> {
        Some(((byte(bytes, self.header)? & 0xf) << 2) + self.add)
    }
}

#[inline]
fn byte(bytes: &[u8], at: u32) -> Option<u32> {
    bytes.get(at as usize).map(|byte| u32::from(*byte))
}

#[inline]
fn half(bytes: &[u8], at: u32) -> Option<u32> {
    let two = bytes.get(at as usize..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two).into())
}

#[inline]
fn word(bytes: &[u8], at: u32) -> Option<u32> {
    let four = bytes.get(at as usize..)?.first_chunk()?;
    Some(u32::from_be_bytes(*four))
}

/// What is read, and the bits of it that count.
fn operand(preds: &Preds, id: ValueId) -> Option<(Read, u32)> {
    if let Value::Bin(ArithOp::And, a, b) = preds.value(id) {
        return Some((read(preds, a)?, preds.constant(b)?));
    }
    Some((read(preds, id)?, u32::MAX))
}

fn read(preds: &Preds, id: ValueId) -> Option<Read> {
    let (bytes, add, index) = match preds.value(id) {
        Value::Load { bytes, add, index } if add < FAR => (bytes, add, index),
        Value::Len => return Some(Read::Len),
        _ => return None,
    };
    let Some(index) = index else {
        return Some(match bytes {
            1 => Read::Byte(add),
            2 => Read::Half(add),
            _ => Read::Word(add),
        });
    };
    let (header, more) = length(preds, index)?;
    let behind = Behind { header, add: add + more };
    Some(match bytes {
        1 => Read::ByteBehind(behind),
        2 => Read::HalfBehind(behind),
        _ => Read::WordBehind(behind),
    })
}

/// The place of the IPv4 header whose length a value is, maybe with a number added; and that number.
fn length(preds: &Preds, id: ValueId) -> Option<(u32, u32)> {
    let Value::Bin(ArithOp::Add, a, b) = preds.value(id) else { return Some((header(preds, id)?, 0)) };
    let (length, more) = match preds.constant(a) {
        Some(more) => (b, more),
        None => (a, preds.constant(b)?),
    };
    (more < FAR).then_some((header(preds, length)?, more))
}

/// The place of the IPv4 header whose length a value is: `(byte & 0xf) << 2`.
fn header(preds: &Preds, id: ValueId) -> Option<u32> {
    let Value::Bin(ArithOp::Shl, words, two) = preds.value(id) else { return None };
    let Value::Bin(ArithOp::And, first, mask) = preds.value(words) else { return None };
    let Value::Load { bytes: 1, add, index: None } = preds.value(first) else { return None };
    let whole = preds.constant(two) == Some(2) && preds.constant(mask) == Some(0xf) && add < FAR;
    whole.then_some(add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::link::LinkType;
    use crate::filter::{Options, Source, compile};
    use skep_bpf::target::{Answer, Question, Target, TargetError};

    struct NoFiles;

    impl Target for NoFiles {
        fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
            Err(TargetError::Unknown(format!("{question:?}")))
        }
    }

    fn filter(text: &str) -> Filter {
        let source = Source::File { swapped: false };
        let options = Options { link: LinkType::Ethernet, source, netmask: None, strict: false };
        compile(text, &options, &NoFiles).expect(text)
    }

    const PLAIN: [&str; 7] = [
        "vlan 5 and tcp port 80",
        "tcp port 80 and not host 10.0.0.1",
        "net 10.0.0.0/8 and greater 60",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "ip[8] > 30 or udp[4:2] > 100",
        "ip6 and tcp dst port 443",
        "udp portrange 5000-6000 or icmp",
    ];
    const OTHER: [&str; 3] = [
        "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
        "ip[0] + 1 = ip[ip[0] & 0xf]",
        "geneve 7 and host 10.0.0.1",
    ];

    #[test]
    fn common_tests_are_decoded() {
        for text in PLAIN {
            let steps = filter(text).steps;
            assert!(steps.steps.iter().all(|step| step.read != Read::Evaluate), "{text}: {steps:?}");
        }
        for text in OTHER {
            let steps = filter(text).steps;
            assert!(steps.steps.iter().any(|step| step.read == Read::Evaluate), "{text}: {steps:?}");
        }
    }

    /// A frame of TCP or UDP on IPv4, of few values, so that filters decide either way.
    fn frame(random: &mut u64) -> Vec<u8> {
        let mut next = |below: u64| {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            ((*random >> 16) % below) as u8
        };
        let mut frame = vec![2; 12];
        frame.extend([[8, 0], [8, 0], [0x86, 0xdd], [0x81, 0]][next(4) as usize]);
        frame.extend([
            0x44 + next(4),
            0,
            0,
            60,
            0,
            1,
            0,
            next(2),
            20 + next(20),
            [6, 17, 1][next(3) as usize],
        ]);
        frame.extend([0, 0, 10, 0, 0, next(2), 10, 0, 0, 1]);
        (0..next(3)).for_each(|_| frame.extend([0, next(2), 0, 80]));
        frame.extend([0, 80, 0x13 + next(8), 0x88]);
        frame.extend([0; 9]);
        frame.extend([next(32), 1, 187, 0, 0]);
        let keep = frame.len() - usize::from(next(2)) * usize::from(next(40));
        frame.truncate(keep);
        frame
    }

    #[test]
    fn steps_say_what_evaluation_says() {
        let mut random = 0x5eed_u64;
        for text in PLAIN.into_iter().chain(OTHER) {
            let plain = filter(text);
            let mut evaluated = plain.clone();
            evaluated.steps.steps.iter_mut().for_each(|step| step.read = Read::Evaluate);
            let mut passed = 0;
            for _ in 0..2000 {
                let bytes = frame(&mut random);
                let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ..Packet::default() };
                assert_eq!(plain.matches(&packet), evaluated.matches(&packet), "`{text}` on {bytes:02x?}");
                passed += u32::from(plain.matches(&packet));
            }
            assert!(passed < 2000, "`{text}` passes everything");
        }
    }
}
