//! The builtins: one table row each, with its signature, documentation, example and check. A name enters, a row leaves;
//! the row's check turns a call into HIR.
//!
//! # What the builder gets
//!
//! Every value builtin becomes `ExprKind::Call { name, args }` with one of these names; all other builtins become nodes
//! that `hir` has of its own. Integers are already converted to the type named here; a pointer's `Ty::Ptr::space` says
//! how to read through it.
//!
//! | name | args | type | meaning |
//! |---|---|---|---|
//! | `pid`, `tid` | | u32 | tgid and pid, in skep's PID namespace (`Config::pid_ns`) |
//! | `pid_init`, `tid_init` | | u32 | the same in the initial namespace |
//! | `uid`, `gid` | | u64 | of the current task |
//! | `comm` | | `Str{16}` | current task's name |
//! | `cpu`, `numaid` | | u64 | where the program runs |
//! | `rand` | | u32 | bpf_get_prandom_u32 |
//! | `cgroup` | | u64 | cgroup v2 id |
//! | `jiffies` | | u64 | bpf_jiffies64 |
//! | `usermode` | | u8 | 1 if user mode was interrupted (perf events: from the registers) |
//! | `nsecs` | | u64 | bpf_ktime_get_boot_ns |
//! | `nsecs_monotonic`, `nsecs_tai`, `nsecs_sw_tai` | | u64 | the other clocks |
//! | `elapsed` | | u64 | boot clock since the session started |
//! | `curtask` | | `Ptr` to `struct task_struct`, Btf or Kernel | by space: bpf_get_current_task_btf or bpf_get_current_task |
//! | `ctx` | | `Ptr`, Ctx | the context's address |
//! | `func` | | `KSym` or `USym` | the function's address (kprobe, uprobe: instruction pointer; else bpf_get_func_ip) |
//! | `kstack`, `ustack` | | `KStack`, `UStack` | a stack, limit and style in the type |
//! | `stack_len` | stack | i64 | frames of a stack |
//! | `str` | address: `Ptr`; length: u64, optional | `Str` | NUL-terminated copy, at most `length` bytes with the NUL |
//! | `buf` | address: `Ptr` (or an array or string by address); length: u64 | `Buf` | copy of bytes, cut at the type's size |
//! | `ksym` | u64 | `KSym` | |
//! | `usym` | u64 | `USym` | with the current process |
//! | `ntop` | family: u64 (0: by the data's size); data: u32, `Array`, `Str` of 4 or 16 bytes | `Inet` | |
//! | `macaddr` | address: `Ptr`, or an array or string by address | `Mac` | six bytes copied |
//! | `bswap` | an unsigned integer | the same | bytes swapped |
//! | `strstr` | two strings | i64 | index of the second in the first, or -1 |
//! | `strlen` | string | u64 | bytes before the NUL |
//! | `path` | `Ptr` to `struct path` | `Str` | bpf_d_path |
//! | `socket_cookie` | `Ptr` to `struct sock` | u64 | bpf_get_socket_cookie |
//! | `debugf`, `seq_printf` | format: `Str`, as the kernel renders it; values | i64 | bpf_trace_printk; bpf_seq_printf |
//! | `skboutput` | path: `Str`; `Ptr` to `struct sk_buff`; length: u64; offset: `Int` | i32 | bpf_skb_output, saved by the reader |
//! | `signal`, `signal_thread` | u32 | i64 | bpf_send_signal, bpf_send_signal_thread |
//! | `override` | u64 | i64 | bpf_override_return |
//! | `redirect` | u64 | i32 | bpf_redirect to an interface's index |
//! | `redirect_map` | number of the map; u32; u64 that the frame carries, optional | i32 | bpf_redirect_map |
//! | `redirect_neigh` | u64; `Inet`, optional | i32 | bpf_redirect_neigh |
//! | `percpu_kaddr` | symbol as `ExprKind::Str`; cpu: u32, optional | u64 | |
//!
//! Not calls: `ncpus`, `kaddr`, `cgroupid`, `cpid`, `sizeof`, `offsetof`, `probe`, `pton`, positional parameters are
//! constants (`Int`, or `Str` with the bytes; `pton` is a `Str` whose type is an array); `args`, `retval`, `argN`,
//! `sargN`, `reg` are `ExprKind::Arg`; `strftime`, `strerror`, `signal_name`, `cgroup_path`, `username` are `Convert` of
//! an integer to their type; `strncmp` is `BytesEq`, negated, converted to u64; `strcontains` compares `strstr` with zero;
//! `kptr` and `uptr` only change a type; `len` of a map is `MapLen`; `has_key`, `delete` and the aggregations have their
//! nodes.
//!
//! Actions become `StmtKind::Emit`; their `args`:
//!
//! | action | args |
//! |---|---|
//! | `Printf`, `System`, `Cat` | one per conversion |
//! | `Print` | the value |
//! | `PrintMapEntry` | `key: true`: the key (a tuple if it has several parts), then the value; `key: false`: the value |
//! | `PrintMap` | top: u64, div: u64 |
//! | `Clear`, `Zero`, `Time` | none |
//! | `Join` | one `Ptr` to `Ptr` to `int8`: the argv; the builder reads up to 16 strings |
//! | `Exit` | code: u64 |
//! | `Unwatch` | address: u64 |

use crate::ast::{self, Span};
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, StmtKind};
use crate::ty::Ty;
use skep_bpf::schema::Agg;

mod actions;
mod aggregations;
mod bytes;
mod compile_time;
mod forward;
mod kernel;
mod maps;
mod packet;
mod probe;
mod sockets;
mod stacks;
mod text;
mod values;

/// What a builtin is, for listings and for how it may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A value; with no arguments also without parentheses.
    Value,
    /// Done for its effect.
    Action,
    /// Assigned to a map.
    Aggregation,
}

/// One builtin.
pub struct Builtin {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// How it is called: one line per form.
    pub signatures: &'static [&'static str],
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// A probe that uses it.
    pub example: &'static str,
    /// Fewest arguments.
    pub min: usize,
    /// Most arguments.
    pub max: usize,
    /// Only with `--unsafe`.
    pub needs_unsafe: bool,
    pub(crate) check: Check,
}

/// Rows of one kind each, but for what differs: name, signatures, documentation, example, fewest and most arguments, check.
macro_rules! rows {
    ($($function:ident: $kind:ident, $needs_unsafe:literal;)*) => {$(
        const fn $function(
            name: &'static str,
            signatures: &'static [&'static str],
            doc: &'static str,
            example: &'static str,
            (min, max): (usize, usize),
            check: Check,
        ) -> Builtin {
            let (kind, needs_unsafe) = (Kind::$kind, $needs_unsafe);
            Builtin { name, kind, signatures, doc, example, min, max, needs_unsafe, check }
        }
    )*};
}

rows! {
    value: Value, false;
    action: Action, false;
    unsafe_action: Action, true;
    aggregation: Aggregation, false;
}

/// Arguments any number of which are allowed.
const MANY: usize = 128;

/// A call that is being checked.
pub(crate) struct Call<'c> {
    pub(crate) row: &'static Builtin,
    pub(crate) span: Span,
    pub(crate) args: &'c [ast::Expr],
}

/// What a call turns out to be.
pub(crate) enum Checked {
    /// A value.
    Value(Typed),
    /// A statement.
    Stmt(StmtKind),
    /// An aggregation, to be assigned to a map.
    Aggregation {
        /// Which.
        agg: Agg,
        /// What is added.
        arg: Option<Expr>,
        /// Weight of a histogram's entry.
        weight: Option<Expr>,
    },
}

/// Checks the arguments of a call whose number is right.
type Check = for<'a> fn(&mut Checker<'a>, &Call<'_>) -> Option<Checked>;

/// All builtins, group by group.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    [
        compile_time::ROWS,
        kernel::ROWS,
        bytes::ROWS,
        values::ROWS,
        probe::ROWS,
        text::ROWS,
        sockets::ROWS,
        stacks::ROWS,
        maps::ROWS,
        aggregations::ROWS,
        actions::ROWS,
        packet::ROWS,
        forward::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// The builtin of that name; `__builtin_NAME` is another name for each.
pub fn find(name: &str) -> Option<&'static Builtin> {
    let name = name.strip_prefix("__builtin_").unwrap_or(name);
    all().find(|row| row.name == name)
}

impl Call<'_> {
    /// Wraps a value of the HIR call `name`.
    fn value(&self, name: &'static str, args: Vec<Expr>, ty: Ty) -> Option<Checked> {
        Some(Checked::Value(Typed::new(ExprKind::Call { name, args }, ty, self.span)))
    }

    fn name(&self) -> &'static str {
        self.row.name
    }

    /// An error about the argument at `span`.
    fn wrong<T>(&self, checker: &mut Checker<'_>, span: Span, what: &str) -> Option<T> {
        let message = format!("{} {what}", self.name());
        let d = Diagnostic::error("bad-argument", span, message)
            .hint(format!("it is called as `{}`", self.row.signatures.join("` or `")));
        checker.diags.push(d);
        None
    }

    /// The literal string at `index`.
    fn literal_text(&self, checker: &mut Checker<'_>, index: usize) -> Option<Vec<u8>> {
        let e = self.args.get(index)?;
        if let ast::ExprKind::Str(bytes) = &*e.kind {
            return Some(bytes.clone());
        }
        let value = checker.value(e)?;
        match value.literal_str() {
            Some(text) => Some(text.to_vec()),
            None => self.wrong(checker, e.span, "needs a string literal here"),
        }
    }

    /// The literal number at `index`.
    fn literal_number(&self, checker: &mut Checker<'_>, index: usize) -> Option<i128> {
        let e = self.args.get(index)?;
        let value = checker.value(e)?;
        match value.literal_int() {
            Some(number) => Some(number),
            None => self.wrong(checker, e.span, "needs a literal number here"),
        }
    }

    /// The map that the argument at `index` names as a whole.
    fn map_name<'e>(&'e self, checker: &mut Checker<'_>, index: usize) -> Option<(&'e str, Span)> {
        let e = self.args.get(index)?;
        match &*e.kind {
            ast::ExprKind::Map { name, key: None } => Some((name, e.span)),
            _ => self.wrong(checker, e.span, "needs a map here, such as `@` or `@name`"),
        }
    }

    /// An integer argument as 64 bits.
    fn integer(&self, checker: &mut Checker<'_>, index: usize, signed: bool) -> Option<Expr> {
        let e = self.args.get(index)?;
        let value = checker.value(e)?;
        checker.integer(value, signed, false, &format!("as argument {} of {}", index + 1, self.name()))
    }
}

impl Checker<'_> {
    /// A call of a builtin.
    pub(crate) fn call_row(
        &mut self,
        row: &'static Builtin,
        span: Span,
        args: &[ast::Expr],
    ) -> Option<Checked> {
        if row.needs_unsafe && !self.settings.options.unsafe_mode {
            let message = format!("{}() is unsafe. To use you need the --unsafe flag", row.name);
            self.diags.push(Diagnostic::error("unsafe", span, message));
        }
        if packet::NOT_FOR_PACKETS.contains(&row.name)
            && let Some(instance) = self.instance
            && instance.packet.is_some()
        {
            let message = format!("`{}` is not available in {} probes", row.name, instance.kind.name());
            let d = Diagnostic::error("no-process", span, message);
            self.diags.push(
                d.hint("a packet belongs to no process: it is seen before or after the kernel knows one"),
            );
            return None;
        }
        if args.len() < row.min || args.len() > row.max {
            self.wrong_count(row, span, args.len());
            for a in args {
                if !matches!(&*a.kind, ast::ExprKind::Map { key: None, .. }) {
                    self.value(a);
                }
            }
            return None;
        }
        (row.check)(self, &Call { row, span, args })
    }

    fn wrong_count(&mut self, row: &Builtin, span: Span, found: usize) {
        let count = |n: usize| format!("{n} argument{}", if n == 1 { "" } else { "s" });
        let expected = match (row.min, row.max) {
            (0, 0) => "takes no arguments".to_owned(),
            (min, max) if min == max => format!("takes {}", count(min)),
            (min, max) if found < min => {
                format!("takes {} {}", if max == MANY { "at least" } else { "from" }, count_range(min, max))
            }
            (_, max) => format!("takes at most {}", count(max)),
        };
        let message =
            format!("`{}` {expected}, {found} {} given", row.name, if found == 1 { "is" } else { "are" });
        self.diags.push(
            Diagnostic::error("argument-count", span, message)
                .hint(format!("it is called as `{}`", row.signatures.join("` or `"))),
        );
    }
}

fn count_range(min: usize, max: usize) -> String {
    if max == MANY {
        format!("{min} argument{}", if min == 1 { "" } else { "s" })
    } else {
        format!("{min} to {max} arguments")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_complete_and_unique() {
        let mut names: Vec<&str> = all().map(|row| row.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names must be unique");
        for row in all() {
            assert!(
                !row.signatures.is_empty() && !row.doc.is_empty() && !row.example.is_empty(),
                "{}",
                row.name
            );
            assert!(row.doc.ends_with('.'), "{}", row.name);
            assert!(row.min <= row.max, "{}", row.name);
            assert!(row.signatures.iter().all(|s| s.starts_with(row.name)), "{}", row.name);
            assert!(row.example.contains(row.name), "{}", row.name);
        }
    }
}
