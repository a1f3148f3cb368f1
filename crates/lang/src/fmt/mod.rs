//! The formatter: a script enters, the same script in the house's layout leaves. Only blanks and line breaks change: the
//! tokens and the comments are those of the source, in their order. What is already formatted stays as it is.

use crate::ast::{Script, Span};
use crate::diag::Diagnostics;
use crate::lex::{Lexer, Tok};
use crate::parse;

mod layout;
#[cfg(test)]
mod tests;
mod verify;

pub use verify::verify;

/// A piece of the source that is printed as one.
#[derive(Clone, PartialEq, Debug)]
struct Piece<'a> {
    kind: Kind,
    text: &'a str,
    /// Line breaks between the piece before and this one.
    breaks: usize,
}

/// What a piece is to the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A name, a number, a string, a variable, a map.
    Value,
    /// A word before a condition or a block: `if`, `while`, `for` ….
    Keyword,
    /// An operator or punctuation.
    Op,
    /// `{` of a probe, a macro or a function.
    Body,
    /// An attach point.
    Attach,
    /// `,` between attach points.
    AttachComma,
    /// The first `/` of a predicate.
    PredicateStart,
    /// The last.
    PredicateEnd,
    /// C, a preprocessor line, the first line: printed as it is.
    Raw,
    /// `// …`
    LineComment,
    /// `/* … */`
    BlockComment,
}

const KEYWORDS: &[&str] = &["if", "else", "while", "for", "unroll", "return", "macro", "fn", "let", "import"];

/// Formats a script, or says what is wrong with it.
pub fn format(text: &str) -> Result<String, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let script = parse::parse(text, &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let laid_out = layout::layout(&pieces(text, &script));
    // Such a line is the kernel's at the very beginning only; further down it is a directive, and stays one.
    let is_script = text.starts_with("#!") || !laid_out.starts_with("#!");
    Ok(if is_script { laid_out } else { format!("\n{laid_out}") })
}

/// Places that the tree knows and the tokens do not.
struct Places {
    raw: Vec<Span>,
    attach: Vec<Span>,
    /// Between the end of the last attach point and the start of the body.
    heads: Vec<(Span, Option<Span>)>,
    bodies: Vec<u32>,
}

impl Places {
    fn of(text: &str, script: &Script) -> Places {
        let mut raw: Vec<Span> = script.c_decls.iter().map(|c| c.span).collect();
        if text.starts_with("#!") {
            raw.push(Span::new(0, text.find('\n').unwrap_or(text.len())));
        }
        let blocks = script.probes.iter().map(|p| &p.body);
        let blocks = blocks.chain(script.macros.iter().map(|m| &m.body));
        let blocks = blocks.chain(script.functions.iter().map(|f| &f.body));
        let head = |p: &crate::ast::Probe| {
            let from = p.attach.first()?.span.start;
            Some((Span { start: from, end: p.body.span.start }, p.predicate.as_ref().map(|e| e.span)))
        };
        Places {
            raw,
            attach: script.probes.iter().flat_map(|p| p.attach.iter().map(|a| a.span)).collect(),
            heads: script.probes.iter().filter_map(head).collect(),
            bodies: blocks.map(|b| b.span.start).collect(),
        }
    }

    fn starting_at(spans: &[Span], at: usize) -> Option<Span> {
        spans.iter().copied().find(|s| s.start as usize == at && s.end > s.start)
    }

    /// What an operator at `span` is.
    fn op(&self, op: &str, span: Span) -> Kind {
        if op == "{" && self.bodies.contains(&span.start) {
            return Kind::Body;
        }
        let Some((_, predicate)) =
            self.heads.iter().find(|(h, _)| h.start <= span.start && span.end <= h.end)
        else {
            return Kind::Op;
        };
        match (op, predicate) {
            ("/", Some(p)) if span.end <= p.start => Kind::PredicateStart,
            ("/", Some(p)) if span.start >= p.end => Kind::PredicateEnd,
            (",", Some(p)) if span.start >= p.start => Kind::Op,
            (",", _) => Kind::AttachComma,
            _ => Kind::Op,
        }
    }
}

/// The source as pieces.
fn pieces<'a>(text: &'a str, script: &Script) -> Vec<Piece<'a>> {
    let places = Places::of(text, script);
    let lexer = Lexer::new(text);
    let mut unheard = Diagnostics::default();
    let (mut out, mut pos) = (Vec::new(), 0);
    loop {
        let start = comments(text, pos, &places, &mut out);
        let breaks = breaks_before(text, start);
        let whole = Places::starting_at(&places.raw, start).map(|span| (Kind::Raw, span));
        let whole = whole.or_else(|| Places::starting_at(&places.attach, start).map(|s| (Kind::Attach, s)));
        let (kind, span) = match whole {
            Some(found) => found,
            None => match lexer.token(start, &mut unheard) {
                (Tok::End, _) => return out,
                (Tok::Op(op), span) => (places.op(op, span), span),
                (Tok::Ident(word), span) if KEYWORDS.contains(&word.as_str()) => (Kind::Keyword, span),
                (_, span) => (Kind::Value, span),
            },
        };
        pos = span.end as usize;
        out.push(Piece { kind, text: text[start..pos].trim_end(), breaks });
    }
}

/// Line breaks in the blanks before `at`.
fn breaks_before(text: &str, at: usize) -> usize {
    let before = &text[..at];
    before[before.trim_end().len()..].matches('\n').count()
}

/// Takes the comments at `pos`; where the next token starts.
fn comments<'a>(text: &'a str, mut pos: usize, places: &Places, out: &mut Vec<Piece<'a>>) -> usize {
    loop {
        let rest = &text[pos..];
        let trimmed = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        pos += rest.len() - trimmed.len();
        let within = Places::starting_at(&places.raw, pos).or(Places::starting_at(&places.attach, pos));
        let (kind, len) = match trimmed {
            _ if within.is_some() => return pos,
            t if t.starts_with("//") => (Kind::LineComment, t.find('\n').unwrap_or(t.len())),
            t if t.starts_with("/*") => {
                (Kind::BlockComment, t[2..].find("*/").map_or(t.len(), |end| end + 4))
            }
            _ => return pos,
        };
        out.push(Piece { kind, text: trimmed[..len].trim_end(), breaks: breaks_before(text, pos) });
        pos += len;
    }
}
