//! Arithmetic over the output: `require: sum /@ran: (\d+)/ = count /^hit/ + sum /Lost (\d+)/`.
//!
//! In: a requirement's text; later the lines of standard output and error. Out: whether it holds, with both sides' values.
//! Terms: a number; `count /P/`: the lines that match; `sum /P/`: the sum of the first group over all lines that match.
//! Relations: `=`, `!=`, `<`, `<=`, `>`, `>=`. A `/` inside a pattern is written `\/`.

use regex::Regex;

use crate::vars::Vars;

/// A relation between two sums.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    text: String,
    left: Vec<Term>,
    relation: Relation,
    right: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Number(i128),
    Count(String),
    Sum(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

const RELATIONS: [(&str, Relation); 6] = [
    ("=", Relation::Equal),
    ("!=", Relation::NotEqual),
    ("<", Relation::Less),
    ("<=", Relation::LessEqual),
    (">", Relation::Greater),
    (">=", Relation::GreaterEqual),
];

impl Requirement {
    /// Parses a requirement's text; every pattern must compile, and `sum` needs a group.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut left = Vec::new();
        let mut right = Vec::new();
        let mut relation = None;
        let mut rest = text.trim();
        loop {
            let term = take_term(&mut rest).map_err(|message| format!("{message} in `{text}`"))?;
            if relation.is_none() {
                left.push(term)
            } else {
                right.push(term)
            }
            if rest.is_empty() {
                break;
            }
            let (word, after) = rest.split_once(' ').ok_or_else(|| format!("`{rest}` ends too early"))?;
            rest = after.trim_start();
            match RELATIONS.iter().find(|(name, _)| *name == word) {
                Some((_, found)) if relation.is_none() => relation = Some(*found),
                None if word == "+" => {}
                _ => return Err(format!("expected + or one relation, found `{word}` in `{text}`")),
            }
        }
        let relation = relation.ok_or_else(|| format!("no relation in `{text}`"))?;
        Ok(Requirement { text: text.to_owned(), left, relation, right })
    }

    /// Checks the requirement against all lines; the error says both values.
    pub(crate) fn check(&self, lines: &[String], vars: &Vars) -> Result<(), String> {
        let left = total(&self.left, lines, vars)?;
        let right = total(&self.right, lines, vars)?;
        let holds = match self.relation {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::LessEqual => left <= right,
            Relation::Greater => left > right,
            Relation::GreaterEqual => left >= right,
        };
        if holds { Ok(()) } else { Err(format!("required {}: left is {left}, right is {right}", self.text)) }
    }
}

/// Takes one term off the front of `rest`.
fn take_term(rest: &mut &str) -> Result<Term, String> {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let after = after.trim_start();
    if let Ok(number) = word.parse() {
        *rest = after;
        return Ok(Term::Number(number));
    }
    if word != "count" && word != "sum" {
        return Err(format!("expected a number, count /…/ or sum /…/, found `{word}`"));
    }
    let body = after.strip_prefix('/').ok_or_else(|| format!("expected /pattern/ after {word}"))?;
    let end = closing_slash(body).ok_or("a pattern without its closing /")?;
    let pattern = body[..end].replace("\\/", "/");
    let compiled = Regex::new(&pattern).map_err(|error| error.to_string())?;
    *rest = body[end + 1..].trim_start();
    if word == "count" {
        return Ok(Term::Count(pattern));
    }
    match compiled.captures_len() {
        1 => Err(format!("sum /{pattern}/ needs a group")),
        _ => Ok(Term::Sum(pattern)),
    }
}

fn closing_slash(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    (0..bytes.len()).find(|&at| bytes[at] == b'/' && (at == 0 || bytes[at - 1] != b'\\'))
}

fn total(terms: &[Term], lines: &[String], vars: &Vars) -> Result<i128, String> {
    let compile = |pattern: &str| {
        Regex::new(&vars.fill_pattern(pattern)).map_err(|error| format!("{pattern}: {error}"))
    };
    let mut total = 0;
    for term in terms {
        total += match term {
            Term::Number(number) => *number,
            Term::Count(pattern) => {
                let pattern = compile(pattern)?;
                lines.iter().filter(|line| pattern.is_match(line)).count() as i128
            }
            Term::Sum(pattern) => {
                let pattern = compile(pattern)?;
                let groups = lines.iter().filter_map(|line| pattern.captures(line)?.get(1));
                let parse =
                    |text: &str| text.parse::<i128>().map_err(|_| format!("`{text}` is not a number"));
                groups.map(|group| parse(group.as_str())).sum::<Result<i128, String>>()?
            }
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(requirement: &str, lines: &[&str]) -> bool {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Requirement::parse(requirement).unwrap().check(&lines, &Vars::default()).is_ok()
    }

    #[test]
    fn sums_and_counts() {
        let lines = ["hit", "hit", "Lost 3 events", "Lost 4 events", "@ran: 9", "a/b"];
        let balance = r"sum /@ran: (\d+)/ = count /^hit$/ + sum /Lost (\d+) events/";
        assert!(holds(balance, &lines));
        assert!(!holds(balance, &lines[1..]));
        assert!(holds(r"count /a\/b/ >= 1", &lines));
        assert!(holds("count /nothing/ < 1", &lines));
    }

    #[test]
    fn mistakes_are_found_when_it_is_read() {
        for bad in ["1", "sum /x/ = 1", "count x = 1", "1 = 1 = 1", "count /(/ = 1", "1 ~ 2", "1 ="] {
            assert!(Requirement::parse(bad).is_err(), "{bad}");
        }
    }
}
