//! Kernel versions, as `uname -r` gives them and as error messages name them.

use std::fmt;

/// A kernel version; ordered. Patch level 0 where unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KernelVersion {
    /// 6 in 6.18.3.
    pub major: u16,
    /// 18 in 6.18.3.
    pub minor: u16,
    /// 3 in 6.18.3.
    pub patch: u16,
}

impl KernelVersion {
    /// Version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> KernelVersion {
        KernelVersion { major, minor, patch: 0 }
    }

    /// The version at the start of a release string such as `6.12.8-cloud-amd64`; `None` if there is none.
    pub fn parse(release: &str) -> Option<KernelVersion> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u16>());
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().and_then(Result::ok).unwrap_or(0);
        Some(KernelVersion { major, minor, patch })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_release_strings() {
        let v = KernelVersion::parse("6.12.8-cloud-amd64").unwrap();
        assert_eq!((v.major, v.minor, v.patch), (6, 12, 8));
        assert_eq!(KernelVersion::parse("5.10"), Some(KernelVersion::new(5, 10)));
        assert_eq!(KernelVersion::parse("linux"), None);
        assert!(KernelVersion::new(5, 10) < KernelVersion::new(5, 13));
    }
}
