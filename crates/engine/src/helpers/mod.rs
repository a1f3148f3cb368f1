//! What programs can call: a table from numbers to functions. A [`Call`] enters, r0 or a cause for a fault leaves. What the kernel's
//! verifier would refuse (memory that is not there, a map of the wrong kind) is a fault; what the kernel answers with an
//! error is that error in r0.

mod allow;
mod cgroup;
mod clock;
mod control;
mod csum;
mod dynptr;
pub mod env;
mod fib;
mod format;
pub mod kfuncs;
mod maps;
mod memory;
mod msg;
mod packet;
mod perf;
mod print;
mod redirect;
mod ring;
mod shape;
mod skb;
mod socket;
mod storage;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod timer;
mod trace;
mod tunnel;
mod xdp;

use rustix::io::Errno;
use skep_bpf::helpers::{self, Arg};
use skep_bpf::kinds::ProgType;

use crate::vm::fault::FaultKind;
use crate::vm::memory::Addr;
use crate::vm::state::{Invoke, State};

/// A call of a helper or kernel function.
pub struct Call<'a> {
    /// r1 to r5.
    pub args: [u64; 5],
    /// Everything that the program can see and change.
    pub state: &'a mut State,
    /// Runs a function of the program.
    pub(crate) invoke: &'a mut Invoke<'a>,
}

/// A helper or kernel function.
pub type HelperFn = fn(&mut Call<'_>) -> Result<u64, FaultKind>;

/// What one returns.
type Answer = Result<u64, FaultKind>;

/// An error as programs see it.
fn failed(errno: Errno) -> u64 {
    i64::from(-errno.raw_os_error()) as u64
}

/// Success or error as programs see it.
fn status(result: Result<(), Errno>) -> u64 {
    result.map_or_else(failed, |()| 0)
}

impl Call<'_> {
    /// Calls a function of the program, which it gave as `function` (an address that `rN = subprog[…]` loaded): its r0.
    pub fn call_back(&mut self, function: u64, args: [u64; 5]) -> Result<u64, FaultKind> {
        (self.invoke)(self.state, function, args)
    }

    /// What a function gave the program, which must give it back; a null pointer is nothing.
    fn gives(&mut self, name: &'static str, release: &'static str, at: u64) -> u64 {
        if at != 0 {
            self.state.run.hold(name, Some(release), at);
        }
        at
    }

    /// The program gives back what argument 1 points to: a fault if it holds no such thing.
    fn takes_back(&mut self, release: &'static str) -> Result<(), FaultKind> {
        let at = self.arg(1);
        if self.state.run.let_go(Some(release), at) {
            return Ok(());
        }
        let what = format!("is nothing that the program holds: {at:#x}");
        Err(FaultKind::Argument { name: release, index: 1, what })
    }

    /// An argument, counted from 1.
    fn arg(&self, number: u8) -> u64 {
        self.args.get(usize::from(number).wrapping_sub(1)).copied().unwrap_or(0)
    }

    /// An argument's low half.
    fn arg32(&self, number: u8) -> u32 {
        self.arg(number) as u32
    }

    /// A length, counted in bytes; what needs more than 32 bits is no length.
    fn length(&self, name: &'static str, number: u8) -> Result<u32, FaultKind> {
        u32::try_from(self.arg(number)).map_err(|_| FaultKind::Argument {
            name,
            index: number,
            what: format!("is no length: {:#x}", self.arg(number)),
        })
    }

    /// A copy of the memory that an argument points to and the next one gives the length of.
    fn sized(&self, name: &'static str, number: u8) -> Result<Vec<u8>, FaultKind> {
        let len = self.length(name, number + 1)?;
        self.fixed(number, len)
    }

    /// The same where a null pointer is no memory.
    fn sized_or_null(&self, name: &'static str, number: u8) -> Result<Option<Vec<u8>>, FaultKind> {
        if self.arg(number) == 0 { Ok(None) } else { self.sized(name, number).map(Some) }
    }

    /// A copy of `len` bytes that an argument points to.
    fn fixed(&self, number: u8, len: u32) -> Result<Vec<u8>, FaultKind> {
        if len == 0 {
            return Ok(Vec::new());
        }
        Ok(self.state.memory.read(self.arg(number), len)?.to_vec())
    }

    /// Writes to memory that an argument points to.
    fn put(&mut self, number: u8, bytes: &[u8]) -> Result<(), FaultKind> {
        if !bytes.is_empty() {
            let at = self.arg(number);
            self.state.memory.write(at, bytes.len() as u32)?.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Checks that an argument points to `len` bytes that can be written.
    fn writable(&mut self, number: u8, len: u32) -> Result<(), FaultKind> {
        let at = self.arg(number);
        if len > 0 { self.state.memory.resolve(at, len, true).map(|_| ()) } else { Ok(()) }
    }

    /// Checks that an argument is the program's context.
    fn context(&self, name: &'static str, number: u8) -> Result<Addr, FaultKind> {
        let context = self.state.run.context;
        if self.arg(number) == context.get() {
            return Ok(context);
        }
        let what = format!("must be the context ({:#x}), not {:#x}", context.0, self.arg(number));
        Err(FaultKind::Argument { name, index: number, what })
    }

    /// The answer that was recorded for this call of a helper, if there is one: what it filled is filled again.
    fn recorded(&mut self, id: u32) -> Result<Option<u64>, FaultKind> {
        let Some(answer) = self.state.env.answers.next(id) else { return Ok(None) };
        let args = helpers::by_id(id).map_or(&[][..], |helper| helper.args);
        if let Some(out) = (1u8..).zip(args).find_map(|(number, arg)| arg.is_written().then_some(number)) {
            // A read that failed has left zeros.
            let failed = answer.bytes.is_empty() && (answer.r0 as i64) < 0;
            let sized = matches!(args.get(usize::from(out)), Some(Arg::Size | Arg::SizeOrZero));
            match failed && sized {
                true => self.put(out, &vec![0; self.arg32(out + 1) as usize])?,
                false => self.put(out, &answer.bytes)?,
            }
        }
        Ok(Some(answer.r0))
    }
}

/// The fault that a call is which the machine cannot answer.
fn refused(name: &str, why: &str) -> FaultKind {
    FaultKind::NoHelper { name: name.to_owned(), why: why.to_owned() }
}

/// The function of a helper for a kind of programs; the fault that its call is where the kind may not call it, or the machine has none.
#[inline]
pub fn by_id(id: u32, prog_type: ProgType) -> Result<HelperFn, FaultKind> {
    match table::function(id) {
        Some(function) if allow::allows(prog_type, id) => Ok(function),
        _ => Err(missing(id, prog_type)),
    }
}

#[cold]
fn missing(id: u32, prog_type: ProgType) -> FaultKind {
    let Some(helper) = helpers::by_id(id) else {
        return refused(&format!("helper {id}"), "there is no such helper");
    };
    let name = format!("bpf_{}()", helper.name);
    if !allow::allows(prog_type, id) {
        return refused(&name, &format!("programs of the kind {} do not have it", prog_type.name()));
    }
    refused(&name, table::reason(id))
}
