//! The parser: text enters, a syntax tree leaves. Recursive descent with a Pratt core for operators. After an error it
//! goes on behind the statement, so that several errors are found in one run; nesting is bounded.

mod expr;
mod preamble;
mod script;
mod stmt;
mod types;

use crate::ast::{Name, Script, Span};
use crate::diag::{Diagnostic, Diagnostics};
use crate::lex::{Lexer, Tok};

/// Deepest nesting of blocks, parentheses and operators.
const MAX_DEPTH: u32 = 128;

/// Parses a script. What could not be parsed is missing from the tree and reported in `diags`.
pub fn parse(text: &str, diags: &mut Diagnostics) -> Script {
    let mut parser = Parser::new(text, diags);
    parser.script()
}

/// Parses a text that must be one expression; `None` if it is none, which is reported in `diags`.
pub fn expression(text: &str, diags: &mut Diagnostics) -> Option<crate::ast::Expr> {
    let mut parser = Parser::new(text, diags);
    let expr = parser.expr().ok()?;
    if parser.tok != Tok::End {
        parser.unexpected("the end of the expression");
    }
    (parser.tok == Tok::End && !parser.diags.has_errors()).then_some(expr)
}

/// Marker: an error has been reported; the caller recovers or passes it on.
#[derive(Debug)]
struct Reported;

type Parse<T> = Result<T, Reported>;

struct Parser<'a> {
    lexer: Lexer<'a>,
    diags: &'a mut Diagnostics,
    tok: Tok,
    span: Span,
    /// End of the token before.
    last_end: u32,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, diags: &'a mut Diagnostics) -> Parser<'a> {
        let lexer = Lexer::new(text);
        let (tok, span) = lexer.token(0, diags);
        Parser { lexer, diags, tok, span, last_end: 0, depth: 0 }
    }

    /// Moves to the next token and gives the current one.
    fn bump(&mut self) -> Tok {
        self.last_end = self.span.end;
        let (tok, span) = self.lexer.token(self.span.end as usize, self.diags);
        self.span = span;
        std::mem::replace(&mut self.tok, tok)
    }

    /// Moves to the token at `pos` of the text.
    fn seek(&mut self, pos: usize) {
        self.last_end = pos as u32;
        (self.tok, self.span) = self.lexer.token(pos, self.diags);
    }

    /// The token behind the current one.
    fn peek_next(&self) -> Tok {
        self.lexer.token(self.span.end as usize, &mut Diagnostics::default()).0
    }

    fn at(&self, op: &str) -> bool {
        matches!(self.tok, Tok::Op(o) if o == op)
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(&self.tok, Tok::Ident(w) if w == word)
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = self.at(op);
        if found {
            self.bump();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, op: &'static str) -> Parse<Span> {
        let span = self.span;
        if self.eat(op) { Ok(span) } else { Err(self.unexpected(&format!("`{op}`"))) }
    }

    fn ident(&mut self, what: &str) -> Parse<Name> {
        let span = self.span;
        match &self.tok {
            Tok::Ident(text) => {
                let text = text.clone();
                self.bump();
                Ok(Name { text, span })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reports that `wanted` was expected where something else stands.
    fn unexpected(&mut self, wanted: &str) -> Reported {
        let message = format!("expected {wanted}, found {}", self.tok.describe());
        // Behind what stands before, if that is where something is missing.
        let span = match self.tok {
            Tok::End if self.last_end > 0 => Span { start: self.last_end - 1, end: self.last_end },
            _ => self.span,
        };
        self.diags.push(Diagnostic::error("syntax", span, message).at(format!("expected {wanted}")));
        Reported
    }

    fn error(&mut self, span: Span, message: impl Into<String>) -> Reported {
        self.diags.push(Diagnostic::error("syntax", span, message));
        Reported
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= MAX_DEPTH {
            let span = self.span;
            return Err(self.error(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// From `start` to the end of the token before the current one.
    fn since(&self, start: Span) -> Span {
        Span { start: start.start, end: self.last_end.max(start.start) }
    }

    /// Skips to behind the `;` of the current statement, or to the `}` of its block, or to the end.
    fn recover(&mut self) {
        let mut depth = 0u32;
        loop {
            match self.tok {
                Tok::End => return,
                Tok::Op("}") if depth == 0 => return,
                Tok::Op("{") => depth += 1,
                Tok::Op("}") => {
                    depth -= 1;
                    if depth == 0 {
                        self.bump();
                        return;
                    }
                }
                Tok::Op(";") if depth == 0 => {
                    self.bump();
                    return;
                }
                _ => {}
            }
            self.bump();
        }
    }
}

#[cfg(test)]
mod tests;
