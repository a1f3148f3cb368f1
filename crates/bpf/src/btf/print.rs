//! C text of types. Ids enter; declarations leave as a C programmer writes them (`struct task_struct *next`,
//! `int (*func)(void *)`), with the blanks and the padding of bpftool's and bpftrace's listings, so that texts compare.
//! The text is bounded: nesting and length have limits, beyond which `...` stands.

use super::pad::{self, Gap};
use super::read::{Record, kind, u32_at};
use super::{Btf, TypeId};

/// Deepest nesting in one declaration.
const MAX_DEPTH: usize = 16;
/// Most bytes of one declaration or definition.
const MAX_TEXT: usize = 1 << 20;

/// How much of a composite without a name is written out.
#[derive(Clone, Copy, PartialEq)]
enum Body {
    /// `struct {...}`.
    Short,
    /// All members, at this indentation.
    Full(usize),
}

impl Btf {
    /// The type as C writes it without a name: `struct task_struct *`, `char[16]`, `void (*)(int)`.
    pub fn c_name(&self, id: TypeId) -> String {
        self.c_decl(id, "")
    }

    /// A declaration of `name` with the type: `struct task_struct *next`, `char comm[16]`.
    pub fn c_decl(&self, id: TypeId, name: &str) -> String {
        self.decl(id, name.to_owned(), Body::Short, MAX_DEPTH)
    }

    /// The definition of a struct, union or enum (typedefs are looked through), ending with `;` and no newline;
    /// members one to a line, behind a tab; holes that a compiler would not leave by itself as bit fields without a
    /// name (`long: 64;`), and attributes behind the closing brace. `None` for other types.
    pub fn c_definition(&self, id: TypeId) -> Option<String> {
        let r = self.resolved_record(id)?;
        matches!(r.kind, kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64).then(|| {
            let mut text = self.head(&r);
            self.body(&r, &mut text, 0, MAX_DEPTH);
            text.push(';');
            text
        })
    }

    /// The prototype of a function type or its prototype: `int name(struct file *file)`. `None` for other types.
    pub fn c_function(&self, id: TypeId) -> Option<String> {
        let r = self.record(id).filter(|r| r.kind == kind::FUNC)?;
        Some(self.c_decl(r.to(), r.name()))
    }

    /// Builds a declaration from the inside (`inner`: the name with what is already around it) out.
    fn decl(&self, id: TypeId, inner: String, body: Body, depth: usize) -> String {
        let (mut id, mut inner) = (id, inner);
        let named = !inner.is_empty();
        let mut qualifiers = Vec::new();
        for _ in 0..64 {
            if id.0 == 0 {
                return join(&qualifiers, "void", &inner, named);
            }
            let Some(r) = self.record(id).filter(|_| inner.len() < MAX_TEXT) else { break };
            match r.kind {
                kind::CONST => qualifiers.push("const"),
                kind::VOLATILE => qualifiers.push("volatile"),
                kind::RESTRICT => qualifiers.push("restrict"),
                kind::TYPE_TAG if r.flag => inner = attribute(r.name(), &inner, named),
                kind::TYPE_TAG => {}
                kind::PTR => inner = pointer(&std::mem::take(&mut qualifiers), &inner, named),
                // Qualifiers of arrays and functions say nothing that those of their elements do not (GCC bug 8354).
                kind::ARRAY => {
                    qualifiers.clear();
                    inner = format!("{}[{}]", grouped(inner, ""), u32_at(r.tail, 8));
                }
                kind::FUNC_PROTO => {
                    qualifiers.clear();
                    inner = format!("{}({})", grouped(inner, " "), self.params(r, depth));
                }
                _ => return join(&qualifiers, &self.base_name(&r, body, depth), &inner, named),
            }
            id = match r.kind {
                kind::ARRAY => TypeId(u32_at(r.tail, 0)),
                _ => r.to(),
            };
        }
        join(&[], "...", &inner, named)
    }

    fn params(&self, r: Record<'_>, depth: usize) -> String {
        if depth == 0 {
            return "...".to_owned();
        }
        if r.vlen == 0 {
            return "void".to_owned();
        }
        let last = r.vlen as usize - 1;
        let mut text = String::new();
        for (i, (name, ty)) in r.params().enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            if text.len() > MAX_TEXT || (i == last && ty.0 == 0) {
                text.push_str("...");
                break;
            }
            text.push_str(&self.decl(ty, name.to_owned(), Body::Short, depth - 1));
        }
        text
    }

    /// `struct NAME`, `enum NAME`; the bare name of other types.
    fn head(&self, r: &Record<'_>) -> String {
        let word = match r.kind {
            kind::STRUCT => "struct",
            kind::UNION => "union",
            kind::ENUM | kind::ENUM64 => "enum",
            kind::FWD if r.flag => "union",
            kind::FWD => "struct",
            _ => return r.name().to_owned(),
        };
        if r.name().is_empty() { word.to_owned() } else { format!("{word} {}", r.name()) }
    }

    /// The type at the left of a declaration.
    fn base_name(&self, r: &Record<'_>, body: Body, depth: usize) -> String {
        let mut text = self.head(r);
        let has_body = matches!(r.kind, kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64);
        if !has_body || !r.name().is_empty() {
            return text;
        }
        match body {
            Body::Full(indent) if depth > 0 => self.body(r, &mut text, indent, depth - 1),
            _ => text.push_str(" {...}"),
        }
        text
    }

    /// Appends ` {`, the members or variants, and `}`.
    fn body(&self, r: &Record<'_>, text: &mut String, indent: usize, depth: usize) {
        let tabs = "\t".repeat(indent + 1);
        let is_enum = matches!(r.kind, kind::ENUM | kind::ENUM64);
        if r.vlen == 0 && (is_enum || r.word == 0) {
            text.push_str(if is_enum { "" } else { " {}" });
            return;
        }
        text.push_str(" {\n");
        if is_enum {
            let suffix = match (r.kind, r.flag) {
                (kind::ENUM, _) => "",
                (_, true) => "LL",
                (_, false) => "ULL",
            };
            for (name, value) in r.variants() {
                let value = if r.flag { value.to_string() } else { (value as u64).to_string() };
                text.push_str(&format!("{tabs}{name} = {value}{suffix},\n"));
            }
        } else {
            self.members(r, text, indent, depth);
        }
        text.push_str(&"\t".repeat(indent));
        text.push('}');
        text.push_str(if is_enum { enum_attribute(r) } else { self.packed_attribute(r) });
    }

    /// Appends the members of a struct or union, and where it has holes, padding.
    fn members(&self, r: &Record<'_>, text: &mut String, indent: usize, depth: usize) {
        let tabs = "\t".repeat(indent + 1);
        let is_struct = r.kind == kind::STRUCT;
        let packed = is_struct && self.is_packed(r);
        let mut end: u64 = 0;
        let mut after_bits = false;
        for m in r.members() {
            if text.len() > MAX_TEXT {
                text.push_str("...\n");
                return;
            }
            let align = if packed { 1 } else { self.align_of(m.ty).unwrap_or(1) };
            let in_bits = after_bits && m.bit_size != 0;
            let gap = Gap { from: end, to: m.bit_offset.into(), align, in_bits };
            pad::write(text, &tabs, &gap);
            let decl = self.decl(m.ty, m.name.to_owned(), Body::Full(indent + 1), depth);
            let bits = if m.bit_size == 0 { String::new() } else { format!(": {}", m.bit_size) };
            text.push_str(&format!("{tabs}{decl}{bits};\n"));
            after_bits = m.bit_size != 0;
            let size =
                if after_bits { m.bit_size.into() } else { u64::from(self.size_of(m.ty).unwrap_or(0)) * 8 };
            end = u64::from(m.bit_offset) + size;
        }
        if is_struct {
            let align = if packed { 1 } else { self.natural_align(r) };
            pad::write(text, &tabs, &Gap { from: end, to: u64::from(r.word) * 8, align, in_bits: false });
        }
    }

    /// Alignment in bytes that the members of a struct ask for.
    fn natural_align(&self, r: &Record<'_>) -> u32 {
        r.members().filter_map(|m| self.align_of(m.ty)).max().unwrap_or(1)
    }

    /// Whether a struct's layout is closer than its members' alignment allows.
    fn is_packed(&self, r: &Record<'_>) -> bool {
        let misplaced = r.members().filter(|m| m.bit_size == 0).any(|m| {
            let align = self.align_of(m.ty).unwrap_or(1);
            !m.bit_offset.is_multiple_of(align.saturating_mul(8))
        });
        misplaced || !r.word.is_multiple_of(self.natural_align(r))
    }

    fn packed_attribute(&self, r: &Record<'_>) -> &'static str {
        if r.kind == kind::STRUCT && self.is_packed(r) { " __attribute__((packed))" } else { "" }
    }
}

/// What says that an enum is not an `int` wide.
fn enum_attribute(r: &Record<'_>) -> &'static str {
    match (r.word, r.kind) {
        (1, _) => " __attribute__((mode(byte)))",
        (8, kind::ENUM) => " __attribute__((mode(word)))",
        (8, _) if r.variants().iter().all(|(_, value)| *value as u64 >> 32 == 0) => {
            " __attribute__((mode(word)))"
        }
        _ => "",
    }
}

/// Qualifiers (the outermost first), type and declarator with blanks where C wants them.
fn join(qualifiers: &[&str], base: &str, inner: &str, named: bool) -> String {
    let mut text = String::new();
    for q in qualifiers.iter().rev() {
        text.push_str(q);
        text.push(' ');
    }
    text.push_str(base);
    separate(&mut text, inner, named);
    text
}

/// Appends a declarator behind a word: with a blank but before `[`, and before `(` where there is no name within.
fn separate(text: &mut String, inner: &str, named: bool) {
    let close = inner.starts_with(['[', ' ']) || (inner.starts_with('(') && !named);
    if !inner.is_empty() && !close {
        text.push(' ');
    }
    text.push_str(inner);
}

/// A pointer to what comes further left; its own qualifiers stand behind the star.
fn pointer(qualifiers: &[&str], inner: &str, named: bool) -> String {
    let mut text = "*".to_owned();
    if qualifiers.is_empty() {
        text.push_str(inner);
        return text;
    }
    for q in qualifiers.iter().rev() {
        text.push(' ');
        text.push_str(q);
    }
    separate(&mut text, inner, named);
    text
}

/// A declarator that can take `[…]` or `(…)`: pointers need parentheses, behind `blank`.
fn grouped(inner: String, blank: &str) -> String {
    if inner.starts_with('*') { format!("{blank}({inner})") } else { inner }
}

/// An attribute of what comes further left.
fn attribute(name: &str, inner: &str, named: bool) -> String {
    let mut text = format!(" __attribute__(({name}))");
    separate(&mut text, inner, named);
    text
}
