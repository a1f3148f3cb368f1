//! C declarations: preprocessed tokens enter, types and enum constants go into the table. Functions' bodies and
//! initializers are skipped. After a mistake it goes on behind the declaration.

use super::constant::{Cursor, Env, TypeFacts, constant};
use super::layout::alignment;
use super::specifiers::{Attributes, Specifiers};
use super::table::{CType, Table};
use super::token::{Kind, Token};
use super::value::Value;

/// Deepest nesting of declarators and structs.
pub(super) const MAX_DEPTH: u32 = 64;

/// What the files say about a token.
pub(super) trait Origin {
    /// Whether it stands in a copy of the kernel's headers, whose types the kernel knows better.
    fn is_kernel(&self, token: &Token) -> bool;
    /// Whether it stands in the script itself.
    fn is_script(&self, token: &Token) -> bool;
    /// Reports a mistake there.
    fn report(&mut self, token: Option<&Token>, message: &str);
}

/// Why a declaration is none.
pub(super) type Fault = String;

/// What a declarator adds to a type, in the order in which it is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Pointer,
    Array(Option<u64>),
    Function,
}

/// A declarator: the name, and how its type comes from the specifiers'.
#[derive(Debug, Default)]
struct Declarator {
    name: Option<String>,
    steps: Vec<Step>,
}

/// The parser.
pub(super) struct Declarations<'o> {
    pub(super) cursor: Cursor,
    pub(super) table: Table,
    pub(super) origin: &'o mut dyn Origin,
    /// Value of names that are neither macros nor enum constants.
    pub(super) fallback: &'o dyn Fn(&str) -> Option<i64>,
    /// Alignments of `#pragma pack`, the current one last.
    pub(super) packs: Vec<Option<u64>>,
    pub(super) depth: u32,
}

impl Declarations<'_> {
    /// All declarations.
    pub(super) fn all(&mut self) {
        while self.cursor.peek().is_some() {
            if self.pragma() || self.cursor.eat(";") {
                continue;
            }
            let before = self.cursor.position();
            self.depth = 0;
            let read = self.declaration();
            if let Err(why) = read {
                let at = self.cursor.position().max(before + 1) - 1;
                let token = self.cursor.since(before).last().cloned();
                self.cursor.seek(at.max(before));
                self.origin.report(token.as_ref().or(self.cursor.peek()), &why);
                self.recover(before);
            }
        }
    }

    /// Goes on behind the declaration that began at `start`.
    fn recover(&mut self, start: usize) {
        self.cursor.seek(start);
        while let Some(t) = self.cursor.peek() {
            if t.kind == Kind::Op && matches!(&*t.text, "{" | "(" | "[") {
                let brace = t.is("{");
                self.cursor.skip_group();
                // A struct's body is followed by more; a function's is not.
                if brace && self.cursor.peek().is_none_or(|t| t.kind == Kind::Word && is_keyword(&t.text)) {
                    return;
                }
            } else if self.cursor.next().is_some_and(|t| t.is(";")) {
                return;
            }
        }
    }

    /// `#pragma pack`, if it stands here.
    pub(super) fn pragma(&mut self) -> bool {
        if self.cursor.peek().is_none_or(|t| t.kind != Kind::Line) {
            return false;
        }
        self.cursor.next();
        let mut words: Vec<Token> = Vec::new();
        while let Some(t) = self.cursor.next().filter(|t| t.kind != Kind::Line) {
            words.push(t);
        }
        let has = |text: &str| words.iter().any(|t| t.is(text));
        let number = words.iter().find(|t| t.kind == Kind::Number).map(|t| &*t.text);
        let number = number.and_then(|n| Value::number(n).ok()?.as_size()).filter(|n| alignment(*n).is_ok());
        if has("pop") {
            self.packs.pop();
        } else if has("push") {
            let top = self.packs.last().copied().flatten();
            if self.packs.len() < MAX_DEPTH as usize {
                self.packs.push(number.or(top));
            }
        } else {
            self.packs.pop();
            self.packs.push(number);
        }
        true
    }

    /// Runs `parse` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(format!("declarations are nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// One declaration with all its declarators.
    fn declaration(&mut self) -> Result<(), Fault> {
        if self.cursor.at("_Static_assert") || self.cursor.at("__asm__") || self.cursor.at("asm") {
            self.cursor.next();
            while self.cursor.peek().is_some_and(|t| t.kind == Kind::Word) {
                self.cursor.next();
            }
            self.cursor.skip_group();
            return self.cursor.expect(";");
        }
        let specifiers = self.specifiers()?;
        if self.cursor.eat(";") {
            return Ok(());
        }
        // A struct's declaration may end without `;` where the text ends or another declaration begins.
        if specifiers.has_body && self.cursor.peek().is_none_or(|t| is_keyword(&t.text)) {
            return Ok(());
        }
        loop {
            let declarator = self.declarator()?;
            let name = declarator.name.clone();
            let ty = self.apply(&specifiers, &declarator)?;
            let mut attributes = Attributes::default();
            self.attributes(&mut attributes)?;
            if let (true, Some(name)) = (specifiers.is_typedef, name) {
                self.typedef(&name, ty.clone());
            } else if ty == CType::Function && self.cursor.at("{") {
                self.cursor.skip_group();
                return Ok(());
            }
            if self.cursor.at("=") {
                self.skip_initializer();
            }
            if !self.cursor.eat(",") {
                return self.cursor.expect(";");
            }
        }
    }

    fn typedef(&mut self, name: &str, ty: CType) {
        let weak = self.here_is_kernel();
        let known = self.table.base.as_ref();
        if weak && known.is_some_and(|b| b.find(skep_bpf::btf::NameKind::Typedef, name).is_some()) {
            return;
        }
        self.table.alias(name, ty);
    }

    /// Whether the token before stands in a copy of the kernel's headers.
    pub(super) fn here_is_kernel(&self) -> bool {
        let before = self.cursor.position().saturating_sub(1);
        self.cursor.since(before).last().is_some_and(|t| self.origin.is_kernel(t))
    }

    fn skip_initializer(&mut self) {
        while let Some(t) = self.cursor.peek() {
            match &*t.text {
                "," | ";" if t.kind == Kind::Op => return,
                "(" | "[" | "{" if t.kind == Kind::Op => self.cursor.skip_group(),
                _ => {
                    self.cursor.next();
                }
            }
        }
    }

    /// A member's declarator: name (empty for none) and type.
    pub(super) fn member_declarator(&mut self, specifiers: &Specifiers) -> Result<(String, CType), Fault> {
        if self.cursor.at(":") {
            return Ok((String::new(), specifiers.ty.clone()));
        }
        let declarator = self.declarator()?;
        let ty = self.apply(specifiers, &declarator)?;
        Ok((declarator.name.unwrap_or_default(), ty))
    }

    fn declarator(&mut self) -> Result<Declarator, Fault> {
        self.nested(Self::declarator_within)
    }

    fn declarator_within(&mut self) -> Result<Declarator, Fault> {
        let mut pointers = Vec::new();
        loop {
            if self.cursor.eat("*") {
                pointers.push(Step::Pointer);
            } else if !self.qualifier() {
                break;
            }
        }
        let mut inner = Declarator::default();
        let word = self.cursor.peek().filter(|t| t.kind == Kind::Word).map(|t| t.text.to_string());
        if let Some(name) = word {
            self.cursor.next();
            inner.name = Some(name);
        } else if self.cursor.at("(") && self.groups() {
            self.cursor.next();
            inner = self.declarator()?;
            self.cursor.expect(")")?;
        }
        let mut suffixes = Vec::new();
        loop {
            if self.cursor.at("[") {
                suffixes.push(Step::Array(self.array_size()?));
            } else if self.cursor.at("(") {
                self.cursor.skip_group();
                suffixes.push(Step::Function);
            } else {
                break;
            }
        }
        suffixes.reverse();
        pointers.append(&mut suffixes);
        pointers.append(&mut inner.steps);
        Ok(Declarator { name: inner.name, steps: pointers })
    }

    /// Whether the `(` here groups a declarator, and does not begin parameters.
    fn groups(&self) -> bool {
        match self.cursor.peek_at(1) {
            Some(t) if t.kind == Kind::Op => matches!(&*t.text, "*" | "(" | "^"),
            Some(t) if t.kind == Kind::Word => {
                t.is("__attribute__")
                    || !is_keyword(&t.text)
                        && !super::specifiers::is_type_word(&t.text)
                        && self.cursor.peek_at(2).is_some_and(|t| t.is(")") || t.is("[") || t.is("("))
            }
            _ => false,
        }
    }

    /// `[n]`, `[]`
    fn array_size(&mut self) -> Result<Option<u64>, Fault> {
        self.cursor.expect("[")?;
        while self.qualifier() || self.cursor.eat("static") {}
        if self.cursor.eat("]") {
            return Ok(None);
        }
        let value = constant(self)?;
        self.cursor.expect("]")?;
        value.as_size().map(Some).ok_or_else(|| "the size of an array is negative".to_owned())
    }

    fn apply(&mut self, specifiers: &Specifiers, declarator: &Declarator) -> Result<CType, Fault> {
        let mut ty = specifiers.ty.clone();
        let mut user = specifiers.user;
        for step in &declarator.steps {
            ty = match step {
                Step::Pointer => self.table.pointer(&ty, std::mem::take(&mut user)),
                Step::Array(count) => self.table.array(&ty, *count)?,
                Step::Function => CType::Function,
            };
        }
        if !self.table.has_room() {
            return Err("there are too many types".to_owned());
        }
        Ok(ty)
    }

    /// The type that stands here, if one does.
    pub(super) fn whole_type(&mut self) -> Option<Result<CType, Fault>> {
        let starts = self.cursor.peek().is_some_and(|t| t.kind == Kind::Word) && self.starts_type();
        if !starts {
            return None;
        }
        Some(self.nested(|p| {
            let specifiers = p.specifiers()?;
            let declarator = p.declarator()?;
            p.apply(&specifiers, &declarator)
        }))
    }

    fn starts_type(&mut self) -> bool {
        let Some(word) = self.cursor.peek().map(|t| t.text.clone()) else { return false };
        is_keyword(&word) || super::specifiers::is_type_word(&word) || self.table.typedef(&word).is_some()
    }
}

impl Env for Declarations<'_> {
    fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    fn name(&mut self, name: &str) -> Result<Value, String> {
        let own = self.table.constants.get(name).map(|(value, _)| *value);
        let kernels = || self.table.base.as_ref()?.find_enumerator(name).map(|(_, value)| value);
        own.or_else(kernels)
            .or_else(|| (self.fallback)(name))
            .map(Value::small)
            .ok_or_else(|| format!("use of undeclared identifier '{name}'"))
    }

    fn type_name(&mut self) -> Option<Result<TypeFacts, String>> {
        let ty = self.whole_type()?;
        Some(ty.map(|ty| self.table.facts_of(&ty)))
    }

    fn offset_of(&mut self) -> Option<Result<Value, String>> {
        Some(self.offset())
    }
}

impl Declarations<'_> {
    /// `(type, member.member[n])` behind `offsetof`.
    fn offset(&mut self) -> Result<Value, Fault> {
        self.cursor.expect("(")?;
        let mut ty = self.whole_type().unwrap_or_else(|| Err("expected a type in `offsetof`".to_owned()))?;
        self.cursor.expect(",")?;
        let mut bits = 0u64;
        loop {
            let name = self.cursor.next().map(|t| t.text.to_string()).unwrap_or_default();
            let found = self.table.member(&ty, &name, MAX_DEPTH);
            let (at, next) = found.ok_or_else(|| format!("there is no member '{name}'"))?;
            (bits, ty) = (bits.saturating_add(at), next);
            if !self.cursor.eat(".") {
                break;
            }
        }
        self.cursor.expect(")")?;
        Ok(Value::size(bits / 8))
    }
}

/// Words that begin or qualify a declaration.
pub(super) fn is_keyword(word: &str) -> bool {
    super::specifiers::is_qualifier(word)
        || matches!(
            word,
            "struct"
                | "union"
                | "enum"
                | "typedef"
                | "extern"
                | "static"
                | "inline"
                | "typeof"
                | "__typeof__"
        )
}
