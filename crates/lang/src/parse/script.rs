//! The top level of a script: preamble, config, imports, declarations, probes.

use super::{Parse, Parser};
use crate::ast::{ConfigItem, ExprKind, FnDecl, Macro, MapDecl, Name, Probe, Script, Span};
use crate::lex::Tok;

impl Parser<'_> {
    pub(super) fn script(&mut self) -> Script {
        let mut script = Script::default();
        self.shebang();
        while self.tok != Tok::End {
            let before = self.span.start;
            if self.item(&mut script).is_err() {
                self.recover_item(before);
            }
        }
        script
    }

    /// The kernel knows such a line at the very beginning only (fs/binfmt_script.c).
    fn shebang(&mut self) {
        let text = self.lexer.text();
        if text.starts_with("#!") {
            self.seek(text.find('\n').unwrap_or(text.len()));
        }
    }

    fn item(&mut self, script: &mut Script) -> Parse<()> {
        let next_is_assign = |p: &Self| p.peek_next() == Tok::Op("=");
        match &self.tok {
            Tok::Op("#") => script.c_decls.push(self.preprocessor_line()),
            Tok::Ident(word) => match word.as_str() {
                "struct" | "union" | "enum" | "typedef" => script.c_decls.push(self.c_declaration()?),
                "config" if next_is_assign(self) => self.config(&mut script.config)?,
                "import" => script.imports.push(self.import()?),
                "let" => script.map_decls.push(self.map_decl()?),
                "macro" => script.macros.push(self.macro_decl()?),
                "fn" => script.functions.push(self.fn_decl()?),
                _ => script.probes.push(self.probe()?),
            },
            Tok::Op("{") | Tok::Op("}") => return Err(self.unexpected("a probe")),
            _ => script.probes.push(self.probe()?),
        }
        Ok(())
    }

    /// After an error in an item: goes on behind its block.
    fn recover_item(&mut self, before: u32) {
        self.depth = 0;
        if self.span.start == before {
            self.bump();
        }
        let mut depth = 0u32;
        while self.tok != Tok::End {
            let op = self.bump();
            match op {
                Tok::Op("{") => depth += 1,
                Tok::Op("}") if depth <= 1 => return,
                Tok::Op("}") => depth -= 1,
                _ => {}
            }
        }
    }

    fn config(&mut self, items: &mut Vec<ConfigItem>) -> Parse<()> {
        self.bump();
        self.expect("=")?;
        self.expect("{")?;
        while !self.at("}") {
            let name = self.ident("the name of a setting")?;
            self.expect("=")?;
            let value = self.primary()?;
            let plain = matches!(
                *value.kind,
                ExprKind::Int { .. } | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::Ident(_)
            );
            if !plain {
                return Err(self.error(value.span, "a setting is a number, a string, true, false or a word"));
            }
            items.push(ConfigItem { name, value });
            if !self.eat(";") && !self.eat(",") && !self.at("}") {
                return Err(self.unexpected("`;`"));
            }
        }
        self.expect("}")?;
        self.eat(";");
        Ok(())
    }

    fn import(&mut self) -> Parse<Name> {
        self.bump();
        let span = self.span;
        let Tok::Str(bytes) = &self.tok else {
            return Err(self.unexpected("the name of what to import, in quotes"));
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.bump();
        self.eat(";");
        Ok(Name { text, span })
    }

    fn map_decl(&mut self) -> Parse<MapDecl> {
        self.bump();
        let span = self.span;
        let Tok::Map(name) = &self.tok else { return Err(self.unexpected("a map, such as `@m`")) };
        let name = Name { text: name.clone(), span };
        self.bump();
        self.expect("=")?;
        let kind = self.ident("a kind of map, such as `hash` or `lruhash`")?;
        self.expect("(")?;
        let (mut args, mut types) = (Vec::new(), Vec::new());
        if !self.at(")") {
            args.push(self.expr()?);
        }
        while self.eat(",") {
            match &self.tok {
                Tok::Int(_) => args.push(self.expr()?),
                _ => types.push(self.type_expr()?),
            }
        }
        self.expect(")")?;
        self.eat(";");
        Ok(MapDecl { name, kind, args, types })
    }

    fn macro_decl(&mut self) -> Parse<Macro> {
        self.bump();
        let name = self.ident("the macro's name")?;
        self.expect("(")?;
        let mut params = Vec::new();
        while !self.at(")") {
            let span = self.span;
            let (Tok::Ident(text) | Tok::Var(text) | Tok::Map(text)) = &self.tok else {
                return Err(self.unexpected("a parameter: `$x`, `@m` or a name"));
            };
            params.push(Name { text: text.clone(), span });
            self.bump();
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        let body = self.block(true)?;
        Ok(Macro { name, params, body })
    }

    fn fn_decl(&mut self) -> Parse<FnDecl> {
        self.bump();
        let name = self.ident("the function's name")?;
        self.expect("(")?;
        let mut params = Vec::new();
        while !self.at(")") {
            let span = self.span;
            let Tok::Var(text) = &self.tok else {
                return Err(self.unexpected("a parameter such as `$x : int64`"));
            };
            let param = Name { text: text.clone(), span };
            self.bump();
            self.expect(":")?;
            params.push((param, self.type_expr()?));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        self.expect(":")?;
        let ret = self.type_expr()?;
        let body = self.block(false)?;
        Ok(FnDecl { name, params, ret, body })
    }

    fn probe(&mut self) -> Parse<Probe> {
        let start = self.span;
        let mut attach = Vec::new();
        loop {
            attach.push(self.attach_point()?);
            if !self.eat(",") || self.at("{") || self.at("/") {
                break;
            }
        }
        let predicate = if self.eat("/") {
            let expr = self.expr()?;
            if !self.eat("/") {
                return Err(self.unexpected("`/` at the end of the predicate"));
            }
            Some(expr)
        } else {
            None
        };
        if !self.at("{") {
            return Err(self.unexpected("`{` of the probe's body"));
        }
        let body = self.block(false)?;
        Ok(Probe { attach, predicate, body, span: self.since(start) })
    }

    /// An attach point is raw text up to a blank, `,` or `{`; a `/` ends it only before the first `:` (behind it, it is
    /// part of a path). Quoted parts are taken whole.
    fn attach_point(&mut self) -> Parse<Name> {
        let text = self.lexer.text();
        let start = self.span.start as usize;
        let bytes = text.as_bytes();
        let mut at = start;
        while let Some(&b) = bytes.get(at) {
            let colon = bytes[start..at].contains(&b':');
            match b {
                b'{' | b',' => break,
                b'/' if !colon => break,
                b if b.is_ascii_whitespace() => break,
                b'"' => {
                    at += 1;
                    while at < bytes.len() && bytes[at] != b'"' {
                        at += 1 + usize::from(bytes[at] == b'\\');
                    }
                    at += 1;
                }
                _ => at += 1,
            }
        }
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at += 1;
        }
        if at == start {
            return Err(self.unexpected("a probe, such as `BEGIN` or `tracepoint:syscalls:sys_enter_openat`"));
        }
        let name = Name { text: text[start..at].to_owned(), span: Span::new(start, at) };
        self.seek(at);
        Ok(name)
    }
}
