//! The one place with `unsafe`: the region that programs' memory lies in. Outside of this module everything is checked by
//! the compiler.

pub(crate) mod code;
pub(crate) mod region;
