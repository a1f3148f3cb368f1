//! Damage: an input and its fellows enter, an input that somebody might have sent leaves.

use crate::rng::Rng;

/// Longest input, in bytes.
const MAX: usize = 1 << 16;

/// Changes bytes of `input`; `others` lend pieces.
pub(crate) fn bytes(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len().max(1));
        match rng.below(9) {
            0 | 1 => set(input, at, |b, r| b ^ (1 << r.below(8)), rng),
            2 => set(input, at, |_, r| r.next() as u8, rng),
            3 => set(input, at, |b, r| b.wrapping_add(r.below(5) as u8).wrapping_sub(2), rng),
            4 => {
                let wide = 1 << rng.below(4);
                let number = rng.number().to_le_bytes();
                for (slot, byte) in input.iter_mut().skip(at & !(wide - 1)).take(wide).zip(number) {
                    *slot = byte;
                }
            }
            5 => {
                let end = (at + 1 + rng.below(16)).min(input.len());
                input.drain(at.min(end)..end);
            }
            6 => {
                let piece: Vec<u8> = input.iter().skip(at).take(1 + rng.below(32)).copied().collect();
                let to = rng.below(input.len().max(1)).min(input.len());
                input.splice(to..to, piece);
            }
            7 => {
                let Some(other) = rng.pick(others) else { continue };
                let from = rng.below(other.len().max(1));
                let piece: Vec<u8> = other.iter().skip(from).take(1 + rng.below(64)).copied().collect();
                let end = (at + rng.below(piece.len() + 1)).min(input.len());
                input.splice(at.min(end)..end, piece);
            }
            _ if rng.one_in(8) => input.truncate(at),
            _ => {}
        }
    }
    input.truncate(MAX);
}

fn set(input: &mut [u8], at: usize, change: impl Fn(u8, &mut Rng) -> u8, rng: &mut Rng) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte, rng);
    }
}

/// The words, numbers, strings and signs of a text, blanks included.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut out = Vec::new();
    let mut start = 0;
    let mut before = 2;
    for (at, c) in text.char_indices() {
        if at > start && (kind(c) != before || before == 2) {
            out.push(&text[start..at]);
            start = at;
        }
        before = kind(c);
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// Changes words of `text`; `dictionary` lends words, `others` whole lines.
pub(crate) fn text(text: &str, dictionary: &[String], others: &[Vec<u8>], rng: &mut Rng) -> String {
    let mut list: Vec<String> = words(text).into_iter().map(str::to_owned).collect();
    for _ in 0..=rng.below(5) {
        let at = rng.below(list.len().max(1)).min(list.len());
        match rng.below(10) {
            0..=2 => {
                let word = word(dictionary, rng);
                if let Some(slot) = list.get_mut(at) {
                    *slot = word;
                }
            }
            3 => list.insert(at, word(dictionary, rng)),
            4 => {
                let end = (at + 1 + rng.below(6)).min(list.len());
                list.drain(at..end);
            }
            5 => {
                let end = (at + 1 + rng.below(24)).min(list.len());
                let piece: Vec<String> = list[at..end].to_vec();
                let to = rng.below(list.len() + 1);
                list.splice(to..to, piece);
            }
            6 => {
                let other = rng.below(list.len().max(1)).min(list.len().saturating_sub(1));
                if at < list.len() {
                    list.swap(at, other);
                }
            }
            7 => {
                let Some(Ok(other)) = rng.pick(others).map(|o| std::str::from_utf8(o)) else { continue };
                let lines: Vec<&str> = other.lines().collect();
                if let Some(line) = rng.pick(&lines) {
                    list.insert(at, format!(" {line} "));
                }
            }
            8 => wrap(&mut list, at, rng),
            _ => list.insert(at, rng.number().to_string()),
        }
    }
    let mut out = list.concat();
    if rng.one_in(24) {
        let mut raw = out.into_bytes();
        bytes(&mut raw, others, rng);
        out = String::from_utf8_lossy(&raw).into_owned();
    }
    let mut end = out.len().min(MAX);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out
}

fn word(dictionary: &[String], rng: &mut Rng) -> String {
    match rng.pick(dictionary) {
        Some(word) if !rng.one_in(12) => word.clone(),
        _ => rng.number().to_string(),
    }
}

/// Puts brackets around a piece, now and then very many.
fn wrap(list: &mut Vec<String>, at: usize, rng: &mut Rng) {
    let pairs =
        [("(", ")"), ("{", "}"), ("[", "]"), ("!", ""), ("-", ""), ("*", ""), ("(", ",)"), ("\"", "\"")];
    let (open, close) = pairs[rng.below(pairs.len())];
    let times = if rng.one_in(40) { 3000 } else { 1 + rng.below(3) };
    let end = (at + 1 + rng.below(8)).min(list.len());
    list.insert(end, close.repeat(times));
    list.insert(at.min(end), open.repeat(times));
}
