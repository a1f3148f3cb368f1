//! Builtins: a name and arguments enter, a value leaves. The names and what their arguments are is documented at the
//! table of builtins; here each has one row with the function that lowers it.

mod bytes;
mod forward;
mod function;
mod kernel;
mod net;
mod print;
mod search;
mod stack;
mod task;
mod text;
mod time;
mod unsafe_calls;

pub(super) use stack::NO_STACK;

use super::func::Fx;
use super::{BuildError, Result};
use crate::hir::Expr;
use skep_compiler::ir::Value;

/// Lowers a builtin whose result is a scalar.
type ToValue = fn(&mut Fx<'_, '_>, &[Expr], &Expr) -> Result<Value>;
/// Lowers a builtin whose result is written to memory.
type ToMemory = fn(&mut Fx<'_, '_>, &[Expr], &Expr, Value, i32) -> Result<()>;

static VALUES: &[(&str, ToValue)] = &[
    ("pid", task::pid),
    ("tid", task::tid),
    ("pid_init", task::pid_init),
    ("tid_init", task::tid_init),
    ("uid", task::uid),
    ("gid", task::gid),
    ("cpu", task::cpu),
    ("numaid", task::numaid),
    ("rand", task::rand),
    ("cgroup", task::cgroup),
    ("jiffies", time::jiffies),
    ("usermode", task::usermode),
    ("nsecs", time::nsecs),
    ("nsecs_monotonic", time::nsecs_monotonic),
    ("nsecs_tai", time::nsecs_tai),
    ("nsecs_sw_tai", time::nsecs_sw_tai),
    ("elapsed", time::elapsed),
    ("curtask", task::curtask),
    ("ctx", task::context),
    ("func", task::func),
    ("kstack", stack::kstack),
    ("stack_len", stack::stack_len),
    ("ksym", task::ksym),
    ("uaddr", task::uaddr),
    ("bswap", net::bswap),
    ("strstr", search::strstr),
    ("strlen", text::strlen),
    ("memcmp", bytes::memcmp),
    ("socket_cookie", net::socket_cookie),
    ("skboutput", net::skboutput),
    ("signal", unsafe_calls::signal),
    ("signal_thread", unsafe_calls::signal_thread),
    ("write_user", unsafe_calls::write_user),
    ("debugf", print::debugf),
    ("seq_printf", print::seq_printf),
    ("override", unsafe_calls::override_return),
    ("redirect", net::redirect),
    ("redirect_map", forward::redirect_map),
    ("redirect_neigh", forward::redirect_neigh),
    ("percpu_kaddr", task::percpu_kaddr),
];

static MEMORY: &[(&str, ToMemory)] = &[
    ("ustack", stack::ustack),
    ("dw_ustack", stack::dw_ustack),
    ("buf", text::buf),
    ("usym", task::usym),
    ("func", task::user_func),
    ("ntop", net::ntop),
    ("macaddr", net::macaddr),
    ("path", text::path),
    ("str_concat", bytes::str_concat),
    ("comm_of", kernel::comm_of),
];

impl Fx<'_, '_> {
    /// A builtin's scalar result.
    pub(super) fn call_value(&mut self, name: &str, args: &[Expr], e: &Expr) -> Result<Value> {
        match VALUES.iter().find(|row| row.0 == name) {
            Some((_, lower)) => {
                let value = lower(self, args, e)?;
                match self.f.type_of(value) {
                    skep_compiler::ir::Type::Ptr(_) => Ok(value),
                    _ => self.narrow_to(value, &e.ty),
                }
            }
            None => unknown(name, e),
        }
    }

    /// A builtin's result in memory. Strings that are read from elsewhere come through `put_str`.
    pub(super) fn put_call(
        &mut self,
        name: &str,
        args: &[Expr],
        e: &Expr,
        to: Value,
        off: i32,
    ) -> Result<()> {
        match MEMORY.iter().find(|row| row.0 == name) {
            Some((_, lower)) => lower(self, args, e, to, off),
            None => unknown(name, e),
        }
    }
}

fn unknown<T>(name: &str, e: &Expr) -> Result<T> {
    Err(BuildError::Unsupported { what: format!("`{name}`"), since: None, span: e.span })
}

/// An argument that the checker promises.
fn arg(args: &[Expr], index: usize) -> Result<&Expr> {
    match args.get(index) {
        Some(arg) => Ok(arg),
        None => super::internal(format!("argument {index} is missing")),
    }
}
