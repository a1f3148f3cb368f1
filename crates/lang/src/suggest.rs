//! Near names: a mistyped name and the names there are enter, the one that was probably meant leaves.

/// Most edits at which a name still counts as near, by the length of what was typed.
fn limit(length: usize) -> usize {
    match length {
        0..=2 => 1,
        3..=5 => 2,
        6..=12 => 3,
        _ => 4,
    }
}

/// The name among `names` with the fewest edits (insertion, deletion, replacement, swap of neighbours) from `typed`,
/// ignoring case, if it is near enough. Of equally near ones the first.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(typed, names, 1).into_iter().next()
}

/// Up to `count` near names, the nearest first.
pub fn near<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let limit = limit(typed.chars().count());
    let wanted: Vec<char> = typed.chars().flat_map(char::to_lowercase).collect();
    let mut hits: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| *name != typed && name.len().abs_diff(typed.len()) <= limit * 4)
        .filter_map(|name| distance(&wanted, name, limit).map(|d| (d, name)))
        .collect();
    hits.sort_by_key(|(d, _)| *d);
    hits.dedup_by_key(|(_, name)| *name);
    hits.into_iter().take(count).map(|(_, name)| name).collect()
}

/// Edits between `wanted` (lower case) and `name`, if at most `limit`.
fn distance(wanted: &[char], name: &str, limit: usize) -> Option<usize> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    if name.len().abs_diff(wanted.len()) > limit {
        return None;
    }
    let width = name.len() + 1;
    let mut before = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, w) in wanted.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, n) in name.iter().enumerate() {
            let replace = last[j] + usize::from(w != n);
            row[j + 1] = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *w == name[j - 1] && wanted[i - 1] == *n {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|d| *d <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_and_nothing_far() {
        let names = ["printf", "print", "pid", "tid", "strftime"];
        assert_eq!(nearest("prinft", names), Some("printf"));
        assert_eq!(nearest("PRINTF", names), Some("printf"));
        assert_eq!(nearest("strtime", names), Some("strftime"));
        assert_eq!(nearest("pdi", names), Some("pid"));
        assert_eq!(nearest("quux", names), None);
        assert_eq!(near("prin", names, 2), ["print", "printf"]);
    }
}
