//! Macros: a syntax tree enters; a tree leaves in which every use of a macro is the macro's body as a block, with the
//! arguments in place of the parameters. A body sees nothing but its parameters: its own variables are renamed, so that
//! they meet no others, and a map that is not passed in is an error.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::ast::{Block, Expr, ExprKind, Macro, Name, Script, Span, Stmt, StmtKind, TypeExpr, TypeExprKind};
use crate::check::walk;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::LIBRARY;

pub(crate) mod rewrite;
use rewrite::Rewrite;

/// Deepest nesting of macros within macros.
const MAX_DEPTH: usize = 64;
/// Most expansions in a script.
const MAX_EXPANSIONS: u32 = 10_000;
/// Deepest nesting of blocks and expressions after expansion.
const MAX_TREE: u32 = 200;
/// Most expressions that arguments put into bodies, all together: they grow exponentially otherwise.
const MAX_COPIED: usize = 200_000;

type Table<'s> = HashMap<&'s str, Vec<&'s Macro>>;

/// The script with its macros and those of the library expanded; the script itself where it uses none. `None` if it grows
/// beyond all bounds, which is reported: what there is of it is not worth looking at.
pub fn expand<'s>(script: &'s Script, diags: &mut Diagnostics) -> Option<Cow<'s, Script>> {
    let library = table(crate::library::macros());
    if script.macros.is_empty() && !uses_any(script, &library) {
        return Some(Cow::Borrowed(script));
    }
    report_duplicates(&script.macros, diags);
    let mut expander = Expander {
        own: table(&script.macros),
        library,
        diags,
        within: Vec::new(),
        count: 0,
        depth: 0,
        depth_exceeded: false,
        budget: MAX_COPIED,
    };
    let mut script = script.clone();
    for probe in &mut script.probes {
        if let Some(predicate) = &mut probe.predicate {
            expander.expr(predicate);
        }
        expander.block(&mut probe.body);
    }
    for function in &mut script.functions {
        expander.block(&mut function.body);
    }
    let grown = expander.depth_exceeded || expander.budget == 0 || expander.count > MAX_EXPANSIONS;
    script.macros.clear();
    (!grown).then_some(Cow::Owned(script))
}

fn table(macros: &[Macro]) -> Table<'_> {
    let mut table = Table::new();
    for m in macros {
        table.entry(&m.name.text).or_default().push(m);
    }
    table
}

/// Whether a probe or function mentions a macro of the table.
fn uses_any(script: &Script, table: &Table<'_>) -> bool {
    let mut found = false;
    let mut see = |e: &Expr| match &*e.kind {
        ExprKind::Call { name, .. } => found |= table.contains_key(name.text.as_str()),
        ExprKind::Ident(name) => found |= table.contains_key(name.as_str()),
        _ => {}
    };
    for probe in &script.probes {
        probe.predicate.iter().for_each(|e| walk::expr(e, &mut see));
        walk::block(&probe.body, &mut see);
    }
    script.functions.iter().for_each(|f| walk::block(&f.body, &mut see));
    found
}

fn report_duplicates(macros: &[Macro], diags: &mut Diagnostics) {
    for (i, m) in macros.iter().enumerate() {
        let same = |other: &&Macro| other.name.text == m.name.text && shape(other) == shape(m);
        if let Some(first) = macros[..i].iter().find(same) {
            let message = format!("there is a macro `{}` with such parameters already", m.name.text);
            diags.push(Diagnostic::error("duplicate", m.name.span, message).label(first.name.span, "here"));
        }
    }
}

/// Kinds of parameter, by their prefixes.
fn shape(m: &Macro) -> Vec<Option<char>> {
    m.params.iter().map(|p| p.text.chars().next().filter(|c| matches!(c, '$' | '@'))).collect()
}

struct Expander<'s, 'd> {
    /// The script's macros.
    own: Table<'s>,
    /// The library's, which see none but themselves.
    library: Table<'s>,
    diags: &'d mut Diagnostics,
    /// Macros around.
    within: Vec<&'s Macro>,
    count: u32,
    /// Nesting at hand.
    depth: u32,
    depth_exceeded: bool,
    /// Expressions that may still be copied.
    budget: usize,
}

/// How well an argument suits a parameter; `None`: not at all.
fn suits(param: &Name, arg: &Expr) -> Option<u32> {
    match (param.text.chars().next(), &*arg.kind) {
        (Some('$'), ExprKind::Var(_)) | (Some('@'), ExprKind::Map { key: None, .. }) => Some(1),
        (Some('$' | '@'), _) => None,
        _ => Some(0),
    }
}

fn is_library(m: &Macro) -> bool {
    m.name.span.start >= LIBRARY
}

/// The macro of `all` whose parameters suit the arguments best.
fn best<'s>(all: Option<&Vec<&'s Macro>>, args: &[Expr]) -> Option<&'s Macro> {
    let score = |m: &&Macro| {
        let suit = || m.params.iter().zip(args).map(|(p, a)| suits(p, a)).sum::<Option<u32>>();
        (m.params.len() == args.len()).then(suit).flatten()
    };
    all?.iter().filter_map(|m| score(m).map(|s| (s, *m))).max_by_key(|(s, _)| *s).map(|(_, m)| m)
}

impl<'s> Expander<'s, '_> {
    /// Macros of that name that can be seen here, the script's first.
    fn candidates(&self, name: &str) -> [Option<&Vec<&'s Macro>>; 2] {
        let in_library = self.within.last().is_some_and(|m| is_library(m));
        [self.own.get(name).filter(|_| !in_library), self.library.get(name)]
    }

    /// The macro that a use means: the one whose parameters suit the arguments best.
    fn choose(&mut self, name: &str, args: &[Expr], span: Span) -> Option<&'s Macro> {
        let candidates = self.candidates(name);
        let found = candidates.iter().find_map(|all| best(*all, args));
        if found.is_none() && crate::builtins::find(name).is_none() {
            let forms: Vec<String> =
                candidates.iter().flatten().flat_map(|all| all.iter()).map(|m| form(m)).collect();
            let message = format!("no macro `{name}` takes these arguments");
            self.diags.push(
                Diagnostic::error("macro-arguments", span, message)
                    .hint(format!("it is called as `{}`", forms.join("` or `"))),
            );
        }
        found
    }

    /// The body of `m` with the arguments in place.
    fn instance(&mut self, m: &'s Macro, args: &[Expr], span: Span) -> Option<Block> {
        self.count += 1;
        if self.within.iter().any(|w| std::ptr::eq(*w, m)) || self.within.len() >= MAX_DEPTH {
            let chain: Vec<&str> = self.within.iter().map(|w| w.name.text.as_str()).collect();
            let message =
                format!("macro `{}` expands to itself (through `{}`)", m.name.text, chain.join("` → `"));
            self.diags.push(Diagnostic::error("recursive-macro", span, message));
            return None;
        }
        if self.count > MAX_EXPANSIONS {
            let message = format!("more than {MAX_EXPANSIONS} macros are expanded");
            self.diags.push(Diagnostic::error("too-many-macros", span, message));
            return None;
        }
        let mut body = m.body.clone();
        if is_library(m) {
            at_use(&mut body, span);
        }
        let mut instance = Instance {
            args: m.params.iter().map(|p| p.text.as_str()).zip(args).collect(),
            number: self.count,
            use_span: span,
            budget: &mut self.budget,
            diags: self.diags,
        };
        instance.block(&mut body);
        if self.budget == 0 {
            self.diags.push(Diagnostic::error("too-many-macros", span, "the macros expand to too much text"));
            return None;
        }
        self.within.push(m);
        self.block(&mut body);
        self.within.pop();
        Some(body)
    }
}

/// What the checker has to say of a library macro's body is said of its use. Only what a running program says of itself
/// keeps its place.
fn at_use(body: &mut Block, span: Span) {
    struct Messages(Vec<Span>);
    impl Messages {
        fn is_one(e: &Expr) -> bool {
            matches!(&*e.kind, ExprKind::Call { name, .. } if matches!(name.text.as_str(), "errorf" | "warnf"))
        }
    }
    let mut messages = Messages(Vec::new());
    walk::block(body, &mut |e| {
        if Messages::is_one(e) {
            messages.0.push(e.span);
        }
    });
    crate::spans::each(body, &mut |s| {
        if !messages.0.contains(s) {
            *s = span;
        }
    });
}

fn form(m: &Macro) -> String {
    let params: Vec<&str> = m.params.iter().map(|p| p.text.as_str()).collect();
    format!("{}({})", m.name.text, params.join(", "))
}

impl<'s> Expander<'s, '_> {
    /// Goes one level deeper, if that is allowed.
    fn deeper(&mut self, span: Span, act: impl FnOnce(&mut Self)) {
        if self.depth >= MAX_TREE {
            self.depth_exceeded = true;
            self.diags.push(Diagnostic::error(
                "too-deep",
                span,
                "this is nested too deeply once macros are expanded",
            ));
            return;
        }
        self.depth += 1;
        act(self);
        self.depth -= 1;
    }

    /// The macro's name and arguments if the expression uses one.
    fn usage(&self, e: &Expr) -> Option<(String, Vec<Expr>)> {
        let (name, args) = match &*e.kind {
            ExprKind::Call { name, args } => (&name.text, args.clone()),
            ExprKind::Ident(name) => (name, Vec::new()),
            _ => return None,
        };
        let bare = matches!(&*e.kind, ExprKind::Ident(_));
        let mut all = self.candidates(name).into_iter().flatten().flatten().peekable();
        all.peek()?;
        (!bare || all.any(|m| m.params.is_empty())).then(|| (name.clone(), args))
    }

    fn use_of(&mut self, e: &mut Expr) {
        let Some((name, mut args)) = self.usage(e) else { return self.inner(e) };
        for arg in &mut args {
            self.expr(arg);
        }
        let Some(m) = self.choose(&name, &args, e.span) else {
            // A builtin of that name takes other arguments.
            if crate::builtins::find(&name).is_some() {
                return self.inner(e);
            }
            *e.kind = ExprKind::Block(Block { span: e.span, ..Block::default() });
            return;
        };
        let body = self.instance(m, &args, e.span).unwrap_or_default();
        *e.kind = ExprKind::Block(Block { span: e.span, ..body });
    }
}

impl Rewrite for Expander<'_, '_> {
    fn expr(&mut self, e: &mut Expr) {
        self.deeper(e.span, |this| this.use_of(e));
    }

    fn block(&mut self, b: &mut Block) {
        self.deeper(b.span, |this| this.block_parts(b));
    }
}

/// One use of a macro: its body is rewritten with the arguments.
struct Instance<'m, 'a, 'd> {
    args: HashMap<&'m str, &'a Expr>,
    /// Of all expansions: makes the names of variables its own.
    number: u32,
    use_span: Span,
    /// Expressions that may still be copied.
    budget: &'d mut usize,
    diags: &'d mut Diagnostics,
}

impl Instance<'_, '_, '_> {
    fn variable(&self, name: &mut String) {
        match self.args.get(name.as_str()).map(|e| &*e.kind) {
            Some(ExprKind::Var(theirs)) => theirs.clone_into(name),
            _ => name.push_str(&format!("#{}", self.number)),
        }
    }

    /// The argument for a name, if it is a parameter's and there is room for it.
    fn argument(&mut self, name: &str) -> Option<Expr> {
        let arg = *self.args.get(name)?;
        let mut size = 0;
        walk::expr(arg, &mut |_| size += 1);
        *self.budget = self.budget.saturating_sub(size);
        (*self.budget > 0).then(|| arg.clone())
    }

    fn map(&mut self, name: &mut String, span: Span) {
        match self.args.get(name.as_str()).map(|e| &*e.kind) {
            Some(ExprKind::Map { name: theirs, .. }) => theirs.clone_into(name),
            _ => {
                let message = format!("a macro cannot use map `{name}`, which is not passed to it");
                self.diags.push(
                    Diagnostic::error("unhygienic", span, message)
                        .label(self.use_span, "used here")
                        .hint(format!("make `{name}` a parameter of the macro")),
                );
            }
        }
    }
}

impl Rewrite for Instance<'_, '_, '_> {
    fn expr(&mut self, e: &mut Expr) {
        let span = e.span;
        match &mut *e.kind {
            ExprKind::Ident(name) => {
                let name = name.clone();
                if let Some(arg) = self.argument(&name) {
                    *e = arg;
                }
            }
            ExprKind::Var(name) => self.variable(name),
            ExprKind::Map { name, .. } => {
                self.map(name, span);
                self.inner(e);
            }
            ExprKind::Offsetof { path, .. } => {
                for step in path {
                    if let Some(ExprKind::Ident(field)) = self.args.get(step.text.as_str()).map(|a| &*a.kind)
                    {
                        field.clone_into(&mut step.text);
                    }
                }
                self.inner(e);
            }
            ExprKind::SizeofExpr(inner) => {
                // A type that is passed as an argument.
                let passed = match &*inner.kind {
                    ExprKind::Ident(name) => self.args.get(name.as_str()).map(|a| (*a).clone()),
                    _ => None,
                };
                match passed.map(|p| *p.kind) {
                    Some(ExprKind::Type(ty)) => *e.kind = ExprKind::SizeofType(ty),
                    _ => self.inner(e),
                }
            }
            _ => self.inner(e),
        }
    }

    fn stmt(&mut self, s: &mut Stmt) {
        match &mut s.kind {
            StmtKind::Let { name, .. } => self.variable(&mut name.text),
            StmtKind::For { var, .. } => self.variable(&mut var.text),
            _ => {}
        }
    }

    fn type_expr(&mut self, t: &mut TypeExpr) {
        let TypeExprKind::Name(name) = &t.kind else { return };
        let Some(arg) = self.args.get(name.as_str()) else { return };
        t.kind = match &*arg.kind {
            ExprKind::Type(passed) => passed.kind.clone(),
            _ => TypeExprKind::Typeof(Box::new((*arg).clone())),
        };
    }
}
