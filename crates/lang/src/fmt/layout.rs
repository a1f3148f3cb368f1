//! Blanks and line breaks between pieces. Pieces enter, text leaves; it ends in one line break.

use super::{Kind, Piece};

const INDENT: usize = 2;
/// Levels by which a line is moved in that goes on within parentheses.
const CONTINUATION: usize = 2;

/// Operators with no blank on either side.
const TIGHT: &[&str] = &[".", "->", ".."];
/// Operators that can stand before a value.
const PREFIX: &[&str] = &["-", "+", "*", "&", "!", "~", "++", "--"];

struct Layout {
    out: String,
    line: String,
    /// Open braces.
    depth: usize,
    /// Open parentheses and brackets, for each open brace.
    parens: Vec<usize>,
    /// The piece before, comments left out.
    before: Option<(Kind, String)>,
    /// Whether the piece before was an operator in front of its value.
    prefix: bool,
    /// The next piece starts a line.
    fresh: bool,
}

/// The text of all pieces.
pub(super) fn layout(pieces: &[Piece<'_>]) -> String {
    let mut l = Layout {
        out: String::new(),
        line: String::new(),
        depth: 0,
        parens: vec![0],
        before: None,
        prefix: false,
        fresh: true,
    };
    for (at, piece) in pieces.iter().enumerate() {
        let next = pieces[at + 1..].iter().find(|p| !is_comment(p.kind));
        l.piece(piece, next);
    }
    l.end_line();
    l.out
}

/// Whether two pieces without a blank between them would be read as something else: `- -1`, `& &$x`, `/ *$p`, `int8 * = 0`.
fn joins(before: &str, text: &str) -> bool {
    let (last, first) = (before.chars().next_back(), text.chars().next());
    matches!((last, first), (Some('-'), Some('-')) | (Some('+'), Some('+')) | (Some('&'), Some('&')))
        || matches!((last, first), (Some('/'), Some('*' | '/')))
        || first == Some('=') && last.is_some_and(|c| "+-*/%&|^<>=!".contains(c))
}

fn is_comment(kind: Kind) -> bool {
    matches!(kind, Kind::LineComment | Kind::BlockComment)
}

impl Layout {
    fn end_line(&mut self) {
        if !self.line.trim().is_empty() {
            self.out.push_str(self.line.trim_end());
            self.out.push('\n');
        }
        self.line.clear();
        self.fresh = true;
    }

    fn nested(&self) -> bool {
        self.parens.last().is_some_and(|n| *n > 0)
    }

    fn start_line(&mut self, more: usize) {
        let levels = self.depth + more;
        self.line = " ".repeat(levels * INDENT);
        self.fresh = false;
    }

    fn piece(&mut self, piece: &Piece<'_>, next: Option<&Piece<'_>>) {
        if is_comment(piece.kind) {
            return self.comment(piece);
        }
        self.break_before(piece);
        if self.fresh {
            let goes_on = if self.nested() && !self.out.is_empty() { CONTINUATION } else { 0 };
            self.start_line(goes_on);
        } else if self.blank_before(piece, next) {
            self.line.push(' ');
        }
        self.line.push_str(piece.text);
        self.break_after(piece, next);
        let was_value = self.is_value();
        self.prefix = piece.kind == Kind::Op && PREFIX.contains(&piece.text) && !was_value;
        self.before = Some((piece.kind, piece.text.to_owned()));
    }

    fn comment(&mut self, piece: &Piece<'_>) {
        let own_line = piece.breaks > 0 || self.fresh && self.out.is_empty();
        if own_line {
            self.end_line();
            self.keep_blank_line(piece);
            self.start_line(0);
        } else if self.fresh && self.out.ends_with('\n') {
            // The comment belongs to the line that has just ended.
            self.out.pop();
            self.line = format!("{} ", self.out.rsplit('\n').next().unwrap_or(""));
            let start = self.out.rfind('\n').map_or(0, |at| at + 1);
            self.out.truncate(start);
            self.fresh = false;
        } else {
            self.line.push(' ');
        }
        self.line.push_str(piece.text);
        if piece.kind == Kind::LineComment || own_line {
            self.end_line();
        }
    }

    /// One empty line stays one, many become one.
    fn keep_blank_line(&mut self, piece: &Piece<'_>) {
        if piece.breaks > 1 && !self.out.is_empty() && !self.out.ends_with("{\n") {
            self.out.push('\n');
        }
    }

    fn break_before(&mut self, piece: &Piece<'_>) {
        let after = |kind: Kind| self.before.as_ref().is_some_and(|(k, _)| *k == kind);
        match (piece.kind, piece.text) {
            (Kind::Raw | Kind::Body | Kind::PredicateStart, _) => self.end_line(),
            (Kind::Attach, _) if !after(Kind::AttachComma) => self.end_line(),
            (Kind::Op, "}") => {
                let inline = self.before.as_ref().is_some_and(|(_, text)| text == "{");
                self.depth = self.depth.saturating_sub(1);
                if self.parens.len() > 1 {
                    self.parens.pop();
                }
                if !inline {
                    self.end_line();
                }
                return;
            }
            _ if self.nested() && piece.breaks > 0 && !self.fresh && piece.text != ")" => self.end_line(),
            _ => {}
        }
        if self.fresh && !self.nested() {
            self.keep_blank_line(piece);
        }
    }

    fn break_after(&mut self, piece: &Piece<'_>, next: Option<&Piece<'_>>) {
        match (piece.kind, piece.text) {
            (Kind::Raw | Kind::AttachComma | Kind::PredicateEnd, _) => self.end_line(),
            (Kind::Body, _) | (Kind::Op, "{") => {
                self.depth += 1;
                self.parens.push(0);
                if next.is_none_or(|n| n.text != "}") {
                    self.end_line();
                }
            }
            (Kind::Op, "}") => {
                let goes_on = |n: &Piece<'_>| n.text == "else" || n.kind == Kind::Op && n.text != "*";
                if !next.is_some_and(goes_on) || next.is_some_and(|n| n.text == "}") {
                    self.end_line();
                }
            }
            (Kind::Op, ";") => self.end_line(),
            (Kind::Op, "(" | "[") => *self.innermost() += 1,
            (Kind::Op, ")" | "]") => *self.innermost() = self.innermost().saturating_sub(1),
            _ => {}
        }
        if self.depth == 1 && self.parens.len() == 2 && self.in_config(piece, next) {
            self.end_line();
        }
    }

    /// Settings stand on lines of their own, also where only a line break separates them.
    fn in_config(&self, piece: &Piece<'_>, next: Option<&Piece<'_>>) -> bool {
        piece.kind == Kind::Value
            && next.is_some_and(|n| n.kind == Kind::Value && n.breaks > 0)
            && !self.nested()
    }

    fn innermost(&mut self) -> &mut usize {
        if self.parens.is_empty() {
            self.parens.push(0);
        }
        let last = self.parens.len() - 1;
        &mut self.parens[last]
    }

    /// Whether the piece before ends a value.
    fn is_value(&self) -> bool {
        match &self.before {
            Some((Kind::Value, _)) => true,
            Some((Kind::Op, text)) => matches!(text.as_str(), ")" | "]" | "++" | "--") && !self.prefix,
            _ => false,
        }
    }

    /// Whether a blank separates the piece from the one before it on the line.
    fn blank_before(&self, piece: &Piece<'_>, next: Option<&Piece<'_>>) -> bool {
        let Some((kind, before)) = &self.before else { return false };
        let (before, text) = (before.as_str(), piece.text);
        if joins(before, text) {
            return true;
        }
        if matches!(kind, Kind::PredicateStart) || piece.kind == Kind::PredicateEnd || self.prefix {
            return false;
        }
        if matches!(before, "(" | "[") || matches!(text, ")" | "]" | "," | ";") || TIGHT.contains(&text) {
            return false;
        }
        if TIGHT.contains(&before) && *kind == Kind::Op {
            return false;
        }
        let value = self.is_value();
        match text {
            "(" => !value,
            "[" => !value,
            "{" => before != "{",
            "}" => before != "{",
            "++" | "--" => !value,
            // A pointer's star in a type.
            "*" if next.is_some_and(|n| n.text == ")") => before != "*",
            "*" if before == "*" => false,
            _ if piece.kind == Kind::Op => true,
            // What follows `)` without an operator is what is cast.
            _ => before != ")" || piece.kind != Kind::Value,
        }
    }
}
