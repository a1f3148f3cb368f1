//! The network interfaces of skep's network namespace, as programs and the compiler name them: nothing enters, names, indexes and kinds
//! leave, by index.

use skep_bpf::target::Interface;

use crate::device::{Device, devices};
use crate::error::Error;

/// All interfaces.
pub(crate) fn all() -> Result<Vec<Interface>, Error> {
    let interface = |Device { name, index, hardware, mtu, .. }| Interface { name, index, hardware, mtu };
    Ok(devices()?.into_iter().map(interface).collect())
}

/// The index of an interface.
pub(crate) fn index(name: &str) -> Result<u32, Error> {
    let found = all()?.into_iter().find(|i| i.name == name);
    found.map(|i| i.index).ok_or_else(|| Error::Missing(format!("interface {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let all = all().unwrap();
        // ARPHRD_LOOPBACK
        assert!(all.iter().any(|i| i.name == "lo" && i.hardware == 772 && i.index > 0), "{all:?}");
    }
}
