//! C's constant expressions: tokens enter, a value leaves, or what is wrong with them. Conditions of the preprocessor,
//! sizes of arrays, widths of bit fields and values of enum constants are such expressions.

use super::token::{Kind, Token, char_value};
use super::value::Value;

/// Deepest nesting of operators.
const MAX_DEPTH: u32 = 200;

/// Tokens and how far they are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

impl Cursor {
    /// At the start of `tokens`.
    pub(super) fn new(tokens: Vec<Token>) -> Cursor {
        Cursor { tokens, at: 0, depth: 0 }
    }

    /// The token here.
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// The token `ahead` of this one.
    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    /// The token here; moves behind it.
    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    /// How many tokens are read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes back, or forth, to where `position` was.
    pub(super) fn seek(&mut self, position: usize) {
        self.at = position.min(self.tokens.len());
    }

    /// The tokens from `from` to here.
    pub(super) fn since(&self, from: usize) -> &[Token] {
        self.tokens.get(from..self.at).unwrap_or(&[])
    }

    /// Whether the operator or word `text` stands here.
    pub(super) fn at(&self, text: &str) -> bool {
        self.peek().is_some_and(|t| t.is(text))
    }

    /// Moves behind the operator or word `text` if it stands here.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.at(text);
        self.at += usize::from(found);
        found
    }

    /// Moves behind `text`, which must stand here.
    pub(super) fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { Err(format!("expected `{text}`, found {}", self.describe())) }
    }

    /// What stands here, for messages.
    pub(super) fn describe(&self) -> String {
        self.peek().map_or_else(|| "the end".to_owned(), |t| format!("`{}`", t.text))
    }

    /// Skips from the opening parenthesis, bracket or brace here to behind its partner, or to a `;` that no brace is around.
    pub(super) fn skip_group(&mut self) {
        let (mut depth, mut braces) = (0u32, 0u32);
        while let Some(t) = self.peek() {
            let text = if t.kind == Kind::Op { t.text.clone() } else { "".into() };
            if &*text == ";" && braces == 0 {
                return;
            }
            self.next();
            match &*text {
                "(" | "[" => depth += 1,
                "{" => (depth, braces) = (depth + 1, braces + 1),
                ")" | "]" => depth = depth.saturating_sub(1),
                "}" => (depth, braces) = (depth.saturating_sub(1), braces.saturating_sub(1)),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }
}

/// What a type says for constants.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeFacts {
    /// Bytes; `None`: it has no size.
    pub(super) size: Option<u64>,
    /// Bytes that it is aligned to.
    pub(super) align: u64,
    /// Of an integer: whether it is unsigned.
    pub(super) unsigned: Option<bool>,
}

/// Who knows names and types.
pub(super) trait Env {
    /// The tokens.
    fn cursor(&mut self) -> &mut Cursor;

    /// The value of a name.
    fn name(&mut self, name: &str) -> Result<Value, String>;

    /// The type that stands here, if one does; it is read then.
    fn type_name(&mut self) -> Option<Result<TypeFacts, String>>;

    /// `offsetof` and its kind, behind the word; `None` if there is no such thing.
    fn offset_of(&mut self) -> Option<Result<Value, String>>;
}

/// Binary operators with their binding power.
const BINARY: &[(&str, u8)] = &[
    ("||", 1),
    ("&&", 2),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("==", 6),
    ("!=", 6),
    ("<", 7),
    ("<=", 7),
    (">", 7),
    (">=", 7),
    ("<<", 8),
    (">>", 8),
    ("+", 9),
    ("-", 9),
    ("*", 10),
    ("/", 10),
    ("%", 10),
];

/// A constant expression up to what cannot go on with it.
pub(super) fn constant(env: &mut dyn Env) -> Result<Value, String> {
    env.cursor().depth += 1;
    let value = if env.cursor().depth > MAX_DEPTH {
        Err(format!("nested deeper than {MAX_DEPTH} levels"))
    } else {
        conditional(env)
    };
    env.cursor().depth -= 1;
    value
}

fn conditional(env: &mut dyn Env) -> Result<Value, String> {
    let cond = binary(env, 0)?;
    if !env.cursor().eat("?") {
        return Ok(cond);
    }
    let a = if env.cursor().at(":") { Ok(cond) } else { constant(env) };
    env.cursor().expect(":")?;
    let b = constant(env);
    if cond.is_true() { a } else { b }
}

fn binary(env: &mut dyn Env, min: u8) -> Result<Value, String> {
    let mut left = unary(env)?;
    loop {
        let Some(op) = env.cursor().peek().filter(|t| t.kind == Kind::Op).map(|t| t.text.clone()) else {
            return Ok(left);
        };
        let Some((_, power)) = BINARY.iter().find(|(o, p)| **o == *op && *p > min) else { return Ok(left) };
        env.cursor().next();
        let right = binary(env, *power);
        // What is not evaluated may divide by zero.
        left = match (&*op, left.is_true()) {
            ("&&", false) => Value::truth(false),
            ("||", true) => Value::truth(true),
            _ => left.binary(&op, right?)?,
        };
    }
}

fn unary(env: &mut dyn Env) -> Result<Value, String> {
    let cursor = env.cursor();
    cursor.depth += 1;
    let value = if cursor.depth > MAX_DEPTH {
        Err(format!("nested deeper than {MAX_DEPTH} levels"))
    } else {
        unary_within(env)
    };
    env.cursor().depth -= 1;
    value
}

fn unary_within(env: &mut dyn Env) -> Result<Value, String> {
    let Some(token) = env.cursor().next() else { return Err("expected a value, found the end".to_owned()) };
    match (token.kind, &*token.text) {
        (Kind::Number, text) => Value::number(text),
        (Kind::Char, text) => {
            char_value(text).map(Value::small).ok_or_else(|| format!("{text} is not a character"))
        }
        (Kind::Op, op @ ("-" | "+" | "~" | "!")) => Ok(unary(env)?.unary(op)),
        (Kind::Op, "(") => parenthesized(env),
        (Kind::Word, "__extension__") => unary(env),
        (Kind::Word, "sizeof") => size_of(env, |t| t.size),
        (Kind::Word, "_Alignof" | "__alignof__" | "alignof") => size_of(env, |t| Some(t.align)),
        (Kind::Word, "offsetof" | "__builtin_offsetof") => {
            env.offset_of().unwrap_or_else(|| Err("`offsetof` is none of the preprocessor's".to_owned()))
        }
        (Kind::Word, name) => env.name(name),
        (_, text) => Err(format!("expected a value, found `{text}`")),
    }
}

/// Behind `(`: a cast, or an expression in parentheses.
fn parenthesized(env: &mut dyn Env) -> Result<Value, String> {
    if let Some(facts) = env.type_name() {
        let facts = facts?;
        env.cursor().expect(")")?;
        let value = unary(env)?;
        return match (facts.unsigned, facts.size) {
            (Some(unsigned), Some(size)) => Ok(value.cast(u32::try_from(size * 8).unwrap_or(64), unsigned)),
            // A pointer.
            _ => Ok(value.cast(64, true)),
        };
    }
    let value = constant(env)?;
    env.cursor().expect(")")?;
    Ok(value)
}

fn size_of(env: &mut dyn Env, of: impl Fn(&TypeFacts) -> Option<u64>) -> Result<Value, String> {
    env.cursor().expect("(")?;
    let facts = env.type_name().unwrap_or_else(|| Err("expected a type in `sizeof`".to_owned()))?;
    env.cursor().expect(")")?;
    of(&facts).map(Value::size).ok_or_else(|| "this type has no size".to_owned())
}
