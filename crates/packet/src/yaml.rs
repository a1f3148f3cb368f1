//! YAML as a tree whose nodes know their places. A text enters, the tree of its one document leaves, or what is wrong with it and where.
//! What always holds: a tree has no more nodes than the text has bytes (references to other nodes are refused), and is at most
//! `DEEPEST` levels deep.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use std::fmt;

/// Levels of lists and mappings within each other.
const DEEPEST: usize = 32;

/// A place in a text, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Character of the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What was found and what was expected.
    pub why: String,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A block of lines (`|`), whose first is at the node's place.
    Lines(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in its order.
    Map(Vec<(Node, Node)>),
}

/// A list or mapping that has not ended.
struct Open {
    place: Place,
    is_map: bool,
    nodes: Vec<Node>,
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// Reads a text.
pub fn read(text: &str) -> Result<Node, Mistake> {
    let (mut open, mut root): (Vec<Open>, Option<Node>) = (Vec::new(), None);
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|e| Mistake { place: place(e.marker()), why: e.info().to_owned() })?;
        let at = place(&span.start);
        let wrong = |why: &str| Err(Mistake { place: at, why: why.to_owned() });
        let done = match event {
            Event::Scalar(text, ScalarStyle::Literal, ..) => {
                Node { place: at, value: Value::Lines(text.into_owned()) }
            }
            Event::Scalar(text, ..) => Node { place: at, value: Value::Text(text.into_owned()) },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= DEEPEST {
                    return wrong("too many lists and mappings within each other");
                }
                let is_map = matches!(event, Event::MappingStart(..));
                open.push(Open { place: at, is_map, nodes: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(ended) => close(ended)?,
                None => continue,
            },
            Event::Alias(_) => {
                return wrong("references to other parts (`*name`) are not taken: write it out");
            }
            Event::DocumentStart(_) if root.is_some() => return wrong("a second document was not expected"),
            _ => continue,
        };
        match open.last_mut() {
            Some(outer) => outer.nodes.push(done),
            None => root = Some(done),
        }
    }
    root.ok_or_else(|| Mistake { place: Place { line: 1, column: 1 }, why: "the file is empty".to_owned() })
}

fn close(ended: Open) -> Result<Node, Mistake> {
    let Open { place, is_map, nodes } = ended;
    if !is_map {
        return Ok(Node { place, value: Value::List(nodes) });
    }
    let mut pairs: Vec<(Node, Node)> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        let name = key.text()?;
        if !names.insert(name.to_owned()) {
            return Err(key.wrong(&format!("{} is there twice", quoted(name))));
        }
        pairs.push((key, value));
    }
    Ok(Node { place, value: Value::Map(pairs) })
}

fn quoted(word: &str) -> String {
    crate::route::quoted(word)
}

impl Node {
    /// A mistake at this place.
    pub fn wrong(&self, why: &str) -> Mistake {
        Mistake { place: self.place, why: why.to_owned() }
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) | Value::Lines(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    fn expected(&self, what: &str) -> Mistake {
        self.wrong(&format!("{} was expected, this is {}", what, self.kind()))
    }

    /// The text that it is.
    pub fn text(&self) -> Result<&str, Mistake> {
        match &self.value {
            Value::Text(text) | Value::Lines(text) => Ok(text),
            _ => Err(self.expected("a text")),
        }
    }

    /// The nodes of a list; a single one stands for a list of it.
    pub fn list(&self) -> &[Node] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => std::slice::from_ref(self),
        }
    }

    /// The pairs of a mapping.
    pub fn map(&self) -> Result<&[(Node, Node)], Mistake> {
        match &self.value {
            Value::Map(pairs) => Ok(pairs),
            _ => Err(self.expected("a mapping")),
        }
    }

    /// The values of a mapping by these names, in their order; other names are mistakes.
    pub fn fields<const N: usize>(&self, names: [&str; N]) -> Result<[Option<&Node>; N], Mistake> {
        let mut found = [None; N];
        for (key, value) in self.map()? {
            let name = key.text()?;
            let slot = names.iter().position(|known| *known == name).and_then(|at| found.get_mut(at));
            match slot {
                Some(slot) => *slot = Some(value),
                None => {
                    let known = names.map(|n| format!("`{n}`")).join(", ");
                    return Err(key.wrong(&format!("{} is not known here: {known} are", quoted(name))));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_values() {
        let node = read("a: [1, x]\nb:\n  c: |\n    one\n    two\n").unwrap();
        let [a, b] = node.fields(["a", "b"]).unwrap();
        let texts: Vec<_> =
            a.unwrap().list().iter().map(|n| (n.text().unwrap(), n.place.line, n.place.column)).collect();
        assert_eq!(texts, [("1", 1, 5), ("x", 1, 8)]);
        let [c] = b.unwrap().fields(["c"]).unwrap();
        assert_eq!((c.unwrap().text().unwrap(), c.unwrap().place.line), ("one\ntwo\n", 4));
        assert!(matches!(c.unwrap().value, Value::Lines(_)));
    }

    #[test]
    fn mistakes_have_places() {
        let why = |text: &str| match read(text).and_then(|n| n.fields(["a"]).map(|_| ())) {
            Err(mistake) => mistake.to_string(),
            Ok(()) => String::new(),
        };
        for (text, part) in [
            ("", "1:1: the file is empty"),
            ("a: &x 1\nb: *x\n", "2:4: references"),
            ("a: 1\na: 2\n", "2:1: `a` is there twice"),
            ("a: 1\nd: 2\n", "2:1: `d` is not known here: `a` are"),
            ("a: 1\n---\na: 2\n", "2:1: a second document"),
            ("- 1\n", "1:1: a mapping was expected, this is a list"),
            ("a: [1\n", ":"),
        ] {
            assert!(why(text).contains(part), "{text:?}: {}", why(text));
        }
        assert!(why(&"[".repeat(100)).contains("too many"));
    }
}
