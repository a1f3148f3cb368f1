//! The syntax tree: what the parser makes of the source, nothing resolved. Every node knows its place.

/// A range of bytes in a source file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// From the start of `self` to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.start) }
    }
}

/// A name with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The name, without `$` or `@` prefix unless said otherwise.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A script.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Script {
    /// C declarations and preprocessor lines of the preamble, each as raw text.
    pub c_decls: Vec<CDecl>,
    /// `config = { … }`.
    pub config: Vec<ConfigItem>,
    /// `import "…";`
    pub imports: Vec<Name>,
    /// `let @m = kind(size);`
    pub map_decls: Vec<MapDecl>,
    /// `macro name(…) { … }`
    pub macros: Vec<Macro>,
    /// `fn name(…): type { … }`
    pub functions: Vec<FnDecl>,
    /// Probes.
    pub probes: Vec<Probe>,
    /// The script's path, or what stands for it (`stdin`): headers are looked for beside it.
    pub path: String,
    /// Files that were imported, their contents merged into the above.
    pub files: Vec<crate::source::SourceFile>,
}

/// A piece of C in the preamble: a struct, union, enum or typedef declaration, or a `#` line.
#[derive(Clone, PartialEq, Debug)]
pub struct CDecl {
    /// The text, whole.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// `name = value` of a config block.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfigItem {
    /// Name.
    pub name: Name,
    /// Value: integer, string, boolean or bare word (as `Ident`).
    pub value: Expr,
}

/// A map declaration.
#[derive(Clone, PartialEq, Debug)]
pub struct MapDecl {
    /// Name with `@`.
    pub name: Name,
    /// Kind, e.g. `lruhash`.
    pub kind: Name,
    /// Arguments, e.g. the size.
    pub args: Vec<Expr>,
    /// Types of key and value, where they are named.
    pub types: Vec<TypeExpr>,
}

/// A macro.
#[derive(Clone, PartialEq, Debug)]
pub struct Macro {
    /// Name.
    pub name: Name,
    /// Parameters: `$x` (copied), `@m` (map), or a bare name (any expression); with their prefix.
    pub params: Vec<Name>,
    /// Body; its last expression is the value.
    pub body: Block,
}

/// A function.
#[derive(Clone, PartialEq, Debug)]
pub struct FnDecl {
    /// Name.
    pub name: Name,
    /// Parameters: name with `$`, type.
    pub params: Vec<(Name, TypeExpr)>,
    /// Return type.
    pub ret: TypeExpr,
    /// Body.
    pub body: Block,
}

/// A probe: where, when, what.
#[derive(Clone, PartialEq, Debug)]
pub struct Probe {
    /// Attach points as written, e.g. `kprobe:vfs_*`, without surrounding blanks.
    pub attach: Vec<Name>,
    /// `/expr/`
    pub predicate: Option<Expr>,
    /// Body.
    pub body: Block,
    /// All of it.
    pub span: Span,
}

/// Statements in braces; a last expression without `;` is the block's value.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Block {
    /// Statements.
    pub stmts: Vec<Stmt>,
    /// Value.
    pub value: Option<Box<Expr>>,
    /// With braces.
    pub span: Span,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Stmt {
    /// What.
    pub kind: StmtKind,
    /// Where.
    pub span: Span,
}

/// Kinds of statement.
#[derive(Clone, PartialEq, Debug)]
pub enum StmtKind {
    /// An expression for its effect.
    Expr(Expr),
    /// `_ = e`: the value is left unused on purpose.
    Discard(Expr),
    /// `target op= value`; `op` is `None` for plain `=`.
    Assign {
        /// Variable, map entry, or field of either.
        target: Expr,
        /// Operator of a compound assignment.
        op: Option<BinOp>,
        /// Value.
        value: Expr,
    },
    /// `let $x: type = value;`
    Let {
        /// Name with `$`.
        name: Name,
        /// Type.
        ty: Option<TypeExpr>,
        /// Value.
        value: Option<Expr>,
    },
    /// `if`; `else if` is a block that holds one `If`.
    If {
        /// Condition.
        cond: Expr,
        /// Then.
        then: Block,
        /// Else.
        other: Option<Block>,
    },
    /// `while (cond) { … }`
    While {
        /// Condition.
        cond: Expr,
        /// Body.
        body: Block,
    },
    /// `for ($x : iterable) { … }`
    For {
        /// Loop variable, with `$`.
        var: Name,
        /// Over what.
        iter: ForIter,
        /// Body.
        body: Block,
    },
    /// `unroll (count) { … }`
    Unroll {
        /// Constant.
        count: Expr,
        /// Body.
        body: Block,
    },
    /// `return value;`
    Return(Option<Expr>),
    /// `break;`
    Break,
    /// `continue;`
    Continue,
    /// `{ … }`
    Block(Block),
}

/// What a `for` walks.
#[derive(Clone, PartialEq, Debug)]
pub enum ForIter {
    /// A map (an `Expr` of kind `Map` without a key).
    Map(Expr),
    /// `start..end`, end exclusive.
    Range(Expr, Expr),
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What.
    pub kind: Box<ExprKind>,
    /// Where.
    pub span: Span,
}

/// Kinds of expression.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// Integer literal (with its separators and suffixes applied): value, and whether a `u` suffix or its size makes it
    /// unsigned.
    Int {
        /// Value.
        value: u64,
        /// Whether written as unsigned or too large for signed.
        unsigned: bool,
        /// Bits if a suffix says (`l`, `ll`: 64; none: `None`).
        bits: Option<u8>,
    },
    /// String literal, escapes resolved.
    Str(Vec<u8>),
    /// `true`, `false`.
    Bool(bool),
    /// A bare name: builtin, enum constant, macro, macro parameter.
    Ident(String),
    /// `$x`, with `$`.
    Var(String),
    /// `@m` or `@m[key]`; the name with `@`. Keys `[a, b]` are two elements.
    Map {
        /// Name with `@`.
        name: String,
        /// Key.
        key: Option<Vec<Expr>>,
    },
    /// `$1` …
    Positional(u32),
    /// `$#`
    PositionalCount,
    /// Operator before or behind.
    Unary {
        /// Operator.
        op: UnaryOp,
        /// Operand.
        expr: Expr,
    },
    /// Operator between.
    Binary {
        /// Operator.
        op: BinOp,
        /// Left.
        a: Expr,
        /// Right.
        b: Expr,
    },
    /// `cond ? a : b`
    Ternary {
        /// Condition.
        cond: Expr,
        /// If true.
        a: Expr,
        /// If false.
        b: Expr,
    },
    /// `expr.name` or `expr->name`.
    Field {
        /// Of what.
        expr: Expr,
        /// Field.
        name: Name,
        /// Written as `->`.
        arrow: bool,
    },
    /// `expr.0`
    TupleIndex {
        /// Of what.
        expr: Expr,
        /// Index.
        index: u32,
    },
    /// `expr[index]`
    Index {
        /// Of what.
        expr: Expr,
        /// Index.
        index: Expr,
    },
    /// `name(args)`
    Call {
        /// Function.
        name: Name,
        /// Arguments.
        args: Vec<Expr>,
    },
    /// `(type)expr`
    Cast {
        /// To.
        ty: TypeExpr,
        /// What.
        expr: Expr,
    },
    /// `sizeof(type)`
    SizeofType(TypeExpr),
    /// `sizeof(expr)`
    SizeofExpr(Expr),
    /// `offsetof(type, a.b)`
    Offsetof {
        /// Type.
        ty: TypeExpr,
        /// Path.
        path: Vec<Name>,
    },
    /// `(a, b)`
    Tuple(Vec<Expr>),
    /// `(x = 1, y = 2)`
    Record(Vec<(Name, Expr)>),
    /// `{ …; value }`
    Block(Block),
    /// `if cond { a } else { b }`
    If {
        /// Condition.
        cond: Expr,
        /// Then.
        then: Block,
        /// Else.
        other: Block,
    },
    /// `comptime expr`
    Comptime(Expr),
    /// A type as an argument, e.g. of `typeinfo`.
    Type(TypeExpr),
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    /// `-x`
    Neg,
    /// `!x`
    Not,
    /// `~x`
    BitNot,
    /// `*x`
    Deref,
    /// `&x`
    AddrOf,
    /// `++x`
    PreInc,
    /// `--x`
    PreDec,
    /// `x++`
    PostInc,
    /// `x--`
    PostDec,
}

/// Binary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `&&`
    LogAnd,
    /// `||`
    LogOr,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A type as written.
#[derive(Clone, PartialEq, Debug)]
pub struct TypeExpr {
    /// What.
    pub kind: TypeExprKind,
    /// Where.
    pub span: Span,
}

/// Kinds of type expression.
#[derive(Clone, PartialEq, Debug)]
pub enum TypeExprKind {
    /// A name: `int32`, `uint8`, `string`, `size_t`, `struct task_struct`, `union u`, `enum e`, `unsigned long`, …
    Name(String),
    /// `type *`
    Ptr(Box<TypeExpr>),
    /// `type[n]`, `string[n]`, `buffer[n]`; without a number `type[]`.
    Array(Box<TypeExpr>, Option<u64>),
    /// `(a, b)`
    Tuple(Vec<TypeExpr>),
    /// `typeof(expr)`
    Typeof(Box<Expr>),
}
