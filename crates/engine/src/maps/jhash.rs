//! Bob Jenkins' hash as the kernel computes it (include/linux/jhash.h), for the map kinds whose behaviour shows it.

const INITIAL: u32 = 0xdead_beef;

fn mix(mut s: [u32; 3]) -> [u32; 3] {
    for (i, turn) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (x, y, z) = (i % 3, (i + 2) % 3, (i + 1) % 3);
        s[x] = s[x].wrapping_sub(s[y]) ^ s[y].rotate_left(turn);
        s[y] = s[y].wrapping_add(s[z]);
    }
    s
}

fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    let step = |x: &mut u32, y: u32, turn: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
    step(&mut c, b, 14);
    step(&mut a, c, 11);
    step(&mut b, a, 25);
    step(&mut c, b, 16);
    step(&mut a, c, 4);
    step(&mut b, a, 14);
    step(&mut c, b, 24);
    c
}

fn add(state: [u32; 3], words: [u32; 3]) -> [u32; 3] {
    [0, 1, 2].map(|i| state[i].wrapping_add(words[i]))
}

/// `jhash2` of whole words.
pub(super) fn words(words: &[u32], seed: u32) -> u32 {
    let start = INITIAL.wrapping_add((words.len() as u32) << 2).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = words;
    while rest.len() > 3 {
        state = mix(add(state, [rest[0], rest[1], rest[2]]));
        rest = &rest[3..];
    }
    if rest.is_empty() {
        return state[2];
    }
    let word = |i: usize| rest.get(i).copied().unwrap_or(0);
    finish(add(state, [word(0), word(1), word(2)]))
}

/// `jhash` of bytes.
pub(super) fn bytes(bytes: &[u8], seed: u32) -> u32 {
    let start = INITIAL.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = bytes;
    let triple = |bytes: &[u8]| {
        let byte = |i: usize| u32::from(bytes.get(i).copied().unwrap_or(0));
        [0, 4, 8].map(|i| byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24)
    };
    while rest.len() > 12 {
        state = mix(add(state, triple(rest)));
        rest = &rest[12..];
    }
    if rest.is_empty() { state[2] } else { finish(add(state, triple(rest))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_words_agree_on_whole_words() {
        // On little-endian machines the two are the same function for multiples of four bytes.
        for n in 1..20u32 {
            let numbers: Vec<u32> = (0..n).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
            let flat: Vec<u8> = numbers.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(words(&numbers, 7), bytes(&flat, 7), "{n} words");
        }
    }

    #[test]
    fn seed_and_length_count() {
        assert_ne!(bytes(b"abc", 0), bytes(b"abc", 1));
        assert_ne!(bytes(b"abc", 0), bytes(b"abc\0", 0));
        assert_eq!(bytes(b"", 0), INITIAL);
        assert_eq!(words(&[], 5), INITIAL + 5);
    }
}
