//! Macros of the preprocessor: definitions and tokens enter, tokens with all macros expanded leave. A macro is not expanded
//! within its own expansion (each token knows the macros that it came out of), and the tokens made are counted, so that
//! expansion ends.

use std::collections::HashMap;
use std::rc::Rc;

use super::token::{Hide, Kind, Place, Token, spell, tokens};

/// Most tokens that all expansions make together.
const MAX_TOKENS: u32 = 1 << 21;
/// Deepest nesting of arguments.
const MAX_DEPTH: u32 = 100;
/// Most tokens of one argument list.
const MAX_ARGUMENTS: usize = 1 << 16;

/// A macro.
#[derive(Clone, Debug)]
pub(super) struct Macro {
    /// Name.
    name: Rc<str>,
    /// Names of its parameters; `None`: it takes no list.
    pub(super) params: Option<Vec<Rc<str>>>,
    /// Whether the last parameter takes all further arguments.
    variadic: bool,
    /// What it stands for.
    pub(super) body: Vec<Token>,
    /// Defined by the compiler and not by any text.
    pub(super) predefined: bool,
}

impl Macro {
    /// A macro from the tokens behind `#define`, or what is wrong with them.
    pub(super) fn parse(line: &[Token]) -> Result<Macro, String> {
        let Some((name, rest)) = line.split_first().filter(|(n, _)| n.kind == Kind::Word) else {
            return Err("a macro's name must be an identifier".to_owned());
        };
        if *name.text == *"defined" {
            return Err("`defined` cannot be a macro".to_owned());
        }
        let mut made = Macro {
            name: name.text.clone(),
            params: None,
            variadic: false,
            body: Vec::new(),
            predefined: false,
        };
        let listed = rest.first().is_some_and(|t| t.is("(") && !t.blank);
        made.body = if listed { made.parameters(&rest[1..])?.to_vec() } else { rest.to_vec() };
        if let Some(first) = made.body.first_mut() {
            first.blank = false;
        }
        Ok(made)
    }

    /// Reads the parameters behind `(`; gives what follows their `)`.
    fn parameters<'t>(&mut self, line: &'t [Token]) -> Result<&'t [Token], String> {
        let wrong = || "the parameters of a macro are names, separated by `,`".to_owned();
        let mut params = Vec::new();
        let mut at = 0;
        loop {
            let token = line.get(at).ok_or_else(wrong)?;
            at += 1;
            match (token.kind, &*token.text) {
                (Kind::Op, ")") if params.is_empty() => break,
                (Kind::Op, "...") => {
                    params.push(Rc::from("__VA_ARGS__"));
                    self.variadic = true;
                }
                (Kind::Word, _) => {
                    params.push(token.text.clone());
                    if line.get(at).is_some_and(|t| t.is("...")) {
                        self.variadic = true;
                        at += 1;
                    }
                }
                _ => return Err(wrong()),
            }
            let behind = line.get(at).ok_or_else(wrong)?;
            at += 1;
            match &*behind.text {
                ")" => break,
                "," if !self.variadic => {}
                _ => return Err(wrong()),
            }
        }
        self.params = Some(params);
        Ok(&line[at..])
    }

    /// The parameter that a token names.
    fn param(&self, token: &Token) -> Option<usize> {
        let params = self.params.as_ref()?;
        (token.kind == Kind::Word).then(|| params.iter().position(|p| *p == token.text)).flatten()
    }
}

/// All macros that are defined.
#[derive(Clone, Debug, Default)]
pub(super) struct Macros {
    known: HashMap<Rc<str>, Rc<Macro>>,
    made: u32,
    depth: u32,
    /// Whether expansion was cut off.
    pub(super) exhausted: bool,
}

impl Macros {
    /// Defines a macro, in place of one of that name.
    pub(super) fn define(&mut self, m: Macro) {
        self.known.insert(m.name.clone(), Rc::new(m));
    }

    /// Defines `name` as `text`, as the compiler does.
    pub(super) fn predefine(&mut self, name: &str, text: &str) {
        let body = tokens(text, Place::default());
        let (name, params) = (Rc::<str>::from(name), None);
        self.define(Macro { name, params, variadic: false, body, predefined: true });
    }

    /// Forgets a macro.
    pub(super) fn undefine(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// The macro of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Rc<Macro>> {
        self.known.get(name)
    }

    /// `input` with its macros expanded. Line ends are left out.
    pub(super) fn expand(&mut self, input: &[Token]) -> Vec<Token> {
        let mut out = Vec::with_capacity(input.len());
        // What is still to be read, last first.
        let mut rest: Vec<Token> = input.iter().rev().filter(|t| t.kind != Kind::Line).cloned().collect();
        while let Some(token) = rest.pop() {
            let found = match token.kind {
                Kind::Word if !token.hides(&token.text) => self.known.get(&token.text).cloned(),
                _ => None,
            };
            let Some(m) = found.filter(|_| !self.exhausted) else {
                out.push(token);
                continue;
            };
            let before = rest.len();
            if m.params.is_none() {
                let hide = with(&token.hide, &m.name);
                let body = self.substitute(&m, &[], &token, &hide);
                self.push(&mut rest, body);
            } else if let Some((args, hide)) = arguments(&mut rest, &m, &token) {
                let body = self.substitute(&m, &args, &token, &hide);
                self.push(&mut rest, body);
            } else {
                debug_assert!(rest.len() == before);
                out.push(token);
            }
        }
        out
    }

    fn push(&mut self, rest: &mut Vec<Token>, body: Vec<Token>) {
        self.count(body.len());
        if !self.exhausted {
            rest.extend(body.into_iter().rev());
        }
    }

    fn count(&mut self, made: usize) {
        self.made = self.made.saturating_add(u32::try_from(made).unwrap_or(u32::MAX)).saturating_add(1);
        self.exhausted |= self.made > MAX_TOKENS;
    }

    /// The body of `m` with the arguments in place, used at `at`.
    fn substitute(&mut self, m: &Macro, args: &[Vec<Token>], at: &Token, hide: &Hide) -> Vec<Token> {
        let mut out: Vec<Token> = Vec::new();
        let mut expanded: Vec<Option<Vec<Token>>> = vec![None; args.len()];
        let mut i = 0;
        while let Some(token) = m.body.get(i) {
            i += 1;
            let next = m.body.get(i);
            let stringified = || next.and_then(|n| m.param(n)).and_then(|p| args.get(p));
            if token.is("#")
                && let Some(arg) = stringified()
            {
                out.push(stringify(arg, at.place));
                i += 1;
                continue;
            }
            if token.is("##") && !out.is_empty() && next.is_some() {
                self.paste(m, args, &mut i, &mut out);
                continue;
            }
            match m.param(token).and_then(|p| Some((p, args.get(p)?))) {
                // An operand of `##` is taken as it was written.
                Some((_, arg)) if next.is_some_and(|n| n.is("##")) => {
                    if arg.is_empty() {
                        out.push(Token::made(Kind::Line, "", at.place));
                    }
                    out.extend(arg.iter().cloned());
                }
                Some((p, arg)) => {
                    let full = match expanded[p].take() {
                        Some(full) => full,
                        None => self.argument(arg),
                    };
                    self.count(full.len());
                    if self.exhausted {
                        return out;
                    }
                    let start = out.len();
                    out.extend(full.iter().cloned());
                    if let Some(first) = out.get_mut(start) {
                        first.blank = token.blank;
                    }
                    expanded[p] = Some(full);
                }
                None => out.push(Token { place: at.place, ..token.clone() }),
            }
        }
        out.retain(|t| t.kind != Kind::Line);
        for t in &mut out {
            t.hide = union(&t.hide, hide);
        }
        if let Some(first) = out.first_mut() {
            first.blank = at.blank;
        }
        out
    }

    /// An argument, fully expanded.
    fn argument(&mut self, arg: &[Token]) -> Vec<Token> {
        if self.depth >= MAX_DEPTH {
            self.exhausted = true;
            return Vec::new();
        }
        self.depth += 1;
        let full = self.expand(arg);
        self.depth -= 1;
        full
    }

    /// Joins the last token of `out` with what stands behind `##`, at `body[*i]`.
    fn paste(&mut self, m: &Macro, args: &[Vec<Token>], i: &mut usize, out: &mut Vec<Token>) {
        let Some(right) = m.body.get(*i) else { return };
        *i += 1;
        let param = m.param(right);
        let right: Vec<Token> = match param.and_then(|p| args.get(p)) {
            Some(arg) => arg.clone(),
            None => vec![right.clone()],
        };
        // `, ## __VA_ARGS__` drops the comma where there are no arguments.
        let rest = param.is_some_and(|p| m.variadic && Some(p + 1) == m.params.as_ref().map(Vec::len));
        if rest && out.last().is_some_and(|t| t.is(",")) {
            if right.is_empty() {
                out.pop();
            }
            out.extend(right);
            return;
        }
        let Some(left) = out.pop() else { return out.extend(right) };
        let Some((first, more)) = right.split_first() else { return out.push(left) };
        let joined = tokens(&format!("{}{}", left.text, first.text), left.place);
        match <[Token; 1]>::try_from(joined) {
            Ok([mut joined]) => {
                (joined.blank, joined.place, joined.hide) = (left.blank, left.place, left.hide);
                out.push(joined);
            }
            Err(_) => out.extend([left, first.clone()]),
        }
        out.extend(more.iter().cloned());
        self.count(1);
    }
}

/// The set with `name` in it.
fn with(set: &Hide, name: &Rc<str>) -> Hide {
    let mut names = set.as_ref().map_or_else(Vec::new, |s| s.to_vec());
    if !names.contains(name) {
        names.push(name.clone());
    }
    Some(Rc::new(names))
}

fn union(a: &Hide, b: &Hide) -> Hide {
    match (a, b) {
        (None, other) | (other, None) => other.clone(),
        (Some(x), Some(y)) if Rc::ptr_eq(x, y) => a.clone(),
        (Some(x), Some(y)) => {
            let mut names = x.to_vec();
            names.extend(y.iter().filter(|n| !x.contains(n)).cloned());
            Some(Rc::new(names))
        }
    }
}

fn intersection(a: &Hide, b: &Hide) -> Hide {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    let both: Vec<Rc<str>> = a.iter().filter(|n| b.contains(n)).cloned().collect();
    (!both.is_empty()).then(|| Rc::new(both))
}

/// The arguments of a use of `m`, and what its expansion hides. Nothing is taken if no list follows, or one that does not
/// end or fit.
fn arguments(rest: &mut Vec<Token>, m: &Macro, name: &Token) -> Option<(Vec<Vec<Token>>, Hide)> {
    if !rest.last().is_some_and(|t| t.is("(")) {
        return None;
    }
    let mut args = vec![Vec::new()];
    let wanted = m.params.as_ref().map_or(0, Vec::len);
    let mut depth = 0u32;
    let mut end = None;
    for (read, token) in rest.iter().rev().enumerate().take(MAX_ARGUMENTS) {
        let text = if token.kind == Kind::Op { &*token.text } else { "" };
        match text {
            "(" if depth == 0 => {
                depth = 1;
                continue;
            }
            "(" => depth += 1,
            ")" if depth == 1 => {
                end = Some((read + 1, token.hide.clone()));
                break;
            }
            ")" => depth -= 1,
            "," if depth == 1 && !(m.variadic && args.len() >= wanted) => {
                args.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(arg) = args.last_mut() {
            arg.push(token.clone());
        }
    }
    let (read, closing) = end?;
    if wanted == 0 && args.len() == 1 && args[0].is_empty() {
        args.clear();
    }
    if m.variadic && args.len() + 1 == wanted {
        args.push(Vec::new());
    }
    if args.len() != wanted {
        return None;
    }
    rest.truncate(rest.len() - read);
    Some((args, with(&intersection(&name.hide, &closing), &m.name)))
}

/// `#arg`
fn stringify(arg: &[Token], place: Place) -> Token {
    let mut text = String::from("\"");
    for (i, t) in arg.iter().enumerate() {
        if i > 0 && t.blank {
            text.push(' ');
        }
        match t.kind {
            Kind::Str | Kind::Char => text.push_str(&t.text.replace('\\', "\\\\").replace('"', "\\\"")),
            _ => text.push_str(&t.text),
        }
    }
    text.push('"');
    Token::made(Kind::Str, &text, place)
}

/// Tokens as one line of text.
pub(super) fn text_of(tokens: &[Token]) -> String {
    spell(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(defines: &[&str], text: &str) -> String {
        let mut macros = Macros::default();
        for d in defines {
            macros.define(Macro::parse(&tokens(d, Place::default())).unwrap());
        }
        let out = macros.expand(&tokens(text, Place::default()));
        assert!(!macros.exhausted);
        text_of(&out)
    }

    #[test]
    fn objects_and_functions() {
        assert_eq!(expanded(&["A 1", "B A + A"], "B * C"), "1 + 1 * C");
        assert_eq!(expanded(&["F(x, y) x-(y)"], "F(a b, (c, d)) F"), "a b-((c, d)) F");
        assert_eq!(expanded(&["E() 7"], "E() + E ( )"), "7 + 7");
        assert_eq!(expanded(&["G(x) [x]", "H G"], "H(1)(2)"), "[1](2)");
    }

    #[test]
    fn no_macro_within_itself() {
        assert_eq!(expanded(&["A B", "B A"], "A B"), "A B");
        assert_eq!(expanded(&["F(x) F(x + 1)"], "F(F(1))"), "F(F(1 + 1) + 1)");
        assert_eq!(expanded(&["f(a) a*g", "g(a) f(a)"], "f(2)(9)"), "2*9*g");
    }

    #[test]
    fn strings_and_pastes() {
        assert_eq!(expanded(&["S(x) #x", "A 1"], "S(A  + \"q\\n\")"), "\"A + \\\"q\\\\n\\\"\"");
        assert_eq!(expanded(&["J(a, b) a ## b", "xy 5"], "J(x, y) J(, z) J(w,)"), "5 z w");
        assert_eq!(expanded(&["P(a, b) a##b", "A 1"], "P(A, 2)"), "A2");
        let va = ["L(f, ...) p(f, ## __VA_ARGS__)"];
        assert_eq!(expanded(&va, "L(1) L(1, 2, 3)"), "p(1) p(1, 2, 3)");
    }

    #[test]
    fn wrong_lists_are_left_alone() {
        assert_eq!(expanded(&["F(x) x"], "F(1, 2) F(1"), "F(1, 2) F(1");
        assert!(Macro::parse(&tokens("F(1) x", Place::default())).is_err());
        assert!(Macro::parse(&tokens("F(a", Place::default())).is_err());
        assert!(Macro::parse(&tokens("1", Place::default())).is_err());
    }

    #[test]
    fn growth_is_bounded() {
        let mut macros = Macros::default();
        for i in 0..64 {
            let line = format!("A{i} A{n} A{n}", n = i + 1);
            macros.define(Macro::parse(&tokens(&line, Place::default())).unwrap());
        }
        macros.expand(&tokens("A0", Place::default()));
        assert!(macros.exhausted);
    }
}
