//! C in the preamble, as raw text: preprocessor lines, and declarations up to where they end.

use super::{Parse, Parser};
use crate::ast::{CDecl, Span};
use crate::diag::Diagnostics;
use crate::lex::{Tok, unclosed_comment};

impl Parser<'_> {
    pub(super) fn preprocessor_line(&mut self) -> CDecl {
        let text = self.lexer.text();
        let start = self.span.start as usize;
        let mut end = start;
        loop {
            end += text[end..].find('\n').unwrap_or(text.len() - end);
            if text[start..end].trim_end_matches('\r').ends_with('\\') && end < text.len() {
                end += 1;
                continue;
            }
            break;
        }
        // A comment that begins on the line may go on behind it.
        while let Some(open) = unfinished_comment(&text[start..end]) {
            let open = start + open;
            let Some(inside) = text[open + 2..].find("*/") else {
                self.diags.push(unclosed_comment(open));
                end = text.len();
                break;
            };
            let close = open + 2 + inside + 2;
            end = close + text[close..].find('\n').unwrap_or(text.len() - close);
        }
        self.seek(end);
        CDecl { text: text[start..end].to_owned(), span: Span::new(start, end) }
    }

    /// A C declaration up to the `;` outside of braces (`struct x { … }` may lack it).
    pub(super) fn c_declaration(&mut self) -> Parse<CDecl> {
        let start = self.span;
        let names = self.at_word("typedef");
        let mut depth = 0u32;
        loop {
            match self.tok {
                Tok::End => return Err(self.unexpected("`}` or `;` of this declaration")),
                Tok::Op("{") => depth += 1,
                Tok::Op("}") => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && !names {
                        self.bump();
                        if !self.declarators_follow() {
                            break;
                        }
                        continue;
                    }
                }
                Tok::Op(";") if depth == 0 => {
                    self.bump();
                    break;
                }
                _ => {}
            }
            self.bump();
        }
        let span = self.since(start);
        let text = self.lexer.text()[span.start as usize..span.end as usize].to_owned();
        Ok(CDecl { text, span })
    }

    /// Behind the body of a struct, union or enum: moves behind its attributes; whether more of its declaration follows,
    /// and not a probe.
    fn declarators_follow(&mut self) -> bool {
        while self.at_word("__attribute__") || self.at_word("__packed") || self.at_word("__aligned") {
            self.bump();
            let mut depth = 0u32;
            while self.at("(") || depth > 0 && self.tok != Tok::End {
                depth = match self.bump() {
                    Tok::Op("(") => depth + 1,
                    Tok::Op(")") => depth.saturating_sub(1),
                    _ => depth,
                };
                if depth == 0 {
                    break;
                }
            }
        }
        match self.tok {
            Tok::Op(";" | "*") => true,
            Tok::Ident(_) => {
                let behind = self.lexer.token(self.span.end as usize, &mut Diagnostics::default()).0;
                matches!(behind, Tok::Op(";" | "["))
            }
            _ => false,
        }
    }
}

/// Where the comment begins that the text does not end.
fn unfinished_comment(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            return None;
        }
        at += match rest.strip_prefix("/*") {
            Some(comment) => match comment.find("*/") {
                Some(end) => end + 4,
                None => return Some(at),
            },
            None if matches!(c, '"' | '\'') => {
                let quoted = rest[1..].find(c).map_or(rest.len(), |end| end + 2);
                quoted.min(rest.len())
            }
            None => c.len_utf8(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_that_go_on() {
        assert_eq!(unfinished_comment("#define A 1 /* x */ /* y"), Some(20));
        assert_eq!(unfinished_comment("#define A \"/*\" // /*"), None);
        assert_eq!(unfinished_comment("#define A 1 /* x */"), None);
        assert_eq!(unfinished_comment("#define A 1 /*/"), Some(12));
    }

    #[test]
    fn a_comment_that_opens_and_does_not_close_is_said() {
        for text in
            ["#define A 1 /*/", "#define A 1 /*/\nBEGIN { exit(); }", "#define A 1 /* a\nBEGIN { exit(); }"]
        {
            let mut diags = Diagnostics::default();
            crate::parse::parse(text, &mut diags);
            let said: Vec<_> = diags.list.iter().map(|d| (d.code, d.span.start)).collect();
            assert_eq!(said, [("unfinished-comment", 12)], "{text}");
        }
    }
}
