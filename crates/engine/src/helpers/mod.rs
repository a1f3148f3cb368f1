//! What programs can call: a table from numbers to functions. A [`Call`] enters, r0 or a cause for a fault leaves.

pub mod env;
pub mod kfuncs;

use skep_bpf::helpers;

use crate::vm::fault::FaultKind;
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

impl Call<'_> {
    /// Calls a function of the program, which it gave as `function` (an address that `rN = subprog[…]` loaded): its r0.
    pub fn call_back(&mut self, function: u64, args: [u64; 5]) -> Result<u64, FaultKind> {
        (self.invoke)(self.state, function, args)
    }
}

/// A helper or kernel function.
pub type HelperFn = fn(&mut Call<'_>) -> Result<u64, FaultKind>;

/// Helpers by number.
static TABLE: &[(u32, HelperFn)] = &[];

/// The function of a helper; the fault that its call is where this machine has none.
pub fn by_id(id: u32) -> Result<HelperFn, FaultKind> {
    if let Ok(at) = TABLE.binary_search_by_key(&id, |(id, _)| *id) {
        return Ok(TABLE[at].1);
    }
    Err(match helpers::by_id(id) {
        Some(helper) => FaultKind::NoHelper {
            name: format!("bpf_{}()", helper.name),
            why: "the machine does not have it".to_owned(),
        },
        None => {
            FaultKind::NoHelper { name: format!("helper {id}"), why: "there is no such helper".to_owned() }
        }
    })
}
