//! What declarations begin with: storage, qualifiers, attributes, integer words, names of types, and structs, unions and
//! enums with their bodies.

use super::constant::constant;
use super::declare::{Declarations, Fault, is_keyword};
use super::layout::alignment;
use super::table::{CType, Form, MAX_MEMBERS, Member, VOID, tag_kind};
use super::token::Kind;
use skep_bpf::btf::NameKind;

/// Attributes that matter.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Attributes {
    /// `packed`
    pub(super) packed: bool,
    /// `aligned(n)`
    pub(super) align: Option<u64>,
}

/// What stands before the declarators.
#[derive(Clone, Debug)]
pub(super) struct Specifiers {
    /// The type.
    pub(super) ty: CType,
    /// `typedef`
    pub(super) is_typedef: bool,
    /// `__user`: pointers to it point into a process.
    pub(super) user: bool,
    /// A struct, union or enum with its body.
    pub(super) has_body: bool,
    /// Of each thing declared.
    pub(super) attributes: Attributes,
}

/// Words without influence on a type.
const QUALIFIERS: &[&str] = &[
    "const",
    "__const",
    "__const__",
    "volatile",
    "__volatile__",
    "__volatile",
    "restrict",
    "__restrict",
    "__restrict__",
    "_Atomic",
    "__extension__",
    "register",
    "auto",
    "_Noreturn",
    "_Thread_local",
    "__thread",
    "__inline",
    "__inline__",
    "inline",
    "__rcu",
    "__percpu",
    "__iomem",
    "__force",
    "__kernel",
    "__private",
    "__read_mostly",
    "__randomize_layout",
    "__nonstring",
    "_Complex",
    "__complex__",
];

/// Words of integers and floating point types, and how they count: (word, part). See `combined`.
const TYPE_WORDS: &[(&str, Part)] = &[
    ("void", Part::Void),
    ("char", Part::Char),
    ("short", Part::Short),
    ("int", Part::Int),
    ("long", Part::Long),
    ("signed", Part::Signed),
    ("__signed__", Part::Signed),
    ("__signed", Part::Signed),
    ("unsigned", Part::Unsigned),
    ("_Bool", Part::Bool),
    ("bool", Part::Bool),
    ("float", Part::Float(4)),
    ("double", Part::Float(8)),
    ("__int128", Part::Int128),
    ("__int128_t", Part::Int128),
    ("__uint128_t", Part::Int128),
    ("_Float16", Part::Float(2)),
    ("_Float32", Part::Float(4)),
    ("_Float64", Part::Float(8)),
    ("_Float32x", Part::Float(8)),
    ("_Float64x", Part::Float(16)),
    ("_Float128", Part::Float(16)),
    ("__float128", Part::Float(16)),
    ("__builtin_va_list", Part::VaList),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Void,
    Char,
    Short,
    Int,
    Long,
    Signed,
    Unsigned,
    Bool,
    Int128,
    Float(u32),
    VaList,
}

/// Whether a word says nothing about a type.
pub(super) fn is_qualifier(word: &str) -> bool {
    QUALIFIERS.contains(&word)
}

/// Whether a word is (part of) the name of a type of C's own.
pub(super) fn is_type_word(word: &str) -> bool {
    part(word).is_some()
}

fn part(word: &str) -> Option<Part> {
    TYPE_WORDS.iter().find(|(w, _)| *w == word).map(|(_, p)| *p)
}

impl Declarations<'_> {
    /// Moves behind a qualifier or an attribute if one stands here.
    pub(super) fn qualifier(&mut self) -> bool {
        if self.cursor.peek().is_some_and(|t| t.kind == Kind::Word && is_qualifier(&t.text)) {
            self.cursor.next();
            return true;
        }
        self.cursor.eat("__user") || self.attributes(&mut Attributes::default()).unwrap_or(false)
    }

    /// `__attribute__((…))`, `_Alignas(…)`, `__asm__("…")`, as many as there are; whether there was one.
    pub(super) fn attributes(&mut self, into: &mut Attributes) -> Result<bool, Fault> {
        let mut found = false;
        loop {
            let word = self.cursor.peek().map(|t| t.text.clone()).unwrap_or_default();
            match &*word {
                "__attribute__" | "__attribute" => {
                    self.cursor.next();
                    self.attribute_list(into)?;
                }
                "__packed" => {
                    self.cursor.next();
                    into.packed = true;
                }
                "_Alignas" | "alignas" => {
                    self.cursor.next();
                    self.cursor.expect("(")?;
                    let value = match self.whole_type() {
                        Some(ty) => self.table.facts_of(&ty?).align,
                        None => constant(self)?.as_size().unwrap_or(0),
                    };
                    into.align = Some(alignment(value)?);
                    self.cursor.expect(")")?;
                }
                "__asm__" | "asm" | "__asm" | "__declspec" => {
                    self.cursor.next();
                    self.cursor.skip_group();
                }
                _ => return Ok(found),
            }
            found = true;
        }
    }

    /// `((a, b(c)))`
    fn attribute_list(&mut self, into: &mut Attributes) -> Result<(), Fault> {
        self.cursor.expect("(")?;
        self.cursor.expect("(")?;
        while !self.cursor.eat(")") {
            let Some(word) = self.cursor.next() else { return Err("an attribute has no end".to_owned()) };
            match &*word.text {
                "packed" | "__packed__" => into.packed = true,
                "aligned" | "__aligned__" if self.cursor.eat("(") => {
                    let value = constant(self)?.as_size().unwrap_or(0);
                    into.align = Some(alignment(value)?.max(into.align.unwrap_or(1)));
                    self.cursor.expect(")")?;
                }
                "aligned" | "__aligned__" => into.align = Some(16),
                _ if self.cursor.at("(") => self.cursor.skip_group(),
                _ => {}
            }
        }
        self.cursor.expect(")")
    }

    /// Everything before the declarators.
    pub(super) fn specifiers(&mut self) -> Result<Specifiers, Fault> {
        let mut out = Specifiers {
            ty: VOID,
            is_typedef: false,
            user: false,
            has_body: false,
            attributes: Attributes::default(),
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut named: Option<CType> = None;
        loop {
            if self.attributes(&mut out.attributes)? || self.pragma() {
                continue;
            }
            let Some(word) = self.cursor.peek().filter(|t| t.kind == Kind::Word).map(|t| t.text.clone())
            else {
                break;
            };
            match &*word {
                "typedef" => out.is_typedef = true,
                "extern" | "static" => {}
                "__user" => out.user = true,
                w if is_qualifier(w) => {}
                "struct" | "union" | "enum" if named.is_none() && parts.is_empty() => {
                    self.cursor.next();
                    let (ty, body) = self.nested(|p| p.tagged(&word))?;
                    (named, out.has_body) = (Some(ty), body);
                    continue;
                }
                "typeof" | "__typeof__" | "__typeof" if named.is_none() => {
                    self.cursor.next();
                    self.cursor.expect("(")?;
                    named = Some(self.whole_type().ok_or("`typeof` of an expression is not known here")??);
                    self.cursor.expect(")")?;
                    continue;
                }
                w => match part(w) {
                    Some(part) if named.is_none() => parts.push(part),
                    None if named.is_none() && parts.is_empty() => match self.table.typedef(w) {
                        Some(ty) => named = Some(ty),
                        None => return self.unknown_type(w),
                    },
                    _ => break,
                },
            }
            self.cursor.next();
        }
        out.ty = match named {
            Some(ty) => ty,
            None if parts.is_empty() => {
                return Err(format!("expected a type, found {}", self.cursor.describe()));
            }
            None => self.combined(&parts)?,
        };
        Ok(out)
    }

    fn unknown_type<T>(&mut self, word: &str) -> Result<T, Fault> {
        self.cursor.next();
        Err(format!("unknown type name '{word}'"))
    }

    /// The type of C's own words.
    fn combined(&mut self, parts: &[Part]) -> Result<CType, Fault> {
        let has = |p| parts.contains(&p);
        let unsigned = has(Part::Unsigned);
        let longs = parts.iter().filter(|p| **p == Part::Long).count();
        if let Some(Part::Float(size)) = parts.iter().find(|p| matches!(p, Part::Float(_))) {
            return Ok(match longs {
                0 => self.table.float(if *size == 4 { "float" } else { "double" }, *size),
                _ => self.table.float("long double", 16),
            });
        }
        let (name, size) = match () {
            () if has(Part::Void) => return Ok(VOID),
            () if has(Part::Bool) => return Ok(self.table.boolean()),
            () if has(Part::VaList) => {
                let long = self.table.int("long int", 8, true);
                return self.table.array(&long, Some(3));
            }
            // Plain characters make text, which those with a sign do not.
            () if has(Part::Char) && has(Part::Signed) => ("signed char", 1),
            () if has(Part::Char) => ("char", 1),
            () if has(Part::Short) => ("short int", 2),
            () if has(Part::Int128) => ("__int128", 16),
            () if longs > 1 => ("long long int", 8),
            () if longs == 1 => ("long int", 8),
            () => ("int", 4),
        };
        Ok(match unsigned {
            true => self.table.int(&format!("unsigned {name}"), size, false),
            false => self.table.int(name, size, true),
        })
    }

    /// Behind `struct`, `union` or `enum`; also whether a body was there.
    fn tagged(&mut self, keyword: &str) -> Result<(CType, bool), Fault> {
        let mut attributes = Attributes::default();
        self.attributes(&mut attributes)?;
        let mut name = String::new();
        if let Some(word) = self.cursor.peek().filter(|t| t.kind == Kind::Word && !is_keyword(&t.text)) {
            name = word.text.to_string();
            self.cursor.next();
        }
        let weak = self.here_is_kernel();
        // `enum x : type`
        if keyword == "enum" && self.cursor.at(":") {
            self.cursor.next();
            let _ = self.specifiers()?;
        }
        if self.cursor.at("{") {
            let ty = match keyword {
                "enum" => self.enumeration(&name, weak)?,
                _ => self.composite(keyword == "union", &name, weak, attributes)?,
            };
            return Ok((ty, true));
        }
        if name.is_empty() {
            return Err(format!(
                "expected a name or `{{` behind `{keyword}`, found {}",
                self.cursor.describe()
            ));
        }
        if keyword != "enum" {
            return Ok((CType::Tag { union: keyword == "union", name }, false));
        }
        match self.table.enum_of(&name) {
            Some(id) => Ok((CType::Id(id), false)),
            None => Ok((self.table.int("unsigned int", 4, false), false)),
        }
    }

    fn enumeration(&mut self, name: &str, weak: bool) -> Result<CType, Fault> {
        self.cursor.expect("{")?;
        let mut variants: Vec<(String, i64)> = Vec::new();
        let mut next = 0i64;
        while !self.cursor.eat("}") {
            if self.pragma() {
                continue;
            }
            let Some(word) = self.cursor.next().filter(|t| t.kind == Kind::Word) else {
                return Err(format!(
                    "expected the name of an enum constant, found {}",
                    self.cursor.describe()
                ));
            };
            self.attributes(&mut Attributes::default())?;
            if self.cursor.eat("=") {
                next = constant(self)?.signed();
            }
            if variants.len() >= MAX_MEMBERS {
                return Err(format!("an enum has at most {MAX_MEMBERS} constants"));
            }
            variants.push((word.text.to_string(), next));
            // A constant may be used by those behind it.
            self.table.constants.insert(word.text.to_string(), (next, skep_bpf::btf::TypeId(0)));
            next = next.wrapping_add(1);
            if !self.cursor.eat(",") && !self.cursor.at("}") {
                return Err(format!("expected `,` or `}}`, found {}", self.cursor.describe()));
            }
        }
        if let Some(id) = self.instead(NameKind::Enum, name, weak)? {
            variants.iter().for_each(|(n, v)| {
                self.table.constants.insert(n.clone(), (*v, id));
            });
            return Ok(CType::Id(id));
        }
        let ty = self.table.enumeration(name, &variants);
        self.named(NameKind::Enum, name, ty)
    }

    /// The type that stands in for one declared here: the kernel's where its own headers declare it, an earlier one where
    /// a system's header declares it again. A script may not declare a thing twice.
    fn instead(
        &mut self,
        kind: NameKind,
        name: &str,
        weak: bool,
    ) -> Result<Option<skep_bpf::btf::TypeId>, Fault> {
        if name.is_empty() {
            return Ok(None);
        }
        if weak && let Some(id) = self.table.base.as_ref().and_then(|b| b.find(kind, name)) {
            return Ok(Some(id));
        }
        if !self.table.has_tag(kind, name) {
            return Ok(None);
        }
        let before = self.cursor.position().saturating_sub(1);
        if self.cursor.since(before).last().is_some_and(|t| self.origin.is_script(t)) {
            return Err(format!("redefinition of '{name}'"));
        }
        Ok(match kind {
            NameKind::Enum => self.table.enum_of(name),
            _ => self.table.complete(kind == NameKind::Union, name, false),
        })
    }

    fn named(&mut self, kind: NameKind, name: &str, ty: CType) -> Result<CType, Fault> {
        if let CType::Id(id) = ty {
            self.table.tag(kind, name, id);
        }
        Ok(ty)
    }

    fn composite(
        &mut self,
        union: bool,
        name: &str,
        weak: bool,
        mut attributes: Attributes,
    ) -> Result<CType, Fault> {
        self.cursor.expect("{")?;
        let kind = tag_kind(union);
        let known = |b: &std::sync::Arc<skep_bpf::btf::Btf>| b.find(kind, name).is_some();
        let redefines = !weak && !name.is_empty() && self.table.base.as_ref().is_some_and(known);
        let mut members = Vec::new();
        while !self.cursor.eat("}") {
            if self.cursor.peek().is_none() {
                return Err("expected `}` at the end of this struct".to_owned());
            }
            if self.pragma() || self.cursor.eat(";") {
                continue;
            }
            if self.cursor.at("_Static_assert") {
                self.cursor.next();
                self.cursor.skip_group();
                continue;
            }
            self.members(&mut members, redefines)?;
        }
        self.attributes(&mut attributes)?;
        if let Some(id) = self.instead(kind, name, weak)? {
            return Ok(CType::Id(id));
        }
        let pack = self.packs.last().copied().flatten();
        let form = Form { union, packed: attributes.packed, align: attributes.align, pack };
        let ty = self.table.composite(name, form, &members)?;
        self.named(kind, name, ty)
    }

    /// One declaration of members. `redefines`: of a struct that the kernel has in another form, which stands alone.
    fn members(&mut self, into: &mut Vec<Member>, redefines: bool) -> Result<(), Fault> {
        let specifiers = self.specifiers()?;
        let given = specifiers.attributes;
        if self.cursor.eat(";") {
            // A struct without a name for itself or its member: its members are found through it.
            if specifiers.has_body
                && !matches!(specifiers.ty, CType::Tag { .. })
                && self.is_composite(&specifiers.ty)
            {
                let (name, bits) = (String::new(), None);
                into.push(Member { name, ty: specifiers.ty, bits, align: given.align, packed: given.packed });
            }
            return Ok(());
        }
        loop {
            let (name, ty) = self.member_declarator(&specifiers)?;
            let mut own = given;
            self.attributes(&mut own)?;
            let bits = match self.cursor.eat(":") {
                true => Some(constant(self)?.as_size().ok_or("the width of a bit field is negative")?),
                false => None,
            };
            self.attributes(&mut own)?;
            if redefines && self.table.is_kernels(&ty) {
                return Err(format!("field `{name}` has incomplete type {}", self.table.describe(&ty)));
            }
            if into.len() >= MAX_MEMBERS {
                return Err(format!("a struct has at most {MAX_MEMBERS} members"));
            }
            into.push(Member { name, ty, bits, align: own.align, packed: own.packed });
            if !self.cursor.eat(",") {
                // The last member may lack its `;`.
                return if self.cursor.at("}") { Ok(()) } else { self.cursor.expect(";") };
            }
        }
    }

    fn is_composite(&self, ty: &CType) -> bool {
        self.table.is_composite(ty)
    }
}
