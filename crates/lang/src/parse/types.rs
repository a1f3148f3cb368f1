//! Types as written.

use super::{Parse, Parser};
use crate::ast::{TypeExpr, TypeExprKind};
use crate::lex::Tok;

/// C's words that combine to one integer type.
const C_WORDS: &[&str] = &["unsigned", "signed", "long", "short", "int", "char", "const", "volatile"];

impl Parser<'_> {
    pub(super) fn type_expr(&mut self) -> Parse<TypeExpr> {
        self.nested(Self::type_expr_inner)
    }

    fn type_expr_inner(&mut self) -> Parse<TypeExpr> {
        let start = self.span;
        let kind = if self.eat("(") {
            let mut parts = Vec::new();
            while !self.at(")") {
                parts.push(self.type_expr()?);
                if !self.eat(",") {
                    break;
                }
            }
            self.expect(")")?;
            TypeExprKind::Tuple(parts)
        } else if self.eat_word("typeof") {
            self.expect("(")?;
            let kind = match self.try_type(")") {
                Some(ty) => ty.kind,
                None => TypeExprKind::Typeof(Box::new(self.expr()?)),
            };
            self.expect(")")?;
            kind
        } else {
            TypeExprKind::Name(self.type_name()?)
        };
        let mut ty = TypeExpr { kind, span: self.since(start) };
        loop {
            let kind = if self.eat("*") {
                TypeExprKind::Ptr(Box::new(ty))
            } else if self.eat("[") {
                let count = match &self.tok {
                    Tok::Int(n) => {
                        let n = n.value;
                        self.bump();
                        Some(n)
                    }
                    _ => None,
                };
                self.expect("]")?;
                TypeExprKind::Array(Box::new(ty), count)
            } else {
                return Ok(ty);
            };
            ty = TypeExpr { kind, span: self.since(start) };
        }
    }

    fn type_name(&mut self) -> Parse<String> {
        let first = self.ident("a type")?.text;
        if matches!(first.as_str(), "struct" | "union" | "enum") {
            return Ok(format!("{first} {}", self.ident("the type's name")?.text));
        }
        let mut name = first.clone();
        if C_WORDS.contains(&first.as_str()) {
            while let Tok::Ident(word) = &self.tok {
                let known = C_WORDS.contains(&word.as_str()) || matches!(name.as_str(), "const" | "volatile");
                if !known {
                    break;
                }
                name = format!("{name} {word}");
                self.bump();
            }
        }
        Ok(name)
    }

    /// A type followed by `end`, if what stands here can only be one: a tag, C words, a known name, or any name with `*`
    /// or `[]` behind it. Otherwise nothing is taken.
    pub(super) fn try_type(&mut self, end: &'static str) -> Option<TypeExpr> {
        let (tok, span, last_end) = (self.tok.clone(), self.span, self.last_end);
        let errors = self.diags.list.len();
        let start_is_type = matches!(&tok, Tok::Ident(w) if is_type_start(w));
        let parsed = match tok {
            Tok::Ident(_) => self.type_expr().ok(),
            _ => None,
        };
        let fits = parsed
            .as_ref()
            .is_some_and(|ty| self.at(end) && (start_is_type || !matches!(ty.kind, TypeExprKind::Name(_))));
        if fits {
            return parsed;
        }
        self.diags.list.truncate(errors);
        (self.tok, self.span, self.last_end) = (tok, span, last_end);
        None
    }
}

fn is_type_start(word: &str) -> bool {
    C_WORDS.contains(&word)
        || matches!(
            word,
            "struct" | "union" | "enum" | "typeof" | "bool" | "void" | "string" | "buffer" | "inet"
        )
        || is_sized_int(word)
}

/// `int8` … `uint64`, with or without `_t`, and the kernel's short forms.
fn is_sized_int(word: &str) -> bool {
    let base = word.strip_suffix("_t").unwrap_or(word);
    let bits = base.strip_prefix('u').unwrap_or(base).strip_prefix("int");
    matches!(bits, Some("8" | "16" | "32" | "64"))
        || matches!(word, "size_t" | "ssize_t" | "u8" | "u16" | "u32" | "u64" | "s8" | "s16" | "s32" | "s64")
}
