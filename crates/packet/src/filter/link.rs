//! Link types: how a packet begins.

/// The link type of a source of packets, by its `LINKTYPE_` or `DLT_` number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LinkType {
    /// BSD loopback: the address family in the byte order of the machine that captured (0).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// OpenBSD loopback: the address family in network byte order (108).
    Loop,
    /// IPv4 or IPv6 without anything before it; the version field tells which (101, as a `DLT_` 12).
    Raw,
    /// Linux "cooked" capture (113).
    Sll,
    /// Linux "cooked" capture, second version (276).
    Sll2,
    /// IPv4 without anything before it (228).
    Ipv4,
    /// IPv6 without anything before it (229).
    Ipv6,
}

/// Each link type with its `LINKTYPE_` number and its name.
const TABLE: &[(LinkType, u16, &str)] = &[
    (LinkType::Null, 0, "NULL"),
    (LinkType::Ethernet, 1, "EN10MB"),
    (LinkType::Loop, 108, "LOOP"),
    (LinkType::Raw, 101, "RAW"),
    (LinkType::Sll, 113, "LINUX_SLL"),
    (LinkType::Sll2, 276, "LINUX_SLL2"),
    (LinkType::Ipv4, 228, "IPV4"),
    (LinkType::Ipv6, 229, "IPV6"),
];

impl LinkType {
    /// All that the filter language knows.
    pub fn all() -> impl Iterator<Item = LinkType> {
        TABLE.iter().map(|(link, _, _)| *link)
    }

    /// By its number in a capture file (`LINKTYPE_`) or on Linux (`DLT_`).
    pub fn from_number(number: u16) -> Option<LinkType> {
        // Raw IP has numbers of its own in the headers of Linux (12) and OpenBSD (14).
        let number = if matches!(number, 12 | 14) { 101 } else { number };
        TABLE.iter().find(|(_, found, _)| *found == number).map(|(link, _, _)| *link)
    }

    fn row(self) -> (u16, &'static str) {
        TABLE.iter().find(|(link, _, _)| *link == self).map_or((0, ""), |(_, number, name)| (*number, name))
    }

    /// The number in a capture file (`LINKTYPE_`).
    pub fn number(self) -> u16 {
        self.row().0
    }

    /// The name as libpcap prints it, without `DLT_`.
    pub fn name(self) -> &'static str {
        self.row().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_link_types_belong_together() {
        for link in LinkType::all() {
            assert_eq!(LinkType::from_number(link.number()), Some(link), "{}", link.name());
        }
        assert_eq!(LinkType::from_number(12), Some(LinkType::Raw));
        assert_eq!(LinkType::from_number(147), None);
    }
}
