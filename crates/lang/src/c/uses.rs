//! Macros of the preprocessor in the script's own code: a syntax tree enters, one without them leaves. A macro stands for
//! an expression: its text is read as one, and arguments are put in its parameters' places as the trees that they are.

use std::borrow::Cow;

use super::Preamble;
use super::constants;
use super::macros::{Macro, Macros};
use super::specifiers::is_qualifier;
use super::token::{Kind, Place, Token, char_value, spell, tokens};
use crate::ast::{Expr, ExprKind, Name, Script, Span, TypeExpr, TypeExprKind};
use crate::check::walk;
use crate::diag::{Diagnostic, Diagnostics};
use crate::expand::rewrite::Rewrite;
use crate::parse;

/// Deepest nesting of expressions once macros are expanded.
const MAX_TREE: u32 = 200;
/// Deepest nesting of macros within macros.
const MAX_ACTIVE: usize = 64;
/// Most expressions and tokens that macros put into the script.
const MAX_COPIED: usize = 200_000;
/// What stands for an argument while a macro's text is read.
const ARGUMENT: &str = "__skep_argument_";

/// The script with the preprocessor's macros expanded.
pub(crate) fn expand<'s>(
    script: Cow<'s, Script>,
    preamble: &Preamble,
    diags: &mut Diagnostics,
) -> Cow<'s, Script> {
    let mut expander = Expander::new(preamble, diags);
    if !expander.is_needed(&script) {
        return script;
    }
    let mut script = script.into_owned();
    for probe in &mut script.probes {
        if let Some(predicate) = &mut probe.predicate {
            expander.expr(predicate);
        }
        expander.block(&mut probe.body);
    }
    for function in &mut script.functions {
        expander.block(&mut function.body);
    }
    Cow::Owned(script)
}

struct Expander<'p, 'd> {
    macros: Macros,
    preamble: &'p Preamble,
    diags: &'d mut Diagnostics,
    /// Macros around.
    active: Vec<String>,
    depth: u32,
    budget: usize,
}

impl<'p, 'd> Expander<'p, 'd> {
    fn new(preamble: &'p Preamble, diags: &'d mut Diagnostics) -> Expander<'p, 'd> {
        let (macros, active) = (preamble.macros.clone(), Vec::new());
        Expander { macros, preamble, diags, active, depth: 0, budget: MAX_COPIED }
    }

    /// Whether the script uses a macro at all.
    fn is_needed(&mut self, script: &Script) -> bool {
        let mut needed = false;
        let mut see = |e: &Expr| {
            needed |= match &*e.kind {
                ExprKind::Ident(name) => self.object(name),
                ExprKind::Call { name, .. } => self.function(&name.text),
                _ => false,
            }
        };
        for probe in &script.probes {
            probe.predicate.iter().for_each(|p| walk::expr(p, &mut see));
            walk::block(&probe.body, &mut see);
        }
        script.functions.iter().for_each(|f| walk::block(&f.body, &mut see));
        needed
    }

    /// Whether a bare name is a macro. One that stands for itself (headers have them for enum constants) stays a name.
    fn object(&self, name: &str) -> bool {
        let own = |m: &Macro| matches!(m.body.as_slice(), [one] if one.is(name));
        crate::builtins::find(name).is_none()
            && self.macros.get(name).is_some_and(|m| m.params.is_none() && !m.predefined && !own(m))
    }

    /// Whether a called name is a macro that takes arguments: the script's, or one of the shipped ones, which are defined
    /// when they are first used.
    fn function(&mut self, name: &str) -> bool {
        if crate::builtins::find(name).is_some() {
            return false;
        }
        if let Some(m) = self.macros.get(name) {
            return m.params.is_some();
        }
        let Some(text) = constants::macro_text(name) else { return false };
        if self.preamble.constant(name).is_none()
            && let Ok(m) = Macro::parse(&tokens(text, Place::default()))
        {
            self.macros.define(m);
            return true;
        }
        false
    }

    /// Replaces `e` by what macro `name` stands for.
    fn replace(&mut self, e: &mut Expr, name: &str, args: &[Expr]) {
        let span = e.span;
        if self.active.iter().any(|a| a == name) || self.active.len() >= MAX_ACTIVE {
            let chain = self.active.join("` → `");
            let message = format!("macro `{name}` expands to itself (through `{chain}`)");
            return self.fail(e, "recursive-macro", message);
        }
        let Some(text) = self.text(name, args) else {
            let message = format!("macro `{name}` does not take {} arguments", args.len());
            return self.fail(e, "macro-arguments", message);
        };
        let size = text.len() / 4 + args.iter().map(size_of).sum::<usize>();
        if self.macros.exhausted || size >= self.budget {
            self.budget = 0;
            return self.fail(e, "too-many-macros", "the macros expand to too much text".to_owned());
        }
        self.budget -= size;
        let mut wrong = Diagnostics::default();
        let Some(mut value) = parse::expression(&text, &mut wrong) else {
            let message = format!("macro `{name}` stands for `{text}`, which is not an expression");
            return self.fail(e, "c-macro", message);
        };
        let mut place = Placing { span, args, budget: &mut self.budget };
        place.expr(&mut value);
        *e = value;
        // What it consists of may be macros again; a list of arguments is expanded as a whole.
        if args.is_empty() && self.macros.get(name).is_some_and(|m| m.params.is_none()) {
            self.active.push(name.to_owned());
            self.expr(e);
            self.active.pop();
        }
    }

    fn fail(&mut self, e: &mut Expr, code: &'static str, message: String) {
        self.diags.push(Diagnostic::error(code, e.span, message));
        *e.kind = ExprKind::Int { value: 0, unsigned: false, bits: None };
    }

    /// The text of a macro's use, fit to be read as an expression of the script's. The macros in an object are left for
    /// later if it is an expression by itself.
    fn text(&mut self, name: &str, args: &[Expr]) -> Option<String> {
        let m = self.macros.get(name)?.clone();
        if m.params.is_none() {
            let own = readable(&m.body);
            if parse::expression(&own, &mut Diagnostics::default()).is_some() {
                return Some(own);
            }
            return Some(readable(&self.macros.expand(&m.body)));
        }
        let mut call = tokens(&format!("{name}("), Place::default());
        for (i, arg) in args.iter().enumerate() {
            if i > 0 {
                call.push(Token::made(Kind::Op, ",", Place::default()));
            }
            call.extend(tokens(&spelled(arg, i), Place::default()));
        }
        call.push(Token::made(Kind::Op, ")", Place::default()));
        let expanded = self.macros.expand(&call);
        let same = expanded.first().is_some_and(|t| t.is(name)) && expanded.len() == call.len();
        (!same).then(|| readable(&expanded))
    }
}

impl Rewrite for Expander<'_, '_> {
    fn expr(&mut self, e: &mut Expr) {
        if self.depth >= MAX_TREE {
            return self.fail(e, "too-deep", "this is nested too deeply once macros are expanded".to_owned());
        }
        self.depth += 1;
        match &*e.kind {
            ExprKind::Ident(name) if self.object(name) => {
                let name = name.clone();
                self.replace(e, &name, &[]);
            }
            ExprKind::Call { name, .. } if self.function(&name.text.clone()) => {
                let name = name.text.clone();
                self.inner(e);
                let args = match &mut *e.kind {
                    ExprKind::Call { args, .. } => std::mem::take(args),
                    _ => Vec::new(),
                };
                self.replace(e, &name, &args);
            }
            _ => self.inner(e),
        }
        self.depth -= 1;
    }
}

fn size_of(e: &Expr) -> usize {
    let mut size = 0;
    walk::expr(e, &mut |_| size += 1);
    size
}

/// An argument as C's tokens: as it is where that is one token or a type, else a name that stands for it.
fn spelled(arg: &Expr, index: usize) -> String {
    match &*arg.kind {
        ExprKind::Int { value, .. } => value.to_string(),
        ExprKind::Ident(name) => name.clone(),
        ExprKind::Type(ty) => type_text(ty).unwrap_or_else(|| format!("{ARGUMENT}{index}")),
        _ => format!("{ARGUMENT}{index}"),
    }
}

fn type_text(ty: &TypeExpr) -> Option<String> {
    match &ty.kind {
        TypeExprKind::Name(name) => Some(name.clone()),
        TypeExprKind::Ptr(to) => Some(format!("{} *", type_text(to)?)),
        _ => None,
    }
}

/// Tokens as the script's language has them: characters are numbers, texts next to each other are one, and C's words
/// without influence are left out.
fn readable(body: &[Token]) -> String {
    let mut out: Vec<Token> = Vec::with_capacity(body.len());
    for t in body {
        match t.kind {
            Kind::Word if is_qualifier(&t.text) || matches!(&*t.text, "__user" | "__force") => {}
            Kind::Char => {
                let value = char_value(&t.text).unwrap_or(0);
                out.push(Token { blank: true, ..Token::made(Kind::Number, &value.to_string(), t.place) });
            }
            Kind::Str => match out.last_mut().filter(|last| last.kind == Kind::Str) {
                Some(last) => {
                    let joined =
                        format!("{}{}", last.text.trim_end_matches('"'), t.text.trim_start_matches('"'));
                    *last = Token { blank: last.blank, ..Token::made(Kind::Str, &joined, last.place) };
                }
                None => out.push(t.clone()),
            },
            _ => out.push(t.clone()),
        }
    }
    spell(&out)
}

/// Puts the arguments in their places, and everything at the place of the use.
struct Placing<'a> {
    span: Span,
    args: &'a [Expr],
    budget: &'a mut usize,
}

impl Placing<'_> {
    fn name(&self, name: &mut Name) {
        name.span = self.span;
    }
}

impl Rewrite for Placing<'_> {
    fn expr(&mut self, e: &mut Expr) {
        e.span = self.span;
        match &mut *e.kind {
            ExprKind::Ident(name) => {
                let index = name.strip_prefix(ARGUMENT).and_then(|n| n.parse::<usize>().ok());
                if let Some(arg) = index.and_then(|i| self.args.get(i)) {
                    *self.budget = self.budget.saturating_sub(size_of(arg));
                    if *self.budget > 0 {
                        *e = arg.clone();
                    }
                    return;
                }
            }
            ExprKind::Field { name, .. } | ExprKind::Call { name, .. } => self.name(name),
            ExprKind::Offsetof { path, .. } => path.iter_mut().for_each(|n| n.span = self.span),
            ExprKind::Record(fields) => fields.iter_mut().for_each(|(n, _)| n.span = self.span),
            _ => {}
        }
        self.inner(e);
    }

    fn type_expr(&mut self, t: &mut TypeExpr) {
        t.span = self.span;
    }
}
